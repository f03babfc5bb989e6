//! The PHP functions. Each converts its arguments, makes one call of the client, and converts the answer; what is right
//! or wrong is decided in the core. Signatures are compared with `push.stub.php` by a test.

use std::time::Duration;

use push_core::channel::ChannelOptions;
use push_core::error::Error;
use push_core::message::{Kind, NewMessage};

use crate::access;
use crate::convert::{self, User, failure};
use crate::hub;
use crate::ini;
use crate::message::{self, Batch};
use crate::presence;
use crate::zend::{Args, Data, Failure, Function, Outcome, Param, Type, Value, handler};

const CREATE: &[Param] = &[
    Param::nullable(c"user", Type::IntOrString),
    Param::nullable(c"name", Type::String),
    Param::nullable(c"ttl", Type::Int),
    Param::nullable(c"max_messages", Type::Int),
    Param::nullable(c"message_ttl", Type::Int),
    Param::optional(c"presence", Type::Bool, c"true"),
];

/// The short name that `push.short_names = Off` takes away.
pub(crate) const SHORT_NAME: &str = "create_channel";

/// All functions of the module.
pub(crate) const FUNCTIONS: &[Function] = &[
    Function {
        name: c"push_publish",
        handler: handler!(publish, 2, 7),
        params: message::PARAMS,
        returns: Type::Object(&convert::PUBLISHED),
        returns_null: false,
    },
    Function {
        name: c"push_publish_async",
        handler: handler!(publish_async, 2, 7),
        params: message::PARAMS,
        returns: Type::Void,
        returns_null: false,
    },
    Function {
        name: c"push_publish_many",
        handler: handler!(publish_many, 1, 1),
        params: &[Param::required(c"messages", Type::Array)],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"create_channel",
        handler: handler!(create_channel, 0, 6),
        params: CREATE,
        returns: Type::String,
        returns_null: false,
    },
    Function {
        name: c"push_create_channel",
        handler: handler!(create_channel, 0, 6),
        params: CREATE,
        returns: Type::String,
        returns_null: false,
    },
    Function {
        name: c"push_delete_channel",
        handler: handler!(delete_channel, 1, 2),
        params: &[Param::required(c"channel", Type::String), Param::nullable(c"message", Type::String)],
        returns: Type::Bool,
        returns_null: false,
    },
    Function {
        name: c"push_clear_channel",
        handler: handler!(clear_channel, 1, 1),
        params: &[Param::required(c"channel", Type::String)],
        returns: Type::Int,
        returns_null: false,
    },
    Function {
        name: c"push_channel_info",
        handler: handler!(channel_info, 1, 1),
        params: &[Param::required(c"channel", Type::String)],
        returns: Type::Object(&convert::CHANNEL_INFO),
        returns_null: true,
    },
    Function {
        name: c"push_channels",
        handler: handler!(channels, 0, 3),
        params: &[
            Param::optional(c"prefix", Type::String, c"''"),
            Param::optional(c"limit", Type::Int, c"1000"),
            Param::nullable(c"after", Type::String),
        ],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_history",
        handler: handler!(history, 1, 3),
        params: &[
            Param::required(c"channel", Type::String),
            Param::nullable(c"after", Type::String),
            Param::optional(c"limit", Type::Int, c"100"),
        ],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_position",
        handler: handler!(position, 0, 0),
        params: &[],
        returns: Type::String,
        returns_null: false,
    },
    Function {
        name: c"push_token",
        handler: handler!(access::token, 1, 5),
        params: &[
            Param::required(c"channels", Type::ArrayOrString),
            Param::nullable(c"user", Type::IntOrString),
            Param::optional(c"ttl", Type::Int, c"3600"),
            Param::optional(c"info", Type::Array, c"[]"),
            Param::optional(c"publish", Type::Bool, c"false"),
        ],
        returns: Type::String,
        returns_null: false,
    },
    Function {
        name: c"push_disconnect",
        handler: handler!(access::disconnect, 0, 4),
        params: &[
            Param::nullable(c"user", Type::IntOrString),
            Param::nullable(c"channel", Type::String),
            Param::optional(c"reason", Type::String, c"''"),
            Param::optional(c"revoke", Type::Bool, c"false"),
        ],
        returns: Type::Int,
        returns_null: false,
    },
    Function {
        name: c"push_accel",
        handler: handler!(access::accel, 1, 3),
        params: &[
            Param::required(c"channels", Type::ArrayOrString),
            Param::nullable(c"user", Type::IntOrString),
            Param::optional(c"info", Type::Array, c"[]"),
        ],
        returns: Type::Void,
        returns_null: false,
    },
    Function {
        name: c"push_presence_online",
        handler: handler!(presence::online, 1, 4),
        params: &[
            Param::required(c"user", Type::IntOrString),
            Param::nullable(c"channel", Type::String),
            Param::optional(c"info", Type::Array, c"[]"),
            Param::nullable(c"ttl", Type::Int),
        ],
        returns: Type::Bool,
        returns_null: false,
    },
    Function {
        name: c"push_presence_offline",
        handler: handler!(presence::offline, 1, 2),
        params: presence::USER,
        returns: Type::Bool,
        returns_null: false,
    },
    Function {
        name: c"push_presence_is_online",
        handler: handler!(presence::is_online, 1, 2),
        params: presence::USER,
        returns: Type::Bool,
        returns_null: false,
    },
    Function {
        name: c"push_presence_among",
        handler: handler!(presence::among, 1, 2),
        params: &[Param::required(c"users", Type::Array), Param::nullable(c"channel", Type::String)],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_presence_get",
        handler: handler!(presence::get, 1, 2),
        params: presence::USER,
        returns: Type::Object(&convert::MEMBER),
        returns_null: true,
    },
    Function {
        name: c"push_presence_members",
        handler: handler!(presence::members, 0, 3),
        params: &[
            Param::nullable(c"channel", Type::String),
            Param::optional(c"limit", Type::Int, c"1000"),
            Param::nullable(c"after", Type::String),
        ],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_presence_count",
        handler: handler!(presence::count, 0, 1),
        params: &[Param::nullable(c"channel", Type::String)],
        returns: Type::Int,
        returns_null: false,
    },
    Function {
        name: c"push_presence_channels",
        handler: handler!(presence::channels, 1, 1),
        params: &[Param::required(c"user", Type::IntOrString)],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_hub_address",
        handler: handler!(hub_address, 0, 0),
        params: &[],
        returns: Type::String,
        returns_null: true,
    },
    Function {
        name: c"push_status",
        handler: handler!(status, 0, 0),
        params: &[],
        returns: Type::Array,
        returns_null: false,
    },
    Function {
        name: c"push_ping",
        handler: handler!(ping, 0, 1),
        params: &[Param::optional(c"timeout", Type::Float, c"0.2")],
        returns: Type::Bool,
        returns_null: false,
    },
];

/// Reads the arguments that `push_publish` and `push_publish_async` share, then hands them to `send`.
fn with_message<T>(
    args: &Args<'_>,
    send: impl FnOnce(&str, &NewMessage<'_>) -> Result<T, Error>,
) -> Result<T, Failure> {
    let (channel, options) = message::read(args)?;
    let data = args.data(2, &convert::ENCODING_ERROR)?;
    let (payload, kind) = match &data {
        Data::Bytes(bytes) => (*bytes, Kind::Bytes),
        Data::Json(text) => (&**text, Kind::Json),
    };
    send(channel, &NewMessage { payload, kind, ..options }).map_err(|error| failure(error, 1))
}

fn publish(args: &Args<'_>) -> Outcome {
    let sent = with_message(args, |channel, message| hub::with_client(|client| client.publish(channel, message)))?;
    Ok(convert::published(sent))
}

fn publish_async(args: &Args<'_>) -> Outcome {
    let unheard = with_message(args, |channel, message| {
        match hub::with_client(|client| client.publish_async(channel, message)) {
            // Of all calls this one has nothing to return, so it alone can do without a hub.
            Err(error @ (Error::HubUnavailable(_) | Error::Timeout { .. } | Error::Incompatible { .. }))
                if ini::warns() =>
            {
                Ok(Some(error))
            }
            sent => sent.map(|()| None),
        }
    })?;
    unheard.map_or(Ok(Value::Null), |error| Err(Failure::Warning(error.to_string())))
}

fn publish_many(args: &Args<'_>) -> Outcome {
    let batch = Batch::read(args)?;
    let messages = batch.messages()?;
    if messages.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let sent = hub::with_client(|client| client.publish_many(messages)).map_err(convert::batch_failure)?;
    Ok(Value::List(sent.into_iter().map(convert::published).collect()))
}

fn create_channel(args: &Args<'_>) -> Outcome {
    let user = convert::nullable_user(args, 1)?;
    let name = convert::nullable_channel(args, 2)?;
    let ttl = convert::nullable_positive(args, 3)?;
    let max_messages = convert::nullable_positive(args, 4)?;
    let message_ttl = convert::nullable_positive(args, 5)?;
    let presence = args.bool_or(6, true)?;
    let owner = user.map(|user| User::text(user).into_owned());
    let options = ChannelOptions { owner, ttl, max_messages, message_ttl, presence };
    let name = hub::with_client(|client| client.create_channel(name, options));
    name.map(Value::Text).map_err(|error| failure(error, 2))
}

fn delete_channel(args: &Args<'_>) -> Outcome {
    let channel = convert::channel(args, 1)?;
    let message = args.nullable_string(2)?;
    let existed = hub::with_client(|client| client.delete_channel(channel, message));
    existed.map(Value::Bool).map_err(|error| failure(error, 1))
}

fn clear_channel(args: &Args<'_>) -> Outcome {
    let channel = convert::channel(args, 1)?;
    let count = hub::with_client(|client| client.clear_channel(channel));
    count.map(Value::count).map_err(|error| failure(error, 1))
}

fn channel_info(args: &Args<'_>) -> Outcome {
    let channel = convert::channel(args, 1)?;
    let info = hub::with_client(|client| client.channel_info(channel)).map_err(|error| failure(error, 1))?;
    Ok(Value::nullable(info, convert::channel_info))
}

fn channels(args: &Args<'_>) -> Outcome {
    let prefix = convert::text(args.string_or_empty(1)?, 1)?;
    let limit = convert::limit(args, 2, 1000)?;
    let after = convert::text(args.nullable_string(3)?.unwrap_or_default(), 3)?;
    let page = hub::with_client(|client| client.channels(prefix, after, limit)).map_err(|error| failure(error, 0))?;
    Ok(Value::List(page.into_iter().map(convert::channel_info).collect()))
}

fn history(args: &Args<'_>) -> Outcome {
    let channel = convert::channel(args, 1)?;
    let after = convert::nullable_position(args, 2)?;
    let limit = convert::limit(args, 3, 100)?;
    let page = hub::with_client(|client| client.history(channel, after, limit)).map_err(|error| failure(error, 1))?;
    Ok(Value::List(page.into_iter().map(|message| message::stored(channel, message)).collect()))
}

fn position(_: &Args<'_>) -> Outcome {
    let head = hub::with_client(|client| client.position()).map_err(|error| failure(error, 0))?;
    Ok(Value::Text(head.to_string()))
}

fn hub_address(_: &Args<'_>) -> Outcome {
    let address = hub::address().map_err(|error| failure(error, 0))?;
    Ok(Value::nullable(address, Value::Text))
}

fn status(_: &Args<'_>) -> Outcome {
    hub::with_client(|client| client.status()).map(convert::status).map_err(|error| failure(error, 0))
}

fn ping(args: &Args<'_>) -> Outcome {
    const LONGEST: f64 = 3600.0;
    let seconds = args.float_or(1, 0.2)?;
    if !(seconds > 0.0 && seconds <= LONGEST) {
        return Err(Failure::Argument(1, "must be greater than 0 and at most 3600".into()));
    }
    let limit = Duration::from_secs_f64(seconds);
    Ok(Value::Bool(hub::with_client(|client| Ok(client.ping(limit))).unwrap_or(false)))
}
