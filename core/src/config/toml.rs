//! TOML in and out: one key per line, locations as tables. Errors name file and line.

use std::fmt::Write;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::location::{Handler, Place};
use super::{Config, ConfigError, LOCATION_NAMES, Location, from_file, unknown};

/// An error and where in the text it is.
type Located<T> = Result<T, (ConfigError, Range<usize>)>;

impl Config {
    /// Sets what `text` says; `file` is the name that errors give.
    ///
    /// # Errors
    /// [`ConfigError::File`] with the line; nothing is changed then.
    pub fn parse(&mut self, text: &str, file: &str) -> Result<(), ConfigError> {
        let located = |message: String, span: Range<usize>| ConfigError::File {
            file: file.to_owned(),
            line: text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1,
            message,
        };
        let table = DeTable::parse(text)
            .map_err(|error| located(error.message().to_owned(), error.span().unwrap_or_default()))?;
        let mut changed = self.clone();
        changed.apply(table.get_ref()).map_err(|(error, span)| located(error.to_string(), span))?;
        *self = changed;
        Ok(())
    }

    fn apply(&mut self, table: &DeTable<'_>) -> Located<()> {
        let mut given = Vec::new();
        for entry in in_order(table) {
            match (entry.key, entry.value) {
                ("location", DeValue::Array(locations)) => {
                    let places = locations.iter().map(|location| match location.get_ref() {
                        DeValue::Table(table) => place(table, location.span()),
                        _ => Err((not_a_table(), location.span())),
                    });
                    self.places = Some(places.collect::<Located<_>>()?);
                    self.settle();
                }
                ("location", _) => return Err((not_a_table(), entry.span)),
                (key, value) => {
                    let set = scalar(key, value).and_then(|value| {
                        let (means, value) = from_file(key, &value)?;
                        if given.contains(&means) {
                            return Err(ConfigError::Conflict(format!("{means} and {key} cannot stand together")));
                        }
                        self.set(means, &value)?;
                        given.push(means);
                        Ok(())
                    });
                    set.map_err(|error| (error, entry.span))?;
                }
            }
        }
        Ok(())
    }
}

fn not_a_table() -> ConfigError {
    ConfigError::Conflict("a location is a table: write [[location]] on a line of its own".to_owned())
}

struct Entry<'a> {
    key: &'a str,
    value: &'a DeValue<'a>,
    span: Range<usize>,
}

/// The parser sorts by key; the first error that is told should be the first in the file.
fn in_order<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let entry = |(key, value): (&'a toml::Spanned<_>, &'a toml::Spanned<DeValue<'a>>)| {
        let key: &'a toml::Spanned<std::borrow::Cow<'a, str>> = key;
        Entry { key: key.get_ref(), value: value.get_ref(), span: key.span() }
    };
    let mut entries: Vec<_> = table.iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.span.start);
    entries
}

/// The text that INI or a flag would have.
fn scalar(key: &str, value: &DeValue<'_>) -> Result<String, ConfigError> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        // With its radix: `0o660` is a mode, and 432 is none.
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(true) => Ok("on".to_owned()),
        DeValue::Boolean(false) => Ok("off".to_owned()),
        DeValue::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| scalar(key, item.get_ref())).collect();
            Ok(items?.join(", "))
        }
        DeValue::Datetime(_) | DeValue::Table(_) => {
            Err(ConfigError::Conflict(format!("{key} is a single value, not a table or date")))
        }
    }
}

fn place(table: &DeTable<'_>, span: Range<usize>) -> Located<Place> {
    let incomplete = |text: String| Err((ConfigError::Conflict(text), span.clone()));
    let (mut path, mut handler, mut public) = (None, None, None);
    let mut own = Vec::new();
    let mut scratch = Config::default().locations.remove(0);
    for entry in in_order(table) {
        let value = scalar(entry.key, entry.value).map_err(|error| (error, entry.span.clone()))?;
        let wrong = |allowed: &str| {
            let error =
                ConfigError::Value { key: entry.key.to_owned(), value: value.clone(), allowed: allowed.to_owned() };
            Err((error, entry.span.clone()))
        };
        match entry.key {
            "path" => match value.starts_with('/') && !value.contains(['?', '#']) {
                true => path = Some(value),
                false => return wrong("a path that begins with /, such as /sub/"),
            },
            "listener" => match value.as_str() {
                "public" => public = Some(true),
                "admin" => public = Some(false),
                _ => return wrong("public or admin"),
            },
            key => match Handler::WORDS.iter().find(|(name, _)| *name == key) {
                Some(_) if handler.is_some() => {
                    return incomplete(
                        "a location is either a subscriber, a publisher or channels_statistics".to_owned(),
                    );
                }
                Some((_, words)) => match words.iter().find(|(word, _)| *word == value) {
                    Some((_, found)) => handler = Some(*found),
                    None => return wrong(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(" or ")),
                },
                None => {
                    let located = |error| (with_own_keys(error), entry.span.clone());
                    let (key, value) = from_file(key, &value).map_err(located)?;
                    scratch.assign(key, &value).map_err(located)?;
                    if own.iter().any(|(other, _)| other == key) {
                        return incomplete(format!("{key} and {} cannot stand together", entry.key));
                    }
                    own.push((key.to_owned(), value.into_owned()));
                }
            },
        }
    }
    let Some(path) = path else { return incomplete("this location has no path, such as path = \"/sub/\"".to_owned()) };
    let Some(handler) = handler else {
        return incomplete(format!("location \"{path}\" has neither subscriber nor publisher nor channels_statistics"));
    };
    Ok(Place { path, handler, public: public.unwrap_or(handler.is_public()), own })
}

/// A misspelt key of a location may mean one of those that only a location has.
fn with_own_keys(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Unknown { key, .. } => {
            let names: Vec<_> = ["path", "listener", "subscriber", "publisher", "channels_statistics"]
                .iter()
                .chain(LOCATION_NAMES)
                .copied()
                .collect();
            unknown(&key, &names)
        }
        other => other,
    }
}

pub(super) fn write(config: &Config) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        writeln!(text, "{key} = {}", toml::Value::String(value)).expect("a String takes all");
    };
    for (key, value) in config.values() {
        line(key, value);
    }
    for location in &config.locations {
        write_location(&mut text, location);
    }
    text
}

fn write_location(text: &mut String, location: &Location) {
    let (kind, word) = location.handler.words();
    let own = [
        ("path", location.path.clone()),
        ("listener", if location.public { "public" } else { "admin" }.to_owned()),
        (kind, word.to_owned()),
    ];
    text.push_str("\n[[location]]\n");
    for (key, value) in own.into_iter().chain(location.values()) {
        writeln!(text, "{key} = {}", toml::Value::String(value)).expect("a String takes all");
    }
}
