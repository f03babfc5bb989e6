//! What an operator watches: counters of the HTTP threads and of the engine, as `/metrics` shows them, and `/healthz`.
//!
//! Each HTTP thread has counters of its own that it alone writes, the engine counts inside its critical section; nothing is
//! added up before somebody asks.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::access::limits::Deed;
use crate::config::Mode;
use crate::sequencer::{Sequencer, Totals};
use crate::transport::reply::Reply;

/// Where they are found on the admin listeners, unless a location there has the path.
const METRICS: &str = "/metrics";
const HEALTH: &str = "/healthz";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the times from publication to write, in microseconds.
const BOUNDS: [u64; 13] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000];

/// The ways in which subscribers hold a connection.
const TRANSPORTS: [(Mode, &str); 4] = [
    (Mode::LongPolling, "long-polling"),
    (Mode::Streaming, "streaming"),
    (Mode::EventSource, "eventsource"),
    (Mode::WebSocket, "websocket"),
];

/// A number that one thread writes and others read. It is no part of any agreement between them.
#[derive(Debug, Default)]
struct Number(AtomicU64);

impl Number {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }
}

/// What one HTTP thread counts. Only that thread calls what changes it.
// In cache lines of its own: what lies beside it is written by other threads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Counters {
    open: Number,
    seated: [Number; TRANSPORTS.len()],
    ring_clients: Number,
    wake_ups: Number,
    delivered: Number,
    /// One more than there are bounds: for what took longer.
    delays: [Number; BOUNDS.len() + 1],
    delay: Number,
}

impl Counters {
    /// It has this many connections, whatever they do.
    pub(crate) fn open(&self, connections: usize) {
        self.open.set(connections as u64);
    }

    /// How many it has.
    pub(crate) fn connections(&self) -> usize {
        self.open.get() as usize
    }

    /// A connection waits in its seats.
    pub(crate) fn seated(&self, mode: Mode) {
        self.transport(mode).add(1);
    }

    /// It waits no more.
    pub(crate) fn left(&self, mode: Mode) {
        self.transport(mode).add(1_u64.wrapping_neg());
    }

    /// A process attached to a pair of rings.
    pub(crate) fn attached(&self) {
        self.ring_clients.add(1);
    }

    /// It is gone.
    pub(crate) fn detached(&self) {
        self.ring_clients.add(1_u64.wrapping_neg());
    }

    /// Somebody woke the thread.
    pub(crate) fn woken(&self) {
        self.wake_ups.add(1);
    }

    /// As many subscribers were sent a message when it came.
    pub(crate) fn delivered(&self, subscribers: usize) {
        self.delivered.add(subscribers as u64);
    }

    /// Writing a message to all subscribers of this thread was done so long after its publication.
    pub(crate) fn wrote(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delays[BOUNDS.partition_point(|bound| *bound < micros)].add(1);
        self.delay.add(micros);
    }

    fn transport(&self, mode: Mode) -> &Number {
        match mode {
            // A poll never waits.
            Mode::LongPolling | Mode::Polling => &self.seated[0],
            Mode::Streaming => &self.seated[1],
            Mode::EventSource => &self.seated[2],
            Mode::WebSocket => &self.seated[3],
        }
    }
}

/// All counters at one moment.
#[derive(Debug)]
struct Snapshot {
    totals: Totals,
    /// Whether saving the journal works, and how often it was done.
    saving: bool,
    saves: u64,
    /// Subscriptions and publications that were too many.
    limited: [u64; 2],
    open: u64,
    seated: [u64; TRANSPORTS.len()],
    ring_clients: u64,
    wake_ups: u64,
    delivered: u64,
    delays: [u64; BOUNDS.len() + 1],
    delay: u64,
}

impl Snapshot {
    fn take(engine: &Sequencer) -> Self {
        let totals = engine.totals();
        let sum = |number: &dyn Fn(&Counters) -> u64| engine.counters().map(number).fold(0, u64::wrapping_add);
        Self {
            totals,
            saving: engine.stored().is_none_or(|progress| progress.works()),
            saves: engine.stored().map_or(0, |progress| progress.saves()),
            limited: [Deed::Connect, Deed::Publish].map(|deed| engine.access().limits().refused(deed)),
            open: sum(&|counters| counters.open.get()),
            seated: std::array::from_fn(|at| sum(&|counters| counters.seated[at].get())),
            ring_clients: sum(&|counters| counters.ring_clients.get()),
            wake_ups: sum(&|counters| counters.wake_ups.get()),
            delivered: sum(&|counters| counters.delivered.get()) + totals.delivered,
            delays: std::array::from_fn(|at| sum(&|counters| counters.delays[at].get())),
            delay: sum(&|counters| counters.delay.get()),
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let totals = &self.totals;
        let name = "push_connections";
        let help = "Connections of browsers and publishers, by what they wait for; none: for a request";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let waiting: u64 = self.seated.iter().sum();
        let transports = TRANSPORTS.iter().map(|(_, transport)| *transport).zip(self.seated);
        // What was counted a moment apart need not add up.
        for (transport, count) in transports.chain([("none", self.open.saturating_sub(waiting))]) {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("transport", transport)])?)?;
        }
        for (name, help, value) in [
            ("push_channels", "Channels, without wildcard channels", totals.channels),
            ("push_wildcard_channels", "Wildcard channels", totals.wildcard_channels),
            ("push_subscriptions", "Subscriptions: a connection counts in each of its channels", totals.subscriptions),
            ("push_members", "Members of all channels and of the site", totals.members),
            ("push_owed_messages", "Messages that the HTTP threads have not put out yet", totals.owed),
            ("push_stored_messages", "Messages stored", totals.stored),
            ("push_memory_bytes", "Bytes that count against memory_limit", totals.memory),
            ("push_log_bytes", "Bytes of the log of messages", totals.log),
            ("push_journal_bytes", "Bytes of what outlives the hub: messages, channels and keys", totals.journal),
            ("push_store_failing", "1 while saving to store_path fails", u64::from(!self.saving)),
            ("push_ring_clients", "Processes attached to the hub", self.ring_clients),
            ("push_uptime_seconds", "Seconds since the hub started", totals.uptime),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in [
            ("push_published_messages", "Messages published", totals.published),
            ("push_delivered_messages", "Messages sent to subscribers, once for each", self.delivered),
            ("push_joins", "Members that joined", totals.joins),
            ("push_leaves", "Members that left", totals.leaves),
            ("push_gaps", "Times that messages were missing for a subscriber or a thread", totals.gaps),
            ("push_evicted_messages", "Stored messages that gave way because of memory_limit", totals.evicted),
            (
                "push_limited_connects",
                "Subscriptions refused by connect_rate_per_address or connect_rate_per_user",
                self.limited[0],
            ),
            (
                "push_limited_publications",
                "Publications refused by publish_rate_per_address or publish_rate_per_user",
                self.limited[1],
            ),
            ("push_store_saves", "Times that what changed was saved to store_path", self.saves),
            ("push_wake_ups", "Times that a thread was woken by another", self.wake_ups),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let name = "push_publish_to_write_seconds";
        let help = "From the publication of a message until a thread has written it to its subscribers";
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let seconds = |micros: u64| micros as f64 / 1e6;
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(self.delays).collect();
        let count = self.delays.iter().sum();
        histogram.encode_histogram::<[(&str, &str); 0]>(seconds(self.delay), count, &buckets, None)
    }
}

/// Answers at the two paths of this module, of which `path` may be one. `longest` is the length of the path of the location
/// that would serve the request.
pub(crate) fn answer(engine: &Sequencer, method: &str, path: &str, longest: Option<usize>) -> Option<Reply> {
    let ours = matches!(path, METRICS | HEALTH) && longest.is_none_or(|longest| longest < path.len());
    if !ours {
        return None;
    }
    Some(match method {
        "GET" | "HEAD" if path == HEALTH => {
            // Who cannot publish is not well.
            engine.head();
            Reply::new(200).body("text/plain", b"ok\r\n".to_vec())
        }
        "GET" | "HEAD" => {
            let mut registry = Registry::default();
            registry.register_collector(Box::new(Snapshot::take(engine)));
            let mut out = String::with_capacity(4096);
            text::encode(&mut out, &registry).expect("writing to memory");
            Reply::new(200).body(CONTENT_TYPE, out.into_bytes())
        }
        "OPTIONS" => Reply::new(200),
        _ => Reply::new(405).header("Allow", "GET"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_counted_under_the_first_bound_that_holds() {
        let counters = Counters::default();
        for micros in [0, 50, 51, 2_500_000, 2_500_001, u64::MAX] {
            counters.wrote(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = counters.delays.iter().map(Number::get).collect();
        assert_eq!(counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn each_transport_is_counted_under_its_name() {
        let counters = Counters::default();
        for (at, (mode, _)) in TRANSPORTS.iter().enumerate() {
            counters.seated(*mode);
            counters.seated(*mode);
            counters.left(*mode);
            assert_eq!(counters.seated[at].get(), 1);
        }
    }
}
