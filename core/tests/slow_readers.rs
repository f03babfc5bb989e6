//! Readers that do not read: what they get in the end, and how they end.

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use push_core::channel::ChannelName;
use push_core::message::NewMessage;
use support::slow::{MUCH, Reader, message, narrow_events, narrow_stream, narrow_websocket, publish};
use support::stream::Stream;
use support::websocket::{PONG, frame};
use support::{Client, hub, wait_until};

#[test]
fn a_reader_that_stops_gets_its_own_bytes_in_order_and_all_of_them() {
    let settings =
        [("max_messages_stored_per_channel", "none"), ("ping_message_interval", "1s"), ("message_template", "~text~")];
    let hub = hub(&settings);
    let mut stream = narrow_stream(&hub, "/stream/a/b");
    let mut events = narrow_events(&hub, "/ev/a/b");
    let mut socket = narrow_websocket(&hub, "/ws/a/b");
    let mut other = hub.stream("/stream/other");
    hub.wait_for_subscribers("a", 3);
    let count = MUCH / 40_000;
    let texts = |number: usize| (message('a', number, 30_000), message('b', number, 10_000));
    let reads = std::thread::spawn(move || {
        other.expect_all((0..16 << 20 >> 14).map(|number| message('o', number, 1 << 14)));
    });
    for number in 0..count {
        let (a, b) = texts(number);
        publish(&hub, "a", a.as_bytes());
        publish(&hub, "b", b.as_bytes());
    }
    // 16 MB go to others meanwhile, whose reader does not wait.
    for number in 0..16 << 20 >> 14 {
        publish(&hub, "other", message('o', number, 1 << 14).as_bytes());
    }
    reads.join().expect("the other reader gets everything");
    let all = || (0..count).flat_map(|number| [texts(number).0, texts(number).1]);
    stream.expect_all(all());
    events.expect_all(all());
    socket.expect_all(all());
    // And they are live again.
    publish(&hub, "a", b"end\n");
    assert_eq!([stream.next_line(), events.next_line(), socket.next_line()], ["end", "end", "end"]);
}

#[test]
fn messages_larger_than_the_buffer_come_one_by_one_and_all() {
    let settings = [
        ("max_messages_stored_per_channel", "none"),
        ("client_buffer", "4k"),
        ("max_message_size", "2m"),
        ("gap_message_text", "lost\n"),
    ];
    let hub = hub(&settings);
    let mut stream = narrow_stream(&hub, "/stream/a/b");
    let mut events = narrow_events(&hub, "/ev/a/b");
    hub.wait_for_subscribers("a", 2);
    let text = |number: usize| message('a', number, if number == 7 { 1 << 20 } else { 60_000 });
    for number in 0..60 {
        publish(&hub, if number % 3 == 0 { "b" } else { "a" }, text(number).as_bytes());
    }
    let mut late = narrow_websocket(&hub, "/ws/a/b?position=0.0");
    stream.expect_all((0..60).map(text));
    events.expect_all((0..60).map(text));
    late.expect_all((0..60).map(text));
}

#[test]
fn a_reader_beyond_the_history_is_told_of_the_gap() {
    let settings =
        [("max_messages_stored_per_channel", "3"), ("gap_message_text", "lost\n"), ("message_template", "~text~")];
    let hub = hub(&settings);
    let (mut stream, mut events, mut socket) =
        (narrow_stream(&hub, "/stream/a"), narrow_events(&hub, "/ev/a"), narrow_websocket(&hub, "/ws/a"));
    hub.wait_for_subscribers("a", 3);
    let count = MUCH / 30_000;
    for number in 0..count {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let number = |line: &str| line[1..line.find(':').expect("a number")].parse::<usize>().expect("a number");
    // A first part without a hole, the gap, and the last messages that the channel kept.
    let check = |mut next: Box<dyn FnMut() -> String + '_>| {
        let mut expected = 0;
        let line = loop {
            let line = next();
            if !line.starts_with('a') {
                break line;
            }
            assert_eq!(number(&line), expected);
            expected += 1;
        };
        assert_eq!(line, "lost");
        let mut at = number(&next());
        assert!(at >= count - 3 && at > expected, "{at} after {expected}");
        while at < count - 1 {
            let following = number(&next());
            assert_eq!(following, at + 1);
            at = following;
        }
    };
    check(Box::new(|| stream.next_line()));
    check(Box::new(|| {
        let event = events.event();
        assert_eq!(event.kind == "push.gap", event.data.starts_with("lost"));
        event.data.trim_end().to_owned()
    }));
    check(Box::new(|| socket.next_line()));
}

#[test]
fn what_is_evicted_before_it_is_read_is_said_once() {
    let settings =
        [("memory_limit", "1m"), ("max_messages_stored_per_channel", "none"), ("gap_message_text", "lost\n")];
    let hub = hub(&settings);
    let (mut stream, mut events, mut socket) = (hub.stream("/stream/a"), hub.events("/ev/a"), hub.websocket("/ws/a"));
    let mut poll = hub.connect();
    poll.get("/lp/a", "");
    hub.wait_for_subscribers("a", 4);
    // More than the memory, faster than anybody reads.
    const COUNT: usize = 400;
    let texts: Vec<String> = (0..COUNT).map(|number| message('a', number, 10_000)).collect();
    let name = ChannelName::new(b"a", 255).expect("a name");
    let batch: Vec<_> = texts.iter().map(|text| (name.clone(), NewMessage::new(text.as_bytes()))).collect();
    hub.hub.as_ref().expect("running").engine().publish_many(&batch).expect("published");
    let number = |line: &str| -> usize { line[1..line.find(':').expect("a number")].parse().expect("a number") };
    let check = |next: &mut dyn FnMut() -> String| {
        let mut expected = 0;
        while expected < COUNT {
            let first = next();
            let lost = first == "lost";
            let line = if lost { next() } else { first };
            let number = number(&line);
            assert!(if lost { number > expected } else { number == expected }, "{number} after {expected}, {lost}");
            assert!(line == texts[number].trim_end());
            expected = number + 1;
        }
    };
    check(&mut || stream.next_line());
    check(&mut || events.event().data.trim_end().to_owned());
    check(&mut || socket.next_line());
    // The first one alone, or with the gap all that was left when it came to it.
    let answer = poll.response();
    let lines: Vec<&str> = answer.text().lines().collect();
    match answer.header("X-Push-Gap") {
        None => assert!(lines == [texts[0].trim_end()]),
        Some(_) => {
            let first = number(lines[1]);
            assert!(lines[0] == "lost" && first > 0);
            assert!(lines[1..].iter().zip(&texts[first..]).all(|(line, text)| *line == text.trim_end()));
        }
    }
    publish(&hub, "a", b"live\n");
    assert_eq!([stream.next_line(), events.next_line(), socket.next_line()], ["live", "live", "live"]);
}

#[test]
fn a_stream_that_cannot_say_a_gap_ends_and_its_reader_resumes_with_one() {
    let hub = hub(&[("max_messages_stored_per_channel", "3")]);
    let mut stream = narrow_stream(&hub, "/stream/a");
    hub.wait_for_subscribers("a", 1);
    let count = MUCH / 30_000;
    for number in 0..count {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let mut whole = 0;
    loop {
        let line = stream.until_end_or(b'\n');
        match line {
            Some(line) => assert_eq!(line, message('a', whole, 30_000).into_bytes()),
            None => break,
        }
        whole += 1;
    }
    assert!(whole < count);
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn a_reader_that_takes_nothing_for_the_send_timeout_is_closed() {
    let hub = hub(&[("send_timeout", "1s"), ("ping_message_interval", "none")]);
    let stopped = [
        narrow_stream(&hub, "/stream/a").client,
        narrow_events(&hub, "/ev/a").stream.client,
        narrow_websocket(&hub, "/ws/a").client,
    ];
    let mut reads = hub.stream("/stream/a");
    hub.wait_for_subscribers("a", 4);
    let reader = std::thread::spawn(move || {
        reads.expect_all((0..MUCH / 30_000).map(|number| message('a', number, 30_000)));
        reads
    });
    let start = Instant::now();
    for number in 0..MUCH / 30_000 {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let reads = reader.join().expect("the reader gets all");
    // Only the one who reads is left.
    hub.wait_for_subscribers("a", 1);
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
    drop(reads);
    for mut client in stopped {
        ends(&mut client);
    }
}

#[test]
fn a_websocket_that_talks_and_takes_nothing_is_closed_all_the_same() {
    let hub = hub(&[("send_timeout", "1s"), ("ping_message_interval", "none")]);
    let mut socket = narrow_websocket(&hub, "/ws/a");
    hub.wait_for_subscribers("a", 1);
    for number in 0..MUCH / 30_000 {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let pong = frame(PONG, true, "");
    wait_until("it is closed", || {
        // Refused once it is.
        let _ = socket.client.socket.write(&pong);
        hub.counters("a").is_some_and(|counters| counters["subscribers"] == 0)
    });
}

/// The connection is closed, whatever came before.
fn ends(client: &mut Client) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(1..) = client.socket.read(&mut buffer) {}
    client.socket.set_nonblocking(true).expect("a socket");
    let end = client.socket.read(&mut buffer);
    assert!(!end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{end:?}");
}

#[test]
fn a_reader_that_takes_little_but_steadily_is_kept() {
    let hub =
        hub(&[("send_timeout", "1s"), ("ping_message_interval", "none"), ("max_messages_stored_per_channel", "none")]);
    let mut stream = hub.stream("/stream/a");
    hub.wait_for_subscribers("a", 1);
    let count = MUCH / 30_000;
    for number in 0..count {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let start = Instant::now();
    // Some of it every now and then, for longer than the time-out.
    let mut number = 0;
    while start.elapsed() < Duration::from_millis(2500) && number < count {
        stream.expect(message('a', number, 30_000));
        number += 1;
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_millis(25) {
            std::thread::yield_now();
        }
    }
    stream.expect_all((number..count).map(|number| message('a', number, 30_000)));
    hub.wait_for_subscribers("a", 1);
}

#[test]
fn a_reader_that_stops_holds_up_nobody_and_a_drained_hub_does_not_wait_for_ever() {
    let mut hub = hub(&[("drain_timeout", "1s"), ("max_messages_stored_per_channel", "none")]);
    let _stopped: Vec<Stream> = (0..4).map(|_| narrow_stream(&hub, "/stream/a")).collect();
    hub.wait_for_subscribers("a", 4);
    for number in 0..MUCH / 30_000 {
        publish(&hub, "a", message('a', number, 30_000).as_bytes());
    }
    let mut other = hub.stream("/stream/b");
    publish(&hub, "b", b"x");
    other.expect("x");
    let start = Instant::now();
    hub.hub.take().expect("running").drain();
    other.expect_end();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}
