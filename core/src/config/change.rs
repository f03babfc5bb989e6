//! What a running hub takes over of another configuration, and what waits for its restart.

use super::{Config, ConfigError, LOCATION_NAMES, Location, Log};

/// Keys that are read each time they are needed, or by clients only. The others are built into sockets, threads and rings, or
/// into what stored channels were counted as. What else can change is decided in [`Config::change_to`].
const AT_RUN_TIME: &[&str] = &[
    "backoff",
    "channel_deleted_message_text",
    "channel_inactivity_time",
    "client_buffer",
    "client_namespaces",
    "connect_rate_per_address",
    "connect_rate_per_user",
    "dedupe_window",
    "drain_timeout",
    "gap_message_text",
    "header_timeout",
    "keepalive_timeout",
    "linger",
    "log_level",
    "max_channel_id_length",
    "max_channels_per_subscription",
    "max_client_bytes_per_uid",
    "max_clients_per_uid",
    "max_message_size",
    "max_messages_stored_per_channel",
    "max_number_of_channels",
    "max_number_of_wildcard_channels",
    "max_subscribers_per_channel",
    "message_ttl",
    "ping_message_text",
    "presence_count_members",
    "presence_diff_members",
    "presence_grace",
    "presence_ttl",
    "publish_rate_per_address",
    "publish_rate_per_user",
    "ring_size",
    "send_timeout",
    "timeout",
    "timeout_with_body",
    "trusted_proxies",
    "watchdog",
];

/// Keys that change as far as it is possible.
const IN_PART: &[&str] = &["log", "memory_limit"];

/// Whether a running hub takes over nothing of another value of the key.
pub(super) fn needs_restart(key: &str) -> bool {
    !AT_RUN_TIME.contains(&key) && !IN_PART.contains(&key)
}

/// A step from one configuration towards another.
#[derive(Debug)]
pub struct Change {
    /// The old one with what can be taken over.
    pub config: Config,
    /// What that is: keys and locations.
    pub taken: Vec<String>,
    /// What needs a restart.
    pub left: Vec<String>,
}

impl Config {
    /// What a hub with this configuration can take over of `new` while it runs. Its journal has room for a `memory_limit` of
    /// so many bytes.
    ///
    /// # Errors
    /// What can be taken over does not go together with what stays.
    pub fn change_to(&self, new: &Self, most_memory: u64) -> Result<Change, ConfigError> {
        let mut change = Change { config: self.clone(), taken: Vec::new(), left: Vec::new() };
        let pairs = self.values().into_iter().zip(new.values());
        let of_hub = pairs.filter(|((key, _), _)| !LOCATION_NAMES.contains(key));
        for ((key, old), (_, value)) in of_hub {
            if old == value {
                continue;
            }
            let left = match key {
                "memory_limit" if new.memory_limit > most_memory => {
                    Some(format!("memory_limit (above {} MB, for which this hub has no addresses)", most_memory >> 20))
                }
                "log" if new.log == Log::Stderr => Some("log (the standard error stream was left)".to_owned()),
                key => needs_restart(key).then(|| key.to_owned()),
            };
            match left {
                Some(left) => change.left.push(left),
                None => {
                    change.config.assign(key, &value)?;
                    change.taken.push(key.to_owned());
                }
            }
        }
        change.take_locations(self, new)?;
        change.config.check()?;
        Ok(change)
    }
}

impl Change {
    /// Whoever waits knows its location by the number: those that are there keep it, new ones may follow.
    fn take_locations(&mut self, old: &Config, new: &Config) -> Result<(), ConfigError> {
        if old.locations == new.locations {
            return Ok(());
        }
        let place = |location: &Location| (location.path.clone(), location.handler, location.public);
        let in_place = old.locations.len() <= new.locations.len()
            && old.locations.iter().zip(&new.locations).all(|(old, new)| place(old) == place(new));
        if !in_place {
            self.left.push("the order, paths or kinds of locations".to_owned());
            return Ok(());
        }
        for (key, value) in new.values().into_iter().filter(|(key, _)| LOCATION_NAMES.contains(key)) {
            self.config.assign(key, &value)?;
        }
        self.config.places.clone_from(&new.places);
        self.config.locations.clone_from(&new.locations);
        let changed = new.locations.iter().enumerate().filter(|(at, new)| old.locations.get(*at) != Some(*new));
        self.taken.extend(changed.map(|(_, location)| format!("location {}", location.path)));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Config {
        let mut config = Config::default();
        config.parse(text, "push.toml").unwrap();
        config
    }

    fn change(old: &str, new: &str) -> Change {
        parsed(old).change_to(&parsed(new), 300 << 20).unwrap()
    }

    #[test]
    fn every_key_of_the_list_exists() {
        for key in AT_RUN_TIME.iter().chain(IN_PART) {
            assert!(Config::keys().iter().any(|found| found.name == *key && !found.location), "{key}");
        }
    }

    #[test]
    fn limits_are_taken_and_what_is_built_in_is_left() {
        let change = change("", "message_ttl = '1m'\nthreads = 64\nlog_level = 'debug'\nmemory_limit = '1g'");
        assert_eq!(change.taken, ["message_ttl", "log_level"]);
        assert_eq!(change.left, ["threads", "memory_limit (above 300 MB, for which this hub has no addresses)"]);
        let expected = parsed("message_ttl = '1m'\nlog_level = 'debug'");
        assert_eq!(change.config.to_toml(), expected.to_toml());
        assert_eq!(change.config.hash(), expected.hash(), "a master that has the same adopts it");
    }

    #[test]
    fn memory_and_log_change_as_far_as_that_is_possible() {
        let larger = change("", "memory_limit = '300m'\nmax_message_size = '1m'\nlog = '/var/log/push/hub.log'");
        assert_eq!((larger.taken.len(), larger.left.len()), (3, 0));
        assert_eq!(change("", "memory_limit = '1m'").taken, ["memory_limit"]);
        assert_eq!(change("log = '/a'", "log = 'syslog'").taken, ["log"]);
        assert_eq!(change("log = '/a'", "").left, ["log (the standard error stream was left)"]);
        let error = parsed("").change_to(&parsed("memory_limit = '1m'\nmax_message_size = '2m'"), 1 << 20).unwrap_err();
        assert!(error.to_string().contains("a message must fit"), "{error}");
    }

    #[test]
    fn locations_change_in_place_and_new_ones_follow() {
        let sub = "[[location]]\npath = '/sub/'\nsubscriber = 'long-polling'\n";
        let poll = "[[location]]\npath = '/poll/'\nsubscriber = 'polling'\n";
        let taken = change(sub, &format!("content_type = 'text/x'\n{sub}footer_template = 'x'\n{poll}"));
        assert_eq!(taken.taken, ["location /sub/", "location /poll/"]);
        assert_eq!(taken.config.locations[0].footer_template.as_deref(), Some("x"));
        assert_eq!(taken.config.locations[1].content_type, "text/x");
        let mut copy = Config::default();
        copy.parse(&taken.config.to_toml(), "copy").unwrap();
        assert_eq!(copy.locations, taken.config.locations);
        for other in [poll.to_owned(), format!("{poll}{sub}"), sub.replace("long-polling", "polling")] {
            let left = change(&format!("{sub}{poll}"), &other);
            assert_eq!(left.left, ["the order, paths or kinds of locations"]);
            assert_eq!(left.config.locations, parsed(&format!("{sub}{poll}")).locations);
        }
    }

    #[test]
    fn what_stays_and_what_comes_must_go_together() {
        let old = parsed("");
        let new = parsed("wildcard_channel_prefix = 'b_'\nmax_number_of_wildcard_channels = 5");
        let error = old.change_to(&new, 0).unwrap_err().to_string();
        assert!(error.contains("counts nothing without wildcard_channel_prefix"), "{error}");
    }
}
