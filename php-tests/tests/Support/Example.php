<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** The example, started as `make run` starts it: hub, php-fpm and nginx in a directory of their own. */
final class Example
{
    private function __construct(
        private readonly Program $process,
        public readonly string $url,
        public readonly string $directory,
    ) {
    }

    public static function start(): self
    {
        $output = Directory::make('example') . '/output';
        $process = Program::start([dirname(__DIR__, 3) . '/scripts/run.sh'], $output, ['PORT' => '0'] + getenv());
        // It builds what has changed, so give it time.
        [, $url, $directory] = Wait::until(static function () use ($process): ?array {
            if ($process->exitCode() !== null) {
                throw new RuntimeException("run.sh ended at its start:\n" . $process->output());
            }
            $said = preg_match('~The chat is at\s+(\S+)/\n.*Logs and data\s+(\S+)\n~', $process->output(), $match);
            return $said === 1 ? $match : null;
        }, 'the address of the chat', 900.0);
        return new self($process, $url, $directory);
    }

    /** What push_status() says in a PHP beside php-fpm, as in a cron job. */
    public function status(): array
    {
        return Php::run('return push_status();', ['push.socket' => "{$this->directory}/run/hub.sock"]);
    }

    /** The processes of the hub: keeper and hub. */
    public function hub(): array
    {
        $hub = $this->status()['pid'];
        preg_match('/^PPid:\s*(\d+)/m', file_get_contents("/proc/$hub/status"), $parent);
        return [(int) $parent[1], $hub];
    }

    /** The reload of an update: SIGUSR2, after which workers of a new master answer. */
    public function reload(): void
    {
        [$master] = array_values(array_filter(self::children($this->process->pid), static function (int $pid): bool {
            return str_contains((string) @file_get_contents("/proc/$pid/cmdline"), 'php-fpm');
        }));
        $before = self::children($master);
        posix_kill($master, SIGUSR2);
        Wait::until(static fn (): bool => array_intersect($before, self::children($master)) === [], 'the old workers are gone');
    }

    /** @return list<int> */
    private static function children(int $pid): array
    {
        return array_map(intval(...), preg_split('/ /', (string) @file_get_contents("/proc/$pid/task/$pid/children"), -1, PREG_SPLIT_NO_EMPTY));
    }

    /** Ends it as Ctrl-C and TERM do. */
    public function stop(): void
    {
        $this->process->end();
    }
}
