//! WebSocket over real sockets, frame by frame.

mod support;

use std::io::Write;
use std::time::Duration;

use support::websocket::{
    ACCEPT, BINARY, CLOSE, CONTINUATION, HANDSHAKE, PING, PONG, TEXT, WebSocket, announce, frame, handshake,
};
use support::{TestHub, hub, hub_with, wait_until};

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A hub whose subscribers may publish; `keys` belong to the location.
fn publishing(settings: &[(&str, &str)], keys: &str) -> TestHub {
    let locations = format!(
        "[[location]]\npath = '/ws/'\nsubscriber = 'websocket'\nwebsocket_allow_publish = true\n{keys}
         [[location]]\npath = '/lp/'\nsubscriber = 'long-polling'
         [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n"
    );
    hub_with(settings, Some(&locations))
}

/// Sends a ping, and waits for its pong: everything before it has been read.
fn round_trip(socket: &mut WebSocket, payload: &str) {
    socket.send(PING, payload);
    socket.expect(PONG, payload);
}

fn published(hub: &TestHub, channel: &str) -> u64 {
    hub.counters(channel).expect("a channel")["published_messages"].as_u64().expect("a number")
}

#[test]
fn the_handshake_switches_protocols() {
    let hub = hub(&[]);
    let offers = "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: chat\r\n";
    let (answer, mut socket) = hub.websocket_with("/ws/a", offers);
    assert_eq!(answer.version, "HTTP/1.1");
    assert!(answer.header("Upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")), "{answer:?}");
    assert!(answer.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade")), "{answer:?}");
    assert_eq!(answer.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
    for name in ["Content-Length", "Transfer-Encoding", "Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    hub.wait_for_subscribers("a", 1);
    assert!(socket.client.is_silent());
    drop(socket);
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn the_handshake_of_every_browser_is_taken() {
    let hub = hub(&[]);
    for fields in [
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        "upgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-version: 8\r\n",
    ] {
        let mut client = hub.connect();
        client.get("/ws/a", &format!("{fields}Sec-WebSocket-Key: {}\r\n", HANDSHAKE[2].1));
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Sec-WebSocket-Accept")), (101, Some(ACCEPT)), "{fields}");
    }
}

#[test]
fn a_handshake_that_lacks_something_is_refused() {
    let hub = hub(&[]);
    let refused = |headers: &[(&str, &str)]| {
        let mut client = hub.connect();
        let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        client.get("/ws/a", &fields);
        let answer = client.response();
        assert_eq!(answer.status, 400, "{fields}");
        answer
    };
    for left_out in 0..HANDSHAKE.len() {
        let mut headers = HANDSHAKE.to_vec();
        headers.remove(left_out);
        let answer = refused(&headers);
        let explain = "Don't have at least one of the mandatory headers: \
            Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version";
        assert_eq!(answer.header("X-Nginx-PushStream-Explain"), Some(explain));
    }
    let mut headers = HANDSHAKE;
    headers[3].1 = "7";
    let answer = refused(&headers);
    assert_eq!(answer.header("Sec-WebSocket-Version"), Some("8, 13"));
    assert_eq!(answer.header("X-Nginx-PushStream-Explain"), Some("Version not supported. Supported versions: 8, 13"));
    let mut headers = HANDSHAKE;
    headers[2].1 = "short";
    assert!(refused(&headers).header("X-Nginx-PushStream-Explain").is_some());
    assert!(hub.counters("a").is_none());
}

#[test]
fn each_message_is_one_text_frame() {
    let hub = hub(&[]);
    let mut socket = hub.websocket("/ws/a");
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "hello");
    socket.expect(TEXT, "hello");
    for len in [1, 125, 126, 60_000, 65_536] {
        let body = "x".repeat(len);
        assert_eq!(hub.publish("a", &body).status, 200, "{len}");
        assert!(socket.text() == body, "{len}");
    }
    hub.publish("b", "elsewhere");
    hub.publish("a", "κόσμε");
    assert_eq!(socket.text(), "κόσμε");
}

#[test]
fn several_channels_come_in_the_order_of_publication() {
    let hub = hub(&[]);
    let mut socket = hub.websocket("/ws/a/b");
    hub.wait_for_subscribers("a", 1);
    hub.wait_for_subscribers("b", 1);
    for number in 0..50 {
        hub.publish(if number % 3 == 0 { "a" } else { "b" }, &number.to_string());
    }
    for number in 0..50 {
        assert_eq!(socket.text(), number.to_string());
    }
}

#[test]
fn old_messages_come_first() {
    let hub = hub(&[]);
    for number in 1..=4 {
        hub.publish(if number % 2 == 0 { "a" } else { "b" }, &number.to_string());
    }
    let (_, mut all) = hub.websocket_with("/ws/a/b", FROM_START);
    let mut newest = hub.websocket("/ws/a.b1");
    hub.wait_for_subscribers("a", 2);
    hub.publish("a", "5");
    for number in 1..=5 {
        assert_eq!(all.text(), number.to_string());
    }
    assert_eq!([newest.text(), newest.text()], ["4", "5"]);
}

#[test]
fn a_socket_goes_on_from_a_position() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a?position=0.0", "Accept: application/json\r\n");
    let seen: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    hub.publish("a", "2");
    let mut socket = hub.websocket(&format!("/ws/a?position={}", seen["position"].as_str().expect("a position")));
    assert_eq!(socket.text(), "2");
}

#[test]
fn templates_frame_the_connection_and_each_message() {
    let keys = r#"
        header_template = 'welcome'
        message_template = '{"id":~id~,"channel":"~channel~","text":"~text-json~"}'
        footer_template = 'bye'
        subscriber_connection_ttl = '1s'
    "#;
    let hub = publishing(&[], keys);
    let mut socket = hub.websocket("/ws/a");
    assert_eq!(socket.text(), "welcome");
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "say \"hi\"\n");
    let message: serde_json::Value = serde_json::from_str(&socket.text()).expect("JSON");
    assert_eq!(message, serde_json::json!({"id": 1, "channel": "a", "text": "say \"hi\"\n"}));
    assert_eq!(socket.text(), "bye");
    assert_eq!(socket.expect_close(), None, "an end without status");
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn a_quiet_connection_is_pinged() {
    let hub = publishing(&[], "ping_message_interval = '1s'\n");
    let mut socket = hub.websocket("/ws/a");
    for _ in 0..2 {
        socket.expect(PING, "");
        socket.send(PONG, "");
    }
    round_trip(&mut socket, "still open");
}

#[test]
fn a_ping_is_answered_with_its_payload() {
    let hub = hub(&[]);
    let mut socket = hub.websocket("/ws/a");
    for payload in ["", "x", &"y".repeat(125)] {
        round_trip(&mut socket, payload);
    }
    socket.send(PONG, "unasked");
    socket.send_bytes(b"\x89\x01z");
    socket.expect(PONG, "z");
    // A pong is not held up by a message that is not complete.
    socket.send_bytes(&frame(TEXT, false, "begun"));
    round_trip(&mut socket, "between");
}

#[test]
fn a_close_is_echoed() {
    let hub = hub(&[]);
    for (payload, expected) in [
        (vec![], None),
        (1000u16.to_be_bytes().to_vec(), Some(1000)),
        ([&4001u16.to_be_bytes()[..], "bye é".as_bytes()].concat(), Some(4001)),
    ] {
        let mut socket = hub.websocket("/ws/a");
        hub.wait_for_subscribers("a", 1);
        socket.send(CLOSE, payload);
        assert_eq!(socket.expect_close().map(|(code, _)| code), expected);
        hub.wait_for_subscribers("a", 0);
    }
}

#[test]
fn frames_may_follow_the_handshake_at_once() {
    let hub = publishing(&[], "");
    let mut socket = WebSocket { client: hub.connect() };
    let bytes = [handshake("/ws/a", "").into_bytes(), frame(PING, true, "p"), frame(TEXT, true, "first")].concat();
    socket.send_bytes(&bytes);
    assert_eq!(socket.client.response().status, 101);
    socket.expect(PONG, "p");
    socket.expect(TEXT, "first");
}

#[test]
fn a_published_text_comes_to_everyone_and_back() {
    let hub = publishing(&[], "");
    let (mut sender, mut other) = (hub.websocket("/ws/a/b"), hub.websocket("/ws/b"));
    hub.wait_for_subscribers("a", 1);
    hub.wait_for_subscribers("b", 2);
    sender.send(TEXT, "hello");
    assert_eq!(other.text(), "hello");
    assert_eq!([sender.text(), sender.text()], ["hello", "hello"], "once for each channel");
    assert_eq!((published(&hub, "a"), published(&hub, "b")), (1, 1));
    other.send(TEXT, "");
    other.send(TEXT, "answer");
    assert_eq!([other.text(), sender.text()], ["answer", "answer"]);
    assert_eq!(published(&hub, "b"), 2, "an empty text is not published");
}

#[test]
fn text_is_not_published_without_permission() {
    let hub = hub(&[]);
    let mut socket = hub.websocket("/ws/a");
    hub.wait_for_subscribers("a", 1);
    socket.send(TEXT, "hello");
    socket.send_bytes(&[frame(TEXT, false, "hel"), frame(CONTINUATION, true, "lo")].concat());
    round_trip(&mut socket, "p");
    assert_eq!(published(&hub, "a"), 0);
    socket.send(TEXT, b"\xff");
    socket.expect_code(1007);
}

#[test]
fn several_frames_in_one_segment_are_all_taken() {
    let hub = publishing(&[], "");
    let (mut sender, mut other) = (hub.websocket("/ws/a"), hub.websocket("/ws/a"));
    hub.wait_for_subscribers("a", 2);
    let texts: Vec<String> = (0..100).map(|number| format!("message {number}")).collect();
    let stream: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, true, text)).collect();
    sender.send_bytes(&stream);
    for text in &texts {
        assert_eq!(other.text(), *text);
        assert_eq!(sender.text(), *text);
    }
}

#[test]
fn fragments_make_one_message() {
    let hub = publishing(&[], "");
    let mut socket = hub.websocket("/ws/a");
    let message = "é€𐍈 κόσμε";
    let mut stream = frame(TEXT, false, "");
    for byte in message.bytes() {
        stream.extend(frame(CONTINUATION, false, [byte]));
    }
    stream.extend(frame(PING, true, "between"));
    stream.extend(frame(CONTINUATION, true, ""));
    socket.send_bytes(&stream);
    socket.expect(PONG, "between");
    assert_eq!(socket.text(), message);
    for byte in stream {
        socket.send_bytes(&[byte]);
    }
    socket.expect(PONG, "between");
    assert_eq!(socket.text(), message);
    assert_eq!(published(&hub, "a"), 2);
}

#[test]
fn a_message_has_the_size_that_is_allowed() {
    let hub = publishing(&[("max_message_size", "100k")], "");
    let mut socket = hub.websocket("/ws/a");
    let largest = "x".repeat(100 << 10);
    socket.send(TEXT, &largest);
    assert!(socket.text() == largest);
    let half = "x".repeat(50 << 10);
    socket.send_bytes(&[frame(TEXT, false, &half), frame(CONTINUATION, true, &half)].concat());
    assert!(socket.text() == largest);
    socket.send_bytes(&[frame(TEXT, false, &half), frame(CONTINUATION, false, &half)].concat());
    socket.send_bytes(&announce(0x80, 1));
    socket.expect_code(1009);
    assert_eq!(published(&hub, "a"), 2);
}

#[test]
fn an_announcement_of_200_mb_is_refused_at_once() {
    let hub = publishing(&[], "");
    for first in [0x81, 0x01] {
        let mut sockets: Vec<WebSocket> = (0..3).map(|_| hub.websocket("/ws/a")).collect();
        for socket in &mut sockets {
            socket.send_bytes(&announce(first, 200 << 20));
        }
        sockets.iter_mut().for_each(|socket| socket.expect_code(1009));
    }
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn broken_frames_end_their_connection_and_no_other() {
    let hub = publishing(&[], "");
    let mut other = hub.websocket("/ws/a");
    for (what, stream, code) in [
        ("binary", frame(BINARY, true, "x"), 1003),
        ("not UTF-8", frame(TEXT, true, b"\xc3("), 1007),
        ("not UTF-8 over fragments", [frame(TEXT, false, b"\xc3"), frame(CONTINUATION, true, b"(")].concat(), 1007),
        ("reserved bits", frame(0x40 | TEXT, true, "x"), 1002),
        ("a reserved opcode", frame(3, true, "x"), 1002),
        ("a continuation of nothing", frame(CONTINUATION, true, "x"), 1002),
        ("text within a message", [frame(TEXT, false, "x"), frame(TEXT, true, "y")].concat(), 1002),
        ("a fragmented ping", frame(PING, false, ""), 1002),
        ("a long ping", frame(PING, true, "x".repeat(126)), 1002),
        ("a close of one byte", frame(CLOSE, true, "x"), 1002),
        ("a close with a reserved code", frame(CLOSE, true, 1005u16.to_be_bytes()), 1002),
    ] {
        let mut socket = hub.websocket("/ws/a");
        hub.wait_for_subscribers("a", 2);
        socket.send_bytes(&stream);
        println!("{what}");
        socket.expect_code(code);
        hub.wait_for_subscribers("a", 1);
    }
    round_trip(&mut other, "p");
    assert_eq!(published(&hub, "a"), 0);
}

#[test]
fn what_was_sent_before_a_broken_frame_is_published() {
    let hub = publishing(&[], "");
    let mut other = hub.websocket("/ws/a");
    let mut socket = hub.websocket("/ws/a");
    hub.wait_for_subscribers("a", 2);
    socket.send_bytes(&[frame(TEXT, true, "before"), frame(BINARY, true, "x"), frame(TEXT, true, "after")].concat());
    assert_eq!(other.text(), "before");
    hub.wait_for_subscribers("a", 1);
    round_trip(&mut other, "p");
}

#[test]
fn a_refused_subscription_is_told_in_a_close_frame() {
    let hub = hub(&[("authorized_channels_only", "on"), ("max_channel_id_length", "10")]);
    for (path, reason) in [
        ("/ws/a", r#"{"http_status": 403, "explain":"Subscriber could not create channels."}"#),
        ("/ws/aaaaaaaaaaaaaaaaaaaa", r#"{"http_status": 400, "explain":"Channel id is too large."}"#),
        ("/ws/ALL", r#"{"http_status": 403, "explain":"Channel id not authorized for this method."}"#),
        ("/ws/", r#"{"http_status": 400, "explain":"No channel id provided."}"#),
    ] {
        let mut socket = hub.websocket(path);
        assert_eq!(socket.expect_close(), Some((1008, reason.to_owned())));
    }
    assert!(hub.counters("a").is_none());
    hub.publish("a", "stored");
    let mut socket = hub.websocket("/ws/a");
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "next");
    assert_eq!(socket.text(), "next");
}

#[test]
fn the_mode_header_does_not_change_a_websocket() {
    let hub = hub(&[]);
    let (_, mut socket) = hub.websocket_with("/ws/a", "X-Nginx-PushStream-Mode: polling\r\n");
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "1");
    assert_eq!(socket.text(), "1");
}

#[test]
fn a_deleted_channel_is_told_and_the_others_go_on() {
    let hub = publishing(&[], "message_template = '~id~ ~text~'\n");
    let mut socket = hub.websocket("/ws/a/b");
    hub.wait_for_subscribers("b", 1);
    hub.publish("a", "1");
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(admin.response().status, 200);
    hub.publish("b", "2");
    assert_eq!([socket.text(), socket.text(), socket.text()], ["1 1", "-2 Channel deleted", "1 2"]);
}

#[test]
fn a_drained_hub_says_goodbye() {
    let mut hub = publishing(&[], "footer_template = 'bye'\n");
    let mut sockets: Vec<WebSocket> = (0..20).map(|_| hub.websocket("/ws/a")).collect();
    hub.wait_for_subscribers("a", 20);
    let running = hub.hub.take().expect("running");
    let draining = std::thread::spawn(|| running.drain());
    for socket in &mut sockets {
        assert_eq!(socket.text(), "bye");
        assert_eq!(socket.expect_close(), None);
    }
    drop(sockets);
    draining.join().expect("no panic");
}

#[test]
fn a_client_that_leaves_gives_its_seat_back_at_once() {
    let hub = publishing(&[], "");
    for begun in [&b""[..], &frame(TEXT, false, "begun"), &announce(0x81, 1000), &[0x81]] {
        let mut socket = hub.websocket("/ws/a");
        hub.wait_for_subscribers("a", 1);
        socket.send_bytes(begun);
        drop(socket);
        hub.wait_for_subscribers("a", 0);
    }
}

#[test]
fn a_reader_that_pauses_gets_its_own_messages_and_all_of_them() {
    const COUNT: usize = 300;
    let hub = hub(&[("max_messages_stored_per_channel", "none"), ("memory_limit", "64m")]);
    let mut slow = hub.websocket("/ws/slow");
    rustix::net::sockopt::set_socket_recv_buffer_size(&slow.client.socket, 64 << 10).expect("a socket");
    hub.wait_for_subscribers("slow", 1);
    let mut fast = hub.websocket("/ws/fast");
    hub.wait_for_subscribers("fast", 1);
    let body = |channel: &str, number: usize| format!("{channel} {number} ").repeat(40_000 / channel.len() / 4);
    // More than the kernel takes for a client that does not read.
    for number in 0..COUNT {
        assert_eq!(hub.publish("slow", &body("slow", number)).status, 200);
        assert_eq!(hub.publish("fast", &body("fast", number)).status, 200);
        assert!(fast.text() == body("fast", number), "{number}");
    }
    for number in 0..COUNT {
        assert!(slow.text() == body("slow", number), "{number}");
    }
    hub.publish("slow", "and on");
    assert_eq!(slow.text(), "and on");
}

#[test]
fn a_client_that_pings_and_never_reads_is_closed_and_holds_up_nobody() {
    let hub = publishing(&[("send_timeout", "1s")], "");
    let mut greedy = hub.websocket("/ws/a");
    hub.wait_for_subscribers("a", 1);
    greedy.client.socket.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
    let pings = frame(PING, true, "x".repeat(125)).repeat(1000);
    let mut sent = 0;
    wait_until("the hub gave up", || {
        sent += greedy.client.socket.write(&pings[sent % pings.len()..]).unwrap_or(0);
        hub.counters("a").is_none_or(|counters| counters["subscribers"] == 0)
    });
    let mut other = hub.websocket("/ws/b");
    round_trip(&mut other, "p");
}
