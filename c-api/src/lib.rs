//! libpush: the C interface of Push.
//!
//! Conventions: names are `push_<verb>` on a client and `push_<type>_<verb>` on anything else; a call that can fail returns
//! a `push_status`. Each function is the call into [`handle`] and one into `push-core`; nothing is decided here.
//! `include/push.h` and `include/push.ffi.h` are generated from this crate and committed; a test compares them.
#![deny(unsafe_code)]
#![allow(non_camel_case_types, reason = "types carry the names they have in C")]
#![allow(clippy::missing_safety_doc, reason = "the beginning of push.h says what callers keep, once for all functions")]

#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod access;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod channel;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod client;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod config;
#[allow(unsafe_code, reason = "pointers of C become references here")]
pub mod handle;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod hub;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod log;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod message;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod position;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod presence;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod publish;
pub mod status;
#[allow(unsafe_code, reason = "C finds the functions by their names, and passes pointers")]
pub mod subscription;

use std::ffi::{CStr, c_char};

/// Of the version of this header, the number before the first dot.
pub const PUSH_VERSION_MAJOR: u32 = 0;
/// Of the version of this header, the number between the dots.
pub const PUSH_VERSION_MINOR: u32 = 1;
/// Of the version of this header, the number after the second dot.
pub const PUSH_VERSION_PATCH: u32 = 0;

/// The version of this library, such as "0.1.0". That of the header is `PUSH_VERSION`.
///
/// The text lives as long as the library is loaded. Any thread and a forked child may call it.
#[allow(unsafe_code, reason = "C finds the function by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn push_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// The version of this library as a number, to be compared with the `PUSH_VERSION_NUMBER` of the header.
///
/// Any thread and a forked child may call it.
#[allow(unsafe_code, reason = "C finds the function by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn push_version_number() -> u32 {
    PUSH_VERSION_MAJOR * 1_000_000 + PUSH_VERSION_MINOR * 1_000 + PUSH_VERSION_PATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_package() {
        let numbers = format!("{PUSH_VERSION_MAJOR}.{PUSH_VERSION_MINOR}.{PUSH_VERSION_PATCH}");
        assert_eq!(numbers, env!("CARGO_PKG_VERSION"));
    }
}
