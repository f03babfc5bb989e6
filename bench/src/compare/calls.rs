//! Publishing from PHP, beside others who publish: what is called, and its tables.

use super::goals::Goal;
use super::table::{goal, mark, median, number};
use crate::php::{self, Call, Measured, Pace, Sapi, Way};
use crate::server::Kind;
use crate::wakeup::Wakeups;

/// A way to publish from PHP.
struct Publisher {
    way: Way,
    sapi: Sapi,
    name: &'static str,
    server: Option<Kind>,
    /// At most how many µs (p50) a call may take when hot and when paced.
    goals: Option<[f64; 2]>,
    /// How often slower curl has to be, over a kept connection and over new ones.
    times: bool,
}

const fn publisher(way: Way, sapi: Sapi, name: &'static str, server: Option<Kind>) -> Publisher {
    Publisher { way, sapi, name, server, goals: None, times: false }
}

const PUBLISHERS: [Publisher; 11] = [
    Publisher {
        goals: Some([1.0, 15.0]),
        times: true,
        ..publisher(Way::PushPublishAsync, Sapi::Cli, "`push_publish_async`", Some(Kind::Hub))
    },
    Publisher {
        goals: Some([10.0, 22.0]),
        times: true,
        ..publisher(Way::PushPublish, Sapi::Cli, "`push_publish`", Some(Kind::Hub))
    },
    Publisher {
        goals: Some([1.0, 15.0]),
        times: true,
        ..publisher(Way::EmbeddedPublish, Sapi::Cli, "`push_publish`, embedded", None)
    },
    publisher(Way::Redis, Sapi::Cli, "`PUBLISH` by php-redis to redis-server", None),
    publisher(Way::Curl, Sapi::Cli, "curl to nchan, kept connection", Some(Kind::Nchan)),
    publisher(Way::CurlNew, Sapi::Cli, "curl to nchan, new connections", Some(Kind::Nchan)),
    Publisher {
        goals: Some([1.0, 15.0]),
        times: true,
        ..publisher(Way::PushPublishAsync, Sapi::Fpm, "php-fpm: `push_publish_async`", Some(Kind::Hub))
    },
    Publisher {
        goals: Some([10.0, 22.0]),
        times: true,
        ..publisher(Way::PushPublish, Sapi::Fpm, "php-fpm: `push_publish`", Some(Kind::Hub))
    },
    publisher(Way::Redis, Sapi::Fpm, "php-fpm: `PUBLISH` by php-redis to redis-server", None),
    publisher(Way::Curl, Sapi::Fpm, "php-fpm: curl to nchan, kept connection", Some(Kind::Nchan)),
    publisher(Way::CurlNew, Sapi::Fpm, "php-fpm: curl to nchan, new connections", Some(Kind::Nchan)),
];
const KEPT_AT_LEAST: Goal = Goal::AtLeast(4.0);
const NEW_AT_LEAST: Goal = Goal::AtLeast(15.0);

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

/// Who is online, from php-fpm, and at most how many µs (p50) a call may take.
const PRESENCE: [(&str, Way, f64); 2] = [
    ("`push_presence_is_online`", Way::PresenceIsOnline, 12.0),
    ("`push_presence_members` of 1,000", Way::PresenceMembers, 1_500.0),
];

/// Calls that wait for the hub.
const WAITING: [(&str, Way, Sapi); 2] =
    [("`push_publish`", Way::PushPublish, Sapi::Cli), ("php-fpm: `push_publish`", Way::PushPublish, Sapi::Fpm)];

type Placed = fn(&Wakeups) -> &Measured;
/// The floor of these.
const PLACED: [(&str, Placed); 4] = [
    ("the wake-ups alone", |wakeups| &wakeups.free),
    ("the wake-ups alone, both processes on one core", |wakeups| &wakeups.one_core),
    ("the wake-ups alone, each process on its own core", |wakeups| &wakeups.two_cores),
    ("waking a process that sleeps, without an answer", |wakeups| &wakeups.ring),
];

/// What runs on one server, in this order; no server where the way needs none.
pub(super) fn runs() -> Vec<(Option<Kind>, Vec<Call>)> {
    let cli = |way, pace, turn| Call { way, sapi: Sapi::Cli, pace, turn };
    let in_turn = |php, client| {
        (0..TURNS).flat_map(move |turn| [cli(php, Pace::InTurn, turn), cli(client, Pace::InTurn, turn)]).collect()
    };
    let paces = [Pace::Hot, Pace::Paced];
    let mut runs: Vec<(_, Vec<_>)> = PUBLISHERS
        .iter()
        .map(|of| (of.server, paces.map(|pace| Call { way: of.way, sapi: of.sapi, pace, turn: 0 }).to_vec()))
        .collect();
    runs.extend(OWN.map(|(_, kind, php, client)| (kind, in_turn(php, client))));
    runs.extend(BATCHES.map(|(_, kind, way)| (kind, vec![cli(way, Pace::Hot, 0)])));
    let fpm = |way| Call { way, sapi: Sapi::Fpm, pace: Pace::Hot, turn: 0 };
    runs.extend(PRESENCE.map(|(_, way, _)| (Some(Kind::Hub), vec![fpm(way)])));
    runs
}

pub(super) fn tables(calls: &[php::Figures]) -> String {
    [php_table(calls), waiting_table(calls), own_table(calls), batch_table(calls), presence_table(calls)].join("\n\n")
}

fn php_table(calls: &[php::Figures]) -> String {
    let mut table = String::from(
        "| PHP, 100 bytes, p50 (p99) in µs | call after call | goal | one call every 0.5 ms | goal | curl, kept: times (paced) | goal | curl, new | goal |\n|---|---:|---|---:|---|---:|---|---:|---|",
    );
    for Publisher { way, sapi, name, goals, times, .. } in &PUBLISHERS {
        let of =
            |way, pace, figure: fn(&php::Figures) -> f64| median(of(calls, way, *sapi, pace).map(figure).collect());
        table += &format!("\n| {name} |");
        for (at, pace) in [Pace::Hot, Pace::Paced].into_iter().enumerate() {
            let p50 = of(*way, pace, |call| call.p50_us);
            let wanted = goals.map_or(Goal::None, |goals| Goal::AtMost(goals[at]));
            table += &match p50.is_nan() {
                true => " | |".to_owned(),
                false => format!(" {p50:.2} ({:.1}) | {} |", of(*way, pace, |call| call.p99_us), goal(wanted, p50, 0)),
            };
        }
        for (curl, wanted) in [(Way::Curl, KEPT_AT_LEAST), (Way::CurlNew, NEW_AT_LEAST)] {
            if !times {
                table += " | |";
                continue;
            }
            // Each beside curl that is paced the same way.
            let [hot, paced] = [Pace::Hot, Pace::Paced]
                .map(|pace| of(curl, pace, |call| call.p50_us) / of(*way, pace, |call| call.p50_us));
            let marks = [hot, paced].map(|times| wanted.mark(times)).join(", ");
            table += &format!(" {hot:.1} ({paced:.1}) | {} {marks} |", wanted.text(0));
        }
    }
    table
}

/// The figures of one way, in the order in which they were taken.
fn of(calls: &[php::Figures], way: Way, sapi: Sapi, pace: Pace) -> impl Iterator<Item = &php::Figures> {
    calls.iter().filter(move |made| (made.call.way, made.call.sapi, made.call.pace) == (way, sapi, pace))
}

fn waiting_table(calls: &[php::Figures]) -> String {
    let mut table = String::from(
        "| calls that wait, p50 (p99) in µs | call after call | times the wake-ups (on one core, on two) | one call every 0.5 ms | times the wake-ups (on one core, on two) |\n|---|---:|---:|---:|---:|",
    );
    let paces = [Pace::Hot, Pace::Paced];
    for (name, way, sapi) in WAITING {
        table += &format!("\n| {name} |");
        for pace in paces {
            let median_of = |figure: fn(&php::Figures) -> f64| median(of(calls, way, sapi, pace).map(figure).collect());
            let [free, one_core, two_cores, _] = PLACED.map(|(_, placed)| {
                let times = |call: &php::Figures| Some(call.p50_us / placed(call.wakeups.as_ref()?).p50_us);
                median(of(calls, way, sapi, pace).filter_map(times).collect())
            });
            let (p50, p99) = (median_of(|call| call.p50_us), median_of(|call| call.p99_us));
            table += &match p50.is_nan() {
                true => " | |".to_owned(),
                false => format!(" {p50:.2} ({p99:.1}) | {free:.2} ({one_core:.2}, {two_cores:.2}) |"),
            };
        }
    }
    for (name, placed) in PLACED {
        table += &format!("\n| {name} |");
        for pace in paces {
            let wakeups =
                || calls.iter().filter(|made| made.call.pace == pace).filter_map(|made| made.wakeups.as_ref());
            let median_of = |figure: fn(&Measured) -> f64| median(wakeups().map(placed).map(figure).collect());
            table += &format!(" {:.2} ({:.1}) | |", median_of(|of| of.p50_us), median_of(|of| of.p99_us));
        }
    }
    table
}

fn own_table(calls: &[php::Figures]) -> String {
    let mut table = String::from(
        "| call after call, least p50 in µs | from PHP | the client without PHP | what PHP adds | goal | |\n|---|---:|---:|---:|---|---|",
    );
    for (name, _, php, client) in OWN {
        // The least: what disturbs a run, such as a hub on the other core or on this one, only adds to it.
        let least = |way| of(calls, way, Sapi::Cli, Pace::InTurn).map(|call| call.p50_us).fold(f64::INFINITY, f64::min);
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
        let rate = median(
            of(calls, way, Sapi::Cli, Pace::Hot).map(|call| f64::from(way.messages()) * 1e6 / call.p50_us).collect(),
        );
        let (met, goal) = (mark(rate >= MESSAGES_AT_LEAST), number(MESSAGES_AT_LEAST, 0));
        table += &format!("\n| {name} | {} | ≥ {goal} | {met} |", number(rate, 0));
    }
    table
}

fn presence_table(calls: &[php::Figures]) -> String {
    let mut table = String::from("| php-fpm, p50 (p99) in µs | call after call | goal | |\n|---|---:|---|---|");
    for (name, way, goal) in PRESENCE {
        let median_of =
            |figure: fn(&php::Figures) -> f64| median(of(calls, way, Sapi::Fpm, Pace::Hot).map(figure).collect());
        let p50 = median_of(|call| call.p50_us);
        let (p99, goal, met) = (median_of(|call| call.p99_us), number(goal, 0), mark(p50 <= goal));
        table += &format!("\n| {name} | {p50:.2} ({p99:.1}) | ≤ {goal} | {met} |");
    }
    table
}
