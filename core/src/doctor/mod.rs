//! `push-hub doctor`: looks at an installation from the outside and says what is in its way, each finding with its cure.
//!
//! It needs no rights of its own: what it may not see it says. It changes nothing but a channel of its own, which it deletes.

mod access;
mod store;
mod web;

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, lstat};
use rustix::io::Errno;

use crate::call::Status;
use crate::client::{Client, Options};
use crate::config::{Address, Config, Handler, Mode};
use crate::keeper;
use crate::process;

/// What to look at besides the hub itself.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Addresses of subscriber locations as browsers have them, through the proxy; each is really used.
    pub urls: Vec<String>,
    /// Users who shall be able to attach, besides those of the FPM pools.
    pub users: Vec<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, for now or for some.
    Warning,
    /// It does not work.
    Problem,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub verdict: Verdict,
    /// What was seen, and the cure.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        };
        write!(f, "{word:<8} {}", self.text)
    }
}

fn ok(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Ok, text: text.into() }
}

fn warning(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Warning, text: text.into() }
}

fn problem(text: impl Into<String>) -> Finding {
    Finding { verdict: Verdict::Problem, text: text.into() }
}

/// Fewer connections than that are reached by a busy page.
const FEW_DESCRIPTORS: u64 = 10_000;
/// After which nginx gives up a silent connection, where `proxy_read_timeout` is not set.
const PROXY: Duration = Duration::from_secs(60);
/// How far the hub's clock may be ahead: a new hub begins one second after the last position.
const AHEAD: u64 = 5;
/// How long the hub may take for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at everything; `say` gets each finding as soon as there is one.
pub fn examine(config: &Config, questions: &Questions, say: &mut dyn FnMut(Finding)) {
    match keeper::check(config) {
        Ok(_) => say(ok("configuration: its values are allowed and go together")),
        Err(error) => say(problem(format!("configuration: {error}"))),
    }
    time_outs(config).into_iter().for_each(&mut *say);
    say(socket_file(&config.socket));
    let mut client = Client::new(Options {
        socket: config.socket.clone(),
        inherited: None,
        timeout: PATIENCE,
        backoff: Duration::from_millis(1),
        ring_size: config.ring_size,
    });
    client.set_namespace(&config.namespace);
    let status = client.status();
    match &status {
        Ok(status) => {
            say(version(status));
            say(clock(status));
        }
        Err(error) => say(problem(format!("hub: {error}"))),
    }
    limits(config, status.as_ref().ok().and_then(visible_pid)).into_iter().for_each(&mut *say);
    store::examine(config).into_iter().for_each(&mut *say);
    access::examine(config, &questions.users).into_iter().for_each(&mut *say);
    for url in &questions.urls {
        match &status {
            Ok(_) => web::examine(config, &mut client, url, say),
            Err(_) => say(problem(format!("{url}: not tried, because there is no hub to publish to"))),
        }
    }
}

fn time_outs(config: &Config) -> Vec<Finding> {
    let too_long = |time: Option<Duration>| time.is_none_or(|time| time >= PROXY);
    let mut findings = Vec::new();
    for location in config.locations.iter().filter(|location| location.public) {
        let (key, time) = match location.handler {
            Handler::Subscriber(Mode::LongPolling) => {
                let time = location.longpolling_connection_ttl.or(location.subscriber_connection_ttl);
                ("longpolling_connection_ttl", time)
            }
            Handler::Subscriber(Mode::Streaming | Mode::EventSource | Mode::WebSocket) => {
                ("ping_message_interval", location.ping_message_interval)
            }
            _ => continue,
        };
        if too_long(time) {
            let value = time.map_or_else(|| "none".to_owned(), |time| format!("{}s", time.as_secs()));
            findings.push(warning(format!(
                "time-outs: {key} = {value} at {}: nginx gives up after 60s of silence; stay below, or raise \
                 proxy_read_timeout there",
                location.path
            )));
        }
    }
    if findings.is_empty() {
        findings.push(ok("time-outs: below the 60s after which nginx gives up"));
    }
    findings
}

fn socket_file(path: &Path) -> Finding {
    let shown = path.display();
    match lstat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => {
            ok(format!("socket: {shown}, mode {:04o}", stat.st_mode & 0o7777))
        }
        Ok(_) => problem(format!("socket: {shown} is no socket: remove it, or set another socket")),
        Err(Errno::NOENT) => problem(format!(
            "socket: there is no {shown}: start push-hub or php-fpm, or give the configuration that they have (--config)"
        )),
        Err(error) => problem(format!(
            "socket: {shown}: {}: run this as a user who may enter its directory",
            std::io::Error::from(error)
        )),
    }
}

fn version(status: &Status) -> Finding {
    let here = env!("CARGO_PKG_VERSION");
    let seen = format!("hub: version {}, pid {}, up {} s", status.version, status.pid, status.uptime);
    match status.version == here {
        true => ok(format!("{seen}, {} channels, {} subscribers", status.channels, status.subscribers)),
        false => {
            warning(format!("{seen}, and this is version {here}: restart the hub, so that all are of one version"))
        }
    }
}

fn clock(status: &Status) -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let ahead = u64::from(status.position.time).saturating_sub(now);
    match ahead > AHEAD {
        false => ok("clock: positions follow it"),
        true => warning(format!(
            "clock: positions are {ahead} s ahead of it: it was set back while the hub ran; times of messages are wrong until \
             it has caught up"
        )),
    }
}

/// The hub's process, if it is the one of this number here, too: it may live in another container.
fn visible_pid(status: &Status) -> Option<u32> {
    let name = fs::read(format!("/proc/{}/cmdline", status.pid)).ok()?;
    name.starts_with(keeper::HUB.to_bytes()).then_some(status.pid)
}

fn limits(config: &Config, hub: Option<u32>) -> Vec<Finding> {
    let of_hub = hub.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok()).and_then(|limits| {
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    });
    let (whose, descriptors) = match of_hub {
        Some(descriptors) => ("the hub", descriptors),
        None => ("a hub started from here", process::most_descriptors()),
    };
    let seen = format!("limits: {whose} may open {descriptors} files, and each waiting browser is one");
    let descriptors = match descriptors < FEW_DESCRIPTORS {
        true => warning(format!("{seen}: raise LimitNOFILE of its service, or ulimit -n")),
        false => ok(seen),
    };
    let megabytes = |bytes: u64| format!("{} MB", bytes >> 20);
    let memory = match available_memory(hub) {
        // Ring buffers, connections and the system itself need some, too.
        Some(most) if config.memory_limit > most / 10 * 8 => warning(format!(
            "limits: memory_limit is {} of the {} there are: the kernel may kill the hub before old messages go; lower it",
            megabytes(config.memory_limit),
            megabytes(most)
        )),
        Some(most) => ok(format!("limits: memory_limit is {} of {}", megabytes(config.memory_limit), megabytes(most))),
        None => warning("limits: /proc/meminfo cannot be read: see for yourself that memory_limit fits"),
    };
    vec![descriptors, memory]
}

/// Of the machine, or of the hub's control group where that has less.
fn available_memory(hub: Option<u32>) -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.split_ascii_whitespace().next()?.parse::<u64>().ok()? << 10;
    let process = hub.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let group = fs::read_to_string(format!("/proc/{process}/cgroup")).ok().and_then(|groups| {
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok()?.trim().parse::<u64>().ok()
    });
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// Paths of unix listeners that browsers come in by, through nginx.
fn proxied(config: &Config) -> impl Iterator<Item = &Path> {
    config.listen.iter().chain(&config.trusted_listen).filter_map(|address| match address {
        Address::Unix(path) => Some(path.as_path()),
        Address::Tcp(_) => None,
    })
}
