//! The wire with both its ends: real clients, some of them processes of their own, and the hub's side with an engine that
//! writes down what it is told.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use push_core::call::{Answer, Call, Hello, Outcome, PROTOCOL, Welcome};
use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::error::Error;
use push_core::ingress::admission::Admission;
use push_core::ingress::feed::Feed;
use push_core::ingress::rings::{self, Greeting, Halt};
use push_core::message::{NewMessage, Position, Published};
use push_core::shm::ring::{Consumer, Next, Producer};
use push_core::shm::segment::Segment;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Every wait of a test ends here.
const DEADLINE: Duration = Duration::from_secs(20);
const LIMIT: u64 = 1 << 20;

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn options(socket: &Path) -> Options {
    Options {
        socket: socket.to_owned(),
        inherited: None,
        timeout: Duration::from_secs(10),
        backoff: Duration::from_millis(100),
        ring_size: 64 << 10,
    }
}

fn client(socket: &Path) -> Client {
    Client::new(options(socket))
}

fn impatient(socket: &Path, timeout: Duration) -> Client {
    Client::new(Options { timeout, ..options(socket) })
}

/// A publication, and who made it according to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    pid: i32,
    channel: String,
    payload: Vec<u8>,
}

struct State {
    admission: Arc<Admission>,
    received: Mutex<Vec<Received>>,
    attached: AtomicUsize,
    ended: AtomicUsize,
    rejected: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// The hub's side.
struct Recorder {
    state: Arc<State>,
    listener: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

fn listener(path: &Path) -> OwnedFd {
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("a socket");
    rustix::net::bind(&listener, &SocketAddrUnix::new(path).expect("a short path")).expect("a free path");
    rustix::net::listen(&listener, 64).expect("a socket");
    listener
}

impl Recorder {
    fn start(path: &Path) -> Self {
        Self::listen(listener(path), Duration::ZERO)
    }

    /// Answers take as long as `slowness`.
    fn listen(listener: OwnedFd, slowness: Duration) -> Self {
        let state = Arc::new(State {
            admission: Admission::new(&Config::default()),
            received: Mutex::default(),
            attached: AtomicUsize::default(),
            ended: AtomicUsize::default(),
            rejected: Mutex::default(),
            stop: AtomicBool::default(),
        });
        let (own, accept) = (Arc::clone(&state), listener.try_clone().expect("a descriptor"));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let tasks = tokio::task::LocalSet::new();
            runtime.block_on(tasks.run_until(async {
                while !own.stop.load(SeqCst) {
                    // The accepting is not under test: it is asked for every millisecond.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    while readable(accept.as_fd(), Duration::ZERO) {
                        let socket = rustix::net::accept_with(&accept, SocketFlags::CLOEXEC).expect("a connection");
                        tokio::task::spawn_local(record(socket, Arc::clone(&own), slowness));
                    }
                }
            }));
        });
        Self { state, listener, thread: Some(thread) }
    }

    fn received(&self) -> Vec<Received> {
        self.state.received.lock().expect("no panic").clone()
    }

    fn payloads(&self) -> Vec<String> {
        self.received().into_iter().map(|one| String::from_utf8(one.payload).expect("UTF-8")).collect()
    }

    fn wait_for(&self, count: usize) {
        wait_until(&format!("{count} messages"), || self.state.received.lock().expect("no panic").len() >= count);
    }

    /// As a killed hub: connections close, what lies in the rings stays. The listening socket goes on.
    fn kill(mut self) -> OwnedFd {
        self.end();
        self.listener.try_clone().expect("a descriptor")
    }

    fn end(&mut self) {
        self.state.stop.store(true, SeqCst);
        self.thread.take().into_iter().for_each(|thread| thread.join().expect("no panic"));
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.end();
    }
}

async fn record(socket: OwnedFd, state: Arc<State>, slowness: Duration) {
    match rings::greet(socket, &state.admission, |_| None, async |_, _| true).await {
        Ok(Greeting::Attach(client)) => {
            state.attached.fetch_add(1, SeqCst);
            let pid = client.peer().pid;
            client
                .serve(|| LIMIT, |_, call| apply(pid, &state, slowness, call), &Feed::default(), &Halt::default())
                .await;
            state.ended.fetch_add(1, SeqCst);
        }
        Ok(other) => panic!("nobody asks for {other:?}"),
        Err(rejected) => state.rejected.lock().expect("no panic").push(rejected.to_string()),
    }
}

fn apply(pid: i32, state: &State, slowness: Duration, call: Call<'_>) -> Outcome {
    std::thread::sleep(slowness);
    match call {
        Call::Publish { channel, message } => {
            let mut received = state.received.lock().expect("no panic");
            received.push(Received { pid, channel: channel.to_owned(), payload: message.payload.to_vec() });
            let id = received.len() as u64;
            Ok(Answer::Published(Published { id, position: Position { time: 7, tag: id as u32 }, subscribers: 0 }))
        }
        Call::Ping => Ok(Answer::Pong),
        Call::Position => Ok(Answer::Position(Position { time: 7, tag: 7 })),
        Call::ChannelInfo { channel } => Err(Error::ChannelNotFound(channel.repeat(20))),
        _ => Err(Error::InvalidArgument("not recorded".to_owned())),
    }
}

fn readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let wait = Timespec { tv_sec: within.as_secs() as i64, tv_nsec: within.subsec_nanos().into() };
    let mut poll = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut poll, Some(&wait)) {
            Err(Errno::INTR) => {}
            ready => return ready.expect("poll") > 0,
        }
    }
}

// ---- another process that runs one function of this file

const ROLE: &str = "PUSH_TEST_ROLE";

/// Runs `role` in a process of its own.
fn process(role: &str, arguments: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "a_process_of_its_own", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).envs(arguments.iter().copied()).stdout(Stdio::null());
    command
}

fn argument(name: &str) -> String {
    std::env::var(name).expect("given by `process`")
}

/// Kills and reaps when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "run by the other tests, as processes that can be killed or fork"]
fn a_process_of_its_own() {
    match std::env::var(ROLE).as_deref() {
        Ok("publish until killed") => publish_until_killed(),
        Ok("fork and publish") => fork_and_publish(),
        Ok("publish as nobody") => publish_as_nobody(),
        Ok("be interrupted") => be_interrupted(),
        _ => panic!("only for the other tests"),
    }
}

/// Number and a payload of any size, of which each byte can be checked.
fn payload(number: u64) -> Vec<u8> {
    // Most are small, some need fragments, some stream through the ring.
    let len = match number % 61 {
        0 => 40_000,
        7 => 20_000,
        step => step * 9,
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|at| (number.wrapping_mul(31) + at) as u8));
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(*bytes.first_chunk().expect("a number"));
    assert!(bytes == payload(number), "message {number} is torn");
    number
}

fn publish_until_killed() {
    let returned = std::fs::OpenOptions::new().write(true).open(argument("RETURNED")).expect("a file");
    let mut client = client(Path::new(&argument("SOCKET")));
    for number in 1_u64.. {
        let bytes = payload(number);
        let message = NewMessage::new(&bytes);
        if number % 5 == 0 {
            client.publish("kill", &message).map(drop).expect("a hub");
        } else {
            client.publish_async("kill", &message).expect("a hub");
        }
        returned.write_all_at(&number.to_le_bytes(), 0).expect("a file");
    }
}

#[test]
fn what_a_killed_publisher_was_told_is_published_whole_once_and_in_order() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut total = 0;
    for round in 0..50_u64 {
        let file = directory.path().join(format!("returned-{round}"));
        std::fs::write(&file, [0; 8]).expect("a file");
        let arguments = [("SOCKET", socket.to_str().expect("UTF-8")), ("RETURNED", file.to_str().expect("UTF-8"))];
        let mut child = Killed(process("publish until killed", &arguments).spawn().expect("a process"));
        let returned = || u64::from_le_bytes(*std::fs::read(&file).expect("a file").first_chunk().expect("a number"));
        // Another moment of its loop each time.
        wait_until("the publisher is at work", || returned() > round * 13);
        child.0.kill().expect("it runs");
        child.0.wait().expect("it ran");
        wait_until("the hub sees the end", || hub.state.ended.load(SeqCst) as u64 == round + 1);
        let returned = returned();
        let got = std::mem::take(&mut *hub.state.received.lock().expect("no panic"));
        let numbers: Vec<u64> = got.iter().map(|one| number(&one.payload)).collect();
        let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
        assert!(numbers == expected, "round {round}: lost, doubled or out of order");
        assert!(numbers.len() as u64 >= returned, "round {round}: {returned} returned, {} arrived", numbers.len());
        assert!(numbers.len() as u64 <= returned + 1, "round {round}: {returned} returned, {} arrived", numbers.len());
        total += returned;
    }
    assert!(total > 50 * 13);
}

// ---- fork

fn fork_and_publish() {
    let mut client = client(Path::new(&argument("SOCKET")));
    let publish = |client: &mut Client, who: &str, count: u64| {
        for number in 0..count {
            let text = format!("{who} {number}");
            let message = NewMessage::new(text.as_bytes());
            match number % 3 {
                0 => drop(client.publish("fork", &message).expect("a hub")),
                _ => client.publish_async("fork", &message).expect("a hub"),
            }
        }
    };
    publish(&mut client, "before", 10);
    let mut children = Vec::new();
    for who in ["fork", "clone"] {
        // SAFETY: this process has no other thread that works; the child only publishes and ends by `_exit`. The raw call
        // is `clone(SIGCHLD)`, which shares nothing and runs no handlers.
        let pid = unsafe {
            if who == "fork" { libc::fork() } else { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 }
        };
        assert!(pid >= 0);
        if pid == 0 {
            publish(&mut client, who, 500);
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(0) };
        }
        children.push(pid);
    }
    publish(&mut client, "parent", 500);
    for pid in children {
        let mut status = 0;
        // SAFETY: waits for a child made above.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }
    publish(&mut client, "after", 10);
}

#[test]
fn a_forked_child_attaches_anew_and_leaves_its_parent_alone() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let status = process("fork and publish", &[("SOCKET", socket.to_str().expect("UTF-8"))]).status();
    assert!(status.expect("a process").success());
    wait_until("the hub sees all ends", || hub.state.ended.load(SeqCst) == 3);
    let received = hub.received();
    let mut pids = Vec::new();
    for (who, count) in [("before", 10), ("fork", 500), ("clone", 500), ("parent", 500), ("after", 10)] {
        let of = |one: &&Received| one.payload.starts_with(format!("{who} ").as_bytes());
        let got: Vec<_> = received.iter().filter(of).map(|one| String::from_utf8_lossy(&one.payload)).collect();
        let expected: Vec<_> = (0..count).map(|number| format!("{who} {number}")).collect();
        assert_eq!(got, expected);
        pids.push(received.iter().find(of).expect("one").pid);
    }
    assert!(pids[0] == pids[3] && pids[0] == pids[4], "the parent keeps its connection");
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "each process is known under its own pid");
}

// ---- calls, sizes, limits

#[test]
fn messages_of_every_size_arrive() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut client = client(&socket);
    let sizes = [0, 1, 7, 8, 9, 4_000, 16_000, 17_000, 32_000, 33_000, 70_000, 700_000, LIMIT as usize];
    for (at, size) in sizes.into_iter().enumerate() {
        let bytes: Vec<u8> = (0..size).map(|byte| (byte * 13) as u8).collect();
        assert_eq!(client.publish("big", &NewMessage::new(&bytes)).expect("room").id, 2 * at as u64 + 1);
        client.publish_async("big", &NewMessage::new(&bytes)).expect("room");
        // Of a message that streams the hub has all when the call returns.
        if size > 64 << 10 {
            assert_eq!(hub.received().len(), 2 * at + 2);
        }
        hub.wait_for(2 * at + 2);
        assert!(hub.received()[2 * at..].iter().all(|one| one.payload == bytes && one.channel == "big"));
    }
}

#[test]
fn what_the_hub_does_not_allow_is_refused_and_the_connection_goes_on() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut client = client(&socket);
    for len in [LIMIT + 1, LIMIT + 9_000, 4 << 20, 32 << 20] {
        let bytes = vec![b'x'; len as usize];
        let refused = client.publish("big", &NewMessage::new(&bytes));
        assert_eq!(refused, Err(Error::TooLarge { len, limit: LIMIT }));
    }
    let bytes = vec![b'x'; 4 << 20];
    client.publish_async("big", &NewMessage::new(&bytes)).expect("nobody asks");
    // A long answer, in fragments.
    let name = "n".repeat(1000);
    assert_eq!(client.channel_info(&name), Err(Error::ChannelNotFound(name.repeat(20))));
    assert_eq!(client.delete_channel("x", None), Err(Error::InvalidArgument("not recorded".to_owned())));
    assert_eq!(client.position(), Ok(Position { time: 7, tag: 7 }));
    assert_eq!(hub.received().len(), 0);
    assert_eq!(hub.state.attached.load(SeqCst), 1);
}

#[test]
fn what_no_hub_would_take_is_refused_before_it_is_sent() {
    let directory = directory();
    let mut client = client(&directory.path().join("nobody.sock"));
    let bytes = vec![b'x'; (32 << 20) + 1];
    let refused = client.publish_async("a", &NewMessage::new(&bytes));
    assert_eq!(refused, Err(Error::TooLarge { len: (32 << 20) + 1, limit: 32 << 20 }));
    for name in ["", "ALL", "a*", "a/b", "a\0b", &"n".repeat(1025)] {
        let error = client.publish_async(name, &NewMessage::new(b"x")).expect_err("a bad name");
        assert_eq!(error.code(), 1, "{name}: {error}");
    }
    for event in ["a\nb", "a\rb", "a\0b", &"e".repeat(1025)] {
        for message in [
            NewMessage { event: Some(event), ..NewMessage::new(b"x") },
            NewMessage { event_id: Some(event), ..NewMessage::new(b"x") },
        ] {
            assert_eq!(client.publish_async("a", &message).expect_err("a bad event").code(), 2);
        }
    }
}

// ---- a hub that is gone

#[test]
fn the_next_hub_gets_what_the_last_one_left_in_the_ring() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    let mut client = client(&socket);
    std::thread::scope(|threads| {
        let idle = threads.spawn(|| IdleHub::accept(&listener));
        client.publish_async("a", &NewMessage::new(b"one")).expect("attached");
        client.publish_async("a", &NewMessage::new(&[b'2'; 20_000])).expect("room");
        client.publish_async("a", &NewMessage::new(b"three")).expect("room");
        let mut idle = idle.join().expect("attached");
        // It acts on the first and is killed.
        assert!(matches!(idle.requests.next(1 << 20), Ok(Next::Message(_))));
        idle.requests.release();
        // And has begun with the second, of which it needs several frames.
        assert!(matches!(idle.requests.next(1 << 20), Ok(Next::Part)));
        drop(idle);
    });
    let hub = Recorder::listen(listener, Duration::ZERO);
    let published = client.publish("a", &NewMessage::new(b"four")).expect("the next hub");
    assert_eq!(published.id, 3);
    assert_eq!(hub.payloads(), ["2".repeat(20_000), "three".to_owned(), "four".to_owned()]);
}

/// A hub that attaches and does nothing more on its own.
struct IdleHub {
    requests: Consumer<Segment>,
    _replies: Producer<Segment>,
    _socket: OwnedFd,
    _bell: OwnedFd,
}

impl IdleHub {
    fn accept(listener: &OwnedFd) -> Self {
        assert!(readable(listener.as_fd(), DEADLINE));
        let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC).expect("a connection");
        let (hello, memfd) = receive(&socket);
        assert_eq!(postcard::from_bytes(&hello), Ok(Hello::Attach { protocol: PROTOCOL }));
        let segment = Segment::adopt(&memfd.expect("a memfd")).expect("a segment");
        let bell = push_core::shm::doorbell::bell().expect("a descriptor");
        let welcome = postcard::to_stdvec(&Welcome { protocol: PROTOCOL, refusal: None }).expect("plain data");
        send(&socket, &welcome, &[bell.as_fd()]);
        Self {
            requests: Consumer::new(segment.clone(), segment.requests()).expect("a new ring"),
            _replies: Producer::new(segment.clone(), segment.replies()).expect("a new ring"),
            _socket: socket,
            _bell: bell,
        }
    }
}

fn receive(socket: &OwnedFd) -> (Vec<u8>, Option<OwnedFd>) {
    assert!(readable(socket.as_fd(), DEADLINE));
    let mut bytes = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [std::io::IoSliceMut::new(&mut bytes)];
    let received =
        rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a datagram").bytes;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (bytes[..received].to_vec(), fd)
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).expect("a peer");
}

#[test]
fn a_call_that_a_hub_took_with_it_is_reported_at_once_and_not_repeated() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    let mut client = client(&socket);
    let (error, noticed) = std::thread::scope(|threads| {
        let taken = threads.spawn(|| {
            let mut hub = IdleHub::accept(&listener);
            wait_until("the call", || matches!(hub.requests.next(1 << 20), Ok(Next::Message(_))));
            hub.requests.release();
            drop(hub);
            Instant::now()
        });
        let error = client.publish("a", &NewMessage::new(b"taken")).expect_err("the hub is gone");
        (error, taken.join().expect("attached").elapsed())
    });
    assert!(matches!(&error, Error::HubUnavailable(text) if text.contains("open")), "{error}");
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    // The next hub is not told of it, and is asked at once, back-off or not.
    let hub = Recorder::listen(listener, Duration::ZERO);
    client.publish("a", &NewMessage::new(b"next")).expect("the next hub");
    assert_eq!(hub.payloads(), ["next"]);
}

#[test]
fn a_call_that_no_hub_heard_goes_to_the_next() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let first = Recorder::start(&socket);
    let mut client = client(&socket);
    client.publish("a", &NewMessage::new(b"first")).expect("a hub");
    let listener = first.kill();
    let second = Recorder::listen(listener, Duration::ZERO);
    client.publish("a", &NewMessage::new(b"second")).expect("the next hub");
    let third = Recorder::listen(second.kill(), Duration::ZERO);
    client.publish_async("a", &NewMessage::new(b"third")).expect("the next hub");
    third.wait_for(1);
    assert_eq!(third.payloads(), ["third"]);
}

#[test]
fn a_message_that_was_refused_for_want_of_a_hub_never_comes_later() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut client = client(&socket);
    client.publish("a", &NewMessage::new(b"first")).expect("a hub");
    drop(hub.kill());
    let begun = Instant::now();
    for _ in 0..3 {
        let error = client.publish_async("a", &NewMessage::new(b"refused")).expect_err("no hub");
        assert!(matches!(&error, Error::HubUnavailable(text) if text.contains("left behind")), "{error}");
        let error = client.publish("a", &NewMessage::new(b"refused too")).expect_err("no hub");
        assert!(matches!(error, Error::HubUnavailable(_)), "{error}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "a missing hub is no reason to wait");
    std::fs::remove_file(&socket).expect("the stale socket");
    let hub = Recorder::start(&socket);
    client.publish("a", &NewMessage::new(b"second")).expect("the next hub");
    assert_eq!(hub.payloads(), ["second"]);
}

// ---- a hub that does not answer

#[test]
fn a_hub_that_never_accepts_costs_one_time_out() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    let timeout = Duration::from_millis(150);
    // First it only fails to welcome; then its backlog is full, too.
    for backlog in [64, 0] {
        rustix::net::listen(&listener, backlog).expect("a socket");
        let waiting: Vec<_> = (0..backlog).map(|_| impatient(&socket, Duration::from_millis(1))).collect();
        for mut other in waiting {
            assert!(!other.ping(Duration::from_millis(1)));
        }
        let mut client = impatient(&socket, timeout);
        let begun = Instant::now();
        assert_eq!(client.publish("a", &NewMessage::new(b"x")), Err(Error::Timeout { milliseconds: 150 }));
        assert!((timeout..timeout * 5).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert_eq!(client.publish("a", &NewMessage::new(b"x")), Err(Error::Timeout { milliseconds: 150 }));
        assert_eq!(client.publish_async("a", &NewMessage::new(b"x")), Err(Error::Timeout { milliseconds: 150 }));
        assert!(begun.elapsed() < timeout, "during the back-off calls fail at once: {:?}", begun.elapsed());
    }
}

#[test]
fn a_full_ring_is_waited_for_once_and_nothing_of_it_is_lost() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    let timeout = Duration::from_millis(150);
    let mut client = impatient(&socket, timeout);
    let idle = std::thread::scope(|threads| {
        let idle = threads.spawn(|| IdleHub::accept(&listener));
        client.publish_async("a", &NewMessage::new(b"0")).expect("attached");
        idle.join().expect("attached")
    });
    assert_eq!(client.publish("a", &NewMessage::new(b"1")), Err(Error::Timeout { milliseconds: 150 }));
    // Without acknowledgement it goes on while there is room.
    let mut accepted = 2;
    let begun = loop {
        let begun = Instant::now();
        match client.publish_async("a", &NewMessage::new(accepted.to_string().as_bytes())) {
            Ok(()) => accepted += 1,
            Err(error) => {
                assert_eq!(error, Error::Timeout { milliseconds: 150 });
                break begun;
            }
        }
    };
    assert!(accepted > 1_000, "64 KB hold more than {accepted}");
    assert!(begun.elapsed() < timeout * 5);
    assert_eq!(client.publish("a", &NewMessage::new(b"no room")), Err(Error::Timeout { milliseconds: 150 }));
    drop(idle);
    let hub = Recorder::listen(listener, Duration::ZERO);
    client.set_timeout(DEADLINE);
    wait_until("the pause is over", || client.publish("a", &NewMessage::new(b"end")).is_ok());
    let mut expected: Vec<String> = (0..accepted).map(|number| number.to_string()).collect();
    expected.push("end".to_owned());
    assert_eq!(hub.payloads(), expected);
}

#[test]
fn late_answers_are_not_taken_for_those_of_later_calls() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::listen(listener(&socket), Duration::from_millis(60));
    let mut client = impatient(&socket, Duration::from_secs(10));
    assert_eq!(client.publish("a", &NewMessage::new(b"1")).expect("time").id, 1);
    client.set_timeout(Duration::from_millis(5));
    assert_eq!(client.publish("a", &NewMessage::new(b"2")), Err(Error::Timeout { milliseconds: 5 }));
    client.set_timeout(DEADLINE);
    hub.wait_for(2);
    wait_until("the hub has caught up", || client.position() == Ok(Position { time: 7, tag: 7 }));
    assert_eq!(client.publish("a", &NewMessage::new(b"3")).expect("time").id, 3);
    assert_eq!(hub.payloads(), ["1", "2", "3"]);
}

fn be_interrupted() {
    extern "C" fn nothing(_: i32) {}
    let mut client = client(Path::new(&argument("SOCKET")));
    // SAFETY: the handler does nothing; no SA_RESTART, so every waiting system call is interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()), 0);
        let tick = libc::timeval { tv_sec: 0, tv_usec: 3_000 };
        let timer = libc::itimerval { it_interval: tick, it_value: tick };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()), 0);
    }
    for number in 1..=5 {
        assert_eq!(client.publish("a", &NewMessage::new(b"x")).expect("interrupted, not failed").id, number);
    }
}

#[test]
fn signals_do_not_end_a_wait() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::listen(listener(&socket), Duration::from_millis(40));
    let status = process("be interrupted", &[("SOCKET", socket.to_str().expect("UTF-8"))]).status();
    assert!(status.expect("a process").success());
    assert_eq!(hub.received().len(), 5);
}

// ---- clients that misbehave

/// The client's side, by hand.
struct RawClient {
    requests: Producer<Segment>,
    replies: Consumer<Segment>,
    segment: Segment,
    socket: OwnedFd,
    bell: OwnedFd,
}

fn connect(path: &Path) -> OwnedFd {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .expect("a socket");
    rustix::net::connect(&socket, &SocketAddrUnix::new(path).expect("short")).expect("a hub");
    socket
}

fn hello() -> Vec<u8> {
    postcard::to_stdvec(&Hello::Attach { protocol: PROTOCOL }).expect("plain data")
}

impl RawClient {
    fn attach(path: &Path) -> Self {
        let (segment, memfd) = Segment::create(16 << 10).expect("memory");
        let socket = connect(path);
        send(&socket, &hello(), &[memfd.as_fd()]);
        let (_, bell) = receive(&socket);
        Self {
            requests: Producer::new(segment.clone(), segment.requests()).expect("a new ring"),
            replies: Consumer::new(segment.clone(), segment.replies()).expect("a new ring"),
            segment,
            socket,
            bell: bell.expect("welcome"),
        }
    }

    fn ring(&self) {
        push_core::shm::doorbell::ring(self.bell.as_fd());
    }

    /// Whether the hub closes the connection.
    fn is_dropped(&self) -> bool {
        readable(self.socket.as_fd(), DEADLINE)
            && rustix::net::recv(&self.socket, &mut [0_u8; 8], RecvFlags::DONTWAIT)
                .map_or(true, |(_, bytes)| bytes == 0)
    }
}

#[test]
fn a_client_that_fills_both_rings_neither_blocks_the_hub_nor_itself() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut glutton = RawClient::attach(&socket);
    // Long answers to short questions: the replies fill first, then the hub stops, then the requests fill.
    let name = "n".repeat(100);
    let mut asked = 0_u64;
    let mut full_since = Instant::now();
    while full_since.elapsed() < Duration::from_millis(300) {
        let call = postcard::to_stdvec(&(asked + 1, Call::ChannelInfo { channel: &name })).expect("plain data");
        if glutton.requests.push(&call, &mut 0).expect("a sound ring") {
            asked += 1;
            full_since = Instant::now();
        }
        if glutton.requests.consumer_waits() {
            glutton.ring();
        }
    }
    assert!(asked > 100, "{asked}");
    // Others are served as ever.
    let mut other = client(&socket);
    for number in 1..=1_000 {
        assert_eq!(other.publish("a", &NewMessage::new(b"x")).expect("a hub").id, number);
    }
    // And once it reads, it gets every answer, in order.
    let mut answered = 0;
    let end = Instant::now() + DEADLINE;
    while answered < asked {
        assert!(Instant::now() < end, "{answered} of {asked} answers");
        if let Next::Message(bytes) = glutton.replies.next(1 << 20).expect("a sound ring") {
            let (number, outcome): (u64, Outcome) = postcard::from_bytes(bytes).expect("a reply");
            assert_eq!((number, outcome), (answered + 1, Err(Error::ChannelNotFound(name.repeat(20)))));
            answered += 1;
        }
        glutton.replies.release();
        if glutton.replies.producer_waits(true) {
            glutton.ring();
        }
    }
    assert_eq!(hub.state.ended.load(SeqCst), 0);
}

#[test]
fn a_client_that_writes_nonsense_is_dropped_and_others_go_on() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let mut good = client(&socket);
    let (head, replies_tail, data) = (16, 80, 512);
    let nonsense: [&[(usize, u64)]; 7] = [
        &[(head, u64::MAX)],
        &[(head, 1 << 30)],
        &[(head, 12)],
        // A frame that reaches beyond what is published, one that is too large, one that continues nothing it can.
        &[(data, 1 << 63 | 800), (head, 16)],
        &[(data, 1 << 63 | 0xffff_ffff), (head, 8192)],
        &[(data, 1 << 63 | 99 << 32), (data + 1, 55 << 32), (head, 16)],
        // A whole frame with something that is no call.
        &[(data, 1 << 63 | 8), (data + 1, u64::MAX), (head, 16)],
    ];
    for words in nonsense {
        let bad = RawClient::attach(&socket);
        for (at, word) in words {
            bad.segment[*at].store(*word, SeqCst);
        }
        bad.ring();
        assert!(bad.is_dropped(), "{words:?}");
        assert!(good.ping(DEADLINE));
    }
    // Where it claims to have read replies that were never written.
    let mut bad = RawClient::attach(&socket);
    bad.segment[replies_tail].store(1 << 40, SeqCst);
    for number in 1..2_000_u64 {
        let call = postcard::to_stdvec(&(number, Call::ChannelInfo { channel: "nnnnnnnnnn" })).expect("plain data");
        if bad.requests.push(&call, &mut 0).is_ok_and(|done| done) && bad.requests.consumer_waits() {
            bad.ring();
        }
    }
    assert!(bad.is_dropped());
    // Or speaks beside the ring.
    let bad = RawClient::attach(&socket);
    send(&bad.socket, b"hello?", &[]);
    assert!(bad.is_dropped());
    // One that forges the hub's own place only harms itself.
    let mut forger = RawClient::attach(&socket);
    forger.segment[32].store(1 << 40, SeqCst);
    let call =
        postcard::to_stdvec(&(0_u64, Call::Publish { channel: "f", message: NewMessage::new(b"f") })).expect("data");
    assert!(forger.requests.push(&call, &mut 0).expect("there is room"));
    forger.ring();
    hub.wait_for(1);
    assert!(good.ping(DEADLINE));
}

#[test]
fn only_a_sealed_segment_is_attached() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let memfd = |len: u64, seals: SealFlags| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let memfd = rustix::fs::memfd_create("test", flags).expect("a memfd");
        rustix::fs::ftruncate(&memfd, len).expect("memory");
        let header = [u64::from_ne_bytes(*b"pushring"), 1, 16 << 10, 16 << 10].map(u64::to_ne_bytes).concat();
        rustix::io::write(&memfd, &header[..header.len().min(len as usize)]).expect("memory");
        rustix::fs::fcntl_add_seals(&memfd, seals).expect("allowed");
        memfd
    };
    let right = 4096 + (32 << 10);
    let other_header = |at: u64, value: u64| {
        let memfd = memfd(right, SealFlags::empty());
        rustix::io::pwrite(&memfd, &value.to_ne_bytes(), at).expect("memory");
        rustix::fs::fcntl_add_seals(&memfd, all).expect("allowed");
        memfd
    };
    let file = OwnedFd::from(std::fs::File::create_new(directory.path().join("file")).expect("a file"));
    let (pipe, _writer) = rustix::pipe::pipe().expect("a pipe");
    let bell = push_core::shm::doorbell::bell().expect("a descriptor");
    let wrong: Vec<(&str, Vec<OwnedFd>)> = vec![
        ("descriptors", vec![]),
        ("descriptors", vec![memfd(right, all), memfd(right, all)]),
        ("no memfd", vec![file]),
        ("no memfd", vec![pipe]),
        ("no memfd", vec![bell]),
        ("not sealed", vec![memfd(right, SealFlags::empty())]),
        ("not sealed", vec![memfd(right, SealFlags::SHRINK)]),
        ("not sealed", vec![memfd(right, SealFlags::SHRINK | SealFlags::SEAL)]),
        ("bytes long", vec![memfd(0, all)]),
        ("bytes long", vec![memfd(4096, all)]),
        ("bytes long", vec![memfd(right - 8, all)]),
        ("bytes long", vec![memfd(right + 4096, all)]),
        ("bytes long", vec![memfd(1 << 40, all)]),
        ("cannot be mapped", vec![memfd(right, all | SealFlags::WRITE)]),
        ("header", vec![other_header(0, 1)]),
        ("header", vec![other_header(8, 2)]),
        ("header", vec![other_header(16, 3 << 13)]),
        ("header", vec![other_header(16, 0)]),
        ("header", vec![other_header(24, u64::MAX)]),
        ("bytes long", vec![other_header(24, 64 << 10)]),
        ("impossible", vec![other_header(128, 7)]),
        ("impossible", vec![other_header(640, 8)]),
    ];
    for (reason, fds) in wrong {
        let connection = connect(&socket);
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        send(&connection, &hello(), &fds);
        let (welcome, bell) = receive(&connection);
        let Welcome { protocol: PROTOCOL, refusal: Some(Error::InvalidArgument(text)) } =
            postcard::from_bytes(&welcome).expect("a welcome")
        else {
            panic!("attached: {reason}")
        };
        assert!(text.contains(reason), "{text}: not {reason}");
        assert!(bell.is_none());
    }
    // Another build is told so.
    let connection = connect(&socket);
    let newer = postcard::to_stdvec(&Hello::Attach { protocol: PROTOCOL + 1 }).expect("plain data");
    send(&connection, &newer, &[memfd(right, all).as_fd()]);
    let refused: Welcome = postcard::from_bytes(&receive(&connection).0).expect("a welcome");
    assert_eq!(refused.refusal, Some(Error::Incompatible { found: PROTOCOL + 1, expected: PROTOCOL }));
    // Rubbish, silence and floods of descriptors are closed.
    let count = hub.state.rejected.lock().expect("no panic").len();
    let silent = connect(&socket);
    let rubbish = connect(&socket);
    send(&rubbish, &[0xff; 300], &[]);
    let many = memfd(right, all);
    let floods: Vec<_> = (0..20)
        .map(|_| {
            let connection = connect(&socket);
            send(&connection, &hello(), &[many.as_fd(); 253]);
            connection
        })
        .collect();
    wait_until("all are rejected", || hub.state.rejected.lock().expect("no panic").len() == count + 22);
    drop((silent, floods));
    assert_eq!(hub.state.attached.load(SeqCst), 0);
    assert!(client(&socket).ping(DEADLINE));
}

#[test]
fn an_incompatible_hub_is_named() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            assert!(readable(listener.as_fd(), DEADLINE));
            let connection = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("a connection");
            receive(&connection);
            let welcome = Welcome { protocol: 9, refusal: None };
            send(&connection, &postcard::to_stdvec(&welcome).expect("plain data"), &[]);
        });
        assert_eq!(client(&socket).position(), Err(Error::Incompatible { found: 9, expected: PROTOCOL }));
    });
}

#[test]
fn a_client_of_the_previous_protocol_is_served_byte_for_byte() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let hub = Recorder::start(&socket);
    let (segment, memfd) = Segment::create(16 << 10).expect("memory");
    let connection = connect(&socket);
    // Attach, protocol 1; welcome, no refusal.
    send(&connection, &[0, 1], &[memfd.as_fd()]);
    let (welcome, bell) = receive(&connection);
    assert_eq!(welcome, [1, 0]);
    let bell = bell.expect("welcome");
    let mut requests = Producer::new(segment.clone(), segment.requests()).expect("a new ring");
    let mut replies = Consumer::new(segment.clone(), segment.replies()).expect("a new ring");
    // Its call 5: publish to `a` the bytes `hi`, without event, id and ttl, to be stored, without key.
    let call = [5, 0, 1, b'a', 2, b'h', b'i', 0, 0, 0, 0, 1, 0];
    assert!(requests.push(&call, &mut 0).expect("a sound ring"));
    push_core::shm::doorbell::ring(bell.as_fd());
    // Call 5 went well, published: id 1, time 7, tag 1, no subscribers.
    let mut reply = Vec::new();
    wait_until("the reply", || {
        if let Next::Message(bytes) = replies.next(1 << 20).expect("a sound ring") {
            reply = bytes.to_vec();
        }
        !reply.is_empty()
    });
    assert_eq!(reply, [5, 0, 0, 1, 7, 1, 0]);
    assert_eq!(hub.payloads(), ["hi"]);
}

#[test]
fn a_hub_of_the_previous_protocol_serves_the_calls_that_it_knows() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let listener = listener(&socket);
    let next = || {
        assert!(readable(listener.as_fd(), DEADLINE));
        rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("a connection")
    };
    std::thread::scope(|threads| {
        threads.spawn(|| {
            // It does not know the newer one, and says which it speaks.
            let refused = next();
            assert_eq!(receive(&refused).0, [0, 3]);
            send(&refused, &[1, 1, 8, 3, 1], &[]);
            let connection = next();
            let (hello, memfd) = receive(&connection);
            assert_eq!(hello, [0, 1]);
            let attached = Segment::adopt(&memfd.expect("a segment")).expect("a sound segment");
            let bell = push_core::shm::doorbell::bell().expect("an eventfd");
            send(&connection, &[1, 0], &[bell.as_fd()]);
            let mut requests = Consumer::new(attached.clone(), attached.requests()).expect("a new ring");
            let mut replies = Producer::new(attached.clone(), attached.replies()).expect("a new ring");
            wait_until("a call", || matches!(requests.next(1 << 20), Ok(Next::Message([1, 4]))));
            assert!(replies.push(&[1, 0, 4, 7, 7], &mut 0).expect("a sound ring"));
            push_core::shm::doorbell::nudge(connection.as_fd());
            // Kept until the client is done.
            assert!(readable(connection.as_fd(), DEADLINE));
        });
        let mut client = client(&socket);
        assert_eq!(client.position(), Ok(Position { time: 7, tag: 7 }));
    });
}

// ---- the path

fn refusal(path: &Path) -> String {
    match client(path).publish("a", &NewMessage::new(b"x")) {
        Err(Error::HubUnavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_path_is_named_with_its_cure() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    assert!(refusal(&at("none.sock")).contains("start push-hub"));
    drop(listener(&at("stale.sock")));
    assert!(refusal(&at("stale.sock")).contains("left behind"));
    assert!(refusal(directory.path()).contains("is a directory"));
    std::fs::write(at("file"), "").expect("a file");
    assert!(refusal(&at("file")).contains("is no socket"));
    assert!(refusal(&at(&"long".repeat(30))).contains("108"));
    let _stream = std::os::unix::net::UnixListener::bind(at("stream.sock")).expect("a socket");
    assert!(refusal(&at("stream.sock")).contains("not the hub's"));
}

fn publish_as_nobody() {
    let text = refusal(Path::new(&argument("SOCKET")));
    assert!(text.contains("socket_group"), "{text}");
}

#[test]
fn a_socket_without_permission_is_named_with_its_cure() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else, and everybody else is allowed to use their own socket unless they forbid it.
        let directory = directory();
        let _listener = listener(&directory.path().join("hub.sock"));
        std::fs::set_permissions(directory.path().join("hub.sock"), PermissionsExt::from_mode(0o000)).expect("ours");
        assert!(refusal(&directory.path().join("hub.sock")).contains("socket_group"));
        return;
    }
    let directory = directory();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    let socket = directory.path().join("hub.sock");
    let _listener = listener(&socket);
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o600)).expect("ours");
    // The program must be readable for them, wherever it was built.
    let program = directory.path().join("program");
    std::fs::copy(std::env::current_exe().expect("this test"), &program).expect("a copy");
    let mut command = Command::new(program);
    command.args(["--exact", "a_process_of_its_own", "--ignored", "--test-threads=1"]).stdout(Stdio::null());
    command.env(ROLE, "publish as nobody").env("SOCKET", &socket).current_dir("/").uid(65_534).gid(65_534);
    assert!(command.status().expect("a process").success());
}

#[test]
fn the_inherited_way_is_tried_first_and_the_path_after_it() {
    let directory = directory();
    let socket = directory.path().join("hub.sock");
    let open = |path: &Path| {
        rustix::fs::open(path, rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .expect("a socket")
    };
    let hub = Recorder::start(&socket);
    // The path leads nowhere, the descriptor to the hub.
    let nowhere = directory.path().join("nowhere");
    let mut client = Client::new(Options { inherited: Some(open(&socket)), ..options(&nowhere) });
    client.publish("a", &NewMessage::new(b"inherited")).expect("through the descriptor");
    assert_eq!(hub.payloads(), ["inherited"]);
    // The descriptor leads to a hub that has ended, the path to the next one.
    let inherited = open(&socket);
    drop(hub.kill());
    std::fs::remove_file(&socket).expect("ours");
    let hub = Recorder::start(&socket);
    let mut client = Client::new(Options { inherited: Some(inherited), ..options(&socket) });
    client.publish("a", &NewMessage::new(b"path")).expect("through the path");
    assert_eq!(hub.payloads(), ["path"]);
}
