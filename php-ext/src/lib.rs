//! The PHP extension `push`: module, startup, shutdown.
//!
//! It gives PHP the functions of [`functions`] over a client of `push-core`, and lets the master of FPM start the hub.
//! Nothing about messages or channels is decided here. The module's shutdown, which runs in every worker that ends and in
//! forked children, too, is only for the process whose threads are the hub, and for the master of FPM.
#![deny(unsafe_code)]

mod access;
mod convert;
mod functions;
mod hub;
mod ini;
mod message;
mod presence;
#[allow(unsafe_code, reason = "the layer over the Zend API")]
mod zend;

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ext_php_rs::builders::ModuleBuilder;
use ext_php_rs::zend::{ModuleEntry, ModuleGlobal, ModuleGlobals, StaticModuleEntry, php_sapi_name};
use push_core::channel::Namespace;
use push_core::client::Client;

/// What one thread of PHP has.
#[derive(Default)]
pub struct Globals {
    outcome: zend::Parked,
    client: Cell<Option<Client>>,
    timeout: Cell<Option<Duration>>,
    /// `push.namespace`, unless it is empty, or why it is none.
    namespace: RefCell<Option<Result<Namespace, String>>>,
    warns: Cell<bool>,
}

impl ModuleGlobal for Globals {}

static GLOBALS: ModuleGlobals<Globals> = ModuleGlobals::new();

/// What PHP asks the loaded file for.
#[allow(unsafe_code, reason = "PHP finds the module by this name")]
#[unsafe(no_mangle)]
pub extern "C" fn get_module() -> *mut ModuleEntry {
    static MODULE: StaticModuleEntry = StaticModuleEntry::new();
    MODULE.get_or_init(|| {
        let builder = ModuleBuilder::new("push", env!("CARGO_PKG_VERSION"))
            .globals(&GLOBALS)
            .startup_function(startup)
            .shutdown_function(shutdown)
            .info_function(info);
        #[expect(clippy::expect_used, reason = "fails only for a name or version with a NUL byte")]
        let (mut entry, _, mut owned) = builder.try_into().expect("no NUL byte");
        (owned.functions, owned.arg_info) = zend::function_table(functions::FUNCTIONS);
        entry.functions = owned.functions.as_ptr();
        (entry, owned)
    })
}

/// MINIT.
extern "C" fn startup(type_: c_int, module: c_int) -> c_int {
    if type_ == zend::MODULE_TEMPORARY {
        // It would go with the request, and the rings of its process with it. PHP ends the script after this.
        zend::warn_at_start("push: dl() cannot load it; put extension=push into php.ini");
        return zend::FAILURE;
    }
    // Ours alone: another extension written in Rust has its own. The default hook's backtrace costs 140 ms.
    std::panic::set_hook(Box::new(|panic| eprintln!("push: internal error: {panic}")));
    let started = catch_unwind(AssertUnwindSafe(|| {
        ini::register(module);
        convert::register_classes()?;
        if !ini::short_names() {
            zend::remove_function(functions::SHORT_NAME);
        }
        if php_sapi_name().as_deref() == Some("fpm-fcgi") {
            match fpm_serves() {
                Ok(true) => hub::start(),
                Ok(false) => {}
                Err(error) => zend::log_at_start(
                    &format!(
                        "push: no hub was started: {COMMAND_LINE}: {error}; mount /proc, or run the hub as a service"
                    ),
                    zend::Severity::Warning,
                ),
            }
        }
        Ok::<_, String>(())
    }));
    match started {
        Ok(Ok(())) => zend::SUCCESS,
        Ok(Err(error)) => {
            zend::warn_at_start(&format!("push: {error}"));
            zend::FAILURE
        }
        Err(_) => zend::FAILURE,
    }
}

/// MSHUTDOWN: after the last destructor of the last script, also after `exit()` and a fatal error.
extern "C" fn shutdown(_: c_int, _: c_int) -> c_int {
    // A panic was reported by the hook, and PHP goes on ending.
    let _ = catch_unwind(hub::stop);
    zend::SUCCESS
}

/// MINFO.
extern "C" fn info(module: *mut ModuleEntry) {
    let rows = catch_unwind(|| {
        let mut rows = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        rows.extend(hub::info());
        rows
    });
    zend::info(module, rows.as_ref().map_or(&[], |rows| rows.as_slice()));
}

const COMMAND_LINE: &str = "/proc/self/cmdline";

/// Whether this FPM is going to serve; `-t` and the like start the modules too, and end.
fn fpm_serves() -> std::io::Result<bool> {
    Ok(serves(std::fs::read(COMMAND_LINE)?.split(|byte| *byte == 0).skip(1)))
}

/// Reads the arguments as FPM's `php_getopt` does. What it does not know ends FPM with its usage.
fn serves<'a>(mut arguments: impl Iterator<Item = &'a [u8]>) -> bool {
    while let Some(argument) = arguments.next() {
        if let Some(long) = argument.strip_prefix(b"--") {
            let mut parts = long.splitn(2, |byte| *byte == b'=');
            match parts.next() {
                Some(b"nodaemonize" | b"daemonize" | b"force-stderr" | b"allow-to-run-as-root" | b"no-php-ini") => {}
                Some(b"php-ini" | b"define" | b"fpm-config" | b"prefix" | b"pid") => {
                    if parts.next().is_none() {
                        arguments.next();
                    }
                }
                _ => return false,
            }
        } else if let Some(flags) = argument.strip_prefix(b"-") {
            for (at, flag) in flags.iter().enumerate() {
                match flag {
                    b'n' | b'R' | b'D' | b'F' | b'O' | b'e' => {}
                    b'c' | b'd' | b'y' | b'p' | b'g' => {
                        if at + 1 == flags.len() {
                            arguments.next();
                        }
                        break;
                    }
                    _ => return false,
                }
            }
        }
    }
    true
}
