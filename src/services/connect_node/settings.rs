//! The `connect_node` section of the settings file.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::framework::settings::{Address, Document, SettingsError, Whole, text};
use crate::services::settings::check;

/// Under two seconds one slow renewal ends the lease; a node that is gone for a day is gone.
const LEASE_TTL_SECONDS: RangeInclusive<u64> = 2..=86_400;
/// A user who is 65536 frames behind does not catch up.
const USER_QUEUE: RangeInclusive<u64> = 1..=65_536;
/// Past ten million sockets one machine runs out of memory first.
const MAX_USERS: RangeInclusive<u64> = 1..=10_000_000;

/// Settings of a Connect-Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectNodeSettings {
    id: String,
    listen: SocketAddr,
    websocket_listen: SocketAddr,
    advertise: Option<Address>,
    controller_address: Address,
    lease_ttl: Duration,
    user_queue: usize,
    max_users: usize,
}

impl ConnectNodeSettings {
    /// Reads and checks the section `connect_node`; what is left out takes its default.
    ///
    /// # Errors
    ///
    /// A key is unknown, a value has the wrong type, is out of range or no address, or others could not dial the address
    /// that the node would register.
    pub fn from_document(document: &Document) -> Result<Self, SettingsError> {
        let raw: RawConnectNode = document.section_or_default("connect_node")?;
        let listen = check::listen(document, "connect_node.listen", &raw.listen)?;
        Ok(Self {
            id: check::id(document, "connect_node.id", raw.id)?,
            listen,
            websocket_listen: check::listen(
                document,
                "connect_node.websocket_listen",
                &raw.websocket_listen,
            )?,
            advertise: check_advertise(document, &raw.advertise, listen)?,
            controller_address: check::address(
                document,
                "connect_node.controller_address",
                &raw.controller_address,
            )?,
            lease_ttl: document
                .in_range(
                    "connect_node.lease_ttl_seconds",
                    raw.lease_ttl_seconds,
                    LEASE_TTL_SECONDS,
                )
                .map(Duration::from_secs)?,
            user_queue: check::count(
                document,
                "connect_node.user_queue",
                raw.user_queue,
                USER_QUEUE,
            )?,
            max_users: check::count(document, "connect_node.max_users", raw.max_users, MAX_USERS)?,
        })
    }

    /// Name of this node among others: in its registration, and at the Controller.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the gRPC server listens. Port 0 takes a free one.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where users connect over WebSocket. Port 0 takes a free one.
    pub fn websocket_listen(&self) -> SocketAddr {
        self.websocket_listen
    }

    /// The address that the node registers for its gRPC server. `None`: the one that it is bound to, which is no wildcard then.
    pub fn advertise(&self) -> Option<&Address> {
        self.advertise.as_ref()
    }

    /// Where the Controller is.
    pub fn controller_address(&self) -> &Address {
        &self.controller_address
    }

    /// How long the registration outlives a node that has died.
    pub fn lease_ttl(&self) -> Duration {
        self.lease_ttl
    }

    /// Frames that wait for one user at most.
    pub fn user_queue(&self) -> usize {
        self.user_queue
    }

    /// Users who are connected at the same time, at most.
    pub fn max_users(&self) -> usize {
        self.max_users
    }
}

impl Default for ConnectNodeSettings {
    fn default() -> Self {
        Self::from_document(&Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

fn check_advertise(
    document: &Document,
    text: &str,
    listen: SocketAddr,
) -> Result<Option<Address>, SettingsError> {
    let wildcard = |what: &str| {
        document.invalid(
            "connect_node.advertise",
            format!("{what} means all interfaces, which nobody can dial; write the host:port at which others reach this node"),
        )
    };
    if text.is_empty() {
        if listen.ip().is_unspecified() {
            return Err(wildcard("is empty, and connect_node.listen"));
        }
        return Ok(None);
    }
    let address = check::address(document, "connect_node.advertise", text)?;
    if address.is_wildcard() {
        return Err(wildcard(&format!("`{text}`")));
    }
    Ok(Some(address))
}

/// The section as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(crate) struct RawConnectNode {
    id: String,
    listen: String,
    websocket_listen: String,
    #[serde(deserialize_with = "text")]
    advertise: String,
    controller_address: String,
    lease_ttl_seconds: Whole,
    user_queue: Whole,
    max_users: Whole,
}

impl Default for RawConnectNode {
    fn default() -> Self {
        Self {
            id: "connect-node-1".to_owned(),
            listen: "127.0.0.1:50052".to_owned(),
            websocket_listen: "127.0.0.1:8080".to_owned(),
            advertise: String::new(),
            controller_address: "localhost:50051".to_owned(),
            lease_ttl_seconds: Whole(10),
            user_queue: Whole(256),
            max_users: Whole(10_000),
        }
    }
}
