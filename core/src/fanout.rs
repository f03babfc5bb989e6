//! Fan-out: which of an HTTP thread's waiting connections a publication concerns.
//!
//! One `Seating` per thread, touched by that thread alone. The sequencer knows how many seats a thread has in a channel;
//! only here is known whose they are.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::channel::ChannelId;
use crate::metrics::Counters;
use crate::sequencer::Seats;

/// Tells an HTTP thread that the sequencer owes it something. One wake-up for as many publications as come before it looks.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    rung: AtomicBool,
    notify: Notify,
    /// The thread's own; here, where everyone who wants to read them finds them.
    pub(crate) counters: Counters,
}

impl Mailbox {
    pub(crate) fn wake(&self) {
        // Pairs with the swap in `answered`: who finds it rung has published before the thread looks.
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// True once for each time it was woken; ask before looking.
    pub(crate) fn answered(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    pub(crate) async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// A connection's key in its thread.
pub(crate) type Key = u32;

/// A connection's place in the lists of its channels, for leaving them without a search.
pub(crate) type Places = SmallVec<[(ChannelId, u32); 1]>;

/// The waiting connections of one thread by channel.
#[derive(Debug, Default)]
pub(crate) struct Seating {
    by_channel: HashMap<ChannelId, SmallVec<[Key; 2]>>,
}

impl Seating {
    pub(crate) fn add(&mut self, key: Key, seats: &Seats) -> Places {
        let mut places = Places::with_capacity(seats.len());
        for &channel in seats {
            let keys = self.by_channel.entry(channel).or_default();
            places.push((channel, keys.len() as u32));
            keys.push(key);
        }
        places
    }

    /// Takes a connection out. `moved` is told which other connection now has which place in a channel.
    pub(crate) fn remove(&mut self, places: &Places, mut moved: impl FnMut(Key, ChannelId, u32)) {
        for &(channel, place) in places {
            let Some(keys) = self.by_channel.get_mut(&channel) else { continue };
            keys.swap_remove(place as usize);
            if let Some(&key) = keys.get(place as usize) {
                moved(key, channel, place);
            }
            if keys.is_empty() {
                self.by_channel.remove(&channel);
            }
        }
    }

    /// The connections that wait for the channel, in no order.
    pub(crate) fn of(&self, channel: ChannelId) -> &[Key] {
        self.by_channel.get(&channel).map_or(&[], |keys| keys)
    }
}
