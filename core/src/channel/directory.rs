//! All channels of the hub by name and by id, and the bytes they take.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::history::History;
use super::{ChannelInfo, ChannelName, ChannelOptions};
use crate::message::Position;

/// An HTTP thread of the hub, from 0.
pub(crate) type ThreadId = u8;

/// A channel for as long as it lives. A channel of the same name that comes later has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChannelId {
    slot: u32,
    birth: u32,
}

/// How long a created channel lives without use when `create_channel()` says nothing, in seconds.
const CREATED_TTL: u32 = 24 * 3600;

/// See the module of the same name.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) name: ChannelName,
    pub(crate) history: History,
    pub(crate) published: u64,
    /// Position of the newest message.
    pub(crate) last: Position,
    /// How many seats each HTTP thread has here; none with zero.
    pub(crate) seats: SmallVec<[(ThreadId, u32); 2]>,
    /// Set for a channel that the backend created.
    pub(crate) created: Option<Box<ChannelOptions>>,
    /// The second of the last publication, subscription or leave.
    pub(crate) used: u32,
    /// The second in which it will be looked at for something to expire.
    pub(crate) armed: u32,
}

impl Channel {
    pub(crate) fn subscribers(&self) -> u32 {
        self.seats.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn seat(&mut self, thread: ThreadId) {
        match self.seats.iter_mut().find(|(seated, _)| *seated == thread) {
            Some((_, count)) => *count += 1,
            None => self.seats.push((thread, 1)),
        }
    }

    pub(crate) fn unseat(&mut self, thread: ThreadId) {
        if let Some(index) = self.seats.iter().position(|(seated, _)| *seated == thread) {
            self.seats[index].1 -= 1;
            if self.seats[index].1 == 0 {
                self.seats.swap_remove(index);
            }
        }
    }

    /// The threads that have seats here, one bit each.
    pub(crate) fn woken(&self) -> u64 {
        self.seats.iter().fold(0, |woken, (thread, _)| woken | 1 << thread)
    }

    fn ttl(&self) -> Option<u32> {
        self.created.as_ref().map(|options| options.ttl.unwrap_or(CREATED_TTL))
    }

    /// The second from which the channel is gone, provided nothing happens; `None` while it is in use.
    pub(crate) fn expires(&self, inactivity: u32) -> Option<u32> {
        if !self.seats.is_empty() {
            return None;
        }
        match self.ttl() {
            Some(ttl) => Some(self.used.saturating_add(ttl)),
            None if self.history.len() == 0 => Some(self.used.saturating_add(inactivity)),
            None => None,
        }
    }

    pub(crate) fn info(&self) -> ChannelInfo {
        ChannelInfo {
            name: self.name.to_string(),
            published: self.published,
            stored: self.history.len() as u32,
            subscribers: self.subscribers(),
            owner: self.created.as_ref().and_then(|options| options.owner.clone()),
            ttl: self.ttl(),
            position: self.last,
        }
    }

    /// Bytes it takes apart from its messages.
    pub(crate) fn allocated(&self) -> usize {
        let options = self
            .created
            .as_ref()
            .map_or(0, |options| size_of::<ChannelOptions>() + options.owner.as_ref().map_or(0, String::capacity));
        Self::cost(&self.name) + self.history.allocated() + options
    }

    /// Bytes that a new channel of this name takes: itself, its name with two counters, its places among the names.
    pub(crate) fn cost(name: &ChannelName) -> usize {
        size_of::<Self>() + name.len() + 16 + 8 + 32
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    channels: Slab<Channel>,
    by_name: HashTable<u32>,
    /// The names again, in order, for listing them page by page.
    names: BTreeSet<ChannelName>,
    hasher: RandomState,
    births: u32,
}

impl Directory {
    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    pub(crate) fn find(&self, name: &ChannelName) -> Option<ChannelId> {
        let found =
            self.by_name.find(self.hasher.hash_one(name), |&slot| self.channels[slot as usize].name == *name)?;
        Some(self.channels[*found as usize].id)
    }

    /// Adds a channel; the caller has made sure that the name is free.
    pub(crate) fn insert(&mut self, name: ChannelName, history: History, now: u32) -> &mut Channel {
        self.names.insert(name.clone());
        let entry = self.channels.vacant_entry();
        let slot = entry.key() as u32;
        self.births = self.births.wrapping_add(1);
        let hash = self.hasher.hash_one(&name);
        let channel = entry.insert(Channel {
            id: ChannelId { slot, birth: self.births },
            name,
            history,
            published: 0,
            last: Position::START,
            seats: SmallVec::new(),
            created: None,
            used: now,
            armed: u32::MAX,
        });
        let id = channel.id;
        self.by_name.insert_unique(hash, slot, |&slot| self.hasher.hash_one(&self.channels[slot as usize].name));
        &mut self.channels[id.slot as usize]
    }

    pub(crate) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        self.get(id)?;
        let channel = self.channels.remove(id.slot as usize);
        self.names.remove(&channel.name);
        let hash = self.hasher.hash_one(&channel.name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&slot| slot == id.slot) {
            entry.remove();
        }
        if self.channels.is_empty() {
            self.channels = Slab::new();
            self.by_name = HashTable::new();
        }
        Some(channel)
    }

    /// The names that begin with `prefix` and come after `after`, in order.
    pub(crate) fn names<'a>(&'a self, prefix: &'a str, after: &'a str) -> impl Iterator<Item = &'a ChannelName> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.names.range::<str, _>((from, Bound::Unbounded)).take_while(move |name| name.starts_with(prefix))
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id.slot as usize).filter(|channel| channel.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.slot as usize).filter(|channel| channel.id == id)
    }

    /// The channel in a slot that a record of the log names; it need not be the record's own.
    pub(crate) fn in_slot(&mut self, slot: u32) -> Option<&mut Channel> {
        self.channels.get_mut(slot as usize)
    }
}

impl ChannelId {
    /// What a record of the log names.
    pub(crate) fn slot(self) -> u32 {
        self.slot
    }
}
