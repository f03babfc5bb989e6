//! Stored messages, in one channel or one in each of many: what memory they take.

use super::{ANSWER_TIMEOUT, Figures, Scenario, Size};
use crate::Result;
use crate::message::{self, Faults};
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::request::{BEGINNING, Poll, publication};
use crate::server::Target;

/// Of many channels so many are read again, and with so many requests one. nchan, which gives a message with each answer and
/// looks for it from the beginning, would take hours for 100,000.
const READ: usize = 1_000;

pub(super) fn run(scenario: &Scenario, target: &Target) -> Result<Figures> {
    let size = &scenario.size;
    let server = Processes::of(&target.pids)?;
    let mut pool = Pool::hearing(size.bytes)?;
    for _ in 0..size.publishers {
        pool.connect(target.publish)?;
    }
    pool.settle(&server)?;
    let empty = server.memory()?;
    let messages = size.rounds as usize;
    fill(&mut pool, size.publishers, messages, |number, out| {
        let channel = number % size.channels;
        publication(&format!("fill{channel}"), (number / size.channels) as u32 + 1, size.bytes, out);
    })?;
    pool.settle(&server)?;
    let bytes = (server.memory()? as f64 - empty as f64) / messages as f64;
    let mut faults = Faults::default();
    for channel in (0..size.channels).step_by(size.channels.div_ceil(READ)) {
        let in_it = (messages - channel).div_ceil(size.channels);
        faults.add(stored(target, &format!("fill{channel}"), in_it, size)?);
    }
    Ok(scenario.figures(
        faults,
        [
            ("channels", size.channels as f64),
            ("messages", messages as f64),
            ("empty_server_bytes", empty as f64),
            ("bytes_per_message", bytes),
        ],
    ))
}

/// Sends the requests 0..`messages` over the first connections of the pool, each when the one before is answered.
pub(super) fn fill(
    pool: &mut Pool,
    publishers: usize,
    messages: usize,
    write: impl Fn(usize, &mut Vec<u8>),
) -> Result<()> {
    let (mut sent, mut answered, mut request) = (0, 0, Vec::new());
    for publisher in 0..publishers.min(messages) {
        request.clear();
        write(sent, &mut request);
        pool.send(publisher, &request)?;
        sent += 1;
    }
    while answered < messages {
        let answers = pool.turn(ANSWER_TIMEOUT, |_, response, request| {
            if !response.is_success() {
                return Err(format!("a publication was answered {}", response.status).into());
            }
            answered += 1;
            if sent < messages {
                write(sent, request);
                sent += 1;
            }
            Ok(())
        })?;
        if answers == 0 {
            return Err(format!("{} publications are not answered", sent - answered).into());
        }
    }
    Ok(())
}

/// Reads a channel into which several published at the same time: each message is there once, in whatever order.
fn stored(target: &Target, channel: &str, messages: usize, size: &Size) -> Result<Faults> {
    let mut pool = Pool::hearing(size.bytes)?;
    let reader = pool.connect(target.subscribe)?;
    let mut poll = Poll::new(channel);
    let mut request = poll.from(BEGINNING, b"").to_vec();
    let mut there = vec![false; messages];
    let (mut read, mut newest, mut faults) = (0, 0, Faults::default());
    for _ in 0..READ {
        if read == messages {
            break;
        }
        let answer = pool.exchange(reader, &request, ANSWER_TIMEOUT, |response| {
            message::counters(response.body, size.bytes, |counter| {
                let place = there.get_mut(counter as usize - 1).ok_or("a message that was never sent")?;
                faults.doubled += u64::from(*place);
                *place = true;
                newest = newest.max(counter as usize);
                read += 1;
                Ok(())
            })?;
            Ok((response.last_modified.to_vec(), response.etag.to_vec()))
        });
        // What is not there is waited for in vain.
        let Ok((last_modified, etag)) = answer else {
            newest = messages + size.publishers;
            break;
        };
        request = poll.from(&last_modified, &etag).to_vec();
    }
    // As many as there are publishers may be on their way at once, and so after the newest that was read.
    let complete = if read == messages { messages } else { newest.saturating_sub(size.publishers) };
    faults.lost = there[..complete].iter().filter(|there| !**there).count() as u64;
    Ok(faults)
}
