//! One ring: one producer, one consumer, messages of bytes as frames of 8-byte words.
//!
//! What [`Producer::push`] has published, [`Consumer::next`] gives, whole and in order, whichever of the two processes
//! is killed in between. Both sides keep their own place and take everything they read from the other for input from a
//! stranger: it can name a nonsensical length, never make us leave the ring. This file waits for nothing and wakes
//! nobody; it says when somebody wants to be woken (`doorbell` does it).
//!
//! A frame is one word of header (low half: bytes in this frame; high half: bytes of the message that follow in later
//! frames, top bit: first frame of a message) and the bytes, padded to whole words. Positions count bytes since the ring
//! was made and never wrap; the place in the ring is the position modulo the capacity, a power of two.

use std::ops::Deref;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

// Words instead of bytes: every access is one atomic load or store, so that the other process changing the memory
// under us is defined behaviour, and the loom model runs the same lines.
#[cfg(all(test, loom))]
pub use loom::sync::atomic::{AtomicU64 as Word, fence};
#[cfg(not(all(test, loom)))]
pub use std::sync::atomic::{AtomicU64 as Word, fence};

const WORD: usize = 8;
/// In the upper half of a header: this frame begins a message.
const FIRST: u32 = 1 << 31;

// The control words of a ring, relative to `Layout::control`. Each of the three groups has cache lines of its own (two,
// because processors fetch them in pairs): the producer writes the first, the consumer the second, the third is quiet.
const HEAD: usize = 0;
const TAIL: usize = 16;
const WANT_DATA: usize = 32;
const WANT_ROOM: usize = 33;
/// Control words of one ring.
pub const CONTROL_WORDS: usize = 48;

/// Where a ring lies in its memory, in words from the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The first of [`CONTROL_WORDS`].
    pub control: usize,
    /// The first word of frames.
    pub data: usize,
    /// Bytes of frames; a power of two.
    pub capacity: usize,
}

impl Layout {
    /// The most bytes one frame carries. A message above it travels in several, so that the other side can work on the
    /// first part of the ring while the next is written.
    fn largest_frame(self) -> usize {
        self.capacity / 4 - WORD
    }

    /// Whether a message of `len` bytes passes through the ring piece by piece instead of lying in it as a whole.
    ///
    /// Of a message that does not stream the ring keeps everything until it was acted on, so it survives the consumer.
    #[must_use]
    pub fn streams(self, len: usize) -> bool {
        len > self.capacity / 2
    }
}

/// The other side wrote what the protocol does not allow; the ring is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// More is said to lie in the ring than fits, or a place moved backwards.
    #[error("its positions are impossible: head {head}, tail {tail}, capacity {capacity}")]
    Positions {
        /// Where the producer is.
        head: u64,
        /// Where the consumer is.
        tail: u64,
        /// Bytes of the ring.
        capacity: usize,
    },
    /// A frame reaches beyond what is published, or does not continue its message.
    #[error("the frame at {at} is impossible: {len} bytes, {rest} to follow")]
    Frame {
        /// Its position.
        at: u64,
        /// What it claims to carry.
        len: u32,
        /// What it claims will follow.
        rest: u32,
    },
}

fn padded(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Both positions as they stand in the memory, if they are possible: a side that takes over begins with them.
fn positions(memory: &[Word], layout: Layout) -> Result<(u64, u64), Corrupt> {
    // The tail first: it never passes the head, so the head read after it is not behind it.
    let tail = memory[layout.control + TAIL].load(Acquire);
    let head = memory[layout.control + HEAD].load(Acquire);
    check(head, tail, layout.capacity)?;
    Ok((head, tail))
}

fn check(head: u64, tail: u64, capacity: usize) -> Result<(), Corrupt> {
    let possible = head >= tail && head - tail <= capacity as u64 && (head | tail).is_multiple_of(WORD as u64);
    if possible { Ok(()) } else { Err(Corrupt::Positions { head, tail, capacity }) }
}

/// The words from position `at` on: up to the end of the ring, and from its beginning.
fn runs(memory: &[Word], layout: Layout, at: u64, words: usize) -> (&[Word], &[Word]) {
    let data = &memory[layout.data..layout.data + layout.capacity / WORD];
    let start = (at as usize & (layout.capacity - 1)) / WORD;
    let before_end = words.min(data.len() - start);
    (&data[start..start + before_end], &data[..words - before_end])
}

/// The side that writes.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    layout: Layout,
    head: u64,
    /// The tail as last read; the true one may be further.
    tail: u64,
}

impl<M: Deref<Target = [Word]>> Producer<M> {
    /// Takes over where the ring stands; a new ring is all zeros.
    ///
    /// # Errors
    /// [`Corrupt`] when no ring can stand like this.
    pub fn new(memory: M, layout: Layout) -> Result<Self, Corrupt> {
        let (head, tail) = positions(&memory, layout)?;
        Ok(Self { memory, layout, head, tail })
    }

    /// Where this ring lies.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes `message[*sent..]` as far as there is room and counts `sent` up; true once all of it is written.
    ///
    /// # Errors
    /// [`Corrupt`] when the consumer's place is impossible.
    pub fn push(&mut self, message: &[u8], sent: &mut usize) -> Result<bool, Corrupt> {
        debug_assert!(message.len() < FIRST as usize, "callers bound their messages far below");
        loop {
            let len = (message.len() - *sent).min(self.layout.largest_frame());
            if !self.has_room(WORD + padded(len))? {
                return Ok(false);
            }
            let rest = message.len() - *sent - len;
            let first = if *sent == 0 { FIRST } else { 0 };
            self.write(len as u32, rest as u32 | first, &message[*sent..*sent + len]);
            *sent += len;
            if rest == 0 {
                return Ok(true);
            }
        }
    }

    fn has_room(&mut self, bytes: usize) -> Result<bool, Corrupt> {
        if self.layout.capacity as u64 - (self.head - self.tail) < bytes as u64 {
            self.consumed()?;
        }
        Ok(self.layout.capacity as u64 - (self.head - self.tail) >= bytes as u64)
    }

    fn write(&mut self, len: u32, rest: u32, bytes: &[u8]) {
        let words = 1 + padded(bytes.len()) / WORD;
        let (run, wrapped) = runs(&self.memory, self.layout, self.head, words);
        let mut targets = run.iter().chain(wrapped);
        let mut put = |word: u64| {
            if let Some(target) = targets.next() {
                target.store(word, Relaxed);
            }
        };
        put(u64::from(len) | u64::from(rest) << 32);
        let (whole, end) = bytes.as_chunks::<WORD>();
        for chunk in whole {
            put(u64::from_ne_bytes(*chunk));
        }
        if !end.is_empty() {
            let mut last = [0; WORD];
            last[..end.len()].copy_from_slice(end);
            put(u64::from_ne_bytes(last));
        }
        self.head += (words * WORD) as u64;
        // Pairs with the Acquire load in `Consumer::next`: who sees the new head sees the frame.
        self.memory[self.layout.control + HEAD].store(self.head, Release);
    }

    /// Everything before this position was written.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Everything before this position was acted on by the consumer.
    ///
    /// # Errors
    /// [`Corrupt`] when that is impossible.
    pub fn consumed(&mut self) -> Result<u64, Corrupt> {
        // Pairs with the Release store in `Consumer::release`: it has read the words that we are about to reuse.
        let tail = self.memory[self.layout.control + TAIL].load(Acquire);
        if tail < self.tail {
            return Err(Corrupt::Positions { head: self.head, tail, capacity: self.layout.capacity });
        }
        check(self.head, tail, self.layout.capacity)?;
        self.tail = tail;
        Ok(tail)
    }

    /// Takes back what was written from `to` on and not consumed. Only for a ring without a consumer.
    ///
    /// # Errors
    /// [`Corrupt`] when the consumer's last place is impossible.
    pub fn retract(&mut self, to: u64) -> Result<(), Corrupt> {
        let consumed = self.consumed()?;
        self.head = self.head.min(to.max(consumed));
        // Pairs with the Acquire load in `positions` of the consumer that takes over.
        self.memory[self.layout.control + HEAD].store(self.head, Release);
        Ok(())
    }

    /// After pushing: whether the consumer sleeps and must be woken. It is said once per sleep.
    #[must_use]
    pub fn consumer_waits(&self) -> bool {
        taken(&self.memory[self.layout.control + WANT_DATA])
    }

    /// Asks to be woken when there is room. The caller must try to push once more before it sleeps.
    pub fn want_room(&self) {
        asked(&self.memory[self.layout.control + WANT_ROOM]);
    }
}

/// What [`Consumer::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Nothing more is published.
    Empty,
    /// A frame, but not the last of its message.
    Part,
    /// A message. It stays in the ring until [`Consumer::release`].
    Message(&'a [u8]),
    /// A message above the limit: its beginning, and how long it was.
    TooLong(&'a [u8], usize),
}

/// A message of which frames are missing.
#[derive(Debug)]
struct Partial {
    total: usize,
    missing: usize,
}

/// The side that reads.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    layout: Layout,
    /// Our place. The published tail follows it.
    at: u64,
    /// The head as last read and checked.
    head: u64,
    tail: u64,
    partial: Option<Partial>,
    /// Frames are copied out to here before anybody looks at them.
    message: Vec<u8>,
    /// Where that message began.
    begun: u64,
}

impl<M: Deref<Target = [Word]>> Consumer<M> {
    /// A buffer grown above this by one large message is given back.
    const KEPT_BUFFER: usize = 256 << 10;

    /// Takes over where the ring stands; a new ring is all zeros.
    ///
    /// # Errors
    /// [`Corrupt`] when no ring can stand like this.
    pub fn new(memory: M, layout: Layout) -> Result<Self, Corrupt> {
        let (head, tail) = positions(&memory, layout)?;
        Ok(Self { memory, layout, at: tail, head, tail, partial: None, message: Vec::new(), begun: tail })
    }

    /// Where this ring lies.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Everything before this position was read.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.at
    }

    /// The message that [`Self::next`] gave last, and where it began.
    #[must_use]
    pub fn message(&self) -> (&[u8], u64) {
        (&self.message, self.begun)
    }

    /// Reads one frame. A message above `limit` bytes is not kept, only passed over and reported.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer wrote nonsense.
    pub fn next(&mut self, limit: usize) -> Result<Next<'_>, Corrupt> {
        if self.at == self.head && !self.look()? {
            return Ok(Next::Empty);
        }
        let header = {
            let (run, _) = runs(&self.memory, self.layout, self.at, 1);
            run[0].load(Relaxed)
        };
        let (len, high) = (header as u32, (header >> 32) as u32);
        let (first, rest) = (high & FIRST != 0, (high & !FIRST) as usize);
        let bytes = len as usize;
        let impossible = Corrupt::Frame { at: self.at, len, rest: rest as u32 };
        if bytes > self.layout.largest_frame() || (WORD + padded(bytes)) as u64 > self.head - self.at {
            return Err(impossible);
        }
        if first {
            // A message that was begun and not ended: its producer gave up, nobody was told that it was sent.
            self.release();
            self.message.clear();
            if self.message.capacity() > Self::KEPT_BUFFER {
                self.message.shrink_to(Self::KEPT_BUFFER);
            }
            self.begun = self.at;
            self.partial = Some(Partial { total: bytes + rest, missing: bytes + rest });
        }
        let frame = self.at;
        self.at += (WORD + padded(bytes)) as u64;
        let Some(partial) = &mut self.partial else {
            // The end of a message whose beginning went to a consumer before us. Its producer knows.
            self.release();
            return Ok(Next::Part);
        };
        if bytes + rest != partial.missing {
            return Err(impossible);
        }
        partial.missing = rest;
        let (total, keep) = (partial.total, first || partial.total <= limit);
        if keep {
            copy_out(&self.memory, self.layout, frame + WORD as u64, bytes, &mut self.message);
        }
        if rest > 0 {
            if total > limit || self.layout.streams(total) {
                self.release();
            }
            return Ok(Next::Part);
        }
        self.partial = None;
        if total > limit { Ok(Next::TooLong(&self.message, total)) } else { Ok(Next::Message(&self.message)) }
    }

    /// Looks for new frames.
    fn look(&mut self) -> Result<bool, Corrupt> {
        // Pairs with the Release store in `Producer::write`.
        let head = self.memory[self.layout.control + HEAD].load(Acquire);
        if head < self.head {
            return Err(Corrupt::Positions { head, tail: self.at, capacity: self.layout.capacity });
        }
        check(head, self.tail, self.layout.capacity)?;
        self.head = head;
        Ok(head != self.at)
    }

    /// Publishes that everything read so far was acted on; the producer may reuse its place.
    pub fn release(&mut self) {
        if self.tail != self.at {
            self.tail = self.at;
            // Pairs with the Acquire load in `Producer::consumed`.
            self.memory[self.layout.control + TAIL].store(self.tail, Release);
        }
    }

    /// Asks to be woken by the next frame; false when there is one already.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer's place is impossible.
    pub fn want_data(&mut self) -> Result<bool, Corrupt> {
        let word = self.layout.control + WANT_DATA;
        asked(&self.memory[word]);
        let sleep = self.at == self.head && !self.look()?;
        if !sleep {
            self.awake();
        }
        Ok(sleep)
    }

    /// Takes back [`want_data`](Self::want_data): woken by something else, or not waiting any longer.
    pub fn awake(&self) {
        // Whether a producer has seen the wish makes no difference: a needless bell is allowed.
        self.memory[self.layout.control + WANT_DATA].swap(0, Relaxed);
    }

    /// After releasing: whether the producer waits for room and there is enough to be worth waking it.
    ///
    /// Enough is half the ring, so that producer and consumer do not wake each other for every frame; or everything,
    /// when the consumer has nothing left to read and is about to sleep (`idle`).
    #[must_use]
    pub fn producer_waits(&self, idle: bool) -> bool {
        let used = self.head - self.tail;
        (idle || used <= self.layout.capacity as u64 / 2) && taken(&self.memory[self.layout.control + WANT_ROOM])
    }
}

/// Appends `len` bytes of the ring from position `at` on.
fn copy_out(memory: &[Word], layout: Layout, at: u64, len: usize, into: &mut Vec<u8>) {
    let words = padded(len) / WORD;
    let (run, wrapped) = runs(memory, layout, at, words);
    let start = into.len();
    into.resize(start + words * WORD, 0);
    let (chunks, _) = into[start..].as_chunks_mut::<WORD>();
    for (chunk, word) in chunks.iter_mut().zip(run.iter().chain(wrapped)) {
        *chunk = word.load(Relaxed).to_ne_bytes();
    }
    into.truncate(start + len);
}

// The two halves of going to sleep. One side publishes (a head, a tail), then `taken`; the other `asked`, then looks
// again. The two fences make one of them see the other: either the wish is found, or what was published is.

fn asked(want: &Word) {
    // Wishes are only ever swapped: loom does not know that nothing can come between a swap and what it read, and would
    // let a plain store and a swap of the other side pass each other.
    want.swap(1, Relaxed);
    fence(SeqCst);
}

fn taken(want: &Word) -> bool {
    fence(SeqCst);
    // The load first, because it is nearly always zero and a swap would take the cache line.
    want.load(Relaxed) != 0 && want.swap(0, Relaxed) != 0
}
