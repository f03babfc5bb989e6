#!/usr/bin/env bash
# Runs php-ext/tests with PHP's own run-tests.php against PUSH_EXTENSION and PUSH_HUB. Arguments go to run-tests.php.
set -euo pipefail
. "$(dirname "$0")/toolchain.sh"

# It comes with PHP's headers; where they are is asked of php-config, except that Debian keeps it with the extensions.
runner=
for place in "$("$PHP_CONFIG" --extension-dir)/build" "$("$PHP_CONFIG" --prefix)/lib/php/build" "$("$PHP_CONFIG" --prefix)/lib/php"*/build; do
    if [ -f "$place/run-tests.php" ]; then
        runner=$place/run-tests.php
        break
    fi
done
[ -n "$runner" ] || fail "There is no run-tests.php beside $("$PHP_CONFIG" --extension-dir). It comes with PHP's headers."

# A copy in a private directory, since run-tests.php writes beside the tests, and hubs listen in TMPDIR.
directory=$(mktemp -d /tmp/push-phpt.XXXXXX)
trap 'rm -rf "$directory"' EXIT
chmod 755 "$directory"
cp -r php-ext/tests "$directory/tests"
export TMPDIR=$directory TEST_PHP_EXECUTABLE=$PHP NO_INTERACTION=1 REPORT_EXIT_STATUS=1
"$PHP" -n "$runner" -n -q -j2 --show-diff --no-color -d "extension=$PUSH_EXTENSION" "$@" "$directory/tests"
