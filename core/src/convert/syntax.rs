//! How nginx.conf is written: words, quotes, blocks and `include`, by the rules of nginx's own reader.
//!
//! It knows no directive but `include` and the blocks of Lua, whose contents are not nginx's. Where a file of an include is
//! missing the rest is read all the same, and the caller is told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// nginx gives up when it has no more descriptors; a file that includes itself ends here.
const MOST_INCLUDES: usize = 32;
/// Far more than any configuration has; each costs stack.
const MOST_BLOCKS: usize = 100;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Rc<str>,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A directive with its arguments, and with its block if it has one.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) place: Place,
}

impl Directive {
    pub(super) fn argument(&self) -> &str {
        self.arguments.first().map_or("", String::as_str)
    }

    pub(super) fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// A configuration with all its includes.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) directives: Vec<Directive>,
    /// Includes that could not be read, with the reason.
    pub(super) missing: Vec<(Place, String)>,
}

/// Reads a file and what it includes. Names of includes are relative to the directory of this first file, as in nginx.
///
/// # Errors
/// What is wrong, with the place.
pub(super) fn read(file: &Path) -> Result<Parsed, String> {
    let mut reader = Reader::new(file.parent().unwrap_or(Path::new("")));
    let text = text_of(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let directives = reader.file(&file.display().to_string(), &text, 0)?;
    Ok(Parsed { directives, missing: reader.missing })
}

fn text_of(file: &Path) -> std::io::Result<String> {
    // A comment in an old encoding is no reason to stop.
    std::fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

struct Reader {
    directory: PathBuf,
    /// Blocks that are open.
    open: usize,
    missing: Vec<(Place, String)>,
}

impl Reader {
    fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), open: 0, missing: Vec::new() }
    }

    fn file(&mut self, name: &str, text: &str, depth: usize) -> Result<Vec<Directive>, String> {
        let mut words = Words::new(name.into(), text);
        self.block(&mut words, depth, None)
    }

    /// The directives up to the end of the block that was opened at `opened`, or of the file.
    fn block(&mut self, words: &mut Words<'_>, depth: usize, opened: Option<&Place>) -> Result<Vec<Directive>, String> {
        let mut directives = Vec::new();
        loop {
            let Statement { mut words_read, place, end } = words.statement()?;
            match end {
                End::BlockEnds if opened.is_some() => return Ok(directives),
                End::BlockEnds => return Err(format!("{place}: unexpected \"}}\"")),
                End::FileEnds => match opened {
                    None => return Ok(directives),
                    Some(opened) => return Err(format!("{opened}: the block that begins here has no end")),
                },
                End::Semicolon | End::BlockBegins => {}
            }
            let name = words_read.remove(0);
            let block = match end {
                End::BlockBegins if name.ends_with("_by_lua_block") => {
                    words.skip_lua(&place)?;
                    Some(Vec::new())
                }
                End::BlockBegins if self.open == MOST_BLOCKS => {
                    return Err(format!("{place}: blocks are nested more than {MOST_BLOCKS} deep"));
                }
                End::BlockBegins => {
                    self.open += 1;
                    let block = self.block(words, depth, Some(&place))?;
                    self.open -= 1;
                    Some(block)
                }
                _ => None,
            };
            if name == "include" && block.is_none() && words_read.len() == 1 {
                self.include(&words_read[0], &place, depth, &mut directives)?;
            } else {
                directives.push(Directive { name, arguments: words_read, block, place });
            }
        }
    }

    fn include(
        &mut self,
        pattern: &str,
        place: &Place,
        depth: usize,
        directives: &mut Vec<Directive>,
    ) -> Result<(), String> {
        if depth == MOST_INCLUDES {
            return Err(format!("{place}: includes are nested more than {MOST_INCLUDES} deep"));
        }
        let files: Vec<PathBuf> = if pattern.contains(['*', '?', '[']) {
            // What stands in the name of the directory itself is no pattern.
            let directory = glob::Pattern::escape(&self.directory.display().to_string());
            let full = Path::new(&directory).join(pattern).display().to_string();
            // As the C library does it: an editor's hidden file is no configuration.
            let options = glob::MatchOptions {
                case_sensitive: true,
                require_literal_separator: true,
                require_literal_leading_dot: true,
            };
            // That nothing matches is as it should be: conf.d may be empty.
            let matches = glob::glob_with(&full, options);
            matches.map(|paths| paths.flatten().collect()).map_err(|error| format!("{place}: include: {error}"))?
        } else {
            vec![self.directory.join(pattern)]
        };
        for file in files {
            match text_of(&file) {
                Ok(text) => directives.extend(self.file(&file.display().to_string(), &text, depth + 1)?),
                Err(error) => self.missing.push((place.clone(), format!("include {}: {error}", file.display()))),
            }
        }
        Ok(())
    }
}

/// How a statement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Semicolon,
    BlockBegins,
    BlockEnds,
    FileEnds,
}

/// Its words; none when a block or the file ends.
struct Statement {
    words_read: Vec<String>,
    place: Place,
    end: End,
}

/// A file on the way through the reader.
struct Words<'a> {
    file: Rc<str>,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl<'a> Words<'a> {
    fn new(file: Rc<str>, text: &'a str) -> Self {
        Self { file, rest: text.chars().peekable(), line: 1 }
    }

    fn place(&self) -> Place {
        Place { file: self.file.clone(), line: self.line }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn statement(&mut self) -> Result<Statement, String> {
        let mut words_read = Vec::new();
        let mut place = self.place();
        loop {
            let Some(&next) = self.rest.peek() else {
                return match words_read.is_empty() {
                    true => Ok(Statement { words_read, place: self.place(), end: End::FileEnds }),
                    false => Err(format!("{place}: the file ends within \"{}\"", words_read.join(" "))),
                };
            };
            let end = match next {
                ' ' | '\t' | '\r' | '\n' => {
                    self.next();
                    continue;
                }
                '#' => {
                    while self.next().is_some_and(|c| c != '\n') {}
                    continue;
                }
                ';' => End::Semicolon,
                '{' => End::BlockBegins,
                '}' => End::BlockEnds,
                _ => {
                    if words_read.is_empty() {
                        place = self.place();
                    }
                    words_read.push(self.word()?);
                    continue;
                }
            };
            if words_read.is_empty() == (end != End::BlockEnds) {
                return Err(format!("{}: unexpected \"{next}\"", self.place()));
            }
            if words_read.is_empty() {
                place = self.place();
            }
            self.next();
            return Ok(Statement { words_read, place, end });
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let begin = self.place();
        match self.rest.peek() {
            Some(&quote @ ('"' | '\'')) => {
                self.next();
                let word = self.until(|c| c == quote);
                if self.next().is_none() {
                    return Err(format!("{begin}: the text in quotes that begins here has no end"));
                }
                match self.rest.peek().copied() {
                    // As in `if ($a = "b")`.
                    None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') => Ok(word),
                    Some(next) => Err(format!("{}: unexpected \"{next}\" behind a text in quotes", self.place())),
                }
            }
            _ => Ok(self.until(|c| matches!(c, ' ' | '\t' | '\r' | '\n' | ';' | '{'))),
        }
    }

    /// Up to what ends a word, which stays. A backslash keeps what follows from ending it, and so does `${` the brace.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> String {
        let mut word = String::new();
        let mut variable = false;
        while let Some(&next) = self.rest.peek() {
            if ends(next) && !(next == '{' && variable) {
                break;
            }
            self.next();
            if next != '\\' {
                word.push(next);
                variable = next == '$';
                continue;
            }
            variable = false;
            match self.next() {
                Some(escaped @ ('"' | '\'' | '\\')) => word.push(escaped),
                Some('t') => word.push('\t'),
                Some('r') => word.push('\r'),
                Some('n') => word.push('\n'),
                Some(other) => word.extend(['\\', other]),
                None => word.push('\\'),
            }
        }
        word
    }

    /// To the end of a block of Lua, in which braces also stand in texts and comments.
    fn skip_lua(&mut self, opened: &Place) -> Result<(), String> {
        let mut depth = 1;
        while let Some(next) = self.next() {
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                '"' | '\'' => {
                    self.until(|c| c == next);
                    self.next();
                }
                '-' if self.rest.peek() == Some(&'-') => {
                    self.next();
                    if !(self.rest.peek() == Some(&'[') && self.skip_long_bracket()) {
                        while self.rest.peek().is_some_and(|c| *c != '\n') {
                            self.next();
                        }
                    }
                }
                '[' if self.rest.peek() == Some(&'[') => {
                    self.skip_to("]]");
                }
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(format!("{opened}: the block that begins here has no end"))
    }

    /// Past `[[...]]`, if it is one.
    fn skip_long_bracket(&mut self) -> bool {
        self.next();
        let long = self.rest.peek() == Some(&'[');
        if long {
            self.skip_to("]]");
        }
        long
    }

    fn skip_to(&mut self, end: &str) {
        let mut tail = String::new();
        while let Some(next) = self.next() {
            tail.push(next);
            if tail.ends_with(end) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Directive>, String> {
        Reader::new(Path::new("")).file("x", text, 0)
    }

    fn arguments(text: &str) -> Vec<String> {
        parse(text).expect("a configuration").remove(0).arguments
    }

    #[test]
    fn words_are_read_as_nginx_reads_them() {
        assert_eq!(arguments("a b  c\t'd e' \"f\\\"g\";"), ["b", "c", "d e", "f\"g"]);
        assert_eq!(arguments("a b#c 'x;{}#' #d\n e;"), ["b#c", "x;{}#", "e"]);
        assert_eq!(arguments(r#"a "\r\n\t\\\d\$" \.x \;;"#), ["\r\n\t\\\\d\\$", "\\.x", "\\;"]);
        assert_eq!(arguments("a ${b}c $d;"), ["${b}c", "$d"]);
        assert_eq!(arguments("if ($a = \"b\") { c; }"), ["($a", "=", "b", ")"]);
        assert_eq!(arguments("a '' \"\";"), ["", ""]);
    }

    #[test]
    fn blocks_nest_and_lines_are_counted() {
        let directives = parse("a;\nb {\n  c 1;\n  d { }\n}\n# e\nf\n g;").expect("a configuration");
        let lines: Vec<_> = directives.iter().map(|d| (d.name.as_str(), d.place.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 2), ("f", 7)]);
        let inner: Vec<_> = directives[1].children().iter().map(|d| (d.name.as_str(), d.place.line)).collect();
        assert_eq!(inner, [("c", 3), ("d", 4)]);
    }

    #[test]
    fn what_nginx_refuses_is_refused_with_its_place() {
        for (text, error) in [
            ("a;\n}", "x:2: unexpected \"}\""),
            ("a {\n b;", "x:1: the block that begins here has no end"),
            ("a\n b", "x:1: the file ends within \"a b\""),
            (";", "x:1: unexpected \";\""),
            ("a 'b", "x:1: the text in quotes that begins here has no end"),
            ("a 'b'c;", "x:1: unexpected \"c\" behind a text in quotes"),
            (&"a {".repeat(200), "x:1: blocks are nested more than 100 deep"),
            ("a { b }", "x:1: unexpected \"}\""),
        ] {
            assert_eq!(parse(text).map(|_| ()), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn lua_is_passed_over() {
        let text = "content_by_lua_block {\n a = \"}\" -- }\n b = { '}' } --[[ } ]] c = [[ } ]]\n}\nd;";
        let names: Vec<_> = parse(text).expect("a configuration").into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["content_by_lua_block", "d"]);
    }

    #[test]
    fn includes_are_read_in_place_and_missing_ones_told() {
        let directory = tempfile::Builder::new().prefix("[a]*").tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let file = directory.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
            std::fs::write(&file, text).expect("a file");
            file
        };
        let main = write("nginx.conf", "http { include conf.d/*.conf; include gone.conf; include none/*; last; }");
        write("conf.d/b.conf", "b;");
        // Relative to the first file, not to this one.
        write("conf.d/a.conf", "a; include snippets/c;");
        write("snippets/c", "c;");
        write("conf.d/.hidden.conf", "hidden;");
        let parsed = read(&main).expect("a configuration");
        let names: Vec<_> = parsed.directives[0].children().iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["a", "c", "b", "last"]);
        let [(place, reason)] = parsed.missing.as_slice() else { panic!("{:?}", parsed.missing) };
        assert!(place.line == 1 && reason.contains("gone.conf: No such file"), "{reason}");
        let main = write("self.conf", "include self.conf;");
        assert!(read(&main).expect_err("an endless file").contains("nested more than"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a;{}\"'\\\\$#() \n\\[\\]-]{0,60}|\\PC{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("x_by_lua_block {{{text}"));
        }

        #[test]
        fn a_text_in_quotes_is_what_was_quoted(text in "\\PC{0,40}|[\\\\\"'{};#\r\n\t$ntr]{0,40}", double: bool) {
            let quote = if double { '"' } else { '\'' };
            let mut quoted = String::from(quote);
            for c in text.chars() {
                if c == '\\' || c == quote {
                    quoted.push('\\');
                }
                quoted.push(c);
            }
            quoted.push(quote);
            prop_assert_eq!(arguments(&format!("a {quoted};")), [text]);
        }
    }
}
