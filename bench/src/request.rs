//! The requests of a run: a subscription and a publication.

use serde::Serialize;

use crate::message;

/// A position before all messages.
pub(crate) const BEGINNING: &[u8] = b"Thu, 01 Jan 1970 00:00:00 GMT";

/// How a subscriber is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// Once; it asks again.
    LongPoll,
    /// Without end, each of these in its way.
    Streaming,
    EventSource,
    WebSocket,
}

impl Transport {
    /// The request for an answer without end.
    pub(crate) fn request(self, channel: &str) -> Vec<u8> {
        let (path, headers) = match self {
            Transport::LongPoll => ("lp", ""),
            Transport::Streaming => ("stream", ""),
            Transport::EventSource => ("ev", "Accept: text/event-stream\r\n"),
            Transport::WebSocket => (
                "ws",
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            ),
        };
        format!("GET /{path}/{channel} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n").into_bytes()
    }
}

/// The request of a subscriber that polls. Kept as rendered: in a round all ask from the same position.
pub(crate) struct Poll {
    channel: String,
    last_modified: Vec<u8>,
    etag: Vec<u8>,
    request: Vec<u8>,
}

impl Poll {
    pub(crate) fn new(channel: &str) -> Poll {
        let mut poll =
            Poll { channel: channel.to_owned(), last_modified: Vec::new(), etag: Vec::new(), request: Vec::new() };
        poll.render();
        poll
    }

    /// The poll from the position that these two headers of an answer name; empty ones name none.
    pub(crate) fn from(&mut self, last_modified: &[u8], etag: &[u8]) -> &[u8] {
        if self.last_modified != last_modified || self.etag != etag {
            self.last_modified = last_modified.to_vec();
            self.etag = etag.to_vec();
            self.render();
        }
        &self.request
    }

    /// The poll from the position that was asked for last.
    pub(crate) fn again(&self) -> &[u8] {
        &self.request
    }

    fn render(&mut self) {
        self.request.clear();
        poll(&self.channel, &self.last_modified, &self.etag, &mut self.request);
    }
}

/// The poll of `channel` from the position that these two headers of an answer name; empty ones name none.
pub(crate) fn poll(channel: &str, last_modified: &[u8], etag: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"GET /lp/");
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: bench\r\n");
    for (name, value) in [(&b"If-Modified-Since: "[..], last_modified), (b"If-None-Match: ", etag)] {
        if !value.is_empty() {
            for part in [name, value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// The publication of message `counter`, `size` bytes long.
pub(crate) fn publication(channel: &str, counter: u32, size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"POST /pub?id=");
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: ");
    out.extend_from_slice(size.to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    message::write(counter, size, out);
}
