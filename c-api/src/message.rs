//! Messages that were published: read back from history, or received.

use std::ffi::c_int;

use push_core::call::{Delivery, StoredMessage};
use push_core::message::{Kind, Position};

use crate::channel::check_limit;
use crate::client::push_client;
use crate::handle::{self, push_bytes, push_text};
use crate::position;
use crate::status::{guard, push_status};

/// The type of what was published.
pub const PUSH_MESSAGE: c_int = 0;
/// The type of a gap: messages before its position are missing, because they had expired, or the hub is another one. What follows
/// is complete again. It has nothing but its position.
pub const PUSH_GAP: c_int = 1;
/// The type of the end of a channel: it was deleted, and the subscription goes on without it. It has the channel, its position, and as
/// payload what the subscribers are told.
pub const PUSH_CHANNEL_DELETED: c_int = 2;

/// A message. Any thread may read one, a forked child too.
pub struct push_message {
    kind: c_int,
    channel: String,
    message: StoredMessage,
}

impl From<Delivery> for push_message {
    fn from(delivery: Delivery) -> Self {
        let of_the_hub = |position: Position, payload| StoredMessage {
            id: 0,
            position,
            kind: Kind::Bytes,
            event: None,
            event_id: None,
            payload,
        };
        match delivery {
            Delivery::Message { channel, message } => Self { kind: PUSH_MESSAGE, channel, message },
            Delivery::Gap(position) => {
                Self { kind: PUSH_GAP, channel: String::new(), message: of_the_hub(position, Vec::new()) }
            }
            Delivery::Deleted { channel, text, position } => {
                Self { kind: PUSH_CHANNEL_DELETED, channel, message: of_the_hub(position, text) }
            }
        }
    }
}

/// A page of messages.
pub struct push_message_list(Vec<push_message>);

/// A page of a channel's stored messages, oldest first. A channel that does not exist has none.
///
/// `after`: the position after which the page begins; `PUSH_POSITION_START` for the oldest stored. `limit`: messages on the page, 1 to
/// `PUSH_MAX_PAGE`; it also ends at 1 MB of messages. The next page begins after the position of its last message; an empty page is
/// the end. `list_out`: gets the page, to be freed with `push_message_list_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_history(
    client: *const push_client,
    channel: push_text,
    after: u64,
    limit: u32,
    list_out: *mut *mut push_message_list,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, list_out) = unsafe {
            (handle::borrow("client", client)?, handle::name("channel", channel)?, handle::out("list_out", list_out)?)
        };
        check_limit(limit)?;
        let page = client.call(|client| client.history(channel, position::position(after), limit))?;
        let page =
            page.into_iter().map(|message| push_message { kind: PUSH_MESSAGE, channel: channel.to_owned(), message });
        list_out.write(handle::give(push_message_list(page.collect())));
        Ok(())
    })
}

/// How many messages the page has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_list_count(list: *const push_message_list) -> usize {
    // SAFETY: `push.h` makes the caller promise a live page.
    unsafe { handle::borrow("list", list) }.map_or(0, |list| list.0.len())
}

/// A message of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_list_borrow(list: *const push_message_list, index: usize) -> *const push_message {
    // SAFETY: `push.h` makes the caller promise a live page.
    let list = unsafe { handle::borrow("list", list) };
    list.ok().and_then(|list| list.0.get(index)).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Frees a page and its messages; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_list_free(list: *mut push_message_list) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_history` and was not freed.
        unsafe { handle::free(list) };
        Ok(())
    });
}

/// `PUSH_MESSAGE`, `PUSH_GAP` or `PUSH_CHANNEL_DELETED`; -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_type(message: *const push_message) -> c_int {
    // SAFETY: `push.h` makes the caller promise a live message.
    unsafe { handle::borrow("message", message) }.map_or(-1, |message| message.kind)
}

/// The name of its channel, valid until the message or its page is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_channel(message: *const push_message) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live message.
    let message = unsafe { handle::borrow("message", message) };
    handle::lend_optional(message.ok().map(|message| message.channel.as_str()))
}

/// Its body, valid until the message or its page is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_payload(message: *const push_message) -> push_bytes {
    // SAFETY: `push.h` makes the caller promise a live message.
    let message = unsafe { handle::borrow("message", message) };
    message.map_or(handle::lend_bytes(&[]), |message| handle::lend_bytes(&message.message.payload))
}

/// Whether its publisher gave it as JSON; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_is_json(message: *const push_message) -> bool {
    // SAFETY: `push.h` makes the caller promise a live message.
    unsafe { handle::borrow("message", message) }.is_ok_and(|message| message.message.kind == Kind::Json)
}

/// The name of its event, valid until the message or its page is freed; empty without one, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_event(message: *const push_message) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live message.
    let message = unsafe { handle::borrow("message", message) };
    handle::lend_optional(message.ok().and_then(|message| message.message.event.as_deref()))
}

/// The publisher's own id of it, valid until the message or its page is freed; empty without one, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_event_id(message: *const push_message) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live message.
    let message = unsafe { handle::borrow("message", message) };
    handle::lend_optional(message.ok().and_then(|message| message.message.event_id.as_deref()))
}

/// The channel's number of it, from 1; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_id(message: *const push_message) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live message.
    unsafe { handle::borrow("message", message) }.map_or(0, |message| message.message.id)
}

/// Frees what `push_subscription_next()` gave; NULL is fine. Not for a message of a page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_free(message: *mut push_message) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_subscription_next` and was not freed.
        unsafe { handle::free(message) };
        Ok(())
    });
}

/// Its position; `PUSH_POSITION_START` for NULL. `PUSH_POSITION_TIME()` gives the second of its publication.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_message_position(message: *const push_message) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live message.
    unsafe { handle::borrow("message", message) }.map_or(0, |message| position::number(message.message.position))
}
