//! `Push\Message`: made by a script to be published with others, and read back from a channel's history.
//!
//! The constructor refuses what can never be published, where the mistake is made. Objects also come from `unserialize()`
//! and `__set_state()`, which look at types only, so [`Batch`] checks all of it again.

use std::borrow::Cow;

use push_core::call::StoredMessage;
use push_core::message::{Kind, NewMessage};

use crate::convert::{self, check_line, check_name, check_positive};
use crate::zend::{
    Args, Class, Failure, Field, Function, MethodFlags, Object, Objects, Outcome, Param, Payloads, Property, Type,
    Value, handler,
};

pub(crate) static MESSAGE: Class = Class::with(
    "Push\\Message",
    &[
        Property::new("channel", Type::String),
        Property::new("data", Type::Mixed),
        Property::nullable("event", Type::String),
        Property::nullable("event_id", Type::String),
        Property::nullable("ttl", Type::Int),
        Property::new("store", Type::Bool),
        Property::nullable("dedupe", Type::String),
        Property::nullable("id", Type::Int),
        Property::nullable("position", Type::String),
        Property::nullable("time", Type::Int),
    ],
);

// Where they stand in the table above.
const CHANNEL: usize = 0;
const DATA: usize = 1;
const EVENT: usize = 2;
const EVENT_ID: usize = 3;
const TTL: usize = 4;
const STORE: usize = 5;
const DEDUPE: usize = 6;

/// What a message is published with: the parameters of the constructor, and of `push_publish()`.
pub(crate) const PARAMS: &[Param] = &[
    Param::required(c"channel", Type::String),
    Param::required(c"data", Type::Mixed),
    Param::nullable(c"event", Type::String),
    Param::nullable(c"event_id", Type::String),
    Param::nullable(c"ttl", Type::Int),
    Param::optional(c"store", Type::Bool, c"true"),
    Param::nullable(c"dedupe", Type::String),
];

/// Registers the class; in MINIT.
pub(crate) fn register() -> Result<(), String> {
    let constructor = Function {
        name: c"__construct",
        handler: handler!(construct, 2, 7),
        params: PARAMS,
        returns: Type::None,
        returns_null: false,
    };
    let restorer = convert::restorer(&MESSAGE, handler!(restore, 1, 1));
    MESSAGE.register_value(&[(constructor, MethodFlags::empty()), restorer])
}

fn construct(args: &Args<'_>) -> Outcome {
    let (_, options) = read(args)?;
    args.construct(
        &MESSAGE,
        [
            Field::Argument(1),
            Field::Argument(2),
            Field::Argument(3),
            Field::Argument(4),
            Field::Is(Value::nullable(options.ttl, Value::count)),
            Field::Is(Value::Bool(options.store)),
            Field::Argument(7),
        ],
    )
}

fn restore(args: &Args<'_>) -> Outcome {
    args.restore(&MESSAGE)
}

/// The arguments that [`PARAMS`] describes, but for the payload: the channel, and the message without it.
pub(crate) fn read<'a>(args: &Args<'a>) -> Result<(&'a str, NewMessage<'a>), Failure> {
    let channel = convert::channel(args, 1)?;
    let event = convert::nullable_line(args, 3)?;
    let event_id = convert::nullable_line(args, 4)?;
    let ttl = convert::nullable_positive(args, 5)?;
    let store = args.bool_or(6, true)?;
    let dedupe = convert::nullable_line(args, 7)?;
    Ok((channel, NewMessage { event, event_id, ttl, store, dedupe, ..NewMessage::new(&[]) }))
}

/// The same from the object that is element `place` of the argument `$messages`.
fn read_object(object: Object<'_>, place: usize) -> Result<(&str, NewMessage<'_>), Failure> {
    let wrong =
        |name: &str, text: Cow<'_, str>| Failure::Argument(1, format!("${name} of element {place} {text}").into());
    let line =
        |number: usize, name| object.string(number).map(check_line).transpose().map_err(|text| wrong(name, text));
    let channel = check_name(object.string(CHANNEL).unwrap_or_default()).map_err(|text| wrong("channel", text))?;
    let ttl = object.int(TTL).map(check_positive).transpose().map_err(|text| wrong("ttl", text))?;
    let options = NewMessage {
        event: line(EVENT, "event")?,
        event_id: line(EVENT_ID, "event_id")?,
        ttl,
        store: object.bool(STORE).unwrap_or(true),
        dedupe: line(DEDUPE, "dedupe")?,
        ..NewMessage::new(&[])
    };
    Ok((channel, options))
}

/// A batch of messages that a script gave. While it lives no PHP code can take them away.
pub(crate) struct Batch {
    objects: Objects,
    payloads: Payloads,
}

impl Batch {
    /// Checks the list in the first argument and encodes its data, which may run PHP code.
    pub(crate) fn read(args: &Args<'_>) -> Result<Self, Failure> {
        let objects = args.objects(1, &MESSAGE)?;
        for (place, object) in objects.iter().enumerate() {
            if !object.is_complete() {
                return Err(Failure::Argument(1, format!("element {place} is not initialized").into()));
            }
            read_object(object, place)?;
        }
        let payloads = objects.payloads(DATA, &convert::ENCODING_ERROR)?;
        Ok(Self { objects, payloads })
    }

    /// The messages as the core takes them. Read anew: a property that `unserialize()` made a reference can change while
    /// PHP code runs.
    pub(crate) fn messages(&self) -> Result<Vec<(&str, NewMessage<'_>)>, Failure> {
        let given = self.objects.iter().zip(self.payloads.iter()).enumerate();
        let message = |(place, (object, (payload, json)))| {
            let (channel, options) = read_object(object, place)?;
            let kind = if json { Kind::Json } else { Kind::Bytes };
            Ok((channel, NewMessage { payload, kind, ..options }))
        };
        given.map(message).collect()
    }
}

/// A message of the history as a `Push\Message`. What only its publisher knew (`$ttl`, `$dedupe`) is null.
pub(crate) fn stored(channel: &str, message: StoredMessage) -> Value {
    let StoredMessage { id, position, kind, event, event_id, payload } = message;
    let data = match kind {
        Kind::Bytes => Value::Bytes(payload),
        Kind::Json => Value::Json(payload),
    };
    let fields = vec![
        Value::Text(channel.to_owned()),
        data,
        Value::nullable(event, Value::Text),
        Value::nullable(event_id, Value::Text),
        Value::Null,
        Value::Bool(true),
        Value::Null,
        Value::count(id),
        Value::Text(position.to_string()),
        Value::count(position.time),
    ];
    Value::Object(&MESSAGE, fields)
}
