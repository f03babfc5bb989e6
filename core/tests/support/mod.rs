//! A hub inside the test, and clients that look at bytes.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod process;
pub mod seccomp;
pub mod slow;
pub mod stream;
pub mod websocket;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use push_core::config::Config;
use push_core::hub::{Hub, Sockets};
use push_core::message::Position;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Every wait of a test ends here.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct TestHub {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub trusted: SocketAddr,
    pub socket: PathBuf,
    pub hub: Option<Hub>,
    _directory: tempfile::TempDir,
}

/// Starts a hub with these settings above the defaults of the tests: two threads, anyone may subscribe.
pub fn hub(settings: &[(&str, &str)]) -> TestHub {
    hub_with(settings, None)
}

/// The same, with locations as in TOML.
pub fn hub_with(settings: &[(&str, &str)], locations: Option<&str>) -> TestHub {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("hub.sock");
    let mut config = Config::default();
    config.set("socket", socket.to_str().expect("UTF-8")).expect("a path");
    config.set("threads", "2").expect("a number");
    config.set("authorized_channels_only", "off").expect("a switch");
    for (key, value) in settings {
        config.set(key, value).expect("a setting of the test");
    }
    if let Some(text) = locations {
        let file = directory.path().join("push.toml");
        std::fs::write(&file, text).expect("a file");
        config.load(&file).expect("locations of the test");
    }
    let listen = || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        (listener.local_addr().expect("bound"), OwnedFd::from(listener))
    };
    let ((public, public_socket), (admin, admin_socket), (trusted, trusted_socket)) = (listen(), listen(), listen());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let attach = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("a socket");
    rustix::net::bind(&attach, &SocketAddrUnix::new(&socket).expect("a short path")).expect("a free path");
    rustix::net::listen(&attach, 128).expect("a socket");
    let sockets = Sockets {
        listen: vec![public_socket],
        admin_listen: vec![admin_socket],
        trusted_listen: vec![trusted_socket],
        attach: vec![attach],
    };
    let start = Position { time: 1_000, tag: 0 };
    let hub = Hub::start(Arc::new(config), sockets, start, None).expect("threads");
    TestHub { public, admin, trusted, socket, hub: Some(hub), _directory: directory }
}

impl TestHub {
    pub fn connect(&self) -> Client {
        Client::new(self.public)
    }

    pub fn connect_narrow(&self) -> Client {
        Client::narrow(self.public)
    }

    pub fn connect_admin(&self) -> Client {
        Client::new(self.admin)
    }

    pub fn connect_trusted(&self) -> Client {
        Client::new(self.trusted)
    }

    pub fn publish(&self, channel: &str, body: &str) -> Response {
        let mut client = self.connect_admin();
        client.send(&format!(
            "POST /pub?id={channel} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.response()
    }

    /// Counters of the channel, `None` when there is none.
    pub fn counters(&self, channel: &str) -> Option<serde_json::Value> {
        let mut client = self.connect_admin();
        client.send(&format!("GET /pub?id={channel} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let response = client.response();
        (response.status == 200).then(|| serde_json::from_slice(&response.body).expect("JSON"))
    }

    /// The position of the newest message of all, as it is written.
    pub fn head(&self) -> String {
        self.hub.as_ref().expect("running").engine().head().to_string()
    }

    pub fn wait_for_subscribers(&self, channel: &str, count: u64) {
        wait_until(&format!("{channel} has {count} subscribers"), || {
            let now = self.counters(channel).map_or(0, |counters| counters["subscribers"].as_u64().expect("a number"));
            now == count
        });
    }
}

/// The text of an answer with counters, with what differs from run to run put in by name: host, time, process, uptime.
pub fn steady(answer: &Response) -> String {
    let host = rustix::system::uname();
    let mut text = answer.text().replace(host.nodename().to_str().expect("UTF-8"), "HOST");
    for (begin, form, name) in [
        ("time\": \"", "0000-00-00T00:00:00", "TIME"),
        ("time: ", "0000-00-00T00:00:00", "TIME"),
        ("<time>", "0000-00-00T00:00:00", "TIME"),
        ("uptime\": ", "0", "UPTIME"),
        ("uptime: ", "0", "UPTIME"),
        ("<uptime>", "0", "UPTIME"),
        ("pid\": \"", "0", "PID"),
        ("pid: ", "0", "PID"),
        ("pid: \"", "0", "PID"),
        ("<pid>", "0", "PID"),
    ] {
        let mut parts = text.split(begin).map(str::to_owned).collect::<Vec<_>>();
        for part in parts.iter_mut().skip(1) {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let len = if form.len() == 1 { digits } else { form.len() };
            let fits = part.len() >= len
                && part.bytes().zip(form.bytes()).all(|(byte, form)| match form {
                    b'0' => byte.is_ascii_digit(),
                    _ => byte == form,
                });
            if fits && len > 0 {
                part.replace_range(..len, name);
            }
        }
        text = parts.join(begin);
    }
    text
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}");
        std::thread::yield_now();
    }
}

/// Stops a process, and waits until none of its threads runs any more: the signal takes effect some time after it is sent.
pub fn stop_process(pid: i32) {
    let process = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::STOP).expect("our own process");
    wait_until("the process is stopped", || {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
        threads.all(|thread| {
            let stat = std::fs::read_to_string(thread.expect("a thread").path().join("stat")).expect("it lives");
            stat.rsplit_once(')').is_some_and(|(_, state)| state.starts_with(" T"))
        })
    });
}

/// One connection.
pub struct Client {
    pub socket: TcpStream,
    bytes: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// The two headers that a poller sends back, as it sends them.
    pub fn position_headers(&self) -> String {
        let (time, tag) = (self.header("Last-Modified").expect("a time"), self.header("Etag").expect("a tag"));
        format!("If-Modified-Since: {time}\r\nIf-None-Match: {tag}\r\n")
    }
}

impl From<TcpStream> for Client {
    fn from(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
        Self { socket, bytes: Vec::new() }
    }
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        TcpStream::connect(address).expect("the hub accepts").into()
    }

    /// One for which the kernel keeps hardly anything: what it does not read stays with the hub.
    pub fn narrow(address: SocketAddr) -> Self {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.expect("a socket");
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).expect("a socket");
        rustix::net::connect(&socket, &address).expect("the hub accepts");
        TcpStream::from(socket).into()
    }

    /// From now on it reads as fast as others.
    pub fn widen(&self) {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, 4 << 20).expect("a socket");
    }

    pub fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("the hub reads");
    }

    pub fn get(&mut self, path: &str, headers: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    }

    /// The next answer, whole. `head`: it belongs to a HEAD request.
    fn read_response(&mut self, head: bool) -> Response {
        let mut answer = self.head();
        let none = head || answer.status == 304 || answer.status < 200;
        let length = answer.header("Content-Length").map_or(0, |length| length.parse().expect("a number"));
        if !none {
            answer.body = self.take(length);
        }
        answer
    }

    /// The head of the next answer; its body is left.
    pub fn head(&mut self) -> Response {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut fields);
            if let Ok(httparse::Status::Complete(end)) = response.parse(&self.bytes) {
                let version = format!("HTTP/1.{}", response.version.expect("parsed"));
                let status = response.code.expect("parsed");
                let headers: Vec<(String, String)> = response
                    .headers
                    .iter()
                    .map(|field| (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned()))
                    .collect();
                self.bytes.drain(..end);
                return Response { version, status, headers, body: Vec::new() };
            }
            self.read_more();
        }
    }

    /// The next bytes, so many.
    fn take(&mut self, count: usize) -> Vec<u8> {
        while self.bytes.len() < count {
            self.read_more();
        }
        self.bytes.drain(..count).collect()
    }

    /// Reads what comes, of which something must.
    fn read_more(&mut self) {
        assert!(self.read_some(), "the hub closed within an answer: {:?}", String::from_utf8_lossy(&self.bytes));
    }

    /// Reads what comes. False at the end of the connection.
    fn read_some(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let n = self.socket.read(&mut buffer).expect("something in time");
        self.bytes.extend_from_slice(&buffer[..n]);
        n > 0
    }

    pub fn response(&mut self) -> Response {
        self.read_response(false)
    }

    pub fn head_response(&mut self) -> Response {
        self.read_response(true)
    }

    /// Waits for the end of the connection; no more bytes may come.
    pub fn expect_end(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.bytes), "");
        let mut rest = Vec::new();
        self.socket.read_to_end(&mut rest).expect("an end in time");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    /// True when nothing has come so far.
    pub fn is_silent(&mut self) -> bool {
        self.socket.set_nonblocking(true).expect("a socket");
        let mut byte = [0];
        let silent = matches!(self.socket.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.socket.set_nonblocking(false).expect("a socket");
        silent && self.bytes.is_empty()
    }
}
