//! The `etcd` section as it stands in the file, before it is checked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::EMBEDDED;
use crate::framework::settings::{Whole, text};

/// The section as it stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(crate) struct RawEtcd {
    pub(super) endpoints: RawEndpoints,
    pub(super) connect_timeout: Whole,
    pub(super) request_timeout: Whole,
    pub(super) max_in_flight: Whole,
    pub(super) max_queued: Whole,
    pub(super) heartbeat_check_interval_ms: Whole,
    #[serde(deserialize_with = "text")]
    pub(super) config_root: String,
    pub(super) auth: RawAuth,
    pub(super) tls: RawTls,
    pub(super) embedded: RawEmbedded,
}

impl Default for RawEtcd {
    fn default() -> Self {
        Self {
            endpoints: RawEndpoints(vec![EMBEDDED.to_owned()]),
            connect_timeout: Whole(5_000),
            request_timeout: Whole(3_000),
            max_in_flight: Whole(256),
            max_queued: Whole(4_096),
            heartbeat_check_interval_ms: Whole(30_000),
            config_root: "/config/".to_owned(),
            auth: RawAuth::default(),
            tls: RawTls::default(),
            embedded: RawEmbedded::default(),
        }
    }
}

// Without `Debug`, so that the password is shown nowhere.
#[derive(Default, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping of username and password"
)]
pub(super) struct RawAuth {
    #[serde(deserialize_with = "text")]
    pub(super) username: String,
    #[serde(deserialize_with = "text")]
    pub(super) password: String,
}

#[derive(Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping of ca_file, cert_file, key_file and insecure"
)]
pub(super) struct RawTls {
    #[serde(deserialize_with = "text")]
    pub(super) ca_file: String,
    #[serde(deserialize_with = "text")]
    pub(super) cert_file: String,
    #[serde(deserialize_with = "text")]
    pub(super) key_file: String,
    pub(super) insecure: bool,
}

impl Default for RawTls {
    fn default() -> Self {
        Self {
            ca_file: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            insecure: true,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping of data_dir and fsync"
)]
pub(super) struct RawEmbedded {
    #[serde(deserialize_with = "text")]
    pub(super) data_dir: String,
    pub(super) fsync: bool,
}

impl Default for RawEmbedded {
    fn default() -> Self {
        Self {
            data_dir: String::new(),
            fsync: true,
        }
    }
}

/// One text or a list of texts, each with one endpoint or several between commas.
pub(super) struct RawEndpoints(pub(super) Vec<String>);

impl Serialize for RawEndpoints {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for RawEndpoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RawEndpoints;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("host:port, a list of those, or embedded")
            }

            fn visit_str<E>(self, value: &str) -> Result<RawEndpoints, E> {
                Ok(RawEndpoints(vec![value.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<RawEndpoints, A::Error> {
                let mut texts = Vec::new();
                while let Some(item) = items.next_element()? {
                    texts.push(item);
                }
                Ok(RawEndpoints(texts))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
