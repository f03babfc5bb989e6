//! Who may subscribe to what: wildcard channels and the maxima, over real sockets.

mod support;

use support::{Client, Response, TestHub, hub_with};

const PREFIX: (&str, &str) = ("wildcard_channel_prefix", "all_");
const EXEMPT: &str = r#"
[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"

[[location]]
path = "/lp/"
subscriber = "long-polling"
authorized_channels_only = "on"

[[location]]
path = "/poll/"
subscriber = "polling"
authorized_channels_only = "on"

[[location]]
path = "/channels-stats"
channels_statistics = true
channels_path = "$arg_id"
"#;

fn explain(answer: &Response) -> (u16, &str) {
    (answer.status, answer.header("X-Nginx-PushStream-Explain").unwrap_or_default())
}

/// What a poll of the path is refused with, or 304.
fn poll(hub: &TestHub, path: &str) -> (u16, String) {
    let mut client = hub.connect();
    client.get(path, "");
    let answer = client.response();
    let (status, reason) = explain(&answer);
    (status, reason.to_owned())
}

fn waiting(hub: &TestHub, path: &str, channel: &str) -> Client {
    let mut client = hub.connect();
    client.get(path, "");
    hub.wait_for_subscribers(channel, 1);
    client
}

fn refused(status: u16, reason: &str) -> (u16, String) {
    (status, reason.to_owned())
}

#[test]
fn wildcard_channels_need_no_authorization() {
    let hub = hub_with(&[PREFIX], Some(EXEMPT));
    let closed = refused(403, "Subscriber could not create channels.");
    assert_eq!(poll(&hub, "/lp/a"), closed);
    assert_eq!(poll(&hub, "/lp/all_1/a"), closed);
    assert_eq!(poll(&hub, "/lp/a/all_1"), closed);
    assert_eq!(poll(&hub, "/poll/all"), closed, "the prefix is all of it");
    assert!(hub.counters("all_1").is_none(), "a set that is refused creates none of its channels");
    let mut client = waiting(&hub, "/lp/all_1", "all_1");
    hub.publish("all_1", "hello");
    assert_eq!(client.response().text(), "hello", "alone they are fine without a maximum");
    hub.publish("a", "stored");
    let mut client = waiting(&hub, "/lp/a/all_2", "all_2");
    hub.publish("a", "both");
    assert_eq!(client.response().text(), "both");
}

#[test]
fn a_maximum_of_wildcard_channels_bounds_each_request_and_wants_company() {
    let hub = hub_with(&[PREFIX, ("max_number_of_wildcard_channels", "2")], Some(EXEMPT));
    hub.publish("a", "stored");
    let refusal = refused(403, "Subscribed too much wildcard channels.");
    for path in ["/lp/all_1", "/poll/all_1", "/poll/all_1/all_2", "/lp/a/all_1/all_2/all_3"] {
        assert_eq!(poll(&hub, path), refusal, "{path}");
    }
    assert_eq!(poll(&hub, "/poll/a/all_1/all_2").0, 304);
    assert_eq!(poll(&hub, "/poll/all_1/all_1.b2/a").0, 304, "a channel named twice counts once");
    assert!(hub.counters("all_1").is_none());
    let _two = waiting(&hub, "/lp/a/all_1/all_2", "all_2");
    assert_eq!(poll(&hub, "/lp/a/all_3"), refused(403, "Number of channels were exceeded."));
    assert_eq!(poll(&hub, "/poll/a/all_3").0, 304, "a poll creates nothing");
    // Authorization is looked at first.
    assert_eq!(poll(&hub, "/lp/none/all_1/all_2/all_3"), refused(403, "Subscriber could not create channels."));
}

#[test]
fn a_location_may_allow_fewer_wildcard_channels() {
    let locations = EXEMPT.replace("path = \"/poll/\"", "path = \"/poll/\"\nwildcard_channel_max_qtd = 1");
    let hub = hub_with(&[PREFIX], Some(&locations));
    hub.publish("a", "stored");
    let refusal = refused(403, "Subscribed too much wildcard channels.");
    assert_eq!(poll(&hub, "/poll/a/all_1/all_2"), refusal);
    assert_eq!(poll(&hub, "/poll/all_1"), refusal);
    assert_eq!(poll(&hub, "/poll/a/all_1").0, 304);
    let _unbounded = waiting(&hub, "/lp/all_1/all_2/all_3", "all_3");
}

#[test]
fn wildcard_channels_are_counted_apart() {
    let hub = hub_with(&[PREFIX, ("max_number_of_channels", "1"), ("authorized_channels_only", "off")], None);
    let _first = waiting(&hub, "/lp/a/all_1/all_2", "a");
    assert_eq!(poll(&hub, "/lp/b"), refused(403, "Number of channels were exceeded."));
    assert_eq!(poll(&hub, "/lp/all_3/b"), refused(403, "Number of channels were exceeded."));
    assert!(hub.counters("all_3").is_none());
    let mut client = hub.connect_admin();
    client.send("GET /channels-stats?id=all_* HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n");
    let text = client.response();
    assert!(text.text().contains("\r\nchannels: 1\r\nwildcard_channels: 2\r\n"), "{}", text.text());
}
