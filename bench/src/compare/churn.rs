//! Subscribers who come and go for five minutes, at nchan and at the hub side by side: only memory is looked at.

use std::fs;
use std::process::ExitCode;

use super::table::{goal, number, verdict};
use super::{Goal, RESULTS, built, machine};
use crate::Result;
use crate::message::Faults;
use crate::scenario::{Figures, Scenario};
use crate::server::{Kind, Server};

const KINDS: [Kind; 2] = [Kind::Nchan, Kind::Hub];
const VARIANTS: [(&str, &str); 2] = [("1,000 channels", "churn"), ("channels with ever new names", "churn-new")];
/// In per cent.
const GROWTH: Goal = Goal::AtMost(2.0);
const LEFT: Goal = Goal::AtMost(30.0);

/// Where its part of the results begins; the rest is that of the comparison.
pub(super) const HEADING: &str = "\n## Churn\n";

/// One run of each. Fails if a message was lost, doubled or reordered.
pub(crate) fn compare() -> Result<ExitCode> {
    let hub = built("push-hub")?;
    let mut faults = Faults::default();
    let mut text = format!(
        "{HEADING}\nOne run, {}. 2,000 long-polls; 800 times a second one goes, one comes and a message is published. Memory of all \
         processes in MB.\n\n\
         | | empty | with what is stored | after 60 s | after 300 s | growth | goal | 60 s after all left | above what is stored | goal \
         |\n|---|---:|---:|---:|---:|---:|---|---:|---:|---|\n",
        machine::date()
    );
    for (name, scenario) in VARIANTS {
        let scenario = Scenario::named(scenario).ok_or(scenario)?;
        eprintln!("{name}: {} seconds, and a minute", scenario.size.seconds);
        // An error is not to be sent between threads.
        let run = |kind| -> std::result::Result<Figures, String> {
            let server = Server::with(kind, &hub, &scenario.setup()).map_err(|error| error.to_string())?;
            scenario.run(&server.target).map_err(|error| format!("{}: {error}", kind.name()))
        };
        let both = std::thread::scope(|scope| {
            let both = KINDS.map(|kind| scope.spawn(move || run(kind)));
            both.map(|thread| thread.join().unwrap_or_else(|_| Err("a run panicked".to_owned())))
        });
        for (kind, figures) in KINDS.into_iter().zip(both) {
            let figures = figures?;
            println!("{}", serde_json::to_string(&figures)?);
            faults.add(figures.faults);
            let of = |figure| figures.values.get(figure).copied().unwrap_or(f64::NAN);
            let mb = |figure| number(of(figure) / 1e6, 1);
            // nchan is there to be looked at; the goals are the hub's.
            let wanted = |of_hub| if kind == Kind::Hub { of_hub } else { Goal::None };
            let (growth, left) = (of("growth_percent"), of("left_percent"));
            text += &format!(
                "| {}, {name} | {} | {} | {} | {} | {growth:+.1} % | {} | {} | {left:+.1} % | {} |\n",
                kind.name(),
                mb("empty_server_bytes"),
                mb("stored_bytes"),
                mb("after_a_minute_bytes"),
                mb("last_bytes"),
                goal(wanted(GROWTH), growth, 0),
                mb("left_bytes"),
                goal(wanted(LEFT), left, 0),
            );
        }
    }
    text += &format!("\n{}\n", verdict(faults));
    println!("{text}");
    let others = fs::read_to_string(RESULTS).unwrap_or_default();
    let others = others.split_once(HEADING).map_or(others.as_str(), |(others, _)| others);
    fs::write(RESULTS, format!("{}\n{text}", others.trim_end())).map_err(|error| format!("{RESULTS}: {error}"))?;
    Ok(if faults.none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
