//! What takes the place of the module's directives in nginx.conf.

use super::site::{Handler, Line, read_timeout, silence};
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
