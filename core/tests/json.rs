//! `?format=json`: streams whose pieces are JSON objects, as our browser client reads them.

mod support;

use push_core::channel::ChannelName;
use push_core::client;
use push_core::message::{Kind, NewMessage};
use serde_json::{Value, json};
use support::stream::Stream;
use support::websocket::{CLOSE, PING, PONG, TEXT, WebSocket};
use support::{TestHub, hub, hub_with};

const START: &str = "position=0.0";

fn publish_json(hub: &TestHub, channel: &str, payload: &str, event: Option<&str>) {
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = ChannelName::new(channel.as_bytes(), 255).expect("a name");
    let message = NewMessage { kind: Kind::Json, event, ..NewMessage::new(payload.as_bytes()) };
    engine.publish(&name, &message).expect("a message");
}

/// What a poll answers for the same channel: the objects of a stream are those of its list.
fn polled(hub: &TestHub, channel: &str) -> Vec<Value> {
    let mut client = hub.connect();
    client.get(&format!("/poll/{channel}?{START}"), "Accept: application/json\r\n");
    let answer: Value = serde_json::from_str(client.response().text()).expect("JSON");
    answer["messages"].as_array().expect("a list").clone()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn line(stream: &mut Stream) -> Value {
    parse(&stream.line())
}

/// The next event: its id and its data.
fn event(stream: &mut Stream) -> (Option<String>, Value) {
    let mut line = stream.line();
    let id = line.strip_prefix("id: ").map(str::to_owned);
    if id.is_some() {
        line = stream.line();
    }
    assert_eq!(stream.line(), "");
    (id, parse(line.strip_prefix("data: ").expect("data")))
}

fn fill(hub: &TestHub) {
    hub.publish("a", "text\r\nof \"two\" lines");
    publish_json(hub, "a", "{\n\t\"value\": [1,\r\n2]}", Some("kind"));
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = ChannelName::new(b"a", 255).expect("a name");
    engine.publish(&name, &NewMessage::new(b"\xff\0")).expect("a message");
}

#[test]
fn every_transport_has_the_objects_of_a_poll() {
    let hub = hub(&[]);
    fill(&hub);
    let messages = polled(&hub, "a");
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1]["data"], json!({"value": [1, 2]}));
    assert_eq!((&messages[2]["data"], &messages[2]["encoding"]), (&json!("/wA="), &json!("base64")));
    let head = json!({"position": hub.head()});

    let path = format!("a?{START}&format=json");
    let (answer, mut stream) = hub.stream_with(&format!("/stream/{path}"), "");
    assert_eq!(answer.header("Content-Type"), Some("application/x-ndjson"));
    let mut events = hub.events(&format!("/ev/{path}")).stream;
    let mut socket = hub.websocket(&format!("/ws/{path}"));
    for message in &messages {
        assert_eq!(&line(&mut stream), message);
        let id = format!("{}.{}", message["time"], message["tag"]);
        assert_eq!(event(&mut events), (Some(id), message.clone()));
        assert_eq!(&parse(&socket.text()), message);
    }
    assert_eq!(line(&mut stream), head);
    assert_eq!(event(&mut events).1, head);
    assert_eq!(parse(&socket.text()), head);

    publish_json(&hub, "a", "null", None);
    let message = polled(&hub, "a").pop().expect("a message");
    assert_eq!(message["data"], Value::Null);
    assert_eq!(line(&mut stream), message);
    assert_eq!(event(&mut events).1, message);
    assert_eq!(parse(&socket.text()), message);
}

#[test]
fn a_stream_says_at_once_where_it_begins() {
    let hub = hub(&[]);
    hub.publish("b", "another");
    let head = json!({"position": hub.head()});
    assert_eq!(event(&mut hub.events("/ev/a?format=json").stream), (Some(hub.head()), head.clone()));
    assert_eq!(parse(&hub.websocket("/ws/a?format=json").text()), head);
    assert_eq!(line(&mut hub.stream("/stream/a?format=json")), head);
}

#[test]
fn an_event_source_comes_back_with_the_id_of_an_object() {
    let hub = hub(&[]);
    let (id, _) = event(&mut hub.events("/ev/a?format=json").stream);
    hub.publish("a", "meanwhile");
    let headers = format!("Last-Event-ID: {}\r\n", id.expect("an id"));
    let mut again = hub.events_with(&format!("/ev/a?format=json&{START}"), &headers);
    assert_eq!(event(&mut again.stream).1["data"], "meanwhile");
}

#[test]
fn a_gap_is_an_object_before_what_is_left() {
    let hub = hub(&[("max_messages_stored_per_channel", "1")]);
    let before = hub.head();
    for text in ["a", "b", "c"] {
        hub.publish("a", text);
    }
    let path = format!("a?position={before}&format=json");
    let gap = json!({"gap": true, "position": hub.head()});
    let head = json!({"position": hub.head()});
    let left = polled(&hub, "a").pop().expect("a message");
    let mut events = hub.events(&format!("/ev/{path}")).stream;
    assert_eq!(event(&mut events), (None, gap.clone()));
    assert_eq!(event(&mut events).1, left);
    assert_eq!(event(&mut events).1, head);
    let mut socket = hub.websocket(&format!("/ws/{path}"));
    for object in [&gap, &left, &head] {
        assert_eq!(&parse(&socket.text()), object);
    }
    // Nothing is left of a position that the hub does not know.
    let mut socket = hub.websocket("/ws/none?position=4000000000.1&format=json");
    assert_eq!([parse(&socket.text()), parse(&socket.text())], [gap, head]);
}

#[test]
fn a_ping_is_an_object_that_scripts_see() {
    let hub = hub(&[("ping_message_interval", "1s")]);
    let mut events = hub.events("/ev/a?format=json").stream;
    let mut socket = hub.websocket("/ws/a?format=json");
    let mut stream = hub.stream("/stream/a?format=json");
    hub.publish("b", "another");
    let head = json!({"position": hub.head()});
    // The first is from their beginning.
    event(&mut events);
    assert_eq!(event(&mut events), (Some(hub.head()), head.clone()));
    line(&mut stream);
    assert_eq!(line(&mut stream), head);
    socket.text();
    socket.expect(PING, "");
    assert_eq!(parse(&socket.text()), head);
}

#[test]
fn templates_header_footer_and_padding_belong_to_other_layouts() {
    let hub = hub_with(
        &[("subscriber_connection_ttl", "1s")],
        Some(
            "[[location]]\npath = '/ev/'\nsubscriber = 'eventsource'\nheader_template = 'one'\nfooter_template = 'two'
             message_template = '<~text~>'\npadding_by_user_agent = '.*,512,512'
             [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n",
        ),
    );
    let mut events = hub.events("/ev/a?format=json").stream;
    events.expect(format!("id: {0}\ndata: {{\"position\":\"{0}\"}}\n\n", hub.head()));
    hub.publish("a", "x");
    assert_eq!(event(&mut events).1["data"], "x");
    events.expect_end();
}

#[test]
fn a_deleted_channel_is_an_object() {
    let hub = hub(&[]);
    let mut socket = hub.websocket("/ws/a/b?format=json");
    socket.text();
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(admin.response().status, 200);
    let told = parse(&socket.text());
    assert_eq!((&told["id"], &told["channel"]), (&json!(-2), &json!("a")));
}

#[test]
fn who_has_to_go_is_told_by_an_object() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a?format=json").stream;
    let mut stream = hub.stream("/stream/a?format=json");
    let mut socket = hub.websocket("/ws/a?format=json");
    hub.publish("a", "last words");
    let head = hub.head();
    hub.wait_for_subscribers("a", 3);
    let mut client = client::Client::new(client::Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: std::time::Duration::from_secs(10),
        backoff: std::time::Duration::from_millis(1),
        ring_size: 256 << 10,
    });
    assert_eq!(client.disconnect(None, Some("a"), "go \"now\"", false).expect("a hub"), 3);
    let told = json!({"disconnect": "go \"now\"", "position": head});
    for _ in 0..2 {
        event(&mut events);
        line(&mut stream);
        socket.text();
    }
    assert_eq!(event(&mut events), (Some(head), told.clone()));
    assert_eq!(line(&mut stream), told);
    events.expect_end();
    stream.expect_end();
    let close = socket.frame();
    assert_eq!((close.opcode, close.payload), (CLOSE, [&4002u16.to_be_bytes()[..], b"go \"now\""].concat()));
}

fn publishing() -> TestHub {
    hub_with(
        &[],
        Some(
            "[[location]]\npath = '/ws/'\nsubscriber = 'websocket'\nwebsocket_allow_publish = true
             [[location]]\npath = '/poll/'\nsubscriber = 'polling'
             [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n",
        ),
    )
}

fn round_trip(socket: &mut WebSocket) {
    socket.send(PING, "done");
    socket.expect(PONG, "done");
}

#[test]
fn a_websocket_publishes_to_the_channel_that_it_names() {
    let hub = publishing();
    let mut socket = hub.websocket("/ws/a/b?format=json");
    socket.text();
    socket.send(TEXT, r#"{"channel":"b","data":{"x": [1, "\u00e9"]},"event":"kind"}"#);
    let message = parse(&socket.text());
    assert_eq!(
        [&message["channel"], &message["event"], &message["data"]],
        [&json!("b"), &json!("kind"), &json!({"x": [1, "é"]})]
    );
    socket.send(TEXT, r#"{"data":"text","channel":"a"}"#);
    let message = parse(&socket.text());
    assert_eq!([&message["channel"], &message["event"], &message["data"]], [&json!("a"), &Value::Null, &json!("text")]);
    assert_eq!([polled(&hub, "a").len(), polled(&hub, "b").len()], [1, 1]);
}

#[test]
fn a_frame_that_publishes_nothing_is_refused() {
    for (frame, status) in [
        ("", None),
        ("text", Some(400)),
        (r#"{"channel":"a"}"#, Some(400)),
        (r#"{"data":1}"#, Some(400)),
        (r#"{"channel":"a","data":1,"x":1}"#, Some(400)),
        (r#"{"channel":"a","data":1,"event":"two\nlines"}"#, Some(400)),
        (r#"{"channel":"other","data":1}"#, Some(403)),
        (r#"{"channel":"a/b","data":1}"#, Some(403)),
    ] {
        let hub = publishing();
        let mut socket = hub.websocket("/ws/a?format=json");
        socket.text();
        socket.send(TEXT, frame);
        match status {
            None => round_trip(&mut socket),
            Some(status) => {
                let close = socket.frame();
                assert_eq!((close.opcode, &close.payload[..2]), (CLOSE, &1008u16.to_be_bytes()[..]), "{frame}");
                let reason = parse(std::str::from_utf8(&close.payload[2..]).expect("text"));
                assert_eq!(reason["http_status"], status, "{frame}");
            }
        }
        assert_eq!(polled(&hub, "a"), Vec::<Value>::new(), "{frame}");
        assert!(hub.counters("other").is_none(), "{frame}");
    }
}
