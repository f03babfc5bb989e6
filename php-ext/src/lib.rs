//! The PHP extension `push`.
