//! The hub in the process that publishes: threads of its own, no keeper, no wire.
//!
//! A call goes straight to the sequencer, in the caller's thread. The hub ends with its process, or by [`Embedded::stop`],
//! and its messages with it, unless there is a `store_path`. Its threads block all signals, so that the process handles its own as before. A fork copies
//! no threads: in a child every call is refused, and nothing that the threads may have left half-done is touched.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, getsockname, shutdown, socketpair};

use crate::call::{Answer, Call, Outcome, Status};
use crate::channel::Namespace;
use crate::config::{Address, Config};
use crate::control::after;
use crate::error::Error;
use crate::hub::{Hub, Sockets};
use crate::ingress::{Disconnect, answer, disconnect};
use crate::keeper::StartError;
use crate::keeper::listeners::Listeners;
use crate::logging;
use crate::message::Position;
use crate::process;
use crate::sequencer::Sequencer;
use crate::shm::segment::Birthmark;
use crate::store;

/// A running hub in this process; also one that has ended, whose calls fail.
pub struct Embedded {
    engine: Arc<Sequencer>,
    /// How long a call may wait for the threads.
    timeout: Duration,
    namespace: Namespace,
    listen: Vec<Address>,
    admin_listen: Vec<Address>,
    birthmark: Birthmark,
    pid: u32,
    stopped: AtomicBool,
    /// A thread of the hub is gone.
    lost: Arc<AtomicBool>,
    running: Mutex<Option<Running>>,
}

struct Running {
    hub: Hub,
    listeners: Listeners,
    config: Arc<Config>,
    journal: OwnedFd,
}

impl Embedded {
    /// Starts the threads and serves. Every key holds as for a hub of its own, except those that are about its process, its
    /// clients and its keeper; [`Config::embedded`] says how `socket` and `admin_listen` differ. A log file is opened
    /// by the first hub of a process, for all that follow.
    ///
    /// # Errors
    /// [`StartError`] says what is wrong and what to do about it; nothing was left behind then.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let config = config.clone().embedded()?;
        let failed = |error: std::io::Error| StartError::new(format!("memory: {error}"));
        let birthmark = Birthmark::new().map_err(|error| failed(error.into()))?;
        open_log(&config)?;
        let mut listeners = Listeners::bind_embedded(&config)?;
        let journal = store::open(&config).inspect_err(|_| listeners.close())?;
        let config = Arc::new(config);
        match Self::serve(&config, &listeners, &journal) {
            Ok((hub, [listen, admin_listen])) => Ok(Self {
                engine: hub.engine().clone(),
                timeout: config.timeout,
                namespace: config.namespace.clone(),
                listen,
                admin_listen,
                birthmark,
                pid: std::process::id(),
                stopped: AtomicBool::new(false),
                lost: hub.lost().clone(),
                running: Mutex::new(Some(Running { hub, listeners, config, journal })),
            }),
            Err(error) => {
                listeners.close();
                Err(error)
            }
        }
    }

    fn serve(
        config: &Arc<Config>,
        listeners: &Listeners,
        journal: &OwnedFd,
    ) -> Result<(Hub, [Vec<Address>; 2]), StartError> {
        let failed = |error: std::io::Error| StartError::new(format!("the hub cannot start its threads: {error}"));
        let listen = listeners.sockets().iter().map(OwnedFd::try_clone).collect::<Result<Vec<_>, _>>();
        let mut listen = listen.map_err(failed)?;
        let mut admin_listen = listen.split_off(config.listen.len());
        let trusted_listen = admin_listen.split_off(config.admin_listen.len());
        let bound = |addresses, sockets| bound(addresses, sockets).map_err(failed);
        let addresses = [bound(&config.listen, &listen)?, bound(&config.admin_listen, &admin_listen)?];
        let sockets = Sockets { listen, admin_listen, trusted_listen, attach: Vec::new() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let start = after(now, Position::START);
        let journal = journal.try_clone().map_err(failed)?;
        let start = || Hub::resume(config.clone(), sockets, start, journal, Vec::new(), None);
        let hub = process::without_signals(start).map_err(failed)??;
        Ok((hub, addresses))
    }

    /// `namespace`: that of its clients which name no other.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Where browsers reach it, in the order of `listen`, with the ports that it got where that says 0.
    #[must_use]
    pub fn addresses(&self) -> &[Address] {
        &self.listen
    }

    /// The same for `admin_listen`.
    #[must_use]
    pub fn admin_addresses(&self) -> &[Address] {
        &self.admin_listen
    }

    /// Whether it serves this process.
    ///
    /// # Errors
    /// [`Error::HubUnavailable`]: this is a forked child, or the hub has ended.
    pub fn check(&self) -> Result<(), Error> {
        let text = if !self.birthmark.is_ours() {
            format!(
                "this process was forked from process {}, whose threads are the hub, and a fork copies no threads: publish \
                 there, or run push-hub and let both attach to it (push.mode = attach)",
                self.pid
            )
        } else if self.stopped.load(Ordering::Relaxed) {
            "the hub of this process has ended".to_owned()
        } else if self.lost.load(Ordering::Relaxed) {
            "a thread of the hub in this process ended by an internal error, which is in its log: restart the process"
                .to_owned()
        } else {
            return Ok(());
        };
        Err(Error::HubUnavailable(text))
    }

    /// Counters of it.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn status(&self) -> Result<Status, Error> {
        self.check()?;
        Ok(self.engine.status())
    }

    /// A line to one of the threads, for a client that subscribes.
    pub(crate) fn connect(&self) -> Result<OwnedFd, Error> {
        self.check()?;
        let failed =
            |errno: Errno| Error::HubUnavailable(format!("no line to the hub: {}", std::io::Error::from(errno)));
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(failed)?;
        ioctl_fionbio(&theirs, true).map_err(failed)?;
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = || Error::HubUnavailable("the hub of this process has ended".to_owned());
        running.as_ref().ok_or_else(ended)?.hub.adopt_client(theirs);
        Ok(ours)
    }

    /// One call, in the caller's thread.
    pub(crate) fn call(&self, namespace: &Namespace, call: Call<'_>) -> Outcome {
        self.check()?;
        let Call::Disconnect { user, channel, reason, revoke } = call else {
            return answer(&self.engine, namespace, None, call);
        };
        let (done, count) = sync_channel(1);
        let done = Box::new(move |ended| {
            // Nobody waits any more when it took too long.
            let _ = done.send(ended);
        });
        disconnect(&self.engine, namespace, Disconnect { user, channel, reason, revoke }, done)?;
        let late = |_| Error::Timeout { milliseconds: self.timeout.as_millis() as u64 };
        count.recv_timeout(self.timeout).map(Answer::Count).map_err(late)
    }

    /// Accepts no more, answers everyone who waits with a position, and returns when that is done, at the latest after
    /// `drain_timeout`. In a forked child it does nothing.
    pub fn stop(&self) {
        if !self.birthmark.is_ours() {
            return;
        }
        self.stopped.store(true, Ordering::Relaxed);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { hub, mut listeners, config, journal }) = running else { return };
        hub.drain();
        store::ended(&config, &journal);
        for socket in listeners.sockets() {
            // Children that were forked meanwhile have duplicates, which would keep the port.
            let _ = shutdown(socket, Shutdown::Both);
        }
        listeners.close();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
        // A child has the handles of threads that it does not have, and a lock that one of them may hold.
        if !self.birthmark.is_ours() {
            std::mem::forget(std::mem::replace(&mut self.running, Mutex::new(None)));
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// What the addresses have become: port 0 is a real one.
fn bound(addresses: &[Address], sockets: &[OwnedFd]) -> std::io::Result<Vec<Address>> {
    let bound = addresses.iter().zip(sockets).map(|(address, socket)| {
        Ok(match address {
            Address::Unix(path) => Address::Unix(PathBuf::clone(path)),
            Address::Tcp(_) => Address::Tcp(getsockname(socket)?.try_into()?),
        })
    });
    bound.collect()
}

fn open_log(config: &Config) -> Result<(), StartError> {
    logging::start_embedded(&config.log, config.log_level).map_err(|error| {
        StartError::new(format!("log = \"{}\": {error}: make its directory, or set another log", config.log))
    })
}
