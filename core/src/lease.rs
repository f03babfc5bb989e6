//! Leases: who keeps a hub running that FPM started.
//!
//! A lease is a pipe. The PHP master and all its workers hold the writing end, the keeper holds the reading end and sees
//! when the last of them is gone, however they ended. Not a socket: any worker could shut that down for all the others.
//! The master of a new hub makes the pipe itself; one that adopts a living hub asks for it at the attach socket, and the
//! hub hands the reading end on to its keeper, so that the lease outlives the hub.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::call::{Hello, PROTOCOL};
#[cfg(feature = "hub")]
use crate::error::Error;

/// What tells builds apart. Text that the compiler does not know when it is compared: a copy of the program with another
/// number in this place is another build, and tests make one.
pub fn build() -> &'static str {
    std::hint::black_box(env!("CARGO_PKG_VERSION"))
}

/// What is kept open: [`Lease::held`] by the master, [`Lease::watched`] by the keeper.
pub(crate) struct Lease {
    pub(crate) held: OwnedFd,
    pub(crate) watched: OwnedFd,
}

impl Lease {
    pub(crate) fn new() -> io::Result<Self> {
        let (watched, held) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { held, watched })
    }
}

/// The hub's answer to [`Hello::Lease`]; the lease's writing end comes with it, unless it was refused.
#[derive(Debug, Serialize, Deserialize)]
struct Granted {
    /// In what the hub differs from the one that was asked for, or why there is no lease.
    difference: Option<String>,
}

/// What a master learns when it asks for a lease.
pub(crate) enum Asked {
    /// A hub lives and is kept.
    Granted { held: OwnedFd, difference: Option<String> },
    /// The hub lives, and does not let this user keep it.
    Refused(String),
    /// Nothing listens at the path.
    Nobody,
    /// Somebody took the connection, or would, but gave no lease: it is ending, stopped, or no hub.
    Unanswered(io::Error),
}

/// Asks the hub at `socket` for a lease, waiting until `deadline`.
///
/// # Errors
/// The path is out of reach for this process.
pub(crate) fn ask(socket: &Path, config_hash: u64, deadline: Instant) -> io::Result<Asked> {
    use rustix::io::Errno;
    let connection = match connect(socket) {
        Ok(connection) => connection,
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(Asked::Nobody),
        // A full backlog: it lives, and does not accept.
        Err(error @ Errno::AGAIN) => return Ok(Asked::Unanswered(error.into())),
        Err(error) => return Err(error.into()),
    };
    let hello = Hello::Lease { protocol: PROTOCOL, build: build().to_owned(), config_hash };
    Ok(answer(&connection, &hello, deadline).unwrap_or_else(Asked::Unanswered))
}

/// A connection to the attach socket, which does not wait.
pub(crate) fn connect(socket: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connection = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&connection, &SocketAddrUnix::new(socket)?)?;
    Ok(connection)
}

fn answer(connection: &OwnedFd, hello: &Hello, deadline: Instant) -> io::Result<Asked> {
    let hello = postcard::to_stdvec(hello).map_err(io::Error::other)?;
    rustix::net::send(connection, &hello, SendFlags::NOSIGNAL)?;
    if !readable(connection.as_fd(), deadline)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (text, held) = receive(connection.as_fd())?;
    let granted: Granted = postcard::from_bytes(&text).map_err(io::Error::other)?;
    match (held.into_iter().next(), granted.difference) {
        (Some(held), difference) => Ok(Asked::Granted { held, difference }),
        (None, Some(why)) => Ok(Asked::Refused(why)),
        (None, None) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Waits until there is something to read or `deadline` is over.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timespec(left))) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// As `poll` takes it.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

/// Most descriptors of a datagram; the kernel allows 253.
pub(crate) const WITH: usize = 250;

/// Tells who asked for a lease that it gets none.
///
/// # Errors
/// It is gone.
#[cfg(feature = "hub")]
pub(crate) fn refuse(connection: BorrowedFd<'_>, error: &Error) -> io::Result<()> {
    let refused = postcard::to_stdvec(&Granted { difference: Some(error.to_string()) }).map_err(io::Error::other)?;
    send(connection, &refused, &[])
}

/// Sends one datagram with descriptors; never waits.
pub(crate) fn send(to: BorrowedFd<'_>, bytes: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(to, bytes, with, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

/// The same, waiting for room where the socket is one that waits.
#[cfg(feature = "hub")]
pub(crate) fn send_patiently(to: BorrowedFd<'_>, bytes: &[u8], with: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(to, bytes, with, SendFlags::NOSIGNAL)
}

fn send_with(to: BorrowedFd<'_>, bytes: &[u8], with: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WITH))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !with.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(with)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(to, &[IoSlice::new(bytes)], &mut ancillary, flags))?;
    Ok(())
}

/// Longest datagram of these conversations.
const LONGEST: usize = 4096;

/// Takes one datagram and the descriptors that came with it; never waits. Nothing at all is the end of the conversation.
pub(crate) fn receive(from: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    receive_up_to(from, LONGEST, false)
}

/// The same for one of up to `longest` bytes, waiting for it if `waits` and the socket does.
pub(crate) fn receive_up_to(from: BorrowedFd<'_>, longest: usize, waits: bool) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; longest];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WITH))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let waiting = if waits { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let flags = waiting | RecvFlags::CMSG_CLOEXEC;
    let mut take = || {
        rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags)
        })
    };
    let message = match take() {
        // Said once, when the other side died before it had read everything; what it said before that is still there.
        Err(rustix::io::Errno::CONNRESET) => take(),
        done => done,
    }?;
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(message.bytes);
    let descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok((bytes, descriptors.flatten().collect()))
}

/// Answers a [`Hello::Lease`] that came over `connection` to a hub with this configuration. `keep` hands the end to be
/// watched to the keeper; that comes first, because a keeper that is about to end looks for new leases under the lock that the
/// asking master holds until it has the answer.
///
/// # Errors
/// The keeper or the master is gone, or there are no descriptors left; then there is no lease.
#[cfg(feature = "hub")]
pub(crate) fn grant(
    connection: BorrowedFd<'_>,
    (protocol, asked_by, hash): (u16, &str, u64),
    own_hash: u64,
    keep: impl FnOnce(OwnedFd) -> io::Result<()>,
) -> io::Result<()> {
    let difference = if protocol != PROTOCOL {
        Some(format!("it speaks protocol {PROTOCOL}, this build speaks {protocol}"))
    } else if asked_by != build() {
        Some(format!("it is version {}, this is {asked_by}", build()))
    } else {
        (hash != own_hash).then(|| "it was started with another configuration".to_owned())
    };
    let Lease { held, watched } = Lease::new()?;
    keep(watched)?;
    let granted = postcard::to_stdvec(&Granted { difference }).map_err(io::Error::other)?;
    send(connection, &granted, &[held.as_fd()])
}
