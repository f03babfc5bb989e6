//! What of a request is its credential.
//!
//! A token that a page puts into the address or a header is its own doing. A cookie is sent by the browser, whoever has it
//! make the request: so it counts only where that is known to be a page of this host or one that is let in by name.

use std::borrow::Cow;

use crate::config::{Handler, Location, Mode, Origins};
use crate::transport::request::Request;

/// See the module.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    None,
    Token(Cow<'a, [u8]>),
    /// More than one, and nobody knows which is meant.
    Ambiguous,
    /// A cookie, from somewhere else.
    Foreign,
}

/// The name of the argument.
const ARGUMENT: &str = "token";
/// The name of the cookie.
const COOKIE: &[u8] = b"push_token";

pub(super) fn credential<'a>(location: &Location, request: &Request<'a>) -> Credential<'a> {
    let bearers = request.all("authorization").filter_map(bearer).map(Cow::Borrowed);
    let mut own = request.arguments(ARGUMENT).chain(bearers).filter(|token| !token.is_empty());
    match (own.next(), own.next()) {
        (Some(token), None) => return Credential::Token(token),
        (Some(_), Some(_)) => return Credential::Ambiguous,
        (None, _) => {}
    }
    // A script is run by any page that names its address.
    let jsonp = request.argument("callback").is_some();
    let mut cookies = request.all("cookie").flat_map(cookies).filter(|token| !jsonp && !token.is_empty());
    match (cookies.next(), cookies.next()) {
        (None, _) => Credential::None,
        (Some(_), Some(_)) => Credential::Ambiguous,
        (Some(_), None) if !is_at_home(location, request) => Credential::Foreign,
        (Some(token), None) => Credential::Token(token.into()),
    }
}

/// The token of an Authorization header, unless it is of another scheme.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The values of our cookie in a Cookie header.
fn cookies(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b';').filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE)?.strip_prefix(b"="))
}

/// Whether the request comes from a page of this host or of a listed origin, as far as its browser says. Browsers always
/// say it of WebSockets, and of frames and scripts in a header of their own.
pub(super) fn is_at_home(location: &Location, request: &Request<'_>) -> bool {
    let mut origins = request.all("origin");
    let (Some(origin), others) = (origins.next(), origins.next()) else {
        let elsewhere = request.header("sec-fetch-site") == Some(b"cross-site");
        return location.handler != Handler::Subscriber(Mode::WebSocket) && !elsewhere;
    };
    if others.is_some() {
        return false;
    }
    let listed = match &location.allowed_origins {
        Some(Origins::Listed(list)) => list.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin)),
        // Who lets everybody in names nobody.
        Some(Origins::All) | None => false,
    };
    listed || crate::transport::cors::is_own(origin, request)
}
