//! What the calls of an attached client do.

use std::sync::Arc;

use super::rings::Origin;
use crate::access::{self, Issue};
use crate::call::{Answer, Call, MAX_REASON, Outcome, PresenceCall};
use crate::channel::{ChannelName, ChannelOptions, Namespace};
use crate::error::Error;
use crate::fanout::Dismissal;
use crate::identity::check_user;
use crate::sequencer::Sequencer;

/// Carries one call to the engine, about channels of this namespace. What `origin` says was carried out before is not published,
/// created, cleared or deleted again; other calls may be made twice by hubs that are killed, which changes nothing.
pub(crate) fn answer(engine: &Sequencer, namespace: &Namespace, origin: Option<Origin<'_>>, call: Call<'_>) -> Outcome {
    let name = |text: &str| ChannelName::within(namespace, text.as_bytes(), engine.longest_name());
    let create = |wanted: Option<&str>, options| {
        let wanted = wanted.map(name).transpose()?;
        Ok::<_, Error>(Answer::Name(engine.create_channel_for(origin, namespace, wanted, options)?.to_string()))
    };
    Ok(match call {
        Call::Publish { channel, message } => {
            Answer::Published(engine.publish_for(origin, &name(channel)?, &message)?)
        }
        Call::CreateChannel { name, options } => create(name, options)?,
        Call::CreateChannelWithoutPresence { name, options } => {
            create(name, ChannelOptions { presence: false, ..options })?
        }
        Call::DeleteChannel { channel, message } => {
            Answer::Deleted(engine.delete_channel_for(origin, &name(channel)?, message)?)
        }
        Call::ChannelInfo { channel } => Answer::Info(engine.channel_info(&name(channel)?)),
        Call::Position => Answer::Position(engine.head()),
        Call::Status => Answer::Status(engine.status()),
        Call::Ping => Answer::Pong,
        Call::PublishMany { messages } => {
            let named = messages.iter().map(|(channel, message)| Ok((name(channel)?, *message)));
            Answer::PublishedMany(engine.publish_many_for(origin, &named.collect::<Result<Vec<_>, Error>>()?)?)
        }
        Call::ClearChannel { channel } => Answer::Cleared(engine.clear_channel_for(origin, &name(channel)?)?),
        Call::Admit { messages } => {
            let named = messages.iter().map(|(channel, len)| Ok((name(channel)?, *len)));
            engine.admit(&named.collect::<Result<Vec<_>, Error>>()?)?;
            Answer::Pong
        }
        Call::Channels { prefix, after, limit } => {
            Answer::Channels(engine.list_channels(namespace, prefix, after, limit as usize))
        }
        Call::Subscribe { .. } => {
            return Err(Error::InvalidArgument("a subscription needs an attach of its own".to_owned()));
        }
        Call::History { channel, after, limit } => {
            Answer::History(engine.history(&name(channel)?, after, limit as usize))
        }
        Call::Presence(call) => engine.presence(namespace, &call, channel_of(&call).map(name).transpose()?.as_ref())?,
        Call::Token { channels, user, ttl, info, publish } => {
            let issue = Issue { namespace: namespace.as_str(), channels: &channels, user, ttl, info, publish };
            Answer::Token(engine.access().sign(issue, engine.revoked().issue(access::now()))?)
        }
        Call::Disconnect { user, channel, reason, revoke } => {
            // Only of a client of the hub before this one, whose connections are gone.
            let what = Disconnect { user, channel, reason, revoke };
            disconnect(engine, namespace, what, Box::new(drop))?;
            Answer::Count(0)
        }
    })
}

/// What [`Call::Disconnect`] says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disconnect<'a> {
    pub(crate) user: Option<&'a str>,
    pub(crate) channel: Option<&'a str>,
    pub(crate) reason: &'a str,
    pub(crate) revoke: bool,
}

/// Revokes, and has the HTTP threads end connections. `done` is told how many there were, when all are told.
pub(crate) fn disconnect(
    engine: &Sequencer,
    namespace: &Namespace,
    Disconnect { user, channel, reason, revoke }: Disconnect<'_>,
    done: Box<dyn FnOnce(u64) + Send>,
) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::InvalidArgument(text));
    if user.is_none() && channel.is_none() {
        return wrong("a user or a channel must be given, else everybody would be disconnected".to_owned());
    }
    user.map(check_user).transpose()?;
    let name =
        channel.map(|channel| ChannelName::within(namespace, channel.as_bytes(), engine.longest_name())).transpose()?;
    if reason.len() > MAX_REASON {
        return wrong(format!("the reason has {} bytes, allowed are {MAX_REASON}", reason.len()));
    }
    if reason.chars().any(char::is_control) {
        return wrong("the reason must be one line without control characters".to_owned());
    }
    if revoke {
        engine.revoke(namespace, user, channel)?;
    }
    let id = name.as_ref().and_then(|name| engine.find(name));
    if channel.is_some() && id.is_none() {
        done(0);
        return Ok(());
    }
    let user = user.map(|user| (namespace.clone(), user.into(), engine.owned_by(namespace, user)));
    engine.dismiss(&Arc::new(Dismissal::new(engine.counters().count(), user, id, Some(reason), done)));
    Ok(())
}

/// The channel that the call is about; `None`: the site, or all of a user's.
fn channel_of<'a>(call: &PresenceCall<'a>) -> Option<&'a str> {
    match *call {
        PresenceCall::Online { channel, .. }
        | PresenceCall::Offline { channel, .. }
        | PresenceCall::Among { channel, .. }
        | PresenceCall::Get { channel, .. }
        | PresenceCall::Members { channel, .. }
        | PresenceCall::Count { channel } => channel,
        PresenceCall::Channels { .. } => None,
    }
}
