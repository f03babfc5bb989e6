//! `push-hub convert`: what it prints, and a site that was converted, served by the real program.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use proptest::prelude::*;
use push_core::config::{Authorization, Config, Handler, Location, Mode, Variable};
use push_core::convert::convert;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use support::websocket::handshake;
use support::{Client, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_push-hub");

/// The set-up that most long-polling sites have, in the spelling of the time.
const CLASSIC: &str = r#"
user www-data;
events { worker_connections 1024; }
http {
    default_type application/octet-stream;

    push_stream_shared_memory_size              256M;
    push_stream_max_channel_id_length           32;
    push_stream_authorized_channels_only        on;
    push_stream_store_messages                  on;
    push_stream_max_messages_stored_per_channel 1;
    push_stream_message_ttl                     5m;

    server {
        listen 80;
        server_name im.example.com;

        location /pub {
            push_stream_publisher admin;
            set $push_stream_channel_id $arg_id;
            client_max_body_size 32k;       # as large as the buffer
            client_body_buffer_size 32k;
        }

        location ~ /sub/(.*) {
            push_stream_subscriber long-polling;
            set $push_stream_channels_path $1;
            push_stream_longpolling_connection_ttl 30s;
            push_stream_content_type "text/javascript";
            push_stream_last_received_message_time $arg_time;
            push_stream_last_received_message_tag $arg_tag;
        }
    }
}
"#;

fn file(directory: &Path, name: &str, text: &str) -> PathBuf {
    let file = directory.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// Converts a text; what is left out stands without its file.
fn converted(text: &str) -> (Config, String, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let file = file(directory.path(), "nginx.conf", text);
    let converted = convert(&file).unwrap();
    let mut config = Config::default();
    config.parse(&converted.toml, "push.toml").unwrap();
    config.check().unwrap();
    let name = format!("{}:", file.display());
    let left_out = converted.left_out.iter().map(|what| what.replace(&name, "")).collect();
    (config, converted.toml.replace(&name, ""), left_out)
}

fn at<'a>(config: &'a Config, path: &str) -> &'a Location {
    config.locations.iter().find(|location| location.path == path).expect(path)
}

/// A location in a server in http.
fn in_location(head: &str, directives: &str) -> String {
    format!("http {{ server {{ location {head} {{ {directives} }} }} }}")
}

#[test]
fn the_classic_set_up_is_carried_over() {
    let (config, toml, left_out) = converted(CLASSIC);
    assert_eq!(left_out, Vec::<String>::new());
    assert_eq!((config.memory_limit, config.max_channel_id_length, config.message_ttl), (256 << 20, 32, 300));
    assert_eq!((config.max_messages_stored_per_channel, config.max_message_size), (Some(1), 32 << 10));
    let publisher = at(&config, "/pub");
    assert_eq!((publisher.handler, publisher.public), (Handler::Publisher { admin: true }, false));
    assert_eq!(publisher.channels_path, Some(Variable::Argument("id".into())));
    assert!(publisher.store_messages);
    let subscriber = at(&config, "/sub/");
    assert_eq!((subscriber.handler, subscriber.public), (Handler::Subscriber(Mode::LongPolling), true));
    assert_eq!(subscriber.longpolling_connection_ttl, Some(std::time::Duration::from_secs(30)));
    assert_eq!((subscriber.content_type.as_str(), &subscriber.channels_path), ("text/javascript", &None));
    assert_eq!(subscriber.last_received_message_tag, Some(Variable::Argument("tag".into())));
    assert!(toml.contains("# 18, location /pub of server im.example.com\n"), "{toml}");
    assert!(toml.contains("#         proxy_pass http://push_admin;\n"), "{toml}");
}

#[test]
fn where_defaults_differ_the_modules_are_written() {
    let (config, _, left_out) = converted(
        "http { server {
            location /pub { push_stream_publisher; push_stream_channels_path $arg_id; }
            location /lp { push_stream_subscriber long-polling; push_stream_channels_path $arg_id; }
            location /stream { push_stream_subscriber; push_stream_channels_path $arg_id; }
            location /ev { push_stream_subscriber eventsource; push_stream_channels_path $arg_id; }
        } }",
    );
    assert_eq!(left_out, Vec::<String>::new());
    assert_eq!((config.max_messages_stored_per_channel, config.max_channel_id_length), (None, 1024));
    assert_eq!(config.max_message_size, 1 << 20);
    assert_eq!(at(&config, "/pub").handler, Handler::Publisher { admin: false });
    assert!(!at(&config, "/pub").store_messages);
    assert_eq!(at(&config, "/lp").authorized_channels_only, Authorization::Off);
    // Not for ever: a proxy stands in between, and every client polls again.
    assert_eq!(at(&config, "/lp").longpolling_connection_ttl, Config::default().longpolling_connection_ttl);
    // A ping would be a message; in an event stream it is a comment, and keeps the proxy from closing.
    assert_eq!(at(&config, "/stream").ping_message_interval, None);
    assert_eq!(at(&config, "/ev").ping_message_interval, Config::default().ping_message_interval);
}

#[test]
fn values_come_from_the_innermost_level() {
    let (config, _, left_out) = converted(
        r#"http {
            push_stream_shared_memory_size 64m name;
            push_stream_message_template "<~text~>";
            push_stream_footer_template "bye";
            default_type text/html;
            push_stream_subscriber_connection_ttl 2m;
            server {
                push_stream_message_template "[~text~]";
                location /a/ { push_stream_subscriber; push_stream_message_template "(~text~)"; default_type "text/css"; }
                location /b/ { push_stream_subscriber polling; location /b/c/ { push_stream_subscriber long-polling; } }
            }
            server { location ^~ /d/ { push_stream_subscriber; push_stream_longpolling_connection_ttl 9s; } }
        }"#,
    );
    assert_eq!(left_out, Vec::<String>::new());
    let seen = |path: &str| {
        let location = at(&config, path);
        (location.message_template.source().to_owned(), location.content_type.clone())
    };
    assert_eq!(seen("/a/"), ("(~text~)".to_owned(), "text/css".to_owned()));
    assert_eq!(seen("/b/"), ("[~text~]".to_owned(), "text/html".to_owned()));
    assert_eq!(seen("/d/"), ("<~text~>".to_owned(), "text/html".to_owned()));
    assert_eq!(at(&config, "/d/").footer_template.as_deref(), Some("bye"));
    let seconds = |path: &str| at(&config, path).longpolling_connection_ttl.map(|ttl| ttl.as_secs());
    assert_eq!((seconds("/b/c/"), seconds("/d/")), (Some(120), Some(9)));
    assert_eq!(at(&config, "/b/c/").handler, Handler::Subscriber(Mode::LongPolling));
}

#[test]
fn old_spellings_are_known() {
    let (config, _, left_out) = converted(
        r#"http {
            push_stream_max_reserved_memory 10m;
            push_stream_min_message_buffer_timeout 2h;
            push_stream_max_message_buffer_length 20;
            push_stream_broadcast_channel_prefix "broad_";
            push_stream_max_number_of_broadcast_channels 7;
            push_stream_broadcast_channel_max_qtd 3;
            push_stream_subscriber_connection_timeout 15m;
            push_stream_subscriber_connection_cleanup_interval 30s;
            push_stream_keepalive on;
            default_type text/html;
            server {
                location /ev { push_stream_subscriber; push_stream_eventsource_support on; push_stream_channels_path $arg_c; }
                location /ws { push_stream_websocket; set $push_stream_channels_path $arg_c; }
                location /sub { push_stream_subscriber; set $c $arg_c; set $push_stream_channels_path ${c}; }
            }
        }"#,
    );
    assert_eq!(left_out, Vec::<String>::new());
    assert_eq!((config.memory_limit, config.message_ttl), (10 << 20, 7200));
    assert_eq!(config.max_messages_stored_per_channel, Some(20));
    assert_eq!(config.wildcard_channel_prefix.as_deref(), Some("broad_"));
    assert_eq!(config.max_number_of_wildcard_channels, Some(7));
    let handlers = ["/ev", "/ws", "/sub"].map(|path| at(&config, path).handler);
    assert_eq!(handlers, [Mode::EventSource, Mode::WebSocket, Mode::Streaming].map(Handler::Subscriber));
    for path in ["/ev", "/ws", "/sub"] {
        let location = at(&config, path);
        assert_eq!(location.channels_path, Some(Variable::Argument("c".into())), "{path}");
        assert_eq!(location.subscriber_connection_ttl.map(|ttl| ttl.as_secs()), Some(900));
        assert_eq!(location.wildcard_channel_max_qtd, Some(3));
    }
    // Before 0.4 default_type meant nothing.
    assert_eq!(at(&config, "/sub").content_type, "text/plain");
}

#[test]
fn what_cannot_be_carried_over_is_named_with_its_line() {
    for (text, named) in [
        (in_location("/a", "push_stream_subscriber; push_stream_unheard 3;"), "push_stream_unheard: no version"),
        (in_location("/a", "push_stream_subscriber;\nif ($x) { push_stream_footer_template a; }"), "if ($x)"),
        (
            in_location("/a", "push_stream_subscriber; push_stream_channels_path a_$arg_b;"),
            "channels path \"a_$arg_b\"",
        ),
        (in_location("~ /a/(.*)/b", "push_stream_subscriber; push_stream_channels_path $1;"), "says more than that"),
        (in_location("@a", "push_stream_subscriber; push_stream_channels_path $arg_b;"), "named location"),
        (in_location("/a", "push_stream_publisher;"), "a publisher needs push_stream_channels_path,"),
        (
            in_location("/a", "push_stream_subscriber; push_stream_last_event_id $cookie_x;"),
            "push_stream_last_event_id",
        ),
        (
            in_location("/a", "push_stream_subscriber; push_stream_wildcard_channel_max_qtd 3;"),
            "counts nothing without",
        ),
        (
            in_location("/a", "push_stream_publisher; push_stream_channels_path $arg_b; client_max_body_size 0;"),
            "32m is",
        ),
        ("http { push_stream_message_ttl soon; }".to_owned(), "push_stream_message_ttl"),
        ("http { push_stream_message_ttl 1m; } http { push_stream_message_ttl 2m; }".to_owned(), "already"),
        ("http { push_stream_message_ttl 1m; include gone.conf; }".to_owned(), "gone.conf: No such file"),
        (
            "http { server { location /a { push_stream_subscriber; } }
             server { location /a { push_stream_subscriber polling; } } }"
                .to_owned(),
            "one location for a path",
        ),
    ] {
        let (_, toml, left_out) = converted(&text);
        assert_eq!(left_out.len(), 1, "{text}: {left_out:?}");
        assert!(left_out[0].contains(named), "{text}: {left_out:?}");
        assert!(left_out[0].starts_with(|c: char| c.is_ascii_digit()), "its line: {left_out:?}");
        assert_eq!(toml.matches("# LEFT OUT: ").count(), 1, "{toml}");
    }
}

#[test]
fn a_publisher_may_take_its_channels_from_the_path() {
    let (config, _, left_out) =
        converted(&in_location("~ ^/pub/(.*)$", "push_stream_publisher; push_stream_channels_path $1;"));
    assert_eq!(left_out, Vec::<String>::new());
    assert_eq!(
        (at(&config, "/pub/").handler, &at(&config, "/pub/").channels_path),
        (Handler::Publisher { admin: false }, &None)
    );
}

#[test]
fn a_condition_on_an_argument_is_not_needed() {
    let condition = "if ($arg_qs = \"on\") { push_stream_last_received_message_time \"$arg_time\"; }";
    let (config, _, left_out) = converted(&in_location(
        "~ /lp/(.*)",
        &format!("push_stream_subscriber long-polling; push_stream_channels_path /$1; {condition}"),
    ));
    assert_eq!(left_out, Vec::<String>::new());
    assert_eq!(at(&config, "/lp/").last_received_message_time, Some(Variable::Argument("time".into())));
}

#[test]
fn texts_of_nginx_cannot_break_out_of_comments_and_values() {
    let (config, _, _) = converted(&in_location(
        "\"/a/\n[[location]]\"",
        r##"push_stream_subscriber; push_stream_header_template "\"'''\r\n\"\"\" # ~\ttäxt\\";"##,
    ));
    assert_eq!(config.locations[0].header_template.as_deref(), Some("\"'''\r\n\"\"\" # ~\ttäxt\\"));
}

const NAMES: [&str; 30] = [
    "push_stream_subscriber",
    "push_stream_publisher",
    "push_stream_channels_statistics",
    "push_stream_channels_path",
    "set $push_stream_channel_id",
    "push_stream_shared_memory_size",
    "push_stream_message_ttl",
    "push_stream_channel_inactivity_time",
    "push_stream_max_messages_stored_per_channel",
    "push_stream_max_channel_id_length",
    "push_stream_max_number_of_wildcard_channels",
    "push_stream_wildcard_channel_prefix",
    "push_stream_wildcard_channel_max_qtd",
    "push_stream_store_messages",
    "push_stream_authorized_channels_only",
    "push_stream_ping_message_interval",
    "push_stream_longpolling_connection_ttl",
    "push_stream_subscriber_connection_ttl",
    "push_stream_header_template",
    "push_stream_header_template_file",
    "push_stream_message_template",
    "push_stream_allowed_origins",
    "push_stream_padding_by_user_agent",
    "push_stream_events_channel_id",
    "push_stream_last_event_id",
    "push_stream_content_type",
    "push_stream_eventsource_support",
    "client_max_body_size",
    "default_type",
    "server_name",
];
const VALUES: [&str; 19] = [
    "long-polling",
    "websocket",
    "admin",
    "on",
    "off",
    "0",
    "7",
    "100000000000000000000",
    "32k",
    "64m",
    "9999g",
    "1500ms",
    "2y",
    "$1",
    "$arg_id",
    "\"a$arg_id\"",
    "*",
    "\"x,1,2\"",
    r#""'''\\ \n[[location]]~text~\"\r""#,
];
const HEADS: [&str; 6] = ["/a", "~ /a/(.*)", "~ ^/(a|b)/(.*)$", "= /a", "~* \\.x$", "@a"];

proptest! {
    #[test]
    fn whatever_is_converted_is_a_configuration(
        parts in proptest::collection::vec((0..NAMES.len(), 0..VALUES.len(), 0..5usize), 0..16),
        heads in [0..HEADS.len(), 0..HEADS.len()],
    ) {
        let at = |level: usize| -> String {
            let lines = parts.iter().filter(|(_, _, at)| *at == level);
            lines.map(|(name, value, _)| format!("{} {};\n", NAMES[*name], VALUES[*value])).collect()
        };
        let text = format!(
            "http {{ {} server {{ {} location {} {{ push_stream_subscriber; {} if ($x) {{ {} }} }} location {} {{ {} }} }} }}",
            at(0), at(1), HEADS[heads[0]], at(2), at(3), HEADS[heads[1]], at(4),
        );
        let directory = tempfile::tempdir().unwrap();
        let converted = convert(&file(directory.path(), "nginx.conf", &text));
        let converted = converted.map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?;
        let mut config = Config::default();
        let checked = config.parse(&converted.toml, "push.toml").and_then(|()| config.check());
        prop_assert_eq!(checked, Ok(()), "{}", converted.toml);
        prop_assert_eq!(converted.toml.contains("# LEFT OUT: "), !converted.left_out.is_empty(), "{}", converted.toml);
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn the_exit_status_says_how_much_was_carried_over() {
    let directory = tempfile::tempdir().unwrap();
    let status = |name: &str, text: &str| {
        let file = file(directory.path(), name, text);
        let output = run(&["convert", file.to_str().unwrap()]);
        (output.status.code(), output.stdout.len(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, printed, errors) = status("all", CLASSIC);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!(printed > 0);
    let (code, printed, errors) = status("some", "http {\n push_stream_message_ttl 1m;\n push_stream_x; }");
    assert!(printed > 0);
    assert_eq!(code, Some(1));
    assert!(errors.ends_with("some:3: push_stream_x: no version of the module that we know has it\n"), "{errors}");
    for (name, text, error) in [
        ("broken", "http {\n a", "broken:2: the file ends within \"a\"\n"),
        ("other", "http { }", "neither this file nor what it includes has a push_stream directive\n"),
    ] {
        let (code, printed, errors) = status(name, text);
        assert_eq!((code, printed), (Some(2), 0), "{errors}");
        assert!(errors.starts_with("push-hub: ") && errors.ends_with(error), "{errors}");
    }
    assert_eq!(run(&["convert"]).status.code(), Some(2));
    assert_eq!(run(&["convert", "/nowhere/nginx.conf"]).status.code(), Some(2));
    let help = run(&["--help"]);
    assert!(String::from_utf8(help.stdout).unwrap().contains("push-hub convert"));
}

/// A converted site with its hub.
struct Site {
    directory: tempfile::TempDir,
    hub: Child,
}

impl Site {
    fn start(nginx: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The hub's user has to come through to the directory of the sockets.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let nginx = file(directory.path(), "nginx.conf", nginx);
        let output = run(&["convert", nginx.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let toml = file(directory.path(), "push.toml", std::str::from_utf8(&output.stdout).unwrap());
        let run_at = |name: &str| directory.path().join("run").join(name).display().to_string();
        let mut flags: Vec<String> = ["--config", toml.to_str().unwrap(), "--threads", "2"].map(str::to_owned).into();
        flags.extend(["--socket".to_owned(), run_at("hub.sock"), "--listen".to_owned()]);
        flags.push(format!("unix:{}", run_at("http.sock")));
        if geteuid().is_root() {
            flags.extend(["--user".to_owned(), "nobody".to_owned()]);
        }
        let check = Command::new(PROGRAM).args(&flags).arg("--check").output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let hub = Command::new(PROGRAM).args(&flags).stderr(Stdio::null()).spawn().unwrap();
        let site = Self { directory, hub };
        wait_until("the hub serves", || UnixStream::connect(site.socket("http.sock")).is_ok());
        site
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.directory.path().join("run").join(name)
    }

    fn curl(&self, socket: &str, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "20", "--unix-socket"]);
        curl.arg(self.socket(socket)).args(arguments).stdout(Stdio::piped());
        curl
    }

    fn publish(&self, channel: &str, text: &str) -> Answer {
        self.curl("admin.sock", &[&format!("http://hub/pub?id={channel}"), "--data", text]).into()
    }

    fn get(&self, path: &str, headers: &[&str]) -> Answer {
        self.poll(path, headers).into()
    }

    fn poll(&self, path: &str, headers: &[&str]) -> Command {
        let mut curl = self.curl("http.sock", &[&format!("http://hub{path}")]);
        for header in headers {
            curl.args(["--header", header]);
        }
        curl
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end(&mut self.hub);
    }
}

/// nginx with the lines that convert printed for it.
struct Nginx {
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    fn start(program: &Path, site: &Site) -> Self {
        let toml = fs::read_to_string(site.directory.path().join("push.toml")).unwrap();
        let code: Vec<_> = toml.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
        let code: Vec<_> = code.iter().filter(|line| !line.starts_with("socket_group")).collect();
        let (upstreams, locations): (Vec<_>, Vec<_>) = code.into_iter().partition(|line| line.starts_with("upstream"));
        assert_eq!(upstreams.len(), 2, "{toml}");
        let lines = |lines: Vec<&&str>| lines.into_iter().map(|line| format!("{line}\n")).collect::<String>();
        let upstreams = lines(upstreams)
            .replace("127.0.0.1:8380", &format!("unix:{}", site.socket("http.sock").display()))
            .replace("/run/push/admin.sock", &site.socket("admin.sock").display().to_string());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let directory = site.directory.path().display();
        let user = if geteuid().is_root() { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|kind| format!("{kind}_temp_path {directory}/temporary;\n"))
            .collect();
        let conf = format!(
            "{user} daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;
             events {{ }}
             http {{ access_log off; {temporary} {upstreams} server {{ listen {address}; {} }} }}",
            lines(locations)
        );
        let file = file(site.directory.path(), "front.conf", &conf);
        let mut nginx = Command::new(program);
        nginx.arg("-c").arg(file).arg("-e").arg(site.directory.path().join("error.log"));
        let nginx = Self { address, process: nginx.stderr(Stdio::null()).spawn().unwrap() };
        wait_until("nginx serves", || std::net::TcpStream::connect(address).is_ok());
        nginx
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "20"]).args(arguments);
        curl.arg(format!("http://{}{path}", self.address)).stdout(Stdio::piped());
        curl
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(process.id()).unwrap()).unwrap();
    let _ = kill_process(pid, Signal::TERM);
    let _ = process.wait();
}

/// What curl printed.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl From<Command> for Answer {
    fn from(mut curl: Command) -> Self {
        curl.output().unwrap().into()
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).expect(&self.head).1
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The headers of the next poll.
    fn position(&self) -> [String; 2] {
        let (time, tag) = (self.header("Last-Modified"), self.header("Etag"));
        [format!("If-Modified-Since: {time}"), format!("If-None-Match: {tag}")]
    }
}

#[test]
fn a_converted_site_publishes_and_polls_as_before() {
    let site = Site::start(CLASSIC);
    let refused = site.get("/sub/room", &[]);
    assert_eq!(
        (refused.status, refused.header("X-Nginx-PushStream-Explain")),
        (403, "Subscriber could not create channels.")
    );

    let published = site.publish("room", "one");
    assert_eq!(
        (published.status, published.body.as_str()),
        (200, "{\"channel\": \"room\", \"published_messages\": 1, \"stored_messages\": 1, \"subscribers\": 0}\r\n")
    );
    let first = site.get("/sub/room", &["If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"]);
    assert_eq!((first.status, first.header("Content-Type")), (200, "text/javascript"));
    assert_eq!(first.body, "one");

    // By headers: at once what there is, else a wait.
    site.publish("room", "two");
    let position = first.position();
    let second = site.get("/sub/room", &[&position[0], &position[1]]);
    assert_eq!((second.status, second.body.as_str()), (200, "two"));
    let position = second.position();
    let waiting = site.poll("/sub/room", &[&position[0], &position[1]]).spawn().unwrap();
    wait_until("it waits", || {
        let counters: Answer = site.curl("admin.sock", &["http://hub/pub?id=room"]).into();
        counters.json()["subscribers"] == 1
    });
    assert_eq!(site.publish("room", "three").json()["stored_messages"], 1, "one message for each channel");
    let third = Answer::from(waiting.wait_with_output().unwrap());
    assert_eq!((third.status, third.body.as_str()), (200, "three"));

    // By arguments.
    site.publish("room", "four");
    let (time, tag) = (third.header("Last-Modified").replace(' ', "%20"), third.header("Etag"));
    let arguments = format!("tag={}&time={time}&eventid=&_=17", tag.trim_start_matches("W/"));
    let fourth = site.get(&format!("/sub/room?{arguments}"), &[]);
    assert_eq!((fourth.status, fourth.body.as_str()), (200, "four"));
    let called = site.get(&format!("/sub/room?callback=show&{arguments}"), &[]);
    assert_eq!((called.status, called.body.as_str()), (200, "show([four]);"));
    assert_eq!(called.header("Content-Type"), "application/javascript");
}

#[test]
fn a_converted_site_keeps_its_limits() {
    let site = Site::start(CLASSIC);
    let name = "n".repeat(32);
    assert_eq!(site.publish(&name, "x").status, 200);
    let long = site.publish(&format!("{name}n"), "x");
    assert_eq!((long.status, long.header("X-Nginx-PushStream-Explain")), (400, "Channel id is too large."));
    assert_eq!(site.publish("room", &"x".repeat(32 << 10)).status, 200);
    assert_eq!(site.publish("room", &"x".repeat((32 << 10) + 1)).status, 413);
    // Only the admin listener publishes.
    let public: Answer = site.curl("http.sock", &["http://hub/pub?id=room", "--data", "x"]).into();
    assert_eq!(public.status, 404);
    let deleted: Answer = site.curl("admin.sock", &["http://hub/pub?id=room", "--request", "DELETE"]).into();
    assert_eq!((deleted.status, deleted.header("X-Nginx-PushStream-Explain")), (200, "Channel deleted."));
}

#[test]
fn the_lines_for_nginx_put_the_hub_in_the_place_of_the_module() {
    let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let program = places.iter().map(Path::new).find(|program| program.exists()).expect("make deps-test installs nginx");
    let more = "location /ws { push_stream_subscriber websocket; push_stream_channels_path $arg_channels; }
        location /stats { push_stream_channels_statistics; push_stream_channels_path $arg_id; }
        location ~ /stream/(.*) { push_stream_subscriber; push_stream_channels_path $1; }";
    let site = Site::start(&CLASSIC.replacen("location /pub", &format!("{more}\nlocation /pub"), 1));
    let nginx = Nginx::start(program, &site);
    let published = Answer::from(nginx.curl("/pub?id=room", &["--data", "one"]));
    assert_eq!((published.status, &published.json()["stored_messages"]), (200, &1.into()));
    let first = Answer::from(nginx.curl("/sub/room", &["-H", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"]));
    assert_eq!((first.status, first.body.as_str()), (200, "one"));
    let position = first.position();
    let waiting = nginx.curl("/sub/room", &["-H", &position[0], "-H", &position[1]]).spawn().unwrap();
    let mut socket = Client::new(nginx.address);
    socket.send(&handshake("/ws?channels=room", ""));
    assert_eq!(socket.response().status, 101);
    let mut stream = Client::new(nginx.address);
    stream.send("GET /stream/room HTTP/1.1\r\nHost: x\r\n\r\n");
    let subscribers = || Answer::from(nginx.curl("/pub?id=room", &[])).json()["subscribers"].as_u64().unwrap();
    wait_until("all three wait", || subscribers() == 3);
    nginx.curl("/pub?id=room", &["--data", "two"]).output().unwrap();
    assert_eq!(Answer::from(waiting.wait_with_output().unwrap()).body, "two");
    let mut came = [Vec::new(), Vec::new()];
    for (client, came) in [&mut socket, &mut stream].into_iter().zip(&mut came) {
        wait_until("the message comes through", || {
            let mut buffer = [0; 1024];
            let n = client.socket.read(&mut buffer).unwrap();
            came.extend_from_slice(&buffer[..n]);
            came.windows(3).any(|window| window == b"two")
        });
    }
    let statistics = Answer::from(nginx.curl("/stats?id=room", &[])).json();
    assert_eq!((&statistics["published_messages"], &statistics["subscribers"]), (&2.into(), &2.into()));
    drop((socket, stream));
    wait_until("the ends come through", || subscribers() == 0);
}
