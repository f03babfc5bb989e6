//! A message comes in.

pub(crate) mod http;
