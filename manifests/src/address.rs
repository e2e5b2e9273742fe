//! Where something answers on a network, as a document may name it: a host with a port, a port of the site's
//! machine, the URL of a health check.
//!
//! *Invariant:* none of these texts can hold a login, white space or an escape sequence.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU16;
use core::str::FromStr;

use crate::string_form::string_form;
use crate::text::{DnsName, TextError};

/// Longer than any URL that people write for a health check.
const URL_BYTES_MAX: usize = 512;

/// The name or the address of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// By its name.
    Name(DnsName),
    /// By its address; one of IPv6 is written in brackets.
    Address(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        let address = text.parse::<Ipv4Addr>().map(|address| Self::Address(IpAddr::V4(address)));
        address.ok().or_else(|| text.parse().ok().map(Self::Name))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => fmt::Display::fmt(name, f),
            Self::Address(IpAddr::V4(address)) => fmt::Display::fmt(address, f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Digits only, from 1 to 65535.
fn port(text: &str) -> Option<NonZeroU16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Where something listens for TCP connections: `db.site:5432`, `127.0.0.1:80`, `[::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// On which machine.
    pub host: Host,
    /// The TCP port.
    pub port: NonZeroU16,
}

impl FromStr for HostPort {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed = text
            .rsplit_once(':')
            .and_then(|(host, at)| Some(Self { host: Host::parse(host)?, port: port(at)? }));
        parsed.ok_or_else(|| {
            TextError::new(text, "host with a port", "HOST:PORT in lower case, such as db.site:5432")
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

string_form!(HostPort);

/// A TCP port of the site's machine: `8080` on every address, or `127.0.0.1:8080` on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenPort {
    /// The TCP port.
    pub port: NonZeroU16,
    /// On this address; `None` for every address.
    pub address: Option<IpAddr>,
}

impl FromStr for ListenPort {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let parsed = match text.rsplit_once(':') {
            None => port(text).map(|port| Self { port, address: None }),
            Some((host, at)) => match Host::parse(host) {
                Some(Host::Address(address)) => port(at).map(|port| Self { port, address: Some(address) }),
                _ => None,
            },
        };
        parsed
            .ok_or_else(|| TextError::new(text, "port", "1 to 65535, or ADDRESS:PORT such as 127.0.0.1:8080"))
    }
}

impl fmt::Display for ListenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}:{}", Host::Address(address), self.port),
            None => fmt::Display::fmt(&self.port, f),
        }
    }
}

string_form!(ListenPort);

/// The URL of a health check: `http` or `https`, a host, perhaps a port, a path and a query. It has neither a
/// login nor a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        if is_url(text) {
            return Ok(Self(text.to_string()));
        }
        let rule = "http://HOST[:PORT][/PATH] or https://…, at most 512 characters, without a login or a `#`";
        Err(TextError::new(text, "URL for a health check", rule))
    }
}

fn is_url(text: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'!'..=b'~') && !b"\"<>\\^`{|}#".contains(&byte);
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    text.len() <= URL_BYTES_MAX
        && text.bytes().all(plain)
        && (Host::parse(authority).is_some() || authority.parse::<HostPort>().is_ok())
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

string_form!(HttpUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_a_port_has_both() {
        for good in ["db.site:5432", "localhost:1", "127.0.0.1:65535", "[::1]:80"] {
            assert_eq!(good.parse::<HostPort>().unwrap().to_string(), good);
        }
        for bad in [
            "db", "db:", "db:0", "db:65536", "db:+1", "::1:80", "[::1]", "[x]:1", "a b:1", "u@h:1", ":1",
            "DB:1",
        ] {
            assert!(bad.parse::<HostPort>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn a_port_of_the_machine_may_have_an_address_and_no_name() {
        for good in ["8080", "127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(good.parse::<ListenPort>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "65536", "-1", "localhost:80", "::1:80", "127.0.0.1", "80/udp", " 80"] {
            assert!(bad.parse::<ListenPort>().is_err(), "accepted {bad:?}");
        }
    }

    #[test]
    fn a_url_carries_no_login_and_names_a_host() {
        for good in [
            "http://127.0.0.1:8080/healthz",
            "https://fraud.site",
            "http://[::1]:80/a?full=1",
            "http://h?x",
            "https://h/a@b:c%20d",
        ] {
            assert_eq!(good.parse::<HttpUrl>().unwrap().as_str(), good);
        }
        let long = alloc::format!("http://h/{}", "x".repeat(512));
        for bad in [
            "",
            "h",
            "ftp://h/",
            "http://",
            "http:///x",
            "HTTP://h/",
            "http://u:p@h/",
            "http://h:0/",
            "http://h:x/",
            "http://h/#a",
            "http://h/a b",
            "http://h/\u{e9}",
            "http://h\\@x/",
            "http://h/\n",
            &long,
        ] {
            assert!(bad.parse::<HttpUrl>().is_err(), "accepted {bad:?}");
        }
    }
}
