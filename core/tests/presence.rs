//! Who is in a channel, over real sockets: on every transport, through every way to come and to go.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use push_core::channel::ChannelOptions;
use push_core::client;
use push_core::error::Error;
use rustix::net::Shutdown;
use serde_json::{Value, json};
use support::process::{Foreground, Site, attach, children, gone, signal};
use support::{Client, Response, TestHub, hub_with, wait_until};

const LOCATIONS: &str = r#"
[[location]]
path = "/lp/"
subscriber = "long-polling"

[[location]]
path = "/text/"
subscriber = "long-polling"
message_template = "<~id~ ~event-type~ ~text~>"

[[location]]
path = "/watch/"
subscriber = "long-polling"
presence = "off"

[[location]]
path = "/poll/"
subscriber = "polling"

[[location]]
path = "/stream/"
subscriber = "streaming"
message_template = "~event-type~ ~text~\n"

[[location]]
path = "/ev/"
subscriber = "eventsource"

[[location]]
path = "/ws/"
subscriber = "websocket"
message_template = "~event-type~ ~text~"

[[location]]
path = "/presence/"
channel_members = true

[[location]]
path = "/guarded/"
channel_members = true
authorized_channels_only = "on"

[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"
"#;
const GRACE: Duration = Duration::from_secs(1);
const JSON: &str = "Accept: application/json\r\n";

struct Room {
    hub: TestHub,
    client: client::Client,
    _directory: tempfile::TempDir,
}

fn room_with(settings: &[(&str, &str)]) -> Room {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "a secret of the tests, long enough for HS256").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut all = vec![("presence_grace", "1s"), ("secret_file", secret.to_str().unwrap())];
    all.extend(settings);
    let hub = hub_with(&all, Some(LOCATIONS));
    let client = attach(&hub.socket);
    Room { hub, client, _directory: directory }
}

fn room() -> Room {
    room_with(&[])
}

impl Room {
    fn token(&mut self, user: &str) -> String {
        self.client.token(&["a", "b"], Some(user), 60, b"{\"nick\":\"N\"}", false).unwrap()
    }

    /// A stream of the user in the channel a, which is an ordinary member.
    fn enter(&mut self, user: &str) -> Client {
        let token = self.token(user);
        self.hub.stream(&format!("/stream/a?token={token}")).client
    }

    fn get(&self, path: &str, headers: &str) -> Response {
        let mut client = self.hub.connect();
        client.get(path, headers);
        client.response()
    }

    fn page(&self, query: &str) -> Value {
        let answer = self.get(&format!("/presence/a{query}"), "");
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/json")), "{answer:?}");
        serde_json::from_slice(&answer.body).unwrap()
    }

    fn users(&self) -> Vec<String> {
        names(&self.page("")["members"])
    }

    fn wait_for(&self, users: &[&str]) {
        wait_until(&format!("{users:?} are there"), || self.users() == users);
    }
}

fn names(members: &Value) -> Vec<String> {
    members.as_array().unwrap().iter().map(|member| member["user"].as_str().unwrap().to_owned()).collect()
}

/// Type, joined or listed users, left users and number of what a feed says.
fn said(data: &Value) -> (String, Vec<String>, Vec<String>, u64) {
    let list = |key: &str| data.get(key).map(names);
    let leaves = data.get("leaves").map(|leaves| {
        leaves.as_array().unwrap().iter().map(|user| user.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let users = list("members").or(list("joins")).unwrap_or_default();
    (data["type"].as_str().unwrap().to_owned(), users, leaves.unwrap_or_default(), data["count"].as_u64().unwrap())
}

fn told(kind: &str, users: &[&str], leaves: &[&str], count: u64) -> (String, Vec<String>, Vec<String>, u64) {
    let owned = |users: &[&str]| users.iter().map(|user| (*user).to_owned()).collect();
    (kind.to_owned(), owned(users), owned(leaves), count)
}

/// A JSON long-poller that goes on from where it is.
struct Poller {
    client: Client,
    path: String,
    position: Option<String>,
}

impl Poller {
    fn new(room: &Room, path: &str) -> Self {
        Self { client: room.hub.connect(), path: path.to_owned(), position: None }
    }

    fn ask(&mut self) {
        let position = self.position.as_ref().map(|position| format!("&position={position}")).unwrap_or_default();
        self.client.get(&format!("{}{position}", self.path), JSON);
    }

    /// The messages of the answer: what the feed says, or the event and the data of another.
    fn answer(&mut self) -> Vec<Value> {
        let answer = self.client.response();
        assert_eq!(answer.status, 200);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["gap"], json!(false));
        self.position = Some(body["position"].as_str().unwrap().to_owned());
        body["messages"].as_array().unwrap().clone()
    }

    fn poll(&mut self) -> Vec<Value> {
        self.ask();
        self.answer()
    }
}

#[test]
fn a_long_poll_begins_with_who_is_there_and_goes_on_with_what_changes() {
    let mut room = room();
    let _ada = room.enter("ada");
    let mut reader = Poller::new(&room, "/watch/a?presence=1");
    let first = reader.poll();
    assert_eq!(first.len(), 1);
    assert_eq!(
        (&first[0]["id"], &first[0]["event"], &first[0]["channel"]),
        (&json!(-6), &json!("push.presence"), &json!("a"))
    );
    let member = &first[0]["data"]["members"][0];
    assert_eq!(
        (&member["user"], &member["info"], &member["connections"]),
        (&json!("ada"), &json!({"nick": "N"}), &json!(1))
    );
    assert!(member["since"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(said(&first[0]["data"]), told("snapshot", &["ada"], &[], 1));

    reader.ask();
    room.hub.wait_for_subscribers("a", 2);
    let bob = room.enter("bob");
    assert_eq!(said(&reader.answer()[0]["data"]), told("diff", &["bob"], &[], 2));
    // What comes while nobody polls is in the order in which it came.
    room.hub.publish("a", "hello");
    drop(bob);
    wait_until("bob is gone", || room.users() == ["ada"]);
    room.hub.publish("a", "bye");
    let later = reader.poll();
    assert_eq!(
        later.iter().map(|message| message["event"].as_str().unwrap_or("")).collect::<Vec<_>>(),
        ["", "push.presence", ""]
    );
    assert_eq!((&later[0]["data"], &later[2]["data"]), (&json!("hello"), &json!("bye")));
    assert_eq!(said(&later[1]["data"]), told("diff", &[], &["bob"], 1));
    // Others hear nothing of it.
    assert_eq!(room.get("/poll/a?position=1000.0", JSON).text().matches("push.presence").count(), 0);
}

#[test]
fn each_transport_tells_who_is_there() {
    let mut room = room();
    let _ada = room.enter("ada");
    let text = room.get("/text/a?presence=1", "");
    assert!(
        text.text().starts_with("<-6 push.presence {\"type\":\"snapshot\",\"members\":[{\"user\":\"ada\""),
        "{text:?}"
    );
    let call = room.get("/lp/a?presence=1&callback=f", "");
    assert!(call.text().starts_with("f([{\"type\":\"snapshot\""), "{call:?}");
    let poll: Value = serde_json::from_slice(&room.get("/poll/a?presence=1", JSON).body).unwrap();
    assert_eq!(said(&poll["messages"][0]["data"]), told("snapshot", &["ada"], &[], 1));
    let resume = poll["position"].as_str().unwrap().to_owned();

    let mut stream = room.hub.stream("/stream/a?presence=1");
    let mut events = room.hub.events("/ev/a?presence=1");
    let mut socket = room.hub.websocket("/ws/a?presence=1");
    let parse = |line: &str| -> Value {
        serde_json::from_str(line.strip_prefix("push.presence ").expect("said by the feed")).unwrap()
    };
    let first = events.event();
    assert_eq!((first.kind.as_str(), first.id.is_empty()), ("push.presence", false));
    for data in [parse(&stream.line()), serde_json::from_str(&first.data).unwrap(), parse(&socket.text())] {
        assert_eq!(said(&data), told("snapshot", &["ada"], &[], 1));
    }
    let bob = room.enter("bob");
    room.hub.publish("a", "hello");
    drop(bob);
    let (lines, frames) =
        ([stream.line(), stream.line(), stream.line()], [socket.text(), socket.text(), socket.text()]);
    let event = |event: support::stream::Event| match event.kind.as_str() {
        "message" => format!(" {}", event.data),
        kind => format!("{kind} {}", event.data),
    };
    let seen = [event(events.event()), event(events.event()), event(events.event())];
    for got in [lines, frames, seen] {
        assert_eq!(said(&parse(&got[0])), told("diff", &["bob"], &[], 2));
        assert_eq!(got[1], " hello");
        assert_eq!(said(&parse(&got[2])), told("diff", &[], &["bob"], 1));
    }
    // And from a position, what came since.
    let body: Value =
        serde_json::from_slice(&room.get(&format!("/poll/a?presence=1&position={resume}"), JSON).body).unwrap();
    let later = body["messages"].as_array().unwrap();
    assert_eq!(later.len(), 3);
    assert_eq!(said(&later[0]["data"]), told("diff", &["bob"], &[], 2));
    let mut again = room.hub.events(&format!("/ev/a?presence=1&position={resume}"));
    assert_eq!(said(&serde_json::from_str(&again.event().data).unwrap()), told("diff", &["bob"], &[], 2));
    // Whoever has a position but not the list asks for it.
    let anew: Value =
        serde_json::from_slice(&room.get(&format!("/poll/a?presence=anew&position={resume}"), JSON).body).unwrap();
    assert_eq!(said(&anew["messages"][0]["data"]), told("snapshot", &["ada"], &[], 1));
    assert_eq!((anew["messages"].as_array().unwrap().len(), &anew["messages"][1]["data"]), (2, &json!("hello")));
}

#[test]
fn several_tabs_on_several_transports_are_one_member() {
    let mut room = room();
    let token = room.token("ada");
    let mut reader = Poller::new(&room, "/watch/a?presence=1");
    assert_eq!(said(&reader.poll()[0]["data"]).3, 0);
    let stream = room.hub.stream(&format!("/stream/a?token={token}"));
    let socket = room.hub.websocket(&format!("/ws/a?token={token}"));
    let mut poll = room.hub.connect();
    poll.get(&format!("/lp/a?token={token}"), "");
    room.hub.wait_for_subscribers("a", 3);
    let page = room.page("");
    assert_eq!(
        (&page["count"], &page["members"][0]["connections"], &page["after"]),
        (&json!(1), &json!(3), &Value::Null)
    );
    assert_eq!(page["position"].as_str().unwrap(), room.hub.head());
    assert_eq!(said(&reader.poll()[0]["data"]), told("diff", &["ada"], &[], 1));
    drop(stream);
    drop(socket);
    wait_until("one is left", || room.page("")["members"][0]["connections"] == json!(1));
    // The poll is answered, and the next one comes within the grace, again and again: nobody leaves.
    reader.ask();
    let end = Instant::now() + GRACE * 3;
    while Instant::now() < end {
        room.hub.publish("a", "x");
        assert_eq!(poll.response().text(), "x");
        assert_eq!(reader.answer()[0]["data"], json!("x"));
        reader.ask();
        std::thread::sleep(GRACE / 4);
        poll.get(&format!("/lp/a?token={token}"), "");
        room.hub.wait_for_subscribers("a", 2);
    }
    // An abort starts the grace at once.
    drop(poll);
    let aborted = Instant::now();
    assert_eq!(said(&reader.answer()[0]["data"]), told("diff", &[], &["ada"], 0));
    let stayed = aborted.elapsed();
    assert!(stayed >= GRACE && stayed < GRACE * 2, "{stayed:?}");
}

#[test]
fn the_owner_of_a_private_channel_and_no_observer_is_a_member() {
    let mut room = room();
    let options = ChannelOptions { owner: Some("ada".to_owned()), ..ChannelOptions::default() };
    room.client.create_channel(Some("private"), options).unwrap();
    let mut observer = room.hub.connect();
    observer.get("/watch/private/a", "");
    let nobody = room.hub.stream("/stream/a");
    room.hub.wait_for_subscribers("a", 2);
    assert_eq!(room.users(), Vec::<String>::new());
    let _both = room.hub.stream("/stream/private/a");
    room.wait_for(&["ada"]);
    drop(nobody);
    let private: Value = serde_json::from_slice(&room.get("/presence/private", "").body).unwrap();
    assert_eq!(names(&private["members"]), ["ada"]);
}

#[test]
fn nobody_is_a_member_of_a_channel_without_presence() {
    let Room { hub, mut client, .. } = room();
    let options = |presence| ChannelOptions { owner: Some("ann".to_owned()), presence, ..ChannelOptions::default() };
    client.create_channel(Some("a"), options(false)).unwrap();
    let mut watcher = hub.stream("/stream/a?presence=1");
    assert_eq!(watcher.line(), "push.presence {\"type\":\"snapshot\",\"members\":[],\"count\":0}");
    wait_until("ann is online on the site", || client.presence_is_online("ann", None).unwrap());
    assert_eq!(client.presence_channels("ann").unwrap(), Vec::<String>::new());
    let refused = client.presence_online("bob", Some("a"), b"", None);
    let Err(Error::InvalidArgument(text)) = refused else { panic!("{refused:?}") };
    assert!(text.contains("without presence"), "{text}");
    // As it is created anew, so it is: who is there joins, and leaves again.
    client.create_channel(Some("a"), options(true)).unwrap();
    let joined = watcher.line();
    assert!(joined.starts_with("push.presence {\"type\":\"diff\",\"joins\":[{\"user\":\"ann\""), "{joined}");
    assert!(client.presence_is_online("ann", Some("a")).unwrap());
    client.create_channel(Some("a"), options(false)).unwrap();
    assert!(watcher.line().ends_with(r#""leaves":["ann"],"count":0}"#));
    assert_eq!(client.presence_count(Some("a")).unwrap(), 0);
}

#[test]
fn the_list_is_read_page_by_page_by_those_who_may_subscribe() {
    let mut room = room();
    let _all: Vec<Client> = ["cyn", "ada", "bob"].map(|user| room.enter(user)).into();
    let page = room.page("?limit=2");
    assert_eq!(
        (names(&page["members"]), &page["after"], &page["count"]),
        (vec!["ada".into(), "bob".into()], &json!("bob"), &json!(3))
    );
    let page = room.page("?limit=2&after=bob");
    assert_eq!((names(&page["members"]), &page["after"]), (vec!["cyn".to_owned()], &Value::Null));
    for (path, status, word) in [
        ("/presence/a?limit=0", 400, "1 to 1000"),
        ("/presence/a?limit=1001", 400, "1 to 1000"),
        ("/presence/a?after=%ff", 400, "after"),
        ("/presence/a/b", 400, "One channel"),
        ("/presence/", 400, "One channel"),
        ("/presence/ALL", 403, "not authorized"),
        ("/guarded/a", 403, "could not create"),
        ("/guarded/never", 403, "could not create"),
        ("/lp/a?presence=2", 400, "presence"),
    ] {
        let answer = room.get(path, "");
        let why = answer.header("X-Nginx-PushStream-Explain").unwrap_or_default().to_owned();
        assert!(answer.status == status && why.contains(word), "{path}: {answer:?}");
    }
    let token = room.token("ada");
    assert_eq!(room.get(&format!("/guarded/a?token={token}"), "").status, 200);
    assert_eq!(room.get(&format!("/presence/a?token={token}x"), "").status, 401);
    assert_eq!(room.get("/presence/nobody", "").text().matches("\"members\":[]").count(), 1);
    assert_eq!(room.hub.counters("nobody").map(|_| ()), None, "asking creates nothing");
}

#[test]
fn large_channels_are_told_of_in_numbers() {
    let mut room = room_with(&[("presence_diff_members", "2"), ("presence_count_members", "4")]);
    let mut reader = Poller::new(&room, "/watch/a?presence=1");
    reader.poll();
    let mut all: Vec<Client> = Vec::new();
    for number in 0..12 {
        all.push(room.enter(&format!("user {number:02}")));
    }
    let mut messages = 0;
    let end = Instant::now() + support::DEADLINE;
    loop {
        let news = reader.poll();
        messages += news.len();
        let last = said(&news.last().unwrap()["data"]);
        assert!(Instant::now() < end, "{last:?}");
        if last == told("count", &[], &[], 12) {
            break;
        }
    }
    assert!(messages < 8, "{messages} for twelve who joined");
    assert_eq!(said(&Poller::new(&room, "/watch/a?presence=1").poll()[0]["data"]), told("count", &[], &[], 12));
    assert_eq!(room.users().len(), 12);
    all.truncate(3);
    loop {
        let last = said(&reader.poll().last().unwrap()["data"]);
        assert!(Instant::now() < end, "{last:?}");
        if last == told("snapshot", &["user 00", "user 01", "user 02"], &[], 3) {
            break;
        }
    }
}

#[test]
fn a_channel_that_is_deleted_has_nobody() {
    let mut room = room();
    let _ada = room.enter("ada");
    room.wait_for(&["ada"]);
    assert!(room.client.delete_channel("a", None).unwrap());
    assert_eq!(room.users(), Vec::<String>::new());
    let _bob = room.enter("bob");
    room.wait_for(&["bob"]);
}

#[test]
fn nobody_leaves_because_a_hub_is_killed_who_is_back_within_the_grace() {
    let site = Site::new();
    let grace = Duration::from_secs(4);
    let running =
        Foreground::start(&site, &site.config(&[("presence_grace", "4s"), ("authorized_channels_only", "off")]));
    let mut client = attach(&site.socket());
    let info = b"{\"nick\":\"N\"}";
    let tokens = ["ada", "bob"].map(|user| client.token(&["a"], Some(user), 60, info, false).unwrap());
    let connect = |token: &str| {
        let mut client = Client::new(site.listen);
        client.get(&format!("/stream/a?token={token}"), "");
        assert_eq!(client.head().status, 200);
        client
    };
    let page = || -> Option<Value> {
        let mut client = Client::new(site.listen);
        client.get("/presence/a", "");
        serde_json::from_slice(&client.response().body).ok()
    };
    let both = tokens.each_ref().map(|token| connect(token));
    wait_until("both are there", || names(&page().unwrap()["members"]) == ["ada", "bob"]);
    let before = page().unwrap()["members"].clone();

    let hub = site.hub();
    signal(hub, rustix::process::Signal::KILL);
    let killed = Instant::now();
    wait_until("the hub is replaced", || children(running.pid()).iter().any(|pid| *pid != hub && !gone(*pid)));
    drop(both);
    let after = page().unwrap()["members"].clone();
    assert_eq!(names(&after), ["ada", "bob"], "both are shown through the grace");
    for (before, after) in before.as_array().unwrap().iter().zip(after.as_array().unwrap()) {
        assert_eq!(
            (&after["info"], &after["since"], &after["connections"]),
            (&before["info"], &before["since"], &json!(0))
        );
    }
    let mut reader = Client::new(site.listen);
    reader.get("/sub/a?presence=1", JSON);
    let answer: Value = serde_json::from_slice(&reader.response().body).unwrap();
    assert_eq!(said(&answer["messages"][0]["data"]), told("snapshot", &["ada", "bob"], &[], 2));
    // Only one of them comes back.
    let _ada = connect(&tokens[0]);
    reader.get(&format!("/sub/a?presence=1&position={}", answer["position"].as_str().unwrap()), JSON);
    let answer: Value = serde_json::from_slice(&reader.response().body).unwrap();
    assert_eq!(said(&answer["messages"][0]["data"]), told("diff", &[], &["bob"], 1));
    let stayed = killed.elapsed();
    assert!(stayed >= grace && stayed < grace * 4, "{stayed:?}");
    assert_eq!(page().unwrap()["members"][0]["since"], before[0]["since"], "ada never left");
}

#[test]
fn a_closed_side_of_a_connection_is_an_end() {
    let mut room = room();
    let ada = room.enter("ada");
    room.wait_for(&["ada"]);
    rustix::net::shutdown(&ada.socket, Shutdown::Write).unwrap();
    let closed = Instant::now();
    room.wait_for(&[]);
    assert!(closed.elapsed() < GRACE * 2, "{:?}", closed.elapsed());
}

/// Runs the part below in a network of its own, whose loopback it can cut: nothing that is sent there comes back.
#[test]
fn whose_other_end_vanishes_without_a_word_is_gone_after_the_ping_or_the_hold() {
    const NETWORK: &str = "PUSH_TEST_OWN_NETWORK";
    if std::env::var_os(NETWORK).is_some() {
        return vanish();
    }
    let test = "whose_other_end_vanishes_without_a_word_is_gone_after_the_ping_or_the_hold";
    let run = Command::new("unshare")
        .args(["-Urn", "--", "sh", "-c", "ip link set lo up && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(NETWORK, "1")
        .output();
    let output = run.expect("unshare of util-linux is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stdout));
}

fn loopback(state: &str) {
    assert!(Command::new("ip").args(["link", "set", "lo", state]).status().expect("iproute2 is installed").success());
}

fn vanish() {
    let mut room = room_with(&[("ping_message_interval", "1s"), ("longpolling_connection_ttl", "25s")]);
    let stream = room.enter("ada");
    let token = room.token("bob");
    let socket = room.hub.websocket(&format!("/ws/a?token={token}"));
    let token = room.token("cyn");
    let mut poll = room.hub.connect();
    poll.get(&format!("/lp/a?token={token}"), "");
    room.wait_for(&["ada", "bob", "cyn"]);
    loopback("down");
    let lost = Instant::now();
    // The question goes by the unix socket.
    let mut until = |milliseconds, users: &[&str]| {
        loop {
            let members = room.client.presence_members(Some("a"), "", 10).unwrap();
            if members.iter().map(|member| member.user.as_str()).eq(users.iter().copied()) {
                break;
            }
            assert!(lost.elapsed() < Duration::from_millis(milliseconds), "{members:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // 1 s for the ping, 20 s for its time-out, 1 s of grace and 1 s more: the bound of the manual, and a moment for a machine
    // that has more to do. The poll is held for longer.
    until(23_500, &["cyn"]);
    // 25 s, grace and 1 s more. Nobody has read the answer.
    until(27_500, &[]);
    loopback("up");
    assert!(room.users().is_empty());
    drop((stream, socket, poll));
}
