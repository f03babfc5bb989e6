//! Templates: how a message is laid out for its subscribers.

use std::fmt;

/// How a value is written into its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    None,
    /// As the inside of a JSON string.
    Json,
    /// Percent-encoded, all but letters, digits and `-_.~`.
    Uri,
    /// The same, but what is percent-encoded already stays: for clients that decode once, whoever published.
    UriOnce,
    /// With character references for what means something in HTML.
    Html,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stands as it is written.
    Literal(String),
    /// `~id~`: the channel's number of the message.
    Id,
    /// `~size~`: bytes of the text.
    Size,
    /// `~time~`: its date.
    Time,
    /// `~tag~`
    Tag,
    /// `~channel~`
    Channel(Escape),
    /// `~text~`
    Text(Escape),
    /// `~event-id~`
    EventId(Escape),
    /// `~event-type~`
    EventType(Escape),
}

/// A template, cut at its placeholders. What looks like one and is none stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

impl Template {
    /// Cuts a text.
    #[must_use]
    pub fn new(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(start) = rest.find('~') {
            let behind = &rest[start + 1..];
            let found = behind.find('~').and_then(|end| Some((placeholder(&behind[..end])?, end)));
            literal.push_str(&rest[..start]);
            match found {
                Some((part, end)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(part);
                    rest = &behind[end + 1..];
                }
                None => {
                    literal.push('~');
                    rest = behind;
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Self { source: source.to_owned(), parts }
    }

    /// Its pieces, in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// The placeholder of this name, in any case.
fn placeholder(name: &str) -> Option<Part> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "id" => return Some(Part::Id),
        "size" => return Some(Part::Size),
        "time" => return Some(Part::Time),
        "tag" => return Some(Part::Tag),
        _ => {}
    }
    type Text = fn(Escape) -> Part;
    const TEXTS: [(&str, Text); 4] = [
        ("channel", Part::Channel),
        ("text", Part::Text),
        ("event-id", Part::EventId),
        ("event-type", Part::EventType),
    ];
    let (rest, part) = TEXTS.into_iter().find_map(|(word, part)| Some((name.strip_prefix(word)?, part)))?;
    let escape = match rest {
        "" => Escape::None,
        "-json" => Escape::Json,
        "-uri" => Escape::Uri,
        "-uri-once" => Escape::UriOnce,
        "-html" => Escape::Html,
        _ => return None,
    };
    Some(part(escape))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_cut_at_its_placeholders_in_any_case() {
        let parts = |source: &str| Template::new(source).parts;
        assert_eq!(parts("~text~"), [Part::Text(Escape::None)]);
        assert_eq!(parts("a~ID~b"), [Part::Literal("a".into()), Part::Id, Part::Literal("b".into())]);
        assert_eq!(
            parts("~Text-Json~~event-type-html~~channel-uri~"),
            [Part::Text(Escape::Json), Part::EventType(Escape::Html), Part::Channel(Escape::Uri)]
        );
    }

    #[test]
    fn what_is_no_placeholder_stays() {
        for source in ["", "~", "~~", "~nothing~", "a ~ b", "~text-xml~", "~te xt~"] {
            let all: String = Template::new(source)
                .parts()
                .iter()
                .map(|part| match part {
                    Part::Literal(text) => text.as_str(),
                    other => panic!("{source}: {other:?}"),
                })
                .collect();
            assert_eq!(all, source);
        }
        // The end of a word that is none may begin one.
        assert_eq!(Template::new("~nothing~id~").parts(), [Part::Literal("~nothing".into()), Part::Id]);
    }
}
