//! The levels of nginx.conf around a place: what holds there, and what of it a path and its channels come to.

use super::directives::{BEFORE_0_4, Known, carry, of_key, size, stripped};
use super::pattern::{Prefixes, prefixes};
use super::syntax::{Directive, Place};

/// What nginx accepts when nothing is said.
const BODY: u64 = 1 << 20;

/// The directives around a place, from the outermost level to the innermost.
pub(super) type Levels<'a> = Vec<&'a [Directive]>;

/// Whether the innermost level is that of a location.
pub(super) fn is_within_location(levels: &Levels<'_>) -> bool {
    let [.., outer, inner] = levels.as_slice() else { return false };
    outer.iter().any(|directive| directive.name == "location" && std::ptr::eq(directive.children(), *inner))
}

/// The innermost directive of this name.
pub(super) fn value_of<'a>(levels: &Levels<'a>, name: &str) -> Option<&'a Directive> {
    levels.iter().rev().find_map(|level| level.iter().rfind(|directive| directive.name == name))
}

/// The innermost directive with one of these names.
pub(super) fn known_value<'a>(levels: &Levels<'a>, known: &Known) -> Option<&'a Directive> {
    let is = |directive: &&Directive| stripped(&directive.name).is_some_and(|name| known.names.contains(&name));
    levels.iter().rev().find_map(|level| level.iter().rfind(is))
}

/// A directive under a condition that takes the position from an argument: a hub takes it when the argument is there, so that
/// it needs no condition.
pub(super) fn argument<'a>(condition: &'a Directive, known: &Known) -> Option<&'a Directive> {
    const POSITION: [&str; 3] = ["last_received_message_time", "last_received_message_tag", "last_event_id"];
    let is = |child: &&Directive| stripped(&child.name).is_some_and(|name| known.names.contains(&name));
    condition.children().iter().rfind(is).filter(|_| POSITION.contains(&known.key))
}

/// The value of a directive, or of a variable of old, that says where the channels come from.
pub(super) fn channels_path(directive: &Directive) -> Option<&str> {
    const VARIABLES: [&str; 2] = ["$push_stream_channels_path", "$push_stream_channel_id"];
    match directive.name.as_str() {
        "push_stream_channels_path" | "push_stream_channel_id" => Some(directive.argument()),
        "set" if VARIABLES.contains(&directive.argument()) => directive.arguments.get(1).map(String::as_str),
        _ => None,
    }
}

/// The variable that names the channels, `None` when they are the rest of the path.
pub(super) fn channels_of<'a>(levels: &Levels<'a>, prefixes: &Prefixes) -> Result<Option<(String, &'a Place)>, String> {
    let found = levels
        .iter()
        .rev()
        .find_map(|level| level.iter().rev().find_map(|directive| Some((channels_path(directive)?, &directive.place))));
    let Some((value, place)) = found else { return Ok(None) };
    let value = resolve(levels, value);
    // A slash in front names a channel without name besides, which nobody wants.
    let plain = value.strip_prefix('/').unwrap_or(&value);
    let name = plain.strip_prefix("${").and_then(|name| name.strip_suffix('}')).or_else(|| plain.strip_prefix('$'));
    if name.is_some_and(|name| prefixes.rest.iter().any(|rest| rest == name)) {
        return Ok(None);
    }
    match carry(of_key("last_event_id"), plain) {
        Ok(variable) => Ok(Some((variable.value, place))),
        Err(_) => Err(format!(
            "the channels path \"{value}\" is neither the end of the path nor one argument; let nginx write it \
             into the path (rewrite ^ /prefix/{value} break;) and take what follows the prefix"
        )),
    }
}

/// Replaces variables that `set` gives a value outside of conditions.
fn resolve(levels: &Levels<'_>, value: &str) -> String {
    let mut value = value.to_owned();
    // Each may be made of others; one that is made of itself stays.
    for _ in 0..8 {
        let sets = levels.iter().rev().flat_map(|level| level.iter().rev()).filter(|directive| directive.name == "set");
        let found = sets.into_iter().find(|set| {
            let bare = set.argument().trim_start_matches('$');
            value == set.argument() || value == format!("${{{bare}}}")
        });
        match found.and_then(|set| set.arguments.get(1)) {
            Some(other) => value.clone_from(other),
            None => break,
        }
    }
    value
}

/// The prefixes of a location's path.
pub(super) fn path_of(location: &Directive) -> Result<Prefixes, String> {
    let (modifier, path) = match location.arguments.as_slice() {
        [modifier, path] => (modifier.as_str(), path.as_str()),
        [both] => {
            let known = ["^~", "~*", "~", "=", "@"].into_iter().find(|modifier| both.starts_with(modifier));
            both.split_at(known.map_or(0, str::len))
        }
        _ => return Err("nginx would refuse it".to_owned()),
    };
    match modifier {
        "~" | "~*" => prefixes(path),
        "@" => Err("a named location has no path".to_owned()),
        _ if !path.starts_with('/') || path.contains(['?', '#']) => {
            Err("the hub serves paths that begin with /, without ? and #".to_owned())
        }
        _ => Ok(Prefixes { paths: vec![path.to_owned()], rest: Vec::new(), anchored: true }),
    }
}

/// The largest body of a location, and where it is said.
pub(super) fn body(levels: &Levels<'_>) -> (u64, String) {
    let found = value_of(levels, "client_max_body_size");
    match found.and_then(|directive| Some((size(directive.argument())?, &directive.place))) {
        // nginx does not look at the length then.
        Some((0, place)) => (u64::MAX, format!("{place}: client_max_body_size 0")),
        Some((bytes, place)) => (bytes, place.to_string()),
        None => (BODY, "client_max_body_size is not set in nginx".to_owned()),
    }
}

/// Whether nginx says who may come here.
pub(super) fn is_guarded(levels: &Levels<'_>) -> bool {
    const GUARDS: [&str; 8] =
        ["allow", "deny", "auth_basic", "auth_request", "auth_jwt", "internal", "limit_except", "ssl_verify_client"];
    levels.iter().any(|level| level.iter().any(|directive| GUARDS.contains(&directive.name.as_str())))
}

/// Whether a version of the module before 0.4 reads this.
pub(super) fn before_0_4(directives: &[Directive]) -> bool {
    directives.iter().any(|directive| {
        let old = stripped(&directive.name).is_some_and(|name| BEFORE_0_4.contains(&name));
        old || (directive.name == "set" && channels_path(directive).is_some()) || before_0_4(directive.children())
    })
}
