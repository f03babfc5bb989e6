//! Namespaces: channels of the same name in two of them have nothing to do with each other.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest namespace, in bytes.
pub const MAX_NAMESPACE: usize = 64;

/// Why a text is no namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("a namespace is at most {MAX_NAMESPACE} letters, digits, dots, underscores and hyphens")]
pub struct InvalidNamespace;

/// Whose channels they are: 0..=64 bytes of `A-Z a-z 0-9 . _ -`; mostly empty. Cheap to clone.
// What stands before the names: nothing, or `\0namespace/`. No name has these two characters, so that the whole is
// unambiguous, and all channels of a namespace are neighbours in the order of texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// Before a namespace that is not empty.
pub(super) const MARK: char = '\0';
/// Behind it.
pub(super) const END: char = '/';

impl Namespace {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`InvalidNamespace`] says what is allowed.
    pub fn new(text: &str) -> Result<Self, InvalidNamespace> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match text {
            "" => Ok(Self::default()),
            _ if text.len() <= MAX_NAMESPACE && text.bytes().all(allowed) => {
                Ok(Self(format!("{MARK}{text}{END}").into()))
            }
            _ => Err(InvalidNamespace),
        }
    }

    /// The text that [`Namespace::new`] takes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(END)).unwrap_or_default()
    }

    /// What [`Namespace::prefix`] gave.
    #[cfg(feature = "hub")]
    pub(super) fn of_prefix(prefix: &str) -> Self {
        if prefix.is_empty() { Self::default() } else { Self(prefix.into()) }
    }

    pub(super) fn prefix(&self) -> &str {
        &self.0
    }

    /// The identity of a channel of this name.
    #[cfg(feature = "hub")]
    pub(super) fn with(&self, name: &str) -> String {
        [self.prefix(), name].concat()
    }

    /// Not after the identity of any channel here, and after those of all namespaces that come before.
    #[cfg(feature = "hub")]
    pub(super) fn first(&self) -> &str {
        // Where nothing stands before the names, all other namespaces come before.
        if self.0.is_empty() { "\u{1}" } else { &self.0 }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
