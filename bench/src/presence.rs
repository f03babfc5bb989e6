//! Who is online: joins and leaves per second of CPU time in the engine, what a member takes, and what questions cost.
//!
//! The hub runs in this process, and the calls go straight to the engine: between two processes a call costs what publishing
//! does. One reader asks for the feed of the channel, so that changes are collected for somebody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use push_core::client::Client;
use push_core::config::{Address, Config};
use push_core::embedded::Embedded;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::Result;
use crate::procfs::Processes;

const MEMBERS: usize = 100_000;
const CHANNEL: Option<&str> = Some("room");
/// Pages of a thousand that are read.
const PAGES: usize = 100;

#[derive(Serialize)]
struct Figures {
    members: usize,
    joins_per_second: u64,
    leaves_per_second: u64,
    /// Growth of PSS, and of what counts against `memory_limit`.
    bytes_per_member: u64,
    counted_per_member: u64,
    is_online_nanoseconds: u64,
    page_of_1000_microseconds: u64,
}

/// Runs it and prints one JSON line.
pub(crate) fn run() -> Result<ExitCode> {
    let mut config = Config::default();
    for (key, value) in
        [("listen", "127.0.0.1:0"), ("threads", "1"), ("authorized_channels_only", "off"), ("presence_ttl", "1h")]
    {
        config.set(key, value)?;
    }
    let hub = Arc::new(Embedded::start(&config)?);
    let Some(Address::Tcp(address)) = hub.addresses().first() else { return Err("no address".into()) };
    let mut reader = TcpStream::connect(address)?;
    reader.write_all(b"GET /ev/room?presence=1 HTTP/1.1\r\nHost: x\r\n\r\n")?;
    reader.read_exact(&mut [0])?;
    // It hears everything, and does not hold it up.
    let heard = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let mut client = Client::embedded(hub.clone());
    let users: Vec<String> = (0..MEMBERS).map(|number| format!("{}", 1_000_000 + number * 7_919 % MEMBERS)).collect();
    let processes = Processes::of(&[i32::try_from(std::process::id())?])?;
    let (empty, counted) = (processes.memory()?, client.status()?.memory);

    let joins = timed(|| users.iter().try_for_each(|user| expect(client.presence_online(user, CHANNEL, b"", None)?)))?;
    let bytes = processes.memory()?.saturating_sub(empty) / MEMBERS as u64;
    let counted_per_member = client.status()?.memory.saturating_sub(counted) / MEMBERS as u64;
    let asked = timed(|| users.iter().try_for_each(|user| expect(client.presence_is_online(user, CHANNEL)?)))?;
    let pages = timed(|| {
        let mut after = String::new();
        for _ in 0..PAGES {
            let page = client.presence_members(CHANNEL, &after, 1_000)?;
            expect(page.len() == 1_000)?;
            after = page.into_iter().next_back().map(|last| last.user).unwrap_or_default();
        }
        Ok(())
    })?;
    let leaves = timed(|| users.iter().try_for_each(|user| expect(client.presence_offline(user, CHANNEL)?)))?;
    expect(client.presence_count(CHANNEL)? == 0)?;
    hub.stop();
    heard.join().map_err(|_| "the reader failed")??;
    let figures = Figures {
        members: MEMBERS,
        joins_per_second: rate(joins),
        leaves_per_second: rate(leaves),
        bytes_per_member: bytes,
        counted_per_member,
        is_online_nanoseconds: u64::try_from(asked.as_nanos())? / MEMBERS as u64,
        page_of_1000_microseconds: u64::try_from(pages.as_micros())? / PAGES as u64,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(ExitCode::SUCCESS)
}

/// CPU time of this thread, so that the figure does not depend on what else the machine does.
fn timed(work: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    let begun = now()?;
    work()?;
    Ok(now()?.saturating_sub(begun))
}

fn expect(answer: bool) -> Result<()> {
    if answer { Ok(()) } else { Err("an answer was wrong".into()) }
}

fn rate(time: Duration) -> u64 {
    (MEMBERS as f64 / time.as_secs_f64()) as u64
}
