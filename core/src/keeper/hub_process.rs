//! One hub as its keeper sees it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::HUB;
use super::estate::Estate;
use super::watched::Watched;
use crate::control::{Order, Report};
use crate::lease::{receive, send};

/// A running hub, or one that ended and was not yet waited for.
pub(super) struct HubProcess {
    pub(super) process: Watched,
    /// When it said that it serves.
    pub(super) serves: Option<Instant>,
    /// It hangs, and was sent a first signal.
    pub(super) given_up: bool,
    /// Whether the line is open: once closed, it would wake a poll for ever.
    pub(super) talks: bool,
    /// Reports come in here, orders go out.
    pub(super) line: OwnedFd,
}

impl HubProcess {
    /// Starts a hub that gets all there is, and a line to this process.
    pub(super) fn start(estate: &Estate) -> io::Result<Self> {
        let (process, line) = estate.start(HUB, &[])?;
        Ok(Self { process, serves: None, given_up: false, talks: true, line })
    }

    /// The hub that started this keeper.
    pub(super) fn adopt(process: Watched, line: OwnedFd) -> Self {
        Self { process, serves: Some(Instant::now()), given_up: false, talks: true, line }
    }

    /// How long its start took, and for how long it has served since then.
    pub(super) fn times(&self) -> (Duration, Duration) {
        let served = self.serves.map_or(Duration::ZERO, |since| since.elapsed());
        (self.process.since.elapsed().saturating_sub(served), served)
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
                tracing::error!("the hub (pid {}) sent no report: {error}", self.process.pid);
                None
            }
        }
    }

    /// Has it go on with another configuration.
    pub(super) fn reconfigure(&self, config: BorrowedFd<'_>) -> io::Result<()> {
        self.order(Order::Config, &[config])
    }

    /// Asks it to answer what waits and to end.
    pub(super) fn drain(&self) {
        // It may be dead already. One that does not read its orders is killed later.
        let _ = self.order(Order::Drain, &[]);
    }

    /// Asks it for a sign of life.
    pub(super) fn ask(&self) {
        // One that does not read its orders gives none.
        let _ = self.order(Order::Answer, &[]);
    }

    /// Asks it to serve nothing more and to let go of the journal.
    pub(super) fn halt(&self) {
        // As in `drain`.
        let _ = self.order(Order::Halt, &[]);
    }

    /// Asks one that has halted to answer what waits and to end. Connections go to the next hub by way of `line`.
    pub(super) fn leave(&self, line: Option<OwnedFd>) {
        let _ = self.order(Order::Leave, line.as_ref().map(AsFd::as_fd).as_slice());
    }

    /// Has it take connections of the hub before it.
    pub(super) fn receive_connections(&self, line: BorrowedFd<'_>) -> io::Result<()> {
        self.order(Order::Arrivals, &[line])
    }

    fn order(&self, order: Order, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&order).map_err(io::Error::other)?;
        send(self.line.as_fd(), &bytes, with)
    }
}
