//! Statistics over HTTP: counters of the hub, of all channels, or of those that are named. Asking creates nothing. A location
//! of a namespace tells of its channels only.

use std::time::SystemTime;

use crate::channel::{ChannelInfo, ChannelName, InvalidName, Namespace};
use crate::config::Config;
use crate::error::Limit;
use crate::ingress::format::{self, Format, List, Value};
use crate::sequencer::{Sequencer, Totals};
use crate::transport::reply::Reply;
use crate::transport::request::{Request, channels_path};
use crate::transport::{refuse_limit, refuse_name};

/// Channels that are looked at in one entry of the critical section.
const PAGE: usize = 500;
/// Bytes of the longest list. It is made in memory, beside `memory_limit`.
const LONGEST: usize = 32 << 20;

/// Of what is told.
pub(super) struct Of<'a> {
    pub(super) engine: &'a Sequencer,
    pub(super) config: &'a Config,
    pub(super) namespace: &'a Namespace,
}

impl Of<'_> {
    /// The channels that begin with `prefix`, in the order of their names.
    fn pages(&self, prefix: &str) -> impl Iterator<Item = Vec<ChannelInfo>> {
        let mut after = String::new();
        std::iter::from_fn(move || {
            let page = self.engine.list_channels(self.namespace, prefix, &after, PAGE);
            after.clone_from(&page.last()?.name);
            Some(page)
        })
    }

    /// Counters of the hub, or of the channels of the namespace: of those that exist, and a subscriber once for each.
    fn totals(&self) -> Totals {
        let mut totals = self.engine.totals();
        if self.namespace.as_str().is_empty() {
            return totals;
        }
        totals = Totals { channels: 0, wildcard_channels: 0, published: 0, stored: 0, connections: 0, ..totals };
        let prefix = self.config.wildcard_channel_prefix.as_deref();
        for info in self.pages("").flatten() {
            let wildcard = prefix.is_some_and(|prefix| info.name.starts_with(prefix));
            *if wildcard { &mut totals.wildcard_channels } else { &mut totals.channels } += 1;
            totals.published += info.published;
            totals.stored += u64::from(info.stored);
            totals.connections += u64::from(info.subscribers);
        }
        totals
    }
}

/// What is asked for.
enum Asked {
    One(ChannelName),
    /// All channels that begin so.
    Prefix(String),
}

impl Asked {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::One(asked) => **asked == *name,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// Answers a request to a statistics location, whose method is checked. `path` names the channels.
pub(crate) fn answer(
    engine: &Sequencer,
    config: &Config,
    namespace: &Namespace,
    path: &[u8],
    request: &Request<'_>,
) -> Reply {
    let format = Format::accepted(request.header("accept"));
    let of = Of { engine, config, namespace };
    let body = match asked(&of, path) {
        Ok(asked) => match asked.as_slice() {
            [] => totals(&of, format),
            [Asked::One(name)] => match engine.channel_info(name) {
                Some(info) => format::single(format, &info),
                None => return Reply::new(404),
            },
            several => match list_of(&of, format, several) {
                Ok(body) => body,
                Err(refusal) => return refusal,
            },
        },
        Err(refusal) => return refusal,
    };
    let reply = Reply::new(200).body(format.content_type, body);
    // Of the module these name its release and its commit; we have one name for both.
    let build = env!("CARGO_PKG_VERSION");
    reply.header("X-Nginx-PushStream-Tag", build).header("X-Nginx-PushStream-Commit", build)
}

fn asked(of: &Of<'_>, path: &[u8]) -> Result<Vec<Asked>, Reply> {
    let most = of.config.max_channels_per_subscription.map_or(usize::MAX, |most| most as usize);
    let mut all: Vec<Asked> = Vec::new();
    for (id, _) in channels_path(path) {
        let pattern = if id == b"ALL" { Some(0) } else { id.iter().position(|&byte| byte == b'*') };
        let asked = match pattern {
            Some(star) => match std::str::from_utf8(&id[..star]) {
                Ok(prefix) => Asked::Prefix(prefix.to_owned()),
                Err(_) => return Err(refuse_name(&InvalidName::NotUtf8)),
            },
            None => {
                let name = ChannelName::within(of.namespace, id, of.config.max_channel_id_length)
                    .map_err(|error| refuse_name(&error))?;
                if all.iter().any(|earlier| matches!(earlier, Asked::One(earlier) if *earlier == name)) {
                    continue;
                }
                Asked::One(name)
            }
        };
        all.push(asked);
        if all.len() > most {
            return Err(refuse_limit(Limit::ChannelsPerSubscription(most as u32)));
        }
    }
    Ok(all)
}

/// The channels asked for that exist, each once. Not found is only who asked for names.
fn list_of(of: &Of<'_>, format: Format, asked: &[Asked]) -> Result<Vec<u8>, Reply> {
    let mut list = list(of, format);
    let mut empty = true;
    for (at, one) in asked.iter().enumerate() {
        let new = |info: &ChannelInfo| !asked[..at].iter().any(|earlier| earlier.covers(&info.name));
        match one {
            Asked::One(name) => {
                let found = of.engine.channel_info(name);
                empty &= found.is_none();
                found.iter().filter(|info| new(info)).for_each(|info| list.push_channel(info));
            }
            Asked::Prefix(prefix) => {
                empty = false;
                for page in of.pages(prefix) {
                    page.iter().filter(|info| new(info)).for_each(|info| list.push_channel(info));
                    if list.len() > LONGEST {
                        return Err(Reply::refusal(
                            403,
                            format_args!(
                                "The list is longer than {} MB; ask for fewer channels, by a longer prefix before the *.",
                                LONGEST >> 20
                            ),
                        ));
                    }
                }
            }
        }
    }
    if empty { Err(Reply::new(404)) } else { Ok(list.finish()) }
}

/// A list of channels that is still empty.
pub(super) fn list(of: &Of<'_>, format: Format) -> List {
    let totals = of.totals();
    let (host, time) = (rustix::system::uname(), iso_time(SystemTime::now()));
    let fields = [
        ("hostname", Value::Text(host.nodename().to_str().unwrap_or_default())),
        ("time", Value::Time(&time)),
        ("channels", Value::Number(totals.channels)),
        ("wildcard_channels", Value::Number(totals.wildcard_channels)),
        ("uptime", Value::Number(totals.uptime)),
    ];
    List::new(format, format::CHANNELS, &fields)
}

fn totals(of: &Of<'_>, format: Format) -> Vec<u8> {
    let totals = of.totals();
    let (host, time) = (rustix::system::uname(), iso_time(SystemTime::now()));
    let fields = [
        ("hostname", Value::Text(host.nodename().to_str().unwrap_or_default())),
        ("time", Value::Time(&time)),
        ("channels", Value::Number(totals.channels)),
        ("wildcard_channels", Value::Number(totals.wildcard_channels)),
        ("published_messages", Value::Number(totals.published)),
        ("stored_messages", Value::Number(totals.stored)),
        // What is removed here is gone at once.
        ("messages_in_trash", Value::Number(0)),
        ("channels_in_delete", Value::Number(0)),
        ("channels_in_trash", Value::Number(0)),
        ("subscribers", Value::Number(totals.connections)),
        ("uptime", Value::Number(totals.uptime)),
    ];
    let mut list = List::new(format, format::WORKERS, &fields);
    // One process does what the module divides among its workers.
    list.push(&[
        ("pid", Value::Text(&std::process::id().to_string())),
        ("subscribers", Value::Number(totals.connections)),
        ("uptime", Value::Number(totals.uptime)),
    ]);
    list.finish()
}

/// `2026-01-31T08:00:00`, from `Sat, 31 Jan 2026 08:00:00 GMT`.
fn iso_time(time: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = httpdate::fmt_http_date(time);
    let month = MONTHS.find(&date[8..11]).map_or(0, |at| at / 3 + 1);
    format!("{}-{month:02}-{}T{}", &date[12..16], &date[5..7], &date[17..25])
}
