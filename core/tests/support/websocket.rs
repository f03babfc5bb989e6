//! A WebSocket client that looks at frames, and can send broken ones.

use std::io::Write;

use super::{Client, Response, TestHub};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// The headers of a handshake, and what it is accepted with (RFC 6455, section 1.3).
pub const HANDSHAKE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The request that opens a WebSocket; `headers` come beside those of the handshake.
pub fn handshake(path: &str, headers: &str) -> String {
    let fields: String = HANDSHAKE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}{headers}\r\n")
}

/// A frame as a client sends it, masked. `last`: it ends its message.
pub fn frame(opcode: u8, last: bool, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut out = announce(opcode | if last { 0x80 } else { 0 }, payload.len() as u64);
    let mask: [u8; 4] = out[out.len() - 4..].try_into().expect("four bytes");
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// The head of a masked frame of this length. `first` is its first byte.
pub fn announce(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..126 => out.push(0x80 | length as u8),
        126..65_536 => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend(length.to_be_bytes());
        }
    }
    out.extend([0x37, 0xfa, 0x21, 0x3d]);
    out
}

/// What the hub sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// An open WebSocket.
pub struct WebSocket {
    pub client: Client,
}

impl TestHub {
    pub fn websocket(&self, path: &str) -> WebSocket {
        self.websocket_with(path, "").1
    }

    /// The same with further headers, and with the answer to the handshake.
    pub fn websocket_with(&self, path: &str, headers: &str) -> (Response, WebSocket) {
        WebSocket::open(self.connect(), path, headers)
    }
}

impl WebSocket {
    /// Opens one over this connection.
    pub fn open(mut client: Client, path: &str, headers: &str) -> (Response, Self) {
        client.send(&handshake(path, headers));
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Sec-WebSocket-Accept")), (101, Some(ACCEPT)), "{answer:?}");
        (answer, Self { client })
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.client.socket.write_all(bytes).expect("the hub reads");
    }

    /// Sends one whole message or control frame.
    pub fn send(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        self.send_bytes(&frame(opcode, true, payload));
    }

    /// The next frame, which has to be whole, unmasked and of the shortest form.
    pub fn frame(&mut self) -> Frame {
        let head = self.take(2);
        assert_eq!(head[0] & 0x70, 0, "reserved bits: {head:x?}");
        assert_eq!(head[0] & 0x80, 0x80, "a fragment: {head:x?}");
        let length = match head[1] {
            0..126 => usize::from(head[1]),
            126 => {
                let length = u16::from_be_bytes(self.take(2).try_into().expect("two bytes"));
                assert!(length > 125, "{length} in two bytes");
                usize::from(length)
            }
            127 => {
                let length = u64::from_be_bytes(self.take(8).try_into().expect("eight bytes"));
                assert!(length > 65_535, "{length} in eight bytes");
                length as usize
            }
            _ => panic!("a masked frame: {head:x?}"),
        };
        Frame { opcode: head[0] & 0x0f, payload: self.take(length) }
    }

    /// The next frame, which has to be text.
    pub fn text(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        String::from_utf8(frame.payload).expect("UTF-8")
    }

    /// The next frame has to be this one.
    pub fn expect(&mut self, opcode: u8, payload: impl AsRef<[u8]>) {
        assert_eq!(self.frame(), Frame { opcode, payload: payload.as_ref().to_vec() });
    }

    /// A close frame and the end of the connection: code and reason.
    pub fn expect_close(&mut self) -> Option<(u16, String)> {
        let Frame { opcode, payload } = self.frame();
        assert_eq!(opcode, CLOSE, "{payload:?}");
        self.client.expect_end();
        let (code, reason) = payload.split_first_chunk()?;
        Some((u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("UTF-8")))
    }

    /// A close frame with this code and the end of the connection.
    pub fn expect_code(&mut self, code: u16) {
        assert_eq!(self.expect_close().map(|(code, _)| code), Some(code));
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        self.client.take(count)
    }
}
