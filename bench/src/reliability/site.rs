//! A site to trouble: php-fpm with two pools, and its hub, in a private directory.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::keeper::HUB;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::subscriber::LOCATIONS;
use crate::Result;
use crate::server::{dying_with_us, free_address};

/// Every wait ends here.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);
pub(super) const POOLS: usize = 2;
/// Above the publishers, so that there is one for the next while another is being replaced.
const WORKERS: usize = 4;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/php/reliability.php");

/// Who runs the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// php-fpm; the journal lies in memory.
    Fpm,
    /// A service manager, which is this program: it holds the sockets and starts what has ended. The journal is on disk.
    Service,
}

pub(super) struct Site {
    pub(super) directory: PathBuf,
    pub(super) listen: SocketAddr,
    program: PathBuf,
    fpm: Child,
    service: Option<Service>,
}

/// The sockets of the service, and the service.
struct Service {
    sockets: Vec<OwnedFd>,
    keeper: Child,
}

impl Site {
    /// Starts everything and waits until a hub answers. `binaries` is the directory of hub and extension.
    pub(super) fn start(mode: Mode, directory: &Path, binaries: &Path, php_fpm: &str) -> Result<Self> {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        let user = geteuid().is_root().then(|| account("www-data")).transpose()?;
        let listen = free_address()?;
        let own = |path: PathBuf| -> Result<PathBuf> {
            fs::create_dir(&path)?;
            if let Some((user, group)) = user {
                chown(&path, Some(user), Some(group))?;
            }
            Ok(path)
        };
        own(directory.join("notes"))?;
        own(directory.join("secret"))?;
        let program = directory.join("push-hub");
        fs::copy(binaries.join("push-hub"), &program)?;
        fs::copy(binaries.join("libphp_push.so"), directory.join("push.so"))?;
        fs::copy(SCRIPT, directory.join("publish.php"))?;
        let service = match mode {
            Mode::Fpm => {
                write_settings(directory, listen, mode, 0)?;
                None
            }
            Mode::Service => {
                own(directory.join("run"))?;
                own(directory.join("store"))?;
                write_settings(directory, listen, mode, 0)?;
                let private = own(directory.join("run/hub.sock.fpm"))?;
                fs::set_permissions(&private, fs::Permissions::from_mode(0o700))?;
                let sockets = vec![
                    TcpListener::bind(listen)?.into(),
                    seqpacket(&directory.join("run/hub.sock"))?,
                    seqpacket(&private.join("attach"))?,
                ];
                let keeper = start_service(directory, &program, &sockets)?;
                Some(Service { sockets, keeper })
            }
        };
        let fpm = start_fpm(directory, php_fpm)?;
        let mut site = Self { directory: directory.to_owned(), listen, program, fpm, service };
        site.wait("a hub answers", |site| Ok(site.hub().is_some()))?;
        site.wait("php-fpm serves", |site| Ok(site.readiness()? > 0))?;
        Ok(site)
    }

    /// The FastCGI socket of a pool.
    pub(super) fn pool(&self, number: usize) -> PathBuf {
        self.directory.join(format!("pool-{number}.sock"))
    }

    pub(super) fn script(&self) -> PathBuf {
        self.directory.join("publish.php")
    }

    pub(super) fn notes(&self) -> PathBuf {
        self.directory.join("notes")
    }

    /// The process of the hub that answers.
    pub(super) fn hub(&self) -> Option<i32> {
        let config = Config::default();
        let mut client = Client::new(Options {
            socket: self.directory.join("run/hub.sock"),
            inherited: None,
            timeout: Duration::from_secs(1),
            backoff: config.backoff,
            ring_size: config.ring_size,
        });
        client.status().ok().and_then(|status| status.pid.try_into().ok())
    }

    /// The process of the keeper: of those that run this site's program the one that is no hub.
    pub(super) fn keeper(&self) -> Option<i32> {
        self.processes().into_iter().find(|(_, title)| *title != *HUB.to_string_lossy()).map(|(pid, _)| pid)
    }

    /// All processes that run this site's program, with how they call themselves.
    fn processes(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ours = entries.filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let program = fs::read_link(entry.path().join("exe")).ok()?;
            let titles = fs::read_to_string(entry.path().join("cmdline")).ok()?;
            (program == self.program).then(|| (pid, titles.split('\0').next().unwrap_or_default().to_owned()))
        });
        ours.collect()
    }

    /// Waits until `condition` holds.
    pub(super) fn wait(&mut self, what: &str, condition: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self)? {
            if let Some(status) = self.fpm.try_wait()? {
                return Err(format!("php-fpm ended with {status}\n{}", self.logs()).into());
            }
            if Instant::now() > deadline {
                return Err(format!("after {} s not: {what}\n{}", DEADLINE.as_secs(), self.logs()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// How often php-fpm has come to serve.
    pub(super) fn readiness(&self) -> Result<usize> {
        let log = fs::read_to_string(self.directory.join("fpm.log")).unwrap_or_default();
        Ok(log.matches("ready to handle connections").count())
    }

    /// Makes php-fpm start anew, and waits until it serves.
    pub(super) fn reload(&mut self) -> Result<()> {
        let before = self.readiness()?;
        kill(i32::try_from(self.fpm.id())?, Signal::USR2)?;
        self.wait("php-fpm serves again", |site| Ok(site.readiness()? > before))
    }

    /// The configuration becomes another one for the next hub.
    pub(super) fn change_settings(&self, number: u32) -> Result<()> {
        write_settings(&self.directory, self.listen, Mode::Fpm, number)
    }

    /// As a service manager does when a service has ended.
    pub(super) fn restart_service(&mut self) -> Result<()> {
        self.wait("keeper and hub have ended", |site| Ok(site.processes().is_empty()))?;
        let Some(service) = &mut self.service else { return Err("the hub is no service".into()) };
        service.keeper.wait()?;
        service.keeper = start_service(&self.directory, &self.program, &service.sockets)?;
        Ok(())
    }

    pub(super) fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        let text = ["output", "fpm.log", "hub.log"].map(read).concat();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    pub(super) fn stop(mut self) -> Result<()> {
        kill(i32::try_from(self.fpm.id())?, Signal::QUIT)?;
        self.fpm.wait()?;
        if let Some(service) = &mut self.service {
            kill(i32::try_from(service.keeper.id())?, Signal::TERM)?;
            service.keeper.wait()?;
        }
        let deadline = Instant::now() + DEADLINE;
        while !self.processes().is_empty() {
            if Instant::now() > deadline {
                return Err(format!("these processes do not end: {:?}", self.processes()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

pub(super) fn kill(pid: i32, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_raw(pid).ok_or("a process without a number")?, signal)?)
}

/// User and group.
fn account(name: &str) -> Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name));
    let mut fields = line.ok_or_else(|| format!("there is no user {name}"))?.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok()).ok_or("a line without a number");
    Ok((number()?, number()?))
}

fn seqpacket(path: &Path) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, 1024)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

fn write_settings(directory: &Path, listen: SocketAddr, mode: Mode, number: u32) -> Result<()> {
    let place = directory.display();
    let store = match mode {
        Mode::Fpm => String::new(),
        Mode::Service => format!("store_path = \"{place}/store\"\n"),
    };
    let user = if geteuid().is_root() { "user = \"www-data\"\n" } else { "" };
    // The header time-out is what the hand-overs change.
    let text = format!(
        "listen = [\"{listen}\"]
admin_listen = []
socket = \"{place}/run/hub.sock\"
log = \"{place}/hub.log\"
secret_file = \"{place}/secret/key\"
{user}{store}threads = 2
authorized_channels_only = \"off\"
longpolling_connection_ttl = \"5s\"
ping_message_interval = \"5s\"
max_messages_stored_per_channel = \"none\"
header_timeout = \"{}s\"
{LOCATIONS}",
        10 + number
    );
    Ok(fs::write(directory.join("push.toml"), text)?)
}

fn start_service(directory: &Path, program: &Path, sockets: &[OwnedFd]) -> Result<Child> {
    // A shell, because the sockets have to have the numbers from 3, and whoever sets LISTEN_PID has to know it.
    let passed = sockets.iter().map(rustix::io::dup).collect::<std::result::Result<Vec<_>, _>>()?;
    let moves = passed.iter().enumerate().map(|(at, socket)| format!("{}<&{} ", at + 3, socket.as_raw_fd()));
    let closes = passed.iter().map(|socket| format!("{}<&- ", socket.as_raw_fd()));
    let script = format!("exec {}; LISTEN_PID=$$ exec \"$0\" \"$@\"", moves.chain(closes).collect::<String>());
    let mut command = dying_with_us("bash");
    command.args(["-c", &script]).arg(program).arg("--config").arg(directory.join("push.toml"));
    command.env("LISTEN_FDS", sockets.len().to_string());
    command.env("LISTEN_FDNAMES", vec!["push-hub.socket"; sockets.len()].join(":"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log(directory)?);
    Ok(command.spawn()?)
}

fn log(directory: &Path) -> Result<File> {
    Ok(File::options().create(true).append(true).open(directory.join("output"))?)
}

fn start_fpm(directory: &Path, php_fpm: &str) -> Result<Child> {
    let place = directory.display();
    let user = if geteuid().is_root() { "user = www-data\ngroup = www-data\n" } else { "" };
    let pools: String = (0..POOLS)
        .map(|number| {
            format!(
                "[{number}]\n{user}listen = {place}/pool-{number}.sock\nlisten.mode = 0666\npm = static\n\
                 pm.max_children = {WORKERS}\ncatch_workers_output = yes\n"
            )
        })
        .collect();
    fs::write(
        directory.join("fpm.conf"),
        format!("[global]\nerror_log = {place}/fpm.log\ndaemonize = no\nprocess_control_timeout = 10s\n{pools}"),
    )?;
    let mut command = dying_with_us(php_fpm);
    command.args(["-n", "-F", "-y"]).arg(directory.join("fpm.conf"));
    for (key, value) in [
        ("extension", directory.join("push.so")),
        ("push.hub", directory.join("push-hub")),
        ("push.config", directory.join("push.toml")),
        ("push.linger", "2s".into()),
        ("push.socket", directory.join("run/hub.sock")),
    ] {
        command.arg("-d").arg(format!("{key}={}", value.display()));
    }
    command.stdin(Stdio::null()).stdout(log(directory)?).stderr(log(directory)?);
    command.spawn().map_err(|error| format!("{php_fpm}: {error}").into())
}
