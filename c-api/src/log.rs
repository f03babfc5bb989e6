//! The log of the hubs in this process, given to C.

use std::ffi::{c_int, c_void};

use push_core::config::LogLevel;
use push_core::logging;

use crate::handle::{self, User, push_text};
use crate::status::{guard, push_status};

/// A log line says what keeps the hub from doing its work.
pub const PUSH_LOG_ERROR: c_int = 1;
/// A log line says what an operator should look at.
pub const PUSH_LOG_WARN: c_int = 2;
/// A log line is about starts, ends and limits.
pub const PUSH_LOG_INFO: c_int = 3;
/// A log line is about a single connection.
pub const PUSH_LOG_DEBUG: c_int = 4;

/// Gets a log line: its level, one of `PUSH_LOG_ERROR` to `PUSH_LOG_DEBUG`; the line, borrowed for the call; and what was given to
/// `push_log_to()`. Called on threads of the hub and on those that make calls, also on several at a time. It must return soon,
/// and must call neither `push_log_to()` nor a function that ends a hub.
pub type push_log_callback = Option<unsafe extern "C" fn(level: c_int, line: push_text, user: *mut c_void)>;

/// Gives the log lines of the hubs in this process to a function, instead of to what `log` says. `log_level` of the first hub
/// says which lines there are. Returns when the function before is not running any more and will not be called again.
///
/// `callback`: NULL for the log of the configuration again. `user`: handed to it as it is. Any thread may call this; in a forked
/// child there are no hubs and no lines.
///
/// Errors: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_log_to(callback: push_log_callback, user: *mut c_void) -> push_status {
    guard(|| {
        let user = User(user);
        logging::log_to(callback.map(|callback| -> logging::Sink {
            Box::new(move |level, line| {
                let level = match level {
                    LogLevel::Error => PUSH_LOG_ERROR,
                    LogLevel::Warn => PUSH_LOG_WARN,
                    LogLevel::Info => PUSH_LOG_INFO,
                    LogLevel::Debug => PUSH_LOG_DEBUG,
                };
                // SAFETY: `push.h` makes the caller promise that its function can be called on any thread until another
                // one is set.
                unsafe { callback(level, handle::lend(line), user.get()) };
            })
        }));
        Ok(())
    })
}
