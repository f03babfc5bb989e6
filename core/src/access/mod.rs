//! Who may subscribe and publish: tokens, the secret they are signed with, and what was revoked of them.
//!
//! [`Access`] signs and verifies; [`may_subscribe`] and [`may_publish`] decide about a request, before the engine sees it.
//! What of a request is its credential, and when a cookie is one, stands in [`credential`]; how often anybody may do so, in
//! [`limits`]. Neither a token nor a channel's
//! name is ever logged.

mod buckets;
mod credential;
pub(crate) mod limits;
mod revoked;
mod secret;
mod token;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use credential::{Credential, credential, is_at_home};
use limits::Limits;
pub(crate) use revoked::{Revoked, key as revocation};
use token::Keys;
pub(crate) use token::{Issue, Token};

use crate::accel::{self, HandedOver};
use crate::config::{Authorization, Location};
use crate::error::Error;
use crate::identity::Grant;
use crate::keeper::StartError;
use crate::sequencer::{Sequencer, Wanted};
use crate::transport::reply::{INVALID_TOKEN, Reply};
use crate::transport::request::Request;

/// A refused token is logged once in this time, in milliseconds: whoever sends wrong ones in a loop must not fill the log.
const LOG_EVERY: u64 = 1000;

/// Signs tokens, and verifies them.
pub(crate) struct Access {
    keys: RwLock<Arc<Keys>>,
    /// Where they stand; nowhere when they end with this process.
    file: Option<PathBuf>,
    /// When a refusal was logged last.
    logged: AtomicU64,
    refused: AtomicU64,
    limits: Limits,
}

impl Access {
    /// With the secrets of the file, which is made if need be. Where it cannot be made, tokens end with this hub.
    ///
    /// # Errors
    /// The file is there and not fit to be used.
    pub(crate) fn open(file: &Path) -> Result<Self, StartError> {
        match secret::open(file)? {
            Ok(keys) => Ok(Self::new(keys, Some(file.to_owned()))),
            Err(why) => {
                tracing::warn!(
                    "secret_file = \"{}\" cannot be made: {why}: tokens are valid until this hub ends only; make its \
                     directory, writable for the user of the hub, or set another",
                    file.display()
                );
                Self::of_this_process()
            }
        }
    }

    /// With a secret that ends with this process.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub(crate) fn of_this_process() -> Result<Self, StartError> {
        let keys = secret::of_this_process().map_err(|error| StartError::new(format!("no random numbers: {error}")))?;
        Ok(Self::new(keys, None))
    }

    fn new(keys: Keys, file: Option<PathBuf>) -> Self {
        Self {
            keys: RwLock::new(Arc::new(keys)),
            file,
            logged: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            limits: Limits::default(),
        }
    }

    /// How often clients may do something.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Reads the file again.
    pub(crate) fn reload(&self) {
        let Some(file) = &self.file else { return };
        match secret::read(file) {
            Ok(Ok(keys)) => {
                *self.keys.write().expect("storing a pointer does not panic") = Arc::new(keys);
                tracing::info!("the secrets of secret_file were read again");
            }
            Ok(Err(why)) => tracing::error!("the secrets stay as they are: {why}"),
            Err(error) => {
                tracing::error!("the secrets stay as they are: secret_file = \"{}\": {error}", file.display());
            }
        }
    }

    /// Signs a token. `now` is the Unix time in milliseconds.
    pub(crate) fn sign(&self, issue: Issue<'_>, now: u64) -> Result<String, Error> {
        self.keys().sign(issue, now)
    }

    fn verify(&self, token: &[u8], namespace: &str, now: u64) -> Result<Token, &'static str> {
        self.keys().verify(token, namespace, now)
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().expect("reading a pointer does not panic").clone()
    }

    /// Tells the operator, and the developer with the answer, why a request is not let in.
    fn refuse(&self, request: &Request<'_>, status: u16, why: &str, now: u64) -> Reply {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        let last = self.logged.load(Ordering::Relaxed);
        if now.saturating_sub(last) >= LOG_EVERY
            && self.logged.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            tracing::info!(refused, status, client = %request.client(), "a request was not let in: {why}");
        }
        let reply = Reply::refusal(status, why).body("text/plain", format!("{why}\n").into_bytes());
        match status {
            401 => reply.header("WWW-Authenticate", INVALID_TOKEN),
            _ => reply,
        }
    }
}

/// Unix time in milliseconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What a request that wants to hear of these channels is let in with, or why it is not. Those that a token opens are
/// marked; whether others are there to be had is the engine's to say.
pub(crate) fn may_subscribe(
    engine: &Sequencer,
    location: &Location,
    request: &Request<'_>,
    channels: &mut [Wanted],
) -> Result<Option<Rc<Grant>>, Reply> {
    if let Some(handed) = request.handed {
        return admit(engine, location, request, handed, channels).map(Some);
    }
    let (access, now) = (engine.access(), now());
    let refuse = |status, why: &str| access.refuse(request, status, why, now);
    let demanded = location.authorized_channels_only == Authorization::Token;
    let Some(token) = presented(engine, location, request, now)? else {
        return match demanded {
            true => Err(refuse(401, "This location needs a token, and none was sent.")),
            false => Ok(None),
        };
    };
    let (namespace, revoked) = (location.namespace.as_str(), engine.revoked());
    let user = token.identity.as_ref().map(|identity| &*identity.user);
    if user.is_some_and(|user| revoked.concerns_user(namespace, user, token.issued)) {
        return Err(refuse(401, "The token was refused: it was revoked."));
    }
    let mut all = true;
    for wanted in channels {
        wanted.opened = token.names(&wanted.name);
        all &= wanted.opened;
        if demanded && !wanted.opened {
            return Err(refuse(403, "The token does not open this channel."));
        }
        if revoked.concerns_channel(namespace, user, &wanted.name, token.issued) {
            return Err(refuse(403, "The token was revoked for this channel."));
        }
    }
    let publish = token.publish && all;
    let (identity, namespace) = (token.identity, location.namespace.clone());
    Ok(Some(Rc::new(Grant { identity, namespace, expires: Some(token.expires), publish })))
}

/// Who the request of a trusted listener is from, and what PHP lets him hear.
pub(crate) fn handed_over(engine: &Sequencer, request: &Request<'_>) -> Result<HandedOver, Reply> {
    let refuse = |status, why: &str| Err(engine.access().refuse(request, status, why, now()));
    let mut said = request.all(accel::HEADER);
    match (said.next(), said.next()) {
        (Some(text), None) => HandedOver::read(text).or_else(|why| refuse(400, &format!("{}: {why}.", accel::HEADER))),
        (Some(_), Some(_)) => {
            refuse(400, "The request says several times who it is from: one X-Push-Identity is allowed.")
        }
        (None, _) => refuse(
            403,
            "This listener takes requests that PHP has handed over by push_accel(): X-Push-Identity is missing, which the \
             location of nginx passes on.",
        ),
    }
}

/// Lets in whom PHP has let in. What PHP knows him by is mostly a cookie: so what counts for a cookie counts here.
fn admit(
    engine: &Sequencer,
    location: &Location,
    request: &Request<'_>,
    handed: &HandedOver,
    channels: &mut [Wanted],
) -> Result<Rc<Grant>, Reply> {
    let refuse = |why: &str| Err(engine.access().refuse(request, 403, why, now()));
    if handed.namespace != location.namespace.as_str() {
        return refuse("PHP has handed the request over in another namespace than that of this location.");
    }
    if request.argument("callback").is_some() {
        return refuse(
            "A request that PHP has handed over is not answered as JSONP, which pages of any host may call.",
        );
    }
    if !is_at_home(location, request) {
        return refuse(
            "A request that PHP has handed over must come from a page of this host or of allowed_origins: Origin is another, \
             or missing.",
        );
    }
    channels.iter_mut().for_each(|wanted| wanted.opened = true);
    let (identity, namespace) = (handed.identity.clone(), location.namespace.clone());
    Ok(Rc::new(Grant { identity, namespace, expires: None, publish: false }))
}

/// Whether the request may do to these channels what it wants; `changes`: more than to read their counters. Who presents a
/// token has the rights that the token gives.
pub(crate) fn may_publish(
    engine: &Sequencer,
    location: &Location,
    request: &Request<'_>,
    channels: &mut [Wanted],
    changes: bool,
) -> Result<Option<Rc<Grant>>, Reply> {
    match may_subscribe(engine, location, request, channels)? {
        Some(grant) if changes && !grant.publish => Err(engine.access().refuse(
            request,
            403,
            "The token does not let its holder publish to this channel.",
            now(),
        )),
        grant => Ok(grant),
    }
}

/// The token that came with the request, verified.
fn presented(engine: &Sequencer, location: &Location, request: &Request<'_>, now: u64) -> Result<Option<Token>, Reply> {
    let access = engine.access();
    let token = match credential(location, request) {
        Credential::None => return Ok(None),
        Credential::Ambiguous => {
            return Err(access.refuse(request, 401, "The token was refused: the request has several.", now));
        }
        Credential::Foreign => {
            return Err(access.refuse(
                request,
                403,
                "A token in a cookie is taken from pages of this host and of allowed_origins only: Origin is another, or missing.",
                now,
            ));
        }
        Credential::Token(token) => token,
    };
    let verified = access.verify(&token, location.namespace.as_str(), engine.revoked().latest(now));
    verified.map(Some).map_err(|why| access.refuse(request, 401, &format!("The token was refused: {why}."), now))
}
