//! The engine of Push. The modules stand in the order in which a message meets them:
//! client, ring, ingress, sequencer, log, fan-out, transport; around them the processes that keep it running.
//!
//! Without the feature `hub` only what a client needs is built: no async runtime, no threads.
#![deny(unsafe_code)]

// The words everyone shares.
pub mod call;
pub mod channel;
pub mod config;
pub mod error;
pub mod message;

// The calling side, and the wire.
pub mod client;
pub mod shm;
mod online;

// The hub.
#[cfg(feature = "hub")]
pub mod ingress;
#[cfg(feature = "hub")]
pub mod sequencer;
#[cfg(feature = "hub")]
mod log;
#[cfg(feature = "hub")]
mod registry;
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "maps the memory that outlives the hub")]
mod journal;
#[cfg(feature = "hub")]
mod store;
#[cfg(feature = "hub")]
mod fanout;
#[cfg(feature = "hub")]
mod identity;
#[cfg(feature = "hub")]
mod access;
#[cfg(feature = "hub")]
pub mod accel;
#[cfg(feature = "hub")]
pub mod presence;
#[cfg(feature = "hub")]
mod transport;
#[cfg(feature = "hub")]
mod http_thread;
#[cfg(feature = "hub")]
mod passing;
#[cfg(feature = "hub")]
mod metrics;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "hub")]
pub mod embedded;
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "tokio's registration of descriptors is unsafe for types that may change theirs")]
mod readiness;

#[cfg(all(feature = "hub", any(test, fuzzing)))]
pub mod hostile;
#[cfg(any(feature = "paths", all(feature = "hub", test)))]
pub mod paths;

// For operators.
#[cfg(feature = "hub")]
pub mod convert;
#[cfg(feature = "hub")]
pub mod doctor;

// The processes around it.
#[cfg(feature = "hub")]
pub mod control;
#[cfg(feature = "hub")]
mod vitals;
#[cfg(feature = "hub")]
pub mod logging;
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
pub mod keeper;
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
pub mod lease;
#[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "one side of it is the keeper's and the hub's"))]
#[allow(unsafe_code, reason = "fork, exec, signals, mapped memory and the descriptors a process starts with")]
mod process;
