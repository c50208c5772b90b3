//! The `push_manager` section of the settings file.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::framework::settings::{Address, Document, SettingsError, Whole};
use crate::services::settings::check;

use super::target::NodeProtocol;

/// A queue of a million messages is minutes of delay, not a buffer.
const NODE_QUEUE: RangeInclusive<u64> = 1..=1_000_000;
/// HTTP/2 servers commonly allow a hundred streams a connection; a thousand is past what any node takes.
const NODE_IN_FLIGHT: RangeInclusive<u64> = 1..=1_000;
/// A push that is ten minutes late is no push.
const NODE_TIMEOUT_MS: RangeInclusive<u64> = 1..=600_000;
/// From what holds one sensible message to what nodes take, which is 100 MiB and what is wrapped around it.
const MAX_MESSAGE_BYTES: RangeInclusive<u64> = 1_024..=104_857_600;
/// Faster pings than one a second get a connection closed by its server.
const KEEPALIVE_INTERVAL_MS: RangeInclusive<u64> = 1_000..=3_600_000;
/// An answer takes longer than 100 ms on a bad day; a minute is no sign of life.
const KEEPALIVE_TIMEOUT_MS: RangeInclusive<u64> = 100..=60_000;
/// Whoever stops a process for more than ten minutes kills it.
const SHUTDOWN_TIMEOUT_MS: RangeInclusive<u64> = 0..=600_000;

/// Settings of the push manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushManagerSettings {
    id: String,
    listen: SocketAddr,
    metrics_listen: SocketAddr,
    controller_address: Address,
    node_prefix: String,
    node_protocol: NodeProtocol,
    node_queue: usize,
    node_in_flight: usize,
    node_timeout: Duration,
    max_message_bytes: usize,
    keepalive_interval: Duration,
    keepalive_timeout: Duration,
    shutdown_timeout: Duration,
}

impl PushManagerSettings {
    /// Reads and checks the section `push_manager`; what is left out takes its default.
    ///
    /// # Errors
    ///
    /// A key is unknown, or a value has the wrong type, is out of range or no address.
    pub fn from_document(document: &Document) -> Result<Self, SettingsError> {
        let raw: RawPushManager = document.section_or_default("push_manager")?;
        Ok(Self {
            id: check::id(document, "push_manager.id", raw.id)?,
            listen: check::listen(document, "push_manager.listen", &raw.listen)?,
            metrics_listen: check::listen(
                document,
                "push_manager.metrics_listen",
                &raw.metrics_listen,
            )?,
            controller_address: check::address(
                document,
                "push_manager.controller_address",
                &raw.controller_address,
            )?,
            node_prefix: check::prefix(document, "push_manager.node_prefix", raw.node_prefix)?,
            node_protocol: NodeProtocol::named(&raw.node_protocol).map_err(|unknown| {
                document.invalid("push_manager.node_protocol", unknown.to_string())
            })?,
            node_queue: check::count(
                document,
                "push_manager.node_queue",
                raw.node_queue,
                NODE_QUEUE,
            )?,
            node_in_flight: check::count(
                document,
                "push_manager.node_in_flight",
                raw.node_in_flight,
                NODE_IN_FLIGHT,
            )?,
            node_timeout: check::millis(
                document,
                "push_manager.node_timeout_ms",
                raw.node_timeout_ms,
                NODE_TIMEOUT_MS,
            )?,
            max_message_bytes: check::count(
                document,
                "push_manager.max_message_bytes",
                raw.max_message_bytes,
                MAX_MESSAGE_BYTES,
            )?,
            keepalive_interval: check::millis(
                document,
                "push_manager.keepalive_interval_ms",
                raw.keepalive_interval_ms,
                KEEPALIVE_INTERVAL_MS,
            )?,
            keepalive_timeout: check::millis(
                document,
                "push_manager.keepalive_timeout_ms",
                raw.keepalive_timeout_ms,
                KEEPALIVE_TIMEOUT_MS,
            )?,
            shutdown_timeout: check::millis(
                document,
                "push_manager.shutdown_timeout_ms",
                raw.shutdown_timeout_ms,
                SHUTDOWN_TIMEOUT_MS,
            )?,
        })
    }

    /// Name of this push manager among others, in logs and metrics.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the gRPC server listens. Port 0 takes a free one.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where metrics and health are served over HTTP. Port 0 takes a free one.
    pub fn metrics_listen(&self) -> SocketAddr {
        self.metrics_listen
    }

    /// Where the Controller is.
    pub fn controller_address(&self) -> &Address {
        &self.controller_address
    }

    /// Prefix of the keys in etcd under which nodes register. Ends with a slash.
    pub fn node_prefix(&self) -> &str {
        &self.node_prefix
    }

    /// What nodes speak whose registration does not tell.
    pub fn node_protocol(&self) -> NodeProtocol {
        self.node_protocol
    }

    /// Messages that wait for one node at most; further ones are refused.
    pub fn node_queue(&self) -> usize {
        self.node_queue
    }

    /// Calls that are out to one node at the same time, at most.
    pub fn node_in_flight(&self) -> usize {
        self.node_in_flight
    }

    /// How long one call to a node may take.
    pub fn node_timeout(&self) -> Duration {
        self.node_timeout
    }

    /// The largest gRPC message that is received, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// How often a connection to a node is pinged, also when nothing is on its way.
    pub fn keepalive_interval(&self) -> Duration {
        self.keepalive_interval
    }

    /// How long a ping may go unanswered before the connection counts as dead.
    pub fn keepalive_timeout(&self) -> Duration {
        self.keepalive_timeout
    }

    /// How long queues are drained when the process is told to stop.
    pub fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }
}

impl Default for PushManagerSettings {
    fn default() -> Self {
        Self::from_document(&Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

/// The section as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(crate) struct RawPushManager {
    id: String,
    pub(crate) listen: String,
    pub(crate) metrics_listen: String,
    controller_address: String,
    node_prefix: String,
    node_protocol: String,
    node_queue: Whole,
    node_in_flight: Whole,
    node_timeout_ms: Whole,
    max_message_bytes: Whole,
    keepalive_interval_ms: Whole,
    keepalive_timeout_ms: Whole,
    shutdown_timeout_ms: Whole,
}

impl Default for RawPushManager {
    fn default() -> Self {
        Self {
            id: "push-manager-1".to_owned(),
            listen: "127.0.0.1:50053".to_owned(),
            metrics_listen: "127.0.0.1:9093".to_owned(),
            controller_address: "localhost:50051".to_owned(),
            node_prefix: "/services/connect-node/".to_owned(),
            node_protocol: NodeProtocol::default().to_string(),
            node_queue: Whole(1_000),
            node_in_flight: Whole(10),
            node_timeout_ms: Whole(5_000),
            max_message_bytes: Whole(100 * 1024 * 1024),
            keepalive_interval_ms: Whole(30_000),
            keepalive_timeout_ms: Whole(10_000),
            shutdown_timeout_ms: Whole(10_000),
        }
    }
}
