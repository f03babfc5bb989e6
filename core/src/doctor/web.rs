//! Requests as a browser makes them, through whatever stands before the hub: does an answer come at once, and does a
//! connection live as long as it shall?

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::{Finding, ok, problem, warning};
use crate::channel::ChannelOptions;
use crate::client::Client;
use crate::config::{Config, Handler, Location, Mode};
use crate::error::Error;
use crate::message::NewMessage;

/// What passes a proxy at once is there within this time.
const AT_ONCE: Duration = Duration::from_secs(2);
/// What the other end may be late.
const GRACE: Duration = Duration::from_secs(3);
/// The text of the message that is published.
const TEXT: &str = "push-hub-doctor";

/// An address, taken apart.
struct Url<'a> {
    whole: &'a str,
    /// Host and port as they stand there.
    authority: &'a str,
    path: &'a str,
}

pub(super) fn examine(config: &Config, hub: &mut Client, address: &str, say: &mut dyn FnMut(Finding)) {
    let done = parse(address).and_then(|url| {
        let location = location(config, &url)?;
        hub.set_namespace(&location.namespace);
        let ttl = Some(600);
        let channel =
            hub.create_channel(None, ChannelOptions { ttl, ..ChannelOptions::default() }).map_err(failed(&url))?;
        let done = visit(config, hub, &url, location, &channel, say);
        let _ = hub.delete_channel(&channel, None);
        done
    });
    if let Err(finding) = done {
        say(finding);
    }
}

fn failed(url: &Url<'_>) -> impl Fn(Error) -> Finding {
    let url = url.whole.to_owned();
    move |error| problem(format!("{url}: not tried: {error}"))
}

fn parse(address: &str) -> Result<Url<'_>, Finding> {
    let Some(rest) = address.strip_prefix("http://") else {
        return Err(problem(format!(
            "{address}: only http:// can be tried: give the address of the same location without TLS, such as \
             http://127.0.0.1/sub/"
        )));
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.ends_with('/') { path } else { return Err(problem(format!("{address}: must end with /"))) };
    Ok(Url { whole: address, authority, path })
}

/// The location of the hub that nginx passes this to, where the paths are the same.
fn location<'a>(config: &'a Config, url: &Url<'_>) -> Result<&'a Location, Finding> {
    let subscribes = |location: &&Location| location.public && matches!(location.handler, Handler::Subscriber(_));
    let here = config.locations.iter().filter(subscribes).filter(|location| url.path.starts_with(&location.path));
    here.max_by_key(|location| location.path.len()).ok_or_else(|| {
        let paths: Vec<_> = config.locations.iter().filter(subscribes).map(|location| location.path.as_str()).collect();
        problem(format!("{}: the hub has no such location for subscribers, only {}", url.whole, paths.join(" ")))
    })
}

fn visit(
    config: &Config,
    hub: &mut Client,
    url: &Url<'_>,
    location: &Location,
    channel: &str,
    say: &mut dyn FnMut(Finding),
) -> Result<(), Finding> {
    let Handler::Subscriber(mode) = location.handler else { unreachable!("only those were looked for") };
    match mode {
        Mode::Polling => {
            let mut answer = Exchange::open(url, channel, mode)?;
            answer.expect_status(&["304"], AT_ONCE)?;
            say(ok(format!("{}: a poll is answered", url.whole)));
        }
        Mode::LongPolling => {
            delivered(Exchange::open(url, channel, mode)?, hub, channel)?;
            say(ok(format!("{}: a long-poll is answered as soon as there is a message", url.whole)));
            say(held(url, location, channel, config)?);
        }
        Mode::Streaming | Mode::EventSource | Mode::WebSocket => {
            let mut stream = Exchange::open(url, channel, mode)?;
            let status = if mode == Mode::WebSocket { "101" } else { "200" };
            stream.expect_status(&[status], AT_ONCE)?;
            let stream = delivered(stream, hub, channel)?;
            say(ok(format!("{}: a stream begins at once, and messages come as they are published", url.whole)));
            say(pinged(stream, location)?);
        }
    }
    Ok(())
}

/// Publishes when the subscriber has its seat, and waits for the text.
fn delivered<'a>(mut exchange: Exchange<'a>, hub: &mut Client, channel: &str) -> Result<Exchange<'a>, Finding> {
    let url = exchange.url;
    let deadline = Instant::now() + AT_ONCE;
    while hub.channel_info(channel).map_err(failed(url))?.is_none_or(|info| info.subscribers == 0) {
        // An answer before there is a message is one of somebody else.
        if exchange.read(Instant::now() + Duration::from_millis(20), |_| false) == Heard::End {
            return Err(exchange.unexpected());
        }
        if Instant::now() > deadline {
            return Err(problem(format!(
                "{}: the request does not get to this hub within {} s: see that proxy_pass leads to one of its listen \
                 addresses; it answered: {}",
                url.whole,
                AT_ONCE.as_secs(),
                exchange.first_line()
            )));
        }
    }
    let message = NewMessage { store: false, ..NewMessage::new(TEXT.as_bytes()) };
    hub.publish(channel, &message).map_err(failed(url))?;
    let has_text = |bytes: &[u8]| bytes.windows(TEXT.len()).any(|part| part == TEXT.as_bytes());
    match exchange.read(Instant::now() + AT_ONCE, has_text) {
        Heard::Wanted => Ok(exchange),
        Heard::End => Err(exchange.unexpected()),
        Heard::Silence => Err(problem(format!(
            "{}: the message does not come through within {} s: the proxy keeps it back; proxy_buffering off in this location",
            url.whole,
            AT_ONCE.as_secs()
        ))),
    }
}

/// A long-poll without a message, to its end.
fn held(url: &Url<'_>, location: &Location, channel: &str, config: &Config) -> Result<Finding, Finding> {
    let Some(hold) = location.longpolling_connection_ttl.or(location.subscriber_connection_ttl) else {
        return Ok(warning(format!("{}: a long-poll has no end that could be waited for", url.whole)));
    };
    let mut exchange = Exchange::open(url, channel, Mode::LongPolling)?;
    let begun = exchange.begun;
    let expected: &[&str] = if config.timeout_with_body { &["200"] } else { &["304"] };
    match exchange.expect_status(expected, hold + GRACE) {
        Ok(()) if begun.elapsed() + Duration::from_secs(1) < hold => Err(problem(format!(
            "{}: a long-poll ends after {} s instead of {} s: something before the hub answers in its place",
            url.whole,
            seconds(begun.elapsed()),
            hold.as_secs()
        ))),
        Ok(()) => Ok(ok(format!("{}: a long-poll without a message is held for {} s", url.whole, hold.as_secs()))),
        Err(Finding { text, .. }) => Err(problem(format!(
            "{text}, after {} s, and longpolling_connection_ttl is {} s: proxy_read_timeout and its like must be longer",
            seconds(begun.elapsed()),
            hold.as_secs()
        ))),
    }
}

/// A stream without a message, to its next ping.
fn pinged(mut stream: Exchange<'_>, location: &Location) -> Result<Finding, Finding> {
    let url = stream.url.whole;
    let Some(interval) = location.ping_message_interval else {
        return Ok(warning(format!("{url}: a stream has no pings (ping_message_interval), a proxy will cut it")));
    };
    let (begun, read) = (Instant::now(), stream.bytes.len());
    match stream.read(begun + interval + GRACE, |bytes| bytes.len() > read) {
        Heard::Wanted => Ok(ok(format!("{url}: a silent stream lives until its ping, {} s", interval.as_secs()))),
        Heard::End => Err(problem(format!(
            "{url}: a silent stream is cut after {} s, before its ping: proxy_read_timeout must be above \
             ping_message_interval = {} s",
            seconds(begun.elapsed()),
            interval.as_secs()
        ))),
        Heard::Silence => Err(problem(format!(
            "{url}: no ping within {} s: the proxy keeps it back; proxy_buffering off in this location",
            (interval + GRACE).as_secs()
        ))),
    }
}

/// How a wait for an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Wanted,
    End,
    Silence,
}

/// A request and what came of it so far.
struct Exchange<'a> {
    url: &'a Url<'a>,
    socket: TcpStream,
    bytes: Vec<u8>,
    begun: Instant,
}

impl<'a> Exchange<'a> {
    fn open(url: &'a Url<'a>, channel: &str, mode: Mode) -> Result<Self, Finding> {
        let begun = Instant::now();
        let cannot = |error: std::io::Error| {
            problem(format!("{}: cannot be connected to: {error}: start nginx, or give its address", url.whole))
        };
        let with_port = match url.authority.rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => url.authority.to_owned(),
            _ => format!("{}:80", url.authority),
        };
        let address = with_port.to_socket_addrs().map_err(cannot)?.next();
        let address = address.ok_or_else(|| cannot(ErrorKind::NotFound.into()))?;
        let mut socket = TcpStream::connect_timeout(&address, AT_ONCE).map_err(cannot)?;
        let more = match mode {
            Mode::WebSocket => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: cHVzaC1odWItZG9jdG9yIQ==\r\n"
            }
            Mode::EventSource => "Accept: text/event-stream\r\nConnection: close\r\n",
            _ => "Connection: close\r\n",
        };
        let request = format!("GET {}{channel} HTTP/1.1\r\nHost: {}\r\n{more}\r\n", url.path, url.authority);
        socket.write_all(request.as_bytes()).map_err(cannot)?;
        Ok(Self { url, socket, bytes: Vec::new(), begun })
    }

    /// Reads until what has come is `wanted`, or the connection or the time ends.
    fn read(&mut self, deadline: Instant, wanted: impl Fn(&[u8]) -> bool) -> Heard {
        loop {
            if wanted(&self.bytes) {
                return Heard::Wanted;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            let mut part = [0; 4096];
            match self.socket.set_read_timeout(Some(left)).and_then(|()| self.socket.read(&mut part)) {
                Ok(0) => return Heard::End,
                Ok(length) => self.bytes.extend_from_slice(&part[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Heard::End,
            }
        }
    }

    fn expect_status(&mut self, expected: &[&str], within: Duration) -> Result<(), Finding> {
        match self.read(self.begun + within, |bytes| bytes.windows(4).any(|end| end == b"\r\n\r\n")) {
            Heard::Wanted if expected.contains(&self.status().as_str()) => Ok(()),
            Heard::Wanted | Heard::End => Err(self.unexpected()),
            Heard::Silence => Err(problem(format!(
                "{}: nothing comes within {} s: the proxy keeps the answer back (proxy_buffering off in this location), or does \
                 not lead to this hub (proxy_pass)",
                self.url.whole,
                within.as_secs()
            ))),
        }
    }

    fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match text.lines().next() {
            Some(line) => line.to_owned(),
            None => "nothing".to_owned(),
        }
    }

    fn status(&self) -> String {
        self.first_line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// An answer that is not the hub's, or none.
    fn unexpected(&self) -> Finding {
        let cure = match self.status().as_str() {
            "502" => {
                ": nginx does not reach the hub; its user must be in the group of the socket, and proxy_pass lead there"
            }
            "504" => ": nginx did not wait for the hub",
            "404" => ": no location of nginx leads to the hub from here, or nginx changes the path",
            "400" | "426" => {
                ": nginx must pass Upgrade and Connection on for WebSockets, and speak HTTP/1.1 to the hub"
            }
            "403" => {
                ": another hub answers than the one that was asked to make the channel; see proxy_pass and --config"
            }
            _ => "",
        };
        problem(format!("{}: the answer is {}{cure}", self.url.whole, self.first_line()))
    }
}

/// To the nearest second, as time-outs are set.
fn seconds(time: Duration) -> u64 {
    (time + Duration::from_millis(500)).as_secs()
}
