//! Regular expressions of locations, as far as they mean "what begins so": the hub serves prefixes.

/// Alternatives multiply.
const MOST_PATHS: usize = 64;

/// What a regular expression stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    /// Several where a group names alternatives.
    pub(super) paths: Vec<String>,
    /// The variables, without dollar, that hold what follows the prefix.
    pub(super) rest: Vec<String>,
    /// Whether it begins with `^`.
    pub(super) anchored: bool,
}

/// The prefixes that an expression stands for, or why it stands for none.
pub(super) fn prefixes(expression: &str) -> Result<Prefixes, String> {
    let anchored = expression.starts_with('^');
    let mut rest = expression.strip_prefix('^').unwrap_or(expression);
    let mut paths = vec![String::new()];
    let mut number = 0;
    let end = |rest: &str| matches!(rest, "" | "$" | "/?" | "/?$");
    while !end(rest) {
        let next = rest.chars().next().unwrap_or_default();
        if next != '(' {
            let (literal, length) = literal(rest).ok_or_else(|| not_a_prefix(expression))?;
            rest = &rest[length..];
            match rest.strip_prefix('?') {
                // With and without it, what stands before it is the prefix.
                Some(behind) => rest = behind,
                None if rest.starts_with(['*', '+', '{']) => return Err(not_a_prefix(expression)),
                None => paths.iter_mut().for_each(|path| path.push(literal)),
            }
            continue;
        }
        let group = Group::at_front(rest).ok_or_else(|| not_a_prefix(expression))?;
        number += usize::from(group.captures);
        rest = &rest[group.length..];
        if let Some(words) = group.words() {
            if paths.len() * words.len() > MOST_PATHS {
                return Err(not_a_prefix(expression));
            }
            paths = paths.iter().flat_map(|path| words.iter().map(move |word| format!("{path}{word}"))).collect();
            continue;
        }
        if !end(rest) || group.nested {
            return Err(not_a_prefix(expression));
        }
        let mut variables = Vec::new();
        if group.captures {
            variables.push(number.to_string());
        }
        variables.extend(group.name);
        return checked(Prefixes { paths, rest: variables, anchored }, expression);
    }
    checked(Prefixes { paths, rest: Vec::new(), anchored }, expression)
}

fn not_a_prefix(expression: &str) -> String {
    format!("the hub serves paths by how they begin, and {expression} says more than that")
}

fn checked(prefixes: Prefixes, expression: &str) -> Result<Prefixes, String> {
    match prefixes.paths.iter().all(|path| path.starts_with('/') && !path.contains(['?', '#'])) {
        true => Ok(prefixes),
        false => Err(format!("the hub serves paths by how they begin, and {expression} does not begin with /")),
    }
}

/// The letter at the front, and how long it is written.
fn literal(text: &str) -> Option<(char, usize)> {
    let mut letters = text.chars();
    match letters.next()? {
        // A letter or digit behind a backslash is a class, a reference or an assertion.
        '\\' => letters.next().filter(|c| !c.is_alphanumeric()).map(|c| (c, 1 + c.len_utf8())),
        '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '|' | '^' | '$' => None,
        c => Some((c, c.len_utf8())),
    }
}

struct Group<'a> {
    inner: &'a str,
    name: Option<String>,
    captures: bool,
    /// Whether other groups stand in it.
    nested: bool,
    length: usize,
}

impl<'a> Group<'a> {
    fn at_front(text: &'a str) -> Option<Self> {
        let (mut depth, mut class, mut escaped, mut nested) = (0, false, false, false);
        let closing = text.char_indices().find(|(_, c)| {
            match c {
                _ if escaped => {
                    escaped = false;
                    return false;
                }
                '\\' => escaped = true,
                '[' if !class => class = true,
                ']' => class = false,
                '(' if !class => depth += 1,
                ')' if !class => depth -= 1,
                _ => {}
            }
            nested |= depth > 1;
            depth == 0
        });
        let (close, _) = closing?;
        let (inner, length) = (&text[1..close], close + 1);
        let Some(special) = inner.strip_prefix('?') else {
            return Some(Self { inner, name: None, captures: true, nested, length });
        };
        if let Some(inner) = special.strip_prefix(':') {
            return Some(Self { inner, name: None, captures: false, nested, length });
        }
        let named = special.strip_prefix("P<").or_else(|| special.strip_prefix('<'))?;
        let (name, inner) = named.split_once('>').filter(|(name, _)| !name.starts_with(['=', '!']))?;
        Some(Self { inner, name: Some(name.to_owned()), captures: true, nested, length })
    }

    /// Its alternatives, when they are plain words.
    fn words(&self) -> Option<Vec<String>> {
        self.inner.split('|').map(plain).collect()
    }
}

fn plain(text: &str) -> Option<String> {
    let (mut rest, mut word) = (text, String::new());
    while !rest.is_empty() {
        let (letter, length) = literal(rest)?;
        word.push(letter);
        rest = &rest[length..];
    }
    Some(word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(expression: &str) -> (Vec<String>, Vec<String>, bool) {
        let Prefixes { paths, rest, anchored } = prefixes(expression).expect(expression);
        (paths, rest, anchored)
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_begins_so_is_a_prefix() {
        for (expression, path, rest, anchored) in [
            ("/sub/(.*)", "/sub/", &["1"][..], false),
            ("^/sub/(.+)$", "/sub/", &["1"], true),
            ("^/sub/?(.*)$", "/sub", &["1"], true),
            (r"^\/sub\-1\/([\w\/.()-]+)/?$", "/sub-1/", &["1"], true),
            ("^/sub/(?<channels>[^?]*)", "/sub/", &["1", "channels"], true),
            ("^/sub/(?P<channels>.*)", "/sub/", &["1", "channels"], true),
            ("^/sub/(?:.*)", "/sub/", &[], true),
            ("^/pub$", "/pub", &[], true),
            ("/pub", "/pub", &[], false),
            ("/x/(sub)/(.*)", "/x/sub/", &["2"], false),
        ] {
            assert_eq!(found(expression), (texts(&[path]), texts(rest), anchored), "{expression}");
        }
        assert_eq!(found("^/(sub|lp)/(.*)").0, texts(&["/sub/", "/lp/"]));
    }

    #[test]
    fn what_says_more_is_refused() {
        for expression in [
            "(.*)",
            "sub/(.*)",
            "^/.*/sub",
            "/sub/(.*)/x",
            r"^/sub/\d",
            "^/a+/(.*)",
            "^/sub/((a)b*)",
            "^/sub/(?=x)",
            "(",
        ] {
            assert!(prefixes(expression).is_err(), "{expression}");
        }
    }

    proptest! {
        #[test]
        fn any_expression_is_read_or_refused(expression in "[a/^$.()\\[\\]?|\\\\<>:P*+]{0,30}|\\PC{0,30}") {
            if let Ok(found) = prefixes(&expression) {
                prop_assert!(found.paths.iter().all(|path| path.starts_with('/')));
            }
        }
    }
}
