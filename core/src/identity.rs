//! Who is behind a connection.

use std::sync::Arc;

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
}
