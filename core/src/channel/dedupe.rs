//! Keys under which a channel takes one message only, so that a publisher whose call stayed open may call again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ChannelId;
use crate::log::Address;
use crate::message::Published;

type Key = (ChannelId, Arc<str>);

/// The keys of all channels, each for the same time.
#[derive(Debug, Default)]
pub(crate) struct Dedupe {
    /// With the place of its entry in the registry.
    results: HashMap<Key, (Published, Address)>,
    /// With the second in which it is forgotten, oldest first.
    order: VecDeque<(u32, Key)>,
    bytes: usize,
}

impl Dedupe {
    /// Bytes of memory behind it.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes
    }

    /// Bytes that one more key takes: its text with two counters, and its places.
    pub(crate) fn cost(key: &str) -> usize {
        key.len() + 16 + size_of::<(Key, (Published, Address))>() + size_of::<(u32, Key)>() + 8
    }

    /// What came of the message that was published under this key. Call [`Self::expire`] first.
    pub(crate) fn find(&self, channel: ChannelId, key: &str) -> Option<Published> {
        self.results.get(&(channel, Arc::from(key))).map(|(published, _)| *published)
    }

    /// Keys come in the order in which they expire.
    pub(crate) fn insert(
        &mut self,
        expires: u32,
        channel: ChannelId,
        key: &str,
        published: Published,
        record: Address,
    ) {
        let entry: Key = (channel, key.into());
        self.results.insert(entry.clone(), (published, record));
        self.order.push_back((expires, entry));
        self.bytes += Self::cost(key);
    }

    /// Forgets what is over by `now`, and gives the entries of it.
    pub(crate) fn expire(&mut self, now: u32, mut forgotten: impl FnMut(Address)) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            let Some((_, key)) = self.order.pop_front() else { break };
            self.bytes -= Self::cost(&key.1);
            if let Some((_, record)) = self.results.remove(&key) {
                forgotten(record);
            }
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            *self = Self::default();
        }
    }

    /// The registry moved an entry. False when it is none of ours.
    pub(crate) fn relocate(&mut self, channel: ChannelId, key: &str, from: Address, to: Address) -> bool {
        let found = self.results.get_mut(&(channel, Arc::from(key))).filter(|(_, record)| *record == from);
        found.map(|(_, record)| *record = to).is_some()
    }
}
