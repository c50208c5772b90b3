//! The cases, a file a group.

mod auth;
mod cluster;
mod compaction;
mod compares;
mod delete;
mod election;
mod full;
mod lease;
mod lock;
mod maintenance;
mod put;
mod range;
mod txn;
mod txn_refused;
mod watch;
mod watch_past;

use super::suite::Group;

/// Bytes that a server keeps: etcd's own default, and a few that are soon used up.
const DEFAULT_QUOTA: usize = 2 * 1024 * 1024 * 1024;
const FULL: usize = 8 * 1024 * 1024;

macro_rules! groups {
    ($($name:ident $(quota $quota:ident)?),* $(,)?) => {
        pub(crate) const GROUPS: &[Group] = &[$(Group {
            name: stringify!($name),
            cases: $name::CASES,
            quota: [$($quota,)? DEFAULT_QUOTA][0],
        }),*];
    };
}

groups![
    range,
    put,
    delete,
    compares,
    txn,
    txn_refused,
    compaction,
    lease,
    watch,
    watch_past,
    maintenance,
    cluster,
    auth,
    lock,
    election,
    full quota FULL,
];
