//! Long-polling and polling over real sockets.

mod support;

use support::{TestHub, hub, hub_with, wait_until};

/// A poll that waits, seen from the publisher's side.
fn waiting(hub: &TestHub, channel: &str) -> support::Client {
    let before = hub.counters(channel).map_or(0, |counters| counters["subscribers"].as_u64().expect("a number"));
    let mut client = hub.connect();
    client.get(&format!("/lp/{channel}"), "");
    hub.wait_for_subscribers(channel, before + 1);
    client
}

#[test]
fn a_waiting_poll_gets_the_next_message_and_a_position() {
    let hub = hub(&[]);
    let mut client = waiting(&hub, "a");
    let published = hub.publish("a", "hello");
    assert_eq!(published.status, 200);
    assert_eq!(
        published.text(),
        "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 1}\r\n"
    );
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.header("Etag"), Some("W/1"));
    assert_eq!(answer.header("Content-Type"), Some("text/plain"));
    assert_eq!(answer.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
    assert!(answer.header("Last-Modified").is_some_and(|date| date.ends_with("GMT")));
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn a_poll_resumes_from_the_headers_of_the_last_answer() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/lp/a", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
    let first = client.response();
    assert_eq!(first.text(), "1");
    hub.publish("a", "2");
    hub.publish("a", "3");
    client.get("/lp/a", &first.position_headers());
    let second = client.response();
    assert_eq!(second.text(), "23", "all missed messages at once, in order");
    client.get("/lp/a", &second.position_headers());
    hub.wait_for_subscribers("a", 1);
    assert!(client.is_silent());
    hub.publish("a", "4");
    assert_eq!(client.response().text(), "4");
}
