# Sourced by the other scripts: where the tools are, and which PHP is meant.
#
# Sets PHP_VERSION (8.2 to 8.5, or empty when there is none), PHP, PHP_FPM and PHP_CONFIG (each empty when it is
# missing). `make run PHP_VERSION=8.3` chooses between several.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
fi

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null; }

# The program $1 of PHP $2: php8.3, php-fpm83 or plain php, whichever is there and of this version.
php_program() {
    local name found
    for name in "$1$2" "$1${2/./}" "$1"; do
        if have "$name"; then
            case $1 in
                php-config) found=$("$name" --version) ;;
                *) found=$("$name" -n -v | sed -n '1s/^PHP //p') ;;
            esac
            if [[ $found == "$2".* ]]; then
                command -v "$name"
                return
            fi
        fi
    done
}

find_php() {
    local version versions=(8.5 8.4 8.3 8.2) usual
    if [ -n "$wanted_php" ]; then
        versions=("$wanted_php")
    elif have php; then
        # Of several complete ones the usual `php` goes first.
        usual=$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')
        [[ $usual =~ ^8\.[2-5]$ ]] && versions=("$usual" "${versions[@]}")
    fi
    PHP_VERSION='' PHP='' PHP_FPM='' PHP_CONFIG=''
    for version in "${versions[@]}"; do
        local php fpm config
        php=$(php_program php "$version") fpm=$(php_program php-fpm "$version") config=$(php_program php-config "$version")
        # The first that is complete, or else the first that has anything.
        if [ -n "$php" ] && [ -n "$fpm" ] && [ -n "$config" ]; then
            PHP_VERSION=$version PHP=$php PHP_FPM=$fpm PHP_CONFIG=$config
            break
        elif [ -z "$PHP_VERSION" ] && [ -n "$php$fpm$config" ]; then
            PHP_VERSION=$version PHP=$php PHP_FPM=$fpm PHP_CONFIG=$config
        fi
    done
    # The build of the extension reads these two.
    export PHP PHP_CONFIG
}

require_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have cargo && have rustc || fail \
        "Rust $wanted or newer is needed and there is none. https://rustup.rs installs it for your user:" \
        "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    found=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n1)" = "$wanted" ] || fail \
        "Rust $wanted or newer is needed, $(command -v rustc) is $found." \
        "With rustup: \`rustup update stable\`. Distributions ship older ones; https://rustup.rs installs the current one beside it."
}

wanted_php=${PHP_VERSION:-}
[[ $wanted_php =~ ^(8\.[2-5])?$ ]] || fail "PHP_VERSION=$wanted_php: PHP 8.2, 8.3, 8.4 and 8.5 are supported."
find_php
