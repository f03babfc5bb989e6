//! What a delivery costs when there is more of everything: threads, connections, channels, bytes, channels of a subscription.

use crate::Result;
use crate::compare::{Goal, Record, goal, median, number};
use crate::scenario::{Figures, Scenario, Size};
use crate::server::{Kind, Setup};

/// What grows: its name, the scenario, the steps, and how much the last may cost in relation to the first.
struct Growth {
    name: &'static str,
    scenario: &'static str,
    steps: &'static [usize],
    apply: fn(&mut Size, &mut Setup, usize),
    goal: Goal,
    /// What a step costs, each so much of it.
    slope: Option<(&'static str, f64)>,
}

/// Descriptors end at 20,000.
const MOST_CONNECTIONS: usize = 19_000;
/// Deliveries of a run, whatever the number of subscribers.
const DELIVERIES: usize = 76_000;

const FLAT: Goal = Goal::AtMost(1.15);

const GROWTHS: [Growth; 5] = [
    Growth {
        name: "HTTP threads, 2,000 long-polls",
        scenario: "fanout",
        steps: &[1, 2],
        apply: |size, setup, threads| {
            size.subscribers = 2_000;
            setup.threads = threads as u32;
        },
        goal: FLAT,
        slope: None,
    },
    Growth {
        name: "connections, one channel, long-polls",
        scenario: "fanout",
        steps: &[1_000, 4_000, MOST_CONNECTIONS],
        apply: |size, _, subscribers| {
            size.subscribers = subscribers;
            size.rounds = (DELIVERIES / subscribers) as u32;
        },
        goal: FLAT,
        slope: None,
    },
    Growth {
        name: "other channels with a message, 1,000 channels with a long-poll each, 5,000 messages/s",
        scenario: "rate-5k",
        steps: &[1, 10_000, 100_000],
        apply: |size, _, channels| {
            size.channels = 1_000;
            size.others = channels;
        },
        goal: FLAT,
        slope: None,
    },
    Growth {
        name: "bytes of a message, 1,000 long-polls",
        scenario: "fanout",
        steps: &[100, 1_000, 4_000, 16_000],
        apply: |size, _, bytes| size.bytes = bytes,
        goal: Goal::None,
        slope: Some(("KB", 1_000.0)),
    },
    Growth {
        name: "channels of each subscription, 1,000 long-polls",
        scenario: "fanout",
        steps: &[1, 4, 16],
        apply: |size, _, channels| size.set = channels,
        goal: Goal::None,
        slope: Some(("channel", 1.0)),
    },
];

/// One run: which growth and which of its steps.
pub(crate) struct Grown {
    growth: usize,
    step: usize,
    repetition: usize,
    figures: Figures,
}

/// One repetition.
pub(crate) fn run(record: &mut Record, repetition: usize) -> Result<Vec<Grown>> {
    let mut runs = Vec::new();
    for (growth, Growth { scenario, steps, apply, .. }) in GROWTHS.iter().enumerate() {
        for (step, amount) in steps.iter().enumerate() {
            let mut setup = Setup::default();
            let scenario = Scenario::named(scenario).ok_or(*scenario)?.with(|size| apply(size, &mut setup, *amount));
            let name = format!("push-hub, growth {growth}, {amount}");
            let figures = record.run(repetition, Kind::Hub, &scenario, &setup, &name)?;
            runs.extend(figures.map(|figures| Grown { growth, step, repetition, figures }));
        }
    }
    Ok(runs)
}

pub(crate) fn table(runs: &[Grown]) -> String {
    let mut table = String::from(
        "| push-hub: CPU per delivery, µs, with more | steps | µs | last to first | goal | each more |\n\
         |---|---|---|---:|---|---:|",
    );
    for (number_of, Growth { name, steps, goal: wanted, slope, .. }) in GROWTHS.iter().enumerate() {
        let cost = |step, repetition| {
            let run = runs.iter().find(|run| (run.growth, run.step, run.repetition) == (number_of, step, repetition));
            run.and_then(|run| run.figures.values.get("cpu_us_per_delivery").copied())
        };
        let repetitions = || 0..=runs.iter().map(|run| run.repetition).max().unwrap_or_default();
        let medians = (0..steps.len()).map(|step| median(repetitions().filter_map(|of| cost(step, of)).collect()));
        let medians = medians.collect::<Vec<_>>();
        let last = steps.len() - 1;
        let ratio = median(repetitions().filter_map(|of| Some(cost(last, of)? / cost(0, of)?)).collect());
        let each = slope.map_or(String::new(), |(unit, amount)| {
            format!("{:.2} µs per {unit}", (medians[last] - medians[0]) / (steps[last] - steps[0]) as f64 * amount)
        });
        table += &format!(
            "\n| {name} | {} | {} | {ratio:.2} | {} | {each} |",
            steps.iter().map(|step| number(*step as f64, 0)).collect::<Vec<_>>().join(" → "),
            medians.iter().map(|value| number(*value, 1)).collect::<Vec<_>>().join(" → "),
            goal(*wanted, ratio, 2),
        );
    }
    table
}
