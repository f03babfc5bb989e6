//! Tokens that were issued and open nothing any more.
//!
//! A revocation is of a user, of a channel, or of a user in a channel, and concerns what was issued up to its moment. It is
//! remembered for as long as such a token can be valid. The sequencer writes it to the journal; whoever verifies tokens
//! reads here, beside the critical section.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::call::MAX_TOKEN_TTL;
use crate::log::Address;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Revoked {
    any: AtomicBool,
    entries: RwLock<Entries>,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Arc<str>, Entry>,
    /// In the order of their moments.
    order: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    record: Address,
}

/// Unix times in milliseconds. A token that is issued after a revocation has a later one, and one before has not.
#[derive(Debug, Default)]
struct Clock {
    issued: u64,
    revoked: u64,
}

/// What is revoked: of a user, for a channel, or both. Neither has a NUL, and neither is empty.
pub(crate) fn key(namespace: &str, user: Option<&str>, channel: Option<&str>) -> String {
    [namespace, user.unwrap_or_default(), channel.unwrap_or_default()].join("\0")
}

impl Revoked {
    /// The moment of a token.
    pub(crate) fn issue(&self, now: u64) -> u64 {
        let mut clock = self.clock.lock().expect("numbers are compared");
        clock.issued = now.max(clock.issued).max(clock.revoked + 1);
        clock.issued
    }

    /// Now, or what was issued or revoked last where the system's clock has been set back since.
    pub(crate) fn latest(&self, now: u64) -> u64 {
        let clock = self.clock.lock().expect("numbers are compared");
        now.max(clock.issued).max(clock.revoked)
    }

    /// The moment of a revocation.
    pub(crate) fn revoke(&self, now: u64) -> u64 {
        let mut clock = self.clock.lock().expect("numbers are compared");
        clock.revoked = now.max(clock.issued).max(clock.revoked);
        clock.revoked
    }

    /// Remembers a revocation; gives the record of the one that it replaces.
    pub(crate) fn insert(&self, key: &str, at: u64, record: Address) -> Option<Address> {
        self.revoke(at);
        let key: Arc<str> = key.into();
        let mut entries = self.entries.write().expect("a map is changed");
        let Entries { by_key, order } = &mut *entries;
        order.insert((at, key.clone()));
        let old = by_key.insert(key.clone(), Entry { at, record });
        if let Some(old) = old.filter(|old| old.at != at) {
            order.remove(&(old.at, key));
        }
        self.any.store(true, Ordering::Release);
        old.map(|old| old.record)
    }

    /// Forgets what concerns no token any more.
    pub(crate) fn expire(&self, now: u64, mut released: impl FnMut(&str, Address)) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut entries = self.entries.write().expect("a map is changed");
        let life = (u64::from(MAX_TOKEN_TTL) + 2) * 1000;
        let Entries { by_key, order } = &mut *entries;
        while let Some((at, key)) = order.pop_first() {
            if at + life >= now {
                order.insert((at, key));
                break;
            }
            if let Some(entry) = by_key.remove(&key) {
                released(&key, entry.record);
            }
        }
        self.any.store(!entries.by_key.is_empty(), Ordering::Release);
    }

    /// Its record is elsewhere. False when it is not this one's.
    pub(crate) fn relocate(&self, key: &str, from: Address, to: Address) -> bool {
        let mut entries = self.entries.write().expect("a map is changed");
        let entry = entries.by_key.get_mut(key).filter(|entry| entry.record == from);
        entry.map(|entry| entry.record = to).is_some()
    }

    /// Whether a token of this user that was issued then opens nothing at all.
    pub(crate) fn concerns_user(&self, namespace: &str, user: &str, issued: u64) -> bool {
        self.any.load(Ordering::Acquire) && self.concerns(&[key(namespace, Some(user), None)], issued)
    }

    /// Whether a token of this user, or of nobody, that was issued then does not open the channel.
    pub(crate) fn concerns_channel(&self, namespace: &str, user: Option<&str>, channel: &str, issued: u64) -> bool {
        self.any.load(Ordering::Acquire)
            && self.concerns(&[key(namespace, None, Some(channel)), key(namespace, user, Some(channel))], issued)
    }

    fn concerns(&self, keys: &[String], issued: u64) -> bool {
        let entries = self.entries.read().expect("a map is changed");
        keys.iter().any(|key| entries.by_key.get(key.as_str()).is_some_and(|entry| issued <= entry.at))
    }

    /// Bytes that the entry takes beside the journal.
    pub(crate) fn cost(key: &str) -> usize {
        key.len() + 16 + size_of::<(Arc<str>, Entry)>() + size_of::<(u64, Arc<str>)>() + 16
    }
}
