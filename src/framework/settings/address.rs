//! An address of the network: a host and a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A host and a port, as another machine would dial them. The host is a name or an IP address; the port is not 0.
///
/// ```
/// use million::framework::settings::Address;
///
/// let address: Address = "[::1]:50051".parse()?;
/// assert_eq!((address.host(), address.port()), ("::1", 50051));
/// assert_eq!(address.to_string(), "[::1]:50051");
/// # Ok::<(), million::framework::settings::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The host, without the brackets around an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the host means "all interfaces" (`0.0.0.0`, `::`), which one can listen on but nobody can dial.
    pub fn is_wildcard(&self) -> bool {
        self.host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |problem| AddressError {
            text: text.to_owned(),
            problem,
        };
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| error("the port is missing"))?;
        let port = Some(port)
            .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|port| port.parse().ok())
            .filter(|port| *port != 0)
            .ok_or_else(|| error("the port is no number from 1 to 65535"))?;
        let host = match host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            Some(inner) => inner
                .parse::<Ipv6Addr>()
                .map(|_| inner)
                .map_err(|_| error("what stands in brackets is no IPv6 address"))?,
            None if host.is_empty() => return Err(error("the host is missing")),
            None if host.bytes().all(is_part_of_a_name) => host,
            None => return Err(error("the host is neither a name nor an IP address")),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

fn is_part_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// Why a text is not an [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address: {problem}; write host:port, such as localhost:50051")]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_dialled_is_an_address() {
        for text in [
            "localhost:1",
            "10.0.0.1:65535",
            "[::1]:80",
            "connect_node-1.example:50052",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_not() {
        for text in [
            "",
            "localhost",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:80",
            "[x]:80",
            "a b:1",
            "http://a:1",
            "u@a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_told_from_a_host() {
        assert!("0.0.0.0:1".parse::<Address>().unwrap().is_wildcard());
        assert!("[::]:1".parse::<Address>().unwrap().is_wildcard());
        assert!(!"127.0.0.1:1".parse::<Address>().unwrap().is_wildcard());
    }
}
