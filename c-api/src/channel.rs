//! Channels: creating, deleting, clearing them, and their counters.

use std::ffi::c_char;

use push_core::channel::{ChannelInfo, ChannelOptions};
use push_core::error::Error;

use crate::client::push_client;
use crate::handle::{self, Prefixed, push_bytes, push_text};
use crate::position;
use crate::status::{Failure, guard, push_status};

/// Bytes that hold any channel name with a NUL.
pub const PUSH_NAME_SIZE: usize = 1025;
/// Bytes that hold a generated channel name with a NUL.
pub const PUSH_GENERATED_NAME_SIZE: usize = 32;
/// The most channels or messages that a page may have.
pub const PUSH_MAX_PAGE: u32 = 10_000;

/// In `flags` of a channel: nobody is a member of it, whoever subscribes.
pub const PUSH_WITHOUT_PRESENCE: u32 = 1;

/// What a channel may be given. `push_channel_options_init()` sets `size` and makes all else 0, which means the default.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct push_channel_options {
    /// `sizeof(push_channel_options)`
    pub size: usize,
    /// The user whose private channel it is; borrowed for the call.
    pub owner: push_text,
    /// Seconds without use after which it goes; 0: 24 hours.
    pub ttl: u32,
    /// Stored messages it keeps; 0: `max_messages_stored_per_channel`.
    pub max_messages: u32,
    /// Seconds a stored message lives; 0: `message_ttl`.
    pub message_ttl: u32,
    /// `PUSH_WITHOUT_PRESENCE` or 0.
    pub flags: u32,
}

// SAFETY: it is `repr(C)`, begins with its size, and holds numbers and pointers only.
unsafe impl Prefixed for push_channel_options {
    const ZERO: Self = Self {
        size: 0,
        owner: push_text { data: std::ptr::null(), len: 0 },
        ttl: 0,
        max_messages: 0,
        message_ttl: 0,
        flags: 0,
    };
}

/// A channel's counters at one moment. Any thread may read one, a forked child too.
pub struct push_channel(ChannelInfo);

/// A page of channels.
pub struct push_channel_list(Vec<push_channel>);

/// Creates a channel, or gives an existing one these options.
///
/// `name`: 1 to `max_channel_id_length` bytes of UTF-8, without NUL and slash; with `len` 0 the channel gets an unguessable name.
/// `options`: NULL for the defaults. `name_out`: gets the name and a NUL; it has `size` bytes, for a generated name
/// `PUSH_GENERATED_NAME_SIZE` at least. It may be NULL with a name given.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT` (also when `size` is too small), `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`,
/// `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_create_channel(
    client: *const push_client,
    name: push_text,
    options: *const push_channel_options,
    name_out: *mut c_char,
    size: usize,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, name, options) = unsafe {
            (handle::borrow("client", client)?, handle::name("name", name)?, handle::options("options", options)?)
        };
        let name = (!name.is_empty()).then_some(name);
        // SAFETY: as above.
        let owner = unsafe { handle::optional("owner", options.owner) }?;
        if options.flags & !PUSH_WITHOUT_PRESENCE != 0 {
            return Err(Error::InvalidArgument(format!(
                "flags are {:#x}: allowed are PUSH_WITHOUT_PRESENCE (1) or 0",
                options.flags
            ))
            .into());
        }
        let given = |value: u32| (value != 0).then_some(value);
        let options = ChannelOptions {
            owner: owner.map(str::to_owned),
            ttl: given(options.ttl),
            max_messages: given(options.max_messages),
            message_ttl: given(options.message_ttl),
            presence: options.flags & PUSH_WITHOUT_PRESENCE == 0,
        };
        // Before the channel is made, so that a caller never has one that it does not know.
        match name {
            None if name_out.is_null() => return Err(Failure::Null("name_out")),
            None if size < PUSH_GENERATED_NAME_SIZE => {
                return Err(handle::too_small("name_out", size, PUSH_GENERATED_NAME_SIZE));
            }
            Some(name) if !name_out.is_null() && size <= name.len() => {
                return Err(handle::too_small("name_out", size, name.len() + 1));
            }
            _ => {}
        }
        let created = client.call(|client| client.create_channel(name, options))?;
        if !name_out.is_null() {
            // SAFETY: as above.
            unsafe { handle::write_text("name_out", name_out, size, &created) }?;
        }
        Ok(())
    })
}

/// Deletes a channel with its messages and tells its subscribers.
///
/// `message`: what they are told; `len` 0: `channel_deleted_message_text`. `existed_out`: whether there was one; may be NULL.
/// Arguments are borrowed for the call.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_TOO_LARGE`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and
/// `PUSH_HUB_UNAVAILABLE` during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_delete_channel(
    client: *const push_client,
    channel: push_text,
    message: push_bytes,
    existed_out: *mut bool,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, message, existed_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::name("channel", channel)?,
                handle::bytes("message", message)?,
                handle::optional_out(existed_out),
            )
        };
        let message = (!message.is_empty()).then_some(message);
        let existed = client.call(|client| client.delete_channel(channel, message))?;
        if let Some(out) = existed_out {
            out.write(existed);
        }
        Ok(())
    })
}

/// Drops the stored messages of a channel and keeps its subscribers. A channel that does not exist has none.
///
/// `count_out`: how many there were; may be NULL.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE`
/// during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_clear_channel(
    client: *const push_client,
    channel: push_text,
    count_out: *mut u64,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, count_out) = unsafe {
            (handle::borrow("client", client)?, handle::name("channel", channel)?, handle::optional_out(count_out))
        };
        let count = client.call(|client| client.clear_channel(channel))?;
        if let Some(out) = count_out {
            out.write(count);
        }
        Ok(())
    })
}

/// The counters of a channel.
///
/// `info_out`: gets them, to be freed with `push_channel_free()`.
///
/// Errors: `PUSH_CHANNEL_NOT_FOUND`; `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_info(
    client: *const push_client,
    channel: push_text,
    info_out: *mut *mut push_channel,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, info_out) = unsafe {
            (handle::borrow("client", client)?, handle::name("channel", channel)?, handle::out("info_out", info_out)?)
        };
        let info = client.call(|client| client.channel_info(channel))?;
        let info = info.ok_or_else(|| Error::ChannelNotFound(channel.to_owned()))?;
        info_out.write(handle::give(push_channel(info)));
        Ok(())
    })
}

/// A page of the channels in the order of their names.
///
/// `prefix`: what the names begin with; `len` 0 for all. `after`: the name after which the page begins; `len` 0 for the first page.
/// `limit`: channels on the page, 1 to `PUSH_MAX_PAGE`; one with fewer is the last. `list_out`: gets the page, to be freed with
/// `push_channel_list_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channels(
    client: *const push_client,
    prefix: push_text,
    after: push_text,
    limit: u32,
    list_out: *mut *mut push_channel_list,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, prefix, after, list_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("prefix", prefix)?.unwrap_or_default(),
                handle::optional("after", after)?.unwrap_or_default(),
                handle::out("list_out", list_out)?,
            )
        };
        check_limit(limit)?;
        let page = client.call(|client| client.channels(prefix, after, limit))?;
        list_out.write(handle::give(push_channel_list(page.into_iter().map(push_channel).collect())));
        Ok(())
    })
}

pub(crate) fn check_limit(limit: u32) -> Result<(), Failure> {
    if (1..=PUSH_MAX_PAGE).contains(&limit) {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!("limit is {limit}: allowed is 1 to {PUSH_MAX_PAGE}")).into())
}

/// How many channels the page has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_list_count(list: *const push_channel_list) -> usize {
    // SAFETY: `push.h` makes the caller promise a live page.
    unsafe { handle::borrow("list", list) }.map_or(0, |list| list.0.len())
}

/// A channel of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_list_borrow(list: *const push_channel_list, index: usize) -> *const push_channel {
    // SAFETY: `push.h` makes the caller promise a live page.
    let list = unsafe { handle::borrow("list", list) };
    list.ok().and_then(|list| list.0.get(index)).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Frees a page and its channels; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_list_free(list: *mut push_channel_list) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_channels` and was not freed.
        unsafe { handle::free(list) };
        Ok(())
    });
}

/// Its name, valid until the channel or its page is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_name(channel: *const push_channel) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live channel.
    let channel = unsafe { handle::borrow("channel", channel) };
    handle::lend_optional(channel.ok().map(|channel| channel.0.name.as_str()))
}

/// The user given when it was created, valid until the channel or its page is freed; empty without one, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_owner(channel: *const push_channel) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live channel.
    let channel = unsafe { handle::borrow("channel", channel) };
    handle::lend_optional(channel.ok().and_then(|channel| channel.0.owner.as_deref()))
}

/// Messages published since it exists; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_published(channel: *const push_channel) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live channel.
    unsafe { handle::borrow("channel", channel) }.map_or(0, |channel| channel.0.published)
}

/// Messages stored at that moment; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_stored(channel: *const push_channel) -> u32 {
    // SAFETY: `push.h` makes the caller promise a live channel.
    unsafe { handle::borrow("channel", channel) }.map_or(0, |channel| channel.0.stored)
}

/// Subscriptions open at that moment; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_subscribers(channel: *const push_channel) -> u32 {
    // SAFETY: `push.h` makes the caller promise a live channel.
    unsafe { handle::borrow("channel", channel) }.map_or(0, |channel| channel.0.subscribers)
}

/// Seconds without use after which it goes; 0 for a channel that was made by use alone, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_ttl(channel: *const push_channel) -> u32 {
    // SAFETY: `push.h` makes the caller promise a live channel.
    unsafe { handle::borrow("channel", channel) }.map_or(0, |channel| channel.0.ttl.unwrap_or(0))
}

/// The position of its newest message; `PUSH_POSITION_START` before the first, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_position(channel: *const push_channel) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live channel.
    unsafe { handle::borrow("channel", channel) }.map_or(0, |channel| position::number(channel.0.position))
}

/// Frees what `push_channel_info()` gave; NULL is fine. Not for a channel of a page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_channel_free(channel: *mut push_channel) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_channel_info` and was not freed.
        unsafe { handle::free(channel) };
        Ok(())
    });
}
