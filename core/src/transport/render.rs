//! A message in the layout of its location.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};

use super::{Farewell, json};
use crate::config::{Escape, Location, Part, Template};
use crate::message::{Kind, Message, Position};

/// Ids of what the hub itself says to subscribers.
const PING: i64 = -1;
const DELETED: i64 = -2;
const TIMED_OUT: i64 = -3;
const GAP: i64 = -4;
const FAREWELL: i64 = -5;
const PRESENCE: i64 = -6;

/// What an answer carries for one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) id: i64,
    pub(crate) channel: &'a str,
    pub(crate) event: Option<&'a str>,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) kind: Kind,
    pub(crate) payload: &'a [u8],
    pub(crate) position: Position,
}

impl<'a> From<&'a Message> for Item<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            id: if message.is_presence() { PRESENCE } else { i64::try_from(message.id).unwrap_or(i64::MAX) },
            channel: &message.channel,
            event: message.event.as_deref(),
            event_id: message.event_id.as_deref(),
            kind: message.kind,
            payload: &message.payload,
            position: message.position,
        }
    }
}

impl<'a> Item<'a> {
    fn notice(id: i64, channel: &'a str, payload: &'a [u8], position: Position) -> Self {
        Self { id, channel, event: None, event_id: None, kind: Kind::Bytes, payload, position }
    }

    /// The notice of a channel's deletion.
    pub(crate) fn deleted(channel: &'a str, text: &'a [u8], position: Position) -> Self {
        Self::notice(DELETED, channel, text, position)
    }

    /// A sign of life.
    pub(crate) fn ping(text: &'a str) -> Self {
        Self::notice(PING, "", text.as_bytes(), Position::START)
    }

    /// The end of a long-poll that got nothing.
    pub(crate) fn timed_out(position: Position) -> Self {
        Self::notice(TIMED_OUT, "", b"Timed out", position)
    }

    /// The subscriber has to go.
    pub(crate) fn farewell(event: &'a str, text: &'a str, position: Position) -> Self {
        Self { event: Some(event), ..Self::notice(FAREWELL, "", text.as_bytes(), position) }
    }

    /// Messages before the position are missing.
    pub(crate) fn gap(text: &'a str, position: Position) -> Self {
        Self::notice(GAP, "", text.as_bytes(), position)
    }
}

/// How messages stand in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// One behind the other, each as the location's template has it.
    Template,
    /// As an event stream.
    Events,
    /// One JSON document; on a stream one for each message, in a line of its own.
    Json,
    /// As an event stream whose data are JSON objects. What the hub itself says is data, too.
    JsonEvents,
}

impl Layout {
    pub(crate) fn is_events(self) -> bool {
        matches!(self, Self::Events | Self::JsonEvents)
    }

    /// Appends a message.
    pub(crate) fn append(self, out: &mut Vec<u8>, location: &Location, item: &Item<'_>) {
        match self {
            Self::Events => append_event(out, location, item),
            Self::Template => append_text(out, &location.message_template, item, item.payload),
            Self::Json | Self::JsonEvents => {
                let id = (item.id > 0 || item.id == PRESENCE).then_some(item.position);
                self.append_object(out, id, |out| json::append_message(out, item));
            }
        }
    }

    /// Appends what says how far the subscriber is complete. Other layouts than JSON have their own ways, or none.
    pub(crate) fn append_position(self, out: &mut Vec<u8>, position: Option<Position>) {
        if matches!(self, Self::Json | Self::JsonEvents) {
            self.append_object(out, position, |out| json::append_position(out, position));
        }
    }

    fn append_object(self, out: &mut Vec<u8>, id: Option<Position>, object: impl FnOnce(&mut Vec<u8>)) {
        if self == Self::Json {
            object(out);
            return out.push(b'\n');
        }
        if let Some(id) = id {
            writeln!(out, "id: {id}").expect("writing to memory");
        }
        out.extend_from_slice(b"data: ");
        object(out);
        out.extend_from_slice(b"\n\n");
    }

    /// Appends what says that messages before the position are missing, and how far the subscriber is complete if none
    /// follow at once. A template says it only with a text for it.
    pub(crate) fn append_gap(
        self,
        out: &mut Vec<u8>,
        location: &Location,
        text: Option<&str>,
        (position, complete): (Position, Option<Position>),
    ) {
        match (self, text) {
            (Self::Events, text) => {
                let text = text.unwrap_or("messages are missing");
                if let Some(complete) = complete {
                    writeln!(out, "id: {complete}").expect("writing to memory");
                }
                out.extend_from_slice(b"event: push.gap\n");
                lines(text.as_bytes()).for_each(|line| append_line(out, b"data: ", line));
                out.push(b'\n');
            }
            (Self::Json | Self::JsonEvents, _) => {
                self.append_object(out, None, |out| json::append_gap(out, position));
            }
            (Self::Template, Some(text)) => self.append(out, location, &Item::gap(text, position)),
            (Self::Template, None) => {}
        }
    }

    /// Appends what tells the subscriber why it has to go. A template says it as a message, if there are words for it.
    pub(crate) fn append_farewell(
        self,
        out: &mut Vec<u8>,
        location: &Location,
        farewell: Farewell<'_>,
        complete: Position,
    ) {
        let (event, text) = match farewell {
            Farewell::Expired => ("push.expired", Farewell::EXPIRED),
            Farewell::Disconnected(reason) => ("push.disconnect", reason),
        };
        match (self, farewell) {
            (Self::Events, _) => {
                write!(out, "id: {complete}\nevent: {event}\ndata: {text}\n\n").expect("writing to memory");
            }
            (Self::Json | Self::JsonEvents, _) => {
                self.append_object(out, Some(complete), |out| json::append_farewell(out, farewell, complete));
            }
            (Self::Template, Farewell::Disconnected(reason)) if !reason.is_empty() => {
                self.append(out, location, &Item::farewell(event, reason, complete));
            }
            (Self::Template, _) => {}
        }
    }

    /// Appends a header or footer.
    pub(crate) fn append_frame(self, out: &mut Vec<u8>, text: Option<&str>) {
        let text = text.unwrap_or_default();
        match self {
            Self::Events if !text.is_empty() => {
                let text = text.trim_end_matches(['\r', '\n']);
                lines(text.as_bytes()).for_each(|line| append_line(out, b": ", line));
            }
            Self::Events | Self::Template => out.extend_from_slice(text.as_bytes()),
            Self::Json | Self::JsonEvents => {}
        }
    }
}

fn append_line(out: &mut Vec<u8>, field: &[u8], line: &[u8]) {
    out.extend_from_slice(field);
    out.extend_from_slice(line);
    out.push(b'\n');
}

fn append_text(out: &mut Vec<u8>, template: &Template, item: &Item<'_>, text: &[u8]) {
    for part in template.parts() {
        match part {
            Part::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
            Part::Id => append_display(out, item.id),
            Part::Size => append_display(out, item.payload.len()),
            Part::Time => {
                append_display(out, HttpDate::from(UNIX_EPOCH + Duration::from_secs(item.position.time.into())));
            }
            Part::Tag => append_display(out, item.position.tag),
            Part::Channel(escape) => append_escaped(out, *escape, item.channel.as_bytes()),
            Part::Text(escape) => append_escaped(out, *escape, text),
            Part::EventId(escape) => append_escaped(out, *escape, item.event_id.unwrap_or_default().as_bytes()),
            Part::EventType(escape) => append_escaped(out, *escape, item.event.unwrap_or_default().as_bytes()),
        }
    }
}

fn append_display(out: &mut Vec<u8>, value: impl Display) {
    write!(out, "{value}").expect("writing to memory");
}

/// What stays as it is in a part of a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const UNRESERVED_OR_ENCODED: &AsciiSet = &UNRESERVED.remove(b'%');

/// Bytes that are not UTF-8 are replaced where the form is one of characters.
fn append_escaped(out: &mut Vec<u8>, escape: Escape, bytes: &[u8]) {
    match escape {
        Escape::None => out.extend_from_slice(bytes),
        Escape::Uri => append_encoded(out, bytes, UNRESERVED),
        Escape::UriOnce if is_encoded(bytes) => append_encoded(out, bytes, UNRESERVED_OR_ENCODED),
        Escape::UriOnce => append_encoded(out, bytes, UNRESERVED),
        Escape::Json => append_replacing(
            out,
            &as_text(bytes),
            // The last ones so that the text can also stand in a script, and among objects that a client cuts at `}{`.
            |c| matches!(c, '"' | '\\' | '\0'..' ' | '\u{7f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '}'),
            |out, c| match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c => append_display(out, format_args!("\\u{:04x}", u32::from(c))),
            },
        ),
        Escape::Html => append_replacing(
            out,
            &as_text(bytes),
            |c| matches!(c, '<' | '>' | '&' | '"' | '\''),
            |out, c| match c {
                '<' => out.extend_from_slice(b"&lt;"),
                '>' => out.extend_from_slice(b"&gt;"),
                '&' => out.extend_from_slice(b"&amp;"),
                '"' => out.extend_from_slice(b"&quot;"),
                _ => out.extend_from_slice(b"&#39;"),
            },
        ),
    }
}

fn append_encoded(out: &mut Vec<u8>, bytes: &[u8], set: &'static AsciiSet) {
    percent_encode(as_text(bytes).as_bytes(), set).for_each(|piece| out.extend_from_slice(piece.as_bytes()));
}

/// Appends the text, and in place of each character that is `special` what `replace` writes for it.
fn append_replacing(
    out: &mut Vec<u8>,
    text: &str,
    special: impl Fn(char) -> bool,
    replace: impl Fn(&mut Vec<u8>, char),
) {
    let mut rest = text;
    while let Some(at) = rest.find(&special) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let mut behind = rest[at..].chars();
        behind.next().into_iter().for_each(|c| replace(out, c));
        rest = behind.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn as_text(bytes: &[u8]) -> Cow<'_, str> {
    // Nearly all is text, which is seen in a fraction of the time that it takes to look for what is not.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Whether there are percent signs, each of which begins a code, and the whole decodes to text: then a client can decode it
/// as it is.
fn is_encoded(bytes: &[u8]) -> bool {
    let mut codes = bytes.split(|&byte| byte == b'%').skip(1);
    bytes.contains(&b'%')
        && codes.all(|code| code.len() >= 2 && code[..2].iter().all(u8::is_ascii_hexdigit))
        && percent_decode(bytes).decode_utf8().is_ok()
}

/// Appends the message as an event stream has it: the template once for each line of the text, or once where the form of
/// the text in it has no lines.
fn append_event(out: &mut Vec<u8>, location: &Location, item: &Item<'_>) {
    if item.id > 0 || item.id == PRESENCE {
        match item.event_id {
            Some(id) => writeln!(out, "id: {id}"),
            None => writeln!(out, "id: {}", item.position),
        }
        .expect("writing to memory");
    }
    if let Some(event) = item.event {
        writeln!(out, "event: {event}").expect("writing to memory");
    }
    let template = &location.message_template;
    let own_field = template.source().starts_with("data: ");
    let mut laid_out = Vec::new();
    let mut append = |text: &[u8]| {
        laid_out.clear();
        append_text(&mut laid_out, template, item, text);
        for (at, line) in lines(&laid_out).enumerate() {
            append_line(out, if own_field && at == 0 { b"" } else { b"data: " }, line);
        }
    };
    let has_no_lines = |part: &Part| matches!(part, Part::Text(Escape::Json | Escape::Uri | Escape::UriOnce));
    match template.parts().iter().any(has_no_lines) {
        true => append(item.payload),
        false => lines(item.payload).for_each(append),
    }
    out.push(b'\n');
}

/// The lines of a text, which CRLF, LF or CR end; at least one.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return rest.take();
        };
        let next = end + if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[next..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(escape: Escape, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        append_escaped(&mut out, escape, bytes);
        String::from_utf8(out).expect("text")
    }

    fn item(payload: &[u8]) -> Item<'_> {
        let position = Position { time: 86_400, tag: 7 };
        let (event, event_id) = (Some("kind"), Some("e1"));
        Item { id: 3, channel: "a<b", event, event_id, kind: Kind::Bytes, payload, position }
    }

    #[test]
    fn every_placeholder_is_filled() {
        let template = Template::new(
            "~id~ ~channel~ ~text~ ~size~ ~time~ ~tag~ ~event-id~ ~event-type~ ~CHANNEL-HTML~ ~text-uri~ ~nothing~",
        );
        let mut out = Vec::new();
        let item = item(b"~id~ x");
        append_text(&mut out, &template, &item, item.payload);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "3 a<b ~id~ x 6 Fri, 02 Jan 1970 00:00:00 GMT 7 e1 kind a&lt;b ~id~%20x ~nothing~"
        );
    }

    #[test]
    fn what_is_encoded_already_stays_only_where_it_decodes_to_text() {
        assert_eq!(escaped(Escape::UriOnce, b"a%20b \"c\""), "a%20b%20%22c%22");
        assert_eq!(escaped(Escape::UriOnce, b"100% of %41"), "100%25%20of%20%2541");
        assert_eq!(escaped(Escape::UriOnce, b"%FF"), "%25FF");
        assert_eq!(escaped(Escape::UriOnce, "%C3%A9é".as_bytes()), "%C3%A9%C3%A9");
    }

    #[test]
    fn an_event_has_a_line_for_each_line_of_the_text() {
        let mut config = crate::config::Config::default();
        let event = |config: &crate::config::Config, payload: &[u8]| {
            let mut out = Vec::new();
            append_event(&mut out, &config.locations[0], &item(payload));
            String::from_utf8(out).expect("text")
        };
        assert_eq!(
            event(&config, b"a\r\nb\rc\n\nd"),
            "id: e1\nevent: kind\ndata: a\ndata: b\ndata: c\ndata: \ndata: d\n\n"
        );
        assert_eq!(event(&config, b""), "id: e1\nevent: kind\ndata: \n\n");
        config.set("message_template", "data: [~text~]").expect("a template");
        assert_eq!(event(&config, b"a\nb"), "id: e1\nevent: kind\ndata: [a]\ndata: [b]\n\n");
        config.set("message_template", r#"["~text-json~"]"#).expect("a template");
        assert_eq!(event(&config, b"a\nb"), "id: e1\nevent: kind\ndata: [\"a\\nb\"]\n\n");
        config.set("message_template", "<\n~text~").expect("a template");
        assert_eq!(event(&config, b"a"), "id: e1\nevent: kind\ndata: <\ndata: a\n\n");
    }

    proptest! {
        #[test]
        fn escaped_text_is_what_it_was(text in ".*") {
            let json: String = serde_json::from_str(&format!("\"{}\"", escaped(Escape::Json, text.as_bytes()))).expect("JSON");
            prop_assert_eq!(&json, &text);
            let encoded = escaped(Escape::Uri, text.as_bytes());
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)));
            prop_assert_eq!(percent_decode(encoded.as_bytes()).decode_utf8().expect("text"), text.as_str());
            // Whoever encoded it before, or nobody: the client decodes once.
            prop_assert_eq!(escaped(Escape::UriOnce, encoded.as_bytes()), encoded);
            let once = escaped(Escape::UriOnce, text.as_bytes());
            prop_assert!(percent_decode(once.as_bytes()).decode_utf8().is_ok());
            let html = escaped(Escape::Html, text.as_bytes());
            prop_assert!(!html.contains(['<', '>', '"', '\'']));
        }

        #[test]
        fn no_bytes_break_out_of_their_form(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for escape in [Escape::Json, Escape::Uri, Escape::UriOnce, Escape::Html] {
                escaped(escape, &bytes);
            }
            let mut out = Vec::new();
            append_event(&mut out, &crate::config::Config::default().locations[0], &item(&bytes));
            prop_assert!(out.ends_with(b"\n\n") && !out.contains(&b'\r'));
            let body = &out[b"id: e1\nevent: kind\n".len()..out.len() - 1];
            for line in body.split_inclusive(|byte| *byte == b'\n') {
                prop_assert!(line.starts_with(b"data: "));
            }
        }
    }
}
