<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A php-fpm with the extension: one pool, a master that starts or adopts a hub, and a FastCGI client for its workers. */
final class FpmPool
{
    private int $scripts = 0;
    private int $pid = 0;
    private bool $contained = false;

    private function __construct(
        private ?Program $process,
        public readonly string $directory,
        public readonly string $listen,
        public readonly string $socket,
        public readonly string $address,
        private readonly array $command,
    ) {
    }

    /**
     * @param array<string, string|int> $ini Beyond a free listener, a socket and a short linger
     * @param array<string, string|int> $pool Directives of the pool beyond one static worker
     * @param ?string $directory One that exists, such as that of an earlier pool, to meet its hub
     * @param list<string> $options Instead of `-n`, which reads no INI file
     * @param list<string> $container A program that runs php-fpm in namespaces of its own; none for a daemon
     */
    public static function start(
        array $ini = [], array $pool = [], bool $daemonize = false, ?string $directory = null, array $options = ['-n'],
        array $container = [],
    ): self {
        $fpm = self::prepare($ini, $pool, $directory, $options);
        $fpm->contained = $container !== [];
        $command = [...$container, ...$fpm->command, $daemonize ? '-D' : '-F'];
        $process = Program::start($command, "{$fpm->directory}/output");
        if ($daemonize) {
            $code = $process->wait();
            if ($code !== 0) {
                throw new RuntimeException("php-fpm ended with $code:\n" . $fpm->log());
            }
        } else {
            $fpm->process = $process;
        }
        Wait::until(function () use ($fpm): bool {
            if ($fpm->process?->exitCode() !== null) {
                throw new RuntimeException("php-fpm ended at its start:\n" . $fpm->log());
            }

            return $fpm->pid() !== 0 && self::accepts($fpm->listen);
        }, "php-fpm listens at {$fpm->listen}");

        return $fpm;
    }

    /** Runs php-fpm with these arguments instead of serving. */
    public static function probe(array $arguments): self
    {
        $fpm = self::prepare([], [], null, ['-n']);
        $process = Program::start([...$fpm->command, ...$arguments], "{$fpm->directory}/output");
        $process->wait();

        return $fpm;
    }

    private static function prepare(array $ini, array $pool, ?string $directory, array $options): self
    {
        $directory ??= Directory::make('fpm');
        $user = Machine::unprivileged();
        $address = $ini['push.listen'] ?? '127.0.0.1:' . Machine::freePort();
        $ini += [
            'extension' => getenv('PUSH_EXTENSION'),
            'push.hub' => getenv('PUSH_HUB'),
            'push.socket' => "$directory/run/hub.sock",
            'push.listen' => $address,
            'push.secret_file' => "$directory/run/secret",
            'push.log' => "$directory/hub.log",
            'push.user' => $user,
            'push.linger' => '300ms',
            'display_errors' => '0',
            'log_errors' => '1',
        ];
        $pool += [
            'listen' => "$directory/fpm.sock",
            'listen.mode' => '0666',
            'pm' => 'static',
            'pm.max_children' => 1,
            'catch_workers_output' => 'yes',
        ];
        if (Machine::root()) {
            $pool += ['user' => $user, 'group' => $user];
        }
        $lines = ['[global]', "pid = $directory/fpm.pid", "error_log = $directory/fpm.log"];
        if (isset($pool['process_control_timeout'])) {
            // Of the master, not of a pool.
            $lines[] = "process_control_timeout = {$pool['process_control_timeout']}";
            unset($pool['process_control_timeout']);
        }
        $lines[] = '[test]';
        foreach ($pool as $name => $value) {
            $lines[] = "$name = $value";
        }
        file_put_contents("$directory/fpm.conf", implode("\n", $lines) . "\n");
        $command = [self::binary(), ...$options, '-y', "$directory/fpm.conf"];
        foreach ($ini as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }

        return new self(null, $directory, "$directory/fpm.sock", $ini['push.socket'], (string) $address, $command);
    }

    private static function binary(): string
    {
        $version = PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
        foreach (["/usr/sbin/php-fpm$version", dirname(PHP_BINARY) . '/../sbin/php-fpm'] as $path) {
            if (is_executable($path)) {
                return $path;
            }
        }
        throw new RuntimeException("there is no php-fpm of PHP $version");
    }

    private static function accepts(string $path): bool
    {
        $connection = @stream_socket_client("unix://$path");

        return $connection !== false && fclose($connection);
    }

    public function pid(): int
    {
        if ($this->contained) {
            // What stands in the file is its number there: that of somebody else here.
            $masters = array_filter(
                [$this->process->pid, ...Machine::descendants($this->process->pid)],
                static fn (int $pid): bool => str_starts_with(Machine::name($pid), 'php-fpm: master'),
            );

            return $this->pid = current($masters) ?: $this->pid;
        }
        // A daemon's reload changes it, and its end removes the file.
        $pid = (int) @file_get_contents("{$this->directory}/fpm.pid");

        return $this->pid = $pid === 0 ? $this->pid : $pid;
    }

    /**
     * The process of its hub and keeper that has one of these names; null while there is none.
     *
     * @param list<string> $names
     */
    public function find(array $names): ?int
    {
        foreach (glob('/proc/[0-9]*') as $directory) {
            $pid = (int) basename($directory);
            // Its standard error stream is the log, whatever its parent and its number in a container are.
            if (in_array(Machine::name($pid), $names, true) && Machine::runs($pid)
                && @readlink("$directory/fd/2") === "{$this->directory}/hub.log") {
                return $pid;
            }
        }

        return null;
    }

    /** All that was logged: by PHP at the start, by FPM, by the hub. */
    public function log(): string
    {
        $log = '';
        foreach (['output', 'fpm.log', 'hub.log'] as $name) {
            $log .= (string) @file_get_contents("{$this->directory}/$name");
        }

        return $log;
    }

    /** Writes a script that prints as JSON what $code, the body of a function, returns or throws; its path. */
    public function script(string $code): string
    {
        $path = "{$this->directory}/script-" . ++$this->scripts . '.php';
        // A worker may be kept out of the directory where these tests are, as in the home of root.
        $support = "{$this->directory}/Thrown.php";
        if (!is_file($support)) {
            // Once: a script that runs meanwhile must not find half of it.
            copy(__DIR__ . '/Thrown.php', $support);
        }
        $support = var_export($support, true);
        file_put_contents($path, <<<PHP
            <?php
            require $support;
            \$result = Push\\Tests\\Support\\Thrown::catch(function () { $code });
            header('Content-Type: application/json');
            echo json_encode(\$result);
            PHP);
        chmod($path, 0644);

        return $path;
    }

    /** Runs $code in a worker. */
    public function run(string $code): mixed
    {
        return $this->request($this->script($code))->json();
    }

    public function request(string $script, string $query = ''): Response
    {
        return FastCgi::request($this->listen, [
            'GATEWAY_INTERFACE' => 'CGI/1.1',
            'SERVER_PROTOCOL' => 'HTTP/1.1',
            'REQUEST_METHOD' => 'GET',
            'SCRIPT_FILENAME' => $script,
            'SCRIPT_NAME' => '/' . basename($script),
            'REQUEST_URI' => '/' . basename($script) . "?$query",
            'QUERY_STRING' => $query,
        ]);
    }

    /** The reload of an update: SIGUSR2, then workers of a new master answer. */
    public function reload(): void
    {
        $before = $this->run('return getmypid();');
        posix_kill($this->pid(), SIGUSR2);
        Wait::until(function () use ($before): bool {
            try {
                return $this->run('return getmypid();') !== $before;
            } catch (RuntimeException) {
                return false; // between the old listener and the new one
            }
        }, 'php-fpm reloads');
    }

    public function stop(int $signal = SIGQUIT): void
    {
        $pid = $this->pid();
        posix_kill($pid, $signal);
        $this->process?->wait();
        Wait::until(static fn (): bool => !Machine::runs($pid), "php-fpm $pid ends");
    }
}
