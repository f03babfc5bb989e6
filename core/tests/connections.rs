//! Connections byte by byte: what is parked, pipelined, broken, slow or hostile.

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use support::{Client, TestHub, hub, wait_until};

const FROM_START: &str = "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

fn poll(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n")
}

/// Sends what ends in a waiting poll on the channel, and waits for its seat.
fn park(hub: &TestHub, channel: &str, bytes: &str) -> Client {
    let mut client = hub.connect();
    client.send(bytes);
    hub.wait_for_subscribers(channel, 1);
    client
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let hub = hub(&[]);
    hub.publish("a", "stored");
    let pipeline = poll("/lp/a", FROM_START) + &poll("/lp/b", "") + &poll("/poll/a", FROM_START) + &poll("/lp/b", "");
    let mut client = park(&hub, "b", &pipeline);
    assert_eq!(client.response().text(), "stored");
    assert!(client.is_silent());
    hub.publish("b", "one");
    assert_eq!(client.response().text(), "one");
    assert_eq!(client.response().text(), "stored");
    hub.wait_for_subscribers("b", 1);
    hub.publish("b", "two");
    assert_eq!(client.response().text(), "two");
}

#[test]
fn a_request_that_comes_while_the_first_one_waits_is_served_after_it() {
    let hub = hub(&[]);
    hub.publish("a", "stored");
    let mut client = park(&hub, "b", &poll("/lp/b", ""));
    client.send(&poll("/poll/a", FROM_START));
    hub.publish("b", "one");
    assert_eq!(client.response().text(), "one");
    assert_eq!(client.response().text(), "stored");
}

#[test]
fn requests_arrive_in_any_pieces() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    for byte in poll("/lp/a", "X-Filler: y\r\n").bytes() {
        client.socket.write_all(&[byte]).expect("the hub reads");
    }
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "1");
    assert_eq!(client.response().text(), "1");
    client.send(&poll("/lp/a", ""));
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "2");
    assert_eq!(client.response().text(), "2");
}

#[test]
fn a_request_means_the_same_in_one_piece_and_in_two() {
    let hub = hub(&[("threads", "1")]);
    hub.publish("a", "1");
    hub.publish("a%23b", "2");
    for target in [
        "/poll/a#b",
        "/poll/a?x=#&position=1.1",
        "/poll/a<b",
        "/poll/a>b",
        "/poll/a`b",
        "/poll/a\"b",
        "/poll/a?x=\"",
        "/poll/a?x=<",
        "/poll/a?x={`}",
        "/poll/a|b\\^",
        "http://x/poll/a",
        "http://x?x=/poll/a",
        "http:///poll/a",
        "*",
    ] {
        let request = poll(target, FROM_START);
        let mut whole = hub.connect();
        whole.send(&request);
        let whole = whole.response();
        let mut pieces = hub.connect();
        let (first, second) = request.split_at(request.len() - 2);
        pieces.send(first);
        // The first piece was read on its own when another request has been answered since.
        hub.counters("a");
        pieces.send(second);
        let pieces = pieces.response();
        assert_eq!((whole.status, whole.text()), (pieces.status, pieces.text()), "{target}");
    }
}

#[test]
fn a_publication_means_the_same_in_one_piece_and_in_two() {
    let hub = hub(&[("threads", "1")]);
    let plain = "Content-Length: 4\r\n\r\nbody";
    for (query, rest) in [
        ("?id=a", plain),
        ("?x&id=a", plain),
        ("?&&=b&id=a&id=b", plain),
        ("?id=&id=a", plain),
        ("?id", plain),
        ("?id==a", plain),
        ("?id=%61", plain),
        ("?id=a?id=b", plain),
        ("?id=a/b", plain),
        ("?%69d=a", plain),
        ("", plain),
        ("?id=a", "Content-Length: 004\r\n\r\nbody"),
        ("?id=a", "Content-Length: +4\r\n\r\nbody"),
        ("?id=a", "Content-Length: 4, 4\r\n\r\nbody"),
        ("?id=a", "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody"),
        ("?id=a", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody"),
        ("?id=a", "Content-Length: 0\r\n\r\n"),
        ("?id=a", "Content-Length:\r\n\r\n"),
        ("?id=a", "Content-Length : 4\r\n\r\nbody"),
        ("?id=a", "X: y\r\n Content-Length: 4\r\n\r\nbody"),
        ("?id=a", "content-length:4\r\n\r\nbody"),
        ("?id=a", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        ("?id=a", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        ("?id=a", "Content-Length: 4\r\nConnection: close\r\n\r\nbody"),
        ("?id=a", "Content-Length: 4\r\nUpgrade: websocket\r\n\r\nbody"),
        ("?id=a", "Content-Length: 4\r\nEvent-Id: \t1 \r\nEvent-Type: k\r\n\r\nbody"),
    ] {
        let request = format!("POST /pub{query} HTTP/1.1\r\nHost: x\r\n{rest}");
        let head = request.find("\r\n\r\n").expect("a head") + 2;
        let seen = [request.len(), head, request.len() - 1].map(|cut| {
            let (first, second) = request.split_at(cut);
            let mut client = hub.connect_admin();
            client.send(first);
            // The first piece was read on its own when another request has been answered since.
            hub.counters("a");
            // Where the first piece is refused already, nobody may be there for the second.
            let _ = client.socket.write_all(second.as_bytes());
            let answer = client.response();
            let closes = answer.header("Connection") == Some("close");
            // The next request begins where this one ended, and not in its body.
            let next = (!closes).then(|| {
                client.send("GET /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
                client.response().status
            });
            let stored = ["a", "b", "=a", "a?id=b"].map(|channel| {
                let mut reader = hub.connect();
                reader.get(&format!("/poll/{}", channel.replace('?', "%3F")), FROM_START);
                let stored = reader.response();
                let mut admin = hub.connect_admin();
                admin.send(&format!("DELETE /pub?id={channel} HTTP/1.1\r\nHost: x\r\n\r\n"));
                admin.response();
                (stored.status, stored.text().to_owned())
            });
            (answer.status, closes, answer.text().to_owned(), next, stored)
        });
        assert_eq!(seen[0], seen[1], "{request:?}");
        assert_eq!(seen[0], seen[2], "{request:?}");
    }
}

#[test]
fn a_request_of_http_1_0_is_answered_and_closed() {
    let hub = hub(&[]);
    let mut client = park(&hub, "a", "GET /lp/a HTTP/1.0\r\n\r\n");
    hub.publish("a", "1");
    let answer = client.response();
    assert_eq!((answer.version.as_str(), answer.text()), ("HTTP/1.0", "1"));
    assert_eq!(answer.header("Connection"), Some("close"));
    client.expect_end();
}

#[test]
fn http_1_0_may_ask_to_keep_the_connection() {
    let hub = hub(&[]);
    let request = "GET /lp/a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let mut client = park(&hub, "a", request);
    hub.publish("a", "1");
    assert_eq!(client.response().header("Connection"), Some("keep-alive"));
    client.send(request);
    hub.wait_for_subscribers("a", 1);
    hub.publish("a", "2");
    assert_eq!(client.response().text(), "2");
}

#[test]
fn connection_close_is_honoured_by_a_waiting_poll() {
    let hub = hub(&[]);
    let mut client = park(&hub, "a", &poll("/lp/a", "Connection: close\r\n"));
    hub.publish("a", "1");
    let answer = client.response();
    assert_eq!((answer.text(), answer.header("Connection")), ("1", Some("close")));
    client.expect_end();
}

#[test]
fn head_has_no_body() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let mut client = hub.connect_admin();
    client.send("HEAD /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\nGET /pub?id=a HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head_response();
    let get = client.response();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("Content-Length"), Some(get.body.len().to_string().as_str()));
    let mut client = hub.connect();
    client.send("HEAD /lp/a HTTP/1.1\r\nHost: x\r\n\r\n");
    let refused = client.head_response();
    assert_eq!((refused.status, refused.header("Allow")), (405, Some("GET")));
}

#[test]
fn the_body_of_a_poll_is_never_taken_for_a_request() {
    let smuggled = poll("/lp/smuggled", "");
    let with_length = format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len());
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for body in [with_length, chunked] {
        let hub = hub(&[]);
        let mut client = park(&hub, "a", &format!("GET /lp/a HTTP/1.1\r\nHost: x\r\n{body}"));
        assert!(hub.counters("smuggled").is_none());
        hub.publish("a", "1");
        assert_eq!(client.response().text(), "1");
        assert!(hub.counters("smuggled").is_none());
    }
}

#[test]
fn a_body_in_a_later_packet_is_read_before_the_poll_waits() {
    let hub = hub(&[]);
    let mut client = hub.connect();
    client.send("GET /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 28\r\n\r\n");
    client.send("GET /lp/b HTTP/1.1\r\nHost: x\r\n");
    hub.wait_for_subscribers("a", 1);
    client.send(&poll("/lp/c", ""));
    hub.publish("a", "1");
    assert_eq!(client.response().text(), "1");
    hub.wait_for_subscribers("c", 1);
    assert!(hub.counters("b").is_none());
}

#[test]
fn a_length_beside_a_transfer_encoding_ends_the_connection() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    client.send(
        "POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!((answer.status, answer.header("Connection")), (200, Some("close")));
    client.expect_end();
}

#[test]
fn broken_requests_are_refused_and_closed() {
    let hub = hub(&[]);
    let long = "x".repeat(40_000);
    let many = "X: y\r\n".repeat(200);
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: zip\r\n\r\n".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned(), 400),
        ("GET /lp/a HTTP/1.1\r\nHo st: x\r\n\r\n".to_owned(), 400),
        (format!("GET /lp/{long} HTTP/1.1\r\nHost: x\r\n\r\n"), 431),
        (format!("GET /lp/a HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"), 431),
        (format!("GET /lp/a HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
    ] {
        let mut client = hub.connect();
        // The hub may close before it has read everything.
        let _ = client.socket.write_all(request.as_bytes());
        println!("{}", &request[..request.len().min(80)]);
        assert_eq!(client.response().status, status);
        client.expect_end();
    }
    assert!(hub.counters("a").is_none());
}

#[test]
fn a_client_that_leaves_gives_its_seat_back_at_once() {
    let hub = hub(&[]);
    let client = park(&hub, "a", &poll("/lp/a", ""));
    client.socket.shutdown(Shutdown::Write).expect("a socket");
    hub.wait_for_subscribers("a", 0);
    let client = park(&hub, "a", &poll("/lp/a", ""));
    let linger = socket_linger_zero(&client);
    drop(client);
    assert!(linger);
    hub.wait_for_subscribers("a", 0);
    let client = park(&hub, "a", "GET /lp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx");
    drop(client);
    hub.wait_for_subscribers("a", 0);
}

/// Makes the close of the socket a reset.
fn socket_linger_zero(client: &Client) -> bool {
    rustix::net::sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO)).is_ok()
}

#[test]
fn a_client_that_leaves_with_requests_unread_gives_its_seat_back() {
    let hub = hub(&[]);
    let mut client = park(&hub, "a", &poll("/lp/a", ""));
    client.send(&poll("/lp/a", ""));
    drop(client);
    hub.wait_for_subscribers("a", 0);
    let client = park(&hub, "a", &(poll("/lp/a", "") + &poll("/lp/a", "")));
    drop(client);
    hub.wait_for_subscribers("a", 0);
}

#[test]
fn one_of_many_channels_answers_and_all_seats_are_given_back() {
    let hub = hub(&[]);
    let mut first = park(&hub, "a", &poll("/lp/a/b/c", ""));
    let mut second = hub.connect();
    second.get("/lp/c/b", "");
    hub.wait_for_subscribers("b", 2);
    let mut third = hub.connect();
    third.get("/lp/b", "");
    hub.wait_for_subscribers("b", 3);
    hub.publish("a", "1");
    assert_eq!(first.response().text(), "1");
    hub.wait_for_subscribers("b", 2);
    hub.wait_for_subscribers("c", 1);
    hub.publish("b", "2");
    assert_eq!(second.response().text(), "2");
    assert_eq!(third.response().text(), "2");
    for channel in ["a", "b", "c"] {
        hub.wait_for_subscribers(channel, 0);
    }
}

#[test]
fn a_request_that_does_not_end_is_closed() {
    let hub = hub(&[("header_timeout", "1s")]);
    let start = Instant::now();
    let mut silent = hub.connect();
    let mut slow = hub.connect();
    slow.send("GET /lp/a HTTP/1.1\r\nX: ");
    let mut body = hub.connect_admin();
    body.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc");
    silent.expect_end();
    assert_eq!(slow.response().status, 408);
    slow.expect_end();
    assert_eq!(body.response().status, 408);
    body.expect_end();
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert!(hub.counters("a").is_none());
}

#[test]
fn an_idle_connection_is_closed() {
    let hub = hub(&[("keepalive_timeout", "1s")]);
    let mut client = hub.connect();
    client.get("/poll/a", "");
    assert_eq!(client.response().status, 304);
    client.expect_end();
}

#[test]
fn a_large_body_is_refused_before_it_is_sent() {
    let hub = hub(&[("max_message_size", "1k")]);
    let mut client = hub.connect_admin();
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1025\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.header("Connection")), (413, Some("close")));
    client.expect_end();
    let mut client = hub.connect_admin();
    client.send(&format!("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n{}", "x".repeat(1025)));
    assert_eq!(client.response().status, 413);
    let mut client = hub.connect_admin();
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025)));
    assert_eq!(client.response().status, 413);
    assert!(hub.counters("a").is_none());
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let hub = hub(&[]);
    let mut client = hub.connect_admin();
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("ok");
    assert_eq!(client.response().status, 200);
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_reader_that_takes_nothing_is_closed_and_holds_up_nobody() {
    let hub = hub(&[("send_timeout", "1s"), ("max_message_size", "8m"), ("memory_limit", "64m")]);
    let mut stuck = park(&hub, "big", &poll("/lp/big", ""));
    rustix::net::sockopt::set_socket_recv_buffer_size(&stuck.socket, 64 << 10).expect("a socket");
    let body = "x".repeat(8 << 20);
    assert_eq!(hub.publish("big", &body).status, 200);
    let mut other = park(&hub, "small", &poll("/lp/small", ""));
    hub.publish("small", "1");
    assert_eq!(other.response().text(), "1");
    // The hub has to give up before anything is read, else reading would be progress: then it has the other connection, and
    // the one that asks.
    wait_until("the hub gave up", || {
        let mut admin = hub.connect_admin();
        admin.get("/metrics", "");
        admin.response().text().contains("push_connections{transport=\"none\"} 2\n")
    });
    let mut rest = Vec::new();
    let _ = stuck.socket.read_to_end(&mut rest);
    assert!(rest.len() < body.len(), "the answer was cut off, {} bytes came", rest.len());
}

#[test]
fn an_answer_before_the_end_is_not_lost_in_a_reset() {
    let hub = hub(&[]);
    hub.publish("a", "1");
    let rest = "x".repeat(100_000);
    let mut client = hub.connect();
    client.send(&(poll("/poll/a", &format!("Connection: close\r\n{FROM_START}")) + &rest));
    assert_eq!(client.response().text(), "1");
    client.expect_end();
    // Still read, though for nothing: else the network may throw the answer away.
    for _ in 0..10 {
        client.send(&rest[..10_000]);
    }
}

#[test]
fn a_drained_hub_does_not_wait_for_a_client_that_has_its_answer() {
    let mut hub = hub(&[("threads", "1"), ("max_message_size", "8m"), ("memory_limit", "64m")]);
    let mut slow = park(&hub, "big", &poll("/lp/big", ""));
    rustix::net::sockopt::set_socket_recv_buffer_size(&slow.socket, 64 << 10).expect("a socket");
    let body = "x".repeat(8 << 20);
    hub.publish("big", &body);
    let mut other = park(&hub, "small", &poll("/lp/small", ""));
    let running = hub.hub.take().expect("running");
    let start = Instant::now();
    let draining = std::thread::spawn(|| running.drain());
    assert_eq!(other.response().status, 304);
    drop(other);
    assert!(slow.response().body.len() == body.len());
    slow.expect_end();
    draining.join().expect("no panic");
    assert!(start.elapsed() < Duration::from_secs(5), "draining took {:?}", start.elapsed());
}

#[test]
fn clients_with_many_requests_hold_up_nobody() {
    let hub = hub(&[("threads", "1")]);
    let path: String = (100..200).map(|number| format!("/{number}")).collect();
    // Each of 512 bytes, so that none ends in the next read.
    let padded = |path: &str| {
        let bare = poll(path, "X: \r\n").len();
        poll(path, &format!("X: {}\r\n", "y".repeat(512 - bare)))
    };
    let requests = padded("/lp/start") + &padded(&format!("/poll{path}")).repeat(150);
    let mut greedy: Vec<Client> = (0..20).map(|_| hub.connect()).collect();
    greedy.iter_mut().for_each(|client| client.send(&requests));
    hub.wait_for_subscribers("start", 20);
    let mut other = hub.connect();
    hub.publish("start", "go");
    let start = Instant::now();
    other.get("/poll/a", "");
    assert_eq!(other.response().status, 304);
    let one = start.elapsed();
    for client in &mut greedy {
        assert_eq!(client.response().text(), "go");
        for _ in 0..150 {
            assert_eq!(client.response().status, 304);
        }
    }
    let all = start.elapsed();
    assert!(one * 2 < all, "one poll took {one:?}, 3000 took {all:?}");
}

#[test]
fn a_slow_reader_gets_all_of_a_large_answer() {
    let hub = hub(&[("max_message_size", "8m"), ("memory_limit", "64m")]);
    let mut client = park(&hub, "big", &poll("/lp/big", ""));
    rustix::net::sockopt::set_socket_recv_buffer_size(&client.socket, 64 << 10).expect("a socket");
    let body = "0123456789".repeat(500_000);
    hub.publish("big", &body);
    assert!(client.response().text() == body);
    client.get("/lp/big", "");
    hub.wait_for_subscribers("big", 1);
    hub.publish("big", "next");
    assert_eq!(client.response().text(), "next");
}
