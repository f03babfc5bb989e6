//! A channel's index into the log: the stored messages in position order, and since when they are complete.
//!
//! It never touches the log. What it removes is returned, so that the owner of both releases the record.

use std::collections::VecDeque;

use crate::log::Address;
use crate::message::Position;

/// One stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) address: Address,
    /// The second from which it is no longer delivered.
    pub(crate) expires: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    entries: VecDeque<Entry>,
    /// Everything stored after this position is in `entries`.
    complete_since: Position,
    /// No entry expires before this second.
    next_expiry: u32,
}

impl History {
    /// An empty one. `complete_since`: the watermark of what earlier channels of this name may have held.
    pub(crate) fn new(complete_since: Position) -> Self {
        Self { entries: VecDeque::new(), complete_since, next_expiry: u32::MAX }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of memory behind it.
    pub(crate) fn allocated(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// Whether a subscriber that has everything up to `after` can be given all that it misses.
    pub(crate) fn complete_after(&self, after: Position) -> bool {
        after.time == 0 || after >= self.complete_since
    }

    /// The position up to which messages may have been removed.
    pub(crate) fn complete_since(&self) -> Position {
        self.complete_since
    }

    /// Something may be missing up to this position.
    pub(crate) fn lose(&mut self, up_to: Position) {
        self.complete_since = self.complete_since.max(up_to);
    }

    /// Nothing can be missing after this position.
    pub(crate) fn limit(&mut self, head: Position) {
        self.complete_since = self.complete_since.min(head);
    }

    /// No entry expires before this second; `u32::MAX` without entries.
    pub(crate) fn next_expiry(&self) -> u32 {
        self.next_expiry
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.capacity() == 0 {
            // Left alone it would take room for four, and many channels never hold more than one.
            self.entries.reserve_exact(1);
        }
        self.next_expiry = self.next_expiry.min(entry.expires);
        self.entries.push_back(entry);
    }

    /// What is stored after the position, oldest first.
    pub(crate) fn after(&self, after: Position) -> impl DoubleEndedIterator<Item = Entry> {
        let from = self.entries.partition_point(|entry| entry.position <= after);
        self.entries.range(from..).copied()
    }

    /// The newest `count`, oldest first.
    pub(crate) fn newest(&self, count: usize) -> impl DoubleEndedIterator<Item = Entry> {
        self.entries.range(self.entries.len().saturating_sub(count)..).copied()
    }

    pub(crate) fn pop_oldest(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front()?;
        self.complete_since = self.complete_since.max(entry.position);
        if self.entries.is_empty() {
            self.next_expiry = u32::MAX;
        }
        if self.entries.capacity() > 32 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
        Some(entry)
    }

    /// Removes what has expired by `now`, wherever it stands: messages may have their own ttl. `removed` is told each entry,
    /// and what [`Self::complete_since`] is without it.
    pub(crate) fn expire(&mut self, now: u32, mut removed: impl FnMut(Entry, Position)) {
        while self.entries.front().is_some_and(|entry| entry.expires <= now)
            && let Some(entry) = self.pop_oldest()
        {
            removed(entry, self.complete_since);
        }
        if self.next_expiry > now {
            return;
        }
        let mut next_expiry = u32::MAX;
        let mut complete_since = self.complete_since;
        self.entries.retain(|entry| {
            let keep = entry.expires > now;
            if keep {
                next_expiry = next_expiry.min(entry.expires);
            } else {
                complete_since = complete_since.max(entry.position);
                removed(*entry, complete_since);
            }
            keep
        });
        (self.next_expiry, self.complete_since) = (next_expiry, complete_since);
    }

    /// The log moved a record. False when it is none of ours.
    pub(crate) fn relocate(&mut self, position: Position, from: Address, to: Address) -> bool {
        let found = self.entries.binary_search_by_key(&position, |entry| entry.position);
        let Some(entry) = found.ok().map(|index| &mut self.entries[index]).filter(|entry| entry.address == from) else {
            return false;
        };
        entry.address = to;
        true
    }

    /// The log gave up the record at this address, which can only be our oldest.
    pub(crate) fn evict(&mut self, address: Address) {
        if self.entries.front().is_some_and(|entry| entry.address == address) {
            self.pop_oldest();
        }
    }
}
