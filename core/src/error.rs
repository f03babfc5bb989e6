//! The one error of this crate: a variant per thing a caller can do about it, and the only table of code numbers.

use serde::{Deserialize, Serialize};

use crate::channel::InvalidName;

/// A configured maximum that is reached, with its value. Travels over the wire as it is, so variants are only ever appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Limit {
    /// `max_number_of_channels`
    #[error("there are as many channels as max_number_of_channels allows ({0})")]
    Channels(u32),
    /// `max_subscribers_per_channel`
    #[error("the channel has as many subscribers as max_subscribers_per_channel allows ({0})")]
    Subscribers(u32),
    /// `max_channels_per_subscription`
    #[error("the subscription names more channels than max_channels_per_subscription allows ({0})")]
    ChannelsPerSubscription(u32),
    /// `memory_limit`, with nothing left to evict
    #[error("memory_limit ({0} bytes) is reached and no stored message is left to give way")]
    Memory(u64),
    /// `max_number_of_wildcard_channels`
    #[error("there are as many wildcard channels as max_number_of_wildcard_channels allows ({0})")]
    WildcardChannels(u32),
    /// `max_clients_per_uid`
    #[error("uid {uid} has as many clients as max_clients_per_uid allows ({limit})")]
    Clients {
        /// The user.
        uid: u32,
        /// The value.
        limit: u32,
    },
    /// `max_client_bytes_per_uid`
    #[error("the rings of uid {uid} take {held} bytes; {wanted} more are above max_client_bytes_per_uid ({limit})")]
    ClientBytes {
        /// The user.
        uid: u32,
        /// What its clients have.
        held: u64,
        /// What one more would bring.
        wanted: u64,
        /// The value.
        limit: u64,
    },
    /// The share of the hub's descriptors that one user may take.
    #[error(
        "uid {uid} has {limit} clients, and the hub has no descriptors for more: raise its limit of open files (LimitNOFILE)"
    )]
    ClientDescriptors {
        /// The user.
        uid: u32,
        /// So many clients.
        limit: u32,
    },
}

/// Why a call was refused or could not be made. Travels over the wire as it is, so variants are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Error {
    /// The argument is wrong; the call can never succeed with it.
    #[error(transparent)]
    InvalidName(#[from] InvalidName),
    /// Another argument is wrong.
    #[error("{0}")]
    InvalidArgument(String),
    /// The payload is over `max_message_size`.
    #[error("the message is {len} bytes long, max_message_size allows {limit}")]
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The configured limit in bytes.
        limit: u64,
    },
    /// A configured maximum is reached.
    #[error(transparent)]
    LimitExceeded(#[from] Limit),
    /// There is no such channel.
    #[error("there is no channel \"{0}\"")]
    ChannelNotFound(String),
    /// The caller may not do this.
    #[error("{0}")]
    AccessDenied(String),
    /// No hub answers: not started, ended during the call, or its socket is out of reach. The text says which and the cure.
    #[error("{0}")]
    HubUnavailable(String),
    /// The hub did not answer in time, or made no room in the ring. An acknowledged call may still take effect.
    #[error("the hub did not answer within {milliseconds} ms (push.timeout)")]
    Timeout {
        /// What was waited, in milliseconds.
        milliseconds: u64,
    },
    /// Hub and client are of builds that do not speak the same protocol.
    #[error("the hub speaks protocol {found}, this build speaks {expected}: restart the older of the two")]
    Incompatible {
        /// The hub's protocol number.
        found: u16,
        /// Ours.
        expected: u16,
    },
}

impl Error {
    /// The number of this error in PHP (`getCode()`) and C (`push_status`). Never reused.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self {
            Self::InvalidName(_) => 1,
            Self::InvalidArgument(_) => 2,
            Self::TooLarge { .. } => 3,
            Self::LimitExceeded(_) => 4,
            Self::ChannelNotFound(_) => 5,
            Self::AccessDenied(_) => 6,
            Self::HubUnavailable(_) => 7,
            Self::Timeout { .. } => 8,
            Self::Incompatible { .. } => 9,
        }
    }
}
