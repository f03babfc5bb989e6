//! This process's way to the hub: started or adopted by the master of FPM, attached to by everyone at the first call.
//!
//! The configuration and what the master holds are fixed before the first worker is forked; the client belongs to the
//! thread. Nothing here stops a hub: it ends by itself after the last process that holds its lease.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::error::Error;
use push_core::keeper::{self, How, Started};

use crate::{GLOBALS, ini, zend};

/// What is known since the start.
struct Start {
    /// The configuration, or what is wrong with it.
    config: Result<Config, String>,
    /// What the master of FPM holds for itself and its workers, or why it has no hub. Never dropped: the lease ends with
    /// the last process.
    started: Option<Result<Started, String>>,
}

static START: OnceLock<Start> = OnceLock::new();

/// Starts or adopts the hub. For the master of FPM, in MINIT, before it forks; what goes wrong is logged and does not
/// keep FPM from starting.
pub(crate) fn start() {
    START.get_or_init(|| {
        let config = ini::load();
        let started = match &config {
            Ok(config) => keeper::start_or_adopt(config, &ini::hub()).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match &started {
            Ok(Started { how: How::Kept { difference }, .. }) => zend::warn_at_start(&format!(
                "push: the running hub serves others too and keeps its configuration, which differs: {difference}"
            )),
            Ok(_) => {}
            Err(error) => zend::warn_at_start(&format!("push: no hub was started: {error}")),
        }
        Start { config, started: Some(started) }
    });
}

/// Makes a call. Inside, nothing of PHP may run: the client is away from its place meanwhile.
pub(crate) fn with_client<T>(call: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Error> {
    let globals = GLOBALS.get();
    let start = START.get_or_init(|| Start { config: ini::load(), started: None });
    let config = start.config.as_ref().map_err(|error| Error::HubUnavailable(format!("no hub: {error}")))?;
    let mut client = globals.client.take().unwrap_or_else(|| open(config, start));
    client.set_timeout(globals.timeout.get().unwrap_or(config.timeout));
    let outcome = call(&mut client);
    globals.client.set(Some(client));
    outcome.map_err(|error| match (error, &start.started) {
        (Error::HubUnavailable(now), Some(Err(then))) => {
            Error::HubUnavailable(format!("{now}; when PHP started: {then}"))
        }
        (error, _) => error,
    })
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

/// Rows for `phpinfo()`; counters only of a hub that answers.
pub(crate) fn info() -> Vec<(&'static str, String)> {
    /// A page with `phpinfo()` must not hang on a stopped hub.
    const PATIENCE: Duration = Duration::from_millis(50);
    let alive = with_client(|client| if client.ping(PATIENCE) { client.status() } else { Err(absent()) });
    let socket = START.get().and_then(|start| start.config.as_ref().ok()).map(|config| config.socket.display());
    let socket = ("socket", socket.map_or_else(String::new, |socket| socket.to_string()));
    match alive {
        Ok(status) => vec![
            ("hub", format!("running, version {}, pid {}", status.version, status.pid)),
            socket,
            ("uptime", format!("{} s", status.uptime)),
            ("channels", status.channels.to_string()),
            ("subscribers", status.subscribers.to_string()),
            ("stored messages", status.messages.to_string()),
            ("memory", format!("{} bytes", status.memory)),
        ],
        Err(error) => vec![("hub", error.to_string()), socket],
    }
}

fn absent() -> Error {
    Error::HubUnavailable("no hub answers".to_owned())
}
