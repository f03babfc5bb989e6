# Sourced: builds the hub and the extension in release mode. Sets `target`, the directory of the build, and in it PUSH_HUB and PUSH_EXTENSION.

require_rust
cargo build --release --locked --package push-core --package push-php-ext
target=$(cargo metadata --no-deps --format-version 1 | "$PHP" -n -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;')
export PUSH_HUB=$target/release/push-hub PUSH_EXTENSION=$target/release/libphp_push.so
