//! Status codes: the numbers of `push_core::error::Error::code()`, each with a sentence.

use std::ffi::{CStr, c_char, c_int};

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

/// What a status means, as an English sentence; never NULL, also for a number that is none.
///
/// The text lives as long as the library is loaded.
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
        _ => c"there is no such status",
    }
}

#[cfg(test)]
mod tests {
    use push_core::channel::InvalidName;
    use push_core::error::Error;

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
        let mut sentences = vec![text(PUSH_OK), text(-1)];
        for error in errors {
            assert_eq!(status(&error), error.code());
            assert!(!sentences.contains(&text(error.code())), "{error:?}");
            sentences.push(text(error.code()));
        }
        assert_eq!(text(errors_end()), text(-1));
    }

    /// The first number that is not yet given away.
    fn errors_end() -> push_status {
        PUSH_INCOMPATIBLE + 1
    }
}
