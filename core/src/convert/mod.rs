//! The configuration of nginx-push-stream-module, read from nginx.conf and written as TOML for the hub.
//!
//! What a client of the site sees stays as it was: where the hub's default differs from the module's, the module's is
//! written out. What cannot be carried over is named, in the TOML where it would stand and in [`Converted::left_out`].
//! nginx stays in front, with its access rules, certificates and logs; which lines take the place of the module's is
//! written at the end, as a comment. Here is what nginx says; the keys themselves are those of [`crate::config`].

mod directives;
mod levels;
mod pattern;
mod proxy;
mod site;
mod syntax;
mod write;

use std::path::Path;

use crate::config::Config;

/// A converted configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The TOML text, which a hub takes as it is.
    pub toml: String,
    /// What is not in it, each with file and line.
    pub left_out: Vec<String>,
}

/// Why nothing was converted: a sentence with file and line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConvertError(String);

/// Converts an nginx configuration with all that it includes; a part of one, such as the file of one server, does too.
///
/// # Errors
/// The file cannot be read, is not what nginx reads, or says nothing of the module.
pub fn convert(file: &Path) -> Result<Converted, ConvertError> {
    let parsed = syntax::read(file).map_err(ConvertError)?;
    let site = site::Site::of(&parsed);
    if site.is_empty() {
        let why = "neither this file nor what it includes has a push_stream directive";
        let missing: String = parsed.missing.iter().map(|(place, reason)| format!("; {place}: {reason}")).collect();
        return Err(ConvertError(format!("{}: {why}{missing}", file.display())));
    }
    let toml = write::toml(&site, file);
    let mut config = Config::default();
    config
        .parse(&toml, "the result")
        .and_then(|()| config.check())
        .map_err(|error| ConvertError(format!("{}: nginx allows what a hub does not: {error}", file.display())))?;
    Ok(Converted { toml, left_out: site.left_out })
}
