//! Messages as JSON: an object for each, in the list that answers a poll or one by one on a stream.

use std::borrow::Cow;
use std::io::Write;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Farewell;
use super::render::Item;
use crate::error::Error;
use crate::message::{Kind, Position};

/// The answer to a poll.
pub(crate) fn answer(items: &[Item<'_>], position: Position, gap: bool) -> Vec<u8> {
    write(&Answer { messages: items.iter().map(Object::from).collect(), position, gap, disconnect: None })
}

/// The answer to a poll that has to go.
pub(crate) fn disconnected(position: Position, reason: &str) -> Vec<u8> {
    write(&Answer { messages: Vec::new(), position, gap: false, disconnect: Some(reason) })
}

fn write(answer: &Answer<'_>) -> Vec<u8> {
    serde_json::to_vec(answer).expect("texts, numbers and checked JSON can be written")
}

/// Appends a message of a stream, in one line.
pub(crate) fn append_message(out: &mut Vec<u8>, item: &Item<'_>) {
    let start = out.len();
    serde_json::to_writer(&mut *out, &Object::from(item)).expect("texts, numbers and checked JSON can be written");
    // A publisher's JSON may have line breaks, but only where a blank means the same.
    out[start..].iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
}

/// What a WebSocket publishes in JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publication<'a> {
    /// Where, of the connection's channels.
    #[serde(borrow)]
    pub(crate) channel: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) data: &'a RawValue,
    #[serde(borrow, default)]
    pub(crate) event: Option<Cow<'a, str>>,
}

impl<'a> Publication<'a> {
    /// The publication in a text frame; else what is wrong with it.
    pub(crate) fn parse(frame: &'a [u8]) -> Result<Self, Error> {
        serde_json::from_slice(frame).map_err(|error| {
            let form = r#"{"channel":"...","data":...}, with "event":"..." at will"#;
            Error::InvalidArgument(format!("with format=json a frame must be {form}: {error}"))
        })
    }
}

/// Appends what says that messages before the position are missing.
pub(crate) fn append_gap(out: &mut Vec<u8>, position: Position) {
    write!(out, r#"{{"gap":true,"position":"{position}"}}"#).expect("writing to memory");
}

/// Appends what says how far the subscriber is complete, if that is known: the sign that the stream is alive.
pub(crate) fn append_position(out: &mut Vec<u8>, position: Option<Position>) {
    match position {
        Some(position) => write!(out, r#"{{"position":"{position}"}}"#),
        None => out.write_all(b"{}"),
    }
    .expect("writing to memory");
}

/// Appends the last words of a stream that has to go, and how far it is complete.
pub(crate) fn append_farewell(out: &mut Vec<u8>, farewell: Farewell<'_>, complete: Position) {
    match farewell {
        Farewell::Expired => write!(out, r#"{{"expired":true,"position":"{complete}"}}"#),
        Farewell::Disconnected(reason) => {
            let reason = serde_json::Value::from(reason);
            write!(out, r#"{{"disconnect":{reason},"position":"{complete}"}}"#)
        }
    }
    .expect("writing to memory");
}

#[derive(Serialize)]
struct Answer<'a> {
    messages: Vec<Object<'a>>,
    #[serde(serialize_with = "Position::as_text")]
    position: Position,
    gap: bool,
    /// Why it has to go.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnect: Option<&'a str>,
}

#[derive(Serialize)]
struct Object<'a> {
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

impl<'a> From<&Item<'a>> for Object<'a> {
    fn from(item: &Item<'a>) -> Self {
        let (data, encoding) = data(item);
        let Position { time, tag } = item.position;
        Self { id: item.id, channel: item.channel, event: item.event, data, encoding, time, tag }
    }
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
