//! Configuration: every limit and time-out, declared once with unit, default, range and reason.
//!
//! INI, TOML, flags and C fill this one struct through [`Config::set`]; from the declaration also come the table of keys
//! ([`Config::keys`]) and the canonical text in which a configuration travels to the hub and is compared. A value is
//! checked when it is set; what concerns several keys is checked by [`Config::check`], which every start calls. This
//! module opens nothing but the file it is told to load.

mod change;
mod kind;
mod location;
mod preset;
mod proxies;
mod rate;
mod template;
mod toml;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use change::Change;
use kind::Kind;
pub use location::{Handler, Mode};
use location::{Place, default_places};
pub use proxies::{Network, Proxy};
pub use rate::Rate;
use regex_lite::Regex;

use crate::channel::Namespace;
use crate::process;
pub use template::{Escape, Part, Template};

/// One key, as INI registration, `--help` and the manual list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name in TOML and C; `push.<name>` in INI, `--<name>` as a flag.
    pub name: &'static str,
    /// What holds when it is not set.
    pub default: String,
    /// What may be written.
    pub allowed: String,
    /// What it does and why its default is what it is.
    pub description: String,
    /// Whether it may also stand in a `[[location]]`.
    pub location: bool,
    /// Whether a running hub goes on as it was when it changes.
    pub restart: bool,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value of a key is not one of those allowed.
    #[error("{key} = \"{value}\": allowed is {allowed}")]
    Value {
        /// The key.
        key: String,
        /// What was written.
        value: String,
        /// What may be written.
        allowed: String,
    },
    /// There is no such key.
    #[error("there is no key \"{key}\"{}", nearest.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    Unknown {
        /// What was written.
        key: String,
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// Values that are allowed one by one do not go together, or a location is incomplete.
    #[error("{0}")]
    Conflict(String),
    /// An error in a TOML file.
    #[error("{file}:{line}: {message}")]
    File {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A TOML file cannot be read.
    #[error("{file}: {message}")]
    Unreadable {
        /// The file.
        file: String,
        /// The system's reason.
        message: String,
    },
}

/// Where to listen, or to reach what listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IP address and port.
    Tcp(SocketAddr),
    /// Path of a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Part of a request, as nginx names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// `$arg_NAME`: an argument of the URL.
    Argument(String),
    /// `$http_NAME`: a header, in lower case with `_` for `-`.
    Header(String),
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(name) => write!(f, "$arg_{name}"),
            Self::Header(name) => write!(f, "$http_{name}"),
        }
    }
}

/// Who may subscribe to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Anyone.
    Off,
    /// Whoever names a channel that the backend created or that holds a stored message.
    On,
    /// Whoever has a token that names the channel.
    Token,
}

/// Whose pages may read answers from another origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    All,
    /// Those of these origins, in lower case.
    Listed(Vec<String>),
}

/// How much is sent to agents that wait for a buffer to fill before they show anything.
#[derive(Clone, Debug)]
pub struct Padding {
    /// Which agents.
    pub agent: Regex,
    /// The least bytes of a header.
    pub header: usize,
    /// The least bytes of a message.
    pub message: usize,
}

impl PartialEq for Padding {
    fn eq(&self, other: &Self) -> bool {
        (self.agent.as_str(), self.header, self.message) == (other.agent.as_str(), other.header, other.message)
    }
}

impl Eq for Padding {}

/// A user who may attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its name or number.
    pub user: String,
    /// With which namespace; `None`: with any.
    pub namespace: Option<Namespace>,
}

impl Access {
    /// The user's number.
    ///
    /// # Errors
    /// There is no such user.
    pub fn uid(&self) -> Result<u32, ConfigError> {
        if let Ok(uid) = self.user.parse() {
            return Ok(uid);
        }
        let found = process::user(&self.user).map_err(|error| error.to_string());
        let found = found.and_then(|account| account.ok_or_else(|| "there is no such user".to_owned()));
        let wrong = |error| ConfigError::Conflict(format!("client_namespaces: user {}: {error}", self.user));
        found.map(|account| account.uid.as_raw()).map_err(wrong)
    }
}

/// A ready set of templates and locations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// What pushstream.js needs.
    PushStream,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// The standard error stream the hub was started with.
    Stderr,
    /// Appended to this file, which is opened before privileges are dropped.
    File(PathBuf),
    /// Datagrams to this socket.
    Syslog(PathBuf),
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&kind::LogTarget.write(self))
    }
}

/// How much is logged, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What keeps the hub from doing its work.
    Error,
    /// What an operator should look at.
    Warn,
    /// Starts, ends and limits.
    Info,
    /// Single connections.
    Debug,
}

/// Declares the keys: a description, name, type, kind and default text; `shown` where the default depends on the machine.
macro_rules! declare {
    (
        hub { $($(#[doc = $doc:literal])+ $key:ident: $type:ty = $kind:expr, $default:expr $(, shown $shown:literal)?;)+ }
        location { $($(#[doc = $ldoc:literal])+ $lkey:ident: $ltype:ty = $lkind:expr, $ldefault:literal;)+ }
        files { $($(#[doc = $fdoc:literal])+ $fkey:ident => $text:ident;)+ }
    ) => {
        /// The resolved configuration of one hub and its clients.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type,)+
            $($(#[doc = $ldoc])+ pub $lkey: $ltype,)+
            /// What is served under which path, first match by longest prefix; never empty.
            pub locations: Vec<Location>,
            /// The locations as written; `None` stands for the default ones. `locations` follows from them and from the
            /// keys above, whichever is set later.
            places: Option<Vec<Place>>,
            /// The keys that were set: what was not follows `socket` or `preset` where these decide it.
            set: Vec<&'static str>,
        }

        /// One location with all its directives, its own or those of the top level.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Location {
            /// Prefix of the path.
            pub path: String,
            /// What is served.
            pub handler: Handler,
            /// Whether it stands on the public listeners, else on the admin listeners.
            pub public: bool,
            $($(#[doc = $ldoc])+ pub $lkey: $ltype,)+
        }

        impl Default for Config {
            fn default() -> Self {
                const SOUND: &str = "a declared default is allowed";
                let mut config = Self {
                    $($key: $kind.read(&$default.to_string()).expect(SOUND),)+
                    $($lkey: $lkind.read($ldefault).expect(SOUND),)+
                    locations: Vec::new(),
                    places: None,
                    set: Vec::new(),
                };
                config.settle();
                config
            }
        }

        /// All keys, in the order of the declaration.
        const NAMES: &[&str] = &[$(stringify!($key),)+ $(stringify!($lkey),)+ $(stringify!($fkey),)+];

        /// Those that may stand in a location.
        const LOCATION_NAMES: &[&str] = &[$(stringify!($lkey),)+ $(stringify!($fkey),)+];

        /// Keys that name a file with the text of another key.
        const FILES: &[(&str, &str)] = &[$((stringify!($fkey), stringify!($text)),)+];

        impl Config {
            /// All keys with their defaults on this machine, in the order of the manual.
            #[must_use]
            pub fn keys() -> Vec<Key> {
                vec![
                    $(Key {
                        name: stringify!($key),
                        default: [$($shown,)? $default.to_string().as_str()][0].to_owned(),
                        allowed: $kind.allowed(),
                        description: concat!($($doc),+).trim().to_owned(),
                        location: false,
                        restart: change::needs_restart(stringify!($key)),
                    },)+
                    $(Key {
                        name: stringify!($lkey),
                        default: $ldefault.to_owned(),
                        allowed: $lkind.allowed(),
                        description: concat!($($ldoc),+).trim().to_owned(),
                        location: true,
                        restart: false,
                    },)+
                    $(Key {
                        name: stringify!($fkey),
                        default: "none".to_owned(),
                        allowed: "the path of a file".to_owned(),
                        description: concat!($($fdoc),+).trim().to_owned(),
                        location: true,
                        restart: false,
                    },)+
                ]
            }

            fn assign(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
                match key {
                    $(stringify!($key) => self.$key = read(&$kind, key, value)?,)+
                    $(stringify!($lkey) => self.$lkey = read(&$lkind, key, value)?,)+
                    _ => return Err(unknown(key, NAMES)),
                }
                Ok(())
            }

            /// Every key with a text that [`Config::set`] takes back.
            fn values(&self) -> Vec<(&'static str, String)> {
                vec![
                    $((stringify!($key), $kind.write(&self.$key)),)+
                    $((stringify!($lkey), $lkind.write(&self.$lkey)),)+
                ]
            }
        }

        impl Location {
            fn inherit(place: &Place, config: &Config) -> Self {
                Self {
                    path: place.path.clone(),
                    handler: place.handler,
                    public: place.public,
                    $($lkey: config.$lkey.clone(),)+
                }
            }

            fn assign(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
                match key {
                    $(stringify!($lkey) => self.$lkey = read(&$lkind, key, value)?,)+
                    _ if NAMES.contains(&key) => return Err(ConfigError::Conflict(
                        format!("{key} holds for the whole hub and stands above the first [[location]]"))),
                    _ => return Err(unknown(key, LOCATION_NAMES)),
                }
                Ok(())
            }

            fn values(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($lkey), $lkind.write(&self.$lkey)),)+]
            }
        }
    };
}
declare! {
    hub {
        /// Addresses of the public listeners, for browsers or a proxy. Loopback, because TLS and the outside belong to nginx.
        listen: Vec<Address> = kind::Addresses, "127.0.0.1:8380";
        /// Addresses of the listeners for publisher locations. A unix socket, because file permissions then say who may
        /// publish; on TCP only loopback is allowed.
        admin_listen: Vec<Address> = kind::Addresses, "none", shown "unix:admin.sock beside `socket`";
        /// Addresses of the unix sockets at which nginx hands over requests that PHP has let in (`push_accel()`). Who reaches them
        /// says who he is and what he may hear: for nginx alone.
        trusted_listen: Vec<Address> = kind::Addresses, "none";
        /// Proxies whose X-Forwarded-For says from where a request comes: the right-most address there that is not one of
        /// theirs is the client's. Whoever else sends that header is not believed.
        trusted_proxies: Vec<Proxy> = kind::Proxies, "none";
        /// How often a client address may begin to listen, as nginx's limit_req has it with nodelay: a rate, and how many more may
        /// come at once. A long-poll that goes on after one that waited is not counted. An IPv6 address counts with its /64.
        connect_rate_per_address: Option<Rate> = kind::Optional(kind::Often), "none";
        /// How often a user may, from all addresses together.
        connect_rate_per_user: Option<Rate> = kind::Optional(kind::Often), "none";
        /// How often a client address may publish, by POST or WebSocket, where browsers may.
        publish_rate_per_address: Option<Rate> = kind::Optional(kind::Often), "none";
        /// How often a user may, from all addresses together.
        publish_rate_per_user: Option<Rate> = kind::Optional(kind::Often), "none";
        /// Where PHP, cron jobs and C programs attach.
        socket: PathBuf = kind::SocketPath, default_socket(), shown "/run/push/hub.sock; for users other than root $XDG_RUNTIME_DIR/push/hub.sock";
        /// Permissions of `socket` and of all unix listeners.
        socket_mode: u32 = kind::Mode, "0660";
        /// Group of `socket` and of all unix listeners; none: the group of `user`. Put the users of the FPM pools into it.
        socket_group: Option<String> = kind::Optional(kind::Account), "none";
        /// The users who may attach, and their namespaces: user:namespace, a user by name or number, user:* for all namespaces,
        /// user: for the empty one; a user may stand there several times. None: whoever can open `socket`, with any. Root
        /// always may.
        client_namespaces: Option<Vec<Access>> = kind::Optional(kind::Accesses), "none";
        /// Clients (workers, scripts, programs) that one user may have attached at a time. Each holds two descriptors of
        /// the hub; a user gets three quarters of them at most.
        max_clients_per_uid: u32 = kind::Number(1..=u32::MAX), "10000";
        /// Memory of the rings of one user's clients, `ring_size` and a quarter for each. It counts when it is used, and then
        /// as memory of its own, not in `memory_limit`.
        max_client_bytes_per_uid: u64 = kind::Size(1 << 20..=1 << 44), "16g";
        /// The user a hub that root starts runs as. It needs no home, no shell and no other purpose.
        user: String = kind::Account, "push";
        /// The file with the secret that tokens are signed with, which only the hub reads, mode 0600; made at the first start.
        /// Two lines during a change: the first signs, both verify; SIGHUP reads it again. An embedded hub has a secret of its
        /// own that ends with it, unless this is set.
        secret_file: PathBuf = kind::FilePath, default_secret_file(), shown "/var/lib/push/secret; for users other than root to whom that directory does not belong $XDG_STATE_HOME/push/secret, else ~/.local/state/push/secret";
        /// HTTP threads.
        threads: usize = kind::Number(1..=64), default_threads(), shown "number of cores, at most 8";
        /// Memory for channels and stored messages; when it is reached the oldest stored messages go. A running hub takes up to
        /// twice what it was at its start.
        memory_limit: u64 = kind::Size(1 << 20..=1 << 40), "256m";
        /// Directory in which the hub's user keeps stored messages, channels and keys, so that they outlive the machine; none: they
        /// outlive the hub only. It has to be there; nobody shares it.
        store_path: Option<PathBuf> = kind::Optional(kind::FilePath), "none";
        /// How often what changed is written there, if anything did: what a power loss costs at most.
        store_sync: Duration = kind::Time { least: Duration::from_millis(10), most: DAY }, "1s";
        /// The longest payload.
        max_message_size: u64 = kind::Size(1..=crate::message::MAX_PAYLOAD as u64), "64k";
        /// The longest channel name, in bytes.
        max_channel_id_length: usize = kind::Number(1..=crate::channel::MAX_NAME), "255";
        /// Channels that may exist at a time.
        max_number_of_channels: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "none";
        /// Subscriptions that one channel may have at a time.
        max_subscribers_per_channel: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "none";
        /// Channels that one subscription may name.
        max_channels_per_subscription: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "100";
        /// How long a stored message lives.
        message_ttl: u32 = kind::Seconds { least: 1 }, "30m";
        /// Stored messages that a channel keeps; the oldest go.
        max_messages_stored_per_channel: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "100";
        /// How long a channel that was made by use alone lives without message and subscriber.
        channel_inactivity_time: u32 = kind::Seconds { least: 0 }, "30s";
        /// How long a member stays when its last connection has ended. Longer than the time between two long-polls, and than a
        /// page takes to load again.
        presence_grace: Duration = kind::Time { least: SECOND, most: DAY }, "15s";
        /// How long a user whom PHP says to be online is so without a connection.
        presence_ttl: u32 = kind::Seconds { least: 1 }, "1m";
        /// Members of a channel above which joins and leaves are told once a second, not each as it happens.
        presence_diff_members: u32 = kind::Number(1..=u32::MAX), "100";
        /// Members of a channel above which only their number is told; the list is at a location with `channel_members`.
        presence_count_members: u32 = kind::Number(1..=u32::MAX), "1000";
        /// How long a `dedupe` key of a publication is remembered; longer than anybody tries again.
        dedupe_window: u32 = kind::Seconds { least: 1 }, "5m";
        /// Channels whose names begin with `wildcard_channel_prefix` that may exist at a time.
        max_number_of_wildcard_channels: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "none";
        /// Channels whose names begin so are wildcard channels: counted apart, and open to every subscriber.
        wildcard_channel_prefix: Option<String> = kind::Optional(kind::Text), "none";
        /// The channel that is told when channels come and go and who subscribes; none: nobody is told.
        events_channel_id: Option<String> = kind::Optional(kind::Channel), "none";
        /// What the subscribers of a deleted channel are told.
        channel_deleted_message_text: String = kind::Text, "Channel deleted";
        /// Text of the pings in streaming mode, which pass through the message template.
        ping_message_text: String = kind::Text, " ";
        /// Text of the message, with id -4, that tells subscribers who read templates that messages are missing.
        gap_message_text: Option<String> = kind::Optional(kind::Text), "none";
        /// Whether a long-poll that ends without a message is answered 200 with a message of id -3 instead of 304.
        timeout_with_body: bool = kind::Switch, "off";
        /// Bytes that may wait for one reader beside the message that is being sent; what is more is read from the log later.
        client_buffer: u64 = kind::Size(4 << 10..=64 << 20), "128k";
        /// Templates and locations for an existing client, in place of those that are not set.
        preset: Option<Preset> = kind::Optional(kind::Ready), "none";
        /// A connection that takes no byte for this long is closed.
        send_timeout: Duration = kind::Time { least: SECOND, most: DAY }, "30s";
        /// How long a client may take to send a request.
        header_timeout: Duration = kind::Time { least: SECOND, most: DAY }, "10s";
        /// How long a connection may stay open between two requests.
        keepalive_timeout: Duration = kind::Time { least: SECOND, most: DAY }, "75s";
        /// Bytes of each of the two rings between a client process and the hub.
        ring_size: u32 = kind::RingSize, "256k";
        /// How long a call from PHP or C may wait for the hub.
        timeout: Duration = kind::Time { least: Duration::from_millis(1), most: DAY }, "250ms";
        /// How long calls fail at once after the hub did not answer; doubles up to 1s.
        backoff: Duration = kind::Time { least: Duration::from_millis(1), most: SECOND }, "100ms";
        /// How long a hub that FPM started outlives the last FPM; a reload with preloading takes seconds.
        linger: Duration = kind::Time { least: Duration::ZERO, most: DAY }, "10s";
        /// How long an ending hub may take to answer what waits.
        drain_timeout: Duration = kind::Time { least: Duration::ZERO, most: Duration::from_secs(300) }, "10s";
        /// How long a hub may give no sign of life before its keeper ends it and starts another. A hub that somebody has stopped
        /// (SIGSTOP, a debugger) is left alone.
        watchdog: Option<Duration> = kind::Optional(kind::Time { least: SECOND, most: DAY }), "30s";
        /// Where log lines go. Under FPM, whose standard error stream ends with the start, set a file or syslog. A file is
        /// opened again at SIGUSR1. Lines to the journal of systemd carry their level. A running hub goes on in another file or
        /// in syslog, and does not come back to stderr.
        log: Log = kind::LogTarget, "stderr";
        /// How much is logged.
        log_level: LogLevel = kind::Level, "info";
    }
    location {
        /// Whose channels these are: channels of the same name in different namespaces have nothing to do with each other.
        /// In a location the namespace of its browsers, above the first one also that of the clients that read this file;
        /// a pool of php-fpm has one of its own by php_admin_value[push.namespace].
        namespace: Namespace = kind::Space, "none";
        /// Who may subscribe: with on only to channels that the backend created or that hold a stored message, so that
        /// nobody fills the memory with channels of their own; with token only who has a token that names the channel, and
        /// on public publisher locations only who has one that lets its holder publish.
        authorized_channels_only: Authorization = kind::Who, "on";
        /// Whether the users of connections are members of the channels that they subscribe to here. Off: they are observers.
        presence: bool = kind::Switch, "on";
        /// Whether messages published here are kept for those who come later.
        store_messages: bool = kind::Switch, "on";
        /// Whether a publication is answered with the channel's counters.
        channel_info_on_publish: bool = kind::Switch, "on";
        /// Content type of delivered messages.
        content_type: String = kind::HeaderText, "text/plain";
        /// How long a long-poll waits. Below the 60s after which nginx gives up.
        longpolling_connection_ttl: Option<Duration> = kind::Optional(kind::Time { least: SECOND, most: DAY }), "25s";
        /// How long any subscriber connection lives.
        subscriber_connection_ttl: Option<Duration> = kind::Optional(kind::Time { least: SECOND, most: DAY }), "none";
        /// Where the time of the last received message comes from; when absent or empty, from If-Modified-Since.
        last_received_message_time: Option<Variable> = kind::Optional(kind::RequestVariable), "none";
        /// Where its tag comes from; when absent or empty, from If-None-Match.
        last_received_message_tag: Option<Variable> = kind::Optional(kind::RequestVariable), "none";
        /// Where the id of the last received event comes from; when absent or empty, from Last-Event-ID.
        last_event_id: Option<Variable> = kind::Optional(kind::RequestVariable), "none";
        /// Where the channels come from; when absent or empty, from the rest of the path after the location's.
        channels_path: Option<Variable> = kind::Optional(kind::RequestVariable), "none";
        /// What is sent first, before any message.
        header_template: Option<String> = kind::Optional(kind::Text), "none";
        /// The layout of each message. Placeholders: `~id~ ~channel~ ~text~ ~size~ ~time~ ~tag~ ~event-id~ ~event-type~`;
        /// `~text-json~`, `~text-uri~` and `~text-html~` escape the text for a JSON string, a URL or HTML, and so with
        /// channel, event-id and event-type; `~text-uri-once~` leaves what is percent-encoded already.
        message_template: Template = kind::Layout, "~text~";
        /// What is sent last, before the hub ends an answer.
        footer_template: Option<String> = kind::Optional(kind::Text), "none";
        /// Channels with `wildcard_channel_prefix` that one subscription may name; none: `max_number_of_wildcard_channels`.
        wildcard_channel_max_qtd: Option<u32> = kind::Optional(kind::Number(1..=u32::MAX)), "none";
        /// How long a stream or WebSocket may be silent before the hub sends a ping. Below the 60s after which nginx gives up.
        ping_message_interval: Option<Duration> = kind::Optional(kind::Time { least: SECOND, most: DAY }), "15s";
        /// Whether text that a browser sends over a WebSocket is published to the channels it subscribed to.
        websocket_allow_publish: bool = kind::Switch, "off";
        /// Whether `events_channel_id` may be subscribed to.
        allow_connections_to_events_channel: bool = kind::Switch, "off";
        /// Where the agent for `padding_by_user_agent` comes from; when absent or empty, from User-Agent.
        user_agent: Option<Variable> = kind::Optional(kind::RequestVariable), "none";
        /// Fills up what streams send to agents that match, in groups regex,header_min,message_min; the first group that fits.
        padding_by_user_agent: Option<Vec<Padding>> = kind::Optional(kind::AgentPadding), "none";
        /// Pages of these origins may read answers (CORS), and only they may open a WebSocket. None: no page of another
        /// origin may read, and WebSockets are open to all.
        allowed_origins: Option<Origins> = kind::Optional(kind::WebOrigins), "none";
    }
    files {
        /// A file with the header template, read at start.
        header_template_file => header_template;
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn default_socket() -> String {
    let runtime = std::env::var("XDG_RUNTIME_DIR").ok().filter(|dir| dir.starts_with('/'));
    let directory = match runtime {
        Some(runtime) if !rustix::process::geteuid().is_root() => format!("{}/push", runtime.trim_end_matches('/')),
        _ => "/run/push".to_owned(),
    };
    let path = format!("{directory}/hub.sock");
    if kind::SocketPath.read(&path).is_some() { path } else { "/run/push/hub.sock".to_owned() }
}

fn default_secret_file() -> String {
    let directory = |name: &str, under: &str| {
        let directory = std::env::var(name).ok().filter(|directory| directory.starts_with('/'));
        directory.map(|directory| format!("{}{under}/push/secret", directory.trim_end_matches('/')))
    };
    let own = || directory("XDG_STATE_HOME", "").or_else(|| directory("HOME", "/.local/state"));
    let user = rustix::process::geteuid();
    // A service manager may have made the directory for this user.
    let given = || rustix::fs::stat("/var/lib/push").is_ok_and(|stat| stat.st_uid == user.as_raw());
    let own = if user.is_root() || given() { None } else { own() };
    own.filter(|path| kind::FilePath.read(path).is_some()).unwrap_or_else(|| "/var/lib/push/secret".to_owned())
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8))
}

fn read<K: Kind>(kind: &K, key: &str, value: &str) -> Result<K::Value, ConfigError> {
    kind.read(value).ok_or_else(|| ConfigError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        allowed: kind.allowed(),
    })
}

/// The key whose text the file holds, and the text; other keys as they are.
fn from_file<'k, 'v>(key: &'k str, value: &'v str) -> Result<(&'k str, Cow<'v, str>), ConfigError> {
    let Some((_, text_key)) = FILES.iter().find(|(file_key, _)| *file_key == key) else {
        return Ok((key, value.into()));
    };
    if matches!(value, "none" | "") {
        return Ok((text_key, "none".into()));
    }
    let unreadable =
        |message: String| ConfigError::Unreadable { file: value.to_owned(), message: format!("{key}: {message}") };
    let bytes = std::fs::read(value).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("is not UTF-8".to_owned()))?;
    Ok((text_key, text.into()))
}

fn unknown(key: &str, names: &[&'static str]) -> ConfigError {
    let nearest = names.iter().map(|name| (distance(key, name), *name)).min();
    let nearest = nearest.filter(|(steps, name)| *steps <= name.len() / 3).map(|(_, name)| name);
    ConfigError::Unknown { key: key.to_owned(), nearest }
}

/// Letters to insert, drop or replace to come from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in to.bytes().enumerate() {
            let replaced = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[to.len()]
}

impl Config {
    /// Sets one key from its text, as it stands in INI, a flag or C. Keys of locations are the default of all locations.
    ///
    /// # Errors
    /// [`ConfigError::Value`] or [`ConfigError::Unknown`]; nothing is changed then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        let (key, value) = from_file(key, value)?;
        self.assign(key, &value)?;
        // A location's key that is none leaves it to the ready locations.
        let nothing = matches!(&*value, "none" | "") && LOCATION_NAMES.contains(&key);
        self.set.extend(NAMES.iter().find(|name| **name == key && !nothing));
        if key == "preset" {
            // What another preset gave is gone with it.
            for (key, value) in Self::default().values() {
                if !self.set.contains(&key) {
                    self.assign(key, &value)?;
                }
            }
        }
        self.settle();
        Ok(())
    }

    /// Whether the key was set, whatever to.
    #[cfg(feature = "hub")]
    pub(crate) fn was_set(&self, key: &str) -> bool {
        self.set.contains(&key)
    }

    /// Sets what a TOML file says; locations there replace those there were.
    ///
    /// # Errors
    /// [`ConfigError::File`] names file and line, [`ConfigError::Unreadable`] the system's reason.
    pub fn load(&mut self, file: &Path) -> Result<(), ConfigError> {
        let unreadable = |message: String| ConfigError::Unreadable { file: file.display().to_string(), message };
        let text = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
        let text = String::from_utf8(text).map_err(|_| unreadable("is not UTF-8".to_owned()))?;
        self.parse(&text, &file.display().to_string())
    }

    /// Checks what concerns several keys. Every start of a hub calls it.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] names the keys and the cure.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (key, addresses) in [("listen", &self.listen), ("admin_listen", &self.admin_listen)] {
            if let Some(any) = addresses.iter().find(|address| matches!(address, Address::Tcp(tcp) if tcp.port() == 0))
            {
                return Err(ConfigError::Conflict(format!(
                    "{key} = \"{any}\": nobody could be told where a hub with another port at each start is; name a port \
                     (0 is for a hub in the process that publishes, push.mode = embedded)"
                )));
            }
        }
        self.check_all(Some(&Address::Unix(self.socket.clone())))
    }

    /// The configuration of a hub in the process that publishes: nobody attaches, so that there is no `socket`, and an
    /// `admin_listen` only where it was set. Port 0 is any free one.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn embedded(mut self) -> Result<Self, ConfigError> {
        self.socket = PathBuf::new();
        self.client_namespaces = None;
        if !self.set.contains(&"admin_listen") {
            self.set("admin_listen", "none")?;
        }
        self.check_all(None)?;
        Ok(self)
    }

    /// Checks that the users of `client_namespaces` exist. Every start of a hub of its own calls it.
    ///
    /// # Errors
    /// [`ConfigError::Conflict`] names the first that does not.
    #[cfg(feature = "hub")]
    pub(crate) fn check_users(&self) -> Result<(), ConfigError> {
        self.client_namespaces.iter().flatten().try_for_each(|access| access.uid().map(drop))
    }

    fn check_all(&self, socket: Option<&Address>) -> Result<(), ConfigError> {
        let conflict = |text: String| Err(ConfigError::Conflict(text));
        if self.max_message_size > self.memory_limit {
            return conflict(
                "max_message_size is larger than memory_limit: a message must fit into the memory".to_owned(),
            );
        }
        for address in &self.admin_listen {
            if matches!(address, Address::Tcp(tcp) if !tcp.ip().is_loopback()) {
                return conflict(format!(
                    "admin_listen = \"{address}\": whoever reaches this listener may publish; use a unix socket or 127.0.0.1"
                ));
            }
        }
        if let Some(address) = self.trusted_listen.iter().find(|address| matches!(address, Address::Tcp(_))) {
            return conflict(format!(
                "trusted_listen = \"{address}\": whoever reaches this listener says who he is, so it is a unix socket, whose \
                 permissions keep others out: unix:/run/push/trusted.sock"
            ));
        }
        let all: Vec<_> =
            self.listen.iter().chain(&self.admin_listen).chain(&self.trusted_listen).chain(socket).collect();
        for (at, address) in all.iter().enumerate() {
            let any = matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
            if !any && all[..at].contains(address) {
                return conflict(format!(
                    "{address} stands twice among listen, admin_listen, trusted_listen and socket"
                ));
            }
        }
        let per_address = [
            ("connect_rate_per_address", self.connect_rate_per_address),
            ("publish_rate_per_address", self.publish_rate_per_address),
        ];
        if let Some((key, _)) = per_address.iter().find(|(_, rate)| rate.is_some()) {
            self.check_proxies(key)?;
        }
        if self.wildcard_channel_prefix.is_none() && self.max_number_of_wildcard_channels.is_some() {
            return conflict(
                "max_number_of_wildcard_channels counts nothing without wildcard_channel_prefix".to_owned(),
            );
        }
        if self.presence_diff_members > self.presence_count_members {
            return conflict(format!(
                "presence_diff_members = {} is above presence_count_members = {}: where only numbers are told nothing is \
                 left to collect",
                self.presence_diff_members, self.presence_count_members
            ));
        }
        for (at, location) in self.locations.iter().enumerate() {
            let most = location.wildcard_channel_max_qtd;
            if most.is_some() && self.wildcard_channel_prefix.is_none() {
                return conflict("wildcard_channel_max_qtd counts nothing without wildcard_channel_prefix".to_owned());
            }
            if let (Some(most), Some(all)) = (most, self.max_number_of_wildcard_channels)
                && most > all
            {
                return conflict(format!(
                    "wildcard_channel_max_qtd = {most} is above max_number_of_wildcard_channels = {all}: that many cannot exist"
                ));
            }
            let same = |other: &Location| other.path == location.path && other.public == location.public;
            if self.locations[..at].iter().any(same) {
                return conflict(format!("location \"{}\" stands twice on the same listeners", location.path));
            }
            let in_path = location.path.ends_with('/');
            if matches!(location.handler, Handler::Publisher { .. }) && location.channels_path.is_none() && !in_path {
                return conflict(format!(
                    "location \"{}\": a publisher needs channels_path, such as \"$arg_id\", or a path that ends with / \
                     and is followed by the channels",
                    location.path
                ));
            }
        }
        Ok(())
    }

    /// Checks that a limit by address finds other addresses than that of a proxy: who comes by a unix socket or by loopback
    /// is one, or speaks for one client only.
    fn check_proxies(&self, key: &str) -> Result<(), ConfigError> {
        let believed = |ip: IpAddr| {
            self.trusted_proxies.iter().any(|proxy| matches!(proxy, Proxy::Network(network) if network.contains(ip)))
        };
        for address in self.listen.iter().chain(&self.trusted_listen) {
            let missing = match address {
                Address::Unix(_) if !self.trusted_proxies.contains(&Proxy::Unix) => "unix:".to_owned(),
                Address::Tcp(tcp) if tcp.ip().is_loopback() && !believed(tcp.ip()) => tcp.ip().to_string(),
                _ => continue,
            };
            return Err(ConfigError::Conflict(format!(
                "{key}: all clients that come to {address} have the address of the proxy before it, and would be counted as \
                 one; add \"{missing}\" to trusted_proxies, and let the proxy send X-Forwarded-For"
            )));
        }
        Ok(())
    }

    /// All of it as TOML, in one spelling whatever it was loaded from; [`Config::parse`] takes it back.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::write(self)
    }

    /// A number that is the same for the same configuration, for comparison at a reload.
    #[must_use]
    pub fn hash(&self) -> u64 {
        // FNV-1a: unlike the hashes of std it gives the same number in every build.
        self.to_toml()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Derives what depends on several keys.
    fn settle(&mut self) {
        for (key, value) in preset::values(self.preset) {
            if !self.set.contains(key) {
                self.assign(key, value).expect("a preset is allowed");
            }
        }
        if !self.set.contains(&"admin_listen") {
            self.admin_listen = vec![Address::Unix(self.socket.with_file_name("admin.sock"))];
        }
        self.locations = match &self.places {
            None => default_places(self).iter().map(|place| Location::resolve(place, self)).collect(),
            Some(places) => places.iter().map(|place| Location::resolve(place, self)).collect(),
        };
    }
}
