//! A process that another one watches, and the patience with which it replaces it. Hub and keeper do this to each other.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use crate::lease::timespec;
use crate::process::{self, Exit};

/// A process, by a descriptor: the kernel gives numbers out again, this one stays its own.
pub(crate) struct Watched {
    /// Its number, for the log.
    pub(crate) pid: u32,
    /// Since when it is watched: for a child, since its start.
    pub(crate) since: Instant,
    /// Readable when it has ended.
    end: OwnedFd,
    /// It is ours to wait for.
    child: Option<Pid>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Known(Exit),
    /// The system tells the parent only.
    Unknown,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(exit) => exit.fmt(f),
            Self::Unknown => f.write_str("cause unknown, because another process was its parent"),
        }
    }
}

impl Watched {
    /// A child of ours that nobody has waited for, so that the number is still its own.
    pub(crate) fn child(pid: Pid) -> io::Result<Self> {
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self { pid: pid.as_raw_nonzero().get().unsigned_abs(), since: Instant::now(), end, child: Some(pid) })
    }

    /// A process that sent its own descriptor.
    pub(crate) fn other(pid: u32, end: OwnedFd) -> Self {
        Self { pid, since: Instant::now(), end, child: None }
    }

    /// The descriptor by which others can watch this process.
    pub(crate) fn this_process() -> io::Result<OwnedFd> {
        Ok(pidfd_open(getpid(), PidfdFlags::empty())?)
    }

    pub(crate) fn ended(&self) -> bool {
        poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&timespec(Duration::ZERO))) == Ok(1)
    }

    /// Somebody has stopped it, or looks at it with a debugger.
    pub(crate) fn stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        // The number was its own when the file was read, if it has not ended by now.
        matches!(state, Some('T' | 't')) && !self.ended()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // It may be dead already.
        let _ = pidfd_send_signal(&self.end, signal);
    }

    /// Waits for its end and says how that was. A child leaves no zombie.
    pub(crate) fn wait(self) -> io::Result<End> {
        if let Some(child) = self.child {
            return process::wait(child).map(End::Known);
        }
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&self.end, PollFlags::IN)], None))?;
        Ok(End::Unknown)
    }

    /// The same in words, for the log.
    pub(crate) fn how(self) -> String {
        self.wait().map_or_else(|error| error.to_string(), |end| end.to_string())
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }
}

/// What did its work for this long died of something else than what was there before it. So one that dies again and again is
/// replaced at once four times a second, at most.
const SETTLED: Duration = Duration::from_millis(250);
/// The same, in times of what its start took: so starts take a fifth of a processor, at most, also where a hub has much to read.
const STARTS: u32 = 4;
/// The first wait before one that died early is replaced; it doubles up to `LONGEST`.
const SHORTEST: Duration = Duration::from_millis(10);
/// Long enough not to fill logs and process tables, short enough for whoever repairs the cause.
const LONGEST: Duration = Duration::from_secs(2);

/// How long to wait before the next one is started.
#[derive(Debug, Default)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// After one that took so long to start, and then did its work for so long. The first is replaced at once.
    pub(crate) fn next(&mut self, start: Duration, worked: Duration) -> Duration {
        if worked >= SETTLED.max(start * STARTS) {
            self.0 = Duration::ZERO;
        }
        let wait = self.0;
        self.0 = (wait * 2).clamp(SHORTEST, LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dies_early_is_replaced_later_each_time_up_to_a_limit() {
        let mut backoff = Backoff::default();
        let early = Duration::from_millis(200);
        let waits: Vec<_> = (0..12).map(|_| backoff.next(Duration::ZERO, early).as_millis()).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000]);
        assert_eq!(backoff.next(Duration::ZERO, SETTLED), Duration::ZERO);
        assert_eq!(backoff.next(Duration::ZERO, Duration::ZERO), SHORTEST);
    }

    #[test]
    fn a_long_start_has_to_be_worth_it() {
        let mut backoff = Backoff::default();
        let start = Duration::from_secs(2);
        let waits: Vec<_> = (0..3).map(|_| backoff.next(start, Duration::from_secs(7)).as_millis()).collect();
        assert_eq!(waits, [0, 10, 20]);
        assert_eq!(backoff.next(start, Duration::from_secs(8)), Duration::ZERO);
    }
}
