//! The estate: all that keeper and hub both hold, so that either can restore the other.
//!
//! There is one way for it to pass from process to process: over a line, a pair of sockets, as descriptors and a sealed file
//! that says what they are. A keeper starts a hub this way, a hub a keeper. All of it lies in the line before the program
//! is started, so that what becomes of the sender meanwhile does not matter.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};

use super::READY;
use super::listeners::{Files, Listeners};
use super::lock::Lock;
use super::watched::Watched;
use crate::config::Config;
use crate::control::Kept;
use crate::lease::{self, timespec};
use crate::process::{self, Spawn};

/// The descriptor by which a program that was started with an estate gets it.
pub(crate) const LINE: i32 = 3;

/// Leases are few (one per PHP master); what asks for more is broken.
pub(crate) const MOST_LEASES: usize = 1024;
/// More would not fit into the line before the other side reads.
const MOST_CLIENTS: u64 = 10_000;

/// What keeper and hub both hold. See the module.
pub(crate) struct Estate {
    /// The resolved configuration, sealed.
    pub(crate) config: OwnedFd,
    /// The memory of the last position and of signs of life.
    pub(crate) vitals: OwnedFd,
    pub(crate) journal: OwnedFd,
    /// What both run: after an upgrade the path leads to another program.
    pub(crate) program: OwnedFd,
    /// None where a service manager holds the attach socket.
    pub(crate) lock: Option<Lock>,
    pub(crate) listeners: Listeners,
    /// The ends by which their holders are watched.
    pub(crate) leases: Vec<OwnedFd>,
    /// Of each client what the next hub needs.
    pub(crate) clients: HashMap<u64, Kept>,
    pub(crate) terms: Terms,
}

/// On which terms the hub runs: as its first keeper was started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The command line, from which the configuration can be read again; none where a PHP master gave it.
    pub(crate) arguments: Option<Vec<String>>,
    /// It ends with its last lease.
    pub(crate) leased: bool,
    /// What of the environment the next keeper needs.
    pub(crate) environment: Vec<CString>,
}

/// What the descriptors are, in their order, after those that are always there.
#[derive(Serialize, Deserialize)]
struct Contents {
    /// The number of the process that sent them.
    sender: u32,
    lock: bool,
    listeners: usize,
    files: Files,
    leases: usize,
    clients: Vec<u64>,
    terms: Terms,
}

impl Estate {
    /// Starts the program under another name, as a child that gets all of this, and a line to it.
    pub(crate) fn start(&self, name: &CStr, environment: &[CString]) -> io::Result<(Watched, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (line, its_line) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        self.send(line.as_fd())?;
        let null = process::null()?;
        let stderr = io::stderr();
        let descriptors = [null.as_fd(), null.as_fd(), stderr.as_fd(), its_line.as_fd()];
        let spawn = Spawn { program: self.program.as_fd(), name, environment, descriptors: &descriptors };
        Ok((Watched::child(spawn.child()?)?, line))
    }

    /// Sends it all, and how to watch this process; never waits.
    pub(crate) fn send(&self, line: BorrowedFd<'_>) -> io::Result<()> {
        let clients: Vec<(&u64, &Kept)> = self.clients.iter().collect();
        let contents = Contents {
            sender: std::process::id(),
            lock: self.lock.is_some(),
            listeners: self.listeners.sockets().len(),
            files: self.listeners.files().clone(),
            leases: self.leases.len(),
            clients: clients.iter().map(|(number, _)| **number).collect(),
            terms: self.terms.clone(),
        };
        let contents = postcard::to_stdvec(&contents).map_err(io::Error::other)?;
        let contents = process::sealed(c"push-estate", &contents)?;
        let sender = Watched::this_process()?;
        let always = [&contents, &sender, &self.config, &self.vitals, &self.journal, &self.program];
        let rest = self.lock.iter().map(Lock::descriptor).chain(self.listeners.sockets()).chain(&self.leases);
        let kept = clients.iter().flat_map(|(_, kept)| [&kept.segment, &kept.bell, &kept.socket]);
        let all: Vec<BorrowedFd<'_>> = always.into_iter().chain(rest).chain(kept).map(AsFd::as_fd).collect();
        all.chunks(lease::WITH).try_for_each(|part| lease::send(line, b"estate", part))
    }

    /// Takes what the other side of the line sends, and how to watch it.
    ///
    /// # Errors
    /// The other side is gone, sends something else, or nothing.
    pub(crate) fn receive(line: BorrowedFd<'_>) -> io::Result<(Self, Watched)> {
        let deadline = Instant::now() + READY;
        let part = || match lease::readable(line, deadline)? {
            true => lease::receive(line).map(|(_, descriptors)| descriptors),
            false => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "descriptors are missing");
        let mut all = part()?.into_iter();
        let contents = process::unsealed_bytes(&all.next().ok_or_else(missing)?)?;
        let contents: Contents = postcard::from_bytes(&contents).map_err(io::Error::other)?;
        let mut next = || loop {
            match all.next() {
                Some(descriptor) => return Ok(descriptor),
                None => all = part()?.into_iter(),
            }
        };
        let sender = Watched::other(contents.sender, next()?);
        let (config, vitals, journal, program) = (next()?, next()?, next()?, next()?);
        let lock = contents.lock.then(&mut next).transpose()?.map(Lock::inherited);
        let sockets = (0..contents.listeners).map(|_| next()).collect::<io::Result<_>>()?;
        let listeners = Listeners::handed_on(sockets, contents.files);
        let leases = (0..contents.leases).map(|_| next()).collect::<io::Result<_>>()?;
        let mut clients = HashMap::with_capacity(contents.clients.len());
        for number in contents.clients {
            clients.insert(number, Kept { segment: next()?, bell: next()?, socket: next()? });
        }
        let terms = contents.terms;
        Ok((Self { config, vitals, journal, program, lock, listeners, leases, clients, terms }, sender))
    }

    /// The configuration, from its file.
    pub(crate) fn parsed_config(&self) -> io::Result<Config> {
        let mut config = Config::default();
        config.parse(&process::unsealed(&self.config)?, "configuration").map_err(io::Error::other)?;
        Ok(config)
    }

    /// Holds what the next hub needs of a client; false when there are too many.
    pub(crate) fn keep(&mut self, client: u64, kept: Kept) -> bool {
        // To start a hub, each descriptor is needed once more for a moment, and a process has others.
        let most = MOST_CLIENTS.min(process::descriptor_limit() / 10);
        let room = (self.clients.len() as u64) < most || self.clients.contains_key(&client);
        if room {
            self.clients.insert(client, kept);
        }
        room
    }

    /// Holds one more lease; false when there are too many.
    pub(crate) fn lease(&mut self, lease: OwnedFd) -> bool {
        self.drop_ended_leases();
        let room = self.leases.len() < MOST_LEASES;
        if room {
            self.leases.push(lease);
        }
        room
    }

    pub(crate) fn drop_ended_leases(&mut self) {
        // Without a flag `poll` tells of the end only.
        let ended = |lease: &OwnedFd| {
            poll(&mut [PollFd::new(lease, PollFlags::empty())], Some(&timespec(std::time::Duration::ZERO))) == Ok(1)
        };
        self.leases.retain(|lease| !ended(lease));
    }
}
