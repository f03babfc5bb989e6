//! How often clients may begin to listen, and publish: by address and by user, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use push_core::channel::ChannelOptions;
use push_core::client;
use push_core::config::Config;
use push_core::message::NewMessage;
use rustix::process::Signal;
use support::process::{Foreground, Site, signal};
use support::websocket::{CLOSE, TEXT, WebSocket, frame};
use support::{Client, DEADLINE, Response, TestHub, hub_with, wait_until};

const LOCATIONS: &str = r#"
[[location]]
path = "/sub/"
subscriber = "long-polling"

[[location]]
path = "/poll/"
subscriber = "polling"

[[location]]
path = "/stream/"
subscriber = "streaming"

[[location]]
path = "/ev/"
subscriber = "eventsource"

[[location]]
path = "/ws/"
subscriber = "websocket"
websocket_allow_publish = true

[[location]]
path = "/say/"
publisher = "admin"
listener = "public"

[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"

[[location]]
path = "/admin/poll/"
subscriber = "polling"
listener = "admin"
"#;

/// A hub behind a proxy at 127.0.0.1.
fn hub(settings: &[(&str, &str)]) -> TestHub {
    let behind = [("trusted_proxies", "127.0.0.1")];
    hub_with(&[&behind, settings].concat(), Some(LOCATIONS))
}

fn from(address: &str) -> String {
    format!("X-Forwarded-For: {address}\r\n")
}

/// The answer to a request of a client with this address.
fn get(hub: &TestHub, path: &str, address: &str) -> Response {
    let mut client = hub.connect();
    client.get(path, &from(address));
    client.response()
}

fn poll(hub: &TestHub, address: &str) -> u16 {
    get(hub, "/poll/a", address).status
}

fn post(hub: &TestHub, headers: &str) -> Response {
    let mut client = hub.connect();
    client.send(&format!("POST /say/a HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: 1\r\n\r\nx"));
    client.response()
}

fn metric(hub: &TestHub, name: &str) -> u64 {
    let mut client = hub.connect_admin();
    client.get("/metrics", "");
    let answer = client.response();
    let line = answer.text().lines().find_map(|line| line.strip_prefix(name)).expect("it is shown");
    line.trim().parse().expect("a number")
}

fn attach(hub: &TestHub) -> client::Client {
    client::Client::new(client::Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    })
}

/// A long-poll of this address that waits.
fn wait(hub: &TestHub, client: &mut Client, address: &str, subscribers: u64) {
    client.get("/sub/a", &from(address));
    hub.wait_for_subscribers("a", subscribers);
}

#[test]
fn an_address_is_refused_when_its_burst_is_over() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=2")]);
    for _ in 0..3 {
        assert_eq!(poll(&hub, "1.1.1.1"), 304);
    }
    let refused = get(&hub, "/poll/a", "1.1.1.1");
    assert_eq!(refused.status, 429);
    let seconds: u64 = refused.header("Retry-After").expect("a time").parse().expect("seconds");
    assert!((50..=60).contains(&seconds), "{seconds}");
    let why = format!("Too many connections from this address (connect_rate_per_address): try again in {seconds} s.");
    assert_eq!(refused.header("X-Nginx-PushStream-Explain"), Some(&*why));
    assert_eq!(poll(&hub, "1.1.1.2"), 304, "others come in");
    // By no transport, and whatever it asks for.
    for path in ["/sub/a", "/stream/a", "/ev/b", "/poll/", "/sub/a?position=0.0"] {
        assert_eq!(get(&hub, path, "1.1.1.1").status, 429, "{path}");
    }
    let (_, mut websocket) = hub.websocket_with("/ws/a", &from("1.1.1.1"));
    let (code, reason) = websocket.expect_close().expect("a reason");
    assert!(
        reason.starts_with("{\"http_status\": 429, \"explain\":\"Too many connections from this address"),
        "{reason}"
    );
    assert_eq!(code, 1008);
    assert_eq!(metric(&hub, "push_limited_connects_total"), 7);
    assert_eq!(metric(&hub, "push_limited_publications_total"), 0);
}

#[test]
fn what_the_client_writes_into_the_header_does_not_help() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=0"), ("trusted_proxies", "127.0.0.1, 10.0.0.0/8")]);
    let poll = |headers: &str| {
        let mut client = hub.connect();
        client.get("/poll/a", headers);
        client.response().status
    };
    assert_eq!(poll(&from("1.1.1.1")), 304);
    for forged in
        ["6.6.6.6, 1.1.1.1", "6.6.6.6,1.1.1.1, 10.2.3.4", "nonsense, 1.1.1.1:5000", "127.0.0.1, ::ffff:1.1.1.1"]
    {
        assert_eq!(poll(&from(forged)), 429, "{forged}");
    }
    let lines = [from("6.6.6.6"), from("1.1.1.1"), from("10.2.3.4")].concat();
    assert_eq!(poll(&lines), 429, "several lines are one list");
    let others = ["Forwarded: for=6.6.6.6\r\n", "X-Real-IP: 6.6.6.6\r\n", "True-Client-IP: 6.6.6.6\r\n"];
    assert_eq!(poll(&[&from("1.1.1.1"), others.concat().as_str()].concat()), 429);
    // What is no address ends the way at the proxy, which is one client then.
    assert_eq!((poll(&from("6.6.6.1, unknown")), poll(&from("6.6.6.2, unknown")), poll("")), (304, 429, 429));
}

#[test]
fn nobody_else_is_believed() {
    let limit = ("connect_rate_per_address", "1r/m burst=0");
    let hub = hub_with(&[limit, ("trusted_proxies", "10.0.0.0/8, unix:")], Some(LOCATIONS));
    assert_eq!((poll(&hub, "1.1.1.1"), poll(&hub, "1.1.1.2")), (304, 429));
}

#[test]
fn an_ipv6_client_has_all_addresses_of_its_network() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=0")]);
    assert_eq!(poll(&hub, "2001:db8:1:2::1"), 304);
    assert_eq!(poll(&hub, "2001:db8:1:2:ffff::7"), 429);
    assert_eq!(poll(&hub, "[2001:db8:1:2:a:b:c:d]:443"), 429);
    assert_eq!(poll(&hub, "2001:db8:1:3::1"), 304);
    assert_eq!((poll(&hub, "::ffff:2.2.2.2"), poll(&hub, "2.2.2.2")), (304, 429));
}

#[test]
fn a_request_that_comes_in_pieces_is_counted_too() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=0")]);
    // Whichever parser reads it.
    let slowly = || {
        let mut client = hub.connect();
        client
            .send("GET /poll/a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("0\r\n\r\n");
        client.response().status
    };
    assert_eq!((slowly(), slowly(), poll(&hub, "1.1.1.1")), (304, 429, 429));
}

#[test]
fn a_long_poll_that_goes_on_is_not_counted() {
    let limit = ("connect_rate_per_address", "1r/m burst=0");
    let hub = hub(&[limit, ("longpolling_connection_ttl", "1s")]);
    let mut client = hub.connect();
    client.get("/sub/a", &from("1.1.1.1"));
    for number in 0..6 {
        hub.wait_for_subscribers("a", 1);
        if number % 3 == 2 {
            // Nobody says anything.
            assert_eq!(client.response().status, 304);
        } else {
            hub.publish("a", "hello");
            assert_eq!(client.response().text(), "hello");
        }
        if number % 2 == 1 {
            // As behind a proxy, which has others of its own.
            client = hub.connect();
        }
        let position = format!("/sub/a?position={}", hub.head());
        client.get(&position, &from("1.1.1.1"));
    }
    hub.wait_for_subscribers("a", 1);
    // But what waits pays for nothing.
    assert_eq!(get(&hub, "/sub/a?position=0.0", "1.1.1.1").status, 429);
    assert_eq!(poll(&hub, "1.1.1.1"), 429);
}

#[test]
fn who_polls_without_waiting_pays_for_each() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=4")]);
    hub.publish("a", "hello");
    // Whatever position it names.
    for position in ["0.0", "1000.0", "1.1", "0.1", "999.9"] {
        assert_eq!(get(&hub, &format!("/sub/a?position={position}"), "1.1.1.1").status, 200);
    }
    assert_eq!(get(&hub, "/sub/a?position=0.0", "1.1.1.1").status, 429);
    // And who goes away before the answer.
    for _ in 0..5 {
        let mut client = hub.connect();
        wait(&hub, &mut client, "2.2.2.2", 1);
        drop(client);
        hub.wait_for_subscribers("a", 0);
    }
    assert_eq!(get(&hub, "/sub/a", "2.2.2.2").status, 429);
}

#[test]
fn many_behind_one_address_go_on_together() {
    let hub = hub(&[("connect_rate_per_address", "1r/m burst=19")]);
    let mut clients: Vec<Client> = (0..20).map(|_| hub.connect()).collect();
    clients.iter_mut().for_each(|client| client.get("/sub/a", &from("1.1.1.1")));
    for round in 0..3 {
        hub.wait_for_subscribers("a", 20);
        hub.publish("a", "hello");
        for client in &mut clients {
            assert_eq!(client.response().text(), "hello", "{round}");
        }
        let position = format!("/sub/a?position={}", hub.head());
        clients.iter_mut().for_each(|client| client.get(&position, &from("1.1.1.1")));
    }
    hub.wait_for_subscribers("a", 20);
    assert_eq!(get(&hub, "/sub/a", "1.1.1.1").status, 429, "one more");
    assert_eq!(metric(&hub, "push_limited_connects_total"), 1);
}

#[test]
fn a_user_is_one_from_all_addresses() {
    let hub = hub(&[("connect_rate_per_user", "1r/m burst=1"), ("authorized_channels_only", "on")]);
    let mut php = attach(&hub);
    let mut tokens = |user: &str| php.token(&["a"], Some(user), 60, b"", false).unwrap();
    let (seven, again, eight) = (tokens("7"), tokens("7"), tokens("8"));
    let poll = |token: &str, address: &str| get(&hub, &format!("/poll/a?token={token}"), address).status;
    assert_eq!((poll(&seven, "1.1.1.1"), poll(&seven, "2.2.2.2"), poll(&again, "3.3.3.3")), (304, 304, 429));
    assert_eq!((poll(&eight, "1.1.1.1"), poll(&eight, "1.1.1.1"), poll(&eight, "1.1.1.1")), (304, 304, 429));
    // A forged token takes nothing from anybody.
    let forged = format!("{}x", tokens("9"));
    assert_eq!((0..5).map(|_| poll(&forged, "1.1.1.1")).collect::<Vec<_>>(), [401; 5]);
    assert_eq!(poll(&tokens("9"), "1.1.1.1"), 304);

    // Who has a channel of a user is that user.
    let options = ChannelOptions { owner: Some("10".to_owned()), ..ChannelOptions::default() };
    let own = php.create_channel(None, options).unwrap();
    let poll = |address: &str| get(&hub, &format!("/poll/{own}"), address).status;
    assert_eq!((poll("1.1.1.1"), poll("2.2.2.2"), poll("3.3.3.3")), (304, 304, 429));
    let channel = php.create_channel(None, ChannelOptions::default()).unwrap();
    let nobody = || get(&hub, &format!("/poll/{channel}"), "1.1.1.1").status;
    assert_eq!((nobody(), nobody(), nobody()), (304, 304, 304), "nobody has no limit");
}

#[test]
fn a_user_that_waits_goes_on_from_another_address() {
    let hub = hub(&[("connect_rate_per_user", "1r/m burst=0")]);
    let token = attach(&hub).token(&["a"], Some("7"), 60, b"", false).unwrap();
    let mut client = hub.connect();
    client.get(&format!("/sub/a?token={token}"), &from("1.1.1.1"));
    for number in 0..3 {
        hub.wait_for_subscribers("a", 1);
        hub.publish("a", "hello");
        assert_eq!(client.response().text(), "hello");
        let path = format!("/sub/a?position={}&token={token}", hub.head());
        client = hub.connect();
        client.get(&path, &from(&format!("1.1.1.{number}")));
    }
    hub.wait_for_subscribers("a", 1);
    assert_eq!(get(&hub, &format!("/sub/a?token={token}"), "9.9.9.9").status, 429);
}

#[test]
fn publications_of_browsers_are_counted_and_those_of_the_backend_are_not() {
    let hub = hub(&[("publish_rate_per_address", "1r/m burst=1"), ("publish_rate_per_user", "1r/m burst=0")]);
    assert_eq!((post(&hub, &from("1.1.1.1")).status, post(&hub, &from("1.1.1.1")).status), (200, 200));
    let refused = post(&hub, &from("1.1.1.1"));
    assert_eq!((refused.status, refused.header("Retry-After").is_some()), (429, true));
    let why = refused.header("X-Nginx-PushStream-Explain").unwrap_or_default();
    assert!(
        why.starts_with("Too many publications from this address (publish_rate_per_address): try again in "),
        "{why}"
    );
    let mut client = hub.connect();
    client.send("DELETE /say/a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n");
    assert_eq!(client.response().status, 429, "nor does it delete");
    client.get("/say/a", &from("1.1.1.1"));
    assert_eq!(client.response().status, 200, "reading counters is free");
    assert_eq!(poll(&hub, "1.1.1.1"), 304, "and so is listening");

    let token = attach(&hub).token(&["a"], Some("7"), 60, b"", true).unwrap();
    let post_as = |address: &str| post(&hub, &format!("{}Authorization: Bearer {token}\r\n", from(address)));
    assert_eq!(post_as("2.2.2.2").status, 200);
    let refused = post_as("3.3.3.3");
    assert_eq!(refused.status, 429);
    let why = refused.header("X-Nginx-PushStream-Explain").unwrap_or_default();
    assert!(why.contains("publications of this user (publish_rate_per_user)"), "{why}");
    assert_eq!(metric(&hub, "push_limited_publications_total"), 3);

    let mut php = attach(&hub);
    for _ in 0..20 {
        assert_eq!(hub.publish("a", "x").status, 200);
        php.publish("a", &NewMessage::new(b"x")).unwrap();
    }
}

#[test]
fn the_admin_listeners_have_no_limits() {
    let one = "1r/m burst=0";
    let hub =
        hub(&[("connect_rate_per_address", one), ("connect_rate_per_user", one), ("publish_rate_per_address", one)]);
    let token = attach(&hub).token(&["a"], Some("7"), 60, b"", false).unwrap();
    let mut client = hub.connect_admin();
    for _ in 0..5 {
        client.get(&format!("/admin/poll/a?token={token}"), &from("1.1.1.1"));
        assert_eq!(client.response().status, 304);
    }
}

#[test]
fn a_websocket_that_says_too_much_is_closed() {
    let hub = hub(&[("publish_rate_per_address", "1r/m burst=2")]);
    let (_, mut websocket) = hub.websocket_with("/ws/a", &from("1.1.1.1"));
    hub.wait_for_subscribers("a", 1);
    for text in ["1", "2", "3"] {
        websocket.send(TEXT, text);
        websocket.expect(TEXT, text);
    }
    websocket.send_bytes(&["4", "5"].map(|text| frame(TEXT, true, text)).concat());
    let (code, reason) = websocket.expect_close().expect("a reason");
    assert_eq!(code, 1008);
    assert!(
        reason.starts_with("{\"http_status\": 429, \"explain\":\"Too many publications from this addr"),
        "{reason}"
    );
    let counters = hub.counters("a").expect("the channel");
    assert_eq!(counters["published_messages"], 3, "nothing of what was too much was published");
    // Another one of the same address has no more.
    let (_, mut websocket) = hub.websocket_with("/ws/a", &from("1.1.1.1"));
    websocket.send(TEXT, "6");
    websocket.expect_code(1008);
    assert_eq!(post(&hub, &from("1.1.1.1")).status, 429);
    assert_eq!(metric(&hub, "push_limited_publications_total"), 3);
}

#[test]
fn the_frames_of_a_user_are_counted_over_all_connections() {
    let hub = hub(&[("publish_rate_per_user", "1r/m burst=1")]);
    let mut php = attach(&hub);
    let token = php.token(&["a"], Some("7"), 60, b"", true).unwrap();
    let other = php.token(&["a"], Some("8"), 60, b"", true).unwrap();
    let open =
        |token: &str, address: &str| WebSocket::open(hub.connect(), &format!("/ws/a?token={token}"), &from(address)).1;
    let (mut one, mut two, mut three) = (open(&token, "1.1.1.1"), open(&token, "2.2.2.2"), open(&other, "1.1.1.1"));
    hub.wait_for_subscribers("a", 3);
    one.send(TEXT, "1");
    one.expect(TEXT, "1");
    two.expect(TEXT, "1");
    two.send(TEXT, "2");
    one.expect(TEXT, "2");
    one.send(TEXT, "3");
    one.expect_code(1008);
    three.expect(TEXT, "1");
    three.expect(TEXT, "2");
    three.send(TEXT, "4");
    three.expect(TEXT, "4");
}

#[test]
fn after_retry_after_there_is_one_again() {
    let hub = hub(&[("connect_rate_per_address", "1r/s burst=0")]);
    assert_eq!(poll(&hub, "1.1.1.1"), 304);
    let refused = get(&hub, "/poll/a", "1.1.1.1");
    assert_eq!((refused.status, refused.header("Retry-After")), (429, Some("1")));
    wait_until("it is let in again", || poll(&hub, "1.1.1.1") == 304);
}

#[test]
fn a_page_of_another_origin_may_read_when_to_come_again() {
    let settings = [("connect_rate_per_address", "1r/m burst=0"), ("allowed_origins", "https://app.example")];
    let hub = hub(&settings);
    let mut client = hub.connect();
    let mut ask = || {
        client.get("/poll/a", &format!("{}Origin: https://app.example\r\n", from("1.1.1.1")));
        client.response()
    };
    assert_eq!(ask().status, 304);
    let refused = ask();
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("Access-Control-Allow-Origin"), Some("https://app.example"));
    assert!(refused.header("Access-Control-Expose-Headers").unwrap_or_default().contains("Retry-After"));
    // What the browser asks before is not counted.
    client.send("OPTIONS /poll/a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn limits_come_and_go_while_the_hub_runs() {
    let site = Site::new();
    let write = |settings: &[(&str, &str)]| {
        let mut config = site.config(settings).to_toml();
        config = config.replace("websocket_allow_publish = \"off\"", "websocket_allow_publish = \"on\"");
        std::fs::write(site.path("push.toml"), config).unwrap();
    };
    write(&[]);
    let mut command = std::process::Command::new(support::process::PROGRAM);
    command.arg("--config").arg(site.path("push.toml"));
    let running = Foreground::start_until(&mut command, || site.log().contains("memory_limit"));
    let reload = |settings: &[(&str, &str)], taken: &str| {
        let before = site.log().matches(taken).count();
        write(settings);
        signal(running.pid(), Signal::HUP);
        wait_until(taken, || site.log().matches(taken).count() > before);
    };
    let open = || WebSocket::open(Client::new(site.listen), "/ws/a", &from("1.1.1.1")).1;
    let mut websocket = open();
    for text in ["1", "2", "3"] {
        websocket.send(TEXT, text);
        websocket.expect(TEXT, text);
    }
    let limits = [("trusted_proxies", "127.0.0.1"), ("publish_rate_per_address", "1r/m burst=0")];
    reload(&limits, "publish_rate_per_address");
    // Who was there before is counted, too, as soon as its thread knows.
    wait_until("it is closed", || {
        websocket.send(TEXT, "4");
        websocket.frame().opcode == CLOSE
    });
    reload(&[("trusted_proxies", "127.0.0.1")], "publish_rate_per_address");
    wait_until("there is no limit", || {
        let mut websocket = open();
        ["5", "6", "7"].iter().all(|text| {
            websocket.send(TEXT, text);
            websocket.frame().opcode == TEXT
        })
    });
}

#[test]
fn the_log_names_the_client_once_a_second() {
    let site = Site::new();
    let config = site.config(&[("trusted_proxies", "127.0.0.1"), ("connect_rate_per_address", "1r/m burst=0")]);
    let running = Foreground::start(&site, &config);
    let mut client = Client::new(site.listen);
    let mut poll = |address: &str| {
        client.get("/poll/private-channel", &from(address));
        client.response().status
    };
    assert_eq!((poll("6.6.6.6, 1.2.3.4"), poll("7.7.7.7, 1.2.3.4")), (304, 429));
    let line = "too many connections from this address: connect_rate_per_address = \"1r/m burst=0\"";
    wait_until("it is in the log", || site.log().contains(line));
    let log = site.log();
    let said = log.lines().find(|said| said.contains(line)).unwrap();
    assert!(said.contains("client=1.2.3.4") && said.contains("refused=1"), "{said}");
    let logged = |log: &str| log.matches(line).count();
    let mut refused = 1;
    wait_until("it is in the log again", || {
        assert_eq!(poll("1.2.3.4"), 429);
        refused += 1;
        logged(&site.log()) > 1
    });
    let log = site.log();
    let said = log.lines().rfind(|said| said.contains(line)).unwrap();
    assert!(said.contains(&format!("refused={refused}")), "every refusal is counted: {said}");
    assert!(refused > 2 && !log.contains("private-channel"), "{log}");
    drop(running);
}

#[test]
fn a_limit_by_address_needs_to_know_the_proxies() {
    let check = |settings: &[(&str, &str)]| {
        let mut config = Config::default();
        settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        config.check().map_err(|error| error.to_string())
    };
    let limit = ("connect_rate_per_address", "20r/s burst=40");
    let unix = ("listen", "0.0.0.0:8380, unix:/run/push/http.sock");
    let handed_over = [limit, ("listen", "0.0.0.0:8380"), ("trusted_listen", "unix:/run/push/trusted.sock")];
    for (settings, address, missing) in [
        (&[limit][..], "127.0.0.1:8380", "127.0.0.1"),
        (&[limit, ("trusted_proxies", "10.0.0.0/8, unix:")], "127.0.0.1:8380", "127.0.0.1"),
        (&[limit, ("listen", "[::1]:80"), ("trusted_proxies", "127.0.0.1")], "[::1]:80", "::1"),
        (&[("publish_rate_per_address", "1r/s burst=4"), unix], "unix:/run/push/http.sock", "unix:"),
        (&handed_over, "unix:/run/push/trusted.sock", "unix:"),
    ] {
        let said = check(settings).unwrap_err();
        let begins = format!(": all clients that come to {address} have the address of the proxy before it");
        assert!(said.contains(&begins) && said.contains(&format!("add \"{missing}\" to trusted_proxies")), "{said}");
    }
    assert_eq!(check(&[limit, ("trusted_proxies", "127.0.0.0/8")]), Ok(()));
    assert_eq!(check(&[limit, unix, ("trusted_proxies", "unix:")]), Ok(()), "browsers come by themselves, or by nginx");
    assert_eq!(check(&[&handed_over[..], &[("trusted_proxies", "unix:")]].concat()), Ok(()));
    assert_eq!(check(&[("connect_rate_per_user", "20r/s burst=40")]), Ok(()));
    let wrong = Config::default().set("connect_rate_per_user", "20r/s").unwrap_err().to_string();
    assert!(wrong.contains("allowed is a rate with its burst such as \"20r/s burst=40\""), "{wrong}");
    let wrong = Config::default().set("trusted_proxies", "10.0.0.1/8").unwrap_err().to_string();
    assert!(wrong.contains("10.0.0.0/8") && wrong.contains("with zeros behind their bits"), "{wrong}");
}
