# Sourced: builds the hub and the extension in release mode, and the packages named in `also`. Sets `target`, the directory
# of the build, and in it PUSH_HUB and PUSH_EXTENSION.

require_rust
# Where `make install` puts the hub; the extension is to find it there without being told.
export PUSH_HUB_PATH=${PREFIX:-/usr/local}/sbin/push-hub
cargo build --release --locked --package push-core --package push-php-ext ${also:-}
target=$(cargo metadata --no-deps --format-version 1 | "$PHP" -n -r 'echo json_decode(stream_get_contents(STDIN))->target_directory;')
export PUSH_HUB=$target/release/push-hub PUSH_EXTENSION=$target/release/libphp_push.so
