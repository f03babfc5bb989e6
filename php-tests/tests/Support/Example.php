<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** The example, started as `make run` starts it: hub, php-fpm and nginx in a directory of their own. */
final class Example
{
    public readonly string $url;
    public readonly string $directory;
    private Process $process;

    public function __construct()
    {
        $this->process = new Process([dirname(__DIR__, 3) . '/scripts/run.sh'], ['PORT' => '0']);
        // It builds what has changed, so give it time.
        [, $this->url] = $this->process->until('~The chat is at\s+(\S+)/\n~', 900);
        [, $this->directory] = $this->process->until('~Logs and data\s+(\S+)\n~', 5);
    }

    /** The result of an expression in a PHP process beside php-fpm, as in a cron job. */
    public function php(string $expression): string
    {
        $php = new Process([PHP_BINARY, '-r', "echo $expression, \"\\n\";"], ['PHP_INI_SCAN_DIR' => ":{$this->directory}/ini"]);
        [, $result] = $php->until('~^(.*)\n~', 10);
        return $result;
    }

    /** Ends it as Ctrl-C and TERM do, and waits for that. */
    public function stop(): void
    {
        $this->process->stop(SIGTERM, 60);
        if (file_exists($this->directory)) {
            throw new RuntimeException("{$this->directory} is still there");
        }
    }
}
