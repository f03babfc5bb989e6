//! An event stream that a browser opens again: the same address, and `Last-Event-ID`.

mod support;

use support::{TestHub, hub};

/// The texts of the events that a request for this address gets; polled, because then the answer has an end.
fn texts(hub: &TestHub, target: &str, headers: &str) -> Vec<String> {
    let mut client = hub.connect();
    client.get(target, &format!("X-Nginx-PushStream-Mode: polling\r\n{headers}"));
    let response = client.response();
    let lines = response.text().lines();
    lines.filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
}

#[test]
fn what_the_browser_saw_goes_before_the_place_in_the_address() {
    let hub = hub(&[]);
    for text in ["one", "two", "three"] {
        assert_eq!(hub.publish("a", text).status, 200);
    }
    let mut client = hub.connect();
    client.get("/ev/a?position=0.0", "X-Nginx-PushStream-Mode: polling\r\n");
    let first = client.response();
    let ids: Vec<&str> = first.text().lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids.len(), 3);
    let date = first.header("Last-Modified").expect("a date");
    let seen = format!("Last-Event-ID: {}\r\n", ids[1]);
    let [encoded, form] = ["%20", "+"].map(|space| format!("time={}&tag=0", date.replace(' ', space)));
    let places = ["position=0.0".to_owned(), encoded, form, format!("position={}", ids[0])];
    for place in places {
        let target = format!("/ev/a?{place}");
        assert!(texts(&hub, &target, "").len() >= 2, "{place}");
        assert_eq!(texts(&hub, &target, &seen), ["three"], "{place}");
        assert_eq!(texts(&hub, &target, "Last-Event-ID: \r\n").len(), texts(&hub, &target, "").len(), "{place}");
    }
    assert_eq!(texts(&hub, "/ev/a.b2", ""), ["two", "three"]);
    assert_eq!(texts(&hub, "/ev/a.b2", &seen), ["three"]);
    assert_eq!(texts(&hub, "/ev/a.b2", &format!("Last-Event-ID: {}\r\n", ids[2])), [""; 0]);
}
