//! Subscribers of one channel and its publisher. One that polls asks again as soon as it is answered, from the position it
//! was given, as a browser does; or, to time nothing but the fan-out, all ask again when the last has been answered.

use std::time::{Duration, Instant};

use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::{Pool, unexpected};
use crate::procfs::Processes;
use crate::request::{Poll, Transport, publication};
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
    message_size: usize,
    transport: Transport,
    repoll: Repoll,
    publisher: usize,
    /// Connection number of the first subscriber; `seen` is in the same order.
    first: usize,
    seen: Vec<Seen>,
    faults: Faults,
    sent: u32,
    poll: Poll,
    /// From the publication to each delivery, in µs.
    latencies: Vec<u32>,
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
        Ok(Audience {
            pool,
            channel: channel.to_owned(),
            message_size,
            transport,
            repoll,
            publisher,
            first: publisher + 1,
            seen: Vec::new(),
            faults: Faults::default(),
            sent: 0,
            poll: Poll::new(channel),
            latencies: Vec::new(),
        })
    }

    /// Connects `subscribers`; each subscribes at once, to its channel and `others` (`/b/c`).
    pub(crate) fn gather(&mut self, target: &Target, subscribers: usize, others: &str) -> Result<()> {
        let channels = self.channel.clone() + others;
        self.poll = Poll::new(&channels);
        for already in 0..subscribers {
            let number = self.pool.connect(target.subscribe)?;
            match self.transport {
                Transport::LongPoll => self.pool.send(number, self.poll.from(b"", b""))?,
                transport => self.pool.open(number, &transport.request(&channels))?,
            }
            self.seen.push(Seen::default());
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

    /// Waits until the server has read every request and does nothing more.
    pub(crate) fn settle(&mut self, server: &Processes) -> Result<()> {
        self.pool.settle(server)
    }

    /// All that were answered ask again.
    pub(crate) fn poll_again(&mut self) -> Result<()> {
        for at in 0..self.seen.len() {
            self.pool.send(self.first + at, self.poll.again())?;
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
        let last = self.sent + messages;
        let Audience {
            pool, channel, message_size, transport, repoll, publisher, first, seen, faults, sent, poll, ..
        } = self;
        let latencies = &mut self.latencies;
        let mut request = Vec::new();
        *sent += 1;
        publication(channel, *sent, *message_size, &mut request);
        pool.send(*publisher, &request)?;
        // The acknowledgement of each is one of them.
        let mut missing = (seen.len() + 1) * messages as usize;
        let (mut delivered, mut progress) = (started, started);
        while missing > 0 {
            let answers = pool.turn(STALLED, |number, response, request| {
                if number == *publisher {
                    if !response.is_success() {
                        return Err(format!("the publication was answered {}", response.status).into());
                    }
                    missing -= 1;
                    if *sent < last {
                        *sent += 1;
                        publication(channel, *sent, *message_size, request);
                    }
                    return Ok(());
                }
                match response.status {
                    200 => message::counters(response.body, *message_size, |counter| {
                        if seen[number - *first].note(counter, *sent, faults)? && counter > last - messages {
                            missing -= 1;
                            delivered = Instant::now();
                            if messages == 1 {
                                latencies.push((delivered - started).as_micros() as u32);
                            }
                        }
                        Ok(())
                    })?,
                    304 => {}
                    _ => return unexpected(number, response, request),
                }
                if *transport == Transport::LongPoll {
                    let again = poll.from(response.last_modified, response.etag);
                    if *repoll == Repoll::AtOnce || response.status == 304 {
                        request.extend_from_slice(again);
                    }
                }
                Ok(())
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
        let lost = self.seen.iter().map(|seen| seen.missing(self.sent)).sum();
        Faults { lost, ..self.faults }
    }
}
