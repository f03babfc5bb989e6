<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;

/** push.stub.php says of every function and class what Reflection says of the loaded one. */
final class StubTest extends TestCase
{
    private const STUB = __DIR__ . '/../../../php-ext/push.stub.php';

    public function testTheStubDescribesTheExtension(): void
    {
        $loaded = self::describe(['-d', 'extension=' . getenv('PUSH_EXTENSION')], '');
        $stub = self::describe([], self::STUB);
        self::assertNotEmpty($loaded['functions']);
        self::assertNotEmpty($loaded['classes']);
        self::assertSame($stub, $loaded);
    }

    public function testEverythingInTheStubHasADescription(): void
    {
        $names = self::describe([], self::STUB);
        $source = file_get_contents(self::STUB);
        foreach (array_keys($names['functions']) as $function) {
            self::assertMatchesRegularExpression("~\\*/\\s+function $function\\(~", $source);
        }
    }

    /**
     * The description by a PHP of its own: of the extension, or of what a file declares.
     *
     * @param list<string> $options
     */
    private static function describe(array $options, string $file): array
    {
        $command = [PHP_BINARY, '-n', ...$options, __DIR__ . '/../Support/describe.php', $file];
        $output = shell_exec(implode(' ', array_map(escapeshellarg(...), $command)));

        return json_decode((string) $output, true, 512, JSON_THROW_ON_ERROR);
    }
}
