//! Descriptors in tokio's poll set.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Hands the descriptor to the runtime of this thread, which tells when it is ready.
pub(crate) fn watch(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay the same and open while it is registered. An `OwnedFd` always names the one that it
    // owns, the `AsyncFd` owns it, and deregisters before it drops it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}
