//! Long-polling and polling: one answer with what there is, or with the position from which to ask again.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::Form;
use super::reply::Reply;
use crate::config::Location;
use crate::message::{Kind, Message, Position};

/// Tells subscribers that their channel is gone.
const DELETED: i64 = -2;

/// What an answer carries for one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    id: i64,
    channel: &'a str,
    event: Option<&'a str>,
    kind: Kind,
    payload: &'a [u8],
    position: Position,
}

impl<'a> From<&'a Message> for Item<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            id: i64::try_from(message.id).unwrap_or(i64::MAX),
            channel: &message.channel,
            event: message.event.as_deref(),
            kind: message.kind,
            payload: &message.payload,
            position: message.position,
        }
    }
}

impl<'a> Item<'a> {
    /// The notice of a channel's deletion.
    pub(crate) fn deleted(channel: &'a str, text: &'a [u8], position: Position) -> Self {
        Self { id: DELETED, channel, event: None, kind: Kind::Bytes, payload: text, position }
    }
}

/// The answer to a poll. Without messages and gap it says only where to go on: 304, in JSON an empty list.
pub(crate) fn answer<'a>(
    location: &Location,
    form: Form,
    items: impl Iterator<Item = Item<'a>>,
    position: Position,
    gap: bool,
) -> Reply {
    let items: Vec<Item<'_>> = items.collect();
    let reply = if items.is_empty() && !form.json { Reply::new(304) } else { Reply::new(200) };
    let reply = reply.position(position);
    let reply = if gap { reply.header("X-Push-Gap", 1) } else { reply };
    if form.json {
        return reply.body("application/json", json(&items, position, gap));
    }
    if items.is_empty() {
        return reply;
    }
    let payloads: Vec<&[u8]> = items.iter().map(|item| item.payload).collect();
    reply.body(&location.content_type, payloads.concat())
}

#[derive(Serialize)]
struct Answer<'a> {
    messages: Vec<JsonItem<'a>>,
    #[serde(serialize_with = "as_text")]
    position: Position,
    gap: bool,
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

fn as_text<S: Serializer>(position: &Position, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(position)
}

fn json(items: &[Item<'_>], position: Position, gap: bool) -> Vec<u8> {
    let messages = items.iter().map(|item| {
        let (data, encoding) = data(item);
        let Position { time, tag } = item.position;
        JsonItem { id: item.id, channel: item.channel, event: item.event, data, encoding, time, tag }
    });
    let answer = Answer { messages: messages.collect(), position, gap };
    serde_json::to_vec(&answer).expect("texts, numbers and checked JSON can be written")
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
