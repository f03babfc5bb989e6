//! Status codes: the numbers of `push_core::error::Error::code()` and, below 0, those that only C needs; each with a
//! sentence. `guard` makes one of whatever happens in a call.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use push_core::config::ConfigError;
use push_core::error::Error;
use push_core::keeper::StartError;

use crate::handle;

/// What a call comes back with: `PUSH_OK` or the number of what went wrong. A number is never reused.
pub type push_status = c_int;

/// The call did what it says.
pub const PUSH_OK: push_status = 0;
/// The text is no channel name; the call can never succeed with it.
pub const PUSH_INVALID_NAME: push_status = 1;
/// Another argument is wrong.
pub const PUSH_INVALID_ARGUMENT: push_status = 2;
/// The payload is over `max_message_size`.
pub const PUSH_TOO_LARGE: push_status = 3;
/// A configured maximum is reached.
pub const PUSH_LIMIT_EXCEEDED: push_status = 4;
/// There is no such channel.
pub const PUSH_CHANNEL_NOT_FOUND: push_status = 5;
/// The caller may not do this.
pub const PUSH_ACCESS_DENIED: push_status = 6;
/// No hub answers: not started, ended during the call, or its socket is out of reach.
pub const PUSH_HUB_UNAVAILABLE: push_status = 7;
/// The hub did not answer in time. An acknowledged call may still take effect.
pub const PUSH_TIMEOUT: push_status = 8;
/// Hub and library are of builds that do not speak the same protocol.
pub const PUSH_INCOMPATIBLE: push_status = 9;
/// A pointer that must lead somewhere is NULL.
pub const PUSH_NULL_ARGUMENT: push_status = -1;
/// A defect of the library. The call may have been done by half; the handles can be used and freed.
pub const PUSH_PANIC: push_status = -2;
/// This process is a forked child, and what the call is about is in its parent.
pub const PUSH_FORKED: push_status = -3;
/// A key, a value or a file of the configuration is wrong.
pub const PUSH_INVALID_CONFIG: push_status = -4;
/// A hub cannot be started here: an address is taken, or its configuration does not fit together.
pub const PUSH_START_FAILED: push_status = -5;

/// What a status means, as an English sentence; never NULL, also for a number that is none.
///
/// The text lives as long as the library is loaded. What went wrong in a particular call says `push_last_error()`.
/// Any thread and a forked child may call it.
#[allow(unsafe_code, reason = "C finds the function by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn push_status_text(status: push_status) -> *const c_char {
    text(status).as_ptr()
}

fn text(status: push_status) -> &'static CStr {
    match status {
        PUSH_OK => c"the call did what it says",
        PUSH_INVALID_NAME => c"the channel name is empty, too long, reserved, not UTF-8, or has a NUL byte or a slash",
        PUSH_INVALID_ARGUMENT => c"an argument is wrong",
        PUSH_TOO_LARGE => c"the message is larger than max_message_size",
        PUSH_LIMIT_EXCEEDED => c"a configured maximum is reached",
        PUSH_CHANNEL_NOT_FOUND => c"there is no such channel",
        PUSH_ACCESS_DENIED => c"the caller may not do this",
        PUSH_HUB_UNAVAILABLE => {
            c"no hub answers: it is not started, ended during the call, or its socket is out of reach"
        }
        PUSH_TIMEOUT => c"the hub did not answer in time; the call may still take effect",
        PUSH_INCOMPATIBLE => c"hub and library do not speak the same protocol: restart the older of the two",
        PUSH_NULL_ARGUMENT => c"a pointer that must lead somewhere is NULL",
        PUSH_PANIC => c"the library failed by a defect of its own; please report it",
        PUSH_FORKED => c"this process was forked from the one that owns the handle: open one here",
        PUSH_INVALID_CONFIG => c"a key, a value or a file of the configuration is wrong",
        PUSH_START_FAILED => c"the hub cannot be started in this process",
        _ => c"there is no such status",
    }
}

/// Why a call did not do what it says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The argument of this name.
    #[error("{0} is NULL")]
    Null(&'static str),
    /// Of this text.
    #[error("internal error, please report it: {0}")]
    Panic(String),
    /// What is in the parent.
    #[error("this process was forked from the one that {0}")]
    Forked(&'static str),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Core(#[from] Error),
}

impl Failure {
    fn status(&self) -> push_status {
        match self {
            Self::Null(_) => PUSH_NULL_ARGUMENT,
            Self::Panic(_) => PUSH_PANIC,
            Self::Forked(_) => PUSH_FORKED,
            Self::Config(_) => PUSH_INVALID_CONFIG,
            Self::Start(_) => PUSH_START_FAILED,
            Self::Core(error) => error.code(),
        }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// What went wrong in the last call of this thread that failed, as an English sentence: which value, what is allowed, what
/// to do. Never NULL; empty before the first failure.
///
/// The text lives until the next call of this thread that fails, or until the thread ends. Calls that succeed leave it.
/// A forked child has the text of the thread that forked it.
#[allow(unsafe_code, reason = "C finds the function by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn push_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Runs a call: gives its status and keeps the sentence of its failure. A panic does not get out.
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> push_status {
    let outcome = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(Failure::Panic(said(&*panic))));
    let Err(failure) = outcome else { return PUSH_OK };
    let sentence = handle::c_string(&failure.to_string());
    // Without it when the thread is ending.
    let _ = LAST.try_with(|last| last.replace(sentence));
    failure.status()
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

#[cfg(test)]
mod tests {
    use push_core::channel::InvalidName;

    use super::*;

    /// The match has no arm for "any other", so a new error does not compile until it has a status here.
    fn status(error: &Error) -> push_status {
        match error {
            Error::InvalidName(_) => PUSH_INVALID_NAME,
            Error::InvalidArgument(_) => PUSH_INVALID_ARGUMENT,
            Error::TooLarge { .. } => PUSH_TOO_LARGE,
            Error::LimitExceeded(_) => PUSH_LIMIT_EXCEEDED,
            Error::ChannelNotFound(_) => PUSH_CHANNEL_NOT_FOUND,
            Error::AccessDenied(_) => PUSH_ACCESS_DENIED,
            Error::HubUnavailable(_) => PUSH_HUB_UNAVAILABLE,
            Error::Timeout { .. } => PUSH_TIMEOUT,
            Error::Incompatible { .. } => PUSH_INCOMPATIBLE,
        }
    }

    #[test]
    fn a_status_is_the_code_of_the_error_and_has_a_sentence_of_its_own() {
        const NONE: push_status = push_status::MAX;
        let name = String::new;
        let errors = [
            Error::InvalidName(InvalidName::Empty),
            Error::InvalidArgument(name()),
            Error::TooLarge { len: 2, limit: 1 },
            Error::LimitExceeded(push_core::error::Limit::Memory(1)),
            Error::ChannelNotFound(name()),
            Error::AccessDenied(name()),
            Error::HubUnavailable(name()),
            Error::Timeout { milliseconds: 1 },
            Error::Incompatible { found: 2, expected: 1 },
        ];
        let mut sentences = vec![text(PUSH_OK), text(NONE)];
        for error in errors {
            assert_eq!(status(&error), error.code());
            assert!(!sentences.contains(&text(error.code())), "{error:?}");
            sentences.push(text(error.code()));
        }
        assert_eq!(text(PUSH_INCOMPATIBLE + 1), text(NONE));
        for own in PUSH_START_FAILED..PUSH_OK {
            assert!(!sentences.contains(&text(own)), "{own}");
            sentences.push(text(own));
        }
        assert_eq!(text(PUSH_START_FAILED - 1), text(NONE));
    }

    #[test]
    fn a_panic_is_a_status_and_its_text_the_last_error() {
        assert_eq!(guard(|| panic!("of {}", "course")), PUSH_PANIC);
        LAST.with(|last| {
            assert_eq!(&**last.borrow(), c"internal error, please report it: of course");
        });
        assert_eq!(guard(|| Ok(())), PUSH_OK);
        assert_eq!(guard(|| Err(Failure::Null("client"))), PUSH_NULL_ARGUMENT);
        LAST.with(|last| assert_eq!(&**last.borrow(), c"client is NULL"));
    }
}
