//! The ways to become a keeper: from a command line, from a PHP master, from a hub whose keeper died.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rustix::net::SocketType;

use super::estate::{Estate, LINE, Terms};
use super::handover;
use super::hub_process::HubProcess;
use super::listeners::Listeners;
use super::lock::Lock;
use super::owner::Owner;
use super::serve::Keeper;
use super::service::{self, Passed, Place};
use super::start::READY_TEXT;
use super::{READY, StartError};
use crate::config::{Config, Log};
use crate::logging;
use crate::process::{self, Signals};
use crate::store;
use crate::vitals::Vitals;

/// Reads the configuration again, from the arguments of a command line; the text says what is wrong with it.
pub type Reload<'a> = &'a dyn Fn(&[String]) -> Result<Config, String>;

/// Runs a hub and its keeper in the foreground until a signal ends them; the process becomes the keeper. At a SIGHUP it
/// takes over what it can of what `reload` gives for `arguments`.
pub fn run(config: &Config, arguments: Vec<String>, reload: Reload<'_>) -> ExitCode {
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
        let terms = Terms { arguments: Some(arguments), leased: false, environment: service::environment() };
        start(config, signals, lock, None, passed, terms)
    })();
    finish(started, None, reload)
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
pub fn run_inherited(reload: Reload<'_>) -> ExitCode {
    let mut tells = None;
    let started = (|| {
        let wrong = |error: io::Error| StartError::new(format!("not started by a PHP master: {error}"));
        let [file, tell, lock, lease] =
            <[OwnedFd; 4]>::try_from(process::inherited(3, 4).map_err(wrong)?).expect("as many as were asked for");
        tells = Some(tell);
        // A line to the hub whose place it is to take, where there is one.
        let running = process::inherited(7, 1).ok().and_then(|mut line| line.pop());
        let signals = Signals::block().map_err(wrong)?;
        let mut config = Config::default();
        config.parse(&process::unsealed(&file).map_err(wrong)?, "configuration")?;
        if let Some(line) = running {
            return handover::take_over(&config, signals, Lock::inherited(lock), lease, &line);
        }
        let terms = Terms { leased: true, ..Terms::default() };
        start(&config, signals, Some(Lock::inherited(lock)), Some(lease), Passed::default(), terms)
    })();
    finish(started, tells, reload)
}

/// The same in a process that a hub started because its keeper had died: goes on with that hub, which does not end.
pub fn run_restored(reload: Reload<'_>) -> ExitCode {
    let restored = (|| {
        let wrong = |error: io::Error| StartError::new(format!("not started by a hub: {error}"));
        let line = process::inherited(LINE, 1).map_err(wrong)?.pop().expect("as many as were asked for");
        let signals = Signals::block().map_err(wrong)?;
        let (estate, hub) = Estate::receive(line.as_fd()).map_err(wrong)?;
        let config = estate.parsed_config().map_err(wrong)?;
        logging::start(&config.log, config.log_level);
        let mut keeper = Keeper::resume(estate, signals)?;
        keeper.adopt(HubProcess::adopt(hub, line));
        Ok(keeper)
    })();
    finish(restored, None, reload)
}

/// Does all that needs rights, gives them up, and has a hub that serves.
fn start(
    config: &Config,
    signals: Signals,
    lock: Option<Lock>,
    lease: Option<OwnedFd>,
    passed: Passed,
    terms: Terms,
) -> Result<Keeper, StartError> {
    let internal = |what: &'static str| move |error: io::Error| StartError::new(format!("{what}: {error}"));
    // Before anything is opened that a later exec would need: after an upgrade the path leads to another program.
    let program = process::program(Path::new("/proc/self/exe")).map_err(internal("/proc/self/exe"))?;
    let owner = Owner::of(config)?;
    config.check_users()?;
    open_log(&config.log, &owner)?;
    logging::start(&config.log, config.log_level);
    process::raise_descriptor_limit();
    let mut listeners = Listeners::bind(config, &owner, passed)?;
    match owner.account {
        Some(account) => process::become_account(account).map_err(internal("dropping privileges"))?,
        None => process::renounce().map_err(internal("dropping privileges"))?,
    }
    let estate = Estate {
        config: process::sealed(c"push-config", config.to_toml().as_bytes()).map_err(internal("configuration"))?,
        vitals: Vitals::create().map_err(internal("position"))?,
        journal: store::open(config).inspect_err(|_| listeners.close())?,
        program,
        lock,
        listeners,
        leases: lease.into_iter().collect(),
        clients: Default::default(),
        terms,
    };
    let mut keeper = Keeper::resume(estate, signals)?;
    keeper.first_hub()?;
    Ok(keeper)
}

/// Tells the starter how the start went, and then keeps the hub.
fn finish(started: Result<Keeper, StartError>, tells: Option<OwnedFd>, reload: Reload<'_>) -> ExitCode {
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

pub(super) fn open_log(log: &Log, owner: &Owner) -> Result<(), StartError> {
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
