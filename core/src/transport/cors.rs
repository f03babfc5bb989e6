//! Pages of other origins: who may read an answer, and who may open a WebSocket.

use super::reply::Reply;
use super::request::Request;
use crate::config::{Handler, Location, Mode, Origins};

/// The origin of a request, as its location sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The location names none.
    Unset,
    /// The location lets all in.
    All,
    /// The one at this index of the location's list.
    Listed(u16),
    /// None of those in the list, or no origin.
    Unlisted,
}

pub(crate) fn origin(location: &Location, request: &Request<'_>) -> Origin {
    match &location.allowed_origins {
        None => Origin::Unset,
        Some(Origins::All) => Origin::All,
        Some(Origins::Listed(list)) => {
            let sent = request.header("origin").unwrap_or_default();
            let found = list.iter().position(|origin| origin.as_bytes().eq_ignore_ascii_case(sent));
            found.and_then(|index| u16::try_from(index).ok()).map_or(Origin::Unlisted, Origin::Listed)
        }
    }
}

/// Adds what a browser asks for before it shows the answer to a page of another origin.
pub(crate) fn allow(reply: Reply, location: &Location, origin: Origin) -> Reply {
    let methods = match location.handler {
        Handler::Subscriber(Mode::WebSocket) | Handler::Statistics => return reply,
        Handler::Subscriber(_) | Handler::Members => "GET",
        Handler::Publisher { admin: false } => "GET, POST, PUT",
        Handler::Publisher { admin: true } => "GET, POST, PUT, DELETE",
    };
    let reply = match (origin, &location.allowed_origins) {
        (Origin::All, _) => reply.field("Access-Control-Allow-Origin", "*"),
        (Origin::Listed(index), Some(Origins::Listed(list))) => {
            // A cookie counts there, too.
            let reply = reply.field("Vary", "Origin").field("Access-Control-Allow-Credentials", "true");
            reply.field("Access-Control-Allow-Origin", &list[usize::from(index)])
        }
        // The answer to another origin would be another one.
        (Origin::Unlisted, _) => return reply.field("Vary", "Origin"),
        _ => return reply,
    };
    reply
        .field("Access-Control-Allow-Methods", methods)
        .field(
            "Access-Control-Allow-Headers",
            "Authorization,If-Modified-Since,If-None-Match,Etag,Event-Id,Event-Type,Last-Event-ID,X-Nginx-PushStream-Mode",
        )
        .field("Access-Control-Expose-Headers", "Etag, Last-Modified, Retry-After, X-Push-Gap, X-Nginx-PushStream-Explain")
}

/// Whether a WebSocket may be opened from there: by programs, by pages of the same host, and by listed origins.
pub(crate) fn may_open(origin: Origin, request: &Request<'_>) -> bool {
    request.header("origin").filter(|_| origin == Origin::Unlisted).is_none_or(|sent| is_own(sent, request))
}

/// Whether the origin is that of the host that the request was sent to.
pub(crate) fn is_own(origin: &[u8], request: &Request<'_>) -> bool {
    let host = origin.splitn(2, |&byte| byte == b':').nth(1).and_then(|rest| rest.strip_prefix(b"//"));
    host.is_some_and(|host| request.header("host").is_some_and(|own| own.eq_ignore_ascii_case(host)))
}
