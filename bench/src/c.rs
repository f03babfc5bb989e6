//! Publishing from C: builds `bench/c/publish.c` and runs it against the hub, with the hub in it, and against Redis.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::Result;
use crate::awake::Awake;
use crate::compare::{built, mark, median};
use crate::message::{self, Faults};
use crate::php::Measured;
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::redis::Redis;
use crate::scenario::read_back;
use crate::server::{Kind, Server};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/c/publish.c");
const INCLUDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../c-api/include");

/// A row of the table.
struct Row {
    /// What `publish.c` calls it.
    way: &'static str,
    name: &'static str,
    /// Of each pace.
    calls: [u32; 2],
    /// In µs, for each pace.
    goals: Option<[f64; 2]>,
}

const ROWS: [Row; 4] = [
    Row { way: "push_publish_async", name: "`push_publish_async`", calls: [500_000, 4_000], goals: Some([1.0, 15.0]) },
    Row { way: "push_publish", name: "`push_publish`", calls: [100_000, 4_000], goals: Some([10.0, 22.0]) },
    Row { way: "embedded", name: "`push_publish`, embedded", calls: [500_000, 4_000], goals: Some([0.5, 15.0]) },
    Row { way: "redis", name: "hiredis `PUBLISH`", calls: [100_000, 4_000], goals: None },
];

/// Prints the table. Fails if a message was lost, doubled or reordered; a goal that is missed is only marked.
pub(crate) fn compare(repetitions: usize) -> Result<ExitCode> {
    let hub = built("push-hub")?;
    let place = tempfile::tempdir()?;
    let program = compile(place.path(), hub.parent().ok_or("push-hub has no directory")?)?;
    let mut calls: Vec<(&str, usize, Measured)> = Vec::new();
    let mut faults = Faults::default();
    let _awake = Awake::start()?;
    for repetition in 0..repetitions {
        for Row { way, name, calls: counts, .. } in ROWS {
            eprintln!("{} of {repetitions}: {name}", repetition + 1);
            let redis = (way == "redis").then(Redis::start).transpose()?;
            let server = way.starts_with("push_").then(|| Server::start(Kind::Hub, &hub)).transpose()?;
            let socket = redis.as_ref().map(Redis::socket).or(server.as_ref().map(Server::socket)).unwrap_or_default();
            for (pace, (pace_name, count)) in ["hot", "paced"].into_iter().zip(counts).enumerate() {
                let channel = format!("{way}-{pace_name}");
                calls.push((way, pace, run(&program, [way, pace_name, &count.to_string(), &channel], &socket)?));
                if let Some(server) = &server {
                    // What an asynchronous call left in the ring is still being read.
                    Pool::new()?.settle(&Processes::of(&server.target.pids)?)?;
                    faults.add(read_back(&server.target, &channel, count, message::SIZE)?);
                }
            }
        }
    }
    println!("| C, 100 bytes, p50 (p99) in µs | call after call | goal | | one call every 0.5 ms | goal | |");
    println!("|---|---:|---|---|---:|---|---|");
    for Row { way, name, goals, .. } in ROWS {
        let mut row = format!("| {name} |");
        for pace in 0..2 {
            let of = |figure: fn(&Measured) -> f64| {
                let runs = calls.iter().filter(|(of, at, _)| *of == way && *at == pace);
                median(runs.map(|(_, _, measured)| figure(measured)).collect())
            };
            let p50 = of(|measured| measured.p50_us);
            let (goal, met) =
                goals.map_or((String::new(), ""), |goals| (format!("≤ {}", goals[pace]), mark(p50 <= goals[pace])));
            row += &format!(" {p50:.2} ({:.1}) | {goal} | {met} |", of(|measured| measured.p99_us));
        }
        println!("{row}");
    }
    let Faults { lost, doubled, reordered } = faults;
    println!(
        "\nMedians of {repetitions} repetitions. Messages lost: {lost}, doubled: {doubled}, reordered: {reordered}."
    );
    Ok(if faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compile(place: &Path, libraries: &Path) -> Result<PathBuf> {
    let program = place.join("publish");
    let mut compile = Command::new("cc");
    compile.args(["-O2", "-Wall", "-Wextra", "-I", INCLUDE, SOURCE, "-o"]).arg(&program);
    compile.arg(libraries.join("libpush.a")).args(["-lhiredis", "-lpthread", "-ldl", "-lm"]);
    if !compile.status()?.success() {
        return Err("publish.c does not compile; it needs Debian's libhiredis-dev".into());
    }
    Ok(program)
}

fn run(program: &Path, arguments: [&str; 4], socket: &Path) -> Result<Measured> {
    let output = Command::new(program).args(arguments).arg(socket).output()?;
    if !output.status.success() {
        return Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
