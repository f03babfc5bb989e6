//! PHP's FFI reads `push.ffi.h` and calls the library.

mod support;

use std::process::Command;

use support::{Hub, libraries, quiet, root};

#[test]
fn php_calls_the_library_through_ffi() {
    let hub = Hub::start();
    let mut php = Command::new("php");
    php.args(["-n", "-d", "ffi.enable=1"]);
    // A distribution may have FFI built in or as a module.
    let built_in = quiet(Command::new("php").args(["-n", "-r", "echo (int) extension_loaded('FFI');"]));
    if built_in.stdout != b"1" {
        php.args(["-d", "extension=ffi"]);
    }
    php.arg(root().join("tests/ffi.php")).arg(root().join("include/push.ffi.h")).arg(hub.socket());
    let output = quiet(php.env("LD_LIBRARY_PATH", libraries()));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "published 1, read back: hello from FFI, payload NULL: payload is NULL\n"
    );
}
