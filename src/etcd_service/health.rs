//! What attempts tell about the endpoints at which they were made.

use std::fmt;
use std::time::Duration;

use etcd_client::Error as ClientError;
use tokio::time::timeout;

use super::connection::Connection;
use super::failure::{Effect, Failure, Health};

/// How long a doubted endpoint may take to tell its status, which needs neither disk nor leader.
const PROBE: Duration = Duration::from_millis(350);

impl Connection {
    /// Finds out whether a silent endpoint lives, unless somebody is about it. What is found is kept in the routes.
    pub(super) async fn probe(&self, index: usize, patience: Duration) {
        let remote = self.remote(index);
        let (Some(_probing), Some(link)) = (remote.begin_probe(), remote.held()) else {
            return;
        };
        let mut maintenance = link.with_leader().maintenance.clone();
        match timeout(patience.min(PROBE), maintenance.status()).await {
            Ok(Ok(_)) => self.answered(index),
            Ok(Err(error)) => {
                self.failed(index, &error, &"get the status", Effect::Reads);
            }
            Err(_) => {
                remote.forget(&link);
                self.doubt(index, "it is silent, and does not even tell its status");
            }
        }
    }

    /// What `error` means, for the caller and for the endpoint.
    pub(super) fn failed(
        &self,
        index: usize,
        error: &ClientError,
        what: &dyn fmt::Display,
        effect: Effect,
    ) -> Failure {
        let failure = Failure::of(error, what, self.endpoint_at(index), effect);
        match failure.health {
            Health::Good => self.answered(index),
            Health::Useless | Health::Disconnected => self.doubt(index, failure.error.reason()),
        }
        failure
    }

    /// Notes that an endpoint answered.
    pub(super) fn answered(&self, index: usize) {
        if self.routes.answered(index) {
            tracing::info!(
                endpoint = self.endpoint_at(index),
                "etcd answers again at this endpoint"
            );
        }
    }

    /// Notes that an endpoint failed, and says so if that is news.
    pub(super) fn doubt(&self, index: usize, reason: &str) {
        if self.routes.fail(index) {
            let (endpoint, next) = (self.endpoint_at(index), self.endpoint());
            tracing::warn!(
                endpoint,
                next,
                reason,
                "an endpoint of etcd fails; others are asked first until it answers"
            );
        }
    }
}
