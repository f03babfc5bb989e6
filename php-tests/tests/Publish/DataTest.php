<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use JsonException;
use JsonSerializable;
use PHPUnit\Framework\TestCase;
use Push\Exception\EncodingError;
use Push\Exception\PayloadTooLarge;
use Push\Exception\PushException;

/** What is published arrives as it was given. */
final class DataTest extends TestCase
{
    use Calls;

    public function testStringsAreBytes(): void
    {
        $all = implode('', array_map('chr', range(0, 255)));
        foreach (["\0", "\xff", "a\0b", $all, 'grüße', '', "line\r\nline", '"json"'] as $bytes) {
            $channel = self::channel();
            self::assertSame(1, push_publish($channel, $bytes)->id);
            $answer = self::stored($channel);
            self::assertSame([200, $bytes], [$answer->status, $answer->body]);
        }
    }

    public function testTheLargestMessageArrivesAndOneByteMoreIsRefused(): void
    {
        $channel = self::channel();
        $largest = random_bytes(65536);
        push_publish($channel, $largest);
        self::assertSame($largest, self::stored($channel)->body);
        try {
            push_publish($channel, "$largest.");
            self::fail('accepted');
        } catch (PayloadTooLarge $e) {
            self::assertSame(3, $e->getCode());
            self::assertStringContainsString('65537', $e->getMessage());
            self::assertStringContainsString('max_message_size', $e->getMessage());
        }
        self::assertSame(1, push_channel_info($channel)->published);
    }

    public function testMoreThanAnyHubAllowsIsRefusedHereAlready(): void
    {
        $this->expectException(PayloadTooLarge::class);
        push_publish_async(self::channel(), str_repeat('x', (32 << 20) + 1));
    }

    /** @return iterable<array{mixed, string}> */
    public function values(): iterable
    {
        yield [['text' => 'grüße/☃', 'list' => [1, 2.5, null, true]], '{"text":"grüße/☃","list":[1,2.5,null,true]}'];
        yield [null, 'null'];
        yield [false, 'false'];
        yield [42, '42'];
        yield [0.1, '0.1'];
        yield [[], '[]'];
        yield [new \stdClass(), '{}'];
        yield [(object) ['a' => 1], '{"a":1}'];
        yield [\Push\Tests\Publish\Suit::Hearts, '"hearts"'];
        yield [
            new class implements JsonSerializable {
                public function jsonSerialize(): array
                {
                    return ['mine' => true];
                }
            },
            '{"mine":true}',
        ];
        yield [
            new class {
                public string $shown = 'a "quoted" text';
                private string $hidden = 'x';

                public function __toString(): string
                {
                    return 'not asked';
                }
            },
            '{"shown":"a \"quoted\" text"}',
        ];
    }

    /** @dataProvider values */
    public function testEverythingElseIsJson(mixed $value, string $json): void
    {
        $channel = self::channel();
        push_publish($channel, $value);
        push_publish_async($channel, $value);
        self::assertSame(2, push_publish($channel, $json)->id - 1, 'calls of one process keep their order');
        self::assertSame(str_repeat($json, 3), self::stored($channel)->body);
        [$first, , $last] = self::messages($channel);
        self::assertEquals(json_decode($json, true), $first['data'], 'JSON stays a value');
        self::assertSame($json, $last['data'], 'a string stays a string');
    }

    /** @return iterable<string, array{mixed, string, int}> */
    public function unencodable(): iterable
    {
        $recursive = [];
        $recursive['self'] = &$recursive;
        $deep = [];
        for ($i = 0; $i < 600; $i++) {
            $deep = [$deep];
        }
        yield 'recursion' => [$recursive, 'Recursion detected', JSON_ERROR_RECURSION];
        yield 'depth' => [$deep, 'Maximum stack depth exceeded', JSON_ERROR_DEPTH];
        yield 'resource' => [fopen('php://memory', 'r'), 'Type is not supported', JSON_ERROR_UNSUPPORTED_TYPE];
        yield 'NAN' => [['x' => NAN], 'Inf and NaN cannot be JSON encoded', JSON_ERROR_INF_OR_NAN];
        yield 'INF' => [INF, 'Inf and NaN cannot be JSON encoded', JSON_ERROR_INF_OR_NAN];
        yield 'not UTF-8' => [["\xff"], 'Malformed UTF-8 characters, possibly incorrectly encoded', JSON_ERROR_UTF8];
        yield 'a pure enum' => [Color::Red, 'Non-backed enums have no default serialization', JSON_ERROR_NON_BACKED_ENUM];
    }

    /** @dataProvider unencodable */
    public function testWhatCannotBeEncodedIsAnEncodingError(mixed $value, string $text, int $code): void
    {
        foreach (['push_publish', 'push_publish_async'] as $function) {
            $channel = self::channel();
            try {
                $function($channel, $value);
                self::fail('accepted');
            } catch (EncodingError $e) {
                self::assertInstanceOf(PushException::class, $e);
                self::assertStringStartsWith($text, $e->getMessage());
                $previous = $e->getPrevious();
                self::assertInstanceOf(JsonException::class, $previous);
                self::assertSame([$e->getMessage(), $code], [$previous->getMessage(), $previous->getCode()]);
            }
            self::assertNull(push_channel_info($channel));
        }
    }

    public function testAnExceptionOfJsonSerializePassesThrough(): void
    {
        $exception = new \DomainException('mine');
        $value = new class($exception) implements JsonSerializable {
            public function __construct(private readonly \Throwable $exception)
            {
            }

            public function jsonSerialize(): never
            {
                throw $this->exception;
            }
        };
        try {
            push_publish(self::channel(), [$value]);
            self::fail('accepted');
        } catch (\DomainException $e) {
            self::assertSame($exception, $e);
            self::assertNull($e->getPrevious());
        }
    }

    public function testJsonSerializeMayPublishItself(): void
    {
        [$inner, $outer] = [self::channel(), self::channel()];
        $value = new class($inner) implements JsonSerializable {
            public function __construct(private readonly string $channel)
            {
            }

            public function jsonSerialize(): int
            {
                return push_publish($this->channel, 'inner')->id;
            }
        };
        self::assertSame(1, push_publish($outer, ['id' => $value])->id);
        self::assertSame('{"id":1}', self::stored($outer)->body);
        self::assertSame('inner', self::stored($inner)->body);
    }

    public function testWrongNamesAreFoundBeforeTheDataIsAsked(): void
    {
        $value = new class implements JsonSerializable {
            public bool $asked = false;

            public function jsonSerialize(): bool
            {
                return $this->asked = true;
            }
        };
        try {
            push_publish('', $value);
            self::fail('accepted');
        } catch (\ValueError) {
            self::assertFalse($value->asked);
        }
    }

    public function testTwentyThousandCallsNeedNoMoreMemoryThanOne(): void
    {
        $channel = create_channel(max_messages: 10);
        $round = static function (int $calls) use ($channel): void {
            for ($i = 0; $i < $calls; $i++) {
                push_publish($channel, ['number' => $i], event: 'count');
                push_publish_async($channel, "text $i");
                try {
                    push_publish($channel, NAN);
                } catch (EncodingError) {
                }
                if ($i % 100 === 0) {
                    create_channel($i, $channel, max_messages: 10);
                    push_channel_info($channel);
                    push_status();
                }
            }
        };
        // What is made once, such as the rings and the allocator's arenas, is there after this.
        $round(2000);
        [$php, $all] = [memory_get_usage(), self::resident()];
        $round(20000);
        self::assertLessThan(16 << 10, memory_get_usage() - $php);
        self::assertLessThan(512, self::resident() - $all, 'KB of the process');
    }

    /** KB that belong to this process alone. */
    private static function resident(): int
    {
        preg_match('/^RssAnon:\s+(\d+) kB$/m', file_get_contents('/proc/self/status'), $match);

        return (int) $match[1];
    }
}
