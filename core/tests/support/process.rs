//! `push-hub` as processes: started, watched, killed. Run as root the hubs run as `nobody`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use push_core::client;
use push_core::config::Config;
use push_core::keeper::{How, Started, start_or_adopt};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, kill_process};

use super::{Client, DEADLINE, wait_until};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_push-hub");

/// A place for one hub: a directory and free addresses.
pub struct Site {
    pub directory: tempfile::TempDir,
    pub listen: SocketAddr,
}

impl Site {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // `nobody` has to come through to the directory of the sockets.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Ports of one test run must differ, also while nobody listens on them.
        static OFFSET: AtomicU32 = AtomicU32::new(0);
        let base = 20_000 + (std::process::id() % 400) * 30;
        let listen = loop {
            let port = base + OFFSET.fetch_add(1, Ordering::Relaxed);
            let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
            if TcpListener::bind(address).is_ok() {
                break address;
            }
        };
        Self { directory, listen }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// In a directory that does not exist yet, so that it is made for the hub's user.
    pub fn socket(&self) -> PathBuf {
        self.path("run/hub.sock")
    }

    pub fn config(&self, settings: &[(&str, &str)]) -> Config {
        let mut config = Config::default();
        let listen = self.listen.to_string();
        let own = [
            ("socket", self.socket().to_str().unwrap().to_owned()),
            ("listen", listen),
            ("user", "nobody".to_owned()),
            ("log", self.path("hub.log").to_str().unwrap().to_owned()),
            ("secret_file", self.path("run/secret").to_str().unwrap().to_owned()),
            ("threads", "2".to_owned()),
            ("linger", "300ms".to_owned()),
            ("authorized_channels_only", "off".to_owned()),
        ];
        for (key, value) in own.iter().map(|(key, value)| (*key, value.as_str())).chain(settings.iter().copied()) {
            config.set(key, value).unwrap();
        }
        config
    }

    pub fn write(&self, config: &Config) -> PathBuf {
        let file = self.path("push.toml");
        fs::write(&file, config.to_toml()).unwrap();
        file
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("hub.log")).unwrap_or_default()
    }

    /// The pid of whoever made the listening socket or took it over last, while somebody holds it.
    pub fn keeper(&self) -> Option<i32> {
        keeper(&self.socket())
    }

    /// The pid of the hub, whoever its parent is.
    pub fn serving(&self) -> i32 {
        attach(&self.socket()).status().unwrap().pid as i32
    }

    pub fn hub(&self) -> i32 {
        let mut found = None;
        wait_until("a hub runs", || {
            let keeper = self.keeper().expect("a keeper");
            found = children(keeper).into_iter().find(|pid| command_line(*pid) == "push-hub: hub");
            found.is_some()
        });
        found.unwrap()
    }

    pub fn publish(&self, channel: &str, body: &str) {
        let mut stream = std::os::unix::net::UnixStream::connect(self.path("run/admin.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "POST /pub?id={channel} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.0 200"), "{answer}");
    }

    /// The position of the channel's newest message.
    pub fn position(&self, channel: &str) -> push_core::message::Position {
        let mut client = Client::new(self.listen);
        client.get(
            &format!("/poll/{channel}"),
            "Accept: application/json\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        );
        let answer: serde_json::Value = serde_json::from_slice(&client.response().body).unwrap();
        answer["position"].as_str().unwrap().parse().unwrap()
    }
}

/// See [`Site::keeper`].
fn keeper(socket: &Path) -> Option<i32> {
    // It waits where too many wait to be accepted.
    let flags = SocketFlags::CLOEXEC;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::connect(&probe, &SocketAddrUnix::new(socket).unwrap()).ok()?;
    Some(socket_peercred(&probe).unwrap().pid.as_raw_nonzero().get())
}

/// As a PHP worker has it.
pub fn attach(socket: &Path) -> client::Client {
    client::Client::new(client::Options {
        socket: socket.to_owned(),
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    })
}

/// Kills a keeper and its hub, so that neither restores the other; one that is ending by itself is left to that.
pub fn kill_both(keeper: i32) {
    let send = |pid, signal| {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
    };
    // Stopped, it starts no hub.
    send(keeper, Signal::STOP);
    wait_until("it is stopped", || stat(keeper).is_none_or(|(state, _)| "TZX".contains(state)));
    let hub = |pid: &i32| command_line(*pid) == "push-hub: hub";
    // Where the hub started the keeper, it is the parent.
    let parent = stat(keeper).map(|(_, parent)| parent).filter(hub);
    children(keeper).into_iter().filter(hub).chain(parent).for_each(|pid| send(pid, Signal::KILL));
    send(keeper, Signal::KILL);
    wait_until("both are gone", || gone(keeper));
}

pub fn children(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, found)| found == parent)).collect()
}

/// State and parent of a process.
pub fn stat(pid: i32) -> Option<(char, i32)> {
    let fields = stat_fields(pid)?;
    Some((fields[0].chars().next()?, fields[1].parse().ok()?))
}

/// 0 for a session whose leader lives outside of this pid namespace.
pub fn session(pid: i32) -> i32 {
    stat_fields(pid).unwrap()[3].parse().unwrap()
}

/// What stands behind the name: state, parent, process group, session, ...
pub fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit(')').next()?.split_ascii_whitespace().map(str::to_owned).collect())
}

pub fn command_line(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().trim_end_matches('\0').to_owned()
}

pub fn gone(pid: i32) -> bool {
    // Whoever inherits it has to take its exit; here that may be a process that never does.
    stat(pid).is_none_or(|(state, _)| state == 'Z')
}

pub fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub fn status_field(pid: i32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// `push-hub` in the foreground.
pub struct Foreground {
    pub keeper: Child,
    /// Where another keeper may be by now.
    socket: Option<PathBuf>,
}

impl Foreground {
    pub fn start(site: &Site, config: &Config) -> Self {
        Self::start_by(Command::new(PROGRAM).arg("--config").arg(site.write(config)), site)
    }

    pub fn start_by(command: &mut Command, site: &Site) -> Self {
        // The last line of a start.
        let mut running = Self::start_until(command, || site.log().contains("memory_limit"));
        running.socket = Some(site.socket());
        running
    }

    pub fn start_until(command: &mut Command, mut serves: impl FnMut() -> bool) -> Self {
        let mut running = Self { keeper: command.stdin(Stdio::null()).spawn().unwrap(), socket: None };
        wait_until("the hub serves", || {
            assert_eq!(running.keeper.try_wait().unwrap(), None, "it ended");
            serves()
        });
        running
    }

    pub fn pid(&self) -> i32 {
        self.keeper.id() as i32
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the keeper ends", || {
            status = self.keeper.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        kill_both(self.pid());
        let _ = self.keeper.wait();
        if let Some(restored) = self.socket.as_deref().and_then(keeper) {
            kill_both(restored);
        }
    }
}

/// Ids belong to threads as far as the kernel is concerned.
pub fn as_another_user<T: Send + 'static>(id: u32, work: impl FnOnce() -> T + Send + 'static) -> T {
    let switched = move || {
        rustix::thread::set_thread_groups(&[]).unwrap();
        let gid = rustix::process::Gid::from_raw(id);
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        let uid = rustix::process::Uid::from_raw(id);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    };
    std::thread::spawn(switched).join().unwrap()
}

/// As a PHP master does it. The hub's end is waited for when the lease is given up.
pub struct Leased<'a> {
    site: &'a Site,
    pub started: Option<Started>,
    pub keeper: i32,
}

impl<'a> Leased<'a> {
    pub fn start(site: &'a Site, config: &Config) -> Self {
        let started =
            start_or_adopt(config, Path::new(PROGRAM)).unwrap_or_else(|error| panic!("{error}\n{}", site.log()));
        Self { site, started: Some(started), keeper: site.keeper().unwrap() }
    }

    pub fn how(&self) -> How {
        self.started.as_ref().unwrap().how.clone()
    }

    pub fn give_up(&mut self) {
        self.started = None;
    }

    /// As php-fpm at SIGUSR2: the lease of before is gone when the next is asked for.
    pub fn reload(&mut self, config: &Config, program: &Path) -> How {
        self.give_up();
        let started = start_or_adopt(config, program).unwrap_or_else(|error| panic!("{error}\n{}", self.site.log()));
        self.started = Some(started);
        self.keeper = self.site.keeper().unwrap();
        self.how()
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        self.give_up();
        if !std::thread::panicking() {
            wait_until("the keeper ends", || gone(self.keeper));
        } else if !gone(self.keeper) {
            signal(self.keeper, Signal::TERM);
            eprintln!("{}", self.site.log());
        }
    }
}
