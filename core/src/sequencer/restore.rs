//! The state of a hub, from what the one before it left in the journal.
//!
//! Channels and keys come first, then the messages in the order of the log; what belongs to no channel, or was already in
//! its history, is dead. Subscriptions are gone with the connections of the dead hub: those come again with their
//! positions, and find their channels as complete as they were. Where the journal is damaged, or older than the hub that had
//! it, nothing is complete before now, so that everyone who resumes is told.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{Last, Limits, Moment, State, presence};
use crate::access::Revoked;
use crate::channel::history::{Entry, History};
use crate::channel::{Channel, ChannelName, Dedupe, Directory};
use crate::journal::{Class, Region, Word};
use crate::log::{Log, Record};
use crate::message::{Position, Published};
use crate::presence::{Kept, NEVER, Now, Place, Presence};
use crate::registry::{self, Registry};

/// A member as it stands in the registry.
struct Member {
    place: Place,
    user: Box<str>,
    info: Box<str>,
    since: u32,
    lease: u32,
    record: crate::log::Address,
}

/// A channel takes more memory than this, and all of them no more than `memory_limit`, of which the journal is twice as large.
const LEAST_CHANNEL: usize = 128;
/// After so many channels or members a sign of life.
const MANY: usize = 1000;
/// No hub comes to so many messages of a channel.
const MESSAGES: u64 = 1 << 63;

/// Whether a hub can have come to this position: more are to follow it.
fn possible(position: Position) -> bool {
    position.time < u32::MAX
}

/// A key as it stands in the registry.
struct Key {
    expires: u32,
    channel: crate::channel::ChannelId,
    text: Box<str>,
    published: Published,
    record: crate::log::Address,
}

impl State {
    /// See the module. Of a new journal, the empty state. `alive` is called again and again, however long it takes.
    pub(super) fn restore(
        limits: Limits,
        threads: usize,
        start: Position,
        now: u32,
        journal: OwnedFd,
        stored: bool,
        alive: &dyn Fn(),
    ) -> io::Result<Self> {
        let (journal, mut found, mut damaged) = Region::open(journal, stored, alive)?;
        let (mut registry, torn) = Registry::restore(journal.clone(), &mut found);
        damaged |= torn;
        let (log, torn) = Log::restore(journal.clone(), Class::Messages, &mut found);
        damaged |= torn;
        let new = journal.load(Word::Head) == 0;
        let head = Position::unpack(journal.load(Word::Head));
        damaged |= !possible(head);
        let last = if possible(head) { head } else { Position::START };
        let interrupted = journal.load(Word::Busy) != 0;
        let before = Position::unpack(journal.load(Word::Before));

        let mut channels: BTreeMap<u32, Channel> = BTreeMap::new();
        let mut keys: Vec<Key> = Vec::new();
        let mut members: Vec<Member> = Vec::new();
        let mut replaced = Vec::new();
        let revoked = Arc::new(Revoked::default());
        let mut revoked_bytes = 0;
        // A slot is never above the number of channels that there can have been.
        let slots = journal.capacity() / 2 / LEAST_CHANNEL;
        let (mut by_name, mut impossible) = (HashMap::new(), false);
        damaged |= !registry.revive(alive, |entry, counters, record| match entry {
            registry::Entry::Channel { id, name, options } => {
                let (Some(counters), Some(name)) = (counters, ChannelName::from_identity(name)) else {
                    return false;
                };
                if id.slot() as usize >= slots {
                    impossible = true;
                    return false;
                }
                // The counters have no checksum.
                let counted = counters.published < MESSAGES;
                impossible |= !counted;
                let channel = Channel {
                    history: History::new(counters.complete_since),
                    published: if counted { counters.published } else { 0 },
                    last: counters.last,
                    created: options.map(Box::new),
                    ..Channel::new(id, name.clone(), record, now)
                };
                // An entry that was replaced, or moved, comes before the new one.
                let same_slot = channels.insert(id.slot(), channel);
                if let Some(old) = &same_slot
                    && old.name != name
                {
                    by_name.remove(&old.name);
                }
                // Nor were there ever two of one name.
                let other_slot = by_name.insert(name, id.slot()).filter(|slot| *slot != id.slot());
                let same_name = other_slot.and_then(|slot| channels.remove(&slot));
                impossible |= same_name.is_some();
                replaced.extend(same_slot.into_iter().chain(same_name).map(|old| old.record));
                true
            }
            registry::Entry::Key { channel, key, published, expires } => {
                keys.push(Key { expires, channel, text: key.into(), published, record });
                true
            }
            registry::Entry::Revoked { key, at } => {
                // No later one is ever written: as tokens have it, in seconds that fit into 32 bits.
                if u32::try_from(at / 1000).is_err() {
                    return false;
                }
                match revoked.insert(key, at, record) {
                    Some(old) => replaced.push(old),
                    None => revoked_bytes += Revoked::cost(key),
                }
                true
            }
            registry::Entry::Member { namespace, channel, user, info, since, lease } => {
                let Some(place) = presence::place(namespace, channel) else { return false };
                members.push(Member { place, user: user.into(), info: info.into(), since, lease, record });
                true
            }
        });
        replaced.into_iter().for_each(|record| registry.release(record));
        damaged |= impossible;
        alive();

        let mut state = Self {
            watermark: if new { start } else { Position::unpack(journal.load(Word::Watermark)) },
            head: start.max(last),
            log,
            registry,
            wildcards: channels.values().filter(|channel| limits.is_wildcard(&channel.name)).count(),
            events: Vec::new(),
            woken: 0,
            entered: Moment::default(),
            tick: 0,
            presence: Presence::new(limits.presence, start.max(last)),
            alarm: NEVER,
            stirred: false,
            connections: 0,
            published: 0,
            delivered: 0,
            gaps: 0,
            evicted: 0,
            channels: Directory::restore(channels.into_values()),
            owed: (0..threads).map(|_| Default::default()).collect(),
            crowded: Arc::default(),
            deadlines: BTreeMap::new(),
            dedupe: Dedupe::default(),
            revoked,
            revoked_bytes,
            channel_bytes: 0,
            subscribers: 0,
            stored: 0,
            last: None,
            retired: false,
            journal,
            limits,
        };
        let (newest, id) = state.restore_messages(&mut damaged, alive);
        if newest > before {
            let client = state.journal.load(Word::Client);
            let (call, part) = (state.journal.load(Word::Call), state.journal.load(Word::Part));
            let published = Published { id, position: newest, subscribers: 0 };
            state.last = Some(Last { client, call, part, published });
        }
        state.head = state.head.max(newest);
        damaged |= state.limit_counters();
        keys.sort_by_key(|key| key.expires);
        for Key { expires, channel, text, published, record } in keys {
            // Its message was to follow.
            let unfinished = interrupted && published.position > before && published.position > newest;
            if state.channels.get(channel).is_some() && !unfinished {
                state.dedupe.insert(expires, channel, &text, published, record);
            } else {
                state.registry.release(record);
            }
        }
        if damaged {
            tracing::error!("the journal is damaged; messages may be missing, and subscribers that resume are told so");
        }
        // It comes from a disk, and its hub did not end in peace.
        let lost = state.journal.load(Word::Lost) != 0;
        if lost {
            tracing::warn!(
                "the journal is as it was saved last, at position {last}; what came later is lost, and subscribers that \
                 resume are told so"
            );
        }
        if damaged || lost {
            state.watermark = state.head;
        }
        for (count, id) in state.channels.ids().into_iter().enumerate() {
            if count % MANY == 0 {
                alive();
            }
            let Some(channel) = state.channels.get_mut(id) else { continue };
            if damaged || lost {
                channel.history.lose(state.watermark);
                state.registry.set_counters(channel.record, channel.counters());
            }
            state.channel_bytes += channel.allocated();
            if state.limits.is_events(&channel.name) {
                state.events.push(id);
            }
            state.arm(now, id);
        }
        let moment = Now { tick: 0, second: now };
        for (count, Member { place, user, info, since, lease, record }) in members.into_iter().enumerate() {
            if count % MANY == 0 {
                alive();
            }
            let id = place.channel().and_then(|name| state.channels.find(name));
            if id.is_some_and(|id| !state.has_presence(id)) {
                // The hub was killed before it had all of them leave.
                state.registry.release(record);
                continue;
            }
            let kept = Kept { place: &place, user: &user, info: &info, since, lease };
            match state.presence.restore(kept, record, moment) {
                Ok(None) => {}
                Ok(Some(replaced)) => state.registry.release(replaced),
                Err(_) => state.registry.release(record),
            }
        }
        state.journal.store(Word::Watermark, state.watermark.pack());
        state.journal.store(Word::Head, state.head.pack());
        state.journal.store(Word::Busy, 0);
        state.journal.store(Word::Lost, 0);
        state.journal.store(Word::Clean, 0);
        state.make_room(0, None);
        if let Some(name) = state.limits.events.clone() {
            state.open_events_channel(now, &name);
        }
        state.tidy();
        Ok(state)
    }

    /// Sees to it that nothing is said of the time after the head: a subscriber would be told of a gap until that has come.
    /// True where something was.
    fn limit_counters(&mut self) -> bool {
        let head = self.head;
        let mut impossible = self.watermark > head;
        self.watermark = self.watermark.min(head);
        for id in self.channels.ids() {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            // The newest may have been counted and not stored, without time to note the head.
            let later = channel.history.complete_since() > head;
            impossible |= later;
            if later || channel.last > head {
                channel.last = channel.last.min(head);
                channel.history.limit(head);
                self.registry.set_counters(channel.record, channel.counters());
            }
        }
        impossible
    }

    /// Puts the messages of the log into their histories; position and id of the newest.
    fn restore_messages(&mut self, damaged: &mut bool, alive: &dyn Fn()) -> (Position, u64) {
        let (channels, registry, stored) = (&mut self.channels, &mut self.registry, &mut self.stored);
        let (mut newest, mut id_of_newest) = (Position::START, 0);
        *damaged |= !self.log.revive(alive, |bytes, _, address| {
            let Some(record) = Record::decode(bytes) else { return false };
            let id = crate::channel::ChannelId::new(record.slot, record.birth);
            // Positions grow, whatever else is in the journal.
            let follows = record.position > newest && possible(record.position) && record.id < MESSAGES;
            let Some(channel) = channels.get_mut(id).filter(|_| follows) else { return false };
            (newest, id_of_newest) = (record.position, record.id);
            channel.history.push(Entry { position: record.position, address, expires: record.expires });
            *stored += 1;
            if record.id > channel.published {
                // The hub was killed before it counted this one.
                (channel.published, channel.last) = (record.id, record.position);
                registry.set_counters(channel.record, channel.counters());
            }
            true
        });
        (newest, id_of_newest)
    }
}
