//! Keeper and hub as processes: the real program, started from a command line and as a PHP master starts it.
//!
//! Run as root the hubs run as `nobody`; what only root can show is left out for others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use push_core::config::Config;
use push_core::keeper::{How, StartError, start_or_adopt};
use push_core::message::NewMessage;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, geteuid};
use support::process::*;
use support::{Client, DEADLINE, stop_process, wait_until};

fn root() -> bool {
    geteuid().is_root()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn refused(config: &Config, site: &Site) -> String {
    let output = run(&["--config", site.write(config).to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Said before the log takes the place of the standard error stream, or in the log.
    String::from_utf8(output.stderr).unwrap() + &site.log()
}

// Standalone

#[test]
fn sigterm_answers_who_waits_and_removes_the_sockets() {
    for (number, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let site = Site::new();
        let mut running = Foreground::start(&site, &site.config(&[]));
        let mut waiting = Client::new(site.listen);
        waiting.get("/sub/a", "");
        wait_until("somebody waits", || has_subscriber(&site, "a"));
        let hub = site.hub();
        signal(running.pid(), number);
        let answer = waiting.response();
        assert_eq!(answer.status, 304);
        assert!(answer.header("Last-Modified").is_some() && answer.header("Etag").is_some(), "{answer:?}");
        waiting.expect_end();
        assert_eq!(running.exit_code(), Some(0), "{}", site.log());
        assert!(gone(hub));
        let mut left: Vec<_> =
            fs::read_dir(site.path("run")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["hub.sock.lock", "secret"], "{}", site.log());
        assert!(site.log().contains(&format!("ending: {name}")), "{}", site.log());
    }
}

#[test]
fn a_signal_to_the_whole_group_is_still_a_gentle_end() {
    let site = Site::new();
    let mut running = Foreground::start(&site, &site.config(&[]));
    let hub = site.hub();
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    // As systemd and Ctrl-C do it, and `timeout` even twice.
    for pid in [running.pid(), hub, running.pid()] {
        signal(pid, Signal::TERM);
    }
    assert_eq!(running.exit_code(), Some(0), "{}", site.log());
}

#[test]
fn sighup_takes_over_what_a_running_hub_can_and_names_the_rest() {
    let site = Site::new();
    let before = site.config(&[("longpolling_connection_ttl", "1h")]);
    let running = Foreground::start(&site, &before);
    let hub = site.hub();
    site.publish("a", "x");
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    wait_until("somebody waits", || has_subscriber(&site, "a"));

    let settings = [
        ("longpolling_connection_ttl", "1s"),
        ("max_number_of_channels", "1"),
        ("log_level", "debug"),
        ("threads", "3"),
    ];
    let after = site.config(&settings);
    site.write(&after);
    signal(running.pid(), Signal::HUP);
    signal(hub, Signal::HUP);
    wait_until("the log says so", || {
        site.log().contains("SIGHUP: changed from now on: max_number_of_channels, log_level")
    });
    assert!(site.log().contains("SIGHUP: changed, and needs a restart: threads\n"), "{}", site.log());
    // The lines of the hub, and its limits, follow; who waited waits as before.
    let attach = || {
        push_core::client::Client::new(push_core::client::Options {
            socket: site.socket(),
            inherited: None,
            timeout: DEADLINE,
            backoff: Duration::from_millis(1),
            ring_size: 256 << 10,
        })
    };
    let mut client = attach();
    let options = push_core::channel::ChannelOptions::default;
    wait_until("the limit holds", || match client.create_channel(Some("b"), options()) {
        Ok(_) => !client.delete_channel("b", None).unwrap(),
        Err(error) => error.to_string().contains("max_number_of_channels allows (1)"),
    });
    assert!(attach().ping(DEADLINE));
    assert!(site.log().contains("client attached"), "{}", site.log());
    let mut new = Client::new(site.listen);
    new.get("/sub/a", "");
    assert_eq!(new.response().status, 304, "after a second, not after an hour");
    assert!(waiting.is_silent());
    site.publish("a", "y");
    assert_eq!(waiting.response().text(), "y");
    assert_eq!(site.hub(), hub);

    // The next hub has it too, and a master that has the same adopts it.
    signal(hub, Signal::KILL);
    wait_until("the next hub serves", || site.log().contains("a new hub serves"));
    let refused = client.create_channel(Some("c"), options()).unwrap_err().to_string();
    assert!(refused.contains("max_number_of_channels allows (1)"), "{refused}");
    let mut same = after.clone();
    same.set("threads", "2").unwrap();
    assert_eq!(start_or_adopt(&same, Path::new(PROGRAM)).unwrap().how, How::Adopted);
}

#[test]
fn sighup_changes_memory_sizes_and_log_of_a_hub_that_goes_on() {
    let site = Site::new();
    let settings = |memory: &'static str, size: &'static str| {
        let base = [("memory_limit", memory), ("max_message_size", size), ("max_messages_stored_per_channel", "none")];
        site.config(&base)
    };
    let running = Foreground::start(&site, &settings("8m", "64k"));
    let hub = site.hub();
    let mut client = attach(&site.socket());
    let payload = [7; 10_000];
    for _ in 0..600 {
        client.publish("long-name", &NewMessage::new(&payload)).unwrap();
    }
    assert!(client.status().unwrap().memory > 6_000_000);
    let reload = |memory, size, more: &[(&str, &str)]| {
        let mut config = settings(memory, size);
        more.iter().for_each(|(key, value)| config.set(key, value).unwrap());
        site.write(&config);
        signal(running.pid(), Signal::HUP);
    };
    let other = site.path("run/other.log");
    let log = || fs::read_to_string(&other).unwrap_or_default();
    let moved = [("max_channel_id_length", "5"), ("log", other.to_str().unwrap())];
    reload("2m", "20k", &moved);
    // A client that was there before learns of it, too.
    let large = [7; 30_000];
    wait_until("the sizes hold", || client.publish("a", &NewMessage::new(&large)).is_err());
    let error = client.publish("a", &NewMessage::new(&large)).unwrap_err().to_string();
    assert!(error.contains("max_message_size allows 20480"), "{error}");
    wait_until("the memory is given back", || client.status().unwrap().memory <= 2 << 20);
    assert!(client.status().unwrap().messages > 100, "the newest stay");
    let error = client.publish("long-name", &NewMessage::new(b"x")).unwrap_err().to_string();
    assert!(error.contains("max_channel_id_length allows 5"), "{error}");
    assert!(
        log().contains("SIGHUP: changed from now on: memory_limit, max_message_size, max_channel_id_length, log"),
        "{}",
        log()
    );
    assert!(site.log().contains("SIGHUP: the log goes on in /"), "{}", site.log());
    assert!(!site.log().contains("changed from now on"));

    // And larger, as far as there are addresses.
    reload("16m", "64k", &moved);
    wait_until("it is taken", || log().contains("changed from now on: memory_limit, max_message_size\n"));
    wait_until("the sizes hold", || client.publish("a", &NewMessage::new(&large)).is_ok());
    for _ in 0..1200 {
        client.publish("a", &NewMessage::new(&payload)).unwrap();
    }
    assert!(client.status().unwrap().memory > 10_000_000);
    reload("17m", "64k", &moved);
    wait_until("it is refused", || log().contains("needs a restart: memory_limit (above 16 MB, for which this hub"));
    let mut nowhere = moved;
    nowhere[1].1 = "/nowhere/hub.log";
    reload("16m", "64k", &nowhere);
    wait_until("it is refused", || log().contains("needs a restart: log (\"/nowhere/hub.log\": No such file"));
    assert_eq!(site.hub(), hub);
    signal(hub, Signal::KILL);
    wait_until("the next hub serves", || log().contains("a new hub serves"));
    assert!(client.publish("a", &NewMessage::new(&large)).unwrap().id > 1000);
}

#[test]
fn sighup_with_a_wrong_configuration_changes_nothing() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    fs::write(site.path("push.toml"), "message_ttl = '1m'\nthreads = 'many'\n").unwrap();
    signal(running.pid(), Signal::HUP);
    wait_until("the log says so", || site.log().contains("SIGHUP: the configuration stays as it is: "));
    assert!(site.log().contains("push.toml:2: threads = \"many\": allowed is"), "{}", site.log());
    site.publish("a", "still here");
}

#[test]
fn sighup_tells_that_php_fpm_has_the_configuration_of_its_hub() {
    let site = Site::new();
    let leased = Leased::start(&site, &site.config(&[]));
    signal(leased.keeper, Signal::HUP);
    wait_until("the log says so", || site.log().contains("SIGHUP changes no key: php-fpm gave this hub"));
}

/// Also when the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_killed_hub_is_replaced_and_no_connection_is_refused() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let until = Stop(&stop);
        let connects = scope.spawn(|| {
            let mut connects = 0;
            while !stop.load(Ordering::Relaxed) {
                TcpStream::connect_timeout(&site.listen, DEADLINE).expect("no connection is refused");
                connects += 1;
            }
            connects
        });
        let mut last = push_core::message::Position::START;
        for round in 0..4 {
            let hub = site.hub();
            site.publish("a", "one more");
            let position = site.position("a");
            assert!(position > last, "{position} after {last}");
            last = position;
            signal(hub, Signal::KILL);
            wait_until("the hub is replaced", || children(running.pid()).iter().any(|pid| *pid != hub && !gone(*pid)));
            wait_until("the log names the cause", || site.log().matches("ended: signal 9").count() == round + 1);
        }
        site.publish("a", "the last");
        assert!(site.position("a") > last);
        drop(until);
        assert!(connects.join().unwrap() > 0);
    });
}

#[test]
fn a_hub_that_did_its_work_for_a_while_is_replaced_at_once_whatever_was_before_it() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    let kill = |hub: i32| {
        signal(hub, Signal::KILL);
        let line = format!("the hub (pid {hub}) ended: signal 9");
        let mut wait = String::new();
        wait_until("the log names the cause", || {
            let log = site.log();
            let found = log.lines().find(|text| text.contains(&line)).and_then(|text| text.split_once("the next in "));
            wait = found.map(|(_, wait)| wait.to_owned()).unwrap_or_default();
            found.is_some()
        });
        wait
    };
    assert_eq!(kill(site.hub()), "0ns");
    // Before they can have done much.
    assert_eq!([kill(site.hub()), kill(site.hub()), kill(site.hub())], ["10ms", "20ms", "40ms"]);
    wait_until("one has served for a while", || attach(&site.socket()).status().is_ok_and(|status| status.uptime >= 2));
    assert_eq!(kill(site.hub()), "0ns");
    assert_eq!(kill(site.hub()), "10ms");
}

fn has_subscriber(site: &Site, channel: &str) -> bool {
    let mut stream = std::os::unix::net::UnixStream::connect(site.path("run/admin.sock")).unwrap();
    write!(stream, "GET /pub?id={channel} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.contains("\"subscribers\": 1")
}

#[test]
fn the_descriptor_limit_is_raised_and_logged() {
    let site = Site::new();
    let file = site.write(&site.config(&[]));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 200 && exec \"$0\" --config \"$1\"", PROGRAM]).arg(file);
    let _running = Foreground::start_by(&mut command, &site);
    let limits = fs::read_to_string(format!("/proc/{}/limits", site.hub())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let numbers: Vec<_> = line.split_ascii_whitespace().collect();
    assert_eq!(numbers[0], numbers[1]);
    assert!(site.log().contains(&format!("{} descriptors", numbers[0])), "{}", site.log());
}

#[test]
fn browsers_leave_descriptors_for_publishers() {
    let site = Site::new();
    let file = site.write(&site.config(&[("header_timeout", "1m")]));
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 200; exec \"$0\" --config \"$1\"", PROGRAM]).arg(file);
    let _hub = Foreground::start_by(&mut limited, &site);
    let mut browsers: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(site.listen).unwrap()).collect();
    let last = browsers.last_mut().unwrap();
    last.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0, "there is no room for the last ones");
    site.publish("a", "hello");
    assert!(site.log().contains("no descriptor is left for browsers"));
    browsers.clear();
    wait_until("there is room again", || {
        let mut browser = Client::new(site.listen);
        browser.get("/poll/a.b1", "");
        let mut answer = [0; 12];
        browser.socket.read_exact(&mut answer).is_ok() && answer.ends_with(b"200")
    });
}

#[test]
fn the_start_logs_listeners_and_open_publishers() {
    let site = Site::new();
    let mut config = site.config(&[]);
    let text = "[[location]]\npath = '/in'\npublisher = 'normal'\nchannels_path = '$arg_c'\nlistener = 'public'\n";
    config.parse(text, "push.toml").unwrap();
    let _running = Foreground::start(&site, &config);
    wait_until("the start is logged", || site.log().contains("memory_limit 256 MB"));
    let log = site.log();
    for expected in [
        format!("listening on {}", site.listen),
        format!("admin listener on unix:{}", site.path("run/admin.sock").display()),
        "location /in lets everyone publish".to_owned(),
    ] {
        assert!(log.contains(&expected), "{expected}\n{log}");
    }
}

#[test]
fn sockets_have_the_configured_mode() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("socket_mode", "0600")]));
    let mode = |name: &str| fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run/hub.sock"), mode("run/admin.sock")), (0o600, 0o600));
    assert_eq!(mode("run/hub.sock.fpm"), 0o700);
    if root() {
        assert_eq!(mode("run/hub.sock.fpm/attach"), 0o666);
    }
}

// Bad surroundings

#[test]
fn a_busy_port_is_named_with_the_cure() {
    let site = Site::new();
    let _busy = TcpListener::bind(site.listen).unwrap();
    let error = refused(&site.config(&[]), &site);
    let expected =
        format!("listen: cannot listen on {}: Address already in use (os error 98): `ss -ltnp`", site.listen);
    assert!(error.contains(&expected), "{error}");
    assert!(!site.socket().exists() && !site.path("run/admin.sock").exists());
}

#[test]
fn a_foreign_address_is_named_with_the_cure() {
    let site = Site::new();
    let error = refused(&site.config(&[("listen", "192.0.2.1:8380")]), &site);
    assert!(
        error.contains("cannot listen on 192.0.2.1:8380") && error.contains("no interface of this machine"),
        "{error}"
    );
}

#[test]
fn stale_sockets_are_replaced() {
    let site = Site::new();
    fs::create_dir(site.path("run")).unwrap();
    if root() {
        std::os::unix::fs::chown(site.path("run"), Some(65534), Some(65534)).unwrap();
    }
    for name in ["run/hub.sock", "run/admin.sock", "run/hub.sock.new"] {
        drop(UnixListener::bind(site.path(name)).unwrap());
        if root() {
            std::os::unix::fs::chown(site.path(name), Some(65534), Some(65534)).unwrap();
        }
    }
    let _running = Foreground::start(&site, &site.config(&[]));
    site.publish("a", "x");
}

#[test]
fn what_is_no_socket_is_left_alone_and_named() {
    let site = Site::new();
    fs::create_dir_all(site.path("run/hub.sock/inside")).unwrap();
    if root() {
        std::os::unix::fs::chown(site.path("run"), Some(65534), Some(65534)).unwrap();
    }
    let error = refused(&site.config(&[]), &site);
    assert!(error.contains("a directory is there; remove it or set another path"), "{error}");
    assert!(site.path("run/hub.sock/inside").exists());
    fs::remove_dir_all(site.path("run/hub.sock")).unwrap();
    fs::write(site.path("run/hub.sock"), "precious").unwrap();
    let error = refused(&site.config(&[]), &site);
    assert!(error.contains("a file that is no socket is there"), "{error}");
    assert_eq!(fs::read_to_string(site.path("run/hub.sock")).unwrap(), "precious");
    fs::remove_file(site.path("run/hub.sock")).unwrap();
    fs::remove_file(site.path("run/hub.sock.lock")).unwrap();
    let target = site.path("target");
    symlink(&target, site.path("run/hub.sock.lock")).unwrap();
    let error = refused(&site.config(&[]), &site);
    assert!(error.contains("hub.sock.lock"), "{error}");
    assert!(!target.exists());
}

#[test]
fn a_second_hub_on_the_same_socket_is_refused() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let other = Site::new();
    let config = site.config(&[("listen", &other.listen.to_string())]);
    let output =
        run(&["--config", other.write(&config).to_str().unwrap(), "--log", "stderr", "--admin-listen", "none"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("hub.sock: another process listens there; stop it"), "{error}");
    site.publish("a", "the first one goes on");
    assert_eq!(site.keeper(), Some(running.pid()));
}

#[test]
fn a_directory_that_cannot_be_written_to_is_named_with_the_cure() {
    let site = Site::new();
    fs::create_dir(site.path("run")).unwrap();
    fs::set_permissions(site.path("run"), fs::Permissions::from_mode(0o555)).unwrap();
    let error = refused(&site.config(&[]), &site);
    assert!(error.contains("Permission denied") && error.contains("writable"), "{error}");
    let master = start_or_adopt(&site.config(&[]), Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(master.contains("Permission denied") && master.contains("writable"), "{master}");
}

#[test]
fn a_missing_directory_is_made_and_one_without_parent_is_named() {
    let site = Site::new();
    let socket = site.path("no/such/hub.sock");
    let error = refused(&site.config(&[("socket", socket.to_str().unwrap())]), &site);
    assert!(error.contains("the directory of the socket cannot be made"), "{error}");
}

#[test]
fn a_log_that_cannot_be_written_is_named() {
    let site = Site::new();
    let error = refused(&site.config(&[("log", site.path("no/hub.log").to_str().unwrap())]), &site);
    assert!(error.contains("log = ") && error.contains("make its directory"), "{error}");
}

#[test]
fn a_missing_user_is_named_with_the_cure_and_never_replaced() {
    if !root() {
        return;
    }
    let site = Site::new();
    let config = site.config(&[("user", "no-such-user")]);
    let cure = "create it (useradd --system no-such-user) or set push.user";
    let error = refused(&config, &site);
    assert!(error.contains(cure), "{error}");
    let error = start_or_adopt(&config, Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains(cure), "{error}");
    let error = refused(&site.config(&[("user", "root")]), &site);
    assert!(error.contains("a hub does not run as root"), "{error}");
    let error = refused(&site.config(&[("socket_group", "no-such-group")]), &site);
    assert!(error.contains("groupadd --system no-such-group"), "{error}");
    assert!(!site.socket().exists());
}

#[test]
fn root_drops_all_privileges() {
    if !root() {
        return;
    }
    let site = Site::new();
    let leased = Leased::start(&site, &site.config(&[("socket_group", "daemon")]));
    for pid in [leased.keeper, site.hub()] {
        assert_eq!(status_field(pid, "Uid"), "65534 65534 65534 65534");
        assert_eq!(status_field(pid, "Gid"), "65534 65534 65534 65534");
        assert_eq!(status_field(pid, "Groups"), "");
        for capabilities in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(status_field(pid, capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(status_field(pid, "NoNewPrivs"), "1");
    }
    let socket = fs::metadata(site.socket()).unwrap();
    let daemon = fs::read_to_string("/etc/group").unwrap();
    let daemon = daemon.lines().find_map(|line| line.strip_prefix("daemon:x:")?.split(':').next()?.parse().ok());
    use std::os::unix::fs::MetadataExt;
    assert_eq!((socket.uid(), Some(socket.gid())), (65534, daemon));
}

// From a PHP master

#[test]
fn a_started_hub_has_nothing_of_its_starter() {
    let site = Site::new();
    // What a master may have open without care, at low and high numbers.
    let secret = fs::File::create(site.path("secret")).unwrap();
    for least in [3, 50, 180] {
        let inherited = rustix::io::fcntl_dupfd_cloexec(&secret, least).unwrap();
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
        std::mem::forget(inherited);
    }
    let mut leased = Leased::start(&site, &site.config(&[]));
    assert_eq!(leased.how(), How::Spawned);
    for (pid, name) in [(leased.keeper, "push-hub: keeper"), (site.hub(), "push-hub: hub")] {
        assert_eq!(command_line(pid), name);
        assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap().display().to_string();
            let own = ["/dev/null", "socket:", "pipe:", "anon_inode:", "/memfd:push-"]
                .iter()
                .any(|own| target.starts_with(own));
            let log = target == site.path("hub.log").display().to_string();
            // To start each other again.
            let lock = target.ends_with("/hub.sock.lock");
            let program = Path::new(&target) == fs::canonicalize(PROGRAM).unwrap();
            assert!(own || log || lock || program, "{name} has {} -> {target}", entry.file_name().display());
        }
        let blocked = status_field(pid, "SigBlk");
        assert_eq!(u64::from_str_radix(&blocked, 16).unwrap() & !0x4203, 0, "{blocked}");
        // SIGPIPE, which Rust ignores.
        assert_eq!(status_field(pid, "SigIgn"), "0000000000001000");
    }
    assert_ne!(stat(leased.keeper).unwrap().1, std::process::id() as i32);
    assert_ne!(session(leased.keeper), session(std::process::id() as i32));
    // Nothing that would have to be waited for: zombies of other tests are programs they started.
    let own = fs::read_to_string("/proc/self/comm").unwrap();
    for child in children(std::process::id() as i32) {
        let comm = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
        assert!(comm != own || stat(child).is_none_or(|(state, _)| state != 'Z'), "a zombie is left");
    }
    leased.give_up();
}

#[test]
fn the_hub_ends_after_the_last_lease_and_its_linger() {
    let site = Site::new();
    let mut leased = Leased::start(&site, &site.config(&[("linger", "700ms")]));
    let hub = site.hub();
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    wait_until("somebody waits", || has_subscriber(&site, "a"));
    let before = Instant::now();
    leased.give_up();
    assert_eq!(waiting.response().status, 304);
    assert!(before.elapsed() >= Duration::from_millis(700), "{:?}", before.elapsed());
    wait_until("keeper and hub end", || gone(leased.keeper) && gone(hub));
    assert!(
        !site.socket().exists() && !site.path("run/admin.sock").exists() && !site.path("run/hub.sock.fpm").exists()
    );
}

#[test]
fn a_lease_survives_the_hub() {
    let site = Site::new();
    let mut leased = Leased::start(&site, &site.config(&[("linger", "0s")]));
    let first = site.hub();
    signal(first, Signal::KILL);
    wait_until("the hub is replaced", || children(leased.keeper).iter().any(|pid| *pid != first && !gone(*pid)));
    site.publish("a", "x");
    assert_eq!(site.keeper(), Some(leased.keeper));
    leased.give_up();
    wait_until("the keeper ends", || gone(leased.keeper));
}

#[test]
fn nobody_can_take_a_lease_away_from_others() {
    let site = Site::new();
    let leased = Leased::start(&site, &site.config(&[("linger", "0s")]));
    let lease = &leased.started.as_ref().unwrap().lease;
    // A worker has the master's descriptor, and does its worst.
    assert!(rustix::net::shutdown(lease, rustix::net::Shutdown::Both).is_err());
    rustix::io::write(lease, b"junk").unwrap();
    let copy = lease.try_clone().unwrap();
    drop(copy);
    site.publish("a", "x");
    assert_eq!(site.keeper(), Some(leased.keeper));
}

#[test]
fn a_worker_of_any_user_comes_in_through_the_inherited_descriptor() {
    if !root() {
        return;
    }
    let site = Site::new();
    let leased = Leased::start(&site, &site.config(&[("user", "daemon")]));
    let attach = &leased.started.as_ref().unwrap().attach;
    let connects = |path: String| {
        as_another_user(65534, move || {
            let flags = SocketFlags::CLOEXEC;
            let worker = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
            rustix::net::connect(&worker, &SocketAddrUnix::new(path).unwrap())
        })
    };
    let denied = Err(rustix::io::Errno::ACCESS);
    assert_eq!(connects(site.socket().display().to_string()), denied);
    assert_eq!(connects(site.path("run/hub.sock.fpm/attach").display().to_string()), denied);
    assert_eq!(connects(format!("/proc/self/fd/{}", attach.as_raw_fd())), Ok(()));
}

#[test]
fn what_a_keeper_says_at_its_start_reaches_the_master() {
    let site = Site::new();
    let _busy = TcpListener::bind(site.listen).unwrap();
    let started = Instant::now();
    let error = start_or_adopt(&site.config(&[]), Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {}", site.listen)) && error.contains("ss -ltnp"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(!site.socket().exists());
}

#[test]
fn a_program_that_cannot_be_trusted_or_run_is_named() {
    let site = Site::new();
    let config = site.config(&[]);
    let start = |program: &Path| -> StartError { start_or_adopt(&config, program).unwrap_err() };
    assert!(start(Path::new("push-hub")).to_string().contains("must be absolute"));
    let missing = site.path("push-hub");
    assert!(start(&missing).to_string().contains("install push-hub there"));
    assert!(start(site.directory.path()).to_string().contains("is not a program"));
    fs::write(&missing, "not a program").unwrap();
    fs::set_permissions(&missing, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(start(&missing).to_string().contains("Exec format error"), "{}", start(&missing));
    fs::copy("/bin/true", &missing).unwrap();
    assert!(start(&missing).to_string().contains("ended before it was ready"), "{}", start(&missing));
    if root() {
        fs::set_permissions(&missing, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(start(&missing).to_string().contains("root runs it only if"));
        fs::set_permissions(&missing, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&missing, Some(65534), None).unwrap();
        assert!(start(&missing).to_string().contains("root runs it only if"));
    }
}

#[test]
fn a_wrong_configuration_is_refused_before_anything_is_made() {
    let site = Site::new();
    let config = site.config(&[("admin_listen", "0.0.0.0:1")]);
    let error = start_or_adopt(&config, Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains("admin_listen"), "{error}");
    assert!(!site.path("run").exists());
}

#[test]
fn of_many_masters_at_once_one_starts_the_hub() {
    let site = Site::new();
    let config = site.config(&[("linger", "1s")]);
    let mut masters: Vec<_> = std::thread::scope(|scope| {
        let masters: Vec<_> = (0..8).map(|_| scope.spawn(|| Leased::start(&site, &config))).collect();
        masters.into_iter().map(|master| master.join().unwrap()).collect()
    });
    let spawned = masters.iter().filter(|master| master.how() == How::Spawned).count();
    let adopted = masters.iter().filter(|master| master.how() == How::Adopted).count();
    assert_eq!((spawned, adopted), (1, 7));
    assert!(masters.iter().all(|master| master.keeper == masters[0].keeper));
    assert_eq!(children(masters[0].keeper).len(), 1);
    site.publish("a", "x");
    masters.iter_mut().for_each(Leased::give_up);
}

#[test]
fn every_lease_keeps_the_hub_and_the_last_one_ends_it() {
    let site = Site::new();
    let config = site.config(&[("linger", "0s")]);
    let mut first = Leased::start(&site, &config);
    let mut second = Leased::start(&site, &config);
    assert_eq!((first.how(), second.how()), (How::Spawned, How::Adopted));
    first.give_up();
    // The lease of the second was given by a hub that does not exist any more.
    let hub = site.hub();
    signal(hub, Signal::KILL);
    wait_until("the hub is replaced", || children(second.keeper).iter().any(|pid| *pid != hub && !gone(*pid)));
    site.publish("a", "x");
    assert_eq!(site.keeper(), Some(second.keeper));
    second.give_up();
    wait_until("the keeper ends", || gone(second.keeper));
    assert!(!site.socket().exists());
}

#[test]
fn a_reload_within_the_linger_keeps_the_hub_and_who_waits() {
    let site = Site::new();
    let config = site.config(&[("linger", "5s")]);
    let mut before = Leased::start(&site, &config);
    let (keeper, hub) = (before.keeper, site.hub());
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    wait_until("somebody waits", || has_subscriber(&site, "a"));
    before.give_up();
    wait_until("the keeper knows", || site.log().contains("no PHP master holds this hub any more"));
    let after = Leased::start(&site, &config);
    assert_eq!((after.how(), after.keeper, site.hub()), (How::Adopted, keeper, hub));
    site.publish("a", "after the reload");
    assert_eq!(waiting.response().text(), "after the reload");
    signal(keeper, Signal::TERM);
}

#[test]
fn a_master_that_comes_while_the_hub_ends_gets_a_new_one() {
    let site = Site::new();
    let config = site.config(&[("linger", "0s")]);
    let mut last = None;
    for round in 0..10 {
        let mut master = Leased::start(&site, &config);
        site.publish("a", &format!("round {round}"));
        master.give_up();
        last = Some(master);
    }
    drop(last);
}

#[test]
fn a_hub_of_another_configuration_is_kept_and_the_difference_named() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let other = start_or_adopt(&site.config(&[("message_ttl", "1m")]), Path::new(PROGRAM)).unwrap();
    let How::Kept { difference, .. } = other.how else { panic!("{:?}", other.how) };
    assert_eq!(difference, "it was started with another configuration");
    drop(other.lease);
    // A hub that no master started does not end with a lease.
    let same = start_or_adopt(&site.config(&[]), Path::new(PROGRAM)).unwrap();
    assert_eq!(same.how, How::Adopted);
    drop(same);
    site.publish("a", "x");
    assert_eq!(site.keeper(), Some(running.pid()));
}

#[test]
fn a_master_that_may_not_start_a_hub_there_can_still_keep_one() {
    let site = Site::new();
    let config = site.config(&[("socket_mode", "0666")]);
    let _running = Foreground::start(&site, &config);
    fs::set_permissions(site.path("run/hub.sock.lock"), fs::Permissions::from_mode(0o000)).unwrap();
    let master = move || start_or_adopt(&config, Path::new(PROGRAM)).map(|started| started.how);
    let how = if root() { as_another_user(1, master) } else { master() };
    assert_eq!(how, Ok(How::Adopted));
}

#[test]
fn a_stopped_hub_costs_a_master_seconds_and_not_its_start() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[]));
    let hub = site.hub();
    stop_process(hub);
    let started = Instant::now();
    let error = start_or_adopt(&site.config(&[]), Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains("gives no answer") && error.contains("stopped hub"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    signal(hub, Signal::CONT);
    site.publish("a", "x");
    drop(running);
}

#[test]
fn a_client_attaches_and_calls() {
    let site = Site::new();
    let leased = Leased::start(&site, &site.config(&[]));
    let mut client = push_core::client::Client::new(push_core::client::Options {
        socket: site.socket(),
        inherited: Some(leased.started.as_ref().unwrap().attach.try_clone().unwrap()),
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    });
    let published = client.publish("a", &push_core::message::NewMessage::new(b"x")).unwrap();
    let hub = site.hub();
    signal(hub, Signal::KILL);
    let mut next = None;
    wait_until("the next hub takes the call", || {
        next = client.publish("a", &push_core::message::NewMessage::new(b"y")).ok();
        next.is_some()
    });
    assert!(next.unwrap().position > published.position);
}

// Arguments

#[test]
fn check_shows_listeners_and_limits_and_starts_nothing() {
    let site = Site::new();
    let file = site.write(&site.config(&[("memory_limit", "32m")]));
    let output = run(&["--config", file.to_str().unwrap(), "--check", "--threads=3"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        format!("listen          {}\n", site.listen),
        format!("admin_listen    unix:{}\n", site.path("run/admin.sock").display()),
        "trusted_listen  none\n".to_owned(),
        format!("socket          {}\n", site.socket().display()),
        "limits          3 HTTP threads; memory_limit 32 MB; ".to_owned(),
        "location        /sub/ subscriber long-polling (public)\n".to_owned(),
        "location        /pub publisher admin (admin)\n".to_owned(),
    ] {
        assert!(text.contains(&expected), "{expected}\n{text}");
    }
    assert!(!site.path("run").exists());
    fs::write(&file, "threads = 0").unwrap();
    let output = run(&["--check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(error, format!("push-hub: {}:1: threads = \"0\": allowed is a number from 1 to 64\n", file.display()));
}

#[test]
fn arguments_are_explained() {
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, text, _) = said(&["--version"]);
    assert_eq!((code, text.as_str()), (0, concat!("push-hub ", env!("CARGO_PKG_VERSION"), "\n")));
    let (code, text, _) = said(&["--help"]);
    assert_eq!(code, 0);
    for key in Config::keys() {
        assert!(text.contains(&format!("\n  --{} (", key.name.replace('_', "-"))), "{}", key.name);
    }
    for (arguments, expected) in [
        (&["--mesage-ttl", "1s"][..], "did you mean message_ttl?"),
        (&["--threads"], "--threads needs a value"),
        (&["--threads", "x"], "--threads = \"x\": allowed is a number from 1 to 64"),
        (&["serve"], "\"serve\" is no flag"),
        (&["--config", "/no/such.toml"], "/no/such.toml: No such file or directory"),
    ] {
        let (code, _, error) = said(arguments);
        assert!(code == 1 && error.contains(expected), "{error}");
    }
}

#[test]
fn names_of_processes_are_not_a_way_in() {
    for name in ["push-hub: hub", "push-hub: keeper", "push-hub: restored keeper"] {
        let mut command = Command::new(PROGRAM);
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("started by"));
    }
}

#[test]
fn sockets_are_sockets() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    assert!(fs::symlink_metadata(site.socket()).unwrap().file_type().is_socket());
    assert!(!site.path("run/hub.sock.new").exists());
}
