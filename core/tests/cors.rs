//! Pages of other origins over real sockets: what a browser is told, and which WebSockets open.

mod support;

use support::stream::Stream;
use support::websocket::handshake;
use support::{Response, TestHub, hub, hub_with};

const LISTED: &str = "allowed_origins = 'https://www.example.com, http://localhost:8080'";

/// Every kind of location with this directive.
fn everywhere(origins: &str) -> TestHub {
    let locations: String = ["streaming", "eventsource", "long-polling", "polling", "websocket"]
        .iter()
        .map(|mode| format!("[[location]]\npath = '/{mode}/'\nsubscriber = '{mode}'\n{origins}\n"))
        .collect();
    let publishers = format!(
        "[[location]]\npath = '/pub'\npublisher = 'admin'\nchannels_path = '$arg_id'\n{origins}
         [[location]]\npath = '/post'\npublisher = 'normal'\nlistener = 'public'\nchannels_path = '$arg_id'\n{origins}\n"
    );
    hub_with(&[], Some(&format!("{locations}{publishers}")))
}

fn names(answer: &Response, header: &str) -> Vec<String> {
    let value = answer.header(header).unwrap_or_default();
    value.split(',').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
}

fn check_allowed(answer: &Response, origin: &str, methods: &str) {
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(origin), "{answer:?}");
    assert_eq!(answer.header("Access-Control-Allow-Methods"), Some(methods), "{answer:?}");
    for name in
        ["authorization", "if-modified-since", "if-none-match", "etag", "event-id", "event-type", "last-event-id"]
    {
        assert!(names(answer, "Access-Control-Allow-Headers").contains(&name.to_owned()), "{name}: {answer:?}");
    }
    for name in ["etag", "last-modified", "x-push-gap"] {
        assert!(names(answer, "Access-Control-Expose-Headers").contains(&name.to_owned()), "{name}: {answer:?}");
    }
    // Only who is let in by name may come with a cookie.
    assert_eq!(answer.header("Access-Control-Allow-Credentials"), (origin != "*").then_some("true"));
    assert_eq!(names(answer, "Vary").contains(&"origin".to_owned()), origin != "*", "{answer:?}");
}

fn check_denied(answer: &Response) {
    assert!(
        answer.headers.iter().all(|(name, _)| !name.to_ascii_lowercase().starts_with("access-control")),
        "{answer:?}"
    );
}

/// The heads of answers of every kind to requests with these headers; the first is 200 of a stream.
fn answers(hub: &TestHub, headers: &str) -> Vec<(Response, &'static str)> {
    hub.publish("a", "1");
    let mut all = Vec::new();
    for path in
        ["/streaming/a", "/eventsource/a", "/polling/a", "/polling/a.b1", "/long-polling/a.b1", "/long-polling/ALL"]
    {
        let mut client = hub.connect();
        client.get(path, headers);
        all.push((client.head(), "GET"));
    }
    for path in ["/streaming/a", "/eventsource/", "/long-polling/a"] {
        let mut client = hub.connect();
        let preflight = "Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: if-none-match\r\n";
        client.send(&format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n{preflight}{headers}\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, ""));
        all.push((answer, "GET"));
        client.send(&format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{headers}\r\n"));
        let answer = client.response();
        assert_eq!(answer.status, 405);
        all.push((answer, "GET"));
    }
    for (request, status) in
        [("POST /post?id=a", 200), ("GET /post?id=none", 404), ("OPTIONS /post", 200), ("DELETE /post?id=a", 405)]
    {
        let mut client = hub.connect();
        let body = if request.starts_with("POST") { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
        client.send(&format!("{request} HTTP/1.1\r\nHost: x\r\n{headers}{body}"));
        let answer = client.response();
        assert_eq!(answer.status, status, "{request}");
        all.push((answer, "GET, POST, PUT"));
    }
    let mut admin = hub.connect_admin();
    admin.send(&format!("OPTIONS /pub?id=a HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    all.push((admin.response(), "GET, POST, PUT, DELETE"));
    all
}

#[test]
fn a_listed_origin_is_told_so_on_every_answer() {
    let hub = everywhere(LISTED);
    for origin in ["https://www.example.com", "http://localhost:8080"] {
        for (answer, methods) in answers(&hub, &format!("Origin: {origin}\r\n")) {
            check_allowed(&answer, origin, methods);
        }
    }
}

#[test]
fn other_origins_get_nothing_that_a_cache_could_mix_up() {
    let hub = everywhere(LISTED);
    for headers in [
        "Origin: https://evil.example.com\r\n",
        "Origin: http://www.example.com\r\n",
        "Origin: https://www.example.com.evil.com\r\n",
        "Origin: null\r\n",
        "Origin: https://www.example.com, https://evil.com\r\n",
        "",
    ] {
        for (answer, _) in answers(&hub, headers) {
            check_denied(&answer);
            assert_eq!(answer.header("Vary"), Some("Origin"), "{answer:?}");
        }
    }
}

#[test]
fn without_the_directive_nothing_is_said() {
    let hub = everywhere("");
    for (answer, _) in answers(&hub, "Origin: https://www.example.com\r\n") {
        check_denied(&answer);
        assert_eq!(answer.header("Vary"), None);
    }
}

#[test]
fn everybody_may_be_let_in() {
    for directive in ["allowed_origins = '*'", "allowed_origins = '$http_origin'"] {
        let hub = everywhere(directive);
        for headers in ["Origin: https://any.example\r\n", ""] {
            for (answer, methods) in answers(&hub, headers) {
                check_allowed(&answer, "*", methods);
            }
        }
    }
}

#[test]
fn an_answer_that_waited_is_for_the_origin_that_asked() {
    let hub = everywhere(LISTED);
    let mut clients: Vec<_> = (0..9).map(|_| hub.connect()).collect();
    let origins = ["https://www.example.com", "https://evil.com", "http://localhost:8080"];
    for (number, client) in clients.iter_mut().enumerate() {
        client.get("/long-polling/a", &format!("Origin: {}\r\n", origins[number % 3]));
    }
    hub.wait_for_subscribers("a", 9);
    hub.publish("a", "1");
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.response();
        match origins[number % 3] {
            "https://evil.com" => check_denied(&answer),
            origin => check_allowed(&answer, origin, "GET"),
        }
    }
}

fn open(hub: &TestHub, headers: &str) -> u16 {
    let mut client = hub.connect();
    client.send(&handshake("/websocket/a", headers));
    let answer = client.head();
    check_denied(&answer);
    answer.status
}

#[test]
fn a_websocket_opens_for_listed_origins_the_own_host_and_programs() {
    let hub = everywhere(LISTED);
    for headers in
        ["", "Origin: https://www.example.com\r\n", "Origin: HTTPS://WWW.Example.com\r\n", "Origin: http://x\r\n"]
    {
        assert_eq!(open(&hub, headers), 101, "{headers}");
    }
    for headers in [
        "Origin: https://evil.com\r\n",
        "Origin: null\r\n",
        "Origin: \r\n",
        "Origin: https://www.example.com.evil.com\r\n",
        "Origin: http://x.evil.com\r\n",
        "Origin: http://evil.com/x\r\n",
    ] {
        assert_eq!(open(&hub, headers), 403, "{headers}");
    }
    assert_eq!(open(&everywhere(""), "Origin: https://evil.com\r\n"), 101);
    assert_eq!(open(&everywhere("allowed_origins = '*'"), "Origin: https://evil.com\r\n"), 101);
}

#[test]
fn options_need_no_channel_on_any_location() {
    let hub = hub(&[]);
    for path in ["/sub/", "/lp/", "/poll/a", "/stream/ALL", "/ev/", "/ws/", "/ws/a"] {
        let mut client = hub.connect();
        client.send(&format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.header("Content-Length")), (200, Some("0")), "{path}");
    }
    for path in ["/pub", "/pub?id=ALL", "/channels-stats"] {
        let mut client = hub.connect_admin();
        client.send(&format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.response().status, 200, "{path}");
    }
}

#[test]
fn a_stream_of_another_origin_is_readable() {
    let hub = everywhere(LISTED);
    let mut client = hub.connect();
    client.get("/eventsource/a", "Origin: http://localhost:8080\r\n");
    let (head, stream) = Stream::open(client);
    check_allowed(&head, "http://localhost:8080", "GET");
    let mut events = support::stream::Events { stream, last_id: String::new() };
    hub.publish("a", "1");
    assert_eq!(events.data(), "1");
}
