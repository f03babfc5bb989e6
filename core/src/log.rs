//! The log: every message in position order, in segments of bytes.
//!
//! Channels keep addresses into it, readers copy records out. A segment is given back when none of its records is in a
//! channel's history any more, and rewritten without its dead records when most of it is dead. Which records are alive is
//! known by the histories alone: they call `release`, and `relocate` asks them.
//!
//! The segments are extents of the journal, so the next hub finds them: [`Log::restore`]. Each record carries a checksum
//! over what never changes of it and the number of its segment, so that neither a record that was being written nor an
//! older one in reused memory is taken for one. A record that is released is marked dead where it lies. The channels and
//! keys of [`crate::registry`] lie in a second log of the same form, whose order means nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{Ordering, compiler_fence};

use xxhash_rust::xxh3::xxh3_64;

use crate::journal::{Class, Extent, Found, PAGE, Region};
use crate::message::{Kind, Position};

/// Small enough that dropping the oldest one is a mild measure at the least `memory_limit` of 1 MB.
pub(crate) const SEGMENT: usize = 64 << 10;

/// Where a record lies. Later records have greater addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// A message as it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Slot of its channel; says nothing about whether the record is alive.
    pub(crate) slot: u32,
    /// Tells its channel from others that had the slot.
    pub(crate) birth: u32,
    pub(crate) id: u64,
    pub(crate) position: Position,
    /// The second from which it is no longer delivered.
    pub(crate) expires: u32,
    pub(crate) kind: Kind,
    pub(crate) event: Option<&'a str>,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) payload: &'a [u8],
}

/// slot 4, birth 4, id 8, time 4, tag 4, expiry 4, payload length 4, lengths of event and id 2 + 2, kind and presence of both 1
const FIELDS: usize = 37;
const JSON: u8 = 1;
const EVENT: u8 = 2;
const EVENT_ID: u8 = 4;

impl<'a> Record<'a> {
    fn bytes(&self) -> usize {
        FIELDS + self.event.map_or(0, str::len) + self.event_id.map_or(0, str::len) + self.payload.len()
    }

    /// Bytes it takes in the log.
    pub(crate) fn len(&self) -> usize {
        frame(self.bytes(), 0)
    }

    fn encode(&self, out: &mut [u8]) {
        let (event, event_id) = (self.event.unwrap_or_default(), self.event_id.unwrap_or_default());
        let mut flags = if self.kind == Kind::Json { JSON } else { 0 };
        flags |= if self.event.is_some() { EVENT } else { 0 };
        flags |= if self.event_id.is_some() { EVENT_ID } else { 0 };
        let (fields, mut rest) = out.split_at_mut(FIELDS);
        fields[0..4].copy_from_slice(&self.slot.to_le_bytes());
        fields[4..8].copy_from_slice(&self.birth.to_le_bytes());
        fields[8..16].copy_from_slice(&self.id.to_le_bytes());
        fields[16..20].copy_from_slice(&self.position.time.to_le_bytes());
        fields[20..24].copy_from_slice(&self.position.tag.to_le_bytes());
        fields[24..28].copy_from_slice(&self.expires.to_le_bytes());
        fields[28..32].copy_from_slice(&(self.payload.len() as u32).to_le_bytes());
        fields[32..34].copy_from_slice(&(event.len() as u16).to_le_bytes());
        fields[34..36].copy_from_slice(&(event_id.len() as u16).to_le_bytes());
        fields[36] = flags;
        for part in [event.as_bytes(), event_id.as_bytes(), self.payload] {
            let (place, after) = rest.split_at_mut(part.len());
            place.copy_from_slice(part);
            rest = after;
        }
    }

    /// `None` for what `encode` cannot have written.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (fields, rest) = bytes.split_first_chunk::<FIELDS>()?;
        let four = |at: usize| u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
        let two = |at: usize| usize::from(u16::from_le_bytes([fields[at], fields[at + 1]]));
        let flags = fields[36];
        let (event, rest) = rest.split_at_checked(two(32))?;
        let (event_id, rest) = rest.split_at_checked(two(34))?;
        let event = std::str::from_utf8(event).ok()?;
        let event_id = std::str::from_utf8(event_id).ok()?;
        Some(Self {
            slot: four(0),
            birth: four(4),
            id: u64::from(four(8)) | u64::from(four(12)) << 32,
            position: Position { time: four(16), tag: four(20) },
            expires: four(24),
            kind: if flags & JSON != 0 { Kind::Json } else { Kind::Bytes },
            event: (flags & EVENT != 0).then_some(event),
            event_id: (flags & EVENT_ID != 0).then_some(event_id),
            payload: rest.get(..four(28) as usize)?,
        })
    }
}

// A record in its segment: length of all of it 4 (a multiple of 8; see the bits), checksum 4, the record, padding. In a
// record that has some, words that may change follow the padding; they are not in the checksum.
const HEADER: usize = 8;
const DEAD: u32 = 1 << 31;
const CHANGES: u32 = 1;
/// Words that may change of a record that has some.
pub(crate) const WORDS: usize = 3;

/// Bytes of a record with so many bytes and changing words.
fn frame(bytes: usize, words: usize) -> usize {
    (HEADER + bytes).next_multiple_of(8) + words * 8
}

/// A record's header, as far as its segment can hold it.
#[derive(Clone, Copy)]
struct Frame {
    len: usize,
    dead: bool,
    changes: bool,
    check: u32,
}

impl Frame {
    fn at(bytes: &[u8], offset: usize) -> Option<Self> {
        let header: [u8; HEADER] = *bytes.get(offset..)?.first_chunk()?;
        let word = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let check = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
        let (dead, changes, len) = (word & DEAD != 0, word & CHANGES != 0, (word & !(DEAD | CHANGES)) as usize);
        let least = HEADER + if changes { WORDS * 8 } else { 0 };
        let possible = len.is_multiple_of(8) && len >= least && len <= bytes.len() - offset;
        possible.then_some(Self { len, dead, changes, check })
    }

    /// What never changes of the record.
    fn fixed(self, bytes: &[u8], offset: usize) -> &[u8] {
        &bytes[offset + HEADER..offset + self.len - if self.changes { WORDS * 8 } else { 0 }]
    }

    /// Where its changing words are.
    fn words(self, offset: usize) -> usize {
        offset + self.len - WORDS * 8
    }
}

/// With the segment's number, so that a record of another segment, in memory that was used before, is never taken for one.
fn checksum(fixed: &[u8], segment: u32) -> u32 {
    xxh3_64(fixed) as u32 ^ segment
}

struct Segment {
    number: u32,
    /// `None` when it is gone and older ones are not.
    extent: Option<Extent>,
    used: usize,
    /// Bytes of records that are alive.
    live: usize,
}

impl Segment {
    fn bytes(&self) -> &[u8] {
        self.extent.as_ref().map_or(&[], |extent| &extent[..self.used])
    }

    fn capacity(&self) -> usize {
        self.extent.as_ref().map_or(0, |extent| extent.len())
    }

    fn sparse(&self) -> bool {
        self.live * 2 < self.used && self.live.div_ceil(PAGE) * PAGE < self.capacity()
    }
}

/// See the module.
pub(crate) struct Log {
    region: Arc<Region>,
    class: Class,
    /// In the order of their numbers; the last one is the one that is written.
    segments: VecDeque<Segment>,
    /// How many of them are gone.
    gone: usize,
    /// Number of the next one.
    next: u32,
    /// Sealed segments of which most is dead, but not all.
    sparse: BTreeSet<u32>,
    /// Sealed segments of which all is dead.
    dead: BTreeSet<u32>,
    allocated: usize,
    live: usize,
}

/// So many segments may be gone, and as many as are there, before they are taken out from between the others: as long as none
/// was, a number says where its segment is.
const GONE: usize = 64;

impl Log {
    /// Takes over the segments of this class. Their records are dead until they are revived.
    /// The flag says that something is there that is no segment.
    pub(crate) fn restore(region: Arc<Region>, class: Class, found: &mut Vec<Found>) -> (Self, bool) {
        let mut mine: Vec<Found> = found.extract_if(.., |found| found.class == class).collect();
        // Of a segment that was being rewritten there may be two; the smaller one is the new one, and whole.
        mine.sort_by_key(|found| (found.number, found.extent.len()));
        let mut log = Self {
            region,
            class,
            segments: VecDeque::new(),
            gone: 0,
            next: 0,
            sparse: BTreeSet::new(),
            dead: BTreeSet::new(),
            allocated: 0,
            live: 0,
        };
        let (mut damaged, mut last) = (false, None);
        for Found { number, extent, .. } in mine {
            if last == Some(number) {
                extent.free();
                continue;
            }
            // The map has no checksum, and the number decides which other segments can have been there. The first record
            // proves it; where that is damaged, all that follows it is lost anyway.
            let proven = Frame::at(&extent, 0).map(|frame| checksum(frame.fixed(&extent, 0), number) == frame.check);
            if proven != Some(true) {
                let empty = proven.is_none() && extent.get(..4) == Some(&[0; 4][..]);
                damaged |= !empty;
                last = if empty { Some(number) } else { last };
                extent.free();
                continue;
            }
            last = Some(number);
            log.allocated += extent.len();
            log.next = number.saturating_add(1);
            log.segments.push_back(Segment { number, extent: Some(extent), used: 0, live: 0 });
        }
        (log, damaged)
    }

    /// Goes through all records that are whole and not dead, in order, after [`Self::restore`]. `revived` is told each
    /// one's content, its changing words and its address, and says whether it is alive. False when some segment was
    /// damaged and what follows there is lost: a record that was being written is no damage, its header comes last. `alive`
    /// is called all the while.
    pub(crate) fn revive(
        &mut self,
        alive: &dyn Fn(),
        mut revived: impl FnMut(&[u8], Option<[u64; WORDS]>, Address) -> bool,
    ) -> bool {
        let mut whole = true;
        let last = self.segments.len().saturating_sub(1);
        for segment in &mut self.segments {
            alive();
            let number = segment.number;
            let Some(extent) = &mut segment.extent else { continue };
            let mut offset = 0;
            loop {
                let Some(frame) = Frame::at(extent, offset) else {
                    // The end of what was written, unless something is left there that is no length.
                    whole &= extent.get(offset..offset + 4).is_none_or(|word| word == [0; 4]);
                    break;
                };
                let fixed = frame.fixed(extent, offset);
                if checksum(fixed, number) != frame.check {
                    whole = false;
                    break;
                }
                if !frame.dead {
                    let address = Address { segment: number, offset: offset as u32 };
                    let words = frame.changes.then(|| words(extent, frame.words(offset)));
                    if revived(fixed, words, address) {
                        segment.live += frame.len;
                        self.live += frame.len;
                    } else {
                        kill(extent, offset);
                    }
                }
                offset += frame.len;
            }
            segment.used = offset;
            // What is cut off here must not come back behind a shorter record. Mostly there is nothing to be saved for it.
            let cut = offset..extent.len();
            if extent[cut.clone()].iter().any(|byte| *byte != 0) {
                extent.bytes_mut(cut).fill(0);
            }
        }
        (0..last).for_each(|index| self.look_at(index));
        whole
    }

    /// Where the segment of this number is.
    fn index(&self, number: u32) -> Option<usize> {
        let first = self.segments.front()?.number;
        let guess = number.checked_sub(first)? as usize;
        match self.segments.get(guess) {
            Some(segment) if segment.number == number => Some(guess),
            _ => self.segments.binary_search_by_key(&number, |segment| segment.number).ok(),
        }
    }

    /// Notes a sealed segment that is worth tidying.
    fn look_at(&mut self, index: usize) {
        let segment = &self.segments[index];
        let number = segment.number;
        if segment.extent.is_none() {
            return;
        }
        if segment.live == 0 {
            self.sparse.remove(&number);
            self.dead.insert(number);
        } else if segment.sparse() {
            self.sparse.insert(number);
        }
    }

    /// Bytes held, dead ones included.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated
    }

    /// Bytes that `append` may add to `allocated` for a record of this length, pages that are kept for it left out.
    pub(crate) fn cost(&self, len: usize) -> usize {
        let fits = self.segments.back().is_some_and(|last| last.capacity() - last.used >= len);
        let bytes = len.max(SEGMENT).next_multiple_of(PAGE);
        if fits || self.region.keeps(bytes) { 0 } else { bytes }
    }

    /// Whether the journal has a place for a record of this length.
    pub(crate) fn has_place(&self, len: usize) -> bool {
        let fits = self.segments.back().is_some_and(|last| last.capacity() - last.used >= len);
        fits || self.next_number().is_some() && self.region.has_place(len.max(SEGMENT).next_multiple_of(PAGE))
    }

    /// Appends the message. `live` says that a history will hold its address; a dead one can be read until its segment is
    /// tidied. `None`: the journal has no place for it.
    pub(crate) fn append(&mut self, record: &Record<'_>, live: bool) -> Option<Address> {
        self.append_with(record.bytes(), None, live, |out| record.encode(out))
    }

    /// The same for any record of `bytes` bytes, which `write` writes, with words that may change later.
    pub(crate) fn append_with(
        &mut self,
        bytes: usize,
        changing: Option<[u64; WORDS]>,
        live: bool,
        write: impl FnOnce(&mut [u8]),
    ) -> Option<Address> {
        let len = frame(bytes, changing.map_or(0, |words| words.len()));
        if self.segments.back().is_none_or(|last| last.capacity() - last.used < len) {
            self.begin_segment(len)?;
        }
        let segment = self.segments.back_mut()?;
        let number = segment.number;
        let extent = segment.extent.as_mut()?;
        let offset = segment.used;
        // In memory that was used before, something else may stand behind.
        let behind = (offset + len + 4).min(extent.len());
        let place = extent.bytes_mut(offset..behind);
        let fixed = len - changing.map_or(0, |words| words.len() * 8);
        let (content, padding) = place[HEADER..fixed].split_at_mut(bytes);
        write(content);
        padding.fill(0);
        for (at, word) in (fixed..).step_by(8).zip(changing.into_iter().flatten()) {
            place[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let mut head = len as u32 | if changing.is_some() { CHANGES } else { 0 };
        head |= if live { 0 } else { DEAD };
        let check = checksum(&place[HEADER..fixed], number);
        place[len..].fill(0);
        // Last and in one: from here on the next hub finds the record.
        compiler_fence(Ordering::Release);
        let header = u64::from(head) | u64::from(check) << 32;
        place[..HEADER].copy_from_slice(&header.to_le_bytes());
        segment.used += len;
        if live {
            segment.live += len;
            self.live += len;
        }
        Some(Address { segment: number, offset: offset as u32 })
    }

    /// What the next segment is called. After hundreds of terabytes there are no numbers until the log is empty.
    fn next_number(&self) -> Option<u32> {
        if self.segments.is_empty() && self.next > u32::MAX / 2 {
            return Some(0);
        }
        (self.next < u32::MAX).then_some(self.next)
    }

    fn begin_segment(&mut self, len: usize) -> Option<()> {
        let number = self.next_number()?;
        let mut extent = self.region.allocate(len.max(SEGMENT))?;
        extent.bytes_mut(0..4).fill(0);
        extent.commit(self.class, number);
        self.allocated += extent.len();
        self.next = number + 1;
        self.segments.push_back(Segment { number, extent: Some(extent), used: 0, live: 0 });
        if let Some(sealed) = self.segments.len().checked_sub(2) {
            self.look_at(sealed);
        }
        Some(())
    }

    /// The record at an address that `append` gave; `None` when its segment is gone.
    pub(crate) fn read(&self, address: Address) -> Option<Record<'_>> {
        let (frame, bytes) = self.frame(address)?;
        Record::decode(frame.fixed(bytes, address.offset as usize))
    }

    /// Bytes that this record takes; 0 when its segment is gone.
    pub(crate) fn len_at(&self, address: Address) -> usize {
        self.frame(address).map_or(0, |(frame, _)| frame.len)
    }

    fn frame(&self, address: Address) -> Option<(Frame, &[u8])> {
        let bytes = self.segments[self.index(address.segment)?].bytes();
        Some((Frame::at(bytes, address.offset as usize)?, bytes))
    }

    /// Sets words of the record that may change, from the first.
    pub(crate) fn set_words(&mut self, address: Address, values: &[u64]) {
        let Some(index) = self.index(address.segment) else { return };
        let (Some(extent), offset) = (&mut self.segments[index].extent, address.offset as usize) else { return };
        let Some(frame) = Frame::at(extent, offset) else { return };
        let at = frame.words(offset);
        let (words, _) = extent.bytes_mut(at..at + values.len() * 8).as_chunks_mut();
        for (word, value) in words.iter_mut().zip(values) {
            // Aligned, so whole or not at all when the hub is killed here.
            *word = value.to_le_bytes();
        }
    }

    /// The record is in no history any more.
    pub(crate) fn release(&mut self, address: Address) {
        let Some(index) = self.index(address.segment) else { return };
        let sealed = index + 1 < self.segments.len();
        let segment = &mut self.segments[index];
        let Some(extent) = &mut segment.extent else { return };
        let len = kill(extent, address.offset as usize);
        segment.live -= len;
        self.live -= len;
        if sealed {
            self.look_at(index);
        }
    }

    /// Gives back segments of which all is dead, those before `pinned`.
    fn drop_dead(&mut self, pinned: Option<u32>) {
        while let Some(&number) = self.dead.first()
            && pinned.is_none_or(|pinned| number < pinned)
        {
            self.dead.pop_first();
            let Some(index) = self.index(number) else { continue };
            self.segments[index].used = 0;
            if let Some(extent) = self.segments[index].extent.take() {
                self.allocated -= extent.len();
                extent.free();
                self.gone += 1;
            }
            self.drop_gone();
        }
    }

    /// Whether so much is dead that what is alive is worth moving: where the oldest die first, a segment that is mostly dead
    /// is soon all dead.
    fn wasteful(&self) -> bool {
        self.allocated > self.live + self.live / 2 + 2 * SEGMENT
    }

    /// Whether [`Self::tidy`] has something to do.
    pub(crate) fn is_untidy(&self) -> bool {
        !self.dead.is_empty() || (!self.sparse.is_empty() && self.wasteful())
    }

    /// Drops segments that are dead and, where much is, rewrites those that are mostly dead, as far as they are before
    /// `pinned` (some reader is still to copy from there on). `relocate` is told each record's content, its old and its new
    /// address, and says whether the record is alive.
    pub(crate) fn tidy(&mut self, pinned: Option<u32>, mut relocate: impl FnMut(&[u8], Address, Address) -> bool) {
        self.drop_dead(pinned);
        while self.wasteful()
            && let Some(&number) = self.sparse.first()
            && pinned.is_none_or(|pinned| number < pinned)
        {
            let Some(index) = self.index(number) else { return };
            let Segment { extent, used, live, .. } = &mut self.segments[index];
            let Some(mut new) = self.region.allocate(*live) else { return };
            self.sparse.pop_first();
            let Some(old) = extent.take() else { continue };
            let mut end = 0;
            for_each_record(&old, *used, |offset, frame, bytes| {
                let (from, to) = (offset..offset + frame.len, end..end + frame.len);
                let at = |offset: usize| Address { segment: number, offset: offset as u32 };
                if relocate(frame.fixed(bytes, offset), at(offset), at(end)) {
                    new.bytes_mut(to).copy_from_slice(&bytes[from]);
                    end += frame.len;
                }
            });
            let rest = end..new.len();
            new.bytes_mut(rest).fill(0);
            new.commit(self.class, number);
            self.allocated = self.allocated + new.len() - old.len();
            self.live = self.live + end - *live;
            (*extent, *used, *live) = (Some(new), end, end);
            old.free();
        }
    }

    /// Like [`Self::tidy`], for a log whose order means nothing: what is alive moves to the end, so that old segments go.
    pub(crate) fn gather(&mut self, mut relocate: impl FnMut(&[u8], Address, Address) -> bool) {
        self.drop_dead(None);
        while self.wasteful()
            // What is alive of a segment fits into another.
            && self.region.has_place(SEGMENT)
            && let Some(number) = self.sparse.pop_first()
        {
            let Some(index) = self.index(number) else { continue };
            let used = self.segments[index].used;
            let Some(old) = self.segments[index].extent.take() else { continue };
            self.allocated -= old.len();
            for_each_record(&old, used, |offset, frame, bytes| {
                let fixed = frame.fixed(bytes, offset);
                let changing = frame.changes.then(|| words(bytes, frame.words(offset)));
                let from = Address { segment: number, offset: offset as u32 };
                let moved = self.append_with(fixed.len(), changing, true, |out| out.copy_from_slice(fixed));
                if let Some(to) = moved
                    && !relocate(fixed, from, to)
                {
                    self.release(to);
                }
            });
            // Only behind it something was added.
            let segment = &mut self.segments[index];
            self.live -= segment.live;
            (segment.used, segment.live) = (0, 0);
            old.free();
            self.gone += 1;
            self.drop_gone();
        }
    }

    /// Gives up the oldest segment, whatever it holds: `evicted` is told each record's address. False when there is none.
    pub(crate) fn evict(&mut self, mut evicted: impl FnMut(&Record<'_>, Address)) -> bool {
        let Some(segment) = self.segments.pop_front() else { return false };
        let number = segment.number;
        self.sparse.remove(&number);
        self.dead.remove(&number);
        self.live -= segment.live;
        if let Some(extent) = segment.extent {
            self.allocated -= extent.len();
            for_each_record(&extent, segment.used, |offset, frame, bytes| {
                if let Some(record) = Record::decode(frame.fixed(bytes, offset)) {
                    evicted(&record, Address { segment: number, offset: offset as u32 });
                }
            });
            extent.free();
        }
        self.drop_gone();
        true
    }

    /// The last one is never gone.
    fn drop_gone(&mut self) {
        while self.segments.front().is_some_and(|segment| segment.extent.is_none()) {
            self.segments.pop_front();
            self.gone -= 1;
        }
        // An old message that lives on must not hold a place for all that came and went after it.
        if self.gone > GONE + self.segments.len() / 2 {
            self.segments.retain(|segment| segment.extent.is_some());
            self.gone = 0;
        }
    }
}

/// Writes a record as it would stand in the segment of this number; where the next one goes. For tests of what strangers
/// can put there.
#[cfg(any(test, fuzzing))]
pub(crate) fn forge(
    bytes: &mut [u8],
    offset: usize,
    number: u32,
    content: &[u8],
    changing: Option<[u64; WORDS]>,
) -> Option<usize> {
    let len = frame(content.len(), changing.map_or(0, |words| words.len()));
    let place = bytes.get_mut(offset..offset + len)?;
    let fixed = len - changing.map_or(0, |words| words.len() * 8);
    place[HEADER..HEADER + content.len()].copy_from_slice(content);
    place[HEADER + content.len()..fixed].fill(0);
    for (at, word) in (fixed..).step_by(8).zip(changing.into_iter().flatten()) {
        place[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let head = len as u32 | if changing.is_some() { CHANGES } else { 0 };
    let check = checksum(&place[HEADER..fixed], number);
    place[..HEADER].copy_from_slice(&(u64::from(head) | u64::from(check) << 32).to_le_bytes());
    Some(offset + len)
}

#[cfg(any(test, fuzzing))]
impl Record<'_> {
    /// What [`forge`] takes.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.bytes()];
        self.encode(&mut content);
        content
    }
}

/// Marks a record dead and gives its length.
fn kill(extent: &mut Extent, offset: usize) -> usize {
    let Some(frame) = Frame::at(extent, offset) else { return 0 };
    // The highest byte of the length.
    extent.bytes_mut(offset + 3..offset + 4)[0] |= (DEAD >> 24) as u8;
    if frame.dead { 0 } else { frame.len }
}

fn words(bytes: &[u8], at: usize) -> [u64; WORDS] {
    std::array::from_fn(|index| {
        let at = at + index * 8;
        bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
    })
}

fn for_each_record(bytes: &[u8], used: usize, mut each: impl FnMut(usize, Frame, &[u8])) {
    let mut offset = 0;
    while let Some(frame) = Frame::at(&bytes[..used], offset) {
        if !frame.dead {
            each(offset, frame, bytes);
        }
        offset += frame.len;
    }
}
