//! Coarse deadlines of a thread's connections.
//!
//! Every connection has one entry at most that counts. A deadline that moves later moves nothing here: when the entry
//! comes up, the connection is entered again. So a subscriber that polls in a loop costs one entry per long-poll time-out. The
//! entry of a connection that is gone stays until it comes up, which is soon, however late the deadline was.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fanout::Key;

/// A tenth of a second since the thread started.
pub(crate) type Tick = u32;

/// Ticks after which a connection is looked at, at the latest.
const HORIZON: Tick = 300;

/// The longest part of a tick.
const ALMOST: Duration = Duration::from_nanos(99_999_999);

/// No deadline.
pub(crate) const NEVER: Tick = Tick::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Deadlines {
    start: Instant,
    by_tick: BTreeMap<Tick, Vec<Key>>,
}

impl Deadlines {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), by_tick: BTreeMap::new() }
    }

    pub(crate) fn now(&self) -> Tick {
        ticks(self.start.elapsed())
    }

    /// The first tick that lies at least `time` after `now`.
    pub(crate) fn after(now: Tick, time: Option<Duration>) -> Tick {
        // Both may be up to a tick more than their number says.
        time.map_or(NEVER, |time| now.saturating_add(ticks(time.saturating_add(ALMOST))).saturating_add(1))
    }

    /// Enters a connection with this deadline, and gives the tick under which it stands.
    pub(crate) fn enter(&mut self, key: Key, deadline: Tick, now: Tick) -> Tick {
        let tick = deadline.min(now.saturating_add(HORIZON));
        self.by_tick.entry(tick).or_default().push(key);
        tick
    }

    /// The next group of entries that is due, with the tick under which it was entered.
    pub(crate) fn due(&mut self, now: Tick) -> Option<(Tick, Vec<Key>)> {
        self.by_tick.first_entry().filter(|first| *first.key() <= now).map(|first| first.remove_entry())
    }

    /// When the next entry is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let (&tick, _) = self.by_tick.first_key_value()?;
        Some(self.start + Duration::from_millis(u64::from(tick) * 100))
    }
}

fn ticks(time: Duration) -> Tick {
    let ticks = time.as_secs().saturating_mul(10).saturating_add(u64::from(time.subsec_millis() / 100));
    Tick::try_from(ticks).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        for (milliseconds, tick) in [(0, 11), (1, 12), (99, 12), (100, 12), (101, 13), (299, 14), (300, 14)] {
            // It may be almost the next tick.
            assert_eq!(Deadlines::after(10, Some(Duration::from_millis(milliseconds))), tick);
            assert!(u64::from(tick) * 100 >= 1_099 + milliseconds);
        }
        assert_eq!(Deadlines::after(10, None), NEVER);
    }

    #[test]
    fn an_entry_comes_up_soon_however_late_the_deadline_is() {
        let mut deadlines = Deadlines::new();
        let ticks = [12, NEVER - 1].map(|deadline| deadlines.enter(7, deadline, 10));
        assert_eq!(ticks, [12, 10 + HORIZON]);
        assert_eq!(deadlines.due(11), None);
        assert_eq!(ticks.map(|tick| deadlines.due(10 + HORIZON) == Some((tick, vec![7]))), [true; 2]);
        assert_eq!(deadlines.next(), None);
    }
}
