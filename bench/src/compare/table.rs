//! Medians, ratios and marks, as tables of Markdown.

use super::Run;
use super::goals::{Goal, ROWS, Row};
use crate::message::Faults;
use crate::server::Kind;

/// The loads of floor, nchan and hub beside their goals, a table for each group.
pub(super) fn loads(runs: &[Run]) -> String {
    let mut tables = String::new();
    let mut group = "";
    for row in &ROWS {
        let [floor, nchan, hub] = [Kind::Floor, Kind::Nchan, Kind::Hub].map(|kind| of(runs, kind, row));
        if hub.is_empty() {
            continue;
        }
        if group != row.group {
            group = row.group;
            tables += &format!(
                "\n| {group} | floor | nchan | push-hub | goal | to nchan | goal | to the floor | goal |\n\
                 |---|---:|---:|---:|---|---:|---|---:|---|"
            );
            tables.push('\n');
        }
        let value = |runs: &[(usize, f64)]| median(runs.iter().map(|(_, value)| value * row.scale).collect());
        let (own, to_nchan, to_floor) = (value(&hub), ratio(&hub, &nchan), ratio(&hub, &floor));
        let cell = |value: f64| if value.is_nan() { String::new() } else { number(value, row.decimals) };
        let times = |value: f64| if value.is_nan() { String::new() } else { format!("{value:.2}") };
        tables += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            row.name,
            cell(value(&floor)),
            cell(value(&nchan)),
            cell(own),
            goal(row.own, own, row.decimals),
            times(to_nchan),
            beside_floor(row.to_nchan, to_nchan, ratio(&floor, &nchan)),
            // Bytes beside a program that can do nothing say nothing.
            if row.own == Goal::None { times(to_floor) } else { String::new() },
            goal(row.to_floor, to_floor, 2),
        );
    }
    tables
}

/// How many goals are reached, and how many there are.
pub(super) fn reached(runs: &[Run]) -> (usize, usize) {
    let mut marks = Vec::new();
    for row in &ROWS {
        let [floor, nchan, hub] = [Kind::Floor, Kind::Nchan, Kind::Hub].map(|kind| of(runs, kind, row));
        marks.push(row.own.mark(median(hub.iter().map(|(_, value)| value * row.scale).collect())));
        marks.push(row.to_nchan.mark(ratio(&hub, &nchan)));
        marks.push(row.to_floor.mark(ratio(&hub, &floor)));
    }
    marks.retain(|mark| !mark.is_empty());
    (marks.iter().filter(|given| **given == mark(true)).count(), marks.len())
}

/// A figure of each repetition that has it.
pub(super) fn of(runs: &[Run], kind: Kind, row: &Row) -> Vec<(usize, f64)> {
    values(runs, kind, row.scenario, row.figure)
}

pub(super) fn values(runs: &[Run], kind: Kind, scenario: &str, figure: &str) -> Vec<(usize, f64)> {
    let runs = runs.iter().filter(|run| run.kind == kind && run.figures.scenario == scenario);
    runs.filter_map(|run| Some((run.repetition, *run.figures.values.get(figure)?))).collect()
}

/// The ratios of the repetitions that both have.
pub(crate) fn ratios(of: &[(usize, f64)], to: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let value = |repetition| to.iter().find(|(of, _)| *of == repetition).map(|(_, value)| value);
    of.iter().filter_map(|(repetition, of)| Some((*repetition, of / value(*repetition)?))).collect()
}

/// The median of these.
pub(crate) fn ratio(of: &[(usize, f64)], to: &[(usize, f64)]) -> f64 {
    median(ratios(of, to).into_iter().map(|(_, ratio)| ratio).collect())
}

/// The goal against nchan with its mark; where it is missed, what the floor reaches.
fn beside_floor(wanted: Goal, hub: f64, floor: f64) -> String {
    let text = goal(wanted, hub, 2);
    if wanted.mark(hub) == mark(false) && !floor.is_nan() { format!("{text}, floor {floor:.2}") } else { text }
}

/// The goal with its mark.
pub(crate) fn goal(goal: Goal, value: f64, decimals: usize) -> String {
    match goal {
        Goal::None => String::new(),
        _ => format!("{} {}", goal.text(decimals), goal.mark(value)),
    }
}

pub(super) fn verdict(Faults { lost, doubled, reordered }: Faults) -> String {
    format!("Messages lost: {lost}, doubled: {doubled}, reordered: {reordered}.")
}

pub(crate) fn mark(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
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
pub(crate) fn number(value: f64, decimals: usize) -> String {
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
    fn a_ratio_is_that_of_the_same_repetition() {
        let (hub, nchan) = ([(0, 6.0), (1, 9.0), (2, 5.0)], [(1, 3.0), (0, 1.0), (3, 7.0)]);
        assert_eq!(ratios(&hub, &nchan), [(0, 6.0), (1, 3.0)]);
        assert_eq!(ratio(&hub, &nchan), 4.5);
        assert!(ratio(&hub, &[]).is_nan());
    }

    #[test]
    fn a_goal_that_is_missed_says_what_the_floor_reaches() {
        assert_eq!(beside_floor(Goal::AtMost(0.66), 0.73, 0.57), "≤ 0.66 **missed**, floor 0.57");
        assert_eq!(beside_floor(Goal::AtMost(0.66), 0.73, f64::NAN), "≤ 0.66 **missed**");
        assert_eq!(beside_floor(Goal::AtMost(0.66), 0.66, 0.57), "≤ 0.66 met");
        assert_eq!(beside_floor(Goal::None, 0.73, 0.57), "");
        assert_eq!(beside_floor(Goal::AtLeast(1.3), f64::NAN, 1.4), "≥ 1.30 ");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(123.0, 0), "123");
        assert_eq!(number(-123_456.78, 1), "-123,456.8");
        assert_eq!(number(-1_234.0, 0), "-1,234");
    }
}
