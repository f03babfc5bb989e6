//! Measures the hub beside nchan and a floor: memory, CPU and latency of all transports, and publishing from PHP. The files
//! follow a figure: `message`, `request` and `response` are what is said and heard, `pool` holds the connections, `audience` and
//! `scenario` load a server, `procfs` reads what that cost it, `server` starts one, `floor` is the least that one can do. `php`
//! runs the scripts in `bench/php`, also in `fpm` and beside `redis`, `client` calls as they do without PHP, `c` runs the program
//! in `bench/c`, `awake` makes their times comparable, `wakeup` is the least that a call takes which waits. `compare` interleaves
//! it all and writes the results; `proxied` is its part about the way through nginx, `growth` that about more of everything.
//! `presence` asks who is online, `store` is about messages on a disk, `reliability` about kills and reloads.
#![deny(unsafe_code)]

mod audience;
mod awake;
mod c;
mod client;
mod compare;
mod floor;
mod fpm;
mod growth;
mod message;
mod php;
mod pool;
mod presence;
mod procfs;
mod proxied;
mod redis;
mod reliability;
mod request;
mod response;
mod scenario;
mod server;
mod store;
mod wakeup;

use std::fmt::Display;
use std::num::NonZero;
use std::process::ExitCode;
use std::str::FromStr;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::set_current_timer_slack;

/// Nothing here is caught on the way: a figure from a run that failed is no figure.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: push-bench compare [--repetitions N (3)] [--only PART]
       push-bench c|store [--repetitions N (3)]
       push-bench churns|presence|reliability
       push-bench SCENARIO --subscribe ADDRESS --publish ADDRESS --pid PID[,PID] [--SIZE N]...
       push-bench answer
       push-bench floor --listen ADDRESS [--stored N (20)] [--spoil lost|doubled|reordered]

compare   starts floor, nchan and push-hub in turn, one at a time, prints the tables of medians and writes bench/RESULTS.md
          and the chart; a PART (a SCENARIO, nginx, growth or php) is only printed. The binaries push-hub and libphp_push.so
          are taken from the directory of push-bench itself (cargo build --release --workspace)
churns    subscribers who come and go for five minutes, at nchan and push-hub, twice; its part of bench/RESULTS.md
c         publishing from C beside hiredis and redis-server; libpush.a is taken from the same directory
presence  joins, leaves, questions and memory of 100,000 members, with the hub in this process
reliability  troubles a site under load, and counts what is lost, doubled, reordered and refused
store     publishing, recovery and memory with store_path and without
answer    wakes whoever wakes it: its input is an eventfd, its output a socket; what calls that wait are compared with
floor     the least that a server can do, to compare with; it can spoil what it does, for tests
SCENARIO  loads a server that is already running with GET /lp/<channel>, /stream/, /ev/ or /ws/ and POST /pub?id=<channel>,
          and prints one JSON line. SIZE is subscribers, channels, others, set, publishers, rounds, messages, bytes, seconds or rate";

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
    let mut options = Options::read(arguments)?;
    raise_descriptor_limit()?;
    // Waits end when they are to end, not up to 50 µs later.
    set_current_timer_slack(NonZero::new(1))?;
    let code = match command.as_str() {
        "compare" | "c" | "store" => {
            let repetitions = options.take::<NonZero<usize>>("repetitions")?.map_or(3, NonZero::get);
            let only = if command == "compare" { options.take::<String>("only")? } else { None };
            options.end()?;
            match command.as_str() {
                "compare" => compare::compare(repetitions, only.as_deref())?,
                "c" => c::compare(repetitions)?,
                _ => store::compare(repetitions)?,
            }
        }
        "churns" | "presence" | "reliability" => {
            options.end()?;
            match command.as_str() {
                "churns" => compare::compare_churn()?,
                "presence" => presence::run()?,
                _ => reliability::run()?,
            }
        }
        "answer" => {
            options.end()?;
            wakeup::answer()?;
            ExitCode::SUCCESS
        }
        "floor" => {
            let listen = options.take("listen")?.ok_or(USAGE)?;
            let (stored, spoil) = (options.take("stored")?, options.take("spoil")?);
            options.end()?;
            floor::serve(listen, stored.unwrap_or(20), spoil)?;
            ExitCode::SUCCESS
        }
        name => {
            let scenario = scenario::Scenario::named(name);
            load(scenario.ok_or_else(|| format!("{name} is unknown; scenarios are {}\n{USAGE}", names()))?, options)?
        }
    };
    Ok(code)
}

/// Loads a server that runs already.
fn load(scenario: scenario::Scenario, mut options: Options) -> Result<ExitCode> {
    let (subscribe, publish) = (options.take("subscribe")?, options.take("publish")?);
    let (Some(subscribe), Some(publish), Some(pids)) = (subscribe, publish, options.take::<String>("pid")?) else {
        return Err(USAGE.into());
    };
    let pids = pids.split(',').map(str::parse).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut size = scenario.size;
    options.change("subscribers", &mut size.subscribers)?;
    options.change("channels", &mut size.channels)?;
    options.change("others", &mut size.others)?;
    options.change("set", &mut size.set)?;
    options.change("publishers", &mut size.publishers)?;
    options.change("rounds", &mut size.rounds)?;
    options.change("messages", &mut size.messages)?;
    options.change("bytes", &mut size.bytes)?;
    options.change("seconds", &mut size.seconds)?;
    options.change("rate", &mut size.rate)?;
    options.end()?;
    let figures = scenario.with(|of| *of = size).run(&server::Target { subscribe, publish, pids })?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(if figures.faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names() -> String {
    scenario::ALL.map(|scenario| scenario.name).join(", ")
}

/// `--name value` each.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Vec::new();
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").ok_or_else(|| format!("{name} is no option\n{USAGE}"))?.to_owned();
            let value = arguments.next().ok_or_else(|| format!("--{name} needs a value\n{USAGE}"))?;
            options.push((name, value));
        }
        Ok(Options(options))
    }

    fn take<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(place) = self.0.iter().position(|(option, _)| option == name) else { return Ok(None) };
        let (name, value) = self.0.swap_remove(place);
        Ok(Some(value.parse().map_err(|error| format!("--{name} {value}: {error}"))?))
    }

    fn change<T: FromStr<Err: Display>>(&mut self, name: &str, value: &mut T) -> Result<()> {
        if let Some(other) = self.take(name)? {
            *value = other;
        }
        Ok(())
    }

    /// Nobody asked for what is left.
    fn end(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("--{name} is unknown here\n{USAGE}").into()),
        }
    }
}

/// 10,000 subscribers are as many descriptors here and, inherited, in the server; a shell gives 1,024.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
