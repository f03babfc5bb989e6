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
    /// The marks of all their names.
    pub(crate) marks: u64,
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
        // Byte by byte, here and below: targets are short, and searchers for letters take longer to get ready.
        let path = target.bytes().position(|byte| byte == b'?').unwrap_or(target.len());
        let (path, query) = (&target[..path], target.get(path + 1..).unwrap_or_default());
        let marks = headers.iter().fold(0, |marks, header| marks | mark(header.name));
        let framing = Framing { http10, keep_alive: false, head: method == "HEAD" };
        let mut request = Self { method, path, query, headers, marks, body, framing, sender: None, handed: None };
        let has = |token| request.lists("connection", token);
        request.framing.keep_alive = !has("close") && (!http10 || has("keep-alive"));
        request
    }

    /// The value of the first header of this name, without surrounding blanks.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The values of all headers of this name, without surrounding blanks.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let headers = if self.marks & mark(name) == 0 { &[] } else { self.headers };
        headers.iter().filter(move |header| is_named(header, name)).map(|header| header.value.trim_ascii())
    }

    /// Whether the headers of this name, each a list, hold the token in any case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let mut parts = self.all(name).flat_map(|list| list.split(|&byte| byte == b','));
        parts.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// The first argument of this name, decoded once. A plus stays a plus.
    pub(crate) fn argument(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        self.arguments(name).next()
    }

    /// All arguments of this name, decoded once.
    pub(crate) fn arguments(&self, name: &str) -> impl Iterator<Item = Cow<'a, [u8]>> {
        self.query.as_bytes().split(|&byte| byte == b'&').filter_map(move |pair| {
            let end = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            (&pair[..end] == name.as_bytes()).then(|| percent_decode(pair.get(end + 1..).unwrap_or_default()).into())
        })
    }
}

/// One bit of 64 for the name of a header, the same in any case. Most that are asked for were not sent, which is seen by
/// their bits.
const fn mark(name: &str) -> u64 {
    let last = match name.as_bytes() {
        [.., last] => last.to_ascii_lowercase(),
        [] => 0,
    };
    1 << ((name.len() * 29 + last as usize) % 64)
}

/// Whether the header has this name, in any case. Without this bit small and capital letters are the same, and of all else
/// that a name may hold only `^` and `~`, which stand in no name that is asked for.
fn is_named(header: &Header<'_>, name: &str) -> bool {
    let (sent, name) = (header.name.as_bytes(), name.as_bytes());
    let differ = |sum: u8, (a, b): (&u8, &u8)| sum | (a | 0x20) ^ (b | 0x20);
    sent.len() == name.len() && sent.iter().zip(name).fold(0, differ) == 0
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
    let headers: &'a [Header<'a>] = request.headers;
    let request = Request::new(method, target, version == 0, headers, &[]);
    let has = |name| request.header(name).is_some();
    if has("transfer-encoding") || has("expect") || has("upgrade") || request.all("host").nth(1).is_some() {
        return Parsed::Other;
    }
    let mut lengths = request.all("content-length");
    let length = match (lengths.next().map(content_length), lengths.next()) {
        (None, _) => 0,
        (Some(Some(length)), None) => length,
        _ => return Parsed::Other,
    };
    let end = head + length;
    // What hyper refuses or cuts off in a target, and the absolute form, is left to it: else the same request would mean
    // something else when it comes in two pieces.
    let odd = !target.starts_with('/') || target.bytes().any(|byte| matches!(byte, b'#' | b'"' | b'<' | b'>' | b'`'));
    if bytes.len() < end || odd {
        return Parsed::Other;
    }
    Parsed::Plain(Request { body: &bytes[head..end], ..request }, end)
}

/// The value of a Content-Length, if it is nothing but a few digits.
fn content_length(digits: &[u8]) -> Option<usize> {
    let plain = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_found_however_its_name_is_written() {
        for name in ["Host", "host", "HOST", "hosT"] {
            let headers = [Header { name, value: b" a " }, Header { name: "X-Y", value: b"b" }];
            let request = Request::new("GET", "/", false, &headers, b"");
            assert_eq!(request.header("host"), Some(&b"a"[..]), "{name}");
            assert_eq!(request.all("x-y").count(), 1);
            assert_eq!(request.header("x-z"), None);
        }
    }
}
