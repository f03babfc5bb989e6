# Sourced: builds the hub and the extension in release mode. Sets PUSH_HUB and PUSH_EXTENSION, their absolute paths.

require_rust
cargo build --release --locked --package push-core --package push-php-ext
target=$(cargo metadata --no-deps --format-version 1 | "$PHP" -n -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;')
export PUSH_HUB=$target/release/push-hub PUSH_EXTENSION=$target/release/libphp_push.so
