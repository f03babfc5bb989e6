//! What the levels of nginx.conf come to: the keys of the hub, and for each location its own.

use std::collections::HashSet;

use super::directives::{
    Carried, HUB, KINDS, Known, LOCATION, NEEDLESS, carry, find, of_key, size, size_text, stripped,
};
use super::levels::{
    Levels, argument, before_0_4, body, channels_of, channels_path, is_guarded, is_within_location, known_value,
    path_of, value_of,
};
use super::proxy::Proxy;
use super::syntax::{Directive, Parsed, Place};
use crate::message::MAX_PAYLOAD;

/// How long a poll waits that nothing ends in nginx: as by our default, below the time after which a proxy gives up.
const POLL: &str = "25s";

/// A line of the TOML.
#[derive(Clone, Debug)]
pub(super) enum Line {
    Set {
        key: &'static str,
        value: String,
        /// Where it comes from, or why it is there.
        remark: String,
    },
    /// Something to know.
    Remark(String),
    /// Something that is missing here.
    LeftOut(String),
}

/// A location of the hub.
#[derive(Debug)]
pub(super) struct Location {
    /// Where it comes from.
    pub(super) title: String,
    pub(super) path: String,
    pub(super) kind: (&'static str, &'static str),
    pub(super) lines: Vec<Line>,
}

impl Location {
    /// Whether they cannot stand together.
    fn is_where(&self, other: &Self) -> bool {
        let public = |location: &Self| location.kind.0 == "subscriber";
        self.path == other.path && public(self) == public(other)
    }

    fn settings(&self) -> Vec<(&'static str, &str)> {
        let set = self.lines.iter().filter_map(|line| match line {
            Line::Set { key, value, .. } => Some((*key, value.as_str())),
            _ => None,
        });
        [self.kind].into_iter().chain(set).collect()
    }
}

/// The whole configuration.
#[derive(Debug, Default)]
pub(super) struct Site {
    pub(super) hub: Vec<Line>,
    pub(super) locations: Vec<Location>,
    /// Locations that are missing, and why.
    pub(super) refused: Vec<String>,
    /// What takes the place of the directives in nginx.
    pub(super) proxies: Vec<Proxy>,
    pub(super) left_out: Vec<String>,
    /// The group of nginx, if it is named.
    pub(super) group: Option<String>,
    /// Whether several servers share the hub.
    pub(super) servers: usize,
    found: bool,
    before_0_4: bool,
    bodies: Vec<(u64, String)>,
}

impl Site {
    pub(super) fn of(parsed: &Parsed) -> Self {
        let mut site = Self { before_0_4: before_0_4(&parsed.directives), ..Self::default() };
        for (place, reason) in &parsed.missing {
            site.leave_out(format!("{place}: {reason}"), None);
        }
        site.walk(&parsed.directives, &mut vec![&parsed.directives]);
        site.finish();
        site
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.found
    }

    fn leave_out(&mut self, what: String, lines: Option<&mut Vec<Line>>) {
        lines.unwrap_or(&mut self.hub).push(Line::LeftOut(what.clone()));
        self.left_out.push(what);
    }

    fn walk<'a>(&mut self, directives: &'a [Directive], levels: &mut Levels<'a>) {
        for directive in directives {
            let name = directive.name.as_str();
            match name {
                "user" if levels.len() == 1 => {
                    let group = directive.arguments.get(1).or(directive.arguments.first());
                    self.group = group.cloned();
                }
                "location" => {
                    levels.push(directive.children());
                    self.location(directive, levels);
                    self.walk(directive.children(), levels);
                    levels.pop();
                }
                "if" if !is_within_location(levels) => self.conditional(directive, &[], None),
                // Read together with its location.
                "if" => {}
                _ if directive.block.is_some() => {
                    self.servers += usize::from(name == "server");
                    levels.push(directive.children());
                    self.walk(directive.children(), levels);
                    levels.pop();
                }
                _ => self.simple(directive),
            }
        }
    }

    /// A directive that is no block: those of the hub are carried, those of locations wait for theirs.
    fn simple(&mut self, directive: &Directive) {
        let place = &directive.place;
        let Some(name) = stripped(&directive.name) else {
            self.found |= channels_path(directive).is_some();
            return;
        };
        self.found = true;
        if let Some(known) = find(HUB, name) {
            self.hub_value(known, directive);
        } else if find(LOCATION, name).is_none() && !KINDS.contains(&name) && !NEEDLESS.contains(&name) {
            self.leave_out(format!("{place}: {}: no version of the module that we know has it", directive.name), None);
        }
    }

    fn hub_value(&mut self, known: &'static Known, directive: &Directive) {
        let place = &directive.place;
        let carried = carry(known, directive.argument());
        let earlier = self.hub.iter().find_map(|line| match line {
            Line::Set { key, value, .. } if *key == known.key => Some(value.clone()),
            _ => None,
        });
        match (carried, earlier) {
            (Ok(carried), None) => self.hub.push(set(known.key, carried, place)),
            (Ok(carried), Some(earlier)) if carried.value == earlier => {}
            (Ok(_), Some(earlier)) => {
                let why = format!("holds for the whole hub, where it is \"{earlier}\" already");
                self.leave_out(format!("{place}: {} {}: {why}", directive.name, directive.argument()), None);
            }
            (Err(why), _) => self.leave_out(format!("{place}: {}: {why}", directive.name), None),
        }
    }

    /// Directives that hold under a condition, which locations of the hub have none of; but for those that need none.
    fn conditional(&mut self, block: &Directive, needless: &[&Directive], mut lines: Option<&mut Vec<Line>>) {
        for directive in block.children() {
            let of_module = stripped(&directive.name).is_some() || channels_path(directive).is_some();
            if !of_module || needless.iter().any(|needless| std::ptr::eq(*needless, directive)) {
                continue;
            }
            self.found = true;
            let what =
                format!("if {}: {} {}", block.arguments.join(" "), directive.name, directive.arguments.join(" "));
            let why = "locations of the hub know no conditions; make another location for it";
            self.leave_out(format!("{}: {what}: {why}", directive.place), lines.as_deref_mut());
        }
    }

    fn location<'a>(&mut self, location: &'a Directive, levels: &Levels<'a>) {
        let Some((kind, handler)) = self.kind(location, levels) else { return };
        self.found = true;
        let place = &location.place;
        let head = format!("location {}", location.arguments.join(" "));
        let title = match value_of(levels, "server_name") {
            Some(server) => format!("{place}, {head} of server {}", server.arguments.join(" ")),
            None => format!("{place}, {head}"),
        };
        let mut lines = Vec::new();
        let served = path_of(location).and_then(|prefixes| {
            let channels = channels_of(levels, &prefixes)?;
            let in_path = !prefixes.rest.is_empty() && prefixes.paths.iter().all(|path| path.ends_with('/'));
            if handler == Handler::Publisher && channels.is_none() && !in_path {
                return Err(
                    "a publisher needs push_stream_channels_path, one argument or all that follows a /".to_owned()
                );
            }
            Ok((prefixes, channels))
        });
        let (prefixes, channels) = match served {
            Ok(served) => served,
            Err(why) => {
                let what = format!("{place}: {head}: {why}");
                self.refused.push(what.clone());
                self.left_out.push(what);
                return;
            }
        };
        if !prefixes.anchored && location.argument().starts_with('~') {
            lines.push(Line::Remark(format!(
                "the expression of nginx also finds {} further on in a path; the hub does not",
                prefixes.paths[0]
            )));
        }
        if let Some((variable, place)) = channels {
            lines.push(Line::Set { key: "channels_path", value: variable, remark: place.to_string() });
        }
        self.directives_of(location, levels, handler, &mut lines);
        if handler == Handler::Publisher {
            self.bodies.push(body(levels));
        }
        let known = |path: &String| Location { title: title.clone(), path: path.clone(), kind, lines: lines.clone() };
        let (again, new): (Vec<_>, Vec<_>) =
            prefixes.paths.iter().map(known).partition(|new| self.locations.iter().any(|other| other.is_where(new)));
        for location in &again {
            let other = self.locations.iter().find(|other| other.is_where(location)).expect("it stands there");
            if other.settings() != location.settings() {
                let why = "the hub has one location for a path, whatever the server, and this one is another";
                let what = format!("{place}: {head}: {why} than that of {}", other.title);
                self.refused.push(what.clone());
                self.left_out.push(what);
                return;
            }
        }
        self.proxies.push(Proxy::of(&head, place, handler, &lines, is_guarded(levels)));
        self.locations.extend(new);
    }

    fn kind(&self, location: &Directive, levels: &Levels<'_>) -> Option<((&'static str, &'static str), Handler)> {
        let own = |name: &str| location.children().iter().rfind(|child| stripped(&child.name) == Some(name));
        if own("channels_statistics").is_some() {
            return Some((("channels_statistics", "on"), Handler::Statistics));
        }
        if let Some(publisher) = own("publisher") {
            let word = if publisher.argument() == "admin" { "admin" } else { "normal" };
            return Some((("publisher", word), Handler::Publisher));
        }
        if own("websocket").is_some() {
            return Some((("subscriber", "websocket"), Handler::WebSocket));
        }
        let subscriber = own("subscriber")?;
        let events = value_of(levels, "push_stream_eventsource_support");
        Some(match subscriber.argument() {
            "polling" => (("subscriber", "polling"), Handler::Polling),
            "long-polling" => (("subscriber", "long-polling"), Handler::LongPolling),
            "eventsource" => (("subscriber", "eventsource"), Handler::EventSource),
            "websocket" => (("subscriber", "websocket"), Handler::WebSocket),
            _ if events.is_some_and(|on| on.argument().eq_ignore_ascii_case("on")) => {
                (("subscriber", "eventsource"), Handler::EventSource)
            }
            _ => (("subscriber", "streaming"), Handler::Streaming),
        })
    }

    fn directives_of<'a>(
        &mut self,
        location: &'a Directive,
        levels: &Levels<'a>,
        handler: Handler,
        lines: &mut Vec<Line>,
    ) {
        let conditions: Vec<_> = location.children().iter().filter(|child| child.name == "if").collect();
        let mut needless = Vec::new();
        for known in LOCATION.iter().filter(|known| handler.takes(known.key)) {
            let conditional = conditions.iter().find_map(|block| argument(block, known));
            let (directive, remark) = match (known_value(levels, known), conditional) {
                (Some(directive), _) => (directive, ""),
                (None, Some(directive)) => (directive, "; without its condition: an absent argument counts as not set"),
                (None, None) => {
                    lines.extend(handler.unlike_ours(known.key, levels));
                    continue;
                }
            };
            match carry(known, directive.argument()) {
                Ok(carried) => {
                    // The same in several conditions is the same here.
                    let same = conditions.iter().filter_map(|block| argument(block, known));
                    needless.extend(same.filter(|other| other.arguments == directive.arguments));
                    let mut line = set(known.key, carried, &directive.place);
                    if let Line::Set { remark: text, .. } = &mut line {
                        text.push_str(remark);
                    }
                    lines.push(line);
                }
                Err(why) => self.leave_out(format!("{}: {}: {why}", directive.place, directive.name), Some(lines)),
            }
        }
        if handler.takes("content_type")
            && known_value(levels, of_key("content_type")).is_none()
            && let Some(directive) = self.default_type(levels)
        {
            match carry(of_key("content_type"), directive.argument()) {
                Ok(carried) => lines.push(set("content_type", carried, &directive.place)),
                Err(why) => self.leave_out(format!("{}: {}: {why}", directive.place, directive.name), Some(lines)),
            }
        }
        for condition in conditions {
            self.conditional(condition, &needless, Some(lines));
        }
    }

    /// The content type of a subscriber that has no directive of the module for it.
    fn default_type<'a>(&self, levels: &Levels<'a>) -> Option<&'a Directive> {
        let own = levels.last()?.iter().rfind(|directive| directive.name == "default_type");
        let inherited = || value_of(levels, "default_type").filter(|_| !self.before_0_4);
        own.or_else(inherited).filter(|directive| directive.argument() != "text/plain")
    }

    /// What is known when all locations are.
    fn finish(&mut self) {
        if !self.found {
            return;
        }
        let has = |lines: &[Line], wanted: &str| {
            lines.iter().any(|line| matches!(line, Line::Set { key, .. } if *key == wanted))
        };
        for (key, value, remark) in [
            ("max_messages_stored_per_channel", "none", "not set in nginx; memory_limit bounds them"),
            ("max_channel_id_length", "1024", "not set in nginx; the most there is"),
        ] {
            if !has(&self.hub, key) {
                self.hub.push(Line::Set { key, value: value.to_owned(), remark: remark.to_owned() });
            }
        }
        if !has(&self.hub, "wildcard_channel_prefix") {
            let needs = ["max_number_of_wildcard_channels", "wildcard_channel_max_qtd"];
            let mut found = Vec::new();
            let lines = self.locations.iter_mut().map(|location| &mut location.lines).chain([&mut self.hub]);
            for lines in lines {
                lines.retain(|line| match line {
                    Line::Set { key, remark, .. } if needs.contains(key) => {
                        found.push(format!(
                            "{remark}: {key} counts nothing without push_stream_wildcard_channel_prefix"
                        ));
                        false
                    }
                    _ => true,
                });
            }
            let mut said = HashSet::new();
            found.retain(|what| said.insert(what.clone()));
            for what in found {
                self.leave_out(what, None);
            }
        }
        self.body_size();
    }

    /// One limit for all publishers: the largest.
    fn body_size(&mut self) {
        let Some((largest, mut remark)) = self.bodies.iter().max_by_key(|(size, _)| *size).cloned() else { return };
        let memory = self.hub.iter().find_map(|line| match line {
            Line::Set { key: "memory_limit", value, .. } => size(value),
            _ => None,
        });
        let most = memory.unwrap_or(u64::MAX).min(MAX_PAYLOAD as u64);
        if self.bodies.iter().any(|(size, _)| *size != largest) {
            remark.push_str("; the largest of several, because it holds for the whole hub");
        }
        let value = size_text(largest.min(most));
        self.hub.push(Line::Set { key: "max_message_size", value: value.clone(), remark: remark.clone() });
        if largest > most {
            let is = if largest == u64::MAX { "without limit".to_owned() } else { size_text(largest) };
            self.leave_out(format!("{remark}: bodies {is}: {value} is the most there is"), None);
        }
    }
}

/// What a location does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handler {
    Publisher,
    Statistics,
    Streaming,
    Polling,
    LongPolling,
    EventSource,
    WebSocket,
}

impl Handler {
    /// Whether the key means something there.
    fn takes(self, key: &str) -> bool {
        let stream = matches!(self, Self::Streaming | Self::EventSource | Self::WebSocket);
        match key {
            "store_messages" => matches!(self, Self::Publisher | Self::WebSocket),
            "channel_info_on_publish" => self == Self::Publisher,
            "websocket_allow_publish" => self == Self::WebSocket,
            // Not that of a WebSocket: the module sends it to none, and here it would decide who may open one.
            "allowed_origins" => !matches!(self, Self::Statistics | Self::WebSocket),
            "content_type" => matches!(self, Self::Streaming | Self::Polling | Self::LongPolling),
            // A request may ask for long-polling with X-Nginx-PushStream-Mode.
            "longpolling_connection_ttl" => !matches!(self, Self::Publisher | Self::Statistics | Self::WebSocket),
            "ping_message_interval" | "subscriber_connection_ttl" => stream,
            "user_agent" | "padding_by_user_agent" => matches!(self, Self::Streaming | Self::EventSource),
            _ => !matches!(self, Self::Publisher | Self::Statistics),
        }
    }

    /// What has to be written when nginx says nothing, because our default is another than the module's.
    fn unlike_ours(self, key: &'static str, levels: &Levels<'_>) -> Option<Line> {
        let line = |value: &str, remark: &str| {
            Some(Line::Set { key, value: value.to_owned(), remark: format!("not set in nginx; {remark}") })
        };
        match key {
            "store_messages" => line("off", "with on nothing is lost to those who are between two polls"),
            "authorized_channels_only" => line("off", "anybody may subscribe to any channel"),
            // Pings would be messages that clients have not seen before; event streams and WebSockets hide theirs.
            "ping_message_interval" if self == Self::Streaming => line("none", "no pings"),
            "longpolling_connection_ttl" => {
                let all = known_value(levels, of_key("subscriber_connection_ttl"));
                match all.and_then(|directive| Some((carry(of_key(key), directive.argument()).ok()?, directive))) {
                    Some((carried, directive)) => Some(set(key, carried, &directive.place)),
                    None if self == Self::LongPolling => {
                        line(POLL, "polls waited for ever there; a proxy would end them after 60s")
                    }
                    None => None,
                }
            }
            _ => None,
        }
    }
}

fn set(key: &'static str, carried: Carried, place: &Place) -> Line {
    let remark = carried.remark.map_or_else(|| place.to_string(), |remark| format!("{place}: {remark}"));
    Line::Set { key, value: carried.value, remark }
}
