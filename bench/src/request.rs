//! The two requests of a run: a long-poll and a publication.

use crate::message;

/// The request of a subscriber. Kept as rendered: in a round all ask from the same position.
pub(crate) struct Poll {
    channel: String,
    last_modified: Vec<u8>,
    etag: Vec<u8>,
    request: Vec<u8>,
}

impl Poll {
    pub(crate) fn new(channel: &str) -> Poll {
        let mut poll =
            Poll { channel: channel.to_owned(), last_modified: Vec::new(), etag: Vec::new(), request: Vec::new() };
        poll.render();
        poll
    }

    /// The poll from the position that these two headers of an answer name; empty ones name none.
    pub(crate) fn from(&mut self, last_modified: &[u8], etag: &[u8]) -> &[u8] {
        if self.last_modified != last_modified || self.etag != etag {
            self.last_modified = last_modified.to_vec();
            self.etag = etag.to_vec();
            self.render();
        }
        &self.request
    }

    fn render(&mut self) {
        self.request = format!("GET /lp/{} HTTP/1.1\r\nHost: bench\r\n", self.channel).into_bytes();
        for (name, value) in [("If-Modified-Since: ", &self.last_modified), ("If-None-Match: ", &self.etag)] {
            if !value.is_empty() {
                self.request.extend_from_slice(name.as_bytes());
                self.request.extend_from_slice(value);
                self.request.extend_from_slice(b"\r\n");
            }
        }
        self.request.extend_from_slice(b"\r\n");
    }
}

/// The publication of message `counter`.
pub(crate) fn publication(channel: &str, counter: u32) -> Vec<u8> {
    let mut request = format!(
        "POST /pub?id={channel} HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        message::SIZE
    )
    .into_bytes();
    message::write(counter, &mut request);
    request
}
