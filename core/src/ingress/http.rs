//! Publishing over HTTP: POST and PUT publish, GET tells counters, DELETE deletes.

use smallvec::SmallVec;

use crate::channel::ChannelInfo;
use crate::config::{Config, Location};
use crate::error::Error;
use crate::ingress::format::{self, Format};
use crate::ingress::statistics::{Of, list};
use crate::message::{Kind, NewMessage, Published};
use crate::sequencer::{READ_ONLY, Sequencer, Wanted};
use crate::transport::refuse;
use crate::transport::reply::Reply;
use crate::transport::request::Request;

/// Answers a request to a publisher location, whose methods are checked: what is none of the first is DELETE.
pub(crate) fn publish(
    engine: &Sequencer,
    config: &Config,
    location: &Location,
    channels: &[Wanted],
    request: &Request<'_>,
) -> Reply {
    let of = Of { engine, config, namespace: &location.namespace };
    match request.method {
        _ if channels.is_empty() => Reply::refusal(400, "No channel id provided."),
        // Before any of several channels is changed.
        "POST" | "PUT" | "DELETE" if channels.iter().any(|wanted| engine.is_events_channel(&wanted.name)) => {
            refuse(&Error::AccessDenied(READ_ONLY.to_owned()))
        }
        "POST" | "PUT" => post(&of, location, channels, request).unwrap_or_else(|error| refuse(&error)),
        "GET" | "HEAD" => {
            let found: Vec<_> = channels.iter().filter_map(|wanted| engine.channel_info(&wanted.name)).collect();
            if found.is_empty() { Reply::new(404) } else { counters(&of, request, &found) }
        }
        _ => {
            let text = Some(request.body).filter(|text| !text.is_empty());
            let deleted = channels.iter().map(|wanted| engine.delete_channel(&wanted.name, text));
            // All of them, also behind one that did not exist.
            match deleted.reduce(|one, other| Ok(one? | other?)) {
                Some(Err(error)) => refuse(&error),
                Some(Ok(true)) => Reply::refusal(200, "Channel deleted."),
                Some(Ok(false)) | None => Reply::new(404),
            }
        }
    }
}

fn post(of: &Of<'_>, location: &Location, channels: &[Wanted], request: &Request<'_>) -> Result<Reply, Error> {
    let engine = of.engine;
    if request.body.is_empty() {
        return Ok(Reply::refusal(400, "Empty post requests are not allowed."));
    }
    let text = |name: &str| {
        let value = request.header(name).filter(|value| !value.is_empty());
        value.map(std::str::from_utf8).transpose().map_err(|_| Error::InvalidArgument(format!("{name} must be UTF-8")))
    };
    let message = NewMessage {
        payload: request.body,
        kind: Kind::Bytes,
        event: text("Event-Type")?,
        event_id: text("Event-Id")?,
        ttl: None,
        store: location.store_messages,
        dedupe: None,
    };
    let published: SmallVec<[Published; 1]> = match channels {
        [wanted] => SmallVec::from_buf([engine.publish(&wanted.name, &message)?]),
        several => {
            let batch: Vec<_> = several.iter().map(|wanted| (wanted.name.clone(), message)).collect();
            engine.publish_many(&batch)?.into()
        }
    };
    if !location.channel_info_on_publish {
        return Ok(Reply::new(200));
    }
    let infos = channels.iter().zip(published).map(|(wanted, published)| {
        // A channel that stores nothing may be gone by now.
        engine.channel_info(&wanted.name).unwrap_or_else(|| ChannelInfo {
            name: wanted.name.to_string(),
            published: published.id,
            stored: 0,
            subscribers: published.subscribers,
            owner: None,
            ttl: None,
            position: published.position,
        })
    });
    Ok(counters(of, request, &infos.collect::<SmallVec<[_; 1]>>()))
}

/// One channel in the single form, several as a list, in the format that the request accepts.
fn counters(of: &Of<'_>, request: &Request<'_>, infos: &[ChannelInfo]) -> Reply {
    let format = Format::accepted(request.header("accept"));
    let body = match infos {
        [info] => format::single(format, info),
        infos => {
            let mut list = list(of, format);
            infos.iter().for_each(|info| list.push_channel(info));
            list.finish()
        }
    };
    Reply::new(200).body(format.content_type, body)
}
