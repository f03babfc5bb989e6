//! One HTTP thread: reads its connections, serves their requests, and fans out to those that wait.
//!
//! Everything of a connection happens on its thread, in turns: what woke the thread is handled, then one request of each
//! connection that has some. So nobody is held up by a client that sends requests faster than they are served. Only requests that hyper has to read, and the clients of the wire, are tasks of
//! their own.

mod leaving;
mod streams;

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustix::event::{Timespec, epoll};
use smallvec::SmallVec;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::access::limits::Payer;
use crate::call::{Answer, Call};
use crate::channel::{ChannelId, ThreadId};
use crate::config::Config;
use crate::control::Control;
use crate::fanout::{Dismissal, Key, Mailbox, Places, Seating};
use crate::identity::Grant;
use crate::ingress::admission::Admission;
use crate::ingress::feed::{Feed, Feeds};
use crate::ingress::rings::{self, Attachment, Carried, Greeting, Halt, Origin};
use crate::ingress::{Disconnect, answer, disconnect};
use crate::message::Position;
use crate::metrics::Counters;
use crate::readiness::watch;
use crate::sequencer::{Deletion, Event, Moment, Seats, Sequencer};
use crate::transport::client_address::Sender;
use crate::transport::connection::{Connection, Connections, Progress, State, Waiting};
use crate::transport::deadlines::{Deadlines, NEVER, Tick};
use crate::transport::intake::{Intake, What, read_request};
use crate::transport::long_poll;
use crate::transport::render::Item;
use crate::transport::reply::{Framing, Reply};
use crate::transport::request::{MAX_HEAD, Parsed, Request, parse, room};
use crate::transport::stream::Frames;
use crate::transport::{Farewell, Form, Outcome, serve, websocket};

use leaving::Exit;
pub(crate) use leaving::{Leave, Order};

/// Readiness taken from the kernel in one go.
const EVENTS: usize = 256;
/// Turns after which tasks have theirs at the latest.
const TURNS: u32 = 8;
/// Events for which a thread keeps room.
const FEW: usize = 64;
/// How long, and how many bytes, a closing connection is read for.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;

/// What kind of listener a socket was accepted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Public,
    Admin,
    /// Where nginx hands over what PHP has let in.
    Trusted,
    /// The attach socket.
    Client,
}

/// What other threads put before an HTTP thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) mailbox: Arc<Mailbox>,
    /// Accepted sockets, and what was read from them elsewhere.
    accepted: Mutex<Vec<(OwnedFd, From, Bytes)>>,
    /// A configuration to go on with.
    config: Mutex<Option<Arc<Config>>>,
    /// Clients of the hub before this one.
    attached: Mutex<Vec<Attachment>>,
    /// Of a hub that is followed by another.
    order: Mutex<Option<Order>>,
    draining: AtomicBool,
}

impl Inbox {
    pub(crate) fn deal_client(&self, client: Attachment) {
        self.attached.lock().expect("pushing to a list does not panic").push(client);
        self.mailbox.wake();
    }

    pub(crate) fn deal(&self, socket: OwnedFd, from: From) {
        self.deal_read(socket, from, Bytes::new());
    }

    /// The same for a connection of which another hub has read something.
    pub(crate) fn deal_read(&self, socket: OwnedFd, from: From, unread: Bytes) {
        self.accepted.lock().expect("pushing to a list does not panic").push((socket, from, unread));
        self.mailbox.wake();
    }

    /// Has the thread take a step on the way out.
    pub(crate) fn order(&self, order: Order) {
        *self.order.lock().expect("storing a value does not panic") = Some(order);
        self.mailbox.wake();
    }

    pub(crate) fn reconfigure(&self, config: Arc<Config>) {
        *self.config.lock().expect("storing a pointer does not panic") = Some(config);
        self.mailbox.wake();
    }

    /// The thread is to answer everyone and end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.mailbox.wake();
    }
}

/// Connections that hyper has read a request from, and how many it is still reading.
#[derive(Default)]
struct Reading {
    done: Vec<(Intake, From)>,
    under_way: usize,
}

pub(crate) struct HttpThread {
    id: ThreadId,
    engine: Arc<Sequencer>,
    config: Arc<Config>,
    inbox: Arc<Inbox>,
    admission: Arc<Admission>,
    control: Option<Arc<Control>>,
    connections: Connections,
    seating: Seating,
    /// Of attached programs, whose tasks share them.
    feeds: Rc<Feeds>,
    deadlines: Deadlines,
    now: Tick,
    reading: Rc<RefCell<Reading>>,
    /// Connections that may have a request to serve, each once: [`Connection::queued`].
    ready: Vec<Key>,
    /// Connections that may publish, each once, until there are fewer publications: [`Sequencer::is_crowded`].
    held: Vec<Key>,
    /// Streams that have something to write, each once: [`Stream::touched`](crate::transport::stream::Stream::touched).
    touched: Vec<Key>,
    /// The engine has more for this thread than it took.
    owed: bool,
    /// Nothing, and room for what is taken next.
    events: Vec<Event>,
    buffer: Box<[u8]>,
    draining: bool,
    exit: Exit,
}

impl HttpThread {
    pub(crate) fn new(
        id: ThreadId,
        engine: Arc<Sequencer>,
        config: Arc<Config>,
        inbox: Arc<Inbox>,
        admission: Arc<Admission>,
        control: Option<Arc<Control>>,
    ) -> std::io::Result<Self> {
        let feeds = Rc::new(Feeds::new(id, engine.clone(), config.clone()));
        Ok(Self {
            id,
            engine,
            config,
            inbox,
            admission,
            // A hub of a keeper is alone in its process; programs that a hub is embedded in do as they like.
            connections: Connections::new(control.is_none())?,
            control,
            seating: Seating::default(),
            feeds,
            deadlines: Deadlines::new(),
            now: 0,
            reading: Rc::default(),
            ready: Vec::new(),
            held: Vec::new(),
            touched: Vec::new(),
            owed: false,
            events: Vec::new(),
            buffer: vec![0; MAX_HEAD].into(),
            draining: false,
            exit: Exit::default(),
        })
    }

    /// Runs until drained. Needs a `LocalSet`.
    pub(crate) async fn run(mut self) -> std::io::Result<()> {
        let epoll = rustix::io::fcntl_dupfd_cloexec(self.connections.epoll(), 0)?;
        let epoll = watch(epoll, Interest::READABLE)?;
        let inbox = self.inbox.clone();
        let mut events = Vec::with_capacity(EVENTS);
        let mut alarm = pin!(tokio::time::sleep(Duration::ZERO));
        let mut turn = 0u32;
        loop {
            let next = self.deadlines.next().into_iter().chain(self.exit.next()).min();
            if let Some(next) = next
                && alarm.deadline().into_std() != next
            {
                alarm.as_mut().reset(next.into());
            }
            let more = !self.exit.halted() && (self.owed || !self.ready.is_empty());
            turn = turn.wrapping_add(1);
            // The tasks of this thread have their turn, also while there is always something to collect.
            if more || turn.is_multiple_of(TURNS) {
                yield_now().await;
            }
            poll_fn(|cx| {
                if let Poll::Ready(collected) = collect(&epoll, &mut events, cx) {
                    return Poll::Ready(collected);
                }
                let woken = more || inbox.mailbox.poll_woken(cx).is_ready();
                if woken || (next.is_some() && alarm.as_mut().poll(cx).is_ready()) {
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending
            })
            .await?;
            self.now = self.deadlines.now();
            for event in events.drain(..) {
                self.on_event(event.data.u64() as Key, event.flags);
            }
            self.expire();
            self.work();
            self.counters().open(self.connections.len() + self.reading.borrow().under_way);
            if self.draining && self.connections.len() == 0 && self.reading.borrow().under_way == 0 {
                inbox.mailbox.close();
                return Ok(());
            }
        }
    }

    /// Handles what others brought, and a request of each connection that is ready.
    fn work(&mut self) {
        let woken = self.inbox.mailbox.answered();
        if self.exit.begun() || woken {
            self.follow_orders();
        }
        if self.exit.halted() {
            return;
        }
        if woken {
            if let Some(control) = &self.control {
                control.thread_lives(self.id);
            }
            self.counters().woken();
            if let Some(config) = self.inbox.config.lock().expect("taking a pointer does not panic").take() {
                self.feeds.reconfigure(config.clone());
                self.config = config;
            }
            self.adopt();
        }
        let drains = self.inbox.draining.load(Ordering::Acquire) && !self.draining;
        if woken || self.owed {
            self.fan_out();
            while drains && self.owed {
                self.fan_out();
            }
            // After what was published before: who is sent away gets that.
            if !self.owed {
                for dismissal in self.inbox.mailbox.dismissals() {
                    self.dismiss_all(&dismissal);
                }
            }
        }
        if drains {
            self.start_draining();
        }
        let crowded = self.engine.is_crowded();
        self.exit.halt.crowd(crowded);
        if !crowded {
            self.ready.append(&mut self.held);
        }
        // Those only: who gets ready meanwhile has its turn next.
        let ready = self.ready.len();
        for at in 0..ready {
            self.serve_next(self.ready[at]);
        }
        self.ready.drain(..ready);
        self.ready.shrink_to(self.connections.len());
    }

    /// Has the connection wait with all that is not read of it while publications are too many. False when they are not.
    fn hold(&mut self, key: Key) -> bool {
        let crowded = self.engine.is_crowded();
        if crowded && let Some(connection) = self.connections.get(key) {
            connection.queued = true;
            self.held.push(key);
        }
        crowded
    }

    fn serving(&self) -> Serving {
        Serving {
            admission: self.admission.clone(),
            engine: self.engine.clone(),
            control: self.control.clone(),
            inbox: self.inbox.clone(),
            feeds: self.feeds.clone(),
            halt: self.exit.halt.clone(),
        }
    }

    /// The connection gets a turn to have a request served.
    fn queue(&mut self, key: Key) {
        if let Some(connection) = self.connections.get(key).filter(|connection| !connection.queued) {
            connection.queued = true;
            self.ready.push(key);
        }
    }

    fn adopt(&mut self) {
        for client in std::mem::take(&mut *self.inbox.attached.lock().expect("pushing to a list does not panic")) {
            tokio::task::spawn_local(serve_attached(client, self.serving()));
        }
        let accepted = std::mem::take(&mut *self.inbox.accepted.lock().expect("pushing to a list does not panic"));
        for (socket, from, unread) in accepted {
            if from == From::Client {
                tokio::task::spawn_local(serve_client(socket, self.serving()));
            } else if let Ok(key) = self.connections.insert(socket, from) {
                self.set_deadline(key, Some(self.config.header_timeout));
                if let Some(connection) = self.connections.get(key).filter(|_| !unread.is_empty()) {
                    connection.unread = unread;
                    self.queue(key);
                }
                if self.draining {
                    self.last_turn(key);
                }
            }
        }
        let read = std::mem::take(&mut self.reading.borrow_mut().done);
        for (intake, from) in read {
            let Ok(key) = self.connections.insert(intake.socket, from) else { continue };
            self.set_deadline(key, Some(self.config.keepalive_timeout));
            if let Some(connection) = self.connections.get(key) {
                connection.unread = intake.unread;
            }
            match intake.what {
                What::Request(request) => {
                    let framing = self.frame(request.framing());
                    let outcome = request.with(|request| self.outcome(key, from, request));
                    self.settle(key, framing, outcome);
                }
                What::Refused(status, reason) => {
                    let framing = Framing { http10: false, keep_alive: false, head: false };
                    self.settle(key, framing, Outcome::Reply(Reply::refusal(status, reason)));
                }
                What::Over => self.linger(key),
            }
        }
    }

    fn on_event(&mut self, key: Key, flags: epoll::EventFlags) {
        let Some(connection) = self.connections.get(key) else { return };
        connection.readable |= flags.contains(epoll::EventFlags::IN);
        connection.hung_up |=
            flags.intersects(epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        let room = flags.intersects(epoll::EventFlags::OUT | epoll::EventFlags::HUP | epoll::EventFlags::ERR);
        match connection.state {
            State::Idle => self.queue(key),
            State::Waiting(_) if connection.hung_up => self.close(key),
            State::Waiting(_) => {}
            State::Streaming(_) => self.on_stream_event(key, room),
            State::Sending(ref mut sending) => {
                if room {
                    sending.output.unblock();
                }
                self.send_rest(key);
            }
            State::Lingering { .. } => self.discard(key),
        }
    }

    /// Serves the next request, if the client has sent one; another turn follows when it has sent more.
    fn serve_next(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        connection.queued = false;
        match connection.state {
            State::Idle => {}
            State::Streaming(_) => return self.serve_stream(key),
            State::Waiting(_) | State::Sending(_) | State::Lingering { .. } => return,
        }
        let from = connection.from;
        let bytes = std::mem::take(&mut connection.unread);
        if !bytes.is_empty() {
            return self.serve_first(key, from, &bytes);
        }
        if !connection.readable && !connection.hung_up {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        match connection.read(&mut buffer) {
            None if self.draining => self.close(key),
            None => {}
            Some(0) => self.close(key),
            Some(n) => self.serve_first(key, from, &buffer[..n]),
        }
        self.buffer = buffer;
    }

    /// Serves the first request in `bytes` and leaves the rest with the connection; or lets hyper read on.
    fn serve_first(&mut self, key: Key, from: From, bytes: &[u8]) {
        let mut room = room();
        let (framing, outcome, len) = match parse(bytes, &mut room) {
            Parsed::Plain(request, _) if matches!(request.method, "POST" | "PUT") && self.hold(key) => {
                if let Some(connection) = self.connections.get(key) {
                    connection.unread = Bytes::copy_from_slice(bytes);
                }
                return;
            }
            Parsed::Plain(request, len) => (self.frame(request.framing), self.outcome(key, from, &request), len),
            Parsed::Other => {
                return self.read_slowly(key, from, bytes.to_vec());
            }
        };
        if len < bytes.len()
            && let Some(connection) = self.connections.get(key)
        {
            connection.unread = Bytes::copy_from_slice(&bytes[len..]);
        }
        self.settle(key, framing, outcome);
    }

    fn outcome(&self, key: Key, from: From, request: &Request<'_>) -> Outcome {
        if request.body.len() as u64 > self.config.max_message_size {
            return Outcome::Reply(Reply::refusal(413, "The body is larger than max_message_size allows."));
        }
        let sender =
            self.connections.socket(key).map(|socket| Sender { socket, trusted: &self.config.trusted_proxies });
        serve(&self.engine, &self.config, self.id, from, &Request { sender, ..*request })
    }

    fn frame(&self, framing: Framing) -> Framing {
        Framing { keep_alive: framing.keep_alive && (!self.draining || self.exit.passes_on()), ..framing }
    }

    fn settle(&mut self, key: Key, framing: Framing, outcome: Outcome) {
        match outcome {
            Outcome::Reply(reply) => self.send(key, &reply.render(framing), framing.keep_alive),
            Outcome::Wait { from, seats, form, grant, payer, user } => {
                let waiting = Waiting { from, places: Places::new(), form, framing, grant, payer, user };
                self.park(key, waiting, &seats);
            }
            Outcome::Stream { missed, seats, form, grant, payer, user, head } => {
                let from = missed.position;
                let waiting = Waiting { from, places: Places::new(), form, framing, grant, payer, user };
                self.open_stream(key, waiting, &missed, &seats, &head);
            }
            Outcome::Refusal { head, refusal } => {
                let answer = [head.render_open(Frames::WebSocket, false), refusal_frame(&refusal)].concat();
                self.send(key, &answer, false);
            }
        }
    }

    fn park(&mut self, key: Key, mut waiting: Waiting, seats: &Seats) {
        let Some(connection) = self.connections.get(key) else { return };
        let location = &self.config.locations[usize::from(waiting.form.location)];
        let ttl = location.longpolling_connection_ttl.or(location.subscriber_connection_ttl);
        let ttl = [ttl, waiting.grant.as_deref().and_then(Grant::time_left)].into_iter().flatten().min();
        waiting.places = self.seating.add(key, seats);
        self.inbox.mailbox.counters.seated(waiting.form.mode);
        connection.state = State::Waiting(waiting);
        if connection.hung_up {
            return self.close(key);
        }
        self.set_deadline(key, ttl);
        if self.draining {
            self.time_out(key);
        }
    }

    /// Gives a connection with an unusual or incomplete request to hyper.
    fn read_slowly(&mut self, key: Key, from: From, first: Vec<u8>) {
        let Some(socket) = self.connections.detach(key) else { return };
        let (reading, inbox) = (self.reading.clone(), self.inbox.clone());
        let (limit, time) = (self.config.max_message_size as usize, self.config.header_timeout);
        reading.borrow_mut().under_way += 1;
        tokio::task::spawn_local(async move {
            let read = read_request(socket, first, limit, time).await;
            let mut reading = reading.borrow_mut();
            reading.under_way -= 1;
            reading.done.extend(read.ok().map(|intake| (intake, from)));
            inbox.mailbox.wake();
        });
    }

    /// Puts out a batch of what is owed. The rest has to wait for its turn: publishers can be faster than their subscribers
    /// are written to.
    fn fan_out(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        let mut published: SmallVec<[Moment; 8]> = SmallVec::new();
        self.owed = self.engine.take_owed(self.id, &mut events, |channel| self.seating.of(channel).len());
        for event in events.drain(..) {
            match event {
                Event::Message(channel, message, moment) => {
                    published.push(moment);
                    let item = Item::from(&message);
                    let position = message.position;
                    let answered = self.answer_all(
                        channel,
                        |waiting| waiting.from < position && waiting.gets(&message),
                        |config, form| long_poll::answer(config, form, std::slice::from_ref(&item), position, false),
                    );
                    self.counters().delivered(answered);
                    self.stream_to_all(channel, &item, |waiting| waiting.gets(&message));
                    if !message.is_presence() {
                        let fed = self.feeds.message(channel, message);
                        self.counters().delivered(fed);
                    }
                }
                Event::Lost(channel) => {
                    self.polls_from_log(channel);
                    self.streams_from_log(channel);
                    self.feeds.lost(channel);
                }
                Event::Deleted(deletion) => {
                    self.feeds.deleted(&deletion);
                    let Deletion { channel, name, text, position } = deletion;
                    let item = Item::deleted(&name, &text, position);
                    self.answer_all(
                        channel,
                        |_| true,
                        |config, form| long_poll::answer(config, form, std::slice::from_ref(&item), position, false),
                    );
                    self.end_channel(channel, &item);
                }
            }
        }
        events.shrink_to(FEW);
        self.events = events;
        self.write_streams();
        if !published.is_empty() {
            let now = Moment::now();
            published.drain(..).for_each(|moment| self.counters().wrote(now.since(moment)));
        }
    }

    /// A message of the channel is gone: who waits is answered from the log, with all that it still has.
    fn polls_from_log(&mut self, channel: ChannelId) {
        for key in self.seated(channel) {
            let Some(connection) = self.connections.get(key) else { continue };
            let State::Waiting(waiting) = &connection.state else { continue };
            let seats: Seats = waiting.places.iter().map(|(channel, _)| *channel).collect();
            let batch = self.engine.read_on(&seats, waiting.form.presence, waiting.from, usize::MAX);
            if batch.messages.is_empty() && !batch.gap {
                continue;
            }
            let State::Waiting(waiting) = std::mem::replace(&mut connection.state, State::Idle) else { continue };
            self.leave(&waiting);
            self.goes_on(&waiting);
            let framing = self.frame(waiting.framing);
            let items: Vec<Item<'_>> = batch.messages.iter().map(Into::into).collect();
            let reply = long_poll::answer(&self.config, &waiting.form, &items, batch.position, batch.gap);
            self.send(key, &reply.render(framing), framing.keep_alive);
        }
    }

    /// Answers those who wait for the channel and are `concerned`, and says how many they were. Each form is rendered once.
    fn answer_all(
        &mut self,
        channel: ChannelId,
        concerned: impl Fn(&Waiting) -> bool,
        render: impl Fn(&Config, &Form) -> Reply,
    ) -> usize {
        let mut leaving: SmallVec<[(Key, Waiting); 1]> = SmallVec::new();
        for key in self.seated(channel) {
            let Some(connection) = self.connections.get(key) else { continue };
            if matches!(&connection.state, State::Waiting(waiting) if concerned(waiting))
                && let State::Waiting(waiting) = std::mem::replace(&mut connection.state, State::Idle)
            {
                // At once: leaving moves others, and only those who still wait learn their new places.
                self.stand_up(&waiting.places);
                self.counters().left(waiting.form.mode);
                self.goes_on(&waiting);
                leaving.push((key, waiting));
            }
        }
        let count = leaving.len();
        if count == 0 {
            return 0;
        }
        let seats = leaving.iter().map(|(_, waiting)| (waiting.guest(), waiting.seats()));
        self.engine.unseat(self.id, seats);
        let mut rendered: SmallVec<[(Form, Framing, Bytes); 1]> = SmallVec::new();
        for (key, waiting) in leaving {
            let framing = self.frame(waiting.framing);
            let found = rendered.iter().position(|(form, of, _)| *of == framing && *form == waiting.form);
            let found = found.unwrap_or_else(|| {
                // The name of a JSONP function is mostly its caller's own.
                rendered.retain(|(form, ..)| form.callback.is_none());
                let bytes = Bytes::from(render(&self.config, &waiting.form).render(framing));
                rendered.push((waiting.form, framing, bytes));
                rendered.len() - 1
            });
            self.send_shared(key, &rendered[found].2, framing.keep_alive);
        }
        count
    }

    /// Who waits for the channel, of whom some may leave while they are gone through.
    fn seated(&self, channel: ChannelId) -> SmallVec<[Key; 16]> {
        SmallVec::from_slice(self.seating.of(channel))
    }

    fn counters(&self) -> &Counters {
        &self.inbox.mailbox.counters
    }

    fn stand_up(&mut self, places: &Places) {
        let connections = &mut self.connections;
        self.seating.remove(places, |key, channel, place| {
            let Some(places) = connections.get(key).and_then(Connection::places) else { return };
            for entry in places.iter_mut().filter(|(of, _)| *of == channel) {
                entry.1 = place;
            }
        });
    }

    /// Gives the seats of a subscriber back.
    fn leave(&mut self, waiting: &Waiting) -> Option<Position> {
        self.stand_up(&waiting.places);
        self.counters().left(waiting.form.mode);
        if self.exit.halted() {
            // The seats were those of an engine that is gone.
            return self.exit.head();
        }
        self.engine.unseat(self.id, [(waiting.guest(), waiting.seats())])
    }

    /// A long-poll is answered after it has waited: the one that follows is the same subscriber.
    fn goes_on(&self, waiting: &Waiting) {
        if waiting.payer != Payer::default() {
            self.engine.access().limits().answered(waiting.payer);
        }
    }

    /// Sends an answer that others get, too.
    fn send_shared(&mut self, key: Key, answer: &Bytes, keep_alive: bool) {
        let progress = self.connections.send(key, answer, |sent| answer.slice(sent..), keep_alive);
        self.proceed(key, progress, true);
    }

    fn send(&mut self, key: Key, answer: &[u8], keep_alive: bool) {
        let progress = self.connections.send(key, answer, |sent| Bytes::copy_from_slice(&answer[sent..]), keep_alive);
        self.proceed(key, progress, true);
    }

    fn send_rest(&mut self, key: Key) {
        let (progress, moved) = self.connections.send_rest(key);
        self.proceed(key, progress, moved);
    }

    fn linger(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let progress = connection.linger();
        self.proceed(key, progress, true);
    }

    /// Does what follows from the progress of an answer. `moved`: the client has taken some of it.
    fn proceed(&mut self, key: Key, progress: Progress, moved: bool) {
        let Some(connection) = self.connections.get(key) else { return };
        match progress {
            Progress::Over => self.close(key),
            // The answer was begun when nobody knew that it is the last.
            Progress::Ready if self.draining => self.pass_on(key),
            Progress::Ready => {
                if connection.readable || connection.hung_up || !connection.unread.is_empty() {
                    self.queue(key);
                }
                self.set_deadline(key, Some(self.config.keepalive_timeout));
            }
            Progress::Blocked => {
                let time = match connection.state {
                    State::Lingering { .. } => LINGER,
                    _ => self.config.send_timeout,
                };
                if matches!(connection.state, State::Lingering { .. }) {
                    self.discard(key);
                }
                if moved {
                    self.set_deadline(key, Some(time));
                }
            }
        }
    }

    fn discard(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        // Not the thread's buffer: the request whose answer ends the connection may still lie in it.
        let mut buffer = [0; 4 << 10];
        let over = loop {
            match connection.read(&mut buffer) {
                None => break connection.hung_up,
                Some(0) => break true,
                Some(n) => {
                    let State::Lingering { bytes } = &mut connection.state else { break true };
                    *bytes += n;
                    if *bytes > LINGER_BYTES {
                        break true;
                    }
                }
            }
        };
        if over {
            self.close(key);
        }
    }

    /// Drops the connection, and gives its seats back.
    fn close(&mut self, key: Key) {
        let Some(connection) = self.connections.remove(key) else { return };
        if let Some(waiting) = connection.waiting() {
            self.leave(waiting);
        }
    }

    fn set_deadline(&mut self, key: Key, time: Option<Duration>) {
        self.set_deadline_at(key, Deadlines::after(self.now, time));
    }

    fn set_deadline_at(&mut self, key: Key, deadline: Tick) {
        let Some(connection) = self.connections.get(key) else { return };
        connection.deadline = deadline;
        if deadline < connection.armed {
            connection.armed = self.deadlines.enter(key, deadline, self.now);
        }
    }

    fn expire(&mut self) {
        while let Some((tick, keys)) = self.deadlines.due(self.now) {
            for key in keys {
                let Some(connection) = self.connections.get(key).filter(|connection| connection.armed == tick) else {
                    continue;
                };
                connection.armed = NEVER;
                if connection.deadline > self.now {
                    if connection.deadline != NEVER {
                        connection.armed = self.deadlines.enter(key, connection.deadline, self.now);
                    }
                    continue;
                }
                match connection.state {
                    State::Waiting(ref waiting) => match &waiting.grant {
                        Some(grant) if grant.is_over() => drop(self.dismiss(key, Farewell::Expired)),
                        _ => self.time_out(key),
                    },
                    State::Streaming(_) => self.on_stream_deadline(key),
                    // Its request has come in time, and this thread is late.
                    State::Idle if connection.queued => self.set_deadline(key, Some(self.config.header_timeout)),
                    State::Sending(ref mut sending) => {
                        // The kernel tells only of much room: who takes little, but takes it, is seen here.
                        sending.output.unblock();
                        let (progress, moved) = self.connections.send_rest(key);
                        if moved { self.proceed(key, progress, true) } else { self.close(key) }
                    }
                    State::Idle | State::Lingering { .. } => self.close(key),
                }
            }
        }
    }

    /// Tells a waiting subscriber that there is nothing, and from where to ask again.
    fn time_out(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let State::Waiting(waiting) = std::mem::replace(&mut connection.state, State::Idle) else { return };
        let head = self.leave(&waiting);
        self.goes_on(&waiting);
        let framing = self.frame(waiting.framing);
        let reply = long_poll::timed_out(&self.config, &waiting.form, head.unwrap_or(waiting.from));
        self.send(key, &reply.render(framing), framing.keep_alive);
    }

    /// Ends the connections that this is about.
    fn dismiss_all(&mut self, dismissal: &Dismissal) {
        let keys = match dismissal.channel {
            Some(channel) => self.seating.of(channel).to_vec(),
            None => self.connections.keys(),
        };
        let mut count = 0;
        for key in keys {
            let waiting = self.connections.get(key).and_then(|connection| connection.waiting());
            if waiting.is_some_and(|waiting| dismissal.concerns(waiting.grant.as_deref(), &waiting.places)) {
                count += u64::from(match &dismissal.reason {
                    Some(reason) => self.dismiss(key, Farewell::Disconnected(reason)),
                    None => self.send_away(key),
                });
            }
        }
        dismissal.carried_out(count);
    }

    /// Tells a subscriber why it has to go. False when it is none.
    fn dismiss(&mut self, key: Key, farewell: Farewell<'_>) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        if matches!(connection.state, State::Streaming(_)) {
            self.end_stream(key, Some(farewell));
            return true;
        }
        if !matches!(connection.state, State::Waiting(_)) {
            return false;
        }
        let State::Waiting(waiting) = std::mem::replace(&mut connection.state, State::Idle) else { return false };
        let head = self.leave(&waiting);
        if farewell == Farewell::Expired {
            self.goes_on(&waiting);
        }
        let framing = self.frame(waiting.framing);
        let reply = long_poll::dismissed(&self.config, &waiting.form, head.unwrap_or(waiting.from), farewell);
        self.send(key, &reply.render(framing), framing.keep_alive);
        true
    }

    /// Serves a request that has already come, and closes the connection without one.
    fn last_turn(&mut self, key: Key) {
        if let Some(connection) = self.connections.get(key) {
            connection.readable = true;
        }
        self.queue(key);
    }

    fn start_draining(&mut self) {
        self.draining = true;
        for key in self.connections.keys() {
            match self.connections.get(key).map(|connection| &connection.state) {
                Some(State::Waiting(_)) => self.time_out(key),
                Some(State::Streaming(_)) => self.end_stream(key, None),
                Some(State::Idle) => self.last_turn(key),
                _ => {}
            }
        }
    }
}

/// The frame that tells a WebSocket why it is refused.
fn refusal_frame(refusal: &Reply) -> Vec<u8> {
    let (status, reason) = refusal.refused();
    let mut frame = Vec::new();
    websocket::append_refusal(&mut frame, status, reason);
    frame
}

/// What the tasks of clients share with their thread.
struct Serving {
    admission: Arc<Admission>,
    engine: Arc<Sequencer>,
    control: Option<Arc<Control>>,
    inbox: Arc<Inbox>,
    feeds: Rc<Feeds>,
    halt: Rc<Halt>,
}

/// Serves who attached, or lets a PHP master lease the hub.
async fn serve_client(socket: OwnedFd, serving: Serving) {
    let mut held = None;
    let keep = async |client, kept: [BorrowedFd<'_>; 3]| {
        held = Some(client);
        let Some(control) = &serving.control else { return false };
        let done = control.keep(client, kept).await;
        done.inspect_err(|error| {
            tracing::warn!(%error, "the keeper does not hold a client; its calls end with this hub");
        })
        .is_ok()
    };
    let shared = |namespace: &_| serving.engine.shared_presence(namespace).map(|(key, set)| (key.words(), set));
    let greeting = tokio::select! {
        biased;
        // Its connection closes, and it tries again: the next hub has the listener.
        () = serving.halt.halted() => return,
        greeting = rings::greet(socket, &serving.admission, shared, keep) => greeting,
    };
    match greeting {
        Ok(Greeting::Attach(client)) => serve_attached(*client, serving).await,
        Ok(Greeting::Lease { socket, protocol, build, config_hash }) => {
            let Some(control) = serving.control else { return };
            if let Err(error) = control.grant(socket.as_fd(), (protocol, &build, config_hash)) {
                tracing::warn!(%error, "a lease was not granted");
            }
        }
        Ok(Greeting::Handover { socket, build }) => {
            let Some(control) = serving.control else { return };
            if let Err(error) = control.hand_over(socket.as_fd(), build) {
                tracing::warn!(%error, "nobody is there to hand the hub over");
            }
        }
        Ok(Greeting::Ending { socket, peer }) => {
            leaving::answer_all_if_we_end_with(peer, &serving.engine).await;
            drop(socket);
        }
        Err(rejected) => {
            tracing::warn!("a connection to the attach socket was rejected: {rejected}");
            if let (Some(control), Some(client)) = (serving.control, held) {
                forget(&control, client).await;
            }
        }
    }
}

async fn forget(control: &Control, client: u64) {
    if let Err(error) = control.forget(client).await {
        tracing::warn!(%error, "the keeper goes on holding a client that is gone");
    }
}

/// Serves a client until it is gone, and lets the keeper know; or until the hub halts.
async fn serve_attached(client: Attachment, serving: Serving) {
    let Serving { engine, control, inbox, feeds, halt, .. } = serving;
    let counters = &inbox.mailbox.counters;
    counters.attached();
    let number = client.client();
    let namespace = client.namespace().clone();
    let feed = Rc::<Feed>::default();
    let sequencer = engine.clone();
    let engine = |origin: Origin<'_>, call: Call<'_>| match call {
        Call::Subscribe { channels, after } => feeds.subscribe(&feed, &namespace, &channels, after).into(),
        Call::Disconnect { user, channel, reason, revoke } => {
            let (done, count) = oneshot::channel();
            let done = Box::new(|count| {
                // The client may be gone by then.
                let _ = done.send(count);
            });
            match disconnect(&engine, &namespace, Disconnect { user, channel, reason, revoke }, done) {
                Err(error) => Carried::Now(Err(error)),
                Ok(()) => Carried::Later(Box::pin(async { Ok(Answer::Count(count.await.unwrap_or_default())) })),
            }
        }
        call => answer(&engine, &namespace, Some(origin), call).into(),
    };
    client.serve(|| sequencer.message_size(), engine, &feed, &halt).await;
    if halt.is_set() {
        // The next hub has it; the engine, which had its seats, is gone.
        return;
    }
    feeds.leave(&feed);
    counters.detached();
    if let Some(control) = control {
        forget(&control, number).await;
    }
}

/// Takes what the set has, when it has something.
fn collect(
    epoll: &AsyncFd<OwnedFd>,
    events: &mut Vec<epoll::Event>,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let Poll::Ready(mut guard) = epoll.poll_read_ready(cx)? else { return Poll::Pending };
    epoll::wait(epoll.get_ref(), rustix::buffer::spare_capacity(events), Some(&AT_ONCE))?;
    if events.len() < EVENTS {
        guard.clear_ready();
    }
    Poll::Ready(Ok(()))
}
