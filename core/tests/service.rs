//! A hub that a service manager runs: sockets that it passes and holds, and what it is told. The test is the manager.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use push_core::client::{self, Options};
use push_core::config::{Address, Config};
use push_core::keeper::{How, start_or_adopt};
use push_core::message::NewMessage;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use support::process::{PROGRAM, Site, children, command_line, gone, kill_both, signal};
use support::{Client, DEADLINE, wait_until};

/// As `push-hub.socket` makes them, and held like there.
struct Manager {
    site: Site,
    config: Config,
    sockets: Vec<OwnedFd>,
    notified: UnixDatagram,
}

/// A service that runs.
struct Service(Child);

impl Manager {
    /// With all sockets, or only those that are wanted.
    fn new(wanted: impl Fn(&str) -> bool) -> Self {
        let site = Site::new();
        let run = site.path("run");
        fs::create_dir(&run).unwrap();
        fs::create_dir(site.path("run/hub.sock.fpm")).unwrap();
        // As `push-hub` will run.
        for directory in [&run, &site.path("run/hub.sock.fpm")] {
            if rustix::process::geteuid().is_root() {
                std::os::unix::fs::chown(directory, Some(user("nobody")), None).unwrap();
            }
        }
        fs::set_permissions(site.path("run/hub.sock.fpm"), fs::Permissions::from_mode(0o700)).unwrap();
        let mut sockets: Vec<OwnedFd> = Vec::new();
        if wanted("listen") {
            sockets.push(TcpListener::bind(site.listen).unwrap().into());
        }
        if wanted("admin_listen") {
            sockets.push(UnixListener::bind(site.path("run/admin.sock")).unwrap().into());
        }
        for (name, path) in [("socket", site.socket()), ("private", site.path("run/hub.sock.fpm/attach"))] {
            if wanted(name) {
                sockets.push(seqpacket(&path));
            }
        }
        let notified = UnixDatagram::bind(site.path("notify")).unwrap();
        notified.set_read_timeout(Some(DEADLINE)).unwrap();
        fs::set_permissions(site.path("notify"), fs::Permissions::from_mode(0o777)).unwrap();
        let config = site.config(&[]);
        Self { site, config, sockets, notified }
    }

    fn command(&self) -> Command {
        let descriptors: Vec<OwnedFd> =
            self.sockets.iter().map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap()).collect();
        // A shell, because the pid has to be known to whoever sets the variable.
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", PROGRAM, "--config"]);
        command.arg(self.site.write(&self.config));
        command.env("LISTEN_FDS", descriptors.len().to_string());
        command.env("LISTEN_FDNAMES", vec!["push-hub.socket"; descriptors.len()].join(":"));
        command.env("NOTIFY_SOCKET", self.site.path("notify"));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let pass = move || {
            for (at, descriptor) in descriptors.iter().enumerate() {
                // SAFETY: a system call; the numbers from 3 belong to nobody in a child that is about to execute a program.
                if unsafe { libc::dup2(descriptor.as_raw_fd(), 3 + at as i32) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `pass` makes system calls only.
        unsafe { command.pre_exec(pass) };
        command
    }

    /// Starts the service and waits until it says that it is ready.
    fn start(&self) -> Service {
        self.start_with(&[])
    }

    fn start_with(&self, environment: &[(&str, &str)]) -> Service {
        let service = Service(self.command().envs(environment.iter().copied()).spawn().unwrap());
        self.hear("READY=1");
        service
    }

    /// Waits until the service tells this, whatever it tells before.
    fn hear(&self, what: &str) {
        assert_eq!(self.hear_of(what), "");
    }

    /// The same for what begins so; gives the rest.
    fn hear_of(&self, what: &str) -> String {
        let mut heard = Vec::new();
        loop {
            let mut text = [0; 1024];
            let length = self.notified.recv(&mut text).unwrap_or_else(|error| {
                panic!("{error}: heard {heard:?} and not {what}; {}", self.site.log());
            });
            let lines = std::str::from_utf8(&text[..length]).unwrap().lines();
            if let Some(rest) = lines.clone().find_map(|line| line.strip_prefix(what)) {
                return rest.to_owned();
            }
            heard.extend(lines.map(str::to_owned));
        }
    }

    fn refused(&self) -> String {
        let output = self.command().output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap() + &self.site.log()
    }

    fn attach(&self, socket: PathBuf, inherited: Option<OwnedFd>) -> client::Client {
        let ring_size = 256 << 10;
        client::Client::new(Options {
            socket,
            inherited,
            timeout: DEADLINE,
            backoff: Duration::from_millis(1),
            ring_size,
        })
    }
}

impl Service {
    fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    /// Ends it as `systemctl stop` does.
    fn stop(&mut self, manager: &Manager) {
        signal(self.pid(), Signal::TERM);
        manager.hear("STOPPING=1");
        let mut status = None;
        wait_until("the service ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0), "{}", manager.site.log());
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        kill_both(self.pid());
        let _ = self.0.wait();
    }
}

fn seqpacket(path: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 128).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    socket
}

fn user(name: &str) -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.split(':').next() == Some(name)).unwrap();
    line.split(':').nth(2).unwrap().parse().unwrap()
}

fn message(text: &str) -> NewMessage<'_> {
    NewMessage::new(text.as_bytes())
}

#[test]
fn passed_sockets_are_served_and_nobody_is_refused_while_the_service_restarts() {
    let manager = Manager::new(|_| true);
    let files = || {
        let names = ["run/hub.sock", "run/hub.sock.fpm/attach", "run/admin.sock"];
        names.map(|name| fs::symlink_metadata(manager.site.path(name)).unwrap().ino())
    };
    let before = files();
    let mut service = manager.start();
    assert!(!manager.site.path("run/hub.sock.lock").exists(), "nobody else can take the place");
    manager.site.publish("a", "x");
    let mut waiting = Client::new(manager.site.listen);
    waiting.get("/sub/a", "");
    let mut client = manager.attach(manager.site.socket(), None);
    wait_until("somebody waits", || client.channel_info("a").unwrap().unwrap().subscribers == 1);
    service.stop(&manager);
    assert_eq!(waiting.response().status, 304, "it is told to come again");

    // Nobody is there; it waits until somebody is.
    let mut early = Client::new(manager.site.listen);
    early.get("/poll/a", "");
    assert!(early.is_silent());
    assert_eq!(files(), before);
    let _service = manager.start();
    assert_eq!(early.response().status, 304);
    assert_eq!(files(), before);
}

#[test]
fn what_is_not_passed_is_made() {
    let manager = Manager::new(|name| name == "listen");
    let mut service = manager.start();
    manager.site.publish("a", "x");
    assert!(fs::symlink_metadata(manager.site.socket()).unwrap().file_type().is_socket());
    service.stop(&manager);
    assert!(!manager.site.socket().exists());
}

#[test]
fn a_passed_socket_that_the_configuration_does_not_name_is_refused() {
    let mut manager = Manager::new(|_| true);
    manager.config = manager.site.config(&[("admin_listen", "unix:/other/admin.sock")]);
    let text = manager.refused();
    let path = manager.site.path("run/admin.sock");
    assert!(text.contains(&format!("the service passes a socket of ListenStream={}", path.display())), "{text}");
    assert!(text.contains("make socket unit and configuration say the same"), "{text}");
    assert!(text.contains("the configuration has ListenStream=127.0.0.1:"), "{text}");
    assert!(text.contains("ListenStream=/other/admin.sock, ListenSequentialPacket="), "{text}");

    // The right path, the wrong kind.
    let mut manager = Manager::new(|name| name == "listen");
    manager.sockets.push(UnixListener::bind(manager.site.socket()).unwrap().into());
    let text = manager.refused();
    assert!(text.contains(&format!("passes a socket of ListenStream={}", manager.site.socket().display())), "{text}");
}

#[test]
fn a_passed_descriptor_that_is_no_listening_socket_is_refused() {
    let mut manager = Manager::new(|name| name == "listen");
    manager.sockets.push(fs::File::open("/dev/null").unwrap().into());
    let text = manager.refused();
    assert!(text.contains("LISTEN_FDS: descriptor 4 (push-hub.socket):"), "{text}");
    assert!(text.contains("pass listening sockets of the addresses in the configuration"), "{text}");

    let mut manager = Manager::new(|name| name == "listen");
    manager.sockets.push(UnixDatagram::bind(manager.site.path("run/datagram")).unwrap().into());
    let text = manager.refused();
    assert!(text.contains("descriptor 4 (push-hub.socket)"), "{text}");
}

#[test]
fn descriptors_that_were_passed_to_another_process_are_left_alone() {
    let manager = Manager::new(|_| false);
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(manager.site.write(&manager.config)).stdin(Stdio::null());
    // As a child of a service inherits it.
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "2")]).env("NOTIFY_SOCKET", manager.site.path("notify"));
    let _service = Service(command.spawn().unwrap());
    manager.hear("READY=1");
    manager.site.publish("a", "x");
}

#[test]
fn a_watchdog_hears_of_the_keeper_also_while_it_has_no_hub() {
    let manager = Manager::new(|_| true);
    let service = manager.start_with(&[("WATCHDOG_USEC", "200000")]);
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    let hub = children(service.pid()).into_iter().find(|pid| command_line(*pid) == "push-hub: hub").unwrap();
    signal(hub, Signal::KILL);
    wait_until("the hub is replaced", || children(service.pid()).iter().any(|pid| *pid != hub && !gone(*pid)));
    manager.hear("WATCHDOG=1");
    // What stands in the variables is for this process; a hub's environment is empty.
    let hub = children(service.pid()).into_iter().find(|pid| *pid != hub).unwrap();
    assert_eq!(fs::read(format!("/proc/{hub}/environ")).unwrap(), b"");
}

#[test]
fn the_manager_learns_which_process_is_the_keeper_now() {
    let manager = Manager::new(|_| true);
    let service = manager.start_with(&[("WATCHDOG_USEC", "200000")]);
    let hub = children(service.pid())[0];
    signal(service.pid(), Signal::KILL);
    let restored = manager.hear_of("MAINPID=").parse::<i32>().unwrap();
    assert_eq!(children(hub), [restored]);
    manager.site.publish("a", "x");
    // From now on that one says what there is to say.
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    signal(restored, Signal::HUP);
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    signal(restored, Signal::KILL);
    let restored = manager.hear_of("MAINPID=").parse().unwrap();
    signal(restored, Signal::TERM);
    manager.hear("STOPPING=1");
    wait_until("both end", || gone(restored) && gone(hub));
    // What the manager made stays where it is.
    assert!(manager.site.socket().exists() && manager.site.path("run/admin.sock").exists());
}

#[test]
fn a_reload_is_told_from_its_beginning_to_its_end() {
    let manager = Manager::new(|_| true);
    let service = manager.start();
    signal(service.pid(), Signal::HUP);
    manager.hear("RELOADING=1");
    manager.hear("READY=1");
    assert!(manager.site.log().contains("SIGHUP: nothing changed"), "{}", manager.site.log());
}

#[test]
fn a_service_without_manager_tells_nobody() {
    let manager = Manager::new(|_| true);
    let mut command = manager.command();
    let mut service = Service(command.env("NOTIFY_SOCKET", manager.site.path("nobody")).spawn().unwrap());
    wait_until("it serves", || manager.site.log().contains("NOTIFY_SOCKET: No such file or directory"));
    manager.site.publish("a", "it serves nevertheless");
    signal(service.pid(), Signal::TERM);
    let mut said = String::new();
    service.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(service.0.wait().unwrap().code(), Some(0), "{said}{}", manager.site.log());
}

#[test]
fn the_first_master_starts_the_service_and_adopts_it_and_the_service_outlives_it() {
    let manager = Manager::new(|_| true);
    std::thread::scope(|scope| {
        // The master waits for an answer while it holds the lock; the manager sees that somebody asks.
        let master = scope.spawn(|| start_or_adopt(&manager.config, Path::new("/no/push-hub")));
        let asked = manager.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN));
        poll(&mut asked.collect::<Vec<_>>(), None).unwrap();
        let mut service = manager.start();
        let started = master.join().unwrap().unwrap();
        assert_eq!(started.how, How::Adopted);

        // A worker, who inherits the way: no path leads there for it.
        let inherited = started.attach.try_clone().unwrap();
        let mut worker = manager.attach("/no/hub.sock".into(), Some(inherited));
        assert_eq!(worker.publish("a", &message("1")).unwrap().id, 1);

        // The last master goes.
        drop(started);
        manager.site.publish("a", "after that");
        let hub = children(service.pid());
        assert_eq!(worker.publish("a", &message("3")).unwrap().id, 3);
        assert_eq!(children(service.pid()), hub);

        // The service restarts, and workers come in where they did before.
        service.stop(&manager);
        let _service = manager.start();
        wait_until("the worker is attached again", || worker.publish("b", &message("1")).is_ok());
    });
}

/// The units, as they are installed.
fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/systemd")
}

#[test]
fn the_units_pass_what_the_installed_configuration_names() {
    let as_it_is: fn(&str) -> String = str::to_owned;
    passes(as_it_is);
    // With what stands there for who needs it.
    passes(|text| text.replace("# trusted_listen =", "trusted_listen =").replace("# ListenStream=", "ListenStream="));
}

/// Compares the two, each read as this makes it.
fn passes(read: impl Fn(&str) -> String) {
    let read = |file: PathBuf| read(&fs::read_to_string(file).unwrap());
    let mut config = Config::default();
    config.parse(&read(units().join("../push.toml")), "push.toml").unwrap();
    config.check().unwrap();
    let path = |address: &Address| match address {
        Address::Unix(path) => path.display().to_string(),
        Address::Tcp(address) => address.to_string(),
    };
    let mut wanted: Vec<String> = config
        .listen
        .iter()
        .chain(&config.admin_listen)
        .chain(&config.trusted_listen)
        .map(|address| format!("ListenStream={}", path(address)))
        .collect();
    wanted.push(format!("ListenSequentialPacket={}", config.socket.display()));
    wanted.push(format!("ListenSequentialPacket={}.fpm/attach", config.socket.display()));
    let mut passed = Vec::new();
    for unit in ["push-hub.socket", "push-hub-fpm.socket"] {
        let text = read(units().join(unit));
        passed.extend(text.lines().filter(|line| line.starts_with("Listen")).map(str::to_owned));
    }
    wanted.sort();
    passed.sort();
    assert_eq!(passed, wanted);
}

#[test]
fn systemd_understands_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("there is no systemd-analyze here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let prefix = directory.path().join("usr");
    fs::create_dir_all(prefix.join("sbin")).unwrap();
    fs::copy(PROGRAM, prefix.join("sbin/push-hub")).unwrap();
    let mut files = Vec::new();
    for unit in ["push-hub.service", "push-hub.socket", "push-hub-fpm.socket"] {
        let text = fs::read_to_string(units().join(unit)).unwrap();
        let file = directory.path().join(unit);
        fs::write(&file, text.replace("@PREFIX@", prefix.to_str().unwrap())).unwrap();
        files.push(file);
    }
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(files).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
