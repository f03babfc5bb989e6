//! Every mode starts from every kind of position, misses nothing and says what is gone.

mod support;

use support::stream::Stream;
use support::websocket::handshake;
use support::{Response, TestHub, hub, hub_with};

/// The four ways in which a subscriber gets text through a template, by the path of their locations.
const MODES: [&str; 4] = ["/poll", "/lp", "/stream", "/ws"];

/// Publishes, and says where the message stands.
fn publish(hub: &TestHub, channel: &str, event_id: Option<&str>, body: &str) -> String {
    let mut admin = hub.connect_admin();
    let headers = event_id.map(|id| format!("Event-Id: {id}\r\n")).unwrap_or_default();
    let length = body.len();
    admin.send(&format!(
        "POST /pub?id={channel} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ));
    assert_eq!(admin.response().status, 200);
    hub.head()
}

/// What a subscriber of this mode gets at once, and the head of its answer. `count`: messages, each of one byte.
fn replay(hub: &TestHub, mode: &str, rest: &str, headers: &str, count: usize) -> (Response, String) {
    let path = format!("{mode}/{rest}");
    match mode {
        "/poll" | "/lp" => {
            let mut client = hub.connect();
            client.get(&path, headers);
            let answer = client.response();
            let text = answer.text().to_owned();
            (answer, text)
        }
        "/stream" => {
            let (head, mut stream) = hub.stream_with(&path, headers);
            let text = (0..count).map(|_| stream.byte()).collect();
            (head, text)
        }
        "/ws" => {
            let (head, mut socket) = hub.websocket_with(&path, headers);
            let text = (0..count).map(|_| socket.text()).collect();
            (head, text)
        }
        "/ev" => {
            let (head, stream) = hub.stream_with(&path, headers);
            let mut events = support::stream::Events { stream, last_id: String::new() };
            let text = (0..count).map(|_| events.data()).collect();
            (head, text)
        }
        _ => panic!("no mode: {mode}"),
    }
}

fn date(position: &str) -> (String, &str) {
    let (time, tag) = position.split_once('.').expect("a position");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(time.parse().expect("a number"));
    (httpdate::fmt_http_date(time), tag)
}

#[test]
fn every_mode_starts_from_every_kind_of_position() {
    let hub = hub(&[]);
    publish(&hub, "a", None, "1");
    let second = publish(&hub, "b", Some("e2"), "2");
    publish(&hub, "a", None, "3");
    publish(&hub, "b", Some("e4"), "4");
    publish(&hub, "elsewhere", None, "x");
    let (time, tag) = date(&second);
    let encoded = time.replace(' ', "%20");
    for mode in MODES.iter().chain(&["/ev"]) {
        for (rest, headers) in [
            ("a/b".to_owned(), format!("If-Modified-Since: {time}\r\nIf-None-Match: W/{tag}\r\n")),
            ("a/b".to_owned(), format!("If-Modified-Since: {time}\r\nIf-None-Match: W/\"{tag}\"\r\n")),
            ("a/b".to_owned(), format!("if-modified-since: {time}\r\nif-none-match: {tag}\r\n")),
            (format!("a/b?time={encoded}&tag={tag}"), String::new()),
            (format!("b/a?_=1&tag={tag}&time={encoded}&eventid="), "If-None-Match: 0\r\n".to_owned()),
            (format!("a/b?position={second}"), String::new()),
            (format!("a/b?position={second}"), "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n".to_owned()),
            ("a/b".to_owned(), format!("Last-Event-ID: {second}\r\n")),
            ("a/b".to_owned(), "Last-Event-ID: e2\r\n".to_owned()),
            ("b/a".to_owned(), "last-event-id: e2\r\n".to_owned()),
        ] {
            let (head, text) = replay(&hub, mode, &rest, &headers, 2);
            assert_eq!(text, "34", "{mode}/{rest} {headers}");
            assert_eq!(head.header("X-Push-Gap"), None, "{mode}/{rest} {headers}");
        }
        // All that is stored, merged in the order of publication.
        for (rest, headers) in [
            ("a/b", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
            ("b/a", "If-Modified-Since: Thursday, 01-Jan-70 00:00:00 GMT\r\nIf-None-Match: 0\r\n"),
            ("a/b", "If-Modified-Since: Thu Jan  1 00:00:00 1970\r\n"),
            ("b/a?position=0.0", ""),
            ("a.b9/b.b2", ""),
        ] {
            let (head, text) = replay(&hub, mode, rest, headers, 4);
            assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("1234", None), "{mode}/{rest} {headers}");
        }
        // A backlog goes before a position, for its channel.
        let (_, text) = replay(&hub, mode, &format!("a.b2/b?position={second}"), "", 3);
        assert_eq!(text, "134", "{mode}");
    }
}

#[test]
fn the_last_event_may_come_from_an_argument() {
    let locations = "
        [[location]]\npath = '/poll/'\nsubscriber = 'polling'\nlast_event_id = '$arg_eventid'
        [[location]]\npath = '/stream/'\nsubscriber = 'streaming'\nlast_event_id = '$http_x_last'
        [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n";
    let hub = hub_with(&[], Some(locations));
    publish(&hub, "a", Some("e/1"), "1");
    publish(&hub, "a", Some("e2"), "2");
    let (_, text) = replay(&hub, "/poll", "a?eventid=e%2F1", "Last-Event-ID: e2\r\n", 1);
    assert_eq!(text, "2");
    let (_, text) = replay(&hub, "/poll", "a?eventid=", "Last-Event-ID: e/1\r\n", 1);
    assert_eq!(text, "2", "an empty argument falls back to the header");
    let (_, text) = replay(&hub, "/stream", "a", "X-Last: e/1\r\n", 1);
    assert_eq!(text, "2");
}

#[test]
fn what_is_unreadable_counts_as_absent() {
    let hub = hub(&[("longpolling_connection_ttl", "1s")]);
    publish(&hub, "a", None, "1");
    for headers in [
        "If-None-Match: 0\r\nIf-Modified-Since: null\r\n",
        "If-None-Match: W/1\r\n",
        "If-Modified-Since: yesterday\r\nIf-None-Match: W/1\r\n",
        "Last-Event-ID: \r\n",
        "Last-Event-ID:\r\nIf-Modified-Since:\r\n",
    ] {
        for rest in ["a", "a?time=&tag=&eventid=&position=", "a?time=never&tag=x"] {
            let (head, text) = replay(&hub, "/poll", rest, headers, 0);
            assert_eq!((head.status, text.as_str(), head.header("X-Push-Gap")), (304, "", None), "{rest} {headers}");
            let (_, mut stream) = hub.stream_with(&format!("/stream/{rest}"), headers);
            let mut socket = hub.websocket_with(&format!("/ws/{rest}"), headers).1;
            hub.wait_for_subscribers("a", 2);
            assert!(stream.is_silent() && socket.client.is_silent(), "{rest} {headers}");
            publish(&hub, "a", None, "n");
            stream.expect("n");
            assert_eq!(socket.text(), "n");
            drop((stream, socket));
            hub.wait_for_subscribers("a", 0);
        }
    }
    for mode in MODES {
        let mut client = hub.connect();
        client.send(&handshake(&format!("{mode}/a?position=yesterday"), ""));
        let answer = client.head();
        assert_eq!(answer.status, if mode == "/ws" { 101 } else { 400 }, "{mode}");
    }
}

#[test]
fn a_position_without_a_tag_gives_its_whole_second_again() {
    let hub = hub(&[]);
    let first = publish(&hub, "a", None, "1");
    publish(&hub, "a", None, "2");
    let (time, _) = date(&first);
    for mode in MODES {
        for tag in ["", "If-None-Match: x\r\n", "If-None-Match: W/0\r\n"] {
            let (_, text) = replay(&hub, mode, "a", &format!("If-Modified-Since: {time}\r\n{tag}"), 2);
            assert!(text.starts_with("12"), "{mode} {tag} {text}");
        }
    }
}

/// Settings under which the channel keeps two messages, and three were published; a subscriber that has seen the first.
fn with_a_gap(settings: &[(&str, &str)]) -> (TestHub, String) {
    let settings = [settings, &[("max_messages_stored_per_channel", "2")]].concat();
    let hub = hub(&settings);
    let first = publish(&hub, "a", Some("e1"), "1");
    for text in ["2", "3", "4"] {
        publish(&hub, "a", None, text);
    }
    (hub, first)
}

#[test]
fn a_gap_is_said_in_every_mode() {
    let (hub, first) = with_a_gap(&[]);
    for mode in MODES {
        for (rest, headers) in [
            (format!("a?position={first}"), String::new()),
            ("a".to_owned(), "Last-Event-ID: e1\r\n".to_owned()),
            ("a".to_owned(), format!("Last-Event-ID: {first}\r\n")),
            ("a".to_owned(), "Last-Event-ID: never-seen\r\n".to_owned()),
        ] {
            let (head, text) = replay(&hub, mode, &rest, &headers, 2);
            assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("34", Some("1")), "{mode}/{rest} {headers}");
        }
        // Beyond the head there is nothing to send.
        let (head, text) = replay(&hub, mode, "a?position=4294967295.7", "", 0);
        assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("", Some("1")), "{mode}");
    }
    let mut client = hub.connect();
    client.get(&format!("/lp/a?position={first}"), "Accept: application/json\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    assert_eq!((&answer["gap"], &answer["position"]), (&true.into(), &hub.head().into()));
    assert_eq!(answer["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_gap_is_a_message_where_a_text_for_it_is_set() {
    let template = ("message_template", "(~id~|~channel~|~text~|~tag~)");
    let (hub, first) = with_a_gap(&[("gap_message_text", "lost"), template]);
    let head = hub.head();
    let (_, tag) = date(&head);
    let said = format!("(-4||lost|{tag})");
    let mut client = hub.connect();
    for mode in ["/poll", "/lp"] {
        client.get(&format!("{mode}/a?position={first}"), "");
        let answer = client.response();
        assert!(answer.text().starts_with(&format!("{said}(3|a|3|")), "{mode} {}", answer.text());
        client.get(&format!("{mode}/a?position=4294967295.7"), "");
        let answer = client.response();
        assert_eq!((answer.status, answer.text(), answer.header("X-Push-Gap")), (200, said.as_str(), Some("1")));
        // From there on there is none.
        client.get("/poll/a", &answer.position_headers());
        assert_eq!(client.response().status, 304);
    }
    client.get(&format!("/poll/a?position={first}&callback=f"), "");
    let answer = client.response();
    assert!(answer.text().starts_with(&format!("f([{said},(3|")), "{}", answer.text());
    let mut stream = hub.stream(&format!("/stream/a?position={first}"));
    stream.expect(format!("{said}(3|a|3|"));
    let mut socket = hub.websocket(&format!("/ws/a?position={first}"));
    assert_eq!(socket.text(), said);
    assert!(socket.text().starts_with("(3|a|3|"));
}

#[test]
fn a_channel_that_was_deleted_and_made_again_has_a_gap() {
    let hub = hub(&[]);
    let first = publish(&hub, "a", None, "1");
    publish(&hub, "a", None, "2");
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(admin.response().status, 200);
    let third = publish(&hub, "a", None, "3");
    for mode in MODES {
        let (head, text) = replay(&hub, mode, &format!("a?position={first}"), "", 1);
        assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("3", Some("1")), "{mode}");
    }
    publish(&hub, "a", None, "4");
    for mode in MODES {
        let (head, text) = replay(&hub, mode, &format!("a?position={third}"), "", 1);
        assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("4", None), "{mode}");
    }
}

#[test]
fn what_expired_early_is_a_gap() {
    let hub = hub(&[("message_ttl", "1s")]);
    let first = publish(&hub, "b", None, "0");
    publish(&hub, "a", None, "1");
    support::wait_until("it expires", || hub.counters("a").is_none_or(|counters| counters["stored_messages"] == 0));
    for mode in MODES {
        let (head, text) = replay(&hub, mode, &format!("a?position={first}"), "", 0);
        assert_eq!((text.as_str(), head.header("X-Push-Gap")), ("", Some("1")), "{mode}");
    }
    let (head, _) = replay(&hub, "/poll", &format!("a?position={}", hub.head()), "", 0);
    assert_eq!((head.status, head.header("X-Push-Gap")), (304, None));
}

#[test]
fn a_poll_that_repeats_its_backlog_gets_it_again() {
    let hub = hub(&[]);
    publish(&hub, "a", None, "1");
    let mut client = hub.connect();
    for _ in 0..2 {
        client.get("/lp/a.b5", "");
        assert_eq!(client.response().text(), "1");
    }
}

#[test]
fn a_long_poll_that_timed_out_goes_on_from_the_head() {
    let hub =
        hub(&[("longpolling_connection_ttl", "1s"), ("timeout_with_body", "on"), ("message_template", "~id~~text~")]);
    publish(&hub, "a", None, "old");
    let mut client = hub.connect();
    client.get("/lp/a/b", "");
    hub.wait_for_subscribers("a", 1);
    publish(&hub, "elsewhere", None, "x");
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (200, "-3Timed out"));
    let head = hub.head();
    let (time, tag) = date(&head);
    assert_eq!(answer.position_headers(), format!("If-Modified-Since: {time}\r\nIf-None-Match: W/{tag}\r\n"));
    // Between two polls nothing is lost.
    publish(&hub, "b", None, "1");
    publish(&hub, "a", None, "2");
    client.get("/lp/a/b", &answer.position_headers());
    assert_eq!(client.response().text(), "1122");
}

#[test]
fn a_stream_goes_on_where_a_poll_ended() {
    let hub = hub(&[]);
    publish(&hub, "a", None, "1");
    let mut client = hub.connect();
    client.get("/lp/a.b1", "");
    let position = client.response().position_headers();
    publish(&hub, "a", None, "2");
    client.get("/stream/a", &position);
    let (_, mut stream) = Stream::open(client);
    stream.expect("2");
    let mut events = hub.events_with("/ev/a", &position);
    assert_eq!(events.data(), "2");
    assert_eq!(events.last_id, hub.head());
}
