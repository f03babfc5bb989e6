//! The programs of `examples/c` and of the manual, built as they say and run.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use support::{DEADLINE, Hub, Link, compile, libraries, quiet, root, run, wait_until};

fn example(name: &str, more: &[&str]) -> PathBuf {
    compile(&root().join("../examples/c").join(name), "c99", Link::Shared, more)
}

/// A program that runs until its input ends.
struct Running {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Self { process, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn end(mut self) {
        drop(self.input.take());
        assert!(self.process.wait().expect("its end").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn publish_and_subscribe() {
    let hub = Hub::start();
    let mut subscriber = Running::start(
        Command::new(example("subscribe.c", &[])).args(["news", "weather"]).env("PUSH_SOCKET", hub.socket()),
    );
    assert_eq!(subscriber.line(), "subscribed");
    let publish = example("publish.c", &[]);
    for (id, channel, text) in [(1, "news", "Hello"), (1, "weather", "Rain"), (2, "news", "Again")] {
        let output = quiet(Command::new(&publish).args([channel, text]).env("PUSH_SOCKET", hub.socket()));
        let said = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let position = said.strip_prefix(&format!("message {id} at ")).expect("its position").to_owned();
        assert_eq!(subscriber.line(), format!("{position} {channel}: {text}"));
    }
    subscriber.end();
}

#[test]
fn a_hub_of_its_own() {
    let mut program = Running::start(&mut Command::new(example("embedded.c", &[])));
    let url = program.line();
    let (address, path) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("an address");
    writeln!(program.input.as_mut().expect("open"), "a line").expect("it reads");
    let mut browser = TcpStream::connect(address).expect("the hub");
    browser.set_read_timeout(Some(DEADLINE)).expect("a socket");
    write!(browser, "GET /{path}?position=0.0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    browser.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("a line"), "{answer}");
    program.end();
}

/// The piece of the manual after this mark.
fn piece<'a>(manual: &'a str, mark: &str) -> &'a str {
    let (_, after) = manual.split_once(&format!("<!-- {mark} -->\n```")).expect("a marked piece");
    let (_, text) = after.split_once('\n').expect("a language");
    text.split_once("```").expect("an end").0
}

/// As it stands in `docs/c.md`, after an installation somewhere.
#[test]
fn the_first_ten_minutes() {
    let manual = std::fs::read_to_string(root().join("../docs/c.md")).expect("docs/c.md");
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("first.c"), piece(&manual, "first.c")).expect("a file");
    for directory in ["include", "lib/pkgconfig", "run/push"] {
        std::fs::create_dir_all(place.path().join(directory)).expect("a directory");
    }
    std::fs::copy(root().join("include/push.h"), place.path().join("include/push.h")).expect("push.h");
    for name in ["libpush.so", "libpush.so.0"] {
        let linked = place.path().join("lib").join(name);
        std::os::unix::fs::symlink(libraries().join("libpush.so"), linked).expect("a link");
    }
    let package = std::fs::read_to_string(root().join("push.pc.in")).expect("push.pc.in");
    let package = package.replace("@PREFIX@", place.path().to_str().expect("UTF-8"));
    let package = package.replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    std::fs::write(place.path().join("lib/pkgconfig/push.pc"), package).expect("push.pc");
    let in_place = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).current_dir(place.path());
        shell.env("PKG_CONFIG_PATH", place.path().join("lib/pkgconfig"));
        shell.env("LD_LIBRARY_PATH", place.path().join("lib"));
        shell
    };
    let (build, start) = piece(&manual, "build").trim_end().rsplit_once('\n').expect("two lines");
    quiet(&mut in_place(build));
    // As another user the program looks in XDG_RUNTIME_DIR; as root it would look for the hub of the system.
    let hub = Hub::start();
    let source = std::fs::read_to_string(place.path().join("first.c")).expect("first.c");
    let socket = hub.socket();
    let configured = source.replace("push_client_open(NULL, &client)", "push_client_open(configured(), &client)").replace(
        "int main(void) {",
        &format!(
            "static push_config *configured(void) {{\n    push_config *config = push_config_new();\n    push_config_set(config, \
             \"socket\", \"{}\");\n    return config;\n}}\n\nint main(void) {{",
            socket.display()
        ),
    );
    std::fs::write(place.path().join("first.c"), configured).expect("a file");
    quiet(&mut in_place(build));
    let output = quiet(&mut in_place(start));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "message 1 for 0 subscribers\n");
    assert!(manual.contains("prints `message 1 for 0 subscribers`"));
}

/// An answer over a unix socket.
fn ask(socket: &Path, request: &str) -> String {
    let mut browser = UnixStream::connect(socket).expect("nginx");
    browser.set_read_timeout(Some(DEADLINE)).expect("a socket");
    browser.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    browser.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Programs that go with the test.
struct Stopped(Vec<u32>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        }
    }
}

#[test]
fn a_chat_of_several_processes_behind_nginx() {
    let hub = Hub::start();
    let program = example("fcgi-chat.c", &["-lfcgi"]);
    let place = tempfile::tempdir().expect("a directory");
    let path = |name: &str| place.path().join(name);
    let mut spawn = Command::new("spawn-fcgi");
    spawn
        .arg("-s")
        .arg(path("chat.sock"))
        .args(["-F", "3", "-M", "0666", "-P"])
        .arg(path("pids"))
        .arg("--")
        .arg(&program);
    run(spawn.env("PUSH_SOCKET", hub.socket()));
    let pids = std::fs::read_to_string(path("pids")).expect("their pids");
    let mut stopped = Stopped(pids.split_whitespace().map(|pid| pid.parse().expect("a pid")).collect());
    assert_eq!(stopped.0.len(), 3);
    let parameters: String = [
        "QUERY_STRING $query_string",
        "REQUEST_METHOD $request_method",
        "CONTENT_LENGTH $content_length",
        "CONTENT_TYPE $content_type",
        "SCRIPT_NAME $fastcgi_script_name",
    ]
    .map(|parameter| format!("fastcgi_param {parameter};\n"))
    .concat();
    let directory = place.path().display();
    let user = if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        "user root;"
    } else {
        ""
    };
    let config = format!(
        "{user}\ndaemon off;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log;\nworker_processes 1;\nevents {{}}\n\
         http {{\naccess_log off;\nclient_body_temp_path {directory}/body;\nproxy_temp_path {directory}/proxy;\n\
         fastcgi_temp_path {directory}/fastcgi;\nuwsgi_temp_path {directory}/uwsgi;\nscgi_temp_path {directory}/scgi;\n\
         server {{\nlisten unix:{directory}/nginx.sock;\nlocation /chat/ {{ {parameters} fastcgi_pass unix:{directory}/chat.sock; }}\n\
         location /sub/ {{ proxy_pass http://unix:{}; proxy_buffering off; }}\n}}\n}}\n",
        hub.listen().display()
    );
    std::fs::write(path("nginx.conf"), config).expect("a file");
    let mut nginx = Command::new("nginx").arg("-c").arg(path("nginx.conf")).spawn().expect("nginx");
    stopped.0.push(nginx.id());
    wait_until("nginx is there", || UnixStream::connect(path("nginx.sock")).is_ok());
    let get = |url: &str| ask(&path("nginx.sock"), &format!("GET {url} HTTP/1.0\r\nHost: x\r\n\r\n"));

    assert!(get("/chat/start").starts_with("HTTP/1.1 401"), "nobody");
    assert!(get("/chat/online").starts_with("HTTP/1.1 400"), "who?");
    assert!(get("/chat/online?user=ada").ends_with("{\"online\":false}\n"));
    assert!(get("/chat/else?user=ada").starts_with("HTTP/1.1 404"), "elsewhere");
    for message in 0..6 {
        let answer = get("/chat/start?user=ada");
        let value = |key: &str| {
            let (_, after) = answer.split_once(&format!("\"{key}\":\"")).unwrap_or_else(|| panic!("{answer}"));
            after.split_once('"').expect("a value").0.to_owned()
        };
        let (channel, position) = (value("channel"), value("position"));
        let waiting = std::thread::spawn({
            let (socket, url) = (path("nginx.sock"), format!("/sub/{channel}?position={position}"));
            move || ask(&socket, &format!("GET {url} HTTP/1.0\r\nHost: x\r\n\r\n"))
        });
        let body = format!("hello {message}");
        let sent = ask(
            &path("nginx.sock"),
            &format!(
                "POST /chat/send?to={channel} HTTP/1.0\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(sent.starts_with("HTTP/1.1 200") && sent.contains("{\"id\":1}"), "{sent}");
        let got = waiting.join().expect("an answer");
        assert!(got.starts_with("HTTP/1.1 200") && got.ends_with(&body), "{got}");
    }
    assert!(get("/chat/online?user=ada").ends_with("{\"online\":true}\n"));
    let nobody = "POST /chat/send?to=nobody HTTP/1.0\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    assert!(ask(&path("nginx.sock"), nobody).starts_with("HTTP/1.1 404"));
    drop(stopped);
    let _ = nginx.wait();
}
