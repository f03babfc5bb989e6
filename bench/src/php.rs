//! Publishing from PHP: runs `bench/php/publish.php` against a server, or with the hub in it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::client;
use crate::fpm::Fpm;
use crate::message::{self, Faults};
use crate::pool::Pool;
use crate::procfs::Processes;
use crate::redis::Redis;
use crate::scenario::read_back;
use crate::server::Server;
use crate::wakeup::{self, Wakeups};

/// As in the script: the first calls attach, and warm caches.
const WARM_UP: usize = 200;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/php/publish.php");

/// How PHP publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    PushPublishAsync,
    PushPublish,
    /// 1,000 messages each call.
    PushPublishMany,
    /// With the hub in the process.
    EmbeddedPublish,
    EmbeddedPublishMany,
    /// By the client without PHP: what is left above it is the call's own.
    ClientPublishAsync,
    ClientPublish,
    ClientEmbedded,
    /// Not publishing: asking about one of 1,000 members.
    PresenceIsOnline,
    /// Reading all of 1,000 members.
    PresenceMembers,
    /// Posting to nchan over a kept connection, and over a new one each time.
    Curl,
    CurlNew,
    /// `PUBLISH` by php-redis over a unix socket.
    Redis,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// Call after call.
    Hot,
    /// One call every 0.5 ms: the server sleeps at each.
    Paced,
    /// Call after call, some thousand of them, in turn with another way: for the difference of both.
    InTurn,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::PushPublishAsync => "push_publish_async",
            Way::PushPublish | Way::EmbeddedPublish => "push_publish",
            Way::PushPublishMany | Way::EmbeddedPublishMany => "push_publish_many",
            Way::ClientPublishAsync => "the client's publish_async",
            Way::ClientPublish => "the client's publish",
            Way::ClientEmbedded => "the client's publish, embedded",
            Way::PresenceIsOnline => "push_presence_is_online",
            Way::PresenceMembers => "push_presence_members",
            Way::Curl => "curl",
            Way::CurlNew => "curl_new",
            Way::Redis => "redis",
        }
    }

    /// Messages of one call.
    pub(crate) fn messages(self) -> u32 {
        match self {
            Way::PushPublishMany | Way::EmbeddedPublishMany => 1_000,
            Way::PresenceIsOnline | Way::PresenceMembers => 0,
            _ => 1,
        }
    }

    /// About two seconds of work.
    fn calls(self, pace: Pace) -> u32 {
        match (pace, self) {
            (Pace::Paced, _) => 4_000,
            (Pace::InTurn, _) => 10_000,
            (Pace::Hot, Way::PushPublishAsync | Way::ClientPublishAsync) => 500_000,
            (Pace::Hot, Way::EmbeddedPublish | Way::ClientEmbedded) => 500_000,
            (Pace::Hot, Way::PushPublish | Way::ClientPublish | Way::PresenceIsOnline) => 100_000,
            (Pace::Hot, Way::PushPublishMany | Way::EmbeddedPublishMany | Way::PresenceMembers) => 1_000,
            (Pace::Hot, Way::Redis) => 100_000,
            (Pace::Hot, Way::Curl) => 30_000,
            (Pace::Hot, Way::CurlNew) => 10_000,
        }
    }
}

/// Which PHP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sapi {
    Cli,
    /// php-fpm: the script is one request.
    Fpm,
}

/// One way to call, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    pub(crate) way: Way,
    pub(crate) sapi: Sapi,
    pub(crate) pace: Pace,
    /// The how manieth of these it is.
    pub(crate) turn: usize,
}

/// What was measured, in microseconds per call.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_second: f64,
}

impl Measured {
    /// Of the µs of each call, in their order, and how long all of them took.
    pub(crate) fn of(mut times: Vec<f64>, took: Duration) -> Measured {
        let calls_per_second = times.len() as f64 / took.as_secs_f64();
        let mut times = times.split_off(WARM_UP);
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times[(share * (times.len() - 1) as f64) as usize];
        Measured { p50_us: at(0.50), p99_us: at(0.99), calls_per_second }
    }
}

/// One run of the script.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    #[serde(flatten)]
    pub(crate) call: Call,
    pub(crate) calls: u32,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) calls_per_second: f64,
    /// The floor of a call that waits, measured right before.
    pub(crate) wakeups: Option<Wakeups>,
    #[serde(flatten)]
    pub(crate) faults: Faults,
}

/// Publishes to `server`, or whatever the call is; `extension` is the file of the extension.
pub(crate) fn run(server: Option<&Server>, extension: &Path, call: Call) -> Result<Figures> {
    let Call { way, pace, turn, .. } = call;
    let calls = way.calls(pace);
    let channel = format!("{way:?}-{pace:?}-{:?}-{turn}", call.sapi);
    let wakeups = (way == Way::PushPublish && pace != Pace::InTurn).then(|| wakeup::run(pace)).transpose()?;
    let client = matches!(way, Way::ClientPublishAsync | Way::ClientPublish | Way::ClientEmbedded);
    let Measured { p50_us, p99_us, calls_per_second } = if client {
        client::run(server, way, calls, &channel)?
    } else {
        script(server, extension, call, calls, &channel)?
    };
    let faults = match server {
        Some(server) if way.messages() > 0 => {
            // What an asynchronous call left in the ring is still being read.
            Pool::new()?.settle(&Processes::of(&server.target.pids)?)?;
            read_back(&server.target, &channel, calls * way.messages(), message::SIZE)?
        }
        _ => Faults::default(),
    };
    Ok(Figures { call, calls, p50_us, p99_us, calls_per_second, wakeups, faults })
}

fn script(server: Option<&Server>, extension: &Path, call: Call, calls: u32, channel: &str) -> Result<Measured> {
    let redis = (call.way == Way::Redis).then(Redis::start).transpose()?;
    // No php.ini: what else this machine loads into PHP is not part of the figure.
    let mut settings = match call.way {
        // The one is needed by the other.
        Way::Redis => vec!["extension=igbinary".to_owned(), "extension=redis".to_owned()],
        _ => vec!["extension=curl".to_owned(), format!("extension={}", extension.display())],
    };
    settings.extend(server.map(|server| format!("push.socket={}", server.socket().display())));
    if matches!(call.way, Way::EmbeddedPublish | Way::EmbeddedPublishMany) {
        settings.extend(["mode=embedded", "listen=127.0.0.1:0", "threads=1"].map(|setting| format!("push.{setting}")));
    }
    let pace = if call.pace == Pace::Paced { "paced" } else { "hot" };
    let mut arguments = [call.way.name(), pace, &calls.to_string(), channel].map(str::to_owned).to_vec();
    arguments.extend(server.map(|server| format!("http://{}/pub", server.target.publish)));
    arguments.extend(redis.as_ref().map(|redis| redis.socket().display().to_string()));
    let output = match call.sapi {
        Sapi::Fpm => {
            settings.extend(server.map(|server| format!("push.hub={}", server.program().display())));
            Fpm::start(Path::new(SCRIPT), &settings)?.run(&arguments)?
        }
        Sapi::Cli => {
            let mut php = Command::new("php");
            php.arg("-n").args(settings.iter().flat_map(|setting| ["-d", setting]));
            let output = php.arg(SCRIPT).args(&arguments).output().map_err(|error| format!("php: {error}"))?;
            if !output.status.success() {
                let said = [output.stdout, output.stderr].concat();
                return Err(format!("{}: {}", call.way.name(), String::from_utf8_lossy(&said)).into());
            }
            String::from_utf8(output.stdout)?
        }
    };
    Ok(serde_json::from_str(&output).map_err(|error| format!("{error}: {output}"))?)
}
