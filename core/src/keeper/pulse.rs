//! The keeper's watch for a hub that hangs.
//!
//! It asks for signs of life a few times within `watchdog`, and counts the questions that stay open, not seconds: when the
//! whole machine, or keeper and hub together, stood still for an hour, only one question has gone by. So a hub is given up
//! only after the keeper itself was awake so often and heard nothing. A hub that somebody has stopped (SIGSTOP, a debugger) is
//! left alone for as long as it is stopped: that was meant, and killing it would take away what is being looked at.

use std::time::{Duration, Instant};

use crate::vitals::{Part, Vitals};

/// Questions within `watchdog`.
const QUESTIONS: u32 = 6;

/// See the module.
pub(super) struct Pulse {
    every: Duration,
    next: Instant,
    /// Times that the last question was found open.
    open: u32,
}

impl Pulse {
    /// For a hub that may be silent for so long.
    pub(super) fn new(watchdog: Duration, now: Instant) -> Self {
        let every = watchdog / QUESTIONS;
        Self { every, next: now + every, open: 0 }
    }

    /// When it wants to look again.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether it is time to look. If so it asks, and the hub is to be rung; gives a part that was silent for too long, at
    /// each look anew.
    pub(super) fn look(&mut self, now: Instant, vitals: &Vitals, threads: usize) -> Option<Option<Part>> {
        if now < self.next {
            return None;
        }
        self.next = now + self.every;
        let silent = vitals.silent(threads);
        if silent.is_none() {
            vitals.ask();
        }
        self.open = silent.map_or(0, |_| self.open + 1);
        Some(silent.filter(|_| self.open >= QUESTIONS))
    }

    /// Whether the last look found an answer.
    pub(super) fn heard(&self) -> bool {
        self.open == 0
    }

    /// It has as much time again.
    pub(super) fn forgive(&mut self) {
        self.open = 0;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn only_many_open_questions_make_a_hub_hang_however_much_time_goes_by() {
        let file = Vitals::create().unwrap();
        let vitals = Vitals::map(file.as_fd()).unwrap();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(Duration::from_secs(30), begin);
        assert_eq!(pulse.look(at(4), &vitals, 1), None);
        assert_eq!(pulse.look(at(5), &vitals, 1), Some(None), "the first question");
        vitals.answer(Part::Engine);
        // The machine sleeps.
        assert_eq!(pulse.look(at(5000), &vitals, 1), Some(None));
        vitals.answer(Part::Thread(0));
        assert_eq!(pulse.look(at(9000), &vitals, 1), Some(None), "the second question");
        vitals.answer(Part::Engine);
        for tick in 1..6 {
            assert_eq!(pulse.look(at(9000 + 5 * tick), &vitals, 1), Some(None));
        }
        assert_eq!(pulse.look(at(9029), &vitals, 1), None);
        assert_eq!(pulse.look(at(9030), &vitals, 1), Some(Some(Part::Thread(0))));
        pulse.forgive();
        assert_eq!(pulse.look(at(9035), &vitals, 1), Some(None));
        vitals.answer(Part::Thread(0));
        assert_eq!(pulse.look(at(9040), &vitals, 1), Some(None));
    }
}
