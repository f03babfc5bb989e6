//! `push_hub`: the hub in this process.

use std::ffi::{CString, c_char};
use std::sync::Arc;

use push_core::config::Address;
use push_core::embedded::Embedded;
use push_core::shm::segment::Birthmark;

use crate::client::push_counters;
use crate::config::{or_default, push_config};
use crate::handle;
use crate::status::{Failure, guard, push_status};

/// A hub in this process: threads of its own, which browsers reach through its addresses and the program through
/// `push_client_embedded()`. Any thread may use it.
pub struct push_hub {
    hub: Arc<Embedded>,
    birthmark: Birthmark,
    addresses: Vec<CString>,
    admin_addresses: Vec<CString>,
}

impl push_hub {
    /// The hub, unless it is in the parent.
    pub(crate) fn shared(&self) -> Result<&Arc<Embedded>, Failure> {
        if self.birthmark.is_ours() { Ok(&self.hub) } else { Err(Failure::Forked("runs the hub")) }
    }
}

/// Starts a hub in this process. It has no `socket`, so that nobody else can attach, and an `admin_listen` only where that was
/// set; port 0 is any free one. Its threads block all signals. Start it after the last fork: a child has no threads of it.
///
/// `config`: what it says is copied; NULL for the defaults. `hub_out`: gets the hub, to be ended with `push_hub_stop()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_START_FAILED`: an address is taken or out of reach, keys do not go together, or the system has
/// no thread or descriptor left: `push_last_error()` says which. Nothing is left behind then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_start(config: *const push_config, hub_out: *mut *mut push_hub) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let (hub_out, config) = unsafe { (handle::out("hub_out", hub_out)?, or_default(config)) };
        let birthmark = handle::birthmark()?;
        let hub = Embedded::start(&config)?;
        let shown = |of: &[Address]| of.iter().map(|address| handle::c_string(&address.to_string())).collect();
        let (addresses, admin_addresses) = (shown(hub.addresses()), shown(hub.admin_addresses()));
        hub_out.write(handle::give(push_hub { hub: Arc::new(hub), birthmark, addresses, admin_addresses }));
        Ok(())
    })
}

/// Where browsers reach the hub, in the order of `listen`: "127.0.0.1:40001" or "unix:/path", with the ports that it got.
///
/// `index`: from 0. The text is valid until the hub is stopped; NULL beyond the last address, and for a NULL hub. Any thread and a
/// forked child may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_address(hub: *const push_hub, index: usize) -> *const c_char {
    // SAFETY: `push.h` makes the caller promise a live hub.
    let hub = unsafe { handle::borrow("hub", hub) };
    hub.ok().and_then(|hub| hub.addresses.get(index)).map_or(std::ptr::null(), |address| address.as_ptr())
}

/// The same for `admin_listen`, where publishers and statistics are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_admin_address(hub: *const push_hub, index: usize) -> *const c_char {
    // SAFETY: `push.h` makes the caller promise a live hub.
    let hub = unsafe { handle::borrow("hub", hub) };
    hub.ok().and_then(|hub| hub.admin_addresses.get(index)).map_or(std::ptr::null(), |address| address.as_ptr())
}

/// The state of the hub.
///
/// `counters_out`: initialized by `push_counters_init()`.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_INVALID_ARGUMENT` when it is not initialized; `PUSH_FORKED`; `PUSH_HUB_UNAVAILABLE` when it has ended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_counters(hub: *const push_hub, counters_out: *mut push_counters) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let hub = unsafe { handle::borrow("hub", hub) }?;
        let status = hub.shared()?.status().map_err(Failure::from)?;
        // SAFETY: as above.
        unsafe { handle::fill("counters_out", counters_out, push_counters::from(status)) }
    })
}

/// Ends the service of the hub: it accepts no more and answers everyone who waits with a position. Returns when that is done, at the
/// latest after `drain_timeout` (10 s). Calls of its clients fail from now on. A second time it does nothing.
///
/// Errors: `PUSH_NULL_ARGUMENT`; `PUSH_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_drain(hub: *const push_hub) -> push_status {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise live arguments for the length of the call.
        let hub = unsafe { handle::borrow("hub", hub) }?;
        hub.shared()?.stop();
        Ok(())
    })
}

/// Drains the hub, unless that was done, and frees it; NULL is fine. Its clients are freed separately, before or after. In a
/// forked child it frees the child's copy and does nothing to the hub.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn push_hub_stop(hub: *mut push_hub) {
    guard(|| {
        // SAFETY: `push.h` makes the caller promise that it came from `push_hub_start` and was not stopped.
        unsafe {
            if let Ok(hub) = handle::borrow("hub", hub) {
                hub.hub.stop();
            }
            handle::free(hub);
        }
        Ok(())
    });
}
