//! What is done to a server. Each scenario gives its figures as one JSON line.

mod accept;
mod churn;
mod fanout;
mod fill;
mod idle;
mod publish;
mod rate;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Result;
use crate::message::{self, Faults};
use crate::procfs::{Processes, own_cpu};
use crate::request::Transport;
use crate::server::{STORED_PER_CHANNEL, Setup, Target};

pub(crate) use publish::read_back;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A load with its sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    load: fn(&Scenario, &Target) -> Result<Figures>,
    pub(crate) transport: Transport,
    pub(crate) size: Size,
}

/// How much of it; what a scenario does not need is left as it is here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) subscribers: usize,
    pub(crate) channels: usize,
    /// Channels with a message beside those.
    pub(crate) others: usize,
    /// How many channels each subscribes to.
    pub(crate) set: usize,
    pub(crate) publishers: usize,
    /// Rounds, or how many are stored.
    pub(crate) rounds: u32,
    /// Messages of a round.
    pub(crate) messages: u32,
    /// Bytes of a message.
    pub(crate) bytes: usize,
    pub(crate) seconds: u64,
    /// Operations each second; 0 is as many as there can be.
    pub(crate) rate: u32,
}

const SIZE: Size = Size {
    subscribers: 1_000,
    channels: 1,
    others: 0,
    set: 1,
    publishers: 16,
    rounds: 40,
    messages: 1,
    bytes: message::SIZE,
    seconds: 2,
    rate: 0,
};
/// The memory of those who wait: three messages each.
const WAITING: Size = Size { subscribers: 10_000, rounds: 3, ..SIZE };
const MANY: Size = Size { subscribers: 10_000, rounds: 8, ..SIZE };
const BATCH: Size = Size { rounds: 12, ..SIZE };
const FLOOD: Size = Size { rounds: 6, messages: 40, ..SIZE };
const CHANNELS: Size = Size { channels: 10_000, ..SIZE };
/// nchan numbers the messages of a channel and a second with 16 bits and a sign: of more than 32,768 it finds only some again.
const STORED: Size = Size { rounds: 100_000, rate: 20_000, ..SIZE };
const CHURN: Size = Size { subscribers: 2_000, channels: 1_000, rate: 800, seconds: 300, rounds: 20, ..SIZE };

/// All of them, by name.
pub(crate) const ALL: [Scenario; 26] = {
    use Transport::{EventSource, LongPoll, Streaming, WebSocket};
    const fn of(
        name: &'static str,
        load: fn(&Scenario, &Target) -> Result<Figures>,
        transport: Transport,
        size: Size,
    ) -> Scenario {
        Scenario { name, load, transport, size }
    }
    [
        of("idle", idle::run, LongPoll, WAITING),
        of("idle-streaming", idle::run, Streaming, WAITING),
        of("idle-eventsource", idle::run, EventSource, WAITING),
        of("idle-websocket", idle::run, WebSocket, WAITING),
        of("fanout", fanout::sustained, LongPoll, SIZE),
        of("fanout-10k", fanout::sustained, LongPoll, MANY),
        of("batch", fanout::batch, LongPoll, BATCH),
        of("batch-10k", fanout::batch, LongPoll, MANY),
        of("fanout-streaming", fanout::sustained, Streaming, SIZE),
        of("fanout-eventsource", fanout::sustained, EventSource, SIZE),
        of("fanout-websocket", fanout::sustained, WebSocket, SIZE),
        of("fanout-streaming-10k", fanout::sustained, Streaming, MANY),
        of("fanout-eventsource-10k", fanout::sustained, EventSource, MANY),
        of("fanout-websocket-10k", fanout::sustained, WebSocket, MANY),
        of("flood-streaming", fanout::flood, Streaming, FLOOD),
        of("flood-eventsource", fanout::flood, EventSource, FLOOD),
        of("flood-websocket", fanout::flood, WebSocket, FLOOD),
        of("rate-1k", rate::run, LongPoll, Size { rate: 1_000, ..CHANNELS }),
        of("rate-5k", rate::run, LongPoll, Size { rate: 5_000, ..CHANNELS }),
        of("rate-most", rate::run, LongPoll, CHANNELS),
        of("publish", publish::run, LongPoll, Size { channels: 1_000, ..SIZE }),
        of("fill-messages", fill::run, LongPoll, STORED),
        of("fill-channels", fill::run, LongPoll, Size { channels: 100_000, rounds: 100_000, ..SIZE }),
        of("accept", accept::run, LongPoll, Size { subscribers: 32, ..SIZE }),
        of("churn", churn::fixed, LongPoll, CHURN),
        of("churn-new", churn::ever_new, LongPoll, CHURN),
    ]
};

impl Scenario {
    pub(crate) fn named(name: &str) -> Option<Scenario> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// The same with other sizes.
    pub(crate) fn with(self, change: impl FnOnce(&mut Size)) -> Scenario {
        let mut scenario = self;
        change(&mut scenario.size);
        scenario
    }

    /// What a server must be told for it.
    pub(crate) fn setup(&self) -> Setup {
        let stored = match self.name {
            // Nobody may be overtaken by what a channel no longer keeps.
            _ if self.size.messages > 1 => 10 * self.size.messages,
            "fill-messages" | "fill-channels" => Setup::ALL_STORED,
            _ => STORED_PER_CHANNEL,
        };
        let churn = self.name.starts_with("churn");
        let ttl = if self.name == "churn-new" { "10s" } else { "30m" };
        Setup { stored, ttl, newest_first: churn, ..Setup::default() }
    }

    pub(crate) fn run(&self, target: &Target) -> Result<Figures> {
        (self.load)(self, target).map_err(|error| format!("{}: {error}", self.name).into())
    }

    fn figures<const N: usize>(&self, faults: Faults, values: [(&'static str, f64); N]) -> Figures {
        Figures { scenario: self.name, values: BTreeMap::from(values), faults }
    }
}

/// One run. `generator_busy` is the share of the time that the generator itself was on the CPU: near 1 it, and not the
/// server, limits the rate.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) scenario: &'static str,
    #[serde(flatten)]
    pub(crate) values: BTreeMap<&'static str, f64>,
    #[serde(flatten)]
    pub(crate) faults: Faults,
}

impl Figures {
    fn add(&mut self, name: &'static str, value: f64) {
        self.values.insert(name, value);
    }
}

/// The value that `share` of them do not exceed; sorts them.
fn quantile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    match values.len() {
        0 => f64::NAN,
        length => f64::from(values[((length - 1) as f64 * share) as usize]),
    }
}

/// CPU time and wall time since a moment at which the server was quiet.
struct Meter<'a> {
    server: &'a Processes,
    started: Instant,
    server_cpu: Duration,
    own_cpu: Duration,
}

impl Meter<'_> {
    fn start(server: &Processes) -> Result<Meter<'_>> {
        let (server_cpu, own_cpu) = (server.cpu()?, own_cpu()?);
        Ok(Meter { server, started: Instant::now(), server_cpu, own_cpu })
    }

    /// Seconds so far, and the share of them that the generator was on the CPU.
    fn lap(&self) -> Result<(f64, f64)> {
        let seconds = self.started.elapsed().as_secs_f64();
        Ok((seconds, (own_cpu()? - self.own_cpu).as_secs_f64() / seconds))
    }

    fn server_microseconds(&self) -> Result<f64> {
        Ok((self.server.cpu()? - self.server_cpu).as_secs_f64() * 1e6)
    }
}
