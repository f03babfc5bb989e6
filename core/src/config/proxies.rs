//! Whose word about the address of a client counts: networks of proxies, and programs on this machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Proxies that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proxy {
    /// Those with an address of this network.
    Network(Network),
    /// Whoever can open a unix listener.
    Unix,
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

/// Bits before an IPv4 address that is written as IPv6.
const MAPPED: u8 = 96;

impl Network {
    /// The network of this address and so many bits, at least one; behind them the address has to be zero.
    fn new(first: IpAddr, bits: u8) -> Option<Self> {
        let (first, bits) = match (first, first.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if bits >= MAPPED => (IpAddr::V4(mapped), bits - MAPPED),
            _ => (first, bits),
        };
        let network = Self { first, bits };
        let longest = if first.is_ipv4() { 32 } else { 128 };
        ((1..=longest).contains(&bits) && network.shorten(first) == Some(first)).then_some(network)
    }

    /// Whether the address is one of them. One that is IPv4 written as IPv6 has to be told in its own form.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.shorten(address) == Some(self.first)
    }

    /// The address without what is behind the bits, if it is of the same family.
    fn shorten(&self, address: IpAddr) -> Option<IpAddr> {
        match (self.first, address) {
            (IpAddr::V4(_), IpAddr::V4(address)) => {
                Some(Ipv4Addr::from_bits(address.to_bits() & (u32::MAX << (32 - u32::from(self.bits)))).into())
            }
            (IpAddr::V6(_), IpAddr::V6(address)) => {
                let mask = u128::MAX << (128 - u32::from(self.bits));
                Some(Ipv6Addr::from_bits(address.to_bits() & mask).into())
            }
            _ => None,
        }
    }
}

impl FromStr for Proxy {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "unix:" {
            return Ok(Self::Unix);
        }
        let network = match text.split_once('/') {
            Some((address, bits)) => {
                let plain = (1..=3).contains(&bits.len()) && bits.bytes().all(|byte| byte.is_ascii_digit());
                let address = address.parse().ok().filter(|_| plain).ok_or(())?;
                Network::new(address, bits.parse().map_err(drop)?)
            }
            None => {
                let address: IpAddr = text.parse().map_err(drop)?;
                Network::new(address, if address.is_ipv4() { 32 } else { 128 })
            }
        };
        network.map(Self::Network).ok_or(())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str("unix:"),
            Self::Network(Network { first, bits }) => match (first, bits) {
                (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => first.fmt(f),
                _ => write!(f, "{first}/{bits}"),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        match network.parse().unwrap() {
            Proxy::Network(network) => network.contains(address.parse().unwrap()),
            Proxy::Unix => false,
        }
    }

    #[test]
    fn a_network_ends_where_its_bits_end() {
        for (network, first, last, below, above) in [
            ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
            ("192.168.4.0/22", "192.168.4.0", "192.168.7.255", "192.168.3.255", "192.168.8.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.0", "127.0.0.2"),
            ("128.0.0.0/1", "128.0.0.0", "255.255.255.255", "127.255.255.255", "0.0.0.0"),
            ("2001:db8::/33", "2001:db8::", "2001:db8:7fff:ffff::1", "2001:db7::", "2001:db8:8000::"),
            ("::1", "::1", "::1", "::", "::2"),
            ("::ffff:10.0.0.0/104", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ] {
            assert!(contains(network, first) && contains(network, last), "{network}");
            assert!(!contains(network, below) && !contains(network, above), "{network}");
        }
        assert!(!contains("10.0.0.0/8", "a00::"), "another family");
        assert!(!contains("8000::/1", "128.0.0.1"), "another family");
    }

    #[test]
    fn what_is_no_network_is_not_read() {
        for text in [
            "",
            "unix",
            "unix:/run/x",
            "10.0.0.0/",
            "10.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::1/64",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/08x",
            "10.0.0",
            "localhost",
            "[::1]",
            "127.0.0.1:80",
            "::ffff:0.0.0.0/96",
            "10.0.0.0/255.0.0.0",
        ] {
            assert_eq!(text.parse::<Proxy>(), Err(()), "{text}");
        }
        for text in ["unix:", "10.0.0.0/8", "127.0.0.1", "2001:db8::/32", "::1"] {
            assert_eq!(text.parse::<Proxy>().unwrap().to_string(), text);
        }
        assert_eq!("127.0.0.1/32".parse::<Proxy>().unwrap().to_string(), "127.0.0.1");
    }
}
