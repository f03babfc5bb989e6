//! libpush: the C interface of Push.
//!
//! Conventions: names are `push_<verb>` on a client and `push_<type>_<verb>` on anything else; a call that can fail returns
//! a `push_status`. `include/push.h` is generated from this crate and committed; a test compares them.
#![deny(unsafe_code)]
#![allow(non_camel_case_types, reason = "types carry the names they have in C")]

pub mod status;

use std::ffi::{CStr, c_char};

/// The version of this library, such as "0.1.0".
///
/// The text lives as long as the library is loaded.
#[allow(unsafe_code, reason = "C finds the function by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn push_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}
