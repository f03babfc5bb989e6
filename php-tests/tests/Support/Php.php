<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A php-cli of its own with the extension, for what must not happen in the process of the tests. */
final class Php
{
    private function __construct(private readonly Program $process, public readonly string $directory)
    {
    }

    /**
     * Starts $code, the body of a function whose result is kept; a thrown exception is one, too (see Thrown).
     *
     * @param array<string, string|int> $ini
     */
    public static function start(string $code, array $ini = []): self
    {
        $directory = Directory::make('php');
        // The code may have become another user when it writes its result.
        chmod($directory, 01777);
        $support = var_export(__DIR__, true);
        $target = var_export("$directory/result", true);
        file_put_contents("$directory/code.php", <<<PHP
            <?php
            array_map(fn (string \$name) => require $support . "/\$name.php", ['Thrown', 'Wait', 'Machine']);
            \$result = Push\\Tests\\Support\\Thrown::catch(function () { $code });
            file_put_contents($target, serialize(\$result));
            PHP);
        $command = [PHP_BINARY, '-n', '-d', 'extension=' . getenv('PUSH_EXTENSION'), '-d', 'display_errors=stderr'];
        foreach (['pcntl', 'posix'] as $extension) {
            // Some build them in, some do not.
            if (is_file(ini_get('extension_dir') . "/$extension.so")) {
                array_push($command, '-d', "extension=$extension");
            }
        }
        foreach ($ini as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }

        return new self(Program::start([...$command, "$directory/code.php"], "$directory/output"), $directory);
    }

    /** @param array<string, string|int> $ini */
    public static function run(string $code, array $ini = []): mixed
    {
        return self::start($code, $ini)->result();
    }

    public function pid(): int
    {
        return $this->process->pid;
    }

    /** Its exit code, where it does not get as far as a result. */
    public function end(): int
    {
        return $this->process->wait(60.0);
    }

    public function output(): string
    {
        return $this->process->output();
    }

    public function result(): mixed
    {
        $code = $this->process->wait(30.0);
        if ($code !== 0 || $this->process->output() !== '') {
            throw new RuntimeException("php ended with $code and wrote:\n" . $this->process->output());
        }

        return unserialize((string) file_get_contents("{$this->directory}/result"));
    }
}
