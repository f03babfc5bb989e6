//! Publishing and asking for counters over HTTP, byte by byte.

mod support;

use std::io::Write;

use support::{Client, Response, TestHub, hub, hub_with, steady};

const LOCATIONS: &str = r#"
[[location]]
path = "/pub"
publisher = "admin"
channels_path = "$arg_id"

[[location]]
path = "/normal"
publisher = "normal"
channels_path = "$arg_id"

[[location]]
path = "/silent"
publisher = "admin"
channels_path = "$arg_id"
channel_info_on_publish = "off"

[[location]]
path = "/unstored"
publisher = "normal"
channels_path = "$arg_id"
store_messages = "off"

[[location]]
path = "/lp/"
subscriber = "long-polling"

[[location]]
path = "/poll/"
subscriber = "polling"
"#;

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

fn ask(client: &mut Client, request: &str, headers: &str, body: &str) -> Response {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{body}"));
    client.response()
}

fn explain(answer: &Response) -> (u16, &str) {
    (answer.status, answer.header("X-Nginx-PushStream-Explain").unwrap_or_default())
}

#[test]
fn counters_come_in_the_format_that_is_accepted() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    ask(&mut client, "POST /pub?id=ch", "", "x");
    for (accept, content_type, body) in [
        (
            "application/json",
            "application/json",
            "{\"channel\": \"ch\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n",
        ),
        (
            "text/html;q=1, text/x-json",
            "text/x-json",
            "{\"channel\": \"ch\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n",
        ),
        (
            "image/*, text/plain;q=0.1, application/xml",
            "text/plain",
            "channel: ch\r\npublished_messages: 1\r\nstored_messages: 1\r\nactive_subscribers: 0\r\n",
        ),
        (
            "application/yaml",
            "application/yaml",
            "  channel: ch\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n",
        ),
        (
            "text/x-yaml",
            "text/x-yaml",
            "  channel: ch\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n",
        ),
        (
            "application/xml",
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<channel>\r\n  <name>ch</name>\r\n  \
             <published_messages>1</published_messages>\r\n  <stored_messages>1</stored_messages>\r\n  \
             <subscribers>0</subscribers>\r\n</channel>\r\n",
        ),
    ] {
        let answer = ask(&mut client, "GET /pub?id=ch", &format!("Accept: {accept}\r\n"), "");
        assert_eq!((answer.status, answer.text()), (200, body), "{accept}");
        assert_eq!(answer.header("Content-Type"), Some(content_type));
        assert_eq!(answer.header("Expires"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
        assert_eq!(answer.header("Cache-Control"), Some("no-cache, no-store, must-revalidate"));
        let length = answer.body.len().to_string();
        client.send(&format!("HEAD /pub?id=ch HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
        let head = client.head_response();
        assert_eq!((head.status, head.header("Content-Length")), (200, Some(length.as_str())));
        assert_eq!(head.header("Content-Type"), Some(content_type));
    }
}

#[test]
fn several_channels_are_a_list_in_every_format() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let published = ask(&mut client, "POST /pub?id=a/b", "Accept: text/plain\r\n", "x");
    assert_eq!(
        steady(&published),
        "hostname: HOST\r\ntime: TIME\r\nchannels: 2\r\nwildcard_channels: 0\r\nuptime: UPTIME\r\ninfos:\r\n\
         channel: a\r\npublished_messages: 1\r\nstored_messages: 1\r\nactive_subscribers: 0\r\n\r\n\
         channel: b\r\npublished_messages: 1\r\nstored_messages: 1\r\nactive_subscribers: 0\r\n"
    );
    for (accept, body) in [
        (
            "text/json",
            "{\"hostname\": \"HOST\", \"time\": \"TIME\", \"channels\": 2, \"wildcard_channels\": 0, \"uptime\": UPTIME, \
             \"infos\": [{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}, \
             {\"channel\": \"b\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}]}\r\n",
        ),
        (
            "text/yaml",
            "hostname: HOST\r\ntime: TIME\r\nchannels: 2\r\nwildcard_channels: 0\r\nuptime: UPTIME\r\ninfos:\r\n \
             -\r\n  channel: a\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n \
             -\r\n  channel: b\r\n  published_messages: 1\r\n  stored_messages: 1\r\n  subscribers: 0\r\n",
        ),
        (
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<root>\r\n  <hostname>HOST</hostname>\r\n  \
             <time>TIME</time>\r\n  <channels>2</channels>\r\n  <wildcard_channels>0</wildcard_channels>\r\n  \
             <uptime>UPTIME</uptime>\r\n  <infos>\r\n    <channel>\r\n      <name>a</name>\r\n      \
             <published_messages>1</published_messages>\r\n      <stored_messages>1</stored_messages>\r\n      \
             <subscribers>0</subscribers>\r\n    </channel>\r\n    <channel>\r\n      <name>b</name>\r\n      \
             <published_messages>1</published_messages>\r\n      <stored_messages>1</stored_messages>\r\n      \
             <subscribers>0</subscribers>\r\n    </channel>\r\n  </infos>\r\n</root>\r\n",
        ),
    ] {
        // Unknown channels are left out, those named twice come once, a backlog means nothing.
        let answer = ask(&mut client, "GET /pub?id=/a/none/b.b5/a/", &format!("Accept: {accept}\r\n"), "");
        assert_eq!(steady(&answer), body);
    }
    let single = ask(&mut client, "GET /pub?id=none/b", "Accept: text/plain\r\n", "");
    assert!(single.text().starts_with("channel: b\r\n"), "one that is left has the single form");
}

#[test]
fn names_are_escaped_in_the_answer() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let id = "%22%3C%26%3E%5C%0D%0Asubscribers%3A%209";
    let json = ask(&mut client, &format!("POST /pub?id={id}"), "", "x");
    let value: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    assert_eq!(value["channel"], "\"<&>\\\r\nsubscribers: 9");
    for (accept, first) in [
        ("text/plain", "channel: \"<&>\\\\u000d\\u000asubscribers: 9\r\n"),
        ("text/yaml", "  channel: \"\\\"<&>\\\\\\u000d\\u000asubscribers: 9\"\r\n"),
        (
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<channel>\r\n  \
             <name>&quot;&lt;&amp;&gt;\\&#13;&#10;subscribers: 9</name>\r\n",
        ),
    ] {
        let answer = ask(&mut client, &format!("GET /pub?id={id}"), &format!("Accept: {accept}\r\n"), "");
        assert!(answer.text().starts_with(first), "{}", answer.text());
    }
}

#[test]
fn methods_follow_the_kind_of_the_location() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    ask(&mut client, "POST /pub?id=a", "", "x");
    for method in ["PATCH", "CONNECT", "TRACE", "BREW", "get"] {
        let answer = ask(&mut client, &format!("{method} /pub?id=a"), "", "");
        assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET, POST, PUT, DELETE")), "{method}");
        assert_eq!((answer.header("Content-Length"), answer.header("Content-Type")), (Some("0"), None));
    }
    let refused = ask(&mut client, "DELETE /normal?id=a", "", "");
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET, POST, PUT")));
    assert_eq!(ask(&mut client, "GET /normal?id=a", "", "").status, 200);
    assert_eq!(ask(&mut client, "PUT /normal?id=a", "", "y").status, 200);
    let options = ask(&mut client, "OPTIONS /normal", "", "");
    assert_eq!((options.status, options.header("Content-Length")), (200, Some("0")), "it needs no channel");
    let missing = ask(&mut client, "GET /normal?id=none", "", "");
    assert_eq!((explain(&missing), missing.header("Content-Length")), ((404, ""), Some("0")));
}

#[test]
fn every_method_is_refused_reserved_long_and_missing_ids() {
    let hub = hub_with(&[("max_channel_id_length", "5")], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    for method in ["GET", "POST", "PUT", "DELETE"] {
        let body = if method == "GET" { "" } else { "x" };
        for (id, reason) in [
            ("?id=ALL", (403, "Channel id not authorized for this method.")),
            ("?id=ok/a*b", (403, "Channel id not authorized for this method.")),
            ("?id=toolong", (400, "Channel id is too large.")),
            ("?id=%67%C3%BC%C3%BC%C3%BC", (400, "Channel id is too large.")),
            ("?id=", (400, "No channel id provided.")),
            ("?id=/", (400, "No channel id provided.")),
            ("", (400, "No channel id provided.")),
        ] {
            let answer = ask(&mut client, &format!("{method} /pub{id}"), "", body);
            assert_eq!(explain(&answer), reason, "{method} {id}");
            assert_eq!((answer.header("Content-Length"), answer.header("Content-Type")), (Some("0"), None));
        }
    }
    assert!(hub.counters("ok").is_none(), "a set that is refused creates none of its channels");
}

#[test]
fn a_refused_publication_creates_nothing() {
    let hub = hub_with(&[("max_number_of_channels", "2"), ("max_message_size", "10")], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    for method in ["POST", "PUT"] {
        let empty = ask(&mut client, &format!("{method} /pub?id=a"), "Content-Length: 0\r\n", "");
        assert_eq!(explain(&empty), (400, "Empty post requests are not allowed."));
        let none = ask(&mut client, &format!("{method} /pub?id=a"), "", "");
        assert_eq!(explain(&none), (400, "Empty post requests are not allowed."));
    }
    assert!(hub.counters("a").is_none());
    let large = ask(&mut client, "POST /pub?id=a", "", "12345678901");
    assert_eq!(large.status, 413);
    let mut client = hub.connect_admin();
    assert!(hub.counters("a").is_none());
    let latin = "POST /pub?id=a HTTP/1.1\r\nHost: x\r\nEvent-Id: \u{e4}\r\nContent-Length: 1\r\n\r\nx";
    client.socket.write_all(&latin.chars().map(|letter| letter as u8).collect::<Vec<_>>()).expect("the hub reads");
    assert_eq!(explain(&client.response()), (400, "Event-Id must be UTF-8"));
    let long = ask(&mut client, "POST /pub?id=a", &format!("Event-Type: {}\r\n", "t".repeat(1025)), "x");
    assert_eq!(explain(&long), (400, "event must be 1 to 1024 bytes without line breaks and NUL"));
    assert!(hub.counters("a").is_none());
    let several = ask(&mut client, "POST /pub?id=a/b/c", "", "x");
    assert_eq!(explain(&several), (403, "Number of channels were exceeded."));
    for channel in ["a", "b", "c"] {
        assert!(hub.counters(channel).is_none(), "{channel}");
    }
    assert_eq!(ask(&mut client, "POST /pub?id=a/b", "", "x").status, 200);
    let third = ask(&mut client, "POST /pub?id=c", "", "x");
    assert_eq!(explain(&third), (403, "Number of channels were exceeded."));
    assert_eq!(ask(&mut client, "POST /pub?id=b", "", "x").status, 200);
}

#[test]
fn a_publication_may_be_answered_without_counters() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let answer = ask(&mut client, "POST /silent?id=a/b", "", "x");
    assert_eq!((explain(&answer), answer.header("Content-Length")), ((200, ""), Some("0")));
    assert_eq!(answer.header("Content-Type"), None);
    assert!(ask(&mut client, "GET /silent?id=a", "", "").text().starts_with("{\"channel\": \"a\""));
}

#[test]
fn a_channel_that_is_gone_at_once_is_counted_in_the_answer() {
    let hub = hub_with(&[("channel_inactivity_time", "0")], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let answer = ask(&mut client, "POST /unstored?id=a", "", "x");
    assert_eq!(
        answer.text(),
        "{\"channel\": \"a\", \"published_messages\": 1, \"stored_messages\": 0, \"subscribers\": 0}\r\n"
    );
    assert!(hub.counters("a").is_none());
}

#[test]
fn a_message_carries_event_headers_and_every_byte() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let body = [b"\0\r\n\xff~text~".as_slice(), &[0xc3, 0xbc]].concat();
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nEVENT-ID: id 1\r\nevent-type: t\r\nContent-Type: image/png\r\n");
    client.send("Transfer-Encoding: chunked\r\n\r\n");
    for byte in &body {
        client.socket.write_all(&[b"1\r\n", &[*byte][..], b"\r\n"].concat()).expect("the hub reads");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let mut reader = hub.connect();
    reader.get("/poll/a", FROM_START);
    assert_eq!(reader.response().body, body);
    reader.get("/poll/a?position=0.0", "Accept: application/json\r\n");
    let value: serde_json::Value = serde_json::from_slice(&reader.response().body).expect("JSON");
    let message = &value["messages"][0];
    assert_eq!((&message["event"], &message["encoding"]), (&"t".into(), &"base64".into()));
}

#[test]
fn an_unstored_message_reaches_who_waits_and_nobody_later() {
    let hub = hub_with(&[], Some(LOCATIONS));
    let mut reader = hub.connect();
    reader.get("/lp/a", "");
    hub.wait_for_subscribers("a", 1);
    let mut client = hub.connect_admin();
    let answer = ask(&mut client, "POST /unstored?id=a", "", "now");
    assert!(answer.text().contains("\"published_messages\": 1, \"stored_messages\": 0, "), "{}", answer.text());
    assert_eq!(reader.response().text(), "now");
    reader.get("/poll/a", FROM_START);
    assert_eq!(reader.response().status, 304);
}

fn waiting(hub: &TestHub, channel: &str) -> Client {
    let mut client = hub.connect();
    client.get(&format!("/lp/{channel}"), "");
    hub.wait_for_subscribers(channel, 1);
    client
}

#[test]
fn deleting_tells_subscribers_the_text_of_the_body_or_the_configured_one() {
    let hub = hub_with(&[("channel_deleted_message_text", "it is gone")], Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let mut reader = waiting(&hub, "a");
    let deleted = ask(&mut client, "DELETE /pub?id=a", "", "");
    assert_eq!((explain(&deleted), deleted.header("Content-Length")), ((200, "Channel deleted."), Some("0")));
    assert_eq!(reader.response().text(), "it is gone");
    let mut reader = waiting(&hub, "a");
    assert_eq!(explain(&ask(&mut client, "DELETE /pub?id=none/a", "", "so long")), (200, "Channel deleted."));
    assert_eq!(reader.response().text(), "so long");
    assert_eq!(explain(&ask(&mut client, "DELETE /pub?id=a/none", "", "")), (404, ""));
    // Its place is free at once, and numbers begin anew.
    ask(&mut client, "POST /pub?id=a", "", "1");
    ask(&mut client, "POST /pub?id=a", "", "2");
    ask(&mut client, "DELETE /pub?id=a", "", "");
    assert!(ask(&mut client, "POST /pub?id=a", "", "3").text().contains("\"published_messages\": 1,"));
}

#[test]
fn a_slash_before_the_first_channel_means_nothing() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    let answer = ask(
        &mut client,
        "POST /pub?id=/ch&_=17",
        "Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "t%20x",
    );
    assert_eq!(
        answer.text(),
        "{\"channel\": \"ch\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n"
    );
}

#[test]
fn wildcard_channels_have_a_maximum_of_their_own() {
    let settings = [
        ("wildcard_channel_prefix", "all_"),
        ("max_number_of_wildcard_channels", "2"),
        ("max_number_of_channels", "1"),
        ("channel_inactivity_time", "0"),
    ];
    let hub = hub_with(&settings, Some(LOCATIONS));
    let mut client = hub.connect_admin();
    let exceeded = (403, "Number of channels were exceeded.");
    for (id, answer) in [
        ("a", (200, "")),
        ("b", exceeded),
        ("all_1/all_2/all_3", exceeded),
        ("all_1", (200, "")),
        ("a/all_1/all_2", (200, "")),
        ("all_3", exceeded),
        ("all", exceeded),
        ("all_2/b", exceeded),
        ("a/all_2", (200, "")),
    ] {
        assert_eq!(explain(&ask(&mut client, &format!("POST /pub?id={id}"), "", "x")), answer, "{id}");
    }
    let list = ask(&mut client, "GET /pub?id=all_1/a", "Accept: text/plain\r\n", "");
    assert!(list.text().contains("\r\nchannels: 1\r\nwildcard_channels: 2\r\n"), "{}", list.text());
    ask(&mut client, "DELETE /pub?id=all_2", "", "");
    assert_eq!(ask(&mut client, "POST /pub?id=all_3", "", "x").status, 200, "a deleted one gives its place back");
}

#[test]
fn a_backlog_in_the_id_is_ignored_and_what_is_none_belongs_to_the_name() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    for (id, channel) in [
        ("a.b3", "a"),
        ("a.b0", "a"),
        ("a.b99999999999", "a"),
        ("a/", "a"),
        ("//a//", "a"),
        ("a.bx", "a.bx"),
        ("a.b2x", "a.b2x"),
        ("a.b5.b3", "a.b5"),
        (".b3", ".b3"),
        ("a+b", "a+b"),
        ("a%2Bb%20c", "a+b c"),
        ("a%2541", "a%41"),
        ("a%3Fb", "a?b"),
        ("%c3%a4", "\u{e4}"),
        ("All", "All"),
        ("A", "A"),
    ] {
        let answer = ask(&mut client, &format!("POST /pub?id={id}"), "", "x");
        let value: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status, &value["channel"]), (200, &channel.into()), "{id}");
    }
    for (id, reason) in
        [("a%00b", "a channel name must not contain NUL bytes"), ("%ff", "a channel name must be valid UTF-8")]
    {
        assert_eq!(explain(&ask(&mut client, &format!("POST /pub?id={id}"), "", "x")), (400, reason), "{id}");
    }
}

#[test]
fn without_memory_for_another_channel_the_publisher_is_told_when_to_come_again() {
    let hub = hub_with(&[("memory_limit", "1m"), ("max_message_size", "1k")], Some(LOCATIONS));
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = |number: usize| push_core::channel::ChannelName::new(format!("{number:0200}").as_bytes(), 255);
    let options = push_core::channel::ChannelOptions::default;
    let count = (0..100_000)
        .take_while(|&number| engine.create_channel(Some(name(number).expect("a name")), options()).is_ok());
    assert!(count.count() < 100_000);
    let mut client = hub.connect_admin();
    let long = "n".repeat(200);
    let full = ask(&mut client, &format!("POST /pub?id={long}"), "", "x");
    assert_eq!(
        explain(&full),
        (503, "memory_limit (1048576 bytes) is reached and no stored message is left to give way")
    );
    assert_eq!((full.header("Retry-After"), full.header("Content-Length")), (Some("5"), Some("0")));
    let mut reader = hub.connect();
    reader.get(&format!("/lp/{long}"), "");
    assert_eq!(reader.response().status, 503);
    assert!(hub.counters(&long).is_none());
}
