//! The feed of a place: what its readers are told, and what of that is kept for those who come again.
//!
//! Each thing said has a position among the messages. A reader that begins is told who is there, then what changes. Where
//! many change at once the changes are collected: then a snapshot is of the moment when the feed last said something, so
//! that the difference after it holds everything that the snapshot does not, and nothing that it does.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use serde::Serialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{Info, NEVER, Tick};
use crate::channel::ThreadId;
use crate::message::Position;

/// The event name of what a feed says.
pub(crate) const EVENT: &str = "push.presence";
/// Things said that are kept, and their bytes; the last one is kept however long it is.
const KEPT: usize = 128;
const KEPT_BYTES: usize = 64 << 10;

/// A member as it was, or is.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) info: Option<Info>,
    pub(super) connections: u32,
    pub(super) since: u32,
}

/// What a reader has not been told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It is told who is there.
    All(Arc<[u8]>),
    /// This was said since.
    Later(Vec<(Position, Arc<[u8]>)>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Said<'a> {
    Snapshot { members: Vec<Told<'a>>, count: usize },
    Diff { joins: Vec<Told<'a>>, leaves: Vec<&'a str>, count: usize },
    Count { count: usize },
}

#[derive(Serialize)]
struct Told<'a> {
    user: &'a str,
    info: &'a RawValue,
    connections: u32,
    since: u32,
}

impl<'a> Told<'a> {
    fn new(user: &'a str, view: &'a View) -> Self {
        let info = match &view.info {
            Some(info) => info,
            None => nothing(),
        };
        Self { user, info, connections: view.connections, since: view.since }
    }
}

fn nothing() -> &'static RawValue {
    static NOTHING: OnceLock<Box<RawValue>> = OnceLock::new();
    NOTHING.get_or_init(|| RawValue::from_string("{}".to_owned()).expect("JSON"))
}

fn json(said: &Said<'_>) -> Arc<[u8]> {
    serde_json::to_vec(said).expect("texts, numbers and checked JSON can be written").into()
}

/// Nobody is there.
pub(super) fn nobody() -> Arc<[u8]> {
    json(&Said::Snapshot { members: Vec::new(), count: 0 })
}

pub(super) fn count(count: usize) -> Arc<[u8]> {
    json(&Said::Count { count })
}

pub(super) fn snapshot<'a>(count: usize, members: impl Iterator<Item = (&'a str, View)>) -> Arc<[u8]> {
    let members: Vec<(&str, View)> = members.collect();
    let told = members.iter().map(|(user, view)| Told::new(user, view)).collect();
    json(&Said::Snapshot { members: told, count })
}

/// See the module.
#[derive(Debug)]
pub(super) struct Feed {
    /// How many readers wait on each thread; none with zero.
    watchers: SmallVec<[(ThreadId, u32); 2]>,
    /// Without readers it is kept until then.
    pub(super) until: Tick,
    said: VecDeque<(Position, Arc<[u8]>)>,
    bytes: usize,
    /// Everything said after this is in `said`.
    complete_since: Position,
    /// Who has changed since it last said something, with what it said of them.
    pending: HashMap<Arc<str>, Option<View>>,
    /// When it last said something.
    pub(super) flushed: Tick,
    /// When it will.
    pub(super) due: Tick,
    /// It tells only how many there are.
    pub(super) counting: bool,
    /// How many it has told that there are.
    pub(super) count: usize,
    /// Who is there, for those who begin before it says something more.
    snapshot: OnceLock<Arc<[u8]>>,
}

impl Feed {
    pub(super) fn new(complete_since: Position, count: usize, counting: bool) -> Self {
        Self {
            watchers: SmallVec::new(),
            until: 0,
            said: VecDeque::new(),
            bytes: 0,
            complete_since,
            pending: HashMap::new(),
            flushed: 0,
            due: NEVER,
            counting,
            count,
            snapshot: OnceLock::new(),
        }
    }

    /// Bytes of memory behind it, without a snapshot that is kept for a second.
    pub(super) fn allocated(&self) -> usize {
        let pending = self.pending.capacity() * size_of::<(Arc<str>, Option<View>)>();
        size_of::<Self>() + self.bytes + self.said.capacity() * size_of::<(Position, Arc<[u8]>)>() + pending
    }

    pub(super) fn watch(&mut self, thread: ThreadId) {
        match self.watchers.iter_mut().find(|(watched, _)| *watched == thread) {
            Some((_, count)) => *count += 1,
            None => self.watchers.push((thread, 1)),
        }
    }

    pub(super) fn unwatch(&mut self, thread: ThreadId) {
        if let Some(index) = self.watchers.iter().position(|(watched, _)| *watched == thread) {
            self.watchers[index].1 -= 1;
            if self.watchers[index].1 == 0 {
                self.watchers.swap_remove(index);
            }
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    pub(super) fn threads(&self) -> impl Iterator<Item = ThreadId> {
        self.watchers.iter().map(|(thread, _)| *thread)
    }

    pub(super) fn complete_since(&self) -> Position {
        self.complete_since
    }

    /// Where it last said something.
    pub(super) fn last(&self) -> Position {
        self.said.back().map_or(self.complete_since, |(position, _)| *position)
    }

    /// Whether something is still to be said.
    pub(super) fn has_more(&self) -> bool {
        !self.pending.is_empty() || self.counting
    }

    pub(super) fn after(&self, after: Position) -> Vec<(Position, Arc<[u8]>)> {
        let from = self.said.partition_point(|(position, _)| *position <= after);
        self.said.range(from..).cloned().collect()
    }

    pub(super) fn at(&self, position: Position) -> Option<Arc<[u8]>> {
        let found = self.said.binary_search_by_key(&position, |(position, _)| *position);
        found.ok().map(|index| self.said[index].1.clone())
    }

    /// The member was like `before`, if it was shown. Only how it was when the feed last spoke matters.
    pub(super) fn note(&mut self, user: Arc<str>, before: Option<View>) {
        if !self.counting {
            self.pending.entry(user).or_insert(before);
        }
    }

    /// What has changed, if it has not changed back. `now` tells how a member is.
    pub(super) fn difference(&self, count: usize, now: impl Fn(&str) -> Option<View>) -> Option<Arc<[u8]>> {
        let changed: Vec<(&str, &Option<View>, Option<View>)> =
            self.pending.iter().map(|(user, before)| (&**user, before, now(user))).collect();
        let text = |view: &View| view.info.as_ref().map(|info| info.get().to_owned());
        let mut joins: Vec<Told<'_>> = Vec::new();
        let mut leaves: Vec<&str> = Vec::new();
        for (user, before, now) in &changed {
            match (before, now) {
                (Some(_), None) => leaves.push(user),
                (None, Some(now)) => joins.push(Told::new(user, now)),
                (Some(before), Some(now)) if (before.since, text(before)) != (now.since, text(now)) => {
                    joins.push(Told::new(user, now));
                }
                _ => {}
            }
        }
        if joins.is_empty() && leaves.is_empty() {
            return None;
        }
        joins.sort_unstable_by_key(|told| told.user);
        leaves.sort_unstable();
        Some(json(&Said::Diff { joins, leaves, count }))
    }

    /// How many have changed since it said something.
    pub(super) fn changes(&self) -> usize {
        self.pending.len()
    }

    /// What was to be said is said.
    pub(super) fn settle(&mut self, count: usize) {
        self.count = count;
        self.snapshot = OnceLock::new();
        self.pending.clear();
        // Once many changed at the same time.
        if self.pending.capacity() > 256 {
            self.pending = HashMap::new();
        }
    }

    pub(super) fn push(&mut self, position: Position, text: Arc<[u8]>) {
        self.bytes += text.len();
        self.said.push_back((position, text));
        while (self.said.len() > KEPT || self.bytes > KEPT_BYTES)
            && self.said.len() > 1
            && let Some((position, text)) = self.said.pop_front()
        {
            self.bytes -= text.len();
            self.complete_since = position;
        }
    }

    /// Who is there, as of what was said last, of those who are there `now`. `keep`: others will ask the same.
    pub(super) fn snapshot<'a>(&self, keep: bool, now: impl Iterator<Item = (&'a str, View)>) -> Arc<[u8]> {
        if self.counting {
            return count(self.count);
        }
        if let Some(kept) = self.snapshot.get() {
            return kept.clone();
        }
        let mut members: Vec<(&str, View)> = now.filter(|(user, _)| !self.pending.contains_key(*user)).collect();
        if !self.pending.is_empty() {
            let before = self.pending.iter().filter_map(|(user, view)| Some((&**user, view.clone()?)));
            members.extend(before);
            members.sort_unstable_by_key(|(user, _)| *user);
        }
        let text = snapshot(members.len(), members.into_iter());
        if keep { self.snapshot.get_or_init(|| text).clone() } else { text }
    }
}
