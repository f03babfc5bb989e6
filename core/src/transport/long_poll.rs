//! Long-polling and polling: one answer with what there is, or with the position from which to ask again.

use super::render::Item;
use super::reply::{INVALID_TOKEN, Reply};
use super::{Farewell, Form, Layout, cors, json};
use crate::config::Config;
use crate::message::Position;

/// Room for what a template puts around its messages, in most cases.
const ROOM: usize = 128;

/// The answer to a poll. Without messages and gap it says only where to go on: 304, in JSON an empty list.
pub(crate) fn answer(config: &Config, form: &Form, items: &[Item<'_>], position: Position, gap: bool) -> Reply {
    let location = &config.locations[usize::from(form.location)];
    let reply = |status| {
        let reply = cors::allow(Reply::new(status).position(position), location, form.origin);
        if gap { reply.header("X-Push-Gap", 1) } else { reply }
    };
    if form.layout == Layout::Json {
        return reply(200).body("application/json", json::answer(items, position, gap));
    }
    let mut body = Vec::with_capacity(ROOM + items.iter().map(|item| item.payload.len()).sum::<usize>());
    form.layout.append_frame(&mut body, location.header_template.as_deref());
    if let Some(callback) = &form.callback {
        body.extend_from_slice(callback.as_bytes());
        body.extend_from_slice(b"([");
    }
    let start = body.len();
    if gap {
        let complete = items.is_empty().then_some(position);
        form.layout.append_gap(&mut body, location, config.gap_message_text.as_deref(), (position, complete));
    }
    for item in items {
        if form.callback.is_some() && body.len() > start {
            body.push(b',');
        }
        form.layout.append(&mut body, location, item);
    }
    if items.is_empty() && body.len() == start {
        return reply(304);
    }
    if form.callback.is_some() {
        body.extend_from_slice(b"]);");
    }
    form.layout.append_frame(&mut body, location.footer_template.as_deref());
    let content_type = if form.callback.is_some() { "application/javascript" } else { &location.content_type };
    reply(200).body(content_type, body)
}

/// The answer to a long-poll whose time is over.
pub(crate) fn timed_out(config: &Config, form: &Form, position: Position) -> Reply {
    let item = Item::timed_out(position);
    let with_body = config.timeout_with_body && form.layout != Layout::Json;
    answer(config, form, if with_body { std::slice::from_ref(&item) } else { &[] }, position, false)
}

/// The answer to a long-poll that has to go. It is complete up to the position.
pub(crate) fn dismissed(config: &Config, form: &Form, position: Position, farewell: Farewell<'_>) -> Reply {
    let location = &config.locations[usize::from(form.location)];
    let (status, text) = match farewell {
        Farewell::Expired => (401, Farewell::EXPIRED),
        Farewell::Disconnected(reason) => (403, reason),
    };
    let reply = cors::allow(Reply::new(status).position(position), location, form.origin);
    let reply = match farewell {
        Farewell::Expired => reply.header("WWW-Authenticate", INVALID_TOKEN),
        Farewell::Disconnected(_) => reply,
    };
    match (form.layout, farewell) {
        (Layout::Json, Farewell::Expired) => reply.body("application/json", json::answer(&[], position, false)),
        (Layout::Json, Farewell::Disconnected(reason)) => {
            reply.body("application/json", json::disconnected(position, reason))
        }
        _ => reply.body("text/plain; charset=utf-8", format!("{text}\n").into_bytes()),
    }
}
