//! One hub as its keeper sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, shutdown, socketpair};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::HUB;
use crate::control::Report;
use crate::lease::{receive, send};
use crate::process::{self, Exit, Spawn};

/// A running hub, or one that ended and was not yet waited for.
pub(super) struct HubProcess {
    pub(super) pid: Pid,
    pub(super) started: Instant,
    /// Whether the line is open: once closed, it would wake a poll for ever.
    pub(super) talks: bool,
    /// Readable when it has ended.
    pub(super) end: OwnedFd,
    /// Reports come in here; shut down, it tells the hub to drain.
    pub(super) line: OwnedFd,
}

impl HubProcess {
    /// Starts a hub that gets the configuration, the shared position, the journal, then `rest`: the listeners and what
    /// is kept of clients; and a line to this process.
    pub(super) fn start(
        program: BorrowedFd<'_>,
        config: BorrowedFd<'_>,
        position: BorrowedFd<'_>,
        journal: BorrowedFd<'_>,
        rest: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (line, its_line) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let null = process::null()?;
        let stderr = io::stderr();
        let mut descriptors =
            vec![null.as_fd(), null.as_fd(), stderr.as_fd(), config, its_line.as_fd(), position, journal];
        descriptors.extend(rest);
        let pid = Spawn { program, name: HUB, descriptors: &descriptors }.child()?;
        // The child is not waited for before this, so the number is its own.
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid, started: Instant::now(), talks: true, end, line })
    }

    /// The next report, if there is one.
    pub(super) fn report(&mut self) -> Option<(Report, Vec<OwnedFd>)> {
        let (bytes, with) = match receive(self.line.as_fd()) {
            Ok(datagram) => datagram,
            Err(error) => {
                self.talks &= error.kind() == io::ErrorKind::WouldBlock;
                return None;
            }
        };
        match postcard::from_bytes(&bytes) {
            Ok(report) => Some((report, with)),
            Err(error) => {
                tracing::error!("the hub (pid {}) sent no report: {error}", self.pid.as_raw_nonzero());
                None
            }
        }
    }

    /// Has it go on with another configuration.
    pub(super) fn reconfigure(&self, config: BorrowedFd<'_>) -> io::Result<()> {
        send(self.line.as_fd(), b"config", &[config])
    }

    /// Asks it to answer what waits and to end.
    pub(super) fn drain(&self) {
        // It may be dead already.
        let _ = shutdown(&self.line, Shutdown::Write);
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(super) fn signal(&self, signal: Signal) {
        // It may be dead already.
        let _ = pidfd_send_signal(&self.end, signal);
    }

    /// Waits for its end and says how that was.
    pub(super) fn wait(self) -> io::Result<Exit> {
        process::wait(self.pid)
    }
}
