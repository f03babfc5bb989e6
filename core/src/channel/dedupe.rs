//! Keys under which a channel takes one message only, so that a publisher whose call stayed open may call again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::ChannelId;
use crate::message::Published;

type Key = (ChannelId, Arc<str>);

/// The keys of all channels, each for the same time.
#[derive(Debug, Default)]
pub(crate) struct Dedupe {
    results: HashMap<Key, Published>,
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
        key.len() + 16 + size_of::<(Key, Published)>() + size_of::<(u32, Key)>() + 8
    }

    /// What came of the message that was published under this key.
    pub(crate) fn find(&mut self, now: u32, channel: ChannelId, key: &str) -> Option<Published> {
        self.expire(now);
        self.results.get(&(channel, Arc::from(key))).copied()
    }

    pub(crate) fn insert(&mut self, expires: u32, channel: ChannelId, key: &str, published: Published) {
        let entry: Key = (channel, key.into());
        self.results.insert(entry.clone(), published);
        self.order.push_back((expires, entry));
        self.bytes += Self::cost(key);
    }

    /// Forgets what is over by `now`.
    pub(crate) fn expire(&mut self, now: u32) {
        while self.order.front().is_some_and(|(expires, _)| *expires <= now) {
            let Some((_, key)) = self.order.pop_front() else { break };
            self.bytes -= Self::cost(&key.1);
            self.results.remove(&key);
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            *self = Self::default();
        }
    }
}
