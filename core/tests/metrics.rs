//! What an operator watches, over real sockets.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use push_core::client::{Client as Caller, Options};
use support::{Client, DEADLINE, Response, TestHub, hub, hub_with, wait_until};

fn ask(client: &mut Client, request: &str) -> Response {
    client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.response()
}

/// Every sample by its name and labels.
fn metrics(hub: &TestHub) -> BTreeMap<String, f64> {
    let answer = ask(&mut hub.connect_admin(), "GET /metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("Content-Type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        (name.to_owned(), value.parse().expect("a number"))
    });
    parsed.collect()
}

fn metric(hub: &TestHub, name: &str) -> f64 {
    *metrics(hub).get(name).unwrap_or_else(|| panic!("{name} is shown"))
}

fn wait_for(hub: &TestHub, name: &str, value: f64) {
    wait_until(&format!("{name} is {value}"), || metric(hub, name) == value);
}

/// Reads until the text has come.
fn read_until(client: &mut Client, wanted: &str) {
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains(wanted) {
        let mut buffer = [0; 4096];
        let n = client.socket.read(&mut buffer).expect("more in time");
        assert!(n > 0, "it ended after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&buffer[..n]);
    }
}

#[test]
fn connections_are_shown_by_transport() {
    let hub = hub(&[]);
    let shown = |transport: &str| format!("push_connections{{transport=\"{transport}\"}}");
    let handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut clients = Vec::new();
    for (path, transport, headers) in [
        ("/lp/a/b", "long-polling", ""),
        ("/stream/a", "streaming", ""),
        ("/ev/a", "eventsource", ""),
        ("/ws/a", "websocket", handshake),
    ] {
        assert_eq!(metric(&hub, &shown(transport)), 0.0);
        let mut client = hub.connect();
        client.get(path, headers);
        wait_for(&hub, &shown(transport), 1.0);
        clients.push((client, transport));
    }
    assert_eq!(metric(&hub, "push_subscriptions"), 5.0);
    assert_eq!(metric(&hub, "push_channels"), 2.0);
    hub.publish("a", "hello");
    for (client, _) in &mut clients {
        read_until(client, "hello");
    }
    wait_for(&hub, "push_delivered_messages_total", 4.0);
    assert_eq!(metric(&hub, "push_published_messages_total"), 1.0);
    wait_for(&hub, &shown("long-polling"), 0.0);
    assert!(metric(&hub, &shown("none")) >= 1.0, "the connection of the poll is open");
    for (client, transport) in clients {
        drop(client);
        wait_for(&hub, &shown(transport), 0.0);
    }
    wait_for(&hub, "push_subscriptions", 0.0);
    wait_for(&hub, &shown("none"), 1.0);
}

#[test]
fn the_time_until_a_message_is_written_is_shown() {
    let hub = hub(&[("threads", "1")]);
    for number in 1..=3 {
        let mut client = hub.connect();
        client.get("/lp/a", "");
        hub.wait_for_subscribers("a", 1);
        hub.publish("a", "x");
        assert_eq!(client.response().text(), "x");
        wait_for(&hub, "push_publish_to_write_seconds_count", f64::from(number));
    }
    let metrics = metrics(&hub);
    let buckets = metrics.iter().filter(|(name, _)| name.starts_with("push_publish_to_write_seconds_bucket"));
    assert_eq!(buckets.count(), 14);
    assert_eq!(metrics["push_publish_to_write_seconds_bucket{le=\"+Inf\"}"], 3.0);
    let sum = metrics["push_publish_to_write_seconds_sum"];
    assert!(sum > 0.0 && sum < DEADLINE.as_secs_f64(), "{sum}");
    assert!(metrics["push_wake_ups_total"] >= 3.0);
}

#[test]
fn what_is_read_from_the_log_is_counted_too_and_so_is_what_is_missing() {
    let hub = hub(&[("memory_limit", "1m"), ("max_messages_stored_per_channel", "none")]);
    hub.publish("a", "1");
    hub.publish("a", "2");
    let mut client = hub.connect();
    client.get("/poll/a?position=0.0", "");
    let answer = client.response();
    assert_eq!((answer.text(), metric(&hub, "push_delivered_messages_total")), ("12", 2.0));
    assert_eq!(metric(&hub, "push_gaps_total"), 0.0);
    let large = "x".repeat(60_000);
    for _ in 0..20 {
        hub.publish("b", &large);
    }
    assert!(metric(&hub, "push_evicted_messages_total") >= 2.0);
    let memory = metric(&hub, "push_memory_bytes");
    assert!(memory > 500_000.0 && memory <= 1_048_576.0, "{memory}");
    assert!(metric(&hub, "push_log_bytes") <= memory);
    client.get("/poll/a?position=1001.0", "");
    assert_eq!(client.response().header("X-Push-Gap"), Some("1"));
    assert_eq!(metric(&hub, "push_gaps_total"), 1.0);
}

#[test]
fn attached_processes_are_counted_while_they_live() {
    let hub = hub(&[]);
    let attach = || {
        let mut caller = Caller::new(Options {
            socket: hub.socket.clone(),
            inherited: None,
            timeout: DEADLINE,
            backoff: DEADLINE,
            ring_size: 64 << 10,
        });
        assert!(caller.ping(DEADLINE));
        caller
    };
    let (first, second) = (attach(), attach());
    assert_eq!(metric(&hub, "push_ring_clients"), 2.0);
    drop(first);
    wait_for(&hub, "push_ring_clients", 1.0);
    drop(second);
    wait_for(&hub, "push_ring_clients", 0.0);
}

#[test]
fn both_paths_are_fixed_and_private() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    let health = ask(&mut client, "GET /healthz");
    assert_eq!((health.status, health.text(), health.header("Content-Type")), (200, "ok\r\n", Some("text/plain")));
    client.send("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head_response().status, 200);
    for path in ["/metrics", "/healthz"] {
        let refused = ask(&mut client, &format!("POST {path}"));
        assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET")));
        assert_eq!(ask(&mut client, &format!("OPTIONS {path}")).status, 200);
        assert_eq!(ask(&mut client, &format!("GET {path}/")).status, 404);
        assert_eq!(ask(&mut hub.connect(), &format!("GET {path}")).status, 404, "not for the public");
    }
}

#[test]
fn the_manual_names_every_metric_and_no_other() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploy.md");
    let manual = std::fs::read_to_string(manual).expect("the manual");
    let rows = manual.lines().filter(|line| line.starts_with("| `push_"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let named: BTreeSet<&str> =
        cells.flat_map(|cell| cell.split('`')).filter(|text| text.starts_with("push_")).collect();
    let named: BTreeSet<&str> = named.into_iter().map(|name| name.trim_end_matches("{transport}")).collect();
    let shown = metrics(&hub(&[]));
    let parts = ["_bucket", "_sum", "_count"];
    let shown: BTreeSet<&str> = shown
        .keys()
        .map(|sample| sample.split('{').next().unwrap_or_default())
        .map(|name| parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name))
        .collect();
    assert_eq!(named, shown);
}

#[test]
fn a_location_of_the_same_path_goes_first() {
    let locations = r#"
[[location]]
path = "/"
channels_statistics = true

[[location]]
path = "/metrics"
channels_statistics = true
channels_path = "$arg_id"
"#;
    let hub = hub_with(&[], Some(locations));
    let mut client = hub.connect_admin();
    assert!(ask(&mut client, "GET /metrics").text().contains("\"by_worker\""));
    assert_eq!(ask(&mut client, "GET /healthz").text(), "ok\r\n", "a shorter path does not");
}
