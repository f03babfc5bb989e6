//! The keeper at work: one loop over signals, its hub and the leases.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use sd_notify::NotifyState;

use super::check::log_start;
use super::estate::{Estate, MOST_LEASES};
use super::handover::{Course, Successor};
use super::hub_process::HubProcess;
use super::pulse::Pulse;
use super::run::Reload;
use super::service::{self, Watchdog};
use super::watched::{Backoff, End, Watched};
use super::{READY, StartError, patience};
use crate::config::{Change, Config};
use crate::control::{Kept, Report};
use crate::journal;
use crate::lease::timespec;
use crate::logging;
use crate::process::{self, Exit, Signals};
use crate::shm::segment::Segment;
use crate::store;
use crate::vitals::Vitals;

/// What a hub may take above `drain_timeout` to end.
pub(super) const KILL_AFTER: Duration = Duration::from_secs(1);
/// Supervisors signal a process and then its group: a second signal within this time is the first one's echo, a later one
/// is somebody who does not want to wait.
const ECHO: Duration = Duration::from_secs(1);

pub(super) struct Keeper {
    pub(super) config: Config,
    signals: Signals,
    /// All that the hub holds too.
    pub(super) estate: Estate,
    vitals: Vitals,
    /// It was logged that the clients are too many.
    crowded: bool,
    pub(super) hub: Option<HubProcess>,
    /// Who asked for the hub.
    pub(super) successor: Option<Successor>,
    /// One that has halted, for nobody, and answers who waits.
    pub(super) left: Option<HubProcess>,
    /// When to start the next hub, while there is none.
    pub(super) respawn: Instant,
    backoff: Backoff,
    /// Since when there has been no lease; never in a process that was not started by one.
    alone: Option<Instant>,
    /// Where `watchdog` is set.
    pulse: Option<Pulse>,
    /// It was logged that the hub is stopped.
    stopped: bool,
    watchdog: Option<Watchdog>,
}

impl Keeper {
    /// Begins with what was given to it: made a moment ago, or handed on by another process. It has no hub yet.
    pub(super) fn resume(estate: Estate, signals: Signals) -> Result<Self, StartError> {
        let internal = |what: &'static str| move |error| StartError::new(format!("{what}: {error}"));
        Ok(Self {
            config: estate.parsed_config().map_err(internal("configuration"))?,
            signals,
            vitals: Vitals::map(estate.vitals.as_fd()).map_err(internal("position"))?,
            estate,
            crowded: false,
            hub: None,
            successor: None,
            left: None,
            respawn: Instant::now(),
            backoff: Backoff::default(),
            alone: None,
            pulse: None,
            stopped: false,
            watchdog: Watchdog::new(),
        })
    }

    /// Goes on with a hub that serves, in the place of a keeper that is gone.
    pub(super) fn adopt(&mut self, hub: HubProcess) {
        // It may have been about to start a hub, or to end.
        self.release_lock();
        self.estate.listeners.claim();
        tracing::info!("a new keeper (pid {}) watches the hub (pid {})", std::process::id(), hub.process.pid);
        self.hub = Some(hub);
        service::tell(&[NotifyState::MainPid(std::process::id())]);
    }

    /// Starts the hub and waits until it serves: later ones may die, this one may not.
    pub(super) fn first_hub(&mut self) -> Result<(), StartError> {
        let started = self.wait_for_first_hub();
        match started {
            Ok(()) => self.serves(),
            Err(_) => self.estate.listeners.close(),
        }
        started
    }

    pub(super) fn start_hub(&self) -> io::Result<HubProcess> {
        self.vitals.begin_anew();
        HubProcess::start(&self.estate)
    }

    /// Its hub serves.
    pub(super) fn serves(&self) {
        self.release_lock();
        log_start(&self.config);
        service::tell(&[NotifyState::Ready]);
    }

    pub(super) fn wait_for_first_hub(&mut self) -> Result<(), StartError> {
        let mut hub =
            self.start_hub().map_err(|error| StartError::new(format!("the hub cannot be started: {error}")))?;
        let patience = patience(&self.config);
        let deadline = Instant::now() + patience;
        loop {
            let mut fds = [
                PollFd::new(&hub.line, PollFlags::IN),
                PollFd::new(&hub.process, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, Some(&timespec(left)));
            match hub.report() {
                Some((Report::Ready, _)) => {
                    hub.serves = Some(Instant::now());
                    self.hub = Some(hub);
                    return Ok(());
                }
                Some((Report::Failed(why), _)) => {
                    hub.process.signal(Signal::KILL);
                    let _ = hub.process.wait();
                    return Err(StartError::new(why));
                }
                Some((report, with)) => self.take_note(report, with),
                None => {}
            }
            let asked_to_end = std::iter::from_fn(|| self.signals.next()).any(process::ends);
            if asked_to_end || left.is_zero() {
                hub.process.signal(Signal::KILL);
                let _ = hub.process.wait();
                return Err(StartError::new(match asked_to_end {
                    true => "ended by a signal before the hub was ready".to_owned(),
                    false => format!("the hub was not ready within {} s", patience.as_secs()),
                }));
            }
            if hub.process.ended() {
                return Err(StartError::new(format!("the hub ended at its start ({})", hub.process.how())));
            }
        }
    }

    /// Runs until the end.
    pub(super) fn keep(mut self, reload: Reload<'_>) -> ExitCode {
        loop {
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.tell();
            }
            if self.asked_to_end(reload) {
                return self.end();
            }
            self.take_reports();
            self.look_after_hub();
            self.feel_pulse();
            if let Course::End(code) = self.look_after_successor() {
                return code;
            }
            self.estate.drop_ended_leases();
            match (self.estate.terms.leased && self.estate.leases.is_empty(), self.alone) {
                (false, _) => self.alone = None,
                (true, None) => {
                    tracing::info!("no PHP master holds this hub any more; it ends in {:?}", self.config.linger);
                    self.alone = Some(Instant::now());
                }
                (true, Some(since)) if since.elapsed() >= self.config.linger && self.nobody_comes() => {
                    return self.end();
                }
                (true, Some(_)) => {}
            }
            self.wait_for_something();
        }
    }

    fn wait_for_something(&self) {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(hub) = &self.hub {
            fds.push(PollFd::new(&hub.process, PollFlags::IN));
            if hub.talks {
                fds.push(PollFd::new(&hub.line, PollFlags::IN));
            }
        }
        let successor = self.successor.as_ref().and_then(Successor::line);
        fds.extend(successor.map(|line| PollFd::new(line, PollFlags::IN)));
        fds.extend(self.left.iter().map(|hub| PollFd::new(&hub.process, PollFlags::IN)));
        // Without a flag `poll` tells of the end only; a worker that writes into its lease wakes nobody.
        fds.extend(self.estate.leases.iter().map(|lease| PollFd::new(lease, PollFlags::empty())));
        // A lock that was taken by somebody else is asked for again a little later.
        let lonely = self.alone.map(|since| (since + self.config.linger).max(now + Duration::from_millis(20)));
        let respawn = (self.hub.is_none() && !self.is_asked()).then_some(self.respawn);
        let watchdog = self.watchdog.as_ref().map(Watchdog::next);
        let pulse = self.pulse.as_ref().map(Pulse::next);
        let timeout = lonely
            .into_iter()
            .chain(respawn)
            .chain(watchdog)
            .chain(pulse)
            .chain(self.successor.as_ref().and_then(Successor::next))
            .min()
            .map(|at| timespec(at.saturating_duration_since(now)));
        // Whatever it says, everything is looked at.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn asked_to_end(&mut self, reload: Reload<'_>) -> bool {
        while let Some(signal) = self.signals.next() {
            if process::ends(signal) {
                tracing::info!("ending: {}", if signal == Signal::INT { "SIGINT" } else { "SIGTERM" });
                return true;
            }
            if signal == Signal::USR1 {
                logging::reopen();
                if let Some(hub) = &self.hub {
                    hub.process.signal(Signal::USR1);
                }
                continue;
            }
            self.reload(reload);
        }
        false
    }

    fn reload(&mut self, reload: Reload<'_>) {
        let Some(arguments) = &self.estate.terms.arguments else {
            tracing::warn!("SIGHUP changes no key: php-fpm gave this hub its configuration; restart php-fpm");
            return self.tell_hub();
        };
        service::tell_reloading();
        let done = reload(arguments)
            .and_then(|new| {
                let most =
                    journal::most_memory(&self.estate.journal).map_err(|error| format!("the journal: {error}"))?;
                new.check_users().and_then(|()| self.config.change_to(&new, most)).map_err(|error| error.to_string())
            })
            .map(|change| self.change_log(change))
            .and_then(|change| self.take_over(change).map_err(|error| format!("it cannot be passed on: {error}")));
        if let Err(error) = done {
            tracing::error!("SIGHUP: the configuration stays as it is: {error}");
        }
        self.tell_hub();
        service::tell(&[NotifyState::Ready]);
    }

    /// Has the hub take over the configuration, and read again what it reads itself.
    fn tell_hub(&self) {
        let told = self.hub.as_ref().map(|hub| hub.reconfigure(self.estate.config.as_fd()));
        if let Some(Err(error)) = told {
            tracing::error!("SIGHUP: the hub cannot be told: {error}");
        }
    }

    /// Log lines go where the new configuration says, if that is possible.
    fn change_log(&self, mut change: Change) -> Change {
        let Change { config, taken, left } = &mut change;
        if config.log == self.config.log {
            return change;
        }
        tracing::info!("SIGHUP: the log goes on in {}", config.log);
        if let Err(error) = logging::change(&config.log) {
            left.push(format!("log (\"{}\": {error})", config.log));
            taken.retain(|key| key != "log");
            config.log = self.config.log.clone();
        }
        change
    }

    fn take_over(&mut self, Change { config, taken, left }: Change) -> io::Result<()> {
        if !left.is_empty() {
            tracing::warn!("SIGHUP: changed, and needs a restart: {}", left.join(", "));
        }
        if taken.is_empty() {
            tracing::info!("SIGHUP: nothing changed that a running hub takes over");
            return Ok(());
        }
        // For this hub and for those that follow it.
        self.estate.config = process::sealed(c"push-config", config.to_toml().as_bytes())?;
        logging::set_level(config.log_level);
        self.config = config;
        self.pulse = None;
        tracing::info!("SIGHUP: changed from now on: {}", taken.join(", "));
        Ok(())
    }

    fn take_reports(&mut self) {
        while let Some(hub) = &mut self.hub
            && let Some((report, with)) = hub.report()
        {
            if matches!(report, Report::Ready) {
                hub.serves = Some(Instant::now());
                self.pulse = None;
                let Watched { pid, since, .. } = &hub.process;
                tracing::info!("a new hub serves after {:?} (pid {pid})", since.elapsed());
            }
            self.take_note(report, with);
        }
    }

    fn take_note(&mut self, report: Report, with: Vec<OwnedFd>) {
        match report {
            Report::Ready => {}
            Report::Failed(why) => tracing::error!("the hub cannot serve: {why}"),
            Report::Lease => {
                if !with.into_iter().all(|lease| self.estate.lease(lease)) {
                    tracing::error!("a lease was refused: there are {MOST_LEASES} already");
                }
            }
            Report::Client(client) => self.keep_client(client, with),
            Report::Gone(client) => drop(self.estate.clients.remove(&client)),
            Report::Handover(build) => {
                with.into_iter().next().into_iter().for_each(|line| self.offer(line, &build));
            }
            Report::Halted => self.hand_over(),
        }
    }

    fn keep_client(&mut self, client: u64, kept: Vec<OwnedFd>) {
        let kept = <[OwnedFd; 3]>::try_from(kept).map(|[segment, bell, socket]| Kept { segment, bell, socket });
        let done = kept.is_ok_and(|kept| self.estate.keep(client, kept));
        if !done && !self.crowded {
            self.crowded = true;
            tracing::warn!(
                "{} clients are attached: the calls of further ones end with the hub that serves them; raise the limit of \
                 open files (LimitNOFILE)",
                self.estate.clients.len()
            );
        }
    }

    /// Sees whether the hub has ended, and replaces it when the time has come.
    fn look_after_hub(&mut self) {
        if self.hub.as_ref().is_some_and(|hub| hub.process.ended()) {
            // Its last ones.
            self.take_reports();
        }
        if let Some(hub) = self.hub.take_if(|hub| hub.process.ended()) {
            self.pulse = None;
            let (start, served) = hub.times();
            let HubProcess { process, .. } = hub;
            let (pid, wait) = (process.pid, self.backoff.next(start, served));
            self.respawn_after(wait);
            let last = self.vitals.position();
            tracing::error!("the hub (pid {pid}) ended: {}; last position {last}; the next in {wait:?}", process.how());
        }
        if let Some(HubProcess { process, .. }) = self.left.take_if(|hub| hub.process.ended()) {
            let _ = process.wait();
        }
        if self.hub.is_none() && !self.is_asked() && self.respawn <= Instant::now() {
            match self.start_hub() {
                Ok(hub) => self.hub = Some(hub),
                Err(error) => {
                    let wait = self.backoff.next(Duration::ZERO, Duration::ZERO);
                    tracing::error!("the hub cannot be started: {error}; the next try in {wait:?}");
                    self.respawn_after(wait);
                }
            }
        }
    }

    /// A hub that follows at once takes from the clients what the one before shared with them. Until one comes that is late,
    /// they would go on to look into what was so when it died.
    fn respawn_after(&mut self, wait: Duration) {
        self.respawn = Instant::now() + wait;
        if !wait.is_zero() {
            for kept in self.estate.clients.values() {
                if let Err(error) = Segment::take_key(&kept.segment) {
                    tracing::warn!(%error, "a client goes on to see what a hub that has ended shared with it");
                }
            }
        }
    }

    /// Sees whether the hub hangs, and ends one that does.
    fn feel_pulse(&mut self) {
        let (Some(hub), Some(watchdog)) = (&mut self.hub, self.config.watchdog) else {
            self.pulse = None;
            return;
        };
        // One that starts may read the journal for long, and gives signs of life meanwhile.
        let (watchdog, threads) =
            if hub.serves.is_some() { (watchdog, self.config.threads) } else { (watchdog.max(READY), 0) };
        let now = Instant::now();
        let pulse = self.pulse.get_or_insert_with(|| Pulse::new(watchdog, now));
        let Some(silent) = pulse.look(now, &self.vitals, threads) else { return };
        if hub.serves.is_some() {
            hub.ask();
        }
        let pid = hub.process.pid;
        match silent {
            None => self.stopped &= !pulse.heard(),
            Some(_) if hub.process.stopped() => {
                pulse.forgive();
                if !self.stopped {
                    tracing::warn!("the hub (pid {pid}) is stopped, by a signal or a debugger; it is left so");
                }
                self.stopped = true;
            }
            Some(part) if !hub.given_up => {
                tracing::error!(
                    "the hub (pid {pid}) hangs: {part} gave no sign of life for {watchdog:?}; it is killed"
                );
                hub.process.signal(Signal::ABORT);
                hub.given_up = true;
            }
            Some(_) => hub.process.signal(Signal::KILL),
        }
    }

    /// Whether another keeper is to start the next hub.
    fn is_asked(&self) -> bool {
        self.successor.as_ref().is_some_and(Successor::has_asked)
    }

    /// Whether no master is just asking for a lease; then the lock is ours and stays so.
    fn nobody_comes(&mut self) -> bool {
        if self.estate.lock.as_ref().is_some_and(|lock| !lock.take(Instant::now()).unwrap_or(false)) {
            return false;
        }
        // A master had its answer before it gave up the lock, and the lease was handed on before that.
        self.take_reports();
        if self.estate.leases.is_empty() {
            return true;
        }
        self.release_lock();
        false
    }

    fn release_lock(&self) {
        if let Some(lock) = &self.estate.lock {
            lock.release();
        }
    }

    /// Takes the sockets away, lets the hub answer what waits, and waits for it.
    fn end(mut self) -> ExitCode {
        service::tell(&[NotifyState::Stopping]);
        // Who starts a hub now waits for us, or, where that lasts too long, puts new files in the place of ours.
        let until = Instant::now() + Duration::from_secs(1);
        let _ = self.estate.lock.as_ref().map(|lock| lock.take(until));
        self.estate.listeners.close();
        // They are to see that their hub closes its end.
        self.estate.clients.clear();
        let Some(HubProcess { process, line: _line, .. }) = self.hub.take().inspect(HubProcess::drain) else {
            return ExitCode::SUCCESS;
        };
        let asked = Instant::now();
        let deadline = asked + self.config.drain_timeout + KILL_AFTER;
        loop {
            let mut fds = [PollFd::new(&process, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, Some(&timespec(left)));
            if process.ended() {
                break;
            }
            let again = std::iter::from_fn(|| self.signals.next()).any(process::ends);
            if (again && asked.elapsed() >= ECHO) || left.is_zero() {
                tracing::error!("the hub (pid {}) did not end; it is killed", process.pid);
                process.signal(Signal::KILL);
                let _ = process.wait();
                return ExitCode::FAILURE;
            }
        }
        match process.wait() {
            Ok(End::Known(Exit::Code(0)) | End::Unknown) => {
                store::ended(&self.config, &self.estate.journal);
                ExitCode::SUCCESS
            }
            Ok(how) => {
                tracing::error!("the hub ended with {how}");
                ExitCode::FAILURE
            }
            Err(error) => {
                tracing::error!("the hub cannot be waited for: {error}");
                ExitCode::FAILURE
            }
        }
    }
}
