<?php

/**
 * Runs phpunit inside a PHP that has the extension, against a hub of its own.
 *
 * PUSH_EXTENSION (push.so) and PUSH_HUB (push-hub) name what is tested; without the extension loaded this process starts
 * itself anew with it. Everything lives in one private directory, and ends with this process.
 */

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    $prefix = 'Push\\Tests\\';
    if (str_starts_with($class, $prefix)) {
        require __DIR__ . '/tests/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
    }
});

foreach (['PUSH_EXTENSION' => 'push.so', 'PUSH_HUB' => 'push-hub'] as $variable => $what) {
    $path = getenv($variable);
    if ($path === false || !is_file($path)) {
        fwrite(STDERR, "$variable must be the absolute path of $what; \"make test\" sets it.\n");
        exit(2);
    }
}

$directory = getenv('PUSH_TEST_DIRECTORY');
if ($directory === false) {
    $directory = sys_get_temp_dir() . '/push-test-' . bin2hex(random_bytes(6));
    mkdir($directory, 0755);
    putenv("PUSH_TEST_DIRECTORY=$directory");
    $entries = [
        'extension=' . getenv('PUSH_EXTENSION'),
        "push.socket=$directory/shared/run/hub.sock",
        'display_errors=stderr',
        'error_reporting=-1',
        'zend.assertions=1',
    ];
    $arguments = [];
    foreach ($entries as $entry) {
        array_push($arguments, '-d', $entry);
    }
    pcntl_exec(PHP_BINARY, [...$arguments, ...$_SERVER['argv']]);
    exit(2);
}

Push\Tests\Support\Directory::ownedBy($directory, getmypid());
