//! Templates over real sockets: placeholders, escapes, headers and footers, padding.

mod support;

use support::{TestHub, hub_with};

/// Every kind of subscriber location with these directives.
fn framed(settings: &[(&str, &str)], keys: &str) -> TestHub {
    let modes = [
        ("stream", "streaming"),
        ("ev", "eventsource"),
        ("lp", "long-polling"),
        ("poll", "polling"),
        ("ws", "websocket"),
    ];
    let locations: String = modes
        .iter()
        .map(|(path, mode)| format!("[[location]]\npath = '/{path}/'\nsubscriber = '{mode}'\n{keys}\n"))
        .collect();
    let publisher = "[[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n";
    hub_with(settings, Some(&format!("{locations}{publisher}")))
}

fn publish(hub: &TestHub, channel: &str, headers: &str, body: &[u8]) {
    let mut admin = hub.connect_admin();
    admin.send(&format!(
        "POST /pub?id={channel} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    ));
    std::io::Write::write_all(&mut admin.socket, body).expect("the hub reads");
    assert_eq!(admin.response().status, 200);
}

/// The newest message, as a poll has it.
fn newest(hub: &TestHub, channel: &str) -> String {
    let mut client = hub.connect();
    client.get(&format!("/poll/{channel}.b1"), "");
    client.response().text().to_owned()
}

#[test]
fn every_placeholder_is_filled_in_every_mode() {
    let keys = "message_template = '~id~|~channel~|~text~|~size~|~time~|~tag~|~event-id~|~event-type~|~TEXT~~Id~|~what~|~ id~|~'";
    let hub = framed(&[], keys);
    let (mut stream, mut socket, mut events) =
        (hub.stream("/stream/a%7Eb"), hub.websocket("/ws/a~b"), hub.events("/ev/a~b"));
    let mut poll = hub.connect();
    poll.get("/lp/a~b", "");
    hub.wait_for_subscribers("a~b", 4);
    publish(&hub, "a~b", "Event-Id: e~text~1\r\nEvent-Type: kind\r\n", "~id~ é".as_bytes());
    let answer = poll.response();
    let (time, tag) = (answer.header("Last-Modified").expect("a time"), answer.header("Etag").expect("a tag"));
    let tag = tag.trim_start_matches("W/");
    let expected = format!("1|a~b|~id~ é|7|{time}|{tag}|e~text~1|kind|~id~ é1|~what~|~ id~|~");
    assert_eq!(answer.text(), expected);
    stream.expect(&expected);
    assert_eq!(
        (socket.text(), events.event().data, newest(&hub, "a~b")),
        (expected.clone(), expected.clone(), expected)
    );
    publish(&hub, "c", "", b"x");
    assert!(newest(&hub, "c").ends_with("|||x1|~what~|~ id~|~"), "{}", newest(&hub, "c"));
}

#[test]
fn texts_are_escaped_for_where_they_stand() {
    let keys = "message_template = '{\"t\":\"~text-json~\",\"c\":\"~channel-json~\",\"e\":\"~event-id-json~\",\"k\":\"~event-type-json~\"}\n'";
    let keys = keys.replace('\n', "");
    let hub = framed(&[], &keys);
    let text = "\"}{\\ </script>\u{2028}\t\r\n\u{0}\u{1f} é 😀 %41 '&";
    publish(&hub, "a%22b", "Event-Id: \"i\r\nEvent-Type: \\k\r\n", text.as_bytes());
    let body = newest(&hub, "a%22b");
    assert!(!body[1..].contains('<') && !body.contains("}{"), "{body}");
    let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(value, serde_json::json!({"t": text, "c": "a\"b", "e": "\"i", "k": "\\k"}));
    // Bytes that are no text give a text all the same.
    publish(&hub, "b", "", b"\xff\xc3(x");
    let value: serde_json::Value = serde_json::from_str(&newest(&hub, "b")).expect("JSON");
    assert_eq!(value["t"], "\u{fffd}\u{fffd}(x");

    let hub = framed(&[], "message_template = '~text-uri~ ~channel-uri~'");
    publish(&hub, "a%22b", "", "a b+%41é'\"<}{".as_bytes());
    assert_eq!(newest(&hub, "a%22b"), "a%20b%2B%2541%C3%A9%27%22%3C%7D%7B a%22b");

    let hub = framed(&[], "message_template = '<b title=\"~text-html~\">~channel-html~'");
    publish(&hub, "a%3Cb", "", "<i>\"&'é".as_bytes());
    assert_eq!(newest(&hub, "a%3Cb"), "<b title=\"&lt;i&gt;&quot;&amp;&#39;é\">a&lt;b");
}

#[test]
fn the_plain_text_is_inserted_as_it_is() {
    let hub = framed(&[], "message_template = '<~text~>'");
    publish(&hub, "a", "", "\"\\</b>\u{0}".as_bytes());
    assert_eq!(newest(&hub, "a"), "<\"\\</b>\u{0}>");
}

#[test]
fn header_and_footer_frame_answers_with_messages_and_no_others() {
    let hub = framed(
        &[("longpolling_connection_ttl", "1s")],
        "header_template = 'H~id~'\nfooter_template = 'F'\nmessage_template = '[~text~]'",
    );
    publish(&hub, "a", "", b"1");
    publish(&hub, "a", "", b"2");
    let mut client = hub.connect();
    for path in ["/poll/a.b2", "/lp/a.b2"] {
        client.get(path, "");
        assert_eq!(client.response().text(), "H~id~[1][2]F", "placeholders mean nothing in a header");
    }
    client.get("/lp/a", "");
    let answer = client.response();
    assert_eq!((answer.status, answer.text()), (304, ""));
    client.get("/poll/a", "");
    assert_eq!(client.response().status, 304);
    let mut socket = hub.websocket("/ws/a.b1");
    assert_eq!([socket.text(), socket.text()], ["H~id~", "[2]"]);
    let mut stream = hub.stream("/stream/a.b1");
    stream.expect("H~id~[2]");
}

#[test]
fn a_header_may_come_from_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("header.html");
    std::fs::write(&file, "<html>\r\n<script>p = 1</script>\n").expect("a file");
    let hub = framed(&[], &format!("header_template_file = '{}'", file.display()));
    // Read at the start.
    std::fs::remove_file(&file).expect("a file");
    let mut stream = hub.stream("/stream/a");
    stream.expect("<html>\r\n<script>p = 1</script>\n");
    publish(&hub, "a", "", b"x");
    stream.expect("x");
}

#[test]
fn short_pieces_are_padded_for_agents_that_hold_them_back() {
    let keys = "header_template = 'head'\npadding_by_user_agent = '[Ss]afari,300,150:Old[:,]Agent,0,40'";
    let hub = framed(&[], keys);
    let safari = "User-Agent: Mozilla/5.0 Safari/534\r\n";
    let (_, mut stream) = hub.stream_with("/stream/a", safari);
    let head = stream.padded("head");
    assert!((300..=400).contains(&head), "{head} bytes of header");
    publish(&hub, "a", "", b"x");
    let message = stream.padded("x");
    assert!((150..=250).contains(&message), "{message} bytes of message");
    publish(&hub, "a", "", &[b'y'; 200]);
    stream.expect([b'y'; 200]);
    assert!(stream.is_silent());

    // As comments in an event stream, which a browser does not see.
    let (_, mut stream) = hub.stream_with("/ev/a", safari);
    let mut seen = 0;
    while seen < 300 {
        let line = stream.line();
        assert!(line.is_empty() || line.starts_with(':') || line.starts_with("id: "), "{line:?}");
        seen += line.len() + 1;
    }
    assert!(seen <= 450, "{seen} bytes of header");
    publish(&hub, "a", "", b"x");
    let mut events = support::stream::Events { stream, last_id: String::new() };
    assert_eq!(events.data(), "x");

    // The second group; and nobody else.
    let (_, mut stream) = hub.stream_with("/stream/a", "User-Agent: Old:Agent\r\n");
    stream.expect("head");
    publish(&hub, "a", "", b"x");
    let message = stream.padded("x");
    assert!((40..=140).contains(&message), "{message} bytes of message");
    for agent in ["", "User-Agent: curl/8\r\n"] {
        let (_, mut stream) = hub.stream_with("/stream/a", agent);
        stream.expect("head");
        assert!(stream.is_silent());
        publish(&hub, "a", "", b"x");
        stream.expect("x");
        assert!(stream.is_silent());
    }
    // Polls and WebSockets are never padded.
    let mut client = hub.connect();
    client.get("/lp/a.b1", safari);
    assert_eq!(client.response().text(), "headx");
    let mut socket = hub.websocket_with("/ws/a.b1", safari).1;
    assert_eq!([socket.text(), socket.text()], ["head", "x"]);
}

#[test]
fn the_agent_may_come_from_an_argument() {
    let hub = framed(&[], "padding_by_user_agent = 'Safari,0,100'\nuser_agent = '$arg_ua'");
    for (path, headers, padded) in [
        ("/stream/a?ua=Mobile%20Safari", "User-Agent: curl\r\n", true),
        ("/stream/a?ua=curl", "User-Agent: Safari\r\n", false),
        ("/stream/a?ua=", "User-Agent: Safari\r\n", true),
    ] {
        let (_, mut stream) = hub.stream_with(path, headers);
        publish(&hub, "a", "", b"x");
        if padded {
            assert!(stream.padded("x") >= 100, "{path}");
        } else {
            stream.expect("x");
            assert!(stream.is_silent(), "{path}");
        }
    }
}

#[test]
fn the_answer_of_a_busy_channel_is_laid_out_once_for_each_form() {
    let hub = framed(&[], "message_template = '~id~:~text~;'\npadding_by_user_agent = 'Pad,0,20'");
    let mut plain: Vec<_> = (0..10).map(|_| hub.stream("/stream/a")).collect();
    let mut padded: Vec<_> = (0..10).map(|_| hub.stream_with("/stream/a", "User-Agent: Pad\r\n").1).collect();
    let mut sockets: Vec<_> = (0..10).map(|_| hub.websocket("/ws/a")).collect();
    hub.wait_for_subscribers("a", 30);
    for number in 1..=20 {
        publish(&hub, "a", "", number.to_string().as_bytes());
    }
    for number in 1..=20 {
        let expected = format!("{number}:{number};");
        plain.iter_mut().for_each(|stream| stream.expect(&expected));
        sockets.iter_mut().for_each(|socket| assert_eq!(socket.text(), expected));
        for stream in &mut padded {
            stream.expect(&expected);
            stream.expect("\r\n".repeat((20 - expected.len()).div_ceil(2)));
        }
    }
}
