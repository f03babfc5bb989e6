//! Many channels with one subscriber each, who polls; messages go to one after the other, so many a second or as many as
//! there can be. Latency counts from the moment at which a message was to be sent, whether the publishers were free or not.

use std::time::{Duration, Instant};

use super::fill::fill;
use super::{ANSWER_TIMEOUT, Figures, Meter, Scenario, quantile};
use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::{Pool, unexpected};
use crate::procfs::Processes;
use crate::request::{poll, publication};
use crate::response::Response;
use crate::server::Target;

/// Publications before the measurement.
const WARM_UP: usize = 500;
/// Connections per millisecond while the subscribers come.
const CONNECTIONS_PER_TURN: usize = 32;

struct Run<'a> {
    scenario: &'a Scenario,
    names: Vec<String>,
    /// Of each channel: how many messages it was sent, and what its subscriber has.
    sent: Vec<u32>,
    seen: Vec<Seen>,
    /// When each message was to be sent, of all channels in turn.
    due: Vec<Instant>,
    idle: Vec<usize>,
    acknowledged: usize,
    delivered: usize,
    latencies: Vec<u32>,
    faults: Faults,
}

pub(super) fn run(scenario: &Scenario, target: &Target) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    let mut pool = Pool::hearing(size.bytes)?;
    let mut run = Run {
        scenario,
        names: (0..size.channels).map(|number| format!("rate{number}")).collect(),
        sent: vec![0; size.channels],
        seen: vec![Seen::default(); size.channels],
        due: Vec::new(),
        idle: (0..size.publishers).collect(),
        acknowledged: 0,
        delivered: 0,
        latencies: Vec::new(),
        faults: Faults::default(),
    };
    for _ in 0..size.publishers {
        pool.connect(target.publish)?;
    }
    fill(&mut pool, size.publishers, size.others, 0, |number, out| {
        publication(&format!("other{number}"), 1, size.bytes, out);
    })?;
    let mut request = Vec::new();
    for (at, name) in run.names.iter().enumerate() {
        let number = pool.connect(target.subscribe)?;
        request.clear();
        poll(name, b"", b"", &mut request);
        pool.send(number, &request)?;
        if at % CONNECTIONS_PER_TURN == CONNECTIONS_PER_TURN - 1 {
            pool.turn(Duration::from_millis(1), unexpected)?;
        }
    }
    pool.settle(&server)?;
    run.publish(&mut pool, 0, |published, _| published < WARM_UP)?;
    run.drain(&mut pool)?;
    run.settle(&mut pool, &server)?;
    run.latencies.clear();

    let (published, delivered) = (run.due.len(), run.delivered);
    let meter = Meter::start(&server)?;
    let end = Instant::now() + Duration::from_secs(size.seconds);
    run.publish(&mut pool, size.rate, |_, now| now < end)?;
    let delivered_in_time = run.delivered - delivered;
    let (seconds, generator_busy) = meter.lap()?;
    run.drain(&mut pool)?;
    run.settle(&mut pool, &server)?;
    let deliveries = (run.delivered - delivered) as f64;
    run.faults.lost = run.seen.iter().zip(&run.sent).map(|(seen, sent)| seen.missing(*sent)).sum();
    Ok(scenario.figures(
        run.faults,
        [
            ("channels", size.channels as f64),
            ("published", (run.due.len() - published) as f64),
            ("deliveries", deliveries),
            ("deliveries_per_second", delivered_in_time as f64 / seconds),
            ("cpu_us_per_delivery", meter.server_microseconds()? / deliveries),
            ("latency_p50_us", quantile(&mut run.latencies, 0.50)),
            ("latency_p99_us", quantile(&mut run.latencies, 0.99)),
            ("generator_busy", generator_busy),
        ],
    ))
}

impl Run<'_> {
    /// Publishes `rate` messages a second (0: each publisher when it was answered) while `goes_on` says so of the number of
    /// publications and the time.
    fn publish(&mut self, pool: &mut Pool, rate: u32, goes_on: impl Fn(usize, Instant) -> bool) -> Result<()> {
        let begin = Instant::now();
        let mut published = 0_usize;
        let mut request = Vec::new();
        loop {
            let mut now = Instant::now();
            if !goes_on(published, now) {
                return Ok(());
            }
            let next = |published: usize, now| match rate {
                0 => now,
                rate => begin + Duration::from_secs_f64(published as f64 / f64::from(rate)),
            };
            while let due = next(published, now)
                && due <= now
                && goes_on(published, now)
                && let Some(publisher) = self.idle.pop()
            {
                request.clear();
                self.write_next(due, &mut request);
                pool.send(publisher, &request)?;
                published += 1;
                now = Instant::now();
            }
            // Nobody is free, or nothing is due: then not for longer than until something is.
            let wait = match self.idle.is_empty() {
                true => ANSWER_TIMEOUT,
                false => next(published, now).saturating_duration_since(now),
            };
            let answers = self.turn(pool, wait)?;
            if answers == 0 && self.idle.is_empty() && now.elapsed() >= ANSWER_TIMEOUT {
                return Err("publications are not answered".into());
            }
        }
    }

    fn write_next(&mut self, due: Instant, out: &mut Vec<u8>) {
        let channel = self.due.len() % self.names.len();
        self.sent[channel] += 1;
        self.due.push(due);
        publication(&self.names[channel], self.sent[channel], self.scenario.size.bytes, out);
    }

    fn turn(&mut self, pool: &mut Pool, wait: Duration) -> Result<usize> {
        pool.turn(wait, |number, response, request| self.answered(number, response, request))
    }

    fn answered(&mut self, number: usize, response: &Response<'_>, request: &mut Vec<u8>) -> Result<()> {
        let size = &self.scenario.size;
        let Some(channel) = number.checked_sub(size.publishers) else {
            if !response.is_success() {
                return Err(format!("a publication was answered {}", response.status).into());
            }
            self.acknowledged += 1;
            self.idle.push(number);
            return Ok(());
        };
        match response.status {
            200 => message::counters(response.body, size.bytes, |counter| {
                if self.seen[channel].note(counter, self.sent[channel], &mut self.faults)? {
                    self.delivered += 1;
                    let due = self.due[(counter as usize - 1) * self.names.len() + channel];
                    self.latencies.push(due.elapsed().as_micros() as u32);
                }
                Ok(())
            })?,
            304 => {}
            _ => return unexpected(number, response, request),
        }
        poll(&self.names[channel], response.last_modified, response.etag, request);
        Ok(())
    }

    /// What comes although nothing more is expected is heard.
    fn settle(&mut self, pool: &mut Pool, server: &Processes) -> Result<()> {
        pool.settle_hearing(server, |number, response, request| self.answered(number, response, request))
    }

    /// Waits until everything is acknowledged and delivered, or nothing comes any more.
    fn drain(&mut self, pool: &mut Pool) -> Result<()> {
        while self.acknowledged < self.due.len() || self.delivered < self.due.len() {
            if self.turn(pool, ANSWER_TIMEOUT)? == 0 {
                break;
            }
        }
        Ok(())
    }
}
