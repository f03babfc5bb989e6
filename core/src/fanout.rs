//! Fan-out: which of an HTTP thread's waiting connections a publication concerns.
//!
//! One `Seating` per thread, touched by that thread alone. The sequencer knows how many seats a thread has in a channel;
//! only here is known whose they are.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::channel::{ChannelId, Namespace};
use crate::identity::Grant;
use crate::metrics::Counters;
use crate::sequencer::Seats;

/// Tells an HTTP thread that the sequencer owes it something. One wake-up for as many publications as come before it looks.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    rung: AtomicBool,
    /// Wakes the thread where it waits for a ring.
    waker: Mutex<Option<Waker>>,
    /// The thread's own; here, where everyone who wants to read them finds them.
    pub(crate) counters: Counters,
    /// Connections that it is to end.
    dismissals: Mutex<Dismissals>,
}

#[derive(Debug, Default)]
struct Dismissals {
    waiting: Vec<Arc<Dismissal>>,
    /// The thread has ended, and its connections with it.
    ended: bool,
}

/// Which subscriptions are to end, and what they are told. Each HTTP thread ends its own.
pub(crate) struct Dismissal {
    /// Those of this user: by their token, or by a channel of the user's.
    pub(crate) user: Option<(Namespace, Box<str>, HashSet<ChannelId>)>,
    /// Of these, those that are subscribed to this channel.
    pub(crate) channel: Option<ChannelId>,
    /// Why they are not wanted; without it they are told how far they are complete.
    pub(crate) reason: Option<Box<str>>,
    /// Threads that have not ended theirs.
    left: AtomicUsize,
    count: AtomicU64,
    /// Told the number of connections by the last thread.
    done: Mutex<Option<Done>>,
}

type Done = Box<dyn FnOnce(u64) + Send>;

impl Dismissal {
    /// For so many threads.
    pub(crate) fn new(
        threads: usize,
        user: Option<(Namespace, Box<str>, HashSet<ChannelId>)>,
        channel: Option<ChannelId>,
        reason: Option<&str>,
        done: Done,
    ) -> Self {
        let done = Mutex::new(Some(done));
        Self { user, channel, reason: reason.map(Into::into), left: threads.into(), count: AtomicU64::new(0), done }
    }

    /// Whether it is about a connection with these seats that was let in with `grant`.
    pub(crate) fn concerns(&self, grant: Option<&Grant>, places: &Places) -> bool {
        let sits = |is: &dyn Fn(ChannelId) -> bool| places.iter().any(|(channel, _)| is(*channel));
        let identified = grant.and_then(|grant| Some((&grant.namespace, &*grant.identity.as_ref()?.user)));
        let of_user = match (&self.user, identified) {
            (None, _) => true,
            (Some((namespace, user, _)), Some(identified)) => identified == (namespace, user),
            (Some((.., owned)), None) => !owned.is_empty() && sits(&|channel| owned.contains(&channel)),
        };
        of_user && self.channel.is_none_or(|wanted| sits(&|channel| channel == wanted))
    }

    /// A thread has ended so many.
    pub(crate) fn carried_out(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        // Pairs with itself: the last thread sees what the others counted.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(done) = self.done.lock().expect("taking it does not panic").take()
        {
            done(self.count.load(Ordering::Relaxed));
        }
    }
}

impl std::fmt::Debug for Dismissal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dismissal").finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(crate) fn wake(&self) {
        // Pairs with the swap in `answered`: who finds it rung has published before the thread looks.
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(waker) = &*self.waker()
        {
            waker.wake_by_ref();
        }
    }

    /// True once for each time it was woken; ask before looking.
    pub(crate) fn answered(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel)
    }

    /// Gives the thread something to do.
    pub(crate) fn order(&self, dismissal: Arc<Dismissal>) {
        let mut dismissals = self.dismissals.lock().expect("pushing to a list does not panic");
        if dismissals.ended {
            drop(dismissals);
            return dismissal.carried_out(0);
        }
        dismissals.waiting.push(dismissal);
        drop(dismissals);
        self.wake();
    }

    pub(crate) fn dismissals(&self) -> Vec<Arc<Dismissal>> {
        std::mem::take(&mut self.dismissals.lock().expect("pushing to a list does not panic").waiting)
    }

    /// The thread ends.
    pub(crate) fn close(&self) {
        self.dismissals.lock().expect("pushing to a list does not panic").ended = true;
        self.dismissals().iter().for_each(|dismissal| dismissal.carried_out(0));
    }

    /// Ready when it was woken and has not answered yet.
    pub(crate) fn poll_woken(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waker = self.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        // After that: who rings before is seen here, by the lock, and who rings later finds the waker.
        if self.rung.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().expect("storing a waker does not panic")
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
