//! The three servers that a group of cases runs against, new and empty.

use million::etcd_service::embedded::{self, EmbeddedEtcd, EmbeddedOptions};

use super::script::Script;
use super::support::real_etcd::{EtcdVersion, RealEtcd};
use super::wire::Wire;

pub(crate) struct Servers {
    embedded: EmbeddedEtcd,
    old: RealEtcd,
    new: RealEtcd,
}

impl Servers {
    /// Starts the three, each of which keeps so many bytes.
    pub(crate) async fn start(quota: usize) -> Self {
        let real = |version| {
            tokio::task::spawn_blocking(move || {
                let quota = quota.to_string();
                RealEtcd::start_version(version, &["--quota-backend-bytes", &quota])
            })
        };
        let options = EmbeddedOptions::default().quota_bytes(quota);
        let (old, new) = tokio::join!(real(EtcdVersion::V3_4), real(EtcdVersion::V3_5));
        Self {
            embedded: embedded::start_with(([127, 0, 0, 1], 0).into(), options)
                .await
                .expect("a free port can be listened on"),
            old: old.expect("etcd 3.4 starts"),
            new: new.expect("etcd 3.5 starts"),
        }
    }

    /// A script for each: embedded, 3.4, 3.5.
    pub(crate) async fn scripts(&self) -> [Script; 3] {
        let endpoints = [
            self.embedded.endpoint(),
            self.old.endpoint(),
            self.new.endpoint(),
        ];
        let mut scripts = Vec::new();
        for endpoint in endpoints {
            scripts.push(Script::new(Wire::connect(&endpoint).await).await);
        }
        scripts
            .try_into()
            .unwrap_or_else(|_| unreachable!("there are three endpoints"))
    }
}
