//! The hub: owns the engine, the sockets and the threads. The one place that spawns.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{LocalSet, yield_now};

use crate::access::Access;
use crate::channel::{ChannelName, MAX_NAME};
use crate::config::Config;
use crate::control::{Control, Kept};
use crate::http_thread::{From, HttpThread, Inbox, Leave, Order};
use crate::ingress::admission::Admission;
use crate::ingress::answer;
use crate::ingress::rings::Attachment;
use crate::keeper::StartError;
use crate::message::Position;
use crate::passing;
use crate::presence;
use crate::process;
use crate::readiness;
use crate::sequencer::{Limits, Sequencer};
use crate::store::{self, Saver};

/// How often what has expired is looked for. Expiry is checked on access; this only gives memory back.
const SWEEP: Duration = Duration::from_secs(5);
/// Bytes given back to the heap from which on it is worth while to look for free pages, and from which on when no more come.
const WORTH_TRIMMING: usize = 1 << 20;
const LITTLE: usize = 64 << 10;
/// What a connection that ends gives back, about.
const CONNECTION: usize = 256;
/// Descriptors that browsers leave to publishers, clients and the hub itself.
const RESERVE: u64 = 64;
/// What the last save may take.
const LAST_SAVE: Duration = Duration::from_secs(5);
/// How long an acceptor rests when the process has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);
/// How long a thread may take for a step on the way out.
const STEP: Duration = Duration::from_secs(2);
/// At the next hub subscribers come back at this pace, whatever the number of threads: ten thousand a second.
const PACE: Duration = Duration::from_micros(100);

/// The sockets a hub serves: bound, listening and non-blocking.
#[derive(Debug)]
pub struct Sockets {
    /// Public listeners.
    pub listen: Vec<OwnedFd>,
    /// Admin listeners.
    pub admin_listen: Vec<OwnedFd>,
    /// Where nginx hands over what PHP has let in.
    pub trusted_listen: Vec<OwnedFd>,
    /// Where PHP, cron jobs and C programs attach.
    pub attach: Vec<OwnedFd>,
}

/// A running hub. Its threads belong to this process: never start one before a fork.
pub struct Hub {
    config: Arc<Config>,
    engine: Arc<Sequencer>,
    admission: Arc<Admission>,
    inboxes: Vec<Arc<Inbox>>,
    accepting: watch::Sender<bool>,
    ended: Receiver<io::Result<()>>,
    threads: Vec<JoinHandle<()>>,
    lost: Arc<AtomicBool>,
    saver: Option<Saver>,
}

/// Says that a thread is gone, however it ended.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Hub {
    /// Starts the threads of a hub that begins with nothing, or with what is in `store_path`. `start` is the first head: a
    /// position before it has a gap. `control` is the line to the keeper; without one nobody leases the hub, and its last
    /// position ends with it.
    ///
    /// # Errors
    /// The system refuses a thread, an epoll set, a timer or memory; `store_path` cannot be used; with `control` also
    /// [`Access::open`]'s.
    pub fn start(
        config: Arc<Config>,
        sockets: Sockets,
        start: Position,
        control: Option<Arc<Control>>,
    ) -> Result<Self, StartError> {
        let journal = store::open(&config)?;
        Self::resume(config, sockets, start, journal, Vec::new(), control)
    }

    /// Starts the threads of a hub that goes on with what stands in the journal, and with the clients of the hub before it:
    /// what stands in their rings is carried out before anything else.
    ///
    /// # Errors
    /// As [`start`](Self::start), and the file is no journal.
    pub fn resume(
        config: Arc<Config>,
        sockets: Sockets,
        start: Position,
        journal: OwnedFd,
        clients: Vec<Kept>,
        control: Option<Arc<Control>>,
    ) -> Result<Self, StartError> {
        let access = match &control {
            // What a hub without a keeper has ends with its process, unless it is told otherwise.
            None if !config.was_set("secret_file") => Access::of_this_process()?,
            _ => Access::open(&config.secret_file)?,
        };
        Self::run(config, sockets, start, journal, clients, access, control).map_err(|error| cannot_start(&error))
    }

    fn run(
        config: Arc<Config>,
        sockets: Sockets,
        start: Position,
        journal: OwnedFd,
        clients: Vec<Kept>,
        access: Access,
        control: Option<Arc<Control>>,
    ) -> io::Result<Self> {
        let inboxes: Vec<Arc<Inbox>> = (0..config.threads).map(|_| Arc::default()).collect();
        let mailboxes = inboxes.iter().map(|inbox| inbox.mailbox.clone()).collect();
        let socket = config.socket.display().to_string();
        let journal = (journal, config.store_path.is_some());
        let engine = Sequencer::new(limits(&config), mailboxes, start, socket, journal, access, control.clone())?;
        let engine = Arc::new(engine);
        let admission = Admission::new(&config);
        let alive = || control.iter().for_each(|control| control.engine_lives());
        let clients = take_over(clients, &engine, &config, &admission, &alive);
        for (client, inbox) in clients.into_iter().zip(inboxes.iter().cycle()) {
            inbox.deal_client(client);
        }
        let saver = Saver::start(&config, &engine)?;
        let (accepting, stop) = watch::channel(true);
        let (end, ended) = channel();
        let lost = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::with_capacity(inboxes.len());
        let mut sockets = Some(sockets);
        for (id, inbox) in inboxes.iter().enumerate() {
            let (engine, config, inbox, end) = (engine.clone(), config.clone(), inbox.clone(), end.clone());
            let (control, admission) = (control.clone(), admission.clone());
            let acceptor = sockets.take().map(|sockets| (sockets, inboxes.clone(), stop.clone()));
            let gone = Gone(lost.clone());
            let thread = std::thread::Builder::new().name(format!("push-http-{id}")).spawn(move || {
                let _gone = gone;
                let run = || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    LocalSet::new().block_on(&runtime, async {
                        if let Some((sockets, inboxes, stop)) = acceptor {
                            accept_all(sockets, inboxes, stop.clone())?;
                            tokio::task::spawn_local(sweep(engine.clone(), stop.clone()));
                            tokio::task::spawn_local(keep_presence(engine.clone(), stop));
                        }
                        HttpThread::new(id as u8, engine, config, inbox, admission, control)?.run().await
                    })
                };
                // Nobody listens when the hub was dropped instead of drained.
                let _ = end.send(run());
            });
            match thread {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // The process may have more to do than this hub.
                    inboxes.iter().for_each(|inbox| inbox.drain());
                    return Err(error);
                }
            }
        }
        Ok(Self { config, engine, admission, inboxes, accepting, ended, threads, lost, saver })
    }

    /// What the hub knows.
    #[must_use]
    pub fn engine(&self) -> &Arc<Sequencer> {
        &self.engine
    }

    /// Becomes true when a thread is gone: by a defect, or because the hub drains.
    pub(crate) fn lost(&self) -> &Arc<AtomicBool> {
        &self.lost
    }

    /// Goes on with another configuration, which differs in what [`Config::change_to`] takes over only, and with what stands
    /// in `secret_file` now.
    pub fn reconfigure(&mut self, config: &Arc<Config>) {
        self.engine.access().reload();
        self.config = config.clone();
        self.inboxes.iter().for_each(|inbox| inbox.reconfigure(config.clone()));
        self.engine.set_limits(limits(config));
        self.admission.change(config);
    }

    /// Wakes all threads, and returns when the engine could be entered: the keeper wants to know whether they live.
    pub fn stir(&self) {
        self.inboxes.iter().for_each(|inbox| inbox.mailbox.wake());
        self.engine.head();
    }

    /// Serves a client of this process at the other end of the socket.
    pub(crate) fn adopt_client(&self, socket: OwnedFd) {
        // The numbers of descriptors spread clients over the threads well enough.
        self.inboxes[socket.as_raw_fd() as usize % self.inboxes.len()].deal(socket, From::Client);
    }

    /// The first half of leaving for another hub: accepts and serves nothing more, carries out no call, puts out what is owed,
    /// and lets go of the journal. Who waits goes on waiting. What it leaves undone, the next hub finds: calls in their rings,
    /// connections in the backlog or by way of [`leave`](Self::leave). Gives the head, up to which everybody is complete.
    ///
    /// # Errors
    /// A thread does not get there, or the system has no memory left: end this process, then the journal is free as well.
    pub fn halt(&mut self) -> io::Result<Position> {
        self.accepting.send_replace(false);
        self.step(Order::Halt)?;
        self.step(Order::Settle)?;
        if let Some(saver) = self.saver.take() {
            saver.let_go(STEP)?;
        }
        self.engine.retire()
    }

    /// Has all threads take the step.
    fn step(&self, order: impl Fn(Sender<()>) -> Order) -> io::Result<()> {
        let (done, all_done) = channel();
        self.inboxes.iter().for_each(|inbox| inbox.order(order(done.clone())));
        let deadline = Instant::now() + STEP;
        for _ in &self.inboxes {
            let left = deadline.saturating_duration_since(Instant::now());
            all_done.recv_timeout(left).map_err(|error: RecvTimeoutError| io::Error::other(error))?;
        }
        Ok(())
    }

    /// The second half, when the next hub serves: connections between two requests go to it by way of `line`, everyone who
    /// waits is answered with the position `head`, one after the other. Ends within `drain_timeout`.
    pub fn leave(self, head: Position, line: Option<OwnedFd>) {
        let deadline = Instant::now() + self.config.drain_timeout;
        let (passed, sender) = line
            .and_then(|line| {
                let (passed, connections) = channel();
                let send = move || passing::send_all(&line, &connections);
                let sender = std::thread::Builder::new().name("push-passing".to_owned()).spawn(send);
                // Without that thread the connections close.
                sender
                    .inspect_err(|error| tracing::warn!(%error, "connections are not passed on"))
                    .ok()
                    .zip(Some(passed))
            })
            .map_or((None, None), |(sender, passed)| (Some(passed), Some(sender)));
        let (each, within) = (PACE * self.inboxes.len() as u32, self.config.drain_timeout / 2);
        for inbox in &self.inboxes {
            inbox.order(Order::Leave(Leave { head, each, within, passed: passed.clone() }));
        }
        drop(passed);
        if self.wait_for_threads(deadline)
            && let Some(sender) = sender
        {
            let _ = sender.join();
        }
    }

    /// Serves connections that the hub before this one passes on, until it is done with that. Has a thread of its own.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn receive_connections(&self, line: OwnedFd) -> io::Result<()> {
        let inboxes = self.inboxes.clone();
        let receive = move || {
            let mut next = inboxes.iter().cycle();
            passing::receive_all(&line, |passed| {
                next.next().expect("there is a thread").deal_read(passed.socket, passed.from, passed.unread);
            });
        };
        std::thread::Builder::new().name("push-passing".to_owned()).spawn(receive).map(drop)
    }

    /// Accepts no more, answers everyone who waits with a position, and ends within `drain_timeout`. Returns the head.
    pub fn drain(mut self) -> Position {
        let deadline = Instant::now() + self.config.drain_timeout;
        self.accepting.send_replace(false);
        self.inboxes.iter().for_each(|inbox| inbox.drain());
        let (engine, saver) = (self.engine.clone(), self.saver.take());
        // A thread that is still there may change something after the last save; its hub ends with it.
        if self.wait_for_threads(deadline)
            && let Some(saver) = saver
        {
            saver.finish(LAST_SAVE);
        }
        engine.head()
    }

    /// False when some have not ended by then.
    fn wait_for_threads(self, deadline: Instant) -> bool {
        let over = self.inboxes.iter().all(|_| {
            let left = deadline.saturating_duration_since(Instant::now());
            matches!(self.ended.recv_timeout(left), Ok(Ok(())))
        });
        if over {
            // They have said their last word. A panic was reported when it happened.
            self.threads.into_iter().for_each(|thread| drop(thread.join()));
        }
        over
    }
}

fn cannot_start(error: &io::Error) -> StartError {
    StartError::new(format!("the hub cannot start its threads: {error}"))
}

/// Carries out what stands in the rings of these clients. Those that go on are given back.
fn take_over(
    clients: Vec<Kept>,
    engine: &Sequencer,
    config: &Config,
    admission: &Arc<Admission>,
    alive: &dyn Fn(),
) -> Vec<Attachment> {
    let took = |kept: Kept| match Attachment::take_over(kept, admission) {
        Ok(client) => Some(client),
        Err(error) => {
            tracing::warn!("a client of the hub before this one is dropped: {error}");
            None
        }
    };
    let mut clients: Vec<Attachment> = clients.into_iter().filter_map(took).collect();
    for client in &clients {
        engine.complete(client.client(), client.progress());
        alive();
    }
    clients.retain_mut(|client| {
        alive();
        let namespace = client.namespace().clone();
        client.drain(config.max_message_size, |origin, call| answer(engine, &namespace, Some(origin), call))
    });
    clients
}

pub(crate) fn limits(config: &Config) -> Limits {
    Limits {
        memory: config.memory_limit,
        message_size: config.max_message_size,
        channel_id_length: config.max_channel_id_length,
        channels: config.max_number_of_channels,
        wildcard_prefix: config.wildcard_channel_prefix.as_deref().map(Into::into),
        wildcard_channels: config.max_number_of_wildcard_channels,
        events: config
            .events_channel_id
            .as_deref()
            .map(|id| ChannelName::new(id.as_bytes(), MAX_NAME).expect("checked when it was set")),
        subscribers_per_channel: config.max_subscribers_per_channel,
        messages_per_channel: config.max_messages_stored_per_channel,
        message_ttl: config.message_ttl,
        channel_inactivity: config.channel_inactivity_time,
        dedupe_window: config.dedupe_window,
        deleted_text: config.channel_deleted_message_text.as_bytes().into(),
        presence: presence::Settings {
            grace: tenths(config.presence_grace),
            ttl: config.presence_ttl,
            diff_members: config.presence_diff_members as usize,
            count_members: config.presence_count_members as usize,
        },
    }
}

fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(100)).unwrap_or(u32::MAX)
}

fn accept_all(sockets: Sockets, inboxes: Vec<Arc<Inbox>>, stop: watch::Receiver<bool>) -> io::Result<()> {
    let of = |listeners: Vec<OwnedFd>, from: From| listeners.into_iter().map(move |listener| (listener, from));
    let listeners = of(sockets.listen, From::Public).chain(of(sockets.admin_listen, From::Admin));
    let listeners = listeners.chain(of(sockets.trusted_listen, From::Trusted));
    for (listener, from) in listeners.chain(of(sockets.attach, From::Client)) {
        let listener = readiness::watch(listener, Interest::READABLE)?;
        let inboxes = inboxes.clone();
        let mut turn = 0;
        tokio::task::spawn_local(accept(listener, from, stop.clone(), move |socket| {
            inboxes[turn % inboxes.len()].deal(socket, from);
            turn += 1;
        }));
    }
    Ok(())
}

/// Deals what the listener accepts until `stop` says so.
async fn accept(
    listener: AsyncFd<OwnedFd>,
    from: From,
    mut stop: watch::Receiver<bool>,
    mut deal: impl FnMut(OwnedFd),
) {
    let most = process::descriptor_limit();
    let mut refused = 0;
    loop {
        let mut guard = tokio::select! {
            biased;
            _ = stop.changed() => return,
            ready = listener.readable() => match ready {
                Ok(guard) => guard,
                Err(error) => return tracing::error!(%error, "a listener failed"),
            },
        };
        match accept_with(listener.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            // The kernel gives the lowest free number, so this one says how many are in use.
            Ok(socket)
                if matches!(from, From::Public | From::Trusted) && socket.as_raw_fd() as u64 + RESERVE > most =>
            {
                refused += 1u64;
                if refused.is_power_of_two() {
                    tracing::warn!(
                        refused,
                        "no descriptor is left for browsers; raise the limit of open files (LimitNOFILE)"
                    );
                }
            }
            Ok(socket) => deal(socket),
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept; raise the limit of open files (LimitNOFILE) if they are too many");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Sees to it that those leave whose grace is over, and that feeds say what they have collected.
async fn keep_presence(engine: Arc<Sequencer>, mut stop: watch::Receiver<bool>) {
    while *stop.borrow() {
        match engine.expire_presence() {
            // Others want the engine, and this thread, meanwhile.
            Some(Duration::ZERO) => yield_now().await,
            Some(time) => {
                tokio::select! {
                    () = tokio::time::sleep(time) => {}
                    () = engine.stirred() => {}
                    _ = stop.changed() => return,
                }
            }
            None => {
                tokio::select! {
                    () = engine.stirred() => {}
                    _ = stop.changed() => return,
                }
            }
        }
    }
}

/// What was given back to the heap since it was trimmed.
#[derive(Default)]
struct Loose {
    bytes: usize,
    /// Who was connected when it was looked at last.
    connections: usize,
}

impl Loose {
    /// Counts these bytes, and the connections that are gone. What comes and goes all the time is used again, so little of it
    /// is left where it is; but not what was the last of it.
    fn is_worth_trimming(&mut self, freed: usize, connections: usize) -> bool {
        let more = freed + self.connections.saturating_sub(connections) * CONNECTION;
        self.connections = connections;
        self.bytes += more;
        let worth = self.bytes >= if more == 0 { LITTLE } else { WORTH_TRIMMING };
        if worth {
            self.bytes = 0;
        }
        worth
    }
}

async fn sweep(engine: Arc<Sequencer>, mut stop: watch::Receiver<bool>) {
    let mut loose = Loose::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            _ = stop.changed() => return,
        }
        let mut freed = 0;
        while *stop.borrow() {
            let (bytes, more) = engine.expire();
            freed += bytes;
            if !more {
                break;
            }
            // Others want the engine, and this thread, meanwhile.
            yield_now().await;
        }
        if loose.is_worth_trimming(freed, engine.connections()) {
            process::trim_heap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_is_trimmed_when_much_was_freed_and_when_no_more_is() {
        let mut loose = Loose::default();
        assert!(!loose.is_worth_trimming(0, 0));
        assert!(loose.is_worth_trimming(WORTH_TRIMMING, 0));
        assert!(!loose.is_worth_trimming(0, 0));
        // Little at a time, and then nothing.
        assert!(!loose.is_worth_trimming(LITTLE / 2, 0));
        assert!(!loose.is_worth_trimming(LITTLE / 2, 0));
        assert!(loose.is_worth_trimming(0, 0));
        assert!(!loose.is_worth_trimming(LITTLE - 1, 0));
        assert!(!loose.is_worth_trimming(0, 0));
        // Connections count when they go.
        assert!(!loose.is_worth_trimming(0, 10_000));
        assert!(loose.is_worth_trimming(0, 0));
        assert!(!loose.is_worth_trimming(0, 0));
    }
}
