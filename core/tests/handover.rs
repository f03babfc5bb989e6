//! A hub that goes over to the next one: at a reload of php-fpm with another configuration or build.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use push_core::call::{Delivery, Hello, PROTOCOL};
use push_core::channel::ChannelOptions;
use push_core::client::Subscription;
use push_core::keeper::{How, start_or_adopt};
use push_core::message::{NewMessage, Position};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use support::process::*;
use support::stream::{Events, Stream};
use support::websocket::WebSocket;
use support::{Client, DEADLINE, stop_process, wait_until};

const CONFIGURATION: &str = "it was started with another configuration";

fn took_over(difference: &str) -> How {
    How::TookOver { difference: difference.to_owned() }
}

fn message(text: &str) -> NewMessage<'_> {
    NewMessage::new(text.as_bytes())
}

fn wait_for_subscribers(site: &Site, channel: &str, count: u32) {
    let mut client = attach(&site.socket());
    wait_until("all wait", || client.channel_info(channel).unwrap().is_some_and(|info| info.subscribers == count));
}

/// What a poll on this connection answers: texts, the new position, and whether something was missing.
fn polled(client: &mut Client, path: &str, after: Position) -> (Vec<String>, Position, bool) {
    client.get(&format!("{path}?position={after}"), "Accept: application/json\r\n");
    answered(client)
}

fn answered(client: &mut Client) -> (Vec<String>, Position, bool) {
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).unwrap();
    let texts =
        answer["messages"].as_array().unwrap().iter().map(|message| message["data"].as_str().unwrap().to_owned());
    (texts.collect(), answer["position"].as_str().unwrap().parse().unwrap(), answer["gap"].as_bool().unwrap())
}

#[test]
fn a_reload_with_another_configuration_hands_everything_over() {
    let site = Site::new();
    let mut before = Leased::start(&site, &site.config(&[("linger", "10s")]));
    let (keeper, hub) = (before.keeper, site.hub());
    let mut publisher = attach(&site.socket());
    let options = ChannelOptions { owner: Some("alice".to_owned()), ttl: Some(1000), ..ChannelOptions::default() };
    let private = publisher.create_channel(None, options).unwrap();
    let once = NewMessage { dedupe: Some("order 17"), ..message("once") };
    let first = publisher.publish(&private, &once).unwrap();
    let second = publisher.publish("a", &message("before")).unwrap();
    let known = publisher.channel_info(&private).unwrap().unwrap();

    // Who waits, in each way, and who is between two requests.
    let mut long_poll = Client::new(site.listen);
    long_poll.get("/sub/a", "Accept: application/json\r\n");
    let mut event_stream = Client::new(site.listen);
    event_stream.get("/ev/a", "");
    let mut events = Events { stream: Stream::open(event_stream).1, last_id: String::new() };
    events.wait_for_id();
    events.stream.expect("\n");
    let mut stream = Client::new(site.listen);
    stream.get("/stream/a", "");
    let mut stream = Stream::open(stream).1;
    let mut websocket = WebSocket::open(Client::new(site.listen), "/ws/a", "").1;
    let mut idle = Client::new(site.listen);
    assert_eq!(polled(&mut idle, "/poll/a", Position::START).0, ["before"]);
    wait_for_subscribers(&site, "a", 4);

    let after = site.config(&[("linger", "10s"), ("max_message_size", "1k"), ("threads", "3")]);
    before.give_up();
    let now = Leased::start(&site, &after);
    assert_eq!(now.how(), took_over(CONFIGURATION), "{}", site.log());
    assert_ne!((now.keeper, site.hub()), (keeper, hub), "{}", site.log());

    // All are told where they are, and that is complete.
    let (texts, position, gap) = answered(&mut long_poll);
    assert_eq!((texts.len(), gap), (0, false));
    assert_eq!(position, second.position);
    events.stream.expect(format!("id: {position}\n\n"));
    events.stream.expect_end();
    stream.expect_end();
    websocket.expect_close();
    // The connections go on with the next hub.
    let third = publisher.publish("a", &message("after")).unwrap();
    assert_eq!((second.id, third.id), (1, 2));
    assert!(third.position > second.position);
    for client in [&mut long_poll, &mut idle] {
        assert_eq!(polled(client, "/sub/a", position), (vec!["after".to_owned()], third.position, false));
    }
    // So does all that there was, with the new limits.
    assert_eq!(publisher.publish(&private, &once).unwrap(), first);
    assert_eq!(publisher.channel_info(&private).unwrap().unwrap(), known);
    assert!(publisher.publish("a", &message(&"x".repeat(2000))).is_err());
    assert_eq!(site.serving(), site.hub());
    assert!(site.log().contains("took over from a hub"), "{}", site.log());

    wait_until("the others end", || gone(keeper) && gone(hub));
    drop(before);
    // Nothing of the old lease ends the new one.
    site.publish("a", "still there");
    assert_eq!(site.keeper(), Some(now.keeper));
    signal(now.keeper, Signal::TERM);
    drop(now);
    let mut left: Vec<_> = fs::read_dir(site.path("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["hub.sock.lock", "secret"], "{}", site.log());
}

/// A copy of the program that is of another build: the number that it compares is another.
fn other_build(site: &Site) -> PathBuf {
    let own = env!("CARGO_PKG_VERSION").as_bytes();
    let mut other = own.to_vec();
    *other.last_mut().unwrap() = if own.ends_with(b"9") { b'8' } else { b'9' };
    let mut program = fs::read(PROGRAM).unwrap();
    let mut at = 0;
    while let Some(dot) = program[at..].iter().position(|byte| *byte == b'.') {
        // Every version has a dot behind its first number.
        let start = (at + dot).saturating_sub(own.iter().position(|byte| *byte == b'.').unwrap());
        if program[start..].starts_with(own) {
            program[start..start + own.len()].copy_from_slice(&other);
        }
        at += dot + 1;
    }
    let path = site.path("push-hub-next");
    fs::write(&path, program).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut said = std::process::Command::new(&path).arg("--version").output();
    // Another thread may have forked while the file was open here.
    wait_until("it can be run", || {
        let busy = said.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy);
        if busy {
            said = std::process::Command::new(&path).arg("--version").output();
        }
        !busy
    });
    let said = said.unwrap();
    assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("push-hub {}\n", String::from_utf8(other).unwrap()));
    path
}

#[test]
fn an_upgrade_and_its_rollback_lose_nothing() {
    let site = Site::new();
    let config = site.config(&[("linger", "10s")]);
    let next = other_build(&site);
    let mut running = Leased::start(&site, &config);
    // A long-running script that attached to the first of them.
    let mut script = attach(&site.socket());
    script.publish("a", &message("0")).unwrap();
    let own = env!("CARGO_PKG_VERSION");
    let mut hubs = vec![site.hub()];
    for round in 1..=4 {
        let config = site.config(&[("linger", "10s"), ("message_ttl", &format!("{}m", 10 + (round + 1) / 2))]);
        if round % 2 == 1 {
            assert_eq!(running.reload(&config, &next), took_over(CONFIGURATION), "{}", site.log());
        } else {
            // This process is a master of our build, to which the hub is of another.
            let How::TookOver { difference } = running.reload(&config, Path::new(PROGRAM)) else {
                panic!("{:?}\n{}", running.how(), site.log());
            };
            assert!(difference.starts_with("it is version ") && difference.ends_with(&format!(", this is {own}")));
        }
        script.publish("a", &message(&round.to_string())).unwrap();
        hubs.push(site.hub());
    }
    hubs.dedup();
    assert_eq!(hubs.len(), 5);
    let history = script.history("a", Position::START, 100).unwrap();
    let texts: Vec<_> = history.iter().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    assert_eq!(history.iter().map(|message| message.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    signal(running.keeper, Signal::TERM);
}

#[test]
fn of_two_masters_with_different_settings_the_first_keeps_its_hub() {
    let site = Site::new();
    let config = site.config(&[("linger", "10s")]);
    let first = start_or_adopt(&config, Path::new(PROGRAM)).unwrap();
    let hub = site.hub();
    let other = site.config(&[("linger", "10s"), ("message_ttl", "1m")]);
    let mut second = Leased::start(&site, &other);
    let How::Kept { difference, why } = second.how() else { panic!("{:?}", second.how()) };
    assert_eq!(difference, CONFIGURATION);
    assert!(why.contains("other PHP masters hold it"), "{why}");
    // It holds the hub as well as the first does, and gets its own at its next reload.
    drop(first);
    site.publish("a", "x");
    assert_eq!(site.hub(), hub);
    assert_eq!(second.reload(&other, Path::new(PROGRAM)), took_over(CONFIGURATION), "{}", site.log());
    signal(second.keeper, Signal::TERM);
}

#[test]
fn a_configuration_that_cannot_start_leaves_the_hub_as_it_is() {
    let site = Site::new();
    let config = site.config(&[("linger", "10s")]);
    let mut running = Leased::start(&site, &config);
    let (keeper, hub) = (running.keeper, site.hub());
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    wait_for_subscribers(&site, "a", 1);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = format!("{}, {}", site.listen, busy.local_addr().unwrap());
    let nowhere = site.path("missing/hub.log");
    for (key, value, reason) in [
        ("listen", both.as_str(), "Address already in use"),
        ("log", nowhere.to_str().unwrap(), "No such file or directory"),
        ("socket_group", "no-such-group", "there is no such group"),
        ("max_number_of_wildcard_channels", "5", "counts nothing without wildcard_channel_prefix"),
    ] {
        let how = running.reload(&site.config(&[("linger", "10s"), (key, value)]), Path::new(PROGRAM));
        let How::Kept { difference, why } = &how else { panic!("{key}: {how:?}") };
        assert!(difference == CONFIGURATION && why.contains(reason), "{key}: {why}");
        assert_eq!((running.keeper, site.hub()), (keeper, hub));
    }
    assert!(waiting.is_silent());
    site.publish("a", "as before");
    assert_eq!(waiting.response().text(), "as before");
    signal(keeper, Signal::TERM);
}

#[test]
fn listeners_come_and_go_with_the_configuration() {
    let site = Site::new();
    let (old, new) = (site.path("run/old.sock"), site.path("run/new.sock"));
    let with = |path: &Path, mode: &str| {
        let listen = format!("{}, unix:{}", site.listen, path.display());
        site.config(&[("linger", "10s"), ("listen", &listen), ("socket_mode", mode)])
    };
    let mut before = Leased::start(&site, &with(&old, "0660"));
    let inode = |path: &Path| fs::metadata(path).map(|file| (file.ino(), file.mode() & 0o777)).ok();
    let attach_socket = inode(&site.socket()).unwrap();
    before.give_up();
    let after = Leased::start(&site, &with(&new, "0600"));
    assert_eq!(after.how(), took_over(CONFIGURATION), "{}", site.log());
    assert_eq!((inode(&old), inode(&new).unwrap().1), (None, 0o600));
    assert_eq!(inode(&site.socket()), Some((attach_socket.0, 0o600)));
    drop(before);
    let mut stream = UnixStream::connect(&new).unwrap();
    stream.write_all(b"GET /poll/a HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 304"), "{answer}");
    signal(after.keeper, Signal::TERM);
}

#[test]
fn whom_nginx_hands_over_the_next_hub_believes_too() {
    let site = Site::new();
    let path = site.path("run/trusted.sock");
    let listen = format!("unix:{}", path.display());
    let with = |mode| site.config(&[("linger", "10s"), ("trusted_listen", &listen), ("socket_mode", mode)]);
    let open = "lets every user of this machine come by trusted_listen";
    let ask = |connection: &mut UnixStream, headers: &str| {
        connection.write_all(format!("GET /poll/x HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap()[9..12].to_owned()
    };
    let connect = || {
        let connection = UnixStream::connect(&path).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        connection
    };
    let identity = "X-Push-Identity: {\"channels\":[\"a\"]}\r\n";
    let mut before = Leased::start(&site, &with("0660"));
    assert!(!site.log().contains(open), "{}", site.log());
    assert!(site.log().contains(&format!("trusted listener on {listen}")), "{}", site.log());
    let mut idle = connect();
    assert_eq!(ask(&mut idle, identity), "304");
    before.give_up();
    let after = Leased::start(&site, &with("0666"));
    assert_eq!(after.how(), took_over(CONFIGURATION), "{}", site.log());
    assert!(site.log().contains(open), "{}", site.log());
    // The connection that nginx keeps, and a new one.
    assert_eq!(ask(&mut idle, identity), "304");
    assert_eq!(ask(&mut connect(), identity), "304");
    assert_eq!((ask(&mut idle, ""), ask(&mut connect(), "")), ("403".to_owned(), "403".to_owned()));
    signal(after.keeper, Signal::TERM);
}

/// Everything that is published while hubs follow each other, and who was to get it.
struct Load {
    stop: AtomicBool,
    /// Messages whose publication was acknowledged.
    published: AtomicU64,
    /// How many they are in the end; known before the last of them.
    all: AtomicU64,
}

/// Also when the test fails.
impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

struct Stop<'a>(&'a Load);

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Whether a subscriber that has seen so many has seen all.
    fn is_over(&self, seen: u64) -> bool {
        seen >= self.all.load(Ordering::Relaxed)
    }

    /// By a ring, each call acknowledged.
    fn publish(&self, site: &Site) {
        let mut client = attach(&site.socket());
        let mut last = Position::START;
        while self.goes_on() {
            let number = self.published.load(Ordering::Relaxed);
            let published = client.publish("load", &message(&number.to_string())).unwrap();
            assert_eq!(published.id, number + 1);
            assert!(published.position > last);
            last = published.position;
            self.published.store(number + 1, Ordering::Relaxed);
        }
    }

    /// By HTTP, on one connection as long as the hub keeps it; how many connections that were.
    fn post(&self, site: &Site) -> u32 {
        let mut connections = 0;
        let mut number = 0;
        while self.goes_on() {
            let mut stream = std::os::unix::net::UnixStream::connect(site.path("run/admin.sock")).unwrap();
            stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
            connections += 1;
            while self.goes_on() {
                let body = number.to_string();
                write!(
                    stream,
                    "POST /pub?id=posts HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
                let mut answer = Vec::new();
                let mut part = [0; 4096];
                while !answer.windows(4).any(|end| end == b"\r\n\r\n") || !answer.ends_with(b"}\r\n") {
                    let n = stream.read(&mut part).unwrap();
                    assert!(n > 0, "a POST without answer: {:?}", String::from_utf8_lossy(&answer));
                    answer.extend_from_slice(&part[..n]);
                }
                let answer = String::from_utf8(answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                number += 1;
                if answer.contains("Connection: close") {
                    break;
                }
            }
        }
        let info = attach(&site.socket()).channel_info("posts").unwrap().unwrap();
        assert_eq!(info.published, number);
        connections
    }

    fn long_poll(&self, site: &Site) -> u64 {
        let mut client = Client::new(site.listen);
        let (mut position, mut seen) = (Position::START, 0);
        while !self.is_over(seen) {
            client.get(&format!("/sub/load?position={position}"), "Accept: application/json\r\n");
            let response = client.response();
            let answer: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!(answer["gap"], false);
            for message in answer["messages"].as_array().unwrap() {
                assert_eq!(message["data"].as_str().unwrap(), seen.to_string());
                seen += 1;
            }
            position = answer["position"].as_str().unwrap().parse().unwrap();
            if response.header("Connection") == Some("close") {
                client = Client::new(site.listen);
            }
        }
        seen
    }

    fn event_stream(&self, site: &Site) -> u64 {
        let (mut last_id, mut seen) = (Position::START.to_string(), 0);
        loop {
            let mut client = Client::new(site.listen);
            client.get("/ev/load", &format!("Last-Event-ID: {last_id}\r\n"));
            let mut stream = Stream::open(client).1;
            while let Some(line) = stream.until_end_or(b'\n') {
                let line = String::from_utf8(line).unwrap();
                if let Some(data) = line.strip_prefix("data: ") {
                    assert_eq!(data.trim_end(), seen.to_string());
                    seen += 1;
                } else if let Some(id) = line.strip_prefix("id: ") {
                    last_id = id.trim_end().to_owned();
                }
                assert!(!line.contains("push.gap"), "a gap after {last_id}");
                if self.is_over(seen) {
                    return seen;
                }
            }
        }
    }

    fn program(&self, site: &Site) -> u64 {
        let mut subscription = Subscription::new(attach(&site.socket()), &["load"], Some(Position::START)).unwrap();
        let mut seen = 0;
        while !self.is_over(seen) {
            match subscription.receive() {
                Ok(Some(Delivery::Message { message, .. })) => {
                    assert_eq!(message.payload, seen.to_string().as_bytes());
                    seen += 1;
                }
                Ok(Some(other)) => panic!("{other:?}"),
                Ok(None) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        seen
    }
}

#[test]
fn under_load_nothing_is_lost_doubled_reordered_or_refused() {
    const HANDOVERS: u32 = 6;
    let site = Site::new();
    let config = |number: u32| {
        let ttl = format!("{}m", 10 + number);
        let stored = ("max_messages_stored_per_channel", "none");
        site.config(&[("linger", "10s"), ("message_ttl", &ttl), stored])
    };
    let mut running = Leased::start(&site, &config(0));
    attach(&site.socket()).create_channel(Some("load"), ChannelOptions::default()).unwrap();
    let load = Load { stop: AtomicBool::new(false), published: AtomicU64::new(0), all: AtomicU64::new(u64::MAX) };
    let (load, site) = (&load, &site);
    std::thread::scope(|scope| {
        let stop = Stop(load);
        let publisher = scope.spawn(|| load.publish(site));
        let poster = scope.spawn(|| load.post(site));
        let connects = scope.spawn(|| {
            let mut connects = 0;
            while load.goes_on() {
                let connection = TcpStream::connect(site.listen).expect("no connection is refused");
                // Else each holds a port for a while after its end, and others find none.
                rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO)).expect("a socket");
                connects += 1;
            }
            connects
        });
        let mut subscribers = Vec::new();
        for _ in 0..4 {
            subscribers.push(scope.spawn(|| load.long_poll(site)));
            subscribers.push(scope.spawn(|| load.event_stream(site)));
        }
        subscribers.push(scope.spawn(|| load.program(site)));
        let mut longest = Duration::ZERO;
        for number in 1..=HANDOVERS {
            let seen = load.published.load(Ordering::Relaxed);
            wait_until("messages are published", || {
                assert!(!publisher.is_finished() && !poster.is_finished(), "{}", site.log());
                load.published.load(Ordering::Relaxed) > seen + 50
            });
            let begun = Instant::now();
            assert_eq!(running.reload(&config(number), Path::new(PROGRAM)), took_over(CONFIGURATION), "{}", site.log());
            longest = longest.max(begun.elapsed());
        }
        drop(stop);
        publisher.join().unwrap();
        let connections = poster.join().unwrap();
        let count = load.published.load(Ordering::Relaxed) + 1;
        load.all.store(count, Ordering::Relaxed);
        attach(&site.socket()).publish("load", &message(&(count - 1).to_string())).unwrap();
        for subscriber in subscribers {
            assert_eq!(subscriber.join().unwrap(), count);
        }
        let connects = connects.join().unwrap();
        println!("{count} messages, {connects} connects, {connections} connections for posts, longest {longest:?}");
        assert!(connects > 0);
    });
    signal(running.keeper, Signal::TERM);
}

#[test]
fn memory_grows_and_shrinks_with_its_limit() {
    const MESSAGES: u64 = 600;
    let site = Site::new();
    let config = |limit| {
        let stored = ("max_messages_stored_per_channel", "none");
        site.config(&[("linger", "10s"), ("memory_limit", limit), stored])
    };
    let mut running = Leased::start(&site, &config("2m"));
    let mut publisher = attach(&site.socket());
    let text = "x".repeat(10_000);
    let stored = |publisher: &mut push_core::client::Client| {
        let info = publisher.channel_info("a").unwrap().unwrap();
        (info.published, u64::from(info.stored))
    };
    for _ in 0..MESSAGES / 6 {
        publisher.publish("a", &message(&text)).unwrap();
    }
    let before = stored(&mut publisher);
    assert_eq!(before, (MESSAGES / 6, MESSAGES / 6));
    // More than the memory of before could ever hold.
    assert_eq!(running.reload(&config("1g"), Path::new(PROGRAM)), took_over(CONFIGURATION), "{}", site.log());
    assert_eq!(stored(&mut publisher), before);
    for _ in MESSAGES / 6..MESSAGES {
        publisher.publish("a", &message(&text)).unwrap();
    }
    assert_eq!(stored(&mut publisher), (MESSAGES, MESSAGES));
    assert_eq!(running.reload(&config("2m"), Path::new(PROGRAM)), took_over(CONFIGURATION), "{}", site.log());
    let (published, left) = stored(&mut publisher);
    assert!(published == MESSAGES && (50..210).contains(&left), "{left}");
    assert!(publisher.status().unwrap().memory <= 2 << 20);
    // The newest are those that are left, and who comes from before them is told.
    let newest = publisher.publish("a", &message("the newest")).unwrap();
    assert_eq!(newest.id, MESSAGES + 1);
    let before = Position { tag: newest.position.tag - 1, ..newest.position };
    assert_eq!(publisher.history("a", before, 10).unwrap()[0].payload, b"the newest");
    assert!(polled(&mut Client::new(site.listen), "/poll/a", Position { time: 1, tag: 1 }).2);
    let other = config("2m");
    let mut elsewhere = other.clone();
    elsewhere.set("store_path", site.path("store").to_str().unwrap()).unwrap();
    let how = running.reload(&elsewhere, Path::new(PROGRAM));
    assert!(matches!(&how, How::Kept { why, .. } if why.contains("store_path")), "{how:?}");
    signal(running.keeper, Signal::TERM);
}

// Who dies meanwhile

/// Asks for the hub as a new keeper does.
fn ask(site: &Site) -> OwnedFd {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = socket.unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(site.socket()).unwrap()).unwrap();
    let hello = Hello::Handover { protocol: PROTOCOL, build: "0".to_owned() };
    rustix::net::send(&socket, &postcard::to_stdvec(&hello).unwrap(), SendFlags::NOSIGNAL).unwrap();
    socket
}

/// Reads up to this word of the old keeper; what lies between is the estate.
fn wait_for_word(socket: &OwnedFd, word: u8) {
    rustix::net::sockopt::set_socket_timeout(socket, rustix::net::sockopt::Timeout::Recv, Some(support::DEADLINE))
        .unwrap();
    loop {
        let mut bytes = [0; 256];
        let (n, _) = rustix::net::recv(socket, &mut bytes, RecvFlags::empty()).unwrap();
        assert!(n > 0, "the keeper is gone");
        if bytes[..n] == [word] {
            return;
        }
        assert_eq!(&bytes[..n], b"estate");
    }
}

const OFFERED: u8 = 1;
const COMMIT: u8 = 2;
const YOURS: u8 = 3;

#[test]
fn a_new_keeper_that_goes_away_leaves_the_hub_or_gets_it_back() {
    let site = Site::new();
    let running = Leased::start(&site, &site.config(&[("linger", "10s")]));
    let (keeper, hub) = (running.keeper, site.hub());
    let mut publisher = attach(&site.socket());
    let first = publisher.publish("a", &message("1")).unwrap();
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "Accept: application/json\r\n");
    wait_for_subscribers(&site, "a", 1);
    // Before it has decided: nobody notices.
    let line = ask(&site);
    wait_for_word(&line, OFFERED);
    drop(line);
    // It may still have been sending what it offers.
    let said = |log: &str| log.contains("the hub stays here") || log.contains("a hub cannot be offered");
    wait_until("the log says so", || said(&site.log()));
    assert_eq!((site.keeper(), site.hub()), (Some(keeper), hub));
    assert!(waiting.is_silent());
    // Afterwards: the keeper has another hub with all that was there.
    let line = ask(&site);
    wait_for_word(&line, OFFERED);
    rustix::net::send(&line, &[COMMIT], SendFlags::NOSIGNAL).unwrap();
    wait_for_word(&line, YOURS);
    publisher.publish_async("a", &message("2")).unwrap();
    drop(line);
    let third = publisher.publish("a", &message("3")).unwrap();
    assert_eq!((third.id, site.keeper()), (3, Some(keeper)));
    assert_ne!(site.serving(), hub);
    assert_eq!(answered(&mut waiting), (vec![], first.position, false));
    assert_eq!(polled(&mut Client::new(site.listen), "/sub/a", first.position).0, ["2", "3"]);
    wait_until("the old hub ends", || gone(hub));
    signal(keeper, Signal::TERM);
}

/// The keeper of this site that is not that one.
fn other_keeper(site: &Site, known: i32) -> Option<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let lock = site.path("run/hub.sock.lock");
    let holds = |pid: i32| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
        fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).any(|file| file == lock)
    };
    let mut keepers = pids.filter(|pid| *pid != known && command_line(*pid) == "push-hub: keeper" && !gone(*pid));
    keepers.find(|pid| holds(*pid))
}

/// What is killed while the old hub is to halt, and whether the new keeper gets what it came for then.
fn killed_while_halting(kill: impl FnOnce(&Site, i32, i32), expected: impl FnOnce(&Site, How)) {
    let site = Site::new();
    let mut running = Leased::start(&site, &site.config(&[("linger", "10s")]));
    let (keeper, hub) = (running.keeper, site.hub());
    let mut publisher = attach(&site.socket());
    for number in 1..=20 {
        publisher.publish("a", &message(&number.to_string())).unwrap();
    }
    // The new keeper waits for this port for a while: between its question and its decision.
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = format!("{}, {}", site.listen, busy.local_addr().unwrap());
    let after = site.config(&[("linger", "10s"), ("listen", &both)]);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| running.reload(&after, Path::new(PROGRAM)));
        wait_until("it asks", || site.log().contains("a PHP master asks for the hub"));
        stop_process(hub);
        drop(busy);
        wait_until("it has decided", || site.log().contains("this one halts"));
        publisher.publish_async("a", &message("21")).unwrap();
        kill(&site, keeper, hub);
        expected(&site, reload.join().unwrap());
    });
    // Whoever serves now: nothing is lost, nothing doubled.
    let last = publisher.publish("a", &message("22")).unwrap();
    assert_eq!(last.id, 22, "{}", site.log());
    let history = publisher.history("a", Position::START, 100).unwrap();
    let texts: Vec<_> = history.iter().map(|message| String::from_utf8(message.payload.clone()).unwrap()).collect();
    assert_eq!(texts, (1..=22).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(polled(&mut Client::new(site.listen), "/poll/a", Position::START).0.len(), 22);
    wait_until("the old hub ends", || gone(hub));
    running.keeper = site.keeper().unwrap();
    signal(running.keeper, Signal::TERM);
}

#[test]
fn a_hub_that_is_killed_while_it_halts_is_followed_all_the_same() {
    killed_while_halting(
        |_, _, hub| signal(hub, Signal::KILL),
        |site, how| assert_eq!(how, took_over(CONFIGURATION), "{}", site.log()),
    );
}

#[test]
fn a_hub_that_does_not_halt_is_killed() {
    killed_while_halting(
        |_, _, _| {},
        |site, how| {
            assert_eq!(how, took_over(CONFIGURATION), "{}", site.log());
            assert!(site.log().contains("does not halt; it is killed"));
        },
    );
}

#[test]
fn the_next_hub_follows_also_when_the_old_keeper_is_killed() {
    killed_while_halting(
        |_, keeper, hub| {
            signal(keeper, Signal::KILL);
            wait_until("it is dead", || gone(keeper));
            signal(hub, Signal::CONT);
        },
        |site, how| assert_eq!(how, took_over(CONFIGURATION), "{}", site.log()),
    );
}

#[test]
fn a_new_keeper_that_is_killed_is_followed_by_another_hub_of_the_old_one() {
    killed_while_halting(
        |site, keeper, hub| {
            let new = other_keeper(site, keeper).expect("a new keeper");
            signal(new, Signal::KILL);
            wait_until("it is dead", || gone(new));
            signal(hub, Signal::CONT);
        },
        |site, how| {
            let How::Kept { why, .. } = &how else { panic!("{how:?}\n{}", site.log()) };
            assert!(why.contains("ended before it was ready"), "{why}");
        },
    );
}

#[test]
fn a_stranger_cannot_ask_for_the_hub() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let running = Leased::start(&site, &site.config(&[("linger", "10s"), ("socket_mode", "0666")]));
    let socket = site.socket();
    let said = as_another_user(1, move || {
        let flags = SocketFlags::CLOEXEC;
        let line = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        rustix::net::connect(&line, &SocketAddrUnix::new(&socket).unwrap()).unwrap();
        let hello = Hello::Handover { protocol: PROTOCOL, build: "0".to_owned() };
        rustix::net::send(&line, &postcard::to_stdvec(&hello).unwrap(), SendFlags::NOSIGNAL).unwrap();
        let mut bytes = [0; 256];
        let (n, _) = rustix::net::recv(&line, &mut bytes, RecvFlags::empty()).unwrap();
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    });
    assert!(said.contains("only root and the user of the hub may ask for it"), "{said}");
    site.publish("a", "x");
    signal(running.keeper, Signal::TERM);
}
