//! The engine of Push. The modules stand in the order in which a message meets them.
#![deny(unsafe_code)]

pub mod call;
pub mod channel;
pub mod config;
#[cfg(feature = "hub")]
pub mod control;
pub mod error;
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
pub mod keeper;
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
pub mod lease;
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
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
#[allow(unsafe_code, reason = "fork, exec, signals, mapped memory and the descriptors a process starts with")]
mod process;
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "tokio's registration of descriptors is unsafe for types that may change theirs")]
mod readiness;
#[cfg(feature = "hub")]
pub mod sequencer;
#[cfg(feature = "hub")]
mod transport;
