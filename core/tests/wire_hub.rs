//! Clients of a hub process that is stopped and killed.

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use push_core::channel::Namespace;
use push_core::client::{Client, Options};
use push_core::error::Error;
use push_core::message::NewMessage;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use support::{DEADLINE, stop_process, wait_until};

const TIMEOUT: Duration = Duration::from_millis(250);

/// `push-hub` in a directory of its own.
struct Hub {
    keeper: Child,
    socket: PathBuf,
    directory: tempfile::TempDir,
}

impl Hub {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let socket = at("hub.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_push-hub"));
        command.arg("--socket").arg(&socket).stdin(Stdio::null());
        command.arg(format!("--listen=unix:{}", at("http.sock").display()));
        command.arg(format!("--admin-listen=unix:{}", at("admin.sock").display()));
        command.args(["--threads=2", "--max-message-size=1m"]);
        if rustix::process::geteuid().is_root() {
            command.arg("--user=nobody");
            std::os::unix::fs::chown(directory.path(), Some(65_534), None).expect("root may");
        }
        let log = std::fs::File::create(at("log")).expect("a file");
        let keeper = command.stderr(log).spawn().expect("push-hub");
        let hub = Self { keeper, socket, directory };
        let mut client = hub.client();
        wait_until("the hub serves", || client.ping(TIMEOUT));
        hub
    }

    fn client(&self) -> Client {
        Client::new(Options {
            socket: self.socket.clone(),
            inherited: None,
            timeout: TIMEOUT,
            backoff: Duration::from_millis(100),
            ring_size: 64 << 10,
        })
    }

    /// The process that serves now.
    fn pid(&self) -> Pid {
        let mut pid = 0;
        let mut client = self.client();
        wait_until("the hub answers", || client.status().map(|status| pid = status.pid as i32).is_ok());
        Pid::from_raw(pid).expect("a process")
    }

    fn signal(&self, pid: Pid, signal: Signal) {
        assert_ne!(pid.as_raw_pid(), self.keeper.id() as i32);
        kill_process(pid, signal).expect("our hub");
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        let _ = kill_process(Pid::from_child(&self.keeper), Signal::TERM);
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end && matches!(self.keeper.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

#[test]
fn a_stopped_hub_costs_one_time_out_and_loses_nothing() {
    let hub = Hub::start();
    let mut client = hub.client();
    client.publish("a", &NewMessage::new(b"before")).expect("a hub");
    let mut published = 1;
    let pid = hub.pid();
    stop_process(pid.as_raw_pid());

    let begun = Instant::now();
    let late = client.publish("a", &NewMessage::new(b"late"));
    assert_eq!(late, Err(Error::Timeout { milliseconds: 250 }));
    // It lies in the ring, and takes effect later.
    published += 1;
    assert!((TIMEOUT..TIMEOUT * 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(client.publish("a", &NewMessage::new(b"refused")), Err(Error::Timeout { milliseconds: 250 }));
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
    for _ in 0..100 {
        client.publish_async("a", &NewMessage::new(b"waits in the ring")).expect("room");
        published += 1;
    }
    // Who is not attached yet does not hang either.
    let begun = Instant::now();
    assert_eq!(hub.client().position(), Err(Error::Timeout { milliseconds: 250 }));
    assert!(begun.elapsed() < TIMEOUT * 4, "{:?}", begun.elapsed());

    hub.signal(pid, Signal::CONT);
    // As soon as the hub has read the ring, whatever is left of the back-off.
    wait_until("calls are answered again", || client.publish("a", &NewMessage::new(b"after")).is_ok());
    published += 1;
    let info = client.channel_info("a").expect("a hub").expect("a channel");
    assert_eq!(info.published, published);
}

#[test]
fn a_killed_hub_is_replaced_under_its_clients() {
    let hub = Hub::start();
    let mut client = hub.client();
    let mut patient = hub.client();
    patient.set_timeout(DEADLINE);
    for round in 1..=5 {
        client.publish("a", &NewMessage::new(b"x")).expect("a hub");
        patient.publish_async("a", &NewMessage::new(b"x")).expect("a hub");
        let old = hub.pid();
        let death = pidfd_open(old, PidfdFlags::empty()).expect("it runs");
        hub.signal(old, Signal::KILL);
        poll(&mut [PollFd::new(&death, PollFlags::IN)], None).expect("it dies");
        // Without acknowledgement the next hub is waited for.
        for _ in 0..50 {
            patient.publish_async("b", &NewMessage::new(b"x")).expect("the next hub");
        }
        // Fails at most while the next hub starts, and never for longer than a time-out.
        wait_until("the next hub", || {
            let begun = Instant::now();
            let result = client.publish("c", &NewMessage::new(b"x"));
            assert!(begun.elapsed() < TIMEOUT * 4, "{:?}", begun.elapsed());
            match result {
                Ok(published) => published.id > 0,
                Err(Error::HubUnavailable(_) | Error::Timeout { .. }) => false,
                Err(error) => panic!("{error}"),
            }
        });
        assert_ne!(hub.pid(), old);
        let info = patient.channel_info("b").expect("a hub").expect("a channel");
        assert_eq!(info.published, 50 * round, "what was accepted without acknowledgement reached the next hub, once");
    }
}

/// Who of these is online, in the channel and on the site.
fn online(client: &mut Client, channel: Option<&str>) -> Result<Vec<String>, Error> {
    client.presence_among(vec!["ann", "bob", "cid"], channel)
}

#[test]
fn who_is_online_is_seen_without_a_call() {
    let hub = Hub::start();
    let (mut other, mut client) = (hub.client(), hub.client());
    let mut shop = hub.client();
    shop.set_namespace(&Namespace::new("shop").expect("a name"));
    other.presence_online("ann", Some("lobby"), b"", None).expect("a hub");
    other.presence_online("bob", None, b"", None).expect("a hub");
    assert!(client.ping(DEADLINE) && shop.ping(DEADLINE));
    let pid = hub.pid();
    let stopped = |work: &mut dyn FnMut()| {
        stop_process(pid.as_raw_pid());
        work();
        hub.signal(pid, Signal::CONT);
        assert!(hub.client().ping(DEADLINE));
    };
    stopped(&mut || {
        assert_eq!(online(&mut client, Some("lobby")), Ok(vec!["ann".to_owned()]));
        assert_eq!(online(&mut client, None), Ok(vec!["bob".to_owned()]));
        assert_eq!(client.presence_is_online("ann", Some("lobby")), Ok(true));
        assert_eq!(client.presence_is_online("ann", Some("hall")), Ok(false));
        // Of another namespace.
        assert_eq!(online(&mut shop, None), Ok(Vec::new()));
        assert!(matches!(client.presence_is_online("", None), Err(Error::InvalidArgument(_))));
        assert_eq!(client.presence_count(None), Err(Error::Timeout { milliseconds: 250 }), "that is a call");
    });
    other.presence_online("ann", None, b"", None).expect("a hub");
    other.presence_offline("bob", None).expect("a hub");
    other.presence_online("cid", Some("lobby"), b"", Some(1)).expect("a hub");
    shop.presence_online("cid", None, b"", None).expect("a hub");
    other.publish("lobby", &NewMessage::new(b"x")).expect("a hub");
    assert_eq!(other.delete_channel("lobby", None), Ok(true));
    other.presence_online("bob", Some("lobby"), b"", None).expect("a hub");
    wait_until("the ring is empty again", || client.ping(DEADLINE));
    stopped(&mut || {
        assert_eq!(online(&mut client, None), Ok(vec!["ann".to_owned()]));
        assert_eq!(online(&mut client, Some("lobby")), Ok(vec!["bob".to_owned()]));
        assert_eq!(online(&mut shop, None), Ok(vec!["cid".to_owned()]));
    });
    // With its lease.
    other.presence_online("cid", None, b"", Some(1)).expect("a hub");
    assert_eq!(client.presence_is_online("cid", None), Ok(true));
    wait_until("the lease is over", || client.presence_is_online("cid", None) == Ok(false));
    assert_eq!(client.presence_get("cid", None), Ok(None));
    // A hub that is stopped cannot say that it is.
    other.presence_online("cid", None, b"", Some(1)).expect("a hub");
    stop_process(pid.as_raw_pid());
    assert_eq!(client.presence_is_online("cid", None), Ok(true));
    let late = Err(Error::Timeout { milliseconds: 250 });
    wait_until("nobody relies on it any more", || client.presence_is_online("cid", None) == late);
    hub.signal(pid, Signal::CONT);
    wait_until("the lease is over", || client.presence_is_online("cid", None) == Ok(false));
}

#[test]
fn who_is_online_is_told_by_the_hub_that_serves() {
    let mut hub = Hub::start();
    let (mut client, mut other) = (hub.client(), hub.client());
    client.set_timeout(DEADLINE);
    for round in 0..3 {
        let user = format!("user-{round}");
        other.presence_online(&user, None, b"", None).expect("a hub");
        assert_eq!(client.presence_is_online(&user, None), Ok(true));
        let old = hub.pid();
        let death = pidfd_open(old, PidfdFlags::empty()).expect("it runs");
        hub.signal(old, Signal::KILL);
        poll(&mut [PollFd::new(&death, PollFlags::IN)], None).expect("it dies");
        wait_until("the next hub", || other.presence_offline(&user, None).is_ok());
        assert_eq!(client.presence_is_online(&user, None), Ok(false), "the hub before knows of no leave");
        // It has what the next hub shares.
        let pid = hub.pid();
        stop_process(pid.as_raw_pid());
        client.set_timeout(TIMEOUT);
        assert_eq!(client.presence_is_online(&user, None), Ok(false));
        client.set_timeout(DEADLINE);
        hub.signal(pid, Signal::CONT);
        assert!(hub.client().ping(DEADLINE));
    }
    // Else it would start another keeper.
    let pid = hub.pid();
    stop_process(pid.as_raw_pid());
    hub.keeper.kill().expect("it runs");
    hub.keeper.wait().expect("it ran");
    hub.signal(pid, Signal::KILL);
    let gone = |result| matches!(result, Err(Error::HubUnavailable(_)));
    wait_until("nobody is there any more", || gone(client.presence_is_online("ann", None)));
}

#[test]
fn the_end_of_hub_and_keeper_during_a_call_is_noticed_in_milliseconds() {
    let mut hub = Hub::start();
    let mut client = hub.client();
    client.publish("a", &NewMessage::new(b"x")).expect("a hub");
    client.set_timeout(DEADLINE);
    let pid = hub.pid();
    stop_process(pid.as_raw_pid());
    let (tell, caller) = std::sync::mpsc::channel();
    let (error, noticed) = std::thread::scope(|threads| {
        let call = threads.spawn(|| {
            tell.send(rustix::thread::gettid()).expect("somebody listens");
            (client.publish("a", &NewMessage::new(b"y")), Instant::now())
        });
        let stat = format!("/proc/self/task/{}/stat", caller.recv().expect("it starts"));
        wait_until("the caller sleeps", || {
            std::fs::read_to_string(&stat).expect("it waits").rsplit_once(')').expect("a state").1.starts_with(" S")
        });
        hub.keeper.kill().expect("it runs");
        hub.keeper.wait().expect("it ran");
        let killed = Instant::now();
        hub.signal(pid, Signal::KILL);
        let (result, returned) = call.join().expect("no panic");
        (result.expect_err("no hub is left"), returned.duration_since(killed))
    });
    assert!(matches!(error, Error::HubUnavailable(_)), "{error}");
    assert!(noticed < Duration::from_secs(1), "{noticed:?}");
    let begun = Instant::now();
    assert!(matches!(client.publish_async("a", &NewMessage::new(b"z")), Err(Error::HubUnavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[test]
fn clients_that_come_and_go_leave_no_descriptors_behind() {
    let hub = Hub::start();
    let pid = hub.pid();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    let Ok(_) = open() else {
        // Only root may look into a process that has changed its user.
        return;
    };
    let held = || open().expect("the hub runs");
    let mut keep = hub.client();
    assert!(keep.ping(DEADLINE));
    let mut before = held();
    wait_until("the hub is at rest", || {
        let last = std::mem::replace(&mut before, held());
        last == before
    });
    for _ in 0..100 {
        let mut client = hub.client();
        client.publish("a", &NewMessage::new(b"x")).expect("a hub");
        client.publish_async("a", &NewMessage::new(b"last words")).expect("a hub");
    }
    wait_until("all descriptors are closed", || held() <= before);
    wait_until("all words are heard", || {
        keep.channel_info("a").expect("a hub").is_some_and(|info| info.published == 200)
    });
}
