//! The line between a hub and its keeper, as the hub sees it.
//!
//! The hub tells when it serves, hands on leases and what the next hub needs of its clients, and keeps its last position
//! where it outlives it. In the other direction come orders: another configuration, or to drain. The hub holds all that its
//! keeper holds ([`Estate`]), and when the keeper dies it starts another and gives it that: [`KeeperWatch`].

mod keeper_watch;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::io::Interest;

use crate::channel::ThreadId;
use crate::config::Config;
use crate::keeper::estate::{Estate, LINE, MOST_LEASES};
use crate::lease;
use crate::message::Position;
use crate::process::{self, Signals};
use crate::readiness::watch;
use crate::vitals::{Part, Vitals};

pub use keeper_watch::{KeeperWatch, Told};

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
    /// With a connection: another keeper asks for the hub, with this build.
    Handover(String),
    /// It has halted, as it was told to.
    Halted,
}

/// What a keeper tells its hub.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// With a descriptor: to go on with another configuration.
    Config,
    /// To answer what waits, and to end.
    Drain,
    /// To give a sign of life.
    Answer,
    /// To serve nothing more and to let go of the journal.
    Halt,
    /// After that: to answer what waits, and to end. With the end of a line, by which connections go to the next hub.
    Leave,
    /// With the end of a line: to take connections of the hub before.
    Arrivals,
}

/// The hub's end of the line to its keeper. Shared by its threads.
pub struct Control {
    held: Mutex<Held>,
    signals: Signals,
    vitals: Vitals,
    config_hash: AtomicU64,
}

/// What is changed together: a keeper that is given the estate hears on its line of all that is added later.
struct Held {
    line: Arc<OwnedFd>,
    /// None in a hub that is ending.
    estate: Option<Estate>,
}

/// How long a keeper may be too busy to take a report.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is held of a client for the next hub.
#[derive(Debug)]
pub struct Kept {
    /// Its shared memory.
    pub segment: OwnedFd,
    /// By which it wakes the hub.
    pub bell: OwnedFd,
    /// The hub's end of its connection.
    pub socket: OwnedFd,
}

impl Kept {
    fn of([segment, bell, socket]: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let clone = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok(Self { segment: clone(segment)?, bell: clone(bell)?, socket: clone(socket)? })
    }
}

/// What a hub process starts with.
pub struct Inherited {
    /// The resolved configuration.
    pub config: Config,
    /// The sockets of `listen`, in its order: bound, listening, not blocking.
    pub listen: Vec<OwnedFd>,
    /// Those of `admin_listen`.
    pub admin_listen: Vec<OwnedFd>,
    /// Those of `trusted_listen`.
    pub trusted_listen: Vec<OwnedFd>,
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
    /// The keeper itself.
    pub keeper: KeeperWatch,
}

impl Control {
    /// Takes what the keeper left in this process. Called once, first of all, and before any thread.
    ///
    /// # Errors
    /// The process was not started by a keeper.
    pub fn inherit() -> io::Result<Inherited> {
        let line = process::inherited(LINE, 1)?.pop().expect("as many as were asked for");
        let (estate, keeper) = Estate::receive(line.as_fd())?;
        let config = estate.parsed_config()?;
        let mut listen =
            estate.listeners.sockets().iter().map(OwnedFd::try_clone).collect::<io::Result<Vec<OwnedFd>>>()?;
        let http = config.listen.len() + config.admin_listen.len() + config.trusted_listen.len();
        if listen.len() != http + ATTACH {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the listeners are not those of the configuration"));
        }
        let mut admin_listen = listen.split_off(config.listen.len());
        let mut trusted_listen = admin_listen.split_off(config.admin_listen.len());
        let attach = trusted_listen.split_off(config.trusted_listen.len());
        let journal = estate.journal.try_clone()?;
        let clients = estate.clients.values();
        let clients = clients.map(|kept| Kept::of([kept.segment.as_fd(), kept.bell.as_fd(), kept.socket.as_fd()]));
        let clients = clients.collect::<io::Result<_>>()?;
        let signals = Signals::block()?;
        let vitals = Vitals::map(estate.vitals.as_fd())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let start = after(now, vitals.position());
        let held = Mutex::new(Held { line: Arc::new(line), estate: Some(estate) });
        let control = Self { held, signals, vitals, config_hash: config.hash().into() };
        // Hubs may die faster than one a second, before any publication.
        control.position(start);
        let keeper = KeeperWatch::new(keeper);
        Ok(Inherited { config, listen, admin_listen, trusted_listen, attach, start, journal, clients, control, keeper })
    }

    /// Holds duplicates of a client's descriptors, and has the keeper do so, so that the next hub can go on with its calls.
    ///
    /// # Errors
    /// The keeper does not answer, or there are too many descriptors.
    pub async fn keep(&self, client: u64, kept: [BorrowedFd<'_>; 3]) -> io::Result<()> {
        let copy = Kept::of(kept)?;
        let line = {
            let mut held = self.held();
            if let Some(estate) = &mut held.estate
                && !estate.keep(client, copy)
            {
                return Err(io::Error::other(
                    "too many clients are attached; raise the limit of open files (LimitNOFILE)",
                ));
            }
            held.line.clone()
        };
        report_patiently(&line, &Report::Client(client), &kept).await
    }

    /// The client needs no keeping any more.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    pub async fn forget(&self, client: u64) -> io::Result<()> {
        let line = {
            let mut held = self.held();
            if let Some(estate) = &mut held.estate {
                estate.clients.remove(&client);
            }
            held.line.clone()
        };
        report_patiently(&line, &Report::Gone(client), &[]).await
    }

    /// Tells the keeper that the hub serves.
    ///
    /// # Errors
    /// The keeper does not answer.
    pub fn ready(&self) -> io::Result<()> {
        report(&self.held().line, &Report::Ready, &[])
    }

    /// Tells the keeper why the hub cannot serve; it stands in the log of whoever started it.
    pub fn failed(&self, why: &str) {
        // Whoever does not hear it sees the exit code.
        let _ = report(&self.held().line, &Report::Failed(why.chars().take(1000).collect()), &[]);
    }

    /// Stores the last position given, in memory that the next hub starts from. Cheap enough for every publication.
    pub fn position(&self, position: Position) {
        self.vitals.set_position(position);
    }

    /// Tells the keeper that an HTTP thread goes its rounds.
    pub(crate) fn thread_lives(&self, thread: ThreadId) {
        self.vitals.answer(Part::Thread(thread));
    }

    /// Tells the keeper that the engine can be entered.
    pub fn engine_lives(&self) {
        self.vitals.answer(Part::Engine);
    }

    /// Answers a [`Hello::Lease`](crate::call::Hello::Lease) that came over `connection`: its protocol, build and
    /// configuration hash. The connection is not needed afterwards.
    ///
    /// # Errors
    /// There is no lease: the master is gone, the keeper does not answer, or there are no descriptors left.
    pub fn grant(&self, connection: BorrowedFd<'_>, asked: (u16, &str, u64)) -> io::Result<()> {
        let own_hash = self.config_hash.load(Ordering::Relaxed);
        lease::grant(connection, asked, own_hash, |watched| {
            let mut held = self.held();
            let done = report(&held.line, &Report::Lease, &[watched.as_fd()]);
            let Some(estate) = &mut held.estate else { return Err(io::Error::other("the hub is ending")) };
            if !estate.lease(watched) {
                return Err(io::Error::other(format!("there are {MOST_LEASES} already")));
            }
            done
        })
    }

    /// Gives the connection of another keeper, which asks for this hub, to ours.
    ///
    /// # Errors
    /// The keeper does not answer.
    pub fn hand_over(&self, connection: BorrowedFd<'_>, build: String) -> io::Result<()> {
        report(&self.held().line, &Report::Handover(build), &[connection])
    }

    /// Tells the keeper that the hub has halted. From here on nothing is held for a next keeper.
    pub fn halted(&self) {
        let mut held = self.held();
        held.estate = None;
        // A keeper that does not hear it has ended: then this hub leaves.
        let _ = report(&held.line, &Report::Halted, &[]);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("a panic ends the hub")
    }
}

/// Tells the keeper. One that is dead needs not be told: the next one gets the estate, where it stands already.
fn report(line: &OwnedFd, report: &Report, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(report).map_err(io::Error::other)?;
    match lease::send(line.as_fd(), &bytes, with) {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
        done => done,
    }
}

/// The same, and waits while the line is full, which it is when very many clients come at once.
async fn report_patiently(line: &OwnedFd, what: &Report, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    match report(line, what, with) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        done => return done,
    }
    let line = watch(line.try_clone()?, Interest::WRITABLE)?;
    let sent = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut ready = line.writable().await?;
            match report(line.get_ref(), what, with) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                done => return done,
            }
        }
    });
    sent.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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
