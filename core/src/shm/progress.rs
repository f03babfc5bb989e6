//! How far the hub came with a client's call, in words of the client's segment: what a hub that takes the ring over from one
//! that was killed must know in order to carry out nothing twice, and the client in order to send nothing twice.
//!
//! Only the hub writes here. What a client writes instead harms its own calls alone.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::ring::Word;
use super::segment::{PROGRESS_WORDS, Segment};

// Relative to the words that `Segment::progress` gives.
const CALL: usize = 0;
const PARTS: usize = 1;
const TAKEN_OVER: usize = 2;
const TRIED: usize = 3;
const TRIES: usize = 4;
const RESULTS: usize = 8;

/// Words of one part's result.
pub const RESULT: usize = 3;
/// Parts of a call whose results are kept.
pub const KEPT: usize = (PROGRESS_WORDS - RESULTS) / RESULT;

/// See the module.
#[derive(Clone, Debug)]
pub struct Progress {
    segment: Segment,
}

impl Progress {
    /// That of this segment.
    #[must_use]
    pub fn new(segment: Segment) -> Self {
        Self { segment }
    }

    fn words(&self) -> &[Word] {
        self.segment.progress()
    }

    /// The hub begins with the call that lies at this position of the requests ring, or goes on with it.
    pub fn begin(&self, call: u64) {
        let words = self.words();
        // Positions are multiples of 8, and no call is 0.
        if words[CALL].load(Relaxed) != call + 1 {
            words[PARTS].store(0, Relaxed);
            words[CALL].store(call + 1, Release);
        }
    }

    /// Where the last call that was begun lies in the ring.
    #[must_use]
    pub fn call(&self) -> Option<u64> {
        self.words()[CALL].load(Acquire).checked_sub(1)
    }

    /// How many parts of that call were carried out; most calls have one.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.words()[PARTS].load(Acquire)
    }

    /// The next part was carried out, with this result.
    pub fn carried_out(&self, result: [u64; RESULT]) {
        let words = self.words();
        let part = words[PARTS].load(Relaxed);
        for (word, value) in self.result_words(part).iter().zip(result) {
            word.store(value, Relaxed);
        }
        words[PARTS].store(part.wrapping_add(1), Release);
    }

    /// The result of a part. Only so many are kept as there is room for.
    #[must_use]
    pub fn result(&self, part: u64) -> Option<[u64; RESULT]> {
        let words: &[Word; RESULT] = self.result_words(part).try_into().ok()?;
        (part < self.parts()).then(|| words.each_ref().map(|word| word.load(Relaxed)))
    }

    fn result_words(&self, part: u64) -> &[Word] {
        let from = usize::try_from(part).ok().and_then(|part| part.checked_mul(RESULT)?.checked_add(RESULTS));
        from.and_then(|from| self.words().get(from..from + RESULT)).unwrap_or_default()
    }

    /// Where the hub that took the ring over last began to read it: a message that began before is lost to it.
    #[must_use]
    pub fn taken_over_at(&self) -> u64 {
        self.words()[TAKEN_OVER].load(Acquire)
    }

    /// A hub takes over and begins to read at `next`. Says how many hubs have ended within the call there:
    /// it may be what ends them.
    pub fn take_over(&self, next: u64) -> u64 {
        let words = self.words();
        words[TAKEN_OVER].store(next, Release);
        if self.call() != Some(next) || self.parts() > 0 {
            return 0;
        }
        if words[TRIED].swap(next + 1, Relaxed) != next + 1 {
            words[TRIES].store(0, Relaxed);
        }
        words[TRIES].fetch_add(1, Relaxed).wrapping_add(1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::segment::MIN_RING;
    use super::*;

    fn progress() -> Progress {
        Progress::new(Segment::create(MIN_RING).expect("memory").0)
    }

    #[test]
    fn the_results_of_a_call_are_known_until_the_next_begins() {
        let progress = progress();
        assert_eq!((progress.call(), progress.result(0)), (None, None));
        for call in [0, 64] {
            progress.begin(call);
            assert_eq!((progress.call(), progress.parts(), progress.result(0)), (Some(call), 0, None));
            for part in 0..1000 {
                progress.carried_out([call, part, 7]);
            }
            // Gone on with.
            progress.begin(call);
            assert_eq!((progress.parts(), progress.result(0)), (1000, Some([call, 0, 7])));
            let kept = (0..1000).take_while(|part| progress.result(*part) == Some([call, *part, 7])).count();
            assert_eq!(kept, KEPT);
            assert!((kept as u64..2000).all(|part| progress.result(part).is_none()));
        }
        assert_eq!(progress.result(u64::MAX), None);
    }

    #[test]
    fn hubs_that_end_within_the_same_call_are_counted() {
        let progress = progress();
        assert_eq!(progress.take_over(0), 0);
        progress.begin(0);
        assert_eq!((progress.take_over(0), progress.take_over(0)), (1, 2));
        assert_eq!(progress.taken_over_at(), 0);
        // It came further.
        assert_eq!((progress.take_over(64), progress.taken_over_at()), (0, 64));
        progress.begin(64);
        assert_eq!(progress.take_over(64), 1);
        progress.carried_out([1, 2, 3]);
        assert_eq!(progress.take_over(64), 0);
    }
}
