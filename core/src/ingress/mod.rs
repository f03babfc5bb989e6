//! A message comes in.

pub mod admission;
mod calls;
pub mod feed;
mod format;
pub(crate) mod http;
pub mod rings;
pub(crate) mod statistics;

pub(crate) use calls::{Disconnect, answer, disconnect};
