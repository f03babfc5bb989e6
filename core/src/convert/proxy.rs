//! What takes the place of the module's directives in nginx.conf.

use super::directives::{time, time_text};
use super::site::{Handler, Line};
use super::syntax::Place;

/// The lines for one location.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) head: String,
    pub(super) place: String,
    pub(super) lines: Vec<String>,
    /// Whether it goes to the admin listener.
    pub(super) admin: bool,
    /// Whether access rules were added because nginx has none.
    pub(super) closed: bool,
}

impl Proxy {
    pub(super) fn of(head: &str, place: &Place, handler: Handler, lines: &[Line], guarded: bool) -> Self {
        let admin = matches!(handler, Handler::Publisher | Handler::Statistics);
        let closed = admin && !guarded;
        let mut out = Vec::new();
        let mut line = |text: &str| out.push(text.to_owned());
        if closed {
            ["allow 127.0.0.1;", "allow ::1;", "deny all;"].into_iter().for_each(&mut line);
        }
        line(if admin { "proxy_pass http://push_admin;" } else { "proxy_pass http://push;" });
        line("proxy_http_version 1.1;");
        if handler == Handler::WebSocket {
            line("proxy_set_header Upgrade $http_upgrade;");
            line("proxy_set_header Connection \"upgrade\";");
            // The origin of a page is compared with it.
            line("proxy_set_header Host $http_host;");
        } else {
            line("proxy_set_header Connection \"\";");
        }
        if !admin {
            line("proxy_buffering off;");
            line(&format!("proxy_read_timeout {};", read_timeout(silence(handler, lines))));
        }
        Self { head: head.to_owned(), place: place.to_string(), lines: out, admin, closed }
    }
}

/// How long a subscriber may hear nothing, in milliseconds; `None` when nothing bounds it.
fn silence(handler: Handler, lines: &[Line]) -> Option<u64> {
    let value = |wanted: &str| {
        lines.iter().find_map(|line| match line {
            Line::Set { key, value, .. } if *key == wanted => Some(value.as_str()),
            _ => None,
        })
    };
    match handler {
        Handler::Publisher | Handler::Statistics | Handler::Polling => Some(0),
        Handler::LongPolling => value("longpolling_connection_ttl").and_then(time),
        Handler::Streaming | Handler::EventSource | Handler::WebSocket => match value("ping_message_interval") {
            Some("none") => value("subscriber_connection_ttl").and_then(time),
            Some(interval) => time(interval),
            None => Some(15_000),
        },
    }
}

/// Above this silence by far enough.
fn read_timeout(silence: Option<u64>) -> String {
    match silence {
        None => "1d".to_owned(),
        Some(silence) => time_text((silence + 30_000).max(60_000)),
    }
}
