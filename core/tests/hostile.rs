//! Clients that want to harm: what they cost, and that the others do not notice.

#![cfg(feature = "hub")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::websocket::{PING, PONG, TEXT, frame};
use support::{Client, TestHub, hub, hub_with, wait_until};

/// No turn of the hub is as long, even on a busy machine without optimisation.
const PATIENCE: Duration = Duration::from_secs(5);

const CHAT: &str = r#"
[[location]]
path = "/ws/"
subscriber = "websocket"
websocket_allow_publish = true
[[location]]
path = "/poll/"
subscriber = "polling"
[[location]]
path = "/ev/"
subscriber = "eventsource"
[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"
"#;

fn channels(count: usize) -> String {
    (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join("/")
}

/// New connections and publications are served within `PATIENCE`.
fn others_are_served(hub: &TestHub) {
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(hub.publish("other", "x").status, 200);
        let mut client = hub.connect();
        client.get("/poll/other.b1", "");
        assert_eq!(client.response().text(), "x");
    }
    assert!(begun.elapsed() < PATIENCE, "{:?} for ten of each", begun.elapsed());
}

#[test]
fn a_websocket_that_floods_a_hundred_channels_gets_its_turns_and_no_more() {
    let hub = hub_with(&[("threads", "1")], Some(CHAT));
    let mut flooder = hub.websocket(&format!("/ws/{}", channels(100)));
    // Unmasked and a byte long: a read holds thousands, and each is published a hundred times.
    let flood: Vec<u8> = [0x81, 1, b'x'].repeat(20_000);
    flooder.client.socket.set_nonblocking(true).expect("a socket");
    let mut sent = 0;
    // All that the hub has room for. It takes none of its answers.
    while let Ok(n) = flooder.client.socket.write(&flood[sent % 3..]) {
        sent += n;
        if sent > 4 << 20 {
            break;
        }
    }
    wait_until("the flood is published", || hub.counters("c0").is_some_and(|c0| c0["published_messages"] != 0));
    others_are_served(&hub);
}

/// All publish faster than one thread can put out. What they have not been read of waits in their own buffers, not in the hub.
#[test]
fn publishers_that_are_too_fast_wait_and_nothing_is_lost() {
    const SOCKETS: usize = 40;
    const EACH: usize = 1_500;
    /// As many as a thread may be behind, and what was on its way when it got there.
    const MOST: f64 = 16_384.0 + 1_000.0;
    let hub = hub_with(&[("threads", "1"), ("max_messages_stored_per_channel", "none")], Some(CHAT));
    let mut flooders: Vec<_> = (0..SOCKETS).map(|_| hub.websocket("/ws/a")).collect();
    hub.wait_for_subscribers("a", SOCKETS as u64);
    let (socket, admin, all) = (hub.socket.clone(), hub.connect_admin(), (SOCKETS * EACH + 2 * EACH) as u64);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = push_core::client::Client::new(push_core::client::Options {
                socket,
                inherited: None,
                timeout: support::DEADLINE,
                backoff: Duration::from_millis(1),
                ring_size: 64 << 10,
            });
            let message = push_core::message::NewMessage::new(b"y");
            (0..EACH).for_each(|_| client.publish_async("a", &message).expect("there is room in time"));
        });
        scope.spawn(move || {
            let mut client = admin;
            for _ in 0..EACH {
                client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nz");
                assert_eq!(client.response().status, 200);
            }
        });
        for flooder in &mut flooders {
            flooder.client.socket.write_all(&[0x81, 1, b'x'].repeat(EACH)).expect("room in the kernel");
        }
        let mut watcher = hub.connect_admin();
        let mut most = 0.0_f64;
        wait_until("all is published", || {
            watcher.get("/metrics", "");
            let answer = watcher.response();
            let text = answer.text();
            let value = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("it is shown");
                line.trim().parse::<f64>().expect("a number")
            };
            most = most.max(value("push_owed_messages "));
            value("push_published_messages_total ") >= all as f64
        });
        assert!(most <= MOST, "{most} messages waited to be put out");
        assert!(most > MOST / 2.0, "{most}: nobody had to wait");
    });
    assert_eq!(hub.counters("a").expect("it is there")["published_messages"], all);
}

#[test]
fn pings_without_taking_pongs_end_the_connection() {
    let hub = hub(&[("client_buffer", "4k"), ("threads", "1")]);
    let mut hostile = hub.websocket("/ws/a");
    let pings = [0x80 | PING, 0].repeat(8_000);
    let end = Instant::now() + support::DEADLINE;
    hostile.client.socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
    loop {
        match hostile.client.socket.write(&pings) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
        assert!(Instant::now() < end, "the hub goes on keeping pongs");
    }
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn words_behind_a_turn_are_heard_in_order() {
    let hub = hub_with(&[("threads", "1"), ("max_messages_stored_per_channel", "none")], Some(CHAT));
    let mut client = hub.websocket(&format!("/ws/{}", channels(10)));
    let mut words = Vec::new();
    for n in 0..1_000 {
        words.extend(frame(TEXT, true, n.to_string()));
    }
    words.extend(frame(PING, true, "end"));
    client.send_bytes(&words);
    // Its own messages come back, each in all of its channels; the pong is behind what came before it or among it.
    let mut heard = Vec::new();
    let mut answered = false;
    while heard.len() < 10_000 || !answered {
        let received = client.frame();
        match received.opcode {
            TEXT => heard.push(String::from_utf8(received.payload).expect("UTF-8")),
            PONG => answered = true,
            _ => {}
        }
    }
    let expected: Vec<String> = (0..1_000).flat_map(|n| std::iter::repeat_n(n.to_string(), 10)).collect();
    assert!(heard == expected, "out of order");
}

#[test]
fn pipelined_requests_do_not_keep_publishers_out() {
    let hub = hub(&[("threads", "1")]);
    assert_eq!(hub.publish("other", "x").status, 200);
    let (stop, address) = (AtomicBool::new(false), hub.public);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    // Pipelined, so that there is always something to serve.
                    for _ in 0..50 {
                        client.get("/poll/a", "");
                    }
                    for _ in 0..50 {
                        client.response();
                    }
                }
            });
        }
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(hub.publish("other", "x").status, 200);
        }
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        assert!(took < PATIENCE, "{took:?} for twenty publications");
    });
}

#[test]
fn a_backlog_without_bound_gives_the_newest_that_fit_an_answer() {
    let hub = hub_with(&[("max_messages_stored_per_channel", "none")], Some(CHAT));
    let text = "x".repeat(60_000);
    for n in 0..25 {
        assert_eq!(hub.publish("a", &format!("{n:02}{text}")).status, 200);
    }
    let mut client = hub.connect();
    client.get("/poll/a.b99999999999999999999", "");
    let answer = client.response();
    assert_eq!((answer.status, answer.header("X-Push-Gap")), (200, Some("1")));
    assert!(answer.body.len() <= 1 << 20);
    assert!(answer.text().contains("24x") && !answer.text().contains("00x"), "the oldest give way");
    client.get("/poll/a.b2", "");
    let answer = client.response();
    assert_eq!((answer.body.len(), answer.header("X-Push-Gap")), (2 * 60_002, None));
}

#[test]
fn channels_that_end_in_the_same_second_all_end() {
    let hub = hub_with(&[("channel_inactivity_time", "1s"), ("max_channels_per_subscription", "none")], None);
    let mut clients = Vec::new();
    for part in 0..10 {
        let names: Vec<String> = (0..300).map(|n| format!("p{part}-{n}")).collect();
        let mut client = hub.connect();
        client.get(&format!("/lp/{}", names.join("/")), "");
        hub.wait_for_subscribers(&names[0], 1);
        clients.push(client);
    }
    drop(clients);
    wait_until("all channels are gone", || {
        let status = hub.hub.as_ref().expect("running").engine().status();
        status.channels == 0
    });
}

#[test]
fn bytes_that_are_no_request_are_refused_or_ignored() {
    let hub = hub(&[("header_timeout", "1s")]);
    // As good as random, and the same in each run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let request = b"POST /ws/a?position=1.1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nUpgrade: websocket\r\n\r\nabc";
    for _ in 0..300 {
        let mut bytes = request.to_vec();
        for _ in 0..1 + random() % 6 {
            let at = random() as usize % bytes.len();
            bytes[at] = random() as u8;
        }
        let mut client = hub.connect();
        // It may have closed by then.
        let _ = client.socket.write_all(&bytes);
        let _ = client.socket.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = client.socket.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answer));
    }
    let mut websockets = Vec::new();
    for _ in 0..100 {
        let mut websocket = hub.websocket("/ws/a");
        let bytes: Vec<u8> = (0..64).map(|_| random() as u8).collect();
        let _ = websocket.client.socket.write_all(&bytes);
        websockets.push(websocket);
    }
    drop(websockets);
    hub.wait_for_subscribers("a", 0);
    assert_eq!(hub.publish("a", "x").status, 200);
}
