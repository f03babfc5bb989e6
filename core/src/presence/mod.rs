//! Presence: who is online, on the whole site and in each channel.
//!
//! A member is a user in a place. It joins with its first connection, or when PHP says that it is online, which is a lease;
//! it leaves when it has been without connections for `grace`, and its lease is over. The grace is there because a
//! long-poll subscriber has no connection between two polls. A connection takes a lease over: when it ends, the grace
//! begins, however long the lease would have gone on.
//!
//! This module decides who is listed, and what is said of it in the feed of a place ([`feed`]). It starts no timers, does
//! no I/O and reads no clock: whoever owns it asks [`Presence::next_deadline`] and calls [`Presence::expire`], gives
//! positions (`stamp`), and does what [`Effects`] says: wakes those who read the feeds, and keeps the members for the next
//! hub. A call costs what its answer is long; a change costs the same however many members there are.

mod feed;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use serde_json::value::RawValue;
use slab::Slab;
use smallvec::SmallVec;

use crate::call;
use crate::channel::{ChannelName, Namespace, ThreadId};
use crate::error::Error;
use crate::identity::{check_array, check_user};
use crate::log::Address;
use crate::message::Position;
pub(crate) use feed::{EVENT, Missed};
use feed::{Feed, View};
pub(crate) use shared::Shared;

/// Members that leave in one call of [`Presence::expire`].
const EXPIRE: usize = 500;
/// Feeds that it looks after: each may have as much to say as many members that leave.
const FEEDS: usize = 50;
/// How long a feed is kept for readers that do not wait at the moment.
const LINGER: Tick = 60 * SECOND;

/// Seconds that the hub may be late before others do not rely on what it shares.
const LATE: u64 = 2;

/// Gives the next position of all.
pub(crate) type Stamp<'a> = &'a mut dyn FnMut() -> Position;

/// A tenth of a second since the hub started.
pub(crate) type Tick = u32;
/// A second.
pub(crate) const SECOND: Tick = 10;
/// No deadline.
pub(crate) const NEVER: Tick = Tick::MAX;

/// The moment of a call, by the clock that deadlines keep to and by the one that people read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) tick: Tick,
    /// Seconds since 1970.
    pub(crate) second: u32,
}

/// The settings that are enforced here; see the keys of the same names in [`crate::config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `presence_grace`, in tenths of a second.
    pub grace: u32,
    /// `presence_ttl`, in seconds.
    pub ttl: u32,
    /// `presence_diff_members`
    pub diff_members: usize,
    /// `presence_count_members`
    pub count_members: usize,
}

/// Where somebody is online.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// All of a namespace.
    Site(Namespace),
    Channel(ChannelName),
}

impl Place {
    /// The channel, or the site where there is none.
    pub(crate) fn of(namespace: &Namespace, channel: Option<&ChannelName>) -> Self {
        channel.map_or_else(|| Self::Site(namespace.clone()), |name| Self::Channel(name.clone()))
    }

    pub(crate) fn namespace(&self) -> &str {
        match self {
            Self::Site(namespace) => namespace.as_str(),
            Self::Channel(name) => name.namespace(),
        }
    }

    pub(crate) fn channel(&self) -> Option<&ChannelName> {
        match self {
            Self::Site(_) => None,
            Self::Channel(name) => Some(name),
        }
    }
}

/// A user for as long as it is a member somewhere, or a connection of it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UserId(NonZeroU32);

impl UserId {
    fn new(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    fn slot(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A place for as long as it has members or readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RoomId(u32);

/// A JSON object, or a list. A word in each member: most have none.
#[allow(clippy::redundant_allocation, reason = "the other allocation makes the pointer a word less")]
type Info = Arc<Box<RawValue>>;

/// The info in these bytes; none when there are none.
///
/// # Errors
/// [`Error::InvalidArgument`] says what is wrong with it.
fn info(bytes: &[u8]) -> Result<Option<Info>, Error> {
    Ok(check_array(bytes)?.map(|info| Arc::new(info.to_owned())))
}

#[derive(Debug)]
struct User {
    name: Arc<str>,
    /// Somebody of the same name in another one is somebody else. Mostly the empty one, which takes a word less so.
    namespace: Option<Box<Namespace>>,
    /// Where it is a member, also where it is not shown.
    rooms: SmallVec<[RoomId; 4]>,
    /// Connections that name it.
    held: u32,
}

impl User {
    fn key(&self) -> (&str, &str) {
        (self.namespace.as_ref().map_or("", |namespace| namespace.as_str()), &self.name)
    }

    fn cost(&self) -> usize {
        USER + self.name.len() + self.key().0.len()
    }
}

#[derive(Debug)]
struct Member {
    connections: u32,
    /// When its lease is over; 0: it has none.
    lease: Tick,
    /// When the grace after its last connection is over.
    grace: Tick,
    /// The tick under which it is entered with the deadlines.
    armed: Tick,
    /// When it joined. 0: it is not shown although a connection of it is open: PHP said that it is offline, the place has no
    /// presence, or there was no memory.
    since: u32,
    /// Where the next hub finds it.
    record: Option<Address>,
    info: Option<Info>,
}

impl Member {
    fn shown(&self) -> bool {
        self.since != 0
    }

    /// When it leaves, if no connection is open then.
    fn end(&self) -> Tick {
        self.lease.max(self.grace)
    }

    fn view(&self) -> View {
        View { info: self.info.clone(), connections: self.connections, since: self.since }
    }
}

#[derive(Debug)]
struct Room {
    place: Place,
    members: HashMap<UserId, Member>,
    /// Those who are shown, by name.
    order: BTreeSet<Arc<str>>,
    /// What changed before this is not known, unless the feed knows.
    changed: Position,
    /// Something has changed since while nobody read: it takes a position when somebody does.
    unsaid: bool,
    feed: Option<Box<Feed>>,
    /// The tick under which it is entered with the deadlines of rooms.
    armed: Tick,
}

/// What is to be done after a call.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Feeds that say something new, at which position.
    pub(crate) news: Vec<(RoomId, Position)>,
    /// Members of whom the next hub is to know as they are now.
    pub(crate) changed: Vec<(RoomId, UserId)>,
    /// Records of members that are none any more.
    pub(crate) gone: Vec<Address>,
}

/// A member as the next hub is to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept<'a> {
    pub(crate) place: &'a Place,
    pub(crate) user: &'a str,
    /// Empty: none.
    pub(crate) info: &'a str,
    pub(crate) since: u32,
    /// The second in which its lease is over; 0: it has none.
    pub(crate) lease: u32,
}

/// A page of the members of a channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) count: usize,
    pub(crate) members: Vec<call::Member>,
    /// There are more behind the last one.
    pub(crate) more: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Presence {
    settings: Settings,
    users: Slab<User>,
    by_name: HashTable<u32>,
    hasher: DefaultHashBuilder,
    rooms: Slab<Room>,
    by_place: HashMap<Place, RoomId>,
    /// When a member may have to leave.
    deadlines: BTreeMap<Tick, Vec<(RoomId, UserId)>>,
    /// When a feed has something to say, or is not wanted any more.
    feeds: BTreeMap<Tick, Vec<RoomId>>,
    /// Of rooms that are gone nothing is known up to here.
    watermark: Position,
    /// Nor what changed in them since, as in [`Room`].
    unsaid: bool,
    pub(crate) effects: Effects,
    /// Bytes of users, members and rooms; feeds are counted apart.
    bytes: usize,
    feed_bytes: usize,
    members: usize,
    joins: u64,
    leaves: u64,
    /// Where other processes see who is online.
    shared: Option<Shared>,
}

impl Presence {
    /// Nobody is online. `start`: nothing before it is known.
    pub(crate) fn new(settings: Settings, start: Position) -> Self {
        Self {
            settings,
            users: Slab::new(),
            by_name: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            rooms: Slab::new(),
            by_place: HashMap::new(),
            deadlines: BTreeMap::new(),
            feeds: BTreeMap::new(),
            watermark: start,
            unsaid: false,
            effects: Effects::default(),
            bytes: 0,
            feed_bytes: 0,
            members: 0,
            joins: 0,
            leaves: 0,
            shared: None,
        }
    }

    /// From now on others see there who is online.
    pub(crate) fn share(&mut self, mut shared: Shared) {
        for (_, room) in &self.rooms {
            room.order.iter().for_each(|user| shared.joined(&room.place, user));
        }
        self.shared = Some(shared);
    }

    /// Gives back memory of what is shared.
    pub(crate) fn tidy(&mut self) {
        self.shared.iter_mut().for_each(Shared::tidy);
    }

    /// Tells others for how long that holds: until somebody may have to leave. They ask again when that is over, and nobody
    /// has said what became of it: the hub may be stopped, or gone.
    pub(crate) fn hold(&self, now: Now) {
        let Some(shared) = &self.shared else { return };
        shared.hold_until(match self.next_deadline() {
            NEVER => u64::MAX,
            tick => u64::from(now.second) + u64::from(tick.saturating_sub(now.tick) / SECOND) + LATE,
        });
    }

    pub(crate) fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Bytes of memory behind it.
    pub(crate) fn allocated(&self) -> usize {
        self.bytes + self.feed_bytes + self.shared.as_ref().map_or(0, Shared::allocated)
    }

    /// Bytes by which a new member may make it grow.
    pub(crate) fn cost(user: &str, info: usize) -> usize {
        USER + user.len() + MEMBER + info
    }

    /// Members of all places, joins and leaves since the start.
    pub(crate) fn counters(&self) -> (u64, u64, u64) {
        (self.members as u64, self.joins, self.leaves)
    }

    // What PHP says.

    /// The user is online for `ttl` seconds from now, and as long as a connection lives. True when it was not, or when other
    /// info was told about it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for user, info or ttl.
    pub(crate) fn online(
        &mut self,
        place: &Place,
        user: &str,
        bytes: &[u8],
        ttl: Option<u32>,
        now: Now,
        stamp: Stamp<'_>,
    ) -> Result<bool, Error> {
        check_user(user)?;
        let info = info(bytes)?;
        if ttl == Some(0) {
            return Err(Error::InvalidArgument("ttl must be at least 1 second".to_owned()));
        }
        let room = self.room(place);
        let user = self.user(place.namespace(), user);
        let changed = self.show(room, user, info, now, stamp);
        let ttl = ttl.unwrap_or(self.settings.ttl);
        let member = self.member_mut(room, user).expect("just shown");
        member.lease = after(now.tick, ttl.saturating_mul(SECOND));
        if !changed {
            self.effects.changed.push((room, user));
        }
        self.arm(room, user);
        Ok(changed)
    }

    /// The user is offline there at once. True when it was online. Its connections stay, and do not count until another one
    /// comes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for the user.
    pub(crate) fn offline(&mut self, place: &Place, user: &str, now: Now, stamp: Stamp<'_>) -> Result<bool, Error> {
        check_user(user)?;
        let Some((room, user)) = self.find_room(place).zip(self.find_user(place.namespace(), user)) else {
            return Ok(false);
        };
        Ok(self.send_off(room, user, now, stamp))
    }

    // What connections say.

    /// A connection of the user keeps its name until [`Self::release`].
    pub(crate) fn hold_user(&mut self, namespace: &str, user: &str) -> UserId {
        let id = self.user(namespace, user);
        self.users[id.slot()].held += 1;
        id
    }

    /// The connection is gone.
    pub(crate) fn release(&mut self, user: UserId) {
        if let Some(entry) = self.users.get_mut(user.slot()) {
            entry.held -= 1;
            self.forget_user(user);
        }
    }

    /// A request of the user: it is there, and leaves after the grace if nothing follows. What is wrong with its info is not
    /// its fault; then nothing is told about it.
    pub(crate) fn touch(&mut self, place: &Place, user: &str, bytes: &[u8], now: Now, stamp: Stamp<'_>) {
        if check_user(user).is_err() {
            return;
        }
        let room = self.room(place);
        let user = self.user(place.namespace(), user);
        let told = self.member_mut(room, user).and_then(|member| member.info.as_ref());
        let info = match told {
            Some(told) if told.get().as_bytes() == bytes => None,
            _ => info(bytes).unwrap_or(None),
        };
        let changed = self.show(room, user, info, now, stamp);
        let grace = after(now.tick, self.settings.grace);
        let member = self.member_mut(room, user).expect("just shown");
        let leased = std::mem::replace(&mut member.lease, 0) != 0;
        member.grace = grace;
        if leased && !changed {
            self.effects.changed.push((room, user));
        }
        self.arm(room, user);
    }

    /// The connection stays. Without a [`Self::touch`] before it counts, and does not have the user shown.
    pub(crate) fn connect(&mut self, place: &Place, user: UserId) {
        let room = self.room(place);
        if self.member(room, user).is_none() {
            self.insert(room, user);
        }
        if let Some(member) = self.member_mut(room, user) {
            member.connections += 1;
        }
    }

    /// It has ended: the last one starts the grace.
    pub(crate) fn disconnect(&mut self, place: &Place, user: UserId, now: Now) {
        let Some(room) = self.find_room(place) else { return };
        let grace = after(now.tick, self.settings.grace);
        let Some(member) = self.member_mut(room, user).filter(|member| member.connections > 0) else { return };
        member.connections -= 1;
        if member.connections > 0 {
            return;
        }
        member.grace = grace;
        if member.shown() { self.arm(room, user) } else { self.remove(room, user) }
    }

    /// The same for the whole site.
    pub(crate) fn disconnect_from_site(&mut self, user: UserId, now: Now) {
        let namespace = |entry: &User| entry.namespace.as_deref().cloned().unwrap_or_default();
        let site = self.users.get(user.slot()).map(|entry| Place::Site(namespace(entry)));
        site.into_iter().for_each(|site| self.disconnect(&site, user, now));
    }

    // Questions.

    pub(crate) fn is_online(&self, place: &Place, user: &str) -> bool {
        let found = self.find_room(place).zip(self.find_user(place.namespace(), user));
        found.and_then(|(room, user)| self.member(room, user)).is_some_and(Member::shown)
    }

    pub(crate) fn get(&self, place: &Place, user: &str) -> Option<call::Member> {
        let (room, id) = self.find_room(place).zip(self.find_user(place.namespace(), user))?;
        self.member(room, id).filter(|member| member.shown()).map(|member| told(user, member))
    }

    pub(crate) fn count(&self, place: &Place) -> usize {
        self.find_room(place).map_or(0, |room| self.rooms[room.0 as usize].order.len())
    }

    /// The members after this one in the order of their names: `limit` at most, and `bytes` of names and infos, but one.
    pub(crate) fn members(&self, place: &Place, after: &str, limit: usize, bytes: usize) -> Page {
        let Some(room) = self.find_room(place).map(|room| &self.rooms[room.0 as usize]) else {
            return Page { count: 0, members: Vec::new(), more: false };
        };
        let mut members = Vec::with_capacity(limit.min(room.order.len()));
        let (mut more, mut used) = (false, 0);
        for name in room.order.range::<str, _>((Bound::Excluded(after), Bound::Unbounded)) {
            let Some(member) = self.find_user(room.place.namespace(), name).and_then(|user| room.members.get(&user))
            else {
                continue;
            };
            let member = told(name, member);
            used += member.user.len() + member.info.len() + ENTRY;
            more = members.len() == limit || (used > bytes && !members.is_empty());
            if more {
                break;
            }
            members.push(member);
        }
        Page { count: room.order.len(), members, more }
    }

    /// The channels in which the user is, in their order.
    pub(crate) fn channels(&self, namespace: &str, user: &str) -> Vec<String> {
        let Some(user) = self.find_user(namespace, user) else { return Vec::new() };
        let rooms = self.users[user.slot()].rooms.iter().map(|room| (&self.rooms[room.0 as usize], user));
        let shown = rooms.filter(|(room, user)| room.members.get(user).is_some_and(Member::shown));
        let mut names: Vec<String> = shown.filter_map(|(room, _)| Some(room.place.channel()?.to_string())).collect();
        names.sort_unstable();
        names
    }

    // Feeds.

    /// Somebody reads the feed of the channel: from now on, and for a while, it says what changes.
    pub(crate) fn attend(&mut self, place: &Place, now: Now, stamp: Stamp<'_>) {
        let id = self.room(place);
        let room = &mut self.rooms[id.0 as usize];
        if std::mem::take(&mut room.unsaid) {
            room.changed = stamp();
        }
        let count = room.order.len();
        let counting = count > self.settings.count_members;
        if room.feed.is_none() {
            let feed = Feed::new(room.changed, count, counting);
            self.feed_bytes += feed.allocated();
            room.feed = Some(Box::new(feed));
        }
        let Some(feed) = &mut room.feed else { return };
        feed.until = after(now.tick, LINGER);
        let until = feed.until;
        self.arm_room(id, until);
    }

    /// A reader of the feed that [`Self::attend`] was called for waits on this thread.
    pub(crate) fn watch(&mut self, place: &Place, thread: ThreadId) {
        let Some(room) = self.find_room(place) else { return };
        if let Some(feed) = &mut self.rooms[room.0 as usize].feed {
            feed.watch(thread);
        }
    }

    /// It does not wait any more, and may come again.
    pub(crate) fn unwatch(&mut self, place: &Place, thread: ThreadId, now: Now) {
        let Some(id) = self.find_room(place) else { return };
        if let Some(feed) = &mut self.rooms[id.0 as usize].feed {
            feed.unwatch(thread);
            feed.until = after(now.tick, LINGER);
            let until = feed.until;
            self.arm_room(id, until);
        }
    }

    /// What a reader that has seen everything up to `after` is to be told, in the order of positions. `anew`: whatever it
    /// has seen, it is told who is there.
    pub(crate) fn missed(&self, place: &Place, after: Option<Position>, anew: bool) -> Missed {
        let room = self.find_room(place).map(|room| &self.rooms[room.0 as usize]);
        let (known, unsaid) = match room {
            None => (self.watermark, self.unsaid),
            Some(Room { feed: Some(feed), .. }) => (feed.complete_since(), false),
            Some(room) => (room.changed, room.unsaid),
        };
        match after.filter(|after| !anew && !unsaid && *after >= known) {
            Some(after) => {
                Missed::Later(room.and_then(|room| room.feed.as_ref()).map_or_else(Vec::new, |feed| feed.after(after)))
            }
            None => Missed::All(room.map_or_else(feed::nobody, |room| self.snapshot(room))),
        }
    }

    /// What the feed said at this position, if it still knows.
    pub(crate) fn said(&self, place: &Place, position: Position) -> Option<Arc<[u8]>> {
        self.rooms[self.find_room(place)?.0 as usize].feed.as_ref()?.at(position)
    }

    /// Where the news are, and the threads on which somebody waits for them.
    pub(crate) fn readers(&self, room: RoomId) -> Option<(&ChannelName, impl Iterator<Item = ThreadId>)> {
        let room = self.rooms.get(room.0 as usize)?;
        Some((room.place.channel()?, room.feed.as_ref()?.threads()))
    }

    // Time.

    /// When [`Self::expire`] has something to do; [`NEVER`] when nobody is there.
    pub(crate) fn next_deadline(&self) -> Tick {
        let first = self.deadlines.first_key_value().map_or(NEVER, |(tick, _)| *tick);
        first.min(self.feeds.first_key_value().map_or(NEVER, |(tick, _)| *tick))
    }

    /// Those leave whose time is over, and feeds say what they have collected. True when there is more to do at once.
    pub(crate) fn expire(&mut self, now: Now, stamp: Stamp<'_>) -> bool {
        let mut most = EXPIRE;
        while most > 0
            && let Some(mut due) = self.deadlines.first_entry()
            && *due.key() <= now.tick
        {
            let tick = *due.key();
            let members = due.get_mut();
            let some = members.split_off(members.len().saturating_sub(most));
            if members.is_empty() {
                due.remove();
            }
            most -= some.len();
            for (room, user) in some {
                let Some(member) = self.member_mut(room, user).filter(|member| member.armed == tick) else { continue };
                member.armed = NEVER;
                if member.connections > 0 {
                } else if member.end() <= now.tick {
                    self.hide(room, user, now, stamp);
                    self.remove(room, user);
                } else {
                    self.arm(room, user);
                }
            }
        }
        let mut most = FEEDS;
        while most > 0
            && let Some(mut due) = self.feeds.first_entry()
            && *due.key() <= now.tick
        {
            let tick = *due.key();
            let rooms = due.get_mut();
            let some = rooms.split_off(rooms.len().saturating_sub(most));
            if rooms.is_empty() {
                due.remove();
            }
            most -= some.len();
            for id in some {
                self.look_after(id, tick, now, stamp);
            }
        }
        self.next_deadline() <= now.tick
    }

    fn look_after(&mut self, id: RoomId, tick: Tick, now: Now, stamp: Stamp<'_>) {
        let Some(room) = self.rooms.get_mut(id.0 as usize).filter(|room| room.armed == tick) else { return };
        room.armed = NEVER;
        let Some(feed) = &room.feed else { return };
        if feed.due <= now.tick {
            self.flush(id, now, stamp);
        }
        let room = &mut self.rooms[id.0 as usize];
        let Some(feed) = &room.feed else { return };
        if feed.is_watched() || feed.until > now.tick {
            let next = feed.due.min(if feed.is_watched() { NEVER } else { feed.until });
            return self.arm_room(id, next);
        }
        room.changed = feed.last();
        room.unsaid = feed.has_more();
        self.feed_bytes -= feed.allocated();
        room.feed = None;
        self.forget_room(id);
    }

    // What becomes of a channel.

    /// From now on those who are there are members, or nobody is.
    pub(crate) fn switch(&mut self, place: &Place, on: bool, now: Now, stamp: Stamp<'_>) {
        let Some(id) = self.find_room(place) else { return };
        let users: Vec<UserId> = self.rooms[id.0 as usize].members.keys().copied().collect();
        for user in users {
            match on {
                true => self.show(id, user, None, now, stamp),
                false => self.send_off(id, user, now, stamp),
            };
        }
    }

    /// The channel is deleted: nobody is in it any more, and nobody reads its feed.
    pub(crate) fn drop_place(&mut self, place: &Place) {
        let Some(id) = self.find_room(place) else { return };
        let room = self.rooms.remove(id.0 as usize);
        self.by_place.remove(place);
        self.unsaid = true;
        self.feed_bytes -= room.feed.map_or(0, |feed| feed.allocated());
        self.bytes -= ROOM;
        self.members -= room.order.len();
        self.leaves += room.order.len() as u64;
        if let Some(shared) = &mut self.shared {
            room.order.iter().for_each(|user| shared.left(&room.place, user));
        }
        for (user, member) in room.members {
            self.effects.gone.extend(member.record);
            self.bytes -= MEMBER + member.info.map_or(0, |info| info.get().len());
            self.users[user.slot()].rooms.retain(|of| *of != id);
            self.forget_user(user);
        }
    }

    // Outliving the hub.

    /// What the next hub is to know of the member; `None` when there is no such member any more.
    pub(crate) fn kept(&self, room: RoomId, user: UserId, now: Now) -> Option<Kept<'_>> {
        let member = self.member(room, user).filter(|member| member.shown())?;
        let left = member.lease.saturating_sub(now.tick).div_ceil(SECOND);
        Some(Kept {
            place: &self.rooms[room.0 as usize].place,
            user: &self.users[user.slot()].name,
            info: member.info.as_ref().map_or("", |info| info.get()),
            since: member.since,
            lease: if left == 0 { 0 } else { now.second.saturating_add(left) },
        })
    }

    /// Where the next hub finds the member; the answer is where it would have found it before.
    pub(crate) fn set_record(&mut self, room: RoomId, user: UserId, record: Option<Address>) -> Option<Address> {
        std::mem::replace(&mut self.member_mut(room, user)?.record, record)
    }

    /// The record was moved. False when it is none of ours.
    pub(crate) fn relocate(&mut self, place: &Place, user: &str, from: Address, to: Address) -> bool {
        let Some((room, user)) = self.find_room(place).zip(self.find_user(place.namespace(), user)) else {
            return false;
        };
        let member = self.member_mut(room, user).filter(|member| member.record == Some(from));
        member.map(|member| member.record = Some(to)).is_some()
    }

    /// A member of the hub before this one: it stays for a grace, and for its lease. A record that comes later is newer;
    /// the answer is the one that it replaces.
    pub(crate) fn restore(&mut self, kept: Kept<'_>, record: Address, now: Now) -> Result<Option<Address>, Error> {
        check_user(kept.user)?;
        let info = info(kept.info.as_bytes())?;
        let room = self.room(kept.place);
        let user = self.user(kept.place.namespace(), kept.user);
        let since = kept.since.max(1);
        if self.member(room, user).is_none() {
            self.insert(room, user);
            self.list(room, user);
        }
        let grace = after(now.tick, self.settings.grace);
        let member = self.member_mut(room, user).expect("just inserted");
        member.since = since;
        member.grace = grace;
        let left = kept.lease.saturating_sub(now.second);
        member.lease = if left == 0 { 0 } else { after(now.tick, left.saturating_mul(SECOND)) };
        let old = member.record.replace(record);
        self.set_info(room, user, info);
        self.arm(room, user);
        Ok(old)
    }

    // The parts.

    fn find_user(&self, namespace: &str, name: &str) -> Option<UserId> {
        let is = |&id: &u32| self.users[id as usize].key() == (namespace, name);
        self.by_name.find(self.hasher.hash_one((namespace, name)), is).map(|id| UserId::new(*id))
    }

    fn user(&mut self, namespace: &str, name: &str) -> UserId {
        if let Some(id) = self.find_user(namespace, name) {
            return id;
        }
        let own = (!namespace.is_empty()).then(|| Namespace::new(namespace).expect("the name of one").into());
        let user = User { name: name.into(), namespace: own, rooms: SmallVec::new(), held: 0 };
        self.bytes += user.cost();
        let hash = self.hasher.hash_one(user.key());
        let id = self.users.insert(user) as u32;
        let (users, hasher) = (&self.users, &self.hasher);
        self.by_name.insert_unique(hash, id, |&id: &u32| hasher.hash_one(users[id as usize].key()));
        UserId::new(id)
    }

    /// Forgets the user if it is nowhere.
    fn forget_user(&mut self, user: UserId) {
        let entry = &self.users[user.slot()];
        if entry.held > 0 || !entry.rooms.is_empty() {
            return;
        }
        let entry = self.users.remove(user.slot());
        self.bytes -= entry.cost();
        if let Ok(found) = self.by_name.find_entry(self.hasher.hash_one(entry.key()), |&id| id as usize == user.slot())
        {
            found.remove();
        }
        if self.users.is_empty() {
            (self.users, self.by_name) = (Slab::new(), HashTable::new());
        }
    }

    fn find_room(&self, place: &Place) -> Option<RoomId> {
        self.by_place.get(place).copied()
    }

    fn room(&mut self, place: &Place) -> RoomId {
        if let Some(id) = self.find_room(place) {
            return id;
        }
        let room = Room {
            place: place.clone(),
            members: HashMap::new(),
            order: BTreeSet::new(),
            changed: self.watermark,
            unsaid: self.unsaid,
            feed: None,
            armed: NEVER,
        };
        let id = RoomId(self.rooms.insert(room) as u32);
        self.by_place.insert(place.clone(), id);
        self.bytes += ROOM;
        id
    }

    /// Forgets the room if nobody is in it and nobody reads its feed.
    fn forget_room(&mut self, id: RoomId) {
        let room = &self.rooms[id.0 as usize];
        if !room.members.is_empty() || room.feed.is_some() {
            return;
        }
        let room = self.rooms.remove(id.0 as usize);
        self.watermark = self.watermark.max(room.changed);
        self.unsaid |= room.unsaid;
        self.by_place.remove(&room.place);
        self.bytes -= ROOM;
    }

    fn member(&self, room: RoomId, user: UserId) -> Option<&Member> {
        self.rooms.get(room.0 as usize)?.members.get(&user)
    }

    fn member_mut(&mut self, room: RoomId, user: UserId) -> Option<&mut Member> {
        self.rooms.get_mut(room.0 as usize)?.members.get_mut(&user)
    }

    /// A member that is not shown yet.
    fn insert(&mut self, room: RoomId, user: UserId) {
        let member = Member { connections: 0, lease: 0, grace: 0, armed: NEVER, since: 0, record: None, info: None };
        self.rooms[room.0 as usize].members.insert(user, member);
        self.users[user.slot()].rooms.push(room);
        self.bytes += MEMBER;
    }

    /// A member that is not shown any more is forgotten.
    fn remove(&mut self, room: RoomId, user: UserId) {
        let Some(member) = self.rooms[room.0 as usize].members.remove(&user) else { return };
        self.effects.gone.extend(member.record);
        self.bytes -= MEMBER + member.info.map_or(0, |info| info.get().len());
        self.users[user.slot()].rooms.retain(|of| *of != room);
        self.forget_user(user);
        self.forget_room(room);
    }

    fn set_info(&mut self, room: RoomId, user: UserId, info: Option<Info>) {
        let (Some(info), Some(member)) = (info, self.member_mut(room, user)) else { return };
        let len = info.get().len();
        let old = member.info.replace(info).map_or(0, |info| info.get().len());
        self.bytes = self.bytes + len - old;
    }

    /// The member is one of those who are shown.
    fn list(&mut self, room: RoomId, user: UserId) {
        let (name, room) = (&self.users[user.slot()].name, &mut self.rooms[room.0 as usize]);
        room.order.insert(name.clone());
        if let Some(shared) = &mut self.shared {
            shared.joined(&room.place, name);
        }
        self.members += 1;
    }

    /// Shows the user in the room, with this info if there is some. True when that changed something.
    fn show(&mut self, room: RoomId, user: UserId, info: Option<Info>, now: Now, stamp: Stamp<'_>) -> bool {
        let before = self.member(room, user).filter(|member| member.shown()).map(Member::view);
        if self.member(room, user).is_none() {
            self.insert(room, user);
        }
        let news = match (&before, &info) {
            (None, _) => true,
            (Some(View { info: Some(told), .. }), Some(info)) => told.get() != info.get(),
            (Some(View { info: None, .. }), info) => info.is_some(),
            (Some(_), None) => false,
        };
        self.set_info(room, user, info);
        if !news {
            return false;
        }
        let joined = before.is_none();
        if joined {
            let member = self.member_mut(room, user).expect("just inserted");
            member.since = now.second.max(1);
            self.list(room, user);
            self.joins += 1;
        }
        self.effects.changed.push((room, user));
        self.say(room, user, before, now, stamp);
        true
    }

    /// The member is not shown any more. False when it was not.
    fn hide(&mut self, room: RoomId, user: UserId, now: Now, stamp: Stamp<'_>) -> bool {
        let Some(member) = self.member_mut(room, user).filter(|member| member.shown()) else { return false };
        let before = member.view();
        member.since = 0;
        let record = member.record.take();
        self.effects.gone.extend(record);
        let (name, room_of) = (&self.users[user.slot()].name, &mut self.rooms[room.0 as usize]);
        room_of.order.remove(&**name);
        if let Some(shared) = &mut self.shared {
            shared.left(&room_of.place, name);
        }
        self.members -= 1;
        self.leaves += 1;
        self.say(room, user, Some(before), now, stamp);
        true
    }

    /// As [`Self::hide`], whatever it had left of its time.
    fn send_off(&mut self, room: RoomId, user: UserId, now: Now, stamp: Stamp<'_>) -> bool {
        let left = self.hide(room, user, now, stamp);
        if let Some(member) = self.member_mut(room, user) {
            (member.lease, member.grace) = (0, 0);
            if member.connections == 0 {
                self.remove(room, user);
            }
        }
        left
    }

    /// The member was like `before`, if it was shown, and has changed.
    fn say(&mut self, id: RoomId, user: UserId, before: Option<View>, now: Now, stamp: Stamp<'_>) {
        let name = self.users[user.slot()].name.clone();
        let room = &mut self.rooms[id.0 as usize];
        let Some(feed) = &mut room.feed else {
            room.unsaid = true;
            return;
        };
        let bytes = feed.allocated();
        feed.note(name, before);
        let at_once = room.order.len() <= self.settings.diff_members && !feed.counting;
        let (next, due) = (feed.flushed.saturating_add(SECOND), feed.due);
        self.feed_bytes = self.feed_bytes + feed.allocated() - bytes;
        // Who changes faster than the whole would be told is not worth remembering one by one.
        if at_once || next <= now.tick || feed.changes() > self.settings.count_members {
            self.flush(id, now, stamp);
        } else if due == NEVER {
            feed.due = next;
            self.arm_room(id, next);
        }
    }

    /// The feed says what has changed since it last said something.
    fn flush(&mut self, id: RoomId, now: Now, stamp: Stamp<'_>) {
        let room = &mut self.rooms[id.0 as usize];
        let Some(mut feed) = room.feed.take() else { return };
        let bytes = feed.allocated();
        let (count, most) = (room.order.len(), self.settings.count_members);
        let counted = feed.counting;
        // Some leave before it goes back: around the threshold it would else tell who is there again and again.
        feed.counting = count > most || (counted && count > most - most / 8);
        (feed.flushed, feed.due) = (now.tick, NEVER);
        let text = match (counted, feed.counting) {
            (_, true) => (!counted || feed.count != count).then(|| feed::count(count)),
            (true, false) => Some(feed::snapshot(count, self.shown(&self.rooms[id.0 as usize]))),
            (false, false) => feed.difference(count, |name| self.view(&self.rooms[id.0 as usize], name)),
        };
        feed.settle(count);
        if let Some(text) = text {
            let position = stamp();
            feed.push(position, text);
            self.effects.news.push((id, position));
        }
        self.feed_bytes = self.feed_bytes + feed.allocated() - bytes;
        self.rooms[id.0 as usize].feed = Some(feed);
    }

    fn view(&self, room: &Room, name: &str) -> Option<View> {
        let member = room.members.get(&self.find_user(room.place.namespace(), name)?)?;
        member.shown().then(|| member.view())
    }

    fn shown<'a>(&'a self, room: &'a Room) -> impl Iterator<Item = (&'a str, View)> {
        room.order.iter().filter_map(|name| Some((&**name, self.view(room, name)?)))
    }

    /// Who is there, as of what the feed said last.
    fn snapshot(&self, room: &Room) -> Arc<[u8]> {
        match &room.feed {
            None if room.order.len() > self.settings.count_members => feed::count(room.order.len()),
            None => feed::snapshot(room.order.len(), self.shown(room)),
            Some(feed) => feed.snapshot(room.order.len() > self.settings.diff_members, self.shown(room)),
        }
    }

    fn arm(&mut self, room: RoomId, user: UserId) {
        let Some(member) = self.member_mut(room, user).filter(|member| member.connections == 0) else { return };
        let end = member.end();
        if end < member.armed {
            member.armed = end;
            self.deadlines.entry(end).or_default().push((room, user));
        }
    }

    fn arm_room(&mut self, id: RoomId, tick: Tick) {
        let room = &mut self.rooms[id.0 as usize];
        if tick < room.armed {
            room.armed = tick;
            self.feeds.entry(tick).or_default().push(id);
        }
    }
}

/// What a user takes beside its name, a member beside its info, and a room: measured with a hundred thousand, as maps grow.
const USER: usize = 32 + size_of::<User>() + 8;
const MEMBER: usize =
    size_of::<(UserId, Member)>() * 5 / 4 + size_of::<Arc<str>>() * 3 / 2 + size_of::<(RoomId, UserId)>() + 16;
const ROOM: usize = size_of::<Room>() + size_of::<(Place, RoomId)>() + 64;
/// Bytes of a member on a page beside its name and info.
const ENTRY: usize = 32;

/// The first tick that is at least `time` after `now`.
fn after(now: Tick, time: Tick) -> Tick {
    now.saturating_add(time).saturating_add(1).min(NEVER - 1)
}

fn told(user: &str, member: &Member) -> call::Member {
    call::Member {
        user: user.to_owned(),
        info: member.info.as_ref().map_or("{}", |info| info.get()).to_owned(),
        connections: member.connections,
        since: u64::from(member.since),
    }
}
