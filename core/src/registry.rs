//! The registry: the part of the journal that knows the channels, the keys under which something was published, and who is online.
//!
//! A second [`Log`], whose records change in place or are replaced, and whose order means nothing: what is alive in a
//! segment that is mostly dead moves to its end. It is never evicted; channels and keys that find no room are refused.
//! Indexes over it are kept by the directory of channels and by the dedupe keys, which hold the addresses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::channel::{ChannelId, ChannelOptions};
use crate::journal::{Class, Found, Region};
use crate::log::{Address, Log, WORDS};
use crate::message::{Position, Published};

/// What stands in a record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Entry<'a> {
    /// A channel; its [`Counters`] change.
    Channel {
        /// Which it is among those that live.
        id: ChannelId,
        /// Its identity: namespace and name.
        name: &'a str,
        /// Set when the backend created it.
        options: Option<ChannelOptions>,
    },
    /// A key, and what came of the message that was published under it.
    Key {
        /// The channel.
        channel: ChannelId,
        /// The key.
        key: &'a str,
        /// The result.
        published: Published,
        /// The second in which it is forgotten.
        expires: u32,
    },
    /// Tokens that open nothing any more; see [`revocation`](crate::access::revocation).
    Revoked {
        /// Of whom, and for which channel.
        key: &'a str,
        /// Those that were issued up to this moment.
        at: u64,
    },
    /// A member: who was online when the hub ended is so for the next one, for a grace.
    Member {
        /// Whose site it is.
        namespace: &'a str,
        /// Its channel; `None`: the site.
        channel: Option<&'a str>,
        /// Who.
        user: &'a str,
        /// What is told about the user; empty: nothing.
        info: &'a str,
        /// The second in which it joined.
        since: u32,
        /// The second in which its lease is over; 0: it has none.
        lease: u32,
    },
}

/// What changes of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) published: u64,
    /// Position of the newest message.
    pub(crate) last: Position,
    /// Everything stored after this is in its history.
    pub(crate) complete_since: Position,
}

impl Counters {
    fn words(self) -> [u64; WORDS] {
        // The last is set by itself, too.
        [self.complete_since.pack(), self.published, self.last.pack()]
    }
}

/// See the module.
pub(crate) struct Registry {
    log: Log,
    buffer: Vec<u8>,
}

impl Registry {
    /// Takes over what the last hub had; see [`Log::restore`].
    pub(crate) fn restore(region: Arc<Region>, found: &mut Vec<Found>) -> (Self, bool) {
        let (log, damaged) = Log::restore(region, Class::Registry, found);
        (Self { log, buffer: Vec::new() }, damaged)
    }

    /// Goes through all entries; `revived` says which of them are alive. Counters come with channels. As [`Log::revive`].
    pub(crate) fn revive(
        &mut self,
        alive: &dyn Fn(),
        mut revived: impl FnMut(Entry<'_>, Option<Counters>, Address) -> bool,
    ) -> bool {
        self.log.revive(alive, |bytes, words, address| {
            let counters = words.map(|[complete_since, published, last]| Counters {
                published,
                last: Position::unpack(last),
                complete_since: Position::unpack(complete_since),
            });
            decode(bytes).is_some_and(|entry| revived(entry, counters, address))
        })
    }

    pub(crate) fn allocated(&self) -> usize {
        self.log.allocated()
    }

    /// Bytes by which an entry with a text of `len` bytes may make it grow.
    pub(crate) fn cost(&self, len: usize) -> usize {
        // Two ids, numbers and lengths above the text, generously.
        self.log.cost(len + 128)
    }

    /// `None`: there is no place in the journal.
    pub(crate) fn add(&mut self, entry: &Entry<'_>, counters: Option<Counters>) -> Option<Address> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        self.buffer = postcard::to_extend(entry, buffer).expect("plain data into a Vec");
        if let Entry::Channel { options: Some(ChannelOptions { presence: false, .. }), .. } = entry {
            self.buffer.push(WITHOUT_PRESENCE);
        }
        let bytes = &self.buffer;
        self.log.append_with(bytes.len(), counters.map(Counters::words), true, |out| out.copy_from_slice(bytes))
    }

    pub(crate) fn set_counters(&mut self, channel: Address, counters: Counters) {
        self.log.set_words(channel, &counters.words());
    }

    /// Messages up to this position may be gone. Said before they go.
    pub(crate) fn set_complete_since(&mut self, channel: Address, position: Position) {
        self.log.set_words(channel, &[position.pack()]);
    }

    pub(crate) fn release(&mut self, address: Address) {
        self.log.release(address);
    }

    /// Gives back what dead entries took. `relocate` says which entry moved where, and whether it is alive.
    pub(crate) fn tidy(&mut self, mut relocate: impl FnMut(Entry<'_>, Address, Address) -> bool) {
        self.log.gather(|bytes, from, to| decode(bytes).is_some_and(|entry| relocate(entry, from, to)));
    }
}

/// Behind a channel in which nobody is a member. There was padding in journals of before, and hubs of before pass it over.
const WITHOUT_PRESENCE: u8 = 1;

fn decode(bytes: &[u8]) -> Option<Entry<'_>> {
    // They end with padding, which is 0.
    let (mut entry, behind) = postcard::take_from_bytes(bytes).ok()?;
    if let Entry::Channel { options: Some(options), .. } = &mut entry {
        options.presence = behind.first() != Some(&WITHOUT_PRESENCE);
    }
    Some(entry)
}
