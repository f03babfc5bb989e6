//! A message goes out: from a request to its location, and from there to an answer or a place among those who wait.

pub(crate) mod connection;
pub(crate) mod deadlines;
pub(crate) mod intake;
pub(crate) mod long_poll;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod websocket;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::UNIX_EPOCH;

use percent_encoding::percent_decode_str;

use crate::channel::{ChannelName, InvalidName, ThreadId};
use crate::config::{Authorization, Config, Handler, Location, Mode, Variable};
use crate::error::{Error, Limit};
use crate::ingress::http;
use crate::message::Position;
use crate::sequencer::{Refusal, Resume, Seats, Sequencer, Subscribe, Wanted};
use reply::Reply;
use request::Request;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply(Reply),
    /// It waits in these seats, complete up to `from`.
    Wait {
        from: Position,
        seats: Seats,
        form: Form,
    },
}

/// How a subscriber wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Index into [`Config::locations`].
    pub(crate) location: u16,
    /// `Accept: application/json`
    pub(crate) json: bool,
}

/// Serves one complete request. `public` says on which kind of listener it came.
pub(crate) fn serve(
    engine: &Sequencer,
    config: &Config,
    thread: ThreadId,
    public: bool,
    request: &Request<'_>,
) -> Outcome {
    let locations = config.locations.iter().enumerate();
    let found = locations
        .filter(|(_, location)| location.public == public && request.path.starts_with(&location.path))
        .max_by_key(|(_, location)| location.path.len());
    let Some((index, location)) = found else {
        return Outcome::Reply(Reply::refusal(404, "There is no location for this path on this listener."));
    };
    if let Some(reply) = refuse_method(location.handler, request.method) {
        return Outcome::Reply(reply);
    }
    let channels = match channels(location, config, request) {
        Ok(channels) => channels,
        Err(reply) => return Outcome::Reply(reply),
    };
    match location.handler {
        Handler::Publisher { .. } => Outcome::Reply(http::publish(engine, location, &channels, request)),
        Handler::Statistics => Outcome::Reply(Reply::new(404)),
        Handler::Subscriber(mode) => {
            subscribe(engine, config, thread, mode, &channels, request, index).unwrap_or_else(Outcome::Reply)
        }
    }
}

/// The answer to a method that needs no channel, or that the location does not know.
fn refuse_method(handler: Handler, method: &str) -> Option<Reply> {
    let allowed: &[&str] = match handler {
        Handler::Subscriber(_) | Handler::Statistics => &["GET"],
        Handler::Publisher { admin: false } => &["GET", "POST", "PUT"],
        Handler::Publisher { admin: true } => &["GET", "POST", "PUT", "DELETE"],
    };
    match method {
        "OPTIONS" => Some(Reply::new(200)),
        "HEAD" if matches!(handler, Handler::Publisher { .. }) => None,
        method if allowed.contains(&method) => None,
        _ => Some(Reply::new(405).header("Allow", allowed.join(", "))),
    }
}

fn channels(location: &Location, config: &Config, request: &Request<'_>) -> Result<Vec<Wanted>, Reply> {
    let path: Cow<'_, [u8]> = match &location.channels_path {
        Some(variable) => evaluate(variable, request).unwrap_or_default(),
        None => percent_decode_str(&request.path[location.path.len()..]).into(),
    };
    let most = config.max_channels_per_subscription.map_or(usize::MAX, |most| most as usize);
    let mut channels: Vec<Wanted> = Vec::new();
    for (name, backlog) in request::channels_path(&path) {
        let name = ChannelName::new(name, config.max_channel_id_length).map_err(|error| refuse_name(&error))?;
        channels.push(Wanted { name, backlog });
        if channels.len() > most {
            return Err(refuse_limit(Limit::ChannelsPerSubscription(most as u32)));
        }
    }
    if channels.len() > 1 {
        keep_first(&mut channels);
    }
    Ok(channels)
}

/// A channel that is named again counts once, with the greatest backlog.
fn keep_first(channels: &mut Vec<Wanted>) {
    let mut places: HashMap<ChannelName, usize> = HashMap::with_capacity(channels.len());
    let mut first: Vec<Wanted> = Vec::with_capacity(channels.len());
    for wanted in channels.drain(..) {
        match places.entry(wanted.name.clone()) {
            Entry::Occupied(place) => {
                let backlog = &mut first[*place.get()].backlog;
                *backlog = wanted.backlog.max(*backlog);
            }
            Entry::Vacant(place) => {
                place.insert(first.len());
                first.push(wanted);
            }
        }
    }
    *channels = first;
}

fn subscribe(
    engine: &Sequencer,
    config: &Config,
    thread: ThreadId,
    mode: Mode,
    channels: &[Wanted],
    request: &Request<'_>,
    index: usize,
) -> Result<Outcome, Reply> {
    if channels.is_empty() {
        return Err(Reply::refusal(400, "No channel id provided."));
    }
    let location = &config.locations[index];
    let subscribe = Subscribe {
        channels,
        after: position(location, request)?,
        authorized_only: location.authorized_channels_only == Authorization::On,
        wait: mode == Mode::LongPolling,
    };
    let form = Form { location: index as u16, json: accepts_json(request) };
    match engine.resume_or_wait(thread, subscribe) {
        Ok(Resume::Waiting { from, seats }) => Ok(Outcome::Wait { from, seats, form }),
        Ok(Resume::Now(batch)) => {
            let messages = batch.messages.iter().map(Into::into);
            Ok(Outcome::Reply(long_poll::answer(location, form, messages, batch.position, batch.gap)))
        }
        Err(Refusal::Unauthorized) => Err(Reply::refusal(403, "Subscriber could not create channels.")),
        Err(Refusal::Limit(limit)) => Err(refuse_limit(limit)),
    }
}

/// Where the subscriber goes on: `?position=`, else time and tag from the location's arguments or the headers.
fn position(location: &Location, request: &Request<'_>) -> Result<Option<Position>, Reply> {
    if let Some(text) = request.argument("position").filter(|text| !text.is_empty()) {
        let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
        return parsed.map(Some).ok_or_else(|| {
            Reply::refusal(400, "The argument position must be <time>.<tag>, as an earlier answer gave it.")
        });
    }
    let value = |variable: &Option<Variable>, header: &str| {
        let argument = variable.as_ref().and_then(|variable| evaluate(variable, request));
        argument.or_else(|| request.header(header).map(Cow::Borrowed))
    };
    let time = value(&location.last_received_message_time, "if-modified-since");
    let Some(time) = time.as_deref().and_then(parse_time) else { return Ok(None) };
    let tag = value(&location.last_received_message_tag, "if-none-match");
    // Without a tag the whole second comes again: rather twice than not at all.
    Ok(Some(Position { time, tag: tag.as_deref().and_then(parse_tag).unwrap_or(0) }))
}

/// A date in one of the three forms of HTTP.
fn parse_time(text: &[u8]) -> Option<u32> {
    let date = httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()?;
    let seconds = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// `5`, `W/5`, `"5"` or `W/"5"`.
fn parse_tag(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix("W/").unwrap_or(text);
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The variable's value in this request; an empty one counts as absent.
fn evaluate<'a>(variable: &Variable, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    let value = match variable {
        Variable::Argument(name) => request.argument(name),
        Variable::Header(name) => {
            let same = |a: u8, b: u8| a.to_ascii_lowercase() == b || (a == b'-' && b == b'_');
            let named = request.headers.iter().find(|header| {
                header.name.len() == name.len() && header.name.bytes().zip(name.bytes()).all(|(a, b)| same(a, b))
            });
            named.map(|header| Cow::Borrowed(header.value.trim_ascii()))
        }
    };
    value.filter(|value| !value.is_empty())
}

fn accepts_json(request: &Request<'_>) -> bool {
    let Some(accept) = request.header("accept") else { return false };
    accept.split(|&byte| byte == b',').any(|range| {
        let kind = range.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    })
}

fn refuse_name(error: &InvalidName) -> Reply {
    match error {
        InvalidName::Reserved(_) => Reply::refusal(403, "Channel id not authorized for this method."),
        InvalidName::TooLong { .. } => Reply::refusal(400, "Channel id is too large."),
        InvalidName::Empty | InvalidName::Forbidden(_) | InvalidName::NotUtf8 => Reply::refusal(400, error),
    }
}

fn refuse_limit(limit: Limit) -> Reply {
    match limit {
        Limit::Channels(_) => Reply::refusal(403, "Number of channels were exceeded."),
        Limit::Subscribers(_) => Reply::refusal(403, "Subscribers limit per channel has been exceeded."),
        Limit::ChannelsPerSubscription(_) => Reply::refusal(403, limit),
        Limit::Memory(_) => Reply::refusal(503, limit).header("Retry-After", 5),
    }
}

/// The answer to a publication that the engine refused.
pub(crate) fn refuse(error: &Error) -> Reply {
    match error {
        Error::InvalidName(error) => refuse_name(error),
        Error::LimitExceeded(limit) => refuse_limit(*limit),
        Error::TooLarge { .. } => Reply::refusal(413, error),
        Error::ChannelNotFound(_) => Reply::new(404),
        Error::AccessDenied(_) => Reply::refusal(403, error),
        Error::InvalidArgument(_) => Reply::refusal(400, error),
        Error::HubUnavailable(_) | Error::Timeout { .. } | Error::Incompatible { .. } => Reply::refusal(503, error),
    }
}
