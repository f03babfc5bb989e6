//! The segment of a client and the hub at its other end: one call put into the ring, one answer waited for.
//!
//! Knows what became of a call when the hub ends meanwhile: nothing was heard of it, part of it was carried out, or nobody can
//! tell. What follows from that is the client's to decide.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{LONGEST_REPLY, nonsense};
use crate::call::Outcome;
use crate::error::Error;
use crate::message::Published;
use crate::online::Key;
use crate::shm::doorbell::{self, Line, Woken};
use crate::shm::progress::Progress;
use crate::shm::ring::{Consumer, Corrupt, Next, Producer};
use crate::shm::segment::Segment;
use crate::shm::set::View;

/// The segment, and the hub that serves it, if one does.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) memfd: OwnedFd,
    pub(super) requests: Producer<Segment>,
    pub(super) replies: Consumer<Segment>,
    pub(super) segment: Segment,
    pub(super) progress: Progress,
    pub(super) hub: Option<Hub>,
    /// Messages pushed since the hub was last rung.
    pub(super) unrung: u32,
}

#[derive(Debug)]
pub(super) struct Hub {
    /// What it and we speak.
    pub(super) protocol: u16,
    pub(super) line: Line,
    pub(super) bell: OwnedFd,
    /// Who is online, and the key to that.
    pub(super) online: Option<(Key, View)>,
}

/// Why a link cannot go on with a call.
#[derive(Debug)]
pub(super) enum Stop {
    /// The deadline is over.
    TimedOut,
    /// The hub is gone and has not acted on the call, of which nothing is left in the ring.
    Unheard,
    /// The hub is gone after it took the call, and there is no answer.
    Gone,
    /// The same, and the next one has the results of what was carried out, but not the rest of the call.
    Torn(Vec<Published>),
    /// The hub wrote nonsense.
    Corrupt(Corrupt),
}

impl From<Corrupt> for Stop {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// The end of a call's time. The clock is first read when the call has to wait: most never do.
#[derive(Debug)]
pub(super) struct Deadline {
    timeout: Duration,
    pub(super) at: Option<Instant>,
}

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self { timeout, at: None }
    }

    pub(super) fn at(&mut self) -> Instant {
        *self.at.get_or_insert_with(|| Instant::now() + self.timeout)
    }

    pub(super) fn missed(&self) -> Error {
        Error::Timeout { milliseconds: self.timeout.as_millis() as u64 }
    }
}

/// A call that was put into the ring.
pub(super) struct Sent {
    /// Where it begins.
    start: u64,
    /// Whether it passed through the ring piece by piece.
    streams: bool,
}

impl Link {
    /// The protocol of the hub that serves it.
    pub(super) fn speaks(&self) -> u16 {
        self.hub.as_ref().map_or(0, |hub| hub.protocol)
    }

    /// Puts the call into the ring and tells the hub.
    pub(super) fn send(&mut self, call: &[u8], deadline: &mut Deadline) -> Result<Sent, Stop> {
        let start = self.requests.head();
        let streams = self.requests.layout().streams(call.len());
        let mut sent = 0;
        while !self.requests.push(call, &mut sent)? {
            self.requests.want_room();
            if self.requests.push(call, &mut sent)? {
                break;
            }
            // Last, because both attempts may have written frames.
            self.tell_hub();
            self.drain_replies(0)?;
            match self.wait(deadline) {
                Woken::Perhaps => {}
                Woken::TimedOut => return Err(Stop::TimedOut),
                Woken::Gone => return Err(self.lost(start, false)),
            }
        }
        self.tell_hub();
        Ok(Sent { start, streams })
    }

    /// A call that streams through the ring does not survive the hub that was reading it: the one that took the ring over
    /// found only the rest of it, and what that hub had carried out.
    fn check_stream(&self, sent: &Sent) -> Result<(), Stop> {
        if !sent.streams || self.progress.taken_over_at() <= sent.start {
            return Ok(());
        }
        if !self.carried_out(sent.start) {
            return Err(Stop::Unheard);
        }
        let parts = self.progress.parts();
        let results: Vec<_> =
            (0..parts).map_while(|part| self.progress.result(part)).map(Published::from_words).collect();
        Err(if results.len() as u64 == parts { Stop::Torn(results) } else { Stop::Gone })
    }

    fn carried_out(&self, start: u64) -> bool {
        self.progress.call() == Some(start) && self.progress.parts() > 0
    }

    /// For a call without answer: makes sure that a hub has it, or will.
    pub(super) fn settle(&mut self, sent: &Sent, deadline: &mut Deadline) -> Result<(), Stop> {
        // Looking costs a system call, as much as ringing did. Without a ring the hub is awake, or was killed awake: look
        // after 1, 2, 4 ... messages, so that neither a burst gets slow nor a dead hub's ring fills.
        let look = self.unrung == 0 || self.unrung.is_power_of_two() || self.unrung.is_multiple_of(256);
        if look && self.hub.as_ref().is_none_or(|hub| doorbell::hung_up(hub.line.as_fd())) {
            return Err(self.lost(sent.start, true));
        }
        // The hub holds the beginning of a streamed message in memory of its own, so the ring would not survive it.
        while sent.streams && !self.has_caught_up()? {
            self.requests.want_room();
            if self.has_caught_up()? {
                break;
            }
            self.drain_replies(0)?;
            match self.wait(deadline) {
                Woken::Perhaps => {}
                Woken::TimedOut => return Err(Stop::TimedOut),
                Woken::Gone => return Err(self.lost(sent.start, true)),
            }
        }
        self.check_stream(sent)
    }

    /// Waits for the answer with this number.
    pub(super) fn await_reply(&mut self, number: u64, sent: &Sent, deadline: &mut Deadline) -> Result<Outcome, Stop> {
        loop {
            // Before the replies: what is there then, the hub before had answered.
            let whole = self.check_stream(sent);
            if let Some(outcome) = self.drain_replies(number)? {
                return Ok(outcome);
            }
            whole?;
            if !self.replies.want_data()? {
                continue;
            }
            let woken = self.wait(deadline);
            if woken == Woken::Perhaps {
                continue;
            }
            self.replies.awake();
            // It may have answered at the last moment.
            return match self.drain_replies(number)? {
                Some(outcome) => Ok(outcome),
                None if woken == Woken::TimedOut => Err(Stop::TimedOut),
                None => Err(self.lost(sent.start, true)),
            };
        }
    }

    /// Reads the replies up to the one with this number, or all. Others are answers to calls that timed out.
    fn drain_replies(&mut self, number: u64) -> Result<Option<Outcome>, Stop> {
        let mut wanted = None;
        loop {
            match self.replies.next(LONGEST_REPLY)? {
                Next::Empty => break,
                Next::Part | Next::TooLong(..) => {}
                Next::Message(bytes) => {
                    let reply = postcard::take_from_bytes::<u64>(bytes).ok();
                    if let Some((_, outcome)) = reply.filter(|(found, _)| *found == number) {
                        wanted = Some(postcard::from_bytes(outcome).unwrap_or_else(|_| Err(nonsense())));
                    }
                }
            }
            self.replies.release();
            // What follows an answer is what a subscription gets.
            if wanted.is_some() {
                break;
            }
        }
        // The hub reads no requests while it has no room for its replies.
        if self.replies.producer_waits(true)
            && let Some(hub) = &self.hub
        {
            doorbell::ring(hub.bell.as_fd());
        }
        Ok(wanted)
    }

    /// Rings if the hub sleeps.
    fn tell_hub(&mut self) {
        let Some(hub) = &self.hub else { return };
        if self.requests.consumer_waits() {
            doorbell::ring(hub.bell.as_fd());
            self.unrung = 0;
        } else {
            self.unrung = self.unrung.wrapping_add(1);
        }
    }

    fn wait(&mut self, deadline: &mut Deadline) -> Woken {
        self.hub.as_mut().map_or(Woken::Gone, |hub| hub.line.wait(deadline.at()))
    }

    pub(super) fn has_caught_up(&mut self) -> Result<bool, Corrupt> {
        Ok(self.requests.consumed()? == self.requests.head())
    }

    /// Hub and keeper are gone. Unless the call that begins at `start` was taken, it is taken out of the ring; what lies
    /// before it stays for the next hub.
    fn lost(&mut self, start: u64, complete: bool) -> Stop {
        self.hub = None;
        match self.has_caught_up() {
            Ok(true) if complete => Stop::Gone,
            // It was killed between its work and its answer.
            Ok(false) if complete && self.carried_out(start) => Stop::Gone,
            Ok(_) => self.requests.retract(start).map_or_else(Stop::Corrupt, |()| Stop::Unheard),
            Err(corrupt) => Stop::Corrupt(corrupt),
        }
    }
}
