//! A set of numbers that one process keeps and others look into, without a call: who is online, say.
//!
//! A file that is mapped by all; those who look have it for reading only. It holds a table with open addressing, of which
//! each place is one atomic word: a number, nothing, or the trace of a number that was removed. A number never moves within
//! a table, so whoever looks finds what is there all the time. A table that gets full is followed by another, in another
//! part of the file; whoever looks sees afterwards that the table was followed by another meanwhile, and looks again.
//!
//! ```text
//! word 0  magic    1  version    2  places of the largest table    3  the table that counts, 0: none
//!      4  the last second of Unix time in which it is what it should be
//! from 2P, and from 3P: a table of P places, P a power of two from 512 to that of the largest
//! ```

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::fence;

use rustix::fs::{self, FallocateFlags, Mode, OFlags};

use super::segment::{Access, Invalid, Mapping, SEALS, memfd, sealed_size};

const MAGIC: u64 = u64::from_ne_bytes(*b"push-set");
const VERSION: u64 = 1;
const MOST: usize = 2;
const TABLE: usize = 3;
const UNTIL: usize = 4;
const WORD: usize = size_of::<AtomicU64>();
/// Places of the smallest and of the largest table.
const LEAST: usize = 512;
const LARGEST: usize = 1 << 24;
/// The bytes before the first table: a page and more.
const HEADER: u64 = (2 * LEAST * WORD) as u64;
/// What stands in places without a number.
const NOTHING: u64 = 0;
const REMOVED: u64 = 1;
/// How often a table may be followed by another while somebody looks.
const TRIES: usize = 8;

/// One table, as word [`TABLE`] names it: how many there were before it, which of two places, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Table {
    number: u64,
    second: bool,
    places: usize,
}

impl Table {
    fn pack(self) -> u64 {
        self.number << 8 | u64::from(self.second) << 7 | u64::from(self.places.trailing_zeros())
    }

    /// `None`: none, or not one of a set with tables of `most` places.
    fn unpack(word: u64, most: usize) -> Option<Self> {
        let places = 1_usize.checked_shl((word & 0x7f) as u32)?;
        let table = Self { number: word >> 8, second: word & 0x80 != 0, places };
        (word != 0 && (LEAST..=most).contains(&places)).then_some(table)
    }

    fn words(self) -> Range<usize> {
        let first = (2 + usize::from(self.second)) * self.places;
        first..first + self.places
    }

    /// In bytes of the file.
    fn extent(self) -> (u64, u64) {
        ((self.words().start * WORD) as u64, (self.places * WORD) as u64)
    }
}

/// What stands for the number: two stand for something else, and are taken for two others.
fn place_of(number: u64) -> u64 {
    if number <= REMOVED { number + 2 } else { number }
}

/// The words of a table in the order in which a number is looked for, with their indices.
fn path(words: &[AtomicU64], number: u64) -> impl Iterator<Item = (usize, &AtomicU64)> {
    let first = number as usize & (words.len() - 1);
    let (before, from) = words.split_at(first);
    from.iter().chain(before).enumerate().map(move |(step, word)| ((first + step) & (words.len() - 1), word))
}

/// The set, in the process that keeps it.
pub struct Set {
    file: OwnedFd,
    mapping: Mapping,
    most: usize,
    /// None after there was no memory for one: nobody finds anything any more, and asks otherwise.
    table: Option<Table>,
    numbers: usize,
    /// Places that have had a number since the table was made, and are not nothing again.
    used: usize,
}

impl Set {
    /// An empty set for about so many numbers at most, and the descriptor by which others may look into it.
    ///
    /// # Errors
    /// The kernel's; without `/proc` there is none for others.
    pub fn create(numbers: usize) -> io::Result<(Self, OwnedFd)> {
        let most = numbers.saturating_mul(2).clamp(LEAST, LARGEST).next_power_of_two();
        let file = memfd(c"push-set")?;
        // Who has the descriptor for reading could open the file anew for writing.
        fs::fchmod(&file, Mode::RUSR | Mode::WUSR)?;
        let len = 4 * most * WORD;
        fs::ftruncate(&file, len as u64)?;
        fs::fcntl_add_seals(&file, SEALS)?;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let for_others = fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mapping = Mapping::new(&file, len, Access::Both, None)?;
        let words = mapping.words();
        words[0].store(MAGIC, Relaxed);
        words[1].store(VERSION, Relaxed);
        words[MOST].store(most as u64, Relaxed);
        let mut set = Self { file, mapping, most, table: None, numbers: 0, used: 0 };
        set.table = Some(Table { number: 0, second: false, places: LEAST });
        set.follow(LEAST);
        Ok((set, for_others))
    }

    /// Adds a number, which may be there already: then it has to be removed as often.
    pub fn insert(&mut self, number: u64) {
        if self.table.is_some_and(|table| (self.used + 1) * 8 > table.places * 7) {
            let wanted = (self.numbers + 1) * 3 / 2;
            self.follow(wanted.next_power_of_two().max(LEAST));
        }
        let Some(table) = self.table else { return };
        let number = place_of(number);
        let words = &self.mapping.words()[table.words()];
        let free = path(words, number).find(|(_, word)| word.load(Relaxed) <= REMOVED);
        let Some((_, word)) = free else { return };
        self.used += usize::from(word.load(Relaxed) == NOTHING);
        self.numbers += 1;
        // Pairs with the loads in `contains`: who was told of it by somebody who was told here finds it.
        word.store(number, Release);
    }

    /// Takes a number out.
    pub fn remove(&mut self, number: u64) {
        let Some(table) = self.table else { return };
        let number = place_of(number);
        let words = &self.mapping.words()[table.words()];
        let mut found = path(words, number).take_while(|(_, word)| word.load(Relaxed) != NOTHING);
        let Some((at, word)) = found.find(|(_, word)| word.load(Relaxed) == number) else { return };
        self.numbers -= 1;
        let (mask, of) = (words.len() - 1, |index: usize| &words[index]);
        if of((at + 1) & mask).load(Relaxed) != NOTHING {
            // Somebody may have to pass here to what lies behind.
            return word.store(REMOVED, Release);
        }
        let mut last = at;
        loop {
            of(last).store(NOTHING, Release);
            self.used -= 1;
            last = last.wrapping_sub(1) & mask;
            if of(last).load(Relaxed) != REMOVED {
                break;
            }
        }
    }

    /// Says until which second of Unix time it holds without a change. Who keeps it may be stopped, or gone.
    pub fn hold_until(&self, second: u64) {
        self.mapping.words()[UNTIL].store(second, Relaxed);
    }

    /// Gives back what is not needed: of a table that has become too large, and what those who look have had the system fetch
    /// by reading where nothing is.
    pub fn tidy(&mut self) {
        let Some(table) = self.table else { return };
        if self.numbers < table.places / 8 && table.places > LEAST {
            self.follow((self.numbers * 2).next_power_of_two().max(LEAST));
        }
        let Some(table) = self.table else { return };
        let ((at, len), end) = (table.extent(), (4 * self.most * WORD) as u64);
        self.punch(HEADER, at);
        self.punch(at + len, end);
    }

    /// Gives these bytes of the file back. False where the system cannot.
    fn punch(&self, from: u64, to: u64) -> bool {
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        from == to || fs::fallocate(&self.file, hole, from, to - from).is_ok()
    }

    /// Bytes of memory behind it.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.table.map_or(0, |table| table.places * WORD)
    }

    /// Goes on with a table of this size.
    fn follow(&mut self, places: usize) {
        let Some(old) = self.table else { return };
        let next = Table { number: old.number + 1, second: !old.second, places };
        let (at, len) = next.extent();
        // Before anything is stored there: without memory a store would end the process.
        if places > self.most || fs::fallocate(&self.file, FallocateFlags::empty(), at, len).is_err() {
            self.mapping.words()[TABLE].store(0, Release);
            self.table = None;
        } else {
            let words = self.mapping.words();
            let table = &words[next.words()];
            let numbers = words[old.words()].iter().map(|word| word.load(Relaxed)).filter(|word| *word > REMOVED);
            for number in numbers {
                if let Some((_, free)) = path(table, number).find(|(_, word)| word.load(Relaxed) == NOTHING) {
                    free.store(number, Relaxed);
                }
            }
            self.used = self.numbers;
            // Pairs with the load in `contains`: who sees the table sees all of its numbers.
            words[TABLE].store(next.pack(), Release);
            self.table = Some(next);
        }
        // Pairs with the fence in `contains`: who sees the old table empty sees that it does not count any more.
        fence(Release);
        let (at, len) = old.extent();
        if !self.punch(at, at + len) {
            self.mapping.words()[old.words()].iter().for_each(|word| word.store(NOTHING, Relaxed));
        }
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Set").field("numbers", &self.numbers).field("table", &self.table).finish_non_exhaustive()
    }
}

/// The set as another process sees it.
pub struct View {
    mapping: Mapping,
    most: usize,
}

impl View {
    /// Maps what [`Set::create`] gave for others.
    ///
    /// # Errors
    /// [`Invalid`] for anything else.
    pub fn open(file: &OwnedFd) -> Result<Self, Invalid> {
        let size = sealed_size(file)?;
        let most = usize::try_from(size).map_err(|_| Invalid::Size(size))? / (4 * WORD);
        if !most.is_power_of_two() || !(LEAST..=LARGEST).contains(&most) || size != (4 * most * WORD) as u64 {
            return Err(Invalid::Size(size));
        }
        let mapping = Mapping::new(file, 4 * most * WORD, Access::Read, None)?;
        let [magic, version, places] = [0, 1, MOST].map(|index| mapping.words()[index].load(Relaxed));
        match (magic, version, places) == (MAGIC, VERSION, most as u64) {
            true => Ok(Self { mapping, most }),
            false => Err(Invalid::Header),
        }
    }

    /// Whether it is what it should be in this second of Unix time, whatever became of who keeps it.
    #[must_use]
    pub fn holds(&self, second: u64) -> bool {
        second <= self.mapping.words()[UNTIL].load(Relaxed)
    }

    /// Whether the number is there. `None`: that cannot be told from here.
    #[must_use]
    pub fn contains(&self, number: u64) -> Option<bool> {
        let words = self.mapping.words();
        let number = place_of(number);
        for _ in 0..TRIES {
            let counts = words[TABLE].load(Acquire);
            let table = Table::unpack(counts, self.most)?;
            let mut there = path(&words[table.words()], number).map(|(_, word)| word.load(Acquire));
            let found = there.find(|word| *word == number || *word == NOTHING) == Some(number);
            fence(Acquire);
            if words[TABLE].load(Relaxed) == counts {
                return Some(found);
            }
        }
        None
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("most", &self.most).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    fn set(numbers: usize) -> (Set, View) {
        let (set, file) = Set::create(numbers).expect("memory");
        let view = View::open(&file).expect("a set");
        (set, view)
    }

    proptest! {
        /// Few numbers, so that they meet; of which many fall on few places.
        #[test]
        fn what_was_added_and_not_removed_is_there(steps in prop::collection::vec((any::<bool>(), 0..900_u64), 0..4000)) {
            let (mut set, view) = set(1000);
            let mut model: HashMap<u64, usize> = HashMap::new();
            for (add, number) in steps {
                let number = (number % 300 + 4) | (number / 300) << 40;
                let count = model.entry(number).or_default();
                if add {
                    set.insert(number);
                    *count += 1;
                } else if *count > 0 {
                    set.remove(number);
                    *count -= 1;
                }
                prop_assert_eq!(view.contains(number), Some(*count > 0));
            }
            for (number, count) in model {
                prop_assert_eq!(view.contains(number), Some(count > 0));
            }
        }
    }

    #[test]
    fn it_grows_and_gives_memory_back() {
        let (mut set, view) = set(200_000);
        let number = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (0..100_000).for_each(|index| set.insert(number(index)));
        assert_eq!(set.allocated(), (1 << 17) * WORD);
        assert!((0..100_000).all(|index| view.contains(number(index)) == Some(true)));
        assert!((100_000..200_000).all(|index| view.contains(number(index)) == Some(false)));
        let kept = |set: &Set| fs::fstat(&set.file).expect("a file").st_blocks as usize * 512;
        assert!(kept(&set) <= set.allocated() + 8192, "{} of {}", kept(&set), set.allocated());
        // Whatever comes and goes: the traces do not fill it.
        for index in 0..1_000_000 {
            set.remove(number(index));
            set.insert(number(index + 100_000));
        }
        assert!(set.used < set.allocated() / WORD);
        assert!((1_000_000..1_100_000).all(|index| view.contains(number(index)) == Some(true)));
        (1_000_001..1_100_000).for_each(|index| set.remove(number(index)));
        // Somebody reads where nothing is.
        assert_eq!(view.mapping.words().iter().filter(|word| word.load(Relaxed) > REMOVED).count(), 4);
        assert!(kept(&set) > set.allocated() * 3);
        set.tidy();
        assert_eq!((set.allocated(), set.numbers, set.used), (LEAST * WORD, 1, 1));
        assert!(kept(&set) <= set.allocated() + 8192, "{} of {}", kept(&set), set.allocated());
        assert_eq!((view.contains(number(1_000_000)), view.contains(number(1_000_001))), (Some(true), Some(false)));
        set.remove(number(1_000_000));
        assert_eq!((set.numbers, set.used), (0, 0));
    }

    #[test]
    fn it_holds_until_the_second_that_was_said() {
        let (set, view) = set(100);
        assert!(!view.holds(1));
        set.hold_until(7);
        assert_eq!((view.holds(7), view.holds(8)), (true, false));
        set.hold_until(u64::MAX);
        assert!(view.holds(u64::MAX));
    }

    #[test]
    fn one_that_got_too_large_tells_nothing() {
        let (mut set, view) = set(100);
        (2..=448).for_each(|number| set.insert(number));
        assert_eq!(view.contains(448), Some(true));
        (449..1000).for_each(|number| set.insert(number));
        assert_eq!((view.contains(448), view.contains(1), set.allocated()), (None, None, 0));
        set.remove(448);
        set.insert(448);
        assert_eq!(view.contains(448), None);
    }

    #[test]
    fn who_looks_finds_what_stays_whatever_comes_and_goes() {
        let (mut set, view) = set(100_000);
        let stays = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 << 63;
        (0..100).for_each(|index| set.insert(stays(index)));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| {
                let mut looked = 0_u64;
                while !done.load(Acquire) || looked == 0 {
                    for index in 0..100 {
                        assert_ne!(view.contains(stays(index)), Some(false));
                        assert_ne!(view.contains(!stays(index) >> 1), Some(true));
                    }
                    looked += 1;
                }
                looked
            });
            // It grows, and becomes small again, ten times over.
            for round in 0..10_u64 {
                let number = |index: u64| (index * 10 + round).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1 | 1 << 62;
                (0..40_000).for_each(|index| set.insert(number(index)));
                (0..40_000).for_each(|index| set.remove(number(index)));
            }
            done.store(true, Release);
            assert!(looking.join().expect("no panic") > 0);
        });
    }

    #[test]
    fn others_cannot_write_and_nothing_else_is_taken_for_a_set() {
        let (_set, file) = Set::create(100).expect("memory");
        assert!(rustix::io::write(&file, b"x").is_err());
        assert!(matches!(Mapping::new(&file, 4 * LEAST * WORD, Access::Both, None), Err(rustix::io::Errno::ACCESS)));
        assert!(matches!(View::open(&tempfile::tempfile().expect("a file").into()), Err(Invalid::NotMemfd)));
        let other = memfd(c"other").expect("a memfd");
        assert!(matches!(View::open(&other), Err(Invalid::Unsealed)));
        fs::ftruncate(&other, (4 * LEAST * WORD) as u64).expect("memory");
        fs::fcntl_add_seals(&other, SEALS).expect("a memfd");
        assert!(matches!(View::open(&other), Err(Invalid::Header)));
    }
}
