//! Nothing lost, doubled or reordered in any transport, while publishers race, subscribers leave and come back, and some
//! of them do not read for a while.

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use push_core::channel::ChannelName;
use push_core::message::NewMessage;
use support::stream::{Events, Stream};
use support::websocket::{PING, TEXT, WebSocket};
use support::{Client, hub, wait_until};

const PUBLISHERS: usize = 3;
const CHANNELS: usize = 12;
const SUBSCRIBERS: usize = 48;
/// Messages of each publisher to each channel.
const PER_PUBLISHER: usize = 60;
/// Channels of a subscriber.
const SUBSCRIBED: usize = 3;
const ALL: usize = SUBSCRIBED * PUBLISHERS * PER_PUBLISHER;
const TEMPLATE: &str = "~channel~|~text~|~tag~|~time~";

fn channel(number: usize) -> String {
    format!("c{}", number % CHANNELS)
}

/// What one subscriber has: of each channel the last number of each publisher, and where the last message stood.
#[derive(Default)]
struct Seen {
    last: HashMap<(String, String), usize>,
    position: Option<(String, u64)>,
    count: usize,
}

impl Seen {
    fn take(&mut self, message: &str) {
        let fields: Vec<&str> = message.trim().split('|').collect();
        let [channel, text, tag, time] = fields[..] else { panic!("no message: {message:?}") };
        let mut words = text.split(' ');
        let (publisher, number) = (words.next().expect("a word"), words.next().expect("a word"));
        let number: usize = number.parse().expect("a number");
        let last = self.last.entry((channel.to_owned(), publisher.to_owned())).or_default();
        assert_eq!(number, *last + 1, "of publisher {publisher} on {channel}");
        *last = number;
        let position = (time.to_owned(), tag.parse().expect("a number"));
        if let Some(before) = &self.position {
            // One order over all channels, also where the second changed.
            assert!(before.0 != position.0 || before.1 < position.1, "{position:?} after {before:?}");
        }
        self.position = Some(position);
        self.count += 1;
    }

    /// The headers that a subscriber comes back with.
    fn headers(&self) -> String {
        match &self.position {
            Some((time, tag)) => format!("If-Modified-Since: {time}\r\nIf-None-Match: W/{tag}\r\n"),
            None => "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned(),
        }
    }
}

/// One connection of a subscriber.
enum Connection {
    Stream(Stream),
    Events(Events),
    WebSocket(WebSocket),
    LongPoll(Client),
}

/// A subscriber that reads, leaves every now and then, and resumes.
struct Subscriber {
    id: usize,
    path: String,
    seen: Seen,
    last_id: String,
}

impl Subscriber {
    fn new(id: usize) -> Self {
        let path = format!("{}/{}/{}", channel(id), channel(id + 1), channel(id + 5));
        Self { id, path, seen: Seen::default(), last_id: String::new() }
    }

    /// Those that read nothing at first.
    fn is_slow(&self) -> bool {
        self.id % 6 < 2 && self.id % 4 != 3
    }

    fn connect(&self, mut client: Client) -> Connection {
        let (path, headers) = (&self.path, self.seen.headers());
        match self.id % 4 {
            0 => {
                client.get(&format!("/stream/{path}"), &headers);
                let (head, stream) = Stream::open(client);
                assert_eq!((head.status, head.header("X-Push-Gap")), (200, None));
                Connection::Stream(stream)
            }
            1 => {
                // As a browser: the address stays what it was, and the id of the last event goes before.
                let last_id = if self.last_id.is_empty() {
                    String::new()
                } else {
                    format!("Last-Event-ID: {}\r\n", self.last_id)
                };
                client.get(&format!("/ev/{path}?position=0.0"), &last_id);
                let (head, stream) = Stream::open(client);
                assert_eq!((head.status, head.header("X-Push-Gap")), (200, None));
                Connection::Events(Events { stream, last_id: self.last_id.clone() })
            }
            2 => {
                let (head, socket) = WebSocket::open(client, &format!("/ws/{path}"), &headers);
                assert_eq!(head.header("X-Push-Gap"), None);
                Connection::WebSocket(socket)
            }
            _ => Connection::LongPoll(client),
        }
    }

    /// Reads the next messages.
    fn read(&mut self, connection: &mut Connection) {
        match connection {
            Connection::Stream(stream) => {
                self.seen.take(&stream.line());
            }
            Connection::Events(events) => {
                self.seen.take(&events.data());
                self.last_id.clone_from(&events.last_id);
            }
            Connection::WebSocket(socket) => {
                let frame = socket.frame();
                match frame.opcode {
                    TEXT => self.seen.take(std::str::from_utf8(&frame.payload).expect("UTF-8")),
                    opcode => assert_eq!(opcode, PING),
                }
            }
            Connection::LongPoll(client) => {
                client.get(&format!("/lp/{}", self.path), &self.seen.headers());
                let answer = client.response();
                assert_eq!((answer.status, answer.header("X-Push-Gap")), (200, None));
                answer.text().lines().for_each(|line| self.seen.take(line));
            }
        }
    }

    /// Until it has everything. `may_read` says when those that are slow begin.
    fn run(mut self, hub: SocketAddr, delivered: &AtomicUsize, may_read: &dyn Fn() -> bool) -> usize {
        let slow = self.is_slow();
        let first = if slow { Client::narrow(hub) } else { Client::new(hub) };
        let mut connection = self.connect(first);
        if slow {
            wait_until("half is published", may_read);
            if let Connection::Stream(Stream { client, .. })
            | Connection::Events(Events { stream: Stream { client, .. }, .. })
            | Connection::WebSocket(WebSocket { client }) = &connection
            {
                client.widen();
            }
        }
        // Each at another time.
        let stay = 40 + self.id * 7;
        let mut since = 0;
        while self.seen.count < ALL {
            let before = self.seen.count;
            self.read(&mut connection);
            since += self.seen.count - before;
            if !slow {
                delivered.fetch_add(self.seen.count - before, Ordering::Relaxed);
            }
            if since > stay && self.seen.count < ALL {
                since = 0;
                connection = self.connect(Client::new(hub));
            }
        }
        self.seen.count
    }
}

#[test]
fn every_transport_delivers_every_message_once_and_in_order() {
    let template = format!("{TEMPLATE}\n");
    let hub = hub(&[
        ("max_messages_stored_per_channel", "none"),
        ("message_template", &template),
        ("client_buffer", "16k"),
        ("ping_message_interval", "none"),
    ]);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let (delivered, published) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let total = PUBLISHERS * CHANNELS * PER_PUBLISHER;
    let fast = (0..SUBSCRIBERS).filter(|&id| !Subscriber::new(id).is_slow()).count();
    thread::scope(|scope| {
        for id in 0..SUBSCRIBERS {
            let (hub, delivered, published) = (hub.public, delivered.clone(), published.clone());
            scope.spawn(move || {
                let half = || published.load(Ordering::Relaxed) > total / 2;
                assert_eq!(Subscriber::new(id).run(hub, &delivered, &half), ALL);
            });
        }
        for publisher in 0..PUBLISHERS {
            let (engine, delivered, published) = (engine.clone(), delivered.clone(), published.clone());
            scope.spawn(move || {
                let names: Vec<ChannelName> =
                    (0..CHANNELS).map(|id| ChannelName::new(channel(id).as_bytes(), 255).expect("a name")).collect();
                for number in 1..=PER_PUBLISHER {
                    // Hardly ahead of those that read, so that most are live, and some just come back.
                    let behind = (number - 1).saturating_sub(3) * fast * SUBSCRIBED * PUBLISHERS;
                    wait_until("the subscribers keep up", || delivered.load(Ordering::Relaxed) >= behind);
                    for id in 0..CHANNELS {
                        // Each begins elsewhere, so that they meet in one channel, and hit several of one subscriber at once.
                        let name = &names[(id + publisher * 4) % CHANNELS];
                        let text = format!("{publisher} {number} {}", "x".repeat(3_000));
                        engine.publish(name, &NewMessage::new(text.as_bytes())).expect("published");
                        published.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
