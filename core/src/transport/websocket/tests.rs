//! Frames byte by byte, and any stream of them in any pieces.

use httparse::Header;
use proptest::prelude::*;

use super::*;
use crate::transport::reply::Framing;

const LIMITS: Limits = Limits { message: 1 << 20, keep_text: true };
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const CONTINUATION: u8 = 0;

/// What a client sent, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close(Option<u16>),
}

impl From<Received<'_>> for Event {
    fn from(received: Received<'_>) -> Self {
        match received {
            Received::Text(text) => Self::Text(std::str::from_utf8(text).expect("checked").to_owned()),
            Received::Ping(payload) => Self::Ping(payload.to_vec()),
            Received::Pong => Self::Pong,
            Received::Close(code) => Self::Close(code.map(|code| code.0)),
        }
    }
}

/// The bytes of buffers that the input holds.
fn held(input: &Input) -> usize {
    input.partial.as_ref().map_or(0, |partial| {
        partial.control.capacity() + partial.message.as_ref().map_or(0, |message| message.text.capacity())
    })
}

/// Feeds all of the bytes, and tells after each thing received that this is enough for now.
fn feed(
    input: &mut Input,
    mut bytes: &mut [u8],
    limits: Limits,
    mut on: impl FnMut(Received<'_>),
) -> Result<(), CloseCode> {
    loop {
        let mut heard = false;
        let taken = input.feed(bytes, limits, |received| {
            assert!(!heard, "more than was wanted: {received:?}");
            heard = true;
            on(received);
            ControlFlow::Break(())
        })?;
        bytes = &mut bytes[taken..];
        if !heard || bytes.is_empty() {
            assert!(bytes.is_empty());
            return Ok(());
        }
    }
}

/// What comes of `stream` when reads bring it in these pieces.
fn read<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Event>, Result<Input, CloseCode>) {
    let (mut input, mut events) = (Input::default(), Vec::new());
    let mut arrived = 0;
    for piece in pieces {
        let mut piece = piece.to_vec();
        arrived += piece.len();
        let closed = |events: &[Event]| matches!(events.last(), Some(Event::Close(_)));
        if let Err(code) = feed(&mut input, &mut piece, limits, |received| events.push(received.into())) {
            assert!(input.partial.is_none());
            return (events, Err(code));
        }
        assert!(held(&input) <= 2 * arrived + 16, "{} bytes are held of {arrived}", held(&input));
        if closed(&events) {
            assert!(input.partial.is_none());
            break;
        }
    }
    (events, Ok(input))
}

/// The same for a stream that ends after a whole message, read in one piece and byte by byte.
fn events(stream: &[u8]) -> Result<Vec<Event>, CloseCode> {
    let (whole, result) = read(LIMITS, [stream]);
    let (bytes, other) = read(LIMITS, stream.chunks(1));
    assert_eq!(whole, bytes);
    match (result, other) {
        (Ok(input), Ok(other)) => {
            assert!(input.partial.is_none() && other.partial.is_none(), "a frame of {stream:x?} is not complete");
            Ok(whole)
        }
        (Err(code), Err(other)) => {
            assert_eq!(code, other);
            Err(code)
        }
        (one, other) => panic!("{one:?} at once, {other:?} byte by byte"),
    }
}

/// A frame as a client sends it. `first` is its first byte.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = Vec::new();
    append_frame(&mut out, Opcode::Text, payload);
    out[0] = first;
    if let Some(mask) = mask {
        out[1] |= 0x80;
        let head = out.len() - payload.len();
        for (byte, mask) in out[head..].iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        out.splice(head..head, mask);
    }
    out
}

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

/// A last frame and one that is not the last.
fn last(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0x80 | opcode, payload.as_ref(), MASK)
}

fn part(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(opcode, payload.as_ref(), MASK)
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

#[test]
fn an_idle_input_is_a_pointer() {
    assert_eq!(size_of::<Input>(), size_of::<usize>());
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = Ok(vec![text("Hello")]);
    assert_eq!(events(&[0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]), hello, "unmasked");
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(events(&masked), hello);
    assert_eq!(events(&[0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f]), hello, "fragmented");
    assert_eq!(events(&[0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]), Ok(vec![Event::Ping(b"Hello".to_vec())]));
    let pong = [0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(events(&pong), Ok(vec![Event::Pong]));
}

#[test]
fn frames_to_the_client_have_the_shortest_length() {
    let head = |opcode, len: usize| {
        let mut out = b"before".to_vec();
        append_frame(&mut out, opcode, &vec![b'x'; len]);
        assert!(out.ends_with(&vec![b'x'; len]));
        out[6..out.len() - len].to_vec()
    };
    assert_eq!(head(Opcode::Text, 0), [0x81, 0]);
    assert_eq!(head(Opcode::Text, 125), [0x81, 125]);
    assert_eq!(head(Opcode::Text, 126), [0x81, 126, 0, 126]);
    assert_eq!(head(Opcode::Binary, 256), [0x82, 126, 1, 0]);
    assert_eq!(head(Opcode::Text, 65_535), [0x81, 126, 0xff, 0xff]);
    assert_eq!(head(Opcode::Binary, 65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(head(Opcode::Close, 0), [0x88, 0]);
    assert_eq!(head(Opcode::Ping, 0), [0x89, 0]);
    assert_eq!(head(Opcode::Pong, 125), [0x8a, 125]);
}

#[test]
fn a_close_frame_carries_code_and_reason() {
    let close = |reason: &str| {
        let mut out = Vec::new();
        append_close(&mut out, CloseCode::TOO_LARGE, reason);
        out
    };
    assert_eq!(close(""), [0x88, 2, 0x03, 0xf1]);
    assert_eq!(close("why"), *b"\x88\x05\x03\xf1why");
    assert_eq!(close(&"x".repeat(123)).len(), 2 + 125);
    assert_eq!(close(&"x".repeat(124)), close(&"x".repeat(123)));
    assert_eq!(close(&("x".repeat(122) + "é")), close(&"x".repeat(122)), "a character is not cut in half");
}

#[test]
fn a_refusal_is_1008_with_a_reason_in_json() {
    let refusal = |explain: &str| {
        let mut out = Vec::new();
        append_refusal(&mut out, 403, explain);
        assert_eq!(out[..4], [0x88, out.len() as u8 - 2, 0x03, 0xf0]);
        String::from_utf8(out[4..].to_vec()).expect("text")
    };
    assert_eq!(
        refusal("Subscriber could not create channels."),
        "{\"http_status\": 403, \"explain\":\"Subscriber could not create channels.\"}"
    );
    for long in ["é".repeat(200), "\"\\\n".repeat(100), "\u{1}".repeat(100)] {
        let reason = refusal(&long);
        assert!(reason.len() <= 123);
        let parsed: serde_json::Value = serde_json::from_str(&reason).expect("JSON");
        let explain = parsed["explain"].as_str().expect("words");
        assert!(!explain.is_empty() && long.starts_with(explain));
    }
}

#[test]
fn several_frames_of_one_segment_are_all_read() {
    let stream = [last(TEXT, "one"), last(PING, "p"), last(TEXT, "two"), last(PONG, ""), last(TEXT, "three")].concat();
    let expected = vec![text("one"), Event::Ping(b"p".to_vec()), text("two"), Event::Pong, text("three")];
    assert_eq!(events(&stream), Ok(expected));
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let stream = [part(TEXT, "on"), last(PING, "p"), part(CONTINUATION, ""), last(PONG, "x"), last(CONTINUATION, "e")];
    assert_eq!(events(&stream.concat()), Ok(vec![Event::Ping(b"p".to_vec()), Event::Pong, text("one")]));
    let stream = [part(TEXT, "on"), last(CLOSE, 1001u16.to_be_bytes())];
    assert_eq!(events(&stream.concat()), Ok(vec![Event::Close(Some(1001))]));
}

#[test]
fn every_length_form_is_read() {
    for len in [1, 125, 126, 127, 128, 65_535, 65_536, 65_537, 1 << 20] {
        let message = "x".repeat(len);
        let stream = [last(TEXT, &message), last(PONG, "")].concat();
        let expected = vec![text(&message), Event::Pong];
        for size in [1, 997, 16 << 10, usize::MAX] {
            let (found, input) = read(LIMITS, stream.chunks(size));
            assert!(found == expected, "{len} bytes in reads of {size}");
            assert!(input.is_ok_and(|input| input.partial.is_none()));
        }
    }
    // A length in a longer form than it needs is understood.
    assert_eq!(events(b"\x81\x7e\x00\x01x"), Ok(vec![text("x")]));
    assert_eq!(events(b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01x"), Ok(vec![text("x")]));
}

#[test]
fn empty_messages_are_ignored() {
    assert_eq!(events(&last(TEXT, "")), Ok(vec![]));
    assert_eq!(events(&[0x81, 0]), Ok(vec![]));
    let stream = [part(TEXT, ""), part(CONTINUATION, ""), last(CONTINUATION, ""), last(TEXT, "x")];
    assert_eq!(events(&stream.concat()), Ok(vec![text("x")]));
    let stream = [part(TEXT, ""), part(CONTINUATION, "x"), last(CONTINUATION, "")];
    assert_eq!(events(&stream.concat()), Ok(vec![text("x")]));
}

#[test]
fn frames_that_break_the_rules_are_refused() {
    let control = |opcode: u8, len: usize| last(opcode, "x".repeat(len));
    for (what, stream, code) in [
        ("RSV1", frame(0xc1, b"x", MASK), CloseCode::PROTOCOL),
        ("RSV2", frame(0xa1, b"x", MASK), CloseCode::PROTOCOL),
        ("RSV3", frame(0x91, b"x", MASK), CloseCode::PROTOCOL),
        ("RSV1 of a ping", frame(0xc9, b"", MASK), CloseCode::PROTOCOL),
        ("binary", last(BINARY, "x"), CloseCode::UNSUPPORTED),
        ("fragmented binary", part(BINARY, "x"), CloseCode::UNSUPPORTED),
        ("a long close", control(CLOSE, 126), CloseCode::PROTOCOL),
        ("a long ping", control(PING, 126), CloseCode::PROTOCOL),
        ("a long pong", control(PONG, 70_000), CloseCode::PROTOCOL),
        ("a fragmented close", part(CLOSE, ""), CloseCode::PROTOCOL),
        ("a fragmented ping", part(PING, "x"), CloseCode::PROTOCOL),
        ("a fragmented pong", part(PONG, "x"), CloseCode::PROTOCOL),
        ("a continuation of nothing", last(CONTINUATION, "x"), CloseCode::PROTOCOL),
        ("a first part of nothing", part(CONTINUATION, "x"), CloseCode::PROTOCOL),
        ("text within a message", [part(TEXT, "x"), last(TEXT, "y")].concat(), CloseCode::PROTOCOL),
        ("binary within a message", [part(TEXT, "x"), last(BINARY, "y")].concat(), CloseCode::PROTOCOL),
        ("a length with the top bit", vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], CloseCode::TOO_LARGE),
        ("a close of one byte", last(CLOSE, "x"), CloseCode::PROTOCOL),
    ] {
        assert_eq!(events(&stream), Err(code), "{what}");
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(events(&last(opcode, "")), Err(CloseCode::PROTOCOL), "{opcode}");
        assert_eq!(events(&[part(TEXT, "x"), last(opcode, "")].concat()), Err(CloseCode::PROTOCOL), "{opcode}");
    }
}

#[test]
fn what_came_before_a_broken_frame_is_handed_on() {
    let stream = [last(TEXT, "before"), last(BINARY, "x"), last(TEXT, "after")].concat();
    assert_eq!(read(LIMITS, [&stream[..]]).0, [text("before")]);
    assert_eq!(events(&stream), Err(CloseCode::UNSUPPORTED));
}

#[test]
fn the_code_of_a_close_is_checked() {
    assert_eq!(events(&last(CLOSE, "")), Ok(vec![Event::Close(None)]));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        let payload = u16::to_be_bytes(code);
        assert_eq!(events(&last(CLOSE, payload)), Ok(vec![Event::Close(Some(code))]));
        let reason = [&payload[..], "é".repeat(61).as_bytes()].concat();
        assert_eq!(events(&last(CLOSE, reason)), Ok(vec![Event::Close(Some(code))]));
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        assert_eq!(events(&last(CLOSE, u16::to_be_bytes(code))), Err(CloseCode::PROTOCOL), "{code}");
    }
    assert_eq!(events(&last(CLOSE, b"\x03\xe8\xce\xba\xe1\xbd")), Err(CloseCode::NOT_UTF8));
}

#[test]
fn nothing_is_read_behind_a_close() {
    let stream = [last(CLOSE, 1000u16.to_be_bytes()), last(TEXT, "x"), vec![0xff; 9]].concat();
    assert_eq!(events(&stream), Ok(vec![Event::Close(Some(1000))]));
}

#[test]
fn text_that_is_not_utf8_ends_at_the_first_wrong_byte() {
    let valid = "κόσμε".as_bytes();
    // How many of the bytes show that they are wrong.
    for (enough, wrong) in [
        (1, &b"\x80"[..]),
        (1, b"\xbf"),
        (1, b"\xc0\xaf"),
        (1, b"\xc1\xbf"),
        (2, b"\xc3("),
        (2, b"\xe0\x80\xaf"),
        (2, b"\xe0\x9f\xbf"),
        (3, b"\xe2\x82("),
        (2, b"\xed\xa0\x80"),
        (2, b"\xed\xbf\xbf"),
        (2, b"\xf0\x80\x80\xaf"),
        (2, b"\xf0\x8f\xbf\xbf"),
        (4, b"\xf0\x9f\x98("),
        (2, b"\xf4\x90\x80\x80"),
        (1, b"\xf5\x80\x80\x80"),
        (1, b"\xf8\x88\x80\x80\x80"),
        (1, b"\xfe"),
        (1, b"\xff"),
    ] {
        let payload = [valid, wrong, b"edited"].concat();
        let whole = last(TEXT, &payload);
        assert_eq!(events(&whole), Err(CloseCode::NOT_UTF8), "{wrong:x?}");
        let end = whole.len() - payload.len() + valid.len() + enough;
        for size in [1, end] {
            assert!(read(LIMITS, whole[..end - 1].chunks(size)).1.is_ok(), "{wrong:x?}");
            assert_eq!(read(LIMITS, whole[..end].chunks(size)).1.err(), Some(CloseCode::NOT_UTF8), "{wrong:x?}");
        }
        let mut fragments = part(TEXT, "");
        for byte in payload {
            fragments.extend(part(CONTINUATION, [byte]));
        }
        fragments.extend(last(CONTINUATION, ""));
        assert_eq!(events(&fragments), Err(CloseCode::NOT_UTF8), "{wrong:x?} in fragments");
    }
    for unfinished in ["é", "€", "𐍈"] {
        for end in 1..unfinished.len() {
            let payload = &unfinished.as_bytes()[..end];
            assert_eq!(events(&last(TEXT, payload)), Err(CloseCode::NOT_UTF8), "{payload:x?}");
            let stream = [part(TEXT, payload), last(CONTINUATION, "")].concat();
            assert_eq!(events(&stream), Err(CloseCode::NOT_UTF8), "{payload:x?}");
        }
    }
}

#[test]
fn characters_may_be_split_over_fragments() {
    for message in ["é€𐍈", "\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}\u{d7ff}\u{e000}"] {
        for size in 1..message.len() {
            let mut stream = part(TEXT, "");
            for piece in message.as_bytes().chunks(size) {
                stream.extend(part(CONTINUATION, piece));
                stream.extend(last(PING, ""));
            }
            stream.extend(last(CONTINUATION, ""));
            let mut found = events(&stream).expect("valid");
            assert_eq!(found.pop(), Some(text(message)));
            assert!(found.iter().all(|event| *event == Event::Ping(vec![])));
        }
    }
}

#[test]
fn a_message_beyond_the_limit_ends_at_the_head_of_its_frame() {
    let limits = Limits { message: 300, ..LIMITS };
    let refused = |stream: &[u8]| {
        let (found, result) = read(limits, stream.chunks(1));
        assert_eq!(found, []);
        result.err() == Some(CloseCode::TOO_LARGE)
    };
    let announce = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes()].concat();
    for length in [301, 200 << 20, u64::from(u32::MAX) + 1, u64::MAX >> 1, u64::MAX] {
        assert!(refused(&announce(length)), "{length}");
    }
    assert!(!refused(&announce(300)));
    assert!(refused(&[0x81, 0xfe, 0x01, 0x2d]), "301");
    let message = "x".repeat(300);
    assert_eq!(read(limits, [&last(TEXT, &message)[..]]).0, [text(&message)]);
    // The limit is the message's, however many frames it has.
    let half = part(TEXT, "x".repeat(150));
    let second = |len: usize| [&half[..], &last(CONTINUATION, "x".repeat(len))].concat();
    assert_eq!(read(limits, [&second(150)[..]]).0, [text(&message)]);
    assert!(refused(&second(151)));
    assert!(refused(&[&half[..], &[0x80, 0xff], &u64::MAX.to_be_bytes()].concat()));
    // Two messages have a limit each.
    assert_eq!(read(limits, [&[second(150), last(TEXT, &message)].concat()[..]]).0.len(), 2);
}

#[test]
fn an_announced_length_costs_nothing() {
    let limits = Limits { message: 1 << 30, ..LIMITS };
    let mut head = vec![0x81, 0xff];
    head.extend((200u64 << 20).to_be_bytes());
    head.extend([1, 2, 3, 4]);
    let (_, input) = read(limits, [&head[..]]);
    let mut input = input.expect("within the limit");
    assert_eq!(held(&input), 0);
    feed(&mut input, &mut [0x61 ^ 1; 1], limits, |received| panic!("{received:?}")).expect("within the limit");
    assert!((1..=16).contains(&held(&input)));
}

#[test]
fn buffers_are_freed_with_their_message() {
    let stream = [last(TEXT, "é".repeat(10_000)), last(PING, "x".repeat(100))].concat();
    let mut input = Input::default();
    let mut most = 0;
    for piece in stream.chunks(1000) {
        feed(&mut input, &mut piece.to_vec(), LIMITS, |_| {}).expect("valid");
        most = most.max(held(&input));
    }
    assert!(most >= 19_000);
    assert!(input.partial.is_none());
}

#[test]
fn text_that_nobody_takes_is_checked_and_not_kept() {
    let limits = Limits { message: 20_000, keep_text: false };
    let message = "é".repeat(5000);
    let stream = [part(TEXT, &message), last(PING, "p"), last(CONTINUATION, &message), last(PONG, "")].concat();
    for size in [1, 1000, usize::MAX] {
        let (mut input, mut found) = (Input::default(), Vec::new());
        for piece in stream.chunks(size) {
            feed(&mut input, &mut piece.to_vec(), limits, |received| found.push(Event::from(received))).expect("valid");
            assert!(held(&input) <= 16);
        }
        assert_eq!(found, [Event::Ping(b"p".to_vec()), Event::Pong]);
    }
    assert_eq!(read(limits, [&last(TEXT, b"\xff")[..]]).1.err(), Some(CloseCode::NOT_UTF8));
    assert_eq!(read(limits, [&last(TEXT, "x".repeat(20_001))[..]]).1.err(), Some(CloseCode::TOO_LARGE));
}

const GOOD: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

fn shake(http10: bool, headers: &[(&str, &str)]) -> Result<String, String> {
    let headers: Vec<Header<'_>> =
        headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
    let request = Request::new("GET", "/ws/a", http10, &headers, b"");
    let framing = Framing { http10: false, keep_alive: false, head: false };
    handshake(&request).map_err(|reply| String::from_utf8(reply.render(framing)).expect("text"))
}

/// The good headers with some of them replaced or, by an empty value, left out.
fn changed<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<(&str, &str)> =
        GOOD.into_iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name)).collect();
    headers.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    headers
}

#[test]
fn the_handshake_of_the_rfc_is_accepted() {
    let accept = Ok("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
    assert_eq!(shake(false, &GOOD), accept);
    for changes in [
        &[("Sec-WebSocket-Version", "8")][..],
        &[("Upgrade", "WebSocket"), ("Connection", "keep-alive, uPGRADE")],
        &[("Upgrade", "h2c, websocket"), ("Connection", "keep-alive"), ("connection", "Upgrade")],
        &[("Upgrade", "h2c"), ("upgrade", "WEBSOCKET")],
        &[("Sec-WebSocket-Key", " dGhlIHNhbXBsZSBub25jZQ== ")],
    ] {
        assert_eq!(shake(false, &changed(changes)), accept, "{changes:?}");
    }
}

#[test]
fn a_handshake_that_lacks_something_is_refused() {
    let mandatory = "Don't have at least one of the mandatory headers: \
        Connection, Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version";
    let version = "Version not supported. Supported versions: 8, 13\r\nSec-WebSocket-Version: 8, 13";
    let tokens = "Upgrade must name websocket, and Connection must name upgrade.";
    let key = "Sec-WebSocket-Key must be 16 bytes in base64.";
    for (name, value, explain) in [
        ("Upgrade", "", mandatory),
        ("Connection", "", mandatory),
        ("Sec-WebSocket-Key", "", mandatory),
        ("Sec-WebSocket-Version", "", mandatory),
        ("Upgrade", "h2c", tokens),
        ("Upgrade", "websockets", tokens),
        ("Connection", "close", tokens),
        ("Connection", "keep-alive", tokens),
        ("Sec-WebSocket-Version", "7", version),
        ("Sec-WebSocket-Version", "14", version),
        ("Sec-WebSocket-Version", "13, 8", version),
        ("Sec-WebSocket-Version", "+13", version),
        ("Sec-WebSocket-Key", "x", key),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ", key),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j", key),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZSE=", key),
    ] {
        let refused = shake(false, &changed(&[(name, value)])).expect_err("it lacks something");
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
        let explain = format!("\r\nX-Nginx-PushStream-Explain: {explain}\r\n");
        assert!(refused.contains(&explain), "{name}: {value}: {refused}");
    }
    let refused = shake(true, &GOOD).expect_err("HTTP/1.0");
    assert!(refused.contains("\r\nX-Nginx-PushStream-Explain: A WebSocket needs HTTP/1.1.\r\n"), "{refused}");
}

/// A frame of the client: `first` is its first byte.
#[derive(Clone, Debug)]
struct Sent {
    first: u8,
    payload: Vec<u8>,
    mask: Option<[u8; 4]>,
}

fn control() -> impl Strategy<Value = (Vec<u8>, bool)> {
    (prop::collection::vec(any::<u8>(), 0..=125), any::<bool>())
}

/// A message, where it is cut into fragments, and the control frames before each.
fn message() -> impl Strategy<Value = (Vec<Sent>, Vec<Event>)> {
    let length = prop_oneof![4 => 0usize..20, 2 => 100usize..300, 1 => 60_000usize..70_000];
    let text = length.prop_flat_map(|length| {
        let character = prop_oneof![3 => prop::char::range('a', 'z'), 1 => any::<char>()];
        (Just(length), prop::collection::vec(character, 1..20))
            .prop_map(|(length, characters)| characters.into_iter().cycle().take(length).collect::<String>())
    });
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), prop::option::of(control())), 0..5);
    let masks = prop::collection::vec(any::<Option<[u8; 4]>>(), 12);
    (text, cuts, prop::option::of(control()), masks).prop_map(|(text, cuts, before, masks)| {
        let mut masks = masks.into_iter();
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        let mut send = |first: u8, payload: &[u8]| {
            frames.push(Sent { first, payload: payload.to_vec(), mask: masks.next().expect("enough") });
        };
        let mut controls = |control: Option<(Vec<u8>, bool)>, send: &mut dyn FnMut(u8, &[u8])| {
            if let Some((payload, ping)) = control {
                send(0x80 | if ping { PING } else { PONG }, &payload);
                expected.push(if ping { Event::Ping(payload) } else { Event::Pong });
            }
        };
        controls(before, &mut send);
        let mut cuts: Vec<_> =
            cuts.into_iter().map(|(index, control)| (index.index(text.len() + 1), control)).collect();
        cuts.sort_by_key(|(at, _)| *at);
        let (mut opcode, mut start) = (TEXT, 0);
        for (at, control) in cuts {
            send(opcode, &text.as_bytes()[start..at]);
            (opcode, start) = (CONTINUATION, at);
            controls(control, &mut send);
        }
        send(0x80 | opcode, &text.as_bytes()[start..]);
        if !text.is_empty() {
            expected.push(Event::Text(text));
        }
        (frames, expected)
    })
}

/// The stream cut into reads of these sizes, over and over.
fn cut<'a>(mut stream: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    sizes.iter().cycle().map_while(move |size| {
        let (piece, rest) = stream.split_at(stream.len().min(*size));
        stream = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..4, 1usize..40, 1usize..20_000], 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_valid_stream_means_the_same_in_any_reads(
        messages in prop::collection::vec(message(), 0..6),
        close in prop::option::of(prop::option::of((3000u16..5000, "\\PC{0,30}"))),
        sizes in sizes(),
    ) {
        let (frames, events): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let (mut frames, mut expected) = (frames.concat(), events.concat());
        if let Some(close) = close {
            let payload = close.as_ref().map_or(Vec::new(), |(code, reason)| {
                [&code.to_be_bytes()[..], reason.as_bytes()].concat()
            });
            frames.push(Sent { first: 0x80 | CLOSE, payload, mask: MASK });
            expected.push(Event::Close(close.map(|(code, _)| code)));
        }
        let stream: Vec<u8> =
            frames.iter().flat_map(|sent| frame(sent.first, &sent.payload, sent.mask)).collect();
        let (found, input) = read(LIMITS, cut(&stream, &sizes));
        prop_assert!(input.is_ok_and(|input| input.partial.is_none()));
        prop_assert_eq!(&found, &expected);
        let (found, input) = read(Limits { keep_text: false, ..LIMITS }, cut(&stream, &sizes));
        prop_assert!(input.is_ok_and(|input| input.partial.is_none()));
        expected.retain(|event| !matches!(event, Event::Text(_)));
        prop_assert_eq!(found, expected);
    }

    /// Where reads end makes no difference, also to what is wrong; `read` checks that no more is held than came.
    #[test]
    fn any_bytes_mean_the_same_in_any_reads(
        frames in prop::collection::vec(
            (any::<u8>(), prop::sample::select(vec![0u8, 1, 2, 0x7e, 0x7f, 0x80, 0x81, 0x85, 0xfd, 0xfe, 0xff]),
                prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..40)),
            0..6),
        sizes in sizes(),
        limit in prop_oneof![Just(0usize), 0usize..200, Just(usize::MAX)],
        keep_text in any::<bool>(),
    ) {
        let limits = Limits { message: limit, keep_text };
        let stream: Vec<u8> = frames.into_iter().flat_map(|(first, second, rest)| {
            [vec![first, second], rest].concat()
        }).collect();
        let (whole, one) = read(limits, [&stream[..]]);
        let (pieces, other) = read(limits, cut(&stream, &sizes));
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(one.map(|input| input.partial.is_some()), other.map(|input| input.partial.is_some()));
    }

    #[test]
    fn a_text_is_taken_as_std_takes_it(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(0xe2u8), Just(0x82u8), Just(0xacu8), Just(0xf0u8), 0x80u8..0xc0], 1..12),
        size in 1usize..5,
    ) {
        let mut frames: Vec<Vec<u8>> = bytes.chunks(size).map(|piece| part(CONTINUATION, piece)).collect();
        frames[0][0] = TEXT;
        *frames.last_mut().expect("one at least").first_mut().expect("a head") |= 0x80;
        let expected = String::from_utf8(bytes).map(|text| vec![Event::Text(text)]).map_err(|_| CloseCode::NOT_UTF8);
        prop_assert_eq!(events(&frames.concat()), expected);
    }
}
