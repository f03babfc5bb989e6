//! Connections on their way from a hub to the one that follows it: those between two requests, as they are.
//!
//! One datagram each, with the socket: a byte that says on which kind of listener it was accepted, then what was read of it
//! and not yet served. Both ends may wait, in a thread that does nothing else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;

use bytes::Bytes;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::http_thread::From;
use crate::lease::{receive_up_to, send_patiently};
use crate::transport::request::MAX_HEAD;

/// A connection, and what was read of it.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) socket: OwnedFd,
    pub(crate) from: From,
    pub(crate) unread: Bytes,
}

/// What the byte says. A hub of before takes all that it does not know for public, where nobody is believed.
const KINDS: [From; 3] = [From::Admin, From::Public, From::Trusted];

/// A line from one hub to another; it only goes one way.
pub(crate) fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends what comes until nobody is left who could, or nobody takes it: then the connections close.
pub(crate) fn send_all(line: &OwnedFd, from: &Receiver<Passed>) {
    for Passed { socket, from, unread } in from {
        let Some(kind) = KINDS.iter().position(|kind| *kind == from) else { continue };
        let datagram = [&[kind as u8], &*unread].concat();
        if let Err(error) = send_patiently(line.as_fd(), &datagram, &[socket.as_fd()]) {
            tracing::warn!(%error, "the next hub takes no more connections; those that are left close");
            return;
        }
    }
}

/// Takes what comes until the other hub is done.
pub(crate) fn receive_all(line: &OwnedFd, mut take: impl FnMut(Passed)) {
    loop {
        match receive_up_to(line.as_fd(), 1 + MAX_HEAD, true) {
            Ok((bytes, with)) => {
                let (Some(socket), Some((kind, unread))) = (with.into_iter().next(), bytes.split_first()) else {
                    continue;
                };
                let Some(from) = KINDS.get(usize::from(*kind)) else { continue };
                take(Passed { socket, from: *from, unread: Bytes::copy_from_slice(unread) });
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) => return tracing::warn!(%error, "no more connections come from the hub before this one"),
        }
    }
}
