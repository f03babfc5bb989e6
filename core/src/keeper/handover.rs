//! A hub goes over from one keeper to another: at the reload of a PHP master that brings another configuration or build.
//!
//! The master starts the new keeper with its rights and with a connection to the running hub, which hands that on to its
//! keeper. From there on the two keepers talk:
//!
//! ```text
//! new                                   old
//! Hello::Handover ───────────────────►  may it? the asking master must hold the only lease
//!                 ◄─────────────────── Offered, and the estate
//! reads the configuration, opens the log, binds what is not there yet, gives up its rights
//! Commit ────────────────────────────►  has its hub halt
//!                 ◄─────────────────── Yours, and the estate as it is now
//! starts its hub, which carries out what stands in the rings, and serves
//! Serves, and a line to that hub ─────► has its hub leave by that line, waits for its end, ends
//! ```
//!
//! All that can fail for the sake of the configuration comes before `Commit`: until then the old hub serves as if nothing was.
//! A new keeper that fails later, or dies, is found out by the end of the connection: then the old one starts a hub of its
//! own again. When the old one is killed after `Commit`, its hub leaves all the same, and the new one goes on with what it
//! was offered; killed before, it comes back, and the new one gives up. At any moment one hub writes to the journal, at most: the kernel sees to that ([`crate::journal`]). The
//! listening sockets stay open all the time.

use std::io;
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, geteuid};
use serde::{Deserialize, Serialize};

use super::estate::{Estate, Terms};
use super::listeners::Listeners;
use super::lock::Lock;
use super::owner::Owner;
use super::run::open_log;
use super::serve::{KILL_AFTER, Keeper};
use super::{READY, StartError};
use crate::call::{Hello, PROTOCOL};
use crate::config::Config;
use crate::journal;
use crate::lease::{self, timespec};
use crate::logging;
use crate::passing;
use crate::process::{self, Signals};

/// How long a hub may take to halt.
const HALT: Duration = Duration::from_secs(5);

/// What the two keepers say.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// It stays where it is.
    Refused(String),
    /// The estate follows.
    Offered,
    /// Nothing is left that could fail.
    Commit,
    /// The hub has halted. The estate follows.
    Yours,
    /// With the end of a line: another hub serves, and takes connections by that line.
    Serves,
}

/// Who asked for the hub, as its keeper sees it.
pub(super) struct Successor {
    line: OwnedFd,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has the offer.
    Prepares,
    /// The hub is to halt, by then at the latest.
    Halting(Instant),
    /// It has everything.
    Starts,
}

impl Successor {
    /// Whether the hub is not to be replaced when it ends.
    pub(super) fn has_asked(&self) -> bool {
        self.stage != Stage::Prepares
    }

    /// Something that it says is to be heard here.
    pub(super) fn line(&self) -> Option<&OwnedFd> {
        (!matches!(self.stage, Stage::Halting(_))).then_some(&self.line)
    }

    /// When something is to happen by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Halting(until) => Some(until),
            Stage::Prepares | Stage::Starts => None,
        }
    }
}

/// What comes of a look at the successor.
#[must_use]
pub(super) enum Course {
    GoOn,
    /// Another keeper has it all.
    End(ExitCode),
}

// The old side.

impl Keeper {
    /// Somebody asks for the hub.
    pub(super) fn offer(&mut self, line: OwnedFd, build: &str) {
        // One that went away a moment ago is in nobody's way.
        if self.successor.as_ref().is_some_and(|successor| !successor.has_asked()) {
            // It has nothing yet, so nothing is over.
            let _ = self.look_after_successor();
        }
        let said = match self.refusal(&line) {
            Some(why) => say(&line, &Word::Refused(why), &[]),
            None => say(&line, &Word::Offered, &[]).and_then(|()| self.estate.send(line.as_fd())),
        };
        match said {
            Ok(()) => {
                tracing::info!("a PHP master asks for the hub, with push-hub {build}");
                // One that was refused closes the connection, and is forgotten then.
                self.successor.get_or_insert(Successor { line, stage: Stage::Prepares });
            }
            Err(error) => tracing::warn!("a hub cannot be offered: {error}"),
        }
    }

    fn refusal(&mut self, line: &OwnedFd) -> Option<String> {
        self.estate.drop_ended_leases();
        let uid = match process::peer_credentials(line.as_fd()) {
            Ok((_, uid)) => uid,
            Err(error) => return Some(format!("it cannot be seen who asks: {error}")),
        };
        let why = if uid != 0 && uid != geteuid().as_raw() {
            "only root and the user of the hub may ask for it"
        } else if !self.estate.terms.leased {
            "it runs as a service of its own: restart that"
        } else if self.successor.is_some() {
            "another process is asking for it"
        } else if self.hub.as_ref().is_none_or(|hub| hub.serves.is_none()) {
            "it is being replaced"
        // The asking master has asked for its lease before, so that one is its own. Those of its workers before a reload are
        // gone: php-fpm starts itself anew after the last of them has ended.
        } else if self.estate.leases.len() != 1 {
            "other PHP masters hold it, too: stop those, or set another push.socket for one of them"
        } else {
            return None;
        };
        Some(why.to_owned())
    }

    /// Does what the successor says, or what its silence means.
    pub(super) fn look_after_successor(&mut self) -> Course {
        let Some(Successor { line, stage }) = &mut self.successor else { return Course::GoOn };
        let stage = *stage;
        if let Stage::Halting(until) = stage {
            // What becomes of the successor meanwhile is seen when the hub has halted.
            self.see_to_the_halt(until);
            return Course::GoOn;
        }
        match (stage, hear(line.as_fd())) {
            (Stage::Prepares, Ok(Some((Word::Commit, _)))) => {
                tracing::info!("the next hub is prepared, this one halts");
                if let Some(successor) = &mut self.successor {
                    successor.stage = Stage::Halting(Instant::now() + HALT);
                }
                if let Some(hub) = &self.hub {
                    hub.halt();
                }
            }
            (Stage::Starts, Ok(Some((Word::Serves, with)))) => {
                return Course::End(self.depart(with.into_iter().next()));
            }
            (_, Ok(None)) => {}
            (Stage::Prepares, heard) => {
                let why = heard.map_or_else(|error| error.to_string(), |word| format!("{word:?}"));
                tracing::info!("the hub stays here: who asked for it went away ({why})");
                self.successor = None;
            }
            (_, heard) => {
                let why = heard.map_or_else(|error| error.to_string(), |word| format!("{word:?}"));
                tracing::error!("who asked for the hub failed to start another ({why})");
                return self.take_back();
            }
        }
        Course::GoOn
    }

    fn see_to_the_halt(&mut self, until: Instant) {
        match &self.hub {
            // It was killed meanwhile; then nobody writes to the journal either.
            None => self.hand_over(),
            Some(hub) if until <= Instant::now() => {
                tracing::error!("the hub (pid {}) does not halt; it is killed", hub.process.pid);
                hub.process.signal(Signal::KILL);
                self.successor.iter_mut().for_each(|successor| successor.stage = Stage::Halting(until + HALT));
            }
            Some(_) => {}
        }
    }

    /// The hub has halted: the successor gets everything.
    pub(super) fn hand_over(&mut self) {
        let Some(successor) = &mut self.successor else { return };
        successor.stage = Stage::Starts;
        let said = say(&successor.line, &Word::Yours, &[]).and_then(|()| self.estate.send(successor.line.as_fd()));
        if let Err(error) = said {
            // Its end of the connection is found closed next.
            tracing::error!("a hub cannot be handed over: {error}");
        }
    }

    /// Starts a hub of its own again, when the one that was to follow is no more.
    fn take_back(&mut self) -> Course {
        self.successor = None;
        let halted = self.hub.take();
        if let Some(hub) = &halted {
            hub.leave(None);
        }
        // A hub whose keeper was killed at the very last moment may live, and start another keeper.
        if !wait_until_free(&self.estate) {
            tracing::warn!("the hub that was to follow lives without its keeper: it goes on");
            self.hub = halted;
            return Course::End(self.depart(None));
        }
        self.left = halted;
        self.respawn = Instant::now();
        Course::GoOn
    }

    /// Another keeper has everything. The hub that was ours answers who waits, then both end.
    fn depart(&mut self, line: Option<OwnedFd>) -> ExitCode {
        tracing::info!("the hub was handed over");
        // Not closed: the files are the other's.
        self.estate.listeners = Listeners::default();
        self.estate.clients.clear();
        self.estate.lock = None;
        let Some(hub) = self.hub.take() else { return ExitCode::SUCCESS };
        hub.leave(line);
        let deadline = Instant::now() + self.config.drain_timeout + KILL_AFTER;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll(&mut [PollFd::new(&hub.process, PollFlags::IN)], Some(&timespec(left)));
            if hub.process.ended() {
                let _ = hub.process.wait();
                return ExitCode::SUCCESS;
            }
            if left.is_zero() {
                tracing::error!("the hub (pid {}) did not end; it is killed", hub.process.pid);
                hub.process.signal(Signal::KILL);
                let _ = hub.process.wait();
                return ExitCode::FAILURE;
            }
        }
    }
}

// The new side.

/// Takes the place of the keeper at the other end of the line, with a hub of its own. What fails before `Commit` leaves the
/// running hub as it is.
pub(super) fn take_over(
    config: &Config,
    signals: Signals,
    lock: Lock,
    lease: OwnedFd,
    line: &OwnedFd,
) -> Result<Keeper, StartError> {
    let internal = |what: &'static str| move |error: io::Error| StartError::new(format!("{what}: {error}"));
    let program = process::program(Path::new("/proc/self/exe")).map_err(internal("/proc/self/exe"))?;
    let lost = |error: io::Error| StartError::new(format!("the running hub hands nothing over: {error}"));
    let hello = postcard::to_stdvec(&Hello::Handover { protocol: PROTOCOL, build: lease::build().to_owned() });
    lease::send(line.as_fd(), &hello.expect("plain data into a Vec"), &[]).map_err(lost)?;
    match wait_for_word(line, Instant::now() + READY).map_err(lost)? {
        Word::Offered => {}
        Word::Refused(why) => return Err(StartError::new(why)),
        word => return Err(StartError::new(format!("the running hub said {word:?} when it was asked"))),
    }
    let owner = Owner::of(config)?;
    open_log(&config.log, &owner)?;
    logging::start(&config.log, config.log_level);
    process::raise_descriptor_limit();
    let (mut offered, _) = Estate::receive(line.as_fd()).map_err(lost)?;
    let before = offered.parsed_config().map_err(lost)?;
    if before.store_path != config.store_path {
        return Err(StartError::new(
            "store_path: what is stored cannot go elsewhere while it is used; stop php-fpm, start it",
        ));
    }
    let sockets = mem::take(&mut offered.listeners);
    let (mut listeners, inherited) = Listeners::inherit(config, &owner, sockets, &before)?;
    let committed = (|| {
        match owner.account {
            Some(account) => process::become_account(account).map_err(internal("dropping privileges"))?,
            None => process::renounce().map_err(internal("dropping privileges"))?,
        }
        let config_file = process::sealed(c"push-config", config.to_toml().as_bytes()).map_err(internal("config"))?;
        say(line, &Word::Commit, &[]).map_err(lost)?;
        let given = match given(line) {
            Ok(given) => given,
            Err(error) => {
                wait_until_free(&offered).then_some(()).ok_or_else(|| lost(error))?;
                offered
            }
        };
        // The hub is to know of them from its beginning: it gives them to a keeper that it starts.
        let mut listeners = mem::take(&mut listeners);
        listeners.add_files(inherited.kept.clone());
        let journal = match &config.store_path {
            None => journal::for_limit(given.journal, config.memory_limit).map_err(internal("journal"))?,
            // Files and memory go together: they grow at a start.
            Some(_) => given.journal,
        };
        let estate = Estate {
            config: config_file,
            vitals: given.vitals,
            journal,
            program,
            lock: Some(lock),
            listeners,
            leases: given.leases.into_iter().chain([lease]).collect(),
            clients: given.clients,
            terms: Terms { leased: true, ..Terms::default() },
        };
        let mut keeper = Keeper::resume(estate, signals)?;
        if let Err(error) = keeper.wait_for_first_hub() {
            keeper.estate.listeners.leave_files(&inherited.kept);
            keeper.estate.listeners.close();
            return Err(error);
        }
        Ok(keeper)
    })();
    let keeper = committed.inspect_err(|_| listeners.close())?;
    keeper.estate.listeners.claim();
    // The hub is there: what else goes wrong costs connections, not messages.
    let passed = passing::line().and_then(|(from, to)| {
        keeper.hub.as_ref().map_or(Ok(()), |hub| hub.receive_connections(from.as_fd()))?;
        say(line, &Word::Serves, &[to.as_fd()])
    });
    if let Err(error) = passed {
        tracing::warn!("connections are not taken over: {error}");
        let _ = say(line, &Word::Serves, &[]);
    }
    let mut dropped = Listeners::default();
    dropped.add_files(inherited.dropped);
    dropped.close();
    tracing::info!("took over from a hub with another configuration or of another build");
    keeper.serves();
    Ok(keeper)
}

/// The estate as it is when the hub has halted.
fn given(line: &OwnedFd) -> io::Result<Estate> {
    match wait_for_word(line, Instant::now() + 3 * HALT)? {
        Word::Yours => Estate::receive(line.as_fd()).map(|(estate, _)| estate),
        word => Err(io::Error::other(format!("it said {word:?} when its hub was to halt"))),
    }
}

/// Whether the hub of a keeper that was killed leaves, and does not come back with another keeper.
fn wait_until_free(offered: &Estate) -> bool {
    let deadline = Instant::now() + READY;
    while !journal::is_free(&offered.journal) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

// Both.

fn say(line: &OwnedFd, word: &Word, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(word).map_err(io::Error::other)?;
    lease::send(line.as_fd(), &bytes, with)
}

/// What was said, if something was.
fn hear(line: BorrowedFd<'_>) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    match lease::receive(line) {
        Ok((bytes, with)) => Ok(Some((postcard::from_bytes(&bytes).map_err(io::Error::other)?, with))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn wait_for_word(line: &OwnedFd, deadline: Instant) -> io::Result<Word> {
    if !lease::readable(line.as_fd(), deadline)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let (word, _) = hear(line.as_fd())?.ok_or(io::ErrorKind::InvalidData)?;
    Ok(word)
}
