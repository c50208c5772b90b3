//! etcd as a service of the framework.
//!
//! ```text
//! any service ── Handle<Etcd> ──▶ Etcd ── cx.io ──▶ Connection (IO runtime) ──▶ etcd, or the embedded one
//! subscriber ◀── WatchEvent ── a task for each watch ◀── one stream for all, on a connection of its own
//! subscriber ◀── NodeUp, NodeDown ── Discovery ◀── WatchEvent
//! subscriber ◀── ConfigChangeEvent ── a watcher ◀── WatchEvent
//! owner ◀── RegistrationEvent ── a task for each registration ◀── one stream that keeps all leases alive
//! holder ◀── Locked, Leadership ── a task for each ◀── etcd's lock and election services
//! ```
//!
//! [`Etcd`] answers these messages:
//!
//! | about | messages |
//! |---|---|
//! | keys | [`Get`], [`List`], [`BatchGet`], [`Put`], [`Delete`], [`CompareAndSwap`], [`Txn`], [`Compact`]; for what was there before, [`Replace`] (made by [`Put::previous`]) and [`Take`] ([`Delete::previous`]) |
//! | leases | [`Grant`], [`GrantAs`] ([`Grant::id`]), [`Revoke`], [`KeepAlive`], [`KeepLease`], [`LeaseTimeToLive`], [`Leases`], [`CheckHeartbeats`] |
//! | changes | [`Watch`], [`Unwatch`], [`Watches`] |
//! | presence | [`Register`]; as a registry of services [`ServiceRegister`], [`ServiceDiscover`], [`ServiceHeartbeat`], [`ServiceUnregister`] |
//! | configuration | [`ConfigGet`], [`ConfigSet`], [`ConfigDelete`], [`ConfigWatch`], [`ConfigUnwatch`] |
//! | locks, elections | [`Lock`], [`Campaign`], [`Leader`], [`Observe`] |
//! | servers | [`Endpoint`], [`Status`], [`StatusOfAll`], [`MemberList`] |
//!
//! While a handler waits for etcd the service handles its other messages, and no worker ever waits for the network. Every request
//! has a deadline; every error is an [`EtcdError`] that says what to do.

pub mod embedded;
pub mod settings;

mod backoff;
mod batch;
mod claim;
mod claim_hold;
mod claim_lease;
mod claims;
mod clients;
mod cluster;
mod compact;
mod compare;
mod config;
mod config_changes;
mod config_value;
mod config_watch;
mod connection;
mod dedicated;
mod delete;
mod dial;
mod discovery;
mod discovery_table;
mod election;
mod error;
mod failure;
mod failure_kind;
mod gate;
mod get;
mod health;
mod heartbeat;
mod holdings;
mod http2;
mod kept_lease;
mod key_value;
mod keys;
mod kv;
mod lease;
mod lease_clock;
mod lease_info;
mod lease_stream;
mod list;
mod list_pages;
mod lock;
mod messages;
mod node_record;
mod observe;
mod one_flight;
mod put;
mod read_refused;
mod registration;
mod registration_event;
mod registration_keys;
mod registration_task;
mod remote;
mod request;
mod routes;
mod service;
mod service_registry;
mod swap;
mod tenure;
mod tls_files;
mod tls_refusal;
mod txn;
mod txn_answer;
mod watch;
mod watch_bulk;
mod watch_catch_up;
mod watch_change;
mod watch_cursor;
#[cfg(test)]
mod watch_cursor_model;
mod watch_doubt;
mod watch_history;
mod watch_hub;
mod watch_lane;
mod watch_listing;
mod watch_page;
mod watch_roster;
mod watch_status;
mod watch_stream;
mod watch_table;
mod watch_task;
mod watch_wire;

pub use claims::Acquiring;
pub use config::{ConfigDelete, ConfigGet, ConfigSet};
pub use config_value::{ConfigValue, ConfigValueError};
pub use config_watch::{
    ConfigChangeEvent, ConfigChangeKind, ConfigUnwatch, ConfigWatch, ConfigWatchId,
};
pub use discovery::{Discovery, Node, NodeDown, NodeUp, Subscriber, Synchronized};
pub use election::{Campaign, Leader, Leadership};
pub use error::EtcdError;
pub use heartbeat::{CheckHeartbeats, HeartbeatReport};
pub use kept_lease::{KeepLease, KeptLease};
pub use lease::{Grant, GrantAs, KeepAlive, Lease, LeaseId, Revoke};
pub use lease_info::{LeaseInfo, LeaseTimeToLive, Leases};
pub use lock::{Lock, Locked};
pub use messages::{
    Batch, BatchGet, Compact, Compare, CompareAndSwap, CompareKeys, CompareWith, Delete, Deleted,
    Endpoint, EndpointStatus, Get, KeyValue, Keys, List, Listing, Member, MemberList, Put, Replace,
    Replaced, RevisionFilter, ServerStatus, SortBy, SortOrder, Status, StatusOfAll, Swap,
    SwapExpected, SwapKey, Take, Taken, Txn, TxnAnswer, TxnOp, TxnOutcome,
};
pub use node_record::{NodeRecord, NodeRecordError};
pub use observe::{LeaderEvent, Observation, Observe};
pub use read_refused::ReadRefused;
pub use registration::{Register, Registration};
pub use registration_event::{
    LossReason, RegistrationChange, RegistrationEvent, RegistrationStatus,
};
pub use service::Etcd;
pub use service_registry::{
    ServiceDiscover, ServiceEndpoint, ServiceHeartbeat, ServiceRegister, ServiceUnregister,
    service_prefix,
};
pub use tenure::Loss;
pub use watch::{Unwatch, Watch, WatchBuilder, WatchEvent, WatchId, WatchKind};
pub use watch_status::{WatchState, WatchStatus, Watches};
