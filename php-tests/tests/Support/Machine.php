<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** What the machine offers: ports, users, processes. */
final class Machine
{
    /** Whether a process runs that need not be a child of ours; a zombie has ended. */
    public static function runs(int $pid): bool
    {
        return !in_array(self::state($pid), [null, 'Z', 'X'], true);
    }

    /** How often it went to sleep, when it sleeps; null when it does not. */
    public static function sleeps(int $pid): ?int
    {
        $status = (string) @file_get_contents("/proc/$pid/status");

        return self::state($pid) === 'S' && preg_match('/^voluntary_ctxt_switches:\s+(\d+)$/m', $status, $match)
            ? (int) $match[1] : null;
    }

    /** Stops a process: when this returns, none of its threads runs. */
    public static function stop(int $pid): void
    {
        posix_kill($pid, SIGSTOP);
        Wait::until(static function () use ($pid): bool {
            $threads = array_map('basename', glob("/proc/$pid/task/*"));

            return array_diff(array_map(static fn (string $id): ?string => self::state("$pid/task/$id"), $threads), ['T']) === [];
        }, "process $pid stops");
    }

    private static function state(int|string $pid): ?string
    {
        $stat = (string) @file_get_contents("/proc/$pid/stat");

        return $stat === '' ? null : $stat[strrpos($stat, ')') + 2];
    }

    /** @return list<int> the processes whose parent it is, zombies among them */
    public static function children(int $pid): array
    {
        $children = [];
        foreach (glob('/proc/[0-9]*/stat') as $file) {
            $stat = (string) @file_get_contents($file);
            if ($stat !== '' && (int) explode(' ', substr($stat, strrpos($stat, ')') + 2))[1] === $pid) {
                $children[] = (int) basename(dirname($file));
            }
        }

        return $children;
    }

    /** @return list<int> its children, theirs, and so on */
    public static function descendants(int $pid): array
    {
        $all = self::children($pid);
        foreach ($all as $child) {
            array_push($all, ...self::descendants($child));
        }

        return $all;
    }

    /** The name that a process has given itself. */
    public static function name(int $pid): string
    {
        return rtrim((string) @file_get_contents("/proc/$pid/cmdline"), "\0");
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
}
