//! `store_path`: what outlives hub and keeper together, and the machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use push_core::channel::ChannelOptions;
use push_core::client::{self, Options};
use push_core::config::Config;
use push_core::error::Error;
use push_core::keeper::{How, start_or_adopt};
use push_core::message::{NewMessage, Position};
use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
};
use rustix::process::Signal;
use support::process::{Foreground, Leased, PROGRAM, Site, kill_both, signal};
use support::{DEADLINE, seccomp, wait_until};

/// As a PHP worker has it.
fn attach(site: &Site) -> client::Client {
    client::Client::new(Options {
        socket: site.socket(),
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    })
}

/// Hands it to the user whom hubs of this test run as.
fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let line = users.lines().find(|line| line.starts_with("nobody:")).unwrap();
        std::os::unix::fs::chown(path, Some(line.split(':').nth(2).unwrap().parse().unwrap()), None).unwrap();
    }
}

/// A site with a directory that is the hub's.
fn site() -> Site {
    let site = Site::new();
    fs::create_dir(site.path("store")).unwrap();
    fs::set_permissions(site.path("store"), fs::Permissions::from_mode(0o700)).unwrap();
    give(&site.path("store"));
    site
}

fn config(site: &Site, more: &[(&str, &str)]) -> Config {
    let store = site.path("store").to_str().unwrap().to_owned();
    let own = [("store_path", store.as_str()), ("store_sync", "20ms"), ("max_messages_stored_per_channel", "none")];
    let all: Vec<_> = own.into_iter().chain(more.iter().copied()).collect();
    site.config(&all)
}

/// The file in memory, which a restart of the machine takes away.
fn live(site: &Site) -> PathBuf {
    let mut header = [0; 32];
    fs::File::open(site.path("store/journal")).unwrap().read_exact(&mut header).unwrap();
    let id = u64::from_le_bytes(*header.last_chunk().unwrap());
    PathBuf::from(format!("/dev/shm/push-journal-{id:016x}"))
}

/// Removed however the test ends.
struct Memory(PathBuf);

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn metric(site: &Site, name: &str) -> u64 {
    let mut stream = std::os::unix::net::UnixStream::connect(site.path("run/admin.sock")).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {answer}")).parse::<f64>().unwrap() as u64
}

/// Waits until a save that began after this moment is done.
fn saved(site: &Site) {
    // The first may have begun before.
    for _ in 0..2 {
        let before = metric(site, "push_store_saves_total");
        site.publish("saved", "x");
        wait_until("a save", || metric(site, "push_store_saves_total") > before);
    }
}

fn poll(site: &Site, path: &str, after: Position) -> Option<(Vec<String>, Position, bool)> {
    let mut socket = TcpStream::connect(site.listen).expect("no connection is refused");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let request = format!("GET {path}?position={after} HTTP/1.0\r\nHost: x\r\nAccept: application/json\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let answer: serde_json::Value = serde_json::from_slice(&answer[body..]).ok()?;
    let texts = answer["messages"].as_array()?.iter().map(|message| message["data"].as_str().unwrap().to_owned());
    Some((texts.collect(), answer["position"].as_str()?.parse().unwrap(), answer["gap"].as_bool()?))
}

#[test]
fn a_restart_of_the_machine_leaves_what_was_saved_and_says_what_may_be_missing() {
    let site = site();
    let config = config(&site, &[]);
    let running = Foreground::start(&site, &config);
    let _memory = Memory(live(&site));
    let mut client = attach(&site);
    let options = ChannelOptions {
        owner: Some("alice".to_owned()),
        ttl: Some(1000),
        max_messages: Some(4),
        ..ChannelOptions::default()
    };
    let private = client.create_channel(None, options).unwrap();
    for number in 0..6 {
        client.publish(&private, &NewMessage::new(format!("message {number}").as_bytes())).unwrap();
    }
    let once = NewMessage { dedupe: Some("order 17"), ..NewMessage::new(b"once") };
    let first = client.publish("shop", &once).unwrap();
    let before = client.channel_info(&private).unwrap().unwrap();
    let history = client.history(&private, Position::START, 100).unwrap();
    saved(&site);

    drop(running);
    fs::remove_file(live(&site)).unwrap();
    fs::remove_file(site.path("hub.log")).unwrap();
    let mut running = Foreground::start(&site, &config);
    let mut client = attach(&site);
    assert_eq!(client.channel_info(&private).unwrap().unwrap(), before);
    assert_eq!(client.history(&private, Position::START, 100).unwrap(), history);
    assert_eq!(client.publish("shop", &once).unwrap(), first);
    let resumed = poll(&site, &format!("/poll/{private}"), first.position).unwrap();
    assert!(resumed.2, "something may have been lost: {resumed:?}");
    assert!(resumed.1 > first.position);
    assert!(site.log().contains("what came later is lost"), "{}", site.log());

    // An end in peace loses nothing, and says so.
    let last = client.publish(&private, &NewMessage::new(b"message 6")).unwrap();
    assert_eq!(last.id, 7);
    signal(running.pid(), Signal::TERM);
    assert_eq!(running.exit_code(), Some(0), "{}", site.log());
    drop(running);
    assert!(!live(&site).exists(), "the disk has all of it");
    fs::remove_file(site.path("hub.log")).unwrap();
    let running = Foreground::start(&site, &config);
    let (texts, position, gap) = poll(&site, &format!("/poll/{private}"), resumed.1).unwrap();
    assert_eq!((texts.as_slice(), gap), (&["message 6".to_owned()][..], false));
    assert!(position >= last.position);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for file in ["store/journal", "store/journal.redo"] {
        assert_eq!(mode(&site.path(file)), 0o600);
    }
    assert_eq!(mode(&live(&site)), 0o600);
    // While nothing changes nothing is written.
    let saves = metric(&site, "push_store_saves_total");
    wait_until("the last save", || {
        let before = metric(&site, "push_store_saves_total");
        std::thread::sleep(Duration::from_millis(200));
        metric(&site, "push_store_saves_total") == before
    });
    assert!(metric(&site, "push_store_saves_total") <= saves + 2);
    assert_eq!(metric(&site, "push_store_failing"), 0);
    drop(running);
}

#[test]
fn another_memory_limit_takes_over_what_fits() {
    let site = site();
    let payload = vec![b'x'; 10_000];
    let stored = |site: &Site| {
        let info = attach(site).channel_info("a").unwrap_or_else(|error| panic!("{error}: {}", site.log()));
        info.map(|info| (info.stored, info.published))
    };
    let mut running = Foreground::start(&site, &config(&site, &[("memory_limit", "8m")]));
    let memory = live(&site);
    let _memory = Memory(memory.clone());
    let mut client = attach(&site);
    for _ in 0..300 {
        client.publish("a", &NewMessage::new(&payload)).unwrap();
    }
    // Larger, after a kill, after an end in peace; and smaller than what is stored.
    for (limit, peace) in [("300m", false), ("600m", true), ("1m", false), ("8m", true)] {
        if peace {
            signal(running.pid(), Signal::TERM);
            assert_eq!(running.exit_code(), Some(0));
        } else {
            saved(&site);
        }
        // Which kills both, if they are still there.
        drop(running);
        fs::remove_file(site.path("hub.log")).unwrap();
        running = Foreground::start(&site, &config(&site, &[("memory_limit", limit)]));
        assert_eq!(live(&site), memory);
        let (count, newest) = stored(&site).unwrap();
        assert_eq!(newest, 300, "with {limit}");
        let small = matches!(limit, "1m" | "8m");
        assert!(if small { (20..100).contains(&count) } else { count == 300 }, "{count} with {limit}");
    }
    saved(&site);
    assert!(!site.log().contains("damaged"), "{}", site.log());
    // And from there to the disk and back.
    drop(running);
    fs::remove_file(&memory).unwrap();
    fs::remove_file(site.path("hub.log")).unwrap();
    let _running = Foreground::start(&site, &config(&site, &[("memory_limit", "8m")]));
    assert_eq!(stored(&site).unwrap().1, 300);
}

fn refused(site: &Site, config: &Config) -> String {
    let output = Command::new(PROGRAM).arg("--config").arg(site.write(config)).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap() + &site.log();
    assert!(text.contains("store_path"), "{text}");
    text
}

#[test]
fn what_cannot_be_used_is_refused_with_cause_and_cure() {
    let site = site();
    let missing = site.config(&[("store_path", site.path("missing").to_str().unwrap())]);
    let text = refused(&site, &missing);
    assert!(text.contains("No such file") && text.contains("install -d"), "{text}");
    // So it stands in the log of php-fpm, too.
    let error = start_or_adopt(&missing, Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains("install -d"), "{error}");

    fs::write(site.path("file"), "").unwrap();
    let text = refused(&site, &site.config(&[("store_path", site.path("file/below").to_str().unwrap())]));
    assert!(text.contains("is the path of a directory"), "{text}");

    if rustix::process::geteuid().is_root() {
        fs::create_dir(site.path("others")).unwrap();
        fs::set_permissions(site.path("others"), fs::Permissions::from_mode(0o700)).unwrap();
        let text = refused(&site, &site.config(&[("store_path", site.path("others").to_str().unwrap())]));
        assert!(text.contains("chown -R"), "{text}");
    }

    let journal = site.path("store/journal");
    fs::write(&journal, "something else").unwrap();
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();
    give(&journal);
    let text = refused(&site, &config(&site, &[]));
    assert!(text.contains("it is no journal") && text.contains("move the files"), "{text}");
    fs::remove_file(&journal).unwrap();

    // Two hubs share none.
    let running = Foreground::start(&site, &config(&site, &[]));
    let _memory = Memory(live(&site));
    let other = Site::new();
    let mut second = config(&other, &[]);
    second.set("store_path", site.path("store").to_str().unwrap()).unwrap();
    let text = refused(&other, &second);
    assert!(text.contains("another hub is using it"), "{text}");
    drop(running);
}

/// Runs what follows in a mount namespace with a small disk at `store`.
fn small_disk(site: &Site, size: &str) -> Option<Command> {
    let allowed = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if !allowed {
        eprintln!("not tried: this user may not make a mount namespace");
        return None;
    }
    let store = site.path("store");
    let script = format!(
        "mount -t tmpfs -o size={size},mode=0700,uid=$(id -u nobody) tmpfs {0} && exec \"$0\" \"$@\"",
        store.display()
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &script]);
    Some(command)
}

#[test]
fn a_full_disk_is_said_and_survived_and_used_again_when_there_is_room() {
    let site = site();
    let Some(mut command) = small_disk(&site, "2m") else { return };
    command.arg(PROGRAM).arg("--config").arg(site.write(&config(&site, &[("message_ttl", "1h")])));
    let running = Foreground::start_by(&mut command, &site);
    let pid = running.pid().to_string();
    let journal = fs::read(format!("/proc/{pid}/root{}/journal", site.path("store").display())).unwrap();
    let id = u64::from_le_bytes(*journal[24..].first_chunk().unwrap());
    let _memory = Memory(PathBuf::from(format!("/dev/shm/push-journal-{id:016x}")));
    let mut client = attach(&site);
    let payload = vec![b'x'; 10_000];
    for _ in 0..400 {
        client.publish("a", &NewMessage::new(&payload)).unwrap();
    }
    wait_until("that is said", || metric(&site, "push_store_failing") == 1);
    let log = site.log();
    assert!(log.contains("there is no room on that file system") && log.contains("ERROR"), "{log}");
    assert!(log.contains(site.path("store").to_str().unwrap()), "{log}");
    // It serves as ever.
    assert_eq!(client.publish("a", &NewMessage::new(b"more")).unwrap().id, 401);
    assert_eq!(poll(&site, "/poll/a", client.position().unwrap()).unwrap().0.len(), 0);
    let remount = ["-t", &pid, "-m", "mount", "-o", "remount,size=100m"];
    let done = Command::new("nsenter").args(remount).arg(site.path("store")).status().unwrap();
    assert!(done.success());
    wait_until("it is saved again", || metric(&site, "push_store_failing") == 0);
    assert!(site.log().contains("messages are saved again"), "{}", site.log());
    assert_eq!(site.log().matches("there is no room on that file system").count(), 1, "{}", site.log());
}

/// Disk calls of a hub, which fail where that is wanted: the kernel asks here before it makes them.
struct Disk {
    /// Numbers of the calls that fail with EIO.
    failing: Arc<Mutex<Vec<libc::c_long>>>,
}

const RENAME: libc::c_long = if cfg!(target_arch = "x86_64") { 82 } else { libc::SYS_renameat };

impl Disk {
    /// Takes hold of what this command will do with files below `store`.
    fn of(command: &mut Command, store: PathBuf) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let failing = Arc::<Mutex<Vec<libc::c_long>>>::default();
        let calls = [libc::SYS_pwrite64, libc::SYS_fdatasync, libc::SYS_fsync, RENAME];
        let filter = seccomp::filter(&calls, libc::SECCOMP_RET_USER_NOTIF);
        // SAFETY: `watch` makes system calls only.
        unsafe { command.pre_exec(move || watch(&filter, &theirs)) };
        let fail = failing.clone();
        std::thread::spawn(move || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            recvmsg(&ours, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
            let listener = control.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            let listener = listener.unwrap();
            let fails = |call: &libc::seccomp_data, pid: u32| {
                let below =
                    || fs::read_link(format!("/proc/{pid}/fd/{}", call.args[0])).is_ok_and(|to| to.starts_with(&store));
                let number = libc::c_long::from(call.nr);
                fail.lock().unwrap().contains(&number) && (number == RENAME || below())
            };
            while answer(&listener, &fails) {}
        });
        Self { failing }
    }

    fn fail(&self, calls: &[libc::c_long]) {
        *self.failing.lock().unwrap() = calls.to_vec();
    }
}

/// From here on others are asked about the disk calls of this process and its children; the descriptor for that is sent.
fn watch(filter: &[libc::sock_filter], to: &UnixStream) -> std::io::Result<()> {
    let listener = seccomp::hold_to(filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?;
    // SAFETY: the kernel has just made it for us.
    let listener = [unsafe { BorrowedFd::borrow_raw(listener) }];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&listener)));
    sendmsg(to, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Answers what the kernel asks next. False when nobody is left.
fn answer(listener: &OwnedFd, fails: &dyn Fn(&libc::seccomp_data, u32) -> bool) -> bool {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    if rustix::event::poll(&mut fds, None).is_err() || fds[0].revents().contains(PollFlags::HUP) {
        return false;
    }
    // SAFETY: plain numbers, all of which may be 0.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a local of the kind that is asked for.
    if unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } < 0 {
        // Who asked was killed meanwhile.
        return true;
    }
    let error = if fails(&asked.data, asked.pid) { -libc::EIO } else { 0 };
    let flags = if error == 0 { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let mut answer = libc::seccomp_notif_resp { id: asked.id, val: 0, error, flags };
    // SAFETY: as above.
    unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) };
    true
}

#[test]
fn a_disk_that_fails_at_any_call_is_said_and_survived_and_used_again_when_it_works() {
    let site = site();
    let config = config(&site, &[("message_ttl", "1h")]);
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(site.write(&config));
    let disk = Disk::of(&mut command, site.path("store"));
    let running = Foreground::start_by(&mut command, &site);
    let memory = Memory(live(&site));
    let mut client = attach(&site);
    let mut published = 0;
    let mut publish = |count: usize| {
        for _ in 0..count {
            published += 1;
            assert_eq!(client.publish("a", &NewMessage::new(&[b'x'; 5000])).unwrap().id, published);
        }
    };
    publish(100);
    saved(&site);
    let calls: [(&[libc::c_long], bool); 4] = [
        (&[libc::SYS_pwrite64], false),
        (&[libc::SYS_fdatasync], false),
        (&[libc::SYS_fsync], true),
        (&[RENAME], true),
    ];
    for (round, (calls, removed)) in calls.into_iter().enumerate() {
        disk.fail(calls);
        if removed {
            fs::remove_file(site.path("store/journal")).unwrap();
        }
        publish(100);
        wait_until("that is said", || metric(&site, "push_store_failing") == 1);
        publish(100);
        let log = site.log();
        if !removed {
            assert!(
                log.contains("Input/output error") && log.contains("see whether the disk is there and well"),
                "{log}"
            );
        }
        assert_eq!(log.matches("messages are in memory only").count(), round + 1, "{log}");
        disk.fail(&[]);
        wait_until("it is saved again", || metric(&site, "push_store_failing") == 0);
        assert_eq!(site.log().matches("messages are saved again").count(), round + 1);
    }
    publish(100);
    saved(&site);
    // What a restart of the machine finds.
    drop(running);
    fs::remove_file(&memory.0).unwrap();
    fs::remove_file(site.path("hub.log")).unwrap();
    let _running = Foreground::start(&site, &config);
    let info = attach(&site).channel_info("a").unwrap().unwrap();
    assert_eq!((info.published, info.stored), (published, published as u32));
    assert!(!site.log().contains("damaged"), "{}", site.log());
}

/// Holds the sockets and starts the service, as systemd does.
struct Supervisor {
    site: Site,
    config: Config,
    sockets: Vec<OwnedFd>,
}

impl Supervisor {
    fn new() -> Self {
        let site = site();
        for directory in ["run", "run/hub.sock.fpm"] {
            fs::create_dir(site.path(directory)).unwrap();
            give(&site.path(directory));
        }
        fs::set_permissions(site.path("run/hub.sock.fpm"), fs::Permissions::from_mode(0o700)).unwrap();
        let sockets = vec![
            TcpListener::bind(site.listen).unwrap().into(),
            UnixListener::bind(site.path("run/admin.sock")).unwrap().into(),
            seqpacket(&site.socket()),
            seqpacket(&site.path("run/hub.sock.fpm/attach")),
        ];
        let config = config(&site, &[("message_ttl", "1h"), ("longpolling_connection_ttl", "5s")]);
        Self { site, config, sockets }
    }

    fn start(&self) -> Child {
        let descriptors: Vec<OwnedFd> =
            self.sockets.iter().map(|socket| rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap()).collect();
        // A shell, because the pid has to be known to whoever sets the variable.
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"", PROGRAM, "--config"]);
        command.arg(self.site.write(&self.config)).env("LISTEN_FDS", descriptors.len().to_string());
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
        command.stdin(Stdio::null()).spawn().unwrap()
    }
}

fn seqpacket(path: &Path) -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    rustix::net::listen(&socket, 4096).unwrap();
    // As the units make them: the hub's user need not own them.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
    socket
}

/// Reads one EventSource connection to its end; false when the test is over.
fn read_events(site: &Site, after: &mut Position, got: &mut u64, last: &dyn Fn() -> Option<u64>) -> bool {
    let mut socket = TcpStream::connect(site.listen).expect("no connection is refused");
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let request = format!("GET /ev/a HTTP/1.0\r\nHost: x\r\nLast-Event-ID: {after}\r\n\r\n");
    if socket.write_all(request.as_bytes()).is_err() {
        return true;
    }
    let (mut lines, mut line, mut id) = (BufReader::new(socket), Vec::new(), None);
    loop {
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return true,
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => return true,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if last() == Some(*got) {
                    return false;
                }
                continue;
            }
            Err(_) => return true,
        }
        let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
        let text = text.trim_end();
        assert!(!text.contains("push.gap"), "after {after}: {}", site.log());
        if let Some(position) = text.strip_prefix("id: ") {
            id = Some(position.parse::<Position>().unwrap());
        } else if let Some(number) = text.strip_prefix("data: ") {
            *got += 1;
            assert_eq!(number, got.to_string(), "after {after}");
        } else if text.is_empty()
            && let Some(id) = id.take()
        {
            *after = id;
        }
    }
}

#[test]
fn hub_and_keeper_killed_at_once_lose_nothing_and_refuse_nobody() {
    const KILLS: usize = 5;
    const LONG_POLLS: usize = 4;
    const EVENT_SOURCES: usize = 2;
    let supervisor = Supervisor::new();
    let site = &supervisor.site;
    let mut service = supervisor.start();
    wait_until("the hub serves", || site.log().contains("memory_limit"));
    let _memory = Memory(live(site));
    let start = attach(site).position().unwrap();
    let done = AtomicBool::new(false);
    let last = std::sync::Mutex::new(None);
    let reached = || *last.lock().unwrap();
    let (mut longest, mut published) = (Duration::ZERO, 0);
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut client = attach(site);
            let mut number = 0_u64;
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                let text = number.to_string();
                let message = NewMessage { dedupe: Some(&text), ..NewMessage::new(text.as_bytes()) };
                let begun = Instant::now();
                // What is left open by a kill is made sure of by publishing again.
                while let Err(error) = client.publish("a", &message) {
                    assert!(matches!(error, Error::HubUnavailable(_) | Error::Timeout { .. }), "{error}");
                    assert!(begun.elapsed() < DEADLINE, "{error}");
                }
                longest = longest.max(begun.elapsed());
            }
            *last.lock().unwrap() = Some(number);
            (number, longest)
        });
        let mut subscribers = Vec::new();
        for _ in 0..LONG_POLLS {
            subscribers.push(scope.spawn(|| {
                let (mut after, mut got) = (start, 0_u64);
                while reached() != Some(got) {
                    let path = if done.load(Ordering::Relaxed) { "/poll/a" } else { "/sub/a" };
                    let Some((texts, position, gap)) = poll(site, path, after) else { continue };
                    assert!(!gap, "after {after}\n{}", site.log());
                    for text in &texts {
                        got += 1;
                        assert_eq!(*text, got.to_string(), "after {after}");
                    }
                    after = position;
                }
                got
            }));
        }
        for _ in 0..EVENT_SOURCES {
            subscribers.push(scope.spawn(|| {
                let (mut after, mut got) = (start, 0_u64);
                while read_events(site, &mut after, &mut got, &reached) {}
                got
            }));
        }
        for _ in 0..KILLS {
            let mut client = attach(site);
            let count =
                |client: &mut client::Client| client.channel_info("a").ok().flatten().map_or(0, |info| info.published);
            let before = count(&mut client);
            wait_until("more were published", || count(&mut client) > before + 200);
            kill_both(service.id() as i32);
            service.wait().unwrap();
            service = supervisor.start();
        }
        let mut client = attach(site);
        wait_until("the last one serves", || client.ping(DEADLINE));
        done.store(true, Ordering::Relaxed);
        (published, longest) = publisher.join().unwrap();
        for subscriber in subscribers {
            assert_eq!(subscriber.join().unwrap(), published);
        }
    });
    println!("{KILLS} kills, {published} messages, the longest call {longest:?}");
    assert!(!site.log().contains("damaged"), "{}", site.log());
    signal(service.id() as i32, Signal::TERM);
    assert!(service.wait().unwrap().success());
    assert!(!_memory.0.exists());
}

#[test]
fn what_a_hub_has_stored_goes_over_to_the_next_and_outlives_it() {
    let site = site();
    let settings = |ttl: &str| config(&site, &[("linger", "10s"), ("message_ttl", ttl)]);
    let mut running = Leased::start(&site, &settings("10m"));
    let mut publisher = attach(&site);
    let mut publish = |number: u64| {
        let text = number.to_string();
        assert_eq!(publisher.publish("a", &NewMessage::new(text.as_bytes())).unwrap().id, number);
    };
    (1..=50).for_each(&mut publish);
    for round in 1..=3 {
        let how = running.reload(&settings(&format!("{}m", 10 + round)), Path::new(PROGRAM));
        assert!(matches!(how, How::TookOver { .. }), "{how:?}\n{}", site.log());
        (round * 50 + 1..=round * 50 + 50).for_each(&mut publish);
    }
    kill_both(running.keeper);
    running.give_up();
    let again = Leased::start(&site, &settings("13m"));
    let info = attach(&site).channel_info("a").unwrap().unwrap();
    assert_eq!((info.published, info.stored), (200, 200), "{}", site.log());
    signal(again.keeper, Signal::TERM);
}
