//! etcd as a service of the framework.
//!
//! ```text
//! any service ── Handle<Etcd> ──▶ Etcd ── cx.io ──▶ Connection (IO runtime) ──▶ etcd, or the embedded one
//! subscriber ◀── WatchEvent ── a task for each watch ◀── stream, on a connection of its own
//! subscriber ◀── NodeUp, NodeDown ── Discovery ◀── WatchEvent
//! ```
//!
//! [`Etcd`] answers [`Get`], [`Put`], [`Delete`], [`List`], [`Grant`], [`Revoke`], [`KeepAlive`], [`Watch`], [`Unwatch`],
//! [`Register`], [`Endpoint`] and [`Status`]. A handler that waits for etcd does not keep the service from its other messages, and
//! no worker ever waits for the network. Every request has a deadline; every error is an [`EtcdError`] that says what to do.

pub mod embedded;
pub mod settings;

mod backoff;
mod connection;
mod discovery;
mod discovery_table;
mod error;
mod failure;
mod kv;
mod lease;
mod messages;
mod node_record;
mod registration;
mod registration_task;
mod service;
mod watch;
mod watch_cursor;
#[cfg(test)]
mod watch_cursor_model;
mod watch_page;
mod watch_task;

pub use discovery::{Discovery, Node, NodeDown, NodeUp, Subscriber, Synchronized};
pub use error::EtcdError;
pub use lease::{Grant, KeepAlive, Lease, LeaseId, Revoke};
pub use messages::{
    Delete, Deleted, Endpoint, Get, KeyValue, List, Listing, Put, ServerStatus, Status,
};
pub use node_record::{NodeRecord, NodeRecordError};
pub use registration::{Register, Registration};
pub use service::Etcd;
pub use watch::{Unwatch, Watch, WatchBuilder, WatchEvent, WatchId, WatchKind};
