//! The calling side of the wire: attaches to a hub, puts calls into the ring, waits for answers.
//!
//! Blocking, and every wait is bounded by the time-out; spawns nothing, so it is safe in a process that forks. It attaches
//! at the first call. A hub that is killed is replaced without its notice: the next one goes on with segment and socket. Only
//! when the keeper is gone, too, it attaches again, with the same segment, whose unread calls are thereby replayed; after a fork the child leaves the segment to its parent and makes its own.

mod attach;
mod link;
mod presence;
mod subscription;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
#[cfg(feature = "hub")]
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::{Deadline, Link, Stop};
pub use subscription::Subscription;

use crate::call::{Answer, Call, MAX_BATCH, MAX_PAGE, Status, StoredMessage};
use crate::channel::{ChannelInfo, ChannelName, ChannelOptions, MAX_NAME, Namespace};
#[cfg(feature = "hub")]
use crate::embedded::Embedded;
use crate::error::Error;
use crate::message::{MAX_PAYLOAD, NewMessage, Position, Published};
use crate::shm::progress::KEPT;

/// The longest pause after failures, unless `backoff` itself is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest answer is a page with one longest message; a longer one is not from a hub.
const LONGEST_REPLY: usize = MAX_PAYLOAD + MAX_PAGE;
/// A buffer grown above this by one large message is given back.
const KEPT_BUFFER: usize = 256 << 10;

/// How to reach the hub and how long to wait for it.
#[derive(Debug)]
pub struct Options {
    /// The path of its socket.
    pub socket: PathBuf,
    /// The same socket, opened `O_PATH` by a parent process: tried first, works whatever the path's directories allow.
    pub inherited: Option<OwnedFd>,
    /// The longest any call takes.
    pub timeout: Duration,
    /// The first pause after a failure; doubles to one second.
    pub backoff: Duration,
    /// Bytes of the request ring, rounded up to a power of two.
    pub ring_size: u32,
}

/// A process's connection to the hub.
#[derive(Debug)]
pub struct Client {
    options: Options,
    namespace: Namespace,
    link: Option<Link>,
    /// Of the last acknowledged call.
    number: u64,
    pause: Option<Pause>,
    /// It makes no other call than that.
    subscribes: bool,
    /// The encoded call.
    buffer: Vec<u8>,
    /// The hub, when it is in this process: then nothing else here is used.
    #[cfg(feature = "hub")]
    embedded: Option<Arc<Embedded>>,
}

/// After a failure acknowledged calls fail at once for a while, so that a stopped hub costs one time-out, not one per call.
#[derive(Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    error: Error,
}

impl Client {
    /// A client that attaches at its first call.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            namespace: Namespace::default(),
            link: None,
            number: 0,
            pause: None,
            subscribes: false,
            buffer: Vec::new(),
            #[cfg(feature = "hub")]
            embedded: None,
        }
    }

    /// A client of the hub in this process: its calls are function calls and wait for nothing but each other.
    #[cfg(feature = "hub")]
    #[must_use]
    pub fn embedded(hub: Arc<Embedded>) -> Self {
        // For a subscription: its messages come from the threads of the hub.
        let options = Options {
            socket: PathBuf::new(),
            inherited: None,
            timeout: Duration::from_secs(1),
            backoff: LONGEST_PAUSE,
            ring_size: 256 << 10,
        };
        Self { namespace: hub.namespace().clone(), embedded: Some(hub), ..Self::new(options) }
    }

    /// Makes the calls to come about the channels of this namespace. A change is another attach, after which the hub acts on
    /// what was sent before in its own time.
    pub fn set_namespace(&mut self, namespace: &Namespace) {
        if self.namespace != *namespace {
            self.namespace = namespace.clone();
            self.link = None;
            self.pause = None;
        }
    }

    /// Changes the time-out of the calls to come.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.options.timeout = timeout;
    }

    /// Publishes and waits for the message's place.
    ///
    /// # Errors
    /// What the hub refuses; [`Error::Timeout`] and [`Error::HubUnavailable`] may leave the outcome open.
    pub fn publish(&mut self, channel: &str, message: &NewMessage<'_>) -> Result<Published, Error> {
        named(channel)?;
        message.check()?;
        match self.try_call(Call::Publish { channel, message: *message })? {
            Came::Answer(Answer::Published(published)) => Ok(published),
            Came::Parts(parts) => parts.first().copied().ok_or_else(nonsense),
            Came::Answer(_) => Err(nonsense()),
        }
    }

    /// Publishes without waiting: the message is in the ring, which survives this process and the hub.
    ///
    /// # Errors
    /// [`Error::Timeout`] when the ring stays full, [`Error::HubUnavailable`] when there is no hub to attach it to. What only
    /// the hub can know (a configured limit) is not reported here but logged by the hub, unless the hub is in this process.
    pub fn publish_async(&mut self, channel: &str, message: &NewMessage<'_>) -> Result<(), Error> {
        named(channel)?;
        message.check()?;
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.embedded {
            return hub.call(&self.namespace, Call::Publish { channel, message: *message }).map(drop);
        }
        self.leave_if_forked();
        let attached = self.link.as_ref().is_some_and(|link| link.hub.is_some());
        let mut deadline = Deadline::after(self.options.timeout);
        if self.paused() {
            if attached {
                // There may be room; if not, a stopped hub is not waited for a second time.
                deadline.at = Some(Instant::now());
            } else {
                self.check_pause()?;
            }
        }
        let call = Call::Publish { channel, message: *message };
        let needs = call.protocol();
        let call = self.encode(0, &call);
        let sent = self.exchange(needs, &call, &mut deadline, |link, call, deadline| {
            let sent = link.send(call, deadline)?;
            link.settle(&sent, deadline)
        });
        self.buffer = call;
        match sent {
            // Gone, but with the message: that is all we ask.
            Ok(()) | Err(Failure::Open | Failure::Torn(_)) => Ok(()),
            Err(Failure::Known(error)) => Err(self.begin_pause(error)),
        }
    }

    /// Publishes all of them in this order and waits for their places. None is published when one is refused. Many go in several
    /// calls, each of which is completed by the next hub when one is killed within it.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`Error::TooLarge`] also for a batch of more than [`MAX_BATCH`] bytes.
    pub fn publish_many(&mut self, messages: Vec<(&str, NewMessage<'_>)>) -> Result<Vec<Published>, Error> {
        let mut len = 0;
        for (channel, message) in &messages {
            named(channel)?;
            message.check()?;
            len += message.weight() + channel.len();
        }
        if len > MAX_BATCH {
            return Err(Error::TooLarge { len: len as u64, limit: MAX_BATCH as u64 });
        }
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.embedded {
            return match hub.call(&self.namespace, Call::PublishMany { messages })? {
                Answer::PublishedMany(published) => Ok(published),
                _ => Err(nonsense()),
            };
        }
        if messages.len() <= KEPT {
            return self.publish_part(&messages);
        }
        let sizes = messages.iter().map(|(channel, message)| (*channel, message.payload.len() as u64)).collect();
        match self.call(Call::Admit { messages: sizes }) {
            Ok(_) => {}
            // An older hub takes them in one call, of which it may not know where all are when it is killed.
            Err(Error::Incompatible { .. }) => return self.publish_part(&messages),
            Err(error) => return Err(error),
        }
        let mut published = Vec::with_capacity(messages.len());
        for part in messages.chunks(KEPT) {
            published.append(&mut self.publish_part(part)?);
        }
        Ok(published)
    }

    /// Publishes so few that the results of all are kept for the next hub.
    fn publish_part(&mut self, mut messages: &[(&str, NewMessage<'_>)]) -> Result<Vec<Published>, Error> {
        let mut published = Vec::with_capacity(messages.len());
        loop {
            match self.try_call(Call::PublishMany { messages: messages.to_vec() })? {
                Came::Answer(Answer::PublishedMany(mut rest)) => {
                    published.append(&mut rest);
                    return Ok(published);
                }
                Came::Answer(_) => return Err(nonsense()),
                Came::Parts(mut parts) => {
                    messages = messages.get(parts.len()..).unwrap_or_default();
                    published.append(&mut parts);
                    if messages.is_empty() {
                        return Ok(published);
                    }
                }
            }
        }
    }

    /// Drops a channel's stored messages, and says how many there were. Its subscribers stay.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn clear_channel(&mut self, channel: &str) -> Result<u64, Error> {
        named(channel)?;
        match self.call(Call::ClearChannel { channel })? {
            Answer::Cleared(count) => Ok(count),
            _ => Err(nonsense()),
        }
    }

    /// Counters of the channels whose names begin with `prefix` and come after `after`, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::HubUnavailable`]
    pub fn channels(&mut self, prefix: &str, after: &str, limit: u32) -> Result<Vec<ChannelInfo>, Error> {
        match self.call(Call::Channels { prefix, after, limit })? {
            Answer::Channels(channels) => Ok(channels),
            _ => Err(nonsense()),
        }
    }

    /// A channel's stored messages after the position, oldest first: at most `limit`, and at most [`MAX_PAGE`] bytes of them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn history(&mut self, channel: &str, after: Position, limit: u32) -> Result<Vec<StoredMessage>, Error> {
        named(channel)?;
        match self.call(Call::History { channel, after, limit })? {
            Answer::History(messages) => Ok(messages),
            _ => Err(nonsense()),
        }
    }

    /// Creates a channel, or sets the options of an existing one anew; its name, an unguessable one if none was given.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn create_channel(&mut self, name: Option<&str>, options: ChannelOptions) -> Result<String, Error> {
        name.map(named).transpose()?;
        let call = match options.presence {
            true => Call::CreateChannel { name, options },
            false => Call::CreateChannelWithoutPresence { name, options },
        };
        match self.call(call)? {
            Answer::Name(name) => Ok(name),
            _ => Err(nonsense()),
        }
    }

    /// Deletes a channel and tells its subscribers `message`; whether there was one.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn delete_channel(&mut self, channel: &str, message: Option<&[u8]>) -> Result<bool, Error> {
        named(channel)?;
        sized(message.unwrap_or_default())?;
        match self.call(Call::DeleteChannel { channel, message })? {
            Answer::Deleted(existed) => Ok(existed),
            _ => Err(nonsense()),
        }
    }

    /// Signs a token for channels, each a name or `prefix*`. `info`, a JSON object or empty, is what presence tells about the
    /// user. With `publish` its holder may publish there from a browser, too.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::InvalidArgument`], [`Error::HubUnavailable`], [`Error::Timeout`],
    /// [`Error::Incompatible`].
    pub fn token(
        &mut self,
        channels: &[&str],
        user: Option<&str>,
        ttl: u32,
        info: &[u8],
        publish: bool,
    ) -> Result<String, Error> {
        channels.iter().try_for_each(|pattern| ChannelName::check_pattern(pattern.as_bytes()).map(drop))?;
        match self.call(Call::Token { channels: channels.to_vec(), user, ttl, info, publish })? {
            Answer::Token(token) => Ok(token),
            _ => Err(nonsense()),
        }
    }

    /// Ends the connections of browsers of this user, those to this channel, or where both are given those of the user to the
    /// channel, and says how many there were. They are told the reason, one line of at most 123 bytes. With `revoke` tokens
    /// that were issued until now open nothing any more: those of the user, for the channel, or both.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when neither is given, else as [`token`](Self::token); [`Error::LimitExceeded`]: there is
    /// no memory to remember what is revoked.
    pub fn disconnect(
        &mut self,
        user: Option<&str>,
        channel: Option<&str>,
        reason: &str,
        revoke: bool,
    ) -> Result<u64, Error> {
        channel.map(named).transpose()?;
        match self.call(Call::Disconnect { user, channel, reason, revoke })? {
            Answer::Count(count) => Ok(count),
            _ => Err(nonsense()),
        }
    }

    /// A channel's counters, if there is such a channel.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn channel_info(&mut self, channel: &str) -> Result<Option<ChannelInfo>, Error> {
        named(channel)?;
        match self.call(Call::ChannelInfo { channel })? {
            Answer::Info(info) => Ok(info),
            _ => Err(nonsense()),
        }
    }

    /// The head: the position after which everything is yet to come.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::HubUnavailable`]
    pub fn position(&mut self) -> Result<Position, Error> {
        match self.call(Call::Position)? {
            Answer::Position(position) => Ok(position),
            _ => Err(nonsense()),
        }
    }

    /// The hub's state.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::HubUnavailable`]
    pub fn status(&mut self) -> Result<Status, Error> {
        match self.call(Call::Status)? {
            Answer::Status(status) => Ok(status),
            _ => Err(nonsense()),
        }
    }

    /// Whether the hub answers within `timeout`. Asks also during the pause after a failure, and ends it.
    pub fn ping(&mut self, timeout: Duration) -> bool {
        self.probe(timeout).is_ok()
    }

    /// As [`ping`](Self::ping), and says why there is no answer.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn probe(&mut self, timeout: Duration) -> Result<(), Error> {
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.embedded {
            return hub.call(&self.namespace, Call::Ping).map(drop);
        }
        self.leave_if_forked();
        match self.acknowledged(&Call::Ping, timeout)? {
            Came::Answer(Answer::Pong) => Ok(()),
            _ => Err(nonsense()),
        }
    }

    fn call(&mut self, call: Call<'_>) -> Result<Answer, Error> {
        match self.try_call(call)? {
            Came::Answer(answer) => Ok(answer),
            Came::Parts(_) => Err(self.begin_pause(open())),
        }
    }

    fn try_call(&mut self, call: Call<'_>) -> Result<Came, Error> {
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.embedded {
            return hub.call(&self.namespace, call).map(Came::Answer);
        }
        self.leave_if_forked();
        self.check_pause()?;
        self.acknowledged(&call, self.options.timeout)
    }

    fn acknowledged(&mut self, call: &Call<'_>, timeout: Duration) -> Result<Came, Error> {
        self.number += 1;
        let number = self.number;
        let needs = call.protocol();
        let call = self.encode(number, call);
        let answered = self.exchange(needs, &call, &mut Deadline::after(timeout), |link, call, deadline| {
            let sent = link.send(call, deadline)?;
            link.await_reply(number, &sent, deadline)
        });
        self.buffer = call;
        match answered {
            Ok(outcome) => {
                self.pause = None;
                outcome.map(Came::Answer)
            }
            Err(Failure::Known(error)) => Err(self.begin_pause(error)),
            Err(Failure::Torn(parts)) => Ok(Came::Parts(parts)),
            Err(Failure::Open) => Err(self.begin_pause(open())),
        }
    }

    /// The call as it travels, in the buffer that the caller puts back.
    fn encode(&mut self, number: u64, call: &Call<'_>) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.shrink_to(KEPT_BUFFER);
        // The tuple is `call::Request`, borrowed.
        postcard::to_extend(&(number, call), buffer).expect("calls are plain data and a Vec grows")
    }

    /// In a forked child the link is the parent's: the descriptors are closed, nothing is shut down or written.
    fn leave_if_forked(&mut self) {
        if self.link.as_ref().is_some_and(|link| !link.segment.is_ours()) {
            self.link = None;
            self.pause = None;
        }
    }

    fn paused(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| Instant::now() < pause.until)
    }

    /// Fails at once while the hub is left alone after a failure.
    fn check_pause(&mut self) -> Result<(), Error> {
        if !self.paused() {
            return Ok(());
        }
        let Some(pause) = &self.pause else { return Ok(()) };
        let worth_trying = match &mut self.link {
            // It has taken what made us give up: it runs again.
            Some(link) if link.hub.is_some() => link.has_caught_up().unwrap_or(false),
            // A hub that is not there refuses at once, so asking costs nothing. One that did not answer would again.
            _ => matches!(pause.error, Error::HubUnavailable(_)),
        };
        if worth_trying { Ok(()) } else { Err(pause.error.clone()) }
    }

    /// Leaves the hub alone for a while, after an error that says it does not serve us.
    fn begin_pause(&mut self, error: Error) -> Error {
        if !matches!(error, Error::Timeout { .. } | Error::HubUnavailable(_)) {
            return error;
        }
        let first = self.options.backoff;
        let now = Instant::now();
        let length = match &self.pause {
            // Failures within a pause do not lengthen it.
            Some(pause) if now < pause.until => return error,
            Some(pause) => (pause.length * 2).min(LONGEST_PAUSE.max(first)),
            None => first,
        };
        self.pause = Some(Pause { until: now + length, length, error: error.clone() });
        error
    }

    /// Attaches if need be and lets `attempt` send the encoded call. When the hub turns out to have gone before it heard the
    /// call, the next hub is asked, once.
    fn exchange<T>(
        &mut self,
        needs: u16,
        call: &[u8],
        deadline: &mut Deadline,
        mut attempt: impl FnMut(&mut Link, &[u8], &mut Deadline) -> Result<T, Stop>,
    ) -> Result<T, Failure> {
        let mut again = true;
        loop {
            let mut link = self.attached(deadline).map_err(Failure::Known)?;
            if link.speaks() < needs {
                // The hub may have been replaced since. What is left in the ring is carried out when its end is seen.
                self.link = None;
                link = self.attached(deadline).map_err(Failure::Known)?;
                let found = link.speaks();
                if found < needs {
                    return Err(Failure::Known(Error::Incompatible { found, expected: needs }));
                }
            }
            let stop = match attempt(link, call, deadline) {
                Ok(done) => return Ok(done),
                Err(stop) => stop,
            };
            let error = match stop {
                Stop::Unheard if again => {
                    again = false;
                    continue;
                }
                Stop::Unheard => Error::HubUnavailable("the hub ended, and so did the next one".to_owned()),
                Stop::Gone => return Err(Failure::Open),
                Stop::Torn(parts) => return Err(Failure::Torn(parts)),
                Stop::TimedOut => deadline.missed(),
                Stop::Corrupt(corrupt) => {
                    self.link = None;
                    Error::HubUnavailable(format!("the hub destroyed the ring: {corrupt}"))
                }
            };
            return Err(Failure::Known(error));
        }
    }
}

/// What came of a call.
#[derive(Debug)]
enum Came {
    Answer(Answer),
    /// The hub ended. So much of the call was carried out, and nothing of the rest will be.
    Parts(Vec<Published>),
}

/// How an exchange failed.
#[derive(Debug)]
enum Failure {
    /// Whether the call took effect is open: the hub took it and is gone.
    Open,
    /// So much of it was carried out, and nothing of the rest will be.
    Torn(Vec<Published>),
    /// Anything else.
    Known(Error),
}

fn named(channel: &str) -> Result<(), Error> {
    ChannelName::new(channel.as_bytes(), MAX_NAME)?;
    Ok(())
}

fn sized(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(Error::TooLarge { len: bytes.len() as u64, limit: MAX_PAYLOAD as u64 });
    }
    Ok(())
}

fn open() -> Error {
    Error::HubUnavailable("the hub ended during the call: whether it took effect is open".to_owned())
}

fn nonsense() -> Error {
    Error::HubUnavailable("the hub gave an answer that does not fit the call".to_owned())
}
