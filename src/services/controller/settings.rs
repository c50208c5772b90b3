//! The `controller` section of the settings file.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::framework::settings::{Document, SettingsError, Whole};
use crate::services::settings::check;

/// The Controller keeps rooms and users in memory, some hundred bytes each: ten million is a few gigabytes.
const LIMIT: RangeInclusive<u64> = 1..=10_000_000;

/// Settings of the Controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSettings {
    listen: SocketAddr,
    max_rooms: usize,
    max_users: usize,
}

impl ControllerSettings {
    /// Reads and checks the section `controller`; what is left out takes its default.
    ///
    /// # Errors
    ///
    /// A key is unknown, or a value has the wrong type, is out of range or no address.
    pub fn from_document(document: &Document) -> Result<Self, SettingsError> {
        let raw: RawController = document.section_or_default("controller")?;
        Ok(Self {
            listen: check::listen(document, "controller.listen", &raw.listen)?,
            max_rooms: check::count(document, "controller.max_rooms", raw.max_rooms, LIMIT)?,
            max_users: check::count(document, "controller.max_users", raw.max_users, LIMIT)?,
        })
    }

    /// Where the gRPC server listens. Port 0 takes a free one.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Rooms that exist at the same time, at most.
    pub fn max_rooms(&self) -> usize {
        self.max_rooms
    }

    /// Users in all rooms together, at most.
    pub fn max_users(&self) -> usize {
        self.max_users
    }
}

impl Default for ControllerSettings {
    fn default() -> Self {
        Self::from_document(&Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

/// The section as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(crate) struct RawController {
    listen: String,
    max_rooms: Whole,
    max_users: Whole,
}

impl Default for RawController {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
            max_rooms: Whole(100_000),
            max_users: Whole(1_000_000),
        }
    }
}
