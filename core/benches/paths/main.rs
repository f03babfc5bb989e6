//! Counts the instructions of the hot paths and compares them with the accepted ones: `make guard`.
//!
//! Time on a shared machine says little about a tenth more or less; the number of instructions is the same on each run. A
//! path is carried out under valgrind so many times and twice as many: the difference is that of the operations, whatever
//! it takes to begin. Counts of another compiler or architecture are not compared.

mod counts;

use std::process::{Command, ExitCode};

use counts::{Counts, Machine};
use push_core::paths::{PATHS, Path};

const USAGE: &str = "usage: paths [accept | carry-out PATH OPERATIONS]";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/paths/counts.txt");
const ADVICE: &str = "\
A path takes more than a tenth above what core/benches/paths/counts.txt accepts for it, or has no count there. Where it
grew, callgrind_annotate shows after `valgrind --tool=callgrind PROGRAM carry-out PATH OPERATIONS`; PROGRAM is this one:";
const ACCEPT: &str = "If it is worth that, accept the counts as they are now, and commit them: make guard ACCEPT=yes";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    // cargo adds this to what it was told.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match *arguments {
        [] => guard(),
        ["accept"] => accept(),
        ["carry-out", path, operations] => carry_out(path, operations),
        _ => Err(USAGE.into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("paths: {error}");
        ExitCode::FAILURE
    })
}

fn carry_out(name: &str, operations: &str) -> Result<ExitCode> {
    let path = PATHS.into_iter().find(|path| path.name == name).ok_or_else(|| {
        let names: Vec<&str> = PATHS.iter().map(|path| path.name).collect();
        format!("there is no path {name}, only {}", names.join(", "))
    })?;
    path.carry_out(operations.parse().map_err(|error| format!("{operations}: {error}"))?);
    Ok(ExitCode::SUCCESS)
}

fn guard() -> Result<ExitCode> {
    let accepted = Counts::parse(&std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?)?;
    let machine = this_machine()?;
    if accepted.machine != machine {
        println!("Not compared: the accepted instructions are those of {}, this is {machine}.", accepted.machine);
        return Ok(ExitCode::SUCCESS);
    }
    would_fail(&machine)?;
    println!("Instructions of the hot paths, and how they differ from the accepted ones:");
    let mut grown = 0;
    for path in &PATHS {
        let now = instructions(path)?;
        let verdict = accepted.verdict(path.name, now);
        println!("{:14}{now:8} {verdict}  {}", path.name, path.operation);
        grown += usize::from(!verdict.is_fine());
    }
    // As cargo says it.
    let (word, kept) = (if grown == 0 { "ok" } else { "FAILED" }, PATHS.len() - grown);
    println!("test result: {word}. {kept} passed; {grown} failed");
    if grown == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{ADVICE}\n{}\n{ACCEPT}", std::env::current_exe()?.display());
    Ok(ExitCode::FAILURE)
}

/// A guard that never fails is none: a path that does an eighth more than was accepted must not pass.
fn would_fail(machine: &Machine) -> Result<()> {
    let path = PATHS.iter().find(|path| path.name == "ring").ok_or("the shortest path is gone")?;
    let accepted = Counts { machine: machine.clone(), paths: vec![(path.name.to_owned(), instructions(path)?)] };
    let more = count(path, 2 * path.operations + path.operations / 8)? - count(path, path.operations)?;
    match accepted.verdict(path.name, more / path.operations).is_fine() {
        true => Err("a path that grows by an eighth passes: this guard guards nothing".into()),
        false => Ok(()),
    }
}

fn accept() -> Result<ExitCode> {
    let paths = PATHS.iter().map(|path| Ok((path.name.to_owned(), instructions(path)?)));
    let counts = Counts { machine: this_machine()?, paths: paths.collect::<Result<_>>()? };
    std::fs::write(FILE, counts.to_string())?;
    print!("{counts}");
    Ok(ExitCode::SUCCESS)
}

fn this_machine() -> Result<Machine> {
    let said = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned())).arg("--version").output()?;
    let rustc = String::from_utf8(said.stdout)?.trim().to_owned();
    Ok(Machine { rustc, architecture: std::env::consts::ARCH.to_owned() })
}

/// Instructions of one operation.
fn instructions(path: &Path) -> Result<u64> {
    let (once, twice) = (count(path, path.operations)?, count(path, 2 * path.operations)?);
    Ok(twice.saturating_sub(once) / path.operations)
}

/// Instructions of a process that does so many.
fn count(path: &Path, operations: u64) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    // Else the allocator tidies up in some runs and not in others, as the clock has it.
    valgrind.env("GLIBC_TUNABLES", "glibc.malloc.mxfast=0");
    let output = valgrind.args(["carry-out", path.name, &operations.to_string()]).output();
    let output = output.map_err(|error| format!("valgrind counts the instructions, and does not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    match collected.filter(|_| output.status.success()) {
        Some(collected) => Ok(collected),
        None => Err(format!("{} came to no end under valgrind:\n{said}", path.name).into()),
    }
}
