//! WebSocket (RFC 6455): the handshake, frames to the client, and what the client sends.
//!
//! Bytes in, meaning out: nothing here reads, writes or knows the connection. An [`Input`] between two frames is a null
//! pointer; a buffer exists only while a frame or a fragmented message is incomplete, and grows with what arrives,
//! never by what a client announces. Beyond the RFC a client may leave its frames unmasked, as the module lets it.

use std::ops::ControlFlow;

use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};

use super::reply::Reply;
use super::request::Request;

/// What the accept key of RFC 6455, section 1.3, is made with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;
/// The longest reason of a close frame: its payload without the code.
const MAX_REASON: usize = MAX_CONTROL - 2;
/// The longest head of a frame: two bytes, a length of eight, a mask of four.
const MAX_HEAD: usize = 14;

/// Checks the opening handshake of a GET request.
///
/// Gives the value of `Sec-WebSocket-Accept`, or the refusal in the words that the module's clients know.
pub(crate) fn handshake(request: &Request<'_>) -> Result<String, Reply> {
    if request.framing.http10 {
        return Err(Reply::refusal(400, "A WebSocket needs HTTP/1.1."));
    }
    let mandatory = ["connection", "upgrade"].map(|name| request.header(name));
    let [key, version] = ["sec-websocket-key", "sec-websocket-version"].map(|name| request.header(name));
    let (true, Some(key), Some(version)) = (mandatory.iter().all(Option::is_some), key, version) else {
        return Err(Reply::refusal(
            400,
            "Don't have at least one of the mandatory headers: Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version",
        ));
    };
    if version != b"13" && version != b"8" {
        return Err(Reply::refusal(400, "Version not supported. Supported versions: 8, 13")
            .header("Sec-WebSocket-Version", "8, 13"));
    }
    if !request.lists("upgrade", "websocket") || !request.lists("connection", "upgrade") {
        return Err(Reply::refusal(400, "Upgrade must name websocket, and Connection must name upgrade."));
    }
    if BASE64_STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) {
        return Ok(BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()));
    }
    Err(Reply::refusal(400, "Sec-WebSocket-Key must be 16 bytes in base64."))
}

/// The status of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseCode(u16);

impl CloseCode {
    /// The client broke the rules of framing.
    pub(crate) const PROTOCOL: Self = Self(1002);
    /// A kind of data that is not taken: binary.
    pub(crate) const UNSUPPORTED: Self = Self(1003);
    /// Text that is not UTF-8.
    pub(crate) const NOT_UTF8: Self = Self(1007);
    /// What the connection asks for is not allowed.
    pub(crate) const REFUSED: Self = Self(1008);
    /// A frame or message above the limit.
    pub(crate) const TOO_LARGE: Self = Self(1009);
    /// The token that opened the connection has expired: one that comes with a new token goes on.
    pub(crate) const EXPIRED: Self = Self(4001);
    /// The backend wants the connection to end.
    pub(crate) const DISCONNECTED: Self = Self(4002);

    /// The codes that may stand in a frame (RFC 6455, section 7.4, and the registry it opens).
    fn new(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(code))
    }
}

/// What a frame to the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// Appends one unmasked, unfragmented frame. The payload of a ping or pong has at most 125 bytes.
pub(crate) fn append_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    debug_assert!(matches!(opcode, Opcode::Text | Opcode::Binary) || payload.len() <= MAX_CONTROL);
    out.push(0x80 | opcode as u8);
    if payload.len() <= MAX_CONTROL {
        out.push(payload.len() as u8);
    } else if let Ok(length) = u16::try_from(payload.len()) {
        out.push(126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// Appends a close frame; a reason that is too long is cut after its last whole character that fits.
pub(crate) fn append_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let end = (0..=reason.len().min(MAX_REASON)).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.0.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    append_frame(out, Opcode::Close, &payload);
}

/// Appends the close frame that refuses a subscription after the handshake: its reason is JSON, as in the module, and
/// stays so when the words are too many.
pub(crate) fn append_refusal(out: &mut Vec<u8>, status: u16, explain: &str) {
    let mut explain = explain.to_owned();
    loop {
        let words = serde_json::Value::from(explain.as_str());
        let reason = format!("{{\"http_status\": {status}, \"explain\":{words}}}");
        if reason.len() <= MAX_REASON {
            return append_close(out, CloseCode::REFUSED, &reason);
        }
        explain.pop();
    }
}

/// What a client's frames have to keep to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest message, in bytes.
    pub(crate) message: usize,
    /// Text is handed on. Otherwise it is only checked, and never kept.
    pub(crate) keep_text: bool,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A whole message: UTF-8, not empty.
    Text(&'a [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    Pong,
    /// To be answered by a close frame with the same code. Nothing comes after it.
    Close(Option<CloseCode>),
}

/// What has come of a client's next frame or message.
#[derive(Debug, Default)]
pub(crate) struct Input {
    partial: Option<Box<Partial>>,
}

impl Input {
    /// Takes what one read brought, hands on what it completes until `on` breaks, and says how many bytes that were. The
    /// rest is to be fed another time.
    ///
    /// The bytes are unmasked where they are. After an error or [`Received::Close`] nothing more may be fed; the rest of
    /// the bytes is dropped, and so is everything incomplete.
    ///
    /// # Errors
    ///
    /// What to close the connection with. Whatever came before has been handed on.
    pub(crate) fn feed(
        &mut self,
        bytes: &mut [u8],
        limits: Limits,
        on: impl FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<usize, CloseCode> {
        let mut partial = self.partial.take().map_or_else(Partial::default, |partial| *partial);
        let all = bytes.len();
        let (stop, rest) = partial.read(bytes, limits, on)?;
        if stop == Some(Stop::Closed) {
            return Ok(all);
        }
        if !partial.is_empty() {
            self.partial = Some(Box::new(partial));
        }
        Ok(all - rest)
    }
}

/// Why bytes are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Who gets what is received wants no more for now.
    Enough,
    /// The client said its last word.
    Closed,
}

/// A frame or message of which more has to come.
#[derive(Debug, Default)]
struct Partial {
    /// The first bytes of a frame whose head is not complete.
    head: [u8; MAX_HEAD],
    head_len: usize,
    /// A frame whose payload is not complete.
    frame: Option<Frame>,
    /// The payload of that frame so far, if it is a control frame.
    control: Vec<u8>,
    /// A message whose last frame is not complete.
    message: Option<Message>,
}

/// A frame without what came of its payload.
#[derive(Debug)]
struct Frame {
    kind: Kind,
    last: bool,
    /// The mask, turned to the next byte of the payload. Zeros change nothing: no mask.
    mask: [u8; 4],
    remaining: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A text frame or its continuation.
    Text,
    Control(Control),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Close,
    Ping,
    Pong,
}

/// A text message so far.
#[derive(Debug, Default)]
struct Message {
    /// What its frames have announced.
    announced: usize,
    utf8: Utf8,
    /// Its text, if that is kept. Grows with what comes: what is only announced costs nothing.
    text: Vec<u8>,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Why it stopped, if it did, and how many bytes it has not looked at.
    fn read(
        &mut self,
        mut bytes: &mut [u8],
        limits: Limits,
        mut on: impl FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<(Option<Stop>, usize), CloseCode> {
        loop {
            let frame = match self.frame.take() {
                None if bytes.is_empty() => None,
                None => self.read_head(&mut bytes, limits)?,
                frame => frame,
            };
            let Some(mut frame) = frame else { return Ok((None, 0)) };
            let (payload, rest) = bytes.split_at_mut(frame.remaining.min(bytes.len()));
            bytes = rest;
            frame.unmask(payload);
            let whole = frame.remaining == 0;
            let read = match frame.kind {
                Kind::Text => self.read_text(payload, whole && frame.last, limits.keep_text, &mut on)?,
                Kind::Control(control) => self.read_control(control, payload, whole, &mut on)?,
            };
            if let ControlFlow::Break(stop) = read {
                return Ok((Some(stop), bytes.len()));
            }
            if !whole {
                self.frame = Some(frame);
                return Ok((None, 0));
            }
        }
    }

    /// Takes a head off the front of `bytes`, or keeps them while it is incomplete.
    fn read_head(&mut self, bytes: &mut &mut [u8], limits: Limits) -> Result<Option<Frame>, CloseCode> {
        let had = self.head_len;
        let end = MAX_HEAD.min(had + bytes.len());
        self.head[had..end].copy_from_slice(&bytes[..end - had]);
        let Some((frame, len)) = self.parse_head(&self.head[..end], limits)? else {
            self.head_len = end;
            return Ok(None);
        };
        self.head_len = 0;
        *bytes = &mut std::mem::take(bytes)[len - had..];
        if frame.kind == Kind::Text {
            self.message.get_or_insert_default().announced += frame.remaining;
        }
        Ok(Some(frame))
    }

    /// The frame that begins with these bytes, and the length of its head. What is wrong is said as soon as it shows.
    fn parse_head(&self, head: &[u8], limits: Limits) -> Result<Option<(Frame, usize)>, CloseCode> {
        let Some((&first, rest)) = head.split_first() else { return Ok(None) };
        let last = first & 0x80 != 0;
        let kind = match first & 0x7f {
            0 if self.message.is_some() => Kind::Text,
            1 if self.message.is_none() => Kind::Text,
            2 if self.message.is_none() => return Err(CloseCode::UNSUPPORTED),
            8 if last => Kind::Control(Control::Close),
            9 if last => Kind::Control(Control::Ping),
            10 if last => Kind::Control(Control::Pong),
            // Also a reserved bit, for no extension was agreed on.
            _ => return Err(CloseCode::PROTOCOL),
        };
        let Some((&second, rest)) = rest.split_first() else { return Ok(None) };
        let (length, rest) = match second & 0x7f {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            length => (u64::from(length), rest),
        };
        let (room, beyond) = match kind {
            Kind::Text => {
                let announced = self.message.as_ref().map_or(0, |message| message.announced);
                (limits.message.saturating_sub(announced), CloseCode::TOO_LARGE)
            }
            Kind::Control(_) => (MAX_CONTROL, CloseCode::PROTOCOL),
        };
        let remaining = usize::try_from(length).ok().filter(|&length| length <= room).ok_or(beyond)?;
        let (mask, rest) = match second & 0x80 {
            0 => ([0; 4], rest),
            _ => match rest.split_first_chunk() {
                Some((mask, rest)) => (*mask, rest),
                None => return Ok(None),
            },
        };
        Ok(Some((Frame { kind, last, mask, remaining }, head.len() - rest.len())))
    }

    /// Takes the next piece of the message. `last`: it ends with it.
    fn read_text(
        &mut self,
        piece: &[u8],
        last: bool,
        keep: bool,
        on: &mut impl FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<Stop>, CloseCode> {
        let message = self.message.get_or_insert_default();
        message.utf8.check(piece)?;
        if !last {
            if keep {
                message.text.extend_from_slice(piece);
            }
            return Ok(ControlFlow::Continue(()));
        }
        let mut message = self.message.take().unwrap_or_default();
        if !message.utf8.is_complete() {
            return Err(CloseCode::NOT_UTF8);
        }
        if !keep {
            return Ok(ControlFlow::Continue(()));
        }
        // Most messages come whole in one read, and are never copied.
        let wants_more = if !message.text.is_empty() {
            message.text.extend_from_slice(piece);
            on(Received::Text(&message.text))
        } else if !piece.is_empty() {
            on(Received::Text(piece))
        } else {
            ControlFlow::Continue(())
        };
        Ok(wants_more.map_break(|()| Stop::Enough))
    }

    /// Takes the next piece of a control frame.
    fn read_control(
        &mut self,
        control: Control,
        piece: &[u8],
        whole: bool,
        on: &mut impl FnMut(Received<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<Stop>, CloseCode> {
        if !whole || !self.control.is_empty() {
            self.control.extend_from_slice(piece);
        }
        if !whole {
            return Ok(ControlFlow::Continue(()));
        }
        let kept = std::mem::take(&mut self.control);
        let payload = if kept.is_empty() { piece } else { &kept };
        let wants_more = match control {
            Control::Ping => on(Received::Ping(payload)),
            Control::Pong => on(Received::Pong),
            Control::Close => {
                let _ = on(Received::Close(close_code(payload)?));
                return Ok(ControlFlow::Break(Stop::Closed));
            }
        };
        Ok(wants_more.map_break(|()| Stop::Enough))
    }
}

impl Frame {
    /// Unmasks the next piece of the payload.
    fn unmask(&mut self, piece: &mut [u8]) {
        if self.mask != [0; 4] {
            let (words, end) = piece.as_chunks_mut::<4>();
            for word in words {
                *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(self.mask)).to_ne_bytes();
            }
            for (byte, mask) in end.iter_mut().zip(self.mask) {
                *byte ^= mask;
            }
            self.mask.rotate_left(end.len());
        }
        self.remaining -= piece.len();
    }
}

/// Checks text that comes in pieces, and finds an error with the first byte that cannot stand there.
#[derive(Debug, Default)]
struct Utf8 {
    /// The bytes of a character that is not complete.
    begun: [u8; 3],
    len: usize,
}

impl Utf8 {
    fn is_complete(&self) -> bool {
        self.len == 0
    }

    fn check(&mut self, mut piece: &[u8]) -> Result<(), CloseCode> {
        while self.len > 0
            && let Some((&next, rest)) = piece.split_first()
        {
            let mut character = [0; 4];
            character[..self.len].copy_from_slice(&self.begun[..self.len]);
            character[self.len] = next;
            let begun = std::mem::take(&mut self.len) + 1;
            self.check_whole(&character[..begun])?;
            piece = rest;
        }
        self.check_whole(piece)
    }

    /// The same, with nothing begun before.
    fn check_whole(&mut self, piece: &[u8]) -> Result<(), CloseCode> {
        let Err(error) = std::str::from_utf8(piece) else { return Ok(()) };
        if error.error_len().is_some() {
            return Err(CloseCode::NOT_UTF8);
        }
        let rest = &piece[error.valid_up_to()..];
        self.begun[..rest.len()].copy_from_slice(rest);
        self.len = rest.len();
        Ok(())
    }
}

/// The code in the payload of a client's close frame.
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, CloseCode> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(CloseCode::PROTOCOL) };
    };
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(CloseCode::PROTOCOL)?;
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(CloseCode::NOT_UTF8),
    }
}

#[cfg(test)]
mod tests;
