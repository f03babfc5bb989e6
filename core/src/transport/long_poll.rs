//! Long-polling and polling: one answer with what there is, or with the position from which to ask again.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use serde_json::value::RawValue;

use super::render::Item;
use super::reply::{INVALID_TOKEN, Reply};
use super::{Farewell, Form, Layout, cors};
use crate::config::Config;
use crate::message::{Kind, Position};

/// The answer to a poll. Without messages and gap it says only where to go on: 304, in JSON an empty list.
pub(crate) fn answer(config: &Config, form: &Form, items: &[Item<'_>], position: Position, gap: bool) -> Reply {
    let location = &config.locations[usize::from(form.location)];
    let reply = |status| {
        let reply = cors::allow(Reply::new(status).position(position), location, form.origin);
        if gap { reply.header("X-Push-Gap", 1) } else { reply }
    };
    if form.layout == Layout::Json {
        return reply(200).body("application/json", json(items, position, gap));
    }
    let mut messages = Vec::new();
    if gap {
        let complete = items.is_empty().then_some(position);
        form.layout.append_gap(&mut messages, location, config.gap_message_text.as_deref(), (position, complete));
    }
    for item in items {
        if form.callback.is_some() && !messages.is_empty() {
            messages.push(b',');
        }
        form.layout.append(&mut messages, location, item);
    }
    if items.is_empty() && messages.is_empty() {
        return reply(304);
    }
    let mut body = Vec::with_capacity(messages.len());
    form.layout.append_frame(&mut body, location.header_template.as_deref());
    match &form.callback {
        None => body.append(&mut messages),
        Some(callback) => {
            body.extend_from_slice(callback.as_bytes());
            body.extend_from_slice(b"([");
            body.append(&mut messages);
            body.extend_from_slice(b"]);");
        }
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
        (Layout::Json, Farewell::Expired) => reply.body("application/json", json(&[], position, false)),
        (Layout::Json, Farewell::Disconnected(reason)) => {
            let answer = Answer { messages: Vec::new(), position, gap: false, disconnect: Some(reason) };
            reply.body("application/json", write(&answer))
        }
        _ => reply.body("text/plain; charset=utf-8", format!("{text}\n").into_bytes()),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    messages: Vec<JsonItem<'a>>,
    #[serde(serialize_with = "Position::as_text")]
    position: Position,
    gap: bool,
    /// Why it has to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect: Option<&'a str>,
}

#[derive(Serialize)]
struct JsonItem<'a> {
    id: i64,
    channel: &'a str,
    event: Option<&'a str>,
    data: Data<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    time: u32,
    tag: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Value(&'a RawValue),
    Text(&'a str),
    Base64(String),
}

fn json(items: &[Item<'_>], position: Position, gap: bool) -> Vec<u8> {
    let messages = items.iter().map(|item| {
        let (data, encoding) = data(item);
        let Position { time, tag } = item.position;
        JsonItem { id: item.id, channel: item.channel, event: item.event, data, encoding, time, tag }
    });
    write(&Answer { messages: messages.collect(), position, gap, disconnect: None })
}

fn write(answer: &Answer<'_>) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts, numbers and checked JSON can be written")
}

/// The value, the text, or base64. What a publisher calls JSON is checked here: another process may say anything.
fn data<'a>(item: &Item<'a>) -> (Data<'a>, Option<&'static str>) {
    if item.kind == Kind::Json
        && let Ok(value) = serde_json::from_slice(item.payload)
    {
        return (Data::Value(value), None);
    }
    match std::str::from_utf8(item.payload) {
        Ok(text) => (Data::Text(text), None),
        Err(_) => (Data::Base64(BASE64_STANDARD.encode(item.payload)), Some("base64")),
    }
}
