//! Everything that a program of this project reads before it starts.
//!
//! In rising precedence: the defaults, the settings file, the environment, the flags.
//!
//! | variable | what it overrides |
//! |---|---|
//! | `CONFIG_FILE` | the path of the settings file |
//! | `MANAGER_ID` | `push_manager.id` |
//! | `GRPC_PORT` | the port of `push_manager.listen` |
//! | `METRICS_PORT` | the port of `push_manager.metrics_listen` |
//! | `CONTROLLER_ADDRESS` | `push_manager.controller_address` and `connect_node.controller_address` |
//! | `ETCD_ENDPOINTS` | `etcd.endpoints` |
//!
//! A variable that is empty counts as not set.

pub(crate) mod check;

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::Serialize;

use crate::etcd_service::settings::{EtcdSettings, RawEtcd};
use crate::framework::settings::{Document, RawFramework, Settings, SettingsError};
use crate::services::connect_node::settings::{ConnectNodeSettings, RawConnectNode};
use crate::services::controller::settings::{ControllerSettings, RawController};
use crate::services::push_manager::settings::{PushManagerSettings, RawPushManager};

/// The file that is read when nobody names one, if it is there.
const DEFAULT_FILE: &str = "config.yaml";
/// Variables that stand for one text.
const TEXTS: &[(&str, &[&str])] = &[
    ("MANAGER_ID", &["push_manager.id"]),
    (
        "CONTROLLER_ADDRESS",
        &[
            "push_manager.controller_address",
            "connect_node.controller_address",
        ],
    ),
    ("ETCD_ENDPOINTS", &["etcd.endpoints"]),
];

/// All settings of a program, checked.
///
/// ```
/// use million::services::settings::Configuration;
///
/// // What the command line does: the file and the environment, and its flags above both.
/// let document = Configuration::document(None, |name| {
///     (name == "GRPC_PORT").then(|| "50060".to_owned())
/// })?;
/// let configuration =
///     Configuration::from_document(document.with_override("etcd.endpoints", "etcd-1:2379", "--etcd"))?;
/// assert_eq!(configuration.push_manager.listen().port(), 50060);
/// # Ok::<(), million::framework::settings::SettingsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The framework: threads, ticks, logging, and any other section of the file.
    pub framework: Settings,
    /// Where etcd is.
    pub etcd: EtcdSettings,
    /// The push manager.
    pub push_manager: PushManagerSettings,
    /// The Connect-Node.
    pub connect_node: ConnectNodeSettings,
    /// The Controller.
    pub controller: ControllerSettings,
}

impl Configuration {
    /// Reads the settings file and the environment, and checks all of it. `env` tells the value of a variable.
    ///
    /// The file is the one at `path`, else at `CONFIG_FILE`, else `config.yaml` in the current directory; only the last may be
    /// missing.
    ///
    /// # Errors
    ///
    /// See [`SettingsError`]; the message names the line or the variable.
    pub fn load(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        Self::from_document(Self::document(path, env)?)
    }

    /// The settings file with the environment above it, for whoever has more to put above both; see [`Document::with_override`].
    ///
    /// # Errors
    ///
    /// The file cannot be read or is not YAML, or a variable that should hold a port does not.
    pub fn document(
        path: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Document, SettingsError> {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let document = match (path, env("CONFIG_FILE")) {
            (Some(path), _) => Document::load(path)?,
            (None, Some(path)) => Document::load(path)?,
            (None, None) => load_if_present(Path::new(DEFAULT_FILE))?,
        };
        apply_environment(document, env)
    }

    /// Checks every section of `document`.
    ///
    /// # Errors
    ///
    /// See [`SettingsError`]; the message names the line, the variable or the flag.
    pub fn from_document(document: Document) -> Result<Self, SettingsError> {
        Ok(Self {
            etcd: EtcdSettings::from_document(&document)?,
            push_manager: PushManagerSettings::from_document(&document)?,
            connect_node: ConnectNodeSettings::from_document(&document)?,
            controller: ControllerSettings::from_document(&document)?,
            framework: Settings::from_document(document)?,
        })
    }

    /// Every setting with its default, as YAML.
    pub fn default_yaml() -> String {
        #[derive(Default, Serialize)]
        struct Sections {
            #[serde(flatten)]
            framework: RawFramework,
            etcd: RawEtcd,
            push_manager: RawPushManager,
            connect_node: RawConnectNode,
            controller: RawController,
        }

        serde_yaml::to_string(&Sections::default()).expect(
            "the defaults are texts, numbers and mappings of them, all of which YAML can write",
        )
    }
}

impl Default for Configuration {
    fn default() -> Self {
        Self::from_document(Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

fn load_if_present(path: &Path) -> Result<Document, SettingsError> {
    match Document::load(path) {
        Err(SettingsError::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Ok(Document::default())
        }
        result => result,
    }
}

fn apply_environment(
    mut document: Document,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Document, SettingsError> {
    let source = |name: &str| format!("environment variable {name}");
    for (name, keys) in TEXTS {
        let Some(value) = env(name) else { continue };
        for key in *keys {
            document = document.with_override(*key, &*value, source(name));
        }
    }

    let file: RawPushManager = document.section_or_default("push_manager")?;
    for (name, key, listen) in [
        ("GRPC_PORT", "push_manager.listen", file.listen),
        (
            "METRICS_PORT",
            "push_manager.metrics_listen",
            file.metrics_listen,
        ),
    ] {
        let Some(port) = env(name) else { continue };
        let host = check::listen(&document, key, &listen)?.ip();
        document = match port.trim().parse() {
            Ok(port) => {
                document.with_override(key, SocketAddr::new(host, port).to_string(), source(name))
            }
            Err(_) => {
                let document = document.with_override(key, &*port, source(name));
                return Err(document.invalid(
                    key,
                    format!("`{port}` is not a port; write a number from 0 to 65535"),
                ));
            }
        };
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEFAULT_FILE);
        assert!(load_if_present(&path).is_ok());

        std::fs::write(&path, "node: { id: 7 }").unwrap();
        let settings = Settings::from_document(load_if_present(&path).unwrap()).unwrap();
        assert_eq!(settings.node_id(), 7);

        std::fs::write(&path, "node: {").unwrap();
        assert!(load_if_present(&path).is_err());
    }
}
