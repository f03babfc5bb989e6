//! The hub in the process that publishes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use push_core::client::Client;
use push_core::config::{Address, Config};
use push_core::embedded::Embedded;
use push_core::error::Error;
use push_core::message::{NewMessage, Position};
use support::{DEADLINE, wait_until};

fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    let own = [("listen", "127.0.0.1:0"), ("threads", "2"), ("authorized_channels_only", "off")];
    for (key, value) in own.iter().chain(settings) {
        config.set(key, value).unwrap();
    }
    config
}

fn start(settings: &[(&str, &str)]) -> (Arc<Embedded>, SocketAddr) {
    let hub = Arc::new(Embedded::start(&config(settings)).unwrap());
    let Some(Address::Tcp(address)) = hub.addresses().first().cloned() else { panic!("a port") };
    (hub, address)
}

/// A poll that waits.
fn waiting(hub: &Arc<Embedded>, address: SocketAddr, channel: &str) -> support::Client {
    let mut subscriber = support::Client::new(address);
    subscriber.get(&format!("/sub/{channel}"), "");
    let mut client = Client::embedded(hub.clone());
    wait_until("the subscriber is seated", || {
        client.channel_info(channel).unwrap().is_some_and(|info| info.subscribers == 1)
    });
    subscriber
}

#[test]
fn a_call_reaches_a_subscriber_without_a_wire() {
    let (hub, address) = start(&[]);
    assert_ne!(address.port(), 0);
    assert!(hub.admin_addresses().is_empty(), "nobody asked for one");
    let mut client = Client::embedded(hub.clone());
    let mut subscriber = waiting(&hub, address, "news");
    let published = client.publish("news", &NewMessage::new(b"hello")).unwrap();
    assert_eq!((published.id, published.subscribers), (1, 1));
    assert_eq!(subscriber.response().text(), "hello");
    client.publish_async("news", &NewMessage::new(b"again")).unwrap();
    let batch = vec![("news", NewMessage::new(b"third")), ("other", NewMessage::new(b"first"))];
    assert_eq!(client.publish_many(batch).unwrap().iter().map(|one| one.id).collect::<Vec<_>>(), [3, 1]);
    let history = client.history("news", Position::START, 10).unwrap();
    assert_eq!(
        history.iter().map(|message| &message.payload[..]).collect::<Vec<_>>(),
        [&b"hello"[..], b"again", b"third"]
    );
    let status = client.status().unwrap();
    assert_eq!((status.pid, status.socket.as_str(), status.channels), (std::process::id(), "", 2));
    assert!(client.ping(DEADLINE));
    // Limits are those of any hub, and no call is too late to hear of them.
    let large = vec![0; 65 << 10];
    assert!(matches!(client.publish_async("news", &NewMessage::new(&large)), Err(Error::TooLarge { .. })));
    assert!(matches!(client.publish("a/b", &NewMessage::new(b"x")), Err(Error::InvalidName(_))));
}

#[test]
fn stopping_answers_who_waits_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let listen = format!("127.0.0.1:0, unix:{}", path.display());
    let (hub, address) = start(&[("listen", &listen), ("admin_listen", "127.0.0.1:0")]);
    assert_eq!(hub.addresses()[1], Address::Unix(path.clone()));
    let [Address::Tcp(admin)] = hub.admin_addresses() else { panic!("it was asked for") };
    UnixStream::connect(&path).unwrap();
    let mut subscriber = waiting(&hub, address, "news");
    let mut client = Client::embedded(hub.clone());
    let head = client.publish("other", &NewMessage::new(b"x")).unwrap().position;
    hub.stop();
    let answer = subscriber.response();
    assert_eq!((answer.status, answer.header("Connection")), (304, Some("close")));
    assert_eq!(answer.header("Etag"), Some(format!("W/{}", head.tag).as_str()));
    subscriber.expect_end();
    assert!(TcpStream::connect(address).is_err() && TcpStream::connect(admin).is_err());
    assert!(!path.exists());
    let refused = client.publish("news", &NewMessage::new(b"x")).unwrap_err();
    assert_eq!(refused.to_string(), "the hub of this process has ended");
    assert!(!client.ping(DEADLINE));
    hub.stop();
    // The port is free for the next one.
    let again = Embedded::start(&config(&[("listen", &address.to_string())])).unwrap();
    assert_eq!(again.addresses(), [Address::Tcp(address)]);
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("http.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = Embedded::start(&config(&[("listen", &format!("unix:{}, {address}", path.display()))])).unwrap_err();
    assert!(error.to_string().starts_with(&format!("listen: cannot listen on {address}: ")), "{error}");
    assert!(!path.exists());
    let error = Embedded::start(&config(&[("log", "/no/such/directory/log")])).unwrap_err();
    assert!(error.to_string().starts_with("log = \"/no/such/directory/log\": "), "{error}");
    let error = Embedded::start(&config(&[("max_message_size", "2m"), ("memory_limit", "1m")])).unwrap_err();
    assert!(error.to_string().contains("memory_limit"), "{error}");
}

/// What the kernel says of each of this process's threads that a hub has started.
fn threads() -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    status.filter(|status| status.starts_with("Name:\tpush-http-")).collect()
}

#[test]
fn its_threads_leave_all_signals_to_the_process() {
    let hub = Embedded::start(&config(&[("threads", "3")])).unwrap();
    // A thread names itself, some time after it was started.
    wait_until("there are three", || threads().len() >= 3);
    for status in threads() {
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        let blocked = u64::from_str_radix(blocked, 16).unwrap();
        // KILL and STOP cannot be blocked; 32 and 33 are the C library's own.
        let open = !blocked & !(1 << 8) & !(1 << 18) & !(1 << 31) & !(1 << 32);
        assert_eq!(open, 0, "{status}");
    }
    let own = fs::read_to_string("/proc/thread-self/status").unwrap();
    assert!(own.contains("SigBlk:\t0000000000000000"), "{own}");
    hub.stop();
}

#[test]
fn a_token_opens_a_channel_and_who_has_to_go_is_told_on_every_thread() {
    let (hub, address) = start(&[("authorized_channels_only", "token")]);
    let mut client = Client::embedded(hub.clone());
    let token = client.token(&["news"], Some("7"), 60, b"", false).unwrap();
    let mut subscribers: Vec<_> = (0..4).map(|_| support::Client::new(address)).collect();
    for subscriber in &mut subscribers {
        subscriber.get(&format!("/sub/news?token={token}"), "");
    }
    wait_until("all are seated", || {
        client.channel_info("news").unwrap().is_some_and(|info| info.subscribers == subscribers.len() as u32)
    });
    assert_eq!(client.disconnect(Some("7"), None, "bye", true).unwrap(), 4);
    for subscriber in &mut subscribers {
        let answer = subscriber.response();
        assert_eq!((answer.status, answer.text()), (403, "bye\n"));
    }
    let mut again = support::Client::new(address);
    again.get(&format!("/sub/news?token={token}"), "");
    assert_eq!(again.response().status, 401);
    hub.stop();
    assert!(matches!(client.disconnect(Some("7"), None, "", false), Err(Error::HubUnavailable(_))));
}
