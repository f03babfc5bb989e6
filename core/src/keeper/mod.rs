//! The keeper: the hub's tiny parent.
//!
//! It holds the listening sockets, the leases, the journal and what leads to the rings of clients, so that a killed hub costs
//! the connections of browsers and nothing else: the next hub takes over within milliseconds, meanwhile connections wait in
//! the backlog, and calls in their rings. The hub holds the same, and starts another keeper when this one is killed, which
//! nobody notices. It has one thread, no tokio and no requests to parse. [`start_or_adopt`] is the way to a keeper from a PHP
//! master, [`run`] that from a command line.

mod lock;
mod owner;
mod start;

#[cfg(feature = "hub")]
mod check;
#[cfg(feature = "hub")]
pub(crate) mod estate;
#[cfg(feature = "hub")]
mod handover;
#[cfg(feature = "hub")]
mod hub_process;
#[cfg(feature = "hub")]
pub(crate) mod listeners;
#[cfg(feature = "hub")]
mod pulse;
#[cfg(feature = "hub")]
mod run;
#[cfg(feature = "hub")]
mod serve;
#[cfg(feature = "hub")]
mod service;
#[cfg(feature = "hub")]
pub(crate) mod watched;

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;

#[cfg(feature = "hub")]
pub use check::check;
#[cfg(feature = "hub")]
pub use run::{Reload, run, run_inherited, run_restored};
pub use start::{How, Started, keep, start_or_adopt, tell_end};

/// `argv[0]` of a keeper that was started by [`start_or_adopt`].
pub const KEEPER: &CStr = c"push-hub: keeper";
/// `argv[0]` of a keeper that was started by a hub whose keeper had died.
pub const RESTORED: &CStr = c"push-hub: restored keeper";
/// `argv[0]` of a hub.
pub const HUB: &CStr = c"push-hub: hub";

/// How long a start may take, and an answer of a living hub.
const READY: Duration = Duration::from_secs(3);
/// What a start may take longer for each megabyte that may have been stored on a slow disk.
const READY_PER_MEGABYTE: Duration = Duration::from_millis(20);

/// How long a start with this configuration may take.
fn patience(config: &Config) -> Duration {
    match config.store_path {
        None => READY,
        Some(_) => READY + READY_PER_MEGABYTE * u32::try_from(config.memory_limit >> 20).unwrap_or(u32::MAX),
    }
}

/// Why no hub was started: a sentence for a log that names the cause and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<crate::config::ConfigError> for StartError {
    fn from(error: crate::config::ConfigError) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The attach socket for those that inherited the way to it: it stands in a directory that only the hub's user and root
/// can enter, and lets everyone in. The mode of `socket` would refuse the workers of a pool under another user, also
/// when they come through an inherited descriptor.
fn private_path(socket: &Path) -> PathBuf {
    private_directory(socket).join("attach")
}

fn private_directory(socket: &Path) -> PathBuf {
    beside(socket, ".fpm")
}
