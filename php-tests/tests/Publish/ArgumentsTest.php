<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use ArgumentCountError;
use Error;
use PHPUnit\Framework\TestCase;
use Stringable;
use Throwable;
use TypeError;
use ValueError;

/** Arguments are converted and refused as PHP does it for its own functions. */
final class ArgumentsTest extends TestCase
{
    use Calls;

    private static function text(string $text): Stringable
    {
        return new class($text) implements Stringable {
            public function __construct(private readonly string $text)
            {
            }

            public function __toString(): string
            {
                return $this->text;
            }
        };
    }

    private static function unique(): string
    {
        return bin2hex(random_bytes(6));
    }

    /** @return iterable<string, array{mixed, string, ?string}> value, name of the channel, deprecation */
    public function scalarsAsNames(): iterable
    {
        $number = random_int(1 << 40, 1 << 50);
        yield 'int' => [$number, (string) $number, null];
        yield 'float' => [$number + 0.5, (string) ($number + 0.5), null];
        yield 'Stringable' => [self::text($name = self::unique()), $name, null];
        yield 'true' => [true, '1', null];
    }

    /** @dataProvider scalarsAsNames */
    public function testWeakModeMakesAStringOfAScalar(mixed $value, string $name): void
    {
        $this->call(false, 'push_publish', [$value, 'x']);
        self::assertSame([], $this->raised);
        self::assertSame($name, push_channel_info($name)->name);
    }

    /** @dataProvider scalarsAsNames */
    public function testStrictModeRefusesAScalarThatIsNoString(mixed $value): void
    {
        $given = get_debug_type($value);
        if ($value instanceof Stringable) {
            $given = 'Stringable@anonymous';
        } elseif ($value === true && PHP_VERSION_ID >= 80300) {
            $given = 'true';
        }
        $this->refused(
            true, 'push_publish', [$value, 'x'], TypeError::class,
            "push_publish(): Argument #1 (\$channel) must be of type string, $given given",
        );
    }

    public function testNullForAStringIsDeprecatedInWeakModeAndRefusedInStrictMode(): void
    {
        $this->refused(
            false, 'push_publish', [null, 'x'], ValueError::class,
            'push_publish(): Argument #1 ($channel) must not be empty',
        );
        self::assertSame(
            ['push_publish(): Passing null to parameter #1 ($channel) of type string is deprecated'], $this->raised,
        );
        $this->refused(
            true, 'push_publish', [null, 'x'], TypeError::class,
            'push_publish(): Argument #1 ($channel) must be of type string, null given',
        );
        self::assertSame([], $this->raised);
    }

    /** @return iterable<array{string, array, string}> function, arguments, end of the message */
    public function wrongTypes(): iterable
    {
        $stream = fopen('php://memory', 'r');
        foreach (['push_publish', 'push_publish_async'] as $publish) {
            yield [$publish, [[], 'x'], '#1 ($channel) must be of type string, array given'];
            yield [$publish, [new \stdClass(), 'x'], '#1 ($channel) must be of type string, stdClass given'];
            yield [$publish, [$stream, 'x'], '#1 ($channel) must be of type string, resource given'];
            yield [$publish, ['c', 'x', []], '#3 ($event) must be of type ?string, array given'];
            yield [$publish, ['c', 'x', null, []], '#4 ($event_id) must be of type ?string, array given'];
            yield [$publish, ['c', 'x', null, null, 'soon'], '#5 ($ttl) must be of type ?int, string given'];
            yield [$publish, ['c', 'x', null, null, []], '#5 ($ttl) must be of type ?int, array given'];
            yield [$publish, ['c', 'x', null, null, NAN], '#5 ($ttl) must be of type ?int, float given'];
            yield [$publish, ['c', 'x', null, null, 1, []], '#6 ($store) must be of type bool, array given'];
            yield [$publish, ['c', 'x', null, null, 1, new \stdClass()], '#6 ($store) must be of type bool, stdClass given'];
            yield [$publish, ['c', 'x', 'dedupe' => []], '#7 ($dedupe) must be of type ?string, array given'];
        }
        foreach (['create_channel', 'push_create_channel'] as $create) {
            yield [$create, [[]], '#1 ($user) must be of type string|int|null, array given'];
            yield [$create, [new \stdClass()], '#1 ($user) must be of type string|int|null, stdClass given'];
            yield [$create, [1, []], '#2 ($name) must be of type ?string, array given'];
            yield [$create, [1, 'n', []], '#3 ($ttl) must be of type ?int, array given'];
            yield [$create, [1, 'n', 1, 'x'], '#4 ($max_messages) must be of type ?int, string given'];
            yield [$create, [1, 'n', 1, 1, 'x'], '#5 ($message_ttl) must be of type ?int, string given'];
            yield [$create, [1, 'n', 1, 1, 1, []], '#6 ($presence) must be of type bool, array given'];
        }
        yield ['push_delete_channel', [[]], '#1 ($channel) must be of type string, array given'];
        yield ['push_delete_channel', ['c', []], '#2 ($message) must be of type ?string, array given'];
        yield ['push_channel_info', [[]], '#1 ($channel) must be of type string, array given'];
        yield ['push_ping', [[]], '#1 ($timeout) must be of type float, array given'];
        yield ['push_ping', ['soon'], '#1 ($timeout) must be of type float, string given'];
    }

    /** @dataProvider wrongTypes */
    public function testAValueThatCannotBeConvertedIsATypeError(string $function, array $arguments, string $text): void
    {
        foreach ([false, true] as $strict) {
            $this->refused($strict, $function, $arguments, TypeError::class, "$function(): Argument $text");
        }
    }

    /** @return iterable<array{string, array, int}> */
    public function wrongInStrictModeOnly(): iterable
    {
        $channel = self::unique();
        yield ['push_publish', [$channel, 'x', 12], 3];
        yield ['push_publish', [$channel, 'x', self::text('event')], 3];
        yield ['push_publish', [$channel, 'x', null, 1.5], 4];
        yield ['push_publish', [$channel, 'x', null, null, '60'], 5];
        yield ['push_publish', [$channel, 'x', null, null, 60.0], 5];
        yield ['push_publish', [$channel, 'x', null, null, true], 5];
        yield ['push_publish', [$channel, 'x', null, null, 60, 1], 6];
        yield ['push_publish', [$channel, 'x', null, null, 60, 'yes'], 6];
        yield ['push_publish', [$channel, 'x', null, null, 60, true, 7], 7];
        yield ['create_channel', [self::text('user'), $channel], 1];
        yield ['create_channel', [1.0, $channel], 1];
        yield ['create_channel', [true, $channel], 1];
        yield ['create_channel', [1, self::text($channel)], 2];
        yield ['push_delete_channel', [$channel, 5], 2];
        yield ['push_ping', ['0.2'], 1];
    }

    /** @dataProvider wrongInStrictModeOnly */
    public function testStrictModeConvertsNothing(string $function, array $arguments, int $number): void
    {
        $this->call(false, $function, $arguments);
        self::assertSame([], $this->raised);
        $start = "$function(): Argument #$number (";
        $this->refused(true, $function, $arguments, TypeError::class, $start);
    }

    public function testStrictModeStillWidensAnIntToAFloat(): void
    {
        self::assertTrue($this->call(true, 'push_ping', [1]));
    }

    public function testAFloatWithAFractionLosesItWithADeprecation(): void
    {
        $this->call(false, 'push_publish', [self::unique(), 'x', null, null, 60.5]);
        self::assertSame(['Implicit conversion from float 60.5 to int loses precision'], $this->raised);
    }

    public function testAnExceptionFromAConversionPassesThrough(): void
    {
        $throws = new class {
            public function __toString(): string
            {
                throw new \DomainException('not today');
            }
        };
        $this->refused(false, 'push_publish', [$throws, 'x'], \DomainException::class, 'not today');
        $this->refused(false, 'create_channel', [$throws], \DomainException::class, 'not today');
        self::assertTrue(push_ping());
    }

    public function testAnErrorHandlerThatThrowsEndsTheCall(): void
    {
        set_error_handler(static fn (int $level, string $text) => throw new \ErrorException($text));
        try {
            (static fn () => push_ping(...))()(timeout: 1);
            eval('push_publish(null, "x");');
            self::fail('no exception');
        } catch (\ErrorException $e) {
            self::assertStringContainsString('Passing null to parameter #1 ($channel)', $e->getMessage());
        } finally {
            restore_error_handler();
        }
    }

    public function testTheNumberOfArguments(): void
    {
        $this->refused(
            false, 'push_publish', ['c'], ArgumentCountError::class,
            'push_publish() expects at least 2 arguments, 1 given',
        );
        $this->refused(
            false, 'push_publish', ['c', 1, null, null, 1, true, null, 8], ArgumentCountError::class,
            'push_publish() expects at most 7 arguments, 8 given',
        );
        $this->refused(
            false, 'push_position', [1], ArgumentCountError::class, 'push_position() expects exactly 0 arguments, 1 given',
        );
        $this->refused(
            false, 'push_channel_info', [], ArgumentCountError::class,
            'push_channel_info() expects exactly 1 argument, 0 given',
        );
    }

    public function testNamedArguments(): void
    {
        $channel = self::unique();
        push_publish(data: 'x', channel: $channel, event: 'news');
        push_publish($channel, 'y', store: false);
        push_publish($channel, 'z', event_id: 'mine', ttl: 60);
        self::assertSame(3, push_channel_info(channel: $channel)->published);
        self::assertSame(2, push_channel_info($channel)->stored);
        [$first, $second] = self::messages($channel);
        self::assertSame(['x', 'news'], [$first['data'], $first['event']]);
        self::assertSame('z', $second['data']);
        self::assertSame($named = self::unique(), create_channel(name: $named, message_ttl: 60));
        $this->refused(
            false, 'push_publish', ['channel' => 'c', 'data' => 1, 'nothing' => 2], Error::class,
            'Unknown named parameter $nothing',
        );
        $this->refused(
            false, 'push_publish', ['data' => 1], ArgumentCountError::class,
            'push_publish(): Argument #1 ($channel) not passed',
        );
    }

    public function testArgumentsByReferenceAndInVariables(): void
    {
        $channel = self::unique();
        $data = ['list' => [1, 2]];
        $reference = &$data['list'];
        $alias = &$data;
        push_publish($channel, $alias);
        call_user_func_array('push_publish', [&$channel, &$reference]);
        self::assertSame(['list' => [1, 2]], $data);
        self::assertSame([['list' => [1, 2]], [1, 2]], array_column(self::messages($channel), 'data'));
        $function = push_publish(...);
        self::assertSame(3, $function($channel, 'x')->id);
    }

    public function testAConversionLeavesTheCallersVariableAlone(): void
    {
        $number = random_int(1 << 40, 1 << 50);
        $this->call(false, 'push_publish', [$number, 'x']);
        self::assertIsInt($number);
    }

    /** @return iterable<string, array{string, string}> */
    public function wrongNames(): iterable
    {
        yield 'empty' => ['', 'must not be empty'];
        yield 'all' => ['ALL', 'must not be "ALL" or contain "*", these mean several channels'];
        yield 'star' => ['news*', 'must not be "ALL" or contain "*", these mean several channels'];
        yield 'NUL' => ["a\0b", 'must not contain any null bytes'];
        yield 'slash' => ['a/b', 'must not contain "/", which separates channels in URLs'];
        yield 'no UTF-8' => ["a\xff", 'must be valid UTF-8'];
        yield 'over the configured length' => [
            str_repeat('x', 256), 'must not be longer than 255 bytes (max_channel_id_length), 256 bytes given',
        ];
        yield 'over any length' => [
            str_repeat('x', 1025), 'must not be longer than 1024 bytes (max_channel_id_length), 1025 bytes given',
        ];
    }

    /** @dataProvider wrongNames */
    public function testAWrongNameIsAValueErrorThatNamesTheArgument(string $name, string $text): void
    {
        foreach (['push_publish' => [$name, 'x'], 'push_delete_channel' => [$name], 'push_channel_info' => [$name]] as $function => $arguments) {
            $this->refused(
                true, $function, $arguments, ValueError::class, "$function(): Argument #1 (\$channel) $text",
            );
        }
        $this->refused(
            true, 'create_channel', [1, $name], ValueError::class, "create_channel(): Argument #2 (\$name) $text",
        );
    }

    public function testNamesThatAreAllowed(): void
    {
        foreach ([str_repeat('x', 255), 'grüße', 'a.b c', '0', 'all', '%2F'] as $name) {
            push_publish($name, 'x');
            self::assertSame($name, push_channel_info($name)->name);
        }
    }

    /** @return iterable<array{string, array, int, string}> */
    public function wrongValues(): iterable
    {
        foreach (['push_publish', 'push_publish_async'] as $publish) {
            foreach ([3 => 'event', 4 => 'event_id', 7 => 'dedupe'] as $number => $parameter) {
                foreach ([
                    '' => 'must not be empty',
                    "a\nb" => 'must not contain line breaks',
                    "a\r" => 'must not contain line breaks',
                    "a\0" => 'must not contain any null bytes',
                    "\xff" => 'must be valid UTF-8',
                    str_repeat('x', 1025) => 'must not be longer than 1024 bytes, 1025 bytes given',
                ] as $value => $text) {
                    yield [$publish, ['c', 'x', $parameter => (string) $value], $number, "(\$$parameter) $text"];
                }
            }
            foreach ([0, -1, PHP_INT_MAX, 1 << 32] as $ttl) {
                yield [$publish, ['c', 'x', 'ttl' => $ttl], 5, '($ttl) must be between 1 and 4294967295'];
            }
        }
        foreach ([3 => 'ttl', 4 => 'max_messages', 5 => 'message_ttl'] as $number => $parameter) {
            foreach ([0, -1, PHP_INT_MIN] as $value) {
                $text = "(\$$parameter) must be between 1 and 4294967295";
                yield ['create_channel', [$parameter => $value], $number, $text];
            }
        }
        yield ['create_channel', ['user' => ''], 1, '($user) must not be empty'];
        yield ['create_channel', ['user' => "\xff"], 1, '($user) must be valid UTF-8'];
        foreach ([0.0, -1.0, NAN, INF, 3601.0] as $seconds) {
            yield ['push_ping', [$seconds], 1, '($timeout) must be greater than 0 and at most 3600'];
        }
    }

    /** @dataProvider wrongValues */
    public function testAWrongValueIsAValueErrorThatNamesTheArgument(
        string $function, array $arguments, int $number, string $text,
    ): void {
        $this->refused(true, $function, $arguments, ValueError::class, "$function(): Argument #$number $text");
    }

    public function testUsersAreIntegersOrText(): void
    {
        foreach ([7 => '7', 'ann' => 'ann', PHP_INT_MIN => (string) PHP_INT_MIN] as $user => $owner) {
            self::assertSame($owner, push_channel_info(create_channel($user))->owner);
        }
        self::assertNull(push_channel_info(create_channel())->owner);
        self::assertSame('2', push_channel_info($this->call(false, 'create_channel', [2.0]))->owner);
        self::assertSame('1', push_channel_info($this->call(false, 'create_channel', [true]))->owner);
        self::assertSame('bob', push_channel_info($this->call(false, 'create_channel', [self::text('bob')]))->owner);
    }

    /** @param string $message All of it, or what it begins with up to "(" */
    private function refused(bool $strict, string $function, array $arguments, string $class, string $message): void
    {
        try {
            $this->call($strict, $function, $arguments);
        } catch (Throwable $e) {
            self::assertSame($class, $e::class, $e->getMessage());
            // The name of an anonymous class goes on after a NUL with its file.
            $text = preg_replace('/\0\S*/', '', $e->getMessage());
            self::assertSame($message, str_ends_with($message, '(') ? substr($text, 0, strlen($message)) : $text);

            return;
        }
        self::fail("$function() accepted it");
    }
}
