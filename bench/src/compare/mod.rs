//! Runs everything against floor, nchan and hub, one alive at a time and interleaved, and prints medians beside the goals.
//! Each run is also written as a JSON line, as soon as it is over. The whole is kept in `bench/RESULTS.md`.

mod calls;
mod chart;
mod churn;
mod goals;
mod machine;
mod table;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;

use crate::awake::Awake;
use crate::message::Faults;
use crate::php;
use crate::procfs::load_average;
use crate::scenario::{Figures, Scenario};
use crate::server::{Kind, Server, Setup};
use crate::{Result, growth, proxied};

pub(crate) use churn::compare as compare_churn;
pub(crate) use goals::Goal;
pub(crate) use table::{goal, mark, median, number, ratio, ratios};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/images/bench.svg");

/// In the order in which they run. The floor keeps no time and little else: what it stores says nothing.
const ALL: &[Kind] = &[Kind::Floor, Kind::Nchan, Kind::Hub];
const STORING: &[Kind] = &[Kind::Nchan, Kind::Hub];
const LOADS: [(&str, &[Kind]); 22] = [
    ("idle", ALL),
    ("idle-streaming", ALL),
    ("idle-eventsource", ALL),
    ("idle-websocket", ALL),
    ("fanout", ALL),
    ("fanout-10k", ALL),
    ("batch", ALL),
    ("batch-10k", ALL),
    ("fanout-streaming", ALL),
    ("fanout-eventsource", ALL),
    ("fanout-eventsource-10k", ALL),
    ("fanout-websocket", ALL),
    ("fanout-websocket-10k", ALL),
    ("flood-eventsource", ALL),
    ("flood-websocket", ALL),
    ("rate-1k", ALL),
    ("rate-5k", ALL),
    ("rate-most", ALL),
    ("publish", ALL),
    ("accept", ALL),
    ("fill-messages", STORING),
    ("fill-channels", STORING),
];
/// What else there is, by name.
const PHP: &str = "php";
const NGINX: &str = "nginx";
const GROWTH: &str = "growth";

/// One run of a scenario against a server.
pub(crate) struct Run {
    pub(crate) repetition: usize,
    pub(crate) kind: Kind,
    pub(crate) figures: Figures,
}

/// One line of the file.
#[derive(Serialize)]
struct Line<'a, T> {
    repetition: usize,
    server: &'a str,
    load_average: f64,
    #[serde(flatten)]
    figures: &'a T,
}

/// What has been measured so far.
pub(crate) struct Record {
    repetitions: usize,
    pub(crate) hub: PathBuf,
    file: File,
    faults: Faults,
    /// What could not be measured, and why.
    failures: Vec<String>,
}

impl Record {
    /// Starts a server, loads it, and notes what that gave. A failure is noted as well: what follows is still worth it.
    pub(crate) fn run(
        &mut self,
        repetition: usize,
        kind: Kind,
        scenario: &Scenario,
        setup: &Setup,
        name: &str,
    ) -> Result<Option<Figures>> {
        eprintln!("{} of {}: {}, {name}", repetition + 1, self.repetitions, scenario.name);
        let figures = Server::with(kind, &self.hub, setup).and_then(|server| scenario.run(&server.target));
        match figures {
            Ok(figures) => {
                self.note(repetition, name, &figures, figures.faults)?;
                Ok(Some(figures))
            }
            Err(error) => {
                self.fail(format!("{}, {name}, repetition {}: {error}", scenario.name, repetition + 1));
                Ok(None)
            }
        }
    }

    /// Of the hub or nchan with what the scenario needs.
    fn load(&mut self, repetition: usize, kind: Kind, scenario: &Scenario) -> Result<Option<Run>> {
        let figures = self.run(repetition, kind, scenario, &scenario.setup(), kind.name())?;
        Ok(figures.map(|figures| Run { repetition, kind, figures }))
    }

    fn note(&mut self, repetition: usize, server: &str, figures: &impl Serialize, faults: Faults) -> Result<()> {
        let line = Line { repetition, server, load_average: load_average()?, figures };
        writeln!(self.file, "{}", serde_json::to_string(&line)?)?;
        if !faults.none() {
            self.failures.push(format!("repetition {}, {server}: {}", repetition + 1, table::verdict(faults)));
        }
        self.faults.add(faults);
        Ok(())
    }

    fn fail(&mut self, what: String) {
        eprintln!("{what}");
        self.failures.push(what.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

/// The whole comparison, or `only` a part of it, which is then printed but not kept. Fails if a message was lost, doubled or
/// reordered, or something could not be measured; a goal that is missed is only marked.
pub(crate) fn compare(repetitions: usize, only: Option<&str>) -> Result<ExitCode> {
    let parts = LOADS.iter().map(|(name, _)| *name).chain([PHP, NGINX, GROWTH]).collect::<Vec<_>>();
    if let Some(only) = only
        && !parts.contains(&only)
    {
        return Err(format!("--only {only} is no part of it; these are {}", parts.join(", ")).into());
    }
    let wanted = |part| only.is_none_or(|only| only == part);
    let begin = Instant::now();
    let (hub, extension) = (built("push-hub")?, wanted(PHP).then(|| built("libphp_push.so")).transpose()?);
    let path = built("push-bench")?.with_file_name("push-bench.jsonl");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut record = Record { repetitions, hub, file, faults: Faults::default(), failures: Vec::new() };
    let (mut runs, mut proxied_runs, mut growth_runs, mut calls) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for repetition in 0..repetitions {
        for (name, kinds) in LOADS.into_iter().filter(|(name, _)| wanted(name)) {
            let scenario = Scenario::named(name).ok_or(name)?;
            // Whoever is first in one repetition is not in the next.
            let mut kinds = kinds.to_vec();
            let count = kinds.len();
            kinds.rotate_left(repetition % count);
            for kind in kinds {
                runs.extend(record.load(repetition, kind, &scenario)?);
            }
        }
        if wanted(NGINX) {
            proxied_runs.extend(proxied::run(&mut record, repetition)?);
        }
        if wanted(GROWTH) {
            growth_runs.extend(growth::run(&mut record, repetition)?);
        }
        if let Some(extension) = &extension {
            calls.extend(php_calls(&mut record, repetition, extension)?);
        }
    }
    let mut text = String::new();
    if !runs.is_empty() {
        text += &table::loads(&runs);
    }
    if wanted(NGINX) {
        text += &format!("\n## Through nginx\n\n{}\n", proxied::table(&proxied_runs));
    }
    if wanted(PHP) {
        text += &format!("\n## From PHP\n\n{}\n", calls::tables(&calls));
    }
    if wanted(GROWTH) {
        text += &format!("\n## Growth\n\n{}\n", growth::table(&growth_runs));
    }
    let took = begin.elapsed().as_secs() / 60;
    text += &format!(
        "\nMedians of {repetitions} repetitions; a ratio is the median of the repetitions' ratios. {} It took {took} minutes.\n",
        table::verdict(record.faults)
    );
    for failure in &record.failures {
        text += &format!("\n- **Failed:** {failure}");
    }
    println!("{text}");
    if only.is_none() {
        let (reached, goals) = table::reached(&runs);
        let head = machine::describe(&record.hub, reached, goals)?;
        let before = fs::read_to_string(RESULTS).unwrap_or_default();
        let churn = before.split_once(churn::HEADING).map(|(_, rest)| format!("{}{rest}", churn::HEADING));
        fs::write(RESULTS, format!("{head}{text}{}", churn.unwrap_or_default()))
            .map_err(|error| format!("{RESULTS}: {error}"))?;
        fs::write(CHART, chart::draw(&runs)).map_err(|error| format!("{CHART}: {error}"))?;
        eprintln!("{RESULTS} and {CHART} are written");
    }
    eprintln!("every run: {}", path.display());
    let good = record.faults.none() && record.failures.is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn php_calls(record: &mut Record, repetition: usize, extension: &Path) -> Result<Vec<php::Figures>> {
    let mut made = Vec::new();
    let _awake = Awake::start()?;
    for (kind, runs) in calls::runs() {
        let server = kind.map(|kind| Server::start(kind, &record.hub)).transpose()?;
        for call in runs {
            eprintln!("{} of {}: {call:?}", repetition + 1, record.repetitions);
            match php::run(server.as_ref(), extension, call) {
                Ok(figures) => {
                    record.note(repetition, kind.map_or("none", Kind::name), &figures, figures.faults)?;
                    made.push(figures);
                }
                Err(error) => record.fail(format!("{call:?}, repetition {}: {error}", repetition + 1)),
            }
        }
    }
    Ok(made)
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
