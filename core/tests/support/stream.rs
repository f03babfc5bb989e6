//! Readers of answers without end: their bytes, and the events of an event stream as a browser has them.

use std::time::Instant;

use super::{Client, DEADLINE, Response, TestHub};

/// An open answer: chunks, or plain bytes until the end of the connection.
pub struct Stream {
    pub client: Client,
    chunked: bool,
    ended: bool,
    /// What of the body was read and not asked for.
    body: Vec<u8>,
}

impl TestHub {
    /// Opens a stream, and tells its head.
    pub fn stream_with(&self, path: &str, headers: &str) -> (Response, Stream) {
        let mut client = self.connect();
        client.get(path, headers);
        Stream::open(client)
    }

    pub fn stream(&self, path: &str) -> Stream {
        let (answer, stream) = self.stream_with(path, "");
        assert_eq!(answer.status, 200, "{answer:?}");
        stream
    }

    /// Opens an event stream as `EventSource` does.
    pub fn events(&self, path: &str) -> Events {
        self.events_with(path, "")
    }

    pub fn events_with(&self, path: &str, headers: &str) -> Events {
        let (answer, stream) = self.stream_with(path, &format!("Accept: text/event-stream\r\n{headers}"));
        assert_eq!(
            (answer.status, answer.header("Content-Type")),
            (200, Some("text/event-stream; charset=utf-8")),
            "{answer:?}"
        );
        Events { stream, last_id: String::new() }
    }
}

impl Stream {
    /// Goes on with the answer to a request that was sent.
    pub fn open(mut client: Client) -> (Response, Self) {
        let head = client.head();
        let chunked = head.header("Transfer-Encoding") == Some("chunked");
        assert_eq!(head.header("Content-Length"), None, "{head:?}");
        (head, Self { client, chunked, ended: false, body: Vec::new() })
    }

    /// Reads the next piece of the body. False when it is over.
    fn read_more(&mut self) -> bool {
        if self.ended {
            return false;
        }
        if !self.chunked {
            self.ended = !self.client.read_some();
            self.body.append(&mut self.client.bytes);
            return !self.ended;
        }
        let end = loop {
            match self.client.bytes.windows(2).position(|pair| pair == b"\r\n") {
                Some(end) => break end,
                None => self.client.read_more(),
            }
        };
        let line = self.client.take(end + 2);
        let size = std::str::from_utf8(&line[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.unwrap_or_else(|| panic!("no size of a chunk: {:?}", String::from_utf8_lossy(&line)));
        let chunk = self.client.take(size + 2);
        assert!(chunk.ends_with(b"\r\n"), "a chunk of {size} bytes that is longer");
        self.body.extend_from_slice(&chunk[..size]);
        self.ended = size == 0;
        !self.ended
    }

    /// The next bytes of the body have to be these.
    pub fn expect(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        loop {
            let both = self.body.len().min(text.len());
            if self.body[..both] != text[..both] || both == text.len() || !self.read_more() {
                break;
            }
        }
        let got = &self.body[..self.body.len().min(text.len())];
        assert_eq!(String::from_utf8_lossy(got), String::from_utf8_lossy(text));
        self.body.drain(..text.len());
    }

    /// The next bytes have to be these, and then line ends, at least one and all that have come with them. How many
    /// bytes it was.
    pub fn padded(&mut self, text: &str) -> usize {
        self.expect(text);
        let mut count = text.len();
        self.expect("\r\n");
        count += 2;
        while self.body.starts_with(b"\r\n") {
            self.expect("\r\n");
            count += 2;
        }
        count
    }

    /// The next byte of the body.
    pub fn byte(&mut self) -> char {
        while self.body.is_empty() {
            assert!(self.read_more(), "the stream ended");
        }
        self.body.remove(0).into()
    }

    /// The next bytes of the body up to this one and with it.
    pub fn until(&mut self, last: u8) -> Vec<u8> {
        let mut from = 0;
        loop {
            if let Some(at) = self.body[from..].iter().position(|&byte| byte == last) {
                return self.body.drain(..=from + at).collect();
            }
            from = self.body.len();
            assert!(self.read_more(), "the stream ended: {:?}", String::from_utf8_lossy(&self.body));
        }
    }

    /// The same; none at the end of the body, where nothing may be left.
    pub fn until_end_or(&mut self, last: u8) -> Option<Vec<u8>> {
        while self.body.is_empty() {
            if !self.read_more() {
                return None;
            }
        }
        Some(self.until(last))
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = self.until(b'\n');
        line.pop();
        String::from_utf8(line).expect("UTF-8")
    }

    /// The body has to be over; a chunked one in the proper way.
    pub fn expect_end(&mut self) {
        while self.read_more() {}
        assert_eq!(String::from_utf8_lossy(&self.body), "");
    }

    /// What comes until the body is over.
    pub fn rest(mut self) -> String {
        while self.read_more() {}
        String::from_utf8(self.body).expect("UTF-8")
    }

    /// True when nothing has come that was not asked for.
    pub fn is_silent(&mut self) -> bool {
        self.body.is_empty() && self.client.is_silent()
    }
}

/// An event stream, and the id from which a browser would resume.
pub struct Events {
    pub stream: Stream,
    pub last_id: String,
}

/// What a page is told.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: String,
    pub data: String,
    pub id: String,
}

impl Events {
    /// The next event, as the HTML standard reads a stream ("Interpreting an event stream").
    pub fn event(&mut self) -> Event {
        let end = Instant::now() + DEADLINE;
        let (mut kind, mut data): (String, Option<String>) = ("message".to_owned(), None);
        loop {
            let line = self.stream.line();
            assert!(Instant::now() < end, "only pings came, last {line:?}");
            assert!(!line.contains('\r'), "{line:?} is more than one line for a browser");
            if line.is_empty() {
                match data.take() {
                    Some(data) => return Event { kind, data, id: self.last_id.clone() },
                    None => kind = "message".to_owned(),
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => {}
                "id" => self.last_id = value.to_owned(),
                "event" => kind = value.to_owned(),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => panic!("no field of an event stream: {line:?}"),
            }
        }
    }

    /// The data of the next event, which has to be of the kind that pages get as `message`.
    pub fn data(&mut self) -> String {
        let event = self.event();
        assert_eq!(event.kind, "message", "{event:?}");
        event.data
    }

    /// Reads until the browser would resume from an id: the hub tells it at once.
    pub fn wait_for_id(&mut self) -> String {
        let end = Instant::now() + DEADLINE;
        while self.last_id.is_empty() {
            let line = self.stream.line();
            assert!(Instant::now() < end, "no id came, last {line:?}");
            if let Some(id) = line.strip_prefix("id: ") {
                self.last_id = id.to_owned();
            }
        }
        self.last_id.clone()
    }
}
