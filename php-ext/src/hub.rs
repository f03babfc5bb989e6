//! This process's way to the hub: started or adopted by the master of FPM, attached to by everyone at the first call, or
//! started at the first call as threads of this process.
//!
//! The configuration and what the master holds are fixed before the first worker is forked; the client belongs to the
//! thread of PHP, an embedded hub to the process. Of these only the embedded one is stopped here, at the end of its process; the
//! other ends by itself after the last process that holds its lease, and is told only that the master ends.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ext_php_rs::zend::php_sapi_name;
use once_cell::sync::OnceCell;
use push_core::channel::Namespace;
use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::embedded::Embedded;
use push_core::error::Error;
use push_core::keeper::{self, How, Started};

use crate::ini::Mode;
use crate::zend::Severity;
use crate::{GLOBALS, ini, zend};

/// What is known since the start.
struct Start {
    /// The mode and the configuration, or what is wrong with them.
    config: Result<(Mode, Config), String>,
    /// What the master of FPM holds for itself and its workers, or why it has no hub. Never dropped: the lease ends with
    /// the last process.
    started: Option<Result<Started, String>>,
    /// The process that this was in.
    process: u32,
}

static START: OnceLock<Start> = OnceLock::new();

/// The hub in this process. A forked child finds its parent's, which refuses it.
static EMBEDDED: OnceCell<Arc<Embedded>> = OnceCell::new();

/// How long calls fail at once after an embedded hub could not be started: a port in use is waited for, each time.
const PAUSE: Duration = Duration::from_secs(1);

/// Until when, and why.
static REFUSED: Mutex<Option<(Instant, String)>> = Mutex::new(None);

/// Starts or adopts the hub. For the master of FPM, in MINIT, before it forks; what goes wrong is logged and does not
/// keep FPM from starting.
pub(crate) fn start() {
    START.get_or_init(|| {
        let (config, started) = match load() {
            Ok((mode, config)) => {
                let started = keeper::start_or_adopt(&config, &ini::hub()).map_err(|error| error.to_string());
                (Ok((mode, config)), started)
            }
            Err(error) => kept_without(error),
        };
        let said = match &started {
            Ok(Started { how: How::Kept { difference, why }, .. }) => Some((
                format!("the running hub goes on with its configuration, which differs: {difference}; {why}"),
                Severity::Warning,
            )),
            Ok(Started { how: How::TookOver { difference }, .. }) => {
                Some((format!("a new hub has taken the place of the one before: {difference}"), Severity::Notice))
            }
            Ok(Started { how: How::Adopted | How::Spawned, .. }) => None,
            Err(error) => Some((format!("no hub was started: {error}"), Severity::Warning)),
        };
        if let Some((text, severity)) = said {
            zend::log_at_start(&format!("push: {text}"), severity);
        }
        Start { config, started: Some(started), process: std::process::id() }
    });
}

/// What is wrong with the configuration, unless a hub runs where it leads: that one goes on, and its workers with it. A slip
/// of the pen before a reload is not to end what works.
fn kept_without(error: String) -> (Result<(Mode, Config), String>, Result<Started, String>) {
    let kept = ini::way_to_the_hub().and_then(|config| Some((keeper::keep(&config).ok()??, config)));
    match kept {
        Some((Started { lease, attach, .. }, config)) => {
            let how = How::Kept { difference: "the one it should have cannot be used".to_owned(), why: error };
            (Ok((Mode::Attach, config)), Ok(Started { lease, attach, how }))
        }
        None => (Err(error.clone()), Err(error)),
    }
}

fn load() -> Result<(Mode, Config), String> {
    let loaded = ini::load()?;
    if loaded.0 == Mode::Embedded
        && let Some(several) = several_processes()
    {
        return Err(format!("push.mode = \"embedded\": {several}"));
    }
    Ok(loaded)
}

/// Why no process of this server may be the hub for all of them, and what to do instead.
fn several_processes() -> Option<&'static str> {
    match php_sapi_name().as_deref() {
        Some("fpm-fcgi") => Some(
            "php-fpm forks its workers, and threads do not survive a fork; leave push.mode at attach, then the master of \
             php-fpm starts the hub for all of them",
        ),
        Some("apache2handler" | "cgi-fcgi" | "litespeed" | "uwsgi") => Some(
            "this server runs PHP in several processes, and each would be a hub of its own; run push-hub as a service \
             and leave push.mode at attach",
        ),
        Some("cli-server") if workers() > 1 => Some(
            "PHP_CLI_SERVER_WORKERS makes several processes, and each would be a hub of its own; unset it, or run \
             push-hub and leave push.mode at attach",
        ),
        _ => None,
    }
}

/// How many workers `php -S` forks.
fn workers() -> u64 {
    std::env::var("PHP_CLI_SERVER_WORKERS").ok().and_then(|count| count.trim().parse().ok()).unwrap_or(1)
}

fn started() -> Result<(&'static Start, Mode, &'static Config), Error> {
    let start = START.get_or_init(|| Start { config: load(), started: None, process: std::process::id() });
    match &start.config {
        Ok((mode, config)) => Ok((start, *mode, config)),
        Err(error) => Err(Error::HubUnavailable(format!("no hub: {error}"))),
    }
}

/// Makes a call. Inside, nothing of PHP may run: the client is away from its place meanwhile.
pub(crate) fn with_client<T>(call: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
    let globals = GLOBALS.get();
    let (start, mode, config) = started()?;
    let namespace = namespace_of(config)?;
    let mut client = match (globals.client.take(), mode) {
        (Some(client), _) => client,
        (None, Mode::Attach) => open(config, start),
        (None, Mode::Embedded) => Client::embedded(embedded(config)?.clone()),
    };
    client.set_timeout(globals.timeout.get().unwrap_or(config.timeout));
    client.set_namespace(&namespace);
    let outcome = call(&mut client);
    globals.client.set(Some(client));
    outcome.map_err(|error| match (error, &start.started) {
        (Error::HubUnavailable(now), Some(Err(then))) => {
            Error::HubUnavailable(format!("{now}; when PHP started: {then}"))
        }
        (error, _) => error,
    })
}

/// The namespace of the calls of this process.
pub(crate) fn namespace() -> Result<Namespace, Error> {
    namespace_of(started()?.2)
}

fn namespace_of(config: &Config) -> Result<Namespace, Error> {
    match &*GLOBALS.get().namespace.borrow() {
        None => Ok(config.namespace.clone()),
        Some(Ok(namespace)) => Ok(namespace.clone()),
        Some(Err(error)) => Err(Error::HubUnavailable(error.clone())),
    }
}

fn open(config: &Config, start: &Start) -> Client {
    // Without the descriptor, or a duplicate of it, the path is left.
    let inherited: Option<OwnedFd> = match &start.started {
        Some(Ok(started)) => started.attach.try_clone().ok(),
        _ => None,
    };
    Client::new(Options {
        socket: config.socket.clone(),
        inherited,
        timeout: config.timeout,
        backoff: config.backoff,
        ring_size: config.ring_size,
    })
}

/// The hub in this process, started now if it was not.
fn embedded(config: &Config) -> Result<&'static Arc<Embedded>, Error> {
    EMBEDDED.get_or_try_init(|| {
        let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((until, text)) = &*refused
            && Instant::now() < *until
        {
            return Err(Error::HubUnavailable(text.clone()));
        }
        Embedded::start(config).map(Arc::new).map_err(|error| {
            let text = format!("no hub was started in this process: {error}");
            *refused = Some((Instant::now() + PAUSE, text.clone()));
            Error::HubUnavailable(text)
        })
    })
}

/// Where browsers reach the hub in this process; `None` when it is in another. Starts it.
pub(crate) fn address() -> Result<Option<String>, Error> {
    let (_, mode, config) = started()?;
    if mode == Mode::Attach {
        return Ok(None);
    }
    let hub = embedded(config)?;
    hub.check()?;
    Ok(hub.addresses().first().map(ToString::to_string))
}

/// Ends the hub in this process, if there is one: answers who waits. Lets a hub that ends with this process do so, too.
pub(crate) fn stop() {
    if let Some(hub) = EMBEDDED.get() {
        hub.stop();
    }
    if let Some(Start { config: Ok((_, config)), started: Some(Ok(_)), process }) = START.get()
        // Workers that end are no end.
        && *process == std::process::id()
        && !reloads()
    {
        keeper::tell_end(config);
    }
}

/// Whether the master of FPM starts itself anew after this. It leaves its sockets in the environment then, each as `address=number`,
/// before it shuts the modules down; of those that were left for itself it has written over the `=` when it took them.
fn reloads() -> bool {
    std::env::var_os("FPM_SOCKETS").is_some_and(|sockets| sockets.as_encoded_bytes().contains(&b'='))
}

/// Rows for `phpinfo()`; counters only of a hub that answers. It starts none.
pub(crate) fn info() -> Vec<(&'static str, String)> {
    /// A page with `phpinfo()` must not hang on a stopped hub.
    const PATIENCE: Duration = Duration::from_millis(50);
    let mut rows = Vec::new();
    if let Ok((_, Mode::Embedded, _)) = started() {
        let Some(hub) = EMBEDDED.get() else {
            return vec![
                ("mode", "embedded".to_owned()),
                ("hub", "starts in this process at the first call".to_owned()),
            ];
        };
        rows.push(("mode", "embedded".to_owned()));
        rows.extend(hub.addresses().iter().map(|address| ("address", address.to_string())));
    } else {
        let socket =
            START.get().and_then(|start| start.config.as_ref().ok()).map(|(_, config)| config.socket.display());
        rows.push(("socket", socket.map_or_else(String::new, |socket| socket.to_string())));
    }
    let status = with_client(|client| {
        // After it has failed, so does the next call at once, and says why.
        client.ping(PATIENCE);
        client.status()
    });
    match status {
        Ok(status) => {
            rows.insert(0, ("hub", format!("running, version {}, pid {}", status.version, status.pid)));
            rows.extend([
                ("uptime", format!("{} s", status.uptime)),
                ("channels", status.channels.to_string()),
                ("subscribers", status.subscribers.to_string()),
                ("stored messages", status.messages.to_string()),
                ("memory", format!("{} bytes", status.memory)),
            ]);
        }
        Err(error) => rows.insert(0, ("hub", error.to_string())),
    }
    rows
}
