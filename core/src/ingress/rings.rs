//! Messages from other processes: who attaches is checked, its ring mapped, its calls carried to the engine.
//!
//! One task per client, on an HTTP thread. It never waits for the client: without room for a reply it reads no further
//! requests, and it leaves the thread to others after a bounded number of frames. What the client writes is input from a
//! stranger; a client that writes nonsense is dropped, and the log says so.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    Shutdown,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tracing::{debug, warn};

use super::admission::{Admission, Place};
use super::feed::Feed;
use crate::call::{Answer, Call, Hello, MAX_BATCH, OLDEST, Outcome, PROTOCOL, Request, WELCOME_FDS, Welcome};
use crate::channel::{InvalidNamespace, MAX_NAME, Namespace};
use crate::control::Kept;
use crate::error::Error;
use crate::lease;
use crate::message::MAX_EVENT;
use crate::process;
use crate::readiness::watch;
use crate::shm::doorbell;
use crate::shm::progress::Progress;
use crate::shm::ring::{Consumer, Corrupt, Next, Producer};
use crate::shm::segment::{Invalid, Segment};

/// Frames read in one go before other tasks of the thread have their turn; among them the fan-out of what was read.
const BATCH: usize = 64;
/// Who connects must say what it wants within this time.
const HELLO: Duration = Duration::from_secs(2);
/// Bytes of the longest [`Hello`], and descriptors looked at; the kernel closes those in excess.
const HELLO_BYTES: usize = 512;
const HELLO_FDS: usize = 2;
/// Hubs that may end within the same call before it is given up.
const MOST_TRIES: u64 = 5;
/// What a call holds beside the payload, at most: numbers, names, an owner.
const ENVELOPE: usize = 2 * (MAX_NAME + 2 * MAX_EVENT) + 128;

/// Who is at the other end, according to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its process when it connected; 0: one of another pid namespace.
    pub pid: i32,
    /// Its user when it connected.
    pub uid: u32,
}

/// What a connection to the attach socket wants.
#[derive(Debug)]
pub enum Greeting {
    /// To make calls.
    Attach(Box<Attachment>),
    /// To keep the hub running: [`Hello::Lease`].
    Lease {
        /// The connection, without unread datagrams.
        socket: OwnedFd,
        /// Of the master.
        protocol: u16,
        /// Of the master.
        build: String,
        /// Of the master.
        config_hash: u64,
    },
    /// To take the place of the hub: [`Hello::Handover`].
    Handover {
        /// The connection, without unread datagrams.
        socket: OwnedFd,
        /// Of the new hub.
        build: String,
    },
    /// Who waits is to be answered if the hub ends with this peer: [`Hello::Ending`].
    Ending {
        /// The connection, closed when that is done.
        socket: OwnedFd,
        /// Who ends.
        peer: Peer,
    },
}

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The peer closed it, or the kernel failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Silence.
    #[error("it sent no hello for {} s", HELLO.as_secs())]
    Silent,
    /// Not a [`Hello`].
    #[error("its first datagram is no hello")]
    Undecodable,
    /// Another build.
    #[error("it speaks protocol {0}, this hub speaks {OLDEST} to {PROTOCOL}")]
    Protocol(u16),
    /// None, or too many.
    #[error("it sent {0} descriptors instead of one")]
    Descriptors(usize),
    /// Not a segment.
    #[error(transparent)]
    Segment(#[from] Invalid),
    /// It wants a namespace that cannot be.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// Its user may not, or has too much.
    #[error("{0}")]
    Refused(Error),
    /// Its user has so many connections that it was not listened to.
    #[error("uid {0} has more connections than max_clients_per_uid or the descriptors of the hub allow")]
    Crowded(u32),
    /// A segment whose rings cannot be.
    #[error("its ring is destroyed: {0}")]
    Ring(#[from] Corrupt),
}

impl From<Errno> for Rejected {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Reads what a new connection wants and checks what it brings. A client that is refused is told why.
///
/// # Errors
/// [`Rejected`]; the connection is closed.
/// `keep` sees to it that a hub after this one can [`Attachment::take_over`]: it is given a number that no other client of
/// this machine has, and the descriptors, and says whether that is done. The client is told nothing before. `shared` gives
/// what clients of the namespace may look into, and the key to it.
pub async fn greet<'a>(
    socket: OwnedFd,
    admission: &Arc<Admission>,
    shared: impl Fn(&Namespace) -> Option<([u64; 2], BorrowedFd<'a>)>,
    keep: impl AsyncFnOnce(u64, [BorrowedFd<'_>; 3]) -> bool,
) -> Result<Greeting, Rejected> {
    let peer = peer(socket.as_fd())?;
    let place = admission.enter(peer.uid).ok_or(Rejected::Crowded(peer.uid))?;
    let socket = watch(socket, Interest::READABLE)?;
    let first = tokio::time::timeout(HELLO, first_datagram(&socket));
    let (hello, descriptors) = first.await.map_err(|_| Rejected::Silent)??;
    let hello = postcard::from_bytes(&hello).map_err(|_| Rejected::Undecodable)?;
    let (protocol, namespace, kept) = match hello {
        Hello::Lease { protocol, build, config_hash } => {
            return match admission.may_lease(peer.uid) {
                Ok(()) => Ok(Greeting::Lease { socket: socket.into_inner(), protocol, build, config_hash }),
                Err(error) => {
                    lease::refuse(socket.as_fd(), &error)?;
                    Err(Rejected::Refused(error))
                }
            };
        }
        Hello::Handover { build, .. } => {
            // The keeper sees for itself who asks.
            return Ok(Greeting::Handover { socket: socket.into_inner(), build });
        }
        Hello::Ending => return Ok(Greeting::Ending { socket: socket.into_inner(), peer }),
        Hello::Attach { protocol } => (protocol, String::new(), true),
        Hello::Subscribe { protocol } => (protocol, String::new(), false),
        Hello::Within { protocol, namespace, subscribes } => (protocol, namespace, !subscribes),
    };
    match attach(protocol, &namespace, place, descriptors) {
        Ok((memfd, calls, namespace, place)) => {
            let bell = doorbell::bell()?;
            let kept = kept && keep(calls.client, [memfd.as_fd(), bell.as_fd(), socket.as_fd()]).await;
            let welcome = Welcome { protocol, refusal: None };
            let (key, set) = shared(&namespace).unzip();
            calls.segment.set_key(key);
            let descriptors = [bell.as_fd()].into_iter().chain(set);
            send_welcome(socket.as_fd(), &welcome, &descriptors.collect::<Vec<_>>())?;
            let socket = socket.into_inner();
            Ok(Greeting::Attach(Box::new(Attachment { calls, kept, bell, socket, peer, namespace, place })))
        }
        Err(rejected) => {
            let refusal = Some(match &rejected {
                Rejected::Protocol(found) => Error::Incompatible { found: *found, expected: PROTOCOL },
                Rejected::Refused(error) => error.clone(),
                other => Error::InvalidArgument(other.to_string()),
            });
            send_welcome(socket.as_fd(), &Welcome { protocol: PROTOCOL, refusal }, &[])?;
            Err(rejected)
        }
    }
}

async fn first_datagram(socket: &AsyncFd<OwnedFd>) -> Result<(Vec<u8>, Vec<OwnedFd>), Rejected> {
    loop {
        let mut ready = socket.readable().await?;
        let mut bytes = vec![0; HELLO_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HELLO_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        match net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(received) if received.bytes == 0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(received) => {
                bytes.truncate(received.bytes);
                let descriptors = control.drain().filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                    _ => None,
                });
                return Ok((bytes, descriptors.flatten().collect()));
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Before it is known who may come in, and with how much, nothing is mapped.
fn attach(
    protocol: u16,
    namespace: &str,
    mut place: Place,
    descriptors: Vec<OwnedFd>,
) -> Result<(OwnedFd, Calls, Namespace, Place), Rejected> {
    if !(OLDEST..=PROTOCOL).contains(&protocol) {
        return Err(Rejected::Protocol(protocol));
    }
    let namespace = Namespace::new(namespace)?;
    place.admit(&namespace).map_err(Rejected::Refused)?;
    let [memfd] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|all| Rejected::Descriptors(all.len()))?;
    place.take(Segment::size_of(&memfd)?).map_err(Rejected::Refused)?;
    let calls = Calls::of(Segment::adopt(&memfd)?, &memfd)?;
    // For a hub that takes the client over.
    calls.segment.set_label(namespace.as_str().as_bytes());
    Ok((memfd, calls, namespace, place))
}

fn send_welcome(socket: BorrowedFd<'_>, welcome: &Welcome, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(welcome).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WELCOME_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    net::sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let (pid, uid) = process::peer_credentials(socket)?;
    Ok(Peer { pid, uid })
}

/// An attached client.
#[derive(Debug)]
pub struct Attachment {
    // The rings before the socket: a client that sees the socket closed may take its segment to the next hub.
    calls: Calls,
    /// The next hub will have it.
    kept: bool,
    bell: OwnedFd,
    socket: OwnedFd,
    peer: Peer,
    namespace: Namespace,
    place: Place,
}

/// Its rings, and how far we came.
#[derive(Debug)]
struct Calls {
    client: u64,
    segment: Segment,
    requests: Consumer<Segment>,
    replies: Producer<Segment>,
    progress: Progress,
    reply: Reply,
    /// Calls that were refused without the client's asking for an answer.
    refused: u64,
}

/// Tells the tasks of clients that this hub carries out nothing more, or nothing for the moment. Of one thread.
#[derive(Debug, Default)]
pub struct Halt {
    set: Cell<bool>,
    told: Notify,
    crowded: Cell<bool>,
    relieved: Notify,
}

impl Halt {
    /// From here on.
    pub(crate) fn set(&self) {
        self.set.set(true);
        self.told.notify_waiters();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Publishers are to wait, or not any more.
    pub(crate) fn crowd(&self, crowded: bool) {
        if self.crowded.replace(crowded) && !crowded {
            self.relieved.notify_waiters();
        }
    }

    pub(crate) async fn halted(&self) {
        let told = self.told.notified();
        if !self.is_set() {
            told.await;
        }
    }
}

/// Who makes a call, for an engine that carries out each once, also when the hub is killed meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The number of the client.
    pub client: u64,
    /// What of the call was carried out before, and its results.
    pub progress: &'a Progress,
}

/// The reply that is being written.
#[derive(Debug, Default)]
struct Reply {
    bytes: Vec<u8>,
    sent: usize,
    pending: bool,
}

/// Why the service of a client ended other than by its end.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("its ring is destroyed: {0}")]
    Ring(#[from] Corrupt),
    #[error("it sent something that is no call")]
    Call,
    #[error("it sent a datagram beside the ring")]
    Datagram,
    #[error("{0}")]
    Dismissed(Error),
    #[error("it cannot be watched: {0}")]
    Unwatched(io::Error),
}

/// What becomes of a call.
pub enum Carried {
    /// It is done.
    Now(Outcome),
    /// Others have to do their part; the client's next call waits.
    Later(Pin<Box<dyn Future<Output = Outcome>>>),
}

impl From<Outcome> for Carried {
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// How far a batch came.
enum Progressed {
    More,
    /// The ring is empty.
    Idle,
    /// There is no room for a reply.
    Blocked,
    /// The call of this number is being carried out elsewhere.
    Waiting(u64, Pin<Box<dyn Future<Output = Outcome>>>),
}

/// What woke us.
enum Heard {
    Bell,
    Gone,
    Datagram,
}

impl Attachment {
    /// A client of a hub that was killed, with what the keeper held of it.
    ///
    /// # Errors
    /// [`Rejected`], when it has destroyed its rings, or may not be here any more.
    pub fn take_over(kept: Kept, admission: &Arc<Admission>) -> Result<Self, Rejected> {
        let Kept { segment: memfd, bell, socket } = kept;
        let peer = peer(socket.as_fd())?;
        let segment = Segment::adopt(&memfd)?;
        // It looks into what the hub before shared. Before this one changes anything.
        segment.set_key(None);
        // The client may have written another one there, and may have it if it may attach with it.
        let namespace = String::from_utf8(segment.label()).map_err(|_| InvalidNamespace)?;
        let namespace = Namespace::new(&namespace)?;
        let place = Place::taken_over(admission, peer.uid, &namespace, segment.size()).map_err(Rejected::Refused)?;
        Ok(Self { calls: Calls::of(segment, &memfd)?, kept: true, bell, socket, peer, namespace, place })
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Whose channels its calls are about.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its number.
    #[must_use]
    pub fn client(&self) -> u64 {
        self.calls.client
    }

    /// How far the hub before this one came with its calls.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.calls.progress
    }

    /// Carries out what stands in the ring of a client that was taken over, as far as that goes without waiting for it.
    /// False for a client that misbehaves.
    pub fn drain<R: Into<Carried>>(
        &mut self,
        max_message_size: u64,
        mut engine: impl FnMut(Origin<'_>, Call<'_>) -> R,
    ) -> bool {
        let (socket, Peer { pid, uid }) = (self.socket.as_fd(), self.peer);
        let drained = self.calls.take_over(socket, max_message_size).and_then(|()| {
            // As in `rest`: it may go on writing.
            for _ in 0..self.calls.most_batches() {
                if !matches!(self.calls.batch(socket, max_message_size, self.peer, &mut engine)?, Progressed::More) {
                    break;
                }
            }
            Ok(())
        });
        // It may wait for something that went with the dead hub.
        doorbell::nudge(socket);
        drained.inspect_err(|misuse| warn!(pid, uid, "client dropped: {misuse}")).is_ok()
    }

    /// Carries its calls to `engine` until it is gone or misbehaves. Publications above what `max_message_size` gives at the
    /// time are refused here, those above [`MAX_BATCH`] without being kept. What `feed` has goes to the client as it has room. At a `halt` the
    /// rings are left as they are, and so is the connection, if the next hub goes on with it.
    pub async fn serve<R: Into<Carried>>(
        self,
        max_message_size: impl Fn() -> u64,
        mut engine: impl FnMut(Origin<'_>, Call<'_>) -> R,
        feed: &Feed,
        halt: &Halt,
    ) {
        let Self { calls, kept, bell, socket, peer, namespace, place } = self;
        let Peer { pid, uid } = peer;
        debug!(pid, uid, "client attached");
        let lines = (|| Ok((watch(bell, Interest::READABLE)?, watch(socket, Interest::READABLE)?)))();
        let served = match lines {
            Ok((bell, socket)) => {
                let mut served = Served { calls, bell, socket, peer, namespace, place, left: false };
                let done = served.work(&max_message_size, &mut engine, feed, halt).await;
                served.left = kept && halt.is_set();
                done
            }
            Err(error) => Err(Misuse::Unwatched(error)),
        };
        match served {
            Ok(()) => debug!(pid, uid, "client gone"),
            Err(misuse) => warn!(pid, uid, "client dropped: {misuse}"),
        }
    }
}

impl Calls {
    fn of(segment: Segment, memfd: &OwnedFd) -> Result<Self, Rejected> {
        let requests = Consumer::new(segment.clone(), segment.requests())?;
        let replies = Producer::new(segment.clone(), segment.replies())?;
        // The kernel gives each file in memory a number of its own.
        let client = rustix::fs::fstat(memfd)?.st_ino;
        let progress = Progress::new(segment.clone());
        Ok(Self { client, segment, requests, replies, progress, reply: Reply::default(), refused: 0 })
    }

    /// Passes over a call within which several hubs have ended.
    fn take_over(&mut self, socket: BorrowedFd<'_>, limit: u64) -> Result<(), Misuse> {
        if self.progress.take_over(self.requests.place()) < MOST_TRIES {
            return Ok(());
        }
        loop {
            match self.requests.next(longest(limit))? {
                Next::Part => continue,
                Next::Empty => {}
                Next::Message(bytes) | Next::TooLong(bytes, _) => {
                    let number = postcard::take_from_bytes(bytes).map_or(0, |(number, _)| number);
                    let text = format!("{MOST_TRIES} hubs ended during this call; it is not tried again");
                    tracing::error!("a call is given up: {text}");
                    self.answer(socket, number, Err(Error::HubUnavailable(text)))?;
                }
            }
            return Ok(());
        }
    }

    /// As many as a full ring takes.
    fn most_batches(&self) -> usize {
        self.requests.layout().capacity / size_of::<u64>() / BATCH + 1
    }

    fn batch<R: Into<Carried>>(
        &mut self,
        socket: BorrowedFd<'_>,
        limit: u64,
        peer: Peer,
        engine: &mut impl FnMut(Origin<'_>, Call<'_>) -> R,
    ) -> Result<Progressed, Misuse> {
        let mut progressed = Progressed::More;
        for _ in 0..BATCH {
            if !self.push_reply(socket)? {
                return Ok(Progressed::Blocked);
            }
            let too_long = match self.requests.next(longest(limit))? {
                Next::Empty => {
                    progressed = Progressed::Idle;
                    break;
                }
                Next::Part => continue,
                Next::Message(_) => None,
                Next::TooLong(beginning, len) => Some(claimed(beginning, len)?),
            };
            let (number, outcome) = match too_long {
                Some((number, len)) => (number, Err(Error::TooLarge { len, limit })),
                None => {
                    let (bytes, begun) = self.requests.message();
                    self.progress.begin(begun);
                    let (number, call): Request<'_> = postcard::from_bytes(bytes).map_err(|_| Misuse::Call)?;
                    let outcome = match &call {
                        // Within the room for batches, and yet too long for one message.
                        Call::Publish { message, .. } if message.payload.len() as u64 > limit => {
                            Err(Error::TooLarge { len: message.payload.len() as u64, limit })
                        }
                        _ => match engine(Origin { client: self.client, progress: &self.progress }, call).into() {
                            Carried::Now(outcome) => outcome,
                            // Who wants no answer waits for nothing.
                            Carried::Later(_) if number == 0 => Ok(Answer::Pong),
                            Carried::Later(later) => return Ok(Progressed::Waiting(number, later)),
                        },
                    };
                    (number, outcome)
                }
            };
            if number == 0 {
                self.note_refusal(peer, outcome);
                self.requests.release();
            } else {
                self.answer(socket, number, outcome)?;
            }
        }
        if self.requests.producer_waits(matches!(progressed, Progressed::Idle)) {
            doorbell::nudge(socket);
        }
        Ok(progressed)
    }

    fn note_refusal(&mut self, Peer { pid, uid }: Peer, outcome: Outcome) {
        let Err(error) = outcome else { return };
        self.refused += 1;
        // A script that makes the same mistake in a loop must not fill the log.
        if self.refused.is_power_of_two() {
            warn!(pid, uid, refused = self.refused, "a call without acknowledgement was refused: {error}");
        }
    }

    /// Writes what the client has subscribed to, as far as there is room.
    fn deliver(&mut self, socket: BorrowedFd<'_>, feed: &Feed) -> Result<Progressed, Misuse> {
        for _ in 0..BATCH {
            if !self.push_reply(socket)? {
                return Ok(Progressed::Blocked);
            }
            let Some(delivery) = feed.next() else { return Ok(Progressed::Idle) };
            self.answer(socket, 0, Ok(Answer::Delivered(delivery)))?;
        }
        Ok(Progressed::More)
    }

    fn answer(&mut self, socket: BorrowedFd<'_>, number: u64, outcome: Outcome) -> Result<(), Misuse> {
        let mut bytes = std::mem::take(&mut self.reply.bytes);
        bytes.clear();
        let bytes = postcard::to_extend(&(number, outcome), bytes).map_err(|_| Misuse::Call)?;
        self.reply = Reply { bytes, sent: 0, pending: true };
        self.push_reply(socket)?;
        Ok(())
    }

    /// False: there is no room for it yet; the client will ring when there is.
    fn push_reply(&mut self, socket: BorrowedFd<'_>) -> Result<bool, Corrupt> {
        if !self.reply.pending {
            return Ok(true);
        }
        let mut done = self.replies.push(&self.reply.bytes, &mut self.reply.sent)?;
        if !done {
            self.replies.want_room();
            done = self.replies.push(&self.reply.bytes, &mut self.reply.sent)?;
        }
        if done {
            // Last: a hub killed before leaves a call in the ring of which the next one knows what was carried out.
            self.requests.release();
        }
        if self.replies.consumer_waits() {
            doorbell::nudge(socket);
        }
        self.reply.pending = !done;
        Ok(done)
    }
}

/// Bytes of the longest call.
fn longest(limit: u64) -> usize {
    (limit as usize).max(MAX_BATCH) + ENVELOPE
}

/// A client whose bell and socket are watched.
struct Served {
    calls: Calls,
    bell: AsyncFd<OwnedFd>,
    socket: AsyncFd<OwnedFd>,
    peer: Peer,
    /// Another hub goes on with it.
    left: bool,
    namespace: Namespace,
    place: Place,
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // A client in this process may have been forked: the child's duplicates would keep the line open.
        let _ = net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl Served {
    async fn work<R: Into<Carried>>(
        &mut self,
        limit: &impl Fn() -> u64,
        engine: &mut impl FnMut(Origin<'_>, Call<'_>) -> R,
        feed: &Feed,
        halt: &Halt,
    ) -> Result<(), Misuse> {
        loop {
            if halt.is_set() {
                return Ok(());
            }
            self.place.check_again(&self.namespace).map_err(Misuse::Dismissed)?;
            let (place, namespace) = (&mut self.place, &self.namespace);
            // Again for each call: who is refused from now on has nothing carried out that it asks for from now on.
            let mut checked = |origin: Origin<'_>, call: Call<'_>| match place.check_again(namespace) {
                Ok(()) => engine(origin, call).into(),
                Err(error) => Carried::Now(Err(error)),
            };
            let crowded = halt.crowded.get();
            let batch = match crowded {
                true => Progressed::Blocked,
                false => self.calls.batch(self.socket.as_fd(), limit(), self.peer, &mut checked)?,
            };
            let called = match batch {
                Progressed::Waiting(number, later) => {
                    let outcome = tokio::select! {
                        biased;
                        // The call stays in the ring.
                        () = halt.halted() => continue,
                        outcome = later => outcome,
                    };
                    self.calls.answer(self.socket.as_fd(), number, outcome)?;
                    Progressed::More
                }
                called => called,
            };
            let delivered = self.calls.deliver(self.socket.as_fd(), feed)?;
            if matches!(called, Progressed::More) || matches!(delivered, Progressed::More) {
                tokio::task::yield_now().await;
                continue;
            }
            if matches!(called, Progressed::Idle) && !self.calls.requests.want_data()? {
                continue;
            }
            let heard = tokio::select! {
                biased;
                () = halt.halted() => continue,
                () = halt.relieved.notified(), if crowded => continue,
                heard = self.hear(feed) => heard,
            };
            match heard {
                Heard::Bell => {}
                Heard::Datagram => return Err(Misuse::Datagram),
                Heard::Gone => return self.rest(limit(), engine, halt).await,
            }
        }
    }

    /// What a client has committed before its end is acted on. Nobody reads replies any more.
    async fn rest<R: Into<Carried>>(
        &mut self,
        limit: u64,
        engine: &mut impl FnMut(Origin<'_>, Call<'_>) -> R,
        halt: &Halt,
    ) -> Result<(), Misuse> {
        // Somebody else may hold the memfd and go on writing: more than the ring held is not the client's.
        for _ in 0..self.calls.most_batches() {
            if halt.is_set() {
                break;
            }
            if std::mem::take(&mut self.calls.reply.pending) {
                self.calls.requests.release();
            }
            match self.calls.batch(self.socket.as_fd(), limit, self.peer, engine)? {
                Progressed::Idle => break,
                // It is done without us; nobody is told.
                Progressed::Waiting(..) => self.calls.requests.release(),
                Progressed::More | Progressed::Blocked => {}
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits for the bell, for something to deliver, or for the end of the client.
    async fn hear(&mut self, feed: &Feed) -> Heard {
        let mut stirred = pin!(feed.stirred());
        poll_fn(|cx| {
            if stirred.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Heard::Bell);
            }
            // The counter of the bell is never read: each ring is an edge of its own.
            match self.bell.poll_read_ready(cx) {
                Poll::Ready(Ok(mut ready)) => {
                    ready.clear_ready();
                    return Poll::Ready(Heard::Bell);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Heard::Gone),
                Poll::Pending => {}
            }
            loop {
                match self.socket.poll_read_ready(cx) {
                    Poll::Ready(Ok(mut ready)) => match net::recv(&self.socket, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
                        Err(Errno::AGAIN) => ready.clear_ready(),
                        Err(Errno::INTR) => {}
                        Ok((_, 0)) | Err(_) => return Poll::Ready(Heard::Gone),
                        Ok(_) => return Poll::Ready(Heard::Datagram),
                    },
                    Poll::Ready(Err(_)) => return Poll::Ready(Heard::Gone),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

/// Number and payload length of a publication of which only the beginning was kept; of another call its whole length.
fn claimed(beginning: &[u8], len: usize) -> Result<(u64, u64), Misuse> {
    let (number, call) = postcard::take_from_bytes::<u64>(beginning).map_err(|_| Misuse::Call)?;
    // `Call::Publish`, as postcard writes it: the variant, the channel's name, the payload's length.
    let payload = match postcard::take_from_bytes::<(u32, &str, u64)>(call) {
        Ok(((0, _, payload), _)) => payload,
        _ => len as u64,
    };
    Ok((number, payload))
}
