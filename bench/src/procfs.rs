//! What a server has used, from /proc: CPU time and memory of a process and all its descendants.

use std::fs;
use std::time::Duration;

use crate::Result;

/// A server's processes. Taken once, when it is up: none of the measured servers starts another one later.
pub(crate) struct Processes {
    ids: Vec<i32>,
    /// They are of several programs, which connect to each other.
    chain: bool,
}

impl Processes {
    /// `roots` and all their descendants.
    pub(crate) fn of(roots: &[i32]) -> Result<Processes> {
        let mut family = roots.to_vec();
        let relations = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                Some((pid, parent(pid)?))
            })
            .collect::<Vec<(i32, i32)>>();
        let mut at = 0;
        while let Some(&member) = family.get(at) {
            let children = relations.iter().filter(|(pid, parent)| *parent == member && !roots.contains(pid));
            family.extend(children.map(|(pid, _)| *pid));
            at += 1;
        }
        Ok(Processes { ids: family, chain: roots.len() > 1 })
    }

    pub(crate) fn ids(&self) -> &[i32] {
        &self.ids
    }

    /// Whether a thread runs or would like to, or one program still waits for its connection to the next.
    pub(crate) fn busy(&self) -> Result<bool> {
        for pid in &self.ids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let status = fs::read_to_string(task?.path().join("stat"))?;
                if status.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R')) {
                    return Ok(true);
                }
            }
        }
        // State 2 is SYN_SENT: where an accept queue ran over, the kernel tries again after a second.
        let connecting = |line: &str| line.split_whitespace().nth(3) == Some("02");
        Ok(self.chain && fs::read_to_string("/proc/net/tcp")?.lines().any(connecting))
    }

    /// CPU time of all threads so far, exact to the nanosecond while they are off the CPU.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanoseconds = 0;
        for pid in &self.ids {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let figures = fs::read_to_string(task?.path().join("schedstat"))?;
                nanoseconds += figures.split(' ').next().unwrap_or_default().parse::<u64>()?;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Proportional set size in bytes: private memory plus this family's share of what is shared.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut kibibytes = 0;
        for pid in &self.ids {
            let path = format!("/proc/{pid}/smaps_rollup");
            let figures = fs::read_to_string(&path)?;
            let line = figures.lines().find_map(|line| line.strip_prefix("Pss:"));
            let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
            kibibytes += value.ok_or_else(|| format!("{path} has no Pss line"))?.parse::<u64>()?;
        }
        Ok(kibibytes * 1024)
    }
}

/// CPU time of this process, to see whether the generator is what limits a rate.
pub(crate) fn own_cpu() -> Result<Duration> {
    Processes { ids: vec![i32::try_from(std::process::id())?], chain: false }.cpu()
}

/// The first figure of /proc/loadavg: what else this machine was doing.
pub(crate) fn load_average() -> Result<f64> {
    Ok(fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default().parse()?)
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name stands in parentheses and may hold anything; the state and the parent follow it.
    status.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
