//! Why a start is refused, in the words that php-fpm writes into its error log: each names the cause and the cure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use push_core::keeper::start_or_adopt;
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;
use support::process::{PROGRAM, Site};

/// What a master is told; nothing is left running.
fn refused(site: &Site, settings: &[(&str, &str)], hub: &Path) -> String {
    match start_or_adopt(&site.config(settings), hub) {
        Ok(started) => panic!("{:?}: {}", started.how, site.log()),
        Err(error) => error.to_string(),
    }
}

/// All of these parts stand in the text.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_missing_user_or_group() {
    let site = Site::new();
    let text = refused(&site, &[("socket_group", "nosuchgroup")], Path::new(PROGRAM));
    says(&text, &["socket_group = \"nosuchgroup\": there is no such group", "groupadd --system nosuchgroup"]);
    if geteuid().is_root() {
        let text = refused(&site, &[("user", "nosuchuser")], Path::new(PROGRAM));
        says(&text, &["user = \"nosuchuser\": there is no such user", "useradd --system nosuchuser", "push.user"]);
    }
    assert!(!site.socket().exists());
}

#[test]
fn a_log_that_cannot_be_written() {
    let site = Site::new();
    let text = refused(&site, &[("log", "/no/such/directory/hub.log")], Path::new(PROGRAM));
    says(
        &text,
        &["log = \"/no/such/directory/hub.log\": No such file or directory", "make its directory, or set another log"],
    );
    let text = refused(&site, &[("log", "syslog:/no/log")], Path::new(PROGRAM));
    says(&text, &["log = \"syslog:/no/log\": No such file", "start the system's syslog, or set another log"]);
}

#[test]
fn a_program_that_is_not_this_one() {
    let site = Site::new();
    let file = site.path("push-hub");
    fs::write(&file, "no program").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let text = refused(&site, &[], &file);
    says(&text, &[file.to_str().unwrap(), "Permission denied", "it must be the program push-hub of this version"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    says(&refused(&site, &[], &file), &["Exec format error", "it must be the program push-hub of this version"]);
    if geteuid().is_root() {
        let cure = "root runs it only if root owns it and nobody else may write to it (chown root, chmod go-w)";
        fs::set_permissions(&file, fs::Permissions::from_mode(0o757)).unwrap();
        says(&refused(&site, &[], &file), &[cure]);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&file, Some(65534), None).unwrap();
        says(&refused(&site, &[], &file), &[cure]);
    }
}

#[test]
fn somebody_who_holds_the_lock_and_does_not_finish() {
    let site = Site::new();
    fs::create_dir(site.path("run")).unwrap();
    let lock = fs::File::create(site.path("run/hub.sock.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let text = refused(&site, &[], Path::new(PROGRAM));
    says(&text, &["another process is starting or ending a hub there", "did not finish within 3 s; try again"]);
}

#[test]
fn something_else_in_the_place_of_the_sockets() {
    let site = Site::new();
    let run = site.path("run");
    fs::create_dir(&run).unwrap();
    if geteuid().is_root() {
        let text = refused(&site, &[], Path::new(PROGRAM));
        says(&text, &["Permission denied", &format!("{} must be writable for uid 65534 (chown it)", run.display())]);
        chown(&run, Some(65534), None).unwrap();
    }
    fs::write(site.path("run/hub.sock.fpm"), "").unwrap();
    let text = refused(&site, &[], Path::new(PROGRAM));
    says(&text, &["cannot make the directory", "hub.sock.fpm", "remove it"]);
    fs::remove_file(site.path("run/hub.sock.fpm")).unwrap();

    // Another server, which speaks another protocol there.
    let _listener = UnixListener::bind(site.socket()).unwrap();
    let text = refused(&site, &[], Path::new(PROGRAM));
    says(
        &text,
        &["run/hub.sock: Protocol wrong type for socket", "remove what is there if it is no hub", "push.socket"],
    );
}
