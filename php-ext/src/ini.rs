//! INI entries and the configuration they give.
//!
//! Each key of the core's `Config` is `push.<key>`; beside them stand `push.config` (a TOML file, which the entries
//! override), `push.hub` and `push.short_names`. All are SYSTEM except `push.timeout`, which a script may set for its own
//! calls. An empty entry is not set, except that PHP turns `Off` and `none` into an empty text: given in a file or by
//! `-d`, that text is offered to the key, and only one that has no such value ignores it.

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use ext_php_rs::ffi;
use ext_php_rs::flags::IniEntryPermission;
use ext_php_rs::zend::IniEntryDef;
use push_core::config::Config;

use crate::{GLOBALS, zend};

/// Where the hub's binary is when `push.hub` does not say; set by the build of a package.
const HUB: &str = match option_env!("PUSH_HUB_PATH") {
    Some(path) => path,
    None => "/usr/local/sbin/push-hub",
};

/// `IniEntryDef` holds pointers, here into leaked texts only.
struct Entries(Vec<IniEntryDef>);

// SAFETY: built once, never changed, and what it points to lives as long as the process.
unsafe impl Send for Entries {}
// SAFETY: as above.
unsafe impl Sync for Entries {}

/// Registers the entries; in MINIT, which may run again in the same process.
pub(crate) fn register(module: c_int) {
    static ENTRIES: OnceLock<Entries> = OnceLock::new();
    let entries = ENTRIES.get_or_init(|| {
        let system = |name: &'static CStr, default| IniEntryDef::new(name, default, IniEntryPermission::System);
        let mut entries =
            vec![system(c"push.config", c""), system(c"push.hub", c""), system(c"push.short_names", c"1")];
        for key in Config::keys() {
            // A key's name has no NUL; PHP keeps pointers to the name from 8.5 on.
            let name: &'static CStr = Box::leak(CString::new(format!("push.{}", key.name)).unwrap_or_default().into());
            if key.name == "timeout" {
                let mut entry = IniEntryDef::new(name, c"", IniEntryPermission::All);
                entry.on_modify = Some(timeout_changed);
                entries.push(entry);
            } else {
                entries.push(system(name, c""));
            }
        }
        entries.push(IniEntryDef::end());
        Entries(entries)
    });
    IniEntryDef::register(&entries.0, module);
}

/// PHP calls it for `ini_set('push.timeout', ...)`, at the end of the request with the value of the start, and at the
/// start. There a wrong value passes: [`load`] refuses it with all others, and with a text that says what is allowed.
extern "C" fn timeout_changed(
    _: *mut ffi::zend_ini_entry,
    value: *mut ffi::zend_string,
    _: *mut c_void,
    _: *mut c_void,
    _: *mut c_void,
    stage: c_int,
) -> c_int {
    const STARTUP: c_int = 1;
    // SAFETY: PHP passes the new value, or null for none.
    let text = unsafe { zend::ini_text(value) };
    let timeout = parse_timeout(&text);
    if timeout.is_none() && !text.is_empty() && stage != STARTUP {
        return zend::FAILURE;
    }
    GLOBALS.get().timeout.set(timeout);
    zend::SUCCESS
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let mut config = Config::default();
    config.set("timeout", text).ok().map(|()| config.timeout)
}

/// The configuration that `push.config` and the entries give.
pub(crate) fn load() -> Result<Config, String> {
    let mut config = Config::default();
    if let Some(file) = zend::ini("push.config") {
        config.load(Path::new(&file)).map_err(|error| format!("push.config: {error}"))?;
    }
    for key in Config::keys() {
        let name = format!("push.{}", key.name);
        match zend::ini(&name) {
            Some(value) => config.set(key.name, &value).map_err(|error| format!("push.{error}"))?,
            // `Off` or `none`, or an empty text where there is neither: see the top of this file.
            None if zend::ini_given(&name) => drop(config.set(key.name, "")),
            None => {}
        }
    }
    config.check().map_err(|error| error.to_string())?;
    Ok(config)
}

/// `push.hub`: the binary that FPM starts.
pub(crate) fn hub() -> PathBuf {
    zend::ini("push.hub").unwrap_or_else(|| HUB.to_owned()).into()
}

/// `push.short_names`.
pub(crate) fn short_names() -> bool {
    let value = zend::ini("push.short_names").unwrap_or_default().to_ascii_lowercase();
    !matches!(value.as_str(), "" | "0" | "off" | "no" | "false")
}
