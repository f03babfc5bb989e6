//! Token buckets by who takes from them: so many that strangers cannot make them grow, and none is ever forgotten for the
//! good of whom it holds back.
//!
//! A bucket is one point in time: when it is full again (the "generic cell rate algorithm"; what nginx's `limit_req` does
//! with `nodelay`). Who takes moves it by one interval; where that would be further ahead than the burst, there is nothing to
//! take. So a bucket that is full needs no memory. There are rows of a few places, and the key says which row. In a row
//! without room the bucket that misses the least gives way, and who comes for it *takes over what it misses* ("space-saving"
//! counting, Metwally et al. 2005): who was sent away finds at least what was missing from his own. So nobody gets more than
//! his limit, whoever comes between; at worst, with more who are at their limit than there are places, others get less.
//!
//! Beside it there are free ones: what was given back, for a short time.

use std::sync::{Mutex, PoisonError};

use crate::config::Rate;

/// Places of a row.
const WAYS: usize = 8;
/// Rows under one lock.
const SHARE: usize = 512;
/// Rows altogether: 65,536 buckets.
pub(super) const ROWS: usize = 8192;
/// What is given back is there for this time at least, and twice this at most, in nanoseconds.
const KEPT: u64 = 15_000_000_000;

/// See the module. Times are nanoseconds since any moment; keys are numbers other than 0 that nobody can choose.
#[derive(Debug)]
pub(super) struct Buckets {
    shares: Box<[Mutex<Box<[Row]>>]>,
}

type Row = [Bucket; WAYS];

/// One bucket; key 0: nobody's.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    key: u32,
    /// The time in which something was given back last, counted in [`KEPT`].
    period: u32,
    /// What was given back in that time, and in the one before.
    returned: [u16; 2],
    /// When it is full.
    full: u64,
}

impl Bucket {
    /// Forgets what was given back too long ago.
    fn age(&mut self, now: u64) {
        let period = u32::try_from(now / KEPT).unwrap_or(u32::MAX);
        match period.saturating_sub(self.period) {
            0 => return,
            1 => self.returned = [0, self.returned[0]],
            _ => self.returned = [0, 0],
        }
        self.period = period;
    }

    fn take_returned(&mut self) -> bool {
        // The older ones first, which are gone sooner.
        let Some(returned) = self.returned.iter_mut().rev().find(|returned| **returned > 0) else { return false };
        *returned -= 1;
        true
    }
}

impl Buckets {
    /// With so many rows, at most [`ROWS`] of them, rounded up to whole shares.
    pub(super) fn new(rows: usize) -> Self {
        let share = rows.min(SHARE);
        let shares = (0..rows.div_ceil(share)).map(|_| Mutex::new(vec![Row::default(); share].into_boxed_slice()));
        Self { shares: shares.collect() }
    }

    /// Takes one out of the key's bucket. `free`: one that was given back will do.
    ///
    /// # Errors
    /// The bucket is empty; after so many nanoseconds it has one again.
    pub(super) fn take(&self, key: u32, rate: &Rate, free: bool, now: u64) -> Result<(), u64> {
        let interval = nanoseconds(rate);
        self.with_row(key, |row| {
            let bucket = place(row, key, now);
            let own = bucket.key == key;
            if own && free {
                bucket.age(now);
                if bucket.take_returned() {
                    return Ok(());
                }
            }
            let full = bucket.full.max(now);
            let latest = now.saturating_add(interval.saturating_mul(rate.burst().into()));
            if full > latest {
                return Err(full - latest);
            }
            if !own {
                *bucket = Bucket { key, ..Bucket::default() };
            }
            bucket.full = full.saturating_add(interval);
            Ok(())
        })
    }

    /// Gives one back, which is there for a while.
    pub(super) fn give_back(&self, key: u32, now: u64) {
        self.with_row(key, |row| {
            let bucket = place(row, key, now);
            if bucket.key != key {
                if bucket.full > now {
                    // It would make somebody's debts forgotten.
                    return;
                }
                *bucket = Bucket { key, ..Bucket::default() };
            }
            bucket.age(now);
            bucket.returned[0] = bucket.returned[0].saturating_add(1);
        });
    }

    fn with_row<T>(&self, key: u32, act: impl FnOnce(&mut Row) -> T) -> T {
        let (share, row) = (key as usize % self.shares.len(), key as usize / self.shares.len());
        // Numbers are as good as before, whoever panicked.
        let mut rows = self.shares[share].lock().unwrap_or_else(PoisonError::into_inner);
        let row = row % rows.len();
        act(&mut rows[row])
    }
}

/// The bucket of the key, else the one that gives way to it: of those that miss the least one for which nothing was given back.
fn place(row: &mut Row, key: u32, now: u64) -> &mut Bucket {
    let own = row.iter().position(|bucket| bucket.key == key);
    let at = own.unwrap_or_else(|| {
        let worth = |bucket: &Bucket| (bucket.full.max(now), bucket.returned != [0, 0]);
        (0..WAYS).min_by_key(|at| worth(&row[*at])).unwrap_or_default()
    });
    &mut row[at]
}

fn nanoseconds(rate: &Rate) -> u64 {
    u64::try_from(rate.interval().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    /// Takes until there is nothing, and says how many that were.
    fn drain(buckets: &Buckets, key: u32, rate: &Rate, now: u64) -> usize {
        (0..).take_while(|_| buckets.take(key, rate, false, now).is_ok()).count()
    }

    #[test]
    fn a_burst_and_one_at_once_then_the_rate() {
        let (buckets, rate) = (Buckets::new(1), rate("10r/s burst=4"));
        assert_eq!(drain(&buckets, 1, &rate, SECOND), 5);
        assert_eq!(buckets.take(1, &rate, false, SECOND), Err(SECOND / 10));
        assert_eq!(buckets.take(1, &rate, false, SECOND + SECOND / 10 - 1), Err(1));
        assert_eq!(drain(&buckets, 1, &rate, SECOND + SECOND / 10), 1);
        assert_eq!(drain(&buckets, 1, &rate, SECOND + SECOND / 2), 4);
        assert_eq!(drain(&buckets, 1, &rate, 9 * SECOND), 5, "it holds no more than the burst");
        assert_eq!(drain(&buckets, 2, &rate, SECOND), 5, "each has its own");
    }

    #[test]
    fn what_is_given_back_is_free_for_a_while() {
        let (buckets, rate) = (Buckets::new(1), rate("1r/m burst=0"));
        assert!(buckets.take(1, &rate, true, 0).is_ok());
        (0..3).for_each(|_| buckets.give_back(1, KEPT - 1));
        assert!(buckets.take(1, &rate, false, KEPT - 1).is_err(), "not for those who must pay");
        assert!(buckets.take(1, &rate, true, KEPT - 1).is_ok());
        assert!(buckets.take(1, &rate, true, 2 * KEPT - 1).is_ok());
        assert!(buckets.take(1, &rate, true, 2 * KEPT).is_err(), "too late");
        buckets.give_back(2, 0);
        assert!(buckets.take(2, &rate, true, 0).is_ok());
        assert!(buckets.take(2, &rate, true, 0).is_ok(), "the bucket was full");
        assert!(buckets.take(2, &rate, true, 0).is_err());
    }

    #[test]
    fn a_flood_of_others_does_not_give_an_attacker_a_new_bucket() {
        let (buckets, rate) = (Buckets::new(1), rate("1r/s burst=9"));
        assert_eq!(drain(&buckets, 1, &rate, 0), 10);
        // Each of these takes once, so that each misses less than the attacker.
        for key in 2..10_000 {
            let _ = buckets.take(key, &rate, false, 0);
            assert!(buckets.take(1, &rate, false, 0).is_err(), "{key}");
        }
        // And with as many at their limit as there are places, and more.
        for key in 10_000..10_100 {
            drain(&buckets, key, &rate, 0);
            buckets.give_back(key + 100, 0);
            assert!(buckets.take(1, &rate, false, 0).is_err(), "{key}");
        }
    }

    #[test]
    fn the_memory_is_fixed() {
        assert!(size_of::<Row>() * ROWS <= 1_600_000, "{}", size_of::<Row>() * ROWS);
        let buckets = Buckets::new(ROWS);
        let rows: usize = buckets.shares.iter().map(|share| share.lock().unwrap().len()).sum();
        assert_eq!(rows, ROWS);
        let rate = rate("1r/m burst=0");
        (1..1_000_000).for_each(|key| assert!(buckets.take(key, &rate, false, 0).is_ok() || key > 8));
        let after: usize = buckets.shares.iter().map(|share| share.lock().unwrap().len()).sum();
        assert_eq!(after, ROWS);
    }

    #[test]
    fn every_row_is_used() {
        let (buckets, rate) = (Buckets::new(ROWS), rate("1r/m burst=0"));
        (1..=ROWS as u32).for_each(|key| assert!(buckets.take(key, &rate, false, 0).is_ok()));
        let used = |row: &Row| row.iter().filter(|bucket| bucket.key != 0).count();
        for share in &buckets.shares {
            assert!(share.lock().unwrap().iter().all(|row| used(row) == 1));
        }
    }

    /// A bucket as the book has it: it holds at most `burst + 1`, and gets one in each interval.
    struct Model {
        /// In nanoseconds of the rate: one is an interval.
        level: u128,
        at: u64,
    }

    impl Model {
        fn take(&mut self, rate: &Rate, now: u64) -> bool {
            let interval = rate.interval().as_nanos();
            let most = interval * (u128::from(rate.burst()) + 1);
            self.level = most.min(self.level + u128::from(now - self.at));
            self.at = now;
            let has = self.level >= interval;
            if has {
                self.level -= interval;
            }
            has
        }
    }

    fn rates() -> impl Strategy<Value = Rate> {
        (1..60u32, prop::bool::ANY, 0..6u32).prop_map(|(count, minute, burst)| {
            rate(&format!("{count}r/{} burst={burst}", if minute { "m" } else { "s" }))
        })
    }

    proptest! {
        /// As long as there is room for all, each bucket does exactly what the model does.
        #[test]
        fn buckets_are_token_buckets(
            rate in rates(),
            steps in prop::collection::vec((1..=WAYS as u32, 0..2 * SECOND), 1..200),
        ) {
            let buckets = Buckets::new(1);
            let mut models: HashMap<u32, Model> = HashMap::new();
            let mut now = SECOND;
            for (key, pause) in steps {
                now += pause;
                let model = models.entry(key).or_insert(Model { level: u128::MAX / 2, at: now });
                let told = buckets.take(key, &rate, false, now);
                prop_assert_eq!(told.is_ok(), model.take(&rate, now));
                if let Err(wait) = told {
                    prop_assert!(buckets.take(key, &rate, false, now + wait - 1).is_err());
                }
            }
        }

        /// However many there are, nobody gets more than his limit in any span of time.
        #[test]
        fn nobody_gets_more_than_the_limit(
            rate in rates(),
            steps in prop::collection::vec((1..60u32, 0..SECOND / 4, prop::bool::ANY), 1..400),
        ) {
            let buckets = Buckets::new(1);
            let mut granted: HashMap<u32, Vec<u64>> = HashMap::new();
            let mut now = 0;
            for (key, pause, gives) in steps {
                now += pause;
                if gives {
                    buckets.give_back(key, now);
                } else if buckets.take(key, &rate, false, now).is_ok() {
                    granted.entry(key).or_default().push(now);
                }
            }
            for times in granted.values() {
                for (at, first) in times.iter().enumerate() {
                    for (more, last) in times[at..].iter().enumerate() {
                        let brought = u128::from(last - first) / rate.interval().as_nanos();
                        prop_assert!(more as u128 <= u128::from(rate.burst()) + brought);
                    }
                }
            }
        }
    }
}
