#!/usr/bin/env bash
# `install.sh install` builds what has changed and copies it to its places, `install.sh uninstall` removes the same files.
#
# DESTDIR is put before every path, for packages. PREFIX (/usr/local) is for the hub and the C library; the extension goes
# where PHP looks for extensions, and its INI file to where phpenmod does.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

what=$1
export PREFIX=${PREFIX:-/usr/local}
[[ $PREFIX == /* ]] || fail "PREFIX=$PREFIX: must be an absolute path, it is compiled into the extension."
root=${DESTDIR:-}
[ -n "$PHP_CONFIG" ] || fail "There is no php-config, which knows where extensions go. \`make deps-run\` installs it."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
extension=$("$PHP_CONFIG" --extension-dir)/push.so
hub=$PREFIX/sbin/push-hub
ini=/etc/php/$PHP_VERSION/mods-available/push.ini
library=$PREFIX/lib/libpush
header=$PREFIX/include/push.h
ffi_header=$PREFIX/include/push.ffi.h
package=$PREFIX/lib/pkgconfig/push.pc
units=$PREFIX/lib/systemd/system
settings=/etc/push.toml

# copy MODE FILE PLACE. GNU install makes a new file, so that who has the old one mapped goes on with it.
copy() {
    install -D -m "$1" "$2" "$root$3"
    echo "  $root$3"
}

# link TARGET PLACE
link() {
    ln -sfn "$1" "$root$2"
    echo "  $root$2 -> $1"
}

# keep FILE PLACE: a copy, unless what is there was changed.
keep() {
    if [ -e "$root$2" ] && ! cmp -s "$1" "$root$2"; then
        echo "  $root$2 is kept as it is, because it was changed"
    else
        copy 644 "$1" "$2"
    fi
}

# drop FILE PLACE: removes the copy, unless it was changed.
drop() {
    if [ -e "$root$2" ] && ! cmp -s "$1" "$root$2"; then
        echo "$root$2 stays, because it was changed."
    else
        rm -f "$root$2"
    fi
}

# Whether this PHP is one of Debian's, with phpenmod. Asked of this system, since a DESTDIR has nothing yet.
has_modules() { [ -d "/etc/php/$PHP_VERSION" ]; }

put() {
    # Under sudo there is often no cargo; then what `make build` has left is taken, when it was built for this.
    if have cargo; then
        also='--package push-c-api'
        . scripts/build.sh
    else
        target=${CARGO_TARGET_DIR:-target}
        PUSH_HUB=$target/release/push-hub PUSH_EXTENSION=$target/release/libphp_push.so
        for file in "$PUSH_HUB" "$PUSH_EXTENSION" "$target/release/libpush.so" "$target/release/libpush.a"; do
            [ -f "$file" ] || fail "There is no cargo for user $(id -un), and no $file. Build first, as your user: make build"
        done
        grep -qaF "$hub" "$PUSH_EXTENSION" || fail \
            "$PUSH_EXTENSION was built for another PREFIX. Build again, as your user: make build PREFIX=$PREFIX"
    fi
    "$PHP" -n -d "extension=$(realpath "$PUSH_EXTENSION")" -r 'exit(extension_loaded("push") ? 0 : 1);' \
        || fail "PHP $PHP_VERSION does not load $PUSH_EXTENSION. Build again: make build PHP_VERSION=$PHP_VERSION"

    echo "Installing for PHP $PHP_VERSION:"
    copy 755 "$PUSH_HUB" "$hub"
    copy 644 "$PUSH_EXTENSION" "$extension"
    copy 644 "$target/release/libpush.so" "$library.so.$version"
    link "libpush.so.$version" "$library.so.0"
    link libpush.so.0 "$library.so"
    copy 644 "$target/release/libpush.a" "$library.a"
    copy 644 c-api/include/push.h "$header"
    copy 644 c-api/include/push.ffi.h "$ffi_header"
    sed -e "s|@PREFIX@|$PREFIX|g" -e "s|@VERSION@|$version|g" c-api/push.pc.in | copy 644 /dev/stdin "$package"
    for unit in dist/systemd/*; do
        sed "s|@PREFIX@|$PREFIX|g" "$unit" | copy 644 /dev/stdin "$units/${unit##*/}"
    done
    copy 644 dist/sysusers.d/push.conf "$PREFIX/lib/sysusers.d/push.conf"
    copy 644 dist/tmpfiles.d/push.conf "$PREFIX/lib/tmpfiles.d/push.conf"
    keep dist/push.toml "$settings"
    if ! has_modules; then
        echo 'Enable it with "extension=push.so" in php.ini.'
    else
        keep php-ext/push.ini "$ini"
    fi
    if [ -z "$root" ]; then
        [ "$(id -u)" != 0 ] || ldconfig
        ! has_modules || echo "Enable it with: phpenmod -v $PHP_VERSION push"
        id push >/dev/null 2>&1 || echo 'The hub of a php-fpm that root starts needs a user: useradd --system --shell /usr/sbin/nologin push'
        ! have systemctl || echo 'As a service: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload && systemctl enable --now push-hub'
    fi
}

take() {
    if [ -z "$root" ] && [ -e "$ini" ] && have phpdismod; then
        phpdismod -v "$PHP_VERSION" push
    fi
    drop php-ext/push.ini "$ini"
    drop dist/push.toml "$settings"
    for unit in dist/systemd/*; do
        rm -f "$root$units/${unit##*/}"
    done
    rm -f "$root$PREFIX"/lib/{sysusers,tmpfiles}.d/push.conf
    rm -f "$root$hub" "$root$extension" "$root$library".so{,.0,".$version"} "$root$library.a" "$root$header" "$root$ffi_header" "$root$package"
    [ -n "$root" ] || [ "$(id -u)" != 0 ] || ldconfig
}

case $what in
    install) put ;;
    uninstall) take ;;
    *) fail 'usage: install.sh install|uninstall' ;;
esac
