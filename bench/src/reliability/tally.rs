//! What was published, what arrived, and what is wrong about it.

use std::collections::HashMap;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The clock of PHP's `hrtime()`, in nanoseconds.
pub(super) fn nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// What one subscriber got of its channel.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Of each publisher the last number that came.
    pub(super) last: HashMap<u32, u32>,
    pub(super) faults: Faults,
    pub(super) messages: u64,
    /// The longest way of a message, from before its call.
    pub(super) slowest: Duration,
}

/// What must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reordered: u64,
    pub(super) refused: u64,
    /// Neither message nor anything else that a hub says.
    pub(super) nonsense: u64,
    /// Times that the hub said that messages are missing.
    pub(super) gaps: u64,
    /// Of the first of them, for whoever looks for the cause.
    pub(super) example: Option<String>,
}

impl Faults {
    pub(super) fn none(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.refused += other.refused;
        self.nonsense += other.nonsense;
        self.gaps += other.gaps;
        self.note(|| other.example.clone().unwrap_or_default());
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if self.example.is_none() {
            self.example = Some(what()).filter(|text| !text.is_empty());
        }
    }
}

impl Received {
    /// Takes a message as the script makes it.
    pub(super) fn message(&mut self, who: &str, text: &str) {
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (Some(run), Some(at), Some(begin)) = (number(), number(), number()) else {
            self.faults.nonsense += 1;
            return self.faults.note(|| format!("{who} got {text:?}"));
        };
        let (run, at) = (run as u32, at as u32);
        self.messages += 1;
        self.slowest = self.slowest.max(Duration::from_nanos(nanoseconds().saturating_sub(begin)));
        let last = self.last.entry(run).or_default();
        let before = *last;
        if at == before {
            self.faults.doubled += 1;
        } else if at < before {
            self.faults.reordered += 1;
        } else {
            self.faults.lost += u64::from(at - before - 1);
            *last = at;
        }
        if at != before + 1 {
            self.faults.note(|| format!("{who} got {at} of publisher {run} after {before}"));
        }
    }

    /// How many messages are still to come, of `returned` by each publisher.
    pub(super) fn missing(&self, returned: &HashMap<u32, u32>) -> u64 {
        let missing = |(run, count): (&u32, &u32)| count.saturating_sub(*self.last.get(run).unwrap_or(&0));
        returned.iter().map(missing).map(u64::from).sum()
    }
}
