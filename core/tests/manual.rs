//! The table of keys in the manual is the one that the declaration gives.
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
    format!(
        "{BEGIN}\n## For the whole hub\n\n{}\n## For all locations, or for one\n\n{}\n{END}",
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
