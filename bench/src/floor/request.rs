//! The requests that the floor understands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::request::Transport;

/// RFC 6455, 1.3.
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub(super) enum Request<'a> {
    /// `after`: the number of the last message seen; 0 is the beginning, none is now.
    Poll {
        channel: &'a [u8],
        after: Option<u32>,
    },
    /// For an answer without end, which begins with `head`.
    Open {
        channel: &'a [u8],
        transport: Transport,
        head: String,
    },
    Publish {
        channel: &'a [u8],
        body: &'a [u8],
    },
    Other,
}

/// The first request in `bytes` and its length; `None` while it is incomplete, or if it is none.
pub(super) fn parse(bytes: &[u8]) -> Option<(Request<'_>, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = head.parse(bytes) else { return None };
    let header = |name: &str| head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let path = head.path?;
    if head.method == Some("POST") {
        let size: usize =
            header("Content-Length").and_then(|header| str::from_utf8(header.value).ok()?.parse().ok())?;
        let body = bytes.get(length..length + size)?;
        let request = match path.strip_prefix("/pub?id=") {
            Some(channel) => Request::Publish { channel: channel.as_bytes(), body },
            None => Request::Other,
        };
        return Some((request, length + body.len()));
    }
    let Some((transport, channel)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
        return Some((Request::Other, length));
    };
    let channel = channel.as_bytes();
    let open = |transport, head: &str| Request::Open { channel, transport, head: head.to_owned() };
    let request = match transport {
        "lp" => {
            let tag = header("If-None-Match")
                .and_then(|header| str::from_utf8(header.value.strip_prefix(b"W/")?).ok()?.parse().ok());
            Request::Poll { channel, after: tag.or(header("If-Modified-Since").map(|_| 0)) }
        }
        "stream" => open(Transport::Streaming, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"),
        "ev" => open(Transport::EventSource, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"),
        "ws" => {
            let mut hash = Sha1::new();
            hash.update(header("Sec-WebSocket-Key")?.value);
            hash.update(WEBSOCKET);
            let accept = STANDARD.encode(hash.finalize());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            Request::Open { channel, transport: Transport::WebSocket, head }
        }
        _ => Request::Other,
    };
    Some((request, length))
}
