<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A hub of its own: `push-hub --config`, on free ports in a private directory. */
final class Hub
{
    private static ?self $shared = null;

    private function __construct(
        private Program $process,
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
            secret_file = "$directory/run/secret"
            user = "$user"
            $toml
            TOML);
        $hub = new self(self::run($directory), $directory, $socket, $address);
        $hub->listens();

        return $hub;
    }

    private static function run(string $directory): Program
    {
        return Program::start([getenv('PUSH_HUB'), '--config', "$directory/push.toml"], "$directory/log");
    }

    private function listens(): void
    {
        Wait::until(function (): bool {
            if ($this->process->exitCode() !== null) {
                throw new RuntimeException("the hub ended at its start:\n" . $this->log());
            }
            $connection = @stream_socket_client("tcp://{$this->address}");
            $connected = $connection !== false && file_exists($this->socket);
            if ($connection !== false) {
                fclose($connection);
            }

            return $connected;
        }, "the hub listens at {$this->address}");
    }

    /** Ends it in order, and starts it anew on the same addresses. */
    public function restart(): void
    {
        $this->stop();
        $this->process = self::run($this->directory);
        $this->listens();
    }

    /** What this code returns, the body of a function, in a PHP whose calls go to this hub. */
    public function php(string $code): mixed
    {
        return Php::run($code, ['push.socket' => $this->socket]);
    }

    /** Publishes each of $data, at the first moment when the channel has as many subscribers. */
    public function publish(string $channel, array $data, ?int $subscribers = null): void
    {
        $wait = $subscribers === null ? '' : 'Push\\Tests\\Support\\Wait::until('
            . "fn () => push_channel_info('$channel')->subscribers === $subscribers, '$channel has $subscribers subscribers');";
        $published = $this->php($wait . 'return array_map(fn ($data) => push_publish(' . var_export($channel, true)
            . ', $data)->id, ' . var_export($data, true) . ');');
        if (!is_array($published)) {
            throw new RuntimeException("not published: {$published->message}");
        }
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
