//! The `etcd` section of the settings file.

mod raw;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::embedded::EmbeddedOptions;
use crate::framework::settings::{Address, Document, SettingsError};

pub(crate) use raw::RawEtcd;
use raw::{RawAuth, RawTls};

/// Name of the section.
const SECTION: &str = "etcd";
/// What stands for the server in this process.
const EMBEDDED: &str = "embedded";
/// A caller who waits longer than ten minutes for etcd does not wait for etcd.
const MAX_TIMEOUT_MS: u64 = 600_000;
/// A shorter interval would itself be load; a longer one than an hour checks nothing.
const HEARTBEAT_CHECK_MS: std::ops::RangeInclusive<u64> = 100..=3_600_000;

/// More than etcd itself keeps waiting (5000 entries that it has not applied) is of no use at one client.
const MAX_IN_FLIGHT: std::ops::RangeInclusive<u64> = 1..=5_000;
/// Each holds its key and value in memory. Zero refuses whatever cannot go at once.
const MAX_QUEUED: std::ops::RangeInclusive<u64> = 0..=1_000_000;

/// Where etcd is and how to speak with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSettings {
    endpoints: Endpoints,
    connect_timeout: Duration,
    request_timeout: Duration,
    max_in_flight: usize,
    max_queued: usize,
    heartbeat_check_interval: Duration,
    config_root: String,
    auth: Option<Auth>,
    tls: Option<Tls>,
    data_dir: Option<PathBuf>,
    fsync: bool,
}

impl EtcdSettings {
    /// Reads and checks the section `etcd`; what is left out takes its default.
    ///
    /// # Errors
    ///
    /// A key is unknown, a value has the wrong type or is out of range, an endpoint is none, or the settings for TLS
    /// contradict the endpoints.
    pub fn from_document(document: &Document) -> Result<Self, SettingsError> {
        let raw: RawEtcd = document.section_or_default(SECTION).map_err(hide_auth)?;
        let millis = |key, value, range| {
            document
                .in_range(key, value, range)
                .map(Duration::from_millis)
        };

        let count = |key, value, range| {
            document
                .in_range(key, value, range)
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
        };

        let tls = check_tls(document, raw.tls)?;
        Ok(Self {
            endpoints: check_endpoints(document, &raw.endpoints.0, tls.is_some())?,
            connect_timeout: millis(
                "etcd.connect_timeout",
                raw.connect_timeout,
                1..=MAX_TIMEOUT_MS,
            )?,
            request_timeout: millis(
                "etcd.request_timeout",
                raw.request_timeout,
                1..=MAX_TIMEOUT_MS,
            )?,
            max_in_flight: count("etcd.max_in_flight", raw.max_in_flight, MAX_IN_FLIGHT)?,
            max_queued: count("etcd.max_queued", raw.max_queued, MAX_QUEUED)?,
            heartbeat_check_interval: millis(
                "etcd.heartbeat_check_interval_ms",
                raw.heartbeat_check_interval_ms,
                HEARTBEAT_CHECK_MS,
            )?,
            config_root: check_config_root(document, raw.config_root)?,
            auth: check_auth(document, raw.auth)?,
            tls,
            data_dir: file(raw.embedded.data_dir),
            fsync: raw.embedded.fsync,
        })
    }

    /// Where etcd is.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// How long a connection may take to be made.
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long a request may take, its answer included.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// How many requests may be in flight at the same time, at least one. Watches and what keeps registrations alive do not
    /// count.
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// How many requests may wait for a place in flight.
    pub fn max_queued(&self) -> usize {
        self.max_queued
    }

    /// How often registrations and their leases are looked over.
    pub fn heartbeat_check_interval(&self) -> Duration {
        self.heartbeat_check_interval
    }

    /// What the keys of the configuration begin with; it ends with a slash.
    pub fn config_root(&self) -> &str {
        &self.config_root
    }

    /// Who logs in, if anyone. The embedded server asks nobody.
    pub fn auth(&self) -> Option<&Auth> {
        self.auth.as_ref()
    }

    /// How connections are encrypted, if they are. The one to the embedded server never is: it stays on loopback.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// How the embedded server is to be started, if etcd is embedded: in memory, or with its data in a folder.
    pub fn embedded_options(&self) -> EmbeddedOptions {
        let options = EmbeddedOptions::default().fsync(self.fsync);
        match &self.data_dir {
            Some(folder) => options.data_dir(folder),
            None => options,
        }
    }
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self::from_document(&Document::default())
            .expect("the defaults are valid, which a test holds")
    }
}

/// Where etcd is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// In this process, in memory or in a folder: see [`EtcdSettings::embedded_options`].
    Embedded,
    /// At these addresses, of which there is at least one.
    Remote(Vec<Endpoint>),
}

/// One server of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    address: Address,
}

impl Endpoint {
    /// The address to dial.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

/// The endpoint as an URI, `http://host:port` or `https://host:port`.
impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(formatter, "{scheme}://{}", self.address)
    }
}

/// Who logs in. Shown by `Debug` without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    username: String,
    password: String,
}

impl Auth {
    /// The name, not empty.
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, not empty.
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Auth")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// How connections are encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    ca_file: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// PEM file of the authority that signed the server's certificate; without one, those of the system count.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// PEM files of the certificate and the key that the client shows, if it shows any.
    pub fn identity(&self) -> Option<(&Path, &Path)> {
        self.identity
            .as_ref()
            .map(|(cert, key)| (cert.as_path(), key.as_path()))
    }
}

fn check_endpoints(
    document: &Document,
    texts: &[String],
    tls: bool,
) -> Result<Endpoints, SettingsError> {
    let invalid = |problem: String| document.invalid("etcd.endpoints", problem);
    // Before they are taken apart, for a password may hold a comma. Nothing is shown: what stands before the sign is a password.
    if texts.iter().any(|text| text.contains('@')) {
        return Err(invalid(
            "an endpoint holds no user; write name and password under etcd.auth".to_owned(),
        ));
    }
    let texts: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .collect();
    match texts.as_slice() {
        [] => Err(invalid(format!(
            "names no endpoint; write host:port, or {EMBEDDED} for a server in this process"
        ))),
        [EMBEDDED] => Ok(Endpoints::Embedded),
        texts if texts.contains(&EMBEDDED) => Err(invalid(format!(
            "{EMBEDDED} cannot stand beside other endpoints; keep one or the other"
        ))),
        texts => texts
            .iter()
            .map(|text| check_endpoint(text, tls).map_err(invalid))
            .collect::<Result<_, _>>()
            .map(Endpoints::Remote),
    }
}

fn check_endpoint(text: &str, tls: bool) -> Result<Endpoint, String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest.strip_suffix('/').unwrap_or(rest)),
        None => (None, text),
    };
    match (scheme, tls) {
        (None, _) | (Some("http"), false) | (Some("https"), true) => {}
        (Some("https"), false) => {
            return Err(format!(
                "`{text}` needs TLS, which etcd.tls.insecure turns off; write insecure: false there, or http:// here"
            ));
        }
        (Some("http"), true) => {
            return Err(format!(
                "`{text}` has no TLS, which etcd.tls.insecure: false asks for; write https:// here, or insecure: true there"
            ));
        }
        (Some(_), _) => {
            return Err(format!(
                "`{text}` begins neither with http:// nor with https://"
            ));
        }
    }
    let address = rest.parse().map_err(|error| format!("{error}"))?;
    Ok(Endpoint { tls, address })
}

fn check_config_root(document: &Document, root: String) -> Result<String, SettingsError> {
    if root.ends_with('/') {
        return Ok(root);
    }
    Err(document.invalid(
        "etcd.config_root",
        format!("`{root}` does not end with a slash; write `{root}/`"),
    ))
}

fn check_auth(document: &Document, raw: RawAuth) -> Result<Option<Auth>, SettingsError> {
    match (raw.username.is_empty(), raw.password.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(Auth {
            username: raw.username,
            password: raw.password,
        })),
        (true, false) => Err(document.invalid(
            "etcd.auth.username",
            "is empty beside a password; name the user",
        )),
        (false, true) => Err(document.invalid(
            "etcd.auth.password",
            "is empty beside a user; write the password",
        )),
    }
}

fn check_tls(document: &Document, raw: RawTls) -> Result<Option<Tls>, SettingsError> {
    if raw.insecure {
        return Ok(None);
    }
    let identity = match (file(raw.cert_file), file(raw.key_file)) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(document.invalid(
                "etcd.tls.cert_file",
                "needs its key; name the file in etcd.tls.key_file",
            ));
        }
        (None, Some(_)) => {
            return Err(document.invalid(
                "etcd.tls.key_file",
                "needs its certificate; name the file in etcd.tls.cert_file",
            ));
        }
    };
    Ok(Some(Tls {
        ca_file: file(raw.ca_file),
        identity,
    }))
}

/// A path, where an empty text means none.
fn file(name: String) -> Option<PathBuf> {
    Some(name)
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
}

/// Takes the value out of an error about `etcd.auth`, for it may be the password.
fn hide_auth(error: SettingsError) -> SettingsError {
    match error {
        SettingsError::Invalid { place, key, .. } if key.starts_with("etcd.auth") => {
            SettingsError::Invalid {
                place,
                key,
                problem: "must be a mapping of username and password, both texts".to_owned(),
            }
        }
        other => other,
    }
}
