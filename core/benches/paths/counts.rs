//! The accepted counts: a file that people read and git compares.

use std::fmt;

/// A path may grow by a tenth.
const MOST: u64 = 10;

/// What counts depend on beside the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// As rustc names itself.
    pub(crate) rustc: String,
    pub(crate) architecture: String,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.rustc, self.architecture)
    }
}

/// Instructions of one operation of each path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) machine: Machine,
    pub(crate) paths: Vec<(String, u64)>,
}

/// What a count is beside the accepted one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// So many per cent more, or less.
    Fine(f64),
    Grown(f64),
    /// Nobody has accepted any.
    New,
}

impl Verdict {
    pub(crate) fn is_fine(self) -> bool {
        matches!(self, Self::Fine(_))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine(percent) => write!(f, "{percent:+5.1} %"),
            Self::Grown(percent) => write!(f, "{percent:+5.1} %, TOO MANY"),
            Self::New => write!(f, "NOT ACCEPTED YET"),
        }
    }
}

impl Counts {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut machine = |word: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(word)?.strip_prefix(": "));
            line.map(str::to_owned)
                .ok_or_else(|| format!("the counts do not begin with compiler and architecture: no \"{word}: \""))
        };
        let machine = Machine { rustc: machine("compiler")?, architecture: machine("architecture")? };
        let path = |line: &str| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        };
        let paths = lines.map(|line| path(line).ok_or_else(|| format!("\"{line}\" is no path with its count")));
        Ok(Self { machine, paths: paths.collect::<Result<_, _>>()? })
    }

    pub(crate) fn verdict(&self, name: &str, now: u64) -> Verdict {
        let Some((_, accepted)) = self.paths.iter().find(|(path, _)| path == name) else { return Verdict::New };
        let percent = (now as f64 / *accepted as f64 - 1.0) * 100.0;
        if now * 100 > accepted * (100 + MOST) { Verdict::Grown(percent) } else { Verdict::Fine(percent) }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions of one operation of each hot path in core/src/paths.rs; `make guard ACCEPT=yes` writes this."
        )?;
        writeln!(f, "compiler: {}\narchitecture: {}", self.machine.rustc, self.machine.architecture)?;
        self.paths.iter().try_for_each(|(name, count)| writeln!(f, "{name:14}{count:8}"))
    }
}
