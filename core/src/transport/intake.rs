//! Requests that are not plain: hyper reads them from their first byte, and gives the socket back.
//!
//! hyper never answers here, except to say that it cannot parse. So nothing of an answer is ever left in it, and a request
//! is served the same way whoever parsed it.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use httparse::Header;
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::rt::ReadBufCursor;
use hyper::service::service_fn;
use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::reply::Framing;
use super::request::{MAX_HEAD, MAX_HEADERS, Request};
use crate::readiness::watch;

/// A connection that comes back.
pub(crate) struct Intake {
    pub(crate) socket: OwnedFd,
    /// Bytes behind the request that were already read.
    pub(crate) unread: Bytes,
    pub(crate) what: What,
}

/// What was read.
pub(crate) enum What {
    Request(Box<OwnedRequest>),
    /// Not served: answer with this status, then close.
    Refused(u16, &'static str),
    /// hyper said what was wrong, or the client left: close.
    Over,
}

/// A request on its own.
pub(crate) struct OwnedRequest {
    head: Parts,
    body: Bytes,
}

impl OwnedRequest {
    /// Calls `f` with the request as locations see it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&Request<'_>) -> T) -> T {
        let fields = self.head.headers.iter();
        let headers: Vec<Header<'_>> =
            fields.map(|(name, value)| Header { name: name.as_str(), value: value.as_bytes() }).collect();
        let target = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
        let http10 = self.head.version == hyper::Version::HTTP_10;
        let mut request = Request::new(self.head.method.as_str(), target, http10, &headers, &self.body);
        // A length beside it may have meant another end of the request to a proxy in between.
        request.framing.keep_alive &= !self.head.headers.contains_key("transfer-encoding");
        f(&request)
    }

    pub(crate) fn framing(&self) -> Framing {
        self.with(|request| request.framing)
    }
}

/// Reads one request whose first bytes are at hand. `limit` bounds its body, `time` all of it.
pub(crate) async fn read_request(socket: OwnedFd, first: Vec<u8>, limit: usize, time: Duration) -> io::Result<Intake> {
    let output = Rc::new(Output::default());
    let socket = watch(socket, Interest::READABLE | Interest::WRITABLE)?;
    let io = Io { socket, first: first.into(), output: output.clone() };
    let result: Rc<RefCell<Option<What>>> = Rc::default();
    let slot = result.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let slot = slot.clone();
        Box::pin(async move {
            let what = collect(request, limit).await;
            slot.replace(Some(what));
            pending::<Result<hyper::Response<String>, hyper::Error>>().await
        })
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.half_close(true).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let mut connection = server.serve_connection(io, service);
    let read = tokio::time::timeout(
        time,
        poll_fn(|cx| {
            let over = connection.poll_without_shutdown(cx);
            // hyper may still hold a 100 Continue that the socket did not take.
            if result.borrow().is_some() && !output.blocked.get() {
                return Poll::Ready(Ok(()));
            }
            over
        }),
    )
    .await;
    let what = match (result.take(), read) {
        (Some(what), _) => what,
        (None, Ok(Err(error))) if error.is_parse_too_large() && !output.any.get() => {
            What::Refused(431, "The head of the request is larger than 16k or has more than 100 fields.")
        }
        (None, Ok(Err(error))) if error.is_parse() && !output.any.get() => {
            What::Refused(400, "The request is not HTTP/1.")
        }
        (None, Ok(_)) => What::Over,
        (None, Err(_)) => What::Refused(408, "The request did not arrive in time (header_timeout)."),
    };
    let parts = connection.into_parts();
    let unread =
        if parts.io.first.is_empty() { parts.read_buf } else { [parts.read_buf, parts.io.first].concat().into() };
    Ok(Intake { socket: parts.io.socket.into_inner(), unread, what })
}

async fn collect(request: hyper::Request<Incoming>, limit: usize) -> What {
    let (head, mut body) = request.into_parts();
    const TOO_LARGE: What = What::Refused(413, "The body is larger than max_message_size allows.");
    if head.headers.get_all("host").iter().count() > 1 {
        return What::Refused(400, "The request has several Host headers.");
    }
    if body.size_hint().lower() > limit as u64 {
        return TOO_LARGE;
    }
    // Copied together as it comes: kept as frames, each byte of a body in tiny chunks would take forty.
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return What::Refused(400, "The body is broken.") };
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > limit {
            return TOO_LARGE;
        }
        bytes.extend_from_slice(data);
    }
    What::Request(Box::new(OwnedRequest { head, body: bytes.into() }))
}

/// A socket of either family behind bytes that were already read from it.
struct Io {
    socket: AsyncFd<OwnedFd>,
    first: Bytes,
    output: Rc<Output>,
}

/// What hyper wrote.
#[derive(Default)]
struct Output {
    any: Cell<bool>,
    /// The last write did not take everything.
    blocked: Cell<bool>,
}

impl hyper::rt::Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut out: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let n = self.first.len().min(out.remaining());
            out.put_slice(&self.first[..n]);
            self.first.advance(n);
            return Poll::Ready(Ok(()));
        }
        let mut buffer = [0; 8 << 10];
        let room = out.remaining().min(buffer.len());
        loop {
            let mut guard = ready!(self.socket.poll_read_ready(cx))?;
            let read = guard.try_io(|socket| Ok(rustix::io::read(socket, &mut buffer[..room])?));
            if let Ok(read) = read {
                out.put_slice(&buffer[..read?]);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            self.output.blocked.set(true);
            let mut guard = ready!(self.socket.poll_write_ready(cx))?;
            if let Ok(sent) = guard.try_io(|socket| Ok(send(socket, bytes, SendFlags::NOSIGNAL)?)) {
                self.output.any.set(true);
                self.output.blocked.set(matches!(sent, Ok(sent) if sent < bytes.len()));
                return Poll::Ready(sent);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
