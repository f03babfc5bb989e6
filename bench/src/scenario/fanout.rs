//! One channel with many subscribers: rounds of one message to each, or of many as fast as they are taken.

use std::time::Duration;

use super::{Figures, Meter, Scenario, quantile};
use crate::Result;
use crate::audience::{Audience, Repoll};
use crate::procfs::{Processes, own_cpu};
use crate::server::Target;

/// The next message comes when all have the last one and, those that poll, have asked again.
pub(super) fn sustained(scenario: &Scenario, target: &Target) -> Result<Figures> {
    rounds(scenario, target, Repoll::AtOnce)
}

/// All wait and nothing else happens: the time of the fan-out alone. They ask again when the last has its message.
pub(super) fn batch(scenario: &Scenario, target: &Target) -> Result<Figures> {
    rounds(scenario, target, Repoll::Together)
}

/// Messages back to back, each published when the one before is acknowledged: nobody waits for the subscribers.
pub(super) fn flood(scenario: &Scenario, target: &Target) -> Result<Figures> {
    rounds(scenario, target, Repoll::AtOnce)
}

const WARM_UP: u32 = 2;

fn rounds(scenario: &Scenario, target: &Target, repoll: Repoll) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    let mut audience = Audience::new(target, "fanout", scenario.transport, repoll, size.bytes)?;
    let others = (1..size.set).map(|number| format!("/other{number}")).collect::<String>();
    audience.gather(target, size.subscribers, &others)?;
    audience.settle(&server)?;
    let mut complete = true;
    for _ in 0..WARM_UP {
        complete &= audience.round(1)?.is_some();
        if repoll == Repoll::Together {
            audience.poll_again()?;
        }
        audience.settle(&server)?;
    }
    audience.forget_latencies();
    let meter = Meter::start(&server)?;
    let (mut done, mut seconds, mut busy, mut times) = (0, 0.0, 0.0, Vec::new());
    // Where rounds follow each other at once, asking again is part of the time, and between the others is a pause.
    let one_after_another = repoll == Repoll::AtOnce && size.messages == 1;
    while complete && done < size.rounds {
        let own = if one_after_another { Duration::ZERO } else { own_cpu()? };
        let Some(time) = audience.round(size.messages)? else { break };
        if !one_after_another {
            busy += (own_cpu()? - own).as_secs_f64();
        }
        done += 1;
        times.push(time.as_micros() as u32);
        seconds += time.as_secs_f64();
        // Then nothing of one round is left in the next; and those who read slowly are not run over for ever.
        if repoll == Repoll::Together {
            audience.poll_again()?;
            audience.settle(&server)?;
        } else if size.messages > 1 {
            audience.settle(&server)?;
        }
    }
    let (all_seconds, all_busy) = meter.lap()?;
    // The last polls are still being read; they belong to the deliveries that they answer.
    audience.settle(&server)?;
    let deliveries = f64::from(done) * f64::from(size.messages) * size.subscribers as f64;
    let (seconds, busy) = if one_after_another { (all_seconds, all_busy) } else { (seconds, busy / seconds) };
    let mut figures = scenario.figures(
        audience.faults(),
        [
            ("subscribers", size.subscribers as f64),
            ("deliveries", deliveries),
            ("cpu_us_per_delivery", meter.server_microseconds()? / deliveries),
            ("deliveries_per_second", deliveries / seconds),
            ("fanout_ms", quantile(&mut times, 0.5) / 1e3),
            ("generator_busy", busy),
        ],
    );
    if size.messages == 1 {
        figures.add("latency_p50_us", quantile(audience.latencies(), 0.5));
        figures.add("latency_p99_us", quantile(audience.latencies(), 0.99));
    }
    Ok(figures)
}
