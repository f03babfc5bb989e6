//! A new connection for each request, which is answered from a stored message.

use std::time::{Duration, Instant};

use super::{ANSWER_TIMEOUT, Figures, Meter, Scenario, quantile};
use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::request::{BEGINNING, poll, publication};
use crate::server::Target;

const CHANNEL: &str = "accept";

pub(super) fn run(scenario: &Scenario, target: &Target) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    let mut pool = Pool::hearing(size.bytes)?;
    let (mut post, mut get) = (Vec::new(), Vec::new());
    publication(CHANNEL, 1, size.bytes, &mut post);
    poll(CHANNEL, BEGINNING, b"", &mut get);
    let publisher = pool.connect(target.publish)?;
    let status = pool.exchange(publisher, &post, ANSWER_TIMEOUT, |response| Ok(response.status))?;
    if !(200..300).contains(&status) {
        return Err(format!("the publication was answered {status}").into());
    }
    pool.settle(&server)?;

    let first = publisher + 1;
    let mut started = vec![Instant::now(); size.subscribers];
    let mut answered = (0..size.subscribers).map(|_| pool.connect(target.subscribe)).collect::<Result<Vec<_>>>()?;
    let (mut requests, mut latencies, mut faults) = (0_u64, Vec::new(), Faults::default());
    let meter = Meter::start(&server)?;
    let end = Instant::now() + Duration::from_secs(size.seconds);
    // The first connections are already there; they only begin.
    for number in answered.drain(..) {
        pool.send(number, &get)?;
    }
    let mut open = size.subscribers;
    while open > 0 {
        let answers = pool.turn(ANSWER_TIMEOUT, |number, response, _| {
            let mut seen = Seen::default();
            message::counters(response.body, size.bytes, |counter| {
                seen.note(counter, 1, &mut faults)?;
                Ok(())
            })?;
            faults.lost += seen.missing(1);
            requests += 1;
            latencies.push(started[number - first].elapsed().as_micros() as u32);
            answered.push(number);
            Ok(())
        })?;
        if answers == 0 {
            return Err(format!("{open} requests are not answered").into());
        }
        for number in answered.drain(..) {
            if Instant::now() < end {
                started[number - first] = Instant::now();
                pool.reconnect(number, target.subscribe)?;
                pool.send(number, &get)?;
            } else {
                open -= 1;
            }
        }
    }
    let (seconds, generator_busy) = meter.lap()?;
    pool.settle(&server)?;
    Ok(scenario.figures(
        faults,
        [
            ("requests", requests as f64),
            ("requests_per_second", requests as f64 / seconds),
            ("cpu_us_per_request", meter.server_microseconds()? / requests as f64),
            ("latency_p50_us", quantile(&mut latencies, 0.50)),
            ("latency_p99_us", quantile(&mut latencies, 0.99)),
            ("generator_busy", generator_busy),
        ],
    ))
}
