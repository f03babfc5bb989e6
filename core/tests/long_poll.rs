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

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

#[test]
fn the_position_may_come_as_arguments() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a", FROM_START);
    let first = client.response();
    let (date, tag) = (first.header("Last-Modified").expect("a time"), first.header("Etag").expect("a tag"));
    hub.publish("a", "2");
    let (date, tag) = (date.replace(' ', "%20"), tag.trim_start_matches("W/"));
    for path in [
        format!("/poll/a?time={date}&tag={tag}"),
        format!("/poll/a?time={date}&tag=W/{tag}"),
        format!("/poll/a?_=17&time={}&tag=%22{tag}%22", date.replace(':', "%3A")),
    ] {
        client.get(&path, FROM_START);
        assert_eq!(client.response().text(), "2", "{path}");
    }
    // An argument that is empty falls back to the header.
    client.get("/poll/a?time=&tag=", &first.position_headers());
    assert_eq!(client.response().text(), "2");
    // Without a tag the whole second comes again.
    client.get(&format!("/poll/a?time={date}"), "");
    assert_eq!(client.response().text(), "12");
}

#[test]
fn the_position_may_come_as_one_argument() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a?position=0.0", "Accept: application/json\r\n");
    let first: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    hub.publish("a", "2");
    client.get(&format!("/poll/a?position={}", first["position"].as_str().expect("a position")), "");
    assert_eq!(client.response().text(), "2");
    client.get("/poll/a?position=yesterday", "");
    let refused = client.response();
    assert_eq!(refused.status, 400);
    assert!(refused.header("X-Nginx-PushStream-Explain").is_some_and(|reason| reason.contains("<time>.<tag>")));
}

#[test]
fn a_first_poll_of_an_unchanged_client_waits() {
    let hub = hub(&[]);
    hub.publish("a", "old");
    let mut client = hub.connect();
    client.get("/lp/a?_=1&tag=&time=&eventid=", "If-None-Match: 0\r\nIf-Modified-Since: null\r\n");
    hub.wait_for_subscribers("a", 1);
    assert!(client.is_silent());
    hub.publish("a", "new");
    assert_eq!(client.response().text(), "new");
}

#[test]
fn a_timeout_is_304_with_the_head() {
    let hub = hub(&[("longpolling_connection_ttl", "1s")]);
    hub.publish("a", "old");
    let mut client = waiting(&hub, "a");
    hub.publish("elsewhere", "moves the head");
    let timeout = client.response();
    assert_eq!((timeout.status, timeout.header("Content-Length")), (304, None));
    assert_eq!(timeout.header("X-Push-Gap"), None);
    let mut other = hub.connect();
    other.get("/poll/elsewhere", FROM_START);
    assert_eq!(other.response().position_headers(), timeout.position_headers(), "the position of the newest message");
    hub.publish("a", "next");
    client.get("/lp/a", &timeout.position_headers());
    assert_eq!(client.response().text(), "next");
}

#[test]
fn polling_answers_at_once_and_creates_nothing() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    client.get("/poll/a", "");
    let nothing = client.response();
    assert_eq!(nothing.status, 304);
    assert!(hub.counters("a").is_none());
    hub.publish("a", "1");
    client.get("/poll/a", &nothing.position_headers());
    assert_eq!(client.response().text(), "1");
}

#[test]
fn several_channels_are_merged_by_position() {
    let hub = hub(&[]);
    for (channel, text) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "x"), ("b", "4")] {
        hub.publish(channel, text);
    }
    let mut client = hub.connect();
    client.get("/lp/a/b", FROM_START);
    assert_eq!(client.response().text(), "1234");
    client.get("/poll/a.b1/b.b1", "");
    assert_eq!(client.response().text(), "34");
    client.get("/poll/a.b9/b", "");
    assert_eq!(client.response().text(), "13", "b asks for nothing old");
    client.get("/poll/a.b1/a.b2/", "");
    assert_eq!(client.response().text(), "13", "a channel named twice counts once");
}

#[test]
fn names_are_decoded_once() {
    let hub = hub(&[]);
    hub.publish("gr%C3%BC%C3%9Fe+1", "1");
    let mut client = hub.connect();
    client.get("/poll/gr%c3%bc%c3%9fe%2B1.b1", "Accept: application/json\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    assert_eq!(answer["messages"][0]["channel"], "gr\u{fc}\u{df}e+1");
    client.get("/poll/x%2541", FROM_START);
    assert_eq!(client.response().status, 304);
    hub.publish("x%2541", "2");
    client.get("/poll/x%2541", FROM_START);
    assert_eq!(client.response().text(), "2");
    client.get("/poll/y%2Fx%2541", FROM_START);
    assert_eq!(client.response().text(), "2", "an encoded slash separates channels");
}

#[test]
fn json_carries_values_texts_and_bytes() {
    let hub = hub(&[]);
    hub.publish("a", "plain \"text\"");
    let mut client = hub.connect_admin();
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nEvent-Type: dot\r\n\r\n");
    std::io::Write::write_all(&mut client.socket, &[0xff, 0, b'x']).expect("the hub reads");
    assert_eq!(client.response().status, 200);
    let mut client = hub.connect();
    client.get("/lp/a", &format!("{FROM_START}Accept: text/html, application/json;q=0.9\r\n"));
    let answer = client.response();
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(answer["gap"], false);
    let messages = answer["messages"].as_array().expect("a list");
    assert_eq!((&messages[0]["data"], &messages[0]["id"]), (&"plain \"text\"".into(), &1.into()));
    assert_eq!((&messages[1]["data"], &messages[1]["encoding"]), (&"/wB4".into(), &"base64".into()));
    assert_eq!(messages[1]["event"], "dot");
    let position = format!("{}.{}", messages[1]["time"], messages[1]["tag"]);
    assert_eq!(answer["position"], position);
}

#[test]
fn json_is_always_200() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    client.get("/poll/a?position=5.1", "Accept: application/json\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    assert_eq!((&answer["messages"], &answer["gap"]), (&serde_json::json!([]), &true.into()));
    let position = answer["position"].as_str().expect("a position");
    client.get(&format!("/poll/a?position={position}"), "Accept: application/json\r\n");
    let answer: serde_json::Value = serde_json::from_slice(&client.response().body).expect("JSON");
    assert_eq!(answer["gap"], false);
}

#[test]
fn what_is_gone_is_said() {
    let hub = hub(&[("max_messages_stored_per_channel", "2")]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a", FROM_START);
    let seen = client.response();
    for text in ["2", "3", "4"] {
        hub.publish("a", text);
    }
    client.get("/lp/a", &seen.position_headers());
    let gap = client.response();
    assert_eq!((gap.text(), gap.header("X-Push-Gap")), ("34", Some("1")));
    client.get("/poll/a", &gap.position_headers());
    assert_eq!(client.response().header("X-Push-Gap"), None);
    // From the beginning is all that is stored, and no gap.
    client.get("/poll/a", FROM_START);
    let all = client.response();
    assert_eq!((all.text(), all.header("X-Push-Gap")), ("34", None));
    // A position that this hub has not reached.
    client.get("/lp/a?position=4294967295.0", "");
    let beyond = client.response();
    assert_eq!((beyond.status, beyond.header("X-Push-Gap")), (304, Some("1")));
    assert_eq!(beyond.position_headers(), gap.position_headers());
    // A channel that was deleted with its messages, and one of that name that came later.
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(admin.response().header("X-Nginx-PushStream-Explain"), Some("Channel deleted."));
    client.get("/poll/a", &seen.position_headers());
    assert_eq!(client.response().header("X-Push-Gap"), Some("1"));
    hub.publish("a", "5");
    client.get("/poll/a", &seen.position_headers());
    let recreated = client.response();
    assert_eq!((recreated.text(), recreated.header("X-Push-Gap")), ("5", Some("1")));
}

#[test]
fn everyone_who_waits_gets_a_message_that_the_channel_does_not_keep() {
    let locations = r#"
[[location]]
path = "/lp/"
subscriber = "long-polling"
[[location]]
path = "/pub"
publisher = "normal"
channels_path = "$arg_id"
store_messages = "off"
"#;
    let hub = hub_with(&[], Some(locations));
    let mut clients: Vec<_> = (0..20).map(|_| waiting(&hub, "a")).collect();
    hub.publish("a", "passing");
    for client in &mut clients {
        assert_eq!(client.response().text(), "passing");
    }
    let mut late = hub.connect();
    late.get("/lp/a", FROM_START);
    hub.wait_for_subscribers("a", 1);
    assert!(late.is_silent());
}

#[test]
fn live_answers_carry_one_message_each_though_the_channel_keeps_one() {
    let hub = hub(&[("max_messages_stored_per_channel", "1")]);
    let mut clients: Vec<_> = (0..10).map(|_| waiting(&hub, "a")).collect();
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = push_core::channel::ChannelName::new(b"a", 255).expect("a name");
    for text in ["first", "second"] {
        engine.publish(&name, &push_core::message::NewMessage::new(text.as_bytes())).expect("published");
    }
    for client in &mut clients {
        let first = client.response();
        assert_eq!((first.text(), first.header("X-Push-Gap")), ("first", None));
        client.get("/lp/a", &first.position_headers());
        assert_eq!(client.response().text(), "second");
    }
}

#[test]
fn deletion_ends_the_polls_of_the_channel() {
    let hub = hub(&[]);
    let mut plain = hub.connect();
    plain.get("/lp/a/b", "");
    hub.wait_for_subscribers("a", 1);
    let mut json = hub.connect();
    json.get("/lp/a", "Accept: application/json\r\n");
    hub.wait_for_subscribers("a", 2);
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nbye");
    assert_eq!(admin.response().status, 200);
    assert_eq!(plain.response().text(), "bye");
    let answer: serde_json::Value = serde_json::from_slice(&json.response().body).expect("JSON");
    assert_eq!((&answer["messages"][0]["id"], &answer["messages"][0]["data"]), (&(-2).into(), &"bye".into()));
    hub.wait_for_subscribers("b", 0);
    assert!(hub.counters("a").is_none());
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(admin.response().status, 404);
    let mut again = waiting(&hub, "a");
    let engine = hub.hub.as_ref().expect("running").engine();
    let (name, long) = (push_core::channel::ChannelName::new(b"a", 255).expect("a name"), vec![0; 65 << 10]);
    assert!(engine.delete_channel(&name, Some(&long)).is_err(), "a text is a message, with its limit");
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(again.response().text(), "Channel deleted");
}

#[test]
fn a_deletion_hides_no_message_that_comes_right_after_it() {
    let hub = hub(&[]);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let name = |text: &str| push_core::channel::ChannelName::new(text.as_bytes(), 255).expect("a name");
    for round in 0..50 {
        let mut client = hub.connect();
        client.get("/lp/a/b", "");
        hub.wait_for_subscribers("a", 1);
        // Both before the client's thread has looked.
        assert_eq!(engine.delete_channel(&name("a"), None), Ok(true));
        let text = format!("{round}");
        engine.publish(&name("b"), &push_core::message::NewMessage::new(text.as_bytes())).expect("published");
        let deleted = client.response();
        assert_eq!(deleted.text(), "Channel deleted");
        client.get("/poll/b", &deleted.position_headers());
        let next = client.response();
        assert_eq!((next.status, next.header("X-Push-Gap")), (200, None));
        assert_eq!(next.text(), text);
    }
}

fn explained(response: &support::Response) -> (u16, &str) {
    (response.status, response.header("X-Nginx-PushStream-Explain").unwrap_or_default())
}

#[test]
fn subscribers_are_refused_with_the_reason() {
    let hub = hub(&[
        ("max_channel_id_length", "10"),
        ("max_number_of_channels", "2"),
        ("max_subscribers_per_channel", "1"),
        ("max_channels_per_subscription", "3"),
    ]);
    hub.publish("a", "1");
    let _seated = waiting(&hub, "b");
    let mut client = hub.connect();
    for (path, status, reason) in [
        ("/lp/", 400, "No channel id provided."),
        ("/lp/ALL", 403, "Channel id not authorized for this method."),
        ("/lp/a/x*", 403, "Channel id not authorized for this method."),
        ("/lp/elevenbytes", 400, "Channel id is too large."),
        ("/lp/a%00b", 400, "a channel name must not contain NUL bytes"),
        ("/lp/a%ffb", 400, "a channel name must be valid UTF-8"),
        ("/lp/b", 403, "Subscribers limit per channel has been exceeded."),
        ("/poll/b", 403, "Subscribers limit per channel has been exceeded."),
        ("/lp/c", 403, "Number of channels were exceeded."),
        ("/lp/1/2/3/4", 403, "the subscription names more channels than max_channels_per_subscription allows (3)"),
        ("/nowhere", 404, "There is no location for this path on this listener."),
        ("/pub?id=a", 404, "There is no location for this path on this listener."),
    ] {
        client.get(path, "");
        assert_eq!(explained(&client.response()), (status, reason), "{path}");
    }
    // A set that is refused creates none of its channels.
    client.get("/lp/d/ALL", "");
    assert_eq!(client.response().status, 403);
    assert!(hub.counters("d").is_none());
    client.send("OPTIONS /lp/a HTTP/1.1\r\nHost: x\r\n\r\nPOST /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let refused = client.response();
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET")));
}

#[test]
fn only_created_channels_and_those_with_messages_are_open_when_authorized_only() {
    let hub = hub(&[("authorized_channels_only", "on")]);
    let mut client = hub.connect();
    client.get("/lp/a", "");
    assert_eq!(explained(&client.response()), (403, "Subscriber could not create channels."));
    client.get("/poll/a", "");
    assert_eq!(client.response().status, 403);
    hub.publish("a", "1");
    client.get("/poll/a", FROM_START);
    assert_eq!(client.response().text(), "1");
    client.get("/lp/a/b", FROM_START);
    assert_eq!(client.response().status, 403, "every channel has to be open");
    let engine = hub.hub.as_ref().expect("running").engine();
    let created = engine.create_channel(None, push_core::channel::ChannelOptions::default()).expect("created");
    assert_eq!(created.len(), 22);
    let mut client = waiting(&hub, &created);
    hub.publish(&created, "2");
    assert_eq!(client.response().text(), "2");
}

#[test]
fn publishers_are_refused_with_the_reason() {
    let hub = hub(&[("max_number_of_channels", "1"), ("max_channel_id_length", "10")]);
    hub.publish("a", "1");
    let mut client = hub.connect_admin();
    for (request, status, reason) in [
        ("POST /pub?id=a", 400, "Empty post requests are not allowed."),
        ("POST /pub", 400, "No channel id provided."),
        ("POST /pub?id=", 400, "No channel id provided."),
        ("DELETE /pub?id=ALL", 403, "Channel id not authorized for this method."),
        ("GET /pub?id=elevenbytes", 400, "Channel id is too large."),
        ("GET /pub?id=none", 404, ""),
        ("PATCH /pub?id=a", 405, ""),
        ("DELETE /pub", 400, "No channel id provided."),
        ("OPTIONS /pub?id=ALL", 200, ""),
    ] {
        client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(explained(&client.response()), (status, reason), "{request}");
    }
    assert_eq!(explained(&hub.publish("b", "x")), (403, "Number of channels were exceeded."));
    assert_eq!(explained(&hub.publish("a/b", "x")), (403, "Number of channels were exceeded."));
    // A leading slash means nothing, and several channels are answered by a list.
    assert_eq!(hub.publish("/a", "x").status, 200);
    client.send("GET /pub?id=a/none HTTP/1.1\r\nHost: x\r\n\r\nGET /pub?id=a.b3 HTTP/1.1\r\nHost: x\r\n\r\n");
    let single = client.response();
    assert!(single.text().starts_with("{\"channel\": \"a\", \"published_messages\": 2,"), "{}", single.text());
    assert_eq!(client.response().text(), single.text());
}

#[test]
fn several_channels_are_published_to_in_one_request() {
    let hub = hub(&[]);
    let answer = hub.publish("a/b", "both");
    let list: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(list["channels"], 2);
    let infos = list["infos"].as_array().expect("a list");
    assert_eq!((&infos[0]["channel"], &infos[1]["channel"]), (&"a".into(), &"b".into()));
    let time = list["time"].as_str().expect("a time");
    assert_eq!((time.len(), &time[10..11]), (19, "T"));
}

#[test]
fn messages_and_channels_expire() {
    let hub = hub(&[("message_ttl", "1s"), ("channel_inactivity_time", "1s")]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a", FROM_START);
    let seen = client.response();
    assert_eq!(seen.text(), "1");
    hub.publish("a", "2");
    wait_until("the messages are gone", || hub.counters("a").is_none_or(|counters| counters["stored_messages"] == 0));
    wait_until("the channel is gone", || hub.counters("a").is_none());
    client.get("/poll/a", &seen.position_headers());
    assert_eq!(client.response().header("X-Push-Gap"), Some("1"), "2 was never seen");
}

#[test]
fn a_drained_hub_answers_everyone_with_a_position() {
    let mut hub = hub(&[]);
    hub.publish("a", "1");
    let mut clients: Vec<_> = (0..50).map(|_| waiting(&hub, "a")).collect();
    let mut idle = hub.connect();
    idle.get("/poll/a", "");
    assert_eq!(idle.response().status, 304);
    let head = hub.hub.take().expect("running").drain();
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Connection")), (304, Some("close")));
        assert_eq!(answer.header("Etag"), Some(format!("W/{}", head.tag).as_str()));
        client.expect_end();
    }
    idle.expect_end();
}
