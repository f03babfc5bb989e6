//! The engine of Push. The modules stand in the order in which a message meets them.
#![deny(unsafe_code)]

pub mod call;
pub mod channel;
pub mod config;
pub mod error;
pub mod message;
