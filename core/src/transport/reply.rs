//! An HTTP answer as bytes: the one place that writes status lines and common headers.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write;
use std::thread::LocalKey;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::stream::Frames;
use crate::message::Position;

/// What `WWW-Authenticate` says of a token that is not, or no longer, valid (RFC 6750, section 3.1).
pub(crate) const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// What of the request decides the frame of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Framing {
    /// The request was HTTP/1.0.
    pub(crate) http10: bool,
    /// The connection stays open after the answer.
    pub(crate) keep_alive: bool,
    /// The request was HEAD: the answer has no body, but says its length.
    pub(crate) head: bool,
}

/// Room for the headers of most answers.
const HEADERS: usize = 192;

/// An answer before it is framed.
#[derive(Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<u8>,
    body: Vec<u8>,
    /// Why it is a refusal.
    reason: String,
    /// For how many seconds a browser may use it again without asking.
    fresh: u32,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::with_capacity(HEADERS), body: Vec::new(), reason: String::new(), fresh: 0 }
    }

    /// Values come from us or from a checked configuration, never from a request.
    pub(crate) fn header(mut self, name: &str, value: impl Display) -> Self {
        write!(self.headers, "{name}: {value}\r\n").expect("writing to memory");
        self
    }

    /// The same for a text. Every answer has some of these, and most of what it costs would be formatting.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        for part in [name, ": ", value, "\r\n"] {
            self.headers.extend_from_slice(part.as_bytes());
        }
        self
    }

    pub(crate) fn fresh_for(self, seconds: u32) -> Self {
        Self { fresh: seconds, ..self }
    }

    /// A refusal: no body, the reason in the header that the module's clients know.
    pub(crate) fn refusal(status: u16, reason: impl Display) -> Self {
        let reason = reason.to_string();
        Self { reason: reason.clone(), ..Self::new(status).header("X-Nginx-PushStream-Explain", reason) }
    }

    /// Status and reason, for those who do not read headers.
    pub(crate) fn refused(&self) -> (u16, &str) {
        (self.status, &self.reason)
    }

    pub(crate) fn content_type(self, content_type: &str) -> Self {
        self.field("Content-Type", content_type).field("X-Content-Type-Options", "nosniff")
    }

    /// Where the subscriber asks again from, in the form of the module.
    pub(crate) fn position(mut self, position: Position) -> Self {
        self.headers.extend_from_slice(b"Last-Modified: ");
        append_date(&mut self.headers, &POSITION, u64::from(position.time));
        self.headers.extend_from_slice(b"\r\nEtag: W/");
        append_number(&mut self.headers, u64::from(position.tag));
        self.headers.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn body(mut self, content_type: &str, body: Vec<u8>) -> Self {
        self.body = body;
        self.content_type(content_type)
    }

    pub(crate) fn render(&self, framing: Framing) -> Vec<u8> {
        let mut out = self.head(framing.http10);
        if self.status != 304 {
            out.extend_from_slice(b"Content-Length: ");
            append_number(&mut out, self.body.len() as u64);
            out.extend_from_slice(b"\r\n");
        }
        match (framing.keep_alive, framing.http10) {
            (true, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, false) => {}
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
        }
        out.extend_from_slice(b"\r\n");
        if !framing.head && self.status != 304 {
            out.extend_from_slice(&self.body);
        }
        out
    }

    /// The head of an answer that goes on for as long as its subscriber stays.
    pub(crate) fn render_open(&self, frames: Frames, keep_alive: bool) -> Vec<u8> {
        let mut out = self.head(frames == Frames::Plain);
        out.extend_from_slice(match (frames, keep_alive) {
            (Frames::Plain, _) => b"Connection: close\r\n\r\n",
            (Frames::Chunks, true) => b"Transfer-Encoding: chunked\r\n\r\n",
            (Frames::Chunks, false) => b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
            (Frames::WebSocket, _) => b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        });
        out
    }

    fn head(&self, http10: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(320 + self.headers.len() + self.body.len());
        out.extend_from_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        append_number(&mut out, u64::from(self.status));
        out.push(b' ');
        out.extend_from_slice(phrase(self.status).as_bytes());
        out.extend_from_slice(b"\r\nDate: ");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        append_date(&mut out, &NOW, now);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.headers);
        match self.fresh {
            0 => out.extend_from_slice(
                b"Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\nCache-Control: no-cache, no-store, must-revalidate\r\n",
            ),
            seconds => write!(out, "Cache-Control: public, max-age={seconds}\r\n").expect("writing to memory"),
        }
        out
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

thread_local! {
    /// The last date that was written as `Date`.
    static NOW: RefCell<Date> = const { RefCell::new(Date { second: 0, text: String::new() }) };
    /// The same for positions: those of one second come together.
    static POSITION: RefCell<Date> = const { RefCell::new(Date { second: 0, text: String::new() }) };
}

/// A second, and how HTTP writes it.
struct Date {
    second: u64,
    text: String,
}

fn append_date(out: &mut Vec<u8>, last: &'static LocalKey<RefCell<Date>>, second: u64) {
    last.with_borrow_mut(|last| {
        if last.second != second || last.text.is_empty() {
            let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
            *last = Date { second, text };
        }
        out.extend_from_slice(last.text.as_bytes());
    });
}

/// Appends a number in decimal digits.
pub(crate) fn append_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_formatting_writes_them() {
        for number in [0, 1, 9, 10, 99, 100, 65_535, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            append_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }

    #[test]
    fn each_position_has_its_own_date() {
        for time in [0, 784_111_777, 784_111_777, 784_111_778, 0] {
            let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(u64::from(time)));
            let answer = Reply::new(200).position(Position { time, tag: 7 });
            let expected = format!("Last-Modified: {date}\r\nEtag: W/7\r\n");
            assert_eq!(String::from_utf8_lossy(&answer.headers), expected);
        }
    }
}
