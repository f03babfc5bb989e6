//! Publishing over HTTP: POST and PUT publish, GET tells counters, DELETE deletes.

use std::time::SystemTime;

use serde::Serialize;

use crate::channel::ChannelInfo;
use crate::config::Location;
use crate::error::Error;
use crate::message::{Kind, NewMessage};
use crate::sequencer::{Sequencer, Wanted};
use crate::transport::refuse;
use crate::transport::reply::Reply;
use crate::transport::request::Request;

/// Answers a request to a publisher location, whose methods are checked: what is none of the first is DELETE.
pub(crate) fn publish(engine: &Sequencer, location: &Location, channels: &[Wanted], request: &Request<'_>) -> Reply {
    match request.method {
        _ if channels.is_empty() => Reply::refusal(400, "No channel id provided."),
        "POST" | "PUT" => post(engine, location, channels, request).unwrap_or_else(|error| refuse(&error)),
        "GET" | "HEAD" => match infos(engine, channels) {
            infos if infos.is_empty() => Reply::new(404),
            infos => counters(engine, &infos),
        },
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

fn post(engine: &Sequencer, location: &Location, channels: &[Wanted], request: &Request<'_>) -> Result<Reply, Error> {
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
    match channels {
        [wanted] => drop(engine.publish(&wanted.name, &message)?),
        several => {
            let batch: Vec<_> = several.iter().map(|wanted| (wanted.name.clone(), message)).collect();
            engine.publish_many(&batch)?;
        }
    }
    if !location.channel_info_on_publish {
        return Ok(Reply::new(200));
    }
    Ok(counters(engine, &infos(engine, channels)))
}

fn infos(engine: &Sequencer, channels: &[Wanted]) -> Vec<ChannelInfo> {
    channels.iter().filter_map(|wanted| engine.channel_info(&wanted.name)).collect()
}

#[derive(Serialize)]
struct Counters<'a> {
    channel: &'a str,
    published_messages: u64,
    stored_messages: u32,
    subscribers: u32,
}

#[derive(Serialize)]
struct List<'a> {
    hostname: &'a str,
    time: String,
    channels: u64,
    wildcard_channels: u64,
    uptime: u64,
    infos: Vec<Counters<'a>>,
}

/// One channel in the single form, several as a list.
fn counters(engine: &Sequencer, infos: &[ChannelInfo]) -> Reply {
    fn single(info: &ChannelInfo) -> Counters<'_> {
        Counters {
            channel: &info.name,
            published_messages: info.published,
            stored_messages: info.stored,
            subscribers: info.subscribers,
        }
    }
    let body = match infos {
        [info] => spaced(&single(info)),
        infos => {
            let status = engine.status();
            let host = rustix::system::uname();
            spaced(&List {
                hostname: host.nodename().to_str().unwrap_or_default(),
                time: iso_time(SystemTime::now()),
                channels: status.channels,
                wildcard_channels: 0,
                uptime: status.uptime,
                infos: infos.iter().map(single).collect(),
            })
        }
    };
    Reply::new(200).body("application/json", body)
}

/// JSON with a blank after colons and commas and CRLF at the end, as the module writes it: clients match on it.
fn spaced(value: &impl Serialize) -> Vec<u8> {
    struct Spaced;

    impl serde_json::ser::Formatter for Spaced {
        fn begin_object_key<W: std::io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }

        fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, out: &mut W) -> std::io::Result<()> {
            out.write_all(b": ")
        }

        fn begin_array_value<W: std::io::Write + ?Sized>(&mut self, out: &mut W, first: bool) -> std::io::Result<()> {
            if first { Ok(()) } else { out.write_all(b", ") }
        }
    }

    let mut out = Vec::with_capacity(128);
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced))
        .expect("texts and numbers can be written");
    out.extend_from_slice(b"\r\n");
    out
}

/// `2026-01-31T08:00:00`, from `Sat, 31 Jan 2026 08:00:00 GMT`.
fn iso_time(time: SystemTime) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = httpdate::fmt_http_date(time);
    let month = MONTHS.find(&date[8..11]).map_or(0, |at| at / 3 + 1);
    format!("{}-{month:02}-{}T{}", &date[12..16], &date[5..7], &date[17..25])
}
