//! The hub watches its keeper, and starts another when it dies.
//!
//! On the main thread of a process that has others: a start forks without the handlers of anybody and makes only system
//! calls until the new program runs. Nobody whom the hub serves notices.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::{Control, Order};
use crate::config::Config;
use crate::keeper::RESTORED;
use crate::keeper::watched::{Backoff, Watched};
use crate::lease::{self, timespec};
use crate::logging;
use crate::process;

/// The keeper of this hub, or when there will be one again.
pub struct KeeperWatch {
    keeper: Result<Watched, Instant>,
    backoff: Backoff,
    /// Whether the line is open: once closed, it would wake a poll for ever.
    talks: bool,
    /// The hub has let go of all that a keeper could hold.
    halted: bool,
}

/// What the keeper wants of its hub.
#[derive(Debug)]
pub enum Told {
    /// Go on with this configuration.
    Config(Box<Config>),
    /// Pass through the engine, wake all threads, and then say [`Control::engine_lives`].
    Answer,
    /// Take connections that come by this line from the hub before.
    Arrivals(OwnedFd),
    /// [`Hub::halt`](crate::hub::Hub::halt).
    Halt,
    /// [`Hub::leave`](crate::hub::Hub::leave), with the way to the next hub.
    Leave(Option<OwnedFd>),
    /// Answer what waits, and end.
    Drain,
}

impl KeeperWatch {
    pub(super) fn new(keeper: Watched) -> Self {
        Self { keeper: Ok(keeper), backoff: Backoff::default(), talks: true, halted: false }
    }

    /// Waits until there is something to do for this hub. A SIGUSR1 opens the log anew. A keeper that dies meanwhile is
    /// replaced, unless the hub has halted: then it is somebody else's turn.
    pub fn next(&mut self, control: &Control) -> Told {
        loop {
            let line = control.held().line.clone();
            match self.order(control, &line) {
                Some(Told::Drain) => return drain(control),
                Some(Told::Halt) => {
                    self.halted = true;
                    control.vitals.answer_for_ever();
                    return Told::Halt;
                }
                Some(told) => return told,
                None => {}
            }
            if !take_signals(control) {
                return drain(control);
            }
            if self.halted && self.keeper.as_ref().is_ok_and(Watched::ended) {
                return Told::Leave(None);
            }
            self.look_after_keeper(control);
            if let Err(error) = self.wait_for_something(control, &line) {
                tracing::error!("the keeper cannot be watched: {error}");
                return drain(control);
            }
        }
    }

    fn wait_for_something(&self, control: &Control, line: &OwnedFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&control.signals, PollFlags::IN)];
        if self.talks {
            fds.push(PollFd::new(line, PollFlags::IN));
        }
        let timeout = match &self.keeper {
            Ok(keeper) => {
                fds.push(PollFd::new(keeper, PollFlags::IN));
                None
            }
            Err(next) => Some(timespec(next.saturating_duration_since(Instant::now()))),
        };
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What the keeper says, if it says something.
    fn order(&mut self, control: &Control, line: &OwnedFd) -> Option<Told> {
        while self.talks {
            let (order, with) = match lease::receive(line.as_fd()) {
                Ok(datagram) => datagram,
                Err(error) => {
                    self.talks = error.kind() == io::ErrorKind::WouldBlock;
                    return None;
                }
            };
            let with = with.into_iter().next();
            match (postcard::from_bytes(&order), with) {
                (Ok(Order::Config), with) => match control.reconfigure(with) {
                    Ok(config) => return Some(Told::Config(Box::new(config))),
                    Err(error) => tracing::error!("a changed configuration cannot be taken over: {error}"),
                },
                (Ok(Order::Drain), _) => return Some(Told::Drain),
                (Ok(Order::Answer), _) => return Some(Told::Answer),
                (Ok(Order::Halt), _) => return Some(Told::Halt),
                (Ok(Order::Leave), with) => return Some(Told::Leave(with)),
                (Ok(Order::Arrivals), Some(line)) => return Some(Told::Arrivals(line)),
                (Ok(Order::Arrivals), None) => {}
                (Err(error), _) => tracing::error!("the keeper sent no order: {error}"),
            }
        }
        None
    }

    /// Sees whether the keeper has ended, and replaces it when the time has come.
    fn look_after_keeper(&mut self, control: &Control) {
        if self.keeper.as_ref().is_ok_and(Watched::ended) {
            let Ok(keeper) = std::mem::replace(&mut self.keeper, Err(Instant::now())) else { return };
            let (pid, wait) = (keeper.pid, self.backoff.next(Duration::ZERO, keeper.since.elapsed()));
            self.keeper = Err(Instant::now() + wait);
            tracing::error!("the keeper (pid {pid}) ended: {}; the next in {wait:?}", keeper.how());
        }
        if self.keeper.as_ref().is_err_and(|next| *next <= Instant::now()) {
            match control.restore_keeper() {
                Ok(keeper) => {
                    self.keeper = Ok(keeper);
                    self.talks = true;
                }
                Err(error) => {
                    let wait = self.backoff.next(Duration::ZERO, Duration::ZERO);
                    tracing::error!("no keeper can be started: {error}; the next try in {wait:?}");
                    self.keeper = Err(Instant::now() + wait);
                }
            }
        }
    }
}

/// The end of a hub that nobody follows.
fn drain(control: &Control) -> Told {
    // Who comes to the sockets is not to wait here.
    control.held().estate = None;
    control.vitals.answer_for_ever();
    Told::Drain
}

/// False when the hub is to drain.
fn take_signals(control: &Control) -> bool {
    while let Some(signal) = control.signals.next() {
        if process::ends(signal) {
            return false;
        }
        if signal == Signal::USR1 {
            logging::reopen();
        }
    }
    true
}

impl Control {
    /// Starts a keeper that goes on where the one before it ended, and talks to that one from now on.
    fn restore_keeper(&self) -> io::Result<Watched> {
        let mut held = self.held();
        let estate = held.estate.as_mut().expect("a hub that is ending watches no keeper");
        // What they held is over; nobody else was there to see it.
        estate.drop_ended_leases();
        let (keeper, line) = estate.start(RESTORED, &estate.terms.environment)?;
        held.line = Arc::new(line);
        Ok(keeper)
    }

    /// The configuration that the keeper sent.
    fn reconfigure(&self, file: Option<OwnedFd>) -> io::Result<Config> {
        let mut held = self.held();
        let estate = held.estate.as_mut().expect("a hub that is ending hears no orders");
        let before = std::mem::replace(&mut estate.config, file.ok_or(io::ErrorKind::InvalidData)?);
        let config = estate.parsed_config().inspect_err(|_| estate.config = before)?;
        self.config_hash.store(config.hash(), std::sync::atomic::Ordering::Relaxed);
        Ok(config)
    }
}
