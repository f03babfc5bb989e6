//! Event streams over real sockets: their bytes, and what a browser makes of them.

mod support;

use push_core::channel::ChannelName;
use push_core::message::NewMessage;
use support::stream::{Event, Stream};
use support::{Response, TestHub, hub, hub_with, wait_until};

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A hub with one event stream location that has these directives, and one to publish.
fn framed(settings: &[(&str, &str)], keys: &str) -> TestHub {
    let locations = format!(
        "[[location]]\npath = '/ev/'\nsubscriber = 'eventsource'\n{keys}
         [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n"
    );
    hub_with(settings, Some(&locations))
}

fn publish(hub: &TestHub, channel: &str, headers: &str, body: &str) -> Response {
    let mut admin = hub.connect_admin();
    let length = body.len();
    admin.send(&format!(
        "POST /pub?id={channel} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    ));
    let answer = admin.response();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

#[test]
fn an_event_stream_begins_with_a_comment_and_the_place_to_resume_from() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a");
    events.stream.expect(": \n");
    // Were the connection lost now, the browser would come back with this, and miss nothing.
    let id = events.wait_for_id();
    assert!(events.stream.line().is_empty());
    assert!(events.stream.is_silent());
    drop(events);
    hub.publish("a", "meanwhile");
    let mut again = hub.events_with("/ev/a", &format!("Last-Event-ID: {id}\r\n"));
    assert_eq!(again.data(), "meanwhile");
}

#[test]
fn each_message_is_an_event() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a");
    events.wait_for_id();
    events.stream.expect("\n");
    publish(&hub, "a", "", "hello");
    let position = hub.head();
    events.stream.expect(format!("id: {position}\ndata: hello\n\n"));
    publish(&hub, "a", "event-id: e 1\r\nEVENT-TYPE: kind\r\n", "typed");
    events.stream.expect("id: e 1\nevent: kind\ndata: typed\n\n");
    publish(&hub, "a", "Event-Type: kind\r\n", "typed");
    let position = hub.head();
    events.stream.expect(format!("id: {position}\nevent: kind\ndata: typed\n\n"));
    assert!(events.stream.is_silent());
}

#[test]
fn every_line_of_a_text_reaches_the_page() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a");
    for text in ["a\nb", "a\r\nb", "a\rb", "a\n\nb", "\n", "a\n", "\r\r\na", "id: 5", "data: x\n\nevent: y", ":", " a"]
    {
        publish(&hub, "a", "", text);
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(events.data(), lines, "{text:?}");
    }
}

#[test]
fn no_publisher_forges_a_field() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a");
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = ChannelName::new(b"a", 255).expect("a name");
    for text in ["x\nid: forged", "x\rdata: forged", "x\r\n\r\n", "x\0"] {
        for message in [
            NewMessage { event: Some(text), ..NewMessage::new(b"x") },
            NewMessage { event_id: Some(text), ..NewMessage::new(b"x") },
        ] {
            assert!(engine.publish(&name, &message).is_err(), "{text:?}");
        }
    }
    publish(&hub, "a", "", "x\n\nid: forged\nevent: forged\n\ndata: forged");
    let event = events.event();
    assert_eq!((event.kind.as_str(), event.id), ("message", hub.head()));
    assert_eq!(event.data, "x\n\nid: forged\nevent: forged\n\ndata: forged");
}

#[test]
fn the_whole_template_is_applied_to_each_line() {
    let hub = framed(&[], "message_template = '<~text~|~size~|~id~>'");
    let mut events = hub.events("/ev/a");
    publish(&hub, "a", "Event-Id: e\r\n", "a\r\nb\rc");
    events.wait_for_id();
    events.stream.expect("\nid: e\ndata: <a|6|1>\ndata: <b|6|1>\ndata: <c|6|1>\n\n");
    let hub = framed(&[], "message_template = 'data: [~text~]'");
    let mut events = hub.events("/ev/a");
    publish(&hub, "a", "", "a\nb");
    assert_eq!(events.data(), "[a]\n[b]");
}

#[test]
fn header_and_footer_are_comments() {
    let keys = "header_template = \"one\\r\\ntwo\\n\"\nfooter_template = \"data: bye\\n\\ndata: now\"";
    let hub = framed(&[("subscriber_connection_ttl", "1s")], keys);
    let mut events = hub.events("/ev/a");
    events.stream.expect(": one\n: two\n");
    events.wait_for_id();
    publish(&hub, "a", "", "x");
    assert_eq!(events.data(), "x");
    events.stream.expect(": data: bye\n: \n: data: now\n");
    events.stream.expect_end();
}

#[test]
fn a_ping_is_a_comment_whatever_its_text() {
    let hub = hub(&[("ping_message_interval", "1s"), ("ping_message_text", "data: forged\n\n")]);
    let mut events = hub.events("/ev/a");
    let opened = events.wait_for_id();
    events.stream.expect("\n");
    publish(&hub, "b", "", "moves the head");
    events.stream.expect(": -1\n");
    // A browser that comes back has nothing to look for before this.
    events.last_id.clear();
    assert!(events.wait_for_id() > opened);
    events.stream.expect("\n: -1\n");
}

#[test]
fn a_deletion_is_an_event_without_id() {
    let hub = hub(&[]);
    let mut events = hub.events("/ev/a");
    events.wait_for_id();
    events.stream.expect("\n");
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ng\r\no");
    assert_eq!(admin.response().status, 200);
    events.stream.expect("data: g\ndata: o\n\n");
    events.stream.expect_end();
}

#[test]
fn a_browser_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let hub = hub(&[]);
    // Everything a page may have put into the address of its stream stays there when the browser comes back.
    let position = hub.head();
    for (channel, address) in [("a", "/ev/a".to_owned()), ("b", format!("/ev/b?position={position}"))] {
        let mut events = hub.events(&address);
        hub.wait_for_subscribers(channel, 1);
        let mut seen = Vec::new();
        for number in 0..12 {
            // Ids of the publisher among those that the hub gives.
            let id = if number % 3 == 0 { format!("Event-Id: {channel}{number}\r\n") } else { String::new() };
            publish(&hub, channel, &id, &number.to_string());
            seen.push(events.data());
            if number % 2 == 0 {
                let last = events.last_id.clone();
                drop(events);
                hub.wait_for_subscribers(channel, 0);
                publish(&hub, channel, "", "meanwhile");
                events = hub.events_with(&address, &format!("Last-Event-ID: {last}\r\n"));
                assert_eq!(events.data(), "meanwhile", "after {number} at {address}");
            }
        }
        let all: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert_eq!(seen, all, "{address}");
    }
}

#[test]
fn a_browser_with_arguments_in_its_address_resumes_from_the_last_event() {
    let hub = hub(&[]);
    publish(&hub, "a", "", "1");
    let mut client = hub.connect();
    client.get("/poll/a", FROM_START);
    let first = client.response();
    let (time, tag) = (first.header("Last-Modified").expect("a time"), first.header("Etag").expect("a tag"));
    let address = format!("/ev/a?time={}&tag={}", time.replace(' ', "%20"), tag.trim_start_matches("W/"));
    publish(&hub, "a", "", "2");
    publish(&hub, "a", "Event-Id: e3\r\n", "3");
    let mut events = hub.events(&address);
    assert_eq!(events.data(), "2");
    let second = events.last_id.clone();
    assert_eq!(events.data(), "3");
    assert_eq!(events.last_id, "e3");
    publish(&hub, "a", "", "4");
    assert_eq!(hub.events_with(&address, &format!("Last-Event-ID: {second}\r\n")).data(), "3");
    assert_eq!(hub.events_with(&address, "Last-Event-ID: e3\r\n").data(), "4");
}

#[test]
fn a_gap_is_an_event_of_its_own() {
    let hub = hub(&[("max_messages_stored_per_channel", "1")]);
    publish(&hub, "a", "Event-Id: e1\r\n", "1");
    let mut events = hub.events_with("/ev/a", FROM_START);
    assert_eq!(events.data(), "1");
    drop(events);
    publish(&hub, "a", "", "2");
    publish(&hub, "a", "", "3");
    let (head, stream) = hub.stream_with("/ev/a", "Last-Event-ID: e1\r\n");
    assert_eq!(head.header("X-Push-Gap"), Some("1"));
    let mut events = support::stream::Events { stream, last_id: String::new() };
    let Event { kind, .. } = events.event();
    assert_eq!(kind, "push.gap");
    assert_eq!(events.data(), "3");
    // With nothing to send the gap carries the place from which to go on, and is not said again.
    let mut events = hub.events_with("/ev/b", "Last-Event-ID: 4294967295.1\r\n");
    let Event { kind, id, .. } = events.event();
    assert_eq!((kind.as_str(), id.as_str()), ("push.gap", hub.head().as_str()));
    publish(&hub, "b", "", "4");
    let mut events = hub.events_with("/ev/b", &format!("Last-Event-ID: {id}\r\n"));
    assert_eq!(events.data(), "4");
}

#[test]
fn http_1_0_gets_events_as_plain_bytes() {
    let hub = framed(&[("subscriber_connection_ttl", "1s")], "");
    let mut client = hub.connect();
    client.send("GET /ev/a HTTP/1.0\r\n\r\n");
    let (head, stream) = Stream::open(client);
    assert_eq!(head.header("Transfer-Encoding"), None);
    let mut events = support::stream::Events { stream, last_id: String::new() };
    hub.wait_for_subscribers("a", 1);
    publish(&hub, "a", "", "x");
    assert_eq!(events.data(), "x");
    events.stream.expect_end();
}

#[test]
fn many_streams_and_channels_share_a_connection_for_nothing() {
    let hub = hub(&[]);
    let mut all: Vec<_> = (0..50).map(|id| hub.events(&format!("/ev/c{}/c{}/all", id % 7, (id + 1) % 7))).collect();
    wait_until("all are there", || hub.counters("all").is_some_and(|counters| counters["subscribers"] == 50));
    for channel in 0..7 {
        publish(&hub, &format!("c{channel}"), "", &channel.to_string());
    }
    publish(&hub, "all", "", "end");
    for (id, events) in all.iter_mut().enumerate() {
        let mut wanted = [id % 7, (id + 1) % 7];
        wanted.sort_unstable();
        assert_eq!([events.data(), events.data()], wanted.map(|channel| channel.to_string()));
        assert_eq!(events.data(), "end");
    }
}
