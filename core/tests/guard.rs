//! What the guard over the instructions of the hot paths takes for too many.

#[path = "../benches/paths/counts.rs"]
mod counts;

use counts::{Counts, Verdict};

const ACCEPTED: &str = "\
# Above it stands what it is.
compiler: rustc 1.95.0 (59807616e 2026-04-14)
architecture: x86_64
publish           1000
join              2000
";

fn accepted() -> Counts {
    Counts::parse(ACCEPTED).expect("counts")
}

#[test]
fn a_path_that_grows_by_more_than_a_tenth_is_refused() {
    let counts = accepted();
    for (now, fine) in [(1, true), (1000, true), (1100, true), (1101, false), (5000, false)] {
        assert_eq!(counts.verdict("publish", now).is_fine(), fine, "{now}");
    }
    assert_eq!(counts.verdict("publish", 1200).to_string(), "+20.0 %, TOO MANY");
}

#[test]
fn a_path_without_an_accepted_count_is_refused() {
    assert_eq!(accepted().verdict("resume", 1), Verdict::New);
    assert!(!Verdict::New.is_fine());
}

#[test]
fn what_is_accepted_is_read_back() {
    let counts = accepted();
    assert_eq!(Counts::parse(&counts.to_string()), Ok(counts));
}

#[test]
fn what_is_no_list_of_counts_is_refused() {
    for text in ["", "publish 1000", "compiler: x\npublish 1", "compiler: x\narchitecture: y\npublish many"] {
        assert!(Counts::parse(text).is_err(), "{text}");
    }
}

/// The committed counts are from `make guard ACCEPT=yes`, not from a hand.
#[test]
fn the_committed_counts_are_as_they_are_written() {
    let committed = include_str!("../benches/paths/counts.txt");
    assert_eq!(Counts::parse(committed).expect("counts").to_string(), committed);
}
