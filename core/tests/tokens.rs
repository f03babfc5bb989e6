//! Tokens: who is let in with what, over real sockets; how a connection ends before its time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use push_core::channel::ChannelOptions;
use push_core::client;
use push_core::error::Error;
use rustix::process::Signal;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use support::process::{Foreground, Site, signal};
use support::stream::Stream;
use support::websocket::{TEXT, WebSocket, handshake};
use support::{Client, DEADLINE, Response, TestHub, hub_with, wait_until};

const SECRET: &str = "a secret of the tests, long enough for HS256";
const LOCATIONS: &str = r#"
[[location]]
path = "/lp/"
subscriber = "long-polling"

[[location]]
path = "/poll/"
subscriber = "polling"

[[location]]
path = "/stream/"
subscriber = "streaming"
message_template = "<~event-type~:~text~>"

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
path = "/all/"
subscriber = "websocket"
allowed_origins = "*"

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

/// A hub that signs with [`SECRET`].
struct Guarded {
    hub: TestHub,
    client: client::Client,
    _directory: tempfile::TempDir,
}

fn write_secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn attach(socket: PathBuf) -> client::Client {
    client::Client::new(client::Options {
        socket,
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    })
}

fn guarded(mode: &str) -> Guarded {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    write_secret(&secret, SECRET);
    let settings = [("secret_file", secret.to_str().unwrap()), ("authorized_channels_only", mode)];
    let hub = hub_with(&settings, Some(LOCATIONS));
    let client = attach(hub.socket.clone());
    Guarded { hub, client, _directory: directory }
}

impl Guarded {
    fn token(&mut self, channels: &[&str], user: &str) -> String {
        self.client.token(channels, Some(user), 60, b"", false).unwrap()
    }

    /// The answer to a GET of this path with these headers.
    fn get(&self, path: &str, headers: &str) -> Response {
        let mut client = self.hub.connect();
        client.get(path, headers);
        client.response()
    }

    /// Status and reason of what a poll of the channel with this token is answered.
    fn poll(&self, channel: &str, token: &str) -> (u16, String) {
        reason(&self.get(&format!("/poll/{channel}?token={token}"), ""))
    }

    fn refuses(&self, channel: &str, token: &str, why: &str) {
        let answer = self.get(&format!("/poll/{channel}?token={token}"), "");
        let text = format!("The token was refused: {why}.");
        assert_eq!(reason(&answer), (401, text.clone()), "{token}");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer error=\"invalid_token\""));
        assert_eq!(answer.text(), format!("{text}\n"));
        assert!(self.hub.counters(channel).is_none(), "nobody was let in to {channel}");
    }
}

fn reason(answer: &Response) -> (u16, String) {
    (answer.status, answer.header("X-Nginx-PushStream-Explain").unwrap_or_default().to_owned())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token as somebody else would make it.
fn forge(header: Value, claims: Value, secret: &str) -> String {
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = match header["alg"].as_str() {
        Some("HS512") => {
            let mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).unwrap();
            mac.chain_update(&message).finalize().into_bytes().to_vec()
        }
        _ => {
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.chain_update(&message).finalize().into_bytes().to_vec()
        }
    };
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn sign(claims: Value) -> String {
    forge(json!({"alg": "HS256", "typ": "JWT"}), claims, SECRET)
}

fn claims() -> Value {
    json!({"sub": "7", "channels": ["a"], "iat": now(), "exp": now() + 60})
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

#[test]
fn only_a_token_of_this_hub_that_is_valid_now_is_taken() {
    let hub = guarded("token");
    assert_eq!(hub.poll("a", &sign(claims())).0, 304, "a token that somebody else made with the secret");
    let malformed = "it is no JWT that is signed with HS256 and says channels, exp and iat";
    let foreign = "it was not signed with a secret of this hub";
    let good = sign(claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    hub.refuses("a", &forge(json!({"alg": "HS256"}), claims(), "another secret, as long as it has to be"), foreign);
    hub.refuses("a", &forge(json!({"alg": "HS512"}), claims(), SECRET), "it was not signed with HS256");
    for algorithm in ["none", "None", "nOnE", "", "HS1", "RS256x"] {
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let unsigned = format!("{}.{}.", part(&header), part(&claims()));
        hub.refuses("a", &unsigned, malformed);
        hub.refuses("a", &forge(header, claims(), SECRET), malformed);
    }
    for algorithm in ["RS256", "ES256", "EdDSA", "PS256", "HS384"] {
        hub.refuses("a", &forge(json!({"alg": algorithm}), claims(), SECRET), "it was not signed with HS256");
    }
    hub.refuses("a", &forge(json!({"typ": "JWT"}), claims(), SECRET), malformed);
    hub.refuses("a", &sign(with("exp", json!(now()))), "it has expired");
    hub.refuses("a", &sign(with("exp", json!(1))), "it has expired");
    hub.refuses("a", &sign(with("exp", json!(now() + 31 * 86_400))), "it lives longer than 30 days");
    hub.refuses("a", &sign(with("exp", json!("tomorrow"))), malformed);
    hub.refuses("a", &sign(with("iat", json!(now() + 3600))), "it was issued in the future");
    hub.refuses("a", &sign(with("nbf", json!(now() + 3600))), "it is not valid yet");
    hub.refuses("a", &sign(with("aud", json!("others"))), "it is for another audience");
    hub.refuses("a", &sign(with("ns", json!("others"))), "it is for another namespace");
    hub.refuses("a", &sign(with("sub", json!(""))), "its user is wrong");
    hub.refuses("a", &sign(with("sub", json!("a\u{0}b"))), "its user is wrong");
    hub.refuses("a", &sign(with("info", json!([1]))), "its info is wrong");
    for key in ["exp", "iat", "channels"] {
        hub.refuses("a", &sign(without(key)), malformed);
    }
    for cut in 1..=signature.len() {
        let (status, why) = hub.poll("a", &good[..good.len() - cut]);
        assert!(status == 401 && why.starts_with("The token was refused: it "), "{cut}: {status} {why}");
    }
    let (head, tail) = message.split_once('.').unwrap();
    let mut other = claims();
    other["channels"] = json!(["*"]);
    hub.refuses("a", &format!("{head}.{}.{signature}", part(&other)), foreign);
    hub.refuses("a", &format!("{head}.{tail}A.{signature}"), foreign);
    hub.refuses("a", message, malformed);
    hub.refuses("a", "x", malformed);
    hub.refuses("a", "..", malformed);
    hub.refuses("a", &format!("{good}."), malformed);
    hub.refuses("a", &"x".repeat(7000), "it is longer than a token can be");
    // As large as a head can be: nothing of it is looked at.
    hub.refuses("a", &format!("{}.{}", "x".repeat(7500), "y".repeat(7500)), "it is longer than a token can be");
}

#[test]
fn a_token_opens_the_channels_that_it_names_and_no_others() {
    let mut hub = guarded("token");
    hub.client.publish("news.sport", &push_core::message::NewMessage::new(b"x")).unwrap();
    let token = hub.token(&["a", "news.*", "b.b5"], "7");
    let closed = (403, "The token does not open this channel.".to_owned());
    for open in ["a", "a.b3", "news.sport", "news.", "news.x%2ey", "b.b5.b1", "%61", "a/news.sport"] {
        assert!(matches!(hub.poll(open, &token).0, 200 | 304), "{open}: {:?}", hub.poll(open, &token));
    }
    // A name that ends like a backlog is another channel; a slash in a code separates channels as any other.
    for other in ["b", "news", "A", "aa", "a%20", "newsx", "b.b5", "a/b", "b/a", "a%2fb", "a%2Fnews.x%2Fb", "%2a"] {
        let answer = hub.poll(other, &token);
        let expected = if other == "%2a" { "Channel id not authorized for this method." } else { &closed.1 };
        assert_eq!(answer, (403, expected.to_owned()), "{other}");
        assert!(!other.contains('b') || hub.hub.counters("b").is_none());
    }
    // Decoded once: the rest is the name.
    assert_eq!(hub.poll("%2561", &token), closed);
    let all = hub.token(&["*"], "7");
    assert_eq!(hub.poll("any", &all).0, 304);
    assert_eq!(hub.poll("a", "").0, 401);
    assert_eq!(
        hub.get("/poll/a", "").header("X-Nginx-PushStream-Explain"),
        Some("This location needs a token, and none was sent.")
    );
}

#[test]
fn what_no_token_can_say_is_refused_when_it_is_asked_for() {
    let mut hub = guarded("on");
    let info = |size: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(size - 8)).into_bytes();
    let long = ["c".repeat(250), "d".repeat(250)];
    let many: Vec<&str> = (0..20).map(|at| long[at % 2].as_str()).collect();
    let mut refused = |channels: &[&str], user: Option<&str>, ttl: u32, info: &[u8]| {
        hub.client.token(channels, user, ttl, info, false).unwrap_err().to_string()
    };
    assert_eq!(refused(&[], None, 60, b""), "a token names at least one channel");
    assert!(refused(&[""], None, 60, b"").contains("must not be empty"));
    assert!(refused(&["a/b"], None, 60, b"").contains("must not contain"));
    assert!(refused(&["a/*"], None, 60, b"").contains("must not contain"));
    assert!(refused(&["a*b"], None, 60, b"").contains("reserved"));
    assert!(refused(&["**"], None, 60, b"").contains("reserved"));
    assert!(refused(&["ALL"], None, 60, b"").contains("reserved"));
    assert_eq!(refused(&["a"], Some(""), 60, b""), "the user must not be empty");
    assert_eq!(refused(&["a"], Some("a\nb"), 60, b""), "the user must not contain control characters");
    assert_eq!(refused(&["a"], Some(&"u".repeat(256)), 60, b""), "the user has 256 bytes, allowed are 255");
    for ttl in [0, 30 * 86_400 + 1, u32::MAX] {
        let text = format!("a token lives {ttl} seconds: allowed are 1 to 2592000 (30 days)");
        assert_eq!(refused(&["a"], None, ttl, b""), text);
    }
    assert_eq!(refused(&["a"], None, 60, b"{}"), "info is about a user, and the token names none");
    for wrong in [&b"[]"[..], b"1", b"{", b"{} x", b"\"x\"", b"\xff"] {
        assert_eq!(refused(&["a"], Some("7"), 60, wrong), "info must be a JSON object: names with values");
    }
    assert_eq!(refused(&["a"], Some("7"), 60, &info(2049)), "info has 2049 bytes as JSON, allowed are 2048");
    assert!(
        refused(&many, None, 60, b"")
            .ends_with("name fewer channels, or a prefix of them (\"news.*\"), or give less info")
    );
    hub.client.token(&["a", "ALL*"], Some(&"u".repeat(255)), 30 * 86_400, &info(2048), true).unwrap();
    assert!(matches!(hub.client.disconnect(None, None, "", false), Err(Error::InvalidArgument(_))));
    for wrong in ["a\nb", "a\rb", &"x".repeat(124)] {
        assert!(matches!(hub.client.disconnect(Some("7"), None, wrong, false), Err(Error::InvalidArgument(_))));
    }
}

#[test]
fn a_token_is_verified_in_every_mode_and_opens_what_is_not_there_yet() {
    for mode in ["off", "on"] {
        let mut hub = guarded(mode);
        hub.refuses("a", "x.y.z", "it is no JWT that is signed with HS256 and says channels, exp and iat");
        let token = hub.token(&["a"], "7");
        assert_eq!(hub.poll("a", &token).0, 304, "{mode}");
        // What it does not name is as open as it would be without it.
        let (status, why) = hub.poll("b", &token);
        match mode {
            "off" => assert_eq!(status, 304),
            _ => assert_eq!((status, &*why), (403, "Subscriber could not create channels.")),
        }
        let created = hub.client.create_channel(None, ChannelOptions::default()).unwrap();
        assert_eq!(hub.poll(&created, &token).0, 304, "{mode}");
        assert_eq!(hub.poll(&created, "").0, 304, "an empty one is none");
    }
}

#[test]
fn a_token_comes_once_in_one_of_three_places() {
    let mut hub = guarded("token");
    let (good, other) = (hub.token(&["a"], "7"), hub.token(&["a", "b"], "8"));
    let status = |query: &str, headers: &str| hub.get(&format!("/poll/a{query}"), headers).status;
    assert_eq!(status("", &format!("Authorization: Bearer {good}\r\n")), 304);
    assert_eq!(status("", &format!("authorization:bearer   {good}\r\n")), 304);
    assert_eq!(status("", &format!("Cookie: x=1; push_token={good}; y=2\r\n")), 304);
    assert_eq!(status("", &format!("Cookie: xpush_token={good}; push_tokenx={good}; push_token\r\n")), 401);
    // Of another scheme, for somebody else on the way.
    assert_eq!(status(&format!("?token={good}"), "Authorization: Basic eDp5\r\n"), 304);
    assert_eq!(status(&format!("?token={}", good.replace('.', "%2E")), ""), 304, "decoded once");
    assert_eq!(status(&format!("?token={}", good.replace('.', "%252E")), ""), 401, "and not twice");
    assert_eq!(status(&format!("?Token={good}&x=1"), ""), 401);
    let several = "The token was refused: the request has several.";
    for (query, headers) in [
        (format!("?token={good}&token={good}"), String::new()),
        (format!("?token=x&token={good}"), String::new()),
        (format!("?token={good}"), format!("Authorization: Bearer {good}\r\n")),
        (String::new(), format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {other}\r\n")),
        (String::new(), format!("Cookie: push_token={good}; push_token={other}\r\n")),
        (String::new(), format!("Cookie: push_token={good}\r\nCookie: push_token={other}\r\n")),
    ] {
        assert_eq!(reason(&hub.get(&format!("/poll/a{query}"), &headers)), (401, several.to_owned()));
    }
    // What a page sends itself goes before what its browser adds.
    assert_eq!(status(&format!("?token={good}"), "Cookie: push_token=x\r\n"), 304);
    assert_eq!(status("?token=x", &format!("Cookie: push_token={good}\r\n")), 401);
}

#[test]
fn a_cookie_is_no_credential_for_other_sites() {
    let mut hub = guarded("token");
    let cookie = format!("Cookie: push_token={}\r\n", hub.token(&["a"], "7"));
    let foreign = "A token in a cookie is taken from pages of this host and of allowed_origins only: Origin is another, or missing.";
    let refused = |path: &str, headers: &str| {
        let answer = hub.get(path, &format!("{cookie}{headers}"));
        assert_eq!(reason(&answer), (403, foreign.to_owned()), "{path} {headers}");
    };
    // `Host: x`, as the clients of these tests send it.
    let evil = "Origin: https://evil.example\r\n";
    for path in ["/poll/a", "/lp/a", "/stream/a", "/ev/a", "/listed/a"] {
        refused(path, evil);
        refused(path, "Origin: null\r\n");
        refused(path, "Origin: https://x.evil.example\r\n");
        refused(path, "Origin: https://x\r\nOrigin: https://evil.example\r\n");
        refused(path, "Origin: https://x\r\nOrigin: https://x\r\n");
        refused(path, "Origin: https://x, https://evil.example\r\n");
        refused(path, "Sec-Fetch-Site: cross-site\r\n");
    }
    assert_eq!(hub.get("/poll/a", &format!("{cookie}Origin: https://x\r\n")).status, 304);
    assert_eq!(hub.get("/poll/a", &format!("{cookie}Sec-Fetch-Site: same-origin\r\n")).status, 304);
    // JSONP: any page can run it, so there it is as if no cookie had come.
    let answer = hub.get("/poll/a?callback=f", &cookie);
    assert_eq!(reason(&answer), (401, "This location needs a token, and none was sent.".to_owned()));
    assert_eq!(hub.get("/poll/a?callback=", &cookie).status, 401);
    let upgrade = |path: &str, headers: &str| {
        let mut client = hub.hub.connect();
        client.send(&handshake(path, &format!("{cookie}{headers}")));
        client.head().status
    };
    assert_eq!(upgrade("/ws/a", "Origin: https://x\r\n"), 101);
    // What is refused behind the handshake says so in its close frame.
    let closed = |path: &str, headers: &str| {
        let (_, mut socket) = hub.hub.websocket_with(path, &format!("{cookie}{headers}"));
        let (code, why) = socket.expect_close().unwrap();
        assert_eq!(code, 1008);
        why
    };
    for headers in ["", evil, "Origin: null\r\n", "Origin: https://x\r\nOrigin: https://x\r\n"] {
        assert!(
            closed("/ws/a", headers).starts_with("{\"http_status\": 403, \"explain\":\"A token in a cookie"),
            "{headers}"
        );
    }
    assert!(closed("/all/a", evil).contains("403"), "who lets everybody in names nobody");
    let mut listed = hub.hub.connect();
    listed.get("/listed/a", &format!("{cookie}Origin: https://app.example\r\n"));
    hub.hub.wait_for_subscribers("a", 1);
    hub.hub.publish("a", "hello");
    let answer = listed.response();
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("https://app.example"));
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), Some("true"));
}

#[test]
fn a_connection_ends_with_its_token_and_a_new_one_goes_on_without_loss() {
    let mut hub = guarded("token");
    hub.hub.publish("a", "0");
    let short = hub.client.token(&["a"], Some("7"), 2, b"", false).unwrap();
    let fresh = hub.token(&["a"], "7");
    let from = hub.hub.head();
    let query = format!("?token={short}&position={from}");
    let mut poll = hub.hub.connect();
    poll.get(&format!("/lp/a{query}"), "");
    let mut json_poll = hub.hub.connect();
    json_poll.get(&format!("/lp/a{query}"), "Accept: application/json\r\n");
    let stream = hub.hub.stream(&format!("/stream/a{query}"));
    let events = hub.hub.stream_with(&format!("/ev/a{query}"), "Accept: text/event-stream\r\n").1;
    let mut socket = hub.hub.websocket(&format!("/ws/a{query}"));
    hub.hub.wait_for_subscribers("a", 5);

    let answer = poll.response();
    assert_eq!((answer.status, answer.text()), (401, "token expired\n"));
    assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer error=\"invalid_token\""));
    let position = answer.position_headers();
    let answer = json_poll.response();
    assert_eq!(answer.status, 401);
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(answer, json!({"messages": [], "position": from, "gap": false}));
    assert_eq!(stream.rest(), "");
    let text = events.rest();
    assert!(text.ends_with(&format!("id: {from}\nevent: push.expired\ndata: token expired\n\n")), "{text}");
    assert_eq!(socket.expect_close(), Some((4001, "token expired".to_owned())));
    hub.hub.wait_for_subscribers("a", 0);
    hub.hub.publish("a", "missed");
    for path in [format!("/lp/a?token={short}"), format!("/ev/a{query}"), format!("/stream/a{query}")] {
        assert_eq!(hub.get(&path, "").status, 401);
    }
    let answer = hub.get(&format!("/lp/a?token={fresh}"), &position);
    assert_eq!((answer.status, answer.text(), answer.header("X-Push-Gap")), (200, "missed", None));
    let answer = hub.get(&format!("/lp/a?token={fresh}&position={from}"), "Accept: application/json\r\n");
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((&answer["messages"][0]["data"], &answer["gap"]), (&json!("missed"), &json!(false)));
}

/// One subscriber of each kind in the channel.
struct All {
    poll: Client,
    json: Client,
    stream: Stream,
    events: Stream,
    socket: WebSocket,
}

impl All {
    fn open(hub: &Guarded, channel: &str, query: &str) -> Self {
        let poll = |headers: &str| {
            let mut client = hub.hub.connect();
            client.get(&format!("/lp/{channel}{query}"), headers);
            client
        };
        Self {
            poll: poll(""),
            json: poll("Accept: application/json\r\n"),
            stream: hub.hub.stream(&format!("/stream/{channel}{query}")),
            events: hub.hub.stream_with(&format!("/ev/{channel}{query}"), "").1,
            socket: hub.hub.websocket(&format!("/ws/{channel}{query}")),
        }
    }

    fn are_told(mut self, why: &str) {
        let answer = self.poll.response();
        assert_eq!((answer.status, answer.text()), (403, &*format!("{why}\n")));
        answer.position_headers();
        let answer = self.json.response();
        assert_eq!(answer.status, 403);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&answer["disconnect"], &answer["gap"], &answer["messages"]),
            (&json!(why), &json!(false), &json!([]))
        );
        assert!(answer["position"].is_string());
        assert_eq!(self.stream.rest(), if why.is_empty() { String::new() } else { format!("<push.disconnect:{why}>") });
        let text = self.events.rest();
        assert!(text.ends_with(&format!("\nevent: push.disconnect\ndata: {why}\n\n")), "{text}");
        assert_eq!(self.socket.expect_close(), Some((4002, why.to_owned())));
    }
}

#[test]
fn who_is_disconnected_is_told_why_on_every_transport() {
    let mut hub = guarded("on");
    let options = ChannelOptions { owner: Some("7".to_owned()), ..ChannelOptions::default() };
    let private = hub.client.create_channel(None, options).unwrap();
    hub.client.create_channel(Some("room"), ChannelOptions::default()).unwrap();
    let (seven, eight) = (hub.token(&["room"], "7"), hub.token(&["room"], "8"));
    let query = |token: &str| format!("?token={token}");
    let sevens = All::open(&hub, "room", &query(&seven));
    let eights = All::open(&hub, "room", &query(&eight));
    let nobodies = All::open(&hub, "room", "");
    let owners = All::open(&hub, &private, "");
    // Somebody who names the same channel as another user is that user.
    let guests = All::open(&hub, &private, &query(&eight));
    hub.hub.wait_for_subscribers("room", 15);
    hub.hub.wait_for_subscribers(&private, 10);

    assert_eq!(hub.client.disconnect(Some("nobody"), None, "x", false).unwrap(), 0);
    assert_eq!(hub.client.disconnect(None, Some("no channel"), "x", false).unwrap(), 0);
    assert_eq!(hub.client.disconnect(Some("7"), Some("room"), "gebührt \"so\"", false).unwrap(), 5);
    sevens.are_told("gebührt \"so\"");
    hub.hub.wait_for_subscribers("room", 10);
    assert_eq!(hub.client.disconnect(Some("7"), None, "bye", false).unwrap(), 5);
    owners.are_told("bye");
    assert_eq!(hub.client.disconnect(Some("8"), Some(&private), "", false).unwrap(), 5);
    guests.are_told("");
    hub.hub.publish("room", "last words");
    let mut again = hub.hub.connect();
    again.get(&format!("/lp/room{}&position={}", query(&seven), hub.hub.head()), "");
    hub.hub.wait_for_subscribers("room", 7);
    assert_eq!(hub.client.disconnect(None, Some("room"), "closed", false).unwrap(), 7);
    assert_eq!(again.response().status, 403);
    // The polls had their answer; the others get it before they are told.
    let text = eights.events.rest();
    assert!(text.contains("data: last words\n") && text.ends_with("data: closed\n\n"), "{text}");
    assert_eq!(nobodies.stream.rest(), "<:last words><push.disconnect:closed>");
    hub.hub.wait_for_subscribers("room", 0);
}

#[test]
fn what_is_revoked_opens_nothing_and_what_is_issued_later_does() {
    let mut hub = guarded("token");
    let tokens = |hub: &mut Guarded| [hub.token(&["a", "b"], "7"), hub.token(&["a", "b"], "8")];
    let revoked = (401, "The token was refused: it was revoked.".to_owned());
    let closed = (403, "The token was revoked for this channel.".to_owned());
    let [seven, eight] = tokens(&mut hub);
    hub.client.disconnect(Some("7"), None, "", true).unwrap();
    assert_eq!(hub.poll("a", &seven), revoked);
    assert_eq!(hub.poll("a", &eight).0, 304);
    let [seven, eight] = tokens(&mut hub);
    assert_eq!(hub.poll("a", &seven).0, 304, "issued at once afterwards");
    hub.client.disconnect(Some("7"), Some("a"), "", true).unwrap();
    assert_eq!(hub.poll("a", &seven), closed);
    assert_eq!(hub.poll("a/b", &seven), closed);
    assert_eq!(hub.poll("b", &seven).0, 304);
    assert_eq!(hub.poll("a", &eight).0, 304);
    hub.client.disconnect(None, Some("b"), "", true).unwrap();
    assert_eq!((hub.poll("b", &seven), hub.poll("b", &eight)), (closed.clone(), closed));
    assert_eq!(hub.poll("a", &eight).0, 304);
    let [seven, _] = tokens(&mut hub);
    assert_eq!((hub.poll("a", &seven).0, hub.poll("b", &seven).0), (304, 304));
    // Without `revoke` it only has to come again.
    hub.client.disconnect(Some("7"), None, "", false).unwrap();
    assert_eq!(hub.poll("a", &seven).0, 304);
}

#[test]
fn only_a_token_that_says_so_lets_its_holder_publish() {
    let mut hub = guarded("token");
    let mut token = |channels: &[&str], publish| hub.client.token(channels, Some("7"), 60, b"", publish).unwrap();
    let (reader, writer, partly) = (token(&["a", "b"], false), token(&["a"], true), token(&["a", "b"], true));
    let post = |path: &str| {
        let mut client = hub.hub.connect();
        client.send(&format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"));
        reason(&client.response())
    };
    let denied = (403, "The token does not let its holder publish to this channel.".to_owned());
    assert_eq!(post("/say/a").0, 401);
    assert_eq!(post("/say/a?token=x").0, 401);
    assert_eq!(post(&format!("/say/a?token={reader}")), denied);
    assert_eq!(post(&format!("/say/b?token={writer}")).0, 403);
    assert_eq!(post(&format!("/say/a/b?token={writer}")).0, 403);
    assert!(hub.hub.counters("a").is_none() && hub.hub.counters("b").is_none(), "nothing was let in");
    assert_eq!(post(&format!("/say/a?token={writer}")).0, 200);
    assert_eq!(post(&format!("/say/a/b?token={partly}")).0, 200);
    assert_eq!(hub.get(&format!("/say/a?token={reader}"), "").status, 200, "counters may be read");
    assert_eq!(hub.get("/say/a", "").status, 401);
    // The backend needs none.
    assert_eq!(hub.hub.publish("a", "x").status, 200);

    let published = |hub: &Guarded| hub.hub.counters("a").unwrap()["published_messages"].as_u64().unwrap();
    let before = published(&hub);
    let mut socket = hub.hub.websocket(&format!("/ws/a?token={reader}"));
    socket.send(TEXT, "no");
    let (code, why) = socket.expect_close().unwrap();
    assert!(code == 1008 && why.contains("does not let it publish"), "{why}");
    assert_eq!(published(&hub), before);
    let mut socket = hub.hub.websocket(&format!("/ws/a?token={writer}"));
    socket.send(TEXT, "yes");
    assert_eq!(socket.text(), "yes");
}

#[test]
fn who_may_not_listen_may_not_see_who_does() {
    let mut hub = guarded("token");
    let token = hub.token(&["a"], "7");
    let members = |channel: &str, query: &str| hub.get(&format!("/presence/{channel}{query}"), "").status;
    assert_eq!(members("a", ""), 401);
    assert_eq!(members("a", "?token=x"), 401);
    assert_eq!(members("b", &format!("?token={token}")), 403);
    assert_eq!(members("a", &format!("?token={token}")), 200);
}

#[test]
fn the_secret_is_made_once_and_changes_without_a_break() {
    let site = Site::new();
    let mut running = Foreground::start(&site, &site.config(&[("authorized_channels_only", "token")]));
    let secret = site.path("run/secret");
    let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let first = std::fs::read_to_string(&secret).unwrap();
    assert_eq!(first.trim().len(), 43);
    let mut php = attach(site.socket());
    let token = |php: &mut client::Client| php.token(&["a"], Some("7"), 60, b"", false).unwrap();
    let poll = |token: &str| {
        let mut client = Client::new(site.listen);
        client.get(&format!("/poll/a?token={token}"), "");
        client.response().status
    };
    let old = token(&mut php);
    assert_eq!(poll(&old), 304);
    let revoked = php.token(&["a"], Some("8"), 60, b"", false).unwrap();
    php.disconnect(Some("8"), None, "", true).unwrap();

    signal(site.hub(), Signal::KILL);
    wait_until("another hub serves", || site.log().contains("a new hub serves"));
    assert_eq!(poll(&old), 304, "the next hub has the same secret");
    assert_eq!(poll(&revoked), 401, "and knows what was revoked");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), first);

    let reload = |text: String, count: usize, said: &str| {
        std::fs::write(&secret, text).unwrap();
        signal(running.pid(), Signal::HUP);
        wait_until(said, || site.log().matches(said).count() == count);
    };
    let again = "the secrets of secret_file were read again";
    let next = "n".repeat(43);
    reload(format!("{next}\n{first}"), 1, again);
    let new = token(&mut php);
    assert_eq!((poll(&old), poll(&new)), (304, 304));
    reload("short\n".to_owned(), 1, "the secrets stay as they are: secret_file");
    assert_eq!((poll(&old), poll(&new)), (304, 304));
    reload(format!("{next}\n"), 2, again);
    assert_eq!((poll(&old), poll(&new)), (401, 304));
    assert_eq!(poll(&token(&mut php)), 304);
    signal(running.pid(), Signal::TERM);
    running.exit_code();
    assert!(!site.log().contains(&next) && !site.log().contains(first.trim()));
}

#[test]
fn a_secret_that_others_know_refuses_the_start() {
    let site = Site::new();
    let secret = site.path("secret");
    let config = site.config(&[("secret_file", secret.to_str().unwrap())]);
    let start = || {
        let mut command = std::process::Command::new(support::process::PROGRAM);
        let output = command.arg("--config").arg(site.write(&config)).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        // Where the standard error stream went when the log was opened.
        let said = site.log();
        std::fs::remove_file(site.path("hub.log")).unwrap();
        said
    };
    let owned = |mode: u32, text: &str| {
        std::fs::write(&secret, text).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        if rustix::process::geteuid().is_root() {
            // `nobody`
            std::os::unix::fs::chown(&secret, Some(65_534), None).unwrap();
        }
    };
    for mode in [0o640, 0o604, 0o620, 0o644] {
        owned(mode, SECRET);
        let said = start();
        let why = format!("has mode {mode:04o}, so that others may read it and make tokens: chmod 600");
        assert!(said.contains(&format!("secret_file = \"{}\": {why}", secret.display())), "{said}");
    }
    for wrong in ["", "\n\n", "too short", &format!("{SECRET}\n{SECRET}\n{SECRET}"), &"x".repeat(1025)] {
        owned(0o600, wrong);
        let said = start();
        assert!(said.contains("must have one line, or two of which the first signs"), "{said}");
        assert!(!said.contains("xxx") && !said.contains(SECRET));
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&secret, Some(0), None).unwrap();
        let said = start();
        assert!(said.contains("cannot be read: Permission denied") && said.contains("chown 65534"), "{said}");
    }
    std::fs::remove_file(&secret).unwrap();
    std::fs::create_dir(&secret).unwrap();
    let said = start();
    assert!(said.contains("is no file: set the path of one"), "{said}");
}

#[test]
fn a_refused_token_is_in_the_log_without_the_token() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[("authorized_channels_only", "token")]));
    let mut client = Client::new(site.listen);
    client.get("/poll/private-channel?token=eyJhbGciOiJub25lIn0.e30.", "");
    assert_eq!(client.response().status, 401);
    let line = "a request was not let in: The token was refused: it is no JWT";
    wait_until("the reason is in the log", || site.log().contains(line));
    assert!(!site.log().contains("eyJhb") && !site.log().contains("private-channel"));
    drop(running);
}
