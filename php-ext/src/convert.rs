//! Between PHP's values and the core's: what arguments must look like, what results become, which exception says what.
//!
//! Limits are the core's. What a hub configures tighter (`max_message_size`, `max_channel_id_length`) the hub refuses, and
//! its answer is worded here as if this process had looked.

use std::borrow::Cow;

use push_core::call::{MAX_BATCH, Member, Status};
use push_core::channel::{ChannelInfo, ChannelName, Forbidden, InvalidName, MAX_NAME};
use push_core::error::Error;
use push_core::message::{InvalidPosition, MAX_EVENT, Position, Published};

use crate::message;
use crate::zend::{
    Args, Class, Failure, Function, Handler, MethodFlags, Outcome, Param, Property, StringOrInt, Type, Value, handler,
};

pub(crate) static PUBLISHED: Class = Class::with(
    "Push\\Published",
    &[Property::new("id", Type::Int), Property::new("position", Type::String), Property::new("subscribers", Type::Int)],
);
pub(crate) static CHANNEL_INFO: Class = Class::with(
    "Push\\ChannelInfo",
    &[
        Property::new("name", Type::String),
        Property::new("published", Type::Int),
        Property::new("stored", Type::Int),
        Property::new("subscribers", Type::Int),
        Property::nullable("owner", Type::String),
        Property::nullable("ttl", Type::Int),
        Property::new("position", Type::String),
    ],
);
pub(crate) static MEMBER: Class = Class::with(
    "Push\\Member",
    &[
        Property::new("user", Type::String),
        Property::new("info", Type::Array),
        Property::new("connections", Type::Int),
        Property::new("since", Type::Int),
    ],
);

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
    PUBLISHED.register_value(&[restorer(&PUBLISHED, handler!(restore_published, 1, 1))])?;
    CHANNEL_INFO.register_value(&[restorer(&CHANNEL_INFO, handler!(restore_channel_info, 1, 1))])?;
    MEMBER.register_value(&[restorer(&MEMBER, handler!(restore_member, 1, 1))])?;
    message::register()
}

/// The method that takes back what `var_export()` wrote.
pub(crate) fn restorer(class: &'static Class, handler: Handler) -> (Function, MethodFlags) {
    const PARAMS: &[Param] = &[Param::required(c"array", Type::Array)];
    let restorer =
        Function { name: c"__set_state", handler, params: PARAMS, returns: Type::Object(class), returns_null: false };
    (restorer, MethodFlags::Static)
}

fn restore_published(args: &Args<'_>) -> Outcome {
    args.restore(&PUBLISHED)
}

fn restore_channel_info(args: &Args<'_>) -> Outcome {
    args.restore(&CHANNEL_INFO)
}

fn restore_member(args: &Args<'_>) -> Outcome {
    args.restore(&MEMBER)
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

/// A `Push\Member`, likewise.
pub(crate) fn member(member: Member) -> Value {
    let Member { user, info, connections, since } = member;
    let info = if info.is_empty() { Value::List(Vec::new()) } else { Value::Json(info.into_bytes()) };
    Value::Object(&MEMBER, vec![Value::Text(user), info, Value::count(connections), Value::count(since)])
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
    check_name(args.string(number)?).map_err(|text| Failure::Argument(number, text))
}

/// A channel's name that may be left out.
pub(crate) fn nullable_channel<'a>(args: &Args<'a>, number: u32) -> Result<Option<&'a str>, Failure> {
    let name = args.nullable_string(number)?.map(check_name).transpose();
    name.map_err(|text| Failure::Argument(number, text))
}

/// What is wrong with a channel's name, as the end of a sentence.
pub(crate) fn check_name(bytes: &[u8]) -> Result<&str, Cow<'static, str>> {
    ChannelName::check(bytes, MAX_NAME).map_err(|invalid| wrong_name(&invalid))
}

/// A text to compare with names of channels.
pub(crate) fn text(bytes: &[u8], number: u32) -> Result<&str, Failure> {
    match std::str::from_utf8(bytes) {
        Err(_) => Err(Failure::Argument(number, "must be valid UTF-8".into())),
        Ok(text) if text.len() > MAX_NAME => Err(Failure::Argument(number, too_long(text, MAX_NAME))),
        Ok(text) => Ok(text),
    }
}

/// An event's name or id, or a dedupe key: one line of text.
pub(crate) fn nullable_line<'a>(args: &Args<'a>, number: u32) -> Result<Option<&'a str>, Failure> {
    let line = args.nullable_string(number)?.map(check_line).transpose();
    line.map_err(|text| Failure::Argument(number, text))
}

/// What is wrong with such a line, as the end of a sentence.
pub(crate) fn check_line(bytes: &[u8]) -> Result<&str, Cow<'static, str>> {
    match std::str::from_utf8(bytes) {
        Err(_) => Err("must be valid UTF-8".into()),
        Ok("") => Err("must not be empty".into()),
        Ok(line) if line.len() > MAX_EVENT => Err(too_long(line, MAX_EVENT)),
        Ok(line) if line.contains(['\r', '\n']) => Err("must not contain line breaks".into()),
        Ok(line) if line.contains('\0') => Err("must not contain any null bytes".into()),
        Ok(line) => Ok(line),
    }
}

fn too_long(text: &str, limit: usize) -> Cow<'static, str> {
    format!("must not be longer than {limit} bytes, {} bytes given", text.len()).into()
}

/// The position after which to read; without one, everything.
pub(crate) fn nullable_position(args: &Args<'_>, number: u32) -> Result<Position, Failure> {
    let Some(bytes) = args.nullable_string(number)? else { return Ok(Position::START) };
    let position = std::str::from_utf8(bytes).map_err(|_| InvalidPosition).and_then(str::parse);
    let wrong = |_| Failure::Argument(number, "must be two numbers <time>.<tag>, as in 1767225600.3".into());
    position.map_err(wrong)
}

/// How many to list.
pub(crate) fn limit(args: &Args<'_>, number: u32, default: u32) -> Result<u32, Failure> {
    const MOST: u32 = 10_000;
    match u32::try_from(args.int_or(number, default.into())?) {
        Ok(limit) if (1..=MOST).contains(&limit) => Ok(limit),
        _ => Err(Failure::Argument(number, format!("must be between 1 and {MOST}").into())),
    }
}

/// A user: any text, or an integer.
pub(crate) fn user<'a>(args: &Args<'a>, number: u32) -> Result<User<'a>, Failure> {
    check_user(args.string_or_int(number)?).map_err(|text| Failure::Argument(number, text.into()))
}

/// A user that may be left out.
pub(crate) fn nullable_user<'a>(args: &Args<'a>, number: u32) -> Result<Option<User<'a>>, Failure> {
    let user = args.nullable_string_or_int(number)?.map(check_user).transpose();
    user.map_err(|text| Failure::Argument(number, text.into()))
}

/// Several users. Read them last: the list is Rust's.
pub(crate) fn users<'a>(args: &Args<'a>, number: u32) -> Result<Vec<Cow<'a, str>>, Failure> {
    let user = |(place, user)| {
        let user = check_user(user).map_err(|text| Failure::Argument(number, format!("element {place} {text}").into()));
        user.map(User::text)
    };
    args.strings_or_ints(number)?.enumerate().map(user).collect()
}

/// See [`user`]. Both are the same to the core, which knows users by text.
#[derive(Clone, Copy)]
pub(crate) enum User<'a> {
    Text(&'a str),
    Int(i64),
}

impl<'a> User<'a> {
    /// Only when all arguments are read: until then nothing of a call may be on Rust's heap.
    pub(crate) fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Int(number) => number.to_string().into(),
        }
    }
}

fn check_user(user: StringOrInt<'_>) -> Result<User<'_>, &'static str> {
    match user {
        StringOrInt::Int(number) => Ok(User::Int(number)),
        StringOrInt::String(bytes) => match std::str::from_utf8(bytes) {
            Err(_) => Err("must be valid UTF-8"),
            Ok("") => Err("must not be empty"),
            Ok(user) => Ok(User::Text(user)),
        },
    }
}

/// Seconds or a number of messages: from 1.
pub(crate) fn nullable_positive(args: &Args<'_>, number: u32) -> Result<Option<u32>, Failure> {
    let value = args.nullable_int(number)?.map(check_positive).transpose();
    value.map_err(|text| Failure::Argument(number, text))
}

/// What is wrong with such a number, as the end of a sentence.
pub(crate) fn check_positive(value: i64) -> Result<u32, Cow<'static, str>> {
    let wrong = || format!("must be between 1 and {}", u32::MAX).into();
    u32::try_from(value).ok().filter(|value| *value > 0).ok_or_else(wrong)
}

/// What the core's refusal is in PHP; `name` is the number of the argument with the channel's name.
pub(crate) fn failure(error: Error, name: u32) -> Failure {
    let class = match &error {
        Error::InvalidName(invalid) => return Failure::Argument(name, wrong_name(invalid)),
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

fn wrong_name(invalid: &InvalidName) -> Cow<'static, str> {
    match invalid {
        InvalidName::Empty => "must not be empty".into(),
        InvalidName::TooLong { len, limit } => {
            format!("must not be longer than {limit} bytes (max_channel_id_length), {len} bytes given").into()
        }
        InvalidName::Reserved(_) => "must not be \"ALL\" or contain \"*\", these mean several channels".into(),
        InvalidName::Forbidden(Forbidden::Nul) => "must not contain any null bytes".into(),
        InvalidName::Forbidden(Forbidden::Slash) => "must not contain \"/\", which separates channels in URLs".into(),
        InvalidName::NotUtf8 => "must be valid UTF-8".into(),
    }
}

/// The same for a batch, whose messages are in the first argument.
pub(crate) fn batch_failure(error: Error) -> Failure {
    match error {
        Error::InvalidName(invalid) => {
            Failure::Argument(1, format!("$channel of an element {}", wrong_name(&invalid)).into())
        }
        Error::TooLarge { len, limit } if limit == MAX_BATCH as u64 => {
            let text = format!("the messages have {len} bytes together, at most {limit} go out at once");
            Failure::Exception(&PAYLOAD_TOO_LARGE, error.code(), text)
        }
        error => failure(error, 1),
    }
}
