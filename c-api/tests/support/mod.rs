//! What the tests of the C library share: the built library, a C compiler, a hub.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Every wait of a test ends here.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo put `libpush.so`, `libpush.a` and `push-hub`: beside `deps/`, in which this test lies.
pub fn libraries() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let test = std::env::current_exe().expect("path of the test");
        let deps = test.parent().expect("deps");
        let place = deps.parent().expect("profile");
        // A test run alone does not make cargo build libraries that no Rust code links, nor another package's program.
        for what in [["--package", "push-c-api", "--lib"].as_slice(), &["--package", "push-core", "--bin", "push-hub"]]
        {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet"]).args(what).current_dir(root());
            build.arg("--target-dir").arg(place.parent().expect("target"));
            if place.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo").success());
        }
        // The link name is libpush.so, programs ask for the SONAME; both lead to the built file. Tests run side by side.
        let mine = place.join(format!("libpush.so.0.{}", std::process::id()));
        symlink("libpush.so", &mine).expect("link for the SONAME");
        std::fs::rename(&mine, place.join("libpush.so.0")).expect("link for the SONAME");
        place.to_owned()
    })
}

/// How a program is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Shared,
    Static,
    /// Shared, and the C side is watched by AddressSanitizer and UndefinedBehaviorSanitizer.
    Sanitized,
}

/// Compiles a program of `c-api/` or of the repository without a warning.
pub fn compile(source: &Path, standard: &str, link: Link, more: &[&str]) -> PathBuf {
    let (compiler, language) = if standard.starts_with("c++") { ("c++", "c++") } else { ("cc", "c") };
    let name = source.file_stem().expect("a file").to_string_lossy();
    let kind = ["shared", "static", "sanitized"][link as usize];
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{standard}-{kind}"));
    let mut compile = Command::new(compiler);
    compile.args(["-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language]).arg(format!("-std={standard}"));
    compile.arg("-I").arg(root().join("include")).arg(source).arg("-o").arg(&program);
    let place = libraries();
    if link == Link::Static {
        compile.args(["-x", "none"]).arg(place.join("libpush.a")).args(["-lpthread", "-ldl", "-lm"]);
    } else {
        let mut rpath = OsString::from("-Wl,-rpath,");
        rpath.push(place);
        compile.arg("-L").arg(place).args(["-lpush", "-lpthread"]).arg(rpath);
    }
    if link == Link::Sanitized {
        compile.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]);
    }
    quiet(compile.args(more));
    program
}

/// Runs to the end and expects success.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if finished.recv_timeout(DEADLINE * 2).is_err() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    });
    let output = child.wait_with_output().expect("its output");
    let _ = done.send(());
    watch.join().expect("the watch");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

/// The same, and nothing on the standard error stream.
pub fn quiet(command: &mut Command) -> Output {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.is_empty(), "{command:?}:\n{said}");
    output
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A `push-hub` with its keeper, in a directory of its own.
pub struct Hub {
    pub directory: tempfile::TempDir,
    process: Child,
}

impl Hub {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        // The hub that root starts is another user, who must come through.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
        let path = directory.path().display();
        let config = format!(
            "socket = \"{path}/run/hub.sock\"\nlisten = [\"unix:{path}/run/http.sock\"]\nuser = \"nobody\"\n\
             secret_file = \"{path}/run/secret\"\nlog = \"{path}/hub.log\"\nthreads = 2\nmax_message_size = \"1m\"\nauthorized_channels_only = \"off\"\n"
        );
        std::fs::write(directory.path().join("push.toml"), config).expect("a configuration");
        let mut command = Command::new(libraries().join("push-hub"));
        command.arg("--config").arg(directory.path().join("push.toml")).stdin(Stdio::null());
        let hub = Self { process: command.spawn().expect("push-hub"), directory };
        wait_until("the hub is there", || UnixStream::connect(hub.listen()).is_ok());
        hub
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/hub.sock")
    }

    /// Its public listener.
    pub fn listen(&self) -> PathBuf {
        self.directory.path().join("run/http.sock")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}
