//! The wire between processes: bytes through shared memory. This part has never heard of channels.
//!
//! A client makes one segment, a sealed memfd, and passes it to the hub. Two rings lie in it, each with one producer and
//! one consumer, so that no lock is needed, whose holder could be killed:
//!
//! ```text
//! byte   0  magic           8  layout version    16  request bytes Q    24  reply bytes R      (8 bytes each)
//!       32  length and bytes of a note for the next hub (hub writes)
//!      128  requests: head (client writes)
//!      256  requests: tail (hub writes)
//!      384  requests: want data (hub), want room (client)
//!      512  replies:  head (hub writes)
//!      640  replies:  tail (client writes)
//!      768  replies:  want data (client), want room (hub)
//!      896  the key to what the hub shares with the client (hub writes)
//!     1024  how far the hub came with a call (hub writes)
//!     4096  Q bytes of request frames
//!   4096+Q  R bytes of reply frames
//! ```
//!
//! [`segment`] makes, checks and maps the memory, [`ring`] moves messages through it, [`doorbell`] wakes a process that
//! sleeps. What many ask for, they look up themselves in a [`set`]. Both sides can write anything anywhere at any moment, so
//! each checks what it reads and keeps its own place.

pub mod doorbell;
pub mod progress;
pub mod ring;
#[allow(unsafe_code, reason = "maps memory that another process can write")]
pub mod segment;
pub mod set;
