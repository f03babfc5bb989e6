//! Channel names: checked once, trusted afterwards.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

/// The name of one channel: UTF-8, 1..=1024 bytes, no NUL, no slash, not reserved. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Checks `bytes`; `limit` is `max_channel_id_length`, or [`MAX_NAME`] where the configuration is not at hand.
    ///
    /// # Errors
    /// [`InvalidName`] says what is wrong with it.
    pub fn new(bytes: &[u8], limit: usize) -> Result<Self, InvalidName> {
        Self::check(bytes, limit).map(|name| Self(name.into()))
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
        if name.contains('\0') {
            return Err(InvalidName::Forbidden(Forbidden::Nul));
        }
        if name.contains('/') {
            return Err(InvalidName::Forbidden(Forbidden::Slash));
        }
        if name == "ALL" || name.contains('*') {
            return Err(InvalidName::Reserved(name.to_owned()));
        }
        Ok(name)
    }
}

impl Deref for ChannelName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}
