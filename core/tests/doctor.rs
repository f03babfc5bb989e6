//! `push-hub doctor`: its lines and its exit status, of hubs that are well and of those that are not, and through nginx.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use push_core::config::Config;
use rustix::process::{Signal, geteuid};
use support::process::{Foreground, PROGRAM, Site, signal};
use support::wait_until;

/// What it says of this configuration, and whether it is content.
fn doctor(site: &Site, config: &Config, more: &[&str]) -> (String, bool) {
    let output =
        Command::new(PROGRAM).arg("doctor").arg("--config").arg(site.write(config)).args(more).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found.starts_with(line)), "no line begins with {line:?}:\n{text}");
}

#[test]
fn a_hub_that_is_well() {
    let site = Site::new();
    let config = site.config(&[]);
    let _running = Foreground::start(&site, &config);
    let (text, content) = doctor(&site, &config, &[]);
    assert!(content, "{text}");
    has(&text, "ok       configuration: ");
    has(&text, &format!("ok       socket: {}, mode 0660", site.socket().display()));
    has(&text, &format!("ok       hub: version {}, pid {}, up ", env!("CARGO_PKG_VERSION"), site.hub()));
    has(&text, "ok       time-outs: ");
    has(&text, "ok       clock: ");
    assert!(
        text.contains("limits: the hub may open ") && text.contains("limits: memory_limit is 256 MB of "),
        "{text}"
    );
}

#[test]
fn what_is_wrong_is_named_with_its_cure() {
    let site = Site::new();
    let config = site.config(&[("longpolling_connection_ttl", "2m"), ("memory_limit", "1024g")]);
    let (text, content) = doctor(&site, &config, &["--url", "http://127.0.0.1/sub/"]);
    assert!(!content);
    has(&text, &format!("problem  socket: there is no {}: start push-hub or php-fpm", site.socket().display()));
    has(&text, &format!("problem  hub: there is no hub at {}", site.socket().display()));
    has(&text, "problem  http://127.0.0.1/sub/: not tried, because there is no hub");
    has(&text, "warning  time-outs: longpolling_connection_ttl = 120s at /sub/: nginx gives up after 60s");
    assert!(text.contains("warning  limits: memory_limit is 1048576 MB of the "), "{text}");

    fs::write(site.path("push.toml"), "threads = 'many'").unwrap();
    let file = site.path("push.toml");
    let output = Command::new(PROGRAM).args(["doctor", "--config"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    has(&text, &format!("problem  configuration: {}:1: threads = \"many\": allowed is ", file.display()));
}

#[test]
fn a_user_who_may_not_attach() {
    if !geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let config = site.config(&[]);
    let _running = Foreground::start(&site, &config);
    let (text, content) =
        doctor(&site, &config, &["--access", "nobody", "--access", "daemon", "--access", "nosuchuser"]);
    assert!(!content);
    let socket = site.socket();
    has(&text, &format!("ok       access: user nobody may connect to {}", socket.display()));
    let hindrance =
        format!("problem  access: user daemon may not connect to {}: usermod -aG nogroup daemon", socket.display());
    has(&text, &hindrance);
    has(&text, "problem  access: there is no user nosuchuser");

    let run = site.path("run");
    fs::set_permissions(&run, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let (text, _) = doctor(&site, &config, &["--access", "daemon"]);
    assert!(text.contains(&format!("because it may not enter {0}: chmod o+x {0}", run.display())), "{text}");
}

/// An nginx of this test.
struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    /// Nothing where none is installed.
    fn start(site: &Site, locations: &str) -> Option<Self> {
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"]
            .into_iter()
            .find(|path| Path::new(path).exists())?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = site.directory.path().display();
        let text = format!(
            "daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{ access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;\n\
             fastcgi_temp_path {directory}/f; scgi_temp_path {directory}/s; uwsgi_temp_path {directory}/u;\n\
             proxy_http_version 1.1; proxy_set_header Connection ''; proxy_read_timeout 60s;\n\
             server {{ listen 127.0.0.1:{port}; {locations} }} }}"
        );
        let file = site.path("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).arg("-e").arg(site.path("nginx.log")).stdin(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        wait_until("nginx serves", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { process, port })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        signal(self.process.id() as i32, Signal::TERM);
        let _ = self.process.wait();
    }
}

#[test]
fn through_nginx_messages_come_at_once_and_connections_live() {
    let site = Site::new();
    let config = site.config(&[
        ("longpolling_connection_ttl", "2s"),
        ("ping_message_interval", "2s"),
        ("authorized_channels_only", "on"),
    ]);
    let _running = Foreground::start(&site, &config);
    let hub = site.listen;
    let pass = format!("proxy_pass http://{hub}; proxy_buffering off;");
    let upgrade = "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;";
    let locations = format!(
        "location /sub/ {{ {pass} }} location /ev/ {{ {pass} }} location /stream/ {{ {pass} }} location /poll/ {{ {pass} }}\n\
         location /ws/ {{ {pass} {upgrade} }}"
    );
    let Some(nginx) = Nginx::start(&site, &locations) else { return };
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", nginx.port);
    let urls = ["/sub/", "/ev/", "/stream/", "/poll/", "/ws/"].map(url);
    let arguments: Vec<&str> = urls.iter().flat_map(|url| ["--url", url]).collect();
    let (text, content) = doctor(&site, &config, &arguments);
    assert!(content, "{text}");
    has(&text, &format!("ok       {}: a long-poll is answered as soon as there is a message", url("/sub/")));
    has(&text, &format!("ok       {}: a long-poll without a message is held for 2 s", url("/sub/")));
    for path in ["/ev/", "/stream/", "/ws/"] {
        has(&text, &format!("ok       {}: a stream begins at once, and messages come as", url(path)));
        has(&text, &format!("ok       {}: a silent stream lives until its ping, 2 s", url(path)));
    }
    has(&text, &format!("ok       {}: a poll is answered", url("/poll/")));
    // Nothing of it is left.
    let status = Command::new(PROGRAM).args(["doctor", "--config"]).arg(site.path("push.toml")).output().unwrap();
    assert!(String::from_utf8(status.stdout).unwrap().contains(" 0 channels, 0 subscribers"));
}

#[test]
fn an_nginx_that_buffers_or_gives_up_or_leads_elsewhere_is_noticed() {
    let site = Site::new();
    let config = site.config(&[("longpolling_connection_ttl", "3s"), ("ping_message_interval", "3s")]);
    let _running = Foreground::start(&site, &config);
    let hub = site.listen;
    // As nginx does when it is told nothing else.
    let buffers = format!(
        "proxy_pass http://{hub}; proxy_http_version 1.0; proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
    );
    let gives_up = format!("proxy_pass http://{hub}; proxy_buffering off; proxy_read_timeout 1s;");
    let locations = format!(
        "location /ev/ {{ {buffers} }} location /lp/ {{ {gives_up} }} location /stream/ {{ {gives_up} }}\n\
         location /ws/ {{ proxy_pass http://{hub}; }} location /sub/ {{ proxy_pass http://127.0.0.1:1; }}\n\
         location /poll/ {{ return 404; }}"
    );
    let Some(nginx) = Nginx::start(&site, &locations) else { return };
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", nginx.port);
    let paths = ["/ev/", "/lp/", "/stream/", "/ws/", "/sub/", "/poll/", "/other/"];
    let urls = paths.map(url);
    let arguments: Vec<&str> =
        urls.iter().flat_map(|url| ["--url", url]).chain(["--url", "https://localhost/sub/"]).collect();
    let (text, content) = doctor(&site, &config, &arguments);
    assert!(!content);
    for path in paths {
        has(&text, &format!("problem  {}: ", url(path)));
    }
    assert!(
        text.contains(&format!("{}: the answer is HTTP/1.1 504 Gateway Time-out: nginx did not wait", url("/lp/"))),
        "{text}"
    );
    assert!(
        text.contains("and longpolling_connection_ttl is 3 s: proxy_read_timeout and its like must be longer"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{}: a silent stream is cut after 1 s, before its ping", url("/stream/"))),
        "{text}"
    );
    assert!(text.contains("502 Bad Gateway: nginx does not reach the hub"), "{text}");
    assert!(text.contains("404 Not Found: no location of nginx leads to the hub from here"), "{text}");
    assert!(text.contains("/other/: the hub has no such location for subscribers, only /sub/ /stream/"), "{text}");
    has(&text, "problem  https://localhost/sub/: only http:// can be tried");
}
