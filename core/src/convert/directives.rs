//! The directives of the module by their names now and then, and what they are here.

use crate::config::Config;

/// How a value is written in nginx.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Means the same here, letter by letter.
    Same,
    /// `on` or `off`, in any case.
    Switch,
    /// Bytes. What is out of our range becomes its nearer end.
    Size { least: u64, most: u64 },
    /// A number. What is above our range becomes its end.
    Number { most: u64 },
    /// A time, in milliseconds. What is out of our range becomes its nearer end.
    Time { least: u64, most: u64 },
    /// A variable of the request.
    Variable,
    /// A path, which nginx takes relative to its prefix.
    File,
}

/// A directive that has a key here.
#[derive(Debug)]
pub(super) struct Known {
    /// Without `push_stream_`; the name of today first.
    pub(super) names: &'static [&'static str],
    pub(super) key: &'static str,
    pub(super) form: Form,
}

const fn same(names: &'static [&'static str], key: &'static str, form: Form) -> Known {
    Known { names, key, form }
}

const NUMBER: Form = Form::Number { most: u32::MAX as u64 };
const SECONDS: Form = Form::Time { least: 1_000, most: 1_000_000_000_000 };
const CONNECTION: Form = Form::Time { least: 1_000, most: 86_400_000 };

/// Those that hold for the whole hub.
pub(super) const HUB: &[Known] = &[
    same(&["shared_memory_size", "max_reserved_memory"], "memory_limit", Form::Size { least: 1 << 20, most: 1 << 40 }),
    same(&["message_ttl", "min_message_buffer_timeout"], "message_ttl", SECONDS),
    same(&["max_messages_stored_per_channel", "max_message_buffer_length"], "max_messages_stored_per_channel", NUMBER),
    same(&["channel_inactivity_time"], "channel_inactivity_time", Form::Time { least: 0, most: 1_000_000_000_000 }),
    same(&["max_channel_id_length"], "max_channel_id_length", Form::Number { most: 1024 }),
    same(&["max_number_of_channels"], "max_number_of_channels", NUMBER),
    same(&["max_subscribers_per_channel"], "max_subscribers_per_channel", NUMBER),
    same(&["wildcard_channel_prefix", "broadcast_channel_prefix"], "wildcard_channel_prefix", Form::Same),
    same(
        &["max_number_of_wildcard_channels", "max_number_of_broadcast_channels"],
        "max_number_of_wildcard_channels",
        NUMBER,
    ),
    same(&["channel_deleted_message_text"], "channel_deleted_message_text", Form::Same),
    same(&["ping_message_text"], "ping_message_text", Form::Same),
    same(&["timeout_with_body"], "timeout_with_body", Form::Switch),
    same(&["events_channel_id"], "events_channel_id", Form::Same),
];

/// Those of a location, or of the levels around it.
pub(super) const LOCATION: &[Known] = &[
    same(&["store_messages"], "store_messages", Form::Switch),
    same(&["channel_info_on_publish"], "channel_info_on_publish", Form::Switch),
    same(&["websocket_allow_publish"], "websocket_allow_publish", Form::Switch),
    same(&["authorized_channels_only"], "authorized_channels_only", Form::Switch),
    same(&["allow_connections_to_events_channel"], "allow_connections_to_events_channel", Form::Switch),
    same(&["longpolling_connection_ttl"], "longpolling_connection_ttl", CONNECTION),
    same(&["subscriber_connection_ttl", "subscriber_connection_timeout"], "subscriber_connection_ttl", CONNECTION),
    same(&["ping_message_interval"], "ping_message_interval", CONNECTION),
    same(&["last_received_message_time"], "last_received_message_time", Form::Variable),
    same(&["last_received_message_tag"], "last_received_message_tag", Form::Variable),
    same(&["last_event_id"], "last_event_id", Form::Variable),
    same(&["header_template"], "header_template", Form::Same),
    same(&["header_template_file"], "header_template_file", Form::File),
    same(&["message_template"], "message_template", Form::Same),
    same(&["footer_template"], "footer_template", Form::Same),
    same(&["content_type"], "content_type", Form::Same),
    same(&["wildcard_channel_max_qtd", "broadcast_channel_max_qtd"], "wildcard_channel_max_qtd", NUMBER),
    same(&["user_agent"], "user_agent", Form::Variable),
    same(&["padding_by_user_agent"], "padding_by_user_agent", Form::Same),
    same(&["allowed_origins"], "allowed_origins", Form::Same),
];

/// Those that say what a location is, and where its channels come from.
pub(super) const KINDS: &[&str] = &[
    "publisher",
    "subscriber",
    "channels_statistics",
    "websocket",
    "eventsource_support",
    "channels_path",
    "channel_id",
];

/// Those with nothing to carry: the hub does it by itself, or as nginx in front of it does.
pub(super) const NEEDLESS: &[&str] = &[
    "buffer_cleanup_interval",
    "keepalive",
    "memory_cleanup_interval",
    "memory_cleanup_timeout",
    "shared_memory_cleanup_objects_ttl",
    "subscriber_connection_cleanup_interval",
    "subscriber_disconnect_interval",
];

/// Those whose presence says that nginx runs a version before 0.4, which took content types from its own directive only.
pub(super) const BEFORE_0_4: &[&str] = &[
    "broadcast_channel_max_qtd",
    "broadcast_channel_prefix",
    "channel_id",
    "content_type",
    "eventsource_support",
    "keepalive",
    "max_number_of_broadcast_channels",
    "shared_memory_cleanup_objects_ttl",
    "websocket",
];

/// The name without the module's prefix.
pub(super) fn stripped(name: &str) -> Option<&str> {
    name.strip_prefix("push_stream_")
}

pub(super) fn find(table: &'static [Known], name: &str) -> Option<&'static Known> {
    table.iter().find(|known| known.names.contains(&name))
}

/// The directive of a location that has this key.
pub(super) fn of_key(key: &str) -> &'static Known {
    LOCATION.iter().find(|known| known.key == key).expect("a key of a location")
}

/// A value as it is written here, and what became of it on the way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) value: String,
    pub(super) remark: Option<String>,
}

/// The value for this key, or why it cannot be carried over.
pub(super) fn carry(known: &Known, value: &str) -> Result<Carried, String> {
    let Carried { value, remark } = translate(known.form, value)?;
    // The declaration of the key has the last word.
    Config::default().set(known.key, &value).map_err(|error| error.to_string())?;
    Ok(Carried { value, remark })
}

fn translate(form: Form, value: &str) -> Result<Carried, String> {
    let exactly = |value: &str| Ok(Carried { value: value.to_owned(), remark: None });
    let limited = |is: u64, least: u64, most: u64, text: fn(u64) -> String| {
        let within = is.clamp(least, most);
        let end = if is < least { "least" } else { "most" };
        let remark = (within != is).then(|| format!("{value} in nginx; {} is the {end} there is", text(within)));
        Ok(Carried { value: text(within), remark })
    };
    match form {
        Form::Same if value.contains(char::REPLACEMENT_CHARACTER) => Err("its value is not UTF-8".to_owned()),
        Form::Same => exactly(value),
        Form::Switch => exactly(&value.to_ascii_lowercase()),
        Form::Size { least, most } => limited(size(value).ok_or("its value is not a size")?, least, most, size_text),
        Form::Number { most } => {
            limited(value.parse().map_err(|_| "its value is not a number")?, 0, most, |number| number.to_string())
        }
        Form::Time { least, most } => limited(time(value).ok_or("its value is not a time")?, least, most, time_text),
        Form::Variable => {
            let plain = value.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
            let value = plain.map_or_else(|| value.to_owned(), |name| format!("${name}"));
            let known = value.starts_with("$arg_") || value.starts_with("$http_");
            match known && !value[1..].contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                true => exactly(&value),
                false => Err("its value has to be one $arg_NAME or $http_NAME".to_owned()),
            }
        }
        Form::File if !value.starts_with('/') => {
            Err(format!("nginx looks for {value} below its prefix; write the whole path"))
        }
        Form::File => exactly(value),
    }
}

/// Bytes, as nginx reads sizes.
pub(super) fn size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 1 << 10),
        (at, 'm' | 'M') => (&text[..at], 1 << 20),
        (at, 'g' | 'G') => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse::<u64>().ok()).flatten()?.checked_mul(unit)
}

pub(super) fn size_text(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{}m", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{}k", bytes >> 10),
        bytes => bytes.to_string(),
    }
}

/// Milliseconds, as nginx reads times: it also has months and years.
pub(super) fn time(text: &str) -> Option<u64> {
    const DAY: u64 = 86_400_000;
    let mut rest = text.trim();
    let mut total = None::<u64>;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "y" => 365 * DAY,
            "M" => 30 * DAY,
            "w" => 7 * DAY,
            "d" => DAY,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" | "" => 1_000,
            "ms" => 1,
            _ => return None,
        };
        rest = rest[letters..].trim_start();
        total = Some(total.unwrap_or(0).checked_add(number.checked_mul(unit)?)?);
    }
    total
}

pub(super) fn time_text(milliseconds: u64) -> String {
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.iter().find(|(unit, _)| milliseconds != 0 && milliseconds.is_multiple_of(*unit));
    match whole {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None if milliseconds == 0 => "0s".to_owned(),
        None => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(name: &str, value: &str) -> Result<(String, Option<String>), String> {
        let known = find(HUB, name).or_else(|| find(LOCATION, name)).expect("a directive");
        carry(known, value).map(|carried| (carried.value, carried.remark))
    }

    #[test]
    fn every_directive_has_a_key_of_the_configuration() {
        let keys = Config::keys();
        for (table, location) in [(HUB, false), (LOCATION, true)] {
            for known in table {
                let key = keys.iter().find(|key| key.name == known.key).expect(known.key);
                assert_eq!(key.location, location, "{}", known.key);
            }
        }
    }

    #[test]
    fn values_keep_their_meaning() {
        let exactly = |value: &str| Ok((value.to_owned(), None));
        assert_eq!(carried("shared_memory_size", "256M"), exactly("256m"));
        assert_eq!(carried("message_ttl", "1h 30m"), exactly("90m"));
        assert_eq!(carried("message_ttl", "1M"), exactly("720h"));
        assert_eq!(carried("channel_inactivity_time", "0"), exactly("0s"));
        assert_eq!(carried("ping_message_interval", "1500ms"), exactly("1500ms"));
        assert_eq!(carried("store_messages", "ON"), exactly("on"));
        assert_eq!(carried("last_event_id", "${arg_eventid}"), exactly("$arg_eventid"));
        assert_eq!(carried("allowed_origins", "*"), exactly("*"));
    }

    #[test]
    fn what_is_out_of_range_is_said() {
        let (value, remark) = carried("shared_memory_size", "128k").expect("a size");
        assert_eq!((value.as_str(), remark.as_deref()), ("1m", Some("128k in nginx; 1m is the least there is")));
        let (value, remark) = carried("longpolling_connection_ttl", "7d").expect("a time");
        assert_eq!((value.as_str(), remark.as_deref()), ("24h", Some("7d in nginx; 24h is the most there is")));
        for (name, value) in [
            ("max_number_of_channels", "0"),
            ("max_number_of_channels", "many"),
            ("message_ttl", "soon"),
            ("store_messages", "maybe"),
            ("last_event_id", "$arg_a$arg_b"),
            ("user_agent", "$cookie_agent"),
            ("allowed_origins", "$origin"),
            ("header_template_file", "header.html"),
            ("message_template", ""),
            ("footer_template", "\u{fffd}"),
        ] {
            assert!(carried(name, value).is_err(), "{name} {value}");
        }
    }
}
