//! Locations: what is served under which path, with which directives.

use std::time::Duration;

use super::{Authorization, Config, Variable};

/// How a subscriber gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Waits for the next message.
    LongPolling,
    /// Answers at once with what there is.
    Polling,
}

/// What a location does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// `subscriber = "..."`
    Subscriber(Mode),
    /// `publisher = "normal"` or `"admin"`.
    Publisher {
        /// Whether DELETE is allowed.
        admin: bool,
    },
}

impl Handler {
    /// The two kinds of locations with the words for each.
    pub(super) const WORDS: [(&'static str, &'static [(&'static str, Self)]); 2] = [
        (
            "subscriber",
            &[("long-polling", Self::Subscriber(Mode::LongPolling)), ("polling", Self::Subscriber(Mode::Polling))],
        ),
        ("publisher", &[("normal", Self::Publisher { admin: false }), ("admin", Self::Publisher { admin: true })]),
    ];

    /// Key and word, as they are written.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        let words =
            Self::WORDS.iter().flat_map(|(key, words)| words.iter().map(move |(word, handler)| (key, word, handler)));
        let found = words.into_iter().find(|(_, _, handler)| **handler == self);
        found.map(|(key, word, _)| (*key, *word)).expect("every handler has its words")
    }
}

/// One location with all its directives, its own or those of the top level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Prefix of the path.
    pub path: String,
    /// What is served.
    pub handler: Handler,
    /// Whether it stands on the public listeners, else on the admin listeners.
    pub public: bool,
    /// Who may subscribe.
    pub authorized_channels_only: Authorization,
    /// Whether messages published here are kept.
    pub store_messages: bool,
    /// Whether a publication is answered with counters.
    pub channel_info_on_publish: bool,
    /// Content type of delivered messages.
    pub content_type: String,
    /// How long a long-poll waits.
    pub longpolling_connection_ttl: Option<Duration>,
    /// How long any subscriber connection lives.
    pub subscriber_connection_ttl: Option<Duration>,
    /// Where the time of the last received message comes from.
    pub last_received_message_time: Option<Variable>,
    /// Where its tag comes from.
    pub last_received_message_tag: Option<Variable>,
    /// Where the channels come from; `None`: the rest of the path.
    pub channels_path: Option<Variable>,
}

/// A location as written: only its own directives, checked.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: String,
    pub(super) handler: Handler,
    pub(super) public: bool,
    pub(super) own: Vec<(String, String)>,
}

impl Location {
    pub(super) fn resolve(place: &Place, config: &Config) -> Self {
        let mut location = Self::inherit(place, config);
        for (key, value) in &place.own {
            location.assign(key, value).expect("checked when the location was read");
        }
        location
    }
}

/// What is served when nothing is written. A variable that the top level sets goes before the one given here.
pub(super) fn default_places(config: &Config) -> Vec<Place> {
    let place = |path: &str, handler, own: &[(&str, &str, &Option<Variable>)]| Place {
        path: path.to_owned(),
        handler,
        public: matches!(handler, Handler::Subscriber(_)),
        own: own
            .iter()
            .filter(|(_, _, top)| top.is_none())
            .map(|(key, value, _)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let position = [
        ("last_received_message_time", "$arg_time", &config.last_received_message_time),
        ("last_received_message_tag", "$arg_tag", &config.last_received_message_tag),
    ];
    vec![
        place("/sub/", Handler::Subscriber(Mode::LongPolling), &position),
        place("/lp/", Handler::Subscriber(Mode::LongPolling), &position),
        place("/poll/", Handler::Subscriber(Mode::Polling), &position),
        place("/pub", Handler::Publisher { admin: true }, &[("channels_path", "$arg_id", &config.channels_path)]),
    ]
}
