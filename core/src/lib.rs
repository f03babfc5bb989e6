//! The engine of Push. The modules stand in the order in which a message meets them.
#![deny(unsafe_code)]

pub mod call;
pub mod channel;
pub mod config;
pub mod error;
pub mod message;

#[cfg(feature = "hub")]
mod fanout;
#[cfg(feature = "hub")]
mod http_thread;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "hub")]
mod ingress;
#[cfg(feature = "hub")]
mod log;
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "tokio's registration of descriptors is unsafe for types that may change theirs")]
mod readiness;
#[cfg(feature = "hub")]
pub mod sequencer;
#[cfg(feature = "hub")]
mod transport;
