//! The figures of the tables, and what each is to reach.

/// A row of the table of loads.
pub(super) struct Row {
    /// Rows of one group stand together.
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// Which figure of which scenario.
    pub(super) scenario: &'static str,
    pub(super) figure: &'static str,
    /// What it is multiplied with in the table.
    pub(super) scale: f64,
    pub(super) decimals: usize,
    /// The hub's own figure, divided by nchan's, and by the floor's.
    pub(super) own: Goal,
    pub(super) to_nchan: Goal,
    pub(super) to_floor: Goal,
}

/// What to reach.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// For information.
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    pub(crate) fn text(self, decimals: usize) -> String {
        match self {
            Goal::None => String::new(),
            Goal::AtMost(limit) => format!("≤ {}", super::table::number(limit, decimals)),
            Goal::AtLeast(limit) => format!("≥ {}", super::table::number(limit, decimals)),
        }
    }

    /// Empty where there is nothing to reach or no figure.
    pub(crate) fn mark(self, value: f64) -> &'static str {
        let reached = match self {
            Goal::None => return "",
            _ if value.is_nan() => return "",
            Goal::AtMost(limit) => value <= limit,
            Goal::AtLeast(limit) => value >= limit,
        };
        super::table::mark(reached)
    }
}

use Goal::{AtLeast, AtMost, None as Info};

const fn row(
    group: &'static str,
    name: &'static str,
    scenario: &'static str,
    figure: &'static str,
    decimals: usize,
    to_nchan: Goal,
    to_floor: Goal,
) -> Row {
    Row { group, name, scenario, figure, scale: 1.0, decimals, own: Info, to_nchan, to_floor }
}

const fn own(name: &'static str, scenario: &'static str, figure: &'static str, goal: Goal) -> Row {
    Row { own: goal, ..row(MEMORY, name, scenario, figure, 0, Info, Info) }
}

const MEMORY: &str = "Memory, bytes each";
const POLL: &str = "One channel, long-polls";
const STREAM: &str = "One channel, answers without end";
const CHANNELS: &str = "10,000 channels, one long-poll each";
const REQUESTS: &str = "Requests";

const CPU: &str = "cpu_us_per_delivery";
const RATE: &str = "deliveries_per_second";
const AFTER: &str = "bytes_per_subscriber_after_messages";

pub(super) const ROWS: [Row; 42] = [
    Row {
        scale: 1e-6,
        decimals: 1,
        ..own("empty server, all processes, MB", "idle", "empty_server_bytes", AtMost(10.0))
    },
    own("a waiting long-poll (10,000)", "idle", "bytes_per_subscriber", Info),
    own("the same after three messages", "idle", AFTER, AtMost(1_200.0)),
    own("a stream after three messages", "idle-streaming", AFTER, Info),
    own("an event stream after three messages", "idle-eventsource", AFTER, AtMost(1_200.0)),
    own("a WebSocket after three messages", "idle-websocket", AFTER, AtMost(1_400.0)),
    own("a stored message of 100 bytes (100,000 in one channel)", "fill-messages", "bytes_per_message", AtMost(300.0)),
    own("a channel with one such message (100,000)", "fill-channels", "bytes_per_message", AtMost(600.0)),
    row(POLL, "1,000: CPU per delivery, µs", "fanout", CPU, 1, AtMost(0.62), AtMost(1.15)),
    row(POLL, "1,000: deliveries/s", "fanout", RATE, 0, AtLeast(1.6), Info),
    row(POLL, "1,000: latency p50, µs", "fanout", "latency_p50_us", 0, Info, Info),
    row(POLL, "10,000: CPU per delivery, µs", "fanout-10k", CPU, 1, AtMost(0.68), AtMost(1.2)),
    row(POLL, "10,000: deliveries/s", "fanout-10k", RATE, 0, AtLeast(1.3), Info),
    row(POLL, "1,000: the fan-out alone, ms", "batch", "fanout_ms", 1, AtMost(0.66), AtMost(1.15)),
    row(POLL, "10,000: the fan-out alone, ms", "batch-10k", "fanout_ms", 1, AtMost(0.66), AtMost(1.15)),
    row(STREAM, "1,000 streams: CPU per delivery, µs", "fanout-streaming", CPU, 1, Info, Info),
    row(STREAM, "1,000 event streams: CPU per delivery, µs", "fanout-eventsource", CPU, 1, AtMost(0.8), AtMost(1.15)),
    row(STREAM, "1,000 event streams: deliveries/s", "fanout-eventsource", RATE, 0, Info, Info),
    row(STREAM, "10,000 event streams: CPU per delivery, µs", "fanout-eventsource-10k", CPU, 1, Info, Info),
    row(STREAM, "1,000 WebSockets: CPU per delivery, µs", "fanout-websocket", CPU, 1, AtMost(0.75), AtMost(1.15)),
    row(STREAM, "1,000 WebSockets: deliveries/s", "fanout-websocket", RATE, 0, Info, Info),
    row(STREAM, "10,000 WebSockets: CPU per delivery, µs", "fanout-websocket-10k", CPU, 1, Info, Info),
    row(STREAM, "flood of 1,000 event streams: deliveries/s", "flood-eventsource", RATE, 0, AtLeast(1.3), Info),
    row(STREAM, "flood of 1,000 event streams: CPU per delivery, µs", "flood-eventsource", CPU, 1, Info, AtMost(1.15)),
    row(STREAM, "flood of 1,000 WebSockets: deliveries/s", "flood-websocket", RATE, 0, AtLeast(1.3), Info),
    row(STREAM, "flood of 1,000 WebSockets: CPU per delivery, µs", "flood-websocket", CPU, 1, Info, AtMost(1.15)),
    row(CHANNELS, "1,000 messages/s: CPU per delivery, µs", "rate-1k", CPU, 1, AtMost(0.95), Info),
    row(CHANNELS, "1,000 messages/s: latency p50, µs", "rate-1k", "latency_p50_us", 0, Info, Info),
    row(CHANNELS, "1,000 messages/s: latency p99, µs", "rate-1k", "latency_p99_us", 0, Info, Info),
    row(CHANNELS, "5,000 messages/s: CPU per delivery, µs", "rate-5k", CPU, 1, AtMost(0.65), AtMost(1.25)),
    row(CHANNELS, "5,000 messages/s: latency p50, µs", "rate-5k", "latency_p50_us", 0, Info, Info),
    row(CHANNELS, "5,000 messages/s: latency p99, µs", "rate-5k", "latency_p99_us", 0, Info, Info),
    row(CHANNELS, "at most: deliveries/s", "rate-most", RATE, 0, AtLeast(1.35), Info),
    row(CHANNELS, "at most: CPU per delivery, µs", "rate-most", CPU, 1, AtMost(0.7), AtMost(1.25)),
    row(CHANNELS, "at most: latency p50, µs", "rate-most", "latency_p50_us", 0, Info, Info),
    row(CHANNELS, "at most: latency p99, µs", "rate-most", "latency_p99_us", 0, Info, Info),
    row(
        REQUESTS,
        "HTTP publish, 16 publishers: publications/s",
        "publish",
        "publications_per_second",
        0,
        AtLeast(1.0),
        Info,
    ),
    row(REQUESTS, "HTTP publish: CPU each, µs", "publish", "cpu_us_per_publication", 1, AtMost(1.0), AtMost(1.2)),
    row(REQUESTS, "HTTP publish: latency p50, µs", "publish", "latency_p50_us", 0, Info, Info),
    row(
        REQUESTS,
        "new connection and stored message: requests/s",
        "accept",
        "requests_per_second",
        0,
        AtLeast(1.03),
        Info,
    ),
    row(
        REQUESTS,
        "new connection and stored message: CPU, µs",
        "accept",
        "cpu_us_per_request",
        1,
        AtMost(0.95),
        AtMost(1.15),
    ),
    row(REQUESTS, "new connection and stored message: latency p50, µs", "accept", "latency_p50_us", 0, Info, Info),
];
