//! The PHP functions about who is online: in a channel, or on the whole site where `$channel` is null.

use std::borrow::Cow;
use std::ops::Deref;

use crate::convert::{self, failure};
use crate::hub;
use crate::zend::{Args, Outcome, Param, Type, Value};

/// The parameters of the functions about one user.
pub(crate) const USER: &[Param] =
    &[Param::required(c"user", Type::IntOrString), Param::nullable(c"channel", Type::String)];

pub(crate) fn online(args: &Args<'_>) -> Outcome {
    let user = convert::user(args, 1)?;
    let channel = convert::nullable_channel(args, 2)?;
    let ttl = convert::nullable_positive(args, 4)?;
    let info = args.json_object(3, &convert::ENCODING_ERROR)?;
    let (user, info) = (user.text(), info.as_ref().map_or(&[][..], Deref::deref));
    let changed = hub::with_client(|client| client.presence_online(&user, channel, info, ttl));
    changed.map(Value::Bool).map_err(|error| failure(error, 2))
}

pub(crate) fn offline(args: &Args<'_>) -> Outcome {
    let user = convert::user(args, 1)?;
    let channel = convert::nullable_channel(args, 2)?;
    let changed = hub::with_client(|client| client.presence_offline(&user.text(), channel));
    changed.map(Value::Bool).map_err(|error| failure(error, 2))
}

pub(crate) fn is_online(args: &Args<'_>) -> Outcome {
    let user = convert::user(args, 1)?;
    let channel = convert::nullable_channel(args, 2)?;
    let online = hub::with_client(|client| client.presence_is_online(&user.text(), channel));
    online.map(Value::Bool).map_err(|error| failure(error, 2))
}

pub(crate) fn among(args: &Args<'_>) -> Outcome {
    let channel = convert::nullable_channel(args, 2)?;
    let users = convert::users(args, 1)?;
    let users = users.iter().map(Cow::deref).collect();
    let online = hub::with_client(|client| client.presence_among(users, channel)).map_err(|error| failure(error, 2))?;
    Ok(Value::List(online.into_iter().map(Value::Text).collect()))
}

pub(crate) fn get(args: &Args<'_>) -> Outcome {
    let user = convert::user(args, 1)?;
    let channel = convert::nullable_channel(args, 2)?;
    let member = hub::with_client(|client| client.presence_get(&user.text(), channel));
    Ok(Value::nullable(member.map_err(|error| failure(error, 2))?, convert::member))
}

pub(crate) fn members(args: &Args<'_>) -> Outcome {
    let channel = convert::nullable_channel(args, 1)?;
    let limit = convert::limit(args, 2, 1000)?;
    let after = convert::text(args.nullable_string(3)?.unwrap_or_default(), 3)?;
    let page = hub::with_client(|client| client.presence_members(channel, after, limit));
    let page = page.map_err(|error| failure(error, 1))?;
    Ok(Value::List(page.into_iter().map(convert::member).collect()))
}

pub(crate) fn count(args: &Args<'_>) -> Outcome {
    let channel = convert::nullable_channel(args, 1)?;
    let count = hub::with_client(|client| client.presence_count(channel));
    count.map(Value::count).map_err(|error| failure(error, 1))
}

pub(crate) fn channels(args: &Args<'_>) -> Outcome {
    let user = convert::user(args, 1)?;
    let channels = hub::with_client(|client| client.presence_channels(&user.text()));
    Ok(Value::List(channels.map_err(|error| failure(error, 0))?.into_iter().map(Value::Text).collect()))
}
