//! Who is in a channel, page by page, for those who may subscribe to it: `GET /presence/<channel>?after=&limit=`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::cors::{self, Origin};
use super::reply::Reply;
use super::request::Request;
use super::{channels, may_subscribe, refuse_subscription, subscription};
use crate::call::Member;
use crate::config::Config;
use crate::message::Position;
use crate::sequencer::{Sequencer, Subscribe};

/// Members on a page, when the request does not say.
const PAGE: usize = 100;
const MOST: usize = 1_000;

#[derive(Serialize)]
struct Page<'a> {
    channel: &'a str,
    #[serde(serialize_with = "Position::as_text")]
    position: Position,
    count: usize,
    members: Vec<Shown<'a>>,
    /// The next page begins behind this one.
    after: Option<&'a str>,
}

#[derive(Serialize)]
struct Shown<'a> {
    user: &'a str,
    info: &'a RawValue,
    connections: u32,
    since: u64,
}

/// Answers a request whose method is checked.
///
/// # Errors
/// What a subscription to the channel would be refused with; and a page that makes no sense.
pub(super) fn answer(
    engine: &Sequencer,
    config: &Config,
    (index, origin): (usize, Origin),
    request: &Request<'_>,
) -> Result<Reply, Reply> {
    let location = &config.locations[index];
    let mut channels = channels(location, config, request)?;
    may_subscribe(engine, location, request, &mut channels)?;
    let [wanted] = channels.as_slice() else {
        return Err(Reply::refusal(400, "One channel is to be named: its members are listed."));
    };
    let limit = limit(request)?;
    let after = request.argument("after").unwrap_or(Cow::Borrowed(b""));
    let after = std::str::from_utf8(&after).map_err(|_| {
        Reply::refusal(400, "The argument after must be the name of a user, as an earlier page gave it.")
    })?;
    let subscribe = Subscribe { enters: false, ..subscription(location, &channels) };
    let roster = engine.roster(subscribe, after, limit).map_err(refuse_subscription)?;
    let page = Page {
        channel: &wanted.name,
        position: roster.position,
        count: roster.count,
        members: roster.members.iter().filter_map(shown).collect(),
        after: roster.members.last().filter(|_| roster.more).map(|last| last.user.as_str()),
    };
    let body = serde_json::to_vec(&page).expect("texts, numbers and checked JSON can be written");
    Ok(cors::allow(Reply::new(200).body("application/json", body), location, origin))
}

fn shown(member: &Member) -> Option<Shown<'_>> {
    let info = serde_json::from_str(&member.info).ok()?;
    Some(Shown { user: &member.user, info, connections: member.connections, since: member.since })
}

fn limit(request: &Request<'_>) -> Result<usize, Reply> {
    let Some(text) = request.argument("limit").filter(|text| !text.is_empty()) else { return Ok(PAGE) };
    let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok());
    number
        .filter(|number| (1..=MOST).contains(number))
        .ok_or_else(|| Reply::refusal(400, format_args!("The argument limit must be a number from 1 to {MOST}.")))
}
