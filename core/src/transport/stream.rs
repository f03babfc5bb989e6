//! Answers without end: streaming, event streams and WebSockets.
//!
//! What is sent is rendered for a kind of subscribers, not for one, and stands ready in the frames of the connection: a
//! chunk, plain bytes for HTTP/1.0, or a WebSocket frame.

use std::io::Write;

use super::connection::Waiting;
use super::deadlines::Tick;
use super::output::Output;
use super::render::{Item, Layout};
use super::reply::Reply;
use super::websocket::{self, CloseCode, Opcode};
use super::{Farewell, Form, cors};
use crate::config::{Config, Location, Mode, Padding};
use crate::message::Position;

/// A subscriber that stays when it has got a message.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) waiting: Waiting,
    pub(crate) output: Output,
    /// It did not take what came. What follows `waiting.from` is in the log, and is read when there is room.
    pub(crate) behind: bool,
    /// Something was put out since the socket was last written to.
    pub(crate) touched: bool,
    /// A ping is not answered yet.
    pub(crate) pinged: bool,
    /// It has no room at the moment, and is given more time.
    pub(crate) patient: bool,
    /// When its life is over.
    pub(crate) ends: Tick,
    pub(crate) input: websocket::Input,
}

/// How bytes are framed on the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frames {
    Plain,
    Chunks,
    WebSocket,
}

/// Renders for the subscribers of one form.
pub(crate) struct Renderer<'a> {
    config: &'a Config,
    location: &'a Location,
    layout: Layout,
    padding: Option<&'a Padding>,
    frames: Frames,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(config: &'a Config, form: &Form, http10: bool) -> Self {
        let location = &config.locations[usize::from(form.location)];
        let frames = match (form.mode, http10) {
            (Mode::WebSocket, _) => Frames::WebSocket,
            (_, true) => Frames::Plain,
            (_, false) => Frames::Chunks,
        };
        let groups = location.padding_by_user_agent.as_deref().unwrap_or_default();
        let padding = form.padding.and_then(|group| groups.get(usize::from(group)));
        Self { config, location, layout: form.layout, padding, frames }
    }

    pub(crate) fn frames(&self) -> Frames {
        self.frames
    }

    /// What stands before all messages. `complete`: how far the subscriber is, when it missed nothing.
    pub(crate) fn header(&self, out: &mut Vec<u8>, complete: Option<Position>) {
        let mut text = Vec::new();
        self.layout.append_frame(&mut text, self.location.header_template.as_deref());
        if self.layout == Layout::Events {
            if text.is_empty() {
                text.extend_from_slice(b": \n");
            }
            // A browser that loses the connection before the first message comes back from here.
            if let Some(complete) = complete {
                write!(text, "id: {complete}\n\n").expect("writing to memory");
            }
        }
        self.pad(&mut text, self.padding.map_or(0, |padding| padding.header));
        self.frame(out, &text);
    }

    pub(crate) fn message(&self, out: &mut Vec<u8>, item: &Item<'_>) {
        let mut text = Vec::new();
        self.layout.append(&mut text, self.location, item);
        self.pad(&mut text, self.padding.map_or(0, |padding| padding.message));
        self.frame(out, &text);
    }

    /// Says that messages before the position are missing. `complete`: how far the subscriber is, when none follow at
    /// once. False where there is no way to say it.
    pub(crate) fn gap(&self, out: &mut Vec<u8>, position: Position, complete: Option<Position>) -> bool {
        let mut text = Vec::new();
        self.layout.append_gap(&mut text, self.location, self.config.gap_message_text.as_deref(), (position, complete));
        self.frame(out, &text);
        !text.is_empty()
    }

    /// Says how far the subscriber is, in JSON: there it is data, the first sign of the stream as well as the last word
    /// of what was missed.
    pub(crate) fn complete(&self, out: &mut Vec<u8>, position: Position) {
        self.sign(out, Some(position));
    }

    fn sign(&self, out: &mut Vec<u8>, position: Option<Position>) {
        let mut text = Vec::new();
        self.layout.append_position(&mut text, position);
        self.frame(out, &text);
    }

    /// A sign of life. `head`: how far the subscriber is complete, if that is known.
    pub(crate) fn ping(&self, out: &mut Vec<u8>, head: Option<Position>) {
        match (self.frames, self.layout) {
            (Frames::WebSocket, _) => {
                websocket::append_frame(out, Opcode::Ping, b"");
                // Scripts do not see pings, and so could not tell silence from a dead connection.
                self.sign(out, head);
            }
            (_, Layout::Json | Layout::JsonEvents) => self.sign(out, head),
            (_, Layout::Events) => {
                let mut text = b": -1\n".to_vec();
                if let Some(head) = head {
                    write!(text, "id: {head}\n\n").expect("writing to memory");
                }
                self.frame(out, &text);
            }
            _ => self.message(out, &Item::ping(&self.config.ping_message_text)),
        }
    }

    /// From where a subscriber that is about to lose its stream comes back, in the layout that has a word for it.
    pub(crate) fn place(&self, out: &mut Vec<u8>, complete: Position) {
        if self.layout == Layout::Events {
            self.frame(out, format!("id: {complete}\n\n").as_bytes());
        }
    }

    /// The end of the stream, with what its subscriber is told and how far it is complete.
    pub(crate) fn end(&self, out: &mut Vec<u8>, farewell: Option<(Farewell<'_>, Position)>) {
        let mut text = Vec::new();
        if let Some((farewell, complete)) = farewell.filter(|_| self.frames != Frames::WebSocket) {
            self.layout.append_farewell(&mut text, self.location, farewell, complete);
        }
        self.layout.append_frame(&mut text, self.location.footer_template.as_deref());
        self.frame(out, &text);
        match self.frames {
            Frames::Plain => {}
            Frames::Chunks => out.extend_from_slice(b"0\r\n\r\n"),
            Frames::WebSocket => match farewell {
                None => websocket::append_frame(out, Opcode::Close, b""),
                Some((Farewell::Expired, _)) => websocket::append_close(out, CloseCode::EXPIRED, Farewell::EXPIRED),
                Some((Farewell::Disconnected(reason), _)) => {
                    websocket::append_close(out, CloseCode::DISCONNECTED, reason);
                }
            },
        }
    }

    fn pad(&self, text: &mut Vec<u8>, least: usize) {
        let missing = least.saturating_sub(text.len());
        match self.layout {
            Layout::Events => {
                // Comment lines of a hundred bytes, the last as long as is left; two is the shortest.
                for start in (0..missing).step_by(100) {
                    text.push(b':');
                    text.resize(text.len() + (missing - start).clamp(2, 100) - 2, b' ');
                    text.push(b'\n');
                }
            }
            _ => (0..missing.div_ceil(2)).for_each(|_| text.extend_from_slice(b"\r\n")),
        }
    }

    fn frame(&self, out: &mut Vec<u8>, text: &[u8]) {
        // An empty chunk would end the answer.
        if text.is_empty() {
            return;
        }
        match self.frames {
            Frames::Plain => out.extend_from_slice(text),
            Frames::Chunks => {
                write!(out, "{:x}\r\n", text.len()).expect("writing to memory");
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Frames::WebSocket => {
                let text_frame = std::str::from_utf8(text).is_ok();
                websocket::append_frame(out, if text_frame { Opcode::Text } else { Opcode::Binary }, text);
            }
        }
    }
}

/// The head of a stream's answer, before it is framed.
pub(crate) fn head(config: &Config, form: &Form, gap: bool) -> Reply {
    let location = &config.locations[usize::from(form.location)];
    let content_type = match form.layout {
        Layout::Events | Layout::JsonEvents => "text/event-stream; charset=utf-8",
        Layout::Json => "application/x-ndjson",
        Layout::Template => &location.content_type,
    };
    // nginx would hold back what is small.
    let reply = Reply::new(200).content_type(content_type).header("X-Accel-Buffering", "no");
    let reply = if gap { reply.header("X-Push-Gap", 1) } else { reply };
    cors::allow(reply, location, form.origin)
}
