//! What outlives a hub that is killed: messages, channels, keys, positions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use push_core::channel::ChannelOptions;
use push_core::client::{self, Options};
use push_core::error::Error;
use push_core::message::{NewMessage, Position, Published};
use rustix::process::Signal;
use support::process::{Foreground, Site, attach, children, gone, signal};
use support::{DEADLINE, stop_process, wait_until};

/// Kills the hub and waits until the keeper has another.
fn kill_hub(site: &Site, keeper: i32) {
    let hub = site.hub();
    signal(hub, Signal::KILL);
    wait_until("the hub is replaced", || children(keeper).iter().any(|pid| *pid != hub && !gone(*pid)));
}

/// What a long poll, or a poll, from a position answers: texts, the new position, and whether something was missing.
/// `None` when the hub was killed meanwhile.
fn try_poll(site: &Site, path: &str, after: Position) -> Option<(Vec<String>, Position, bool)> {
    let mut socket = TcpStream::connect(site.listen).expect("no connection is refused");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET {path}?position={after} HTTP/1.0\r\nHost: x\r\nAccept: application/json\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let answer: serde_json::Value = serde_json::from_slice(&answer[body..]).ok()?;
    let texts = answer["messages"].as_array()?.iter().map(|message| message["data"].as_str().unwrap().to_owned());
    Some((texts.collect(), answer["position"].as_str()?.parse().unwrap(), answer["gap"].as_bool()?))
}

fn poll(site: &Site, path: &str, after: Position) -> (Vec<String>, Position, bool) {
    try_poll(site, path, after).expect("an answer")
}

#[test]
fn a_killed_hub_leaves_messages_channels_and_keys() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let mut client = attach(&site.socket());
    let options = ChannelOptions {
        owner: Some("alice".to_owned()),
        ttl: Some(1000),
        max_messages: Some(4),
        ..ChannelOptions::default()
    };
    let private = client.create_channel(None, options).unwrap();
    client.create_channel(Some("cleared"), ChannelOptions::default()).unwrap();
    client.create_channel(Some("deleted"), ChannelOptions::default()).unwrap();
    let mut places: Vec<Published> = Vec::new();
    for number in 0..6 {
        let text = format!("message {number}");
        let message = NewMessage { event: Some("greeting"), ..NewMessage::new(text.as_bytes()) };
        places.push(client.publish(&private, &message).unwrap());
    }
    let once = NewMessage { dedupe: Some("order 17"), store: false, ..NewMessage::new(b"once") };
    let first = client.publish("shop", &once).unwrap();
    for channel in ["cleared", "deleted"] {
        client.publish(channel, &NewMessage::new(b"x")).unwrap();
    }
    client.clear_channel("cleared").unwrap();
    client.delete_channel("deleted", None).unwrap();
    let before = client.channel_info(&private).unwrap().unwrap();
    let history = client.history(&private, Position::START, 100).unwrap();
    assert_eq!(history.len(), 4);

    for _ in 0..2 {
        kill_hub(&site, running.pid());
        assert_eq!(client.channel_info(&private).unwrap().unwrap(), before);
        assert_eq!(client.history(&private, Position::START, 100).unwrap(), history);
        assert_eq!(client.publish("shop", &once).unwrap(), first);
        let cleared = client.channel_info("cleared").unwrap().unwrap();
        assert_eq!((cleared.published, cleared.stored, cleared.ttl), (1, 0, Some(24 * 3600)));
        assert_eq!(client.channel_info("deleted").unwrap(), None);
        // Who resumes gets the rest; who misses what was dropped before is told.
        let path = format!("/poll/{private}");
        assert_eq!(poll(&site, &path, places[3].position).0, ["message 4", "message 5"]);
        let resumed = poll(&site, &path, places[1].position);
        assert_eq!((resumed.0.len(), resumed.2), (4, false));
        assert!(poll(&site, &path, places[0].position).2);
        assert!(!poll(&site, &path, places[5].position).2);
        assert!(client.position().unwrap() > places[5].position);
    }
    let next = client.publish(&private, &NewMessage::new(b"message 6")).unwrap();
    assert_eq!(next.id, 7);
    assert_eq!(poll(&site, &format!("/poll/{private}"), places[5].position).0, ["message 6"]);
}

#[test]
fn who_was_online_is_no_answer_while_no_hub_follows() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    let mut client = attach(&site.socket());
    client.presence_online("ann", None, b"", None).unwrap();
    assert_eq!(client.presence_is_online("ann", None), Ok(true));
    // A secret that others may read refuses the start of the next one.
    let secret = |mode| fs::set_permissions(site.path("run/secret"), fs::Permissions::from_mode(mode)).unwrap();
    secret(0o644);
    signal(site.hub(), Signal::KILL);
    client.set_timeout(Duration::from_millis(50));
    wait_until("the hub that is gone tells nothing", || client.presence_is_online("ann", None).is_err());
    assert!(client.presence_is_online("ann", None).is_err());
    secret(0o600);
    client.set_timeout(DEADLINE);
    wait_until("the next one knows", || client.presence_is_online("ann", None) == Ok(true));
}

#[test]
fn who_resumes_after_each_kill_misses_nothing_and_gets_nothing_twice() {
    const KILLS: usize = 8;
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[("max_messages_stored_per_channel", "none")]));
    let start = attach(&site.socket()).publish("a", &NewMessage::new(b"0")).unwrap().position;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = attach(&site.socket());
            let mut number = 0_u64;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let text = number.to_string();
                let message = NewMessage { dedupe: Some(&text), ..NewMessage::new(text.as_bytes()) };
                // What is left open by a kill is made sure of by publishing again.
                while let Err(error) = client.publish("a", &message) {
                    assert!(matches!(error, Error::HubUnavailable(_) | Error::Timeout { .. }), "{error}");
                }
            }
            number
        });
        let subscriber = scope.spawn(|| {
            let (mut after, mut got) = (start, 0_u64);
            loop {
                let ended = done.load(Ordering::Relaxed);
                let path = if ended { "/poll/a" } else { "/sub/a" };
                let Some((texts, position, gap)) = try_poll(&site, path, after) else { continue };
                assert!(!gap, "after {after}\n{}", site.log());
                for text in &texts {
                    got += 1;
                    assert_eq!(*text, got.to_string(), "after {after}");
                }
                after = position;
                if ended && texts.is_empty() {
                    return got;
                }
            }
        });
        for _ in 0..KILLS {
            let before = published(&site);
            wait_until("more were published", || published(&site) > before + 50);
            kill_hub(&site, running.pid());
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(subscriber.join().unwrap(), publisher.join().unwrap());
    });
}

/// A process of its own for the tests below: publishes without waiting, says so, and waits to be killed.
#[test]
#[ignore = "run by another test"]
fn as_a_worker() {
    let socket = std::env::var("PUSH_TEST_WORKER").expect("the test that runs this says where the hub is");
    let mut worker = client::Client::new(Options {
        socket: socket.into(),
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    });
    assert!(worker.ping(DEADLINE));
    println!("attached");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    for number in 0..MESSAGES {
        worker.publish_async("a", &NewMessage::new(number.to_string().as_bytes())).unwrap();
    }
    println!("published");
    // Until it is killed, or nobody is there any more to do that.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

const MESSAGES: usize = 300;

/// Messages that lie in the ring of a worker when the hub is killed. `killed`: so is the worker, before the next hub looks.
fn in_the_ring(killed: bool) {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[("max_messages_stored_per_channel", "none")]));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "as_a_worker", "--ignored", "--nocapture"]).env("PUSH_TEST_WORKER", site.socket());
    let mut worker = Worker(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(worker.0.stdout.take().unwrap()).lines();
    let mut says = |word: &str| said.any(|line| line.unwrap().ends_with(word));
    assert!(says("attached"));
    let hub = site.hub();
    stop_process(hub);
    writeln!(worker.0.stdin.as_mut().unwrap(), "go").unwrap();
    assert!(says("published"));
    let worker = (!killed).then_some(worker);
    signal(hub, Signal::KILL);
    wait_until("the hub is replaced", || children(running.pid()).iter().any(|pid| *pid != hub && !gone(*pid)));
    // The next hub has drained the ring before it answers anybody.
    let (texts, _, gap) = poll(&site, "/poll/a", Position { time: 1, tag: 0 });
    assert_eq!(texts, (0..MESSAGES).map(|number| number.to_string()).collect::<Vec<_>>(), "{}", site.log());
    assert!(gap, "it asked for what was before this hub");
    assert_eq!(published(&site), MESSAGES as u64);
    drop(worker);
}

/// Killed when it is dropped.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_an_idle_worker_published_without_waiting_is_delivered_by_the_next_hub() {
    in_the_ring(false);
}

#[test]
fn what_a_killed_worker_published_without_waiting_is_delivered_by_the_next_hub() {
    in_the_ring(true);
}

#[test]
fn calls_in_flight_are_completed_by_the_next_hub_once() {
    const KILLS: u64 = 9;
    let site = Site::new();
    let settings = [("max_messages_stored_per_channel", "none"), ("message_ttl", "1h"), ("max_message_size", "1m")];
    let running = Foreground::start(&site, &site.config(&settings));
    let done = AtomicBool::new(false);
    let large = "x".repeat(200_000);
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        let single = scope.spawn(|| {
            let mut client = attach(&site.socket());
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                let published = client.publish("a", &NewMessage::new(count.to_string().as_bytes()));
                assert_eq!(published.map(|published| published.id), Ok(count), "{}", site.log());
            }
            count
        });
        // Small ones, more than one call has room for, and such that pass through the ring piece by piece.
        let batches = [("b", 100, 0), ("e", 400, 0), ("f", 200, 1_000)].map(|(channel, size, padding)| {
            let (site, done) = (&site, &done);
            scope.spawn(move || {
                let mut client = attach(&site.socket());
                let mut count = 0;
                while !done.load(Ordering::Relaxed) {
                    let texts: Vec<String> =
                        (count + 1..=count + size).map(|number| format!("{number:>padding$}")).collect();
                    let batch = texts.iter().map(|text| (channel, NewMessage::new(text.as_bytes()))).collect();
                    let published =
                        client.publish_many(batch).unwrap_or_else(|error| panic!("{error}\n{}", site.log()));
                    let ids: Vec<u64> = published.iter().map(|published| published.id).collect();
                    assert_eq!(ids, (count + 1..=count + size).collect::<Vec<_>>(), "{}", site.log());
                    count += size;
                }
                count
            })
        });
        let unwaited = scope.spawn(|| {
            let mut client = attach(&site.socket());
            let mut count = 0_u64;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                client.publish_async("c", &NewMessage::new(count.to_string().as_bytes())).unwrap();
                // Some pass through the ring piece by piece.
                if count.is_multiple_of(500) {
                    let text = format!("{large}{count}");
                    client.publish_async("d", &NewMessage::new(text.as_bytes())).unwrap();
                }
            }
            count
        });
        for _ in 0..KILLS {
            let before = published(&site);
            wait_until("more were published", || published(&site) > before + 20);
            kill_hub(&site, running.pid());
        }
        drop(stop);
        let singles = single.join().unwrap();
        let [few, many, large_ones] = batches.map(|batches| batches.join().unwrap());
        let unwaited = unwaited.join().unwrap();
        let mut client = attach(&site.socket());
        for (channel, count) in [("a", singles), ("b", few), ("e", many), ("f", large_ones), ("c", unwaited)] {
            wait_until("the ring is read", || {
                client.channel_info(channel).unwrap().is_some_and(|info| info.published >= count)
            });
            let (mut after, mut number) = (Position::START, 0);
            loop {
                let page = client.history(channel, after, 10_000).unwrap();
                let Some(last) = page.last() else { break };
                after = last.position;
                for message in &page {
                    number += 1;
                    let text = number.to_string();
                    assert_eq!((message.id, message.payload.trim_ascii()), (number, text.as_bytes()), "in {channel}");
                }
            }
            assert_eq!(number, count, "in {channel}");
        }
        let (mut after, mut number) = (Position::START, 0);
        while let [message] = &client.history("d", after, 1).unwrap()[..] {
            number += 1;
            let text = (number * 500).to_string();
            assert!(message.payload.len() == large.len() + text.len() && message.payload.ends_with(text.as_bytes()));
            after = message.position;
        }
        assert_eq!(number, unwaited / 500);
    });
}

#[test]
fn the_keeper_holds_nothing_of_clients_that_are_gone() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let held = || fs::read_dir(format!("/proc/{}/fd", running.pid())).map(Iterator::count);
    let Ok(before) = held() else {
        // Only root may look into a process that has changed its user.
        return;
    };
    let mut clients: Vec<client::Client> = (0..100).map(|_| attach(&site.socket())).collect();
    assert!(clients.iter_mut().all(|client| client.ping(DEADLINE)));
    wait_until("the keeper holds them", || held().unwrap() == before + 100 * 3);
    kill_hub(&site, running.pid());
    assert!(clients.iter_mut().all(|client| client.ping(DEADLINE)));
    drop(clients);
    wait_until("it lets them go", || held().unwrap() <= before);
}

/// Also when a thread fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn published(site: &Site) -> u64 {
    attach(&site.socket()).channel_info("a").unwrap().map_or(0, |info| info.published)
}

/// A million where the program is built for use; how long it takes to fill a hub is not what is tested.
const MANY: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// Proportional bytes of a process, shared memory included; `None` when we may not look.
fn memory(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn many_messages_take_little_memory_and_are_soon_there_again() {
    let site = Site::new();
    let settings = [("max_messages_stored_per_channel", "none"), ("message_ttl", "1h"), ("memory_limit", "1g")];
    let running = Foreground::start(&site, &site.config(&settings));
    let used = || Some(memory(running.pid())? + memory(site.hub())?);
    let mut client = attach(&site.socket());
    let before = used();
    let payload = [b'x'; 100];
    for batch in 0..MANY / 1000 {
        let names: Vec<String> =
            (0..1000).map(|number| format!("channel-{}", (batch * 1000 + number) % 10_000)).collect();
        client.publish_many(names.iter().map(|name| (name.as_str(), NewMessage::new(&payload))).collect()).unwrap();
    }
    // Only root may look into a process that has changed its user.
    if let (Some(before), Some(after)) = (before, used()) {
        let each = (after - before) / MANY;
        println!("{each} bytes for each stored message of 100 bytes");
        assert!(each <= 300, "{each} bytes");
    }
    let status = client.status().unwrap();
    assert_eq!(status.messages, MANY);
    let hub = site.hub();
    let killed = Instant::now();
    signal(hub, Signal::KILL);
    wait_until("the next hub answers", || client.status().is_ok_and(|status| status.pid as i32 != hub));
    let recovered = killed.elapsed();
    println!("{MANY} messages are there again after {recovered:?}");
    assert!(recovered < Duration::from_secs(2), "{recovered:?}");
    let again = client.status().unwrap();
    assert_eq!((again.messages, again.channels), (MANY, status.channels));
    assert!(again.memory <= status.memory, "{} after {}", again.memory, status.memory);
}
