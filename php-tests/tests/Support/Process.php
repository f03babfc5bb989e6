<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A program that runs beside the test. Its output and error output are read together. */
final class Process
{
    private $handle;
    private array $pipes = [];
    private string $output = '';

    /**
     * @param list<string> $command
     * @param array<string, string> $environment on top of our own
     */
    public function __construct(private readonly array $command, array $environment = [])
    {
        $this->handle = proc_open(
            $command,
            [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]],
            $this->pipes,
            env_vars: $environment + getenv(),
        );
        stream_set_blocking($this->pipes[1], false);
    }

    /** Waits until the output matches, and answers the match. */
    public function until(string $pattern, float $seconds): array
    {
        $deadline = microtime(true) + $seconds;
        while (preg_match($pattern, $this->output, $match) !== 1) {
            $left = $deadline - microtime(true);
            if ($left <= 0 || feof($this->pipes[1])) {
                throw new RuntimeException("{$this->command[0]} did not print $pattern but:\n{$this->output}");
            }
            $read = [$this->pipes[1]];
            $none = [];
            if (stream_select($read, $none, $none, 0, (int) (min($left, 0.5) * 1e6)) > 0) {
                $this->output .= fread($this->pipes[1], 65536);
            }
        }
        return $match;
    }

    /** Sends a signal and waits for the end. */
    public function stop(int $signal, float $seconds): void
    {
        proc_terminate($this->handle, $signal);
        $deadline = microtime(true) + $seconds;
        while (proc_get_status($this->handle)['running']) {
            $this->output .= fread($this->pipes[1], 65536);
            if (microtime(true) > $deadline) {
                proc_terminate($this->handle, SIGKILL);
                throw new RuntimeException("{$this->command[0]} did not end within $seconds s:\n{$this->output}");
            }
            usleep(20_000);
        }
    }
}
