//! The browser client, as pages load it from the hub: a module, and the same for a script tag without modules.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};

use super::reply::Reply;
use super::request::Request;

/// What imports it may keep using it for so long, in seconds. Every hub understands clients that are older.
const FRESH: u32 = 3600;

static MODULE: LazyLock<Script> = LazyLock::new(|| Script::new(without_comments(include_str!("../../../js/push.js"))));

/// The same as `js/pack.js` makes for npm.
static GLOBAL: LazyLock<Script> = LazyLock::new(|| {
    let (module, _) = MODULE.text.split_once("export ").expect("the module ends with its export");
    Script::new(format!("globalThis.Push = (() => {{\n'use strict';\n{module}return {{ connect }};\n}})();\n"))
});

/// What browsers have no use for is left out; in that file a comment has its own line.
fn without_comments(source: &str) -> String {
    let lines = source.lines().map(str::trim_start);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//") && !line.starts_with("/**")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

struct Script {
    text: String,
    etag: String,
}

impl Script {
    fn new(text: String) -> Self {
        let etag = format!("W/\"{}\"", BASE64_STANDARD.encode(Sha1::digest(&text)));
        Self { text, etag }
    }
}

/// The answer to a request for it. `longest`: the length of the location's path that would serve the request otherwise.
pub(crate) fn answer(request: &Request<'_>, longest: Option<usize>) -> Option<Reply> {
    let script = match request.path {
        path if longest.is_some_and(|longest| longest >= path.len()) => return None,
        "/push.js" => &MODULE,
        "/push.global.js" => &GLOBAL,
        _ => return None,
    };
    // Pages of all origins may import what everyone may read.
    let reply = |status| Reply::new(status).fresh_for(FRESH).header("Access-Control-Allow-Origin", "*");
    Some(match request.method {
        "GET" | "HEAD" if request.lists("if-none-match", &script.etag) => reply(304).header("Etag", &script.etag),
        "GET" | "HEAD" => {
            let body = script.text.as_bytes().to_vec();
            reply(200).header("Etag", &script.etag).body("text/javascript; charset=utf-8", body)
        }
        "OPTIONS" => Reply::new(200),
        _ => Reply::new(405).header("Allow", "GET, HEAD"),
    })
}
