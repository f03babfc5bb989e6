//! Readers that can stop: hardly anything of what they do not read lies in the kernel.

use push_core::channel::ChannelName;
use push_core::message::NewMessage;

use super::stream::{Events, Stream};
use super::websocket::{TEXT, WebSocket};
use super::{Client, TestHub};

/// More than the sockets between a narrow client and its hub take.
pub const MUCH: usize = 4 << 20;

pub fn narrow_stream(hub: &TestHub, path: &str) -> Stream {
    let mut client = hub.connect_narrow();
    client.get(path, "");
    Stream::open(client).1
}

pub fn narrow_events(hub: &TestHub, path: &str) -> Events {
    Events { stream: narrow_stream(hub, path), last_id: String::new() }
}

pub fn narrow_websocket(hub: &TestHub, path: &str) -> WebSocket {
    WebSocket::open(hub.connect_narrow(), path, "").1
}

pub fn publish(hub: &TestHub, channel: &str, payload: &[u8]) {
    let name = ChannelName::new(channel.as_bytes(), 255).expect("a name");
    hub.hub.as_ref().expect("running").engine().publish(&name, &NewMessage::new(payload)).expect("published");
}

/// The message of this number: its length and every byte tell which it is, and of which channel.
pub fn message(channel: char, number: usize, len: usize) -> String {
    let mut text = format!("{channel}{number}:");
    while text.len() < len {
        text.push(channel);
    }
    text.push('\n');
    text
}

/// Reads line by line what a channel's messages are, which have to be these in this order.
pub trait Reader {
    fn client(&self) -> &Client;

    fn next_line(&mut self) -> String;

    fn expect_all(&mut self, messages: impl Iterator<Item = String>) {
        self.client().widen();
        for expected in messages {
            let line = self.next_line();
            assert!(line == expected.trim_end(), "{:.20} instead of {expected:.20}", line);
        }
    }
}

impl Reader for Stream {
    fn client(&self) -> &Client {
        &self.client
    }

    fn next_line(&mut self) -> String {
        // Blanks are pings.
        self.line().trim_start().to_owned()
    }
}

impl Reader for Events {
    fn client(&self) -> &Client {
        &self.stream.client
    }

    fn next_line(&mut self) -> String {
        self.data().trim_end().to_owned()
    }
}

impl Reader for WebSocket {
    fn client(&self) -> &Client {
        &self.client
    }

    fn next_line(&mut self) -> String {
        loop {
            let frame = self.frame();
            if frame.opcode == TEXT {
                return String::from_utf8(frame.payload).expect("UTF-8").trim_end().to_owned();
            }
        }
    }
}
