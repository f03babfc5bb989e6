//! The hot paths one by one, for `benches/paths.rs`, which counts their instructions. Nothing of it is in a hub.
//!
//! Each brings what it needs into the state of a hub that has been at work for a while, and then does one operation so many
//! times, on one thread and without threads that run beside it: twice as many operations take twice the instructions, run
//! for run. What the kernel does is not among them.

use std::future::Future;
use std::hint::black_box;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, send, socketpair,
};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::access::Access;
use crate::call::{Answer, Call, PresenceCall, Reply, Request};
use crate::channel::{ChannelName, Namespace};
use crate::client::{Client, Options};
use crate::config::Config;
use crate::control::Kept;
use crate::http_thread::{From, HttpThread, Inbox};
use crate::hub::limits;
use crate::ingress::admission::Admission;
use crate::ingress::rings::Attachment;
use crate::journal;
use crate::message::{Kind, NewMessage, Position, Published};
use crate::sequencer::{Batch, Feed, Resume, Seat, Sequencer, Subscribe, Wanted};
use crate::shm::doorbell;
use crate::shm::ring::{CONTROL_WORDS, Consumer, Layout as RingLayout, Next, Producer};
use crate::shm::segment::Segment;
use crate::transport::Layout;
use crate::transport::render::Item;

/// One hot path.
pub struct Path {
    /// In one word.
    pub name: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// So many make what is done once or now and then not count.
    pub operations: u64,
    carry_out: fn(u64),
}

impl Path {
    /// Does so many operations.
    ///
    /// # Panics
    /// An operation comes to something else than it should.
    pub fn carry_out(&self, operations: u64) {
        (self.carry_out)(operations);
    }
}

/// All of them.
pub const PATHS: [Path; 13] = [
    Path {
        name: "publish",
        operation: "a message is stored in one of 1,000 channels, each full, and the oldest there goes",
        operations: 10_000,
        carry_out: publish,
    },
    Path {
        name: "long-poll",
        operation: "a message goes to one of 100 subscribers that wait for it, who asks for the next",
        operations: 5_000,
        carry_out: long_poll,
    },
    Path {
        name: "event-stream",
        operation: "a message goes to one of 100 event streams",
        operations: 20_000,
        carry_out: event_stream,
    },
    Path { name: "post", operation: "a message comes by POST", operations: 2_000, carry_out: post },
    Path { name: "ring", operation: "100 bytes go through a ring", operations: 50_000, carry_out: ring },
    Path {
        name: "call",
        operation: "a message goes through the ring into the engine, and its place comes back",
        operations: 2_000,
        carry_out: call,
    },
    Path {
        name: "call-async",
        operation: "the client's publish_async, and the hub takes it from the ring, 32 at a time",
        operations: 6_400,
        carry_out: call_async,
    },
    Path {
        name: "resume",
        operation: "a subscriber gets the 10 messages that it missed of 100 stored ones",
        operations: 2_000,
        carry_out: resume,
    },
    Path {
        name: "seat",
        operation: "a subscriber that missed nothing sits down and leaves",
        operations: 20_000,
        carry_out: seat,
    },
    Path {
        name: "template",
        operation: "a message in the template that pushstream.js reads",
        operations: 10_000,
        carry_out: |operations| render(Layout::Template, operations),
    },
    Path {
        name: "json",
        operation: "a message as a JSON object",
        operations: 20_000,
        carry_out: |operations| render(Layout::Json, operations),
    },
    Path {
        name: "join",
        operation: "one joins a channel of 1,000 members, and another leaves",
        operations: 15_000,
        carry_out: |operations| join(1_000, false, operations),
    },
    Path {
        name: "join-told",
        operation: "the same among 50, with a subscriber that is told",
        operations: 2_000,
        carry_out: |operations| join(50, true, operations),
    },
];

/// What most messages are like: JSON of 100 bytes.
const PAYLOAD: &[u8] =
    br#"{"from":"somebody","text":"A message of a hundred bytes, which is about what people write to others"}"#;

fn message() -> NewMessage<'static> {
    NewMessage { kind: Kind::Json, ..NewMessage::new(PAYLOAD) }
}

fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    config.set("authorized_channels_only", "off").expect("a switch");
    for (key, value) in settings {
        config.set(key, value).expect("a setting of a path");
    }
    config
}

/// An engine for the thread of this inbox.
fn engine(config: &Config, inbox: &Inbox) -> Sequencer {
    let journal = journal::create(config.memory_limit).expect("memory");
    let access = Access::of_this_process().expect("random numbers");
    let (mailboxes, start) = (Box::new([inbox.mailbox.clone()]), Position { time: 1_000, tag: 0 });
    Sequencer::new(limits(config), mailboxes, start, String::new(), (journal, false), access, None).expect("memory")
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text.as_bytes(), 255).expect("a name")
}

fn publish(operations: u64) {
    let engine = engine(&config(&[("max_messages_stored_per_channel", "4")]), &Inbox::default());
    let names: Vec<ChannelName> = (0..1_000).map(|number| name(&format!("channel-{number}"))).collect();
    let all = names.iter().cycle();
    for name in all.clone().take(4 * names.len()).chain(all.take(operations as usize)) {
        engine.publish(name, &message()).expect("room");
    }
    assert_eq!(engine.totals().stored, 4_000);
}

/// Runs an HTTP thread of a hub as a task beside this one.
fn with_thread<F: Future>(settings: &[(&str, &str)], work: impl FnOnce(Arc<Sequencer>, Arc<Inbox>) -> F) {
    let (config, inbox) = (Arc::new(config(settings)), Arc::<Inbox>::default());
    let engine = Arc::new(engine(&config, &inbox));
    let admission = Admission::new(&config);
    let thread = HttpThread::new(0, engine.clone(), config, inbox.clone(), admission, None).expect("an epoll set");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, async {
        spawn_local(thread.run());
        work(engine, inbox).await;
    });
}

/// Turns of the thread within which everything happens that is waited for.
const PATIENCE: usize = 1_000_000;

/// Comes again when the thread has done something.
async fn until(mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if done() {
            return;
        }
        yield_now().await;
    }
    panic!("what is waited for does not happen");
}

/// A connection to the thread.
fn connect(inbox: &Inbox, from: From) -> OwnedFd {
    let (ours, theirs) = pair(SocketType::STREAM);
    inbox.deal(theirs, from);
    ours
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, kind, flags, None).expect("descriptors")
}

fn ask(socket: &OwnedFd, request: &str) {
    assert_eq!(send(socket, request.as_bytes(), SendFlags::empty()), Ok(request.len()));
}

/// Takes what the thread has sent, when it has.
async fn hear(socket: &OwnedFd, buffer: &mut [u8]) -> usize {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => yield_now().await,
            heard => return heard.expect("a connection").0,
        }
    }
}

const SUBSCRIBERS: usize = 100;

fn long_poll(operations: u64) {
    with_thread(&[], async |engine, inbox| {
        let (channel, mut buffer) = (name("channel"), [0; 4096]);
        let sockets: Vec<OwnedFd> = (0..SUBSCRIBERS).map(|_| connect(&inbox, From::Public)).collect();
        let mut position = Position { time: 1_000, tag: 0 };
        for _ in 0..=operations / SUBSCRIBERS as u64 {
            let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(position.time.into()));
            let request = format!(
                "GET /sub/channel HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nIf-Modified-Since: {date}\r\n\
                 If-None-Match: W/{}\r\n\r\n",
                position.tag
            );
            sockets.iter().for_each(|socket| ask(socket, &request));
            until(|| engine.totals().subscriptions == SUBSCRIBERS as u64).await;
            position = engine.publish(&channel, &message()).expect("room").position;
            for socket in &sockets {
                let heard = hear(socket, &mut buffer).await;
                assert!(buffer[..heard].ends_with(PAYLOAD));
            }
        }
    });
}

fn event_stream(operations: u64) {
    with_thread(&[], async |engine, inbox| {
        let (channel, mut buffer) = (name("channel"), [0; 4096]);
        let sockets: Vec<OwnedFd> = (0..SUBSCRIBERS).map(|_| connect(&inbox, From::Public)).collect();
        for socket in &sockets {
            ask(socket, "GET /ev/channel HTTP/1.1\r\nHost: localhost\r\n\r\n");
            hear(socket, &mut buffer).await;
        }
        for _ in 0..operations / SUBSCRIBERS as u64 {
            engine.publish(&channel, &message()).expect("room");
            for socket in &sockets {
                let heard = hear(socket, &mut buffer).await;
                assert!(buffer[..heard].ends_with(b"others\"}\n\n\r\n"));
            }
        }
    });
}

fn post(operations: u64) {
    with_thread(&[], async |engine, inbox| {
        let (socket, mut buffer) = (connect(&inbox, From::Admin), [0; 4096]);
        let body = str::from_utf8(PAYLOAD).expect("text");
        let request =
            format!("POST /pub?id=channel HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        for _ in 0..operations {
            ask(&socket, &request);
            let heard = hear(&socket, &mut buffer).await;
            assert!(buffer[..heard].starts_with(b"HTTP/1.1 200 "));
        }
        assert_eq!(engine.totals().published, operations);
    });
}

fn ring(operations: u64) {
    let layout = RingLayout { control: 0, data: CONTROL_WORDS, capacity: 256 << 10 };
    let words = CONTROL_WORDS + layout.capacity / size_of::<AtomicU64>();
    let memory: Arc<[AtomicU64]> = (0..words).map(|_| AtomicU64::new(0)).collect();
    let mut producer = Producer::new(memory.clone(), layout).expect("a new ring");
    let mut consumer = Consumer::new(memory, layout).expect("a new ring");
    // Or the compiler would make a ring for messages of this length.
    let payload = black_box(PAYLOAD);
    for _ in 0..operations {
        assert_eq!(producer.push(payload, &mut 0), Ok(true));
        assert!(!producer.consumer_waits());
        assert_eq!(consumer.next(payload.len()), Ok(Next::Message(payload)));
        consumer.release();
    }
}

fn call(operations: u64) {
    with_thread(&[], async |_engine, inbox| {
        let (segment, memfd) = Segment::create(256 << 10).expect("memory");
        let (_line, theirs) = pair(SocketType::SEQPACKET);
        let bell = doorbell::bell().expect("a descriptor");
        let kept = Kept { segment: memfd, bell: bell.try_clone().expect("a descriptor"), socket: theirs };
        let client = Attachment::take_over(kept, &Admission::new(&config(&[]))).expect("a sound ring");
        inbox.deal_client(client);
        let mut requests = Producer::new(segment.clone(), segment.requests()).expect("a new ring");
        let mut replies = Consumer::new(segment.clone(), segment.replies()).expect("a new ring");
        let mut bytes = Vec::new();
        for number in 1..=operations {
            bytes.clear();
            let request: Request<'_> = (number, Call::Publish { channel: "channel", message: message() });
            bytes = postcard::to_extend(&request, bytes).expect("plain data into a Vec");
            assert_eq!(requests.push(&bytes, &mut 0), Ok(true));
            if requests.consumer_waits() {
                doorbell::ring(bell.as_fd());
            }
            let reply = loop {
                match replies.next(4096).expect("a sound ring") {
                    Next::Message(bytes) => break postcard::from_bytes::<Reply>(bytes).expect("a reply"),
                    _ => yield_now().await,
                }
            };
            assert!(matches!(reply, (of, Ok(Answer::Published(Published { id, .. }))) if (of, id) == (number, number)));
            replies.release();
        }
    });
}

fn call_async(operations: u64) {
    with_thread(&[], async |engine, inbox| {
        let path = std::env::temp_dir().join(format!("push-paths-{}", std::process::id()));
        let listener = rustix::net::socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a descriptor");
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path).expect("a short path")).expect("a free path");
        rustix::net::listen(&listener, 1).expect("a socket");
        let options = Options {
            socket: path.clone(),
            inherited: None,
            timeout: Duration::from_secs(10),
            backoff: Duration::ZERO,
            ring_size: 256 << 10,
        };
        // Attaching waits for the hub, which is on this thread.
        let (attached, attaching) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut client = Client::new(options);
            attached.send(client.position().map(|_| client)).expect("somebody waits for it");
        });
        let socket = rustix::net::accept(&listener).expect("the client");
        std::fs::remove_file(&path).expect("ours");
        ioctl_fionbio(&socket, true).expect("a socket");
        inbox.deal(socket, From::Client);
        let mut client = attaching.await.expect("no panic").expect("a hub");
        thread.join().expect("no panic");
        for round in 1..=operations / 32 {
            for _ in 0..32 {
                client.publish_async("channel", &message()).expect("room");
            }
            until(|| engine.totals().published == 32 * round).await;
        }
    });
}

fn subscribe(channels: &[Wanted], after: Option<Position>, seat: Seat) -> Subscribe<'_> {
    Subscribe {
        channels,
        after,
        event_id: None,
        identity: None,
        authorized_only: false,
        most_wildcards: None,
        to_events: false,
        seat,
        enters: false,
        feed: Feed::None,
    }
}

fn wanted(name: &str) -> [Wanted; 1] {
    [Wanted { name: self::name(name), backlog: 0, opened: false }]
}

fn resume(operations: u64) {
    let engine = engine(&config(&[]), &Inbox::default());
    let wanted = wanted("channel");
    let positions: Vec<Position> =
        (0..100).map(|_| engine.publish(&wanted[0].name, &message()).expect("room").position).collect();
    for _ in 0..operations {
        let resume = engine.resume_or_wait(0, subscribe(&wanted, Some(positions[89]), Seat::IfNothingMissed));
        assert!(matches!(resume, Ok(Resume::Now(Batch { messages, gap: false, .. })) if messages.len() == 10));
    }
}

fn seat(operations: u64) {
    let engine = engine(&config(&[]), &Inbox::default());
    let wanted = wanted("channel");
    let head = engine.publish(&wanted[0].name, &message()).expect("room").position;
    for _ in 0..operations {
        let resume = engine.resume_or_wait(0, subscribe(&wanted, Some(head), Seat::IfNothingMissed));
        let Ok(Resume::Seated(_, seats, guest)) = resume else { panic!("it missed nothing: {resume:?}") };
        engine.unseat(0, [(guest, seats)]);
    }
}

fn render(layout: Layout, operations: u64) {
    let config = config(&[("preset", "pushstream")]);
    let item = Item {
        id: 1_000,
        channel: "channel",
        event: None,
        event_id: None,
        kind: Kind::Json,
        payload: PAYLOAD,
        position: Position { time: 1_700_000_000, tag: 1_000 },
    };
    let mut out = Vec::new();
    for _ in 0..operations {
        out.clear();
        layout.append(&mut out, &config.locations[0], &item);
        assert!(out.len() > PAYLOAD.len());
    }
}

fn join(members: usize, told: bool, operations: u64) {
    let (site, channel) = (Namespace::default(), wanted("channel"));
    let engine = engine(&config(&[]), &Inbox::default());
    let change = |user: &str, comes: bool| {
        let (channel_name, info) = (Some("channel"), br#"{"nick":"somebody"}"#);
        let call = match comes {
            true => PresenceCall::Online { user, channel: channel_name, info, ttl: None },
            false => PresenceCall::Offline { user, channel: channel_name },
        };
        let changed = engine.presence(&site, &call, Some(&channel[0].name));
        assert_eq!(changed, Ok(Answer::Changed(true)));
    };
    if told {
        let reader = Subscribe { feed: Feed::Since, ..subscribe(&channel, None, Seat::Always(1 << 20)) };
        assert!(matches!(engine.resume_or_wait(0, reader), Ok(Resume::Seated(..))));
    }
    let users: Vec<String> = (0..2 * members).map(|number| format!("user-{number}")).collect();
    users[..members].iter().for_each(|user| change(user, true));
    let mut events = Vec::new();
    engine.take_owed(0, &mut events, |_| 1);
    for (comes, leaves) in users.iter().cycle().skip(members).zip(users.iter().cycle()).take(operations as usize) {
        change(comes, true);
        change(leaves, false);
        events.clear();
        engine.take_owed(0, &mut events, |_| 1);
        assert_eq!(events.len(), if told { 2 } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_leads_to_its_end() {
        for path in PATHS {
            path.carry_out(200);
        }
    }
}
