//! Subscribers come and go while messages are published, for minutes: does the memory stay what it is, and is it given back?
//!
//! An operation is a subscriber who goes, another who comes, and a message. What the channels store is there from the start,
//! so that growth is growth; where their names are ever new, a message is to be stored for ten seconds only.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::fill::fill;
use super::{Figures, Meter, Scenario};
use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::{Pool, unexpected};
use crate::procfs::Processes;
use crate::request::{poll, publication};
use crate::server::Target;

const CONNECTIONS_PER_TURN: usize = 32;
/// Operations until the names are new ones.
const EPOCH: u32 = 1_000;
/// For so many of them a message may be on its way: a minute.
const EPOCHS: u32 = 50;
const OPERATIONS_PER_TURN: u32 = 64;
/// Memory is compared with that at this moment, and again so long after all have left.
const MINUTE: Duration = Duration::from_secs(60);
/// What has expired is given back every few seconds, so that one moment says little: the most of these seconds counts.
const WINDOW: Duration = Duration::from_secs(10);
const SAMPLE: Duration = Duration::from_secs(1);

pub(super) fn fixed(scenario: &Scenario, target: &Target) -> Result<Figures> {
    run(scenario, target, false)
}

pub(super) fn ever_new(scenario: &Scenario, target: &Target) -> Result<Figures> {
    run(scenario, target, true)
}

struct Subscriber {
    channel: u32,
    /// From its first message on none may be missing; which one that is depends on who was faster, it or the message.
    seen: Option<Seen>,
}

struct Run<'a> {
    scenario: &'a Scenario,
    subscribers: Vec<Subscriber>,
    /// Of each channel that lives: messages sent.
    sent: HashMap<u32, u32>,
    /// Of each publisher: the channels to which it has still to publish, the first of them now. A channel belongs to one
    /// publisher, so that its messages do not overtake each other.
    queues: Vec<VecDeque<u32>>,
    random: u64,
    deliveries: u64,
    faults: Faults,
}

fn run(scenario: &Scenario, target: &Target, ever_new: bool) -> Result<Figures> {
    let size = &scenario.size;
    let channels = size.channels as u32;
    let server = Processes::of(&target.pids)?;
    let mut pool = Pool::hearing(size.bytes)?;
    for _ in 0..size.publishers {
        pool.connect(target.publish)?;
    }
    pool.settle(&server)?;
    let empty = server.memory()?;
    let mut sent = HashMap::new();
    if !ever_new {
        // One publisher, so that the order is known.
        fill(&mut pool, 1, size.channels * size.rounds as usize, 0, |number, out| {
            publication(&name((number % size.channels) as u32), (number / size.channels) as u32 + 1, size.bytes, out);
        })?;
        sent = (0..channels).map(|channel| (channel, size.rounds)).collect();
        pool.settle(&server)?;
    }
    let stored = server.memory()?;
    let mut run = Run {
        scenario,
        subscribers: Vec::new(),
        sent,
        queues: vec![VecDeque::new(); size.publishers],
        random: 0x9E37_79B9_7F4A_7C15,
        deliveries: 0,
        faults: Faults::default(),
    };
    for at in 0..size.subscribers {
        let channel = run.random(channels);
        let number = pool.connect(target.subscribe)?;
        run.subscribers.push(Subscriber { channel, seen: None });
        run.subscribe(&mut pool, number)?;
        if at % CONNECTIONS_PER_TURN == CONNECTIONS_PER_TURN - 1 {
            pool.turn(Duration::from_millis(1), unexpected)?;
        }
    }
    pool.settle(&server)?;

    let meter = Meter::start(&server)?;
    let (begin, length) = (Instant::now(), Duration::from_secs(size.seconds));
    // A short run, in a test, is compared with its first fifth.
    let compared = MINUTE.min(length / 5);
    let (window, between) = (WINDOW.min(compared), SAMPLE.min(compared / 2));
    let mut samples: Vec<(Duration, u64)> = Vec::new();
    let mut next_sample = begin + between;
    let (mut operations, mut oldest) = (0_u32, 0_u32);
    while begin.elapsed() < length {
        let due = (begin.elapsed().as_secs_f64() * f64::from(size.rate)) as u32;
        // Answers are read in between, also after a moment in which others had the processor.
        let soon = due.min(operations + OPERATIONS_PER_TURN);
        while operations < soon {
            operations += 1;
            if ever_new && operations % EPOCH == 0 {
                oldest += channels;
                run.sent.retain(|channel, _| channel + EPOCHS * channels > oldest);
            }
            let leaving = run.random(size.subscribers as u32) as usize;
            let channel = oldest + run.random(channels);
            run.subscribers[leaving] = Subscriber { channel, seen: None };
            pool.reconnect(size.publishers + leaving, target.subscribe)?;
            run.subscribe(&mut pool, size.publishers + leaving)?;
            let channel = oldest + run.random(channels);
            run.publish(&mut pool, channel)?;
        }
        let wait = if operations < due { Duration::ZERO } else { Duration::from_millis(1) };
        run.turn(&mut pool, wait)?;
        if Instant::now() >= next_sample {
            next_sample += between;
            samples.push((begin.elapsed(), server.memory()?));
        }
    }
    let (_, generator_busy) = meter.lap()?;
    let cpu = meter.server_microseconds()?;
    run.drain(&mut pool)?;
    let most_until = |end: Duration| {
        let within = samples.iter().filter(|(at, _)| (end.saturating_sub(window)..=end).contains(at));
        within.map(|(_, memory)| *memory).max().ok_or("memory was not looked at in time")
    };
    let (after_a_minute, last) = (most_until(compared)?, most_until(length)?);
    run.count_lost();
    let (deliveries, faults) = (run.deliveries, run.faults);
    drop(pool);
    std::thread::sleep(compared);
    let left = server.memory()?;
    Ok(scenario.figures(
        faults,
        [
            ("operations", f64::from(operations)),
            ("deliveries", deliveries as f64),
            ("cpu_us_per_operation", cpu / f64::from(operations)),
            ("empty_server_bytes", empty as f64),
            ("stored_bytes", stored as f64),
            ("after_a_minute_bytes", after_a_minute as f64),
            ("last_bytes", last as f64),
            ("growth_percent", (last as f64 / after_a_minute as f64 - 1.0) * 100.0),
            ("left_bytes", left as f64),
            ("left_percent", (left as f64 / stored as f64 - 1.0) * 100.0),
            ("generator_busy", generator_busy),
        ],
    ))
}

fn name(channel: u32) -> String {
    format!("churn{channel}")
}

impl Run<'_> {
    fn subscribe(&self, pool: &mut Pool, number: usize) -> Result<()> {
        let mut request = Vec::new();
        let subscriber = &self.subscribers[number - self.scenario.size.publishers];
        poll(&name(subscriber.channel), b"", b"", &mut request);
        pool.send(number, &request)
    }

    fn publish(&mut self, pool: &mut Pool, channel: u32) -> Result<()> {
        let publisher = channel as usize % self.queues.len();
        self.queues[publisher].push_back(channel);
        if self.queues[publisher].len() == 1 {
            let mut request = Vec::new();
            self.write(channel, &mut request);
            pool.send(publisher, &request)?;
        }
        Ok(())
    }

    fn write(&mut self, channel: u32, out: &mut Vec<u8>) {
        let sent = self.sent.entry(channel).or_default();
        *sent += 1;
        publication(&name(channel), *sent, self.scenario.size.bytes, out);
    }

    fn turn(&mut self, pool: &mut Pool, wait: Duration) -> Result<usize> {
        pool.turn(wait, |number, response, request| {
            let size = &self.scenario.size;
            let Some(at) = number.checked_sub(size.publishers) else {
                if !response.is_success() {
                    return Err(format!("a publication was answered {}", response.status).into());
                }
                self.queues[number].pop_front();
                if let Some(channel) = self.queues[number].front() {
                    self.write(*channel, request);
                }
                return Ok(());
            };
            let Subscriber { channel, seen } = &mut self.subscribers[at];
            let sent = self.sent.get(channel).copied().unwrap_or_default();
            match response.status {
                200 => message::counters(response.body, size.bytes, |counter| {
                    let seen = seen.get_or_insert_with(|| Seen::after(counter.saturating_sub(1)));
                    seen.note(counter, sent, &mut self.faults)?;
                    self.deliveries += 1;
                    Ok(())
                })?,
                304 => {}
                _ => return unexpected(number, response, request),
            }
            poll(&name(*channel), response.last_modified, response.etag, request);
            Ok(())
        })
    }

    /// Until nothing comes any more.
    fn drain(&mut self, pool: &mut Pool) -> Result<()> {
        while self.turn(pool, Duration::from_millis(500))? > 0 {}
        Ok(())
    }

    fn count_lost(&mut self) {
        for subscriber in &self.subscribers {
            if let (Some(seen), Some(sent)) = (&subscriber.seen, self.sent.get(&subscriber.channel)) {
                self.faults.lost += seen.missing(*sent);
            }
        }
    }

    /// Below `bound` (xorshift).
    fn random(&mut self, bound: u32) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % u64::from(bound)) as u32
    }
}
