//! What pushstream.js does, request for request, against a hub with its preset.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Read;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use support::websocket::TEXT;
use support::{Client, Response, TestHub, hub};

/// The first long-poll: the client knows nothing, and says so in its way.
const FIRST: &str = "If-None-Match: 0\r\nIf-Modified-Since: null\r\n";

fn preset(more: &[(&str, &str)]) -> TestHub {
    let settings: Vec<_> = [("preset", "pushstream")].iter().chain(more).copied().collect();
    hub(&settings)
}

/// `encodeURIComponent`, as far as it matters.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// `sendMessage` without a WebSocket: a slash before the first channel, the text encoded.
fn send_message(hub: &TestHub, channels: &str, text: &str) -> Response {
    let body = encoded(text);
    let mut client = hub.connect_admin();
    client.send(&format!(
        "POST /pub?id={channels}&_=1795370899000 HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    client.response()
}

/// Publishes with an event id.
fn publish_event(hub: &TestHub, channel: &str, id: &str, body: &str) {
    let mut client = hub.connect_admin();
    client.send(&format!(
        "POST /pub?id={channel} HTTP/1.1\r\nHost: x\r\nEvent-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.response().status, 200);
}

/// A message as the client sees it.
#[derive(Debug)]
struct Message {
    id: i64,
    channel: String,
    text: String,
    tag: String,
    time: String,
    event_id: String,
}

fn message(json: &Value) -> Message {
    let text = |key: &str| json[key].as_str().unwrap_or_else(|| panic!("{key} in {json}")).to_owned();
    let decoded = percent_decode_str(&text("text")).decode_utf8().expect("decodeURIComponent would throw").into_owned();
    Message {
        id: json["id"].as_i64().unwrap(),
        channel: text("channel"),
        text: decoded,
        tag: text("tag"),
        time: text("time"),
        event_id: text("eventid"),
    }
}

/// A body, cut as the client cuts it.
fn messages(body: &str) -> Vec<Message> {
    let cut = body.replace("}{", "}\r\n{");
    cut.split("\r\n")
        .map(|one| message(&serde_json::from_str(one).unwrap_or_else(|_| panic!("no JSON: {one}"))))
        .collect()
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

/// The arguments of a client that controls its position by them.
fn arguments(last: &Message) -> String {
    assert!(last.tag.parse::<u32>().is_ok(), "the client makes a number of it: {last:?}");
    format!("_=1&tag={}&time={}&eventid=", last.tag, encoded(&last.time))
}

#[test]
fn long_polling_by_headers() {
    let hub = preset(&[("longpolling_connection_ttl", "1s")]);
    hub.publish("ch", "before anybody asked");
    let mut client = hub.connect();
    client.get("/lp/ch?tag=&time=&eventid=&_=1795370899001", FIRST);
    hub.wait_for_subscribers("ch", 1);
    let sent = send_message(&hub, "/ch", "käse & {\"}{\"}");
    assert_eq!(sent.status, 200);
    let counters: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!((&counters["channel"], &counters["published_messages"]), (&"ch".into(), &2.into()), "the single form");

    let answer = client.response();
    let [got] = messages(answer.text()).try_into().unwrap();
    assert_eq!((got.id, got.channel.as_str(), got.text.as_str()), (2, "ch", "käse & {\"}{\"}"));
    assert_eq!(Some(got.time.as_str()), answer.header("Last-Modified"));
    assert_eq!(got.event_id, "");

    // Nothing new: 304 with the headers that the client reads again.
    client.get("/lp/ch?tag=&time=&eventid=&_=1795370899002", &answer.position_headers());
    let nothing = client.response();
    assert_eq!((nothing.status, nothing.text()), (304, ""));
    send_message(&hub, "/ch", "while it was away");
    client.get("/lp/ch?tag=&time=&eventid=&_=1795370899003", &nothing.position_headers());
    assert_eq!(texts(&messages(client.response().text())), ["while it was away"]);
}

#[test]
fn a_body_is_cut_between_its_messages_and_nowhere_else() {
    let hub = preset(&[]);
    let sent = ["}{", "{\"a\":{\"b\":1}}", "100% }\r\n{", "%7D%7B", "\"\\\u{2028}", "ü"];
    for text in sent {
        // As PHP publishes: nothing is encoded.
        assert_eq!(hub.publish("ch", text).status, 200);
    }
    publish_event(&hub, "ch", "}{\"", "last");
    let mut client = hub.connect();
    client.get("/lp/ch.b9?tag=&time=&eventid=", FIRST);
    let got = messages(client.response().text());
    // What is encoded already is decoded, whoever did it.
    assert_eq!(texts(&got), ["}{", "{\"a\":{\"b\":1}}", "100% }\r\n{", "}{", "\"\\\u{2028}", "ü", "last"]);
    assert_eq!(got[6].event_id, "}{\"");
}

#[test]
fn control_by_arguments() {
    let hub = preset(&[("timeout_with_body", "on"), ("longpolling_connection_ttl", "1s")]);
    for text in ["1", "2", "3"] {
        send_message(&hub, "/ch", text);
    }
    publish_event(&hub, "ch", "e4", "4");
    let mut client = hub.connect();
    // No position yet, so with the backlog.
    client.get("/lp/ch.b2?_=1&tag=0&time=&eventid=", "");
    let first = messages(client.response().text());
    assert_eq!(texts(&first), ["3", "4"]);
    client.get(&format!("/lp/ch?{}", arguments(&first[0])), "");
    assert_eq!(texts(&messages(client.response().text())), ["4"]);
    send_message(&hub, "/ch", "5");
    client.get("/lp/ch?_=1&tag=0&time=&eventid=e4", "");
    assert_eq!(texts(&messages(client.response().text())), ["5"]);
    // What has no message still has a time, which the client takes: it must not lead back.
    let newest = messages_of(&mut client, "/lp/ch.b1?tag=0&time=&eventid=");
    client.get(&format!("/lp/ch?{}", arguments(&newest[0])), "");
    let [timeout] = messages(client.response().text()).try_into().unwrap();
    assert_eq!(timeout.id, -3);
    send_message(&hub, "/ch", "6");
    client.get(&format!("/lp/ch?{}", arguments(&timeout)), "");
    assert_eq!(texts(&messages(client.response().text())), ["6"]);
    // messagesPublishedAfter: -1
    client.get("/lp/ch?_=1&tag=0&time=Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT&eventid=", "");
    assert_eq!(texts(&messages(client.response().text())), ["1", "2", "3", "4", "5", "6"]);
}

fn messages_of(client: &mut Client, path: &str) -> Vec<Message> {
    client.get(path, "");
    messages(client.response().text())
}

#[test]
fn jsonp_calls_with_a_list_of_objects() {
    let hub = preset(&[("longpolling_connection_ttl", "1s")]);
    send_message(&hub, "/ch", "1");
    send_message(&hub, "/ch", "</script>");
    let mut client = hub.connect();
    // The name of today's version, and of older ones.
    for name in ["PushStreamManager_0_onmessage_1795370899001", "PushStreamManager[0].wrapper.onmessage"] {
        client.get(&format!("/lp/ch.b2?callback={}&tag=0&time=&eventid=&_=1", encoded(name)), "");
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Content-Type")), (200, Some("application/javascript")));
        let list = answer.text().strip_prefix(name).and_then(|call| call.strip_prefix('(')?.strip_suffix(");"));
        let list: Vec<Value> = serde_json::from_str(list.expect("a call")).unwrap();
        let got: Vec<_> = list.iter().map(message).collect();
        assert_eq!(texts(&got), ["1", "</script>"]);
        assert!(!answer.text().contains('<'));
        client.get(&format!("/lp/ch?callback={}&{}", encoded(name), arguments(&got[1])), "");
        let nothing = client.response();
        assert_eq!((nothing.status, nothing.text()), (304, ""));
    }
}

#[test]
fn several_channels_in_the_path_or_in_an_argument() {
    let hub = preset(&[]);
    assert_eq!(send_message(&hub, "/a/b", "1").status, 200);
    send_message(&hub, "/b", "2");
    let mut client = hub.connect();
    for path in ["/lp/a.b1/b.b2?tag=&time=&eventid=", "/lp?tag=&time=&eventid=&channels=a.b1%2Fb.b2"] {
        let got = messages_of(&mut client, path);
        let seen: Vec<_> = got.iter().map(|message| (message.channel.as_str(), message.text.as_str())).collect();
        assert_eq!(seen, [("a", "1"), ("b", "1"), ("b", "2")], "{path}");
    }
}

#[test]
fn a_deletion_and_a_gap_are_told_by_their_ids() {
    let hub = preset(&[("max_messages_stored_per_channel", "1")]);
    let mut client = hub.connect();
    send_message(&hub, "/ch", "1");
    let first = messages_of(&mut client, "/lp/ch.b1?tag=0&time=&eventid=");
    for text in ["2", "3"] {
        send_message(&hub, "/ch", text);
    }
    let late = messages_of(&mut client, &format!("/lp/ch?{}", arguments(&first[0])));
    let seen: Vec<_> = late.iter().map(|message| (message.id, message.text.as_str())).collect();
    assert_eq!(seen, [(-4, "Messages are missing"), (3, "3")]);
    client.get(&format!("/lp/ch?{}", arguments(&late[1])), "");
    hub.wait_for_subscribers("ch", 1);
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=ch HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(admin.response().status, 200);
    let [deleted] = messages(client.response().text()).try_into().unwrap();
    assert_eq!((deleted.id, deleted.channel.as_str()), (-2, "ch"));
}

/// An answer without end, plain because HTTP/1.0 has no chunks.
struct Stream {
    client: Client,
    text: String,
}

impl Stream {
    fn open(hub: &TestHub, path: &str, headers: &str) -> Self {
        let mut client = hub.connect();
        client.send(&format!("GET {path} HTTP/1.0\r\nHost: x\r\n{headers}\r\n"));
        Self { client, text: String::new() }
    }

    /// What comes up to this, which goes with it.
    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.text.find(end) {
                let rest = self.text.split_off(at + end.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let mut buffer = [0; 4096];
            let n = self.client.socket.read(&mut buffer).expect("more in time");
            assert!(n > 0, "the end before {end:?}: {:?}", self.text);
            self.text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
    }

    /// The call of the next script: id, channel, text, event id, time, tag.
    fn call(&mut self) -> Message {
        let script = self.until("</script>\r\n");
        let list =
            script.strip_prefix("<script>p(").and_then(|call| call.strip_suffix(");</script>\r\n")).expect(&script);
        let list: Value = serde_json::from_str(&format!("[{list}]")).expect("what is JSON and JavaScript");
        message(&serde_json::json!({
            "id": list[0], "channel": list[1], "text": list[2], "eventid": list[3], "time": list[4], "tag": list[5],
        }))
    }

    /// The next event's fields.
    fn event(&mut self) -> Vec<(String, String)> {
        let event = self.until("\n\n");
        let fields = event.lines().filter(|line| !line.is_empty() && !line.starts_with(':'));
        fields
            .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
            .collect()
    }
}

#[test]
fn a_stream_is_a_page_whose_scripts_call() {
    let hub = preset(&[("ping_message_interval", "1s")]);
    let control = "_=1&streamid=0&tag=&time=&eventid=";
    for path in [format!("/sub/ch?{control}"), format!("/sub?{control}&channels=ch")] {
        let mut stream = Stream::open(&hub, &path, "");
        let head = stream.until("\r\n\r\n");
        assert!(head.contains("Content-Type: text/html; charset=utf-8\r\n"), "{head}");
        let page = stream.until("</script>\r\n");
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("parent.PushStream.register(window);"), "{page}");
        hub.wait_for_subscribers("ch", 1);
        let text = "</script><script>alert('\"\\";
        hub.publish("ch", text);
        let got = stream.call();
        assert!(got.id > 0);
        assert_eq!((got.channel.as_str(), got.text.as_str()), ("ch", text));
        // Long before the 30 s after which the client gives up.
        let ping = stream.call();
        assert_eq!((ping.id, ping.channel.as_str()), (-1, ""));
        drop(stream);
        hub.wait_for_subscribers("ch", 0);
        let mut again = Stream::open(&hub, &format!("/sub/ch?streamid=0&{}", arguments(&got)), "");
        again.until("</script>\r\n");
        hub.publish("ch", "next");
        assert_eq!(again.call().text, "next");
        drop(again);
        hub.wait_for_subscribers("ch", 0);
    }
}

#[test]
fn an_event_source_goes_on_by_itself() {
    let hub = preset(&[]);
    send_message(&hub, "/ch", "1");
    let data = |event: &[(String, String)]| {
        let field = |wanted: &str| event.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        (field("id").expect("an id"), field("data").map(|data| message(&serde_json::from_str(&data).unwrap())))
    };
    // By arguments, from the beginning.
    let path = "/ev/ch?_=1&tag=0&time=Thu%2C%2001%20Jan%201970%2000%3A00%3A00%20GMT&eventid=";
    let mut stream = Stream::open(&hub, path, "");
    let head = stream.until("\r\n\r\n");
    assert!(head.contains("Content-Type: text/event-stream; charset=utf-8\r\n"), "{head}");
    let (id, first) = data(&stream.event());
    let first = first.unwrap_or_else(|| data(&stream.event()).1.expect("a message"));
    assert_eq!((first.text.as_str(), first.id), ("1", 1));
    drop(stream);
    hub.wait_for_subscribers("ch", 0);
    send_message(&hub, "/ch", "2");
    // The browser asks again for the same address, and adds where it is.
    let mut stream = Stream::open(&hub, path, &format!("Last-Event-ID: {id}\r\n"));
    stream.until("\r\n\r\n");
    let next = std::iter::from_fn(|| Some(data(&stream.event()).1)).flatten().next().unwrap();
    assert_eq!((next.text.as_str(), next.id), ("2", 2));
}

#[test]
fn a_websocket_gets_what_others_send_and_what_it_sends_itself() {
    let hub = preset(&[("websocket_allow_publish", "on")]);
    let mut one = hub.websocket("/ws/ch?_=1&tag=&time=&eventid=");
    let mut other = hub.websocket("/ws?_=1&tag=&time=&eventid=&channels=ch");
    hub.wait_for_subscribers("ch", 2);
    one.send(TEXT, encoded("käse }{ %"));
    for socket in [&mut one, &mut other] {
        let got = message(&serde_json::from_str(&socket.text()).unwrap());
        assert_eq!((got.id, got.text.as_str()), (1, "käse }{ %"));
    }
}
