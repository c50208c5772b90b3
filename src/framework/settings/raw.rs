//! The framework's sections as they stand in the file, before they are checked.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// All sections of the framework, under the names that they have in the file.
#[derive(Debug, Default, Serialize)]
pub(crate) struct RawFramework {
    pub(crate) node: RawNode,
    pub(crate) worker_mgr: RawWorkers,
    pub(crate) io_context_mgr: RawIo,
    pub(crate) timer: RawTimer,
    pub(crate) session_monitor: RawSessionMonitor,
    pub(crate) logger: RawLogger,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping with the key id")]
pub(crate) struct RawNode {
    pub(crate) id: Whole,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping with the key num")]
pub(crate) struct RawWorkers {
    pub(crate) num: Whole,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping with the key num")]
pub(crate) struct RawIo {
    pub(crate) num: Whole,
}

impl Default for RawIo {
    fn default() -> Self {
        Self { num: Whole(1) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping with the key ms_per_tick"
)]
pub(crate) struct RawTimer {
    pub(crate) ms_per_tick: Whole,
}

impl Default for RawTimer {
    fn default() -> Self {
        Self {
            ms_per_tick: Whole(10),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping with the keys timeout_tick and s_per_tick"
)]
pub(crate) struct RawSessionMonitor {
    pub(crate) timeout_tick: Whole,
    pub(crate) s_per_tick: Whole,
}

impl Default for RawSessionMonitor {
    fn default() -> Self {
        Self {
            timeout_tick: Whole(10),
            s_per_tick: Whole(1),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    expecting = "a mapping with the keys log_file, level and console_level"
)]
pub(crate) struct RawLogger {
    #[serde(deserialize_with = "text")]
    pub(crate) log_file: String,
    pub(crate) level: String,
    pub(crate) console_level: String,
}

impl Default for RawLogger {
    fn default() -> Self {
        Self {
            log_file: String::new(),
            level: "info".to_owned(),
            console_level: "info".to_owned(),
        }
    }
}

/// A whole number as written. Signed and wide, so that a number out of range is told by the check that knows the range,
/// and not by the type.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Whole(pub(crate) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Whole;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number")
            }

            fn visit_i64<E>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Whole, E> {
                // No range reaches this far: the largest number is out of range as well.
                Ok(Whole(i64::try_from(value).unwrap_or(i64::MAX)))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Reads a text that may be left out by writing nothing, `~` or `null`: the empty text then.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
