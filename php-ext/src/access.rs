//! The PHP functions about who may come and who has to go.

use push_core::accel;
use push_core::call::{MAX_REASON, MAX_TOKEN_TTL};
use push_core::channel::{ChannelName, InvalidName};
use push_core::error::Error;

use crate::convert::{self, User, failure};
use crate::hub;
use crate::zend::{self, Args, Failure, Outcome, Value};

pub(crate) fn token(args: &Args<'_>) -> Outcome {
    let user = convert::nullable_user(args, 2)?;
    let ttl = u32::try_from(args.int_or(3, 3600)?).ok().filter(|ttl| (1..=MAX_TOKEN_TTL).contains(ttl));
    let ttl = ttl.ok_or_else(|| Failure::Argument(3, format!("must be between 1 and {MAX_TOKEN_TTL}").into()))?;
    let publish = args.bool_or(5, false)?;
    let info = args.json_object(4, &convert::ENCODING_ERROR)?;
    let channels = args.strings(1)?;
    let channels: Vec<&str> = channels.into_iter().map(check_pattern).collect::<Result<_, _>>()?;
    if channels.is_empty() {
        return Err(Failure::Argument(1, "must not be empty".into()));
    }
    let user = user.map(User::text);
    let info = info.as_deref().unwrap_or_default();
    let token = hub::with_client(|client| client.token(&channels, user.as_deref(), ttl, info, publish));
    token.map(Value::Text).map_err(|error| failure(error, 1))
}

fn check_pattern(bytes: &[u8]) -> Result<&str, Failure> {
    ChannelName::check_pattern(bytes).map_err(|invalid| match invalid {
        InvalidName::Reserved(_) => {
            let text = "must name channels, or what they begin with and \"*\" (\"news.*\"); \"ALL\" is no channel";
            Failure::Argument(1, text.into())
        }
        invalid => failure(Error::InvalidName(invalid), 1),
    })
}

pub(crate) fn disconnect(args: &Args<'_>) -> Outcome {
    let user = convert::nullable_user(args, 1)?;
    let channel = convert::nullable_channel(args, 2)?;
    let reason = convert::text(args.string_or_empty(3)?, 3)?;
    let revoke = args.bool_or(4, false)?;
    if user.is_none() && channel.is_none() {
        let text = "push_disconnect(): Argument #1 ($user) or #2 ($channel) must be given, else everybody would be disconnected";
        return Err(Failure::Value(text.to_owned()));
    }
    if reason.len() > MAX_REASON {
        let text = format!("must not be longer than {MAX_REASON} bytes, {} bytes given", reason.len());
        return Err(Failure::Argument(3, text.into()));
    }
    if reason.chars().any(char::is_control) {
        return Err(Failure::Argument(3, "must be one line without control characters".into()));
    }
    let user = user.map(User::text);
    let count = hub::with_client(|client| client.disconnect(user.as_deref(), channel, reason, revoke));
    count.map(Value::count).map_err(|error| failure(error, 2))
}

pub(crate) fn accel(args: &Args<'_>) -> Outcome {
    let user = convert::nullable_user(args, 2)?;
    let info = args.json_object(3, &convert::ENCODING_ERROR)?;
    let channels = args.strings(1)?;
    let wrong = |text| Failure::Argument(1, text);
    let channels: Vec<&str> =
        channels.into_iter().map(|name| convert::check_name(name).map_err(wrong)).collect::<Result<_, _>>()?;
    if channels.is_empty() {
        return Err(wrong("must not be empty".into()));
    }
    let user = user.map(User::text);
    let namespace = hub::namespace().map_err(|error| failure(error, 1))?;
    let info = info.as_deref().unwrap_or_default();
    let identity = accel::identity(&channels, user.as_deref(), info, namespace.as_str());
    let identity = identity.map_err(|error| failure(error, 1))?;
    let misuse = |text: &str| Failure::Misuse(format!("push_accel(): {text}"));
    let request = zend::http_request()
        .ok_or_else(|| misuse("there is no HTTP request to hand over: PHP runs on the command line"))?;
    if let Some(place) = request.answered {
        let place = if place.is_empty() { place } else { format!(" (output started at {place})") };
        return Err(misuse(&format!(
            "the head of the answer has been sent{place}, and nginx hands over no request that is being answered; call it \
             before any output"
        )));
    }
    Ok(Value::Head(vec![accel::redirect(&request.query), format!("{}: {identity}", accel::HEADER)]))
}
