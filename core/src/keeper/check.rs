//! What a configuration means on this machine, in words: for the log, and for `push-hub --check`.

use super::StartError;
use super::owner::Owner;
use crate::config::{Address, Config, Handler};
use crate::process;

/// Logs what a hub that has started listens on, and what is worth a warning.
pub(super) fn log_start(config: &Config) {
    let listeners = [
        ("listening", &config.listen),
        ("admin listener", &config.admin_listen),
        ("trusted listener", &config.trusted_listen),
    ];
    for (name, addresses) in listeners {
        for address in addresses {
            tracing::info!("{name} on {address}");
        }
    }
    if config.socket_mode & 0o002 != 0 && !config.trusted_listen.is_empty() {
        tracing::warn!(
            "socket_mode = {:04o} lets every user of this machine come by trusted_listen and say who he is; set 0660, and \
             socket_group for nginx",
            config.socket_mode
        );
    }
    tracing::info!("attach socket {}", Address::Unix(config.socket.clone()));
    for location in config.locations.iter().filter(|location| location.public) {
        if matches!(location.handler, Handler::Publisher { .. }) {
            tracing::warn!("location {} lets everyone publish who reaches a public listener", location.path);
        }
    }
    tracing::info!("{}", limits(config, process::descriptor_limit()));
}

/// Descriptors that a hub needs besides those of connections.
const OWN_DESCRIPTORS: u64 = 64;

/// The limits that follow from the configuration and from this machine, in a sentence.
fn limits(config: &Config, descriptors: u64) -> String {
    format!(
        "{} HTTP threads; memory_limit {} MB; {descriptors} descriptors: at most about {} connections",
        config.threads,
        config.memory_limit >> 20,
        descriptors.saturating_sub(OWN_DESCRIPTORS)
    )
}

/// Checks what can be checked without starting anything, and says what a start would listen on and which limits follow.
///
/// # Errors
/// A start would fail for this reason.
pub fn check(config: &Config) -> Result<String, StartError> {
    config.check()?;
    Owner::of(config)?;
    let addresses = |addresses: &[Address]| match addresses {
        [] => "none".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut text = format!(
        "listen          {}\nadmin_listen    {}\ntrusted_listen  {}\nsocket          {}\nlimits          {}\n",
        addresses(&config.listen),
        addresses(&config.admin_listen),
        addresses(&config.trusted_listen),
        config.socket.display(),
        limits(config, process::most_descriptors()),
    );
    for location in &config.locations {
        let (kind, word) = location.handler.words();
        let listener = if location.public { "public" } else { "admin" };
        text.push_str(&format!("location        {} {kind} {word} ({listener})\n", location.path));
    }
    Ok(text)
}
