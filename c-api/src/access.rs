//! Who may come, and who has to go: tokens, and ending connections.

use std::ffi::c_char;

use push_core::call::MAX_TOKEN;

use crate::client::push_client;
use crate::handle::{self, push_text};
use crate::status::{Failure, guard, push_status};

/// Bytes that hold any token with a NUL.
pub const PUSH_TOKEN_SIZE: usize = 6145;

const _: () = assert!(PUSH_TOKEN_SIZE == MAX_TOKEN + 1);

/// Signs a token for a browser: it opens these channels to whoever sends it, and says who that is.
///
/// `channels`: `count` of them, one at least; each a name, or what names begin with and `*`. `user`: whose connections they are;
/// `len` 0: nobody's. `ttl`: seconds, 2592000 at most; 0: 3600. `info`: a JSON object that presence tells others about the
/// user; `len` 0: nothing. `publish`: its holder may publish there, too. `token_out`: gets the token and a NUL; it has `size` bytes,
/// `PUSH_TOKEN_SIZE` at least.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_token(
    client: *const push_client,
    channels: *const push_text,
    count: usize,
    user: push_text,
    ttl: u32,
    info: push_text,
    publish: bool,
    token_out: *mut c_char,
    size: usize,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channels, user, info) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::slice("channels", channels, count)?,
                handle::optional("user", user)?,
                handle::optional("info", info)?.unwrap_or_default(),
            )
        };
        if token_out.is_null() {
            return Err(Failure::Null("token_out"));
        }
        if size < PUSH_TOKEN_SIZE {
            return Err(handle::too_small("token_out", size, PUSH_TOKEN_SIZE));
        }
        // SAFETY: as above.
        let channel = |text: &push_text| Ok(unsafe { handle::optional("channels", *text) }?.unwrap_or_default());
        let channels = channels.iter().map(channel).collect::<Result<Vec<_>, Failure>>()?;
        let ttl = if ttl == 0 { 3600 } else { ttl };
        let token = client.call(|client| client.token(&channels, user, ttl, info.as_bytes(), publish))?;
        // SAFETY: as above.
        unsafe { handle::write_text("token_out", token_out, size, &token) }?;
        Ok(())
    })
}

/// Ends connections of browsers: those of a user, those to a channel, or where both are given those of the user to the channel.
///
/// `user`, `channel`: one of them with `len` above 0. `reason`: what they are told, one line of at most 123 bytes. `revoke`: tokens
/// that were issued until now open nothing any more: those of the user, for the channel, or both. `count_out`: how many
/// connections there were; may be NULL. Arguments are borrowed for the call.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT` (also when there is neither), `PUSH_LIMIT_EXCEEDED`,
/// `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_disconnect(
    client: *const push_client,
    user: push_text,
    channel: push_text,
    reason: push_text,
    revoke: bool,
    count_out: *mut u64,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, channel, reason, count_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?,
                handle::optional_name("channel", channel)?,
                handle::optional("reason", reason)?.unwrap_or_default(),
                handle::optional_out(count_out),
            )
        };
        let count = client.call(|client| client.disconnect(user, channel, reason, revoke))?;
        if let Some(out) = count_out {
            out.write(count);
        }
        Ok(())
    })
}
