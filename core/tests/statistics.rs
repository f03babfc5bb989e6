//! Statistics over HTTP, byte by byte.

mod support;

use support::{Client, Response, TestHub, hub, hub_with, steady, wait_until};

fn ask(client: &mut Client, request: &str, accept: &str) -> Response {
    client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"));
    client.response()
}

fn statistics(hub: &TestHub, id: &str) -> Response {
    ask(&mut hub.connect_admin(), &format!("GET /channels-stats{id}"), "application/json")
}

fn json(answer: &Response) -> serde_json::Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The names of a list, in its order.
fn names(answer: &Response) -> Vec<String> {
    let list = json(answer);
    let infos = list["infos"].as_array().expect("a list").iter();
    infos.map(|info| info["channel"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn totals_come_in_every_format() {
    let hub = hub(&[]);
    hub.publish("a/b", "1");
    hub.publish("a", "2");
    let mut waiting = hub.connect();
    // A connection to several channels is one subscriber.
    waiting.get("/lp/a/b", "");
    hub.wait_for_subscribers("b", 1);
    let mut client = hub.connect_admin();
    for (accept, content_type, body) in [
        (
            "application/json",
            "application/json",
            "{\"hostname\": \"HOST\", \"time\": \"TIME\", \"channels\": 2, \"wildcard_channels\": 0, \
             \"published_messages\": 3, \"stored_messages\": 3, \"messages_in_trash\": 0, \"channels_in_delete\": 0, \
             \"channels_in_trash\": 0, \"subscribers\": 1, \"uptime\": UPTIME, \
             \"by_worker\": [{\"pid\": \"PID\", \"subscribers\": 1, \"uptime\": UPTIME}]}\r\n",
        ),
        (
            "text/plain",
            "text/plain",
            "hostname: HOST\r\ntime: TIME\r\nchannels: 2\r\nwildcard_channels: 0\r\npublished_messages: 3\r\n\
             stored_messages: 3\r\nmessages_in_trash: 0\r\nchannels_in_delete: 0\r\nchannels_in_trash: 0\r\n\
             subscribers: 1\r\nuptime: UPTIME\r\nby_worker:\r\n  pid: PID\r\n  subscribers: 1\r\n  uptime: UPTIME\r\n",
        ),
        (
            "text/x-yaml",
            "text/x-yaml",
            "hostname: HOST\r\ntime: TIME\r\nchannels: 2\r\nwildcard_channels: 0\r\npublished_messages: 3\r\n\
             stored_messages: 3\r\nmessages_in_trash: 0\r\nchannels_in_delete: 0\r\nchannels_in_trash: 0\r\n\
             subscribers: 1\r\nuptime: UPTIME\r\nby_worker:\r\n -\r\n  pid: \"PID\"\r\n  subscribers: 1\r\n  uptime: UPTIME\r\n",
        ),
        (
            "text/xml",
            "application/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<infos>\r\n  <hostname>HOST</hostname>\r\n  \
             <time>TIME</time>\r\n  <channels>2</channels>\r\n  <wildcard_channels>0</wildcard_channels>\r\n  \
             <published_messages>3</published_messages>\r\n  <stored_messages>3</stored_messages>\r\n  \
             <messages_in_trash>0</messages_in_trash>\r\n  <channels_in_delete>0</channels_in_delete>\r\n  \
             <channels_in_trash>0</channels_in_trash>\r\n  <subscribers>1</subscribers>\r\n  <uptime>UPTIME</uptime>\r\n  \
             <by_worker>\r\n    <worker>\r\n      <pid>PID</pid>\r\n      <subscribers>1</subscribers>\r\n      \
             <uptime>UPTIME</uptime>\r\n    </worker>\r\n  </by_worker>\r\n</infos>\r\n",
        ),
    ] {
        let answer = ask(&mut client, "GET /channels-stats", accept);
        assert_eq!((answer.status, steady(&answer).as_str()), (200, body));
        assert_eq!(answer.header("Content-Type"), Some(content_type));
        assert_eq!(answer.header("X-Nginx-PushStream-Tag"), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(answer.header("X-Nginx-PushStream-Commit"), Some(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn connections_are_counted_once_and_no_longer_than_they_wait() {
    let hub = hub(&[]);
    let subscribers = || json(&statistics(&hub, ""))["subscribers"].as_u64().expect("a number");
    let mut clients: Vec<Client> = (0..3).map(|_| hub.connect()).collect();
    for client in &mut clients {
        client.get("/lp/a/b/c", "");
    }
    wait_until("all wait", || subscribers() == 3);
    assert_eq!(json(&statistics(&hub, "?id=b"))["subscribers"], 3);
    drop(clients.pop());
    wait_until("one is gone", || subscribers() == 2);
    hub.publish("a", "x");
    for client in &mut clients {
        assert_eq!(client.response().text(), "x");
    }
    assert_eq!(subscribers(), 0);
    clients[0].get("/lp/a/b/c", "");
    wait_until("it waits again", || subscribers() == 1);
    hub.connect_admin().send("DELETE /pub?id=b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(clients[0].response().text(), "Channel deleted");
    wait_until("nobody waits", || subscribers() == 0);
    let totals = json(&statistics(&hub, ""));
    assert_eq!((&totals["published_messages"], &totals["by_worker"][0]["subscribers"]), (&1.into(), &0.into()));
}

#[test]
fn published_messages_count_also_when_nothing_is_left_of_them() {
    let hub = hub(&[("store_messages", "off")]);
    hub.publish("a", "1");
    hub.connect_admin().send("DELETE /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until("it is gone", || hub.counters("a").is_none());
    let totals = json(&statistics(&hub, ""));
    assert_eq!((&totals["published_messages"], &totals["stored_messages"]), (&1.into(), &0.into()));
    assert_eq!(totals["channels"], 0);
}

#[test]
fn one_several_a_prefix_and_all_channels() {
    let hub = hub(&[]);
    for channel in ["a", "ab", "abc", "b"] {
        hub.publish(channel, "x");
    }
    let single = "{\"channel\": \"ab\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n";
    for id in ["?id=ab", "?id=ab.b5", "?id=/ab/", "?id=ab/ab", "/ab"] {
        assert_eq!(statistics(&hub, id).text(), single, "{id}");
    }
    for (id, found) in [
        ("?id=ALL", &["a", "ab", "abc", "b"][..]),
        ("?id=*", &["a", "ab", "abc", "b"]),
        ("?id=ab*", &["ab", "abc"]),
        ("?id=ab*whatever*follows", &["ab", "abc"]),
        ("?id=ab%2A", &["ab", "abc"]),
        ("?id=x*", &[]),
        ("?id=b/a", &["b", "a"]),
        ("?id=b/none", &["b"]),
        ("?id=none/x*", &[]),
        ("?id=abc/ab*/a*/b/a", &["abc", "ab", "a", "b"]),
    ] {
        assert_eq!(names(&statistics(&hub, id)), found, "{id}");
    }
    for id in ["?id=none", "?id=none/neither", "?id=all"] {
        let answer = statistics(&hub, id);
        assert_eq!((answer.status, answer.header("Content-Length")), (404, Some("0")), "{id}");
        assert_eq!(answer.header("X-Nginx-PushStream-Explain"), None);
    }
    assert_eq!(names(&statistics(&hub, "?id=*")).len(), 4, "asking creates nothing");
}

#[test]
fn lists_come_in_every_format() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    for (accept, body) in [
        (
            "text/json",
            "{\"hostname\": \"HOST\", \"time\": \"TIME\", \"channels\": 0, \"wildcard_channels\": 0, \"uptime\": UPTIME, \
             \"infos\": []}\r\n",
        ),
        (
            "text/plain",
            "hostname: HOST\r\ntime: TIME\r\nchannels: 0\r\nwildcard_channels: 0\r\nuptime: UPTIME\r\ninfos:\r\n",
        ),
        (
            "text/yaml",
            "hostname: HOST\r\ntime: TIME\r\nchannels: 0\r\nwildcard_channels: 0\r\nuptime: UPTIME\r\ninfos: []\r\n",
        ),
        (
            "text/xml",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<root>\r\n  <hostname>HOST</hostname>\r\n  \
             <time>TIME</time>\r\n  <channels>0</channels>\r\n  <wildcard_channels>0</wildcard_channels>\r\n  \
             <uptime>UPTIME</uptime>\r\n  <infos>\r\n  </infos>\r\n</root>\r\n",
        ),
    ] {
        assert_eq!(steady(&ask(&mut client, "GET /channels-stats?id=ALL", accept)), body);
    }
    hub.publish("%22%3C", "x");
    let answer = ask(&mut client, "GET /channels-stats?id=ALL", "text/xml");
    assert!(answer.text().contains("      <name>&quot;&lt;</name>\r\n"), "{}", answer.text());
    assert_eq!(names(&statistics(&hub, "?id=*")), ["\"<"]);
}

#[test]
fn methods_and_wrong_ids() {
    let hub = hub(&[("max_channel_id_length", "5"), ("max_channels_per_subscription", "2")]);
    let mut client = hub.connect_admin();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = ask(&mut client, &format!("{method} /channels-stats"), "*/*");
        assert_eq!((answer.status, answer.header("Allow")), (405, Some("GET")), "{method}");
    }
    assert_eq!(ask(&mut client, "OPTIONS /channels-stats", "*/*").status, 200);
    let get = ask(&mut client, "GET /channels-stats?id=ALL", "*/*");
    client.send("HEAD /channels-stats?id=ALL HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head_response();
    assert_eq!((head.status, head.header("Content-Length")), (200, get.header("Content-Length")));
    for (id, status, reason) in [
        ("toolong", 400, "Channel id is too large."),
        ("%ff", 400, "a channel name must be valid UTF-8"),
        ("%ff*", 400, "a channel name must be valid UTF-8"),
        ("1/2/3", 403, "the subscription names more channels than max_channels_per_subscription allows (2)"),
    ] {
        let answer = statistics(&hub, &format!("?id={id}"));
        assert_eq!((answer.status, answer.header("X-Nginx-PushStream-Explain")), (status, Some(reason)), "{id}");
    }
}

#[test]
fn many_channels_are_listed_page_by_page() {
    let hub = hub(&[("max_channels_per_subscription", "none")]);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let names_of: Vec<String> = (0..1203).map(|number| format!("n{number:04}")).collect();
    for name in &names_of {
        let name = push_core::channel::ChannelName::new(name.as_bytes(), 255).expect("a name");
        engine.create_channel(Some(name), push_core::channel::ChannelOptions::default()).expect("created");
    }
    assert_eq!(names(&statistics(&hub, "?id=ALL")), names_of);
    assert_eq!(names(&statistics(&hub, "?id=n11*")).len(), 100);
}

#[test]
fn a_list_that_would_fill_the_memory_is_refused() {
    let hub = hub(&[("max_channel_id_length", "1024")]);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    // Each byte of these names takes six in JSON.
    let name = |number: usize| format!("{number:04}{}", "\u{1}".repeat(1020));
    for number in 0..5600 {
        let name = push_core::channel::ChannelName::new(name(number).as_bytes(), 1024).expect("a name");
        engine.create_channel(Some(name), push_core::channel::ChannelOptions::default()).expect("created");
    }
    let refused = statistics(&hub, "?id=ALL");
    let reason = refused.header("X-Nginx-PushStream-Explain").expect("a reason");
    assert_eq!(refused.status, 403);
    assert!(reason.starts_with("The list is longer than 32 MB;"), "{reason}");
    assert_eq!(names(&statistics(&hub, "?id=00*")).len(), 100);
}

#[test]
fn a_location_may_take_the_channels_from_its_path_and_be_public() {
    let locations = r#"
[[location]]
path = "/stats/"
channels_statistics = true
listener = "public"

[[location]]
path = "/pub"
publisher = "normal"
channels_path = "$arg_id"
"#;
    let hub = hub_with(&[], Some(locations));
    hub.publish("a%20b", "x");
    let mut client = hub.connect();
    let answer = ask(&mut client, "GET /stats/a%20b", "text/plain");
    assert!(answer.text().starts_with("channel: a b\r\n"), "{}", answer.text());
    assert!(ask(&mut client, "GET /stats/", "text/plain").text().contains("by_worker:"));
}
