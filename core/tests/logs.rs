//! Where log lines go, that they are found there after a rotation, and what never stands in them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use push_core::channel::ChannelOptions;
use push_core::client::{self, Options};
use push_core::config::Config;
use push_core::message::NewMessage;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Signal, geteuid};
use support::process::{Foreground, PROGRAM, Site, signal};
use support::{Client, DEADLINE, wait_until};

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

fn start(site: &Site, config: &Config) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(site.write(config));
    command
}

/// Lets the hub write a line: of somebody who comes to its socket and says nothing that it knows.
fn provoke(site: &Site) {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::connect(&socket, &SocketAddrUnix::new(site.socket()).unwrap()).unwrap();
    rustix::net::send(&socket, b"\xff\xff\xff", SendFlags::NOSIGNAL).unwrap();
    // Until it is closed.
    let mut end = [0; 1];
    let _ = rustix::net::recv(&socket, &mut end, rustix::net::RecvFlags::empty());
}

const PROVOKED: &str = "a connection to the attach socket was rejected";
const AGAIN: &str = "the log was opened again";

#[test]
fn a_rotated_file_is_left_by_keeper_and_hub() {
    let site = Site::new();
    let log = site.path("run/hub.log");
    let config = site.config(&[("log", log.to_str().unwrap())]);
    let running = Foreground::start_until(&mut start(&site, &config), || text(&log).contains("memory_limit"));
    let old = site.path("run/hub.log.1");
    fs::rename(&log, &old).unwrap();
    provoke(&site);
    wait_until("the old file is written", || text(&old).contains(PROVOKED));
    let length = text(&old).len();
    signal(running.pid(), Signal::USR1);
    wait_until("both have opened the new file", || text(&log).matches(AGAIN).count() == 2);
    provoke(&site);
    wait_until("the new file is written", || text(&log).contains(PROVOKED));
    assert_eq!(text(&old).len(), length);
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
    site.publish("a", "it still serves");
}

#[test]
fn a_file_in_a_directory_of_root_goes_on_when_rotation_makes_the_new_one() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let log = site.path("hub.log");
    let running = Foreground::start(&site, &site.config(&[]));
    let owner = |path: &Path| std::os::unix::fs::MetadataExt::uid(&fs::metadata(path).unwrap());
    let user = owner(&site.path("run"));
    assert_eq!(owner(&log), user, "it belongs to the hub's user");

    let old = site.path("hub.log.1");
    fs::rename(&log, &old).unwrap();
    signal(running.pid(), Signal::USR1);
    let failed = format!("log = \"{}\" cannot be opened again: Permission denied", log.display());
    wait_until("both say so in the old file", || text(&old).matches(&failed).count() == 2);
    provoke(&site);
    wait_until("the old file is written", || text(&old).contains(PROVOKED));

    // As logrotate's `create` does it.
    fs::write(&log, "").unwrap();
    std::os::unix::fs::chown(&log, Some(user), None).unwrap();
    signal(running.pid(), Signal::USR1);
    wait_until("both have opened the new file", || text(&log).matches(AGAIN).count() == 2);
}

#[test]
fn root_follows_no_link_in_the_place_of_the_file() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let precious = site.path("precious");
    fs::write(&precious, "mine").unwrap();
    std::os::unix::fs::symlink(&precious, site.path("hub.log")).unwrap();
    let output = start(&site, &site.config(&[])).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("hub.log\": Too many levels of symbolic links"), "{said}");
    assert_eq!(text(&precious), "mine");
}

/// A syslog that keeps what it hears.
struct Syslog {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Syslog {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: Vec::new() }
    }

    /// The first packet that has all of this in it, if it has come.
    fn has(&mut self, parts: &[&str]) -> bool {
        let mut packet = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut packet) {
            self.heard.push(String::from_utf8(packet[..length].to_vec()).unwrap());
        }
        self.heard.iter().any(|packet| parts.iter().all(|part| packet.contains(part)))
    }
}

#[test]
fn syslog_hears_keeper_and_hub_each_line_with_its_level() {
    let site = Site::new();
    let path = site.path("syslog");
    let mut syslog = Syslog::new(&path);
    let target = format!("syslog:{}", path.display());
    let config = site.config(&[("log", &target)]);
    let running = Foreground::start_until(&mut start(&site, &config), || syslog.has(&["memory_limit"]));
    // Facility daemon; information, warning.
    assert!(syslog.has(&[&format!("<30>push-hub[{}]: listening on 127.0.0.1:", running.pid())]), "{:?}", syslog.heard);
    provoke(&site);
    wait_until("the hub is heard", || syslog.has(&["<28>push-hub[", PROVOKED]));
    assert!(syslog.has(&[&format!("<28>push-hub[{}]: {PROVOKED}", site.hub())]), "{:?}", syslog.heard);
    assert!(syslog.heard.iter().all(|packet| !packet.contains('\n')), "{:?}", syslog.heard);

    // It restarts.
    drop(syslog);
    fs::remove_file(&path).unwrap();
    provoke(&site);
    let mut syslog = Syslog::new(&path);
    provoke(&site);
    wait_until("the new one is heard of", || syslog.has(&["<28>push-hub[", PROVOKED]));
}

#[test]
fn a_syslog_that_is_not_there_refuses_the_start() {
    let site = Site::new();
    let target = format!("syslog:{}", site.path("nobody").display());
    let output = start(&site, &site.config(&[("log", &target)])).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("log = \"{target}\": No such file or directory")), "{said}");
    assert!(said.contains("start the system's syslog, or set another log"), "{said}");
}

#[test]
fn neither_a_private_channel_nor_a_token_stands_in_the_log() {
    let site = Site::new();
    let settings =
        [("log_level", "debug"), ("trusted_proxies", "127.0.0.1"), ("connect_rate_per_address", "1r/m burst=20")];
    let mut running = Foreground::start(&site, &site.config(&settings));
    let mut php = client::Client::new(Options {
        socket: site.socket(),
        inherited: None,
        timeout: DEADLINE,
        backoff: std::time::Duration::from_millis(1),
        ring_size: 256 << 10,
    });
    let channel = php.create_channel(None, ChannelOptions::default()).unwrap();
    let token = &php.token(&[&channel], Some("7"), 60, b"", false).unwrap();
    let credentials = format!("Authorization: Bearer {token}\r\nCookie: push_token={token}\r\n");
    let mut waiting = Vec::new();
    for path in ["sub", "stream", "ev", "lp", "poll"] {
        let mut client = Client::new(site.listen);
        client.get(&format!("/{path}/{channel}?x={token}"), &credentials);
        waiting.push(client);
    }
    let mut websocket = Client::new(site.listen);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    websocket.get(&format!("/ws/{channel}?token={token}"), upgrade);
    wait_until("all are seated", || php.channel_info(&channel).unwrap().unwrap().subscribers == 5);
    // Requests that are refused, and a frame that is none.
    for request in [
        format!("/sub/{channel}/%00?x={token}"),
        format!("/nowhere/{channel}?token={token}"),
        format!("/sub/{channel}?token={token}"),
        format!("/sub/{channel}?token={token}x&token=x"),
    ] {
        let mut client = Client::new(site.listen);
        client.get(&request, &credentials);
        assert!(client.response().status >= 400);
    }
    let mut client = Client::new(site.listen);
    client.get(&format!("/sub/{channel}?token={token}x"), "");
    assert_eq!(client.response().status, 401);
    let polls = std::iter::from_fn(|| {
        client.get(&format!("/sub/{channel}?position=0.0&token={token}x"), "X-Forwarded-For: 192.0.2.1\r\n");
        Some(client.response().status)
    });
    assert!(polls.take(30).any(|status| status == 429), "it was too often");
    websocket.send("no frame");
    site.publish(&channel, token);
    assert_eq!(php.disconnect(Some("7"), Some(&channel), "go", true).unwrap(), 2);
    assert!(php.disconnect(None, Some(&format!("{channel}/")), "go", true).is_err());
    assert!(php.token(&[&format!("{channel}/")], None, 60, b"", false).is_err());
    assert!(php.presence_online("7", Some(&channel), b"[", None).is_err());
    assert!(php.presence_online("7", Some(&channel), b"{}", Some(1)).is_ok());
    assert!(php.publish(&channel, &NewMessage::new(&[b'x'; 70_000])).is_err());
    assert!(php.delete_channel(&channel, None).unwrap());
    assert!(php.delete_channel(&channel, None).is_ok_and(|deleted| !deleted));
    signal(site.hub(), Signal::KILL);
    wait_until("another hub serves", || site.log().contains("a new hub serves"));
    signal(running.pid(), Signal::TERM);
    running.exit_code();
    let log = site.log();
    assert!(log.contains("DEBUG") && log.contains("client attached"), "{log}");
    assert!(log.contains("too many connections from this address") && log.contains("client=192.0.2.1"), "{log}");
    assert!(!log.contains(&channel) && !log.contains("eyJhbG"), "{log}");
}
