//! An in-process etcd v3 server.
