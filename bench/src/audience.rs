//! Subscribers of one channel and its publisher. One that polls asks again as soon as it is answered, from the position it
//! was given, as a browser does.

use std::time::{Duration, Instant};

use crate::Result;
use crate::message::{self, Faults, Seen};
use crate::pool::{Pool, unexpected};
use crate::procfs::Processes;
use crate::request::{Poll, Transport, publication};
use crate::server::Target;

/// Without a single answer for this long, what is missing is lost.
const STALLED: Duration = Duration::from_secs(10);
/// Connections per millisecond while the audience gathers: no server's accept queue runs over.
const CONNECTIONS_PER_TURN: usize = 32;

/// The subscribers of one channel, all waiting.
pub(crate) struct Audience {
    pool: Pool,
    channel: String,
    transport: Transport,
    publisher: usize,
    /// Connection number of the first subscriber; `seen` is in the same order.
    first: usize,
    seen: Vec<Seen>,
    faults: Faults,
    sent: u32,
    poll: Poll,
}

impl Audience {
    /// A channel with its publisher and no subscriber yet.
    pub(crate) fn new(target: &Target, channel: &str, transport: Transport) -> Result<Audience> {
        let mut pool = Pool::new()?;
        let publisher = pool.connect(target.publish)?;
        Ok(Audience {
            pool,
            channel: channel.to_owned(),
            transport,
            publisher,
            first: publisher + 1,
            seen: Vec::new(),
            faults: Faults::default(),
            sent: 0,
            poll: Poll::new(channel),
        })
    }

    /// Connects `subscribers`; each subscribes at once.
    pub(crate) fn gather(&mut self, target: &Target, subscribers: usize) -> Result<()> {
        for already in 0..subscribers {
            let number = self.pool.connect(target.subscribe)?;
            match self.transport {
                Transport::LongPoll => self.pool.send(number, self.poll.from(b"", b""))?,
                transport => self.pool.open(number, &transport.request(&self.channel))?,
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

    /// Publishes one message and waits until every subscriber has it, and those that poll have asked again. False if some never got it.
    pub(crate) fn round(&mut self) -> Result<bool> {
        self.sent += 1;
        self.pool.send(self.publisher, &publication(&self.channel, self.sent))?;
        let Audience { pool, channel: _, transport, publisher, first, seen, faults, sent, poll } = self;
        // The publisher's own answer is one of them.
        let mut missing = seen.len() + 1;
        let mut progress = Instant::now();
        while missing > 0 {
            let answers = pool.turn(STALLED, |number, response, request| {
                if number == *publisher {
                    if !response.is_success() {
                        return Err(format!("the publication was answered {}", response.status).into());
                    }
                    missing -= 1;
                    return Ok(());
                }
                match response.status {
                    200 => message::counters(response.body, |counter| {
                        if seen[number - *first].note(counter, faults)? && counter == *sent {
                            missing -= 1;
                        }
                        Ok(())
                    })?,
                    304 => {}
                    _ => return unexpected(number, response, request),
                }
                if *transport == Transport::LongPoll {
                    request.extend_from_slice(poll.from(response.last_modified, response.etag));
                }
                Ok(())
            })?;
            if answers > 0 {
                progress = Instant::now();
            } else if progress.elapsed() >= STALLED {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What went wrong so far.
    pub(crate) fn faults(&self) -> Faults {
        let lost = self.seen.iter().map(|seen| seen.missing(self.sent)).sum();
        Faults { lost, ..self.faults }
    }
}
