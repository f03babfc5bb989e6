//! Stored messages with `store_path` and without: how fast they are published, how soon they are back after a restart, and
//! what memory each takes.

use std::process::ExitCode;
use std::time::Instant;

use push_core::client::Client;
use push_core::message::NewMessage;

use crate::Result;
use crate::client::attached;
use crate::compare::{built, mark, median};
use crate::procfs::Processes;
use crate::server::{Kind, Server, Setup};

/// Stored, of 100 bytes each.
const MESSAGES: u32 = 1_000_000;
const CHANNELS: u32 = 100;
/// So often all of them are published, for the throughput: several times `store_sync`.
const ROUNDS: u32 = 10;
/// Goals: the share of the throughput that is left, seconds, bytes.
const SHARE: f64 = 0.85;
const RECOVERY: f64 = 2.0;
const MEMORY: f64 = 300.0;

/// Prints the table. Fails if a message is missing; a goal that is missed is only marked.
pub(crate) fn compare(repetitions: usize) -> Result<ExitCode> {
    let hub = built("push-hub")?;
    let (mut rates, mut memory) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for repetition in 0..repetitions {
        for (at, on_disk) in [false, true].into_iter().enumerate() {
            eprintln!("{} of {repetitions}: {}", repetition + 1, if on_disk { "store_path" } else { "memory" });
            let mut server = Server::with(
                Kind::Hub,
                &hub,
                &Setup { stored: MESSAGES / CHANNELS, ttl: "1d", on_disk, ..Setup::default() },
            )?;
            let before = Processes::of(&server.target.pids)?.memory()?;
            let mut client = attached(&server);
            publish(&mut client, 1)?;
            let after = Processes::of(&server.target.pids)?.memory()?;
            memory[at].push((after - before) as f64 / f64::from(MESSAGES));
            rates[at].push(publish(&mut client, ROUNDS)?);
            drop(client);
            if on_disk {
                warm.push(recover(&mut server, || ())?);
                let mut dropped = false;
                let seconds =
                    recover(&mut server, || dropped = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok())?;
                if dropped {
                    cold.push(seconds);
                }
            }
        }
    }
    let [without, with] = rates.map(median);
    println!("| {MESSAGES} stored messages of 100 bytes | memory alone | `store_path` | goal | |");
    println!("|---|---:|---:|---|---|");
    let share = with / without;
    println!(
        "| published, messages/s | {without:.0} | {with:.0} ({:.0} %) | ≥ {:.0} % | {} |",
        share * 100.0,
        SHARE * 100.0,
        mark(share >= SHARE)
    );
    let [without, with] = memory.map(median);
    println!(
        "| memory of hub and keeper, bytes/message | {without:.0} | {with:.0} | ≤ {MEMORY:.0} | {} |",
        mark(with <= MEMORY)
    );
    for (what, seconds) in [("warm", warm), ("cold", cold)] {
        if seconds.is_empty() {
            println!("| start with all of them, {what} page cache | | not tried | | |");
            continue;
        }
        let seconds = median(seconds);
        println!(
            "| start with all of them, {what} page cache, s | | {seconds:.2} | ≤ {RECOVERY:.0} | {} |",
            mark(seconds <= RECOVERY)
        );
    }
    println!("\nMedians of {repetitions} repetitions. No message is missing.");
    Ok(ExitCode::SUCCESS)
}

/// Publishes all of them so many times, without waiting for each; messages per second until the hub has the last one.
fn publish(client: &mut Client, rounds: u32) -> Result<f64> {
    let channels: Vec<String> = (0..CHANNELS).map(|number| format!("channel-{number}")).collect();
    let begin = Instant::now();
    for (number, channel) in (0..MESSAGES * rounds).zip(channels.iter().cycle()) {
        let text = format!("{number:0>10}{:.<90}", "");
        client.publish_async(channel, &NewMessage::new(text.as_bytes()))?;
    }
    // Calls are carried out in order.
    let stored = client.status()?.messages;
    let seconds = begin.elapsed().as_secs_f64();
    all(stored)?;
    Ok(f64::from(MESSAGES * rounds) / seconds)
}

/// Seconds from the start of the program until it answers with all of them.
fn recover(server: &mut Server, between: impl FnOnce()) -> Result<f64> {
    let took = server.start_again(between)?;
    all(attached(server).status()?.messages)?;
    Ok(took.as_secs_f64())
}

fn all(stored: u64) -> Result<()> {
    match stored == u64::from(MESSAGES) {
        true => Ok(()),
        false => Err(format!("{stored} of {MESSAGES} messages are stored").into()),
    }
}
