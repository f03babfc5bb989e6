//! The keeper at work: one loop over signals, its hub and the leases.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SocketType;
use rustix::process::Signal;
use sd_notify::NotifyState;

use super::hub_process::HubProcess;
use super::listeners::Listeners;
use super::lock::Lock;
use super::owner::Owner;
use super::service::{self, Passed, Place, Watchdog};
use super::start::READY_TEXT;
use super::{READY, StartError};
use crate::config::{Address, Change, Config, Handler, Log};
use crate::control::Report;
use crate::journal;
use crate::lease::timespec;
use crate::logging;
use crate::message::Position;
use crate::process::{self, Exit, SharedNumber, Signals};

/// A hub that lived this long died of something else than its predecessor.
const SETTLED: Duration = Duration::from_secs(10);
/// The first wait before a hub that died early is replaced; it doubles up to `LONGEST_BACKOFF`.
const BACKOFF: Duration = Duration::from_millis(10);
/// Long enough not to fill logs and process tables, short enough for whoever repairs the cause.
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// What a hub may take above `drain_timeout` to end.
const KILL_AFTER: Duration = Duration::from_secs(1);
/// Supervisors signal a process and then its group: a second signal within this time is the first one's echo, a later one
/// is somebody who does not want to wait.
const ECHO: Duration = Duration::from_secs(1);
/// Leases are few (one per PHP master); what asks for more is broken.
const MOST_LEASES: usize = 1024;
/// Descriptors of a client: its segment, its bell, its socket.
const KEPT: usize = 3;

/// Reads the configuration again; the text says what is wrong with it.
pub type Reload<'a> = &'a dyn Fn() -> Result<Config, String>;

/// Runs a hub and its keeper in the foreground until a signal ends them; the process becomes the keeper. At a SIGHUP it
/// takes over what it can of what `reload` gives.
pub fn run(config: &Config, reload: Reload<'_>) -> ExitCode {
    let started = (|| {
        let passed = Passed::take()?;
        let signals = Signals::block().map_err(|error| StartError::new(format!("signals: {error}")))?;
        config.check()?;
        // Nobody else can listen where the service manager does. And a master that holds the lock may be what this service
        // was started for: it waits for the answer.
        let lock = match passed.has(&Place::unix(&config.socket, SocketType::SEQPACKET)) {
            true => None,
            false => Some(lock(config)?),
        };
        Keeper::start(config, signals, lock, None, passed)
    })();
    finish(started, None, Some(reload))
}

fn lock(config: &Config) -> Result<Lock, StartError> {
    Owner::of(config)?.prepare_directory(&config.socket)?;
    let lock = Lock::open(&config.socket)
        .and_then(|lock| lock.take(Instant::now() + READY).map(|taken| taken.then_some(lock)))
        .map_err(|error| {
            let path = config.socket.display();
            StartError::new(format!("{path}.lock: {error}: make its directory writable, or set another socket"))
        })?;
    lock.ok_or_else(|| StartError::new("another process is starting or ending a hub at this socket"))
}

/// The same in a process made by [`start_or_adopt`](super::start_or_adopt), which it tells when the hub serves. Ends when
/// the last lease has been gone for `linger`.
pub fn run_inherited() -> ExitCode {
    let mut tells = None;
    let started = (|| {
        let wrong = |error: io::Error| StartError::new(format!("not started by a PHP master: {error}"));
        let [file, tell, lock, lease] =
            <[OwnedFd; 4]>::try_from(process::inherited(3, 4).map_err(wrong)?).expect("as many as were asked for");
        tells = Some(tell);
        let signals = Signals::block().map_err(wrong)?;
        let mut config = Config::default();
        config.parse(&process::unsealed(&file).map_err(wrong)?, "configuration")?;
        Keeper::start(&config, signals, Some(Lock::inherited(lock)), Some(lease), Passed::default())
    })();
    finish(started, tells, None)
}

/// Tells the starter how the start went, and then keeps the hub.
fn finish(started: Result<Keeper, StartError>, tells: Option<OwnedFd>, reload: Option<Reload<'_>>) -> ExitCode {
    let text = match &started {
        Ok(_) => READY_TEXT.to_vec(),
        Err(error) => error.to_string().into_bytes(),
    };
    if let Some(tells) = tells {
        // A starter that is gone took its lease with it.
        let _ = std::fs::File::from(tells).write_all(&text);
    }
    match started {
        Ok(keeper) => keeper.keep(reload),
        Err(error) => {
            eprintln!("push-hub: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open_log(log: &Log, owner: &Owner) -> Result<(), StartError> {
    let opened = owner.act(|| logging::open(log));
    let opened = match (opened, log, owner.account) {
        // A directory such as /var/log, in which only root makes files.
        (Err(error), Log::File(path), Some(account)) if error.kind() == io::ErrorKind::PermissionDenied => {
            logging::create_for(path, account)
        }
        (opened, ..) => opened,
    };
    opened.map_err(|error| {
        let cure = match log {
            Log::Syslog(_) => "start the system's syslog, or set another log",
            _ => "make its directory, or set another log",
        };
        StartError::new(format!("log = \"{log}\": {error}: {cure}"))
    })
}

struct Keeper {
    config: Config,
    signals: Signals,
    /// None where a service manager holds the attach socket.
    lock: Option<Lock>,
    listeners: Listeners,
    program: OwnedFd,
    config_file: OwnedFd,
    position: SharedNumber,
    position_file: OwnedFd,
    journal: OwnedFd,
    /// Of each client what the next hub needs.
    clients: HashMap<u64, Vec<OwnedFd>>,
    /// It was logged that they are too many.
    crowded: bool,
    hub: Option<HubProcess>,
    /// When to start the next hub, while there is none.
    respawn: Instant,
    backoff: Duration,
    leases: Vec<OwnedFd>,
    /// Since when there has been no lease; never in a process that was not started by one.
    alone: Option<Instant>,
    leased: bool,
    watchdog: Option<Watchdog>,
}

impl Keeper {
    /// Does all that needs rights, gives them up, and has a hub that serves.
    fn start(
        config: &Config,
        signals: Signals,
        lock: Option<Lock>,
        lease: Option<OwnedFd>,
        passed: Passed,
    ) -> Result<Self, StartError> {
        let internal = |what: &'static str| move |error: io::Error| StartError::new(format!("{what}: {error}"));
        // Before anything is opened that a later exec would need: after an upgrade the path leads to another program.
        let program = process::program(Path::new("/proc/self/exe")).map_err(internal("/proc/self/exe"))?;
        let owner = Owner::of(config)?;
        open_log(&config.log, &owner)?;
        logging::start(&config.log, config.log_level);
        process::raise_descriptor_limit();
        let listeners = Listeners::bind(config, &owner, passed)?;
        match owner.account {
            Some(account) => process::become_account(account).map_err(internal("dropping privileges"))?,
            None => process::renounce().map_err(internal("dropping privileges"))?,
        }
        let file = process::sealed(c"push-config", config.to_toml().as_bytes()).map_err(internal("configuration"))?;
        let (position, position_file) = SharedNumber::new().map_err(internal("position"))?;
        let leased = lease.is_some();
        let mut keeper = Self {
            config: config.clone(),
            signals,
            lock,
            listeners,
            program,
            config_file: file,
            position,
            position_file,
            journal: journal::create(config.memory_limit).map_err(internal("journal"))?,
            clients: HashMap::new(),
            crowded: false,
            hub: None,
            respawn: Instant::now(),
            backoff: Duration::ZERO,
            leases: lease.into_iter().collect(),
            alone: None,
            leased,
            watchdog: Watchdog::new(),
        };
        if let Err(error) = keeper.first_hub() {
            keeper.listeners.close();
            return Err(error);
        }
        keeper.release_lock();
        keeper.log_start();
        service::tell(&[NotifyState::Ready]);
        Ok(keeper)
    }

    fn spawn(&self) -> io::Result<HubProcess> {
        let rest = self.listeners.sockets().iter().chain(self.clients.values().flatten());
        let rest: Vec<_> = rest.map(AsFd::as_fd).collect();
        HubProcess::start(
            self.program.as_fd(),
            self.config_file.as_fd(),
            self.position_file.as_fd(),
            self.journal.as_fd(),
            &rest,
        )
    }

    /// Starts the hub and waits until it serves: later ones may die, this one may not.
    fn first_hub(&mut self) -> Result<(), StartError> {
        let mut hub = self.spawn().map_err(|error| StartError::new(format!("the hub cannot be started: {error}")))?;
        let deadline = Instant::now() + READY;
        loop {
            let mut fds = [
                PollFd::new(&hub.line, PollFlags::IN),
                PollFd::new(&hub.end, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, Some(&timespec(left)));
            match hub.report() {
                Some((Report::Ready, _)) => {
                    self.hub = Some(hub);
                    return Ok(());
                }
                Some((Report::Failed(why), _)) => {
                    hub.kill();
                    let _ = hub.wait();
                    return Err(StartError::new(why));
                }
                Some((Report::Lease, lease)) => self.leases.extend(lease),
                Some((Report::Client(client), kept)) => self.keep_client(client, kept),
                Some((Report::Gone(client), _)) => drop(self.clients.remove(&client)),
                None => {}
            }
            let asked_to_end = std::iter::from_fn(|| self.signals.next()).any(process::ends);
            if asked_to_end || left.is_zero() {
                hub.kill();
                let _ = hub.wait();
                return Err(StartError::new(match asked_to_end {
                    true => "ended by a signal before the hub was ready".to_owned(),
                    false => format!("the hub was not ready within {} s", READY.as_secs()),
                }));
            }
            if readable_now(&hub.end) {
                let how = hub.wait().map_or_else(|error| error.to_string(), |exit| exit.to_string());
                return Err(StartError::new(format!("the hub ended at its start ({how})")));
            }
        }
    }

    fn log_start(&self) {
        let config = &self.config;
        for (name, addresses) in [("listening", &config.listen), ("admin listener", &config.admin_listen)] {
            for address in addresses {
                tracing::info!("{name} on {address}");
            }
        }
        tracing::info!("attach socket {}", Address::Unix(config.socket.clone()));
        for location in config.locations.iter().filter(|location| location.public) {
            if matches!(location.handler, Handler::Publisher { .. }) {
                tracing::warn!("location {} lets everyone publish who reaches a public listener", location.path);
            }
        }
        tracing::info!("{}", limits(config, process::descriptor_limit()));
    }

    /// Runs until the end.
    fn keep(mut self, reload: Option<Reload<'_>>) -> ExitCode {
        loop {
            self.wait_for_something();
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.tell();
            }
            if self.asked_to_end(reload) {
                return self.end();
            }
            self.take_reports();
            self.look_after_hub();
            self.leases.retain(|lease| !hung_up(lease));
            match (self.leased && self.leases.is_empty(), self.alone) {
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
        }
    }

    fn wait_for_something(&self) {
        let now = Instant::now();
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(hub) = &self.hub {
            fds.push(PollFd::new(&hub.end, PollFlags::IN));
            if hub.talks {
                fds.push(PollFd::new(&hub.line, PollFlags::IN));
            }
        }
        // Without a flag `poll` tells of the end only; a worker that writes into its lease wakes nobody.
        fds.extend(self.leases.iter().map(|lease| PollFd::new(lease, PollFlags::empty())));
        // A lock that was taken by somebody else is asked for again a little later.
        let lonely = self.alone.map(|since| (since + self.config.linger).max(now + Duration::from_millis(20)));
        let respawn = self.hub.is_none().then_some(self.respawn);
        let watchdog = self.watchdog.as_ref().map(Watchdog::next);
        let timeout = lonely
            .into_iter()
            .chain(respawn)
            .chain(watchdog)
            .min()
            .map(|at| timespec(at.saturating_duration_since(now)));
        // Whatever it says, everything is looked at.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    fn asked_to_end(&mut self, reload: Option<Reload<'_>>) -> bool {
        while let Some(signal) = self.signals.next() {
            if process::ends(signal) {
                tracing::info!("ending: {}", if signal == Signal::INT { "SIGINT" } else { "SIGTERM" });
                return true;
            }
            if signal == Signal::USR1 {
                logging::reopen(&self.config.log);
                if let Some(hub) = &self.hub {
                    hub.signal(Signal::USR1);
                }
                continue;
            }
            self.reload(reload);
        }
        false
    }

    fn reload(&mut self, reload: Option<Reload<'_>>) {
        let Some(read) = reload else {
            tracing::warn!("SIGHUP changes no key: php-fpm gave this hub its configuration; restart php-fpm");
            return self.tell_hub();
        };
        service::tell_reloading();
        let done = read()
            .and_then(|new| self.config.change_to(&new).map_err(|error| error.to_string()))
            .and_then(|change| self.take_over(change).map_err(|error| format!("it cannot be passed on: {error}")));
        if let Err(error) = done {
            tracing::error!("SIGHUP: the configuration stays as it is: {error}");
        }
        self.tell_hub();
        service::tell(&[NotifyState::Ready]);
    }

    /// Has the hub take over the configuration, and read again what it reads itself.
    fn tell_hub(&self) {
        let told = self.hub.as_ref().map(|hub| hub.reconfigure(self.config_file.as_fd()));
        if let Some(Err(error)) = told {
            tracing::error!("SIGHUP: the hub cannot be told: {error}");
        }
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
        self.config_file = process::sealed(c"push-config", config.to_toml().as_bytes())?;
        logging::set_level(config.log_level);
        self.config = config;
        tracing::info!("SIGHUP: changed from now on: {}", taken.join(", "));
        Ok(())
    }

    fn take_reports(&mut self) {
        while let Some(hub) = &mut self.hub
            && let Some((report, with)) = hub.report()
        {
            match report {
                Report::Ready => {
                    tracing::info!(
                        "a new hub serves after {:?} (pid {})",
                        hub.started.elapsed(),
                        hub.pid.as_raw_nonzero()
                    );
                }
                Report::Failed(why) => tracing::error!("the hub cannot serve: {why}"),
                Report::Lease if self.leases.len() < MOST_LEASES => self.leases.extend(with),
                Report::Lease => tracing::error!("a lease was refused: there are {MOST_LEASES} already"),
                Report::Client(client) => self.keep_client(client, with),
                Report::Gone(client) => drop(self.clients.remove(&client)),
            }
        }
    }

    fn keep_client(&mut self, client: u64, kept: Vec<OwnedFd>) {
        // To start a hub, each descriptor is needed several times for a moment.
        let most = process::descriptor_limit() / 10;
        if kept.len() == KEPT && (self.clients.len() as u64) < most {
            self.clients.insert(client, kept);
        } else if !self.crowded {
            self.crowded = true;
            tracing::warn!(
                "{} clients are attached: the calls of further ones end with the hub that serves them; raise the limit of \
                 open files (LimitNOFILE)",
                self.clients.len()
            );
        }
    }

    /// Sees whether the hub has ended, and replaces it when the time has come.
    fn look_after_hub(&mut self) {
        if self.hub.as_ref().is_some_and(|hub| readable_now(&hub.end)) {
            // Its last ones.
            self.take_reports();
        }
        if let Some(hub) = self.hub.take_if(|hub| readable_now(&hub.end)) {
            let lived = hub.started.elapsed();
            let pid = hub.pid.as_raw_nonzero();
            let how = hub.wait().map_or_else(|error| error.to_string(), |exit| exit.to_string());
            if lived >= SETTLED {
                self.backoff = Duration::ZERO;
            }
            self.respawn = Instant::now() + self.backoff;
            let last = Position::unpack(self.position.load());
            tracing::error!("the hub (pid {pid}) ended: {how}; last position {last}; the next in {:?}", self.backoff);
            self.backoff = (self.backoff * 2).clamp(BACKOFF, LONGEST_BACKOFF);
        }
        if self.hub.is_none() && self.respawn <= Instant::now() {
            match self.spawn() {
                Ok(hub) => self.hub = Some(hub),
                Err(error) => {
                    tracing::error!("the hub cannot be started: {error}");
                    self.respawn = Instant::now() + self.backoff;
                    self.backoff = (self.backoff * 2).clamp(BACKOFF, LONGEST_BACKOFF);
                }
            }
        }
    }

    /// Whether no master is just asking for a lease; then the lock is ours and stays so.
    fn nobody_comes(&mut self) -> bool {
        if self.lock.as_ref().is_some_and(|lock| !lock.take(Instant::now()).unwrap_or(false)) {
            return false;
        }
        // A master had its answer before it gave up the lock, and the lease was handed on before that.
        self.take_reports();
        if self.leases.is_empty() {
            return true;
        }
        self.release_lock();
        false
    }

    fn release_lock(&self) {
        if let Some(lock) = &self.lock {
            lock.release();
        }
    }

    /// Takes the sockets away, lets the hub answer what waits, and waits for it.
    fn end(mut self) -> ExitCode {
        service::tell(&[NotifyState::Stopping]);
        // Who starts a hub now waits for us, or, where that lasts too long, puts new files in the place of ours.
        let _ = self.lock.as_ref().map(|lock| lock.take(Instant::now() + Duration::from_secs(1)));
        self.listeners.close();
        // They are to see that their hub closes its end.
        self.clients.clear();
        let Some(hub) = self.hub.take() else { return ExitCode::SUCCESS };
        hub.drain();
        let asked = Instant::now();
        let deadline = asked + self.config.drain_timeout + KILL_AFTER;
        loop {
            let mut fds = [PollFd::new(&hub.end, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, Some(&timespec(left)));
            if readable_now(&hub.end) {
                break;
            }
            let again = std::iter::from_fn(|| self.signals.next()).any(process::ends);
            if (again && asked.elapsed() >= ECHO) || left.is_zero() {
                tracing::error!("the hub (pid {}) did not end; it is killed", hub.pid.as_raw_nonzero());
                hub.kill();
                let _ = hub.wait();
                return ExitCode::FAILURE;
            }
        }
        match hub.wait() {
            Ok(Exit::Code(0)) => ExitCode::SUCCESS,
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

fn readable_now(fd: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(Duration::ZERO))) == Ok(1)
}

fn hung_up(lease: &OwnedFd) -> bool {
    poll(&mut [PollFd::new(lease, PollFlags::empty())], Some(&timespec(Duration::ZERO))) == Ok(1)
}

/// Descriptors that a hub needs besides those of connections.
const OWN_DESCRIPTORS: u64 = 64;

/// The limits that follow from the configuration and from this machine, in a sentence.
fn limits(config: &Config, descriptors: u64) -> String {
    format!(
        "{} HTTP threads; memory_limit {} MB; {descriptors} descriptors: at most about {} connections",
        config.threads,
        config.memory_limit >> 20,
        descriptors.saturating_sub(OWN_DESCRIPTORS)
    )
}

/// Checks what can be checked without starting anything, and says what a start would listen on and which limits follow.
///
/// # Errors
/// A start would fail for this reason.
pub fn check(config: &Config) -> Result<String, StartError> {
    config.check()?;
    Owner::of(config)?;
    let addresses = |addresses: &[Address]| match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!(
        "listen        {}\nadmin_listen  {}\nsocket        {}\nlimits        {}\n",
        addresses(&config.listen),
        addresses(&config.admin_listen),
        config.socket.display(),
        limits(config, process::most_descriptors()),
    );
    for location in &config.locations {
        let (kind, word) = location.handler.words();
        let listener = if location.public { "public" } else { "admin" };
        text.push_str(&format!("location      {} {kind} {word} ({listener})\n", location.path));
    }
    Ok(text)
}
