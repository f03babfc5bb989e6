//! Compiles the C programs beside this file and runs them: as C99, C11 and C++17, against the shared and the static library,
//! with sanitizers and under valgrind, attached and with a hub of their own.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Hub, Link, compile, libraries, quiet, root, run};

fn source(name: &str) -> PathBuf {
    root().join("tests").join(name)
}

/// Runs a program with a hub beside it, and with one inside it.
fn run_both(program: &Path, with_directory: bool) {
    let hub = Hub::start();
    for reached in [hub.socket().as_path(), Path::new("embedded")] {
        let mut command = Command::new(program);
        command.arg(reached);
        if with_directory {
            command.arg(hub.directory.path());
        }
        quiet(&mut command);
    }
}

#[test]
fn every_function_in_c99_with_the_static_library() {
    run_both(&compile(&source("api.c"), "c99", Link::Static, &[]), false);
}

#[test]
fn every_function_in_c11_with_sanitizers() {
    run_both(&compile(&source("api.c"), "c11", Link::Sanitized, &[]), false);
}

#[test]
fn every_function_in_cpp17() {
    let program = compile(&source("api.c"), "c++17", Link::Shared, &[]);
    run_both(&program, false);
    let needed = run(Command::new("ldd").arg(&program));
    assert!(String::from_utf8_lossy(&needed.stdout).contains("libpush.so.0"));
}

#[test]
fn every_error_with_sanitizers() {
    run_both(&compile(&source("errors.c"), "c99", Link::Sanitized, &[]), true);
}

#[test]
fn subscriptions_with_sanitizers() {
    run_both(&compile(&source("subscriptions.c"), "c11", Link::Sanitized, &[]), false);
}

#[test]
fn subscriptions_in_cpp17_with_the_static_library() {
    run_both(&compile(&source("subscriptions.c"), "c++17", Link::Static, &[]), false);
}

#[test]
fn a_subscription_goes_on_with_the_next_hub() {
    let hub = Hub::start();
    let program = compile(&source("next_hub.c"), "c11", Link::Sanitized, &[]);
    quiet(Command::new(&program).arg(hub.socket()));
}

#[test]
fn log_lines_go_to_a_function() {
    quiet(&mut Command::new(compile(&source("log.c"), "c11", Link::Sanitized, &[])));
}

#[test]
fn threads_and_forks() {
    run_both(&compile(&source("shared.c"), "c11", Link::Shared, &[]), false);
}

#[test]
fn threads_and_forks_with_sanitizers() {
    run_both(&compile(&source("shared.c"), "c11", Link::Sanitized, &[]), false);
}

#[test]
fn a_hub_that_is_killed_in_each_call() {
    let program = compile(&source("killed.c"), "c11", Link::Sanitized, &[]);
    // A keeper whose hub dies often takes its time to start the next one.
    for calls in [["0", "4"], ["5", "10"], ["11", "14"], ["15", "18"], ["19", "20"]] {
        let hub = Hub::start();
        quiet(Command::new(&program).arg(hub.socket()).args(calls));
    }
}

/// An attached client; a hub of its own would do its work under valgrind, too.
#[test]
fn nothing_leaks_under_valgrind() {
    let hub = Hub::start();
    for name in ["api.c", "subscriptions.c"] {
        let program = compile(&source(name), "c11", Link::Shared, &[]);
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--leak-check=full", "--show-leak-kinds=definite,indirect", "--error-exitcode=9"]);
        quiet(valgrind.arg(program).arg(hub.socket()));
    }
}

#[test]
fn the_header_alone_compiles_in_every_language() {
    for (compiler, language, standard) in
        [("cc", "c", "c99"), ("cc", "c", "c11"), ("cc", "c", "c17"), ("c++", "c++", "c++17")]
    {
        let mut command = Command::new(compiler);
        command.args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", language]);
        // Twice: the include guard holds everything.
        command.arg(format!("-std={standard}")).args(["-include", "push.h", "-include", "push.h", "-I"]);
        quiet(command.arg(root().join("include")).arg("/dev/null"));
    }
}

/// `UPDATE_SYMBOLS=1 cargo test -p push-c-api` writes the list anew.
#[test]
fn the_library_exports_the_functions_of_the_header_and_nothing_else() {
    let output = run(Command::new("nm").args(["-D", "--defined-only", "-P"]).arg(libraries().join("libpush.so")));
    let mut symbols: Vec<_> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    symbols.sort();
    let found = symbols.join("\n") + "\n";
    let path = root().join("push.symbols");
    if std::env::var_os("UPDATE_SYMBOLS").is_some() {
        std::fs::write(&path, &found).expect("writing the list");
    }
    assert_eq!(
        std::fs::read_to_string(&path).expect("push.symbols"),
        found,
        "run UPDATE_SYMBOLS=1 cargo test -p push-c-api"
    );
    let header = std::fs::read_to_string(root().join("include/push.h")).expect("push.h");
    for symbol in symbols {
        assert!(header.contains(&format!("{symbol}(")), "{symbol} is not in push.h");
    }
}
