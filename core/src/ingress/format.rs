//! Counters as JSON, plain text, YAML or XML, whichever a publisher accepts.
//!
//! The layouts are those of the module, because scripts cut them up line by line. Names are not: they are escaped as each
//! format wants it, so that no name can pass for a counter.

use std::io::Write;

use crate::channel::ChannelInfo;
use crate::transport::reply::append_number;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n";

/// How counters are written, and under which content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    syntax: Syntax,
    pub(crate) content_type: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Json,
    Plain,
    Yaml,
    Xml,
}

impl Format {
    /// With the words that a subtype may begin with.
    const WORDS: [(&'static [u8], Self); 6] = [
        (b"plain", Self { syntax: Syntax::Plain, content_type: "text/plain" }),
        (b"json", Self { syntax: Syntax::Json, content_type: "application/json" }),
        (b"yaml", Self { syntax: Syntax::Yaml, content_type: "application/yaml" }),
        (b"xml", Self { syntax: Syntax::Xml, content_type: "application/xml" }),
        (b"x-json", Self { syntax: Syntax::Json, content_type: "text/x-json" }),
        (b"x-yaml", Self { syntax: Syntax::Yaml, content_type: "text/x-yaml" }),
    ];

    /// The first subtype of the header `Accept` that begins with a known word, in the order of the header and whatever its
    /// weight; else JSON.
    pub(crate) fn accepted(accept: Option<&[u8]>) -> Self {
        let subtypes = accept.unwrap_or_default().split(|&byte| byte == b'/').skip(1);
        let known = subtypes.filter_map(|subtype| {
            let begins = |word: &[u8]| subtype.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
            Self::WORDS.iter().find(|(word, _)| begins(word))
        });
        known.map(|(_, format)| *format).next().unwrap_or(Self::WORDS[1].1)
    }
}

/// A counter, or what is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    /// A moment; no format has to quote it.
    Time(&'a str),
    Number(u64),
}

pub(crate) type Field<'a> = (&'static str, Value<'a>);

/// One channel.
pub(crate) fn single(format: Format, info: &ChannelInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    match format.syntax {
        Syntax::Yaml => write_fields(&mut out, format.syntax, "  ", &channel(format.syntax, info)),
        Syntax::Json | Syntax::Plain => write_record(&mut out, format.syntax, "", "", &channel(format.syntax, info)),
        Syntax::Xml => {
            out.extend_from_slice(DECLARATION.as_bytes());
            write_record(&mut out, format.syntax, "", "channel", &channel(format.syntax, info));
        }
    }
    if format.syntax == Syntax::Json {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The names of the counters differ a little among the formats.
fn channel<'a>(syntax: Syntax, info: &'a ChannelInfo) -> [Field<'a>; 4] {
    [
        (if syntax == Syntax::Xml { "name" } else { "channel" }, Value::Text(&info.name)),
        ("published_messages", Value::Number(info.published)),
        ("stored_messages", Value::Number(u64::from(info.stored))),
        (
            if syntax == Syntax::Plain { "active_subscribers" } else { "subscribers" },
            Value::Number(u64::from(info.subscribers)),
        ),
    ]
}

/// What a [`List`] holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Its element in XML.
    root: &'static str,
    /// What its records are called together.
    records: &'static str,
    /// The element of each in XML.
    record: &'static str,
    /// What stands before each line of a record in plain text.
    indent: &'static str,
}

/// Channels with their counters.
pub(crate) const CHANNELS: Shape = Shape { root: "root", records: "infos", record: "channel", indent: "" };

/// Processes with theirs.
pub(crate) const WORKERS: Shape = Shape { root: "infos", records: "by_worker", record: "worker", indent: "  " };

/// Fields, and a list of records of one kind that is written as they come.
#[derive(Debug)]
pub(crate) struct List {
    syntax: Syntax,
    shape: Shape,
    out: Vec<u8>,
    empty: bool,
}

impl List {
    pub(crate) fn new(format: Format, shape: Shape, fields: &[Field<'_>]) -> Self {
        let (syntax, mut out) = (format.syntax, Vec::with_capacity(1024));
        match syntax {
            Syntax::Json => {
                out.push(b'{');
                write_fields(&mut out, syntax, "", fields);
                put(&mut out, format_args!(", \"{}\": [", shape.records));
            }
            Syntax::Plain | Syntax::Yaml => {
                write_fields(&mut out, syntax, "", fields);
                put(&mut out, format_args!("{}:", shape.records));
            }
            Syntax::Xml => {
                put(&mut out, format_args!("{DECLARATION}<{}>\r\n", shape.root));
                write_fields(&mut out, syntax, "  ", fields);
                put(&mut out, format_args!("  <{}>\r\n", shape.records));
            }
        }
        Self { syntax, shape, out, empty: true }
    }

    pub(crate) fn push_channel(&mut self, info: &ChannelInfo) {
        self.push(&channel(self.syntax, info));
    }

    pub(crate) fn push(&mut self, fields: &[Field<'_>]) {
        let first = std::mem::replace(&mut self.empty, false);
        let (before, indent) = match self.syntax {
            Syntax::Json => (if first { "" } else { ", " }, ""),
            Syntax::Plain => ("\r\n", self.shape.indent),
            Syntax::Yaml => (if first { "\r\n -\r\n" } else { " -\r\n" }, "  "),
            Syntax::Xml => ("", "    "),
        };
        self.out.extend_from_slice(before.as_bytes());
        write_record(&mut self.out, self.syntax, indent, self.shape.record, fields);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let shape = self.shape;
        match self.syntax {
            Syntax::Json => put(&mut self.out, format_args!("]}}\r\n")),
            Syntax::Plain if self.empty => put(&mut self.out, format_args!("\r\n")),
            Syntax::Yaml if self.empty => put(&mut self.out, format_args!(" []\r\n")),
            Syntax::Plain | Syntax::Yaml => {}
            Syntax::Xml => put(&mut self.out, format_args!("  </{}>\r\n</{}>\r\n", shape.records, shape.root)),
        }
        self.out
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory");
}

fn write_record(out: &mut Vec<u8>, syntax: Syntax, indent: &str, element: &str, fields: &[Field<'_>]) {
    match syntax {
        Syntax::Json => {
            out.push(b'{');
            write_fields(out, syntax, indent, fields);
            out.push(b'}');
        }
        Syntax::Plain | Syntax::Yaml => write_fields(out, syntax, indent, fields),
        Syntax::Xml => {
            put(out, format_args!("{indent}<{element}>\r\n"));
            write_fields(out, syntax, &format!("{indent}  "), fields);
            put(out, format_args!("{indent}</{element}>\r\n"));
        }
    }
}

fn write_fields(out: &mut Vec<u8>, syntax: Syntax, indent: &str, fields: &[Field<'_>]) {
    for (at, (name, value)) in fields.iter().enumerate() {
        match syntax {
            // Without formatting: every answer to a publication is such an object.
            Syntax::Json => {
                out.extend_from_slice(if at == 0 { b"\"" } else { b", \"" });
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\": ");
            }
            Syntax::Plain | Syntax::Yaml => put(out, format_args!("{indent}{name}: ")),
            Syntax::Xml => put(out, format_args!("{indent}<{name}>")),
        }
        match (value, syntax) {
            (Value::Number(number), _) => append_number(out, *number),
            (Value::Time(time), Syntax::Plain | Syntax::Yaml | Syntax::Xml) => put(out, format_args!("{time}")),
            (Value::Text(text) | Value::Time(text), Syntax::Json) => {
                serde_json::to_writer(&mut *out, text).expect("writing text to memory");
            }
            (Value::Text(text), Syntax::Plain) => write_plain(out, text),
            (Value::Text(text), Syntax::Yaml) => write_yaml(out, text),
            (Value::Text(text), Syntax::Xml) => write_xml(out, text),
        }
        match syntax {
            Syntax::Json => {}
            Syntax::Plain | Syntax::Yaml => out.extend_from_slice(b"\r\n"),
            Syntax::Xml => put(out, format_args!("</{name}>\r\n")),
        }
    }
}

/// What ends a line for some reader or has no form on paper.
fn breaks_lines(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

fn write_plain(out: &mut Vec<u8>, text: &str) {
    for letter in text.chars() {
        if breaks_lines(letter) {
            put(out, format_args!("\\u{:04x}", u32::from(letter)));
        } else {
            put(out, format_args!("{letter}"));
        }
    }
}

/// As it is where YAML takes it for a text; else in double quotes, where it knows the escapes of JSON.
fn write_yaml(out: &mut Vec<u8>, text: &str) {
    const OTHERWISE: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    let word = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && !OTHERWISE.iter().any(|word| text.eq_ignore_ascii_case(word));
    if word {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => put(out, format_args!("\\{letter}")),
            _ if breaks_lines(letter) || matches!(letter, '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                put(out, format_args!("\\u{:04x}", u32::from(letter)));
            }
            _ => put(out, format_args!("{letter}")),
        }
    }
    out.push(b'"');
}

fn write_xml(out: &mut Vec<u8>, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => out.extend_from_slice(b"&amp;"),
            '<' => out.extend_from_slice(b"&lt;"),
            '>' => out.extend_from_slice(b"&gt;"),
            '"' => out.extend_from_slice(b"&quot;"),
            '\'' => out.extend_from_slice(b"&apos;"),
            // XML 1.0 knows no way to write these.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                put(out, format_args!("\u{fffd}"));
            }
            _ if breaks_lines(letter) => put(out, format_args!("&#{};", u32::from(letter))),
            _ => put(out, format_args!("{letter}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_subtype_that_begins_with_a_known_word_wins() {
        for (accept, content_type) in [
            ("", "application/json"),
            ("*/*", "application/json"),
            ("text/html, application/xhtml+xml, image/*", "application/json"),
            ("text/html, application/xml;q=0.1, application/json", "application/xml"),
            ("text/plain;q=0, application/json", "text/plain"),
            ("text/plainest", "text/plain"),
            ("TEXT/PLAIN", "text/plain"),
            ("application/yaml", "application/yaml"),
            ("text/x-yaml", "text/x-yaml"),
            ("text/x-json", "text/x-json"),
            ("application/jsonp", "application/json"),
            ("json", "application/json"),
            ("plain", "application/json"),
            ("text/ plain", "application/json"),
        ] {
            assert_eq!(Format::accepted(Some(accept.as_bytes())).content_type, content_type, "{accept}");
        }
        assert_eq!(Format::accepted(None).content_type, "application/json");
    }

    #[test]
    fn names_cannot_leave_their_place() {
        let name = "a\"b\\<&'>\r\nsubscribers: 9\u{1}\u{85}\u{2028}\u{1f600}";
        let written = |accept: &str| {
            let mut out = Vec::new();
            write_fields(&mut out, Format::accepted(Some(accept.as_bytes())).syntax, "", &[("n", Value::Text(name))]);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(
            written("text/plain"),
            "n: a\"b\\<&'>\\u000d\\u000asubscribers: 9\\u0001\\u0085\\u2028\u{1f600}\r\n"
        );
        assert_eq!(
            written("application/yaml"),
            "n: \"a\\\"b\\\\<&'>\\u000d\\u000asubscribers: 9\\u0001\\u0085\\u2028\u{1f600}\"\r\n"
        );
        assert_eq!(
            written("application/xml"),
            "<n>a&quot;b\\&lt;&amp;&apos;&gt;&#13;&#10;subscribers: 9\u{fffd}&#133;&#8232;\u{1f600}</n>\r\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&format!("{{{}}}", written("application/json"))).expect("JSON");
        assert_eq!(json["n"], name);
    }

    #[test]
    fn texts_that_yaml_takes_for_something_else_are_quoted() {
        for (text, written) in [
            ("chat_1.b", "chat_1.b"),
            ("12", "\"12\""),
            ("1e3", "\"1e3\""),
            ("Yes", "\"Yes\""),
            ("null", "\"null\""),
            ("-", "\"-\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            (".inf", "\".inf\""),
            ("gr\u{fc}n", "\"gr\u{fc}n\""),
        ] {
            let mut out = Vec::new();
            write_yaml(&mut out, text);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), written);
        }
    }
}
