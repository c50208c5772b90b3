//! An in-process etcd v3 server, in memory or with its data in a folder, that any etcd client can talk to over gRPC.
//!
//! ```text
//! client ── gRPC ──▶ kv / watch / lease / lock / election / maintenance / cluster / auth service     (async, thin)
//!                        │ lock, apply, unlock: never an await in between
//!                        ▼
//!                      Store ── Keyspace (versions + history) ─ Leases ─ Watchers   (pure: no clock, no tokio)
//!                        │ every change, if it is to be kept ──▶ disk: a thread that writes; answers wait for it
//!                        │ streams that have something to read
//!                        ▼
//!                     notify ──▶ each watch stream reads the history at its own cursor
//! ```
//!
//! # Promises
//!
//! - **etcd's semantics**: revisions, ranges at old revisions, transactions, watches with history, leases and compaction
//!   answer as etcd 3.5 does, with etcd's gRPC codes and texts; so do locks and elections. `tests/conformance` holds it to that,
//!   field by field, and records the few differences that are on purpose.
//! - **Nothing is kept on disk, unless a folder is named** ([`EmbeddedOptions::data_dir`]). Without one, a server that starts is empty,
//!   at revision 1, with a new random cluster id: a client that sees the cluster id change knows that revisions have begun
//!   again. With one, what was acknowledged is there after `kill -9`, and with fsync (the default) after a power failure too.
//! - **Memory is bounded** by the live keys (a quota), the history (a number of revisions and of bytes, beyond which the
//!   oldest is compacted by itself, see [`EmbeddedOptions`]) and a few words for each lease and watch. A slow watcher
//!   holds a cursor, not a queue; one that the compaction overtakes is canceled with the compacted revision, as etcd does. An answer takes
//!   what it tells for as long as it is sent, and as in etcd only its question bounds it: a client may ask for everything, and
//!   in one transaction many times.
//! - **Order**: a watch gets every event of its keys once, in the order of revisions; the events of one revision are
//!   split over responses only if the client asked for fragments.
//! - **Shutdown**: [`EmbeddedEtcd::stop`] ends open streams with `UNAVAILABLE` and waits, with a bound, for requests in
//!   flight; dropping the server cuts every connection at once. No task outlives either.
//!
//! # Left out on purpose
//!
//! TLS; users and roles (to add one is refused with what to do instead, lists are empty, nobody is found); membership changes (refused the
//! same way; what a cluster of one refuses is refused in etcd's words); snapshots to be downloaded.
//!
//! # With `etcdctl` 3.4
//!
//! Give it `--endpoints HOST:PORT`. With `http://` before it everything works but `endpoint status`, `endpoint hashkv` and
//! `defrag`: there that client sends the whole URL as the HTTP/2 authority, which the transport refuses as malformed.

#![forbid(unsafe_code)]

mod answer;
mod auth;
mod cluster;
mod disk;
mod election_service;
mod error;
mod expiry;
mod front;
mod generated;
mod keyspace;
mod kv_service;
mod leadership;
mod lease;
mod lease_service;
mod lock_service;
mod maintenance;
mod options;
mod queue;
mod range;
mod refusal;
mod server;
mod shared;
mod store;
#[cfg(test)]
mod store_model;
mod transport;
mod txn;
mod watch;
mod watch_service;

pub use error::EmbeddedError;
pub use options::EmbeddedOptions;
pub use server::{EmbeddedEtcd, start, start_with};
