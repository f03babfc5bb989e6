#!/usr/bin/env bash
# Which packages are missing: `deps.sh ask run` asks before it installs them, and without a terminal only says what to
# do; `deps.sh install run` installs them. `run` is what `make run` needs, `test` what the tests need beside it, `bench` what
# `make bench` needs beside it.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

what=$1 for=$2

# bindgen reads no libclang-cpp, which is the same library for C++ and comes with LLVM's other packages.
libclang_found() {
    [ -n "${LIBCLANG_PATH:-}" ] || {
        ldconfig -p
        compgen -G '/usr/lib/llvm*/lib*/libclang*.so*' || true
        ! have llvm-config || compgen -G "$(llvm-config --prefix)/lib*/libclang*.so*" || true
    } | grep -E 'libclang(-[0-9.]+)?\.so' >/dev/null
}

php_has() { [ -n "$PHP" ] && "$PHP" -r 'exit(extension_loaded($argv[1]) ? 0 : 1);' "$1"; }

node_fits() { have node && node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; }

# The Debian names of PHP's packages: of the version that is there, else of one that apt offers, else the unversioned.
php_prefix() {
    local version known=${PHP_VERSION:-$wanted_php}
    for version in ${known:-8.4 8.3 8.2 8.5}; do
        if [ -n "$known" ] || apt-cache show "php$version-fpm" >/dev/null 2>&1; then
            echo "php$version"
            return
        fi
    done
    echo php
}

# Fills `missing` with lines "package: what it is for".
look() {
    find_php
    missing=()
    local prefix
    prefix=$(php_prefix)
    case $for in
        run)
            have cc && have make || missing+=("build-essential: a C compiler, linker and make")
            libclang_found || missing+=("libclang-dev: reads PHP's headers when the extension is built")
            [ -n "$PHP" ] || missing+=("$prefix-cli: PHP 8.2 to 8.5 on the command line")
            [ -n "$PHP_FPM" ] || missing+=("$prefix-fpm: PHP behind nginx")
            [ -n "$PHP_CONFIG" ] || missing+=("$prefix-dev: PHP's headers, for the extension")
            php_has pdo_sqlite || missing+=("$prefix-sqlite3: the example keeps its messages in SQLite")
            have nginx || missing+=("nginx: the web server of the example")
            ;;
        test)
            php_has dom || missing+=("$prefix-xml: needed by PHPUnit")
            php_has mbstring || missing+=("$prefix-mbstring: needed by PHPUnit")
            php_has curl || missing+=("$prefix-curl: the tests speak HTTP")
            php_has FFI || "$PHP" -n -d extension=ffi -r 'exit(extension_loaded("FFI") ? 0 : 1);' \
                || missing+=("$prefix-common: PHP's FFI calls the C library")
            have phpunit || missing+=("phpunit: runs php-tests")
            node_fits || missing+=("nodejs: runs the tests of the browser client, from version 20 on")
            have npm || missing+=("npm: packs the browser client")
            have chromium || missing+=("chromium: the browser test")
            have chromedriver || missing+=("chromium-driver: the browser test")
            have pkg-config || missing+=("pkg-config: the manual of the C library is tried")
            [ -e /usr/include/fcgiapp.h ] || missing+=("libfcgi-dev: an example of the C library")
            have spawn-fcgi || missing+=("spawn-fcgi: starts that example")
            have ip || missing+=("iproute2: a network that a test cuts")
            have valgrind || missing+=("valgrind: looks for leaks of the C library")
            ;;
        bench)
            [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=("libnginx-mod-nchan: what the hub is measured beside")
            php_has curl || missing+=("$prefix-curl: publishes to nchan")
            "$PHP" -n -d extension=igbinary -d extension=redis -r 'exit(extension_loaded("redis") ? 0 : 1);' >/dev/null 2>&1 \
                || missing+=("$prefix-redis: publishes to Redis")
            have redis-server || missing+=("redis-server: the same")
            have chrt || missing+=("util-linux: keeps the processors awake while calls are timed")
            ;;
        *) fail "usage: deps.sh ask|install run|test|bench" ;;
    esac
}

look
if [ "$what" = install ] && [ ${#missing[@]} -gt 0 ] && have apt-get; then
    as_root=(env DEBIAN_FRONTEND=noninteractive)
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "Installing packages needs root, and there is no sudo. As root: make deps-$for"
        as_root=(sudo "${as_root[@]}")
        [ -t 0 ] || as_root=(sudo -n "${as_root[@]:1}")
    fi
    "${as_root[@]}" apt-get update -q
    look        # only now the names of PHP's packages are known
    printf 'Installing %s\n' "${missing[@]}"
    "${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]%%:*}"
    look
fi

# Not Debian's, but of the Rust that is there.
if [ "$what-$for" = install-test ] && have rustup && ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    rustup component add rustfmt clippy
fi

if [ ${#missing[@]} -gt 0 ]; then
    printf 'Missing, to %s:\n' "$(case $for in run) echo "build and run the example" ;; test) echo "run the tests" ;; *) echo "measure" ;; esac)"
    printf '    %s\n' "${missing[@]}"
    if ! have apt-get; then
        fail "The names are Debian's. Install them with the package manager of this system, then try again."
    elif [ "$what" = install ]; then
        [ -n "$PHP_VERSION" ] || echo "PHP ${wanted_php:-8.2 to 8.5} is needed. For distributions with another one: https://deb.sury.org" >&2
        fail "They are still missing after the installation."
    fi
    sudo=$([ "$(id -u)" = 0 ] || echo 'sudo ')
    echo "This installs them, as \`make deps-$for\` does:"
    echo "    ${sudo}apt-get update && ${sudo}apt-get install --no-install-recommends ${missing[*]%%:*}"
    [ -t 0 ] || fail "There is no terminal to ask on, so nothing was installed."
    read -r -p 'Install them now? [y/N] ' reply
    [[ $reply == [yY]* ]] || fail "Nothing was installed."
    exec "$0" install "$for"
fi
