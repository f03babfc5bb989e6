//! Configuration as operators write it: values, errors, files, locations, and the text in which it travels.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use push_core::config::{Address, Authorization, Config, Handler, Key, Log, Mode, Origins, Variable};

fn parsed(toml: &str) -> Config {
    let mut config = Config::default();
    config.parse(toml, "push.toml").unwrap();
    config.check().unwrap();
    config
}

fn refused(toml: &str) -> String {
    let mut config = Config::default();
    match config.parse(toml, "push.toml") {
        Err(error) => error.to_string(),
        Ok(()) => config.check().unwrap_err().to_string(),
    }
}

fn set(key: &str, value: &str) -> Result<Config, String> {
    let mut config = Config::default();
    config.set(key, value).map(|()| config).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_of_the_manual() {
    let config = Config::default();
    config.check().unwrap();
    assert_eq!(config.listen, [Address::Tcp("127.0.0.1:8380".parse().unwrap())]);
    assert_eq!(config.admin_listen, [Address::Unix(config.socket.with_file_name("admin.sock"))]);
    assert_eq!((config.socket_mode, config.socket_group, config.user.as_str()), (0o660, None, "push"));
    assert!((1..=8).contains(&config.threads));
    assert_eq!(
        (config.memory_limit, config.max_message_size, config.max_channel_id_length),
        (256 << 20, 64 << 10, 255)
    );
    assert_eq!((config.max_number_of_channels, config.max_subscribers_per_channel), (None, None));
    assert_eq!((config.max_channels_per_subscription, config.max_messages_stored_per_channel), (Some(100), Some(100)));
    assert_eq!((config.message_ttl, config.channel_inactivity_time), (1800, 30));
    assert_eq!(config.ring_size, 256 << 10);
    assert_eq!((config.send_timeout, config.header_timeout), (Duration::from_secs(30), Duration::from_secs(10)));
    assert_eq!((config.keepalive_timeout, config.timeout), (Duration::from_secs(75), Duration::from_millis(250)));
    assert_eq!((config.backoff, config.linger), (Duration::from_millis(100), Duration::from_secs(10)));
    assert_eq!((config.drain_timeout, config.log), (Duration::from_secs(10), Log::Stderr));
    assert_eq!(config.authorized_channels_only, Authorization::On);
    assert!(config.store_messages && config.channel_info_on_publish);
    assert_eq!(config.longpolling_connection_ttl, Some(Duration::from_secs(25)));
    assert_eq!(config.subscriber_connection_ttl, None);
}

#[test]
fn without_locations_the_default_ones_are_served() {
    let config = Config::default();
    let served: Vec<_> = config.locations.iter().map(|l| (l.path.as_str(), l.handler, l.public)).collect();
    assert_eq!(
        served,
        [
            ("/sub/", Handler::Subscriber(Mode::LongPolling), true),
            ("/stream/", Handler::Subscriber(Mode::Streaming), true),
            ("/lp/", Handler::Subscriber(Mode::LongPolling), true),
            ("/poll/", Handler::Subscriber(Mode::Polling), true),
            ("/ev/", Handler::Subscriber(Mode::EventSource), true),
            ("/ws/", Handler::Subscriber(Mode::WebSocket), true),
            ("/presence/", Handler::Members, true),
            ("/pub", Handler::Publisher { admin: true }, false),
            ("/channels-stats", Handler::Statistics, false),
        ]
    );
    let argument = |name: &str| Some(Variable::Argument(name.to_owned()));
    for location in &config.locations[..6] {
        assert_eq!(location.last_received_message_time, argument("time"));
        assert_eq!(location.last_received_message_tag, argument("tag"));
        assert_eq!(location.channels_path, None);
    }
    for location in &config.locations[7..] {
        assert_eq!(location.channels_path, argument("id"));
        assert_eq!(location.last_received_message_time, None);
    }
}

#[test]
fn a_preset_gives_what_is_not_set() {
    let config = set("preset", "pushstream").unwrap();
    let of =
        |config: &Config, path: &str| config.locations.iter().find(|location| location.path == path).unwrap().clone();
    assert_eq!(of(&config, "/sub/").handler, Handler::Subscriber(Mode::Streaming));
    assert!(of(&config, "/sub/").message_template.source().starts_with("<script>"));
    assert!(of(&config, "/lp/").message_template.source().starts_with("{\"id\":~id~,"));
    assert_eq!(of(&config, "/lp/").last_event_id, Some(Variable::Argument("eventid".to_owned())));
    assert_eq!(of(&config, "/pub").channels_path, Some(Variable::Argument("id".to_owned())));
    let mut copy = Config::default();
    copy.parse(&config.to_toml(), "copy").unwrap();
    assert_eq!((copy.to_toml(), copy.locations), (config.to_toml(), config.locations));
    // Whatever is written first, and back again.
    for keys in [["message_template", "preset"], ["preset", "message_template"]] {
        let mut config = Config::default();
        for key in keys {
            config.set(key, if key == "preset" { "pushstream" } else { "<~text~>" }).unwrap();
        }
        assert_eq!(of(&config, "/lp/").message_template.source(), "<~text~>");
        assert!(config.gap_message_text.is_some());
        config.set("preset", "none").unwrap();
        assert_eq!((config.gap_message_text, config.channels_path), (None, None));
    }
}

#[test]
fn a_template_may_come_from_a_file() {
    let directory = std::env::temp_dir().join(format!("push-template-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("header.html");
    std::fs::write(&file, "<p>\r\n").unwrap();
    let path = file.display();
    assert_eq!(set("header_template_file", &path.to_string()).unwrap().header_template.as_deref(), Some("<p>\r\n"));
    let mut config =
        parsed(&format!("[[location]]\npath = '/x'\nsubscriber = 'streaming'\nheader_template_file = '{path}'"));
    assert_eq!(config.locations[0].header_template.as_deref(), Some("<p>\r\n"));
    config.set("message_ttl", "1m").unwrap();
    assert_eq!(config.locations[0].header_template.as_deref(), Some("<p>\r\n"));
    for both in ["", "[[location]]\npath = '/x'\nsubscriber = 'streaming'\n"] {
        let text = refused(&format!("{both}header_template = 'a'\nheader_template_file = '{path}'\n"));
        assert!(text.ends_with("header_template and header_template_file cannot stand together"), "{text}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    let error = set("header_template_file", &path.to_string()).unwrap_err();
    assert!(error.starts_with(&format!("{path}: header_template_file: No such file")), "{error}");
}

#[test]
fn padding_and_origins_are_checked() {
    let padding =
        set("padding_by_user_agent", "[T|t]est 1,1024,512:a{1,2}:b,0,4097").unwrap().padding_by_user_agent.unwrap();
    let groups: Vec<_> = padding.iter().map(|group| (group.agent.as_str(), group.header, group.message)).collect();
    assert_eq!(groups, [("[T|t]est 1", 1024, 512), ("a{1,2}:b", 0, 4097)]);
    for wrong in ["x", "x,1", "x,1,y", "(,1,2", ",1,2", "x,1,2:", "x,1,2:y"] {
        assert!(set("padding_by_user_agent", wrong).is_err(), "{wrong}");
    }
    let origins = |text: &str| set("allowed_origins", text).unwrap().allowed_origins;
    assert_eq!(origins("*"), Some(Origins::All));
    let listed = ["https://a.example".to_owned(), "http://b:8080".to_owned()];
    assert_eq!(origins("https://A.example, http://b:8080"), Some(Origins::Listed(listed.into())));
    for wrong in ["a.example", "https://a.example/", "https://a\r\nX: y", "https://"] {
        assert!(set("allowed_origins", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn values_are_written_as_nginx_writes_them() {
    for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h 30m", 5400), ("1h30m5", 5405), ("1w", 604_800)] {
        assert_eq!(set("message_ttl", text).unwrap().message_ttl, seconds, "{text}");
    }
    for (text, bytes) in [("500", 500), ("32k", 32 << 10), ("1M", 1 << 20)] {
        assert_eq!(set("max_message_size", text).unwrap().max_message_size, bytes, "{text}");
    }
    assert_eq!(set("timeout", "1s500ms").unwrap().timeout, Duration::from_millis(1500));
    for (text, on) in [("on", true), ("true", true), ("1", true), ("off", false), ("0", false), ("", false)] {
        assert_eq!(set("store_messages", text).unwrap().store_messages, on, "{text}");
    }
    assert_eq!(set("max_messages_stored_per_channel", "none").unwrap().max_messages_stored_per_channel, None);
    assert_eq!(set("socket_mode", "0600").unwrap().socket_mode, 0o600);
    let listen = set("listen", "[::1]:8380, unix:/run/x.sock 10.0.0.1:80").unwrap().listen;
    let listen: Vec<_> = listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["[::1]:8380", "unix:/run/x.sock", "10.0.0.1:80"]);
    assert_eq!(set("admin_listen", "none").unwrap().admin_listen, []);
    let header = set("channels_path", "$http_X_Channel").unwrap().channels_path;
    assert_eq!(header, Some(Variable::Header("x_channel".to_owned())));
}

#[test]
fn toml_takes_its_own_types_too() {
    let config = parsed(
        "listen = ['127.0.0.1:1', '127.0.0.1:2']\nstore_messages = false\nmax_number_of_channels = 7\nmessage_ttl = 60\nsocket_mode = 0o600\n",
    );
    assert_eq!(config.listen.len(), 2);
    assert_eq!((config.store_messages, config.max_number_of_channels), (false, Some(7)));
    assert_eq!((config.message_ttl, config.socket_mode), (60, 0o600));
}

#[test]
fn a_wrong_value_names_key_value_and_what_is_allowed() {
    let error = |key, value| set(key, value).unwrap_err();
    let allowed = "a time in whole seconds such as 30s, 5m or 2h, at least 1s";
    for value in ["abc", "", "0", "-1", "1500ms", "5m 1h", "3x", "99999999999999999999h"] {
        assert_eq!(error("message_ttl", value), format!("message_ttl = \"{value}\": allowed is {allowed}"));
    }
    for (key, value) in [
        ("listen", "8380"),
        ("listen", "unix:relative.sock"),
        ("listen", "localhost:80"),
        ("socket", "hub.sock"),
        ("socket", "/run/push/"),
        ("socket_mode", "660"),
        ("socket_mode", "432"),
        ("socket_mode", "0460"),
        ("threads", "0"),
        ("threads", "65"),
        ("threads", "+1"),
        ("memory_limit", "1023k"),
        ("max_message_size", "33m"),
        ("max_message_size", "0"),
        ("max_channel_id_length", "1025"),
        ("max_subscribers_per_channel", "0"),
        ("ring_size", "300k"),
        ("user", ""),
        ("content_type", "text/plain\r\nX: y"),
        ("store_messages", "maybe"),
        ("last_received_message_time", "$cookie_x"),
        ("channels_path", "$arg_"),
        ("log", "file.log"),
        ("log_level", "loud"),
    ] {
        let text = error(key, value);
        assert!(text.starts_with(&format!("{key} = \"{value}\": allowed is ")), "{text}");
    }
    for value in ["secret", "/var/lib/push/", ""] {
        assert_eq!(error("secret_file", value), format!("secret_file = \"{value}\": allowed is an absolute path"));
    }
    let word = error("authorized_channels_only", "tokens");
    assert_eq!(word, "authorized_channels_only = \"tokens\": allowed is on, off or token");
}

#[test]
fn a_refused_value_changes_nothing() {
    let mut config = Config::default();
    let before = config.to_toml();
    config.set("threads", "none").unwrap_err();
    config.parse("threads = 3\nmessage_ttl = 'x'", "push.toml").unwrap_err();
    assert_eq!(config.to_toml(), before);
}

#[test]
fn an_unknown_key_is_named_with_the_nearest() {
    assert_eq!(set("mesage_ttl", "1s").unwrap_err(), "there is no key \"mesage_ttl\"; did you mean message_ttl?");
    assert_eq!(set("frobnicate", "1").unwrap_err(), "there is no key \"frobnicate\"");
    assert_eq!(refused("[[location]]\npth = '/x'\n"), "push.toml:2: there is no key \"pth\"; did you mean path?");
}

#[test]
fn a_toml_error_names_file_and_line() {
    let starts = |toml: &str, expected: &str| {
        let text = refused(toml);
        assert!(text.starts_with(expected), "{text}");
    };
    // `listen` is before `message_ttl` in the alphabet and behind it in the file.
    starts("threads = 2\nmessage_ttl = 'abc'\nlisten = 'x'\n", "push.toml:2: message_ttl = \"abc\"");
    starts("threads = 2\nuser = \n", "push.toml:2: ");
    starts(
        "\n[[location]]\npath = '/x'\nsubscriber = 'polling-long'\n",
        "push.toml:4: subscriber = \"polling-long\": allowed is long-polling or polling or streaming or eventsource or websocket",
    );
    starts(
        "[[location]]\npath = '/x'\nmessage_ttl = '1s'\npublisher = 'admin'",
        "push.toml:3: message_ttl holds for the whole hub",
    );
    starts("[location]\npath = '/x'\n", "push.toml:1: a location is a table: write [[location]]");
    starts("threads = 1\n[[location]]\nsubscriber = 'polling'\n", "push.toml:2: this location has no path");
    starts("[[location]]\npath = '/x'\n", "push.toml:1: location \"/x\" has neither");
    let directory = std::env::temp_dir().join(format!("push-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("push.toml");
    std::fs::write(&file, "backof = '1s'\n").unwrap();
    let error = Config::default().load(&file).unwrap_err().to_string();
    assert_eq!(error, format!("{}:1: there is no key \"backof\"; did you mean backoff?", file.display()));
    let missing = directory.join("missing.toml");
    let error = Config::default().load(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: No such file", missing.display())), "{error}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn locations_take_their_own_directives_and_else_those_above() {
    let mut config = parsed(
        r#"
store_messages = "off"
content_type = "application/json"
[[location]]
path = "/a/"
subscriber = "polling"
content_type = "text/html"
longpolling_connection_ttl = "none"
[[location]]
path = "/p"
publisher = "normal"
channels_path = "$arg_c"
listener = "public"
store_messages = true
"#,
    );
    let [a, p] = config.locations.as_slice() else { panic!("{:?}", config.locations) };
    assert_eq!((a.content_type.as_str(), a.store_messages, a.longpolling_connection_ttl), ("text/html", false, None));
    assert_eq!((p.content_type.as_str(), p.store_messages, p.public), ("application/json", true, true));
    assert_eq!(p.handler, Handler::Publisher { admin: false });
    assert_eq!(a.last_received_message_time, None);
    // What comes later from INI or a flag is still the default of all locations.
    config.set("content_type", "text/css").unwrap();
    assert_eq!(config.locations[0].content_type, "text/html");
    assert_eq!(config.locations[1].content_type, "text/css");
}

#[test]
fn default_locations_follow_the_top_level() {
    let config = parsed("last_received_message_time = '$arg_t'\nauthorized_channels_only = 'off'");
    assert_eq!(config.locations[0].last_received_message_time, Some(Variable::Argument("t".to_owned())));
    assert_eq!(config.locations[0].last_received_message_tag, Some(Variable::Argument("tag".to_owned())));
    assert_eq!(config.locations[0].authorized_channels_only, Authorization::Off);
}

#[test]
fn the_admin_socket_stands_beside_the_socket() {
    let config = set("socket", "/tmp/x/hub.sock").unwrap();
    assert_eq!(config.admin_listen, [Address::Unix("/tmp/x/admin.sock".into())]);
    let config = parsed("admin_listen = 'unix:/tmp/y.sock'\nsocket = '/tmp/x/hub.sock'");
    assert_eq!(config.admin_listen, [Address::Unix("/tmp/y.sock".into())]);
}

#[test]
fn what_does_not_go_together_is_refused() {
    assert!(refused("admin_listen = '0.0.0.0:8381'").contains("whoever reaches this listener may publish"));
    parsed("admin_listen = '127.0.0.1:8381'");
    parsed("admin_listen = '[::1]:8381'");
    for address in ["127.0.0.1:8382", "[::1]:8382"] {
        let error = refused(&format!("trusted_listen = '{address}'"));
        assert!(
            error.starts_with(&format!("trusted_listen = \"{address}\": whoever reaches this listener")),
            "{error}"
        );
        assert!(error.contains("unix:/run/push/trusted.sock"), "{error}");
    }
    assert_eq!(parsed("").trusted_listen, []);
    parsed("trusted_listen = 'unix:/tmp/trusted.sock'");
    assert!(refused("listen = 'unix:/tmp/a'\ntrusted_listen = 'unix:/tmp/a'").contains("stands twice"));
    assert!(refused("memory_limit = '1m'\nmax_message_size = '2m'").starts_with("max_message_size is larger"));
    assert!(refused("listen = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:1'").contains("stands twice"));
    assert!(refused("socket = '/tmp/a'\nlisten = 'unix:/tmp/a'").contains("stands twice"));
    assert!(refused("[[location]]\npath = '/p'\npublisher = 'admin'").contains("a publisher needs channels_path"));
    parsed("[[location]]\npath = '/p/'\npublisher = 'admin'");
    let twice = "[[location]]\npath = '/s'\nsubscriber = 'polling'\n".repeat(2);
    assert!(refused(&twice).contains("\"/s\" stands twice"));
    assert!(refused("[[location]]\npath = '/s'\nsubscriber = 'polling'\npublisher = 'admin'").contains("either"));
}

#[test]
fn the_canonical_text_reads_back_the_same() {
    let original = parsed(
        "channel_deleted_message_text = \"a \\\"quoted\\\"\\nline\"\nmax_messages_stored_per_channel = 'none'\ntimeout = '1500ms'\n[[location]]\npath='/x/'\nsubscriber='long-polling'\nlast_received_message_tag='$http_if_none_match'",
    );
    for config in [original, Config::default()] {
        let copy = parsed(&config.to_toml());
        assert_eq!(copy.to_toml(), config.to_toml());
        assert_eq!(copy.locations, config.locations);
        assert_eq!(copy.hash(), config.hash());
    }
    assert_ne!(set("message_ttl", "31m").unwrap().hash(), Config::default().hash());
    assert_eq!(set("message_ttl", "1800").unwrap().hash(), Config::default().hash());
}

#[test]
fn the_table_of_keys_is_complete_and_true() {
    let keys = Config::keys();
    let text = Config::default().to_toml();
    let written: Vec<_> = text.lines().take_while(|line| !line.is_empty()).collect();
    // What was read from a file is written as text.
    let keys: Vec<_> = keys.into_iter().filter(|key| key.name != "header_template_file").collect();
    assert_eq!(written.len(), keys.len());
    for (line, key) in written.iter().zip(&keys) {
        assert!(line.starts_with(&format!("{} = ", key.name)), "{line}");
        assert!(!key.description.is_empty() && !key.allowed.is_empty() && !key.default.is_empty(), "{key:?}");
    }
    let plain = |key: &&Key| !["admin_listen", "secret_file", "socket", "threads"].contains(&key.name);
    for key in keys.iter().filter(plain) {
        assert_eq!(set(key.name, &key.default).unwrap().to_toml(), text, "{}", key.name);
    }
}

#[test]
fn any_free_port_is_for_a_hub_in_the_process_that_publishes() {
    let parsed = |toml: &str| {
        let mut config = Config::default();
        config.parse(toml, "push.toml").unwrap();
        config
    };
    let config = parsed("listen = ['127.0.0.1:0', '127.0.0.1:0']\nsocket = '/run/push/hub.sock'\n");
    let error = config.check().unwrap_err().to_string();
    assert!(
        error.starts_with("listen = \"127.0.0.1:0\": nobody could be told") && error.contains("embedded"),
        "{error}"
    );
    let embedded = config.embedded().unwrap();
    assert_eq!((embedded.listen.len(), embedded.admin_listen.len()), (2, 0));
    assert_eq!(embedded.socket, std::path::PathBuf::new());
    let asked = parsed("admin_listen = '127.0.0.1:8381'").embedded().unwrap();
    assert_eq!(asked.admin_listen.len(), 1);
    let error = parsed("admin_listen = '0.0.0.0:0'").embedded().unwrap_err().to_string();
    assert!(error.contains("whoever reaches this listener may publish"), "{error}");
    let twice = parsed("listen = '127.0.0.1:8381'\nadmin_listen = '127.0.0.1:8381'");
    assert!(twice.embedded().unwrap_err().to_string().contains("stands twice"));
}
