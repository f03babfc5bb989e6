//! Who sent a request: the address of the other end, or what proxies say that are believed.
//!
//! Each proxy appends to `X-Forwarded-For` whom it got the request from. So the list is read from its end, for as long as
//! the one who says it is in `trusted_proxies`; what stands before that anybody can have written. It is asked for only where
//! it is needed: a connection does not carry it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use rustix::net::{AddressFamily, getpeername};

use super::request::Request;
use crate::config::Proxy;

/// Where a request came from, for [`Request::client`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender<'a> {
    pub(crate) socket: BorrowedFd<'a>,
    /// [`Config::trusted_proxies`](crate::config::Config::trusted_proxies).
    pub(crate) trusted: &'a [Proxy],
}

/// The address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientAddress {
    /// IPv4 written as IPv6 is IPv4 here.
    Ip(IpAddr),
    /// A program on this machine, by a unix listener, that says of nobody that it speaks for them.
    Unix,
    /// The connection broke before it was asked.
    Unknown,
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix:"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

impl ClientAddress {
    fn of_peer(socket: BorrowedFd<'_>) -> Self {
        match getpeername(socket) {
            Ok(Some(peer)) if peer.address_family() == AddressFamily::UNIX => Self::Unix,
            Ok(Some(peer)) => SocketAddr::try_from(peer).map_or(Self::Unknown, |peer| Self::ip(peer.ip())),
            // A unix socket without a name has none on some kernels.
            Ok(None) => Self::Unix,
            Err(_) => Self::Unknown,
        }
    }

    fn ip(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }

    fn is_trusted(self, trusted: &[Proxy]) -> bool {
        trusted.iter().any(|proxy| match (proxy, self) {
            (Proxy::Network(network), Self::Ip(address)) => network.contains(address),
            (Proxy::Unix, Self::Unix) => true,
            _ => false,
        })
    }

    /// The client of a request that came from here with these lines of `X-Forwarded-For`, the last one first. What is no
    /// address ends the way: who said it is the client then.
    fn behind<'a>(self, trusted: &[Proxy], lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut entries = lines.flat_map(|line| line.rsplit(|&byte| byte == b','));
        let mut client = self;
        while client.is_trusted(trusted) {
            let Some(address) = entries.next().and_then(parse) else { break };
            client = Self::ip(address);
        }
        client
    }
}

impl Request<'_> {
    /// Who sent it. In requests that came by no connection, nobody.
    pub(crate) fn client(&self) -> ClientAddress {
        let Some(Sender { socket, trusted }) = self.sender else { return ClientAddress::Unknown };
        let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("x-forwarded-for");
        let lines = self.headers.iter().rev().filter(named).map(|header| header.value);
        ClientAddress::of_peer(socket).behind(trusted, lines)
    }
}

/// `1.2.3.4`, `1.2.3.4:567`, `::1`, `[::1]` or `[::1]:567`.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, trusted: &str, lines: &[&str]) -> String {
        let peer = match peer {
            "unix:" => ClientAddress::Unix,
            "unknown" => ClientAddress::Unknown,
            address => ClientAddress::ip(address.parse().unwrap()),
        };
        let trusted: Vec<Proxy> = trusted.split_whitespace().map(|proxy| proxy.parse().unwrap()).collect();
        peer.behind(&trusted, lines.iter().rev().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_client() {
        for (peer, trusted, lines, wanted) in [
            ("9.9.9.9", "", &["1.2.3.4"][..], "9.9.9.9"),
            ("9.9.9.9", "10.0.0.0/8", &["1.2.3.4"], "9.9.9.9"),
            ("10.0.0.1", "10.0.0.0/8", &[], "10.0.0.1"),
            ("10.0.0.1", "10.0.0.0/8", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", "10.0.0.0/8", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.1", "10.0.0.0/8", &["6.6.6.6,1.2.3.4 ,10.2.2.2,\t10.3.3.3 "], "1.2.3.4"),
            ("10.0.0.1", "10.0.0.0/8", &["6.6.6.6", "1.2.3.4", "10.2.2.2"], "1.2.3.4"),
            ("10.0.0.1", "10.0.0.0/8", &["10.2.2.2", "10.3.3.3"], "10.2.2.2"),
            ("unix:", "10.0.0.0/8", &["1.2.3.4"], "unix:"),
            ("unix:", "unix:", &["1.2.3.4"], "1.2.3.4"),
            ("unix:", "unix: ::1", &["1.2.3.4, ::1"], "1.2.3.4"),
            ("unknown", "unix: 0.0.0.0/1", &["1.2.3.4"], "unknown"),
            ("::ffff:10.0.0.1", "10.0.0.0/8", &["::ffff:1.2.3.4"], "1.2.3.4"),
            ("2001:db8::1", "2001:db8::/32", &["2001:db9::7"], "2001:db9::7"),
        ] {
            assert_eq!(client(peer, trusted, lines), wanted, "{peer} {trusted:?} {lines:?}");
        }
    }

    #[test]
    fn ports_and_brackets_are_taken_off() {
        for (entry, wanted) in [
            ("1.2.3.4:567", "1.2.3.4"),
            ("[::1]:5", "::1"),
            ("[::1]", "::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[::ffff:1.2.3.4]:80", "1.2.3.4"),
        ] {
            assert_eq!(client("10.0.0.1", "10.0.0.0/8", &[entry]), wanted, "{entry}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_way_and_is_never_believed() {
        for entry in [
            "",
            " ",
            "unknown",
            "unix:",
            "_hidden",
            "1.2.3",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "1.2.3.4 5.6.7.8",
            "[::1",
            "::1]",
            "[1.2.3.4]",
            "01.2.3.4",
            "fe80::1%eth0",
            "10.0.0.0/8",
            "\"1.2.3.4\"",
            "for=1.2.3.4",
            "1.2.3.4;5",
        ] {
            let line = format!("6.6.6.6,{entry}");
            assert_eq!(client("10.0.0.1", "10.0.0.0/8", &[&line]), "10.0.0.1", "{entry:?}");
            let line = format!("6.6.6.6,{entry},10.0.0.2");
            assert_eq!(client("10.0.0.1", "10.0.0.0/8", &[&line]), "10.0.0.2", "{entry:?}");
        }
        let broken: [&[u8]; 2] = [b"\xff\xfe", b"6.6.6.6"];
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let peer = ClientAddress::ip("10.0.0.1".parse().unwrap());
        assert_eq!(peer.behind(&trusted, broken.into_iter()), peer);
    }

    proptest! {
        /// Whatever stands before what our proxies have said changes nothing, and bytes of strangers are never believed.
        #[test]
        fn what_stands_further_left_is_never_looked_at(
            forged in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            address in any::<u32>(),
            hops in prop::collection::vec(any::<[u8; 3]>(), 0..4),
        ) {
            let client = ClientAddress::ip(Ipv4Addr::from_bits(address | 0x8000_0000).into());
            let trusted: Vec<Proxy> = vec!["10.0.0.0/8".parse().unwrap(), Proxy::Unix];
            let said = hops.iter().fold(client.to_string(), |said, [a, b, c]| format!("{said}, 10.{a}.{b}.{c}"));
            // The client's own lines first, and its last one continued by the first proxy.
            let mut lines = forged.clone();
            let last = lines.pop().unwrap_or_default();
            lines.push([&*last, b",", said.as_bytes()].concat());
            let found = ClientAddress::Unix.behind(&trusted, lines.iter().rev().map(Vec::as_slice));
            prop_assert_eq!(found, client);
            // Nothing but bytes of strangers, to those who are not believed.
            prop_assert_eq!(client.behind(&trusted, forged.iter().map(Vec::as_slice)), client);
        }
    }

    #[test]
    fn the_other_end_of_a_socket_is_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(ClientAddress::of_peer(one.as_fd()), ClientAddress::Unix);
        let listener =
            std::net::TcpListener::bind("[::1]:0").or_else(|_| std::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert_eq!(ClientAddress::of_peer(accepted.as_fd()), ClientAddress::ip(peer.ip()));
        drop(client);
        assert_eq!(ClientAddress::of_peer(listener.as_fd()), ClientAddress::Unknown, "not connected");
    }
}
