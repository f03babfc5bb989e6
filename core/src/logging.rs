//! Log lines of keeper and hub: where they go and in which form.
//!
//! One event is one line, whatever is in it. A file takes the place of the standard error stream, which the hub inherits, so
//! that what a dying process says stands there, too. For syslog and journald a line begins with its level and has no time of
//! its own. No line names a channel or a token: who knows the id of a private channel may read it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use rustix::net::{SocketAddrUnix, getpeername};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::{Log, LogLevel};

/// What decides which lines there are.
type Filter = reload::Layer<LevelFilter, Registry>;
/// What writes those that there are.
type Writer = Box<dyn Layer<Layered<Filter, Registry>> + Send + Sync>;

/// By which a running process changes them.
struct Running {
    level: reload::Handle<LevelFilter, Registry>,
    writer: reload::Handle<Writer, Layered<Filter, Registry>>,
    log: Mutex<Log>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Log lines of this process go to `log` from now on. A file must stand on the standard error stream already: see [`open`].
/// Called once.
pub fn start(log: &Log, level: LogLevel) {
    let (filter, level) = reload::Layer::new(filter(level));
    let lines = Lines::of(log, io::stderr().as_fd());
    let (lines, writer) = reload::Layer::new(layer(lines));
    tracing_subscriber::registry().with(filter).with(lines).init();
    let _ = RUNNING.set(Running { level, writer, log: Mutex::new(log.clone()) });
}

/// Log lines go to `log` from now on; what a dying process says, too, if that is a file.
///
/// # Errors
/// As [`open`]; then they go where they went.
pub fn change(log: &Log) -> io::Result<()> {
    let Some(running) = RUNNING.get() else { return Ok(()) };
    let mut current = running.log.lock().unwrap_or_else(PoisonError::into_inner);
    if *current == *log {
        return Ok(());
    }
    open(log)?;
    let _ = running.writer.reload(layer(Lines::of(log, io::stderr().as_fd())));
    *current = log.clone();
    Ok(())
}

/// The same for a hub in another program, to which the standard error stream belongs. Where that program collects events
/// itself, or has another hub, they go where they went.
///
/// # Errors
/// As [`open`].
pub(crate) fn start_embedded(log: &Log, level: LogLevel) -> io::Result<()> {
    let lines = match log {
        Log::File(path) => Lines::File(options().create(true).open(path)?),
        Log::Stderr => Lines::Plain,
        Log::Syslog(path) => {
            connect(path)?;
            Lines::syslog(path)
        }
    };
    let _ = tracing_subscriber::registry().with(filter(level)).with(layer(lines)).try_init();
    Ok(())
}

/// Who gets log lines instead of `log`: the level, and the line without its end.
pub type Sink = Box<dyn Fn(LogLevel, &str) + Send + Sync>;

static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// Gives the log lines to come to `sink`, or again to what `log` says. Returns when the one before has got its last line.
/// It is called on the threads of the hub and on those that make calls.
pub fn log_to(sink: Option<Sink>) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
}

fn layer<S>(lines: Lines) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer().with_ansi(false).with_target(false);
    match lines {
        Lines::Plain | Lines::File(_) => layer.with_writer(lines).boxed(),
        // They have their own times and levels.
        Lines::Journal | Lines::Syslog { .. } => layer.with_writer(lines).without_time().with_level(false).boxed(),
    }
}

/// Lines of another level are written from now on.
pub fn set_level(level: LogLevel) {
    if let Some(running) = RUNNING.get() {
        // It fails only after the end of the subscriber, which stays.
        let _ = running.level.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

/// Puts the file in the place of the standard error stream, or sees that syslog can be reached.
///
/// # Errors
/// The system's reason.
pub fn open(log: &Log) -> io::Result<()> {
    match log {
        Log::Stderr => Ok(()),
        Log::File(path) => replace_stderr(&options().create(true).open(path)?),
        Log::Syslog(path) => connect(path).map(drop),
    }
}

/// The same for a file that does not exist yet where only root can make it: it belongs to `owner` afterwards, who can then
/// open it again.
pub(crate) fn create_for(path: &Path, owner: crate::process::Account) -> io::Result<()> {
    let file = match options().create_new(true).open(path) {
        Ok(file) => {
            rustix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
            file
        }
        // Others may have made it, and this is root: no links, nothing to wait for.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options().custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?
        }
        Err(error) => return Err(error),
    };
    replace_stderr(&file)
}

fn options() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).mode(0o640);
    options
}

fn replace_stderr(file: &File) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(file)?)
}

/// Opens the file again, which somebody has moved away. What cannot be opened is logged, to where it was.
pub fn reopen() {
    let Some(running) = RUNNING.get() else { return };
    let log = running.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !matches!(log, Log::File(_)) {
        return;
    }
    match open(&log) {
        Ok(()) => tracing::info!("the log was opened again"),
        Err(error) => tracing::error!(
            "log = \"{log}\" cannot be opened again: {error}; the old file is still written: make the new one, or its \
             directory, writable for this user"
        ),
    }
}

/// Whether it is the stream that systemd gives to a service. `$JOURNAL_STREAM` says the same, and a hub has no environment.
fn leads_to_journald(stream: BorrowedFd<'_>) -> bool {
    let peer = getpeername(stream).ok().flatten().and_then(|peer| SocketAddrUnix::try_from(peer).ok());
    let path = peer.as_ref().and_then(SocketAddrUnix::path_bytes).unwrap_or_default();
    // A namespace of logs has a directory of its own: journal.<name>.
    path.starts_with(b"/run/systemd/journal") && path.ends_with(b"/stdout")
}

/// Makes a writer for each line.
enum Lines {
    /// To the standard error stream.
    Plain,
    /// The same, with levels as journald reads them.
    Journal,
    File(File),
    Syslog {
        path: PathBuf,
        socket: Mutex<Option<UnixDatagram>>,
    },
}

impl Lines {
    fn of(log: &Log, stderr: BorrowedFd<'_>) -> Self {
        match log {
            Log::Syslog(path) => Self::syslog(path),
            Log::Stderr if leads_to_journald(stderr) => Self::Journal,
            Log::Stderr | Log::File(_) => Self::Plain,
        }
    }

    fn syslog(path: &Path) -> Self {
        Self::Syslog { path: path.to_owned(), socket: Mutex::default() }
    }
}

/// A line and its severity as syslog numbers it.
struct Line<'a>(&'a Lines, u8);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self, 6)
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Line<'a> {
        let severity = match *of.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            _ => 7,
        };
        Line(self, severity)
    }
}

/// The facility "daemon".
const FACILITY: u8 = 3;

impl Write for Line<'_> {
    /// Takes a whole line: the formatter gives it at once.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let Self(lines, severity) = self;
        let line = printable(text);
        if let Some(sink) = &*SINK.read().unwrap_or_else(PoisonError::into_inner) {
            let level = match severity {
                3 => LogLevel::Error,
                4 => LogLevel::Warn,
                6 => LogLevel::Info,
                _ => LogLevel::Debug,
            };
            sink(level, line.trim_end());
            return Ok(text.len());
        }
        match lines {
            Lines::Plain => write_whole(io::stderr().lock(), &line),
            Lines::Journal => write_whole(io::stderr().lock(), &format!("<{severity}>{line}")),
            Lines::File(file) => write_whole(file, &line),
            Lines::Syslog { path, socket } => {
                let priority = FACILITY * 8 + *severity;
                let packet = format!("<{priority}>push-hub[{}]: {}", std::process::id(), line.trim_end());
                send(path, socket, packet.as_bytes());
            }
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In one call, so that lines of keeper and hub do not mix.
fn write_whole(mut to: impl Write, line: &str) {
    // There is no other place to say that it failed.
    let _ = to.write_all(line.as_bytes());
}

/// The text with one end of line, its last character, whatever came from a client.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut line: String = text
        .trim_end()
        .chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect();
    line.push('\n');
    line
}

/// Never waits: a syslog that does not keep up loses lines. One that was restarted is connected to anew.
fn send(path: &Path, socket: &Mutex<Option<UnixDatagram>>, packet: &[u8]) {
    let Ok(mut socket) = socket.lock() else { return };
    for _ in 0..2 {
        if socket.is_none() {
            *socket = connect(path).ok();
        }
        match socket.as_ref().map(|socket| socket.send(packet)) {
            None | Some(Ok(_)) => return,
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
            Some(Err(_)) => *socket = None,
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_broken_in_two_and_cannot_steer_a_terminal() {
        assert_eq!(printable(b"INFO a\nERROR b\r\x1b[2J\n"), "INFO a\u{fffd}ERROR b\u{fffd}\u{fffd}[2J\n");
        assert_eq!(printable("gr\u{fc}n \u{4e2d}\n".as_bytes()), "gr\u{fc}n \u{4e2d}\n");
    }

    #[test]
    fn only_a_stream_to_journald_gets_levels_in_front() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(!leads_to_journald(ours.as_fd()));
        assert!(!leads_to_journald(File::open("/dev/null").unwrap().as_fd()));
    }
}
