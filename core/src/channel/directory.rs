//! All channels of the hub by name and by id, and the bytes they take.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use slab::Slab;
use smallvec::SmallVec;

use super::history::History;
use super::{ChannelInfo, ChannelName, ChannelOptions, Namespace};
use crate::log::Address;
use crate::message::Position;
use crate::registry::Counters;

/// An HTTP thread of the hub, from 0.
pub(crate) type ThreadId = u8;

/// A channel for as long as it lives. A channel of the same name that comes later has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// Its entry in the registry.
    pub(crate) record: Address,
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
    /// An empty one, of which everything is yet to come.
    pub(crate) fn new(id: ChannelId, name: ChannelName, record: Address, now: u32) -> Self {
        Self {
            id,
            name,
            history: History::new(Position::START),
            record,
            published: 0,
            last: Position::START,
            seats: SmallVec::new(),
            created: None,
            used: now,
            armed: u32::MAX,
        }
    }

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

    /// Whether those who are there are members.
    pub(crate) fn has_presence(&self) -> bool {
        self.created.as_ref().is_none_or(|options| options.presence)
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

    /// What the registry keeps of it.
    pub(crate) fn counters(&self) -> Counters {
        Counters { published: self.published, last: self.last, complete_since: self.history.complete_since() }
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
        size_of::<Self>() + name.identity().len() + 16 + 8 + 32
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

    /// All channels that a hub before this one had, each in its slot.
    pub(crate) fn restore(channels: impl Iterator<Item = Channel>) -> Self {
        let mut directory = Self::default();
        directory.channels = channels
            .map(|channel| {
                directory.names.insert(channel.name.clone());
                directory.births = directory.births.max(channel.id.birth);
                (channel.id.slot as usize, channel)
            })
            .collect();
        for (slot, channel) in &directory.channels {
            let hash = directory.hasher.hash_one(&channel.name);
            let again = |&slot: &u32| directory.hasher.hash_one(&directory.channels[slot as usize].name);
            directory.by_name.insert_unique(hash, slot as u32, again);
        }
        directory
    }

    /// What the next channel will be.
    pub(crate) fn next_id(&self) -> ChannelId {
        ChannelId { slot: self.channels.vacant_key() as u32, birth: self.births.wrapping_add(1) }
    }

    /// Adds the channel of [`Self::next_id`]; the caller has made sure that the name is free.
    pub(crate) fn insert(&mut self, name: ChannelName, history: History, record: Address, now: u32) -> &mut Channel {
        self.names.insert(name.clone());
        let id = self.next_id();
        let (ChannelId { slot, birth }, entry) = (id, self.channels.vacant_entry());
        self.births = birth;
        let hash = self.hasher.hash_one(&name);
        entry.insert(Channel { history, ..Channel::new(id, name, record, now) });
        self.by_name.insert_unique(hash, slot, |&slot| self.hasher.hash_one(&self.channels[slot as usize].name));
        &mut self.channels[slot as usize]
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

    /// The names of a namespace that begin with `prefix` and come after `after`, in order.
    pub(crate) fn names(&self, namespace: &Namespace, prefix: &str, after: &str) -> impl Iterator<Item = &ChannelName> {
        let (begin, after) = (namespace.with(prefix), namespace.with(after));
        let first = namespace.first();
        let from = match (&*after).max(first).max(&begin) {
            from if from == after => Bound::Excluded(from),
            from => Bound::Included(from),
        };
        let range = self.names.range::<str, _>((from, Bound::Unbounded));
        range.take_while(move |name| name.identity().starts_with(&begin))
    }

    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        self.channels.iter().map(|(_, channel)| channel.id).collect()
    }

    /// The channels in so many slots from this one on; nothing behind the last.
    pub(crate) fn part(&self, slot: usize, slots: usize) -> Option<impl Iterator<Item = &Channel>> {
        let part = slot..slot + slots;
        (slot < self.channels.capacity()).then(|| part.filter_map(|slot| self.channels.get(slot)))
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id.slot as usize).filter(|channel| channel.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.slot as usize).filter(|channel| channel.id == id)
    }
}

impl ChannelId {
    /// As a record of the log names it.
    pub(crate) fn new(slot: u32, birth: u32) -> Self {
        Self { slot, birth }
    }

    pub(crate) fn slot(self) -> u32 {
        self.slot
    }

    pub(crate) fn birth(self) -> u32 {
        self.birth
    }
}
