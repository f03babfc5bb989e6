//! Streaming over real sockets: what comes when, how it is framed, and how it ends.

mod support;

use std::time::{Duration, Instant};

use support::stream::Stream;
use support::{TestHub, hub, hub_with};

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

/// A hub with one streaming location that has these directives, and one to publish.
fn framed(settings: &[(&str, &str)], keys: &str) -> TestHub {
    let locations = format!(
        "[[location]]\npath = '/stream/'\nsubscriber = 'streaming'\n{keys}
         [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n"
    );
    hub_with(settings, Some(&locations))
}

#[test]
fn status_and_headers_come_before_the_first_message() {
    let hub = hub(&[]);
    let (head, mut stream) = hub.stream_with("/stream/a", "");
    assert_eq!((head.version.as_str(), head.status), ("HTTP/1.1", 200));
    assert_eq!(head.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(head.header("Content-Type"), Some("text/plain"));
    assert_eq!(head.header("Expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
    assert_eq!(head.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
    assert_eq!(head.header("X-Content-Type-Options"), Some("nosniff"));
    assert_eq!(head.header("X-Push-Gap"), None);
    hub.wait_for_subscribers("a", 1);
    assert!(stream.is_silent());
    let published = hub.publish("a", "hello");
    assert!(published.text().contains("\"subscribers\": 1"), "{}", published.text());
    stream.expect("hello");
    hub.publish("b", "elsewhere");
    hub.publish("a", " ");
    hub.publish("a", "world");
    stream.expect(" world");
    hub.wait_for_subscribers("a", 1);
    drop(stream);
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn a_message_passes_byte_by_byte() {
    let hub = hub(&[]);
    let mut stream = hub.stream("/stream/a");
    let body: Vec<u8> = (0..=255).cycle().take(60_000).collect();
    let mut admin = hub.connect_admin();
    admin.send(&format!("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len()));
    std::io::Write::write_all(&mut admin.socket, &body).expect("the hub reads");
    assert_eq!(admin.response().status, 200);
    stream.expect(&body);
    assert!(stream.is_silent());
}

#[test]
fn old_messages_come_between_header_and_new_ones() {
    let hub = framed(
        &[],
        "header_template = '<head>'\nmessage_template = '[~id~ ~channel~ ~text~]'\nfooter_template = '<end>'",
    );
    for (channel, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("b", "4")] {
        hub.publish(channel, text);
    }
    let mut new = hub.stream("/stream/a/b");
    let (_, mut all) = hub.stream_with("/stream/b/a", FROM_START);
    let mut newest = hub.stream("/stream/a.b1/b.b2");
    let mut one = hub.stream("/stream/a/b.b1");
    hub.wait_for_subscribers("a", 4);
    hub.publish("a", "5");
    new.expect("<head>[3 a 5]");
    all.expect("<head>[1 a 1][1 b 2][2 a 3][2 b 4][3 a 5]");
    newest.expect("<head>[1 b 2][2 a 3][2 b 4][3 a 5]");
    one.expect("<head>[2 b 4][3 a 5]");
    assert!(new.is_silent());
}

#[test]
fn a_header_is_sent_at_once() {
    let hub = framed(&[], "header_template = \"héad\\n\"");
    let mut stream = hub.stream("/stream/a");
    stream.expect("héad\n");
    assert!(stream.is_silent());
}

#[test]
fn a_message_that_its_template_leaves_empty_stalls_nothing() {
    let hub = framed(&[], "message_template = '~event-id~'");
    let mut stream = hub.stream("/stream/a");
    hub.publish("a", "has no id");
    let mut admin = hub.connect_admin();
    admin.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nEvent-Id: e1\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(admin.response().status, 200);
    stream.expect("e1");
}

#[test]
fn a_ping_passes_through_the_template() {
    let template = "message_template = '(~id~|~channel~|~text~|~size~|~tag~|~time~|~event-id~|~event-type~)'";
    let hub = framed(&[("ping_message_text", "ping")], &format!("{template}\nping_message_interval = '1s'"));
    let mut stream = hub.stream("/stream/a");
    let opened = Instant::now();
    stream.expect("(-1||ping|4|0|Thu, 01 Jan 1970 00:00:00 GMT||)");
    assert!(opened.elapsed() > Duration::from_millis(900), "{:?}", opened.elapsed());
    stream.expect("(-1|");
}

#[test]
fn a_ping_is_a_blank_unless_configured() {
    let hub = hub(&[("ping_message_interval", "1s")]);
    let mut stream = hub.stream("/stream/a");
    stream.expect(" ");
    stream.expect(" ");
}

#[test]
fn the_end_of_a_life_is_the_footer_and_the_last_chunk() {
    let hub = framed(&[("subscriber_connection_ttl", "1s")], "header_template = '<'\nfooter_template = '>'");
    let mut client = hub.connect();
    client.get("/stream/a", "");
    let (_, mut stream) = Stream::open(client);
    let opened = Instant::now();
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "x");
    stream.expect("<x>");
    assert!(opened.elapsed() > Duration::from_millis(900), "{:?}", opened.elapsed());
    stream.expect_end();
    hub.wait_for_subscribers("a", 0);
    // The connection goes on.
    let mut client = stream.client;
    client.get("/stream/a.b1", "");
    let (head, mut again) = Stream::open(client);
    assert_eq!(head.status, 200);
    again.expect("<x>");
    again.expect_end();
}

#[test]
fn a_request_that_comes_during_a_stream_is_served_after_it() {
    let hub = framed(&[("subscriber_connection_ttl", "1s")], "");
    let mut client = hub.connect();
    client.send("GET /stream/a HTTP/1.1\r\nHost: x\r\n\r\nGET /stream/b HTTP/1.1\r\nHost: x\r\n\r\nGET /");
    let (_, mut stream) = Stream::open(client);
    hub.wait_for_subscribers("a", 1);
    assert!(hub.counters("b").is_none());
    hub.publish("a", "1");
    stream.expect("1");
    stream.expect_end();
    let (_, mut stream) = Stream::open(stream.client);
    hub.wait_for_subscribers("b", 1);
    hub.publish("b", "2");
    stream.client.send("stream/a.b1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.expect("2");
    stream.expect_end();
    let (head, mut stream) = Stream::open(stream.client);
    assert_eq!(head.header("Connection"), Some("close"));
    stream.expect("1");
    stream.expect_end();
    stream.client.expect_end();
}

#[test]
fn http_1_0_gets_bytes_until_the_end_of_the_connection() {
    let hub = framed(&[("subscriber_connection_ttl", "1s")], "header_template = '<'\nfooter_template = '>'");
    for keep in ["", "Connection: keep-alive\r\n"] {
        let mut client = hub.connect();
        client.send(&format!("GET /stream/a HTTP/1.0\r\n{keep}\r\n"));
        let (head, mut stream) = Stream::open(client);
        assert_eq!((head.status, head.header("Transfer-Encoding")), (200, None), "{head:?}");
        assert_eq!(head.header("Connection"), Some("close"));
        hub.wait_for_subscribers("a", 1);
        hub.publish("a", "x");
        stream.expect("<x>");
        stream.expect_end();
        hub.wait_for_subscribers("a", 0);
    }
}

#[test]
fn a_client_that_leaves_gives_its_seat_back_at_once() {
    let hub = hub(&[]);
    let streams: Vec<Stream> = (0..10).map(|_| hub.stream("/stream/a/b")).collect();
    hub.wait_for_subscribers("a", 10);
    for stream in streams.iter().take(5) {
        stream.client.socket.shutdown(std::net::Shutdown::Write).expect("a socket");
    }
    hub.wait_for_subscribers("b", 5);
    drop(streams);
    hub.wait_for_subscribers("a", 0);
    hub.wait_for_subscribers("b", 0);
}

fn delete(hub: &TestHub, channel: &str, text: &str) {
    let mut admin = hub.connect_admin();
    admin
        .send(&format!("DELETE /pub?id={channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
    assert_eq!(admin.response().header("X-Nginx-PushStream-Explain"), Some("Channel deleted."));
}

#[test]
fn a_deleted_channel_is_said_and_ends_who_has_no_other() {
    let hub = framed(&[], "message_template = '[~id~ ~channel~ ~text~]'\nfooter_template = '<end>'");
    let (mut alone, mut both) = (hub.stream("/stream/a"), hub.stream("/stream/b/a"));
    let mut other = hub.stream("/stream/b");
    hub.wait_for_subscribers("a", 2);
    hub.wait_for_subscribers("b", 2);
    hub.publish("a", "1");
    delete(&hub, "a", "");
    alone.expect("[1 a 1][-2 a Channel deleted]<end>");
    alone.expect_end();
    both.expect("[1 a 1][-2 a Channel deleted]");
    // A new channel of that name is another one.
    hub.publish("a", "new");
    hub.publish("b", "2");
    both.expect("[1 b 2]");
    delete(&hub, "b", "closed for today");
    both.expect("[-2 b closed for today]<end>");
    both.expect_end();
    other.expect("[1 b 2][-2 b closed for today]<end>");
    other.expect_end();
    let counters = hub.counters("a").expect("the new one");
    assert_eq!((&counters["published_messages"], &counters["subscribers"]), (&1.into(), &0.into()));
}

#[test]
fn the_texts_of_deletion_are_configurable() {
    let hub = framed(&[("channel_deleted_message_text", "bye")], "message_template = '~id~~text~'");
    let mut stream = hub.stream("/stream/a");
    delete(&hub, "a", "");
    stream.expect("-2bye");
    stream.expect_end();
}

#[test]
fn a_header_turns_a_stream_into_a_poll() {
    let hub = hub(&[("max_messages_stored_per_channel", "1")]);
    let mut client = hub.connect();
    for path in ["/stream/a", "/poll/a"] {
        hub.publish("a", "1");
        client.get(path, "X-Nginx-PushStream-Mode: polling\r\n");
        assert_eq!(client.response().status, 304, "{path}");
        client.get(path, &format!("X-Nginx-PushStream-Mode: polling\r\n{FROM_START}"));
        let answer = client.response();
        assert_eq!((answer.text(), answer.header("Content-Type")), ("1", Some("text/plain")), "{path}");
        assert!(answer.position_headers().contains("W/"));
        client.get(path, "X-Nginx-PushStream-Mode: long-polling\r\n");
        hub.wait_for_subscribers("a", 1);
        hub.publish("a", "2");
        assert_eq!(client.response().text(), "2", "{path}");
        hub.wait_for_subscribers("a", 0);
    }
    // What is no mode changes nothing.
    client.get("/stream/a", "X-Nginx-PushStream-Mode: websocket\r\n");
    let (_, mut stream) = Stream::open(client);
    hub.publish("a", "3");
    stream.expect("3");
}

#[test]
fn a_header_turns_an_event_stream_into_a_poll_in_its_layout() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    client.get("/ev/a", "X-Nginx-PushStream-Mode: long-polling\r\n");
    hub.wait_for_subscribers("a", 1);
    let mut admin = hub.connect_admin();
    admin.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nEvent-Id: e1\r\nEvent-Type: t\r\nContent-Length: 3\r\n\r\nx\ny");
    assert_eq!(admin.response().status, 200);
    let answer = client.response();
    assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("text/plain")));
    assert!(answer.text().ends_with("id: e1\nevent: t\ndata: x\ndata: y\n\n"), "{:?}", answer.text());
    client.get("/ev/a", "X-Nginx-PushStream-Mode: polling\r\n");
    assert_eq!(client.response().status, 304);
}

/// Path, headers, status and explanation of a refusal.
fn refused(hub: &TestHub, path: &str, status: u16, explain: &str) {
    for prefix in ["/stream", "/ev", "/lp", "/poll"] {
        let mut client = hub.connect();
        client.get(&format!("{prefix}{path}"), "");
        let answer = client.response();
        assert_eq!(answer.status, status, "{prefix}{path}");
        assert_eq!(answer.header("X-Nginx-PushStream-Explain"), Some(explain), "{prefix}{path}");
        assert_eq!((answer.header("Content-Length"), answer.header("Content-Type")), (Some("0"), None));
        assert_eq!(answer.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
        // The connection goes on.
        client.get(&format!("{prefix}{path}"), "");
        assert_eq!(client.response().status, status);
    }
}

#[test]
fn refusals_are_the_same_in_every_mode() {
    let hub = hub(&[("max_channel_id_length", "5")]);
    refused(&hub, "/", 400, "No channel id provided.");
    refused(&hub, "", 400, "No channel id provided.");
    refused(&hub, "/ALL", 403, "Channel id not authorized for this method.");
    refused(&hub, "/a/x*y", 403, "Channel id not authorized for this method.");
    refused(&hub, "/a/123456", 400, "Channel id is too large.");
    assert!(hub.counters("a").is_none(), "a refused subscription creates nothing");
}

#[test]
fn limits_refuse_before_anything_is_created() {
    let hub = hub(&[("max_number_of_channels", "2"), ("max_subscribers_per_channel", "1")]);
    let _seated = hub.stream("/stream/a");
    for prefix in ["/stream", "/ev", "/lp"] {
        let mut client = hub.connect();
        client.get(&format!("{prefix}/b/a"), "");
        let answer = client.response();
        let explain = answer.header("X-Nginx-PushStream-Explain");
        assert_eq!((answer.status, explain), (403, Some("Subscribers limit per channel has been exceeded.")));
        client.get(&format!("{prefix}/b/c"), "");
        let answer = client.response();
        let explain = answer.header("X-Nginx-PushStream-Explain");
        assert_eq!((answer.status, explain), (403, Some("Number of channels were exceeded.")));
        assert!(hub.counters("b").is_none() && hub.counters("c").is_none());
    }
}

#[test]
fn a_subscription_names_no_more_channels_than_allowed() {
    let hub = hub(&[("max_channels_per_subscription", "2")]);
    for prefix in ["/stream", "/ev", "/lp", "/poll"] {
        let mut client = hub.connect();
        client.get(&format!("{prefix}/a/b/c"), "");
        let answer = client.response();
        assert_eq!(answer.status, 403, "{prefix}");
        assert!(answer.header("X-Nginx-PushStream-Explain").is_some_and(|explain| explain.contains('2')), "{answer:?}");
    }
    let reason = hub.websocket("/ws/a/b/c").expect_close().expect("a reason");
    assert_eq!(reason.0, 1008);
    let reason: serde_json::Value = serde_json::from_str(&reason.1).expect("JSON");
    assert_eq!(reason["http_status"], 403);
    assert!(hub.counters("a").is_none());
    let _seated = hub.stream("/stream/a/b");
    hub.wait_for_subscribers("b", 1);
}

#[test]
fn a_long_poll_lives_as_long_as_any_subscriber_unless_it_has_its_own_time() {
    for settings in [
        [("subscriber_connection_ttl", "1s"), ("longpolling_connection_ttl", "none")],
        [("subscriber_connection_ttl", "1h"), ("longpolling_connection_ttl", "1s")],
    ] {
        let hub = hub(&settings);
        let mut client = hub.connect();
        let asked = Instant::now();
        client.get("/lp/a", "");
        assert_eq!(client.response().status, 304);
        let waited = asked.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(10), "{waited:?}");
    }
}

#[test]
fn only_channels_with_a_message_are_open_when_authorized_only() {
    let hub = hub(&[("authorized_channels_only", "on")]);
    refused(&hub, "/a", 403, "Subscriber could not create channels.");
    hub.publish("a", "1");
    hub.stream("/stream/a.b1").expect("1");
    refused(&hub, "/a/b", 403, "Subscriber could not create channels.");
}

#[test]
fn only_get_subscribes() {
    let hub = hub(&[]);
    for path in ["/stream/a", "/ev/a", "/lp/a", "/poll/a"] {
        for method in ["POST", "PUT", "DELETE", "PATCH", "BREW"] {
            let mut client = hub.connect();
            client.send(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
            let answer = client.response();
            assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET")), "{method} {path}");
        }
        let mut client = hub.connect();
        client.send(&format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = client.head_response();
        assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET")), "HEAD {path}");
        let mut client = hub.connect();
        client.send(&format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, ""), "OPTIONS {path}");
    }
    assert!(hub.counters("a").is_none());
}

#[test]
fn a_drained_hub_ends_every_transport_in_its_way() {
    let locations = "
        [[location]]\npath = '/stream/'\nsubscriber = 'streaming'\nfooter_template = '<end>'
        [[location]]\npath = '/ev/'\nsubscriber = 'eventsource'\nfooter_template = \"bye\\nnow\"
        [[location]]\npath = '/ws/'\nsubscriber = 'websocket'\nfooter_template = '<end>'
        [[location]]\npath = '/lp/'\nsubscriber = 'long-polling'\nfooter_template = '<end>'
        [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n";
    let mut hub = hub_with(&[], Some(locations));
    let (mut stream, mut events, mut socket) = (hub.stream("/stream/a"), hub.events("/ev/a"), hub.websocket("/ws/a"));
    let mut old = hub.connect();
    old.send("GET /stream/a HTTP/1.0\r\n\r\n");
    let (_, mut old) = Stream::open(old);
    let mut poll = hub.connect();
    poll.get("/lp/a", "");
    hub.wait_for_subscribers("a", 5);
    hub.publish("a", "last");
    hub.hub.take().expect("running").drain();
    stream.expect("last<end>");
    stream.expect_end();
    stream.client.expect_end();
    old.expect("last<end>");
    old.expect_end();
    assert_eq!(events.data(), "last");
    events.stream.expect(": bye\n: now\n");
    events.stream.expect_end();
    assert_eq!([socket.text(), socket.text()], ["last", "<end>"]);
    assert_eq!(socket.expect_close(), None);
    assert_eq!(poll.response().text(), "last<end>");
    poll.expect_end();
}
