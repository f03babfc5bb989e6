//! `push_config`: the one configuration of hub and clients, filled from C.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use push_core::config::Config;
use push_core::error::Error;

use crate::handle;
use crate::status::{Failure, guard, push_status};

/// A configuration: the keys of the manual (docs/configuration.md) with their values. For one thread at a time.
pub struct push_config(pub(crate) Config);

/// A configuration in which every key has its default. It is the caller's, to be freed with `push_config_free()`.
///
/// Any thread and a forked child may call it.
#[unsafe(no_mangle)]
pub extern "C" fn push_config_new() -> *mut push_config {
    handle::give(push_config(Config::default()))
}

/// Sets a key from its text, as it stands in a configuration file: `push_config_set(config, "message_ttl", "10m")`.
///
/// `key`, `value`: NUL-terminated UTF-8, borrowed for the call. `docs/configuration.md` lists keys and values.
/// A configuration belongs to one thread at a time; a forked child has a copy of its own.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when a text is not UTF-8; `PUSH_INVALID_CONFIG` when there is no such
/// key or it does not take the value. Nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_config_set(
    config: *mut push_config,
    key: *const c_char,
    value: *const c_char,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (config, key, value) = unsafe {
            (handle::borrow_mut("config", config)?, handle::c_str("key", key)?, handle::c_str("value", value)?)
        };
        Ok(config.0.set(utf8("key", key)?, utf8("value", value)?)?)
    })
}

/// Sets what a TOML file says.
///
/// `file`: its path, NUL-terminated, borrowed for the call.
/// A configuration belongs to one thread at a time; a forked child has a copy of its own.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_CONFIG` when the file cannot be read or is wrong: `push_last_error()` names the
/// line. What stands before the wrong line may have been set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_config_load(config: *mut push_config, file: *const c_char) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (config, file) = unsafe { (handle::borrow_mut("config", config)?, handle::c_str("file", file)?) };
        Ok(config.0.load(Path::new(OsStr::from_bytes(file.to_bytes())))?)
    })
}

/// Frees a configuration; NULL is fine. Clients and hubs that were made from it have copies.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_config_free(config: *mut push_config) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_config_new` and was not freed.
        unsafe { handle::free(config) };
        Ok(())
    });
}

/// The configuration given, or that of nobody.
///
/// # Safety
/// It is NULL or leads to a live configuration.
pub(crate) unsafe fn or_default(config: *const push_config) -> Config {
    // SAFETY: the caller's promise.
    unsafe { handle::borrow("config", config) }.map_or_else(|_| Config::default(), |config| config.0.clone())
}

fn utf8<'a>(name: &str, text: &'a CStr) -> Result<&'a str, Failure> {
    text.to_str().map_err(|_| Error::InvalidArgument(format!("{name} must be valid UTF-8")).into())
}
