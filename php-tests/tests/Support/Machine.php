<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** What the machine offers: ports, users, processes. */
final class Machine
{
    /** Whether a process runs that need not be a child of ours. */
    public static function runs(int $pid): bool
    {
        $stat = @file_get_contents("/proc/$pid/stat");

        // A zombie has ended.
        return $stat !== false && !str_starts_with(substr($stat, (int) strrpos($stat, ')') + 2), 'Z');
    }

    /** A port on the loopback address that was free a moment ago. */
    public static function freePort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        $name = stream_socket_get_name($socket, false);
        fclose($socket);

        return (int) substr($name, strrpos($name, ':') + 1);
    }

    /** The user that servers run as: root must not, and anyone else cannot change. */
    public static function unprivileged(): string
    {
        return posix_getuid() === 0 ? 'www-data' : posix_getpwuid(posix_getuid())['name'];
    }

    public static function root(): bool
    {
        return posix_getuid() === 0;
    }

    /** Whether a process sleeps in poll(), ppoll() or the like. */
    public static function waitsForDescriptors(int $pid): bool
    {
        return str_contains((string) @file_get_contents("/proc/$pid/wchan"), 'poll');
    }
}
