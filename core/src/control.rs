//! The line between a hub and its keeper.
//!
//! The hub tells when it serves, hands on leases and what the next hub needs of its clients, and keeps its last position
//! where it outlives it. In the other direction there is a changed configuration, and the end of the line, by which the
//! keeper asks the hub to drain, and which comes by
//! itself when the keeper dies. A hub never goes on without its keeper.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use crate::config::{Config, Log};
use crate::lease;
use crate::logging;
use crate::message::Position;
use crate::process::{self, SharedNumber, Signals};
use crate::readiness::watch;

/// The descriptors a hub starts with, after the three standard ones. The listeners of `listen` follow, those of
/// `admin_listen`, then the attach sockets.
const CONFIG: i32 = 3;
const BEFORE_LISTENERS: usize = 4;

/// How many attach sockets a keeper makes: that at `socket`, and that for workers which inherit the way to it.
pub(crate) const ATTACH: usize = 2;

/// What a hub tells its keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// It serves.
    Ready,
    /// It cannot serve, and ends.
    Failed(String),
    /// With a descriptor: the end of a lease to be watched.
    Lease,
    /// With its segment, its bell and the socket that leads to it: a client to be kept for the next hub.
    Client(u64),
    /// The client is gone, and so are its calls.
    Gone(u64),
}

/// The hub's end of the line to its keeper. Shared by its threads.
pub struct Control {
    line: OwnedFd,
    signals: Signals,
    position: SharedNumber,
    config_hash: AtomicU64,
    log: Log,
}

/// How long a keeper may be too busy to take a report.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a keeper holds of a client.
#[derive(Debug)]
pub struct Kept {
    /// Its shared memory.
    pub segment: OwnedFd,
    /// By which it wakes the hub.
    pub bell: OwnedFd,
    /// The hub's end of its connection.
    pub socket: OwnedFd,
}

/// What a hub process starts with.
pub struct Inherited {
    /// The resolved configuration.
    pub config: Config,
    /// The sockets of `listen`, in its order: bound, listening, not blocking.
    pub listen: Vec<OwnedFd>,
    /// Those of `admin_listen`.
    pub admin_listen: Vec<OwnedFd>,
    /// Those that clients attach to.
    pub attach: Vec<OwnedFd>,
    /// After every position a previous hub can have given.
    pub start: Position,
    /// What the hubs before it had: messages, channels, keys.
    pub journal: OwnedFd,
    /// The clients of the hub before.
    pub clients: Vec<Kept>,
    /// The line to the keeper.
    pub control: Control,
}

impl Control {
    /// Takes what the keeper left in this process. Called once, first of all, and before any thread.
    ///
    /// # Errors
    /// The process was not started by a keeper.
    pub fn inherit() -> io::Result<Inherited> {
        let first = process::inherited(CONFIG, BEFORE_LISTENERS)?;
        let [config_file, line, position, journal] =
            <[OwnedFd; BEFORE_LISTENERS]>::try_from(first).expect("as many as were asked for");
        let mut config = Config::default();
        config.parse(&process::unsealed(&config_file)?, "configuration").map_err(io::Error::other)?;
        let listeners = CONFIG + BEFORE_LISTENERS as i32;
        let count = config.listen.len() + config.admin_listen.len() + ATTACH;
        let mut listen = process::inherited(listeners, count)?;
        let mut admin_listen = listen.split_off(config.listen.len());
        let attach = admin_listen.split_off(config.admin_listen.len());
        let mut rest = process::inherited_rest(listeners + count as i32).into_iter();
        let clients =
            std::iter::from_fn(|| Some(Kept { segment: rest.next()?, bell: rest.next()?, socket: rest.next()? }));
        let clients = clients.collect();
        let signals = Signals::block()?;
        let position = SharedNumber::map(position.as_fd())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let start = after(now, Position::unpack(position.load()));
        let control = Self { line, signals, position, config_hash: config.hash().into(), log: config.log.clone() };
        // Hubs may die faster than one a second, before any publication.
        control.position(start);
        Ok(Inherited { config, listen, admin_listen, attach, start, journal, clients, control })
    }

    /// Has the keeper hold duplicates of a client's descriptors, so that the next hub can go on with its calls.
    ///
    /// # Errors
    /// The keeper is gone, or does not answer.
    pub async fn keep(&self, client: u64, kept: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        self.report_patiently(&Report::Client(client), &kept).await
    }

    /// The client needs no keeping any more.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub async fn forget(&self, client: u64) -> io::Result<()> {
        self.report_patiently(&Report::Gone(client), &[]).await
    }

    /// Waits while the line is full, which it is when very many clients come at once.
    async fn report_patiently(&self, report: &Report, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.report(report, with) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        let line = watch(self.line.try_clone()?, Interest::WRITABLE)?;
        let sent = tokio::time::timeout(PATIENCE, async {
            loop {
                let mut ready = line.writable().await?;
                match self.report(report, with) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                    done => return done,
                }
            }
        });
        sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Tells the keeper that the hub serves.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn ready(&self) -> io::Result<()> {
        self.report(&Report::Ready, &[])
    }

    /// Tells the keeper why the hub cannot serve; it stands in the log of whoever started it.
    pub fn failed(&self, why: &str) {
        // Whoever does not hear it sees the exit code.
        let _ = self.report(&Report::Failed(why.chars().take(1000).collect()), &[]);
    }

    /// Stores the last position given, in memory that the next hub starts from. Cheap enough for every publication.
    pub fn position(&self, position: Position) {
        self.position.store(position.pack());
    }

    /// Answers a [`Hello::Lease`](crate::call::Hello::Lease) that came over `connection`: its protocol, build and
    /// configuration hash. The connection is not needed afterwards.
    ///
    /// # Errors
    /// There is no lease: the keeper or the master is gone, or there are no descriptors left.
    pub fn grant(&self, connection: BorrowedFd<'_>, asked: (u16, &str, u64)) -> io::Result<()> {
        let own_hash = self.config_hash.load(Ordering::Relaxed);
        lease::grant(connection, asked, own_hash, |watched| self.report(&Report::Lease, &[watched.as_fd()]))
    }

    /// Waits until the hub is to drain: the keeper says so or is gone, or a SIGTERM or SIGINT came. Gives another
    /// configuration that the keeper sends to `changed`. A SIGUSR1 opens the log anew.
    pub fn wait_for_end(&self, mut changed: impl FnMut(Config)) {
        loop {
            let mut fds =
                [PollFd::new(&self.line, PollFlags::IN | PollFlags::RDHUP), PollFd::new(&self.signals, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) if !fds[0].revents().is_empty() => match self.ordered() {
                    Some(config) => changed(config),
                    None => return,
                },
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the line to the keeper cannot be watched: {error}");
                    return;
                }
            }
            while let Some(signal) = self.signals.next() {
                if process::ends(signal) {
                    return;
                }
                if signal == Signal::USR1 {
                    logging::reopen(&self.log);
                }
            }
        }
    }

    /// The configuration that the keeper sent; nothing at the end of the line.
    fn ordered(&self) -> Option<Config> {
        let (_, file) = lease::receive(self.line.as_fd()).ok()?;
        let mut config = Config::default();
        config.parse(&process::unsealed(&file.into_iter().next()?).ok()?, "configuration").ok()?;
        self.config_hash.store(config.hash(), Ordering::Relaxed);
        Some(config)
    }

    fn report(&self, report: &Report, with: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = postcard::to_stdvec(report).map_err(io::Error::other)?;
        lease::send(self.line.as_fd(), &bytes, with)
    }
}

/// The first position of a hub that starts `now`, after one that had got to `last`: the present second may hold positions
/// of that hub, and the clock may have been set back since.
pub(crate) fn after(now: u64, last: Position) -> Position {
    let now = u32::try_from(now).unwrap_or(u32::MAX);
    Position { time: now.max(last.time).saturating_add(1), tag: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_hub_starts_after_the_last_position_whatever_the_clock_says() {
        let last = Position { time: 1_000, tag: 7 };
        assert_eq!(Position::unpack(last.pack()), last);
        for now in [10, 999, 1_000, 1_001, 5_000] {
            let start = after(now, last);
            assert!(start > last && u64::from(start.time) > now, "{start}");
        }
        assert!(after(u64::MAX, last) > last);
    }
}
