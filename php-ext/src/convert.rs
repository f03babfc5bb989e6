//! Between PHP's values and the core's: what arguments must look like, what results become, which exception says what.
//!
//! Limits are the core's. What a hub configures tighter (`max_message_size`, `max_channel_id_length`) the hub refuses, and
//! its answer is worded here as if this process had looked.

use push_core::call::Status;
use push_core::channel::{ChannelInfo, ChannelName, Forbidden, InvalidName, MAX_NAME};
use push_core::error::Error;
use push_core::message::{MAX_EVENT, Published};

use crate::zend::{Args, Class, Failure, StringOrInt, Type, Value};

pub(crate) static PUBLISHED: Class = Class::new("Push\\Published");
pub(crate) static CHANNEL_INFO: Class = Class::new("Push\\ChannelInfo");

static PUSH_EXCEPTION: Class = Class::new("Push\\Exception\\PushException");
static HUB_UNAVAILABLE: Class = Class::new("Push\\Exception\\HubUnavailable");
static TIMEOUT: Class = Class::new("Push\\Exception\\Timeout");
static CHANNEL_NOT_FOUND: Class = Class::new("Push\\Exception\\ChannelNotFound");
static ACCESS_DENIED: Class = Class::new("Push\\Exception\\AccessDenied");
static PAYLOAD_TOO_LARGE: Class = Class::new("Push\\Exception\\PayloadTooLarge");
static LIMIT_EXCEEDED: Class = Class::new("Push\\Exception\\LimitExceeded");
pub(crate) static ENCODING_ERROR: Class = Class::new("Push\\Exception\\EncodingError");

/// Registers all of the above; in MINIT.
pub(crate) fn register_classes() -> Result<(), String> {
    PUSH_EXCEPTION.register_marker()?;
    for class in [
        &HUB_UNAVAILABLE,
        &TIMEOUT,
        &CHANNEL_NOT_FOUND,
        &ACCESS_DENIED,
        &PAYLOAD_TOO_LARGE,
        &LIMIT_EXCEEDED,
        &ENCODING_ERROR,
    ] {
        class.register_exception(|| PUSH_EXCEPTION.entry())?;
    }
    PUBLISHED.register_value(&[
        ("id", Type::Int, false),
        ("position", Type::String, false),
        ("subscribers", Type::Int, false),
    ])?;
    CHANNEL_INFO.register_value(&[
        ("name", Type::String, false),
        ("published", Type::Int, false),
        ("stored", Type::Int, false),
        ("subscribers", Type::Int, false),
        ("owner", Type::String, true),
        ("ttl", Type::Int, true),
        ("position", Type::String, false),
    ])
}

/// A `Push\Published`; the fields stand in the order in which they are registered.
pub(crate) fn published(published: Published) -> Value {
    let Published { id, position, subscribers } = published;
    Value::Object(&PUBLISHED, vec![Value::count(id), Value::Text(position.to_string()), Value::count(subscribers)])
}

/// A `Push\ChannelInfo`, likewise.
pub(crate) fn channel_info(info: ChannelInfo) -> Value {
    let ChannelInfo { name, published, stored, subscribers, owner, ttl, position } = info;
    let fields = vec![
        Value::Text(name),
        Value::count(published),
        Value::count(stored),
        Value::count(subscribers),
        Value::nullable(owner, Value::Text),
        Value::nullable(ttl, Value::count),
        Value::Text(position.to_string()),
    ];
    Value::Object(&CHANNEL_INFO, fields)
}

/// The array of `push_status()`.
pub(crate) fn status(status: Status) -> Value {
    let Status { version, pid, socket, uptime, channels, subscribers, messages, memory, position } = status;
    Value::Array(vec![
        (c"state", Value::Text("running".to_owned())),
        (c"version", Value::Text(version)),
        (c"pid", Value::count(pid)),
        (c"socket", Value::Text(socket)),
        (c"uptime", Value::count(uptime)),
        (c"channels", Value::count(channels)),
        (c"subscribers", Value::count(subscribers)),
        (c"messages", Value::count(messages)),
        (c"memory", Value::count(memory)),
        (c"position", Value::Text(position.to_string())),
    ])
}

/// A channel's name.
pub(crate) fn channel<'a>(args: &Args<'a>, number: u32) -> Result<&'a str, Failure> {
    name(args.string(number)?, number)
}

/// A channel's name that may be left out.
pub(crate) fn nullable_channel<'a>(args: &Args<'a>, number: u32) -> Result<Option<&'a str>, Failure> {
    args.nullable_string(number)?.map(|bytes| name(bytes, number)).transpose()
}

fn name(bytes: &[u8], number: u32) -> Result<&str, Failure> {
    ChannelName::check(bytes, MAX_NAME).map_err(|invalid| invalid_name(&invalid, number))
}

/// An event's name or id, or a dedupe key: one line of text.
pub(crate) fn nullable_line<'a>(args: &Args<'a>, number: u32) -> Result<Option<&'a str>, Failure> {
    let Some(bytes) = args.nullable_string(number)? else { return Ok(None) };
    let refused = |text| Err(Failure::Argument(number, text));
    match std::str::from_utf8(bytes) {
        Err(_) => refused("must be valid UTF-8".into()),
        Ok("") => refused("must not be empty".into()),
        Ok(line) if line.len() > MAX_EVENT => {
            refused(format!("must not be longer than {MAX_EVENT} bytes, {} bytes given", line.len()).into())
        }
        Ok(line) if line.contains(['\r', '\n']) => refused("must not contain line breaks".into()),
        Ok(line) if line.contains('\0') => refused("must not contain any null bytes".into()),
        Ok(line) => Ok(Some(line)),
    }
}

/// A user: any text, or an integer.
pub(crate) fn nullable_user<'a>(args: &Args<'a>, number: u32) -> Result<Option<User<'a>>, Failure> {
    let refused = |text: &'static str| Err(Failure::Argument(number, text.into()));
    match args.nullable_string_or_int(number)? {
        None => Ok(None),
        Some(StringOrInt::Int(user)) => Ok(Some(User::Int(user))),
        Some(StringOrInt::String(bytes)) => match std::str::from_utf8(bytes) {
            Err(_) => refused("must be valid UTF-8"),
            Ok("") => refused("must not be empty"),
            Ok(user) => Ok(Some(User::Text(user))),
        },
    }
}

/// See [`nullable_user`]. Both are the same to the core, which knows users by text.
pub(crate) enum User<'a> {
    Text(&'a str),
    Int(i64),
}

impl User<'_> {
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Int(number) => number.to_string(),
        }
    }
}

/// Seconds or a number of messages: from 1.
pub(crate) fn nullable_positive(args: &Args<'_>, number: u32) -> Result<Option<u32>, Failure> {
    let Some(value) = args.nullable_int(number)? else { return Ok(None) };
    match u32::try_from(value) {
        Ok(value) if value > 0 => Ok(Some(value)),
        _ => Err(Failure::Argument(number, format!("must be between 1 and {}", u32::MAX).into())),
    }
}

/// What the core's refusal is in PHP; `name` is the number of the argument with the channel's name.
pub(crate) fn failure(error: Error, name: u32) -> Failure {
    let class = match &error {
        Error::InvalidName(invalid) => return invalid_name(invalid, name),
        Error::InvalidArgument(text) => return Failure::Value(text.clone()),
        Error::TooLarge { .. } => &PAYLOAD_TOO_LARGE,
        Error::LimitExceeded(_) => &LIMIT_EXCEEDED,
        Error::ChannelNotFound(_) => &CHANNEL_NOT_FOUND,
        Error::AccessDenied(_) => &ACCESS_DENIED,
        Error::HubUnavailable(_) | Error::Incompatible { .. } => &HUB_UNAVAILABLE,
        Error::Timeout { .. } => &TIMEOUT,
    };
    Failure::Exception(class, error.code(), error.to_string())
}

fn invalid_name(invalid: &InvalidName, number: u32) -> Failure {
    let text = match invalid {
        InvalidName::Empty => "must not be empty".into(),
        InvalidName::TooLong { len, limit } => {
            format!("must not be longer than {limit} bytes (max_channel_id_length), {len} bytes given").into()
        }
        InvalidName::Reserved(_) => "must not be \"ALL\" or contain \"*\", these mean several channels".into(),
        InvalidName::Forbidden(Forbidden::Nul) => "must not contain any null bytes".into(),
        InvalidName::Forbidden(Forbidden::Slash) => "must not contain \"/\", which separates channels in URLs".into(),
        InvalidName::NotUtf8 => "must be valid UTF-8".into(),
    };
    Failure::Argument(number, text)
}
