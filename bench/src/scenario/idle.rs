//! Memory of a subscriber that waits, before and after it got some messages.

use super::{Figures, Scenario};
use crate::Result;
use crate::audience::{Audience, Repoll};
use crate::procfs::Processes;
use crate::server::Target;

pub(super) fn run(scenario: &Scenario, target: &Target) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    // Behind a proxy also what each of both takes.
    let each = target.pids.iter().map(|pid| Processes::of(&[*pid])).collect::<Result<Vec<_>>>()?;
    let memory_of_each = || each.iter().map(Processes::memory).collect::<Result<Vec<_>>>();
    let mut audience = Audience::new(target, "idle", scenario.transport, Repoll::AtOnce, size.bytes)?;
    audience.settle(&server)?;
    let (empty, empty_each) = (server.memory()?, memory_of_each()?);
    audience.gather(target, size.subscribers, "")?;
    audience.settle(&server)?;
    let waiting = server.memory()?;
    for _ in 0..size.rounds {
        if audience.round(1)?.is_none() {
            break;
        }
    }
    audience.settle(&server)?;
    let waiting_again = server.memory()?;
    let growth = |memory: u64, empty: u64| (memory as f64 - empty as f64) / size.subscribers as f64;
    let mut figures = scenario.figures(
        audience.faults(),
        [
            ("subscribers", size.subscribers as f64),
            ("empty_server_bytes", empty as f64),
            ("bytes_per_subscriber", growth(waiting, empty)),
            ("bytes_per_subscriber_after_messages", growth(waiting_again, empty)),
        ],
    );
    if let ([first, second], [first_empty, second_empty]) = (&memory_of_each()?[..], &empty_each[..]) {
        figures.add("bytes_of_the_proxy", growth(*first, *first_empty));
        figures.add("bytes_behind_the_proxy", growth(*second, *second_empty));
    }
    Ok(figures)
}
