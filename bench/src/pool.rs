//! Keep-alive connections on one epoll: sends requests, hands over complete responses. One thread, no runtime, so that
//! what it costs stays small and outside the measured processes.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send, socket_with, sockopt,
};

use crate::Result;
use crate::message;
use crate::procfs::Processes;
use crate::response::{self, Response};

/// Source addresses 127.0.1.1 onwards, so that ports in TIME_WAIT never run out.
const SOURCES: usize = 16;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server is quiet when it used under one per cent of a core for three such intervals in a row.
const QUIET_INTERVAL: Duration = Duration::from_millis(20);
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections, numbered in the order they were made.
pub(crate) struct Pool {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<epoll::Event>,
    received: Box<[u8]>,
    next_request: Vec<u8>,
    /// Length of the messages in answers without end.
    message_size: usize,
}

struct Connection {
    socket: OwnedFd,
    /// The beginning of a response that has not come completely.
    partial: Vec<u8>,
    answer: Answer,
}

/// What a connection is answered with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A response to each request.
    Responses,
    /// One without end, of which the head has not come yet.
    Opening,
    /// One without end, which counts as a response for each message.
    Open,
}

impl Pool {
    pub(crate) fn new() -> Result<Pool> {
        Self::hearing(message::SIZE)
    }

    /// For messages of another length.
    pub(crate) fn hearing(message_size: usize) -> Result<Pool> {
        Ok(Pool {
            message_size,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            events: Vec::with_capacity(512),
            received: vec![0; 64 * 1024].into(),
            next_request: Vec::new(),
        })
    }

    /// Opens one more connection and gives its number.
    pub(crate) fn connect(&mut self, server: SocketAddr) -> Result<usize> {
        let number = self.connections.len();
        let socket = self.socket(number, server)?;
        self.connections.push(Connection { socket, partial: Vec::new(), answer: Answer::Responses });
        Ok(number)
    }

    /// Closes this connection and opens a new one in its place.
    pub(crate) fn reconnect(&mut self, number: usize, server: SocketAddr) -> Result<()> {
        let socket = self.socket(number, server)?;
        // The old socket is closed here, and with that out of the epoll.
        self.connections[number] = Connection { socket, partial: Vec::new(), answer: Answer::Responses };
        Ok(())
    }

    fn socket(&self, number: usize, server: SocketAddr) -> Result<OwnedFd> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let source = Ipv4Addr::new(127, 0, 1, 1 + (number % SOURCES) as u8);
        bind(&socket, &SocketAddrV4::new(source, 0))?;
        // On Linux this bounds connect() too.
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT_TIMEOUT))?;
        connect(&socket, &server).map_err(|error| format!("connection {number} to {server}: {error}"))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
        Ok(socket)
    }

    pub(crate) fn send(&self, number: usize, request: &[u8]) -> Result<()> {
        transmit(&self.connections[number].socket, request)
    }

    /// Sends a request whose answer does not end.
    pub(crate) fn open(&mut self, number: usize, request: &[u8]) -> Result<()> {
        self.connections[number].answer = Answer::Opening;
        self.send(number, request)
    }

    /// How many answers without end have not begun.
    pub(crate) fn opening(&self) -> usize {
        self.connections.iter().filter(|connection| connection.answer == Answer::Opening).count()
    }

    /// Waits at most `timeout` for answers and hands each to `answer`; what that writes into its last argument is sent
    /// as the next request of the same connection. Gives the number of answers.
    pub(crate) fn turn(
        &mut self,
        timeout: Duration,
        mut answer: impl FnMut(usize, &Response<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<usize> {
        self.events.clear();
        let wait = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&wait)) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
        let mut answers = 0;
        for event in &self.events {
            let number = event.data.u64() as usize;
            let connection = &mut self.connections[number];
            let (length, _) = recv(&connection.socket, &mut *self.received, RecvFlags::DONTWAIT)
                .map_err(|error| format!("connection {number}: {error}"))?;
            if length == 0 {
                return Err(format!("the server closed connection {number}").into());
            }
            let mut partial = std::mem::take(&mut connection.partial);
            let mut bytes = &self.received[..length];
            if !partial.is_empty() {
                partial.extend_from_slice(bytes);
                bytes = &partial;
            }
            if connection.answer == Answer::Opening
                && let Some(length) = response::open_head(bytes)?
            {
                connection.answer = Answer::Open;
                bytes = &bytes[length..];
            }
            let next = |bytes| match connection.answer {
                Answer::Responses => response::parse(bytes),
                Answer::Opening => Ok(None),
                Answer::Open => Ok(response::message(bytes, self.message_size)),
            };
            while let Some((response, length)) = next(bytes)? {
                answers += 1;
                self.next_request.clear();
                answer(number, &response, &mut self.next_request)?;
                if !self.next_request.is_empty() {
                    transmit(&connection.socket, &self.next_request)?;
                }
                bytes = &bytes[length..];
            }
            if !bytes.is_empty() {
                connection.partial = bytes.to_vec();
            }
        }
        Ok(answers)
    }

    /// Waits until the server does nothing more, that is, has read every request. No answer is expected meanwhile.
    pub(crate) fn settle(&mut self, server: &Processes) -> Result<()> {
        self.settle_hearing(server, unexpected)
    }

    /// The same, with what still comes handed to `answer`.
    pub(crate) fn settle_hearing(
        &mut self,
        server: &Processes,
        mut answer: impl FnMut(usize, &Response<'_>, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let deadline = Instant::now() + QUIET_TIMEOUT;
        let (mut quiet, mut used) = (0, server.cpu()?);
        while quiet < 3 {
            let end = Instant::now() + QUIET_INTERVAL;
            if end > deadline {
                return Err("the server does not become quiet".into());
            }
            while Instant::now() < end {
                self.turn(end.saturating_duration_since(Instant::now()), &mut answer)?;
            }
            let now = server.cpu()?;
            // Whoever waits for a processor that others have uses none, and is not quiet.
            quiet = if now - used < QUIET_INTERVAL / 100 && !server.busy()? { quiet + 1 } else { 0 };
            used = now;
        }
        Ok(())
    }

    /// The one answer to a request on a connection that has none open.
    pub(crate) fn exchange<T>(
        &mut self,
        number: usize,
        request: &[u8],
        timeout: Duration,
        mut read: impl FnMut(&Response<'_>) -> Result<T>,
    ) -> Result<T> {
        self.send(number, request)?;
        let deadline = Instant::now() + timeout;
        let mut result = None;
        while result.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no answer within {timeout:?}").into());
            }
            self.turn(left, |_, response, _| {
                result = Some(read(response)?);
                Ok(())
            })?;
        }
        result.ok_or_else(|| "no answer".into())
    }
}

/// An answer that nothing explains.
pub(crate) fn unexpected(number: usize, response: &Response<'_>, _: &mut Vec<u8>) -> Result<()> {
    let body = String::from_utf8_lossy(response.body);
    Err(format!("connection {number} was answered {} {body:?}", response.status).into())
}

fn transmit(socket: &OwnedFd, request: &[u8]) -> Result<()> {
    // The buffer of a connection with one small request under way is empty; whoever does not read it is broken.
    let sent = send(socket, request, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    if sent == request.len() { Ok(()) } else { Err("the server does not read its requests".into()) }
}
