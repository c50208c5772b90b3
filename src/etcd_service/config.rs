//! Configuration in etcd: values at paths, read, set, deleted and watched.
//!
//! A path such as `limits/users` is the key `/config/limits/users`: the root is the setting `etcd.config_root`. A slash before the path
//! makes no difference.

use std::sync::Arc;

use super::config_value::ConfigValue;
use super::connection::Connection;
use super::error::EtcdError;
use super::failure::Effect;
use super::messages::{Delete, Get, Put};
use super::service::{Etcd, run};
use crate::framework::{Cx, Handler, Message};

/// Reads the value at a path.
///
/// ```
/// use million::etcd_service::settings::EtcdSettings;
/// use million::etcd_service::{ConfigGet, ConfigSet, Etcd};
/// use million::framework::Million;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let million = Million::builder().build()?;
/// let etcd = million.spawn(Etcd::new(EtcdSettings::default()));
/// million.block_on(async {
///     etcd.call(ConfigSet::new("limits/users", "10")).await??;
///     let users = etcd.call(ConfigGet::path("limits/users")).await??;
///     let users: u32 = users.ok_or("limits/users is not set")?.parse()?;
///     assert_eq!(users, 10);
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigGet {
    /// The path, not empty.
    pub path: String,
}

impl ConfigGet {
    /// Reads the value at `path`.
    pub fn path(path: impl Into<String>) -> Self {
        Self { path: path.into() }
    }
}

impl Message for ConfigGet {
    /// The value; `None` when there is none, which an empty value is not.
    type Reply = Result<Option<ConfigValue>, EtcdError>;
}

/// Sets the value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigSet {
    /// The path, not empty.
    pub path: String,
    /// The value, which may be empty.
    pub value: Vec<u8>,
}

impl ConfigSet {
    /// Sets `path` to `value`.
    pub fn new(path: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            value: value.into(),
        }
    }
}

impl Message for ConfigSet {
    /// The revision of the store that this made.
    type Reply = Result<i64, EtcdError>;
}

/// Takes the value at a path away.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is sent"]
pub struct ConfigDelete {
    /// The path, not empty.
    pub path: String,
}

impl ConfigDelete {
    /// Takes the value at `path` away.
    pub fn path(path: impl Into<String>) -> Self {
        Self { path: path.into() }
    }
}

impl Message for ConfigDelete {
    /// Whether there was one.
    type Reply = Result<bool, EtcdError>;
}

/// A path and the key that it is.
pub(super) struct Located {
    pub(super) path: String,
    pub(super) key: String,
}

/// The path as it is told, and its key.
pub(super) fn locate(root: &str, path: &str) -> Located {
    let path = path.strip_prefix('/').unwrap_or(path).to_owned();
    Located {
        key: format!("{root}{path}"),
        path,
    }
}

/// As [`locate`], for one value: the root alone is none.
pub(super) fn locate_value(root: &str, path: &str, what: &str) -> Result<Located, EtcdError> {
    let located = locate(root, path);
    if located.path.is_empty() {
        return Err(EtcdError::Invalid {
            what: what.to_owned(),
            endpoint: "this service".to_owned(),
            reason: "the path is empty".to_owned(),
        });
    }
    Ok(located)
}

impl Handler<ConfigGet> for Etcd {
    async fn handle(
        cx: &Cx<Self>,
        ConfigGet { path }: ConfigGet,
    ) -> Result<Option<ConfigValue>, EtcdError> {
        let what = "get a configuration";
        let Located { path, key } =
            cx.with(|etcd| locate_value(etcd.config_root(), &path, what))?;
        let get = |etcd: Arc<Connection>| async move { etcd.get(Get::key(key)).await };
        let found = run(cx, what, Effect::Reads, get).await?;
        Ok(found.map(|pair| ConfigValue::new(path, pair.value)))
    }
}

impl Handler<ConfigSet> for Etcd {
    async fn handle(cx: &Cx<Self>, ConfigSet { path, value }: ConfigSet) -> Result<i64, EtcdError> {
        let what = "set a configuration";
        let Located { key, .. } = cx.with(|etcd| locate_value(etcd.config_root(), &path, what))?;
        let put = |etcd: Arc<Connection>| async move { etcd.put(&Put::new(key, value)).await };
        run(cx, what, Effect::Writes, put).await
    }
}

impl Handler<ConfigDelete> for Etcd {
    async fn handle(cx: &Cx<Self>, ConfigDelete { path }: ConfigDelete) -> Result<bool, EtcdError> {
        let what = "delete a configuration";
        let Located { key, .. } = cx.with(|etcd| locate_value(etcd.config_root(), &path, what))?;
        let delete = |etcd: Arc<Connection>| async move { etcd.delete(&Delete::key(key)).await };
        Ok(run(cx, what, Effect::Writes, delete).await?.count > 0)
    }
}
