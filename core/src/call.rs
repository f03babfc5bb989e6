//! What a client may ask of the hub, and what it answers: the content of the frames on the wire.
//!
//! Encoded with postcard. Variants and protocol numbers are only ever appended, so that a hub understands clients of the
//! previous build.

use serde::{Deserialize, Serialize};

use crate::channel::{ChannelInfo, ChannelOptions};
use crate::error::Error;
use crate::message::{Kind, NewMessage, Position, Published};

/// The protocol this build speaks. A new number goes with every call that is appended, so that a client can tell a hub that
/// does not know the call.
pub const PROTOCOL: u16 = 3;
/// The oldest that it speaks, too: a program that runs for weeks outlives an upgrade of the hub, and a hub that others keep
/// outlives an upgrade of PHP.
pub const OLDEST: u16 = 1;

/// The first datagram on a connection to the attach socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hello {
    /// A client brings its segment (one descriptor, the sealed memfd); the hub answers with a [`Welcome`].
    Attach {
        /// [`PROTOCOL`] of the client.
        protocol: u16,
    },
    /// A PHP master asks whether this hub is the one it would start, and keeps it running as long as it holds the socket.
    Lease {
        /// [`PROTOCOL`] of the master.
        protocol: u16,
        /// Its build.
        build: String,
        /// `Config::hash` of its configuration.
        config_hash: u64,
    },
    /// As [`Hello::Attach`], by a client that makes only the call to subscribe. Its ring goes with the hub: the client knows
    /// where it was and subscribes anew.
    Subscribe {
        /// [`PROTOCOL`] of the client.
        protocol: u16,
    },
    /// A keeper that a PHP master started asks for the place of this hub's; it talks to that from then on.
    Handover {
        /// [`PROTOCOL`] of the new build.
        protocol: u16,
        /// The new build.
        build: String,
    },
    /// As [`Hello::Attach`] or [`Hello::Subscribe`], by a client of a namespace that is not empty. To a hub that has none it
    /// is no hello, so that its messages never come out in the empty one.
    Within {
        /// [`PROTOCOL`] of the client.
        protocol: u16,
        /// The namespace of all of its calls.
        namespace: String,
        /// As [`Hello::Subscribe`].
        subscribes: bool,
    },
    /// A PHP master ends for good. If it takes this hub with it, as the first process of a container does, the hub answers who
    /// waits; it closes the connection when that is done.
    Ending,
}

/// Descriptors that come with a [`Welcome`] at most.
pub const WELCOME_FDS: usize = 2;

/// The answer to [`Hello::Attach`] and its like. With it come descriptors, unless the client was refused: the bell, and, if the
/// hub has a set in which the client can look up who is online, that; the key to it stands in the segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// What is spoken from here on: that of the client; with a refusal [`PROTOCOL`] of the hub.
    pub protocol: u16,
    /// Why the client was not attached.
    pub refusal: Option<Error>,
}

/// What travels in the requests ring: the client's number of the call, 0 when it wants no answer, and the call.
pub type Request<'a> = (u64, Call<'a>);

/// What travels in the replies ring: the number of the call, and what came of it.
pub type Reply = (u64, Outcome);

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call<'a> {
    /// Publish; the answer is [`Answer::Published`], or none when the call was sent without acknowledgement.
    Publish {
        /// The channel's name.
        channel: &'a str,
        /// The message.
        #[serde(borrow)]
        message: NewMessage<'a>,
    },
    /// Create a channel; [`Answer::Name`]. Creating an existing one sets its options anew.
    CreateChannel {
        /// `None`: an unguessable random name.
        name: Option<&'a str>,
        /// Its options.
        options: ChannelOptions,
    },
    /// Delete a channel; [`Answer::Deleted`].
    DeleteChannel {
        /// The channel's name.
        channel: &'a str,
        /// The text its subscribers are told; `None`: `channel_deleted_message_text`.
        message: Option<&'a [u8]>,
    },
    /// Counters of a channel; [`Answer::Info`].
    ChannelInfo {
        /// The channel's name.
        channel: &'a str,
    },
    /// The head; [`Answer::Position`].
    Position,
    /// The hub's state; [`Answer::Status`].
    Status,
    /// Is the hub alive; [`Answer::Pong`].
    Ping,
    /// Publish all of them, or none when one is refused; [`Answer::PublishedMany`].
    PublishMany {
        /// Each with the name of its channel.
        #[serde(borrow)]
        messages: Vec<(&'a str, NewMessage<'a>)>,
    },
    /// Drop a channel's stored messages, keep its subscribers; [`Answer::Cleared`].
    ClearChannel {
        /// The channel's name.
        channel: &'a str,
    },
    /// A page of the channels in the order of their names; [`Answer::Channels`].
    Channels {
        /// What the names begin with.
        prefix: &'a str,
        /// The name after which the page begins; empty: the first page.
        after: &'a str,
        /// Channels on the page.
        limit: u32,
    },
    /// A page of a channel's stored messages, oldest first; [`Answer::History`].
    History {
        /// The channel's name.
        channel: &'a str,
        /// The position after which the page begins.
        after: Position,
        /// Messages on the page; a page also ends at [`MAX_PAGE`] bytes.
        limit: u32,
    },
    /// Subscribe, once in the life of a client: [`Answer::Subscribed`], and from then on [`Answer::Delivered`] with the number 0.
    Subscribe {
        /// The names of the channels.
        channels: Vec<&'a str>,
        /// The position after which it begins; `None`: from now on.
        after: Option<Position>,
    },
    /// Who is online.
    Presence(#[serde(borrow)] PresenceCall<'a>),
    /// Sign a token; [`Answer::Token`].
    Token {
        /// Names of channels, or `prefix*`.
        channels: Vec<&'a str>,
        /// Whose connections it makes.
        user: Option<&'a str>,
        /// Seconds that it is valid.
        ttl: u32,
        /// What presence tells about the user: a JSON object; empty: none.
        info: &'a [u8],
        /// Its holder may publish to these channels.
        publish: bool,
    },
    /// Close connections; [`Answer::Count`]. One of the two is given.
    Disconnect {
        /// Those of this user.
        user: Option<&'a str>,
        /// Those that are subscribed to this channel.
        channel: Option<&'a str>,
        /// What they are told.
        reason: &'a str,
        /// Tokens of now open nothing any more until they end: that of the user, for the channel, or both.
        revoke: bool,
    },
    /// As [`Call::CreateChannel`], of a channel in which nobody is a member; [`Answer::Name`].
    CreateChannelWithoutPresence {
        /// `None`: an unguessable random name.
        name: Option<&'a str>,
        /// Its options.
        options: ChannelOptions,
    },
    /// Check these and make room for their channels, before they come in several `PublishMany`: none is published when one is
    /// refused; [`Answer::Pong`].
    Admit {
        /// Of each message the name of its channel, and the bytes of its payload.
        messages: Vec<(&'a str, u64)>,
    },
}

impl Call<'_> {
    /// The first protocol that has this call.
    #[must_use]
    pub fn protocol(&self) -> u16 {
        match self {
            Self::CreateChannelWithoutPresence { .. } | Self::Admit { .. } => 3,
            Self::Presence(_) | Self::Token { .. } | Self::Disconnect { .. } => 2,
            _ => 1,
        }
    }
}

/// A call about who is online: in a channel, or on the whole site where `channel` is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresenceCall<'a> {
    /// The user is online for `ttl` seconds, and as long as a connection lives; [`Answer::Changed`].
    Online {
        /// The user.
        user: &'a str,
        /// Where.
        channel: Option<&'a str>,
        /// A JSON object; empty: what was said before stays.
        info: &'a [u8],
        /// Seconds; `None`: `presence_ttl`.
        ttl: Option<u32>,
    },
    /// The user is offline at once, whatever connections there are; [`Answer::Changed`].
    Offline {
        /// The user.
        user: &'a str,
        /// Where.
        channel: Option<&'a str>,
    },
    /// Which of these are online; [`Answer::Names`], in their order.
    Among {
        /// Users.
        users: Vec<&'a str>,
        /// Where.
        channel: Option<&'a str>,
    },
    /// One member; [`Answer::Member`].
    Get {
        /// The user.
        user: &'a str,
        /// Where.
        channel: Option<&'a str>,
    },
    /// A page of the members in the order of their names; [`Answer::Members`].
    Members {
        /// Where.
        channel: Option<&'a str>,
        /// The user after whom the page begins; empty: the first page.
        after: &'a str,
        /// Members on the page; a page also ends at [`MAX_PAGE`] bytes.
        limit: u32,
    },
    /// How many there are; [`Answer::Count`].
    Count {
        /// Where.
        channel: Option<&'a str>,
    },
    /// In which channels the user is; [`Answer::Names`], in their order.
    Channels {
        /// The user.
        user: &'a str,
    },
}

/// A user who is online.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub user: String,
    /// What is told about the user: a JSON object.
    pub info: String,
    /// Connections open now; 0 while only a lease or the grace holds.
    pub connections: u32,
    /// Unix time of the join, in seconds.
    pub since: u64,
}

/// Bytes of a batch, at most: payloads, names, and 64 for each message.
pub const MAX_BATCH: usize = 16 << 20;

/// The longest token, in bytes: nginx takes 8k for a request line or a header, and the rest of it needs room.
pub const MAX_TOKEN: usize = 6 << 10;

/// The longest life of a token, in seconds: as long a revocation is remembered.
pub const MAX_TOKEN_TTL: u32 = 30 * 86_400;

/// The longest reason of a `Disconnect`, in bytes: what a close frame of a WebSocket has room for.
pub const MAX_REASON: usize = 123;

/// Bytes of messages on a page of history, at most; one message may be longer.
pub const MAX_PAGE: usize = 1 << 20;

/// A stored message, read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// The channel's number of it.
    pub id: u64,
    /// Its place in the hub-wide order.
    pub position: Position,
    /// How the payload was given.
    pub kind: Kind,
    /// Event name.
    pub event: Option<String>,
    /// The publisher's own id.
    pub event_id: Option<String>,
    /// The body.
    #[serde(serialize_with = "crate::message::in_one_piece")]
    pub payload: Vec<u8>,
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Publish`.
    Published(Published),
    /// To `CreateChannel`.
    Name(String),
    /// To `DeleteChannel`: whether it existed.
    Deleted(bool),
    /// To `ChannelInfo`: `None` when there is no such channel.
    Info(Option<ChannelInfo>),
    /// To `Position`.
    Position(Position),
    /// To `Status`.
    Status(Status),
    /// To `Ping`.
    Pong,
    /// To `PublishMany`, in the order of the messages.
    PublishedMany(Vec<Published>),
    /// To `ClearChannel`: how many messages there were.
    Cleared(u64),
    /// To `Channels`.
    Channels(Vec<ChannelInfo>),
    /// To `History`.
    History(Vec<StoredMessage>),
    /// To `Subscribe`: the position up to which it is complete with the first deliveries.
    Subscribed(Position),
    /// To nothing that was asked: what a subscription gets.
    Delivered(Delivery),
    /// Whether the call changed something.
    Changed(bool),
    /// How many.
    Count(u64),
    /// Users or channels.
    Names(Vec<String>),
    /// To `Get`.
    Member(Option<Member>),
    /// To `Members`.
    Members(Vec<Member>),
    /// To `Token`.
    Token(String),
}

/// What a subscription gets, in the order of positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// A message.
    Message {
        /// The name of its channel.
        channel: String,
        /// The message.
        message: StoredMessage,
    },
    /// Messages are missing before this position.
    Gap(Position),
    /// A channel is gone, and the subscription does not have it any more.
    Deleted {
        /// Its name.
        channel: String,
        /// What its subscribers are told.
        text: Vec<u8>,
        /// Up to where the subscription is complete.
        position: Position,
    },
}

/// What a call comes back with.
pub type Outcome = Result<Answer, Error>;

/// The hub's state, as `push_status()` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the hub's build.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The path clients attach to; empty in embedded mode.
    pub socket: String,
    /// Seconds since it started.
    pub uptime: u64,
    /// Channels that exist.
    pub channels: u64,
    /// Subscriptions open now.
    pub subscribers: u64,
    /// Messages stored now.
    pub messages: u64,
    /// Bytes counted against `memory_limit`.
    pub memory: u64,
    /// The head.
    pub position: Position,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::error::Limit;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Programs that run for weeks send the one and read the other. A change here needs a variant of its own instead.
    #[test]
    fn the_calls_and_answers_of_protocol_1_are_what_they_were() {
        let position = Position { time: 1_700_000_000, tag: 7 };
        let message = NewMessage {
            payload: b"hi",
            kind: Kind::Json,
            event: Some("e"),
            event_id: Some("i"),
            ttl: Some(9),
            store: false,
            dedupe: Some("d"),
        };
        let options = ChannelOptions {
            owner: Some("o".to_owned()),
            ttl: Some(1),
            max_messages: Some(3),
            message_ttl: Some(2),
            ..ChannelOptions::default()
        };
        let calls = [
            ("00016102686901010165010169010900010164", Call::Publish { channel: "a", message }),
            ("0101016101016f010101030102", Call::CreateChannel { name: Some("a"), options }),
            ("020161010178", Call::DeleteChannel { channel: "a", message: Some(b"x") }),
            ("030161", Call::ChannelInfo { channel: "a" }),
            ("04", Call::Position),
            ("05", Call::Status),
            ("06", Call::Ping),
            ("0701016102686901010165010169010900010164", Call::PublishMany { messages: vec![("a", message)] }),
            ("080161", Call::ClearChannel { channel: "a" }),
            ("0901610162ac02", Call::Channels { prefix: "a", after: "b", limit: 300 }),
            ("0a016180e2cfaa0607ac02", Call::History { channel: "a", after: position, limit: 300 }),
            ("0b02016101620180e2cfaa0607", Call::Subscribe { channels: vec!["a", "b"], after: Some(position) }),
        ];
        for (bytes, call) in calls {
            assert_eq!((hex(&postcard::to_stdvec(&call).unwrap()), call.protocol()), (bytes.to_owned(), 1), "{call:?}");
        }
        let published = Published { id: 300, position, subscribers: 2 };
        let info = ChannelInfo {
            name: "a".to_owned(),
            published: 300,
            stored: 2,
            subscribers: 1,
            owner: Some("o".to_owned()),
            ttl: Some(5),
            position,
        };
        let stored = StoredMessage {
            id: 300,
            position,
            kind: Kind::Json,
            event: Some("e".to_owned()),
            event_id: None,
            payload: b"{}".to_vec(),
        };
        let status = Status {
            version: "v".to_owned(),
            pid: 300,
            socket: "/s".to_owned(),
            uptime: 1,
            channels: 2,
            subscribers: 3,
            messages: 4,
            memory: 5,
            position,
        };
        let delivered = Delivery::Message { channel: "a".to_owned(), message: stored.clone() };
        let deleted = Delivery::Deleted { channel: "a".to_owned(), text: b"x".to_vec(), position };
        let outcomes: [(&str, Outcome); 21] = [
            ("0000ac0280e2cfaa060702", Ok(Answer::Published(published))),
            ("00010161", Ok(Answer::Name("a".to_owned()))),
            ("000201", Ok(Answer::Deleted(true))),
            ("0003010161ac02020101016f010580e2cfaa0607", Ok(Answer::Info(Some(info.clone())))),
            ("000480e2cfaa0607", Ok(Answer::Position(position))),
            ("00050176ac02022f73010203040580e2cfaa0607", Ok(Answer::Status(status))),
            ("0006", Ok(Answer::Pong)),
            ("000701ac0280e2cfaa060702", Ok(Answer::PublishedMany(vec![published]))),
            ("0008ac02", Ok(Answer::Cleared(300))),
            ("0009010161ac02020101016f010580e2cfaa0607", Ok(Answer::Channels(vec![info]))),
            ("000a01ac0280e2cfaa06070101016500027b7d", Ok(Answer::History(vec![stored]))),
            ("000b80e2cfaa0607", Ok(Answer::Subscribed(position))),
            ("000c000161ac0280e2cfaa06070101016500027b7d", Ok(Answer::Delivered(delivered))),
            ("000c0180e2cfaa0607", Ok(Answer::Delivered(Delivery::Gap(position)))),
            ("000c020161017880e2cfaa0607", Ok(Answer::Delivered(deleted))),
            ("01010178", Err(Error::InvalidArgument("x".to_owned()))),
            ("0102ac0202", Err(Error::TooLarge { len: 300, limit: 2 })),
            ("010303ac02", Err(Limit::Memory(300).into())),
            ("01040161", Err(Error::ChannelNotFound("a".to_owned()))),
            ("01050178", Err(Error::AccessDenied("x".to_owned()))),
            ("01060178", Err(Error::HubUnavailable("x".to_owned()))),
        ];
        for (bytes, outcome) in outcomes {
            assert_eq!(hex(&postcard::to_stdvec(&outcome).unwrap()), bytes, "{outcome:?}");
        }
        let lease = Hello::Lease { protocol: 1, build: "0".to_owned(), config_hash: 300 };
        assert_eq!(hex(&postcard::to_stdvec(&lease).unwrap()), "01010130ac02");
    }
}
