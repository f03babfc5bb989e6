//! A request that PHP has let in, on its way to the hub by way of nginx: who it is from, and what he may hear.
//!
//! PHP answers with `X-Accel-Redirect` and with [`HEADER`], which the location of nginx passes on to a listener of
//! `trusted_listen`. All of it is in one header: nginx puts it in the place of whatever a browser has sent by that name, or
//! takes that away, and no setting can be forgotten that would let a part of it through.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::channel::ChannelName;
use crate::error::Error;
use crate::identity::{Identity, check_info, check_user};

/// The header that says it, in one line of JSON.
pub const HEADER: &str = "X-Push-Identity";
/// The longest value of the header: with what else PHP answers it has to fit into nginx's `fastcgi_buffer_size`, with
/// what else the browser sends into the head of a request.
pub const MAX_HEADER: usize = 6 << 10;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HandedOver {
    pub(crate) channels: Vec<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) namespace: String,
}

#[derive(Serialize)]
struct Said<'a> {
    channels: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ns: &'a str,
}

#[derive(Deserialize)]
struct Heard {
    channels: Vec<String>,
    user: Option<String>,
    info: Option<Box<RawValue>>,
    #[serde(default)]
    ns: String,
}

/// The value of [`HEADER`]: printable ASCII, whatever the names are. `info`: a JSON object, or nothing.
///
/// # Errors
/// [`Error::InvalidArgument`] and [`Error::InvalidName`] say what is wrong.
pub fn identity(channels: &[&str], user: Option<&str>, info: &[u8], namespace: &str) -> Result<String, Error> {
    if channels.is_empty() {
        return Err(Error::InvalidArgument("a request is handed over with at least one channel".to_owned()));
    }
    channels.iter().try_for_each(|name| ChannelName::check(name.as_bytes(), crate::channel::MAX_NAME).map(drop))?;
    user.map(check_user).transpose()?;
    let info = check_info(info)?;
    if info.is_some() && user.is_none() {
        return Err(Error::InvalidArgument("info is about a user, and none is given".to_owned()));
    }
    let said = Said { channels, user, info, ns: namespace };
    let text = ascii(&serde_json::to_string(&said).expect("texts and checked JSON can be written"));
    if text.len() > MAX_HEADER {
        return Err(Error::InvalidArgument(format!(
            "channels, user and info together have {} bytes as JSON, and a header of {MAX_HEADER} passes nginx safely: name \
             fewer channels, or give less info",
            text.len()
        )));
    }
    Ok(text)
}

/// The header that has nginx hand the request over, with what follows the question mark in the address that the browser
/// asked for. Which location of the hub answers it is nginx's to say.
#[must_use]
pub fn redirect(query: &[u8]) -> String {
    let mut line = "X-Accel-Redirect: /push-accel".to_owned();
    for (at, byte) in query.iter().enumerate() {
        line.push_str(if at == 0 { "?" } else { "" });
        match byte {
            // In nginx the rest would end the address, or the header.
            b'!'..=b'~' if *byte != b'#' => line.push(char::from(*byte)),
            _ => write!(line, "%{byte:02X}").expect("writing to memory"),
        }
    }
    line
}

/// The same JSON without a byte that is no printable ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        match char {
            ' '..='~' => text.push(char),
            // Within texts JSON has none, and between them they mean nothing.
            '\0'..='\x1f' => text.push(' '),
            _ => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                write!(text, "\\u{unit:04x}").expect("writing to memory");
            }),
        }
    }
    text
}

impl HandedOver {
    /// What a header says, or what is wrong with it.
    pub(crate) fn read(header: &[u8]) -> Result<Self, &'static str> {
        if header.len() > MAX_HEADER {
            return Err("it is longer than push_accel() makes it");
        }
        let Heard { channels, user, info, ns } =
            serde_json::from_slice(header).map_err(|_| "it is not what push_accel() makes")?;
        if channels.is_empty() {
            return Err("it names no channel");
        }
        let info =
            check_info(info.as_ref().map_or(b"", |info| info.get().as_bytes())).map_err(|_| "its info is wrong")?;
        let identity = match user {
            None => None,
            Some(user) => {
                check_user(&user).map_err(|_| "its user is wrong")?;
                let info = info.map_or_else(Default::default, |info| info.get().as_bytes().into());
                Some(Identity { user: user.into(), info })
            }
        };
        Ok(Self { channels, identity, namespace: ns })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_handed_over_arrives_as_it_was_in_one_line(
            channels in prop::collection::vec("[^/*\0]{1,20}", 1..4),
            user in prop::option::of("[^\\p{Cc}]{1,20}"),
            nick in ".{0,20}",
            namespace in "[a-z]{0,8}",
        ) {
            prop_assume!(channels.iter().all(|name| name != "ALL"));
            let names: Vec<&str> = channels.iter().map(String::as_str).collect();
            // Spaces and line breaks between the parts, as a pretty printer puts them.
            let info = user.as_ref().map(|_| serde_json::to_string_pretty(&serde_json::json!({ "nick": nick })).unwrap());
            let info = info.unwrap_or_default();
            let text = identity(&names, user.as_deref(), info.as_bytes(), &namespace).unwrap();
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", text);
            let read = HandedOver::read(text.as_bytes()).unwrap();
            prop_assert_eq!(&read.channels, &channels);
            prop_assert_eq!(&read.namespace, &namespace);
            prop_assert_eq!(read.identity.as_ref().map(|identity| &*identity.user), user.as_deref());
            if let Some(identity) = read.identity {
                let info: serde_json::Value = serde_json::from_slice(&identity.info).unwrap();
                prop_assert_eq!(info, serde_json::json!({ "nick": nick }));
            }
        }

        #[test]
        fn any_header_is_read_or_refused(header in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(read) = HandedOver::read(&header) {
                prop_assert!(!read.channels.is_empty());
            }
        }
    }

    #[test]
    fn the_arguments_of_the_browser_go_along_and_stay_arguments() {
        assert_eq!(redirect(b""), "X-Accel-Redirect: /push-accel");
        assert_eq!(redirect(b"position=1.2&a=%2F?b"), "X-Accel-Redirect: /push-accel?position=1.2&a=%2F?b");
        let odd = redirect(b"a=\r\nX-Push-Identity: {}#\0\xff");
        assert_eq!(odd, "X-Accel-Redirect: /push-accel?a=%0D%0AX-Push-Identity:%20{}%23%00%FF");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_limit() {
        let refused = |channels: &[&str], user: Option<&str>, info: &str| {
            identity(channels, user, info.as_bytes(), "").unwrap_err().to_string()
        };
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(crate::identity::MAX_INFO));
        assert!(refused(&["a"], Some("7"), &long).contains("allowed are 2048"));
        let names: Vec<String> = (0..10).map(|number| format!("{number}{}", "é".repeat(400))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(refused(&names, None, "").contains("a header of 6144"));
        assert!(refused(&[], None, "").contains("at least one channel"));
        assert!(refused(&["a"], None, "{\"a\":1}").contains("none is given"));
        assert!(refused(&["a"], Some(""), "").contains("must not be empty"));
        assert!(refused(&["a/b"], None, "").contains("separates channels"));
        assert!(refused(&["a*"], None, "").contains("reserved"));
    }

    #[test]
    fn a_header_that_php_does_not_make_is_refused() {
        for (text, why) in [
            ("", "not what push_accel() makes"),
            ("{}", "not what push_accel() makes"),
            ("7", "not what push_accel() makes"),
            (r#"{"channels":["a"]} x"#, "not what push_accel() makes"),
            (r#"{"channels":["a"]}, {"channels":["b"]}"#, "not what push_accel() makes"),
            (r#"{"channels":["a"],"channels":["b"]}"#, "not what push_accel() makes"),
            (r#"{"channels":[]}"#, "names no channel"),
            (r#"{"channels":["a"],"user":""}"#, "its user is wrong"),
            (r#"{"channels":["a"],"user":"7","info":[1]}"#, "its info is wrong"),
        ] {
            assert!(HandedOver::read(text.as_bytes()).unwrap_err().contains(why), "{text}");
        }
        let long = format!(r#"{{"channels":["{}"]}}"#, "a".repeat(MAX_HEADER));
        assert!(HandedOver::read(long.as_bytes()).unwrap_err().contains("longer"));
    }
}
