//! A request as the locations see it, whoever parsed it, and the small parser for plain ones.
//!
//! Plain is what arrives whole in one read and can hide nothing: no Transfer-Encoding, Expect or Upgrade, nothing in its
//! target that parsers disagree on, and at most one Content-Length whose body is there too. Everything else is parsed by
//! hyper, from the first byte.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use httparse::Header;
use percent_encoding::percent_decode;

use super::client_address::Sender;
use super::reply::Framing;
use crate::accel::HandedOver;

/// The largest request head that is served, in bytes.
pub(crate) const MAX_HEAD: usize = 16 << 10;
/// The most header fields that a request may have.
pub(crate) const MAX_HEADERS: usize = 100;

/// A parsed request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) headers: &'a [Header<'a>],
    pub(crate) body: &'a [u8],
    pub(crate) framing: Framing,
    /// Who sent it, where that is known.
    pub(crate) sender: Option<Sender<'a>>,
    /// What nginx says of it on a trusted listener.
    pub(crate) handed: Option<&'a HandedOver>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        method: &'a str,
        target: &'a str,
        http10: bool,
        headers: &'a [Header<'a>],
        body: &'a [u8],
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let framing = Framing { http10, keep_alive: keeps_alive(http10, headers), head: method == "HEAD" };
        Self { method, path, query, headers, body, framing, sender: None, handed: None }
    }

    /// The value of the first header of this name, without surrounding blanks.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        find(self.headers, name)
    }

    /// The values of all headers of this name, without surrounding blanks.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii())
    }

    /// Whether the headers of this name, each a list, hold the token in any case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        lists(self.headers, name, token)
    }

    /// The first argument of this name, decoded once. A plus stays a plus.
    pub(crate) fn argument(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.arguments(name).next()
    }

    /// All arguments of this name, decoded once.
    pub(crate) fn arguments(&self, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        // Byte by byte: targets are short, and searchers for letters take longer to get ready.
        self.query.as_bytes().split(|&byte| byte == b'&').filter_map(move |pair| {
            let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            (&pair[..end] == name.as_bytes()).then(|| percent_decode(pair.get(end + 1..).unwrap_or_default()).into())
        })
    }
}

fn find<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim_ascii())
}

fn lists(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).any(|header| {
        header.value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

fn keeps_alive(http10: bool, headers: &[Header<'_>]) -> bool {
    let has = |token: &str| lists(headers, "connection", token);
    if http10 { has("keep-alive") && !has("close") } else { !has("close") }
}

/// What the small parser says of the bytes at hand.
pub(crate) enum Parsed<'a> {
    /// A plain request of this many bytes.
    Plain(Request<'a>, usize),
    /// Incomplete, unusual or broken: hyper's.
    Other,
}

/// Where [`parse`] puts the headers. Most requests have few, so that what they do not need is not cleared either.
pub(crate) type Room<'a> = [MaybeUninit<Header<'a>>; MAX_HEADERS];

/// An empty one.
pub(crate) const fn room<'a>() -> Room<'a> {
    [const { MaybeUninit::uninit() }; MAX_HEADERS]
}

/// Parses one plain request from the front of `bytes`.
pub(crate) fn parse<'a>(bytes: &'a [u8], room: &'a mut Room<'a>) -> Parsed<'a> {
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(head)) = request.parse_with_uninit_headers(bytes, room) else {
        return Parsed::Other;
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Parsed::Other;
    };
    let mut length = None;
    let mut hosts = 0;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") && length.is_none() {
            let digits = header.value.trim_ascii();
            let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
            match std::str::from_utf8(digits).ok().filter(|_| plain).and_then(|digits| digits.parse::<usize>().ok()) {
                Some(value) => length = Some(value),
                None => return Parsed::Other,
            }
        } else if is("content-length") || is("transfer-encoding") || is("expect") || is("upgrade") {
            return Parsed::Other;
        } else if is("host") {
            hosts += 1;
        }
    }
    let end = head + length.unwrap_or(0);
    // What hyper refuses or cuts off in a target, and the absolute form, is left to it: else the same request would mean
    // something else when it comes in two pieces.
    let odd = !target.starts_with('/') || target.bytes().any(|byte| matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`'));
    if hosts > 1 || bytes.len() < end || odd {
        return Parsed::Other;
    }
    let headers: &'a [Header<'a>] = request.headers;
    Parsed::Plain(Request::new(method, target, version == 0, headers, &bytes[head..end]), end)
}

/// The parts of a channels path: `a.b3/b` are `a` with a backlog of 3, and `b`. Empty parts mean nothing.
pub(crate) fn channels_path(path: &[u8]) -> impl Iterator<Item = (&[u8], u32)> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).map(|part| {
        let digits = part.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        match part[..part.len() - digits].strip_suffix(b".b") {
            Some(name) if digits > 0 && !name.is_empty() => {
                let number = part[part.len() - digits..].iter();
                let backlog =
                    number.fold(0u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')));
                (name, backlog)
            }
            _ => (part, 0),
        }
    })
}
