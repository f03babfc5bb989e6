//! Wakes the process at the other end of the ring, and waits to be woken, or to see that the other end is gone.
//!
//! The two directions differ, because the hub must never wait for a client:
//!
//! * client to hub: an eventfd made by the hub. The hub watches it edge-triggered and never reads it, so what a client
//!   does to its counter or flags only costs needless looks into the ring.
//! * hub to client: one byte on the socket, with `MSG_DONTWAIT`. An eventfd would be 1.5 µs cheaper; but its `O_NONBLOCK`
//!   is shared with the client, who could take it away, fill the counter, and thereby stop a thread of the hub in `write`.
//!   The client sleeps in `recv`, which sees a byte, the hub's death and the time-out alike.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{self, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::{self, Errno};
use rustix::net::{self, RecvFlags, SendFlags, sockopt};

/// A new bell for the clients' side to ring.
///
/// # Errors
/// The kernel's, when it has no descriptor left.
pub fn bell() -> io::Result<OwnedFd> {
    event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Wakes the hub.
pub fn ring(bell: BorrowedFd<'_>) {
    // Fails only when the counter is full, and then the hub has been rung.
    let _ = io::write(bell, &1_u64.to_ne_bytes());
}

/// Wakes a client, without ever waiting for it.
pub fn nudge(socket: BorrowedFd<'_>) {
    // Fails when unread bytes fill the socket, and then the client will wake; or when the client is gone, which the
    // hub learns where it listens.
    let _ = net::send(socket, &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Whether the other end has closed or died.
#[must_use]
pub fn hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut ask = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
    let found = event::poll(&mut ask, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    found.is_ok_and(|count| count > 0)
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Rung, or something else; look again.
    Perhaps,
    /// It is later than the deadline.
    TimedOut,
    /// The other end has closed or died.
    Gone,
}

/// A client's connected socket, and the time-out last set on it.
#[derive(Debug)]
pub struct Line {
    socket: OwnedFd,
    patience: Duration,
}

impl Line {
    /// Over a connected socket in blocking mode.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, patience: Duration::ZERO }
    }

    /// Waits for [`nudge`].
    pub fn wait(&mut self, until: Instant) -> Woken {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Woken::TimedOut;
        }
        if self.be_patient(left).is_err() {
            return Woken::Gone;
        }
        match net::recv(&self.socket, &mut [0_u8; 8], RecvFlags::empty()) {
            // The hub sends no empty datagrams.
            Ok((_, 0)) => Woken::Gone,
            // INTR: a signal, perhaps that of the caller's own timer; the deadline stands.
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => Woken::Perhaps,
            Err(_) => Woken::Gone,
        }
    }

    /// Makes `recv` wait about as long as is left. Most waits begin with the same time-out, so a system call is spared.
    fn be_patient(&mut self, left: Duration) -> io::Result<()> {
        const SLACK: Duration = Duration::from_millis(1);
        if self.patience.abs_diff(left) > SLACK {
            // Zero would mean for ever.
            let patience = left.max(SLACK);
            sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Recv, Some(patience))?;
            self.patience = patience;
        }
        Ok(())
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
