<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** The private directory of this run, and directories in it for what a test starts. */
final class Directory
{
    private static string $root;
    private static int $number = 0;

    /** Removes everything when the process that owns it ends; children of it that were forked leave it alone. */
    public static function ownedBy(string $root, int $pid): void
    {
        self::$root = $root;
        register_shutdown_function(static function () use ($root, $pid): void {
            if (getmypid() === $pid) {
                Program::endAll();
                self::remove($root);
            }
        });
    }

    /** A new directory that the unprivileged user may enter, too. */
    public static function make(string $name): string
    {
        $path = self::$root . "/$name-" . ++self::$number;
        mkdir($path, 0755);

        return $path;
    }

    public static function shared(): string
    {
        $path = self::$root . '/shared';
        if (!is_dir($path)) {
            mkdir($path, 0755);
        }

        return $path;
    }

    private static function remove(string $path): void
    {
        if (is_dir($path) && !is_link($path)) {
            chmod($path, 0700);
            foreach (array_diff(scandir($path), ['.', '..']) as $name) {
                self::remove("$path/$name");
            }
            rmdir($path);
        } else {
            unlink($path);
        }
    }
}
