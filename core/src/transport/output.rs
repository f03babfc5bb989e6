//! What a client has not taken yet.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::Bytes;
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
    pieces: VecDeque<Bytes>,
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
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
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
        let first = self.pieces.front().map_or(0, Bytes::len);
        self.pieces.is_empty() || self.bytes - first + len + PIECE * self.pieces.len() <= limit
    }

    /// Writes what the socket takes.
    pub(crate) fn write(&mut self, socket: &OwnedFd) -> Written {
        let mut moved = false;
        while !self.pieces.is_empty() && !self.blocked {
            let sent = match self.pieces.len() {
                1 => send(socket, &self.pieces[0], SendFlags::NOSIGNAL),
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
        if self.pieces.is_empty() { Written::All } else { Written::Part(moved) }
    }

    fn write_several(&self, socket: &OwnedFd) -> rustix::io::Result<usize> {
        let slices: SmallVec<[IoSlice<'_>; PIECES]> =
            self.pieces.iter().take(PIECES).map(|piece| IoSlice::new(piece)).collect();
        sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
    }

    fn advance(&mut self, mut sent: usize) {
        self.bytes -= sent;
        while let Some(first) = self.pieces.front_mut() {
            if sent < first.len() {
                *first = first.slice(sent..);
                return;
            }
            sent -= first.len();
            self.pieces.pop_front();
        }
        // Who has taken everything keeps nothing.
        self.pieces = VecDeque::new();
    }
}
