//! Channels come and go: by creation, use and expiry, and by deletion.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{CREATED, DESTROYED, Deletion, Owed, Seats, State, UNSUBSCRIBED, Woken};
use crate::channel::history::History;
use crate::channel::{Channel, ChannelId, ChannelName, ChannelOptions};
use crate::error::{Error, Limit};
use crate::identity::check_user;
use crate::journal::Word;
use crate::message::{NewMessage, Position};
use crate::presence::Place;
use crate::registry;

impl State {
    /// The channel of this name, unless its time is over.
    pub(super) fn find(&mut self, now: u32, name: &ChannelName) -> Option<ChannelId> {
        let id = self.channels.find(name)?;
        self.refresh(now, id).then_some(id)
    }

    /// Expires what is due in the channel. False when that was the channel itself.
    pub(super) fn refresh(&mut self, now: u32, id: ChannelId) -> bool {
        let Some(channel) = self.channels.get_mut(id) else { return false };
        if channel.history.next_expiry() <= now {
            let (log, registry, stored) = (&mut self.log, &mut self.registry, &mut self.stored);
            let (before, record) = (channel.history.allocated(), channel.record);
            channel.history.expire(now, |entry, complete_since| {
                registry.set_complete_since(record, complete_since);
                log.release(entry.address);
                *stored -= 1;
            });
            self.channel_bytes = self.channel_bytes + channel.history.allocated() - before;
        }
        let over = channel.expires(self.limits.channel_inactivity).is_some_and(|second| second <= now);
        if over && !self.is_permanent(id) {
            if let Some(channel) = self.remove(id) {
                self.tell(now, DESTROYED, &channel.name);
            }
            return false;
        }
        true
    }

    pub(super) fn find_or_create(&mut self, now: u32, name: &ChannelName) -> Result<ChannelId, Error> {
        match self.find(now, name) {
            Some(id) => Ok(id),
            None => {
                self.check_name(name)?;
                let created = self.create_all(now, [name])?;
                self.tell(now, CREATED, name);
                Ok(created[0])
            }
        }
    }

    pub(super) fn check_name(&self, name: &ChannelName) -> Result<(), Error> {
        ChannelName::check(name.as_bytes(), self.limits.channel_id_length)?;
        Ok(())
    }

    pub(super) fn may_create<'a>(&self, missing: impl IntoIterator<Item = &'a ChannelName>) -> Result<(), Limit> {
        let (mut channels, mut wildcards) = (0, 0);
        for name in missing {
            *if self.limits.is_wildcard(name) { &mut wildcards } else { &mut channels } += 1;
        }
        let passed = |most: Option<u32>, exist: usize, more: usize| {
            most.filter(|most| more > 0 && exist + more > *most as usize)
        };
        if let Some(most) = passed(self.limits.channels, self.channels.len() - self.wildcards, channels) {
            return Err(Limit::Channels(most));
        }
        match passed(self.limits.wildcard_channels, self.wildcards, wildcards) {
            Some(most) => Err(Limit::WildcardChannels(most)),
            None => Ok(()),
        }
    }

    /// Creates these channels, or none of them. The caller tells the events channel.
    pub(super) fn create_all<'a>(
        &mut self,
        now: u32,
        names: impl IntoIterator<Item = &'a ChannelName> + Clone,
    ) -> Result<Seats, Limit> {
        self.may_create(names.clone())?;
        let mut created = Seats::new();
        for name in names {
            match self.insert(now, name) {
                Ok(id) => created.push(id),
                Err(limit) => {
                    for id in created {
                        self.remove(id);
                    }
                    return Err(limit);
                }
            }
        }
        Ok(created)
    }

    pub(super) fn insert(&mut self, now: u32, name: &ChannelName) -> Result<ChannelId, Limit> {
        self.make_room_for_channel(name)?;
        let id = self.channels.next_id();
        let entry = registry::Entry::Channel { id, name: name.identity(), options: None };
        let counters = registry::Counters { published: 0, last: Position::START, complete_since: self.watermark };
        let record = self.registry.add(&entry, Some(counters)).ok_or(Limit::Memory(self.limits.memory))?;
        self.wildcards += usize::from(self.limits.is_wildcard(name));
        let channel = self.channels.insert(name.clone(), History::new(self.watermark), record, now);
        self.channel_bytes += channel.allocated();
        self.arm(now, id);
        Ok(id)
    }

    pub(super) fn make_room_for_channel(&mut self, name: &ChannelName) -> Result<(), Limit> {
        let needed = |state: &Self| Channel::cost(name) + state.registry.cost(name.identity().len());
        self.make_room(needed(self), None);
        match (self.memory() + needed(self)) as u64 > self.limits.memory {
            true => Err(Limit::Memory(self.limits.memory)),
            false => Ok(()),
        }
    }

    pub(super) fn create(&mut self, now: u32, name: ChannelName, options: ChannelOptions) -> Result<(), Error> {
        for (what, value) in
            [("ttl", options.ttl), ("max_messages", options.max_messages), ("message_ttl", options.message_ttl)]
        {
            if value == Some(0) {
                return Err(Error::InvalidArgument(format!("{what} must be at least 1")));
            }
        }
        options.owner.as_deref().map(check_user).transpose()?;
        self.check_changeable(&name)?;
        let id = self.find_or_create(now, &name)?;
        let owner = options.owner.as_ref().map_or(0, String::len);
        self.make_room(self.registry.cost(name.identity().len() + owner), None);
        let channel = self.channels.get_mut(id).expect("just found");
        let entry = registry::Entry::Channel { id, name: name.identity(), options: Some(options.clone()) };
        let record = self.registry.add(&entry, Some(channel.counters()));
        let record = record.ok_or(Limit::Memory(self.limits.memory))?;
        self.registry.release(std::mem::replace(&mut channel.record, record));
        self.channel_bytes -= channel.allocated();
        let (before, after) = (channel.has_presence(), options.presence);
        channel.created = Some(Box::new(options));
        channel.used = now;
        self.channel_bytes += channel.allocated();
        if before != after {
            let (moment, place) = (self.moment(now), Place::Channel(name));
            self.with_presence(moment, |presence, stamp| presence.switch(&place, after, moment, stamp));
        }
        self.arm(now, id);
        self.tidy();
        Ok(())
    }

    /// Checks a batch and makes room for its channels, so that every message of it can be published.
    pub(super) fn admit(&mut self, now: u32, messages: &[(ChannelName, NewMessage<'_>)]) -> Result<(), Error> {
        messages.iter().try_for_each(|(_, message)| self.check(message))?;
        self.admit_channels(now, messages.iter().map(|(name, _)| name))
    }

    /// The half of that which concerns its channels.
    pub(super) fn admit_channels<'a>(
        &mut self,
        now: u32,
        names: impl IntoIterator<Item = &'a ChannelName>,
    ) -> Result<(), Error> {
        let mut missing = BTreeSet::new();
        for name in names {
            self.check_changeable(name)?;
            if self.find(now, name).is_none() {
                self.check_name(name)?;
                missing.insert(name);
            }
        }
        self.create_all(now, missing.iter().copied())?;
        for name in missing {
            self.tell(now, CREATED, name);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self, now: u32, name: &ChannelName) -> Result<u64, Error> {
        self.check_changeable(name)?;
        let Some(id) = self.find(now, name) else { return Ok(0) };
        let channel = self.channels.get_mut(id).expect("just found");
        let (count, before) = (channel.history.len() as u64, channel.history.allocated());
        while let Some(entry) = channel.history.pop_oldest() {
            self.registry.set_complete_since(channel.record, channel.history.complete_since());
            self.log.release(entry.address);
        }
        channel.used = now;
        self.channel_bytes = self.channel_bytes + channel.history.allocated() - before;
        self.stored -= count;
        self.arm(now, id);
        self.tidy();
        Ok(count)
    }

    /// Takes the channel and its messages away; the watermark remembers that there were some.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        let mut channel = self.channels.remove(id)?;
        self.events.retain(|events| *events != id);
        let newest = channel.history.newest(1).next().map_or(Position::START, |entry| entry.position);
        self.watermark = self.watermark.max(channel.history.complete_since()).max(newest);
        self.journal.store(Word::Watermark, self.watermark.pack());
        // From here on its messages are nobody's, for the next hub too.
        self.registry.release(channel.record);
        self.wildcards -= usize::from(self.limits.is_wildcard(&channel.name));
        self.channel_bytes -= channel.allocated();
        self.subscribers -= u64::from(channel.subscribers());
        while let Some(entry) = channel.history.pop_oldest() {
            self.log.release(entry.address);
            self.stored -= 1;
        }
        Some(channel)
    }

    pub(super) fn delete(&mut self, now: u32, name: &ChannelName, text: Option<&[u8]>) -> Result<Option<Woken>, Error> {
        self.check_changeable(name)?;
        let Some(id) = self.find(now, name) else { return Ok(None) };
        let Some(channel) = self.remove(id) else { return Ok(None) };
        let text: Arc<[u8]> = text.map_or_else(|| self.limits.deleted_text.clone(), Into::into);
        let deletion = Deletion { channel: id, name: channel.name.clone(), text, position: self.head };
        for (thread, _) in &channel.seats {
            self.owed[usize::from(*thread)].push_back(Owed::Deleted(deletion.clone()));
        }
        let (moment, place) = (self.moment(now), Place::Channel(channel.name.clone()));
        self.with_presence(moment, |presence, _| presence.drop_place(&place));
        if self.limits.events.is_some() {
            for _ in 0..channel.subscribers() {
                self.tell(now, UNSUBSCRIBED, name);
            }
            self.tell(now, DESTROYED, name);
        }
        self.tidy();
        Ok(Some(channel.woken()))
    }
}
