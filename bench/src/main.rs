//! Measures the hub beside nchan: memory per waiting subscriber of each transport, CPU per delivery, CPU per publication,
//! and publishing from PHP. The files follow a figure: `message`, `request` and `response` are what is said and heard, `pool`
//! holds the connections, `audience` and `scenario` load a server, `procfs` reads what that cost it, `server` starts one,
//! `php` runs the scripts in `bench/php`, `client` calls as they do without PHP, `c` runs the program in `bench/c`, `awake`
//! makes their times comparable, `presence` asks who is online, and `compare` interleaves it all and prints the tables.
//! makes their times comparable, `store` is about stored messages on a disk, and `compare` interleaves it all and prints the tables.
#![deny(unsafe_code)]

mod audience;
mod awake;
mod c;
mod client;
mod compare;
mod message;
mod php;
mod pool;
mod presence;
mod procfs;
mod reliability;
mod request;
mod response;
mod scenario;
mod server;
mod store;

use std::num::NonZero;
use std::process::ExitCode;

use rustix::process::{Resource, getrlimit, setrlimit};

/// Nothing here is caught on the way: a figure from a run that failed is no figure.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: push-bench compare|c|store [--repetitions N (3)]
       push-bench presence|reliability
       push-bench idle|idle-streaming|idle-eventsource|idle-websocket|fanout|publish
                  --subscribe ADDRESS --publish ADDRESS --pid PID

compare   starts nchan and push-hub in turn, one at a time, and prints the tables of medians; the binaries push-hub and
          libphp_push.so are taken from the directory of push-bench itself (cargo build --release --workspace)
c         publishing from C beside hiredis and redis-server; libpush.a is taken from the same directory
presence  joins, leaves, questions and memory of 100,000 members, with the hub in this process
reliability  troubles a site under load, and counts what is lost, doubled, reordered and refused
store     publishing, recovery and memory with store_path and without
others    load a server that is already running with GET /lp/<channel>, /stream/, /ev/ or /ws/ and POST /pub?id=<channel>,
          and print one JSON line";

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("push-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<ExitCode> {
    let command = arguments.next().ok_or(USAGE)?;
    let (mut repetitions, mut subscribe, mut publish, mut pid) = (None, None, None, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        let invalid = |error: &dyn std::error::Error| format!("{name} {value}: {error}");
        match name.as_str() {
            "--repetitions" => repetitions = Some(value.parse::<NonZero<usize>>().map_err(|e| invalid(&e))?),
            "--subscribe" => subscribe = Some(value.parse().map_err(|e| invalid(&e))?),
            "--publish" => publish = Some(value.parse().map_err(|e| invalid(&e))?),
            "--pid" => pid = Some(value.parse().map_err(|e| invalid(&e))?),
            _ => return Err(format!("{name} is unknown\n{USAGE}").into()),
        }
    }
    raise_descriptor_limit()?;
    let repetitions = repetitions.map_or(3, NonZero::get);
    match command.as_str() {
        "compare" => return compare::compare(repetitions),
        "c" => return c::compare(repetitions),
        "presence" => return presence::run(),
        "reliability" => return reliability::run(),
        "store" => return store::compare(repetitions),
        _ => {}
    }
    let scenario = command.parse::<scenario::Scenario>().map_err(|()| format!("{command} is unknown\n{USAGE}"))?;
    let (Some(subscribe), Some(publish), Some(pid)) = (subscribe, publish, pid) else { return Err(USAGE.into()) };
    let figures = scenario.run(&server::Target { subscribe, publish, pid })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(if figures.faults().none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// 10,000 subscribers are as many descriptors here and, inherited, in the server; a shell gives 1,024.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
