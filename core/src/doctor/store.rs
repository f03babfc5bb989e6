//! The directory of `store_path`, and the memory in which the journal lies until it is saved there.

use std::io;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstatvfs, open, stat};

use super::{Finding, ok, problem, warning};
use crate::config::Config;
use crate::process;
use crate::store::{LIVE, in_memory, taken};

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let Some(directory) = &config.store_path else {
        return vec![ok(
            "store: none: stored messages outlive the hub, and not its keeper and the machine (store_path)",
        )];
    };
    let shown = directory.display();
    match belongs(config, directory) {
        Err(finding) => vec![finding],
        Ok(()) => match space(directory) {
            Ok((memory, free)) => {
                let mut findings = vec![on_disk(config, directory, memory, free)];
                findings.extend(in_live(config));
                findings
            }
            Err(error) => vec![problem(format!("store: {shown}: {error}: see whether its disk is mounted and well"))],
        },
    }
}

/// Whether it is there and the hub's user's.
fn belongs(config: &Config, directory: &Path) -> Result<(), Finding> {
    let shown = directory.display();
    let user = &config.user;
    let found = stat(directory).map_err(|error| {
        let error = io::Error::from(error);
        problem(format!("store: {shown}: {error}: install -d -m 0700 -o {user} {shown}"))
    })?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        return Err(problem(format!("store: {shown} is no directory: set another store_path")));
    }
    // A hub that was not started by root runs as whoever started it.
    let owner = process::user(user).ok().flatten().map(|account| account.uid.as_raw());
    let me = rustix::process::geteuid();
    if owner != Some(found.st_uid) && (me.is_root() || me.as_raw() != found.st_uid) {
        return Err(problem(format!(
            "store: {shown} belongs to uid {}, and the hub runs as {user}: chown -R {user} {shown}",
            found.st_uid
        )));
    }
    if found.st_mode & 0o022 != 0 {
        return Err(problem(format!("store: others may write to {shown}: chmod 0700 {shown}")));
    }
    Ok(())
}

/// Whether the file system is in memory, and how many bytes are free there.
fn space(directory: &Path) -> io::Result<(bool, u64)> {
    let directory = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let sizes = fstatvfs(&directory)?;
    let free = if sizes.f_blocks == 0 { u64::MAX } else { sizes.f_bavail * sizes.f_frsize };
    Ok((in_memory(&directory)?, free))
}

fn on_disk(config: &Config, directory: &Path, memory: bool, free: u64) -> Finding {
    let shown = directory.display();
    // Only the hub's user may look.
    let held = match taken(directory) {
        Ok(held) => held.unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => 0,
        Err(error) => return problem(format!("store: {shown}: {error}: move its files away to start without them")),
    };
    if memory {
        return warning(format!(
            "store: {shown} is in memory (tmpfs): nothing in it outlives the machine; set a directory on a disk"
        ));
    }
    // The image, and what is on its way to it.
    let needed = config.memory_limit.saturating_mul(2);
    let seen = format!("store: {shown}, {} MB used, {} MB free", held >> 20, free >> 20);
    match free.saturating_add(held) < needed {
        true => warning(format!(
            "{seen}: memory_limit is {} MB, and saving may need twice that; make room, or lower it",
            config.memory_limit >> 20
        )),
        false => ok(seen),
    }
}

fn in_live(config: &Config) -> Option<Finding> {
    Some(match space(Path::new(LIVE)) {
        Err(error) => {
            problem(format!("store: {LIVE}: {error}: mount a tmpfs there; the journal lies in it until it is saved"))
        }
        Ok((false, _)) => {
            problem(format!("store: {LIVE} is no tmpfs: mount one there; the journal lies in it until it is saved"))
        }
        // What a running hub has of it is counted as used.
        Ok((true, free)) if free < config.memory_limit / 2 => warning(format!(
            "store: {LIVE} has {} MB free, and memory_limit is {} MB: make it larger, or stored messages go before that is \
             reached",
            free >> 20,
            config.memory_limit >> 20
        )),
        Ok((true, _)) => return None,
    })
}
