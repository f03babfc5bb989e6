//! A keeper that a service manager runs: the sockets that it passes, and what it is told.
//!
//! systemd's protocol, which others speak too: descriptors from 3 with `LISTEN_PID` and `LISTEN_FDS`, and datagrams to
//! `NOTIFY_SOCKET`. A socket is known by its address: one socket unit can then hold all that have the same permissions. What
//! is passed is neither bound nor removed here, so nobody is refused while the service restarts. Outside of a service
//! nothing here does anything.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};
use sd_notify::NotifyState;

use super::StartError;
use crate::config::Address;
use crate::process;

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) kind: SocketType,
}

impl Place {
    pub(super) fn unix(path: &Path, kind: SocketType) -> Self {
        Self { address: Address::Unix(path.to_owned()), kind }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.kind == SocketType::SEQPACKET { "ListenSequentialPacket" } else { "ListenStream" };
        match &self.address {
            Address::Tcp(address) => write!(f, "{kind}={address}"),
            Address::Unix(path) => write!(f, "{kind}={}", path.display()),
        }
    }
}

/// The listening sockets that the service manager passed.
#[derive(Debug, Default)]
pub(super) struct Passed(Vec<(Place, OwnedFd)>);

impl Passed {
    /// Takes them. To be called before this process opens anything.
    pub(super) fn take() -> Result<Self, StartError> {
        let wrong = |error: io::Error| {
            StartError::new(format!("LISTEN_FDS: {error}: start push-hub by its service, or without these variables"))
        };
        let names = sd_notify::listen_fds_with_names().map_err(wrong)?;
        let count = names.len();
        let sockets = process::inherited(3, count).map_err(wrong)?;
        let passed = sockets.into_iter().zip(names).map(|(socket, (_, name))| {
            let place = prepare(&socket).map_err(|error| {
                StartError::new(format!(
                    "LISTEN_FDS: descriptor {} ({name}): {error}: pass listening sockets of the addresses in the configuration",
                    socket.as_raw_fd()
                ))
            })?;
            Ok((place, socket))
        });
        passed.collect::<Result<_, _>>().map(Self)
    }

    /// Those that come in another way.
    pub(super) fn of(sockets: Vec<(Place, OwnedFd)>) -> Self {
        Self(sockets)
    }

    pub(super) fn has(&self, place: &Place) -> bool {
        self.0.iter().any(|(passed, _)| passed == place)
    }

    /// The socket of that place, if it was passed.
    pub(super) fn socket(&mut self, place: &Place) -> Option<OwnedFd> {
        let at = self.0.iter().position(|(passed, _)| passed == place)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Refuses what the configuration does not name: its clients would wait for ever.
    pub(super) fn check(&self, wanted: &[Place]) -> Result<(), StartError> {
        let Some((place, _)) = self.0.iter().find(|(place, _)| !wanted.contains(place)) else { return Ok(()) };
        let wanted = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Err(StartError::new(format!(
            "the service passes a socket of {place}, which the configuration does not have: make socket unit and \
             configuration say the same; the configuration has {wanted}"
        )))
    }
}

/// Makes a passed socket as one that was bound here, and tells where it listens.
fn prepare(socket: &OwnedFd) -> io::Result<Place> {
    let kind = sockopt::socket_type(socket)?;
    if !sockopt::socket_acceptconn(socket)? {
        return Err(io::Error::other("is a socket that does not listen"));
    }
    let name = getsockname(socket)?;
    let address = if name.address_family() == AddressFamily::UNIX {
        let path = SocketAddrUnix::try_from(name)?;
        let path = path.path().ok_or_else(|| io::Error::other("is a unix socket without a path"))?;
        Address::Unix(PathBuf::from(OsStr::from_bytes(path.to_bytes())))
    } else {
        sockopt::set_tcp_nodelay(socket, true)?;
        Address::Tcp(name.try_into()?)
    };
    fcntl_setfl(socket, fcntl_getfl(socket)? | OFlags::NONBLOCK)?;
    Ok(Place { address, kind })
}

/// What of the environment a keeper needs that goes on for this one. Not `WATCHDOG_PID`, which is this process.
pub(super) fn environment() -> Vec<CString> {
    let variable = |name: &str| {
        let value = std::env::var_os(name)?;
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
    };
    ["NOTIFY_SOCKET", "WATCHDOG_USEC"].into_iter().filter_map(variable).collect()
}

/// Tells the service manager, if there is one.
pub(super) fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager cannot be told: NOTIFY_SOCKET: {error}");
    }
}

/// Tells it that [`NotifyState::Ready`] will follow.
pub(super) fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the service manager cannot be told: {error}"),
    }
}

/// The service manager ends a keeper of which it does not hear for some time.
pub(super) struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// Nothing where nobody waits for it.
    pub(super) fn new() -> Option<Self> {
        // Half of what is allowed, as sd_watchdog_enabled(3) advises.
        sd_notify::watchdog_enabled().map(|allowed| Self { every: allowed / 2, next: Instant::now() })
    }

    /// When it has to hear of us again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    pub(super) fn tell(&mut self) {
        let now = Instant::now();
        if self.next <= now {
            tell(&[NotifyState::Watchdog]);
            self.next = now + self.every;
        }
    }
}
