//! `push_subscription`: messages into the event loop of a program.

use std::ffi::c_int;
use std::os::fd::AsRawFd;

use push_core::client::Subscription;
use push_core::shm::segment::Birthmark;

use crate::client::push_client;
use crate::handle::{self, push_text};
use crate::message::push_message;
use crate::position;
use crate::status::{Failure, guard, push_status};

/// A subscription to channels: an attach of its own, so that calls of a client never wait for it. For one thread at a time. A forked
/// child may only free it.
pub struct push_subscription {
    subscription: Subscription,
    birthmark: Birthmark,
}

/// Subscribes to channels at the hub of a client. Those that do not exist are created.
///
/// `client`: says where the hub is; it may be freed before the subscription. `channels`: `count` names, at least 1 and at most
/// `max_channels_per_subscription`, borrowed for the call. `position`: the position of the last message seen, `PUSH_POSITION_NOW` for what comes
/// from now on, `PUSH_POSITION_START` for all that is stored. `subscription_out`: gets the subscription, to be freed with
/// `push_subscription_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_LIMIT_EXCEEDED`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_subscribe(
    client: *const push_client,
    channels: *const push_text,
    count: usize,
    position: u64,
    subscription_out: *mut *mut push_subscription,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channels, subscription_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::slice("channels", channels, count)?,
                handle::out("subscription_out", subscription_out)?,
            )
        };
        // SAFETY: as above.
        let names = channels.iter().map(|channel| unsafe { handle::name("channels", *channel) });
        let names = names.collect::<Result<Vec<_>, Failure>>()?;
        let way = client.way()?.client();
        let birthmark = handle::birthmark()?;
        let position = (position != position::PUSH_POSITION_NOW).then(|| position::position(position));
        let subscription = Subscription::new(way, &names, position)?;
        subscription_out.write(handle::give(push_subscription { subscription, birthmark }));
        Ok(())
    })
}

/// A descriptor that is readable as long as there may be a message, for `poll()`, `select()`, `epoll` and event loops. It is the same
/// during the whole life of the subscription, also when the hub is another; nobody but the library reads it. When it is readable call
/// `push_subscription_next()`. -1 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_subscription_fd(subscription: *const push_subscription) -> c_int {
    // SAFETY: `push.h` makes the caller promise a live subscription.
    let subscription = unsafe { handle::borrow("subscription", subscription) };
    subscription.map_or(-1, |subscription| subscription.subscription.descriptor().as_raw_fd())
}

/// What came next. Does not wait for messages; to find a hub again it waits at most `timeout`.
///
/// `message_out`: gets a message, to be freed with `push_message_free()`, or NULL when there is none now: wait for the descriptor.
/// `push_message_type()` tells a message from a gap and from the end of a channel.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE`, `PUSH_TIMEOUT`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`: the hub is gone and no other one has taken
/// the subscription so far. Keep it and wait for the descriptor, which is readable when it is time to call again; when a hub is there
/// it goes on after the last message, and says what it misses as a gap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_subscription_next(
    subscription: *mut push_subscription,
    message_out: *mut *mut push_message,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (subscription, message_out) =
            unsafe { (handle::borrow_mut("subscription", subscription)?, handle::out("message_out", message_out)?) };
        if !subscription.birthmark.is_ours() {
            return Err(Failure::Forked("has subscribed: subscribe here"));
        }
        let next = subscription.subscription.receive()?;
        message_out.write(next.map_or(std::ptr::null_mut(), |delivery| handle::give(push_message::from(delivery))));
        Ok(())
    })
}

/// The position up to which `push_subscription_next()` has given everything: keep it, and `push_subscribe()` goes on from there.
/// `PUSH_POSITION_START` for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_subscription_position(subscription: *const push_subscription) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live subscription.
    let subscription = unsafe { handle::borrow("subscription", subscription) };
    subscription.map_or(0, |subscription| position::number(subscription.subscription.position()))
}

/// Ends a subscription and frees it; NULL is fine. Messages that it gave stay. In a forked child it goes on in the parent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_subscription_free(subscription: *mut push_subscription) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_subscribe` and was not freed.
        unsafe { handle::free(subscription) };
        Ok(())
    });
}
