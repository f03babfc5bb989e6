//! The log: every message in position order, in segments of bytes.
//!
//! Channels keep addresses into it, readers copy records out. A segment is given back when none of its records is in a
//! channel's history any more, and rewritten without its dead records when most of it is dead. Which records are alive is
//! known by the histories alone: they call `release`, and `relocate` asks them.

use std::collections::{BTreeSet, VecDeque};

use crate::message::{Kind, Position};

/// Small enough that dropping the oldest one is a mild measure at the least `memory_limit` of 1 MB.
const SEGMENT: usize = 64 << 10;

/// Where a record lies. Later records have greater addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) segment: u32,
    offset: u32,
}

/// A message as it lies in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Slot of its channel; says nothing about whether the record is alive.
    pub(crate) slot: u32,
    pub(crate) id: u64,
    pub(crate) position: Position,
    pub(crate) kind: Kind,
    pub(crate) event: Option<&'a str>,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) payload: &'a [u8],
}

/// slot 4, id 8, time 4, tag 4, kind and presence of event and id 1, their lengths 2 + 2, payload length 4
const HEADER: usize = 29;
const JSON: u8 = 1;
const EVENT: u8 = 2;
const EVENT_ID: u8 = 4;

impl<'a> Record<'a> {
    pub(crate) fn len(&self) -> usize {
        HEADER + self.event.map_or(0, str::len) + self.event_id.map_or(0, str::len) + self.payload.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (event, event_id) = (self.event.unwrap_or_default(), self.event_id.unwrap_or_default());
        let mut flags = if self.kind == Kind::Json { JSON } else { 0 };
        flags |= if self.event.is_some() { EVENT } else { 0 };
        flags |= if self.event_id.is_some() { EVENT_ID } else { 0 };
        out.extend_from_slice(&self.slot.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.position.time.to_le_bytes());
        out.extend_from_slice(&self.position.tag.to_le_bytes());
        out.push(flags);
        out.extend_from_slice(&(event.len() as u16).to_le_bytes());
        out.extend_from_slice(&(event_id.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(event_id.as_bytes());
        out.extend_from_slice(self.payload);
    }

    fn decode(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (field, after) = rest.split_at(n);
            rest = after;
            field
        };
        let four = |field: &[u8]| u32::from_le_bytes([field[0], field[1], field[2], field[3]]);
        let slot = four(take(4));
        let id = u64::from(four(take(4))) | u64::from(four(take(4))) << 32;
        let position = Position { time: four(take(4)), tag: four(take(4)) };
        let flags = take(1)[0];
        let two = |field: &[u8]| usize::from(u16::from_le_bytes([field[0], field[1]]));
        let (event_len, id_len) = (two(take(2)), two(take(2)));
        let payload_len = four(take(4)) as usize;
        // `encode` wrote these from `str`s; an empty text in their place would only hide a broken log.
        let text = |field: &'a [u8]| std::str::from_utf8(field).unwrap_or("\u{fffd}");
        let event = text(take(event_len));
        let event_id = text(take(id_len));
        Self {
            slot,
            id,
            position,
            kind: if flags & JSON != 0 { Kind::Json } else { Kind::Bytes },
            event: (flags & EVENT != 0).then_some(event),
            event_id: (flags & EVENT_ID != 0).then_some(event_id),
            payload: take(payload_len),
        }
    }
}

#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Bytes of records that are in a history.
    live: usize,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Log {
    segments: VecDeque<Segment>,
    /// Number of `segments[0]`; the last one is the one that is written.
    first: u32,
    /// Sealed segments of which most is dead.
    sparse: BTreeSet<u32>,
    allocated: usize,
}

impl Log {
    /// Bytes held, dead ones included.
    pub(crate) fn allocated(&self) -> usize {
        self.allocated
    }

    /// Bytes that `append` may add to `allocated` for a record of this length.
    pub(crate) fn cost(&self, len: usize) -> usize {
        let fits = self.segments.back().is_some_and(|last| last.bytes.capacity() - last.bytes.len() >= len);
        if fits { 0 } else { len.max(SEGMENT) }
    }

    /// Appends the record. `live` says that a history will hold its address; a dead one can be read until its segment is tidied.
    pub(crate) fn append(&mut self, record: &Record<'_>, live: bool) -> Address {
        let len = record.len();
        let cost = self.cost(len);
        if cost > 0 {
            self.seal();
            self.allocated += cost;
            self.segments.push_back(Segment { bytes: Vec::with_capacity(cost), live: 0 });
        }
        let number = self.first + self.segments.len() as u32 - 1;
        let last = self.segments.len() - 1;
        let segment = &mut self.segments[last];
        let address = Address { segment: number, offset: segment.bytes.len() as u32 };
        record.encode(&mut segment.bytes);
        segment.live += if live { len } else { 0 };
        address
    }

    fn seal(&mut self) {
        if let Some(last) = self.segments.back()
            && last.live * 2 < last.bytes.len()
        {
            self.sparse.insert(self.first + self.segments.len() as u32 - 1);
        }
    }

    /// The record at an address that `append` gave; `None` when its segment is gone.
    pub(crate) fn read(&self, address: Address) -> Option<Record<'_>> {
        let segment = self.segments.get(address.segment.checked_sub(self.first)? as usize)?;
        Some(Record::decode(segment.bytes.get(address.offset as usize..)?))
    }

    /// The record is in no history any more.
    pub(crate) fn release(&mut self, address: Address) {
        let index = (address.segment - self.first) as usize;
        let sealed = index + 1 < self.segments.len();
        let segment = &mut self.segments[index];
        segment.live -= Record::decode(&segment.bytes[address.offset as usize..]).len();
        if sealed && segment.live * 2 < segment.bytes.len() {
            self.sparse.insert(address.segment);
        }
    }

    /// Drops or rewrites segments that are mostly dead and before `pinned` (some reader is still to copy from there on).
    /// `relocate` is told each record's old and new address and says whether the record is alive.
    pub(crate) fn tidy(
        &mut self,
        pinned: Option<u32>,
        mut relocate: impl FnMut(&Record<'_>, Address, Address) -> bool,
    ) {
        while let Some(&number) = self.sparse.first() {
            if pinned.is_some_and(|pinned| number >= pinned) {
                return;
            }
            self.sparse.pop_first();
            let index = (number - self.first) as usize;
            let old = std::mem::take(&mut self.segments[index]);
            self.allocated -= old.bytes.capacity();
            if old.live > 0 {
                let mut bytes = Vec::with_capacity(old.live);
                for_each_record(&old.bytes, |offset, record| {
                    let from = Address { segment: number, offset };
                    let to = Address { segment: number, offset: bytes.len() as u32 };
                    if relocate(record, from, to) {
                        record.encode(&mut bytes);
                    }
                });
                self.allocated += bytes.capacity();
                self.segments[index] = Segment { bytes, live: old.live };
            }
            self.drop_empty();
        }
    }

    /// Gives up the oldest segment, whatever it holds: `evicted` is told each record's address. False when there is none.
    pub(crate) fn evict(&mut self, mut evicted: impl FnMut(&Record<'_>, Address)) -> bool {
        let Some(segment) = self.segments.pop_front() else { return false };
        let number = self.first;
        self.first += 1;
        self.sparse.remove(&number);
        self.allocated -= segment.bytes.capacity();
        for_each_record(&segment.bytes, |offset, record| evicted(record, Address { segment: number, offset }));
        self.drop_empty();
        true
    }

    fn drop_empty(&mut self) {
        while self.segments.len() > 1 && self.segments[0].bytes.capacity() == 0 {
            self.segments.pop_front();
            self.first += 1;
        }
    }
}

fn for_each_record(bytes: &[u8], mut each: impl FnMut(u32, &Record<'_>)) {
    let mut offset = 0;
    while offset < bytes.len() {
        let record = Record::decode(&bytes[offset..]);
        each(offset as u32, &record);
        offset += record.len();
    }
}
