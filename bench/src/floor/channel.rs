//! A channel of the floor: its stored messages, who waits, and what a message looks like on each transport.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::request::Transport;

pub(super) struct Channel {
    messages: VecDeque<Message>,
    /// Number of the newest message.
    newest: u32,
    /// Connections, by form.
    waiting: [Vec<u32>; Form::ALL.len()],
    /// For spoiling: what was held back.
    held: Vec<u8>,
}

struct Message {
    body: Box<[u8]>,
    /// As the answer to a poll, once somebody asked for it.
    rendered: Option<Rc<[u8]>>,
}

/// How a message is put into bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Form(Transport);

impl Form {
    pub(super) const LONG_POLL: Form = Form(Transport::LongPoll);
    pub(super) const ALL: [Form; 4] =
        [Form::LONG_POLL, Form(Transport::Streaming), Form(Transport::EventSource), Form(Transport::WebSocket)];

    pub(super) fn render(self, number: u32, body: &[u8]) -> Vec<u8> {
        self.render_as(number, body)
    }

    /// With `position` as that of the message.
    pub(super) fn render_as(self, position: u32, body: &[u8]) -> Vec<u8> {
        let length = body.len();
        let mut out = match self.0 {
            Transport::LongPoll => format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
                 Etag: W/{position}\r\nContent-Length: {length}\r\n\r\n"
            ),
            Transport::Streaming => String::new(),
            Transport::EventSource => format!("id: {position}\ndata: "),
            Transport::WebSocket => String::new(),
        }
        .into_bytes();
        if self.0 == Transport::WebSocket {
            // A text frame, final.
            match u8::try_from(length) {
                Ok(length @ 0..=125) => out.extend_from_slice(&[0x81, length]),
                _ => {
                    out.extend_from_slice(&[0x81, 127]);
                    out.extend_from_slice(&(length as u64).to_be_bytes());
                }
            }
        }
        out.extend_from_slice(body);
        match self.0 {
            Transport::Streaming => out.extend_from_slice(b"\r\n"),
            Transport::EventSource => out.extend_from_slice(b"\n\n"),
            Transport::LongPoll | Transport::WebSocket => {}
        }
        out
    }

    fn place(self) -> usize {
        self.0 as usize
    }
}

impl Channel {
    pub(super) fn new() -> Channel {
        Channel { messages: VecDeque::new(), newest: 0, waiting: Default::default(), held: Vec::new() }
    }

    /// Stores a message and gives its number.
    pub(super) fn store(&mut self, body: &[u8], most: usize) -> u32 {
        if self.messages.len() == most {
            self.messages.pop_front();
        }
        self.messages.push_back(Message { body: body.into(), rendered: None });
        self.newest += 1;
        self.newest
    }

    /// The answer with the first message after this position; `None` where there is none yet, or no position.
    pub(super) fn after(&mut self, position: Option<u32>) -> Option<&Rc<[u8]>> {
        let oldest = self.newest + 1 - self.messages.len() as u32;
        let number = oldest.max(position? + 1);
        let message = self.messages.get_mut((number - oldest) as usize)?;
        let body = &message.body;
        Some(message.rendered.get_or_insert_with(|| Form::LONG_POLL.render(number, body).into()))
    }

    pub(super) fn waiting(&mut self, transport: Transport) -> &mut Vec<u32> {
        &mut self.waiting[Form(transport).place()]
    }

    /// All who wait for this form; those who go on waiting come back with [`stay`](Self::stay).
    pub(super) fn take_waiting(&mut self, form: Form) -> Vec<u32> {
        std::mem::take(&mut self.waiting[form.place()])
    }

    pub(super) fn stay(&mut self, form: Form, mut tokens: Vec<u32>) {
        self.waiting[form.place()].append(&mut tokens);
    }

    pub(super) fn leave(&mut self, token: u32) {
        for waiting in &mut self.waiting {
            if let Some(place) = waiting.iter().position(|waits| *waits == token) {
                waiting.swap_remove(place);
            }
        }
    }

    /// Holds back every tenth message until after the next.
    pub(super) fn swap(&mut self, number: u32, rendered: Vec<u8>) -> Vec<u8> {
        if number % 10 == 5 {
            self.held = rendered;
            return Vec::new();
        }
        let held = std::mem::take(&mut self.held);
        [rendered, held].concat()
    }
}
