//! Kills, reloads and hand-overs under load: what was published and its call returned must reach every subscriber, once
//! and in order, and nobody may be refused a connection.
//!
//! Publishers are requests to php-fpm, in two pools; half of them publish with acknowledgement, half without. Each has a
//! number, notes what returned, and publishes to one channel. Subscribers of all transports share the channels.

pub(crate) mod fastcgi;
mod site;
mod subscriber;
mod tally;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;

use crate::Result;
use site::{Mode, POOLS, Site, kill};
use subscriber::{Subscriber, Transport};
use tally::{Faults, Received};

const SUBSCRIBERS: usize = 500;
const CHANNELS: usize = 50;
/// Requests that publish at any moment: at their pace about 1,300 messages a second.
const PUBLISHERS: usize = 4;
const LIFE: Duration = Duration::from_millis(1_500);
/// Calls that return between two troubles, so that each meets a site at work.
const BETWEEN: u64 = 300;
/// A small stack: there is a thread for each subscriber.
const STACK: usize = 128 << 10;

/// How often each trouble comes.
const WORKER_KILLS: usize = 200;
const HUB_KILLS: usize = 50;
const KEEPER_KILLS: usize = 20;
const RELOADS: usize = 20;
const HANDOVERS: u32 = 5;
const BOTH_KILLS: usize = 5;

/// What the requests of one publisher have in common.
struct Publishers {
    next: AtomicU32,
    /// Of each driver the number of its request that runs now.
    running: Vec<AtomicU32>,
    stop: AtomicBool,
    said: Mutex<Said>,
}

/// What publishers said at their ends.
#[derive(Debug, Default)]
struct Said {
    exceptions: u64,
    longest: Duration,
    /// Requests that ended without an answer, as those do whose worker is killed.
    cut: usize,
    /// What was said of the last of them.
    why: String,
}

#[derive(Deserialize)]
struct Answer {
    exceptions: u64,
    longest: u64,
}

/// Runs everything with the binaries beside this program and prints a table.
pub(crate) fn run() -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let binaries = program.parent().ok_or("this program has no directory")?;
    let php_fpm = std::env::var("PHP_FPM").unwrap_or_else(|_| "php-fpm8.2".to_owned());
    println!(
        "| trouble | times | returned calls | rate | exceptions | lost | doubled | reordered | refused | longest call | longest way |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut faults = Faults::default();
    for (mode, troubles) in [
        (Mode::Fpm, &[kill_workers as Trouble, kill_hubs, kill_keepers, reload, hand_over][..]),
        (Mode::Service, &[kill_both as Trouble][..]),
    ] {
        for trouble in troubles {
            let directory = tempfile::Builder::new().prefix("push-bench.").tempdir()?;
            let mut site = Site::start(mode, directory.path(), binaries, &php_fpm)?;
            let found = under_load(&mut site, *trouble).map_err(|error| format!("{error}\n{}", site.logs()))?;
            if let Some(example) = &found.example {
                eprintln!("push-bench: the first fault: {example}\n{}", site.logs());
            }
            faults.add(&found);
            site.stop()?;
        }
    }
    Ok(if faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Troubles the site, and says what it did.
type Trouble = fn(&mut Site, &Publishers) -> Result<Done>;

struct Done {
    what: &'static str,
    times: usize,
    /// Of these, publishers that were killed.
    killed: usize,
}

impl Done {
    fn new(what: &'static str, times: usize) -> Self {
        Self { what, times, killed: 0 }
    }
}

fn under_load(site: &mut Site, trouble: Trouble) -> Result<Faults> {
    let publishers = Publishers {
        next: AtomicU32::new(1),
        running: (0..PUBLISHERS).map(|_| AtomicU32::new(0)).collect(),
        stop: AtomicBool::new(false),
        said: Mutex::default(),
    };
    let received: Vec<Mutex<Received>> = (0..SUBSCRIBERS).map(|_| Mutex::default()).collect();
    let leave = AtomicBool::new(false);
    let hub = site.listen;
    std::thread::scope(|scope| {
        for (number, received) in received.iter().enumerate() {
            let subscriber =
                Subscriber { transport: transport(number), hub, channel: channel(number), received, stop: &leave };
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || subscriber.run())?;
        }
        let drivers: Vec<_> = (0..PUBLISHERS).map(|driver| publish(scope, &publishers, site, driver)).collect();
        let begin = Instant::now();
        let troubled = trouble(site, &publishers);
        let time = begin.elapsed();
        publishers.stop.store(true, Ordering::Relaxed);
        drivers.into_iter().for_each(|driver| driver.join().expect("a driver does not panic"));
        let result = troubled.and_then(|done| {
            let returned = returned(&site.notes())?;
            await_all(&received, &returned);
            report(&done, time, &publishers, &received, &returned)
        });
        leave.store(true, Ordering::Relaxed);
        result
    })
}

fn channel(number: usize) -> String {
    format!("room-{}", number % CHANNELS)
}

fn transport(number: usize) -> Transport {
    Transport::ALL[number / CHANNELS % Transport::ALL.len()]
}

/// Keeps one publisher running until told to stop.
fn publish<'scope>(
    scope: &'scope Scope<'scope, '_>,
    publishers: &'scope Publishers,
    site: &Site,
    driver: usize,
) -> ScopedJoinHandle<'scope, ()> {
    let (pool, script, notes) = (site.pool(driver % POOLS), site.script(), site.notes());
    scope.spawn(move || {
        while !publishers.stop.load(Ordering::Relaxed) {
            let run = publishers.next.fetch_add(1, Ordering::Relaxed);
            publishers.running[driver].store(run, Ordering::Relaxed);
            let milliseconds = LIFE.as_millis().to_string();
            let arguments = [
                ("run", run.to_string()),
                ("channel", channel(run as usize)),
                ("milliseconds", milliseconds),
                ("notes", notes.display().to_string()),
            ];
            let arguments = arguments.each_ref().map(|(key, value)| (*key, value.as_str()));
            let answer = fastcgi::request(&pool, &script, &arguments);
            let mut said = publishers.said.lock().expect("nobody panics with it");
            match answer.and_then(|body| Ok(serde_json::from_str::<Answer>(&body).map_err(|_| body)?)) {
                Ok(answer) => {
                    said.exceptions += answer.exceptions;
                    said.longest = said.longest.max(Duration::from_nanos(answer.longest));
                }
                Err(error) => {
                    said.cut += 1;
                    said.why = error.to_string();
                }
            }
        }
    })
}

/// Of each publisher how many calls returned.
fn returned(notes: &Path) -> Result<HashMap<u32, u32>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir(notes)? {
        let entry = entry?;
        if let Some(run) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            all.insert(run, u32::try_from(entry.metadata()?.len())?);
        }
    }
    Ok(all)
}

fn total(notes: &Path) -> Result<u64> {
    Ok(returned(notes)?.values().copied().map(u64::from).sum())
}

/// Waits until this many more calls have returned.
fn go_on(site: &mut Site) -> Result<()> {
    let wanted = total(&site.notes())? + BETWEEN;
    site.wait("publishers go on", |site| Ok(total(&site.notes())? >= wanted))
}

/// Waits until every subscriber has what was published to its channel; what does not come in time is lost.
fn await_all(received: &[Mutex<Received>], returned: &HashMap<u32, u32>) {
    let deadline = Instant::now() + site::DEADLINE;
    for (number, received) in received.iter().enumerate() {
        let expected = expected(returned, number);
        while received.lock().expect("no subscriber panics").missing(&expected) > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a subscriber has to have got.
fn expected(returned: &HashMap<u32, u32>, subscriber: usize) -> HashMap<u32, u32> {
    let of = |(run, _): &(&u32, &u32)| **run as usize % CHANNELS == subscriber % CHANNELS;
    returned.iter().filter(of).map(|(run, count)| (*run, *count)).collect()
}

fn report(
    done: &Done,
    time: Duration,
    publishers: &Publishers,
    received: &[Mutex<Received>],
    returned: &HashMap<u32, u32>,
) -> Result<Faults> {
    let mut faults = Faults::default();
    let (mut slowest, mut messages) = (Duration::ZERO, 0);
    for (number, received) in received.iter().enumerate() {
        let received = received.lock().expect("no subscriber panics");
        faults.add(&received.faults);
        let missing = received.missing(&expected(returned, number));
        faults.lost += missing;
        if missing > 0 {
            faults
                .note(|| format!("{missing} messages did not come to {} by {:?}", channel(number), transport(number)));
        }
        slowest = slowest.max(received.slowest);
        messages += received.messages;
    }
    if messages == 0 {
        return Err("nothing was delivered".into());
    }
    let said = publishers.said.lock().expect("nobody panics with it");
    let calls: u64 = returned.values().copied().map(u64::from).sum();
    println!(
        "| {} | {} | {calls} | {:.0}/s | {} | {} | {} | {} | {} | {} ms | {} ms |",
        done.what,
        done.times,
        calls as f64 / time.as_secs_f64(),
        said.exceptions,
        faults.lost,
        faults.doubled,
        faults.reordered,
        faults.refused,
        said.longest.as_millis(),
        slowest.as_millis(),
    );
    if said.cut > done.killed {
        return Err(format!("{} requests were cut off, {} by us: {}", said.cut, done.killed, said.why).into());
    }
    if faults.gaps + faults.nonsense > 0 {
        eprintln!("push-bench: {} gaps, {} answers that make no sense", faults.gaps, faults.nonsense);
    }
    Ok(faults)
}

fn kill_workers(site: &mut Site, publishers: &Publishers) -> Result<Done> {
    for number in 0..WORKER_KILLS {
        let driver = number % PUBLISHERS;
        let before = publishers.running[driver].load(Ordering::Relaxed);
        // The next one of this driver, somewhere in its burst.
        let calls = (number * 37 % 180) as u64;
        let notes = site.notes();
        let run = Cell::new(before);
        let at_work = |_: &Site| {
            run.set(publishers.running[driver].load(Ordering::Relaxed));
            let noted = fs::metadata(notes.join(run.get().to_string())).map_or(0, |note| note.len());
            Ok(run.get() != before && noted > calls)
        };
        site.wait("a publisher is at work", at_work)?;
        let pid = fs::read_to_string(notes.join(format!("{}.pid", run.get())))?.parse()?;
        kill(pid, Signal::KILL)?;
    }
    Ok(Done { killed: WORKER_KILLS, ..Done::new("SIGKILL of a publisher", WORKER_KILLS) })
}

fn kill_hubs(site: &mut Site, _: &Publishers) -> Result<Done> {
    for _ in 0..HUB_KILLS {
        go_on(site)?;
        let hub = site.hub().ok_or("no hub answers")?;
        kill(hub, Signal::KILL)?;
        site.wait("another hub answers", |site| Ok(site.hub().is_some_and(|found| found != hub)))?;
    }
    go_on(site)?;
    Ok(Done::new("SIGKILL of the hub", HUB_KILLS))
}

fn kill_keepers(site: &mut Site, _: &Publishers) -> Result<Done> {
    for _ in 0..KEEPER_KILLS {
        go_on(site)?;
        let keeper = site.keeper().ok_or("there is no keeper")?;
        kill(keeper, Signal::KILL)?;
        site.wait("another keeper runs", |site| Ok(site.keeper().is_some_and(|found| found != keeper)))?;
    }
    go_on(site)?;
    Ok(Done::new("SIGKILL of the keeper", KEEPER_KILLS))
}

fn reload(site: &mut Site, _: &Publishers) -> Result<Done> {
    let hub = site.hub();
    for _ in 0..RELOADS {
        go_on(site)?;
        site.reload()?;
    }
    go_on(site)?;
    if hub != site.hub() {
        return Err("a reload with the same settings made another hub".into());
    }
    Ok(Done::new("reload of php-fpm", RELOADS))
}

fn hand_over(site: &mut Site, _: &Publishers) -> Result<Done> {
    for number in 1..=HANDOVERS {
        go_on(site)?;
        let hub = site.hub();
        site.change_settings(number)?;
        site.reload()?;
        site.wait("another hub answers", |site| Ok(site.hub().is_some_and(|found| Some(found) != hub)))?;
    }
    go_on(site)?;
    Ok(Done::new("reload with other settings", HANDOVERS as usize))
}

fn kill_both(site: &mut Site, _: &Publishers) -> Result<Done> {
    for _ in 0..BOTH_KILLS {
        go_on(site)?;
        let (keeper, hub) = (site.keeper().ok_or("there is no keeper")?, site.hub().ok_or("no hub answers")?);
        // Stopped at first: neither sees the end of the other.
        for (pid, signal) in [(keeper, Signal::STOP), (hub, Signal::KILL), (keeper, Signal::KILL)] {
            kill(pid, signal)?;
        }
        site.restart_service()?;
        site.wait("another hub answers", |site| Ok(site.hub().is_some_and(|found| found != hub)))?;
    }
    go_on(site)?;
    Ok(Done::new("SIGKILL of keeper and hub, with `store_path`", BOTH_KILLS))
}
