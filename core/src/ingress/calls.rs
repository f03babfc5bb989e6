//! What the calls of an attached client do.

use super::rings::Origin;
use crate::call::{Answer, Call, Outcome};
use crate::channel::ChannelName;
use crate::error::Error;
use crate::sequencer::Sequencer;

/// Carries one call to the engine. `longest` is `max_channel_id_length`. What `origin` says was carried out before is not
/// published again; other calls may be made twice by hubs that are killed, which changes nothing but their answers.
pub(crate) fn answer(engine: &Sequencer, longest: usize, origin: Option<Origin<'_>>, call: Call<'_>) -> Outcome {
    let name = |text: &str| ChannelName::new(text.as_bytes(), longest);
    Ok(match call {
        Call::Publish { channel, message } => {
            Answer::Published(engine.publish_for(origin, &name(channel)?, &message)?)
        }
        Call::CreateChannel { name: wanted, options } => {
            let created = engine.create_channel(wanted.map(name).transpose()?, options)?;
            Answer::Name(created.to_string())
        }
        Call::DeleteChannel { channel, message } => Answer::Deleted(engine.delete_channel(&name(channel)?, message)?),
        Call::ChannelInfo { channel } => Answer::Info(engine.channel_info(&name(channel)?)),
        Call::Position => Answer::Position(engine.head()),
        Call::Status => Answer::Status(engine.status()),
        Call::Ping => Answer::Pong,
        Call::PublishMany { messages } => {
            let named = messages.iter().map(|(channel, message)| Ok((name(channel)?, *message)));
            Answer::PublishedMany(engine.publish_many_for(origin, &named.collect::<Result<Vec<_>, Error>>()?)?)
        }
        Call::ClearChannel { channel } => Answer::Cleared(engine.clear_channel(&name(channel)?)?),
        Call::Channels { prefix, after, limit } => {
            Answer::Channels(engine.list_channels(prefix, after, limit as usize))
        }
        Call::Subscribe { .. } => {
            return Err(Error::InvalidArgument("a subscription needs an attach of its own".to_owned()));
        }
        Call::History { channel, after, limit } => {
            Answer::History(engine.history(&name(channel)?, after, limit as usize))
        }
        Call::Presence(_) | Call::Token { .. } | Call::Disconnect { .. } => {
            return Err(Error::InvalidArgument("this hub does not know this call yet".to_owned()));
        }
    })
}
