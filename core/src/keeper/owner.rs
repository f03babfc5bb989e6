//! Whom a hub belongs to.

use std::fmt::Display;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, chownat, mkdir};
use rustix::io::Errno;
use rustix::process::Gid;

use super::StartError;
use crate::config::Config;
use crate::process::{self, Account};

/// Under which ids unix sockets are made.
pub(super) struct Owner {
    /// The user to become; `None` when this process is not root and stays who it is.
    pub(super) account: Option<Account>,
    /// The group of the sockets, when it is not that of the account.
    pub(super) group: Option<Gid>,
}

impl Owner {
    /// The ids that `config` names, as far as this process may choose.
    pub(super) fn of(config: &Config) -> Result<Self, StartError> {
        let present = Self::present(config)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(present);
        }
        let name = &config.user;
        let account = process::user(name).map_err(|error| failed("user", name, error))?.ok_or_else(|| {
            StartError::new(format!(
                "user = \"{name}\": there is no such user; create it (useradd --system {name}) or set push.user"
            ))
        })?;
        if account.uid.is_root() {
            return Err(StartError::new(format!(
                "user = \"{name}\": a hub does not run as root; set push.user to another user"
            )));
        }
        Ok(Self { account: Some(account), ..present })
    }

    /// The ids this process has, whoever it is, with the group of the sockets.
    pub(super) fn present(config: &Config) -> Result<Self, StartError> {
        let group = match &config.socket_group {
            None => None,
            Some(name) => Some(process::group(name).map_err(|error| failed("group", name, error))?.ok_or_else(|| {
                StartError::new(format!(
                    "socket_group = \"{name}\": there is no such group; create it (groupadd --system {name}) or set \
                     push.socket_group"
                ))
            })?),
        };
        Ok(Self { account: None, group })
    }

    /// Does `work` so that what it makes belongs to the account.
    #[cfg(feature = "hub")]
    pub(super) fn act<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.account {
            None => work(),
            Some(account) => process::acting_as(Account { gid: self.group.unwrap_or(account.gid), ..account }, work)?,
        }
    }

    /// Makes the directory of a socket if it is missing. Its parent has to be there.
    pub(super) fn prepare_directory(&self, socket: &Path) -> Result<(), StartError> {
        let directory = socket.parent().unwrap_or(Path::new("/"));
        match mkdir(directory, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => Ok(()),
            Ok(()) => match self.account {
                None => Ok(()),
                Some(Account { uid, gid }) => chownat(CWD, directory, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed("directory", &directory.display().to_string(), io::Error::from(error))),
            },
            Err(error) => Err(StartError::new(format!(
                "{}: the directory of the socket cannot be made: {}; make it, writable for {}",
                directory.display(),
                io::Error::from(error),
                self.name()
            ))),
        }
    }

    pub(super) fn name(&self) -> String {
        let account = self.account.map(|account| account.uid).unwrap_or_else(rustix::process::geteuid);
        format!("uid {}", account.as_raw())
    }
}

fn failed(what: &str, name: &str, error: impl Display) -> StartError {
    StartError::new(format!("{what} {name}: {error}"))
}
