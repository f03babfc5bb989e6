//! The sequencer: the one critical section of the hub.
//!
//! Whoever carries a publication enters it, stamps the message, appends it, and wakes the HTTP threads that have a seat in
//! the channel. A subscription enters it once for all its channels: what it missed, or its seats, so that no publication
//! falls between look-up and seat. Nothing here waits, does I/O or knows how a message is rendered.
//!
//! What is to outlive the hub lies in the journal: messages in the log, channels and keys in the registry. Each change of
//! it is such that the next hub finds a state without it or with it, wherever this one is killed: what is new is written
//! before what is old is marked dead, and that something may be missing is written before it is. See [`restore`].
//!
//! Where there is an events channel, it is told within the same entry that channels came and went and who subscribed. It
//! is told nothing about itself. Each namespace has one of its own.
//!
//! A thread that has seats is owed the messages of their channels in order: `owed` holds their addresses until the thread
//! has copied them out, even when the channel's history has already dropped them.

mod channels;
mod presence;
mod reading;
mod restore;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::access::{self, Access, Revoked, revocation};
use crate::call::{Status, StoredMessage};
use crate::channel::{
    Channel, ChannelId, ChannelInfo, ChannelName, ChannelOptions, Dedupe, Directory, Entry, Namespace, ThreadId,
};
use crate::control::Control;
use crate::error::{Error, Limit};
use crate::fanout::{Dismissal, Mailbox};
use crate::ingress::rings::Origin;
use crate::journal::{self, Region, Word};
use crate::lease::build;
use crate::log::{Address, Log, Record};
use crate::message::{Kind, Message, NewMessage, Position, Published};
use crate::metrics::Counters;
use crate::online::Secret;
use crate::presence::{Presence, Settings, Tick};
use crate::registry::{self, Registry};
use crate::shm::progress::{self, Progress};
use crate::store;
pub(crate) use presence::Guest;
pub(crate) use reading::{Batch, Feed, Refusal, Resume, Seat, Seats, Subscribe, Wanted};
use tokio::sync::Notify;

/// Messages of a batch that are published in one entry, if they have no more bytes than [`BATCH`].
const MANY: usize = 500;
/// Characters of a random name.
const RANDOM: usize = 22;
/// Messages that a thread may be behind before those publish no more who can wait. Each is an address of some 60 bytes.
const MOST_OWED: usize = 16 << 10;
/// Bytes of messages that are copied in or out in one entry.
const BATCH: usize = 256 << 10;
/// What putting a message out to one seat counts for in a batch, as bytes.
const SEAT: usize = 16;
/// Channels that are looked at in one entry for what has expired. Many may come to their end in the same second.
const EXPIRE: usize = 500;
/// Bytes of stored messages that go in one entry when `memory_limit` is lowered.
const STEP: u64 = 4 << 20;
/// Channels that are looked at in one entry for whom they belong to.
const OWNED: usize = 1000;
/// Why publications to the events channel, and whatever else would change it, are refused.
pub(crate) const READ_ONLY: &str = "Only internal routines can change events channel.";
/// The kinds of events.
const CREATED: &str = "channel_created";
const DESTROYED: &str = "channel_destroyed";
const SUBSCRIBED: &str = "client_subscribed";
const UNSUBSCRIBED: &str = "client_unsubscribed";
/// A channel is looked at after this many seconds at the latest, so that moved deadlines leave few stale ones behind.
const HORIZON: u32 = 300;

/// The settings that are enforced here; see the keys of the same names in [`crate::config`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// `memory_limit`, in bytes.
    pub memory: u64,
    /// `max_message_size`, in bytes.
    pub message_size: u64,
    /// `max_channel_id_length`, in bytes.
    pub channel_id_length: usize,
    /// `max_number_of_channels`
    pub channels: Option<u32>,
    /// `wildcard_channel_prefix`
    pub wildcard_prefix: Option<Arc<str>>,
    /// `max_number_of_wildcard_channels`
    pub wildcard_channels: Option<u32>,
    /// `events_channel_id`
    pub events: Option<ChannelName>,
    /// `max_subscribers_per_channel`
    pub subscribers_per_channel: Option<u32>,
    /// `max_messages_stored_per_channel`
    pub messages_per_channel: Option<u32>,
    /// `message_ttl`, in seconds.
    pub message_ttl: u32,
    /// `channel_inactivity_time`, in seconds.
    pub channel_inactivity: u32,
    /// `dedupe_window`, in seconds.
    pub dedupe_window: u32,
    /// `channel_deleted_message_text`
    pub deleted_text: Arc<[u8]>,
    /// How presence is kept.
    pub presence: Settings,
}

impl Limits {
    /// Wildcard channels are counted apart, and open to every subscriber.
    fn is_wildcard(&self, name: &str) -> bool {
        self.wildcard_prefix.as_ref().is_some_and(|prefix| name.starts_with(&**prefix))
    }

    fn is_events(&self, name: &str) -> bool {
        self.events.as_ref().is_some_and(|events| **events == *name)
    }
}

/// What an HTTP thread owes its seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// With the moment of its publication.
    Message(ChannelId, Message, Moment),
    /// The log gave up a message before the thread came to read it.
    Lost(ChannelId),
    Deleted(Deletion),
}

/// A channel is gone. Its seats are complete up to `position`: what came since in their other channels is owed after this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) channel: ChannelId,
    pub(crate) name: ChannelName,
    pub(crate) text: Arc<[u8]>,
    pub(crate) position: Position,
}

/// Counters of the whole hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) channels: u64,
    pub(crate) wildcard_channels: u64,
    /// Messages published since the start.
    pub(crate) published: u64,
    /// Messages stored now.
    pub(crate) stored: u64,
    /// Subscriptions open now: a connection counts in each of its channels.
    pub(crate) subscriptions: u64,
    /// Connections that have seats now.
    pub(crate) connections: u64,
    /// Times that a subscription or a thread found messages missing.
    pub(crate) gaps: u64,
    /// Stored messages that gave way to others.
    pub(crate) evicted: u64,
    /// Messages that subscribers were sent from the log, not when they came.
    pub(crate) delivered: u64,
    /// Bytes counted against `memory_limit`.
    pub(crate) memory: u64,
    /// Of these, bytes of the log.
    pub(crate) log: u64,
    /// Of these, bytes of the journal: log, channels and keys.
    pub(crate) journal: u64,
    /// Seconds since the start.
    pub(crate) uptime: u64,
    /// Members of all channels and of the site.
    pub(crate) members: u64,
    /// Joins and leaves since the start.
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    /// What the HTTP threads have not put out yet.
    pub(crate) owed: u64,
}

enum Owed {
    Message(ChannelId, ChannelName, Address, Moment),
    /// What the feed of the channel says there.
    Presence(ChannelId, ChannelName, Position, Moment),
    Deleted(Deletion),
}

/// One bit for each HTTP thread.
type Woken = u64;

/// See the module.
pub struct Sequencer {
    state: Mutex<State>,
    /// Of the limits, those that are looked at outside of the critical section.
    message_size: AtomicU64,
    longest_name: AtomicUsize,
    mailboxes: Box<[Arc<Mailbox>]>,
    /// What `status` says of the process.
    started: Instant,
    socket: String,
    events: Option<ChannelName>,
    access: Access,
    revoked: Arc<Revoked>,
    /// Something about who is online comes earlier than it was waited for.
    stirred: Notify,
    /// By which clients see who is online.
    shared: Option<(Secret, OwnedFd)>,
    /// Keeps the head for the hub that follows this one.
    control: Option<Arc<Control>>,
    /// How saving the journal goes, where it is saved.
    stored: Option<Arc<store::Progress>>,
    /// As that of the state.
    crowded: Arc<AtomicBool>,
}

impl Sequencer {
    /// For these HTTP threads, at most 64, with what stands in the journal. `start` is after every position given so far;
    /// of a new journal nothing before it is known. `socket` is shown by `status`. `stored` says that the journal is saved
    /// to a disk.
    ///
    /// # Errors
    /// The file is no journal, or the system does not map it.
    pub(crate) fn new(
        limits: Limits,
        mailboxes: Box<[Arc<Mailbox>]>,
        start: Position,
        socket: String,
        (journal, stored): (OwnedFd, bool),
        access: Access,
        control: Option<Arc<Control>>,
    ) -> io::Result<Self> {
        let events = limits.events.clone();
        let now = Moment::now().second();
        let (message_size, longest_name) = (limits.message_size.into(), limits.channel_id_length.into());
        let alive = || control.iter().for_each(|control| control.engine_lives());
        let mut state = State::restore(limits, mailboxes.len(), start, now, journal, stored, &alive)?;
        let shared = state.share_presence().inspect_err(|error| {
            tracing::warn!(%error, "clients cannot look up who is online, and have to ask");
        });
        let shared = shared.ok();
        let (revoked, crowded) = (state.revoked.clone(), state.crowded.clone());
        let (state, stirred, stored) = (Mutex::new(state), Notify::new(), stored.then(Arc::default));
        let started = Instant::now();
        Ok(Self {
            state,
            message_size,
            longest_name,
            mailboxes,
            started,
            socket,
            events,
            access,
            revoked,
            stirred,
            shared,
            control,
            stored,
            crowded,
        })
    }

    /// `max_message_size`
    pub(crate) fn message_size(&self) -> u64 {
        self.message_size.load(Relaxed)
    }

    /// `max_channel_id_length`
    pub(crate) fn longest_name(&self) -> usize {
        self.longest_name.load(Relaxed)
    }

    /// Signs and verifies tokens.
    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Which of them open nothing any more.
    pub(crate) fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Tokens that were issued until now open nothing any more: those of the user, for the channel, or both.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`]: there is no memory to remember it.
    pub(crate) fn revoke(&self, namespace: &Namespace, user: Option<&str>, channel: Option<&str>) -> Result<(), Error> {
        let key = revocation(namespace.as_str(), user, channel);
        self.change(|state, _| state.revoke(&key))
    }

    /// Has every HTTP thread end the connections that the order is about.
    pub(crate) fn dismiss(&self, order: &Arc<Dismissal>) {
        self.mailboxes.iter().for_each(|mailbox| mailbox.order(order.clone()));
    }

    /// The channel of this name, if there is one.
    pub(crate) fn find(&self, channel: &ChannelName) -> Option<ChannelId> {
        self.change(|state, now| state.find(now, channel))
    }

    /// The channels that belong to the user of this namespace.
    pub(crate) fn owned_by(&self, namespace: &Namespace, user: &str) -> HashSet<ChannelId> {
        let (mut owned, mut slot) = (HashSet::new(), 0);
        // In parts: publishers want in, too.
        while let Some(part) = self.enter().channels.part(slot, OWNED) {
            let owners = part.filter(|channel| {
                let owner = channel.created.as_ref().and_then(|options| options.owner.as_deref());
                owner == Some(user) && channel.name.namespace() == namespace.as_str()
            });
            owned.extend(owners.map(|channel| channel.id));
            slot += OWNED;
        }
        owned
    }

    /// Publishes to the channel, which is created if need be.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::LimitExceeded`], [`Error::InvalidName`], [`Error::InvalidArgument`],
    /// [`Error::AccessDenied`] for the events channel.
    pub fn publish(&self, channel: &ChannelName, message: &NewMessage<'_>) -> Result<Published, Error> {
        self.publish_for(None, channel, message)
    }

    /// The same for a client's call, which takes effect once, by however many hubs it is made.
    pub(crate) fn publish_for(
        &self,
        origin: Option<Origin<'_>>,
        channel: &ChannelName,
        message: &NewMessage<'_>,
    ) -> Result<Published, Error> {
        if let Some(words) = origin.and_then(|origin| origin.progress.result(0)) {
            return Ok(Published::from_words(words));
        }
        self.change(|state, now| {
            let (published, woken) = state.publish(origin, now, channel, message)?;
            state.woken |= woken;
            Ok(published)
        })
    }

    /// Publishes all messages in this order, or none when one of them is refused.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), for the first message that is refused.
    pub fn publish_many(&self, messages: &[(ChannelName, NewMessage<'_>)]) -> Result<Vec<Published>, Error> {
        self.publish_many_for(None, messages)
    }

    /// The same for a client's call: what a hub before this one published of it is not published again.
    pub(crate) fn publish_many_for(
        &self,
        origin: Option<Origin<'_>>,
        messages: &[(ChannelName, NewMessage<'_>)],
    ) -> Result<Vec<Published>, Error> {
        let mut all = Vec::with_capacity(messages.len());
        let done = origin.map_or(0, |origin| origin.progress.parts()).min(messages.len() as u64);
        let results = (0..done).filter_map(|part| origin?.progress.result(part));
        all.extend(results.map(Published::from_words));
        let (done, messages) = messages.split_at(done as usize);
        let unknown = done.len() - all.len();
        self.change(|state, now| state.admit(now, messages))?;
        let mut rest = messages;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest.iter().take(MANY).take_while(|(_, message)| {
                bytes += message.weight();
                bytes <= BATCH
            });
            let (part, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            self.change(|state, now| {
                for (channel, message) in part {
                    let (published, woken) = state.publish(origin, now, channel, message)?;
                    all.push(published);
                    state.woken |= woken;
                }
                Ok::<(), Error>(())
            })?;
        }
        if unknown > 0 {
            let text = "the hub ended during the call: all messages are published, but it is not known where";
            return Err(Error::HubUnavailable(text.to_owned()));
        }
        Ok(all)
    }

    /// Sees whether messages of these sizes can be published, and makes room for their channels.
    ///
    /// # Errors
    /// As [`publish_many`](Self::publish_many).
    pub(crate) fn admit(&self, messages: &[(ChannelName, u64)]) -> Result<(), Error> {
        self.change(|state, now| {
            messages.iter().try_for_each(|(_, len)| state.check_len(*len))?;
            state.admit_channels(now, messages.iter().map(|(name, _)| name))
        })
    }

    /// Drops the channel's stored messages and says how many there were. Its subscribers stay.
    ///
    /// # Errors
    /// [`Error::AccessDenied`] for the events channel.
    pub fn clear_channel(&self, channel: &ChannelName) -> Result<u64, Error> {
        self.clear_channel_for(None, channel)
    }

    /// As [`publish_for`](Self::publish_for).
    pub(crate) fn clear_channel_for(&self, origin: Option<Origin<'_>>, channel: &ChannelName) -> Result<u64, Error> {
        let [count, ..] = self.once(origin, |state, now| Ok([state.clear(now, channel)?, 0, 0]))?;
        Ok(count)
    }

    /// Does what a call asks for, unless the hub before this one did: then its result is that of then. Nobody can have seen the one
    /// without the other.
    fn once(
        &self,
        origin: Option<Origin<'_>>,
        work: impl FnOnce(&mut State, u32) -> Result<[u64; progress::RESULT], Error>,
    ) -> Result<[u64; progress::RESULT], Error> {
        if let Some(words) = origin.and_then(|origin| origin.progress.result(0)) {
            return Ok(words);
        }
        self.change_at(|state, now| {
            let words = work(state, now.second)?;
            if let Some(Origin { progress, .. }) = origin {
                progress.carried_out(words);
            }
            Ok(words)
        })
    }

    /// Counters of the namespace's channels whose names begin with `prefix` and come after `after`, in the order of their
    /// names.
    pub fn list_channels(&self, namespace: &Namespace, prefix: &str, after: &str, limit: usize) -> Vec<ChannelInfo> {
        self.change(|state, now| state.list(now, namespace, prefix, after, limit))
    }

    /// The channel's stored messages after the position, oldest first, at most `limit` and [`MAX_PAGE`] bytes.
    pub fn history(&self, channel: &ChannelName, after: Position, limit: usize) -> Vec<StoredMessage> {
        let page = self.change(|state, now| state.history(now, channel, after, limit));
        let stored = page.into_iter().map(|message| StoredMessage {
            id: message.id,
            position: message.position,
            kind: message.kind,
            event: message.event.map(Into::into),
            event_id: message.event_id.map(Into::into),
            payload: message.payload.into(),
        });
        stored.collect()
    }

    /// Creates the channel, or gives an existing one these options. Without a name it gets an unguessable one, in the empty
    /// namespace.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`], [`Error::InvalidName`], [`Error::InvalidArgument`], [`Error::AccessDenied`] for the events
    /// channel.
    pub fn create_channel(&self, name: Option<ChannelName>, options: ChannelOptions) -> Result<ChannelName, Error> {
        self.create_channel_for(None, &Namespace::default(), name, options)
    }

    /// The same in a namespace; for a client's call as [`publish_for`](Self::publish_for).
    pub(crate) fn create_channel_for(
        &self,
        origin: Option<Origin<'_>>,
        namespace: &Namespace,
        name: Option<ChannelName>,
        options: ChannelOptions,
    ) -> Result<ChannelName, Error> {
        if let Some(name) = name {
            self.once(origin, |state, now| state.create(now, name.clone(), options).map(|()| [0; 3]))?;
            return Ok(name);
        }
        let named = |text: [u8; RANDOM]| ChannelName::within(namespace, &text, RANDOM);
        let text = random_text()?;
        let words = self.once(origin, |state, now| {
            state.create(now, named(text)?, options)?;
            Ok(words_of(text))
        })?;
        Ok(named(text_of(words))?)
    }

    /// Deletes the channel with its messages and tells its subscribers `text`, or `channel_deleted_message_text`. False
    /// when there is none.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::AccessDenied`] for the events channel.
    pub fn delete_channel(&self, channel: &ChannelName, text: Option<&[u8]>) -> Result<bool, Error> {
        self.delete_channel_for(None, channel, text)
    }

    /// As [`publish_for`](Self::publish_for).
    pub(crate) fn delete_channel_for(
        &self,
        origin: Option<Origin<'_>>,
        channel: &ChannelName,
        text: Option<&[u8]>,
    ) -> Result<bool, Error> {
        let [existed, ..] = self.once(origin, |state, now| {
            state.check_size(text.unwrap_or_default())?;
            let deleted = state.delete(now, channel, text)?;
            state.woken |= deleted.unwrap_or_default();
            Ok([u64::from(deleted.is_some()), 0, 0])
        })?;
        Ok(existed != 0)
    }

    /// The channel's counters.
    pub fn channel_info(&self, channel: &ChannelName) -> Option<ChannelInfo> {
        self.change(|state, now| {
            let id = state.find(now, channel)?;
            state.channels.get(id).map(Channel::info)
        })
    }

    /// Whether this is an events channel, which only the hub changes.
    pub(crate) fn is_events_channel(&self, channel: &ChannelName) -> bool {
        self.events.as_deref() == Some(channel)
    }

    /// The position of the newest message of all.
    pub fn head(&self) -> Position {
        self.enter().head
    }

    /// Notes what the hub before this one stored for the client and could not note itself.
    pub(crate) fn complete(&self, client: u64, progress: &Progress) {
        self.enter().complete(client, progress);
    }

    /// Counters of the hub.
    pub fn status(&self) -> Status {
        let state = self.enter();
        Status {
            version: build().to_owned(),
            pid: std::process::id(),
            socket: self.socket.clone(),
            uptime: self.started.elapsed().as_secs(),
            channels: state.channels.len() as u64,
            subscribers: state.subscribers,
            messages: state.stored(),
            memory: state.memory() as u64,
            position: state.head,
        }
    }

    /// Counters of the hub, as statistics tell them.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.enter();
        let (members, joins, leaves) = state.presence.counters();
        Totals {
            channels: (state.channels.len() - state.wildcards) as u64,
            wildcard_channels: state.wildcards as u64,
            published: state.published,
            stored: state.stored(),
            subscriptions: state.subscribers,
            connections: state.connections,
            gaps: state.gaps,
            evicted: state.evicted,
            delivered: state.delivered,
            memory: state.memory() as u64,
            log: state.log.allocated() as u64,
            journal: (state.log.allocated() + state.registry.allocated() + state.journal.kept()) as u64,
            uptime: self.started.elapsed().as_secs(),
            members,
            joins,
            leaves,
            owed: state.owed.iter().map(|owed| owed.len() as u64).sum(),
        }
    }

    /// What each HTTP thread counts.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.mailboxes.iter().map(|mailbox| &mailbox.counters)
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.counters().map(Counters::connections).sum()
    }

    /// What the subscriber missed, or a seat in each of its channels. One step for the whole set, so that no publication
    /// falls between look-up and seat, nor between two of the channels.
    pub(crate) fn resume_or_wait(&self, thread: ThreadId, subscribe: Subscribe<'_>) -> Result<Resume, Refusal> {
        self.change_at(|state, now| {
            let resume = state.resume_or_wait(now.second, thread, subscribe);
            if let Ok(Resume::Now(batch) | Resume::Seated(batch, ..)) = &resume {
                state.count(batch);
            }
            resume
        })
    }

    /// To whom the first of these channels that is somebody's belongs.
    pub(crate) fn owner_of(&self, channels: &[Wanted]) -> Option<Arc<str>> {
        if channels.is_empty() {
            return None;
        }
        let state = self.enter();
        channels.iter().find_map(|wanted| {
            let channel = state.channels.get(state.channels.find(&wanted.name)?)?;
            channel.created.as_ref()?.owner.as_deref().map(Into::into)
        })
    }

    /// What was stored in the seats' channels after the position: of `bytes` about, and one message at least. `watches`: and
    /// what was said of their members.
    pub(crate) fn read_on(&self, seats: &[ChannelId], watches: bool, after: Position, bytes: usize) -> Batch {
        let mut state = self.enter();
        let batch = state.read_on(seats, watches, after, bytes);
        state.count(&batch);
        batch
    }

    /// Publishes to those of the seats' channels that still are, all or none; or to the `one` of them with this name. The
    /// events channel is left out.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`Error::AccessDenied`] where none of them has the name.
    pub(crate) fn publish_to(
        &self,
        seats: &[ChannelId],
        one: Option<&str>,
        message: &NewMessage<'_>,
    ) -> Result<(), Error> {
        let state = self.enter();
        let others = seats.iter().filter(|id| !state.events.contains(id));
        let channels = others.filter_map(|id| state.channels.get(*id));
        let names = channels.map(|channel| &channel.name).filter(|name| one.is_none_or(|one| &***name == one));
        let batch: Vec<_> = names.map(|name| (name.clone(), *message)).collect();
        drop(state);
        if let Some(one) = one.filter(|_| batch.is_empty()) {
            return Err(Error::AccessDenied(format!("the connection has no channel \"{one}\"")));
        }
        self.publish_many(&batch).map(drop)
    }

    /// The head, when the thread is owed nothing: then all of its seats are complete up to there.
    pub(crate) fn complete_to(&self, thread: ThreadId) -> Option<Position> {
        let state = self.enter();
        state.owed[usize::from(thread)].is_empty().then_some(state.head)
    }

    /// Gives the seats of each of these connections back. The answer is the head when the thread is owed nothing: then its seats were complete up to there.
    pub(crate) fn unseat<Seats: IntoIterator<Item = ChannelId>>(
        &self,
        thread: ThreadId,
        connections: impl IntoIterator<Item = (Guest, Seats)>,
    ) -> Option<Position> {
        self.change_at(|state, now| {
            // Before others are told that these leave: that they are told themselves no more.
            let complete = state.owed[usize::from(thread)].is_empty().then_some(state.head);
            for (guest, seats) in connections {
                state.unseat(now.second, thread, guest, seats);
            }
            complete
        })
    }

    /// Appends to `events` what the thread is owed, in order. True when there is more. `seats` tells how many seats the
    /// thread has in a channel: what goes to many of them is a batch sooner.
    pub(crate) fn take_owed(
        &self,
        thread: ThreadId,
        events: &mut Vec<Event>,
        seats: impl Fn(ChannelId) -> usize,
    ) -> bool {
        let mut state = self.enter();
        let more = state.take_owed(thread, events, seats);
        let relieved = state.relieve();
        drop(state);
        if relieved {
            self.mailboxes.iter().for_each(|mailbox| mailbox.wake());
        }
        more
    }

    /// Whether a thread is so far behind that publications wait where they can. All threads are woken when that is over.
    pub(crate) fn is_crowded(&self) -> bool {
        // Pairs with the store in `relieve`, after which the threads are woken: who finds it crowded is woken later.
        self.crowded.load(Ordering::Acquire)
    }

    /// Expires some of what is due and says how many bytes of messages that freed. True when there is more.
    pub(crate) fn expire(&self) -> (usize, bool) {
        self.change(State::expire)
    }

    /// Enforces other limits from now on: on what comes, and that of the memory on what is stored.
    pub(crate) fn set_limits(&self, limits: Limits) {
        self.message_size.store(limits.message_size, Relaxed);
        self.longest_name.store(limits.channel_id_length, Relaxed);
        let memory = limits.memory;
        {
            let mut state = self.enter();
            state.presence.set(limits.presence);
            let before = state.limits.memory;
            state.limits = Limits { memory: before.max(memory), ..limits };
        }
        // In parts, so that nobody waits until all of it is gone.
        while self.change(|state, _| state.approach(memory)) {}
    }

    /// Lets go of the journal: another hub goes on with it. Whoever enters after that ends this hub, which has nothing to
    /// lose any more. Gives the head.
    pub(crate) fn retire(&self) -> io::Result<Position> {
        let mut state = self.enter();
        let head = state.head;
        let nothing = journal::create(0)?;
        *state = State::restore(state.limits.clone(), self.mailboxes.len(), head, 0, nothing, false, &|| ())?;
        state.retired = true;
        Ok(head)
    }

    /// How saving the journal goes; nothing where it is not.
    pub(crate) fn stored(&self) -> Option<&Arc<store::Progress>> {
        self.stored.as_ref()
    }

    /// The journal, and with `work` what no operation is in the middle of.
    pub(crate) fn with_journal<T>(&self, work: impl FnOnce(&Arc<Region>) -> T) -> T {
        work(&self.enter().journal)
    }

    fn enter(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().expect("a panic inside the critical section ends the hub");
        assert!(!state.retired, "the engine was handed over to another hub");
        state
    }

    /// Enters for what may move the head, and wakes whom that concerns.
    fn change<T>(&self, work: impl FnOnce(&mut State, u32) -> T) -> T {
        let entered = Moment::now();
        let mut state = self.enter();
        state.entered = entered;
        let result = work(&mut state, entered.second());
        if let Some(control) = &self.control {
            control.position(state.head);
        }
        let woken = std::mem::take(&mut state.woken);
        let stirred = std::mem::take(&mut state.stirred);
        drop(state);
        self.wake(woken);
        if stirred {
            self.stirred.notify_one();
        }
        result
    }

    fn wake(&self, mut woken: Woken) {
        while woken != 0 {
            self.mailboxes[woken.trailing_zeros() as usize].wake();
            woken &= woken - 1;
        }
    }
}

/// Microseconds since 1970, by the clock that also gives messages their second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn second(self) -> u32 {
        u32::try_from(self.0 / 1_000_000).unwrap_or(u32::MAX)
    }

    /// Nothing when the clock was set back.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// 128 random bits in the URL-safe base64 alphabet.
fn random_text() -> Result<[u8; RANDOM], Error> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).map_err(|error| Error::HubUnavailable(format!("no random numbers: {error}")))?;
    Ok(bytes.map(|byte| ALPHABET[usize::from(byte & 63)]))
}

/// A random name, as its client's progress keeps it.
fn words_of(text: [u8; RANDOM]) -> [u64; progress::RESULT] {
    let mut bytes = [[0; 8]; progress::RESULT];
    bytes.as_flattened_mut()[..RANDOM].copy_from_slice(&text);
    bytes.map(u64::from_ne_bytes)
}

fn text_of(words: [u64; progress::RESULT]) -> [u8; RANDOM] {
    let bytes = words.map(u64::to_ne_bytes);
    *bytes.as_flattened().first_chunk().expect("three words are longer")
}

/// The position after `head`: time never goes backwards, and a second that is full borrows from the next.
fn next(head: Position, now: u32) -> Position {
    match head.tag.checked_add(1) {
        _ if now > head.time => Position { time: now, tag: 1 },
        Some(tag) => Position { time: head.time, tag },
        None => Position { time: head.time.saturating_add(1), tag: 1 },
    }
}

struct State {
    limits: Limits,
    journal: Arc<Region>,
    log: Log,
    registry: Registry,
    channels: Directory,
    /// How many of them are wildcard channels.
    wildcards: usize,
    /// Those that are told of the others of their namespaces. That of the empty namespace never goes.
    events: Vec<ChannelId>,
    head: Position,
    /// Of channels that are gone, messages up to here may have been stored.
    watermark: Position,
    owed: Box<[VecDeque<Owed>]>,
    /// A thread was owed more than `MOST_OWED`, and not all of them are down to half of it. Changed within the critical section,
    /// read beside it.
    crowded: Arc<AtomicBool>,
    /// The threads that are owed something since the last entry ended.
    woken: Woken,
    /// When this entry began.
    entered: Moment,
    /// The same on the clock of presence, for an entry that may change it.
    tick: Tick,
    presence: Presence,
    /// When presence is looked at the next time.
    alarm: Tick,
    /// That is too late.
    stirred: bool,
    /// The channels that have something to expire, by second.
    deadlines: BTreeMap<u32, VecDeque<ChannelId>>,
    dedupe: Dedupe,
    /// Read beside the critical section, and changed within it.
    revoked: Arc<Revoked>,
    revoked_bytes: usize,
    /// Bytes of channels and their histories.
    channel_bytes: usize,
    subscribers: u64,
    /// Who has these subscriptions.
    connections: u64,
    stored: u64,
    /// Since the start, as in [`Totals`].
    published: u64,
    delivered: u64,
    gaps: u64,
    evicted: u64,
    /// What the hub before this one did last for a client, if that can have been its end.
    last: Option<Last>,
    /// The journal is another hub's.
    retired: bool,
}

/// A message that a hub stored, and may not have noted in its client's progress.
struct Last {
    client: u64,
    call: u64,
    part: u64,
    published: Published,
}

impl State {
    /// The events channel of this name, made if need be. `None` without memory.
    fn open_events_channel(&mut self, now: u32, name: &ChannelName) -> Option<ChannelId> {
        let id = match self.channels.find(name).map_or_else(|| self.insert(now, name), Ok) {
            Ok(id) => id,
            Err(limit) => {
                tracing::error!("there is no room for the events channel: {limit}");
                return None;
            }
        };
        let channel = self.channels.get_mut(id).expect("just found");
        self.channel_bytes -= channel.allocated();
        // As if the backend had made it: it is there for subscribers before it holds a message.
        channel.created.get_or_insert_default();
        self.channel_bytes += channel.allocated();
        if !self.events.contains(&id) {
            self.events.push(id);
        }
        Some(id)
    }

    /// Whether the channel stays although nobody uses it. Namespaces come and go with their clients, and so do their events
    /// channels.
    fn is_permanent(&self, id: ChannelId) -> bool {
        let stays = |id: &ChannelId| self.channels.get(*id).is_some_and(|channel| channel.name.namespace().is_empty());
        self.events.contains(&id) && stays(&id)
    }

    fn count(&mut self, sent: &Batch) {
        self.delivered += sent.messages.len() as u64;
        self.gaps += u64::from(sent.gap);
    }

    /// Stored messages, without those of the hub itself.
    fn stored(&self) -> u64 {
        let events = self.events.iter().filter_map(|id| self.channels.get(*id));
        self.stored - events.map(|events| events.history.len() as u64).sum::<u64>()
    }

    fn memory(&self) -> usize {
        self.log.allocated()
            + self.registry.allocated()
            + self.journal.kept()
            + self.channel_bytes
            + self.dedupe.allocated()
            + self.revoked_bytes
            + self.presence.allocated()
    }

    fn complete(&mut self, client: u64, progress: &Progress) {
        if let Some(last) = self.last.take_if(|last| last.client == client)
            && progress.call() == Some(last.call)
            && progress.parts() == last.part
        {
            progress.carried_out(last.published.words());
        }
    }

    /// Publishes a message, and notes in its client's progress that it did: one of the two the next hub sees.
    fn publish(
        &mut self,
        origin: Option<Origin<'_>>,
        now: u32,
        name: &ChannelName,
        message: &NewMessage<'_>,
    ) -> Result<(Published, Woken), Error> {
        self.check(message)?;
        self.check_changeable(name)?;
        let id = self.find_or_create(now, name)?;
        let done = self.publish_in(origin, now, id, name, message)?;
        if let Some(Origin { progress, .. }) = origin {
            progress.carried_out(done.0.words());
        }
        Ok(done)
    }

    /// Tells the events channel of its namespace what became of a channel.
    fn tell(&mut self, now: u32, kind: &'static str, channel: &ChannelName) {
        let Some(events) = self.limits.events.as_ref().filter(|events| ***events != **channel) else { return };
        let name = channel.beside(events);
        let known = self.channels.find(&name).filter(|id| self.events.contains(id));
        let Some(id) = known.or_else(|| self.open_events_channel(now, &name)) else { return };
        let mut text = format!("{{\"type\": \"{kind}\", \"channel\": ").into_bytes();
        serde_json::to_writer(&mut text, &**channel).expect("writing text to memory");
        text.push(b'}');
        let message = NewMessage { kind: Kind::Json, event: Some(kind), ..NewMessage::new(&text) };
        // Without memory nobody is told.
        if let Ok((_, woken)) = self.publish_in(None, now, id, &name, &message) {
            self.woken |= woken;
        }
    }

    fn publish_in(
        &mut self,
        origin: Option<Origin<'_>>,
        now: u32,
        id: ChannelId,
        name: &ChannelName,
        message: &NewMessage<'_>,
    ) -> Result<(Published, Woken), Error> {
        if let Some(key) = message.dedupe {
            self.forget_keys(now);
            if let Some(published) = self.dedupe.find(id, key) {
                return Ok((published, 0));
            }
        }
        let channel = self.channels.get(id).expect("just found");
        let ttl = message.ttl.or_else(|| channel.created.as_ref().and_then(|options| options.message_ttl));
        let woken = channel.woken();
        let published =
            Published { id: channel.published + 1, position: next(self.head, now), subscribers: channel.subscribers() };
        let record = Record {
            slot: id.slot(),
            birth: id.birth(),
            id: published.id,
            position: published.position,
            expires: now.saturating_add(ttl.unwrap_or(self.limits.message_ttl)),
            kind: message.kind,
            event: message.event,
            event_id: message.event_id,
            payload: message.payload,
        };
        let wanted = message.store || woken != 0;
        let key = message.dedupe.map_or(0, |key| Dedupe::cost(key) + self.registry.cost(key.len()));
        self.make_room(key + size_of::<Entry>(), wanted.then(|| record.len()));
        self.begin(origin);
        let done = self.carry_out(now, id, name, message, published, wanted.then_some(&record), woken);
        self.journal.store(Word::Head, self.head.pack());
        self.journal.store(Word::Busy, 0);
        done?;
        self.tidy();
        Ok((published, woken))
    }

    /// Says in the journal what comes next, and who asked for it.
    fn begin(&self, origin: Option<Origin<'_>>) {
        self.journal.store(Word::Client, 0);
        self.journal.store(Word::Before, self.head.pack());
        if let Some(Origin { client, progress }) = origin {
            self.journal.store(Word::Call, progress.call().unwrap_or_default());
            self.journal.store(Word::Part, progress.parts());
            self.journal.store(Word::Client, client);
        }
        self.journal.store(Word::Busy, 1);
    }

    /// A key goes before its message: the next hub forgets a key without message if this one was killed in between.
    #[allow(clippy::too_many_arguments, reason = "all of it was found out by its one caller, and must not be again")]
    fn carry_out(
        &mut self,
        now: u32,
        id: ChannelId,
        name: &ChannelName,
        message: &NewMessage<'_>,
        published: Published,
        record: Option<&Record<'_>>,
        woken: Woken,
    ) -> Result<(), Error> {
        let full = Error::LimitExceeded(Limit::Memory(self.limits.memory));
        let key = match message.dedupe {
            None => None,
            Some(key) => {
                let expires = now.saturating_add(self.limits.dedupe_window);
                let entry = registry::Entry::Key { channel: id, key, published, expires };
                Some((key, expires, self.registry.add(&entry, None).ok_or_else(|| full.clone())?))
            }
        };
        let address = match record {
            None => None,
            Some(record) => match self.log.append(record, message.store) {
                Some(address) => Some(address),
                None => {
                    key.into_iter().for_each(|(.., entry)| self.registry.release(entry));
                    return Err(full);
                }
            },
        };
        if let Some((key, expires, entry)) = key {
            self.dedupe.insert(expires, id, key, published, entry);
        }
        self.head = published.position;
        let channel = self.channels.get_mut(id).expect("just found");
        channel.published = published.id;
        self.published += u64::from(!self.events.contains(&id));
        channel.last = published.position;
        channel.used = now;
        let counters = channel.counters();
        self.registry.set_counters(channel.record, counters);
        let (Some(record), Some(address)) = (record, address) else { return Ok(()) };
        for (thread, owed) in self.owed.iter_mut().enumerate() {
            if woken & 1 << thread != 0 {
                owed.push_back(Owed::Message(id, name.clone(), address, self.entered));
                if owed.len() > MOST_OWED {
                    self.crowded.store(true, Ordering::Relaxed);
                }
            }
        }
        if message.store {
            self.store(now, id, Entry { position: published.position, address, expires: record.expires });
        }
        Ok(())
    }

    fn forget_keys(&mut self, now: u32) {
        let registry = &mut self.registry;
        self.dedupe.expire(now, |entry| registry.release(entry));
    }

    fn revoke(&mut self, key: &str) -> Result<(), Error> {
        let full = Error::LimitExceeded(Limit::Memory(self.limits.memory));
        let needed = Revoked::cost(key) + self.registry.cost(key.len());
        self.make_room(needed, None);
        if (self.memory() + needed) as u64 > self.limits.memory {
            return Err(full);
        }
        let at = self.revoked.revoke(access::now());
        let record = self.registry.add(&registry::Entry::Revoked { key, at }, None).ok_or(full)?;
        match self.revoked.insert(key, at, record) {
            Some(old) => self.registry.release(old),
            None => self.revoked_bytes += Revoked::cost(key),
        }
        self.tidy();
        Ok(())
    }

    fn check_size(&self, payload: &[u8]) -> Result<(), Error> {
        self.check_len(payload.len() as u64)
    }

    fn check_len(&self, len: u64) -> Result<(), Error> {
        let limit = self.limits.message_size;
        if len > limit { Err(Error::TooLarge { len, limit }) } else { Ok(()) }
    }

    fn check_changeable(&self, name: &str) -> Result<(), Error> {
        if self.limits.is_events(name) { Err(Error::AccessDenied(READ_ONLY.to_owned())) } else { Ok(()) }
    }

    fn check(&self, message: &NewMessage<'_>) -> Result<(), Error> {
        self.check_size(message.payload)?;
        message.check()
    }

    fn store(&mut self, now: u32, id: ChannelId, entry: Entry) {
        let channel = self.channels.get_mut(id).expect("still in the same entry");
        let most = channel.created.as_ref().and_then(|options| options.max_messages);
        let most = most.or(self.limits.messages_per_channel).map_or(usize::MAX, |most| most as usize);
        let before = channel.history.allocated();
        let (log, registry, stored) = (&mut self.log, &mut self.registry, &mut self.stored);
        let record = channel.record;
        channel.history.expire(now, |entry, complete_since| {
            registry.set_complete_since(record, complete_since);
            log.release(entry.address);
            *stored -= 1;
        });
        while channel.history.len() >= most
            && let Some(entry) = channel.history.pop_oldest()
        {
            registry.set_complete_since(channel.record, channel.history.complete_since());
            log.release(entry.address);
            *stored -= 1;
        }
        channel.history.push(entry);
        self.stored += 1;
        self.channel_bytes = self.channel_bytes + channel.history.allocated() - before;
        self.arm(now, id);
    }

    /// Drops the oldest segments until `bytes` more and a record of this length fit into `memory_limit`, or nothing is left
    /// to drop.
    fn make_room(&mut self, bytes: usize, record: Option<usize>) {
        let full = |state: &Self| {
            let needed = state.memory() + bytes + record.map_or(0, |len| state.log.cost(len));
            needed as u64 > state.limits.memory || record.is_some_and(|len| !state.log.has_place(len))
        };
        while full(self) {
            if self.journal.give_back() {
                continue;
            }
            let before = self.stored;
            let (channels, registry) = (&mut self.channels, &mut self.registry);
            let (channel_bytes, stored) = (&mut self.channel_bytes, &mut self.stored);
            let evicted = self.log.evict(|record, address| {
                let id = ChannelId::new(record.slot, record.birth);
                let Some(channel) = channels.get_mut(id) else { return };
                let (len, allocated) = (channel.history.len(), channel.history.allocated());
                channel.history.evict(address);
                registry.set_complete_since(channel.record, channel.history.complete_since());
                *stored -= (len - channel.history.len()) as u64;
                *channel_bytes = *channel_bytes + channel.history.allocated() - allocated;
            });
            self.evicted += before - self.stored;
            if !evicted {
                return;
            }
        }
    }

    /// A step towards another `memory_limit`. True when there is more to do.
    fn approach(&mut self, limit: u64) -> bool {
        let now = self.memory() as u64;
        self.limits.memory = limit.max(now.saturating_sub(STEP));
        self.make_room(0, None);
        if self.limits.memory > limit && (self.memory() as u64) < now {
            return true;
        }
        // Or nothing is left to give way.
        self.limits.memory = limit;
        false
    }

    fn tidy(&mut self) {
        if self.log.is_untidy() {
            // Only now: to find it can mean to pass over all that a thread is owed.
            let pinned = self.owed.iter().filter_map(|owed| {
                owed.iter().find_map(|owed| match owed {
                    Owed::Message(_, _, address, _) => Some(address.segment),
                    Owed::Presence(..) | Owed::Deleted(..) => None,
                })
            });
            let pinned = pinned.min();
            let channels = &mut self.channels;
            self.log.tidy(pinned, |bytes, from, to| {
                let Some(record) = Record::decode(bytes) else { return false };
                let channel = channels.get_mut(ChannelId::new(record.slot, record.birth));
                channel.is_some_and(|channel| channel.history.relocate(record.position, from, to))
            });
        }
        let (channels, dedupe, presence) = (&mut self.channels, &mut self.dedupe, &mut self.presence);
        let revoked = &self.revoked;
        self.registry.tidy(|entry, from, to| match entry {
            registry::Entry::Channel { id, .. } => {
                let channel = channels.get_mut(id).filter(|channel| channel.record == from);
                channel.map(|channel| channel.record = to).is_some()
            }
            registry::Entry::Key { channel, key, .. } => dedupe.relocate(channel, key, from, to),
            registry::Entry::Revoked { key, .. } => revoked.relocate(key, from, to),
            registry::Entry::Member { namespace, channel, user, .. } => {
                let place = presence::place(namespace, channel);
                place.is_some_and(|place| presence.relocate(&place, user, from, to))
            }
        });
    }

    /// A connection leaves its seats.
    fn unseat(&mut self, now: u32, thread: ThreadId, guest: Guest, seats: impl IntoIterator<Item = ChannelId>) {
        let moment = self.moment(now);
        self.connections -= 1;
        let mut left: Vec<ChannelName> = Vec::new();
        for id in seats {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            channel.unseat(thread);
            channel.used = now;
            let (empty, name) = (channel.seats.is_empty(), channel.name.clone());
            self.subscribers -= 1;
            if empty {
                self.arm(now, id);
            }
            if guest.is_somebody() {
                self.leave_channel(moment, thread, guest, &name);
            }
            if self.limits.events.is_some() && !self.events.contains(&id) {
                left.push(name);
            }
        }
        self.leave_site(moment, guest);
        left.iter().for_each(|name| self.tell(now, UNSUBSCRIBED, name));
    }

    fn take_owed(&mut self, thread: ThreadId, events: &mut Vec<Event>, seats: impl Fn(ChannelId) -> usize) -> bool {
        let mut bytes = 0;
        while bytes < BATCH
            && let Some(owed) = self.owed[usize::from(thread)].pop_front()
        {
            match owed {
                Owed::Message(id, name, address, published) => match self.copy(name, address) {
                    Some(message) => {
                        bytes += message.payload.len() + size_of::<Event>() + seats(id) * SEAT;
                        events.push(Event::Message(id, message, published));
                    }
                    None => {
                        self.gaps += 1;
                        events.push(Event::Lost(id));
                    }
                },
                Owed::Presence(id, name, position, said) => match self.said(name, position) {
                    Some(message) => {
                        bytes += message.payload.len() + size_of::<Event>() + seats(id) * SEAT;
                        events.push(Event::Message(id, message, said));
                    }
                    // The feed has said more since than it keeps: its readers begin again.
                    None => events.push(Event::Lost(id)),
                },
                Owed::Deleted(deletion) => events.push(Event::Deleted(deletion)),
            }
        }
        let more = !self.owed[usize::from(thread)].is_empty();
        if !more {
            self.owed[usize::from(thread)].shrink_to(1024);
            self.tidy();
        }
        more
    }

    /// Whether it was crowded until now.
    fn relieve(&mut self) -> bool {
        let relieved = self.crowded.load(Ordering::Relaxed) && self.owed.iter().all(|owed| owed.len() <= MOST_OWED / 2);
        if relieved {
            self.crowded.store(false, Ordering::Release);
        }
        relieved
    }

    /// Sees to it that the channel is looked at when its next message, or the channel itself, expires.
    fn arm(&mut self, now: u32, id: ChannelId) {
        let Some(channel) = self.channels.get(id) else { return };
        let own = channel.expires(self.limits.channel_inactivity).unwrap_or(u32::MAX);
        let next_expiry = channel.history.next_expiry();
        let due = if self.is_permanent(id) { next_expiry } else { own.min(next_expiry) };
        if due == u32::MAX {
            return;
        }
        let due = due.clamp(now.saturating_add(1), now.saturating_add(HORIZON));
        if let Some(channel) = self.channels.get_mut(id).filter(|channel| due < channel.armed) {
            channel.armed = due;
            self.deadlines.entry(due).or_default().push_back(id);
        }
    }

    fn expire(&mut self, now: u32) -> (usize, bool) {
        let before = self.memory();
        self.forget_keys(now);
        let (registry, bytes) = (&mut self.registry, &mut self.revoked_bytes);
        self.revoked.expire(u64::from(now) * 1000, |key, record| {
            *bytes -= Revoked::cost(key);
            registry.release(record);
        });
        let mut most = EXPIRE;
        while most > 0
            && let Some(mut due) = self.deadlines.first_entry()
            && *due.key() <= now
        {
            let second = *due.key();
            let ids = due.get_mut();
            let some: Vec<ChannelId> = ids.drain(..ids.len().min(most)).collect();
            if ids.is_empty() {
                due.remove();
            }
            most -= some.len();
            for id in some {
                if let Some(channel) = self.channels.get_mut(id)
                    && channel.armed == second
                {
                    channel.armed = u32::MAX;
                    if self.refresh(now, id) {
                        self.arm(now, id);
                    }
                }
            }
        }
        self.tidy();
        self.presence.tidy();
        self.journal.give_back();
        (before.saturating_sub(self.memory()), most == 0)
    }
}

#[cfg(test)]
mod tests;
