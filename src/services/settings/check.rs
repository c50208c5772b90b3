//! Checks that several sections share.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::framework::settings::{Address, Document, SettingsError, Whole};

/// Ids stand in keys, metrics and log lines: long ones make those unreadable.
const MAX_ID_BYTES: usize = 128;

/// An id: a part of a key in etcd and a label in metrics.
pub(crate) fn id(document: &Document, key: &str, id: String) -> Result<String, SettingsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed) {
        return Ok(id);
    }
    Err(document.invalid(
        key,
        format!("`{id}` is not an id; write 1 to {MAX_ID_BYTES} letters, digits, hyphens, underscores or points"),
    ))
}

/// An address to listen on.
pub(crate) fn listen(
    document: &Document,
    key: &str,
    text: &str,
) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| {
        document.invalid(
            key,
            format!(
                "`{text}` is not an address to listen on; write ip:port, such as 127.0.0.1:50053, or \
                 0.0.0.0:50053 for all interfaces"
            ),
        )
    })
}

/// An address to dial.
pub(crate) fn address(
    document: &Document,
    key: &str,
    text: &str,
) -> Result<Address, SettingsError> {
    text.parse()
        .map_err(|error| document.invalid(key, format!("{error}")))
}

/// A prefix of keys in etcd. It ends with a slash, so that it does not take in the keys of a service whose name begins alike.
pub(crate) fn prefix(
    document: &Document,
    key: &str,
    text: String,
) -> Result<String, SettingsError> {
    if text.len() > 1 && text.ends_with('/') {
        return Ok(text);
    }
    Err(document.invalid(
        key,
        format!("`{text}` is not a prefix; write a path that ends with a slash, such as /services/connect-node/"),
    ))
}

/// How many of something.
pub(crate) fn count(
    document: &Document,
    key: &str,
    value: Whole,
    range: RangeInclusive<u64>,
) -> Result<usize, SettingsError> {
    let number = document.in_range(key, value, range)?;
    Ok(usize::try_from(number).expect("no range given here goes past 32 bits"))
}

/// A span of time in milliseconds.
pub(crate) fn millis(
    document: &Document,
    key: &str,
    value: Whole,
    range: RangeInclusive<u64>,
) -> Result<Duration, SettingsError> {
    document
        .in_range(key, value, range)
        .map(Duration::from_millis)
}
