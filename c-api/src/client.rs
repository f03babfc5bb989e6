//! `push_client`: the way to a hub, attached or in this process.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use push_core::call::Status;
use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::embedded::Embedded;
use push_core::error::Error;

use crate::config::{or_default, push_config};
use crate::handle::{self, PerProcess, Prefixed};
use crate::hub::push_hub;
use crate::position;
use crate::status::{Failure, guard, push_status};

/// The way to a hub. Threads may share one: each call takes a lock for its length, so that a thread waits at most
/// `timeout` for each call of another; a client for each thread spares that and costs a ring (`ring_size`) each. A forked child
/// may go on using it: it attaches anew there and leaves the parent's ring alone.
pub struct push_client {
    way: Way,
    client: PerProcess<Client>,
}

/// Where the hub is.
pub(crate) enum Way {
    Attach(Box<Config>),
    Embedded(Arc<Embedded>),
}

impl Way {
    pub(crate) fn client(&self) -> Client {
        match self {
            Self::Attach(config) => attaching(config),
            Self::Embedded(hub) => Client::embedded(hub.clone()),
        }
    }
}

fn attaching(config: &Config) -> Client {
    let mut client = Client::new(Options {
        socket: config.socket.clone(),
        inherited: None,
        timeout: config.timeout,
        backoff: config.backoff,
        ring_size: config.ring_size,
    });
    client.set_namespace(&config.namespace);
    client
}

impl push_client {
    fn new(way: Way) -> Result<Self, Failure> {
        let client = PerProcess::new(way.client())?;
        Ok(Self { way, client })
    }

    /// Where the hub is, unless it is in the parent.
    pub(crate) fn way(&self) -> Result<&Way, Failure> {
        if matches!(self.way, Way::Embedded(_)) && !self.client.is_ours() {
            return Err(Failure::Forked(
                "runs the hub, and a fork copies no threads: publish there, or run push-hub and let both attach to it",
            ));
        }
        Ok(&self.way)
    }

    /// Makes a call with the client of this process.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut Client) -> Result<T, Error>) -> Result<T, Failure> {
        self.way()?;
        Ok(self.client.with(|| self.way.client(), call)??)
    }
}

/// The state of a hub at one moment. Set `size` before it is filled: `push_counters_init()` does.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct push_counters {
    /// `sizeof(push_counters)`
    pub size: usize,
    /// Seconds since it started.
    pub uptime: u64,
    /// Channels that exist.
    pub channels: u64,
    /// Subscriptions open now.
    pub subscribers: u64,
    /// Messages stored now.
    pub messages: u64,
    /// Bytes counted against `memory_limit`.
    pub memory: u64,
    /// The head: the position after which everything is yet to come.
    pub position: u64,
    /// Its process.
    pub pid: u32,
    /// Version of its build, NUL-terminated.
    pub version: [c_char; 28],
    /// The path clients attach to, NUL-terminated; empty for a hub in this process.
    pub socket: [c_char; 112],
}

// SAFETY: it is `repr(C)`, begins with its size, and holds numbers only.
unsafe impl Prefixed for push_counters {
    const ZERO: Self = Self {
        size: 0,
        uptime: 0,
        channels: 0,
        subscribers: 0,
        messages: 0,
        memory: 0,
        position: 0,
        pid: 0,
        version: [0; 28],
        socket: [0; 112],
    };
}

impl From<Status> for push_counters {
    fn from(status: Status) -> Self {
        Self {
            size: 0,
            uptime: status.uptime,
            channels: status.channels,
            subscribers: status.subscribers,
            messages: status.messages,
            memory: status.memory,
            position: position::number(status.position),
            pid: status.pid,
            version: letters(&status.version),
            socket: letters(&status.socket),
        }
    }
}

/// A text in an array, with a NUL at its end.
fn letters<const N: usize>(text: &str) -> [c_char; N] {
    let mut letters = [0; N];
    for (letter, byte) in letters[..N - 1].iter_mut().zip(text.bytes()) {
        *letter = byte as c_char;
    }
    letters
}

/// A client that attaches to the hub at `socket` of the configuration. It attaches at its first call, so that a program can
/// open it before the hub runs and before it forks; after the hub's end it attaches to the next one.
///
/// `config`: what it says is copied; NULL for the defaults, which lead to the hub of the system, or of this user.
/// `client_out`: gets the client, to be freed with `push_client_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_HUB_UNAVAILABLE` when there is no memory for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_client_open(
    config: *const push_config,
    client_out: *mut *mut push_client,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client_out, config) = unsafe { (handle::out("client_out", client_out)?, or_default(config)) };
        client_out.write(handle::give(push_client::new(Way::Attach(Box::new(config)))?));
        Ok(())
    })
}

/// A client of the hub in this process: its calls are function calls and wait for nothing but each other.
///
/// `hub`: not NULL; it may be stopped before the client is freed, whose calls then fail.
/// `client_out`: gets the client, to be freed with `push_client_free()`. In a forked child its calls return `PUSH_FORKED`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE` when there is no memory for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_client_embedded(hub: *const push_hub, client_out: *mut *mut push_client) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (hub, client_out) = unsafe { (handle::borrow("hub", hub)?, handle::out("client_out", client_out)?) };
        client_out.write(handle::give(push_client::new(Way::Embedded(hub.shared()?.clone()))?));
        Ok(())
    })
}

/// Whether the hub answers. Asks also while other calls fail at once because the hub did not answer a moment ago.
///
/// `milliseconds`: how long to wait, at least 1.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_client_ping(client: *const push_client, milliseconds: u32) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let client = unsafe { handle::borrow("client", client) }?;
        if milliseconds == 0 {
            return Err(Error::InvalidArgument("milliseconds must be at least 1".to_owned()).into());
        }
        client.call(|client| client.probe(Duration::from_millis(milliseconds.into())))
    })
}

/// The state of the hub.
///
/// `counters_out`: initialized by `push_counters_init()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when it is not initialized; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`;
/// `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_client_status(
    client: *const push_client,
    counters_out: *mut push_counters,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let client = unsafe { handle::borrow("client", client) }?;
        let status = client.call(Client::status)?;
        // SAFETY: as above.
        unsafe { handle::fill("counters_out", counters_out, push_counters::from(status)) }
    })
}

/// The head: the position after which everything is yet to come. It is valid for any channels.
///
/// `position_out`: not NULL.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_position(client: *const push_client, position_out: *mut u64) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, position_out) =
            unsafe { (handle::borrow("client", client)?, handle::out("position_out", position_out)?) };
        position_out.write(position::number(client.call(Client::position)?));
        Ok(())
    })
}

/// Frees a client; NULL is fine. No other thread may be using it. What it has published asynchronously is still delivered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_client_free(client: *mut push_client) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from an opening call and was not freed.
        unsafe { handle::free(client) };
        Ok(())
    });
}
