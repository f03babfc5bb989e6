//! What readers cost that do not read. Alone in its program, because it looks at the memory of the process.

mod support;

use support::hub;
use support::slow::{MUCH, Reader, message, narrow_stream, narrow_websocket, publish};
use support::stream::Stream;
use support::websocket::{WebSocket, announce};

const READERS: usize = 8;

/// Memory that this process alone has, the hub's and the test's.
fn private_bytes() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let kilobytes = rollup.lines().filter_map(|line| line.strip_prefix("Private_Dirty:"));
    kilobytes.map(|value| value.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")).sum::<usize>() << 10
}

fn what_waits_for_readers_that_do_not_read_is_bounded() {
    let settings = [
        ("client_buffer", "16k"),
        ("max_messages_stored_per_channel", "none"),
        ("send_timeout", "60s"),
        ("max_message_size", "32k"),
        ("memory_limit", "16m"),
    ];
    let hub = hub(&settings);
    let mut streams: Vec<Stream> = (0..READERS).map(|_| narrow_stream(&hub, "/stream/a")).collect();
    let mut sockets: Vec<WebSocket> = (0..READERS).map(|_| narrow_websocket(&hub, "/ws/a")).collect();
    hub.wait_for_subscribers("a", 2 * READERS as u64);
    let before = private_bytes();
    let count = MUCH / 16_000;
    for number in 0..count {
        publish(&hub, "a", message('a', number, 16_000).as_bytes());
    }
    // What comes after the messages in line says that both threads have looked at all of them.
    let mut live = hub.stream("/stream/a.b1");
    live.expect(message('a', count - 1, 16_000));
    let grown = private_bytes().saturating_sub(before);
    // The log, and for each reader the message that is being written and the buffer behind it; with nothing bounded it
    // would be 64 MB.
    let bound = 2 * MUCH + 2 * READERS * (16_000 + (16 << 10) + 2_000);
    assert!(grown < bound, "{grown} bytes for {} readers, more than {bound}", 2 * READERS);
    streams[0].expect_all((0..count).map(|number| message('a', number, 16_000)));
    sockets[0].expect_all((0..count).map(|number| message('a', number, 16_000)));
}

fn a_subscriber_that_comes_late_costs_no_more_than_the_buffer() {
    let settings = [("client_buffer", "16k"), ("max_messages_stored_per_channel", "none"), ("send_timeout", "60s")];
    let hub = hub(&settings);
    let count = MUCH / 16_000;
    for number in 0..count {
        publish(&hub, "a", message('a', number, 16_000).as_bytes());
    }
    let before = private_bytes();
    let mut streams: Vec<Stream> = (0..READERS).map(|_| narrow_stream(&hub, "/stream/a?position=0.0")).collect();
    hub.wait_for_subscribers("a", READERS as u64);
    let grown = private_bytes().saturating_sub(before);
    let bound = READERS * (64 << 10) + (1 << 20);
    assert!(grown < bound, "{grown} bytes for {READERS} readers, more than {bound}");
    streams[0].expect_all((0..count).map(|number| message('a', number, 16_000)));
}

fn three_websockets_that_announce_much_cost_nothing() {
    let hub = hub(&[]);
    let before = private_bytes();
    let mut sockets: Vec<WebSocket> = (0..3).map(|_| hub.websocket("/ws/a")).collect();
    for socket in &mut sockets {
        socket.send_bytes(&announce(0x81, 200 << 20));
    }
    for socket in &mut sockets {
        assert_eq!(socket.expect_close().map(|(code, _)| code), Some(1009));
    }
    assert!(private_bytes().saturating_sub(before) < 4 << 20);
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn readers_that_do_not_read_cost_no_more_than_their_buffer() {
    what_waits_for_readers_that_do_not_read_is_bounded();
    a_subscriber_that_comes_late_costs_no_more_than_the_buffer();
    three_websockets_that_announce_much_cost_nothing();
}
