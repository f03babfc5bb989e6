//! Positions: one number in C, `<time>.<tag>` in URLs and JSON.

use std::ffi::c_char;

use push_core::error::Error;
use push_core::message::{InvalidPosition, Position};

use crate::handle::{self, push_text};
use crate::status::{Failure, guard, push_status};

/// The position before everything: all that is stored.
pub const PUSH_POSITION_START: u64 = 0;
/// For `push_subscribe()`: what comes from now on.
pub const PUSH_POSITION_NOW: u64 = 0xffff_ffff_ffff_ffff;
/// Bytes that hold any position as text, with its NUL.
pub const PUSH_POSITION_SIZE: usize = 24;

pub(crate) fn number(position: Position) -> u64 {
    u64::from(position.time) << 32 | u64::from(position.tag)
}

pub(crate) fn position(number: u64) -> Position {
    Position { time: (number >> 32) as u32, tag: number as u32 }
}

/// Writes a position as browsers and PHP know it, such as "1767225600.3".
///
/// `text_out`: `size` bytes, of which `PUSH_POSITION_SIZE` are always enough; a NUL is written behind the text.
/// Any thread and a forked child may call it.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when `size` is too small.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_position_text(position: u64, text_out: *mut c_char, size: usize) -> push_status {
    guard(|| {
        let text = self::position(position).to_string();
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        unsafe { handle::write_text("text_out", text_out, size, &text) }
    })
}

/// Reads a position from its text.
///
/// `text`: two decimal numbers below 2^32 with a dot between. `position_out`: not NULL.
/// Any thread and a forked child may call it.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when the text is no position.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_position_parse(text: push_text, position_out: *mut u64) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (text, position_out) =
            unsafe { (handle::optional("text", text)?, handle::out("position_out", position_out)?) };
        let parsed = text.unwrap_or_default().parse::<Position>();
        let position = parsed.map_err(|error: InvalidPosition| Error::InvalidArgument(error.to_string()))?;
        position_out.write(number(position));
        Ok::<(), Failure>(())
    })
}
