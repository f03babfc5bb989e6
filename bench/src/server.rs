//! Starts a server to measure, configured alike: one thread, everything in memory, no access log, `GET /lp/<channel>`,
//! `/stream/`, `/ev/` and `/ws/` likewise, and `POST /pub?id=<channel>`. It lives in a private directory and ends, with all
//! its processes, when it is dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};

use crate::Result;
use crate::pool::Pool;
use crate::procfs::Processes;

/// How many messages a channel keeps.
pub(crate) const STORED_PER_CHANNEL: u32 = 20;
/// Whom the hub runs as when root starts it.
const USER: &str = "www-data";
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Above the hub's own bound for draining.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A server that can be loaded.
pub(crate) struct Target {
    pub(crate) subscribe: SocketAddr,
    pub(crate) publish: SocketAddr,
    /// Its first process; the descendants count too.
    pub(crate) pid: i32,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Nchan,
    Hub,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nchan => "nchan",
            Kind::Hub => "push-hub",
        }
    }
}

/// A server of ours.
pub(crate) struct Server {
    pub(crate) target: Target,
    directory: PathBuf,
    program: PathBuf,
    child: Child,
    /// Of every process, the first one first, taken while it certainly lived: a number may be somebody else's later.
    processes: Vec<OwnedFd>,
}

impl Server {
    /// Starts `kind` and waits until it answers. `hub` is the binary of the hub.
    pub(crate) fn start(kind: Kind, hub: &Path) -> Result<Server> {
        Self::start_in(private_directory()?, kind, hub, "")
    }

    /// Starts a hub that stores all messages, on a disk below the temporary directory or nowhere.
    pub(crate) fn start_storing(hub: &Path, on_disk: bool) -> Result<Server> {
        let directory = private_directory()?;
        let mut settings = "memory_limit = \"1g\"\nmessage_ttl = \"1d\"\n".to_owned();
        if on_disk {
            let store = directory.join("store");
            let mut install = Command::new("install");
            install.args(["-d", "-m", "0700"]).arg(&store);
            if geteuid().is_root() {
                install.args(["-o", USER]);
            }
            if !install.status()?.success() {
                return Err(format!("{} cannot be made", store.display()).into());
            }
            settings += &format!("store_path = \"{}\"\n", store.display());
        }
        Self::start_in(directory, Kind::Hub, hub, &settings)
    }

    /// Ends it, and starts it again with what it had. `between` is done meanwhile.
    pub(crate) fn start_again(&mut self, between: impl FnOnce()) -> Result<Duration> {
        self.stop()?;
        between();
        let mut command = dying_with_us(&self.program);
        command.arg("--config").arg(self.directory.join("push.toml"));
        let log = File::create(self.directory.join("output"))?;
        let begin = Instant::now();
        self.child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.target.pid = i32::try_from(self.child.id())?;
        self.processes = vec![open(self.target.pid)?];
        self.await_answer()?;
        let took = begin.elapsed();
        for pid in &Processes::of(self.target.pid)?.ids()[1..] {
            self.processes.push(open(*pid)?);
        }
        Ok(took)
    }

    fn start_in(directory: PathBuf, kind: Kind, hub: &Path, settings: &str) -> Result<Server> {
        let (subscribe, admin) = (free_address()?, free_address()?);
        let publish = if kind == Kind::Hub { admin } else { subscribe };
        let mut command = match kind {
            Kind::Nchan => nchan(&directory, subscribe)?,
            Kind::Hub => push_hub(&directory, hub, subscribe, publish, settings)?,
        };
        let log = File::create(directory.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let target = Target { subscribe, publish, pid: i32::try_from(child.id())? };
        let processes = vec![open(target.pid)?];
        let mut server = Server { target, directory, program: hub.to_owned(), child, processes };
        server.await_answer().map_err(|error| {
            let log = fs::read_to_string(server.directory.join("output")).unwrap_or_default();
            format!("{} does not start: {error}\n{log}", kind.name())
        })?;
        for pid in &Processes::of(server.target.pid)?.ids()[1..] {
            server.processes.push(open(*pid)?);
        }
        Ok(server)
    }

    /// The socket that PHP attaches to.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            // Any answer will do: it proves that the process which serves is there, not only the listening socket.
            let request = b"GET /pub?id=start HTTP/1.1\r\nHost: bench\r\n\r\n";
            let answered = Pool::new().and_then(|mut pool| {
                let connection = pool.connect(self.target.publish)?;
                pool.exchange(connection, request, START_TIMEOUT, |_| Ok(()))
            });
            match answered {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Asks the first process to end, waits for all, and kills what does not end.
    fn stop(&mut self) -> Result<()> {
        signal(&self.processes[0], Signal::TERM)?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut killed = 0;
        for process in &self.processes {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout))? == 0 {
                signal(process, Signal::KILL)?;
                killed += 1;
            }
        }
        self.child.wait()?;
        if killed == 0 { Ok(()) } else { Err(format!("{killed} processes had to be killed").into()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("push-bench: stopping the server: {error}");
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("push-bench: {}: {error}", self.directory.display());
        }
    }
}

fn nchan(directory: &Path, listen: SocketAddr) -> Result<Command> {
    let place = directory.display();
    let config = format!(
        "load_module {NCHAN_MODULE};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {place}/nginx.pid;
error_log {place}/error.log warn;
events {{ worker_connections 19900; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_temp_path {place}/client_body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen {listen} backlog=4096;
        location ~ ^/lp/(.+)$ {{
            nchan_subscriber longpoll;
            nchan_channel_id $1;
        }}
        location ~ ^/stream/(.+)$ {{
            nchan_subscriber http-raw-stream;
            nchan_channel_id $1;
        }}
        location ~ ^/ev/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
        }}
        location ~ ^/ws/(.+)$ {{
            nchan_subscriber websocket;
            nchan_channel_id $1;
        }}
        location = /pub {{
            nchan_publisher;
            nchan_channel_id $arg_id;
            nchan_message_buffer_length {STORED_PER_CHANNEL};
            nchan_message_timeout 30m;
        }}
    }}
}}
"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = dying_with_us("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(file).arg("-e").arg(directory.join("error.log"));
    Ok(command)
}

fn push_hub(directory: &Path, hub: &Path, listen: SocketAddr, admin: SocketAddr, settings: &str) -> Result<Command> {
    // As nginx does with its workers, the hub leaves root behind.
    let user = if geteuid().is_root() { format!("user = \"{USER}\"\n") } else { String::new() };
    let most = if settings.is_empty() { STORED_PER_CHANNEL.to_string() } else { "\"none\"".to_owned() };
    let config = format!(
        "listen = [\"{listen}\"]
admin_listen = [\"{admin}\"]
socket = \"{}\"
secret_file = \"{}\"
{user}threads = 1
authorized_channels_only = \"off\"
longpolling_connection_ttl = \"none\"
ping_message_interval = \"none\"
max_messages_stored_per_channel = {most}
{settings}",
        socket(directory).display(),
        socket(directory).with_file_name("secret").display()
    );
    let file = directory.join("push.toml");
    fs::write(&file, config)?;
    let mut command = dying_with_us(hub);
    command.arg("--config").arg(file);
    Ok(command)
}

/// In a directory that the hub makes, so that it belongs to the hub's user.
fn socket(directory: &Path) -> PathBuf {
    directory.join("run/hub.sock")
}

/// `program`, told to end when this process dies without having stopped it.
pub(crate) fn dying_with_us(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

fn open(pid: i32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or("a process without a number")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn signal(process: &OwnedFd, signal: Signal) -> Result<()> {
    match pidfd_send_signal(process, signal) {
        // It has ended already.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn private_directory() -> Result<PathBuf> {
    // The hub's user passes through, and sees nothing.
    const MODE: u32 = 0o711;
    let parent = std::env::temp_dir();
    for number in 0.. {
        let directory = parent.join(format!("push-bench.{}.{number}", std::process::id()));
        match fs::DirBuilder::new().mode(MODE).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("{}: {error}", directory.display()).into()),
        }
    }
    Err("no name is left for a directory".into())
}

pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
