//! One subscriber on a thread of its own, which reconnects where it was as often as it must.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;

use super::tally::Received;

/// In which way it subscribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    LongPolling,
    Polling,
    Jsonp,
    Streaming,
    EventSource,
    WebSocket,
}

impl Transport {
    pub(super) const ALL: [Self; 6] =
        [Self::LongPolling, Self::Polling, Self::Jsonp, Self::Streaming, Self::EventSource, Self::WebSocket];
}

/// Between two polls that do not wait.
const INTERVAL: Duration = Duration::from_millis(100);
/// Between two connections, as browsers wait; much less, so that reconnecting is no pause of its own.
const AGAIN: Duration = Duration::from_millis(2);
/// Silence after which the connection is taken for dead: above all intervals of the hub.
const SILENCE: Duration = Duration::from_secs(30);
/// Locations for [`Transport`], on the public listener. A line or frame of a stream carries the position.
pub(super) const LOCATIONS: &str = r#"gap_message_text = "gap"

[[location]]
path = "/lp/"
subscriber = "long-polling"
[[location]]
path = "/poll/"
subscriber = "polling"
[[location]]
path = "/jsonp/"
subscriber = "long-polling"
message_template = '{"text":"~text-json~","time":"~time~","tag":"~tag~"}'
[[location]]
path = "/stream/"
subscriber = "streaming"
message_template = "~tag~ ~time~;~text~\n"
[[location]]
path = "/ev/"
subscriber = "eventsource"
[[location]]
path = "/ws/"
subscriber = "websocket"
message_template = "~tag~ ~time~;~text~"
"#;

pub(super) struct Subscriber<'a> {
    pub(super) transport: Transport,
    pub(super) hub: SocketAddr,
    pub(super) channel: String,
    pub(super) received: &'a Mutex<Received>,
    pub(super) stop: &'a AtomicBool,
}

type Io<T> = std::io::Result<T>;

#[derive(Deserialize)]
struct Polled {
    messages: Vec<Message>,
    position: String,
    gap: bool,
}

#[derive(Deserialize)]
struct Message {
    data: String,
}

#[derive(Deserialize)]
struct Called {
    text: String,
    time: String,
    tag: String,
}

impl Subscriber<'_> {
    pub(super) fn run(&self) {
        // All that is stored.
        let mut position = "0.0".to_owned();
        while self.stays() {
            match self.connect().and_then(|connection| self.subscribe(connection, &mut position)) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.with(|received| {
                    received.faults.refused += 1;
                    received.faults.note(|| format!("{}: {error}", self.name()));
                }),
                // The hub died, or said that this connection is over.
                Err(_) => {}
            }
            std::thread::sleep(AGAIN);
        }
    }

    fn stays(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Io<BufReader<TcpStream>> {
        let connection = TcpStream::connect(self.hub)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(SILENCE))?;
        Ok(BufReader::with_capacity(4096, connection))
    }

    fn name(&self) -> String {
        format!("a subscriber of {} by {:?}", self.channel, self.transport)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Received) -> T) -> T {
        change(&mut self.received.lock().expect("no subscriber panics"))
    }

    fn message(&self, text: &str) {
        self.with(|received| match text {
            "gap" => {
                received.faults.gaps += 1;
                received.faults.note(|| format!("{} was told of a gap", self.name()));
            }
            _ => received.message(&self.name(), text),
        });
    }

    fn nonsense(&self, text: &str) {
        self.with(|received| {
            received.faults.nonsense += 1;
            received.faults.note(|| format!("{} got {text:?}", self.name()));
        });
    }

    /// Until the connection ends.
    fn subscribe(&self, mut connection: BufReader<TcpStream>, position: &mut String) -> Io<()> {
        match self.transport {
            Transport::LongPolling | Transport::Polling | Transport::Jsonp => {
                while self.stays() {
                    self.poll(&mut connection, position)?;
                    if self.transport == Transport::Polling {
                        std::thread::sleep(INTERVAL);
                    }
                }
                Ok(())
            }
            Transport::Streaming => self.stream(&mut connection, position),
            Transport::EventSource => self.events(&mut connection, position),
            Transport::WebSocket => self.frames(&mut connection, position),
        }
    }

    /// One poll on a connection that is kept.
    fn poll(&self, connection: &mut BufReader<TcpStream>, position: &mut String) -> Io<()> {
        let (location, argument, accept) = match self.transport {
            Transport::LongPolling => ("lp", "", "application/json"),
            Transport::Polling => ("poll", "", "application/json"),
            _ => ("jsonp", "&callback=take", "*/*"),
        };
        let target = format!("/{location}/{}?position={position}{argument}", self.channel);
        let request = format!("GET {target} HTTP/1.1\r\nHost: hub\r\nAccept: {accept}\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let (status, length) = self.head(connection)?;
        let mut body = vec![0; length];
        connection.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body);
        let understood = match (self.transport, status) {
            (Transport::Jsonp, 304) => true,
            (Transport::Jsonp, 200) => self.called(&body, position),
            (_, 200) => self.polled(&body, position),
            _ => false,
        };
        if !understood {
            self.nonsense(&format!("{status} {body}"));
        }
        Ok(())
    }

    fn polled(&self, body: &str, position: &mut String) -> bool {
        let Ok(polled) = serde_json::from_str::<Polled>(body) else { return false };
        if polled.gap {
            self.message("gap");
        }
        polled.messages.iter().for_each(|message| self.message(&message.data));
        *position = polled.position;
        true
    }

    fn called(&self, body: &str, position: &mut String) -> bool {
        let body = body.trim_end().trim_end_matches(';');
        let Some(list) = body.strip_prefix("take(").and_then(|rest| rest.strip_suffix(')')) else { return false };
        let Ok(messages) = serde_json::from_str::<Vec<Called>>(list) else { return false };
        for message in &messages {
            self.message(&message.text);
            advance(position, &message.time, &message.tag);
        }
        true
    }

    fn open(&self, connection: &mut BufReader<TcpStream>, location: &str, rest: &str, position: &str) -> Io<u16> {
        let target = format!("/{location}/{}?position={position}", self.channel);
        // Without chunks in HTTP/1.0.
        let version = if rest.is_empty() { "1.0" } else { "1.1" };
        let request = format!("GET {target} HTTP/{version}\r\nHost: hub\r\n{rest}\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        Ok(self.head(connection)?.0)
    }

    fn stream(&self, connection: &mut BufReader<TcpStream>, position: &mut String) -> Io<()> {
        self.expect(200, |this| this.open(connection, "stream", "", position))?;
        let mut line = String::new();
        // A line that the hub did not finish comes again.
        while self.stays() && read_line(connection, &mut line)? {
            self.positioned(&line, position);
        }
        Ok(())
    }

    fn expect(&self, wanted: u16, open: impl FnOnce(&Self) -> Io<u16>) -> Io<()> {
        let status = open(self)?;
        if status == wanted {
            return Ok(());
        }
        self.nonsense(&status.to_string());
        Err(ErrorKind::InvalidData.into())
    }

    /// `<tag> <time>;<text>`. A ping has no text.
    fn positioned(&self, line: &str, position: &mut String) {
        let Some((at, text)) = line.split_once(';').filter(|(_, text)| !text.trim().is_empty()) else { return };
        self.message(text);
        if let Some((tag, time)) = at.split_once(' ') {
            advance(position, time, tag);
        }
    }

    fn events(&self, connection: &mut BufReader<TcpStream>, position: &mut String) -> Io<()> {
        self.expect(200, |this| this.open(connection, "ev", "", position))?;
        let (mut line, mut id, mut event, mut data) = (String::new(), None, String::new(), None);
        while self.stays() && read_line(connection, &mut line)? {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("event", value)) => event = value.to_owned(),
                Some(("data", value)) => data = Some(value.to_owned()),
                _ if line.is_empty() => {
                    match (event.as_str(), data.take()) {
                        ("push.gap", _) => self.message("gap"),
                        ("", Some(text)) => self.message(&text),
                        _ => {}
                    }
                    if let Some(id) = id.take() {
                        *position = id;
                    }
                    event.clear();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn frames(&self, connection: &mut BufReader<TcpStream>, position: &mut String) -> Io<()> {
        const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        const TEXT: u8 = 1;
        const CLOSE: u8 = 8;
        const PING: u8 = 9;
        self.expect(101, |this| this.open(connection, "ws", UPGRADE, position))?;
        while self.stays() {
            let mut head = [0; 2];
            connection.read_exact(&mut head)?;
            let mut length = usize::from(head[1]);
            if length == 126 {
                let mut more = [0; 2];
                connection.read_exact(&mut more)?;
                length = u16::from_be_bytes(more).into();
            }
            let mut payload = vec![0; length];
            connection.read_exact(&mut payload)?;
            match head[0] & 0x0f {
                TEXT => self.positioned(&String::from_utf8_lossy(&payload), position),
                CLOSE => return Ok(()),
                // Masked with zeros.
                PING => {
                    let mut pong = vec![0x8a, 0x80 | head[1], 0, 0, 0, 0];
                    pong.extend(payload);
                    connection.get_mut().write_all(&pong)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Status, and length of the body.
    fn head(&self, connection: &mut BufReader<TcpStream>) -> Io<(u16, usize)> {
        let (mut line, mut status, mut length) = (String::new(), None, 0);
        while read_line(connection, &mut line)? {
            if line.is_empty() {
                return status.map(|status| (status, length)).ok_or_else(|| ErrorKind::InvalidData.into());
            }
            if status.is_none() {
                status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            } else if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
            }
        }
        Err(ErrorKind::UnexpectedEof.into())
    }
}

/// The next line without its end; false when there is none that has one.
fn read_line(from: &mut BufReader<TcpStream>, line: &mut String) -> Io<bool> {
    line.clear();
    from.read_line(line)?;
    let whole = line.ends_with('\n');
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(whole)
}

/// To what a message says of itself.
fn advance(position: &mut String, time: &str, tag: &str) {
    if let Ok(time) = httpdate::parse_http_date(time) {
        let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        *position = format!("{seconds}.{tag}");
    }
}
