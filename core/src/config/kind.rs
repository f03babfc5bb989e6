//! How a value is written: the kinds of values keys may have, each with its range.
//!
//! A kind reads the text of INI, TOML, flag and C alike and writes a value back so that it reads the same. PHP turns `On`
//! in an INI file into `1` and `Off`, `none` into an empty text, so these mean the same here.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use regex_lite::Regex;

use super::template::Template;
use super::{Access, Address, Authorization, Log, LogLevel, Origins, Padding, Preset, Proxy, Rate, Variable};
use crate::channel::{ChannelName, MAX_NAME, MAX_NAMESPACE, Namespace};

/// One way to write values.
pub(super) trait Kind {
    type Value;

    /// The value, or `None` when the text is not one of [`Kind::allowed`].
    fn read(&self, text: &str) -> Option<Self::Value>;

    /// A text that [`Kind::read`] takes back.
    fn write(&self, value: &Self::Value) -> String;

    /// What may be written, to follow "allowed is".
    fn allowed(&self) -> String;
}

/// `kind` or `none`.
pub(super) struct Optional<K>(pub(super) K);

impl<K: Kind> Kind for Optional<K> {
    type Value = Option<K::Value>;

    fn read(&self, text: &str) -> Option<Self::Value> {
        if matches!(text, "none" | "") { Some(None) } else { self.0.read(text).map(Some) }
    }

    fn write(&self, value: &Self::Value) -> String {
        value.as_ref().map_or_else(|| "none".to_owned(), |value| self.0.write(value))
    }

    fn allowed(&self) -> String {
        format!("{}, or none", self.0.allowed())
    }
}

/// A number within a range.
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T: FromStr + PartialOrd + Display> Kind for Number<T> {
    type Value = T;

    fn read(&self, text: &str) -> Option<T> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| text.parse().ok()).flatten().filter(|value| self.0.contains(value))
    }

    fn write(&self, value: &T) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        format!("a number from {} to {}", self.0.start(), self.0.end())
    }
}

/// Bytes, as nginx writes sizes.
pub(super) struct Size(pub(super) RangeInclusive<u64>);

impl Kind for Size {
    type Value = u64;

    fn read(&self, text: &str) -> Option<u64> {
        let (digits, unit) = match text.char_indices().next_back()? {
            (at, 'k' | 'K') => (&text[..at], 1 << 10),
            (at, 'm' | 'M') => (&text[..at], 1 << 20),
            (at, 'g' | 'G') => (&text[..at], 1 << 30),
            _ => (text, 1),
        };
        digits_only(digits)?.checked_mul(unit).filter(|value| self.0.contains(value))
    }

    fn write(&self, value: &u64) -> String {
        match value {
            0 => "0".to_owned(),
            value if value % (1 << 30) == 0 => format!("{}g", value >> 30),
            value if value % (1 << 20) == 0 => format!("{}m", value >> 20),
            value if value % (1 << 10) == 0 => format!("{}k", value >> 10),
            value => value.to_string(),
        }
    }

    fn allowed(&self) -> String {
        format!("a size such as 500, 32k or 1m, {} to {}", self.write(self.0.start()), self.write(self.0.end()))
    }
}

/// A time in milliseconds, as nginx writes times; without a unit it is seconds.
pub(super) struct Time {
    pub(super) least: Duration,
    pub(super) most: Duration,
}

impl Kind for Time {
    type Value = Duration;

    fn read(&self, text: &str) -> Option<Duration> {
        let value = Duration::from_millis(milliseconds(text)?);
        (self.least..=self.most).contains(&value).then_some(value)
    }

    fn write(&self, value: &Duration) -> String {
        time_text(value.as_millis())
    }

    fn allowed(&self) -> String {
        format!("a time such as 250ms, 30s or 5m, {}", range_text(self.least.as_millis(), self.most.as_millis()))
    }
}

/// A time in whole seconds, as nginx writes times.
pub(super) struct Seconds {
    pub(super) least: u32,
}

/// A hundred years: far enough, and sums of a time and a duration stay within `u32` seconds.
const MOST_SECONDS: u32 = 1_000_000_000;

impl Kind for Seconds {
    type Value = u32;

    fn read(&self, text: &str) -> Option<u32> {
        let milliseconds = milliseconds(text)?;
        let seconds = u32::try_from(milliseconds / 1000).ok()?;
        (milliseconds % 1000 == 0 && (self.least..=MOST_SECONDS).contains(&seconds)).then_some(seconds)
    }

    fn write(&self, value: &u32) -> String {
        time_text(u128::from(*value) * 1000)
    }

    fn allowed(&self) -> String {
        format!("a time in whole seconds such as 30s, 5m or 2h, at least {}s", self.least)
    }
}

/// Bytes of a ring.
pub(super) struct RingSize;

const RING: Size = Size(16 << 10..=64 << 20);

impl Kind for RingSize {
    type Value = u32;

    fn read(&self, text: &str) -> Option<u32> {
        RING.read(text).and_then(|size| u32::try_from(size).ok()).filter(|size| size.is_power_of_two())
    }

    fn write(&self, value: &u32) -> String {
        RING.write(&u64::from(*value))
    }

    fn allowed(&self) -> String {
        format!("{}, a power of two", RING.allowed())
    }
}

fn digits_only(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// nginx's rule: units from large to small, each at most once, seconds may stand without unit at the end (`1h 30m`, `90`).
fn milliseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] =
        [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text.trim();
    let (mut total, mut next) = (None, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = digits_only(&rest[..digits])?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = if letters == 0 { "s" } else { &rest[..letters] };
        let place = next + UNITS[next..].iter().position(|(name, _)| *name == unit)?;
        rest = rest[letters..].trim_start();
        if letters == 0 && !rest.is_empty() {
            return None;
        }
        total = Some(number.checked_mul(UNITS[place].1)?.checked_add(total.unwrap_or(0))?);
        next = place + 1;
    }
    total
}

fn time_text(milliseconds: u128) -> String {
    match milliseconds {
        0 => "0s".to_owned(),
        value if value % 86_400_000 == 0 => format!("{}d", value / 86_400_000),
        value if value % 3_600_000 == 0 => format!("{}h", value / 3_600_000),
        value if value % 60_000 == 0 => format!("{}m", value / 60_000),
        value if value % 1000 == 0 => format!("{}s", value / 1000),
        value => format!("{value}ms"),
    }
}

fn range_text(least: u128, most: u128) -> String {
    format!("{} to {}", time_text(least), time_text(most))
}

/// `on` or `off`.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" => Some(true),
            "off" | "false" | "no" | "0" | "" => Some(false),
            _ => None,
        }
    }

    fn write(&self, value: &bool) -> String {
        if *value { "on" } else { "off" }.to_owned()
    }

    fn allowed(&self) -> String {
        "on or off".to_owned()
    }
}

/// Who may subscribe.
pub(super) struct Who;

impl Kind for Who {
    type Value = Authorization;

    fn read(&self, text: &str) -> Option<Authorization> {
        match text {
            "token" => Some(Authorization::Token),
            text => Switch.read(text).map(|on| if on { Authorization::On } else { Authorization::Off }),
        }
    }

    fn write(&self, value: &Authorization) -> String {
        match value {
            Authorization::Token => "token".to_owned(),
            value => Switch.write(&(*value == Authorization::On)),
        }
    }

    fn allowed(&self) -> String {
        "on, off or token".to_owned()
    }
}

/// A text that can stand in a header field.
pub(super) struct HeaderText;

impl Kind for HeaderText {
    type Value = String;

    fn read(&self, text: &str) -> Option<String> {
        let fits = !text.is_empty() && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text;
        fits.then(|| text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }

    fn allowed(&self) -> String {
        "a media type such as text/plain or application/json, printable ASCII".to_owned()
    }
}

/// Any text.
pub(super) struct Text;

impl Kind for Text {
    type Value = String;

    fn read(&self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }

    fn allowed(&self) -> String {
        "a text".to_owned()
    }
}

/// How a message is laid out.
pub(super) struct Layout;

impl Kind for Layout {
    type Value = Template;

    fn read(&self, text: &str) -> Option<Template> {
        (!text.is_empty()).then(|| Template::new(text))
    }

    fn write(&self, value: &Template) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "a text, not empty, with placeholders such as ~text~".to_owned()
    }
}

/// The name of one channel.
pub(super) struct Channel;

impl Kind for Channel {
    type Value = String;

    fn read(&self, text: &str) -> Option<String> {
        ChannelName::check(text.as_bytes(), MAX_NAME).ok().map(str::to_owned)
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }

    fn allowed(&self) -> String {
        "a channel name".to_owned()
    }
}

/// Web origins that may read answers.
pub(super) struct WebOrigins;

impl Kind for WebOrigins {
    type Value = Origins;

    /// `$http_origin` let everybody in, and so does `*`.
    fn read(&self, text: &str) -> Option<Origins> {
        if matches!(text, "*" | "$http_origin") {
            return Some(Origins::All);
        }
        let origins = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|origin| !origin.is_empty());
        let origins: Option<Vec<_>> = origins.map(origin).collect();
        origins.filter(|origins| !origins.is_empty()).map(Origins::Listed)
    }

    fn write(&self, value: &Origins) -> String {
        match value {
            Origins::All => "*".to_owned(),
            Origins::Listed(origins) => origins.join(", "),
        }
    }

    fn allowed(&self) -> String {
        "origins such as https://www.example.com, separated by commas, or *".to_owned()
    }
}

/// An origin as browsers send it: in lower case, without a path.
fn origin(text: &str) -> Option<String> {
    let (scheme, host) = text.split_once("://")?;
    let word = |text: &str, more: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
    };
    (word(scheme, "+-.") && word(host, "-._:[]")).then(|| text.to_ascii_lowercase())
}

/// Padding by user agent, as the module writes it: `regex,header,message` groups joined by colons.
pub(super) struct AgentPadding;

impl Kind for AgentPadding {
    type Value = Vec<Padding>;

    fn read(&self, text: &str) -> Option<Vec<Padding>> {
        // A pattern may hold colons and commas itself: the numbers tell where a group ends.
        let mut groups = Vec::new();
        let mut from = 0;
        for (at, _) in text.match_indices(':').chain([(text.len(), "")]) {
            if let Some(group) = padding(&text[from..at]) {
                groups.push(group);
                from = at + 1;
            }
        }
        (from == text.len() + 1 && groups.len() < usize::from(u8::MAX)).then_some(groups)
    }

    fn write(&self, value: &Vec<Padding>) -> String {
        let groups = value.iter().map(|group| format!("{},{},{}", group.agent.as_str(), group.header, group.message));
        groups.collect::<Vec<_>>().join(":")
    }

    fn allowed(&self) -> String {
        "regex,header_min,message_min in bytes, at most 1m each, several joined by colons".to_owned()
    }
}

fn padding(group: &str) -> Option<Padding> {
    let (rest, message) = group.rsplit_once(',')?;
    let (agent, header) = rest.rsplit_once(',')?;
    let bytes = |text: &str| Number(0..=1usize << 20).read(text).filter(|_| !text.is_empty());
    let agent = Regex::new(agent).ok().filter(|_| !agent.is_empty())?;
    Some(Padding { agent, header: bytes(header)?, message: bytes(message)? })
}

/// A ready set of templates and locations.
pub(super) struct Ready;

impl Kind for Ready {
    type Value = Preset;

    fn read(&self, text: &str) -> Option<Preset> {
        (text == "pushstream").then_some(Preset::PushStream)
    }

    fn write(&self, value: &Preset) -> String {
        match value {
            Preset::PushStream => "pushstream".to_owned(),
        }
    }

    fn allowed(&self) -> String {
        "pushstream".to_owned()
    }
}

/// A namespace.
pub(super) struct Space;

impl Kind for Space {
    type Value = Namespace;

    fn read(&self, text: &str) -> Option<Namespace> {
        Namespace::new(if text == "none" { "" } else { text }).ok()
    }

    fn write(&self, value: &Namespace) -> String {
        if value.as_str().is_empty() { "none".to_owned() } else { value.to_string() }
    }

    fn allowed(&self) -> String {
        format!("at most {MAX_NAMESPACE} letters, digits, dots, underscores and hyphens, or none")
    }
}

/// Users with their namespaces, separated by commas or blanks.
pub(super) struct Accesses;

impl Kind for Accesses {
    type Value = Vec<Access>;

    fn read(&self, text: &str) -> Option<Vec<Access>> {
        let one = |text: &str| {
            let (user, namespace) = text.split_once(':')?;
            let namespace = if namespace == "*" { None } else { Some(Space.read(namespace)?) };
            Some(Access { user: Account.read(user)?, namespace })
        };
        text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|one| !one.is_empty()).map(one).collect()
    }

    fn write(&self, value: &Vec<Access>) -> String {
        let one = |Access { user, namespace }: &Access| match namespace {
            None => format!("{user}:*"),
            Some(namespace) => format!("{user}:{namespace}"),
        };
        value.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn allowed(&self) -> String {
        "user:namespace, user:* or user: (the empty namespace), several separated by commas".to_owned()
    }
}

/// The name of a user or group.
pub(super) struct Account;

impl Kind for Account {
    type Value = String;

    fn read(&self, text: &str) -> Option<String> {
        let fits = !text.is_empty() && !text.contains(|c: char| c.is_control() || c == ':' || c == '/');
        fits.then(|| text.to_owned())
    }

    fn write(&self, value: &String) -> String {
        value.clone()
    }

    fn allowed(&self) -> String {
        "a name that exists on this machine".to_owned()
    }
}

/// Where the position or the channel path comes from.
pub(super) struct RequestVariable;

impl Kind for RequestVariable {
    type Value = Variable;

    fn read(&self, text: &str) -> Option<Variable> {
        let name = |name: &str| {
            let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            fits.then(|| name.to_owned())
        };
        match text.strip_prefix("$arg_") {
            Some(argument) => name(argument).map(Variable::Argument),
            None => name(text.strip_prefix("$http_")?).map(|name| Variable::Header(name.to_ascii_lowercase())),
        }
    }

    fn write(&self, value: &Variable) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "$arg_NAME (an argument of the request) or $http_NAME (a header)".to_owned()
    }
}

/// Permission bits of the sockets.
pub(super) struct Mode;

impl Kind for Mode {
    type Value = u32;

    /// Without a leading zero it would be unclear whether TOML's `432` or the text `660` is meant.
    fn read(&self, text: &str) -> Option<u32> {
        let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'))?;
        digits_only(digits)?;
        u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600)
    }

    fn write(&self, value: &u32) -> String {
        format!("0{value:03o}")
    }

    fn allowed(&self) -> String {
        "an octal mode with leading zero such as \"0660\", with read and write for the owner".to_owned()
    }
}

/// `sun_path` holds 108 bytes with its NUL; the keeper appends at most 15 to make the names it needs beside a socket.
const MOST_SOCKET_PATH: usize = 92;

/// The path of a unix socket.
pub(super) struct SocketPath;

impl Kind for SocketPath {
    type Value = PathBuf;

    fn read(&self, text: &str) -> Option<PathBuf> {
        let path = Path::new(text);
        let fits = path.is_absolute() && path.file_name().is_some() && !text.ends_with('/');
        (fits && !text.contains('\0') && text.len() <= MOST_SOCKET_PATH).then(|| path.to_owned())
    }

    fn write(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn allowed(&self) -> String {
        format!("an absolute path of at most {MOST_SOCKET_PATH} bytes")
    }
}

/// The path of a file or directory.
pub(super) struct FilePath;

impl Kind for FilePath {
    type Value = PathBuf;

    fn read(&self, text: &str) -> Option<PathBuf> {
        let path = Path::new(text);
        let fits = path.is_absolute() && path.file_name().is_some() && !text.ends_with('/') && !text.contains('\0');
        fits.then(|| path.to_owned())
    }

    fn write(&self, value: &PathBuf) -> String {
        value.display().to_string()
    }

    fn allowed(&self) -> String {
        "an absolute path".to_owned()
    }
}

/// Addresses to listen on, separated by commas or blanks; several in TOML are an array.
pub(super) struct Addresses;

impl Kind for Addresses {
    type Value = Vec<Address>;

    fn read(&self, text: &str) -> Option<Vec<Address>> {
        if text == "none" {
            return Some(Vec::new());
        }
        let addresses = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|address| !address.is_empty());
        addresses.map(|address| address.parse().ok()).collect()
    }

    fn write(&self, value: &Vec<Address>) -> String {
        if value.is_empty() {
            return "none".to_owned();
        }
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn allowed(&self) -> String {
        "addresses such as 127.0.0.1:8380, [::1]:8380 or unix:/run/push/http.sock, separated by commas, or none"
            .to_owned()
    }
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.strip_prefix("unix:") {
            Some(path) => SocketPath.read(path).map(Self::Unix).ok_or(()),
            None => text.parse::<SocketAddr>().map(Self::Tcp).map_err(|_| ()),
        }
    }
}

/// Proxies that are believed, separated by commas or blanks; several in TOML are an array.
pub(super) struct Proxies;

impl Kind for Proxies {
    type Value = Vec<Proxy>;

    fn read(&self, text: &str) -> Option<Vec<Proxy>> {
        if text == "none" {
            return Some(Vec::new());
        }
        let proxies = text.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|proxy| !proxy.is_empty());
        proxies.map(|proxy| proxy.parse().ok()).collect()
    }

    fn write(&self, value: &Vec<Proxy>) -> String {
        if value.is_empty() {
            return "none".to_owned();
        }
        value.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn allowed(&self) -> String {
        "addresses and networks such as 127.0.0.1, 10.0.0.0/8 or 2001:db8::/32, with zeros behind their bits, and unix: for \
         who comes by a unix listener, separated by commas, or none"
            .to_owned()
    }
}

/// How often something may be done.
pub(super) struct Often;

impl Kind for Often {
    type Value = Rate;

    fn read(&self, text: &str) -> Option<Rate> {
        text.parse().ok()
    }

    fn write(&self, value: &Rate) -> String {
        value.to_string()
    }

    fn allowed(&self) -> String {
        "a rate with its burst such as \"20r/s burst=40\" or \"30r/m burst=5\", each number at most 100000".to_owned()
    }
}

/// Where syslog listens.
const SYSLOG: &str = "/dev/log";

fn file(path: &str) -> Option<PathBuf> {
    (path.starts_with('/') && !path.ends_with('/')).then(|| path.into())
}

/// Where log lines go.
pub(super) struct LogTarget;

impl Kind for LogTarget {
    type Value = Log;

    fn read(&self, text: &str) -> Option<Log> {
        match text {
            "stderr" => Some(Log::Stderr),
            "syslog" => Some(Log::Syslog(SYSLOG.into())),
            _ => match text.strip_prefix("syslog:") {
                Some(path) => file(path).map(Log::Syslog),
                None => file(text).map(Log::File),
            },
        }
    }

    fn write(&self, value: &Log) -> String {
        match value {
            Log::Stderr => "stderr".to_owned(),
            Log::File(path) => path.display().to_string(),
            Log::Syslog(path) if path == Path::new(SYSLOG) => "syslog".to_owned(),
            Log::Syslog(path) => format!("syslog:{}", path.display()),
        }
    }

    fn allowed(&self) -> String {
        "stderr, the absolute path of a file, syslog, or syslog: with the absolute path of its socket".to_owned()
    }
}

/// How much is logged.
pub(super) struct Level;

impl Kind for Level {
    type Value = LogLevel;

    fn read(&self, text: &str) -> Option<LogLevel> {
        Some(match text {
            "error" => LogLevel::Error,
            "warn" => LogLevel::Warn,
            "info" => LogLevel::Info,
            "debug" => LogLevel::Debug,
            _ => return None,
        })
    }

    fn write(&self, value: &LogLevel) -> String {
        match value {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
        .to_owned()
    }

    fn allowed(&self) -> String {
        "error, warn, info or debug".to_owned()
    }
}
