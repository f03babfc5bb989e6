//! The table of keys in the manual is the one that the declaration gives, and what the manual says of the directives of
//! nginx-push-stream-module is so.
//!
//! `PUSH_WRITE_MANUAL=1 cargo test -p push-core --test manual` writes it anew.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;

use push_core::config::{Config, Key};

const BEGIN: &str = "<!-- keys: written by core/tests/manual.rs -->\n";
const END: &str = "<!-- end of keys -->\n";

fn table(keys: &[Key], location: bool) -> String {
    // A bar would end the cell.
    let cell = |text: &str| text.replace('|', "\\|");
    let mut table = "| key | default | allowed | |\n|---|---|---|---|\n".to_owned();
    for key in keys.iter().filter(|key| key.location == location) {
        let Key { name, default, allowed, description, .. } = key;
        writeln!(table, "| `{name}` | {} | {} | {} |", cell(default), cell(allowed), cell(description)).unwrap();
    }
    table
}

fn keys() -> String {
    let keys = Config::keys();
    let built_in: Vec<String> = keys.iter().filter(|key| key.restart).map(|key| format!("`{}`", key.name)).collect();
    let (last, most) = built_in.split_last().unwrap();
    let restart = format!("When they change, {} and {last} need a restart of the hub.\n", most.join(", "));
    format!(
        "{BEGIN}\n## For the whole hub\n\n{}\n{restart}\n## For all locations, or for one\n\n{}\n{END}",
        table(&keys, false),
        table(&keys, true)
    )
}

#[test]
fn the_table_of_keys_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let begin = text.find(BEGIN).expect("where the table begins");
    let end = text.find(END).expect("where the table ends") + END.len();
    let wanted = format!("{}{}{}", &text[..begin], keys(), &text[end..]);
    if std::env::var_os("PUSH_WRITE_MANUAL").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let is = std::fs::read_to_string(&file).unwrap();
    let difference = is.lines().zip(wanted.lines()).find(|(is, wanted)| is != wanted);
    assert!(
        is == wanted,
        "docs/configuration.md is not what the declaration says; PUSH_WRITE_MANUAL=1 writes it anew\n{difference:#?}"
    );
}

#[test]
fn every_key_stands_in_one_row() {
    let table = keys();
    let keys = Config::keys();
    assert!(keys.len() > 30);
    for key in keys {
        let start = format!("| `{}` | ", key.name);
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with(&start)).collect();
        assert_eq!(rows.len(), 1, "{}", key.name);
        // Four cells: no text may break out of its own.
        assert_eq!(rows[0].replace("\\|", "").matches('|').count(), 5, "{}", rows[0]);
    }
}

/// Every directive of the module, without `push_stream_`.
const DIRECTIVES: [&str; 36] = [
    "allow_connections_to_events_channel",
    "allowed_origins",
    "authorized_channels_only",
    "channel_deleted_message_text",
    "channel_inactivity_time",
    "channel_info_on_publish",
    "channels_path",
    "channels_statistics",
    "events_channel_id",
    "footer_template",
    "header_template",
    "header_template_file",
    "last_event_id",
    "last_received_message_tag",
    "last_received_message_time",
    "longpolling_connection_ttl",
    "max_channel_id_length",
    "max_messages_stored_per_channel",
    "max_number_of_channels",
    "max_number_of_wildcard_channels",
    "max_subscribers_per_channel",
    "message_template",
    "message_ttl",
    "padding_by_user_agent",
    "ping_message_interval",
    "ping_message_text",
    "publisher",
    "shared_memory_size",
    "store_messages",
    "subscriber",
    "subscriber_connection_ttl",
    "timeout_with_body",
    "user_agent",
    "websocket_allow_publish",
    "wildcard_channel_max_qtd",
    "wildcard_channel_prefix",
];

/// What a location is, which no key says.
const KINDS: [&str; 3] = ["channels_statistics", "publisher", "subscriber"];

fn compatibility() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    std::fs::read_to_string(file).unwrap()
}

/// The word between backticks that is all of the cell.
fn code(cell: &str) -> &str {
    cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).unwrap_or_else(|| panic!("not `one word`: {cell}"))
}

#[test]
fn every_directive_has_its_row_with_a_key_and_its_default() {
    let text = compatibility();
    let (_, table) = text.split_once("<!-- directives:").expect("where the table begins");
    let (table, _) = table.split_once("<!-- end of directives -->").expect("where the table ends");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut named: Vec<_> = rows.iter().map(|row| code(row[0])).collect();
    named.sort_unstable();
    assert_eq!(named, DIRECTIVES);
    let keys = Config::keys();
    for row in rows {
        let (key, default) = (code(row[2]), row[3]);
        assert_eq!(row.len(), 5, "{key}");
        if KINDS.contains(&key) {
            continue;
        }
        let known = keys.iter().find(|known| known.name == key).unwrap_or_else(|| panic!("there is no key {key}"));
        assert_eq!(known.default.trim(), default, "{key}");
    }
}

#[test]
fn every_directive_is_carried_over() {
    let directory = tempfile::tempdir().unwrap();
    // One of a kind that the converter does not know is named.
    for directive in DIRECTIVES.iter().filter(|name| !KINDS.contains(name)) {
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, format!("http {{ push_stream_{directive} 1; }}")).unwrap();
        let converted = push_core::convert::convert(&file).unwrap();
        let unknown = converted.left_out.iter().find(|what| what.contains("no version of the module"));
        assert_eq!(unknown, None, "{directive}");
    }
}

#[test]
fn keys_on_the_page_exist() {
    const NGINX: [&str; 5] =
        ["client_header_timeout", "client_max_body_size", "default_type", "proxy_pass", "server_name"];
    let text = compatibility();
    let keys = Config::keys();
    let mut seen = 0;
    for span in text.split('`').skip(1).step_by(2) {
        let (word, set) = span.split_once(" = ").map_or((span, false), |(key, _)| (key, true));
        let looks = word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if !(looks || set) || word.starts_with("push_stream_") || NGINX.contains(&word) || DIRECTIVES.contains(&word) {
            continue;
        }
        seen += 1;
        assert!(word == "path" || word == "listener" || keys.iter().any(|known| known.name == word), "no key: {word}");
    }
    assert!(seen > 20, "{seen}");
}
