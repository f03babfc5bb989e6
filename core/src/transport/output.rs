//! What a client has not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};
use smallvec::SmallVec;

/// Pieces that are written in one call.
const PIECES: usize = 64;

/// What a piece takes beside its bytes, about: pongs and the like are smaller than that.
const PIECE: usize = 64;

/// Bytes to send, in pieces that many connections share.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Being written; empty when nothing is. Beside the others, because mostly it is the only one.
    first: Bytes,
    others: VecDeque<Bytes>,
    bytes: usize,
    /// The socket is full: it tells when it has room.
    blocked: bool,
}

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Everything is out.
    All,
    /// The socket is full; true: it took some.
    Part(bool),
    /// The connection is broken.
    Broken,
}

impl Output {
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else if !piece.is_empty() {
            self.others.push_back(piece);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The socket said that it has room.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Whether a piece of `len` bytes may wait behind the one that is being written, in `limit` bytes of memory.
    pub(crate) fn takes(&self, len: usize, limit: usize) -> bool {
        self.is_empty() || self.bytes - self.first.len() + len + PIECE * (1 + self.others.len()) <= limit
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self, socket: &OwnedFd) -> Written {
        let mut moved = false;
        while !self.is_empty() && !self.blocked {
            let sent = match self.others.len() {
                0 => send(socket, &self.first, SendFlags::NOSIGNAL),
                _ => self.write_several(socket),
            };
            match sent {
                Ok(sent) => {
                    moved |= sent > 0;
                    self.advance(sent);
                }
                Err(Errno::AGAIN) => self.blocked = true,
                Err(Errno::INTR) => {}
                Err(_) => return Written::Broken,
            }
        }
        if self.is_empty() { Written::All } else { Written::Part(moved) }
    }

    fn write_several(&self, socket: &OwnedFd) -> rustix::io::Result<usize> {
        let pieces = std::iter::once(&self.first).chain(&self.others).take(PIECES);
        let slices: SmallVec<[IoSlice<'_>; PIECES]> = pieces.map(|piece| IoSlice::new(piece)).collect();
        sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
    }

    fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while sent >= self.first.len() {
            sent -= self.first.len();
            self.first = match self.others.pop_front() {
                Some(next) => next,
                None => {
                    // Who has taken everything keeps nothing.
                    self.others = VecDeque::new();
                    self.first = Bytes::new();
                    return;
                }
            };
        }
        self.first.advance(sent);
    }
}
