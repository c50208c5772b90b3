//! The `etcd` section of the settings file.
