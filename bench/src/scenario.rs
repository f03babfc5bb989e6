//! The three loads, and the figures that each gives as one JSON line.

use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::Result;
use crate::audience::Audience;
use crate::message::{self, Faults, Seen};
use crate::pool::Pool;
use crate::procfs::{Processes, own_cpu};
use crate::request::{Poll, Transport, publication};
use crate::server::{STORED_PER_CHANNEL, Target};

const IDLE_SUBSCRIBERS: usize = 10_000;
const IDLE_MESSAGES: u32 = 3;

const FANOUT_SUBSCRIBERS: usize = 1_000;
const FANOUT_WARM_UP: u32 = 2;
const FANOUT_ROUNDS: u32 = 60;
const _: () = assert!(FANOUT_WARM_UP + FANOUT_ROUNDS <= Seen::CAPACITY);

const PUBLISHERS: usize = 16;
const PUBLISH_CHANNELS: usize = 1_000;
const PUBLISH_TIME: Duration = Duration::from_secs(2);

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do to a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scenario {
    /// Memory of a subscriber that waits, before and after it got three messages.
    Idle(Transport),
    /// One channel, rounds of one message to all subscribers, who ask again at once.
    Fanout,
    /// Publishers that wait for each answer, over many channels without subscribers.
    Publish,
}

impl FromStr for Scenario {
    type Err = ();

    fn from_str(name: &str) -> std::result::Result<Scenario, ()> {
        match name {
            "idle" => Ok(Scenario::Idle(Transport::LongPoll)),
            "idle-streaming" => Ok(Scenario::Idle(Transport::Streaming)),
            "idle-eventsource" => Ok(Scenario::Idle(Transport::EventSource)),
            "idle-websocket" => Ok(Scenario::Idle(Transport::WebSocket)),
            "fanout" => Ok(Scenario::Fanout),
            "publish" => Ok(Scenario::Publish),
            _ => Err(()),
        }
    }
}

impl Scenario {
    pub(crate) fn run(self, target: &Target) -> Result<Figures> {
        match self {
            Scenario::Idle(transport) => idle(target, transport),
            Scenario::Fanout => fanout(target),
            Scenario::Publish => publish(target),
        }
    }
}

/// One run. `generator_busy` is the share of the time that the generator itself was on the CPU: near 1 it, and not the
/// server, limits the rate.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "scenario", rename_all = "snake_case")]
pub(crate) enum Figures {
    Idle {
        transport: Transport,
        subscribers: usize,
        empty_server_bytes: u64,
        bytes_per_subscriber: f64,
        bytes_per_subscriber_after_messages: f64,
        #[serde(flatten)]
        faults: Faults,
    },
    Fanout {
        subscribers: usize,
        deliveries: u64,
        cpu_us_per_delivery: f64,
        deliveries_per_second: f64,
        generator_busy: f64,
        #[serde(flatten)]
        faults: Faults,
    },
    Publish {
        publishers: usize,
        channels: usize,
        publications: u64,
        cpu_us_per_publication: f64,
        publications_per_second: f64,
        generator_busy: f64,
        #[serde(flatten)]
        faults: Faults,
    },
}

impl Figures {
    pub(crate) fn faults(&self) -> Faults {
        match self {
            Figures::Idle { faults, .. } | Figures::Fanout { faults, .. } | Figures::Publish { faults, .. } => *faults,
        }
    }
}

fn idle(target: &Target, transport: Transport) -> Result<Figures> {
    let server = Processes::of(target.pid)?;
    let mut audience = Audience::new(target, "idle", transport)?;
    audience.settle(&server)?;
    let empty = server.memory()?;
    audience.gather(target, IDLE_SUBSCRIBERS)?;
    audience.settle(&server)?;
    let waiting = server.memory()?;
    for _ in 0..IDLE_MESSAGES {
        if !audience.round()? {
            break;
        }
    }
    audience.settle(&server)?;
    let waiting_again = server.memory()?;
    let growth = |memory: u64| (memory as f64 - empty as f64) / IDLE_SUBSCRIBERS as f64;
    Ok(Figures::Idle {
        transport,
        subscribers: IDLE_SUBSCRIBERS,
        empty_server_bytes: empty,
        bytes_per_subscriber: growth(waiting),
        bytes_per_subscriber_after_messages: growth(waiting_again),
        faults: audience.faults(),
    })
}

fn fanout(target: &Target) -> Result<Figures> {
    let server = Processes::of(target.pid)?;
    let mut audience = Audience::new(target, "fanout", Transport::LongPoll)?;
    audience.gather(target, FANOUT_SUBSCRIBERS)?;
    audience.settle(&server)?;
    for _ in 0..FANOUT_WARM_UP {
        audience.round()?;
    }
    audience.settle(&server)?;
    let meter = Meter::start(&server)?;
    let mut rounds = 0;
    while rounds < FANOUT_ROUNDS && audience.round()? {
        rounds += 1;
    }
    let (seconds, generator_busy) = meter.lap()?;
    // The last polls are still being read; they belong to the deliveries that they answer.
    audience.settle(&server)?;
    let deliveries = u64::from(rounds) * FANOUT_SUBSCRIBERS as u64;
    Ok(Figures::Fanout {
        subscribers: FANOUT_SUBSCRIBERS,
        deliveries,
        cpu_us_per_delivery: meter.server_microseconds()? / deliveries as f64,
        deliveries_per_second: deliveries as f64 / seconds,
        generator_busy,
        faults: audience.faults(),
    })
}

fn publish(target: &Target) -> Result<Figures> {
    let server = Processes::of(target.pid)?;
    let mut pool = Pool::new()?;
    let names = (0..PUBLISH_CHANNELS).map(|number| format!("publish{number}")).collect::<Vec<_>>();
    let mut acknowledged = vec![0_u32; PUBLISH_CHANNELS];
    for _ in 0..PUBLISHERS {
        pool.connect(target.publish)?;
    }
    // A channel belongs to one publisher, so that the order of its messages is known.
    let run = |pool: &mut Pool, acknowledged: &mut [u32], goes_on: &dyn Fn(u64) -> bool| -> Result<u64> {
        let mut publications = 0;
        let mut current = std::array::from_fn::<usize, PUBLISHERS, _>(|publisher| publisher);
        for (publisher, channel) in current.iter().enumerate() {
            pool.send(publisher, &publication(&names[*channel], acknowledged[*channel] + 1))?;
        }
        let (mut open, mut progress) = (PUBLISHERS, Instant::now());
        while open > 0 {
            let answers = pool.turn(ANSWER_TIMEOUT, |publisher, response, request| {
                if !response.is_success() {
                    return Err(format!("a publication was answered {}", response.status).into());
                }
                let channel = &mut current[publisher];
                acknowledged[*channel] += 1;
                publications += 1;
                if goes_on(publications) {
                    *channel += PUBLISHERS;
                    if *channel >= PUBLISH_CHANNELS {
                        *channel = publisher;
                    }
                    *request = publication(&names[*channel], acknowledged[*channel] + 1);
                } else {
                    open -= 1;
                }
                Ok(())
            })?;
            if answers > 0 {
                progress = Instant::now();
            } else if progress.elapsed() >= ANSWER_TIMEOUT {
                return Err(format!("{open} publications are not answered").into());
            }
        }
        Ok(publications)
    };
    // Once around creates the channels.
    run(&mut pool, &mut acknowledged, &|publications| publications < PUBLISH_CHANNELS as u64)?;
    pool.settle(&server)?;
    let meter = Meter::start(&server)?;
    let end = Instant::now() + PUBLISH_TIME;
    let publications = run(&mut pool, &mut acknowledged, &|_| Instant::now() < end)?;
    let (seconds, generator_busy) = meter.lap()?;
    pool.settle(&server)?;
    let cpu_us_per_publication = meter.server_microseconds()? / publications as f64;
    let mut faults = Faults::default();
    for (name, last) in names.iter().zip(&acknowledged) {
        faults.add(read_back(target, name, *last)?);
    }
    Ok(Figures::Publish {
        publishers: PUBLISHERS,
        channels: PUBLISH_CHANNELS,
        publications,
        cpu_us_per_publication,
        publications_per_second: publications as f64 / seconds,
        generator_busy,
        faults,
    })
}

/// Follows a channel from its oldest stored message to message `last`, the newest that was published, and says what is
/// not as it should be with those that must be stored.
pub(crate) fn read_back(target: &Target, channel: &str, last: u32) -> Result<Faults> {
    let mut pool = Pool::new()?;
    let reader = pool.connect(target.subscribe)?;
    let mut poll = Poll::new(channel);
    let mut request = poll.from(b"Thu, 01 Jan 1970 00:00:00 GMT", b"").to_vec();
    let mut faults = Faults::default();
    let mut newest = last.saturating_sub(STORED_PER_CHANNEL);
    while newest < last {
        let (last_modified, etag) = pool
            .exchange(reader, &request, ANSWER_TIMEOUT, |response| {
                if response.status != 200 {
                    return Err(format!("channel {channel} was answered {}", response.status).into());
                }
                message::counters(response.body, |counter| {
                    match counter {
                        _ if counter == newest => faults.doubled += 1,
                        _ if counter < newest => faults.reordered += 1,
                        _ => {
                            faults.lost += u64::from(counter - newest - 1);
                            newest = counter;
                        }
                    }
                    Ok(())
                })?;
                Ok((response.last_modified.to_vec(), response.etag.to_vec()))
            })
            .map_err(|error| format!("after message {newest} of {last} on channel {channel}: {error}"))?;
        request = poll.from(&last_modified, &etag).to_vec();
    }
    Ok(faults)
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
