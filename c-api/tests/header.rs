//! `include/push.h` and `include/push.ffi.h` are what cbindgen makes of the sources. `UPDATE_HEADER=1 cargo test -p push-c-api`
//! writes them anew.

use std::path::Path;

use cbindgen::Config;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generate(config: Config) -> String {
    let mut generated = Vec::new();
    cbindgen::generate_with_config(root(), config).expect("the sources parse").write(&mut generated);
    String::from_utf8(generated).expect("UTF-8")
}

fn config() -> Config {
    Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml")
}

fn is_committed(name: &str, generated: &str) {
    let path = root().join("include").join(name);
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, generated).expect("writing a header");
    }
    let committed = std::fs::read_to_string(&path).expect("a header in include/");
    assert!(committed == generated, "include/{name} is not current; run UPDATE_HEADER=1 cargo test -p push-c-api");
}

#[test]
fn the_committed_header_is_the_generated_one() {
    let trailer = std::fs::read_to_string(root().join("trailer.h")).expect("trailer.h");
    let generated = generate(config());
    // cbindgen's own trailer would stand behind the include guard.
    let (inside, end) = generated.rsplit_once("\n#endif").expect("an include guard");
    let generated = format!("{inside}{trailer}\n#endif{end}");
    assert!(generated.contains(&format!("#define PUSH_VERSION \"{}\"\n", env!("CARGO_PKG_VERSION"))));
    is_committed("push.h", &generated);
}

/// What `FFI::load()` and `FFI::cdef()` of PHP read: no preprocessor, so constants are enumerators and there are no functions
/// with a body.
#[test]
fn the_committed_header_for_ffi_is_the_generated_one() {
    let config = Config {
        header: Some(
            "/* libpush for PHP's FFI::load(). push.h says what everything does. Generated, do not edit. */".into(),
        ),
        after_includes: None,
        include_guard: None,
        sys_includes: Vec::new(),
        cpp_compat: false,
        documentation: false,
        ..config()
    };
    let mut text = String::new();
    for line in generate(config).lines() {
        match line.strip_prefix("#define ").and_then(|define| define.split_once(' ')) {
            // An enumerator is an int in C; this one is the largest number of 64 bits.
            Some(("PUSH_POSITION_NOW", _)) => {}
            Some((name, value)) => text += &format!("enum {{ {name} = {value} }};\n"),
            None => text += &format!("{line}\n"),
        }
    }
    // PHP looks for them at the very beginning.
    let text = format!("#define FFI_SCOPE \"push\"\n#define FFI_LIB \"libpush.so.0\"\n{text}");
    is_committed("push.ffi.h", &text);
}
