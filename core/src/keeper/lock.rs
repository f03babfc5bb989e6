//! The lock beside a socket: who holds it may look for a hub, start one, or take one away.
//!
//! The file stays for ever: who removed it could leave two holders, one of each file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::Errno;

use super::beside;

/// The lock file, opened. A process that inherits the descriptor shares the lock itself.
pub(crate) struct Lock(OwnedFd);

/// Between two tries. A lock that is waited for in the kernel could not be given up at a deadline.
const AGAIN: Duration = Duration::from_millis(10);

impl Lock {
    /// Opens it, not locked yet.
    pub(super) fn open(socket: &Path) -> io::Result<Self> {
        // The directory belongs to the hub's user, and root opens this: no links, nothing to wait for.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = open(beside(socket, ".lock"), flags, Mode::RUSR | Mode::WUSR)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "is not a regular file"));
        }
        Ok(Self(file))
    }

    /// That of the process which started this one, and which holds it.
    pub(super) fn inherited(file: OwnedFd) -> Self {
        Self(file)
    }

    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.0
    }

    /// Takes it if that is possible before `deadline`.
    pub(super) fn take(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Gives it up for all who share it.
    pub(super) fn release(&self) {
        // It can only fail for a descriptor that is none.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
