//! The TOML text with its comments.

use std::fmt::Write as _;
use std::path::Path;

use super::proxy::Proxy;
use super::site::{Line, Site};

const WIDTH: usize = 118;

pub(super) fn toml(site: &Site, file: &Path) -> String {
    let mut out = String::new();
    comment(&mut out, &format!("Made by push-hub convert from {}.", file.display()));
    if !site.left_out.is_empty() {
        comment(&mut out, "Look for LEFT OUT: what it names is missing here.");
    }
    if site.servers > 1 {
        let text = "The hub does not look at host names: the locations of all servers stand side by side.";
        comment(&mut out, text);
    }
    out.push('\n');
    lines(&mut out, &site.hub);
    for location in &site.locations {
        out.push('\n');
        comment(&mut out, &location.title);
        out.push_str("[[location]]\n");
        setting(&mut out, "path", &location.path, "");
        let (kind, word) = location.kind;
        setting(&mut out, kind, word, "");
        lines(&mut out, &location.lines);
    }
    if !site.refused.is_empty() {
        out.push('\n');
        site.refused.iter().for_each(|what| comment(&mut out, &format!("LEFT OUT: {what}")));
    }
    if !site.proxies.is_empty() {
        out.push('\n');
        nginx(&mut out, site);
    }
    out
}

fn lines(out: &mut String, lines: &[Line]) {
    for line in lines {
        match line {
            Line::Set { key, value, remark } => setting(out, key, value, remark),
            Line::Remark(text) => comment(out, text),
            Line::LeftOut(text) => comment(out, &format!("LEFT OUT: {text}")),
        }
    }
}

fn setting(out: &mut String, key: &str, value: &str, remark: &str) {
    let number = value.parse::<u32>().ok().filter(|number| number.to_string() == value);
    let value = number.map_or_else(|| toml::Value::from(value), toml::Value::from).to_string();
    if remark.is_empty() {
        writeln!(out, "{key} = {value}").expect("a String takes all");
    } else if key.len() + value.len() + remark.len() + 8 > WIDTH || value.contains('\n') {
        comment(out, remark);
        writeln!(out, "{key} = {value}").expect("a String takes all");
    } else {
        let set = format!("{key} = {value}");
        writeln!(out, "{set:<44}  # {}", one_line(remark)).expect("a String takes all");
    }
}

/// What came from a file may hold anything; a comment ends with its line.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in one_line(text).split(' ').filter(|word| !word.is_empty()) {
        if line.len() + word.len() >= WIDTH && line.len() > 1 {
            out.push_str(&line);
            out.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// How nginx goes on: as a proxy.
fn nginx(out: &mut String, site: &Site) {
    comment(
        out,
        "nginx stays in front of the hub, with its servers, certificates and access rules. In its locations these lines take the \
         place of those of the module:",
    );
    let admin = site.proxies.iter().any(|proxy| proxy.admin);
    let mut code = |text: &str| {
        writeln!(out, "{}", format!("#     {}", one_line(text)).trim_end()).expect("a String takes all");
    };
    code("");
    code("upstream push { server 127.0.0.1:8380; keepalive 1024; }        # http level; `listen` of the hub");
    if admin {
        code("upstream push_admin { server unix:/run/push/admin.sock; }       # `admin_listen` of the hub");
    }
    for Proxy { head, place, lines, .. } in &site.proxies {
        code("");
        code(&format!("{head} {{    # {place}"));
        lines.iter().for_each(|line| code(&format!("    {line}")));
        code("}");
    }
    code("");
    if !admin {
        return;
    }
    comment(
        out,
        "Publishers and statistics stand on the admin listener, a unix socket that is closed to browsers. Programs that publish \
         to a port of nginx, with curl for instance, go on doing so through the locations above; PHP with the extension needs \
         none. nginx needs the right to open the socket:",
    );
    let group = site.group.as_deref().unwrap_or("www-data");
    let mut code = String::new();
    setting(&mut code, "socket_group", group, "");
    write!(out, "#\n#     {code}#\n").expect("a String takes all");
    if site.proxies.iter().any(|proxy| proxy.closed) {
        comment(
            out,
            "Where nginx said nothing about who may publish, everybody could. The lines allow and deny above let in this machine \
             alone: add the addresses of other machines that publish. Take them away only if pages publish \
             (PushStream.sendMessage), and know that then anybody can; listener = \"public\" in the location does the same \
             without nginx.",
        );
    }
}
