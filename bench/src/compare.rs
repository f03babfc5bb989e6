//! Runs everything against both servers, one alive at a time and interleaved, and prints medians beside the goals. Each
//! run is also written as a JSON line, as soon as it is over.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::Result;
use crate::awake::Awake;
use crate::message::Faults;
use crate::php::{self, Pace, Way};
use crate::procfs::load_average;
use crate::request::Transport;
use crate::scenario::{Figures, Scenario};
use crate::server::{Kind, Server};

/// A figure of the first table.
struct Row {
    name: &'static str,
    of: fn(&Figures) -> Option<f64>,
    decimals: usize,
    goal: Goal,
}

enum Goal {
    /// The hub's own figure.
    AtMost(f64),
    /// The hub's figure divided by nchan's.
    RatioAtMost(f64),
    /// For information.
    None,
}

const ROWS: [Row; 9] = [
    Row {
        name: "10,000 waiting long-polls, bytes each",
        of: |figures| match figures {
            Figures::Idle { transport: Transport::LongPoll, bytes_per_subscriber, .. } => Some(*bytes_per_subscriber),
            _ => None,
        },
        decimals: 0,
        goal: Goal::AtMost(1_300.0),
    },
    Row {
        name: "the same after three messages each",
        of: |figures| match figures {
            Figures::Idle { transport: Transport::LongPoll, bytes_per_subscriber_after_messages, .. } => {
                Some(*bytes_per_subscriber_after_messages)
            }
            _ => None,
        },
        decimals: 0,
        goal: Goal::AtMost(1_300.0),
    },
    Row {
        name: "the same of streams",
        of: |figures| match figures {
            Figures::Idle { transport: Transport::Streaming, bytes_per_subscriber_after_messages, .. } => {
                Some(*bytes_per_subscriber_after_messages)
            }
            _ => None,
        },
        decimals: 0,
        goal: Goal::AtMost(1_300.0),
    },
    Row {
        name: "the same of event streams",
        of: |figures| match figures {
            Figures::Idle { transport: Transport::EventSource, bytes_per_subscriber_after_messages, .. } => {
                Some(*bytes_per_subscriber_after_messages)
            }
            _ => None,
        },
        decimals: 0,
        goal: Goal::AtMost(1_300.0),
    },
    Row {
        name: "the same of WebSockets",
        of: |figures| match figures {
            Figures::Idle { transport: Transport::WebSocket, bytes_per_subscriber_after_messages, .. } => {
                Some(*bytes_per_subscriber_after_messages)
            }
            _ => None,
        },
        decimals: 0,
        goal: Goal::AtMost(1_500.0),
    },
    Row {
        name: "fan-out to 1,000, CPU µs per delivery",
        of: |figures| match figures {
            Figures::Fanout { cpu_us_per_delivery, .. } => Some(*cpu_us_per_delivery),
            _ => None,
        },
        decimals: 1,
        goal: Goal::RatioAtMost(0.75),
    },
    Row {
        name: "fan-out to 1,000, deliveries/s",
        of: |figures| match figures {
            Figures::Fanout { deliveries_per_second, .. } => Some(*deliveries_per_second),
            _ => None,
        },
        decimals: 0,
        goal: Goal::None,
    },
    Row {
        name: "HTTP publish, CPU µs each",
        of: |figures| match figures {
            Figures::Publish { cpu_us_per_publication, .. } => Some(*cpu_us_per_publication),
            _ => None,
        },
        decimals: 1,
        goal: Goal::RatioAtMost(1.1),
    },
    Row {
        name: "HTTP publish, publications/s",
        of: |figures| match figures {
            Figures::Publish { publications_per_second, .. } => Some(*publications_per_second),
            _ => None,
        },
        decimals: 0,
        goal: Goal::None,
    },
];

const LOADS: [Scenario; 6] = [
    Scenario::Idle(Transport::LongPoll),
    Scenario::Idle(Transport::Streaming),
    Scenario::Idle(Transport::EventSource),
    Scenario::Idle(Transport::WebSocket),
    Scenario::Fanout,
    Scenario::Publish,
];

/// A way to publish from PHP: its name in the table, its server, and at most how many µs (p50) a call may take when hot and
/// when paced.
type PhpRow = (Way, &'static str, Option<Kind>, Option<[f64; 2]>);

const WAYS: [PhpRow; 5] = [
    (Way::PushPublishAsync, "`push_publish_async`", Some(Kind::Hub), Some([1.0, 15.0])),
    (Way::PushPublish, "`push_publish`", Some(Kind::Hub), Some([10.0, 22.0])),
    (Way::EmbeddedPublish, "`push_publish`, embedded", None, Some([1.0, 15.0])),
    (Way::Curl, "curl to nchan", Some(Kind::Nchan), None),
    (Way::Pipe, "a pipe to `cat` and back", None, None),
];

/// What a call of PHP takes above the same call without PHP (p50): arguments, result object, and reading the clock.
const OWN: [(&str, Option<Kind>, Way, Way); 3] = [
    ("`push_publish_async`", Some(Kind::Hub), Way::PushPublishAsync, Way::ClientPublishAsync),
    ("`push_publish`", Some(Kind::Hub), Way::PushPublish, Way::ClientPublish),
    ("`push_publish`, embedded", None, Way::EmbeddedPublish, Way::ClientEmbedded),
];
/// How often they take turns in a repetition.
const TURNS: usize = 9;
const OWN_AT_MOST: f64 = 0.4;

/// Batches, with the hub elsewhere and here, and how many messages a second they carry.
const BATCHES: [(&str, Option<Kind>, Way); 2] = [
    ("`push_publish_many`, 1,000 messages", Some(Kind::Hub), Way::PushPublishMany),
    ("the same, embedded", None, Way::EmbeddedPublishMany),
];
const MESSAGES_AT_LEAST: f64 = 500_000.0;

/// Who is online, and at most how many µs (p50) a call may take.
const PRESENCE: [(&str, Way, f64); 2] = [
    ("`push_presence_is_online`", Way::PresenceIsOnline, 12.0),
    ("`push_presence_members` of 1,000", Way::PresenceMembers, 1_500.0),
];

/// One line of the file.
#[derive(Serialize)]
struct Line<'a, T> {
    repetition: usize,
    server: &'static str,
    load_average: f64,
    #[serde(flatten)]
    figures: &'a T,
}

/// The whole comparison. Fails if a message was lost, doubled or reordered; a goal that is missed is only marked.
pub(crate) fn compare(repetitions: usize) -> Result<ExitCode> {
    let (hub, extension) = (built("push-hub")?, built("libphp_push.so")?);
    let path = built("push-bench")?.with_file_name("push-bench.jsonl");
    let mut file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut loads: Vec<(usize, Kind, Figures)> = Vec::new();
    let mut calls: Vec<php::Figures> = Vec::new();
    let mut faults = Faults::default();
    for repetition in 0..repetitions {
        // Whoever is first in one repetition is second in the next.
        let mut kinds = [Kind::Nchan, Kind::Hub];
        kinds.rotate_left(repetition % 2);
        for scenario in LOADS {
            for kind in kinds {
                eprintln!("{} of {repetitions}: {scenario:?}, {}", repetition + 1, kind.name());
                let server = Server::start(kind, &hub)?;
                let figures = scenario.run(&server.target)?;
                write(&mut file, repetition, kind.name(), &figures)?;
                faults.add(figures.faults());
                loads.push((repetition, kind, figures));
            }
        }
        let _awake = Awake::start()?;
        // What runs on one server of this kind, in this order.
        let both = |way| vec![(way, Pace::Hot, 0), (way, Pace::Paced, 0)];
        let in_turn = |php, client| {
            (0..TURNS).flat_map(move |turn| [(php, Pace::InTurn, turn), (client, Pace::InTurn, turn)]).collect()
        };
        let mut runs: Vec<(_, Vec<_>)> = WAYS.iter().map(|(way, _, kind, _)| (*kind, both(*way))).collect();
        runs.extend(OWN.map(|(_, kind, php, client)| (kind, in_turn(php, client))));
        runs.extend(BATCHES.map(|(_, kind, way)| (kind, vec![(way, Pace::Hot, 0)])));
        runs.extend(PRESENCE.map(|(_, way, _)| (Some(Kind::Hub), vec![(way, Pace::Hot, 0)])));
        for (kind, runs) in runs {
            let server = kind.map(|kind| Server::start(kind, &hub)).transpose()?;
            for (way, pace, turn) in runs {
                eprintln!("{} of {repetitions}: {way:?}, {pace:?}", repetition + 1);
                let figures = php::run(server.as_ref(), &extension, way, pace, turn)?;
                write(&mut file, repetition, kind.map_or("none", Kind::name), &figures)?;
                faults.add(figures.faults);
                calls.push(figures);
            }
        }
    }
    let tables =
        [load_table(&loads), php_table(&calls), own_table(&calls), batch_table(&calls), presence_table(&calls)];
    println!("{}", tables.join("\n\n"));
    println!(
        "\nMedians of {repetitions} repetitions; a ratio is the median of the repetitions' ratios. {}",
        verdict(faults)
    );
    eprintln!("every run: {}", path.display());
    Ok(if faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(file: &mut File, repetition: usize, server: &'static str, figures: &impl Serialize) -> Result<()> {
    let line = Line { repetition, server, load_average: load_average()?, figures };
    Ok(writeln!(file, "{}", serde_json::to_string(&line)?)?)
}

fn verdict(Faults { lost, doubled, reordered }: Faults) -> String {
    format!("Messages lost: {lost}, doubled: {doubled}, reordered: {reordered}.")
}

fn load_table(loads: &[(usize, Kind, Figures)]) -> String {
    let mut table = String::from("| | nchan | push-hub | ratio | goal | |\n|---|---:|---:|---:|---|---|");
    for row in &ROWS {
        let of = |kind| {
            let runs = loads.iter().filter(move |(_, of, _)| *of == kind);
            runs.filter_map(|(_, _, figures)| (row.of)(figures)).collect::<Vec<_>>()
        };
        // Both are in the order of the repetitions.
        let (nchan, hub) = (of(Kind::Nchan), of(Kind::Hub));
        let ratio = median(hub.iter().zip(&nchan).map(|(hub, nchan)| hub / nchan).collect());
        let (nchan, hub) = (median(nchan), median(hub));
        let (goal, met) = match row.goal {
            Goal::AtMost(limit) => (format!("≤ {}", number(limit, row.decimals)), mark(hub <= limit)),
            Goal::RatioAtMost(limit) => (format!("ratio ≤ {limit}"), mark(ratio <= limit)),
            Goal::None => (String::new(), ""),
        };
        let (nchan, hub) = (number(nchan, row.decimals), number(hub, row.decimals));
        table += &format!("\n| {} | {nchan} | {hub} | {ratio:.2} | {goal} | {met} |", row.name);
    }
    table
}

fn php_table(calls: &[php::Figures]) -> String {
    let mut table = String::from(
        "| PHP, 100 bytes, p50 (p99) in µs | call after call | goal | | one call every 0.5 ms | goal | |
|---|---:|---|---|---:|---|---|",
    );
    for (way, name, _, goals) in &WAYS {
        table += &format!("\n| {name} |");
        for (at, pace) in [Pace::Hot, Pace::Paced].into_iter().enumerate() {
            let median_of = |figure: fn(&php::Figures) -> f64| median(of(calls, *way, pace).map(figure).collect());
            let p50 = median_of(|call| call.p50_us);
            let (goal, met) =
                goals.map_or((String::new(), ""), |goals| (format!("≤ {}", goals[at]), mark(p50 <= goals[at])));
            table += &format!(" {p50:.2} ({:.1}) | {goal} | {met} |", median_of(|call| call.p99_us));
        }
    }
    table
}

/// The figures of one way, in the order in which they were taken.
fn of(calls: &[php::Figures], way: Way, pace: Pace) -> impl Iterator<Item = &php::Figures> {
    calls.iter().filter(move |call| call.way == way && call.pace == pace)
}

fn own_table(calls: &[php::Figures]) -> String {
    let mut table = String::from(
        "| call after call, least p50 in µs | from PHP | the client without PHP | what PHP adds | goal | |\n|---|---:|---:|---:|---|---|",
    );
    for (name, _, php, client) in OWN {
        // The least: what disturbs a run, such as a hub on the other core or on this one, only adds to it.
        let least = |way| of(calls, way, Pace::InTurn).map(|call| call.p50_us).fold(f64::INFINITY, f64::min);
        let (php, client) = (least(php), least(client));
        let own = php - client;
        let met = mark(own <= OWN_AT_MOST);
        table += &format!("\n| {name} | {php:.2} | {client:.2} | {own:.2} | ≤ {OWN_AT_MOST} | {met} |");
    }
    table
}

fn batch_table(calls: &[php::Figures]) -> String {
    let mut table = String::from("| 100 bytes each | messages/s | goal | |\n|---|---:|---|---|");
    for (name, _, way) in BATCHES {
        let rate =
            median(of(calls, way, Pace::Hot).map(|call| f64::from(way.messages()) * 1e6 / call.p50_us).collect());
        let (met, goal) = (mark(rate >= MESSAGES_AT_LEAST), number(MESSAGES_AT_LEAST, 0));
        table += &format!("\n| {name} | {} | ≥ {goal} | {met} |", number(rate, 0));
    }
    table
}

fn presence_table(calls: &[php::Figures]) -> String {
    let mut table = String::from("| PHP, p50 (p99) in µs | call after call | goal | |\n|---|---:|---|---|");
    for (name, way, goal) in PRESENCE {
        let median_of = |figure: fn(&php::Figures) -> f64| median(of(calls, way, Pace::Hot).map(figure).collect());
        let p50 = median_of(|call| call.p50_us);
        let (p99, goal, met) = (median_of(|call| call.p99_us), number(goal, 0), mark(p50 <= goal));
        table += &format!("\n| {name} | {p50:.2} ({p99:.1}) | ≤ {goal} | {met} |");
    }
    table
}

pub(crate) fn mark(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[length / 2],
        length => (values[length / 2 - 1] + values[length / 2]) / 2.0,
    }
}

/// With commas between thousands.
fn number(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let whole = plain.find('.').unwrap_or(plain.len());
    let mut grouped = String::new();
    for (at, character) in plain.chars().enumerate() {
        if at > 0 && at < whole && (whole - at) % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(character);
    }
    grouped
}

/// A file that the build puts beside this program.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.parent().unwrap_or(Path::new("")).join(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is missing: cargo build --release --workspace", path.display()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(123.0, 0), "123");
        assert_eq!(number(-123_456.78, 1), "-123,456.8");
        assert_eq!(number(-1_234.0, 0), "-1,234");
    }
}
