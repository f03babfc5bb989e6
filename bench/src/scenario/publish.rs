//! Publishers that wait for each answer, over many channels without subscribers.

use std::time::{Duration, Instant};

use super::{ANSWER_TIMEOUT, Figures, Meter, Scenario, quantile};
use crate::Result;
use crate::message::{self, Faults};
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::request::{BEGINNING, Poll, publication};
use crate::server::{STORED_PER_CHANNEL, Target};

/// The publishers and what they have published.
struct Publishers {
    pool: Pool,
    bytes: usize,
    names: Vec<String>,
    acknowledged: Vec<u32>,
    /// The channel that each publishes to. A channel belongs to one publisher, so that the order of its messages is known.
    current: Vec<usize>,
    began: Vec<Instant>,
    latencies: Vec<u32>,
}

pub(super) fn run(scenario: &Scenario, target: &Target) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    let mut publishers = Publishers {
        pool: Pool::hearing(size.bytes)?,
        bytes: size.bytes,
        names: (0..size.channels.max(size.publishers)).map(|number| format!("publish{number}")).collect(),
        acknowledged: vec![0; size.channels.max(size.publishers)],
        current: (0..size.publishers).collect(),
        began: vec![Instant::now(); size.publishers],
        latencies: Vec::new(),
    };
    for _ in 0..size.publishers {
        publishers.pool.connect(target.publish)?;
    }
    // Once around creates the channels.
    publishers.publish(|publications| publications < size.channels as u64)?;
    publishers.pool.settle(&server)?;
    publishers.latencies.clear();
    let meter = Meter::start(&server)?;
    let end = Instant::now() + Duration::from_secs(size.seconds);
    let publications = publishers.publish(|_| Instant::now() < end)? as f64;
    let (seconds, generator_busy) = meter.lap()?;
    publishers.pool.settle(&server)?;
    let cpu_us_per_publication = meter.server_microseconds()? / publications;
    let mut faults = Faults::default();
    for (name, last) in publishers.names.iter().zip(&publishers.acknowledged) {
        faults.add(read_back(target, name, *last, size.bytes)?);
    }
    Ok(scenario.figures(
        faults,
        [
            ("publishers", size.publishers as f64),
            ("channels", size.channels as f64),
            ("publications", publications),
            ("cpu_us_per_publication", cpu_us_per_publication),
            ("publications_per_second", publications / seconds),
            ("latency_p50_us", quantile(&mut publishers.latencies, 0.50)),
            ("latency_p99_us", quantile(&mut publishers.latencies, 0.99)),
            ("generator_busy", generator_busy),
        ],
    ))
}

impl Publishers {
    /// All of them publish until `goes_on` says no to the number of answers; gives that.
    fn publish(&mut self, goes_on: impl Fn(u64) -> bool) -> Result<u64> {
        let Publishers { pool, bytes, names, acknowledged, current, began, latencies } = self;
        let mut request = Vec::new();
        for (publisher, channel) in current.iter().enumerate() {
            request.clear();
            publication(&names[*channel], acknowledged[*channel] + 1, *bytes, &mut request);
            began[publisher] = Instant::now();
            pool.send(publisher, &request)?;
        }
        let (mut open, mut publications) = (current.len(), 0);
        while open > 0 {
            let answers = pool.turn(ANSWER_TIMEOUT, |publisher, response, request| {
                if !response.is_success() {
                    return Err(format!("a publication was answered {}", response.status).into());
                }
                let now = Instant::now();
                latencies.push((now - began[publisher]).as_micros() as u32);
                let channel = &mut current[publisher];
                acknowledged[*channel] += 1;
                publications += 1;
                *channel += began.len();
                if *channel >= names.len() {
                    *channel = publisher;
                }
                if goes_on(publications) {
                    began[publisher] = now;
                    publication(&names[*channel], acknowledged[*channel] + 1, *bytes, request);
                } else {
                    open -= 1;
                }
                Ok(())
            })?;
            if answers == 0 {
                return Err(format!("{open} publications are not answered").into());
            }
        }
        Ok(publications)
    }
}

/// Follows a channel from its oldest stored message to message `last`, the newest that was published, and says what is
/// not as it should be with those that must be stored.
pub(crate) fn read_back(target: &Target, channel: &str, last: u32, bytes: usize) -> Result<Faults> {
    let mut pool = Pool::hearing(bytes)?;
    let reader = pool.connect(target.subscribe)?;
    let mut poll = Poll::new(channel);
    let mut request = poll.from(BEGINNING, b"").to_vec();
    let mut faults = Faults::default();
    // A server may store more than these.
    let must = last.saturating_sub(STORED_PER_CHANNEL);
    let mut newest = None;
    while newest.unwrap_or(must) < last {
        let (last_modified, etag) = pool
            .exchange(reader, &request, ANSWER_TIMEOUT, |response| {
                if response.status != 200 {
                    return Err(format!("channel {channel} was answered {}", response.status).into());
                }
                message::counters(response.body, bytes, |counter| {
                    let before = newest.unwrap_or(must.min(counter.saturating_sub(1)));
                    match counter {
                        _ if counter == before => faults.doubled += 1,
                        _ if counter < before => faults.reordered += 1,
                        _ => {
                            faults.lost += u64::from(counter - before - 1);
                            newest = Some(counter);
                        }
                    }
                    Ok(())
                })?;
                Ok((response.last_modified.to_vec(), response.etag.to_vec()))
            })
            .map_err(|error| format!("after message {newest:?} of {last} on channel {channel}: {error}"))?;
        request = poll.from(&last_modified, &etag).to_vec();
    }
    Ok(faults)
}
