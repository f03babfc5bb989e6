//! Who may connect to the hub's sockets, by owner, group and mode. Access control lists are not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::stat;

use super::{Finding, ok, problem, proxied, warning};
use crate::config::Config;
use crate::process::{self, Account};

/// Where distributions keep the pools of php-fpm.
const POOLS: [&str; 3] = ["/etc/php/*/fpm/pool.d/*.conf", "/etc/php-fpm.d/*.conf", "/usr/local/etc/php-fpm.d/*.conf"];
const NGINX: &str = "/etc/nginx/nginx.conf";

pub(super) fn examine(config: &Config, users: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let asked: BTreeSet<String> = users.iter().cloned().collect();
    let mut pools = BTreeSet::new();
    for file in POOLS.iter().filter_map(|pattern| glob::glob(pattern).ok()).flatten().flatten() {
        pools.extend(users_in(&file, |line| line.strip_prefix("user")?.trim_start().strip_prefix('=')));
    }
    for user in asked.union(&pools) {
        findings.push(may_connect(user, &config.socket).unwrap_or_else(|hindrance| {
            let text = format!("access: {hindrance}");
            match asked.contains(user) {
                true => problem(text),
                // Its master opened the way.
                false => {
                    warning(format!("{text}; workers of php-fpm come in through their master, its cron jobs do not"))
                }
            }
        }));
    }
    let nginx = users_in(Path::new(NGINX), |line| line.strip_prefix("user")?.strip_prefix(char::is_whitespace));
    for (user, path) in nginx.iter().flat_map(|user| proxied(config).map(move |path| (user, path))) {
        findings.push(may_connect(user, path).unwrap_or_else(|hindrance| {
            problem(format!("access: {hindrance}; until then nginx answers browsers with 502"))
        }));
    }
    findings
}

/// The first word of the values of these lines.
fn users_in(file: &Path, value: impl Fn(&str) -> Option<&str>) -> BTreeSet<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let words =
        text.lines().filter_map(|line| value(line.trim())?.split([';', ' ', '\t']).find(|word| !word.is_empty()));
    // A pool may name its user by a variable.
    words.filter(|word| !word.starts_with('$')).map(str::to_owned).collect()
}

/// Says that the user may connect to the socket, or what keeps it from that and how to let it.
fn may_connect(user: &str, socket: &Path) -> Result<Finding, String> {
    let account = process::user(user).ok().flatten().ok_or_else(|| format!("there is no user {user}"))?;
    let groups = process::groups(user, account).map_err(|error| format!("the groups of {user}: {error}"))?;
    let shown = socket.display();
    let mut way: Vec<PathBuf> = socket.ancestors().skip(1).map(Path::to_owned).collect();
    way.reverse();
    for directory in way {
        if !allowed(account, &groups, &directory, 0o1).map_err(|error| format!("{}: {error}", directory.display()))? {
            return Err(format!(
                "user {user} may not connect to {shown}, because it may not enter {0}: chmod o+x {0}",
                directory.display()
            ));
        }
    }
    if !allowed(account, &groups, socket, 0o2).map_err(|error| format!("{shown}: {error}"))? {
        let group = stat(socket).map(|stat| stat.st_gid).unwrap_or_default();
        let group = process::group_name(group).unwrap_or_else(|| group.to_string());
        return Err(format!(
            "user {user} may not connect to {shown}: usermod -aG {group} {user}, and restart what runs as {user}"
        ));
    }
    Ok(ok(format!("access: user {user} may connect to {shown}")))
}

/// Whether the bit of the mode is there for this user.
fn allowed(account: Account, groups: &[u32], path: &Path, bit: u32) -> std::io::Result<bool> {
    let stat = stat(path)?;
    let class = if account.uid.as_raw() == stat.st_uid {
        6
    } else if groups.contains(&stat.st_gid) {
        3
    } else {
        0
    };
    Ok(account.uid.is_root() || stat.st_mode & bit << class != 0)
}
