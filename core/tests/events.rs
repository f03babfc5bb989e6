//! The events channel over real sockets.

mod support;

use std::io::Write;

use push_core::channel::ChannelOptions;
use push_core::client::{Client as Caller, Options};
use push_core::error::Error;
use support::{Client, DEADLINE, Response, TestHub, hub_with, wait_until};

const LOCATIONS: &str = r#"
[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"

[[location]]
path = "/lp/"
subscriber = "long-polling"

[[location]]
path = "/poll/"
subscriber = "polling"

[[location]]
path = "/events/"
subscriber = "long-polling"
allow_connections_to_events_channel = "on"
authorized_channels_only = "on"

[[location]]
path = "/ws/"
subscriber = "websocket"
allow_connections_to_events_channel = "on"
websocket_allow_publish = "on"

[[location]]
path = "/past/"
subscriber = "polling"
allow_connections_to_events_channel = "on"

[[location]]
path = "/channels-stats"
channels_statistics = true
channels_path = "$arg_id"
"#;

fn events_hub(settings: &[(&str, &str)]) -> TestHub {
    hub_with(&[&[("events_channel_id", "ev")], settings].concat(), Some(LOCATIONS))
}

fn attach(hub: &TestHub) -> Caller {
    Caller::new(Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: DEADLINE,
        backoff: DEADLINE,
        ring_size: 64 << 10,
    })
}

/// All events so far, as `<kind> <channel>`; what each carries is checked.
fn events(hub: &TestHub) -> Vec<String> {
    let mut client = hub.connect();
    client.get("/past/ev?position=0.0", "Accept: application/json\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    assert_eq!(answer["gap"], false);
    let messages = answer["messages"].as_array().expect("a list").iter().enumerate();
    let told = messages.map(|(at, message)| {
        let (kind, channel) = (&message["data"]["type"], &message["data"]["channel"]);
        assert_eq!((&message["event"], &message["channel"]), (kind, &"ev".into()));
        assert_eq!(message["id"], at as u64 + 1);
        format!("{} {}", kind.as_str().expect("a text"), channel.as_str().expect("a text"))
    });
    told.collect()
}

fn wait_for_events(hub: &TestHub, wanted: &[&str]) {
    let mut last = Vec::new();
    wait_until(&format!("{wanted:?} are told"), || {
        last = events(hub);
        last.len() >= wanted.len()
    });
    assert_eq!(last, wanted);
}

fn explain(answer: &Response) -> (u16, &str) {
    (answer.status, answer.header("X-Nginx-PushStream-Explain").unwrap_or_default())
}

fn ask(client: &mut Client, request: &str, body: &str) -> Response {
    client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    client.response()
}

#[test]
fn each_event_is_a_message_of_its_kind() {
    let hub = events_hub(&[]);
    let mut listener = hub.connect();
    listener.get("/events/ev", "");
    hub.wait_for_subscribers("ev", 1);
    hub.publish("a%22b", "x");
    let answer = listener.response();
    assert_eq!((answer.status, answer.text()), (200, "{\"type\": \"channel_created\", \"channel\": \"a\\\"b\"}"));
    assert_eq!(answer.header("Etag"), Some("W/1"), "events draw from the same numbers as messages");
    let mut reader = hub.connect();
    reader.get("/poll/a%22b", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    let message = reader.response();
    let tag: u32 = message.header("Etag").and_then(|tag| tag.strip_prefix("W/")).expect("a tag").parse().expect("one");
    assert!(tag <= 2, "the message follows its channel's event");
    ask(&mut hub.connect_admin(), "DELETE /pub?id=a%22b", "");
    listener.get("/events/ev", &answer.position_headers());
    assert_eq!(listener.response().text(), "{\"type\": \"channel_destroyed\", \"channel\": \"a\\\"b\"}");
}

#[test]
fn subscribers_are_told_of_when_they_wait_and_leave() {
    let hub = events_hub(&[]);
    let mut client = hub.connect();
    client.get("/lp/a/b", "");
    hub.wait_for_subscribers("b", 1);
    let mut told = vec!["channel_created a", "channel_created b", "client_subscribed a", "client_subscribed b"];
    wait_for_events(&hub, &told);
    hub.publish("a", "x");
    let answer = client.response();
    told.extend(["client_unsubscribed a", "client_unsubscribed b"]);
    wait_for_events(&hub, &told);
    // Answered at once, whatever the mode.
    client.get("/lp/a/b?position=0.0", "");
    assert_eq!(client.response().text(), "x");
    client.get("/poll/a/b", "");
    assert_eq!(client.response().status, 304);
    client.get("/poll/none", "");
    assert_eq!(client.response().status, 304);
    wait_for_events(&hub, &told);
    client.get("/lp/b", &answer.position_headers());
    hub.wait_for_subscribers("b", 1);
    drop(client);
    told.extend(["client_subscribed b", "client_unsubscribed b"]);
    wait_for_events(&hub, &told);
}

#[test]
fn the_end_of_a_channel_is_the_end_of_its_subscriptions() {
    let hub = events_hub(&[]);
    let mut clients: Vec<Client> = (0..2).map(|_| hub.connect()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.get("/lp/a", "");
        hub.wait_for_subscribers("a", at as u64 + 1);
    }
    ask(&mut hub.connect_admin(), "DELETE /pub?id=a", "");
    for client in &mut clients {
        assert_eq!(client.response().text(), "Channel deleted");
    }
    let told = [
        "channel_created a",
        "client_subscribed a",
        "client_subscribed a",
        "client_unsubscribed a",
        "client_unsubscribed a",
        "channel_destroyed a",
    ];
    wait_for_events(&hub, &told);
}

#[test]
fn a_channel_that_expires_is_told_of() {
    let hub = events_hub(&[("channel_inactivity_time", "1s"), ("store_messages", "off")]);
    hub.publish("a", "x");
    wait_until("it is gone", || hub.counters("a").is_none());
    wait_for_events(&hub, &["channel_created a", "channel_destroyed a"]);
    assert!(hub.counters("ev").is_some(), "the events channel stays");
}

#[test]
fn a_listener_is_woken_by_what_others_find_expired() {
    let hub = events_hub(&[("channel_inactivity_time", "1s"), ("store_messages", "off")]);
    hub.publish("a", "x");
    let seen = {
        let mut client = hub.connect();
        client.get("/past/ev?position=0.0", "");
        client.response().position_headers()
    };
    let mut listener = hub.connect();
    listener.get("/events/ev", &seen);
    assert_eq!(listener.response().text(), "{\"type\": \"channel_destroyed\", \"channel\": \"a\"}");
}

#[test]
fn events_are_not_counted_with_the_messages_of_others() {
    let hub = events_hub(&[]);
    hub.publish("a", "x");
    hub.publish("b", "y");
    let totals = ask(&mut hub.connect_admin(), "GET /channels-stats", "");
    let totals: serde_json::Value = serde_json::from_slice(&totals.body).expect("JSON");
    assert_eq!((&totals["published_messages"], &totals["stored_messages"]), (&2.into(), &2.into()));
    assert_eq!(totals["channels"], 3, "the channel itself counts");
    let own = hub.counters("ev").expect("it exists");
    assert_eq!((&own["published_messages"], &own["stored_messages"]), (&2.into(), &2.into()));
    let mut caller = attach(&hub);
    assert_eq!(caller.status().expect("an answer").messages, 2);
}

#[test]
fn nobody_but_the_hub_changes_it() {
    let hub = events_hub(&[]);
    let mut client = hub.connect_admin();
    let refusal = (403, "Only internal routines can change events channel.");
    for request in
        ["POST /pub?id=ev", "PUT /pub?id=ev", "DELETE /pub?id=ev", "POST /pub?id=a/ev", "DELETE /pub?id=a/ev"]
    {
        assert_eq!(explain(&ask(&mut client, request, "x")), refusal, "{request}");
        assert_eq!(explain(&ask(&mut client, request, "")), refusal, "{request} without body");
    }
    assert_eq!(ask(&mut client, "GET /pub?id=ev", "").status, 200);
    assert!(hub.counters("a").is_none(), "a set that is refused creates none of its channels");
    let mut caller = attach(&hub);
    let denied = Error::AccessDenied(refusal.1.to_owned());
    let message = push_core::message::NewMessage::new(b"x");
    assert_eq!(caller.publish("ev", &message), Err(denied.clone()));
    assert_eq!(caller.publish_many(vec![("a", message), ("ev", message)]), Err(denied.clone()));
    assert_eq!(caller.clear_channel("ev"), Err(denied.clone()));
    assert_eq!(caller.delete_channel("ev", None), Err(denied.clone()));
    assert_eq!(caller.create_channel(Some("ev"), ChannelOptions::default()), Err(denied));
    assert_eq!(events(&hub), Vec::<String>::new());
}

#[test]
fn it_is_subscribed_to_only_where_that_is_allowed() {
    let hub = events_hub(&[("authorized_channels_only", "off")]);
    let mut client = hub.connect();
    for path in ["/lp/ev", "/poll/ev", "/poll/a/ev.b3"] {
        client.get(path, "");
        assert_eq!(explain(&client.response()), (403, "Subscription to events channel is not allowed."), "{path}");
    }
    assert!(hub.counters("a").is_none());
    client.get("/past/ev", "");
    assert_eq!(client.response().status, 304);
}

#[test]
fn its_own_subscribers_are_told_of_others_only() {
    let hub = events_hub(&[]);
    let mut listener = hub.connect();
    listener.get("/events/ev", "");
    hub.wait_for_subscribers("ev", 1);
    assert!(listener.is_silent());
    assert_eq!(events(&hub), Vec::<String>::new());
    let mut client = hub.connect();
    client.get("/lp/a", "");
    assert_eq!(listener.response().text(), "{\"type\": \"channel_created\", \"channel\": \"a\"}");
    wait_for_events(&hub, &["channel_created a", "client_subscribed a"]);
}

#[test]
fn a_subscriber_of_events_and_another_channel_misses_nothing() {
    let hub = events_hub(&[("longpolling_connection_ttl", "1s"), ("authorized_channels_only", "off")]);
    let mut client = hub.connect();
    hub.publish("a", "x");
    client.get("/events/a/ev?position=0.0", "");
    let mut answer = client.response();
    assert_eq!(answer.text(), "{\"type\": \"channel_created\", \"channel\": \"a\"}x");
    // It subscribes, and is told so itself; each time it leaves, it learns of that when it comes again.
    for _ in 0..3 {
        client.get("/events/a/ev", &answer.position_headers());
        answer = client.response();
        assert_eq!(answer.text(), "{\"type\": \"client_subscribed\", \"channel\": \"a\"}");
        client.get("/events/a/ev", &answer.position_headers());
        answer = client.response();
        assert_eq!(answer.text(), "{\"type\": \"client_unsubscribed\", \"channel\": \"a\"}");
    }
}

#[test]
fn without_the_setting_nothing_is_told() {
    let hub = hub_with(&[], Some(LOCATIONS));
    hub.publish("ev", "an ordinary channel");
    let mut client = hub.connect();
    client.get("/poll/ev?position=0.0", "");
    assert_eq!(client.response().text(), "an ordinary channel");
    assert_eq!(hub.counters("ev").expect("a channel")["published_messages"], 1);
}

#[test]
fn a_websocket_that_publishes_skips_it() {
    let hub = events_hub(&[("authorized_channels_only", "off")]);
    let mut client = hub.connect();
    client.get(
        "/ws/a/ev",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    hub.wait_for_subscribers("a", 1);
    // A text frame with a mask of zeros.
    client.socket.write_all(b"\x81\x82\0\0\0\0hi").expect("the hub reads");
    wait_until("it is published", || hub.counters("a").is_some_and(|counters| counters["published_messages"] == 1));
    assert_eq!(events(&hub), ["channel_created a", "client_subscribed a"]);
    drop(client);
    wait_for_events(&hub, &["channel_created a", "client_subscribed a", "client_unsubscribed a"]);
}

#[test]
fn streams_tell_of_their_subscriptions_as_polls_do() {
    let hub = hub_with(&[("events_channel_id", "ev")], None);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let told = || {
        let name = push_core::channel::ChannelName::new(b"ev", 255).expect("a name");
        let history = engine.history(&name, push_core::message::Position::START, 100);
        history.into_iter().map(|event| event.event.expect("its kind")).collect::<Vec<_>>()
    };
    for path in ["/stream/a", "/ev/a"] {
        let mut client = hub.connect();
        client.get(path, "");
        hub.wait_for_subscribers("a", 1);
        drop(client);
        hub.wait_for_subscribers("a", 0);
    }
    let pair = ["client_subscribed", "client_unsubscribed"];
    assert_eq!(told(), [&["channel_created"], &pair[..], &pair[..]].concat());
}
