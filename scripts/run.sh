#!/usr/bin/env bash
# Builds everything and runs the example: hub, php-fpm and nginx in a directory of their own, until Ctrl-C or TERM.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

require_rust
scripts/deps.sh ask run
find_php        # what was just installed
. scripts/build.sh

# Root hands the work to a user that is already there; anybody else is that user.
user=$(id -un)
if [ "$(id -u)" = 0 ]; then
    user=
    for name in www-data nginx http apache daemon; do
        if id "$name" >/dev/null 2>&1; then
            user=$name
            break
        fi
    done
    [ -n "$user" ] || fail "Root must not serve, and there is no user www-data, nginx, http, apache or daemon. Create one."
fi

fpm='' nginx='' keeper=''

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# wait_until SECONDS COMMAND...: whether the command succeeded in that time.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

ended() { ! alive "$1"; }

# The hub is no child of ours, and it ends when its last php-fpm has gone. The name is compared because the process id may
# by then belong to somebody else.
hub_ended() { ! grep -qsa '^push-hub' "/proc/$keeper/cmdline"; }

stop() {
    trap '' INT TERM HUP
    set +e
    echo 'Stopping.'
    if alive "$nginx"; then kill -TERM "$nginx"; fi
    if alive "$fpm"; then kill -QUIT "$fpm"; fi
    wait_until 10 ended "$nginx" || kill -KILL "$nginx"
    wait_until 10 ended "$fpm" || kill -KILL "$fpm"
    if [ -n "$keeper" ] && ! wait_until 20 hub_ended; then
        echo "The hub did not end by itself (process $keeper), it is told to." >&2
        kill -TERM "$keeper"
        if ! wait_until 10 hub_ended; then
            # Stopped, it starts no other hub; and that hub is not there to start another keeper.
            kill -STOP "$keeper"
            # shellcheck disable=SC2046 # a list of numbers
            kill -KILL $(cat "/proc/$keeper/task/$keeper/children") "$keeper"
        fi
    fi
    rm -rf "$dir"
}

give_up() {
    printf '%s\n' "$1" >&2
    for log in "$dir"/*.log; do
        if [ -s "$log" ]; then
            printf '%s:\n' "${log##*/}" >&2
            tail -n 20 "$log" >&2
        fi
    done
    exit 1
}

# Under /tmp, because every user gets there (not so to the home of root) and the path of a socket must be short.
dir=$(mktemp -d /tmp/push.XXXXXX)
trap stop EXIT
trap 'exit 0' INT TERM HUP
chmod 755 "$dir"
install -m 755 "$PUSH_HUB" "$dir/push-hub"
install -m 644 "$PUSH_EXTENSION" "$dir/push.so"
cp -r examples/im "$dir/im"
chmod -R u+rwX,go+rX "$dir/im"
mkdir "$dir/ini"
install -d -m 700 "$dir/data"
[ "$(id -u)" != 0 ] || chown "$user:" "$dir/data"

# The port that was asked for, or the usual one, or any that is free.
port=$("$PHP" -n -r '
    foreach (array_slice($argv, 1) as $port) {
        if ($socket = @stream_socket_server("tcp://127.0.0.1:$port")) {
            exit(substr(strrchr(stream_socket_get_name($socket, false), ":"), 1));
        }
    }' -- ${PORT:-8080 0})
[ -n "$port" ] || fail "Port $PORT is in use."

fill() {
    sed -e "s|@DIR@|$dir|g" -e "s|@USER@|$user|g" -e "s|@PORT@|$port|g" "examples/im/$1" >"$dir/$2"
}
fill push.ini ini/push.ini
fill php-fpm.conf php-fpm.conf
fill nginx.conf nginx.conf
sed "s|/run/push/|$dir/run/|" examples/nginx/push-upstream.conf >"$dir/push-upstream.conf"
cp examples/nginx/push-locations.conf "$dir"
# The leading colon keeps the directory where the distribution loads its own extensions from.
export PHP_INI_SCAN_DIR=":$dir/ini"

# In sessions of their own: Ctrl-C in the terminal is for this script, which ends them in order.
setsid "$PHP_FPM" --fpm-config "$dir/php-fpm.conf" >>"$dir/php-fpm.log" 2>&1 &
fpm=$!
hub_answers() {
    alive "$fpm" || return 0
    "$PHP" -r 'exit(push_ping(1.0) ? 0 : 1);' 2>/dev/null
}
wait_until 20 hub_answers || give_up 'The hub did not start.'
alive "$fpm" || give_up 'php-fpm did not start.'
hub=$("$PHP" -r 'echo push_status()["pid"];')
keeper=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$hub/status")

setsid nginx -p "$dir" -c "$dir/nginx.conf" -e "$dir/nginx.log" 2>>"$dir/nginx.log" &
nginx=$!
page_answers() {
    alive "$nginx" || return 0
    "$PHP" -n -r 'exit(@file_get_contents($argv[1]) === false ? 1 : 0);' -- "http://127.0.0.1:$port/"
}
wait_until 10 page_answers || give_up 'nginx does not answer.'
alive "$nginx" || give_up 'nginx did not start.'

cat <<TEXT

  The chat is at   http://127.0.0.1:$port/
  Logs and data    $dir
  Stop             Ctrl-C, or kill $$

  Open it in two browsers (or a private window) to see both sides.

TEXT

# Until one of them ends, which none should, or a signal comes.
wait -n "$fpm" "$nginx" || true
give_up 'A server has ended unexpectedly.'
