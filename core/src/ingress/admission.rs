//! Who may attach, and how much of the hub one user may take.
//!
//! The kernel says whose a connection is. `client_namespaces` says which users come in and with which namespaces; without
//! it everyone may who can open the socket, with all of them. Root always may: it could look into the hub's memory. What one
//! user holds is counted from the first byte, so that connections which never say what they want are counted, too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::process::geteuid;

use crate::channel::Namespace;
use crate::config::{Access, Config};
use crate::error::{Error, Limit};
use crate::process;

/// Connections above the limit that are still told that they are too many.
const TOLD: u32 = 16;
/// Descriptors of a client in the hub: its socket and its bell.
const DESCRIPTORS: u64 = 2;
const ROOT: u32 = 0;

/// See the module. Shared by the HTTP threads.
#[derive(Debug)]
pub struct Admission {
    rules: Mutex<Rules>,
    /// Grows when the rules change.
    edition: AtomicU64,
    held: Mutex<HashMap<u32, Held>>,
}

/// The keys that are enforced here.
#[derive(Debug)]
struct Rules {
    /// `None`: everyone, with every namespace.
    listed: Option<Vec<(u32, Option<Namespace>)>>,
    /// `max_clients_per_uid`
    clients: u32,
    /// What the limit of open files leaves to one user.
    share: u32,
    /// `max_client_bytes_per_uid`
    bytes: u64,
}

/// What the clients of one user take.
#[derive(Debug, Default)]
struct Held {
    connections: u32,
    bytes: u64,
}

/// A connection that is counted. Dropping it ends that.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    uid: u32,
    bytes: u64,
    /// Of the rules under which it was let in.
    edition: u64,
}

impl Admission {
    /// With the rules of this configuration.
    #[must_use]
    pub fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self { rules: Mutex::new(Rules::of(config)), edition: AtomicU64::new(0), held: Mutex::default() })
    }

    /// Goes on with other rules, for those who are attached, too; limits are for those who come.
    pub(crate) fn change(&self, config: &Config) {
        *self.rules() = Rules::of(config);
        self.edition.fetch_add(1, Ordering::Release);
    }

    /// Counts a new connection of this user. `None`: it has so many that it gets no word.
    pub fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let most = self.rules().most().saturating_add(TOLD);
        let mut held = self.held();
        let of_user = held.entry(uid).or_default();
        if of_user.connections >= most {
            return None;
        }
        of_user.connections += 1;
        Some(Place { admission: self.clone(), uid, bytes: 0, edition: self.edition.load(Ordering::Acquire) })
    }

    /// Whether the user may keep the hub running: those who may attach, and who runs the hub.
    pub fn may_lease(&self, uid: u32) -> Result<(), Error> {
        match &self.rules().listed {
            Some(listed)
                if uid != geteuid().as_raw() && uid != ROOT && !listed.iter().any(|(user, _)| *user == uid) =>
            {
                Err(stranger(uid))
            }
            _ => Ok(()),
        }
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().expect("looking at a list does not panic")
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u32, Held>> {
        self.held.lock().expect("counting does not panic")
    }
}

impl Place {
    /// Whether it may attach with this namespace, next to the others of its user.
    ///
    /// # Errors
    /// [`Error::AccessDenied`], [`Error::LimitExceeded`]
    pub fn admit(&self, namespace: &Namespace) -> Result<(), Error> {
        let rules = self.admission.rules();
        rules.check(self.uid, namespace)?;
        let connections = self.admission.held().get(&self.uid).map_or(0, |held| held.connections);
        match rules.exceeded(self.uid, connections) {
            Some(limit) => Err(limit.into()),
            None => Ok(()),
        }
    }

    /// Counts the memory that it brings.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`]; it is not counted then.
    pub fn take(&mut self, bytes: u64) -> Result<(), Error> {
        let limit = self.admission.rules().bytes;
        let mut held = self.admission.held();
        let of_user = held.entry(self.uid).or_default();
        if of_user.bytes + bytes > limit {
            return Err(Limit::ClientBytes { uid: self.uid, held: of_user.bytes, wanted: bytes, limit }.into());
        }
        of_user.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// As [`Place::take`], for a client that was let in by the hub before this one.
    fn take_anyway(&mut self, bytes: u64) {
        self.admission.held().entry(self.uid).or_default().bytes += bytes;
        self.bytes += bytes;
    }

    /// The place of a client of the hub before this one, which is above no limit, if it may still be here.
    pub(super) fn taken_over(
        admission: &Arc<Admission>,
        uid: u32,
        namespace: &Namespace,
        bytes: u64,
    ) -> Result<Self, Error> {
        admission.rules().check(uid, namespace)?;
        admission.held().entry(uid).or_default().connections += 1;
        let edition = admission.edition.load(Ordering::Acquire);
        let mut place = Self { admission: admission.clone(), uid, bytes: 0, edition };
        place.take_anyway(bytes);
        Ok(place)
    }

    /// Whether it may stay, asked when the rules may have changed; as long as they have not, that is one load.
    pub(super) fn check_again(&mut self, namespace: &Namespace) -> Result<(), Error> {
        let edition = self.admission.edition.load(Ordering::Acquire);
        if edition != self.edition {
            self.admission.rules().check(self.uid, namespace)?;
            self.edition = edition;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.admission.held();
        let Some(of_user) = held.get_mut(&self.uid) else { return };
        of_user.connections -= 1;
        of_user.bytes -= self.bytes;
        if of_user.connections == 0 {
            held.remove(&self.uid);
        }
    }
}

impl Rules {
    fn of(config: &Config) -> Self {
        let share = process::descriptor_limit() / 4 * 3 / DESCRIPTORS;
        Self {
            listed: config.client_namespaces.as_ref().map(|list| list.iter().filter_map(resolve).collect()),
            clients: config.max_clients_per_uid,
            share: u32::try_from(share).unwrap_or(u32::MAX),
            bytes: config.max_client_bytes_per_uid,
        }
    }

    fn most(&self) -> u32 {
        self.clients.min(self.share)
    }

    fn exceeded(&self, uid: u32, connections: u32) -> Option<Limit> {
        if connections > self.clients {
            return Some(Limit::Clients { uid, limit: self.clients });
        }
        (connections > self.share).then_some(Limit::ClientDescriptors { uid, limit: self.share })
    }

    fn check(&self, uid: u32, namespace: &Namespace) -> Result<(), Error> {
        let Some(listed) = self.listed.as_ref().filter(|_| uid != ROOT) else { return Ok(()) };
        let mut own = listed.iter().filter(|(user, _)| *user == uid).map(|(_, namespace)| namespace).peekable();
        if own.peek().is_none() {
            return Err(stranger(uid));
        }
        if own.any(|own| own.as_ref().is_none_or(|own| own == namespace)) {
            return Ok(());
        }
        Err(Error::AccessDenied(format!(
            "client_namespaces of this hub does not let uid {uid} into the namespace \"{namespace}\": set push.namespace to \
             one of those it names for this user, or add this one there"
        )))
    }
}

fn stranger(uid: u32) -> Error {
    Error::AccessDenied(format!(
        "client_namespaces of this hub does not name uid {uid}: add its user there, with the namespaces that it may use"
    ))
}

/// The list as it is enforced. A user who is gone since the start has no number any more, and nobody else gets its place.
fn resolve(access: &Access) -> Option<(u32, Option<Namespace>)> {
    match access.uid() {
        Ok(uid) => Some((uid, access.namespace.clone())),
        Err(error) => {
            tracing::error!("{error}; this entry lets nobody in");
            None
        }
    }
}
