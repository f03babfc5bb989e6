//! What a channel knows: no I/O, no tasks, and `now` is an argument.

#[cfg(feature = "hub")]
mod dedupe;
#[cfg(feature = "hub")]
mod directory;
#[cfg(feature = "hub")]
pub(crate) mod history;
mod name;
mod namespace;

use serde::{Deserialize, Serialize};

#[cfg(feature = "hub")]
pub(crate) use dedupe::Dedupe;
#[cfg(feature = "hub")]
pub(crate) use directory::{Channel, ChannelId, Directory, ThreadId};
#[cfg(feature = "hub")]
pub(crate) use history::Entry;
pub use name::{ChannelName, Forbidden, InvalidName, MAX_NAME};
pub use namespace::{InvalidNamespace, MAX_NAMESPACE, Namespace};

use crate::message::Position;

/// What `create_channel()` may set; `None` is the configuration's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// The user whose private channel it is.
    pub owner: Option<String>,
    /// Seconds without use after which the channel goes; 24 h.
    pub ttl: Option<u32>,
    /// Stored messages kept; `max_messages_stored_per_channel`.
    pub max_messages: Option<u32>,
    /// Seconds a stored message lives; `message_ttl`.
    pub message_ttl: Option<u32>,
    /// Whether those who are there are members. Clients and journals of before know nothing of it: it is said beside the
    /// others, and only when it is off.
    #[serde(skip, default = "on")]
    pub presence: bool,
}

fn on() -> bool {
    true
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self { owner: None, ttl: None, max_messages: None, message_ttl: None, presence: true }
    }
}

/// A channel's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// Messages published since it exists.
    pub published: u64,
    /// Messages stored now.
    pub stored: u32,
    /// Subscriptions open now.
    pub subscribers: u32,
    /// The user given when it was created.
    pub owner: Option<String>,
    /// Seconds without use after which it goes; `None` for a channel made by use alone.
    pub ttl: Option<u32>,
    /// Position of its newest message, `0.0` before the first.
    pub position: Position,
}
