//! From a PHP master to a hub: adopt the one that lives, or start one.
//!
//! Called where nothing may go wrong: in module startup of a root process that is about to fork, with signals blocked
//! and other extensions loaded. It starts no thread, leaves no child behind, and waits for nothing without a deadline.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::geteuid;

use super::lock::Lock;
use super::owner::Owner;
use super::{KEEPER, READY, StartError, beside, patience, private_path};
use crate::call::Hello;
use crate::config::Config;
use crate::lease::{Asked, Lease, ask, connect, readable, send};
use crate::process::{self, Spawn};

/// A hub that runs as long as the caller wants it.
#[derive(Debug)]
pub struct Started {
    /// The hub stays as long as any process has this open.
    pub lease: OwnedFd,
    /// The attach socket (`O_PATH`): a way to the hub for processes that inherit it, whatever the path's permissions.
    pub attach: OwnedFd,
    /// Where the hub came from.
    pub how: How,
}

/// Where a hub came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// It was started now.
    Spawned,
    /// It was there, and is what would have been started.
    Adopted,
    /// Another was there. What would have been started has taken its place, with all that it had.
    TookOver {
        /// In what the one before differed, as a clause for the log.
        difference: String,
    },
    /// It was there and is kept, although it is not what would have been started.
    Kept {
        /// In what it differs, as a clause for the log.
        difference: String,
        /// Why it is kept, as a clause for the log.
        why: String,
    },
}

/// Between two tries to reach a hub that takes connections and does not answer.
const AGAIN: Duration = Duration::from_millis(20);

/// Makes sure that a hub serves at `config.socket`: keeps a living one, or starts `hub`, the absolute path of `push-hub`.
/// One of any number of callers at the same moment starts it; the others get that one.
///
/// # Errors
/// [`StartError`] says what is wrong and what to do about it; nothing was left behind then.
pub fn start_or_adopt(config: &Config, hub: &Path) -> Result<Started, StartError> {
    let socket = config.socket.as_path();
    let lock = match prepare(config) {
        Ok(lock) => lock,
        // Who can start nothing may still keep what runs.
        Err(error) => {
            let kept = adopt(config, Instant::now() + READY)?.ok_or_else(|| error.clone())?;
            return Ok(kept.because(&error));
        }
    };
    if !lock.take(Instant::now() + READY).map_err(|error| lock_error(socket, &error))? {
        return Err(StartError::new(format!(
            "{}: another process is starting or ending a hub there and did not finish within {} s; try again",
            socket.display(),
            READY.as_secs()
        )));
    }
    // Released with the descriptor, here and in the keeper that inherits it.
    let deadline = Instant::now() + patience(config);
    match adopt(config, deadline)? {
        None => spawn(config, hub, (&lock, None), deadline),
        Some(kept @ Started { how: How::Kept { .. }, .. }) => Ok(take_over(config, hub, &lock, kept)),
        Some(started) => Ok(started),
    }
}

/// Starts a hub in the place of one that runs, which goes on if that comes to nothing.
fn take_over(config: &Config, hub: &Path, lock: &Lock, running: Started) -> Started {
    let How::Kept { difference, .. } = &running.how else { return running };
    let started = connect(&config.socket)
        .map_err(|error| StartError::new(format!("{}: {}", config.socket.display(), io::Error::from(error))))
        // The hub before it has to halt, and the new one to read the journal.
        .and_then(|line| spawn(config, hub, (lock, Some(line.as_fd())), Instant::now() + 3 * READY));
    match started {
        Ok(started) => Started { how: How::TookOver { difference: difference.clone() }, ..started },
        Err(error) => running.because(&error),
    }
}

/// Keeps the hub that serves at `config.socket`, if there is one, whatever `config` says beside that.
///
/// # Errors
/// What is there gives no answer, or is out of reach.
pub fn keep(config: &Config) -> Result<Option<Started>, StartError> {
    adopt(config, Instant::now() + READY)
}

/// How long a master that ends gives its hub to answer who waits.
const LAST_WORD: Duration = Duration::from_millis(200);

/// Tells the hub at `config.socket` that this process, a PHP master, ends for good, and waits a moment while the hub, if it ends with
/// it, answers who waits. To a hub that lives on that means nothing: the lease says when it may end.
pub fn tell_end(config: &Config) {
    let deadline = Instant::now() + LAST_WORD;
    // A hub that is not there, or does not listen, has nobody to answer.
    let Ok(line) = connect(&config.socket) else { return };
    let hello = postcard::to_stdvec(&Hello::Ending).expect("plain data into a Vec");
    if send(line.as_fd(), &hello, &[]).is_ok() {
        let _ = readable(line.as_fd(), deadline);
    }
}

/// Sees whether a hub could be started, as far as that can be seen from here.
fn prepare(config: &Config) -> Result<Lock, StartError> {
    config.check()?;
    Owner::of(config)?.prepare_directory(&config.socket)?;
    Lock::open(&config.socket).map_err(|error| lock_error(&config.socket, &error))
}

impl Started {
    /// It is kept for this reason, if it is not what was wanted.
    fn because(self, why: &StartError) -> Self {
        let how = match self.how {
            How::Kept { difference, .. } => How::Kept { difference, why: why.to_string() },
            how => how,
        };
        Self { how, ..self }
    }
}

fn lock_error(socket: &Path, error: &io::Error) -> StartError {
    let cure = match error.kind() {
        ErrorKind::PermissionDenied => "make its directory writable for this user, or set another push.socket",
        _ => "set another push.socket",
    };
    StartError::new(format!("{}: {error}: {cure}", beside(socket, ".lock").display()))
}

fn adopt(config: &Config, deadline: Instant) -> Result<Option<Started>, StartError> {
    let socket = config.socket.as_path();
    loop {
        let asked = ask(socket, config.hash(), deadline).map_err(|error| {
            let cure = match error.kind() {
                ErrorKind::PermissionDenied => {
                    "a hub of another user may be there; set push.socket_group and push.socket_mode so that this user \
                     may connect, or set another push.socket"
                }
                _ => "remove what is there if it is no hub, or set another push.socket",
            };
            StartError::new(format!("{}: {error}: {cure}", socket.display()))
        })?;
        match asked {
            Asked::Nobody => return Ok(None),
            Asked::Granted { held, difference } => {
                // Why is found out by the caller.
                let kept = |difference| How::Kept { difference, why: String::new() };
                let how = difference.map_or(How::Adopted, kept);
                return Ok(Some(Started { lease: held, attach: attach(socket)?, how }));
            }
            Asked::Refused(why) => return Err(StartError::new(format!("{}: {why}", socket.display()))),
            // Ending, or killed and not yet replaced.
            Asked::Unanswered(_) if Instant::now() + AGAIN < deadline => std::thread::sleep(AGAIN),
            Asked::Unanswered(error) => {
                return Err(StartError::new(format!(
                    "{}: what listens there gives no answer ({error}); if it is a stopped hub, continue or kill it, else \
                     set another push.socket",
                    socket.display()
                )));
            }
        }
    }
}

/// Starts a keeper; with a connection to a running hub, one that takes its place.
fn spawn(
    config: &Config,
    hub: &Path,
    (lock, running): (&Lock, Option<BorrowedFd<'_>>),
    deadline: Instant,
) -> Result<Started, StartError> {
    let program = trusted(hub)?;
    let failed = |what: &str, error: io::Error| StartError::new(format!("a hub cannot be started: {what}: {error}"));
    let file =
        process::sealed(c"push-config", config.to_toml().as_bytes()).map_err(|e| failed("its configuration", e))?;
    let (ready, tells) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed("a pipe", error.into()))?;
    let Lease { held, watched } = Lease::new().map_err(|error| failed("its lease", error))?;
    let null = process::null().map_err(|error| failed("/dev/null", error))?;
    let stderr = io::stderr();
    // A daemon may have closed its standard error stream.
    let stderr = if rustix::io::fcntl_getfd(&stderr).is_ok() { stderr.as_fd() } else { null.as_fd() };
    let mut descriptors: Vec<BorrowedFd<'_>> = vec![
        null.as_fd(),
        null.as_fd(),
        stderr,
        file.as_fd(),
        tells.as_fd(),
        lock.descriptor().as_fd(),
        watched.as_fd(),
    ];
    descriptors.extend(running);
    let spawn = Spawn { program: program.as_fd(), name: KEEPER, environment: &[], descriptors: &descriptors };
    spawn.detached().map_err(|error| {
        StartError::new(format!("{}: {error}: it must be the program push-hub of this version", hub.display()))
    })?;
    drop((tells, watched));
    wait_until_ready(&ready, deadline, patience(config))?;
    Ok(Started { lease: held, attach: attach(&config.socket)?, how: How::Spawned })
}

/// Opens the program, if it is safe to run with the rights of this process. What is opened is what will run.
fn trusted(hub: &Path) -> Result<OwnedFd, StartError> {
    let refused = |why: &str| Err(StartError::new(format!("{}: {why}", hub.display())));
    if !hub.is_absolute() {
        return refused("the path of push-hub must be absolute");
    }
    let program = match process::program(hub) {
        Ok(program) => program,
        Err(error) => return refused(&format!("{error}: install push-hub there or set push.hub to its path")),
    };
    let Ok(stat) = fstat(&program) else { return refused("cannot be examined") };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refused("is not a program");
    }
    if geteuid().is_root() {
        let writable_by_others = stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && stat.st_gid != 0);
        if stat.st_uid != 0 || writable_by_others {
            return refused(
                "root runs it only if root owns it and nobody else may write to it (chown root, chmod go-w)",
            );
        }
    }
    Ok(program)
}

/// The keeper says "ready", or why not, and closes.
fn wait_until_ready(ready: &OwnedFd, deadline: Instant, patience: Duration) -> Result<(), StartError> {
    let mut text = Vec::new();
    loop {
        let mut part = [0; 512];
        match readable(ready.as_fd(), deadline) {
            Ok(true) => {}
            Ok(false) => {
                return Err(StartError::new(format!(
                    "the hub was not ready within {} s; its log says why",
                    patience.as_secs()
                )));
            }
            Err(error) => return Err(StartError::new(format!("the hub cannot be waited for: {error}"))),
        }
        match rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut part)) {
            Ok(0) | Err(_) => break,
            Ok(length) => text.extend_from_slice(&part[..length]),
        }
        if text == READY_TEXT {
            return Ok(());
        }
    }
    match String::from_utf8_lossy(&text).trim() {
        "" => Err(StartError::new("the hub ended before it was ready; its log says why")),
        why => Err(StartError::new(why)),
    }
}

/// What a keeper writes when its hub serves.
pub(super) const READY_TEXT: &[u8] = b"ready\n";

/// The socket for those who inherit it; who may not enter its directory takes the public one.
fn attach(socket: &Path) -> Result<OwnedFd, StartError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    open(private_path(socket), flags, Mode::empty()).or_else(|_| open(socket, flags, Mode::empty())).map_err(|error| {
        StartError::new(format!("{}: {}: the hub went away", socket.display(), io::Error::from(error)))
    })
}
