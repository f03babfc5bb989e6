//! Subscribers of one channel and its publisher. One that polls asks again as soon as it is answered, from the position it
//! was given, as a browser does; or, to time nothing but the fan-out, all ask again when the last has been answered.

use std::time::{Duration, Instant};

use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::{Pool, unexpected};
use crate::procfs::Processes;
use crate::request::{Poll, Transport, publication};
use crate::response::Response;
use crate::server::Target;

/// Without a single answer for this long, what is missing is lost.
const STALLED: Duration = Duration::from_secs(5);
/// Connections per millisecond while the audience gathers: no server's accept queue runs over.
const CONNECTIONS_PER_TURN: usize = 32;

/// When those that poll ask again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repoll {
    AtOnce,
    /// When [`Audience::poll_again`] says so.
    Together,
}

/// The subscribers of one channel, all waiting.
pub(crate) struct Audience {
    pool: Pool,
    channel: String,
    publisher: usize,
    hearing: Hearing,
    /// From the publication to each delivery, in µs.
    latencies: Vec<u32>,
}

/// What the subscribers have heard, and what they ask.
struct Hearing {
    message_size: usize,
    transport: Transport,
    repoll: Repoll,
    /// Connection number of the first subscriber; `seen` is in the same order.
    first: usize,
    seen: Vec<Seen>,
    faults: Faults,
    sent: u32,
    poll: Poll,
}

impl Hearing {
    /// An answer to a subscriber; each message that it did not have is handed to `new`.
    fn answer(
        &mut self,
        number: usize,
        response: &Response<'_>,
        request: &mut Vec<u8>,
        mut new: impl FnMut(u32),
    ) -> Result<()> {
        let Some(seen) = number.checked_sub(self.first).and_then(|at| self.seen.get_mut(at)) else {
            return unexpected(number, response, request);
        };
        match response.status {
            200 => message::counters(response.body, self.message_size, |counter| {
                if seen.note(counter, self.sent, &mut self.faults)? {
                    new(counter);
                }
                Ok(())
            })?,
            304 => {}
            _ => return unexpected(number, response, request),
        }
        if self.transport == Transport::LongPoll {
            let again = self.poll.from(response.last_modified, response.etag);
            if self.repoll == Repoll::AtOnce || response.status == 304 {
                request.extend_from_slice(again);
            }
        }
        Ok(())
    }
}

impl Audience {
    /// A channel with its publisher and no subscriber yet.
    pub(crate) fn new(
        target: &Target,
        channel: &str,
        transport: Transport,
        repoll: Repoll,
        message_size: usize,
    ) -> Result<Audience> {
        let mut pool = Pool::hearing(message_size)?;
        let publisher = pool.connect(target.publish)?;
        let hearing = Hearing {
            message_size,
            transport,
            repoll,
            first: publisher + 1,
            seen: Vec::new(),
            faults: Faults::default(),
            sent: 0,
            poll: Poll::new(channel),
        };
        Ok(Audience { pool, channel: channel.to_owned(), publisher, hearing, latencies: Vec::new() })
    }

    /// Connects `subscribers`; each subscribes at once, to its channel and `others` (`/b/c`).
    pub(crate) fn gather(&mut self, target: &Target, subscribers: usize, others: &str) -> Result<()> {
        let channels = self.channel.clone() + others;
        self.hearing.poll = Poll::new(&channels);
        for already in 0..subscribers {
            let number = self.pool.connect(target.subscribe)?;
            match self.hearing.transport {
                Transport::LongPoll => self.pool.send(number, self.hearing.poll.from(b"", b""))?,
                transport => self.pool.open(number, &transport.request(&channels))?,
            }
            self.hearing.seen.push(Seen::default());
            if already % CONNECTIONS_PER_TURN == CONNECTIONS_PER_TURN - 1 {
                self.pool.turn(Duration::from_millis(1), unexpected)?;
            }
        }
        let end = Instant::now() + STALLED;
        while self.pool.opening() > 0 {
            if Instant::now() > end {
                return Err(format!("{} subscriptions are not answered", self.pool.opening()).into());
            }
            self.pool.turn(Duration::from_millis(1), unexpected)?;
        }
        Ok(())
    }

    /// Waits until the server has read every request and does nothing more. What it still sends is heard.
    pub(crate) fn settle(&mut self, server: &Processes) -> Result<()> {
        let Audience { pool, hearing, .. } = self;
        pool.settle_hearing(server, |number, response, request| hearing.answer(number, response, request, |_| ()))
    }

    /// All that were answered ask again.
    pub(crate) fn poll_again(&mut self) -> Result<()> {
        for at in 0..self.hearing.seen.len() {
            self.pool.send(self.hearing.first + at, self.hearing.poll.again())?;
            if at % CONNECTIONS_PER_TURN == CONNECTIONS_PER_TURN - 1 {
                self.pool.turn(Duration::ZERO, unexpected)?;
            }
        }
        Ok(())
    }

    /// Publishes `messages`, each when the one before is acknowledged, and waits until every subscriber has them, and those
    /// that poll at once have asked again. Gives the time until the last delivery; `None` if some never got one.
    pub(crate) fn round(&mut self, messages: u32) -> Result<Option<Duration>> {
        let started = Instant::now();
        let Audience { pool, channel, publisher, hearing, latencies } = self;
        let (first, last) = (hearing.sent + 1, hearing.sent + messages);
        let mut request = Vec::new();
        hearing.sent = first;
        publication(channel, first, hearing.message_size, &mut request);
        pool.send(*publisher, &request)?;
        // The acknowledgement of each is one of them.
        let mut missing = (hearing.seen.len() + 1) * messages as usize;
        let (mut delivered, mut progress) = (started, started);
        while missing > 0 {
            let answers = pool.turn(STALLED, |number, response, request| {
                if number == *publisher {
                    if !response.is_success() {
                        return Err(format!("the publication was answered {}", response.status).into());
                    }
                    missing -= 1;
                    if hearing.sent < last {
                        hearing.sent += 1;
                        publication(channel, hearing.sent, hearing.message_size, request);
                    }
                    return Ok(());
                }
                hearing.answer(number, response, request, |counter| {
                    // Not what was missed in a round before.
                    if counter >= first {
                        missing -= 1;
                        delivered = Instant::now();
                        if messages == 1 {
                            latencies.push((delivered - started).as_micros() as u32);
                        }
                    }
                })
            })?;
            if answers > 0 {
                progress = Instant::now();
            } else if progress.elapsed() >= STALLED {
                return Ok(None);
            }
        }
        Ok(Some(delivered - started))
    }

    /// Forgets the latencies so far.
    pub(crate) fn forget_latencies(&mut self) {
        self.latencies.clear();
    }

    /// From each publication to each of its deliveries, in µs; of rounds of one message.
    pub(crate) fn latencies(&mut self) -> &mut Vec<u32> {
        &mut self.latencies
    }

    /// What went wrong so far.
    pub(crate) fn faults(&self) -> Faults {
        let Hearing { seen, sent, faults, .. } = &self.hearing;
        Faults { lost: seen.iter().map(|seen| seen.missing(*sent)).sum(), ..*faults }
    }
}
