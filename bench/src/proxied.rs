//! The whole way through nginx: `proxy_pass` to the hub, beside nchan inside nginx.

use crate::Result;
use crate::compare::{Record, Run, median, number};
use crate::scenario::Scenario;
use crate::server::{Kind, Setup};

const SUBSCRIBERS: usize = 5_000;

/// A row: its name, scenario, figure and decimals.
const ROWS: [(&str, &str, &str, usize); 10] = [
    ("memory of a waiting long-poll, after three messages, bytes", "idle", "bytes_per_subscriber_after_messages", 0),
    ("of that nginx", "idle", "bytes_of_the_proxy", 0),
    ("of that the hub", "idle", "bytes_behind_the_proxy", 0),
    ("one channel: CPU per delivery, µs", "fanout", "cpu_us_per_delivery", 1),
    ("one channel: deliveries/s", "fanout", "deliveries_per_second", 0),
    ("one channel: latency p50, µs", "fanout", "latency_p50_us", 0),
    ("one channel: latency p99, µs", "fanout", "latency_p99_us", 0),
    ("5,000 channels, 1,000 messages/s: CPU per delivery, µs", "rate-1k", "cpu_us_per_delivery", 1),
    ("5,000 channels, 1,000 messages/s: latency p50, µs", "rate-1k", "latency_p50_us", 0),
    ("5,000 channels, 1,000 messages/s: latency p99, µs", "rate-1k", "latency_p99_us", 0),
];

/// One repetition.
pub(crate) fn run(record: &mut Record, repetition: usize) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut kinds = [Kind::Nchan, Kind::Proxied, Kind::Hub];
    kinds.rotate_left(repetition % 3);
    for name in ["idle", "fanout", "rate-1k"] {
        let scenario = Scenario::named(name).ok_or(name)?.with(|size| {
            size.subscribers = SUBSCRIBERS;
            size.channels = size.channels.min(SUBSCRIBERS);
            size.rounds = size.rounds.min(10);
        });
        for kind in kinds {
            let figures = record.run(repetition, kind, &scenario, &Setup::default(), kind.name())?;
            runs.extend(figures.map(|figures| Run { repetition, kind, figures }));
        }
    }
    Ok(runs)
}

pub(crate) fn table(runs: &[Run]) -> String {
    let mut table = String::from(
        "5,000 long-polls. CPU and memory of nginx and hub together. nginx keeps as many connections to the hub \
         (`keepalive 5000` in its upstream); with fewer a poll may need a new one, which costs more than all else.\n\n\
         | | nchan in nginx | nginx, `proxy_pass` to push-hub | push-hub alone |\n|---|---:|---:|---:|",
    );
    for (name, scenario, figure, decimals) in ROWS {
        table += &format!("\n| {name} |");
        for kind in [Kind::Nchan, Kind::Proxied, Kind::Hub] {
            let of = runs.iter().filter(|run| run.kind == kind && run.figures.scenario == scenario);
            let value = median(of.filter_map(|run| run.figures.values.get(figure).copied()).collect());
            table += &if value.is_nan() { " |".to_owned() } else { format!(" {} |", number(value, decimals)) };
        }
    }
    table
}
