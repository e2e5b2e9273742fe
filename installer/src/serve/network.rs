//! Addresses of clients: networks in CIDR notation (RFC 4632, RFC 4291), as an allow-list names them.
//!
//! *Invariant:* addresses of IPv4 that came mapped into IPv6 are those of IPv4, on both sides.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: `10.0.0.0/8`, `fd00::/8`, or one address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Not one.
    #[error("`{0}` is no network: expected one such as 10.1.0.0/16, 10.1.2.3 or fd00::/8")]
    Text(String),
    /// An address within a network: one of the two was meant.
    #[error("`{given}` has bits beyond its prefix: the network is {network}")]
    HostBits {
        /// What was given.
        given: String,
        /// The network it lies in.
        network: Network,
    },
}

/// How many bits of an address of IPv6 say that it is one of IPv4.
const MAPPED_PREFIX: u8 = 96;

impl Network {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(_), found @ IpAddr::V4(_)) | (IpAddr::V6(_), found @ IpAddr::V6(_)) => {
                masked(found, self.prefix) == self.base
            }
            _ => false,
        }
    }

    /// The network of an address, and whether the address has bits beyond it.
    fn around(address: IpAddr, prefix: u8) -> Option<(Self, bool)> {
        let (address, prefix) = match address.to_canonical() {
            found @ IpAddr::V4(_) if address.is_ipv6() => (found, prefix.checked_sub(MAPPED_PREFIX)?),
            found => (found, prefix),
        };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let base = masked(address, prefix);
        (prefix <= bits).then_some((Self { base, prefix }, base != address))
    }
}

/// An address with nothing but the bits of a prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(found) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv4Addr::from_bits(found.to_bits() & mask).into()
        }
        IpAddr::V6(found) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            Ipv6Addr::from_bits(found.to_bits() & mask).into()
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse(), prefix_of(prefix)),
            None => {
                let address: Result<IpAddr, _> = text.parse();
                let bits = if address.as_ref().is_ok_and(IpAddr::is_ipv4) { 32 } else { 128 };
                (address, Some(bits))
            }
        };
        let given = || manifests::text::printable_up_to(text, 64);
        let around = address.ok().zip(prefix).and_then(|(address, prefix)| Self::around(address, prefix));
        match around {
            Some((network, false)) => Ok(network),
            Some((network, true)) => Err(NetworkError::HostBits { given: given(), network }),
            None => Err(NetworkError::Text(given())),
        }
    }
}

/// A number without a sign or a leading zero.
fn prefix_of(text: &str) -> Option<u8> {
    text.parse().ok().filter(|number: &u8| number.to_string() == text)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_network_has_its_first_and_its_last_address_and_not_their_neighbours() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", ["10.1.0.0", "10.1.255.255"], ["10.0.255.255", "10.2.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.6/31", ["192.0.2.6", "192.0.2.7"], ["192.0.2.5", "192.0.2.8"]),
            ("fd00::/8", ["fd00::", "fdff:ffff:ffff:ffff::1"], ["fc00::1", "fe00::"]),
            ("2001:db8::/33", ["2001:db8::1", "2001:db8:7fff::1"], ["2001:db8:8000::", "2001:db9::"]),
        ] {
            assert!(inside.iter().all(|address| contains(network, address)), "{network}");
            assert!(!outside.iter().any(|address| contains(network, address)), "{network}");
        }
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "2001:db8::1"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "203.0.113.9"));
    }

    #[test]
    fn an_address_of_ipv4_that_is_mapped_into_ipv6_is_the_one_of_ipv4() {
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3") && !contains("10.0.0.0/8", "::ffff:11.1.2.3"));
        assert!(contains("::ffff:10.0.0.0/104", "10.1.2.3") && contains("::ffff:10.1.2.3", "10.1.2.3"));
        assert_eq!("::ffff:10.0.0.0/104".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert!(!contains("::/0", "::ffff:10.1.2.3"), "it is not one of IPv6");
    }

    #[test]
    fn what_is_no_network_is_refused_and_a_slip_is_told_from_it() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0/8",
            "fd00::/129",
            "host",
            "10.0.0.0/8 ",
            "::ffff:10.0.0.0/95",
            "10.0.0.0/-1",
            "*",
        ] {
            assert!(matches!(bad.parse::<Network>(), Err(NetworkError::Text(_))), "{bad}");
        }
        let slip = "10.1.2.3/8".parse::<Network>().unwrap_err().to_string();
        assert!(slip.contains("the network is 10.0.0.0/8"), "{slip}");
    }
}
