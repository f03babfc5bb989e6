//! Every scenario, small: against a floor and a hub that do what they are to do, and against floors that do not. A fault
//! must be found, or the zeros of the results mean nothing.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use push_core::config::{Address, Config};
use push_core::embedded::Embedded;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use serde_json::Value;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const BENCH: &str = env!("CARGO_BIN_EXE_push-bench");
const DEADLINE: Duration = Duration::from_secs(20);

/// A scenario, sizes for it, a figure, and what that must be; `None` is something above zero.
type Case = (&'static str, &'static str, &'static str, Option<f64>);

const CASES: [Case; 14] = [
    ("idle", "--subscribers 20", "subscribers", Some(20.0)),
    ("idle-websocket", "--subscribers 20", "subscribers", Some(20.0)),
    ("fanout", "--subscribers 20 --rounds 5", "deliveries", Some(100.0)),
    ("batch", "--subscribers 20 --rounds 2", "fanout_ms", None),
    ("fanout-streaming", "--subscribers 20 --rounds 5", "deliveries", Some(100.0)),
    ("fanout-eventsource", "--subscribers 20 --rounds 5", "deliveries", Some(100.0)),
    ("fanout-websocket", "--subscribers 20 --rounds 5 --bytes 300", "deliveries", Some(100.0)),
    ("flood-eventsource", "--subscribers 20 --rounds 2 --messages 30", "deliveries", Some(1200.0)),
    ("flood-websocket", "--subscribers 20 --rounds 2 --messages 30", "deliveries", Some(1200.0)),
    ("rate-1k", "--channels 200 --others 30 --seconds 1", "latency_p99_us", None),
    ("rate-most", "--channels 200 --seconds 1", "cpu_us_per_delivery", None),
    ("publish", "--channels 32 --seconds 1", "publications_per_second", None),
    ("accept", "--subscribers 4 --seconds 1", "requests_per_second", None),
    ("churn", "--subscribers 30 --channels 10 --rounds 5 --rate 200 --seconds 3", "deliveries", None),
];

/// Ended with the test.
struct Floor {
    process: Child,
    address: SocketAddr,
}

impl Floor {
    fn start(options: &str) -> Outcome<Floor> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(BENCH);
        command.args(["floor", "--listen", &address.to_string()]).args(options.split_whitespace());
        let floor = Floor { process: command.spawn()?, address };
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("the floor does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(floor)
    }

    fn load(&self, scenario: &str, sizes: &str) -> Outcome<(bool, Value)> {
        load(scenario, sizes, self.address, self.address, self.process.id())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the generator was content, and its line.
fn load(scenario: &str, sizes: &str, public: SocketAddr, admin: SocketAddr, pid: u32) -> Outcome<(bool, Value)> {
    let mut command = Command::new(BENCH);
    command.args([scenario, "--subscribe", &public.to_string(), "--publish", &admin.to_string()]);
    let Output { status, stdout, stderr } =
        command.args(["--pid", &pid.to_string()]).args(sizes.split_whitespace()).output()?;
    let line = serde_json::from_slice(&stdout)
        .map_err(|_| format!("{scenario} {sizes}: {}", String::from_utf8_lossy(&stderr)))?;
    Ok((status.success(), line))
}

fn check((scenario, sizes, figure, wanted): Case, (content, line): &(bool, Value)) {
    assert!(content, "{scenario} {sizes}: {line}");
    for fault in ["lost", "doubled", "reordered"] {
        assert_eq!(line[fault], 0, "{scenario} {sizes}: {line}");
    }
    let found = line[figure].as_f64().unwrap_or(f64::NAN);
    match wanted {
        Some(wanted) => assert_eq!(found, wanted, "{scenario} {sizes}: {line}"),
        None => assert!(found > 0.0, "{scenario} {sizes}: {line}"),
    }
}

#[test]
fn nothing_is_wrong_with_the_floor() -> Outcome {
    for case in CASES {
        check(case, &Floor::start("--stored 40")?.load(case.0, case.1)?);
    }
    Ok(())
}

#[test]
fn nothing_is_wrong_with_a_hub() -> Outcome {
    for case in CASES.into_iter().chain([
        ("fanout", "--subscribers 20 --rounds 5 --set 3 --bytes 3000", "deliveries", Some(100.0)),
        ("fill-messages", "--rounds 500", "messages", Some(500.0)),
        ("fill-channels", "--rounds 300 --channels 300", "channels", Some(300.0)),
        ("churn-new", "--subscribers 30 --channels 10 --rate 200 --seconds 3", "deliveries", None),
    ]) {
        // Of its own, so that nobody finds the messages of another.
        let mut hub = Command::new(std::env::current_exe()?)
            .args(["--exact", "a_hub_for_the_others", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // Kept until the end: it goes on printing.
        let mut said = BufReader::new(hub.stdout.take().ok_or("no output")?).lines();
        let line = said.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix(LISTENS).map(str::to_owned));
        let addresses = line.ok_or("the hub says nothing")?;
        let (public, admin) = addresses.split_once(' ').ok_or("two addresses")?;
        let outcome = load(case.0, case.1, public.parse()?, admin.parse()?, hub.id());
        // It ends with its input.
        drop(hub.stdin.take());
        hub.wait()?;
        check(case, &outcome?);
    }
    Ok(())
}

const LISTENS: &str = "the hub listens at ";

/// In a process of its own, as its CPU time is looked at: this program again.
#[test]
#[ignore = "no test: the hub of another"]
fn a_hub_for_the_others() -> Outcome {
    let mut config = Config::default();
    for (key, value) in [
        ("listen", "127.0.0.1:0"),
        ("admin_listen", "127.0.0.1:0"),
        ("threads", "1"),
        ("authorized_channels_only", "off"),
        ("longpolling_connection_ttl", "none"),
        ("ping_message_interval", "none"),
        ("max_messages_stored_per_channel", "none"),
    ] {
        config.set(key, value)?;
    }
    let hub = Embedded::start(&config)?;
    let (Some(Address::Tcp(public)), Some(Address::Tcp(admin))) =
        (hub.addresses().first(), hub.admin_addresses().first())
    else {
        return Err("the hub listens nowhere".into());
    };
    // After the name of the test, which ends without a new line.
    println!("\n{LISTENS}{public} {admin}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    hub.stop();
    Ok(())
}

#[test]
fn what_is_lost_is_counted() -> Outcome {
    for (scenario, sizes) in [
        ("fanout", "--subscribers 30 --rounds 5"),
        ("fanout-eventsource", "--subscribers 30 --rounds 5"),
        ("flood-websocket", "--subscribers 10 --rounds 1 --messages 20"),
        ("rate-most", "--channels 200 --seconds 1"),
    ] {
        let (content, line) = Floor::start("--spoil lost")?.load(scenario, sizes)?;
        assert!(!content && line["lost"].as_u64() > Some(0), "{scenario}: {line}");
    }
    // Channels that keep less than they have to; how many the publishers send in a second is not known before.
    for (scenario, sizes, lost) in [
        ("publish", "--channels 16 --seconds 1", None),
        ("fill-messages", "--rounds 100", Some(91)),
        ("fill-channels", "--rounds 40 --channels 2", Some(22)),
    ] {
        let (content, line) = Floor::start("--stored 9")?.load(scenario, sizes)?;
        let found = line["lost"].as_u64();
        assert!(!content && found > Some(0) && (lost.is_none() || found == lost), "{scenario}: {line}");
    }
    Ok(())
}

/// In a tenth of a second a tenth of them: the last ten of a hundred come after nine tenths.
#[test]
fn no_second_has_more_messages_than_the_rate_allows() -> Outcome {
    let (content, line) = Floor::start("--stored 100")?.load("fill-messages", "--rounds 100 --rate 100")?;
    assert!(content && line["seconds"].as_f64() >= Some(0.9), "{line}");
    Ok(())
}

#[test]
fn what_comes_twice_is_counted() -> Outcome {
    for (scenario, sizes) in [
        ("fanout", "--subscribers 30 --rounds 5"),
        ("fanout-streaming", "--subscribers 30 --rounds 5"),
        ("fanout-websocket", "--subscribers 30 --rounds 5"),
        ("rate-most", "--channels 200 --seconds 1"),
    ] {
        let (content, line) = Floor::start("--spoil doubled")?.load(scenario, sizes)?;
        assert!(!content && line["doubled"].as_u64() > Some(0), "{scenario}: {line}");
        assert_eq!(line["lost"], 0, "{scenario}: {line}");
    }
    Ok(())
}

#[test]
fn what_comes_in_another_order_is_counted() -> Outcome {
    for scenario in ["flood-streaming", "flood-eventsource", "flood-websocket"] {
        let floor = Floor::start("--spoil reordered --stored 100")?;
        // Two rounds of one message come first: of these 18, the fifth and the fifteenth are held back.
        let (content, line) = floor.load(scenario, "--subscribers 5 --rounds 1 --messages 18")?;
        assert!(!content, "{scenario}: {line}");
        assert_eq!((&line["reordered"], &line["lost"]), (&Value::from(10), &Value::from(0)), "{scenario}: {line}");
    }
    Ok(())
}

#[test]
fn who_is_woken_answers_and_ends_with_whoever_asks() -> Outcome {
    let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut command = Command::new(BENCH);
    command.arg("answer").stdin(Stdio::from(bell.try_clone()?)).stdout(Stdio::from(theirs));
    let mut process = command.spawn()?;
    // The command keeps what it gave the process.
    drop(command);
    for _ in 0..3 {
        write(&bell, &1_u64.to_ne_bytes())?;
        assert_eq!(recv(&socket, &mut [0; 8], RecvFlags::empty())?.1, 1);
    }
    drop(socket);
    assert!(process.wait()?.success());
    Ok(())
}

#[test]
fn a_size_that_nobody_knows_is_refused() -> Outcome {
    let floor = Floor::start("")?;
    assert!(floor.load("fanout", "--subscriber 20").is_err());
    assert!(floor.load("fan-out", "").is_err());
    Ok(())
}
