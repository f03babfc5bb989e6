//! JSONP over real sockets: a call of the named function, and of nothing else.

mod support;

use support::{TestHub, hub, hub_with};

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

fn framed(settings: &[(&str, &str)], keys: &str) -> TestHub {
    let locations = format!(
        "[[location]]\npath = '/lp/'\nsubscriber = 'long-polling'\n{keys}
         [[location]]\npath = '/poll/'\nsubscriber = 'polling'\n{keys}
         [[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n"
    );
    hub_with(settings, Some(&locations))
}

#[test]
fn messages_are_the_list_that_the_function_is_called_with() {
    let keys = "message_template = '{\"id\":~id~,\"text\":\"~text-json~\"}'\nheader_template = '/*h*/'\nfooter_template = '/*f*/'";
    let hub = framed(&[], keys);
    hub.publish("a", "say \"1\"");
    hub.publish("a", "2");
    let mut client = hub.connect();
    for path in ["/poll/a", "/lp/a"] {
        client.get(&format!("{path}?callback=PushStream.call_3&_=1"), FROM_START);
        let answer = client.response();
        assert_eq!(
            answer.text(),
            "/*h*/PushStream.call_3([{\"id\":1,\"text\":\"say \\\"1\\\"\"},{\"id\":2,\"text\":\"2\"}]);/*f*/"
        );
        assert_eq!(answer.header("Content-Type"), Some("application/javascript"));
        assert_eq!(answer.header("X-Content-Type-Options"), Some("nosniff"));
        let head = hub.head();
        let (_, tag) = head.split_once('.').expect("a position");
        assert_eq!(answer.header("Etag"), Some(format!("W/{tag}").as_str()));
    }
    client.get("/lp/a?callback=f", "");
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "3");
    assert_eq!(client.response().text(), "/*h*/f([{\"id\":3,\"text\":\"3\"}]);/*f*/");
}

#[test]
fn everyone_who_waits_is_called_by_the_own_name() {
    let hub = hub(&[]);
    let mut clients: Vec<_> = (0..20).map(|_| hub.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let callback = if number % 5 == 0 { String::new() } else { format!("?callback=f{}", number % 3) };
        client.get(&format!("/lp/a{callback}"), "");
    }
    hub.wait_for_subscribers("a", 20);
    hub.publish("a", "1");
    for (number, client) in clients.iter_mut().enumerate() {
        let expected = if number % 5 == 0 { "1".to_owned() } else { format!("f{}([1]);", number % 3) };
        assert_eq!(client.response().text(), expected);
    }
}

#[test]
fn a_timeout_calls_nothing() {
    let hub = hub(&[("longpolling_connection_ttl", "1s")]);
    let mut client = hub.connect();
    client.get("/lp/a?callback=f", "");
    let answer = client.response();
    assert_eq!((answer.status, answer.header("Content-Length")), (304, None));
    client.get("/poll/a?callback=f", &answer.position_headers());
    assert_eq!(client.response().status, 304);
}

#[test]
fn a_timeout_with_body_and_a_deletion_are_calls() {
    let hub = hub(&[
        ("longpolling_connection_ttl", "1s"),
        ("timeout_with_body", "on"),
        ("message_template", "[~id~,\"~channel~\",\"~text~\"]"),
    ]);
    let mut client = hub.connect();
    client.get("/lp/a?callback=f", "");
    assert_eq!(client.response().text(), "f([[-3,\"\",\"Timed out\"]]);");
    client.get("/lp/a?callback=f", "");
    hub.wait_for_subscribers("a", 1);
    let mut admin = hub.connect_admin();
    admin.send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().text(), "f([[-2,\"a\",\"Channel deleted\"]]);");
}

#[test]
fn the_name_is_decoded_and_checked() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    for (name, called) in [
        ("f", "f"),
        ("%66", "f"),
        ("jQuery1123_45", "jQuery1123_45"),
        ("$", "$"),
        ("_x.y.z", "_x.y.z"),
        ("handlers%5B3%5D", "handlers[3]"),
    ] {
        client.get(&format!("/poll/a.b1?callback={name}"), "");
        assert_eq!(client.response().text(), format!("{called}([1]);"));
    }
    let long = "f".repeat(5000);
    for name in [
        "alert(1);f",
        "f;",
        "%3Cscript%3E",
        "f%20",
        "%0d%0aSet-Cookie:x",
        "f%00",
        "1f",
        "%2f*",
        "a-b",
        "f'",
        "f%ff",
        "%22",
        &long,
    ] {
        for path in ["/poll/a.b1", "/lp/a.b1", "/lp/a"] {
            let mut client = hub.connect();
            client.get(&format!("{path}?callback={name}"), "");
            let answer = client.response();
            assert_eq!((answer.status, answer.text(), answer.header("Set-Cookie")), (400, "", None), "{path} {name}");
            let explain = answer.header("X-Nginx-PushStream-Explain").expect("a reason");
            assert!(explain.contains("callback"), "{explain}");
        }
    }
    // An empty name is no call.
    for empty in ["?callback=", "?callback"] {
        client.get(&format!("/poll/a.b1{empty}"), "");
        let answer = client.response();
        assert_eq!((answer.text(), answer.header("Content-Type")), ("1", Some("text/plain")), "{empty}");
    }
}

#[test]
fn json_is_not_asked_for_by_a_script() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect();
    client.get("/poll/a.b1?callback=f", "Accept: application/json\r\n");
    assert_eq!(client.response().text(), "f([1]);");
}

#[test]
fn streams_know_no_callback() {
    let hub = hub(&[]);
    let mut stream = hub.stream("/stream/a?callback=f");
    let mut events = hub.events("/ev/a?callback=%3C%3E");
    let mut socket = hub.websocket("/ws/a?callback=f");
    hub.publish("a", "1");
    stream.expect("1");
    assert_eq!((events.data(), socket.text()), ("1".to_owned(), "1".to_owned()));
}

#[test]
fn a_client_that_repolls_by_arguments_gets_each_message_once() {
    let template = "message_template = '{\"text\":\"~text-json~\",\"tag\":\"~tag~\",\"time\":\"~time~\"}'";
    let keys = "last_received_message_time = '$arg_time'\nlast_received_message_tag = '$arg_tag'";
    let hub = framed(&[], &format!("{template}\n{keys}"));
    let mut client = hub.connect();
    let (mut time, mut tag) = (String::new(), String::new());
    for number in 0..20 {
        let poll =
            format!("/lp/a?callback=f&time={}&tag={tag}&_={number}", time.replace(' ', "%20").replace(':', "%3A"));
        if number % 3 == 0 {
            client.get(&poll, "");
            hub.wait_for_subscribers("a", 1);
            hub.publish("a", &number.to_string());
        } else {
            hub.publish("a", &number.to_string());
            client.get(&poll, "");
        }
        let answer = client.response();
        let list = answer.text().strip_prefix("f(").and_then(|text| text.strip_suffix(");")).expect("a call");
        let list: serde_json::Value = serde_json::from_str(list).expect("JSON");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(list[0]["text"], number.to_string());
        time = list[0]["time"].as_str().expect("a text").to_owned();
        tag = list[0]["tag"].as_str().expect("a text").to_owned();
    }
}
