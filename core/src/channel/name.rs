//! Channel names: checked once, trusted afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::namespace::{END, MARK, Namespace};

/// The longest name any configuration may allow (`max_channel_id_length` is at most this), in bytes.
pub const MAX_NAME: usize = 1024;

/// Why a text is no channel name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InvalidName {
    /// No bytes at all.
    #[error("a channel name must not be empty")]
    Empty,
    /// Over `max_channel_id_length`.
    #[error("the channel name is {len} bytes long, max_channel_id_length allows {limit}")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// `ALL`, or a name with `*`: these mean "many channels" in statistics.
    #[error("the channel name \"{0}\" is reserved: \"ALL\" and names with \"*\" mean several channels")]
    Reserved(String),
    /// A NUL byte or a slash, which separates channels in URLs.
    #[error("a channel name must not contain {0}")]
    Forbidden(Forbidden),
    /// Not UTF-8.
    #[error("a channel name must be valid UTF-8")]
    NotUtf8,
}

/// What no channel name may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forbidden {
    /// `\0`
    Nul,
    /// `/`
    Slash,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nul => "NUL bytes",
            Self::Slash => "\"/\", which separates channels in URLs",
        })
    }
}

/// The name of one channel: UTF-8, 1..=1024 bytes, no NUL, no slash, not reserved. Cheap to clone. It knows its namespace:
/// the same name in another one is not equal. What it shows and derefs to is the name alone.
// The namespace's prefix and the name; in the empty namespace nothing but the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// A name in the empty namespace, as [`ChannelName::within`].
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn new(bytes: &[u8], limit: usize) -> Result<Self, InvalidName> {
        Self::within(&Namespace::default(), bytes, limit)
    }

    /// Checks `bytes`; `limit` is `max_channel_id_length`, or [`MAX_NAME`] where the configuration is not at hand.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn within(namespace: &Namespace, bytes: &[u8], limit: usize) -> Result<Self, InvalidName> {
        Self::check(bytes, limit).map(|name| Self::joined(namespace.prefix(), name))
    }

    fn joined(prefix: &str, name: &str) -> Self {
        match prefix {
            "" => Self(name.into()),
            prefix => Self([prefix, name].concat().into()),
        }
    }

    /// The channel named `other` in the same namespace.
    #[cfg(feature = "hub")]
    pub(crate) fn beside(&self, other: &Self) -> Self {
        Self::joined(self.split().0, other)
    }

    /// Whose channel it is.
    #[cfg(feature = "hub")]
    pub(crate) fn space(&self) -> Namespace {
        Namespace::of_prefix(self.split().0)
    }

    /// The name of its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.split().0.trim_matches([MARK, END])
    }

    /// Namespace and name in one text, by which channels are equal and ordered; [`Self::from_identity`] takes it back.
    pub(crate) fn identity(&self) -> &str {
        &self.0
    }

    /// What [`Self::identity`] gave, if it did.
    #[cfg(feature = "hub")]
    pub(crate) fn from_identity(text: &str) -> Option<Self> {
        let read = Self(text.into());
        let (prefix, name) = read.split();
        let sound = Self::check(name.as_bytes(), MAX_NAME).is_ok()
            && Namespace::new(read.namespace()).is_ok_and(|namespace| namespace.prefix() == prefix);
        sound.then_some(read)
    }

    /// The namespace's prefix, and the name.
    fn split(&self) -> (&str, &str) {
        match self.0.starts_with(MARK).then(|| self.0.find(END)).flatten() {
            Some(end) => self.0.split_at(end + END.len_utf8()),
            None => ("", &self.0),
        }
    }

    /// Checks a name, or what many names begin with and a `*`, as tokens have them.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn check_pattern(bytes: &[u8]) -> Result<&str, InvalidName> {
        match bytes.strip_suffix(b"*") {
            None => Self::check(bytes, MAX_NAME),
            // "ALL" is no channel, and yet others may begin so.
            Some(b"") => Ok("*"),
            Some(b"ALL") => Ok("ALL*"),
            Some(prefix) => {
                let prefix = Self::check(prefix, MAX_NAME)?;
                std::str::from_utf8(&bytes[..=prefix.len()]).map_err(|_| InvalidName::NotUtf8)
            }
        }
    }

    /// As [`ChannelName::new`], for a caller that only passes the name on.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn check(bytes: &[u8], limit: usize) -> Result<&str, InvalidName> {
        if bytes.is_empty() {
            return Err(InvalidName::Empty);
        }
        if bytes.len() > limit {
            return Err(InvalidName::TooLong { len: bytes.len() as u64, limit: limit as u64 });
        }
        let name = std::str::from_utf8(bytes).map_err(|_| InvalidName::NotUtf8)?;
        match bytes.iter().find(|byte| matches!(byte, b'\0' | b'/' | b'*')) {
            Some(b'\0') => Err(InvalidName::Forbidden(Forbidden::Nul)),
            Some(b'/') => Err(InvalidName::Forbidden(Forbidden::Slash)),
            None if name != "ALL" => Ok(name),
            _ => Err(InvalidName::Reserved(name.to_owned())),
        }
    }
}

impl Deref for ChannelName {
    type Target = str;

    fn deref(&self) -> &str {
        self.split().1
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        self.identity()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_in_another_namespace_is_another_channel() {
        let (shop, blog) = (Namespace::new("shop").unwrap(), Namespace::new("blog").unwrap());
        let within = |namespace: &Namespace| ChannelName::within(namespace, b"news", MAX_NAME).unwrap();
        let names = [ChannelName::new(b"news", MAX_NAME).unwrap(), within(&blog), within(&shop)];
        for (at, name) in names.iter().enumerate() {
            assert_eq!((&**name, name.to_string().as_str(), name.len()), ("news", "news", 4));
            assert!(names.iter().enumerate().all(|(other, theirs)| (name == theirs) == (at == other)));
            assert_eq!(ChannelName::from_identity(name.identity()).as_ref(), Some(name));
            assert_eq!(within(&shop).beside(name), names[2]);
        }
        assert_eq!(names.each_ref().map(ChannelName::namespace), ["", "blog", "shop"]);
        assert_eq!(names[0].identity(), "news", "without a namespace nothing is added");
    }

    #[test]
    fn a_namespace_has_few_characters_and_at_most_64_of_them() {
        for sound in ["", "a", "Shop-2.test_x", &"n".repeat(64)] {
            let namespace = Namespace::new(sound).unwrap();
            assert_eq!((namespace.as_str(), namespace.to_string().as_str()), (sound, sound));
        }
        for wrong in ["a/b", "a b", "a\0", "\0a/", "*", "ä", "a,b", "a:b", &"n".repeat(65)] {
            assert!(Namespace::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_no_name_gave_is_not_read_back() {
        for wrong in ["", "a/b", "\0a", "\0a/", "\0/a", "\0a/b/c", "\0a b/c", "a\0b", "\0a/*", "\0\0a/c", "ALL"] {
            assert_eq!(ChannelName::from_identity(wrong), None, "{wrong:?}");
        }
    }
}
