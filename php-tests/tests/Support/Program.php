<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A program that a test started: its pid, what it wrote, its end. */
final class Program
{
    /** @var array<int, self> */
    private static array $running = [];
    /** @var ?resource */
    private $handle;
    private ?int $exit = null;

    private function __construct(public readonly int $pid, private readonly string $output, $handle)
    {
        $this->handle = $handle;
        self::$running[$pid] = $this;
    }

    /**
     * @param list<string> $command
     * @param string $output The file that takes what it writes to both streams.
     * @param ?array<string, string> $environment null: as here
     */
    public static function start(array $command, string $output, ?array $environment = null): self
    {
        $streams = [['file', '/dev/null', 'r'], ['file', $output, 'a'], ['file', $output, 'a']];
        $handle = proc_open($command, $streams, $pipes, null, $environment);
        if ($handle === false) {
            throw new RuntimeException('cannot start ' . implode(' ', $command));
        }

        // It may have ended already, and its exit code is told once only.
        $status = proc_get_status($handle);
        $program = new self($status['pid'], $output, $handle);
        $program->note($status);

        return $program;
    }

    public function output(): string
    {
        return (string) file_get_contents($this->output);
    }

    public function signal(int $signal): void
    {
        if ($this->exitCode() === null) {
            posix_kill($this->pid, $signal);
        }
    }

    /** null while it runs; 128 + the signal when one ended it. */
    public function exitCode(): ?int
    {
        if ($this->handle !== null) {
            $this->note(proc_get_status($this->handle));
        }

        return $this->exit;
    }

    private function note(array $status): void
    {
        if (!$status['running']) {
            $this->exit = $status['signaled'] ? 128 + $status['termsig'] : $status['exitcode'];
            proc_close($this->handle);
            $this->handle = null;
            unset(self::$running[$this->pid]);
        }
    }

    public function wait(float $seconds = 15.0): int
    {
        return Wait::until(
            fn (): ?array => ($code = $this->exitCode()) === null ? null : [$code],
            "end of process {$this->pid}; it wrote:\n" . $this->output(),
            $seconds,
        )[0];
    }

    /** Ends it with $signal, or at last with SIGKILL. */
    public function end(int $signal = SIGTERM): void
    {
        $this->signal($signal);
        try {
            $this->wait();
        } catch (RuntimeException $late) {
            $this->signal(SIGKILL);
            $this->wait();
            throw $late;
        }
    }

    /** What is left over when the tests are done, because one of them failed. */
    public static function endAll(): void
    {
        foreach (self::$running as $process) {
            $process->signal(SIGCONT);
            $process->signal(SIGTERM);
        }
        foreach (self::$running as $process) {
            $process->end();
        }
    }
}
