//! `include/push.h` is what cbindgen makes of the sources. `UPDATE_HEADER=1 cargo test -p push-c-api` writes it anew.

use std::path::Path;

#[test]
fn the_committed_header_is_the_generated_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut generated = Vec::new();
    cbindgen::generate_with_config(root, config).expect("the sources parse").write(&mut generated);
    let generated = String::from_utf8(generated).expect("UTF-8");
    let path = root.join("include/push.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).expect("writing push.h");
    }
    let committed = std::fs::read_to_string(&path).expect("include/push.h");
    assert!(committed == generated, "include/push.h is not current; run UPDATE_HEADER=1 cargo test -p push-c-api");
}
