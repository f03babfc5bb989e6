//! A message comes in.

mod calls;
mod format;
pub(crate) mod http;
pub mod rings;
pub(crate) mod statistics;

pub(crate) use calls::answer;
