//! Connections outside hyper: between two requests, waiting, or with an answer that the client has not taken yet.
//!
//! A connection here is a socket and what has to be remembered about it: no task, no buffer. All of a thread's sockets
//! hang in one epoll set, edge-triggered and registered once, so that parking and answering change nothing in the kernel.
//! While a subscriber waits nothing is read: bytes it sends meanwhile stay in the kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use slab::Slab;

use super::Form;
use super::deadlines::{NEVER, Tick};
use super::output::{Output, Written};
use super::reply::Framing;
use super::stream::Stream;
use crate::access::limits::Payer;
use crate::channel::ChannelId;
use crate::fanout::{Key, Places};
use crate::http_thread::From;
use crate::identity::Grant;
use crate::message::{Message, Position};
use crate::presence::UserId;
use crate::sequencer::Guest;

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    /// The listener on which it was accepted.
    pub(crate) from: From,
    /// The kernel may hold bytes of it.
    pub(crate) readable: bool,
    /// The client closed its side, or the connection broke.
    pub(crate) hung_up: bool,
    /// Its turn to be served is coming.
    pub(crate) queued: bool,
    pub(crate) state: State,
    /// When it is closed or answered if nothing happens.
    pub(crate) deadline: Tick,
    /// The tick under which it is entered with the deadlines.
    pub(crate) armed: Tick,
    /// Bytes behind the last request that were read with it.
    pub(crate) unread: Bytes,
}

// A hundred thousand wait: each field costs all of them.
const _: () = assert!(size_of::<Connection>() <= 128);

/// What it is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// Between requests.
    Idle,
    /// A subscriber in its seats, who is answered once.
    Waiting(Waiting),
    /// A subscriber in its seats, who stays.
    Streaming(Box<Stream>),
    /// The client has not taken all of its answer.
    Sending(Box<Sending>),
    /// Everything is said; reads what the client still sends, so that the answer is not lost in a reset.
    Lingering { bytes: usize },
}

/// What a waiting subscriber is answered by.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) from: Position,
    pub(crate) places: Places,
    pub(crate) form: Form,
    pub(crate) framing: Framing,
    /// What it was let in with; nothing is kept for those who came with the name of their channel only.
    pub(crate) grant: Option<Rc<Grant>>,
    /// Who pays for it, where that is limited.
    pub(crate) payer: Payer,
    /// Whose connection it is, if that counts as being there.
    pub(crate) user: Option<UserId>,
}

impl Waiting {
    pub(crate) fn seats(&self) -> impl Iterator<Item = ChannelId> {
        self.places.iter().map(|(channel, _)| *channel)
    }

    /// Whether it wants to know of messages of this kind.
    pub(crate) fn gets(&self, message: &Message) -> bool {
        self.form.presence || !message.is_presence()
    }

    pub(crate) fn guest(&self) -> Guest {
        Guest { user: self.user, watches: self.form.presence }
    }
}

/// The rest of an answer.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) output: Output,
    pub(crate) keep_alive: bool,
}

/// What came of writing or reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The answer is out, the connection waits for the next request.
    Ready,
    /// The client has to take or send more first.
    Blocked,
    /// Nothing more will come of it.
    Over,
}

/// The connections of one thread.
pub(crate) struct Connections {
    slab: Slab<Connection>,
    epoll: OwnedFd,
    forks: bool,
}

impl Connections {
    /// `forks`: this process is one that has children which hold what it holds.
    pub(crate) fn new(forks: bool) -> std::io::Result<Self> {
        Ok(Self { slab: Slab::new(), epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, forks })
    }

    pub(crate) fn epoll(&self) -> &OwnedFd {
        &self.epoll
    }

    pub(crate) fn insert(&mut self, socket: OwnedFd, from: From) -> std::io::Result<Key> {
        let entry = self.slab.vacant_entry();
        let key = entry.key() as Key;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(u64::from(key)), flags)?;
        entry.insert(Connection {
            socket,
            from,
            readable: false,
            hung_up: false,
            queued: false,
            state: State::Idle,
            deadline: NEVER,
            armed: NEVER,
            unread: Bytes::new(),
        });
        Ok(key)
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Connection> {
        self.slab.get_mut(key as usize)
    }

    /// The socket of the connection, to ask the system about it.
    pub(crate) fn socket(&self, key: Key) -> Option<BorrowedFd<'_>> {
        self.slab.get(key as usize).map(|connection| connection.socket.as_fd())
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.slab.iter().map(|(key, _)| key as Key).collect()
    }

    /// Takes the connection out, and ends it when it is dropped. Closing alone would not do in a process that forks: with a
    /// child's duplicate the socket stays open, and in the set under a key that is another connection's by then.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Connection> {
        let connection = self.take(key)?;
        if self.forks {
            let _ = epoll::delete(&self.epoll, &connection.socket);
            let _ = shutdown(&connection.socket, Shutdown::Both);
        }
        Some(connection)
    }

    fn take(&mut self, key: Key) -> Option<Connection> {
        let connection = self.slab.try_remove(key as usize)?;
        if self.slab.is_empty() {
            self.slab = Slab::new();
        }
        Some(connection)
    }

    /// Takes the connection out for someone else to read from.
    pub(crate) fn detach(&mut self, key: Key) -> Option<OwnedFd> {
        let connection = self.take(key)?;
        epoll::delete(&self.epoll, &connection.socket).ok()?;
        Some(connection.socket)
    }

    /// Writes an answer, all of it if the client takes it; what is left after so many bytes is asked for only then.
    pub(crate) fn send(
        &mut self,
        key: Key,
        answer: &[u8],
        rest: impl FnOnce(usize) -> Bytes,
        keep_alive: bool,
    ) -> Progress {
        let Some(connection) = self.get(key) else { return Progress::Over };
        let sent = match send(&connection.socket, answer, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == answer.len() => return connection.sent(keep_alive),
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(_) => return Progress::Over,
        };
        let mut output = Output::default();
        output.push(rest(sent));
        connection.state = State::Sending(Box::new(Sending { output, keep_alive }));
        self.send_rest(key).0
    }

    /// Goes on with an answer that the client did not take at once. True beside the progress: it took some of it.
    pub(crate) fn send_rest(&mut self, key: Key) -> (Progress, bool) {
        let Some(connection) = self.get(key) else { return (Progress::Over, false) };
        let State::Sending(sending) = &mut connection.state else { return (Progress::Blocked, false) };
        let keep_alive = sending.keep_alive;
        match sending.output.write(&connection.socket) {
            Written::All => (connection.sent(keep_alive), true),
            Written::Part(moved) => (self.wait_for_room(key), moved),
            Written::Broken => (Progress::Over, false),
        }
    }

    /// Writes what a stream has put out. True beside the progress: the client took some of it.
    pub(crate) fn write(&mut self, key: Key) -> (Progress, bool) {
        let Some(connection) = self.get(key) else { return (Progress::Over, false) };
        let State::Streaming(stream) = &mut connection.state else { return (Progress::Blocked, false) };
        stream.touched = false;
        match stream.output.write(&connection.socket) {
            Written::All => (Progress::Ready, true),
            Written::Part(moved) => (self.wait_for_room(key), moved),
            Written::Broken => (Progress::Over, false),
        }
    }

    /// Has the kernel tell when the client has taken something.
    fn wait_for_room(&mut self, key: Key) -> Progress {
        let Some(connection) = self.slab.get_mut(key as usize) else { return Progress::Over };
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        match epoll::modify(&self.epoll, &connection.socket, epoll::EventData::new_u64(u64::from(key)), flags) {
            Ok(()) => Progress::Blocked,
            Err(_) => Progress::Over,
        }
    }
}

impl Connection {
    /// The kernel breaks the connection when nothing has acknowledged for so long what it sent. A unix socket does not know
    /// this, and its other end cannot vanish without a word.
    pub(crate) fn give_up_after(&self, time: Duration) {
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&self.socket, milliseconds);
    }

    /// Its places, if it is a subscriber.
    pub(crate) fn places(&mut self) -> Option<&mut Places> {
        match &mut self.state {
            State::Waiting(waiting) => Some(&mut waiting.places),
            State::Streaming(stream) => Some(&mut stream.waiting.places),
            State::Idle | State::Sending(_) | State::Lingering { .. } => None,
        }
    }

    /// What it waits for, if it is a subscriber.
    pub(crate) fn waiting(&self) -> Option<&Waiting> {
        match &self.state {
            State::Waiting(waiting) => Some(waiting),
            State::Streaming(stream) => Some(&stream.waiting),
            State::Idle | State::Sending(_) | State::Lingering { .. } => None,
        }
    }

    fn sent(&mut self, keep_alive: bool) -> Progress {
        if keep_alive {
            self.state = State::Idle;
            return Progress::Ready;
        }
        self.linger()
    }

    /// Says that nothing more comes; over at once when the client has said the same or all it sent was read.
    pub(crate) fn linger(&mut self) -> Progress {
        if self.hung_up || shutdown(&self.socket, Shutdown::Write).is_err() {
            return Progress::Over;
        }
        self.state = State::Lingering { bytes: 0 };
        Progress::Blocked
    }

    /// Reads what there is. `None`: nothing at the moment; an empty answer is the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        // Not read(), which goes through what files have beside it.
        match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((n, _)) => {
                // A short read has taken all there was; what comes later is another edge.
                self.readable = n == buffer.len();
                Some(n)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                None
            }
            Err(Errno::INTR) => self.read(buffer),
            Err(_) => Some(0),
        }
    }
}
