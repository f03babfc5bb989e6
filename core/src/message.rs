//! What travels: a message, its position, and what a publisher may say about it.
//!
//! A message is bytes with a place in the hub-wide order. This module knows nothing of channels, sockets or storage.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::channel::ChannelName;
use crate::error::Error;

/// The largest payload any configuration may allow (`max_message_size` is at most this), in bytes.
pub const MAX_PAYLOAD: usize = 32 << 20;
/// The longest event name, event id or dedupe key, in bytes.
pub const MAX_EVENT: usize = 1024;

/// A place in the one order over all channels: the second of the publication and the number within that second.
///
/// Position `0.0` is before everything that can be stored. Written `<time>.<tag>`, as in `?position=` and SSE ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Whole seconds since 1970.
    pub time: u32,
    /// Counts the publications of the whole hub within `time`, from 1.
    pub tag: u32,
}

impl Position {
    /// Before everything: "all that is stored".
    pub const START: Self = Self { time: 0, tag: 0 };

    /// As text in a document.
    #[cfg(feature = "hub")]
    pub(crate) fn as_text<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }

    /// In one word, for memory that two processes share.
    #[cfg(feature = "hub")]
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.time) << 32 | u64::from(self.tag)
    }

    pub(crate) fn unpack(word: u64) -> Self {
        Self { time: (word >> 32) as u32, tag: word as u32 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time, self.tag)
    }
}

/// The text is not `<time>.<tag>` with two decimal numbers below 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is two numbers <time>.<tag>, as in 1767225600.3")]
pub struct InvalidPosition;

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten().ok_or(InvalidPosition)
        };
        let (time, tag) = text.split_once('.').ok_or(InvalidPosition)?;
        Ok(Self { time: number(time)?, tag: number(tag)? })
    }
}

/// How the publisher gave the payload. JSON answers carry a `Json` payload as the value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Bytes as given: text when they are UTF-8, else binary.
    Bytes,
    /// JSON text made by the publisher's side.
    Json,
}

/// A publication before it has a position. Borrows everything: it is copied once, into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage<'a> {
    /// The body, 1..=`max_message_size` bytes or empty.
    #[serde(borrow, serialize_with = "in_one_piece")]
    pub payload: &'a [u8],
    /// How `payload` was given.
    pub kind: Kind,
    /// Event name (`Event-Type`), without line breaks.
    pub event: Option<&'a str>,
    /// The publisher's own id (`Event-Id`), without line breaks.
    pub event_id: Option<&'a str>,
    /// Seconds to keep it; `None`: the channel's `message_ttl`.
    pub ttl: Option<u32>,
    /// Whether subscribers that come later may have it.
    pub store: bool,
    /// A key under which the channel takes one message only within `dedupe_window`; a second one gets the first's result.
    pub dedupe: Option<&'a str>,
}

/// A slice of bytes is written byte by byte unless the format is told; what is written is the same.
pub(crate) fn in_one_piece<S: serde::Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

impl<'a> NewMessage<'a> {
    /// Bytes that it counts for in a batch.
    pub(crate) fn weight(&self) -> usize {
        let texts = [self.event, self.event_id, self.dedupe];
        self.payload.len() + texts.iter().flatten().map(|text| text.len()).sum::<usize>() + 64
    }

    /// What no hub takes, whatever its limits.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] says which of the texts or numbers is wrong, [`Error::TooLarge`] that the payload is
    /// longer than [`MAX_PAYLOAD`].
    pub fn check(&self) -> Result<(), Error> {
        if self.payload.len() > MAX_PAYLOAD {
            return Err(Error::TooLarge { len: self.payload.len() as u64, limit: MAX_PAYLOAD as u64 });
        }
        for (what, text) in [("event", self.event), ("event_id", self.event_id), ("dedupe", self.dedupe)] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > MAX_EVENT || text.contains(['\r', '\n', '\0']) {
                return Err(Error::InvalidArgument(format!(
                    "{what} must be 1 to {MAX_EVENT} bytes without line breaks and NUL"
                )));
            }
        }
        if self.ttl == Some(0) {
            return Err(Error::InvalidArgument("ttl must be at least 1 second".to_owned()));
        }
        Ok(())
    }

    /// A stored message of these bytes with the channel's defaults.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self { payload, kind: Kind::Bytes, event: None, event_id: None, ttl: None, store: true, dedupe: None }
    }
}

/// What a publisher learns of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The channel's number of the message, from 1.
    pub id: u64,
    /// Its place in the hub-wide order.
    pub position: Position,
    /// Subscriptions open on the channel at that moment.
    pub subscribers: u32,
}

impl Published {
    /// As the progress of a client keeps it.
    #[cfg(feature = "hub")]
    pub(crate) fn words(self) -> [u64; 3] {
        [self.id, self.position.pack(), u64::from(self.subscribers)]
    }

    /// Reads [`Published::words`].
    pub(crate) fn from_words([id, position, subscribers]: [u64; 3]) -> Self {
        Self { id, position: Position::unpack(position), subscribers: subscribers as u32 }
    }
}

/// A message with its place, copied out of the log for those who write it to subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its channel's name.
    pub channel: ChannelName,
    /// The channel's number of it, from 1. 0: the hub says it, of the channel's members.
    pub id: u64,
    /// Its place in the hub-wide order.
    pub position: Position,
    /// How the payload was given.
    pub kind: Kind,
    /// Event name.
    pub event: Option<Box<str>>,
    /// The publisher's own id.
    pub event_id: Option<Box<str>>,
    /// The body.
    pub payload: Box<[u8]>,
}

#[cfg(feature = "hub")]
impl Message {
    /// Whether it tells who is in the channel: only those get it who have asked for that.
    pub(crate) fn is_presence(&self) -> bool {
        self.id == 0
    }
}
