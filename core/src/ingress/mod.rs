//! A message comes in.

mod calls;
pub(crate) mod http;
pub mod rings;

pub(crate) use calls::answer;
