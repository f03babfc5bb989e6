//! Presence: who is online, in a channel or on the whole site.

use push_core::call::Member;

use crate::channel::check_limit;
use crate::client::push_client;
use crate::handle::{self, push_text};
use crate::status::{Failure, guard, push_status};

/// A user who is online, at one moment. Any thread may read one, a forked child too.
pub struct push_member(Member);

/// A page of members.
pub struct push_member_list(Vec<push_member>);

/// Names of users or channels.
pub struct push_name_list(Vec<String>);

/// Sets a user online: for `ttl` seconds at least, and as long as a connection of the user lives.
///
/// `user`: not empty. `channel`: where; `len` 0: on the whole site. `info`: a JSON object that others are told about the user; `len` 0:
/// what was said before stays. `ttl`: seconds; 0: `presence_ttl`. `changed_out`: whether the user was not online before, or
/// had other info; may be NULL. Arguments are borrowed for the call.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_TOO_LARGE`, `PUSH_LIMIT_EXCEEDED`, `PUSH_INCOMPATIBLE`,
/// `PUSH_FORKED`: nothing was changed. `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_online(
    client: *const push_client,
    user: push_text,
    channel: push_text,
    info: push_text,
    ttl: u32,
    changed_out: *mut bool,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, channel, info, changed_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?.unwrap_or_default(),
                handle::optional_name("channel", channel)?,
                handle::optional("info", info)?.unwrap_or_default(),
                handle::optional_out(changed_out),
            )
        };
        let ttl = (ttl != 0).then_some(ttl);
        let changed = client.call(|client| client.presence_online(user, channel, info.as_bytes(), ttl))?;
        if let Some(out) = changed_out {
            out.write(changed);
        }
        Ok(())
    })
}

/// Sets a user offline at once, without the grace. Connections stay open, and do not count until another one is made.
///
/// `user`: not empty. `channel`: where; `len` 0: on the whole site; in its channels the user stays. `changed_out`: whether the user was online; may be NULL.
///
/// Errors: `PUSH_NULL_ARGUMENT`, `PUSH_INVALID_NAME`, `PUSH_INVALID_ARGUMENT`, `PUSH_INCOMPATIBLE`, `PUSH_FORKED`: nothing was changed.
/// `PUSH_TIMEOUT` and `PUSH_HUB_UNAVAILABLE` during the call leave it open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_offline(
    client: *const push_client,
    user: push_text,
    channel: push_text,
    changed_out: *mut bool,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, channel, changed_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?.unwrap_or_default(),
                handle::optional_name("channel", channel)?,
                handle::optional_out(changed_out),
            )
        };
        let changed = client.call(|client| client.presence_offline(user, channel))?;
        if let Some(out) = changed_out {
            out.write(changed);
        }
        Ok(())
    })
}

/// Whether a user is online. After the first call to the hub this is looked up in memory that the hub shares, which wakes
/// nobody.
///
/// `user`: not empty. `channel`: where; `len` 0: on the whole site. `online_out`: not NULL.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_is_online(
    client: *const push_client,
    user: push_text,
    channel: push_text,
    online_out: *mut bool,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, channel, online_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?.unwrap_or_default(),
                handle::optional_name("channel", channel)?,
                handle::out("online_out", online_out)?,
            )
        };
        online_out.write(client.call(|client| client.presence_is_online(user, channel))?);
        Ok(())
    })
}

/// Which of these users are online, in their order. Looked up as `push_presence_is_online` does, or with one call.
///
/// `users`: `count` of them, none empty. `channel`: where; `len` 0: on the whole site. `list_out`: gets them, to be freed with
/// `push_name_list_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_among(
    client: *const push_client,
    users: *const push_text,
    count: usize,
    channel: push_text,
    list_out: *mut *mut push_name_list,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, users, channel, list_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::slice("users", users, count)?,
                handle::optional_name("channel", channel)?,
                handle::out("list_out", list_out)?,
            )
        };
        // SAFETY: as above.
        let user = |user: &push_text| Ok(unsafe { handle::optional("users", *user) }?.unwrap_or_default());
        let users = users.iter().map(user).collect::<Result<Vec<_>, Failure>>()?;
        let online = client.call(|client| client.presence_among(users, channel))?;
        list_out.write(handle::give(push_name_list(online)));
        Ok(())
    })
}

/// What is known of a user who is online.
///
/// `user`: not empty. `channel`: where; `len` 0: on the whole site. `member_out`: gets it, to be freed with `push_member_free()`, or
/// NULL when the user is not online.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_get(
    client: *const push_client,
    user: push_text,
    channel: push_text,
    member_out: *mut *mut push_member,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, channel, member_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?.unwrap_or_default(),
                handle::optional_name("channel", channel)?,
                handle::out("member_out", member_out)?,
            )
        };
        let member = client.call(|client| client.presence_get(user, channel))?;
        member_out.write(member.map_or(std::ptr::null_mut(), |member| handle::give(push_member(member))));
        Ok(())
    })
}

/// A page of those who are online, in the order of the users.
///
/// `channel`: where; `len` 0: on the whole site. `after`: the user after whom the page begins; `len` 0 for the first page. `limit`: members
/// on the page, 1 to `PUSH_MAX_PAGE`; a page also ends at 1 MiB, so the list is read when a page is empty. `list_out`: gets the page, to be
/// freed with `push_member_list_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`;
/// `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_members(
    client: *const push_client,
    channel: push_text,
    after: push_text,
    limit: u32,
    list_out: *mut *mut push_member_list,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, after, list_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional_name("channel", channel)?,
                handle::optional("after", after)?.unwrap_or_default(),
                handle::out("list_out", list_out)?,
            )
        };
        check_limit(limit)?;
        let page = client.call(|client| client.presence_members(channel, after, limit))?;
        list_out.write(handle::give(push_member_list(page.into_iter().map(push_member).collect())));
        Ok(())
    })
}

/// How many users are online. Several connections of one user count once.
///
/// `channel`: where; `len` 0: on the whole site. `count_out`: not NULL.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_NAME`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_count(
    client: *const push_client,
    channel: push_text,
    count_out: *mut u64,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, channel, count_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional_name("channel", channel)?,
                handle::out("count_out", count_out)?,
            )
        };
        count_out.write(client.call(|client| client.presence_count(channel))?);
        Ok(())
    })
}

/// The channels in which a user is online, in the order of their names.
///
/// `user`: not empty. `list_out`: gets them, to be freed with `push_name_list_free()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT`; `PUSH_HUB_UNAVAILABLE`; `PUSH_TIMEOUT`; `PUSH_INCOMPATIBLE`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_presence_channels(
    client: *const push_client,
    user: push_text,
    list_out: *mut *mut push_name_list,
) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (client, user, list_out) = unsafe {
            (
                handle::borrow("client", client)?,
                handle::optional("user", user)?.unwrap_or_default(),
                handle::out("list_out", list_out)?,
            )
        };
        let channels = client.call(|client| client.presence_channels(user))?;
        list_out.write(handle::give(push_name_list(channels)));
        Ok(())
    })
}

/// Who it is, valid until the member or its page is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_user(member: *const push_member) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live member.
    let member = unsafe { handle::borrow("member", member) };
    handle::lend_optional(member.ok().map(|member| member.0.user.as_str()))
}

/// What others are told about the user, a JSON object, valid until the member or its page is freed; empty for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_info(member: *const push_member) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live member.
    let member = unsafe { handle::borrow("member", member) };
    handle::lend_optional(member.ok().map(|member| if member.0.info.is_empty() { "{}" } else { &member.0.info }))
}

/// Connections open at that moment, 0 while only `push_presence_online()` or the grace after the last one holds; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_connections(member: *const push_member) -> u32 {
    // SAFETY: `push.h` makes the caller promise a live member.
    unsafe { handle::borrow("member", member) }.map_or(0, |member| member.0.connections)
}

/// When the user joined, in seconds since 1970; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_since(member: *const push_member) -> u64 {
    // SAFETY: `push.h` makes the caller promise a live member.
    unsafe { handle::borrow("member", member) }.map_or(0, |member| member.0.since)
}

/// Frees what `push_presence_get()` gave; NULL is fine. Not for a member of a page.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_free(member: *mut push_member) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_presence_get` and was not freed.
        unsafe { handle::free(member) };
        Ok(())
    });
}

/// How many members the page has; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_list_count(list: *const push_member_list) -> usize {
    // SAFETY: `push.h` makes the caller promise a live page.
    unsafe { handle::borrow("list", list) }.map_or(0, |list| list.0.len())
}

/// A member of the page, which keeps it: valid until the page is freed. NULL for a NULL page, and beyond its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_list_borrow(list: *const push_member_list, index: usize) -> *const push_member {
    // SAFETY: `push.h` makes the caller promise a live page.
    let list = unsafe { handle::borrow("list", list) };
    list.ok().and_then(|list| list.0.get(index)).map_or(std::ptr::null(), std::ptr::from_ref)
}

/// Frees a page and its members; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_member_list_free(list: *mut push_member_list) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_presence_members` and was not freed.
        unsafe { handle::free(list) };
        Ok(())
    });
}

/// How many names there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_name_list_count(list: *const push_name_list) -> usize {
    // SAFETY: `push.h` makes the caller promise a live list.
    unsafe { handle::borrow("list", list) }.map_or(0, |list| list.0.len())
}

/// A name of the list, which keeps it: valid until the list is freed. Empty for NULL, and beyond its end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_name_list_borrow(list: *const push_name_list, index: usize) -> push_text {
    // SAFETY: `push.h` makes the caller promise a live list.
    let list = unsafe { handle::borrow("list", list) };
    handle::lend_optional(list.ok().and_then(|list| list.0.get(index)).map(String::as_str))
}

/// Frees the names; NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_name_list_free(list: *mut push_name_list) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from a function that gives one and was not freed.
        unsafe { handle::free(list) };
        Ok(())
    });
}
