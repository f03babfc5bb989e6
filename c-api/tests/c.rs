//! Compiles the C programs beside this file as C99, C11 and C++17 without a warning, against the shared and the static
//! library, and runs them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo put `libpush.so` and `libpush.a`: beside `deps/`, in which this test lies.
fn libraries() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    let deps = test.parent().expect("deps");
    let place = deps.parent().expect("profile");
    // A test run alone does not make cargo build libraries that no Rust code links.
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "push-c-api", "--lib"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    build.arg("--target-dir").arg(place.parent().expect("target"));
    if place.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo").success());
    place.to_owned()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    assert!(said.is_empty(), "{command:?}:\n{said}");
}

#[test]
fn c_programs_compile_without_a_warning_and_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = libraries();
    let static_library = place.join("libpush.a");
    for (compiler, language, standard) in [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++17")] {
        for shared in [true, false] {
            let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("status-{standard}-{shared}"));
            let mut compile = Command::new(compiler);
            compile.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language]).arg(format!("-std={standard}"));
            compile.arg("-I").arg(root.join("include")).arg(root.join("tests/status.c")).arg("-o").arg(&program);
            if shared {
                // The link name is libpush.so, the program asks for the SONAME; both lead to the built file.
                let soname = place.join("libpush.so.0");
                drop(std::fs::remove_file(&soname));
                std::os::unix::fs::symlink("libpush.so", &soname).expect("link for the SONAME");
                let mut rpath = OsString::from("-Wl,-rpath,");
                rpath.push(&place);
                compile.arg("-L").arg(&place).arg("-lpush").arg(rpath);
            } else {
                compile.args(["-x", "none"]).arg(&static_library).args(["-lpthread", "-ldl", "-lm"]);
            }
            run(&mut compile);
            run(Command::new(&program).arg(env!("CARGO_PKG_VERSION")));
            if shared {
                let needed = Command::new("ldd").arg(&program).output().expect("ldd");
                assert!(String::from_utf8_lossy(&needed.stdout).contains("libpush.so.0"));
            }
        }
    }
}
