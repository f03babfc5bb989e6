//! What keeper and hub have in common in memory: the last position, and the signs of life that the keeper asks for.
//!
//! The keeper asks by a number that grows, and has the hub's threads woken; each part of the hub answers by storing the number
//! that it finds. So a busy hub answers in passing, and an idle one sleeps between two questions. What a hub that is killed
//! has stored stays; the next one begins anew but for the position.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

use crate::message::Position;
use crate::process::SharedNumbers;

const POSITION: usize = 0;
const ASKED: usize = 1;
const ENGINE: usize = 2;
const THREADS: usize = 3;
/// As many threads as `threads` allows.
const COUNT: usize = THREADS + 64;

/// What has to make progress in a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The critical section, and the main thread, which passes through it.
    Engine,
    /// An HTTP thread.
    Thread(u8),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.write_str("the engine"),
            Self::Thread(number) => write!(f, "HTTP thread {number}"),
        }
    }
}

impl Part {
    fn place(self) -> usize {
        match self {
            Self::Engine => ENGINE,
            Self::Thread(number) => THREADS + usize::from(number),
        }
    }
}

/// See the module. Relaxed throughout: each number is all that is told by it.
pub(crate) struct Vitals(SharedNumbers);

impl Vitals {
    /// The descriptor by which processes can [`Self::map`] them.
    pub(crate) fn create() -> io::Result<OwnedFd> {
        SharedNumbers::create(c"push-vitals", COUNT)
    }

    pub(crate) fn map(file: BorrowedFd<'_>) -> io::Result<Self> {
        SharedNumbers::map(file, COUNT).map(Self)
    }

    /// The last one that a hub has given.
    pub(crate) fn position(&self) -> Position {
        Position::unpack(self.0[POSITION].load(Relaxed))
    }

    pub(crate) fn set_position(&self, position: Position) {
        self.0[POSITION].store(position.pack(), Relaxed);
    }

    /// Asks all parts of the hub.
    pub(crate) fn ask(&self) {
        self.0[ASKED].fetch_add(1, Relaxed);
    }

    /// Answers for a part.
    pub(crate) fn answer(&self, part: Part) {
        self.0[part.place()].fetch_max(self.0[ASKED].load(Relaxed), Relaxed);
    }

    /// Answers all questions to come: this hub is ending, and has a deadline of its own.
    pub(crate) fn answer_for_ever(&self) {
        self.0[ENGINE..].iter().for_each(|answer| answer.store(u64::MAX, Relaxed));
    }

    /// A part that has not answered, of a hub with so many threads.
    pub(crate) fn silent(&self, threads: usize) -> Option<Part> {
        let asked = self.0[ASKED].load(Relaxed);
        let mut parts = std::iter::once(Part::Engine).chain((0..threads as u8).map(Part::Thread));
        parts.find(|part| self.0[part.place()].load(Relaxed) < asked)
    }

    /// Nothing was asked, and nothing answered. Only while there is no hub.
    pub(crate) fn begin_anew(&self) {
        self.0[ASKED..].iter().for_each(|number| number.store(0, Relaxed));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn who_does_not_answer_is_named_until_it_does() {
        let file = Vitals::create().unwrap();
        let (keeper, hub) = (Vitals::map(file.as_fd()).unwrap(), Vitals::map(file.as_fd()).unwrap());
        assert_eq!(keeper.silent(2), None);
        keeper.ask();
        assert_eq!(keeper.silent(2), Some(Part::Engine));
        hub.answer(Part::Engine);
        hub.answer(Part::Thread(0));
        assert_eq!(keeper.silent(2), Some(Part::Thread(1)));
        assert_eq!(keeper.silent(1), None);
        hub.answer(Part::Thread(1));
        assert_eq!(keeper.silent(2), None);
        hub.answer_for_ever();
        keeper.ask();
        hub.answer(Part::Thread(0));
        assert_eq!(keeper.silent(64), None);
        keeper.begin_anew();
        keeper.ask();
        assert_eq!(keeper.silent(64), Some(Part::Engine));
    }
}
