//! The way out of a thread whose hub is followed by another one, or ends with all processes around it.
//!
//! Where another follows, it halts first: it serves nothing more, and no call is carried out. Then all that its subscribers
//! are owed is put out; after that nobody enters the engine again, whose journal is the other hub's by then. When that one
//! serves, connections between two requests go over to it as they are, and who waits is answered with the position up to
//! which it is complete: one after the other, so that ten thousand do not come back in the same millisecond.
//!
//! Where the kernel is about to end all processes of a container, everybody is answered at once. The hub goes on as if
//! nothing was: should it live on, whoever was answered comes back.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use tokio::sync::oneshot;

use super::{From, HttpThread};
use crate::fanout::{Dismissal, Key};
use crate::ingress::rings::{Halt, Peer};
use crate::message::Position;
use crate::passing::Passed;
use crate::process;
use crate::sequencer::Sequencer;
use crate::transport::connection::State;
use crate::transport::intake::What;
use crate::transport::reply::{Framing, Reply};
use crate::transport::stream::Renderer;

/// How long requests that are still coming in are waited for before the thread halts.
const READING: Duration = Duration::from_millis(200);

/// A step on the way out.
#[derive(Debug)]
pub(crate) enum Order {
    /// Halt, and say so.
    Halt(Sender<()>),
    /// Put out what is owed, and say so.
    Settle(Sender<()>),
    /// Leave: the next hub serves.
    Leave(Leave),
}

/// What is needed to leave.
#[derive(Debug)]
pub(crate) struct Leave {
    /// Up to where everybody is complete.
    pub(crate) head: Position,
    /// Between two answers, at most.
    pub(crate) each: Duration,
    /// All answers, at most.
    pub(crate) within: Duration,
    /// To the next hub, if there is one.
    pub(crate) passed: Option<Sender<Passed>>,
}

/// How far the thread is.
#[derive(Default)]
pub(super) struct Exit {
    pub(super) halt: Rc<Halt>,
    stage: Stage,
}

#[derive(Default)]
enum Stage {
    #[default]
    Serving,
    Halting {
        until: Instant,
        done: Sender<()>,
    },
    Halted,
    Leaving {
        leave: Leave,
        /// Who is still to be answered, the last one first.
        waiting: Vec<Key>,
        next: Instant,
    },
}

impl Exit {
    pub(super) fn begun(&self) -> bool {
        !matches!(self.stage, Stage::Serving)
    }

    pub(super) fn halted(&self) -> bool {
        matches!(self.stage, Stage::Halted | Stage::Leaving { .. })
    }

    pub(super) fn passes_on(&self) -> bool {
        matches!(&self.stage, Stage::Leaving { leave, .. } if leave.passed.is_some())
    }

    /// When the next step is due.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Halting { until, .. } => Some(*until),
            Stage::Leaving { waiting, next, .. } if !waiting.is_empty() => Some(*next),
            _ => None,
        }
    }

    /// Up to where everybody is complete who was not left behind.
    pub(super) fn head(&self) -> Option<Position> {
        match &self.stage {
            Stage::Leaving { leave, .. } => Some(leave.head),
            _ => None,
        }
    }
}

impl HttpThread {
    pub(super) fn follow_orders(&mut self) {
        let order = self.inbox.order.lock().expect("taking a value does not panic").take();
        match order {
            Some(Order::Halt(done)) => self.exit.stage = Stage::Halting { until: Instant::now() + READING, done },
            Some(Order::Settle(done)) => {
                self.fan_out();
                while self.owed {
                    self.fan_out();
                }
                // Nobody waits for it any more if that took too long.
                let _ = done.send(());
            }
            Some(Order::Leave(leave)) => self.begin_to_leave(leave),
            None => {}
        }
        match &self.exit.stage {
            Stage::Serving | Stage::Halted => {}
            Stage::Halting { .. } => self.halt_if_all_is_read(),
            Stage::Leaving { .. } => self.leave_on(),
        }
    }

    fn halt_if_all_is_read(&mut self) {
        self.adopt();
        let reads = self.reading.borrow().under_way > 0;
        if let Stage::Halting { until, done } = &self.exit.stage
            && (!reads || *until <= Instant::now())
        {
            let _ = done.send(());
            self.exit.stage = Stage::Halted;
            self.exit.halt.set();
        }
    }

    fn begin_to_leave(&mut self, leave: Leave) {
        self.draining = true;
        self.exit.stage = Stage::Leaving { leave, waiting: Vec::new(), next: Instant::now() };
        let mut subscribers = Vec::new();
        for key in self.connections.keys() {
            match self.connections.get(key).map(|connection| &connection.state) {
                Some(State::Waiting(_) | State::Streaming(_)) => subscribers.push(key),
                Some(State::Idle) => self.pass_on(key),
                Some(State::Sending(_) | State::Lingering { .. }) | None => {}
            }
        }
        if let Stage::Leaving { leave, waiting, .. } = &mut self.exit.stage {
            let count = u32::try_from(subscribers.len()).unwrap_or(u32::MAX).max(1);
            leave.each = leave.each.min(leave.within / count);
            *waiting = subscribers;
        }
    }

    /// Answers who is due, and looks after what came meanwhile.
    fn leave_on(&mut self) {
        loop {
            let Stage::Leaving { leave, waiting, next } = &mut self.exit.stage else { return };
            if *next > Instant::now() {
                break;
            }
            let Some(key) = waiting.pop() else { break };
            *next += leave.each;
            match self.connections.get(key).map(|connection| &connection.state) {
                Some(State::Waiting(_)) => self.time_out(key),
                Some(State::Streaming(_)) => self.end_stream(key, None),
                _ => {}
            }
        }
        let accepted = mem::take(&mut *self.inbox.accepted.lock().expect("taking a list does not panic"));
        for (socket, from, unread) in accepted {
            // A client whose connection closes tries again.
            if from != From::Client
                && let Stage::Leaving { leave: Leave { passed: Some(passed), .. }, .. } = &self.exit.stage
            {
                let _ = passed.send(Passed { socket, from, unread });
            }
        }
        let read = mem::take(&mut self.reading.borrow_mut().done);
        for (intake, from) in read {
            let Ok(key) = self.connections.insert(intake.socket, from) else { continue };
            let reply = match intake.what {
                // It took too long to come in whole.
                What::Request(_) => {
                    Reply::refusal(503, "The hub is being replaced; send it again.").header("Retry-After", 0)
                }
                What::Refused(status, reason) => Reply::refusal(status, reason),
                What::Over => {
                    self.linger(key);
                    continue;
                }
            };
            self.send(key, &reply.render(Framing { http10: false, keep_alive: false, head: false }), false);
        }
    }

    /// Gives a connection between two requests to the next hub. Where none follows, it ends.
    pub(super) fn pass_on(&mut self, key: Key) {
        let Stage::Leaving { leave: Leave { passed: Some(passed), .. }, .. } = &self.exit.stage else {
            return self.linger(key);
        };
        let Some(connection) = self.connections.get(key) else { return };
        let (from, unread) = (connection.from, mem::take(&mut connection.unread));
        if let Some(socket) = self.connections.detach(key) {
            // Without the next hub it closes here.
            let _ = passed.send(Passed { socket, from, unread });
        }
    }
    /// Tells who waits how far it is complete, and nothing else. False when it does not wait.
    pub(super) fn send_away(&mut self, key: Key) -> bool {
        let complete = self.engine.complete_to(self.id);
        let config = self.config.clone();
        let Some(connection) = self.connections.get(key) else { return false };
        match &mut connection.state {
            State::Waiting(_) => self.time_out(key),
            State::Streaming(stream) => {
                if let Some(complete) = complete.filter(|_| !stream.behind) {
                    let mut out = Vec::new();
                    let http10 = stream.waiting.framing.http10;
                    Renderer::new(&config, &stream.waiting.form, http10).place(&mut out, complete);
                    stream.output.push(out.into());
                }
                self.end_stream(key, None);
            }
            State::Idle | State::Sending(_) | State::Lingering { .. } => return false,
        }
        true
    }
}

/// A PHP master ends: if the hub ends with it, answers everyone who waits.
pub(super) async fn answer_all_if_we_end_with(peer: Peer, engine: &Sequencer) {
    let may = peer.uid == 0 || peer.uid == geteuid().as_raw();
    if !may || !process::takes_all_with_it(peer.pid) {
        return;
    }
    tracing::info!("the PHP master (pid {}) ends, and all processes here with it: who waits is answered", peer.pid);
    let (done, all_told) = oneshot::channel();
    let done = Box::new(|_| {
        // Whoever asked may have gone on.
        let _ = done.send(());
    });
    engine.dismiss(&Arc::new(Dismissal::new(engine.counters().count(), None, None, None, done)));
    let _ = all_told.await;
}
