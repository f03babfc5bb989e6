//! Requests that PHP has let in and nginx hands over: believed on the trusted listener, and nowhere else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use push_core::accel;
use push_core::client;
use serde_json::Value;
use support::stream::{Events, Stream};
use support::websocket::{TEXT, WebSocket};
use support::{DEADLINE, Response, TestHub, hub_with, wait_until};

const LOCATIONS: &str = r#"
[[location]]
path = "/sub/"
subscriber = "long-polling"
channels_path = "$arg_id"
last_received_message_time = "$arg_time"
last_received_message_tag = "$arg_tag"

[[location]]
path = "/ev/"
subscriber = "eventsource"

[[location]]
path = "/ws/"
subscriber = "websocket"
websocket_allow_publish = true

[[location]]
path = "/listed/"
subscriber = "long-polling"
allowed_origins = ["https://app.example"]

[[location]]
path = "/b/"
subscriber = "long-polling"
namespace = "b"

[[location]]
path = "/presence/"
channel_members = true
listener = "public"

[[location]]
path = "/say/"
publisher = "normal"
listener = "public"

[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"
"#;

fn started() -> TestHub {
    hub_with(&[("authorized_channels_only", "token")], Some(LOCATIONS))
}

fn identity(channels: &[&str], user: &str) -> String {
    let text = accel::identity(channels, Some(user), br#"{"nick":"Ann"}"#, "").unwrap();
    format!("X-Push-Identity: {text}\r\n")
}

fn attach(hub: &TestHub) -> client::Client {
    client::Client::new(client::Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: DEADLINE,
        backoff: std::time::Duration::from_millis(1),
        ring_size: 256 << 10,
    })
}

/// What a GET is answered, on the trusted listener.
fn get(hub: &TestHub, path: &str, headers: &str) -> Response {
    let mut client = hub.connect_trusted();
    client.get(path, headers);
    client.response()
}

fn reason(answer: &Response) -> (u16, &str) {
    (answer.status, answer.header("X-Nginx-PushStream-Explain").unwrap_or_default())
}

#[test]
fn whoever_is_handed_over_waits_and_is_present_as_that_user() {
    let hub = started();
    let mut backend = attach(&hub);
    let mut client = hub.connect_trusted();
    // What the browser wrote into the address changes nothing, be it a channel, a token or somebody else.
    let channels = ["a.b3", "grüße", "50%25", "a b\r\nX: y", ".."];
    client.get("/sub/other?id=another&token=x&user=9", &identity(&channels, "7"));
    wait_until("it waits", || backend.channel_info("a.b3").unwrap().is_some_and(|info| info.subscribers == 1));
    assert!(hub.counters("other").is_none() && hub.counters("another").is_none() && hub.counters("a").is_none());
    let member = backend.presence_get("7", Some("grüße")).unwrap().unwrap();
    assert_eq!((member.info.as_str(), member.connections), (r#"{"nick":"Ann"}"#, 1));
    hub.publish("50%2525", "hello");
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (200, "hello"));

    // The browser's own position counts, in each of its forms.
    hub.publish("50%2525", "two");
    client.get("/sub/", &(identity(&["50%25"], "7") + &answer.position_headers()));
    let second = client.response();
    assert_eq!(second.text(), "two");
    let (time, tag) = (second.header("Last-Modified").unwrap(), second.header("Etag").unwrap());
    let tag: String = tag.chars().filter(char::is_ascii_digit).collect();
    hub.publish("50%2525", "three");
    let time = time.replace(' ', "%20");
    client.get(&format!("/sub/?time={time}&tag={tag}"), &identity(&["50%25"], "7"));
    assert_eq!(client.response().text(), "three");
    client.get("/sub/?position=0.0&format=json", &identity(&["50%25"], "7"));
    let all: Value = serde_json::from_slice(&client.response().body).unwrap();
    assert_eq!(all["messages"].as_array().unwrap().len(), 3);
}

#[test]
fn php_sends_away_whom_it_has_let_in() {
    let hub = started();
    let mut backend = attach(&hub);
    let mut client = hub.connect_trusted();
    client.get("/sub/", &identity(&["a"], "7"));
    hub.wait_for_subscribers("a", 1);
    assert_eq!(backend.disconnect(Some("8"), None, "", false).unwrap(), 0);
    assert_eq!(backend.disconnect(Some("7"), None, "signed out", true).unwrap(), 1);
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (403, "signed out\n"));
    // PHP is asked each time, so nothing has to be remembered of it.
    client.get("/sub/?position=0.0&format=json", &identity(&["a"], "7"));
    hub.wait_for_subscribers("a", 1);
}

#[test]
fn no_other_listener_believes_it() {
    let hub = started();
    let header = identity(&["a"], "7");
    let mut public = hub.connect();
    for (path, headers) in [
        ("/sub/?id=a", header.clone()),
        ("/sub/?id=a", header.replace('-', "_")),
        ("/sub/?id=a", header.repeat(2)),
        ("/sub/?id=a", header.to_lowercase()),
        ("/presence/a", header.clone()),
    ] {
        public.get(path, &headers);
        let answer = public.response();
        assert_eq!(reason(&answer), (401, "This location needs a token, and none was sent."), "{path} {headers}");
    }
    // Parsed by hyper, in two pieces.
    let mut pieces = hub.connect();
    pieces.send("GET /sub/?id=a HTTP/1.1\r\nHost: x\r\n");
    pieces.send(&format!("{header}\r\n"));
    assert_eq!(pieces.response().status, 401);
    // The admin listener has no subscribers at all, and goes on with what it has.
    let mut admin = hub.connect_admin();
    admin.get("/sub/", &header);
    assert_eq!(admin.response().status, 404);
    admin.get("/pub?id=a", &header);
    assert_eq!(admin.response().status, 404, "a publisher shows the channel that is asked for, and there is none");
    // With a token it is the token's user who is there.
    let mut backend = attach(&hub);
    let token = backend.token(&["a"], Some("8"), 60, b"", false).unwrap();
    public.get(&format!("/sub/?id=a&token={token}"), &header);
    hub.wait_for_subscribers("a", 1);
    let members = backend.presence_members(Some("a"), "", 10).unwrap();
    assert_eq!(members.iter().map(|member| member.user.as_str()).collect::<Vec<_>>(), ["8"]);
}

#[test]
fn the_trusted_listener_takes_nothing_else() {
    let hub = started();
    let mut backend = attach(&hub);
    let token = backend.token(&["a"], Some("8"), 60, b"", true).unwrap();
    let refused = |path: &str, headers: &str, status: u16, why: &str| {
        let answer = get(&hub, path, headers);
        let (found, text) = reason(&answer);
        assert!(found == status && text.contains(why), "{path} {headers}: {found} {text}");
    };
    let header = identity(&["a"], "7");
    let missing = "X-Push-Identity is missing";
    refused("/sub/?id=a", "", 403, missing);
    refused(&format!("/sub/?id=a&token={token}"), "", 403, missing);
    refused("/sub/?id=a", &format!("Authorization: Bearer {token}\r\nCookie: push_token={token}\r\n"), 403, missing);
    refused("/sub/", &header.replace('-', "_"), 403, missing);
    refused("/metrics", "", 403, missing);
    refused("/sub/", &header.repeat(2), 400, "several times");
    refused("/sub/", &(header.clone() + "X-Push-Identity:\r\n"), 400, "several times");
    refused("/sub/", "X-Push-Identity: 7\r\n", 400, "not what push_accel() makes");
    refused("/sub/", "X-Push-Identity:\r\n", 400, "not what push_accel() makes");
    refused("/sub/", "X-Push-Identity: {\"channels\":[\"a/b\"]}\r\n", 400, "must not contain");
    refused("/sub/", "X-Push-Identity: {\"channels\":[\"ALL\"]}\r\n", 403, "not authorized");
    for path in ["/pub?id=a", "/say/a", "/metrics", "/healthz", "/push.js", "/channels-stats", "/"] {
        refused(path, &header, 404, "no location");
    }
    let mut client = hub.connect_trusted();
    client.send(&format!("POST /say/a HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 2\r\n\r\nhi"));
    assert_eq!(client.response().status, 404);
    client.send(&format!("POST /sub/ HTTP/1.1\r\nHost: x\r\n{header}Content-Length: 2\r\n\r\nhi"));
    assert_eq!(client.response().status, 405);
    assert!(hub.counters("a").is_none(), "nobody was let in, and nothing published");
}

#[test]
fn who_is_in_a_channel_is_told_of_the_channel_that_php_names() {
    let hub = started();
    let mut client = hub.connect_trusted();
    client.get("/sub/", &identity(&["a"], "7"));
    hub.wait_for_subscribers("a", 1);
    let page: Value = serde_json::from_slice(&get(&hub, "/presence/b", &identity(&["a"], "7")).body).unwrap();
    assert_eq!((page["channel"].as_str(), page["count"].as_u64()), (Some("a"), Some(1)));
    assert_eq!(get(&hub, "/presence/b", &identity(&["a", "c"], "7")).status, 400);
}

#[test]
fn a_namespace_is_that_of_the_location_or_nobody_is_let_in() {
    let hub = started();
    let of_b = format!("X-Push-Identity: {}\r\n", accel::identity(&["a"], Some("7"), b"", "b").unwrap());
    let why = (403, "PHP has handed the request over in another namespace than that of this location.");
    assert_eq!(reason(&get(&hub, "/sub/", &of_b)), why);
    assert_eq!(reason(&get(&hub, "/b/", &identity(&["a"], "7"))), why);
    let mut client = hub.connect_trusted();
    client.get("/b/", &of_b);
    let mut backend = attach(&hub);
    backend.set_namespace(&push_core::channel::Namespace::new("b").unwrap());
    wait_until("it waits in b", || backend.presence_is_online("7", Some("a")).unwrap());
    assert!(hub.counters("a").is_none());
}

#[test]
fn pages_of_other_hosts_get_nothing_by_the_cookie_that_php_knows_him_by() {
    let hub = started();
    let header = identity(&["a"], "7");
    let foreign = "A request that PHP has handed over must come from a page of this host";
    for (path, headers) in [
        ("/sub/", "Origin: https://evil.example\r\n"),
        ("/sub/", "Origin: null\r\n"),
        ("/sub/", "Origin: http://x\r\nOrigin: http://x\r\n"),
        ("/sub/", "Sec-Fetch-Site: cross-site\r\n"),
        ("/ev/", "Origin: http://x.evil.example\r\n"),
        ("/listed/", "Origin: https://evil.example\r\n"),
    ] {
        let answer = get(&hub, path, &format!("{headers}{header}"));
        assert!(answer.status == 403 && reason(&answer).1.starts_with(foreign), "{path} {headers} {answer:?}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    }
    let answer = get(&hub, "/sub/?callback=f", &header);
    assert!(answer.status == 403 && reason(&answer).1.contains("JSONP"), "{answer:?}");
    for origin in ["", "Origin: https://evil.example\r\n"] {
        // The refusal is told in a frame.
        let mut socket = WebSocket::open(hub.connect_trusted(), "/ws/", &format!("{origin}{header}")).1;
        let (code, text) = socket.expect_close().unwrap();
        assert!(code == 1008 && text.contains("403"), "{code} {text}");
    }
    assert!(hub.counters("a").is_none());
    for (path, headers) in [("/listed/", "Origin: https://app.example\r\n"), ("/sub/", "Origin: http://x\r\n")] {
        let mut client = hub.connect_trusted();
        client.get(path, &format!("{headers}{header}"));
        hub.wait_for_subscribers("a", 1);
        hub.publish("a", "hello");
        assert_eq!(client.response().text(), "hello");
    }
}

#[test]
fn limits_count_the_user_that_php_names_and_the_address_that_nginx_names() {
    let settings = [
        ("connect_rate_per_user", "1r/m burst=0"),
        ("connect_rate_per_address", "1r/m burst=1"),
        ("trusted_proxies", "127.0.0.1"),
    ];
    let hub = hub_with(&settings, Some(LOCATIONS));
    let poll = |user: &str, client: &str| {
        let headers = format!("X-Nginx-PushStream-Mode: polling\r\nX-Forwarded-For: 192.0.2.9, {client}\r\n");
        get(&hub, "/sub/", &(headers + &identity(&["a"], user))).status
    };
    assert_eq!((poll("7", "192.0.2.1"), poll("7", "192.0.2.2")), (304, 429));
    assert_eq!((poll("8", "192.0.2.1"), poll("9", "192.0.2.1")), (304, 429));
    assert_eq!(poll("10", "192.0.2.3"), 304);
}

#[test]
fn streams_and_web_sockets_are_handed_over_for_listening() {
    let hub = started();
    let mut client = hub.connect_trusted();
    client.get("/ev/", &identity(&["a"], "7"));
    let mut events = Events { stream: Stream::open(client).1, last_id: String::new() };
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "hello");
    assert_eq!(events.data(), "hello");

    let header = format!("Origin: http://x\r\n{}", identity(&["b"], "7"));
    let mut socket = WebSocket::open(hub.connect_trusted(), "/ws/", &header).1;
    hub.wait_for_subscribers("b", 1);
    hub.publish("b", "hello");
    assert_eq!(socket.frame().payload, b"hello");
    socket.send(TEXT, "said by the browser");
    let (code, text) = socket.expect_close().unwrap();
    assert!(code == 1008 && text.contains("does not let it publish"), "{code} {text}");
}
