//! Locations: what is served under which path, with which directives.

use super::{Config, Location, Preset, preset};

/// How a subscriber gets its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Waits for the next message.
    LongPolling,
    /// Answers at once with what there is.
    Polling,
    /// One answer without end, a chunk for each message.
    Streaming,
    /// The same in the form that `EventSource` reads.
    EventSource,
    /// A frame for each message.
    WebSocket,
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
    /// `channels_statistics = true`
    Statistics,
    /// `channel_members = true`
    Members,
}

impl Handler {
    /// The kinds of locations with the words for each.
    pub(super) const WORDS: [(&'static str, &'static [(&'static str, Self)]); 4] = [
        (
            "subscriber",
            &[
                ("long-polling", Self::Subscriber(Mode::LongPolling)),
                ("polling", Self::Subscriber(Mode::Polling)),
                ("streaming", Self::Subscriber(Mode::Streaming)),
                ("eventsource", Self::Subscriber(Mode::EventSource)),
                ("websocket", Self::Subscriber(Mode::WebSocket)),
            ],
        ),
        ("publisher", &[("normal", Self::Publisher { admin: false }), ("admin", Self::Publisher { admin: true })]),
        ("channels_statistics", &[("on", Self::Statistics)]),
        ("channel_members", &[("on", Self::Members)]),
    ];

    /// Whether it stands on the public listeners where nothing else is written.
    pub(super) fn is_public(self) -> bool {
        matches!(self, Self::Subscriber(_) | Self::Members)
    }

    /// Key and word, as they are written.
    pub(crate) fn words(self) -> (&'static str, &'static str) {
        let words =
            Self::WORDS.iter().flat_map(|(key, words)| words.iter().map(move |(word, handler)| (key, word, handler)));
        let found = words.into_iter().find(|(_, _, handler)| **handler == self);
        found.map(|(key, word, _)| (*key, *word)).expect("every handler has its words")
    }
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
    let place = |path: &str, handler, own: &[(&str, &str)]| Place {
        path: path.to_owned(),
        handler,
        public: handler.is_public(),
        own: own
            .iter()
            .filter(|(key, _)| !config.set.contains(key))
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    };
    let position = [("last_received_message_time", "$arg_time"), ("last_received_message_tag", "$arg_tag")];
    let by_id = [("channels_path", "$arg_id")];
    let mut places = match config.preset {
        None => vec![
            place("/sub/", Handler::Subscriber(Mode::LongPolling), &position),
            place("/stream/", Handler::Subscriber(Mode::Streaming), &position),
        ],
        Some(Preset::PushStream) => vec![place("/sub/", Handler::Subscriber(Mode::Streaming), &preset::IFRAME)],
    };
    places.extend([
        place("/lp/", Handler::Subscriber(Mode::LongPolling), &position),
        place("/poll/", Handler::Subscriber(Mode::Polling), &position),
        place("/ev/", Handler::Subscriber(Mode::EventSource), &position),
        place("/ws/", Handler::Subscriber(Mode::WebSocket), &position),
        place("/presence/", Handler::Members, &[]),
        place("/pub", Handler::Publisher { admin: true }, &by_id),
        place("/channels-stats", Handler::Statistics, &by_id),
    ]);
    places
}
