//! Stored messages, in one channel or one in each of many: what memory they take.

use std::time::{Duration, Instant};

use super::{ANSWER_TIMEOUT, Figures, Scenario, Size};
use crate::Result;
use crate::message::{self, Faults};
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::request::{BEGINNING, Poll, publication};
use crate::server::Target;

/// Of many channels so many are read again.
const READ: usize = 1_000;
/// Of a rate the part of a slice of time is published at once. What a slice did not use is lost, so that no second has more
/// than the rate and one slice, whatever comes between.
const SLICES: u32 = 10;

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
    let begin = Instant::now();
    fill(&mut pool, size.publishers, messages, size.rate, |number, out| {
        let channel = number % size.channels;
        publication(&format!("fill{channel}"), (number / size.channels) as u32 + 1, size.bytes, out);
    })?;
    let seconds = begin.elapsed().as_secs_f64();
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
            ("seconds", seconds),
            ("empty_server_bytes", empty as f64),
            ("bytes_per_message", bytes),
        ],
    ))
}

/// Sends the requests 0..`messages` over the first connections of the pool, each when the one before is answered, and at
/// most `rate` each second; 0 is as many as there can be.
pub(super) fn fill(
    pool: &mut Pool,
    publishers: usize,
    messages: usize,
    rate: u32,
    write: impl Fn(usize, &mut Vec<u8>),
) -> Result<()> {
    let of_a_slice = if rate == 0 { messages } else { rate.div_ceil(SLICES) as usize };
    let mut slice = Instant::now();
    let (mut sent, mut answered, mut left, mut request) = (0, 0, of_a_slice, Vec::new());
    let mut free = (0..publishers).collect::<Vec<_>>();
    while answered < messages {
        while sent < messages
            && left > 0
            && let Some(publisher) = free.pop()
        {
            request.clear();
            write(sent, &mut request);
            pool.send(publisher, &request)?;
            sent += 1;
            left -= 1;
        }
        if sent > answered {
            let answers = pool.turn(ANSWER_TIMEOUT, |publisher, response, _| {
                if !response.is_success() {
                    return Err(format!("a publication was answered {}", response.status).into());
                }
                answered += 1;
                free.push(publisher);
                Ok(())
            })?;
            if answers == 0 {
                return Err(format!("{} publications are not answered", sent - answered).into());
            }
        } else {
            std::thread::sleep((Duration::from_secs(1) / SLICES).saturating_sub(slice.elapsed()));
            (slice, left) = (Instant::now(), of_a_slice);
        }
    }
    Ok(())
}

/// Reads a channel into which several published at the same time: each message is there once, in whatever order. nchan gives
/// a message with each answer, and looks for it from the newest: 45 s for 100,000.
fn stored(target: &Target, channel: &str, messages: usize, size: &Size) -> Result<Faults> {
    let mut pool = Pool::hearing(size.bytes)?;
    let reader = pool.connect(target.subscribe)?;
    let mut poll = Poll::new(channel);
    let mut request = poll.from(BEGINNING, b"").to_vec();
    let mut there = vec![false; messages];
    let (mut read, mut faults) = (0, Faults::default());
    while read < messages {
        let before = read;
        let answer = pool.exchange(reader, &request, ANSWER_TIMEOUT, |response| {
            message::counters(response.body, size.bytes, |counter| {
                let place = there.get_mut(counter as usize - 1).ok_or("a message that was never sent")?;
                faults.doubled += u64::from(*place);
                read += usize::from(!*place);
                *place = true;
                Ok(())
            })?;
            Ok((response.last_modified.to_vec(), response.etag.to_vec()))
        });
        // What is not there is waited for in vain, or the answer has none.
        let Ok((last_modified, etag)) = answer else { break };
        if read == before {
            break;
        }
        request = poll.from(&last_modified, &etag).to_vec();
    }
    faults.lost = there.iter().filter(|there| !**there).count() as u64;
    Ok(faults)
}
