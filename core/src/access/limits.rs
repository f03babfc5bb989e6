//! How often clients of the public listeners may do something: begin to listen, and publish, by address and by user.
//!
//! To begin to listen is every request to a subscriber location, whatever comes of it, but for a long-poll that goes on: one
//! that waited and was answered gives back what it took, so that the next one is free. It cannot say that of itself: whoever
//! polls without waiting pays for each. A bucket that nobody limits is not there, and nothing is asked for its sake.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::buckets::{Buckets, ROWS};
use crate::config::{Config, Handler, Location, Mode, Rate};
use crate::transport::client_address::ClientAddress;
use crate::transport::reply::Reply;
use crate::transport::request::Request;

/// A refusal is logged once in this time, in nanoseconds.
const LOG_EVERY: u64 = 1_000_000_000;
/// One subscriber, or one site behind an address, has these bits of an IPv6 address to itself.
const NETWORK: u128 = u128::MAX << 64;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Connect,
    /// To connect with a long-poll, for which one that was answered may have paid.
    Poll,
    Publish,
}

impl Deed {
    /// Which buckets are taken from.
    fn index(self) -> usize {
        match self {
            Self::Connect | Self::Poll => 0,
            Self::Publish => 1,
        }
    }
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Address,
    User,
}

/// Whose buckets a client takes from; 0: nobody's. A waiting connection carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payer {
    address: u32,
    user: u32,
}

/// See the module. One for all HTTP threads.
#[derive(Debug)]
pub(crate) struct Limits {
    started: Instant,
    /// With keys of this process, so that nobody can look for addresses that share a row.
    hash: RandomState,
    buckets: [[OnceLock<Buckets>; 2]; 2],
    refused: [AtomicU64; 2],
    logged: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        let (started, hash) = (Instant::now(), RandomState::new());
        Self { started, hash, buckets: Default::default(), refused: Default::default(), logged: AtomicU64::new(0) }
    }
}

/// The two limits of a deed, by address and by user, with the words about who is meant.
fn limits(config: &Config, deed: Deed) -> [(&'static str, Option<&Rate>, &'static str); 2] {
    match deed {
        Deed::Connect | Deed::Poll => [
            ("connect_rate_per_address", config.connect_rate_per_address.as_ref(), "connections from this address"),
            ("connect_rate_per_user", config.connect_rate_per_user.as_ref(), "connections of this user"),
        ],
        Deed::Publish => [
            ("publish_rate_per_address", config.publish_rate_per_address.as_ref(), "publications from this address"),
            ("publish_rate_per_user", config.publish_rate_per_user.as_ref(), "publications of this user"),
        ],
    }
}

impl Limits {
    /// The payer of a request to this location, as far as its address goes.
    pub(crate) fn payer(&self, config: &Config, location: &Location, request: &Request<'_>) -> Payer {
        if !counts(config, location, By::Address) {
            return Payer::default();
        }
        let address = match request.client() {
            ClientAddress::Ip(IpAddr::V6(address)) => {
                ClientAddress::Ip(Ipv6Addr::from_bits(address.to_bits() & NETWORK).into())
            }
            address => address,
        };
        Payer { address: self.key(address), user: 0 }
    }

    /// The same with its user, who is asked for where that counts.
    pub(crate) fn with_user(
        &self,
        payer: Payer,
        config: &Config,
        location: &Location,
        user: impl FnOnce() -> Option<Arc<str>>,
    ) -> Payer {
        let user = if counts(config, location, By::User) { user() } else { None };
        Payer { user: user.map_or(0, |user| self.key((location.namespace.as_str(), &*user))), ..payer }
    }

    fn key(&self, who: impl Hash) -> u32 {
        (self.hash.hash_one(who) as u32).max(1)
    }

    /// Whether the payer may do it, as far as this of its buckets is concerned.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check(
        &self,
        config: &Config,
        deed: Deed,
        by: By,
        payer: Payer,
        request: Option<&Request<'_>>,
    ) -> Result<(), Reply> {
        let (name, Some(rate), whose) = limits(config, deed)[by as usize] else { return Ok(()) };
        let key = [payer.address, payer.user][by as usize];
        if key == 0 {
            return Ok(());
        }
        let buckets = self.buckets[deed.index()][by as usize].get_or_init(|| Buckets::new(ROWS));
        let now = self.now();
        buckets.take(key, rate, deed == Deed::Poll, now).map_err(|wait| {
            let refused = self.refused[deed.index()].fetch_add(1, Ordering::Relaxed) + 1;
            let last = self.logged.load(Ordering::Relaxed);
            if (last == 0 || now.saturating_sub(last) >= LOG_EVERY)
                && self.logged.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                let client = request.map(|request| tracing::field::display(request.client()));
                tracing::warn!(refused, client, "too many {whose}: {name} = \"{rate}\"");
            }
            let seconds = wait.div_ceil(1_000_000_000).max(1);
            Reply::refusal(429, format_args!("Too many {whose} ({name}): try again in {seconds} s."))
                .header("Retry-After", seconds)
        })
    }

    /// A long-poll of this payer has waited and was answered: it may go on.
    pub(crate) fn answered(&self, payer: Payer) {
        for (buckets, key) in self.buckets[Deed::Poll.index()].iter().zip([payer.address, payer.user]) {
            if let Some(buckets) = buckets.get().filter(|_| key != 0) {
                buckets.give_back(key, self.now());
            }
        }
    }

    /// How many were refused.
    pub(crate) fn refused(&self, deed: Deed) -> u64 {
        self.refused[deed.index()].load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Whether anything is limited by this in the location. For WebSockets that may publish it always counts: a limit that is
/// set later has to find them.
fn counts(config: &Config, location: &Location, by: By) -> bool {
    let limited = |deed| limits(config, deed)[by as usize].1.is_some();
    let talks = location.handler == Handler::Subscriber(Mode::WebSocket) && location.websocket_allow_publish;
    location.public && (talks || limited(Deed::Connect) || limited(Deed::Publish))
}
