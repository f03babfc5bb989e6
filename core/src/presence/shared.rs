//! Who is online, where other processes see it: a [`Set`] of the numbers of all members that are shown.

use super::Place;
use crate::online::Secret;
use crate::shm::set::Set;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    set: Set,
    secret: Secret,
}

impl Shared {
    pub(crate) fn new(set: Set, secret: Secret) -> Self {
        Self { set, secret }
    }

    /// Bytes of memory behind it.
    pub(super) fn allocated(&self) -> usize {
        self.set.allocated()
    }

    pub(super) fn joined(&mut self, place: &Place, user: &str) {
        self.set.insert(self.number(place, user));
    }

    pub(super) fn left(&mut self, place: &Place, user: &str) {
        self.set.remove(self.number(place, user));
    }

    /// What is there holds until this second of Unix time, if nothing changes.
    pub(super) fn hold_until(&self, second: u64) {
        self.set.hold_until(second);
    }

    pub(super) fn tidy(&mut self) {
        self.set.tidy();
    }

    fn number(&self, place: &Place, user: &str) -> u64 {
        self.secret.key(place.namespace()).number(place.channel().map(|name| &**name), user)
    }
}
