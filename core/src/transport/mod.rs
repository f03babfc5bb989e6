//! A message goes out: from a request to its location, and from there to an answer or a place among those who wait.

pub(crate) mod client_address;
pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod deadlines;
pub(crate) mod intake;
pub(crate) mod json;
pub(crate) mod long_poll;
mod members;
pub(crate) mod output;
pub(crate) mod render;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod script;
pub(crate) mod stream;
pub(crate) mod websocket;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use crate::access::limits::{By, Deed, Payer};
use crate::access::{handed_over, may_publish, may_subscribe};
use crate::channel::{ChannelName, InvalidName, ThreadId};
use crate::config::{Authorization, Config, Handler, Location, Mode, Variable};
use crate::error::{Error, Limit};
use crate::http_thread::From;
use crate::identity::Grant;
use crate::ingress::{http, statistics};
use crate::message::Position;
use crate::metrics;
use crate::presence::UserId;
use crate::sequencer::{Batch, Feed, Guest, Refusal, Resume, Seat, Seats, Sequencer, Subscribe, Wanted};
use cors::{Origin, origin};
use render::Item;
pub(crate) use render::Layout;
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
        grant: Option<Rc<Grant>>,
        payer: Payer,
        user: Option<UserId>,
    },
    /// It stays in these seats, and has missed this.
    Stream {
        missed: Batch,
        seats: Seats,
        form: Form,
        grant: Option<Rc<Grant>>,
        payer: Payer,
        user: Option<UserId>,
        head: Reply,
    },
    /// It wanted a WebSocket and gets it, to be told the refusal there.
    Refusal {
        head: Reply,
        refusal: Reply,
    },
}

/// Why a subscriber has to go before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell<'a> {
    /// The token that let it in has expired.
    Expired,
    /// The backend says so; the reason is one line.
    Disconnected(&'a str),
}

impl Farewell<'_> {
    pub(crate) const EXPIRED: &'static str = "token expired";
}

/// How a subscriber wants its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// Index into [`Config::locations`].
    pub(crate) location: u16,
    /// How it is served, which is not always the location's way.
    pub(crate) mode: Mode,
    pub(crate) layout: Layout,
    /// Its group in [`Location::padding_by_user_agent`].
    pub(crate) padding: Option<u8>,
    /// Its origin may read the answer.
    pub(crate) origin: Origin,
    /// It is told who is in its channels.
    pub(crate) presence: bool,
    /// The function that a JSONP answer calls.
    pub(crate) callback: Option<Rc<String>>,
}

/// Serves one complete request that came on this kind of listener.
pub(crate) fn serve(
    engine: &Sequencer,
    config: &Config,
    thread: ThreadId,
    from: From,
    request: &Request<'_>,
) -> Outcome {
    let handed = match from {
        From::Trusted => match handed_over(engine, request) {
            Ok(handed) => Some(handed),
            Err(refusal) => return Outcome::Reply(refusal),
        },
        _ => None,
    };
    let request = &Request { handed: handed.as_ref(), ..*request };
    let locations = config.locations.iter().enumerate();
    let found = locations
        .filter(|(_, location)| stands_on(location, from) && rest_of_path(location, request).is_some())
        .max_by_key(|(_, location)| location.path.len());
    let longest = found.map(|(_, location)| location.path.len());
    let operators = (from == From::Admin).then(|| metrics::answer(engine, request.method, request.path, longest));
    let client = (from == From::Public).then(|| script::answer(request, longest));
    if let Some(reply) = operators.or(client).flatten() {
        return Outcome::Reply(reply);
    }
    let Some((index, location)) = found else {
        return Outcome::Reply(Reply::refusal(404, "There is no location for this path on this listener."));
    };
    let origin = origin(location, request);
    serve_at(engine, config, thread, (index, origin), request)
        .unwrap_or_else(|refusal| Outcome::Reply(cors::allow(refusal, location, origin)))
}

fn serve_at(
    engine: &Sequencer,
    config: &Config,
    thread: ThreadId,
    (index, origin): (usize, Origin),
    request: &Request<'_>,
) -> Result<Outcome, Reply> {
    let location = &config.locations[index];
    if let Some(reply) = refuse_method(location.handler, request.method) {
        return Err(reply);
    }
    match location.handler {
        Handler::Publisher { .. } => {
            let mut channels = channels(location, config, request)?;
            // Whoever reaches an admin listener is the backend.
            if location.public {
                let changes = !matches!(request.method, "GET" | "HEAD");
                let counted = |by, payer| match changes {
                    true => engine.access().limits().check(config, Deed::Publish, by, payer, Some(request)),
                    false => Ok(()),
                };
                let payer = engine.access().limits().payer(config, location, request);
                counted(By::Address, payer)?;
                let grant = may_publish(engine, location, request, &mut channels, changes)?;
                counted(By::User, with_user(payer, engine, config, location, (grant.as_deref(), &[])))?;
            }
            let reply = http::publish(engine, config, location, &channels, request);
            Ok(Outcome::Reply(cors::allow(reply, location, origin)))
        }
        Handler::Statistics => Ok(Outcome::Reply(statistics::answer(
            engine,
            config,
            &location.namespace,
            &named(location, request),
            request,
        ))),
        Handler::Members => members::answer(engine, config, (index, origin), request).map(Outcome::Reply),
        Handler::Subscriber(mode) => {
            let form = form(config, index, mode, origin, request)?;
            if form.mode != Mode::WebSocket {
                return subscribe(engine, config, thread, form, request);
            }
            if !cors::may_open(origin, request) {
                return Err(Reply::refusal(403, "Origin is not among the allowed_origins of this location."));
            }
            let accept = websocket::handshake(request)?;
            let head = || Reply::new(101).header("Sec-WebSocket-Accept", &accept);
            match subscribe(engine, config, thread, form, request) {
                Ok(Outcome::Stream { missed, seats, form, grant, payer, user, .. }) => {
                    let head = if missed.gap { head().header("X-Push-Gap", 1) } else { head() };
                    Ok(Outcome::Stream { missed, seats, form, grant, payer, user, head })
                }
                Err(refusal) => Ok(Outcome::Refusal { head: head(), refusal }),
                other => other,
            }
        }
    }
}

/// Whether the location is to be had on this kind of listener: where nginx hands requests over, what subscribers have.
fn stands_on(location: &Location, from: From) -> bool {
    match from {
        From::Public => location.public,
        From::Trusted => location.public && matches!(location.handler, Handler::Subscriber(_) | Handler::Members),
        From::Admin | From::Client => !location.public,
    }
}

/// What of the request's path is behind the location's. The slash at the end of a location's path may be missing.
fn rest_of_path<'a>(location: &Location, request: &Request<'a>) -> Option<&'a str> {
    let (path, own) = (request.path, &*location.path);
    match path.len() + 1 == own.len() {
        true => (own.strip_suffix('/') == Some(path)).then_some(""),
        false => path.strip_prefix(own),
    }
}

/// The answer to a method that needs no channel, or that the location does not know.
fn refuse_method(handler: Handler, method: &str) -> Option<Reply> {
    let allowed: &[&str] = match handler {
        Handler::Subscriber(_) | Handler::Statistics | Handler::Members => &["GET"],
        Handler::Publisher { admin: false } => &["GET", "POST", "PUT"],
        Handler::Publisher { admin: true } => &["GET", "POST", "PUT", "DELETE"],
    };
    match method {
        "OPTIONS" => Some(Reply::new(200)),
        "HEAD" if !matches!(handler, Handler::Subscriber(_)) => None,
        method if allowed.contains(&method) => None,
        _ => Some(Reply::new(405).header("Allow", allowed.join(", "))),
    }
}

/// The channels path, decoded.
fn named<'a>(location: &Location, request: &Request<'a>) -> Cow<'a, [u8]> {
    let named = location.channels_path.as_ref().and_then(|variable| evaluate(variable, request));
    named.unwrap_or_else(|| percent_decode_str(rest_of_path(location, request).unwrap_or_default()).into())
}

fn channels(location: &Location, config: &Config, request: &Request<'_>) -> Result<SmallVec<[Wanted; 1]>, Reply> {
    match request.handed {
        Some(handed) => wanted(location, config, handed.channels.iter().map(|name| (name.as_bytes(), 0))),
        None => wanted(location, config, request::channels_path(&named(location, request))),
    }
}

fn wanted<'a>(
    location: &Location,
    config: &Config,
    names: impl Iterator<Item = (&'a [u8], u32)>,
) -> Result<SmallVec<[Wanted; 1]>, Reply> {
    let most = config.max_channels_per_subscription.map_or(usize::MAX, |most| most as usize);
    let mut channels = SmallVec::new();
    for (name, backlog) in names {
        let name = ChannelName::within(&location.namespace, name, config.max_channel_id_length)
            .map_err(|error| refuse_name(&error))?;
        channels.push(Wanted { name, backlog, opened: false });
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
fn keep_first(channels: &mut SmallVec<[Wanted; 1]>) {
    let mut places: HashMap<ChannelName, usize> = HashMap::with_capacity(channels.len());
    let mut first: SmallVec<[Wanted; 1]> = SmallVec::with_capacity(channels.len());
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
    form: Form,
    request: &Request<'_>,
) -> Result<Outcome, Reply> {
    let location = &config.locations[usize::from(form.location)];
    let limits = engine.access().limits();
    let payer = limits.payer(config, location, request);
    let deed = if form.mode == Mode::LongPolling { Deed::Poll } else { Deed::Connect };
    // Before a token is verified: whoever tries many of them is counted for each.
    limits.check(config, deed, By::Address, payer, Some(request))?;
    let mut channels = channels(location, config, request)?;
    if channels.is_empty() {
        return Err(Reply::refusal(400, "No channel id provided."));
    }
    let grant = may_subscribe(engine, location, request, &mut channels)?;
    let payer = with_user(payer, engine, config, location, (grant.as_deref(), &channels));
    limits.check(config, deed, By::User, payer, Some(request))?;
    let position = position(request)?;
    // A browser opens an event stream again at the address of its first request: what it says of itself is newer than any
    // argument or backlog there.
    let own = request.header("last-event-id").filter(|id| form.layout.is_events() && !id.is_empty());
    if own.is_some() {
        channels.iter_mut().for_each(|wanted| wanted.backlog = 0);
    }
    let event_id = own.map(Cow::Borrowed).or_else(|| value(&location.last_event_id, "last-event-id", request));
    let event_id = event_id.as_deref().map(String::from_utf8_lossy);
    let subscribe = Subscribe {
        after: position.or_else(|| last_received(location, request)),
        event_id: event_id.as_deref().filter(|id| !id.is_empty()),
        identity: grant.as_ref().and_then(|grant| grant.identity.as_ref()),
        seat: match form.mode {
            Mode::Polling => Seat::Never,
            Mode::LongPolling => Seat::IfNothingMissed,
            Mode::Streaming | Mode::EventSource | Mode::WebSocket => Seat::Always(config.client_buffer as usize),
        },
        feed: feed(request)?,
        ..subscription(location, &channels)
    };
    match engine.resume_or_wait(thread, subscribe) {
        Ok(Resume::Now(batch)) => {
            let items: Vec<Item<'_>> = batch.messages.iter().map(Into::into).collect();
            Ok(Outcome::Reply(long_poll::answer(config, &form, &items, batch.position, batch.gap)))
        }
        Ok(Resume::Seated(missed, seats, Guest { user, .. })) if form.mode == Mode::LongPolling => {
            Ok(Outcome::Wait { from: missed.position, seats, form, grant, payer, user })
        }
        Ok(Resume::Seated(missed, seats, Guest { user, .. })) => {
            let head = stream::head(config, &form, missed.gap);
            Ok(Outcome::Stream { missed, seats, form, grant, payer, user, head })
        }
        Err(refusal) => Err(refuse_subscription(refusal)),
    }
}

/// The payer with its user: whom the token names, else the owner of one of these channels.
fn with_user(
    payer: Payer,
    engine: &Sequencer,
    config: &Config,
    location: &Location,
    (grant, channels): (Option<&Grant>, &[Wanted]),
) -> Payer {
    let named = grant.and_then(|grant| grant.identity.as_ref()).map(|identity| identity.user.clone());
    engine.access().limits().with_user(payer, config, location, || named.or_else(|| engine.owner_of(channels)))
}

/// What the location says of a subscription to these channels.
fn subscription<'a>(location: &Location, channels: &'a [Wanted]) -> Subscribe<'a> {
    Subscribe {
        channels,
        after: None,
        event_id: None,
        identity: None,
        authorized_only: location.authorized_channels_only == Authorization::On,
        most_wildcards: location.wildcard_channel_max_qtd,
        to_events: location.allow_connections_to_events_channel,
        seat: Seat::Never,
        enters: location.presence,
        feed: Feed::None,
    }
}

/// The answer to a subscription that the engine refused.
fn refuse_subscription(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Unauthorized => Reply::refusal(403, "Subscriber could not create channels."),
        Refusal::Wildcards => Reply::refusal(403, "Subscribed too much wildcard channels."),
        Refusal::Events => Reply::refusal(403, "Subscription to events channel is not allowed."),
        Refusal::Limit(limit) => refuse_limit(limit),
    }
}

/// How the request is to be answered: the location's way, unless a header wants a poll or an argument a call.
fn form(config: &Config, index: usize, mode: Mode, origin: Origin, request: &Request<'_>) -> Result<Form, Reply> {
    let location = &config.locations[index];
    let events = mode == Mode::EventSource;
    let mode = match request.header("x-nginx-pushstream-mode") {
        _ if mode == Mode::WebSocket => mode,
        Some(wanted) if wanted.eq_ignore_ascii_case(b"polling") => Mode::Polling,
        Some(wanted) if wanted.eq_ignore_ascii_case(b"long-polling") => Mode::LongPolling,
        _ => mode,
    };
    let polls = matches!(mode, Mode::Polling | Mode::LongPolling);
    let callback = request.argument("callback").filter(|name| polls && !events && !name.is_empty());
    let callback = callback.map(|name| jsonp_callback(&name)).transpose()?;
    let json = request.argument("format").is_some_and(|format| *format == *b"json");
    let layout = match () {
        () if polls && callback.is_none() && (json || accepts_json(request)) => Layout::Json,
        () if !polls && json && events => Layout::JsonEvents,
        () if !polls && json => Layout::Json,
        () if events => Layout::Events,
        () => Layout::Template,
    };
    let padded = !polls && mode != Mode::WebSocket && matches!(layout, Layout::Events | Layout::Template);
    let groups = location.padding_by_user_agent.as_deref().filter(|_| padded);
    let padding = groups.and_then(|groups| {
        let agent = value(&location.user_agent, "user-agent", request)?;
        let agent = String::from_utf8_lossy(&agent);
        groups.iter().position(|group| group.agent.is_match(&agent)).map(|group| group as u8)
    });
    let presence = feed(request)? != Feed::None;
    Ok(Form { location: index as u16, mode, layout, padding, origin, presence, callback })
}

/// A name such as `a.b_c` or `handlers[3]`, and nothing that would be a program.
fn jsonp_callback(name: &[u8]) -> Result<Rc<String>, Reply> {
    const MOST: usize = 128;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_$.[]".contains(byte);
    let fits = name.len() <= MOST && !name[0].is_ascii_digit() && name.iter().all(plain);
    match std::str::from_utf8(name) {
        Ok(name) if fits => Ok(Rc::new(name.to_owned())),
        _ => Err(Reply::refusal(400, "The argument callback must be the name of a function, of at most 128 bytes.")),
    }
}

/// Whether the subscriber is told who is in its channels: `?presence=1` or `?presence=anew`.
fn feed(request: &Request<'_>) -> Result<Feed, Reply> {
    match request.argument("presence").as_deref() {
        None | Some(b"" | b"0") => Ok(Feed::None),
        Some(b"1") => Ok(Feed::Since),
        Some(b"anew") => Ok(Feed::Anew),
        Some(_) => Err(Reply::refusal(
            400,
            "The argument presence must be 1 (what changes), anew (who is there, whatever the position) or 0.",
        )),
    }
}

/// Where the subscriber goes on by `?position=`.
fn position(request: &Request<'_>) -> Result<Option<Position>, Reply> {
    let Some(text) = request.argument("position").filter(|text| !text.is_empty()) else { return Ok(None) };
    let parsed = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| Reply::refusal(400, "The argument position must be <time>.<tag>, as an earlier answer gave it."))
}

/// Where the subscriber goes on by time and tag, from the location's arguments or the headers.
fn last_received(location: &Location, request: &Request<'_>) -> Option<Position> {
    let time = parse_time(&value(&location.last_received_message_time, "if-modified-since", request)?)?;
    let tag = value(&location.last_received_message_tag, "if-none-match", request);
    // Without a tag the whole second comes again: rather twice than not at all.
    Some(Position { time, tag: tag.as_deref().and_then(parse_tag).unwrap_or(0) })
}

/// The variable's value, else the header's.
fn value<'a>(variable: &Option<Variable>, header: &str, request: &Request<'a>) -> Option<Cow<'a, [u8]>> {
    let argument = variable.as_ref().and_then(|variable| evaluate(variable, request));
    argument.or_else(|| request.header(header).map(Cow::Borrowed))
}

/// A date in one of the three forms of HTTP. In an argument its spaces may have become plus signs, as forms have them.
fn parse_time(text: &[u8]) -> Option<u32> {
    thread_local! {
        /// The last one: those who poll after the same message send the same date.
        static LAST: RefCell<(Vec<u8>, u32)> = const { RefCell::new((Vec::new(), 0)) };
    }
    LAST.with_borrow_mut(|(last, time)| {
        if *last == text && !text.is_empty() {
            return Some(*time);
        }
        let date = httpdate::parse_http_date(&std::str::from_utf8(text).ok()?.replace('+', " ")).ok()?;
        let seconds = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
        *time = u32::try_from(seconds).unwrap_or(u32::MAX);
        last.clear();
        last.extend_from_slice(text);
        Some(*time)
    })
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

/// The answer to a name that is none.
pub(crate) fn refuse_name(error: &InvalidName) -> Reply {
    match error {
        InvalidName::Reserved(_) => Reply::refusal(403, "Channel id not authorized for this method."),
        InvalidName::TooLong { .. } => Reply::refusal(400, "Channel id is too large."),
        InvalidName::Empty | InvalidName::Forbidden(_) | InvalidName::NotUtf8 => Reply::refusal(400, error),
    }
}

/// The answer to a configured maximum that is reached.
pub(crate) fn refuse_limit(limit: Limit) -> Reply {
    match limit {
        Limit::Channels(_) | Limit::WildcardChannels(_) => Reply::refusal(403, "Number of channels were exceeded."),
        Limit::Subscribers(_) => Reply::refusal(403, "Subscribers limit per channel has been exceeded."),
        Limit::ChannelsPerSubscription(_)
        | Limit::Clients { .. }
        | Limit::ClientBytes { .. }
        | Limit::ClientDescriptors { .. } => Reply::refusal(403, limit),
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

#[cfg(test)]
mod tests;
