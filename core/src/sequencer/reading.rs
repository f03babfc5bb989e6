//! Reading: what a subscriber missed, or its seats; pages of history and of channels.

use smallvec::SmallVec;

use super::presence::{Guest, message, site};
use super::{CREATED, SUBSCRIBED, State};
use crate::call::MAX_PAGE;
use crate::channel::history::History;
use crate::channel::{Channel, ChannelId, ChannelInfo, ChannelName, Entry, Namespace, ThreadId};
use crate::error::Limit;
use crate::identity::Identity;
use crate::log::Address;
use crate::message::{InvalidPosition, Message, Position};
use crate::presence::{Missed, Place};

/// Bytes of messages that one answer carries at most; the rest follows when the subscriber asks again from its position.
/// A client that does not read holds as much outside of `memory_limit`.
pub(super) const ANSWER: usize = MAX_PAGE;
/// Messages among which an event id is looked for, the newest of each channel.
pub(super) const EVENT_IDS: usize = 10_000;

/// One channel of a subscription's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: ChannelName,
    /// How many of the newest stored messages are wanted, whatever the position.
    pub(crate) backlog: u32,
    /// A token opens it, whether it exists or not.
    pub(crate) opened: bool,
}

/// A subscriber's question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscribe<'a> {
    /// Without duplicates.
    pub(crate) channels: &'a [Wanted],
    /// What it has seen; `None`: it starts with what comes next.
    pub(crate) after: Option<Position>,
    /// The id of the last event it has seen; goes before `after` where it is known. A browser that comes back to an event
    /// stream sends it beside the position that still stands in the stream's address.
    pub(crate) event_id: Option<&'a str>,
    /// Who asks, where the request says it.
    pub(crate) identity: Option<&'a Identity>,
    /// `authorized_channels_only`
    pub(crate) authorized_only: bool,
    /// `wildcard_channel_max_qtd`
    pub(crate) most_wildcards: Option<u32>,
    /// `allow_connections_to_events_channel`
    pub(crate) to_events: bool,
    pub(crate) seat: Seat,
    /// Who asks is a member of the channels from now on.
    pub(crate) enters: bool,
    pub(crate) feed: Feed,
}

/// Whether a subscriber is told who is in its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    None,
    /// What was said since its position, as far as that is known.
    Since,
    /// Who is there, whatever its position.
    Anew,
}

/// When a subscriber takes seats in its channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    Never,
    /// It is answered at once if it missed something.
    IfNothingMissed,
    /// It stays, whatever it missed, and gets so many bytes of that at first.
    Always(usize),
}

/// Ids of a subscription's channels, in path order.
pub(crate) type Seats = SmallVec<[ChannelId; 1]>;

/// What a subscriber gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// At once: what it missed, if anything.
    Now(Batch),
    /// It has seats. With what it missed it is complete up to the batch's position.
    Seated(Batch, Seats, Guest),
}

/// Messages in position order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    /// From where to ask again.
    pub(crate) position: Position,
    /// Something that the subscriber has not seen is no longer there.
    pub(crate) gap: bool,
    /// More follows after `position`.
    pub(crate) more: bool,
}

/// Why a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `authorized_channels_only`: nobody created the channel and it holds no message.
    Unauthorized,
    /// More wildcard channels than a subscription may name, or nothing but such where their number is limited.
    Wildcards,
    /// The events channel, where it is not allowed.
    Events,
    Limit(Limit),
}

impl State {
    pub(super) fn list(
        &mut self,
        now: u32,
        namespace: &Namespace,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Vec<ChannelInfo> {
        let mut page = Vec::new();
        let mut after = after.to_owned();
        while page.len() < limit {
            let names: Vec<ChannelName> =
                self.channels.names(namespace, prefix, &after).take(limit - page.len()).cloned().collect();
            let Some(last) = names.last() else { break };
            after = last.to_string();
            // Some may turn out to have expired.
            let ids: Vec<ChannelId> = names.iter().filter_map(|name| self.find(now, name)).collect();
            page.extend(ids.into_iter().filter_map(|id| self.channels.get(id)).map(Channel::info));
        }
        page
    }

    pub(super) fn history(&mut self, now: u32, name: &ChannelName, after: Position, limit: usize) -> Vec<Message> {
        let Some(channel) = self.find(now, name).and_then(|id| self.channels.get(id)) else { return Vec::new() };
        let mut entries: Vec<(Entry, ())> = channel.history.after(after).take(limit).map(|entry| (entry, ())).collect();
        self.fit(&mut entries, false, ANSWER);
        entries.into_iter().filter_map(|(entry, ())| self.copy(name.clone(), entry.address)).collect()
    }

    pub(super) fn resume_or_wait(
        &mut self,
        now: u32,
        thread: ThreadId,
        subscribe: Subscribe<'_>,
    ) -> Result<Resume, Refusal> {
        let found = self.check_subscription(now, subscribe)?;
        let moment = self.moment(now);
        let missing = subscribe.channels.iter().zip(&found).filter(|(_, id)| id.is_none());
        let missing = missing.map(|(wanted, _)| &wanted.name);
        let visitor = self.visitor(&subscribe, &found);
        if let Some(visitor) = &visitor {
            // Before it looks who is there. Where channels are to be created, it is in them as soon as they are.
            let creates = subscribe.seat != Seat::Never && self.may_create(missing.clone()).is_ok();
            let there = subscribe.channels.iter().zip(&found);
            let there = there.filter(|(_, id)| id.map_or(creates, |id| self.has_presence(id)));
            let there: SmallVec<[&ChannelName; 4]> = there.map(|(wanted, _)| &wanted.name).collect();
            self.visit(moment, visitor, &site(&subscribe), there.into_iter());
        }
        if subscribe.feed != Feed::None {
            let there = subscribe.channels.iter().zip(&found);
            for (wanted, _) in there.filter(|(_, id)| id.is_some() || subscribe.seat != Seat::Never) {
                let place = Place::Channel(wanted.name.clone());
                self.with_presence(moment, |presence, stamp| presence.attend(&place, moment, stamp));
            }
        }
        let mut batch = self.missed(subscribe, &found);
        let missed = batch.gap || !batch.messages.is_empty();
        if subscribe.seat == Seat::Never || (subscribe.seat == Seat::IfNothingMissed && missed) {
            return Ok(Resume::Now(batch));
        }
        let mut created = self.create_all(now, missing.clone()).map_err(Refusal::Limit)?.into_iter();
        let seats: Seats = found.iter().filter_map(|id| id.or_else(|| created.next())).collect();
        for &id in &seats {
            let channel = self.channels.get_mut(id).expect("found or created in this entry");
            channel.seat(thread);
            channel.used = now;
        }
        self.subscribers += seats.len() as u64;
        self.connections += 1;
        let guest = self.seat_guest(thread, &subscribe, visitor.as_ref());
        if !batch.more {
            batch.position = self.head;
        }
        if self.limits.events.is_some() {
            // From its seats: a subscriber of the events channel learns of itself, too.
            missing.for_each(|name| self.tell(now, CREATED, name));
            let others = subscribe.channels.iter().zip(&seats).filter(|(_, id)| !self.events.contains(id));
            let others: Vec<&ChannelName> = others.map(|(wanted, _)| &wanted.name).collect();
            others.into_iter().for_each(|name| self.tell(now, SUBSCRIBED, name));
        }
        Ok(Resume::Seated(batch, seats, guest))
    }

    /// The subscription's channels, as far as they exist, if it may have them all.
    pub(super) fn check_subscription(
        &mut self,
        now: u32,
        subscribe: Subscribe<'_>,
    ) -> Result<SmallVec<[Option<ChannelId>; 4]>, Refusal> {
        let found = subscribe.channels.iter().map(|wanted| match self.find(now, &wanted.name) {
            None if subscribe.to_events && self.limits.is_events(&wanted.name) => {
                self.open_events_channel(now, &wanted.name)
            }
            found => found,
        });
        let found: SmallVec<[Option<ChannelId>; 4]> = found.collect();
        let mut wildcards = 0;
        for (wanted, id) in subscribe.channels.iter().zip(&found) {
            let channel = id.and_then(|id| self.channels.get(id));
            let wildcard = self.limits.is_wildcard(&wanted.name);
            wildcards += usize::from(wildcard);
            let open = channel.is_some_and(|channel| channel.created.is_some() || channel.history.len() > 0);
            if subscribe.authorized_only && !open && !wildcard && !wanted.opened {
                return Err(Refusal::Unauthorized);
            }
            if let (Some(channel), Some(most)) = (channel, self.limits.subscribers_per_channel)
                && channel.subscribers() >= most
            {
                return Err(Refusal::Limit(Limit::Subscribers(most)));
            }
            if self.limits.is_events(&wanted.name) && !subscribe.to_events {
                return Err(Refusal::Events);
            }
        }
        // As in the module: where their number is limited, wildcard channels only accompany others.
        if let Some(most) = subscribe.most_wildcards.or(self.limits.wildcard_channels)
            && wildcards > 0
            && (wildcards > most as usize || wildcards == found.len())
        {
            return Err(Refusal::Wildcards);
        }
        Ok(found)
    }

    /// Where the subscriber goes on, and whether it names a message that nobody knows.
    pub(super) fn start(&self, subscribe: Subscribe<'_>, found: &[Option<ChannelId>]) -> (Option<Position>, bool) {
        let Some(event_id) = subscribe.event_id else { return (subscribe.after, false) };
        let histories = found.iter().flatten().filter_map(|id| self.channels.get(*id)).map(|channel| &channel.history);
        let named = histories.filter_map(|history| {
            let is =
                |entry: &Entry| self.log.read(entry.address).is_some_and(|record| record.event_id == Some(event_id));
            history.newest((EVENT_IDS / found.len().max(1)).max(1)).find(is).map(|entry| entry.position)
        });
        if let Some(named) = named.min() {
            return (Some(named), false);
        }
        // Messages without an id of their own are known to event streams by their position.
        match (event_id.parse(), subscribe.after) {
            (Ok(position), _) => (Some(position), false),
            (Err(InvalidPosition), Some(after)) => (Some(after), false),
            (Err(InvalidPosition), None) => (Some(Position::START), true),
        }
    }

    pub(super) fn missed(&self, subscribe: Subscribe<'_>, found: &[Option<ChannelId>]) -> Batch {
        let (after, unknown) = self.start(subscribe, found);
        let mut gap = unknown || after.is_some_and(|after| after > self.head);
        let mut entries: Vec<(Entry, &ChannelName)> = Vec::new();
        let mut backlog = false;
        // A backlog cannot be asked for again, so that one that is cut is a gap.
        let limit = match subscribe.seat {
            Seat::Always(bytes) if subscribe.channels.iter().all(|wanted| wanted.backlog == 0) => bytes.min(ANSWER),
            _ => ANSWER,
        };
        for (wanted, id) in subscribe.channels.iter().zip(found) {
            let channel = id.and_then(|id| self.channels.get(id));
            if wanted.backlog > 0 {
                backlog = true;
                if let Some(channel) = channel {
                    let newest = channel.history.newest(wanted.backlog as usize).rev();
                    entries.extend(self.within(newest, ANSWER).map(|entry| (entry, &wanted.name)));
                }
            } else if let Some(after) = after {
                match channel {
                    Some(channel) => {
                        gap |= !channel.history.complete_after(after);
                        entries.extend(self.stored_after(channel, after, limit).map(|entry| (entry, &wanted.name)));
                    }
                    None => gap |= !History::new(self.watermark).complete_after(after),
                }
            }
        }
        let batch = self.batch(entries, gap, backlog, limit);
        match subscribe.feed {
            Feed::None => batch,
            feed => self.with_feeds(batch, subscribe.channels.iter().map(|wanted| &wanted.name), after, feed),
        }
    }

    /// Adds what is said of the members of the channels. Who begins is told first who is there: at a position before
    /// everything else, so that a reader who is cut off behind it misses nothing.
    fn with_feeds<'a>(
        &self,
        mut batch: Batch,
        channels: impl Iterator<Item = &'a ChannelName>,
        after: Option<Position>,
        feed: Feed,
    ) -> Batch {
        let mut rosters = Vec::new();
        let messages = batch.messages.len();
        for name in channels {
            match self.said_since(name, after, feed) {
                Missed::All(text) => rosters.push((name, text)),
                Missed::Later(said) => {
                    let said = said.into_iter().filter(|(position, _)| !batch.more || *position <= batch.position);
                    let said: Vec<Message> =
                        said.map(|(position, text)| message(name.clone(), position, &text)).collect();
                    batch.messages.extend(said);
                }
            }
        }
        if batch.messages.len() > messages {
            batch.messages.sort_by_key(|message| message.position);
        }
        if !batch.more {
            batch.position = match batch.messages.last() {
                Some(last) if !batch.gap && rosters.is_empty() => last.position,
                _ => self.head,
            };
        }
        if !rosters.is_empty() {
            let first = batch.messages.first().map(|first| first.position);
            let before = first.map_or(batch.position, |first| Position { tag: first.tag.saturating_sub(1), ..first });
            let rosters = rosters.into_iter().map(|(name, text)| message(name.clone(), before, &text));
            batch.messages.splice(0..0, rosters);
        }
        batch
    }

    pub(super) fn read_on(&self, seats: &[ChannelId], watches: bool, after: Position, bytes: usize) -> Batch {
        let bytes = bytes.min(ANSWER);
        let channels = seats.iter().filter_map(|id| self.channels.get(*id));
        let (mut gap, mut entries) = (false, Vec::new());
        for channel in channels {
            gap |= !channel.history.complete_after(after);
            entries.extend(self.stored_after(channel, after, bytes).map(|entry| (entry, &channel.name)));
        }
        let batch = self.batch(entries, gap, false, bytes);
        let batch = if watches {
            let names = seats.iter().filter_map(|id| self.channels.get(*id)).map(|channel| &channel.name);
            self.with_feeds(batch, names, Some(after), Feed::Since)
        } else {
            batch
        };
        if batch.more { batch } else { Batch { position: self.head, ..batch } }
    }

    pub(super) fn stored_after(&self, channel: &Channel, after: Position, limit: usize) -> impl Iterator<Item = Entry> {
        self.within(channel.history.after(after), limit)
    }

    /// Of one channel no more is looked at than can be sent, and one more, which says that there is more.
    pub(super) fn within(&self, entries: impl Iterator<Item = Entry>, limit: usize) -> impl Iterator<Item = Entry> {
        let (mut bytes, mut count) = (0, 0);
        entries.take_while(move |entry| {
            // The first is sent however large it is.
            let fits = bytes <= limit || count == 1;
            bytes += self.log.len_at(entry.address);
            count += 1;
            fits
        })
    }

    pub(super) fn batch(
        &self,
        mut entries: Vec<(Entry, &ChannelName)>,
        gap: bool,
        backlog: bool,
        limit: usize,
    ) -> Batch {
        entries.sort_unstable_by_key(|(entry, _)| entry.position);
        let cut = self.fit(&mut entries, backlog, limit);
        let mut messages = Vec::with_capacity(entries.len());
        messages.extend(entries.into_iter().filter_map(|(entry, name)| self.copy(name.clone(), entry.address)));
        let position = match messages.last() {
            Some(last) if !gap || cut => last.position,
            _ => self.head,
        };
        Batch { messages, position, gap: gap || (cut && backlog), more: cut && !backlog }
    }

    /// Bounds an answer to `limit` bytes: what comes later is asked for again from the answer's position, but a backlog is
    /// not, so there the oldest give way. True when something was cut.
    pub(super) fn fit<T>(&self, entries: &mut Vec<(Entry, T)>, keep_newest: bool, limit: usize) -> bool {
        if keep_newest {
            entries.reverse();
        }
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|(entry, _)| {
            bytes += self.log.len_at(entry.address);
            bytes <= limit
        });
        let keep = fitting.count().max(1);
        let cut = keep < entries.len();
        entries.truncate(keep);
        if keep_newest {
            entries.reverse();
        }
        cut
    }

    pub(super) fn copy(&self, channel: ChannelName, address: Address) -> Option<Message> {
        let record = self.log.read(address)?;
        Some(Message {
            channel,
            id: record.id,
            position: record.position,
            kind: record.kind,
            event: record.event.map(Into::into),
            event_id: record.event_id.map(Into::into),
            payload: record.payload.into(),
        })
    }
}
