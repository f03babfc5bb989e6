//! libpush: the C interface of Push.
