//! Publishing: one message, one without waiting, many.

use push_core::error::Error;
use push_core::message::{Kind, NewMessage, Published};

use crate::client::push_client;
use crate::handle::{self, Prefixed, push_bytes, push_text};
use crate::position;
use crate::status::{Failure, guard, push_status};

/// In `flags` of a message: the payload is JSON text. Subscribers who ask for JSON get it as the value it is.
pub const PUSH_JSON: u32 = 1;
/// In `flags` of a message: only the subscriptions open at that moment get it; it is not stored, and its absence is no gap.
pub const PUSH_UNSTORED: u32 = 2;

const FLAGS: u32 = PUSH_JSON | PUSH_UNSTORED;

/// What a publisher may say about a message. `push_publish_options_init()` sets `size` and makes all else 0, which means the
/// default. The texts are borrowed for the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct push_publish_options {
    /// `sizeof(push_publish_options)`
    pub size: usize,
    /// The name of the event, 1 to 1024 bytes without line breaks and NUL.
    pub event: push_text,
    /// The publisher's own id of it, 1 to 1024 bytes without line breaks and NUL.
    pub event_id: push_text,
    /// The channel takes one message only with the same key within `dedupe_window` (5 minutes); a second call gets the result of the
    /// first. 1 to 1024 bytes without line breaks and NUL.
    pub dedupe: push_text,
    /// Seconds to keep it; 0: the `message_ttl` of the channel.
    pub ttl: u32,
    /// `PUSH_JSON`, `PUSH_UNSTORED`, both or 0.
    pub flags: u32,
}

// SAFETY: it is `repr(C)`, begins with its size, and holds numbers and pointers only.
unsafe impl Prefixed for push_publish_options {
    const ZERO: Self = {
        let none = push_text { data: std::ptr::null(), len: 0 };
        Self { size: 0, event: none, event_id: none, dedupe: none, ttl: 0, flags: 0 }
    };
}

/// What a publisher learns of its message.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct push_published {
    /// The channel's number of the message, from 1.
    pub id: u64,
    /// Its position.
    pub position: u64,
    /// Subscriptions open on the channel at that moment.
    pub subscribers: u64,
}

impl From<Published> for push_published {
    fn from(published: Published) -> Self {
        Self {
            id: published.id,
            position: position::number(published.position),
            subscribers: published.subscribers.into(),
        }
    }
}

/// One message of `push_publish_many()`. All of it is borrowed for the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct push_publication {
    /// The channel's name.
    pub channel: push_text,
    /// The body.
    pub payload: push_bytes,
    /// What there is to say about it, or NULL.
    pub options: *const push_publish_options,
}

/// # Safety
/// The pointers are as `push.h` asks.
unsafe fn message<'a>(payload: push_bytes, options: *const push_publish_options) -> Result<NewMessage<'a>, Failure> {
    // SAFETY: the caller's promise.
    let options = unsafe { handle::options("options", options) }?;
    if options.flags & !FLAGS != 0 {
        return Err(Error::InvalidArgument(format!(
            "flags are {:#x}: allowed are PUSH_JSON (1), PUSH_UNSTORED (2), both or 0",
            options.flags
        ))
        .into());
    }
    // SAFETY: the caller's promise.
    unsafe {
        Ok(NewMessage {
            payload: handle::bytes("payload", payload)?,
            kind: if options.flags & PUSH_JSON == 0 { Kind::Bytes } else { Kind::Json },
            event: handle::optional("event", options.event)?,
            event_id: handle::optional("event_id", options.event_id)?,
            ttl: (options.ttl != 0).then_some(options.ttl),
            store: options.flags & PUSH_UNSTORED == 0,
            dedupe: handle::optional("dedupe", options.dedupe)?,
        })
    }
}

/// Publishes a message and waits for its place, at most `timeout` (250 ms).
///
/// `channel`: 1 to `max_channel_id_length` bytes of UTF-8, without NUL and slash; it is created if need be. `payload`: 0 to `max_message_size`
/// bytes. `options`: NULL for the defaults. `published_out`: NULL when nobody wants to know. Arguments are borrowed for the call.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`:
/// nothing was published. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open: publish again with the same `dedupe`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_publish(
    client: *const push_client,
    channel: push_text,
    payload: push_bytes,
    options: *const push_publish_options,
    published_out: *mut push_published,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, message, published_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::name("channel", channel)?,
                message(payload, options)?,
                handle::optional_out(published_out),
            )
        };
        let published = client.call(|client| client.publish(channel, &message))?;
        if let Some(out) = published_out {
            out.write(published.into());
        }
        Ok(())
    })
}

/// Publishes a message without waiting: it returns when the message is in the ring, which survives this process and the hub.
/// What only the hub can know (a configured limit) is logged there and not reported here.
///
/// Arguments as for `push_publish()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE` (above 32 MB), `PUSH_INCOMPATIBLE`, `PUSH_FORKED`, and
/// `PUSH_TIMEOUT` when the ring stays full or `PUSH_HUB_UNAVAILABLE` when there is no hub to attach it to: nothing was published. With
/// a hub in this process it returns what `push_publish()` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_publish_async(
    client: *const push_client,
    channel: push_text,
    payload: push_bytes,
    options: *const push_publish_options,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, message) = unsafe {
            (handle::borrow("client", client)?, handle::name("channel", channel)?, message(payload, options)?)
        };
        client.call(|client| client.publish_async(channel, &message))
    })
}

/// Publishes many messages in their order and waits for their places. All are checked first: none is published when one is
/// refused.
///
/// `messages`: `count` of them, together at most 16 MB; NULL only when `count` is 0. `published_out`: room for `count` results,
/// or NULL.
///
/// Errors: as for `push_publish()`; `PUSH_TOO_LARGE` also for the whole.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_publish_many(
    client: *const push_client,
    messages: *const push_publication,
    count: usize,
    published_out: *mut push_published,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, publications) =
            unsafe { (handle::borrow("client", client)?, handle::slice("messages", messages, count)?) };
        let read = |publication: &push_publication| {
            // SAFETY: as above.
            unsafe {
                let channel = handle::name("channel", publication.channel)?;
                Ok((channel, message(publication.payload, publication.options)?))
            }
        };
        let batch = publications.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        let published = client.call(|client| client.publish_many(batch))?;
        if !published_out.is_null() {
            for (at, published) in published.into_iter().take(count).enumerate() {
                // SAFETY: as above: there is room for `count` of them.
                if let Some(out) = unsafe { handle::optional_out(published_out.add(at)) } {
                    out.write(published.into());
                }
            }
        }
        Ok(())
    })
}
