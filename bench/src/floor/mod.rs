//! The floor: what the scenarios cost at least. Raw epoll, one thread, one receive and one send for each delivery, each
//! message rendered once; no limits, no time-outs, no access rules, and as much of HTTP as the generator speaks.
//!
//! It is what the hub is measured against, and no product. For the tests of the generator it can be told to spoil something.

mod channel;
mod request;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send, sockopt};

use crate::Result;
use crate::request::Transport;
use channel::{Channel, Form};
use request::{Request, parse};

const LISTENER: u64 = u64::MAX;
const BACKLOG: i32 = 4_096;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// Every fiftieth delivery does not happen.
    Lost,
    /// Every fiftieth happens twice.
    Doubled,
    /// Every tenth message of a channel follows the one after it.
    Reordered,
}

impl FromStr for Spoil {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Spoil, String> {
        match name {
            "lost" => Ok(Spoil::Lost),
            "doubled" => Ok(Spoil::Doubled),
            "reordered" => Ok(Spoil::Reordered),
            _ => Err("lost, doubled or reordered is meant".into()),
        }
    }
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    names: HashMap<Box<[u8]>, u32>,
    channels: Vec<Channel>,
    stored: usize,
    spoil: Option<Spoil>,
    deliveries: u64,
}

struct Connection {
    socket: OwnedFd,
    /// The beginning of a request that has not come completely.
    partial: Vec<u8>,
    /// The channel it waits in.
    waits: Option<u32>,
}

/// Serves until the process is ended. Keeps `stored` messages of each channel.
pub(crate) fn serve(listen: SocketAddr, stored: usize, spoil: Option<Spoil>) -> Result<()> {
    let listener = OwnedFd::from(TcpListener::bind(listen)?);
    // The accept queue of the standard library is short.
    rustix::net::listen(&listener, BACKLOG)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut floor = Floor {
        epoll,
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        names: HashMap::new(),
        channels: Vec::new(),
        stored,
        spoil,
        deliveries: 0,
    };
    let mut received = vec![0; 64 * 1024];
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept()?,
                token => floor.read(token as u32, &mut received),
            }
        }
    }
}

impl Floor {
    fn accept(&mut self) -> Result<()> {
        loop {
            let socket = match accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::CONNABORTED) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let token = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                (self.connections.len() - 1) as u32
            });
            epoll::add(
                &self.epoll,
                &socket,
                epoll::EventData::new_u64(u64::from(token)),
                epoll::EventFlags::IN | epoll::EventFlags::RDHUP,
            )?;
            self.connections[token as usize] = Some(Connection { socket, partial: Vec::new(), waits: None });
        }
    }

    fn read(&mut self, token: u32, received: &mut [u8]) {
        let Some(connection) = self.connections[token as usize].as_mut() else { return };
        let length = match recv(&connection.socket, &mut *received, RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => 0,
        };
        if length == 0 {
            return self.close(token);
        }
        let mut partial = std::mem::take(&mut connection.partial);
        let mut bytes = &received[..length];
        if !partial.is_empty() {
            partial.extend_from_slice(bytes);
            bytes = &partial;
        }
        while !bytes.is_empty() {
            let Some((request, length)) = parse(bytes) else {
                // What a WebSocket says after its handshake is not needed.
                if let Some(Connection { partial, waits: None, .. }) = self.connections[token as usize].as_mut() {
                    *partial = bytes.to_vec();
                }
                return;
            };
            self.answer(token, &request);
            bytes = &bytes[length..];
        }
    }

    fn answer(&mut self, token: u32, request: &Request<'_>) {
        match *request {
            Request::Poll { channel, ref after } => {
                let channel = self.channel(channel);
                match self.channels[channel as usize].after(*after) {
                    Some(answer) => {
                        let answer = answer.clone();
                        self.write(token, &answer);
                    }
                    None => self.wait(token, channel, Transport::LongPoll),
                }
            }
            Request::Open { channel, transport, ref head } => {
                let channel = self.channel(channel);
                self.write(token, head.as_bytes());
                self.wait(token, channel, transport);
            }
            Request::Publish { channel, body } => {
                let channel = self.channel(channel);
                self.publish(channel, body);
                self.write(token, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
            }
            Request::Other => self.write(token, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    fn channel(&mut self, name: &[u8]) -> u32 {
        if let Some(channel) = self.names.get(name) {
            return *channel;
        }
        self.channels.push(Channel::new());
        self.names.insert(name.into(), (self.channels.len() - 1) as u32);
        (self.channels.len() - 1) as u32
    }

    fn wait(&mut self, token: u32, channel: u32, transport: Transport) {
        if let Some(connection) = self.connections[token as usize].as_mut() {
            connection.waits = Some(channel);
            self.channels[channel as usize].waiting(transport).push(token);
        }
    }

    fn publish(&mut self, channel: u32, body: &[u8]) {
        let number = self.channels[channel as usize].store(body, self.stored);
        for form in Form::ALL {
            let waiting = self.channels[channel as usize].take_waiting(form);
            if waiting.is_empty() {
                continue;
            }
            let mut rendered = form.render(number, body);
            if self.spoil == Some(Spoil::Reordered) && form != Form::LONG_POLL {
                rendered = self.channels[channel as usize].swap(number, rendered);
            }
            let mut stay = Vec::new();
            for token in waiting {
                self.deliveries += 1;
                let spoil = self.spoil.filter(|_| self.deliveries.is_multiple_of(50));
                match spoil {
                    Some(Spoil::Lost) => {
                        stay.push(token);
                        continue;
                    }
                    // Who polls is told an older position, and asks for the same message again.
                    Some(Spoil::Doubled) if form == Form::LONG_POLL => {
                        self.write(token, &Form::LONG_POLL.render_as(number - 1, body));
                    }
                    Some(Spoil::Doubled) => {
                        self.write(token, &rendered);
                        self.write(token, &rendered);
                    }
                    _ => self.write(token, &rendered),
                }
                match self.connections[token as usize].as_mut() {
                    Some(connection) if form == Form::LONG_POLL => connection.waits = None,
                    Some(_) => stay.push(token),
                    None => {}
                }
            }
            self.channels[channel as usize].stay(form, stay);
        }
    }

    fn write(&mut self, token: u32, bytes: &[u8]) {
        let Some(connection) = &self.connections[token as usize] else { return };
        // Who does not read is out: the generator does.
        if send(&connection.socket, bytes, SendFlags::NOSIGNAL) != Ok(bytes.len()) {
            self.close(token);
        }
    }

    fn close(&mut self, token: u32) {
        if let Some(connection) = self.connections[token as usize].take() {
            if let Some(channel) = connection.waits {
                self.channels[channel as usize].leave(token);
            }
            self.free.push(token);
        }
    }
}
