//! INI entries and the configuration they give.
//!
//! Each key of the core's `Config` is `push.<key>`; beside them stand `push.config` (a TOML file, which the entries
//! override), `push.mode`, `push.hub`, `push.short_names` and `push.on_unavailable`. All are SYSTEM except the last and `push.timeout`,
//! which a script may set for its own calls; `push.namespace` is read again where a pool of php-fpm sets it for its workers. An empty entry is not set, except that PHP turns `Off` and `none` into an empty text: given in a file or by
//! `-d`, that text is offered to the key, and only one that has no such value ignores it.

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::time::Duration;

use push_core::config::Config;

use crate::zend::IniEntry;
use crate::{GLOBALS, zend};

/// Where the hub's binary is when `push.hub` does not say; set by the build of a package.
const HUB: &str = match option_env!("PUSH_HUB_PATH") {
    Some(path) => path,
    None => "/usr/local/sbin/push-hub",
};

/// Registers the entries; in MINIT.
pub(crate) fn register(module: c_int) {
    zend::register_ini(module, || {
        let mut entries = vec![
            IniEntry::system("push.config", c""),
            IniEntry::system("push.mode", c"attach"),
            IniEntry::system("push.hub", c""),
            IniEntry::system("push.short_names", c"1"),
            IniEntry::changeable("push.on_unavailable", c"throw", on_unavailable_changed),
        ];
        entries.extend(Config::keys().iter().map(|key| match key.name {
            "timeout" => IniEntry::changeable("push.timeout", c"", timeout_changed),
            "namespace" => IniEntry::by_pool("push.namespace", c"", namespace_changed),
            name => IniEntry::system(format!("push.{name}"), c""),
        }));
        entries
    });
}

/// PHP calls it for `ini_set('push.timeout', ...)`, at the end of the request with the value of the start, and at the
/// start. There a wrong value passes: [`load`] refuses it with all others, and with a text that says what is allowed.
fn timeout_changed(text: &str, at_start: bool) -> bool {
    let timeout = parse_timeout(text);
    let accepted = timeout.is_some() || text.is_empty() || at_start;
    if accepted {
        GLOBALS.get().timeout.set(timeout);
    }
    accepted
}

/// Takes whatever a pool says: a wrong namespace must not leave its workers in another one. Their calls say what is wrong.
fn namespace_changed(text: &str, _: bool) -> bool {
    let mut config = Config::default();
    let set = config.set("namespace", text).map(|()| config.namespace);
    let namespace = (!text.is_empty()).then(|| set.map_err(|error| format!("push.{error}")));
    GLOBALS.get().namespace.replace(namespace);
    true
}

/// As [`timeout_changed`].
fn on_unavailable_changed(text: &str, at_start: bool) -> bool {
    let warns = parse_on_unavailable(text);
    if let Some(warns) = warns {
        GLOBALS.get().warns.set(warns);
    }
    warns.is_some() || at_start
}

/// Whether a missing hub is a warning where that is possible.
fn parse_on_unavailable(text: &str) -> Option<bool> {
    match text {
        "throw" | "" => Some(false),
        "warn" => Some(true),
        _ => None,
    }
}

/// `push.on_unavailable`, as it is set now.
pub(crate) fn warns() -> bool {
    GLOBALS.get().warns.get()
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let mut config = Config::default();
    config.set("timeout", text).ok().map(|()| config.timeout)
}

/// Where the hub is: `push.mode`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In processes of its own, and this one attaches.
    Attach,
    /// In this process.
    Embedded,
}

/// The configuration that `push.config` and the entries give, for a hub of this mode.
pub(crate) fn load() -> Result<(Mode, Config), String> {
    let mode = match zend::ini("push.mode").as_deref() {
        Some("attach") | None => Mode::Attach,
        Some("embedded") => Mode::Embedded,
        Some(wrong) => return Err(format!("push.mode = \"{wrong}\": allowed is attach or embedded")),
    };
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
    let on_unavailable = zend::ini("push.on_unavailable").unwrap_or_default();
    if parse_on_unavailable(&on_unavailable).is_none() {
        return Err(format!("push.on_unavailable = \"{on_unavailable}\": allowed is throw or warn"));
    }
    let config = match mode {
        Mode::Attach => config.check().map(|()| config),
        Mode::Embedded => config.embedded(),
    };
    Ok((mode, config.map_err(|error| error.to_string())?))
}

/// A configuration of which only `push.socket` is the site's, for the time that [`load`] says what is wrong with the rest.
pub(crate) fn way_to_the_hub() -> Option<Config> {
    let mut config = Config::default();
    if let Some(socket) = zend::ini("push.socket") {
        config.set("socket", &socket).ok()?;
    }
    Some(config)
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
