//! Who is behind a connection, and what it was let in with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::value::RawValue;

use crate::channel::Namespace;
use crate::error::Error;

/// The longest name of a user, in bytes.
pub(crate) const MAX_USER: usize = 255;
/// The longest text about a user, in bytes.
pub(crate) const MAX_INFO: usize = 2048;

/// The user of a connection: the `sub` of its token, what nginx says on the trusted listener, or the owner of a private
/// channel that it subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Arc<str>,
    /// A JSON object; empty: nothing is told about the user.
    pub(crate) info: Arc<[u8]>,
}

/// What lets a connection in beside the names of its channels, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) identity: Option<Identity>,
    /// Whose user that is.
    pub(crate) namespace: Namespace,
    /// The second of Unix time in which it ends; none: when the connection does.
    pub(crate) expires: Option<u32>,
    /// It lets its holder publish to the channels of the connection.
    pub(crate) publish: bool,
}

impl Grant {
    /// How long it is good for, if it ends by itself.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let end = UNIX_EPOCH + Duration::from_secs(self.expires?.into());
        Some(end.duration_since(SystemTime::now()).unwrap_or_default())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }
}

/// Whether this can be a user.
pub(crate) fn check_user(user: &str) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::InvalidArgument(format!("the user {why}")));
    match user {
        "" => wrong("must not be empty".to_owned()),
        user if user.len() > MAX_USER => wrong(format!("has {} bytes, allowed are {MAX_USER}", user.len())),
        user if user.chars().any(char::is_control) => wrong("must not contain control characters".to_owned()),
        _ => Ok(()),
    }
}

/// What is told about a user; `None` where that is nothing.
pub(crate) fn check_info(info: &[u8]) -> Result<Option<&RawValue>, Error> {
    check_json(info, &['{'])
}

/// The same from PHP, which writes an array without names as a list.
pub(crate) fn check_array(info: &[u8]) -> Result<Option<&RawValue>, Error> {
    check_json(info, &['{', '['])
}

fn check_json<'a>(info: &'a [u8], begins: &[char]) -> Result<Option<&'a RawValue>, Error> {
    if info.is_empty() {
        return Ok(None);
    }
    if info.len() > MAX_INFO {
        return Err(Error::InvalidArgument(format!("info has {} bytes as JSON, allowed are {MAX_INFO}", info.len())));
    }
    match serde_json::from_slice::<&RawValue>(info) {
        Ok(value) if value.get().starts_with(begins) => Ok(Some(value)),
        _ => Err(Error::InvalidArgument("info must be a JSON object: names with values".to_owned())),
    }
}
