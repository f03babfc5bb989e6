//! What a delivery costs when there is more of everything: threads, connections, channels, bytes, channels of a subscription;
//! and what more connections cost at the floor, that is, in the kernel.

use crate::Result;
use crate::compare::{Goal, Record, goal, median, number, ratio, ratios};
use crate::scenario::{Figures, Scenario, Size};
use crate::server::{Kind, Setup};

/// What grows: its name, the scenario, the steps, and how much the last may cost in relation to the first.
struct Growth {
    name: &'static str,
    scenario: &'static str,
    steps: &'static [usize],
    apply: fn(&mut Size, &mut Setup, usize),
    goal: Goal,
    /// The floor is measured, too: what grows there is the kernel's.
    floor: bool,
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
        floor: false,
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
        floor: true,
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
        floor: false,
        slope: None,
    },
    Growth {
        name: "bytes of a message, 1,000 long-polls",
        scenario: "fanout",
        steps: &[100, 1_000, 4_000, 16_000],
        apply: |size, _, bytes| size.bytes = bytes,
        goal: Goal::None,
        floor: false,
        slope: Some(("KB", 1_000.0)),
    },
    Growth {
        name: "channels of each subscription, 1,000 long-polls",
        scenario: "fanout",
        steps: &[1, 4, 16],
        apply: |size, _, channels| size.set = channels,
        goal: Goal::None,
        floor: false,
        slope: Some(("channel", 1.0)),
    },
];

/// One run: which growth and which of its steps.
pub(crate) struct Grown {
    growth: usize,
    step: usize,
    repetition: usize,
    kind: Kind,
    figures: Figures,
}

/// One repetition.
pub(crate) fn run(record: &mut Record, repetition: usize) -> Result<Vec<Grown>> {
    let mut runs = Vec::new();
    for (growth, Growth { scenario, steps, apply, floor, .. }) in GROWTHS.iter().enumerate() {
        for (step, amount) in steps.iter().enumerate() {
            let mut setup = Setup::default();
            let scenario = Scenario::named(scenario).ok_or(*scenario)?.with(|size| apply(size, &mut setup, *amount));
            let mut kinds = if *floor { vec![Kind::Floor, Kind::Hub] } else { vec![Kind::Hub] };
            let count = kinds.len();
            kinds.rotate_left(repetition % count);
            for kind in kinds {
                let name = format!("{}, growth {growth}, {amount}", kind.name());
                let figures = record.run(repetition, kind, &scenario, &setup, &name)?;
                runs.extend(figures.map(|figures| Grown { growth, step, repetition, kind, figures }));
            }
        }
    }
    Ok(runs)
}

/// What one server's deliveries cost with each step of a growth.
struct Costs {
    /// µs.
    medians: Vec<f64>,
    /// By repetition, the last step's to the first's.
    ratios: Vec<(usize, f64)>,
}

impl Costs {
    fn of(runs: &[Grown], growth: usize, kind: Kind) -> Costs {
        let runs = runs.iter().filter(|run| (run.growth, run.kind) == (growth, kind)).collect::<Vec<_>>();
        let of = |step| {
            let runs = runs.iter().filter(move |run| run.step == step);
            runs.filter_map(|run| Some((run.repetition, *run.figures.values.get("cpu_us_per_delivery")?)))
                .collect::<Vec<_>>()
        };
        let steps = (0..GROWTHS[growth].steps.len()).map(of).collect::<Vec<_>>();
        let medians = steps.iter().map(|step| median(step.iter().map(|(_, cost)| *cost).collect())).collect();
        Costs { medians, ratios: ratios(&steps[steps.len() - 1], &steps[0]) }
    }

    fn text(&self) -> String {
        self.medians.iter().map(|value| number(*value, 1)).collect::<Vec<_>>().join(" → ")
    }

    fn growth(&self) -> f64 {
        median(self.ratios.iter().map(|(_, ratio)| *ratio).collect())
    }
}

pub(crate) fn table(runs: &[Grown]) -> String {
    let mut table = String::from(
        "| push-hub: CPU per delivery, µs, with more | steps | µs | last to first | goal | to the floor's | each more |\n\
         |---|---|---|---:|---|---:|---:|",
    );
    for (at, Growth { name, steps, goal: wanted, floor, slope, .. }) in GROWTHS.iter().enumerate() {
        let hub = Costs::of(runs, at, Kind::Hub);
        let beside = floor.then(|| Costs::of(runs, at, Kind::Floor));
        let last = steps.len() - 1;
        let each = slope.map_or(String::new(), |(unit, amount)| {
            let more = (hub.medians[last] - hub.medians[0]) / (steps[last] - steps[0]) as f64 * amount;
            format!("{more:.2} µs per {unit}")
        });
        let amounts = steps.iter().map(|step| number(*step as f64, 0)).collect::<Vec<_>>().join(" → ");
        table += &format!(
            "\n| {name} | {amounts} | {} | {:.2} | {} | {} | {each} |",
            hub.text(),
            hub.growth(),
            goal(*wanted, hub.growth(), 2),
            beside.as_ref().map_or(String::new(), |floor| format!("{:.2}", ratio(&hub.ratios, &floor.ratios))),
        );
        if let Some(floor) = beside {
            table += &format!("\n| the same, floor | {amounts} | {} | {:.2} | | | |", floor.text(), floor.growth());
        }
    }
    table
}
