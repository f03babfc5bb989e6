<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A hub of its own: `push-hub --config`, on free ports in a private directory. */
final class Hub
{
    private static ?self $shared = null;

    private function __construct(
        private readonly Program $process,
        public readonly string $directory,
        public readonly string $socket,
        public readonly string $address,
    ) {
    }

    /** The hub that this process's own calls go to. */
    public static function shared(): self
    {
        return self::$shared ??= self::in(Directory::shared(), '');
    }

    /** @param string $toml Further keys */
    public static function start(string $toml = ''): self
    {
        return self::in(Directory::make('hub'), $toml);
    }

    private static function in(string $directory, string $toml): self
    {
        $address = '127.0.0.1:' . Machine::freePort();
        $socket = "$directory/run/hub.sock";
        $user = Machine::unprivileged();
        file_put_contents("$directory/push.toml", <<<TOML
            listen = "$address"
            socket = "$socket"
            user = "$user"
            $toml
            TOML);
        $process = Program::start([getenv('PUSH_HUB'), '--config', "$directory/push.toml"], "$directory/log");
        $hub = new self($process, $directory, $socket, $address);
        Wait::until(function () use ($hub): bool {
            if ($hub->process->exitCode() !== null) {
                throw new RuntimeException("the hub ended at its start:\n" . $hub->log());
            }
            $connection = @stream_socket_client("tcp://{$hub->address}");
            $connected = $connection !== false && file_exists($hub->socket);
            if ($connection !== false) {
                fclose($connection);
            }

            return $connected;
        }, "the hub listens at {$hub->address}");

        return $hub;
    }

    /** The keeper's pid; push_status() has the hub's. */
    public function pid(): int
    {
        return $this->process->pid;
    }

    public function log(): string
    {
        return $this->process->output();
    }

    public function stop(): void
    {
        $this->process->end();
    }
}
