//! Who is online, in the order of everything else: joins and leaves get positions among the messages, and those who read
//! the feed of a channel are owed them like messages.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::reading::{Feed, Subscribe};
use super::{Owed, Refusal, Sequencer, State, next};
use crate::call::{Answer, MAX_PAGE, Member, PresenceCall};
use crate::channel::{Channel, ChannelId, ChannelName, MAX_NAME, Namespace, ThreadId};
use crate::error::{Error, Limit};
use crate::identity::check_user;
use crate::journal::Word;
use crate::message::{Kind, Message, Position};
use crate::online::{Key, Secret};
use crate::presence::{EVENT, Missed, NEVER, Now, Place, Presence, Shared, Stamp, Tick, UserId};
use crate::registry::Entry;
use crate::shm::set::Set;

/// Bytes of memory that a member takes at least.
const LEAST_MEMBER: u64 = 200;
/// Users that are looked for in one entry of the critical section.
const AMONG: usize = 5_000;

/// A connection in its seats, as presence knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Whose connection it is, if it counts as there.
    pub(crate) user: Option<UserId>,
    /// It reads the feeds of its channels.
    pub(crate) watches: bool,
}

impl Guest {
    pub(super) fn is_somebody(self) -> bool {
        self.user.is_some() || self.watches
    }
}

/// A page of who is in a channel.
#[derive(Debug)]
pub(crate) struct Roster {
    /// As of this position.
    pub(crate) position: Position,
    pub(crate) count: usize,
    pub(crate) members: Vec<Member>,
    /// There are more behind the last one.
    pub(crate) more: bool,
}

/// The place of a record.
pub(super) fn place(namespace: &str, channel: Option<&str>) -> Option<Place> {
    let namespace = Namespace::new(namespace).ok()?;
    let channel = channel.map(|name| ChannelName::within(&namespace, name.as_bytes(), MAX_NAME));
    Some(Place::of(&namespace, channel.transpose().ok()?.as_ref()))
}

/// The site that the channels of a subscription are of.
pub(super) fn site(subscribe: &Subscribe<'_>) -> Place {
    Place::Site(subscribe.channels.first().map(|wanted| wanted.name.space()).unwrap_or_default())
}

impl Sequencer {
    /// Carries out a call about who is online in a namespace. `channel` is the one that it names.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for user, info or ttl, [`Error::LimitExceeded`] when there is no memory.
    pub(crate) fn presence(
        &self,
        namespace: &Namespace,
        call: &PresenceCall<'_>,
        channel: Option<&ChannelName>,
    ) -> Result<Answer, Error> {
        let place = Place::of(namespace, channel);
        Ok(match *call {
            PresenceCall::Online { user, info, ttl, .. } => self.change_at(|state, now| {
                if !channel.and_then(|name| state.find(now.second, name)).is_none_or(|id| state.has_presence(id)) {
                    let text = "the channel was created without presence: nobody is online in it";
                    return Err(Error::InvalidArgument(text.to_owned()));
                }
                state.room_for_member(&place, user, info.len())?;
                let changed =
                    state.with_presence(now, |presence, stamp| presence.online(&place, user, info, ttl, now, stamp));
                changed.map(Answer::Changed)
            })?,
            PresenceCall::Offline { user, .. } => self.change_at(|state, now| {
                let left = state.with_presence(now, |presence, stamp| presence.offline(&place, user, now, stamp));
                left.map(Answer::Changed)
            })?,
            PresenceCall::Among { ref users, .. } => {
                let mut online = Vec::new();
                for users in users.chunks(AMONG) {
                    let state = self.enter();
                    let there = users.iter().filter(|user| state.presence.is_online(&place, user));
                    online.extend(there.map(|user| (*user).to_owned()));
                }
                Answer::Names(online)
            }
            PresenceCall::Get { user, .. } => Answer::Member(self.enter().presence.get(&place, user)),
            PresenceCall::Members { after, limit, .. } => {
                Answer::Members(self.enter().presence.members(&place, after, limit as usize, MAX_PAGE).members)
            }
            PresenceCall::Count { .. } => Answer::Count(self.enter().presence.count(&place) as u64),
            PresenceCall::Channels { user } => Answer::Names(self.enter().presence.channels(namespace.as_str(), user)),
        })
    }

    /// Where clients of the namespace look up who is online, and their key.
    pub(crate) fn shared_presence(&self, namespace: &Namespace) -> Option<(Key, BorrowedFd<'_>)> {
        let (secret, set) = self.shared.as_ref()?;
        Some((secret.key(namespace.as_str()), set.as_fd()))
    }

    /// A page of who is in the one channel of the subscription, for somebody who may subscribe to it.
    ///
    /// # Errors
    /// What the subscription would be refused with.
    pub(crate) fn roster(&self, subscribe: Subscribe<'_>, after: &str, limit: usize) -> Result<Roster, Refusal> {
        self.change(|state, now| {
            state.check_subscription(now, subscribe)?;
            let place = Place::Channel(subscribe.channels[0].name.clone());
            let page = state.presence.members(&place, after, limit, MAX_PAGE);
            Ok(Roster { position: state.head, count: page.count, members: page.members, more: page.more })
        })
    }

    /// Those leave whose time is over. The answer is when to call again, at the latest; before that when [`Self::stirred`].
    pub(crate) fn expire_presence(&self) -> Option<Duration> {
        self.change_at(|state, now| {
            let more = state.with_presence(now, |presence, stamp| presence.expire(now, stamp));
            state.alarm = state.presence.next_deadline();
            state.presence.hold(now);
            match state.alarm {
                _ if more => Some(Duration::ZERO),
                NEVER => None,
                alarm => Some(Duration::from_millis(u64::from(alarm.saturating_sub(now.tick)) * 100)),
            }
        })
    }

    /// Waits until something about presence is due earlier than [`Self::expire_presence`] has said.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// As [`Self::change`], for what may change who is online.
    pub(super) fn change_at<T>(&self, work: impl FnOnce(&mut State, Now) -> T) -> T {
        let tick = Tick::try_from(self.started.elapsed().as_millis() / 100).unwrap_or(NEVER - 1);
        self.change(|state, second| {
            state.tick = tick;
            work(state, Now { tick, second })
        })
    }
}

impl State {
    /// Has others see who is online, by the descriptor, where they know the secret.
    pub(super) fn share_presence(&mut self) -> io::Result<(Secret, OwnedFd)> {
        let secret = Secret::random()?;
        let most = usize::try_from(self.limits.memory / LEAST_MEMBER).unwrap_or(usize::MAX);
        let (set, for_others) = Set::create(most)?;
        self.presence.share(Shared::new(set, secret));
        Ok((secret, for_others))
    }

    /// The moment of this entry.
    pub(super) fn moment(&self, second: u32) -> Now {
        Now { tick: self.tick, second }
    }

    /// Changes who is online, with positions for what is said of it; and does what follows.
    pub(super) fn with_presence<T>(&mut self, now: Now, work: impl FnOnce(&mut Presence, Stamp<'_>) -> T) -> T {
        let head = &mut self.head;
        let result = work(&mut self.presence, &mut || {
            *head = next(*head, now.second);
            *head
        });
        self.settle_presence(now);
        result
    }

    fn settle_presence(&mut self, now: Now) {
        self.journal.store(Word::Head, self.head.pack());
        let mut effects = std::mem::take(&mut self.presence.effects);
        for (room, position) in effects.news.drain(..) {
            let Some((name, threads)) = self.presence.readers(room) else { continue };
            let Some(id) = self.channels.find(name) else { continue };
            for thread in threads {
                self.owed[usize::from(thread)].push_back(Owed::Presence(id, name.clone(), position, self.entered));
                self.woken |= 1 << thread;
            }
        }
        for (room, user) in effects.changed.drain(..) {
            let Some(kept) = self.presence.kept(room, user, now) else { continue };
            let (namespace, channel) = (kept.place.namespace(), kept.place.channel().map(|name| &**name));
            let (user_name, info, since, lease) = (kept.user, kept.info, kept.since, kept.lease);
            let entry = Entry::Member { namespace, channel, user: user_name, info, since, lease };
            // Without a place for it, the next hub does not know the member until it comes again.
            let record = self.registry.add(&entry, None);
            effects.gone.extend(self.presence.set_record(room, user, record));
        }
        for record in effects.gone.drain(..) {
            self.registry.release(record);
        }
        // With the room they have: most calls have effects.
        self.presence.effects = effects;
        if self.presence.next_deadline() < self.alarm {
            self.alarm = self.presence.next_deadline();
            self.presence.hold(now);
            self.stirred = true;
        }
    }

    pub(super) fn has_presence(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_none_or(Channel::has_presence)
    }

    /// Sees to it that a member more fits into `memory_limit`.
    pub(super) fn room_for_member(&mut self, place: &Place, user: &str, info: usize) -> Result<(), Limit> {
        let name = place.namespace().len() + place.channel().map_or(0, |name| name.len());
        let needed = |state: &Self| Presence::cost(user, info) + state.registry.cost(name + user.len() + info);
        self.make_room(needed(self), None);
        match (self.memory() + needed(self)) as u64 > self.limits.memory {
            true => Err(Limit::Memory(self.limits.memory)),
            false => Ok(()),
        }
    }

    /// Who asks: whom the request names, else the owner of a channel among these.
    pub(super) fn visitor(
        &self,
        subscribe: &Subscribe<'_>,
        found: &[Option<ChannelId>],
    ) -> Option<(Arc<str>, Arc<[u8]>)> {
        if !subscribe.enters {
            return None;
        }
        let visitor = match subscribe.identity {
            Some(identity) => (identity.user.clone(), identity.info.clone()),
            None => {
                let mut channels = found.iter().flatten().filter_map(|id| self.channels.get(*id));
                let owner = channels.find_map(|channel| channel.created.as_ref()?.owner.as_deref())?;
                (Arc::from(owner), Arc::from(&b""[..]))
            }
        };
        check_user(&visitor.0).is_ok().then_some(visitor)
    }

    /// The user is there: on this site, and in these channels. Not where there is no memory for it.
    pub(super) fn visit<'a>(
        &mut self,
        now: Now,
        (user, info): &(Arc<str>, Arc<[u8]>),
        site: &Place,
        channels: impl Iterator<Item = &'a ChannelName>,
    ) {
        for place in channels.map(|name| Place::Channel(name.clone())).chain([site.clone()]) {
            if self.room_for_member(&place, user, info.len()).is_ok() {
                self.with_presence(now, |presence, stamp| presence.touch(&place, user, info, now, stamp));
            }
        }
    }

    /// The connection stays in these seats.
    pub(super) fn seat_guest(
        &mut self,
        thread: ThreadId,
        subscribe: &Subscribe<'_>,
        visitor: Option<&(Arc<str>, Arc<[u8]>)>,
    ) -> Guest {
        let watches = subscribe.feed != Feed::None;
        let site = site(subscribe);
        let user = visitor.map(|(user, _)| self.presence.hold_user(site.namespace(), user));
        for wanted in subscribe.channels {
            let place = Place::Channel(wanted.name.clone());
            if watches {
                self.presence.watch(&place, thread);
            }
            if let Some(user) = user {
                self.presence.connect(&place, user);
            }
        }
        if let Some(user) = user {
            self.presence.connect(&site, user);
        }
        Guest { user, watches }
    }

    /// The connection leaves a channel.
    pub(super) fn leave_channel(&mut self, now: Now, thread: ThreadId, guest: Guest, name: &ChannelName) {
        let place = Place::Channel(name.clone());
        if guest.watches {
            self.presence.unwatch(&place, thread, now);
        }
        if let Some(user) = guest.user {
            self.presence.disconnect(&place, user, now);
        }
    }

    /// It is gone.
    pub(super) fn leave_site(&mut self, now: Now, guest: Guest) {
        if let Some(user) = guest.user {
            self.presence.disconnect_from_site(user, now);
            self.presence.release(user);
        }
        if guest.is_somebody() {
            self.settle_presence(now);
        }
    }

    /// What a reader of the channel's feed is to be told.
    pub(super) fn said_since(&self, name: &ChannelName, after: Option<Position>, feed: Feed) -> Missed {
        let after = after.filter(|after| *after <= self.head);
        self.presence.missed(&Place::Channel(name.clone()), after, feed == Feed::Anew)
    }

    /// What the feed of the channel says at the position.
    pub(super) fn said(&self, name: ChannelName, position: Position) -> Option<Message> {
        let text = self.presence.said(&Place::Channel(name.clone()), position)?;
        Some(message(name, position, &text))
    }
}

/// What a feed says, as a message of its channel that is not counted among them.
pub(super) fn message(channel: ChannelName, position: Position, text: &[u8]) -> Message {
    let event = Some(EVENT.into());
    Message { channel, id: 0, position, kind: Kind::Json, event, event_id: None, payload: text.into() }
}
