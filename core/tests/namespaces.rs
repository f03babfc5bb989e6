//! Channels of the same name in different namespaces have nothing to do with each other, on any surface.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use push_core::call::Delivery;
use push_core::channel::{ChannelOptions, Namespace};
use push_core::client::{Client, Options, Subscription};
use push_core::error::Error;
use push_core::message::{NewMessage, Position};
use rustix::process::Signal;
use support::process::{Foreground, Site, children, gone, signal};
use support::{DEADLINE, Response, TestHub, hub_with, wait_until};

const LOCATIONS: &str = r#"
[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"

[[location]]
path = "/shop/pub"
publisher = "admin"
channels_path = "$arg_id"
namespace = "shop"

[[location]]
path = "/poll/"
subscriber = "polling"

[[location]]
path = "/lp/"
subscriber = "long-polling"

[[location]]
path = "/shop/poll/"
subscriber = "polling"
namespace = "shop"

[[location]]
path = "/shop/lp/"
subscriber = "long-polling"
namespace = "shop"
allow_connections_to_events_channel = "on"

[[location]]
path = "/channels-stats"
channels_statistics = true
channels_path = "$arg_id"

[[location]]
path = "/shop/stats"
channels_statistics = true
channels_path = "$arg_id"
namespace = "shop"
"#;

fn options(socket: std::path::PathBuf) -> Options {
    Options { socket, inherited: None, timeout: DEADLINE, backoff: DEADLINE, ring_size: 64 << 10 }
}

fn attach(hub: &TestHub, namespace: &str) -> Client {
    let mut client = Client::new(options(hub.socket.clone()));
    client.set_namespace(&Namespace::new(namespace).unwrap());
    client
}

fn get(hub: &TestHub, admin: bool, path: &str) -> Response {
    let mut client = if admin { hub.connect_admin() } else { hub.connect() };
    client.get(path, "Accept: application/json\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    client.response()
}

fn json(answer: &Response) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn texts(answer: &Response) -> Vec<String> {
    let messages = json(answer)["messages"].as_array().unwrap().clone();
    messages
        .iter()
        .map(|message| format!("{}={}", message["channel"].as_str().unwrap(), message["data"].as_str().unwrap()))
        .collect()
}

fn names(client: &mut Client, prefix: &str) -> Vec<String> {
    client.channels(prefix, "", 100).unwrap().into_iter().map(|info| info.name).collect()
}

#[test]
fn a_client_reaches_the_channels_of_its_namespace_only() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let (mut own, mut shop, mut blog) = (attach(&hub, ""), attach(&hub, "shop"), attach(&hub, "blog"));
    for (client, text) in [(&mut own, "own"), (&mut shop, "shop"), (&mut blog, "blog")] {
        client.publish("news", &NewMessage::new(text.as_bytes())).unwrap();
        let published = client.publish("news", &NewMessage { dedupe: Some("k"), ..NewMessage::new(b"2") }).unwrap();
        assert_eq!(published.id, 2, "a dedupe key is of its channel");
        client.publish(&format!("only-{text}"), &NewMessage::new(b"x")).unwrap();
    }
    for (client, text) in [(&mut own, "own"), (&mut shop, "shop"), (&mut blog, "blog")] {
        assert_eq!(names(client, ""), ["news".to_owned(), format!("only-{text}")]);
        assert_eq!(names(client, "only-"), [format!("only-{text}")]);
        assert_eq!(client.channels("", "news", 100).unwrap().len(), 1, "the page after a name");
        let history = client.history("news", Position::START, 10).unwrap();
        assert_eq!(history[0].payload, text.as_bytes());
        assert_eq!(client.channel_info("news").unwrap().unwrap().published, 2);
    }
    // Nothing that a prefix or a name can hold leads out.
    for prefix in ["\0shop/", "\0", "shop/", "\0shop/n", "\u{1}", "/"] {
        assert_eq!(names(&mut own, prefix), [""; 0], "{prefix:?}");
        assert_eq!(names(&mut blog, prefix), [""; 0], "{prefix:?}");
        assert!(own.channels("", prefix, 100).unwrap().len() <= 2, "{prefix:?}");
    }
    for name in ["\0shop/news", "shop/news"] {
        assert!(matches!(own.publish(name, &NewMessage::new(b"x")), Err(Error::InvalidName(_))), "{name:?}");
        assert!(matches!(own.channel_info(name), Err(Error::InvalidName(_))), "{name:?}");
    }
    let random = shop.create_channel(None, ChannelOptions::default()).unwrap();
    assert!(shop.channel_info(&random).unwrap().is_some());
    assert_eq!(own.channel_info(&random).unwrap(), None);
    assert!(shop.delete_channel("news", None).unwrap());
    assert_eq!(shop.channel_info("news").unwrap(), None);
    assert_eq!(own.clear_channel("news").unwrap(), 2);
    assert_eq!(blog.channel_info("news").unwrap().unwrap().stored, 2);
    // The same client in another namespace.
    own.set_namespace(&Namespace::new("blog").unwrap());
    assert_eq!(names(&mut own, ""), ["news", "only-blog"]);
}

#[test]
fn a_location_serves_browsers_of_its_namespace() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut shop = attach(&hub, "shop");
    let mut waiting = hub.connect();
    waiting.get("/shop/lp/news", "");
    let mut other = hub.connect();
    other.get("/lp/news", "");
    wait_until("both wait", || {
        let subscribers = |path: &str| json(&get(&hub, true, path))["subscribers"].as_u64();
        hub.counters("news").is_some() && subscribers("/shop/pub?id=news") == Some(1)
    });
    assert_eq!(shop.publish("news", &NewMessage::new(b"sale")).unwrap().subscribers, 1);
    let answer = waiting.response();
    assert_eq!((answer.status, answer.text()), (200, "sale"));
    assert!(other.is_silent());
    assert_eq!(texts(&get(&hub, false, "/shop/poll/news")), ["news=sale"]);
    assert_eq!(texts(&get(&hub, false, "/poll/news")), [""; 0]);
    // Over HTTP, too, no name leads out of a namespace.
    let answer = get(&hub, false, "/poll/%00shop%2Fnews");
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(get(&hub, true, "/shop/pub?id=news").status, 200);
    let mut publisher = hub.connect_admin();
    publisher.send("POST /shop/pub?id=news HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny");
    assert_eq!(json(&publisher.response())["published_messages"], 2);
    hub.publish("news", "own");
    assert_eq!(other.response().text(), "own");
    publisher.send("DELETE /pub?id=news HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(publisher.response().status, 200);
    assert_eq!(shop.channel_info("news").unwrap().unwrap().stored, 2);
}

#[test]
fn statistics_of_a_namespace_tell_of_its_channels() {
    let hub = hub_with(&[("wildcard_channel_prefix", "b_")], Some(LOCATIONS));
    let mut shop = attach(&hub, "shop");
    for name in ["one", "two", "b_all"] {
        shop.publish(name, &NewMessage::new(b"x")).unwrap();
    }
    hub.publish("own", "x");
    hub.publish("one", "x");
    let mut waiting = hub.connect();
    waiting.get("/shop/lp/one", "");
    let listed = |path: &str| -> Vec<String> {
        let list = json(&get(&hub, true, path));
        list["infos"].as_array().unwrap().iter().map(|info| info["channel"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed("/shop/stats?id=ALL"), ["b_all", "one", "two"]);
    assert_eq!(listed("/shop/stats?id=t*"), ["two"]);
    assert_eq!(listed("/channels-stats?id=ALL"), ["one", "own"]);
    assert_eq!(get(&hub, true, "/shop/stats?id=own").status, 404);
    wait_until("one waits", || json(&get(&hub, true, "/shop/stats"))["subscribers"] == 1);
    let totals = json(&get(&hub, true, "/shop/stats"));
    let counted =
        ["channels", "wildcard_channels", "published_messages", "stored_messages"].map(|key| totals[key].as_u64());
    assert_eq!(counted, [Some(2), Some(1), Some(3), Some(3)]);
    // Those of the empty namespace are the operator's: of the whole hub.
    assert_eq!(json(&get(&hub, true, "/channels-stats"))["published_messages"], 5);
}

#[test]
fn a_subscription_of_a_program_is_of_its_namespace() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut shop = attach(&hub, "shop");
    let mut subscription = Subscription::new(attach(&hub, "shop"), &["news"], None).unwrap();
    hub.publish("news", "own");
    shop.publish("news", &NewMessage::new(b"sale")).unwrap();
    let mut received = None;
    wait_until("it comes", || {
        received = subscription.receive().unwrap();
        received.is_some()
    });
    let Some(Delivery::Message { channel, message }) = received else { panic!("{received:?}") };
    assert_eq!((channel.as_str(), message.payload.as_slice()), ("news", &b"sale"[..]));
}

#[test]
fn a_token_is_good_in_its_namespace_and_a_user_is_sent_away_there_only() {
    let hub = hub_with(&[("authorized_channels_only", "token")], Some(LOCATIONS));
    let (mut own, mut shop) = (attach(&hub, ""), attach(&hub, "shop"));
    let tokens = [&mut own, &mut shop].map(|client| client.token(&["news"], Some("7"), 60, b"", false).unwrap());
    let status = |path: &str, token: &str| get(&hub, false, &format!("{path}?token={token}")).status;
    assert_eq!(status("/poll/news", &tokens[0]), 200);
    assert_eq!(status("/shop/poll/news", &tokens[1]), 200);
    assert_eq!(status("/poll/news", &tokens[1]), 401);
    assert_eq!(status("/shop/poll/news", &tokens[0]), 401);
    let mut waiting = ["/lp/news", "/shop/lp/news"].map(|path| (hub.connect(), path));
    for ((client, path), token) in waiting.iter_mut().zip(&tokens) {
        client.get(&format!("{path}?token={token}"), "");
    }
    wait_until("both wait", || {
        [&mut own, &mut shop].map(|client| client.channel_info("news").unwrap().map_or(0, |info| info.subscribers))
            == [1, 1]
    });
    assert_eq!(shop.disconnect(Some("7"), None, "out", true).unwrap(), 1);
    assert_eq!(waiting[1].0.response().status, 403);
    assert!(waiting[0].0.is_silent());
    assert_eq!(status("/shop/poll/news", &tokens[1]), 401, "it was revoked");
    assert_eq!(status("/poll/news", &tokens[0]), 200);
}

#[test]
fn each_namespace_has_an_events_channel_of_its_own() {
    let hub = hub_with(&[("events_channel_id", "ev")], Some(LOCATIONS));
    let mut shop = attach(&hub, "shop");
    let refused = shop.publish("ev", &NewMessage::new(b"x"));
    assert!(matches!(refused, Err(Error::AccessDenied(_))), "{refused:?}");
    assert_eq!(names(&mut shop, ""), [""; 0], "a refused publication makes nothing");
    let mut waiting = hub.connect();
    waiting.get("/shop/lp/ev", "");
    wait_until("it waits", || shop.channel_info("ev").unwrap().is_some_and(|info| info.subscribers == 1));
    hub.publish("elsewhere", "x");
    shop.publish("here", &NewMessage::new(b"x")).unwrap();
    assert_eq!(waiting.response().text(), "{\"type\": \"channel_created\", \"channel\": \"here\"}");
    let mut own = attach(&hub, "");
    let events = own.history("ev", Position::START, 10).unwrap();
    let told: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned()).collect();
    assert_eq!(told, ["{\"type\": \"channel_created\", \"channel\": \"elsewhere\"}"]);
    let status = own.status().unwrap();
    assert_eq!(status.messages, 2, "events are not counted");
}

#[test]
fn the_hub_that_follows_a_killed_one_knows_the_namespaces_of_channels_and_clients() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[("events_channel_id", "ev")]));
    let client = |namespace: &str| {
        let mut client =
            Client::new(Options { backoff: std::time::Duration::from_millis(1), ..options(site.socket()) });
        client.set_namespace(&Namespace::new(namespace).unwrap());
        client
    };
    let (mut own, mut shop) = (client(""), client("shop"));
    own.publish("news", &NewMessage::new(b"own")).unwrap();
    let first = shop.publish("news", &NewMessage::new(b"shop")).unwrap();
    for round in 1..=2 {
        let hub = site.hub();
        // What lies in a ring is carried out by the hub that takes it over.
        support::stop_process(hub);
        for _ in 0..10 {
            shop.publish_async("news", &NewMessage::new(b"later")).unwrap();
        }
        signal(hub, Signal::KILL);
        wait_until("the hub is replaced", || children(running.pid()).iter().any(|pid| *pid != hub && !gone(*pid)));
        assert_eq!(shop.channel_info("news").unwrap().unwrap().published, first.id + round * 10);
        assert_eq!(own.channel_info("news").unwrap().unwrap().published, 1);
        assert_eq!(names(&mut own, ""), ["ev", "news"]);
        assert_eq!(names(&mut shop, ""), ["ev", "news"]);
    }
    let history = shop.history("news", Position::START, 1).unwrap();
    assert_eq!((history[0].id, history[0].payload.as_slice()), (1, &b"shop"[..]));
}
