//! Starts a server to measure, configured alike: one thread, everything in memory, no access log, `GET /lp/<channel>`,
//! `/stream/`, `/ev/` and `/ws/` likewise, and `POST /pub?id=<channel>`. It lives in a private directory and ends, with all
//! its processes, when it is dropped.

mod configuration;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Result;
use crate::pool::Pool;
use crate::procfs::Processes;

/// How many messages a channel keeps.
pub(crate) const STORED_PER_CHANNEL: u32 = 20;
/// Whom the hub runs as when root starts it.
const USER: &str = "www-data";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Above the hub's own bound for draining.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// A server that can be loaded.
pub(crate) struct Target {
    pub(crate) subscribe: SocketAddr,
    pub(crate) publish: SocketAddr,
    /// Its first process, or of each of its programs; the descendants count too.
    pub(crate) pids: Vec<i32>,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Nchan,
    Hub,
    /// The hub behind nginx, which hands it every subscription.
    Proxied,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "floor",
            Kind::Nchan => "nchan",
            Kind::Hub => "push-hub",
            Kind::Proxied => "nginx and push-hub",
        }
    }
}

/// What differs between scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Messages that a channel keeps.
    pub(crate) stored: u32,
    /// For how long, as nginx writes it.
    pub(crate) ttl: &'static str,
    /// HTTP threads of the hub.
    pub(crate) threads: u32,
    /// The hub stores on a disk, below the temporary directory.
    pub(crate) on_disk: bool,
    /// Who comes without a position gets what is published from then on. nchan else begins with what is stored.
    pub(crate) newest_first: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { stored: STORED_PER_CHANNEL, ttl: "30m", threads: 1, on_disk: false, newest_first: false }
    }
}

impl Setup {
    /// Nothing is evicted.
    pub(crate) const ALL_STORED: u32 = 10_000_000;
}

/// A server of ours.
pub(crate) struct Server {
    pub(crate) target: Target,
    directory: PathBuf,
    program: PathBuf,
    child: Child,
    /// Of every process, the first one first, taken while it certainly lived: a number may be somebody else's later.
    processes: Vec<OwnedFd>,
    /// The hub behind nginx.
    behind: Option<Box<Server>>,
}

impl Server {
    /// Starts `kind` and waits until it answers. `hub` is the binary of the hub.
    pub(crate) fn start(kind: Kind, hub: &Path) -> Result<Server> {
        Self::with(kind, hub, &Setup::default())
    }

    /// The same, set up for a scenario.
    pub(crate) fn with(kind: Kind, hub: &Path, setup: &Setup) -> Result<Server> {
        let behind = match kind {
            Kind::Proxied => Some(Box::new(Self::with(Kind::Hub, hub, setup)?)),
            _ => None,
        };
        let (directory, subscribe, admin) = (private_directory()?, free_address()?, free_address()?);
        let (mut command, publish) = match (kind, &behind) {
            (Kind::Hub, _) => (configuration::hub(&directory, hub, subscribe, admin, setup)?, admin),
            (Kind::Floor, _) => (configuration::floor(subscribe, setup)?, subscribe),
            (_, None) => (configuration::nchan(&directory, subscribe, setup)?, subscribe),
            (_, Some(hub)) => (configuration::proxy(&directory, subscribe, hub.target.subscribe)?, hub.target.publish),
        };
        let log = File::create(directory.join("output"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
        let pid = i32::try_from(child.id())?;
        let pids = std::iter::once(pid).chain(behind.iter().flat_map(|hub| hub.target.pids.clone())).collect();
        let target = Target { subscribe, publish, pids };
        let mut server =
            Server { target, directory, program: hub.to_owned(), child, processes: vec![open(pid)?], behind };
        server.await_answer().map_err(|error| {
            let log = fs::read_to_string(server.directory.join("output")).unwrap_or_default();
            format!("{} does not start: {error}\n{log}", kind.name())
        })?;
        server.watch_descendants()?;
        Ok(server)
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
        self.target.pids = vec![i32::try_from(self.child.id())?];
        self.processes = vec![open(self.target.pids[0])?];
        self.await_answer()?;
        let took = begin.elapsed();
        self.watch_descendants()?;
        Ok(took)
    }

    fn watch_descendants(&mut self) -> Result<()> {
        for pid in &Processes::of(&self.target.pids[..1])?.ids()[1..] {
            self.processes.push(open(*pid)?);
        }
        Ok(())
    }

    /// The binary of the hub.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The socket that PHP attaches to.
    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.directory)
    }

    fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        // A proxy answers at this address, and its hub has answered already.
        let address = if self.behind.is_some() { self.target.subscribe } else { self.target.publish };
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}").into());
            }
            // Any answer will do: it proves that the process which serves is there, not only the listening socket.
            let request = b"GET /pub?id=start HTTP/1.1\r\nHost: bench\r\n\r\n";
            let answered = Pool::new().and_then(|mut pool| {
                let connection = pool.connect(address)?;
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
