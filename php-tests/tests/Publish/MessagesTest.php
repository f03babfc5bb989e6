<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use ArgumentCountError;
use Error;
use JsonSerializable;
use PHPUnit\Framework\TestCase;
use Push\Exception\EncodingError;
use Push\Exception\PayloadTooLarge;
use Push\Message;
use Push\Published;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Php;
use Throwable;
use TypeError;
use ValueError;

/** Push\Message, and publishing many of them at once. */
final class MessagesTest extends TestCase
{
    use Calls;

    private static function complete(): Message
    {
        return new Message('c', ['a' => [1, null]], 'news', 'mine', 60, false, 'key');
    }

    private static function assertThrows(string $class, string $message, callable $call): void
    {
        try {
            $call();
        } catch (Throwable $e) {
            self::assertSame([$class, $message], [$e::class, $e->getMessage()]);

            return;
        }
        self::fail("not refused: $message");
    }

    public function testAMessageHasWhatItWasGiven(): void
    {
        self::assertSame([
            'channel' => 'c', 'data' => ['a' => [1, null]], 'event' => 'news', 'event_id' => 'mine', 'ttl' => 60,
            'store' => false, 'dedupe' => 'key', 'id' => null, 'position' => null, 'time' => null,
        ], (array) self::complete());
        self::assertSame(
            ['c', null, null, null, null, true, null, null, null, null],
            array_values((array) new Message(data: null, channel: 'c')),
        );
        $object = new \stdClass();
        self::assertSame($object, (new Message('c', $object))->data);
    }

    public function testAMessageConvertsItsArgumentsAsPhpDoes(): void
    {
        $message = eval('return new Push\Message(12, 1.5, 3, true, "60", 0, 7.5);');
        self::assertSame(
            ['12', 1.5, '3', '1', 60, false, '7.5', null, null, null], array_values((array) $message),
        );
        self::assertThrows(
            TypeError::class, 'Push\Message::__construct(): Argument #5 ($ttl) must be of type ?int, string given',
            fn () => new Message('c', 1, ttl: '60'),
        );
        self::assertThrows(
            ArgumentCountError::class, 'Push\Message::__construct() expects at least 2 arguments, 1 given',
            fn () => new Message('c'),
        );
    }

    /** @return iterable<array{array, string}> */
    public function wrongValues(): iterable
    {
        yield [['channel' => ''], '#1 ($channel) must not be empty'];
        yield [['channel' => 'a/b'], '#1 ($channel) must not contain "/", which separates channels in URLs'];
        yield [['event' => "a\nb"], '#3 ($event) must not contain line breaks'];
        yield [['event_id' => ''], '#4 ($event_id) must not be empty'];
        yield [['ttl' => 0], '#5 ($ttl) must be between 1 and 4294967295'];
        yield [['dedupe' => "\xff"], '#7 ($dedupe) must be valid UTF-8'];
    }

    /** @dataProvider wrongValues */
    public function testWhatCanNeverBePublishedIsRefusedWhereItIsMade(array $arguments, string $text): void
    {
        self::assertThrows(
            ValueError::class, "Push\\Message::__construct(): Argument $text",
            fn () => new Message(...($arguments + ['channel' => 'c', 'data' => 1])),
        );
    }

    public function testAMessageIsAValue(): void
    {
        $message = self::complete();
        $same = [clone $message, unserialize(serialize($message)), eval('return ' . var_export($message, true) . ';')];
        foreach ($same as $other) {
            self::assertInstanceOf(Message::class, $other);
            self::assertNotSame($message, $other);
            self::assertTrue($message == $other);
        }
        self::assertFalse($message == new Message('c', ['a' => [1, null]], 'news', 'mine', 60, true, 'key'));
        self::assertSame((array) $message, json_decode(json_encode($message), true));
        foreach (array_keys((array) $message) as $name) {
            self::assertThrows(
                Error::class, "Cannot modify readonly property Push\\Message::\$$name", fn () => $message->$name = 1,
            );
        }
        self::assertThrows(
            Error::class, 'Cannot modify readonly property Push\Message::$data', function () use ($message): void {
                $message->data['a'] = 2;
            },
        );
        self::assertThrows(
            Error::class, 'Cannot modify readonly property Push\Message::$channel',
            fn () => $message->__construct('other', 1),
        );
        self::assertThrows(
            Error::class, 'Cannot create dynamic property Push\Message::$more', fn () => $message->more = 1,
        );
        self::assertSame('c', $message->channel);
        $this->expectExceptionMessage('Invalid serialization data for Push\Message object');
        Message::__set_state(['channel' => 1] + (array) $message);
    }

    public function testResultsAreValuesToo(): void
    {
        $published = push_publish($channel = self::channel(), 'x');
        foreach ([$published, push_channel_info($channel)] as $object) {
            self::assertEquals($object, eval('return ' . var_export($object, true) . ';'));
            self::assertThrows(
                Error::class, 'Invalid serialization data for ' . $object::class . ' object',
                fn () => $object::__set_state([]),
            );
        }
    }

    public function testManyAreLikeOneAfterTheOther(): void
    {
        [$first, $second] = [self::channel(), self::channel()];
        $before = push_publish($first, 'before', dedupe: 'known');
        $published = push_publish_many([
            new Message($first, ['json' => true], event: 'news', event_id: 'mine'),
            new Message($second, "\0\xff"),
            new Message($first, 'not twice', dedupe: 'known'),
            new Message($first, 'unstored', store: false),
            new Message($first, 'last', ttl: 60),
        ]);
        self::assertSame(range(0, 4), array_keys($published));
        self::assertContainsOnlyInstancesOf(Published::class, $published);
        self::assertSame([2, 1, 1, 3, 4], array_column($published, 'id'));
        self::assertEquals($before, $published[2]);
        $positions = array_column([$published[0], $published[1], $published[3], $published[4]], 'position');
        for ($i = 1; $i < 4; $i++) {
            self::assertTrue(version_compare($positions[$i - 1], $positions[$i], '<'));
        }
        self::assertSame("before{\"json\":true}last", self::stored($first)->body);
        self::assertSame("\0\xff", self::stored($second)->body);
        $fields = self::messages($first)[1];
        self::assertSame([['json' => true], 'news'], [$fields['data'], $fields['event']]);
        self::assertSame([], push_publish_many([]));
    }

    public function testTheKeysOfTheArrayDoNotMatter(): void
    {
        $channel = self::channel();
        $messages = ['a' => new Message($channel, 'a'), 7 => new Message($channel, 'b')];
        self::assertSame([1, 2], array_column(push_publish_many($messages), 'id'));
        $reference = &$messages['a'];
        self::assertSame([3, 4], array_column(push_publish_many($messages), 'id'));
        $copies = array_fill(0, 1000, new Message($channel, 'many'));
        self::assertSame(range(5, 1004), array_column(push_publish_many($copies), 'id'));
        self::assertSame('many', $copies[0]->data);
    }

    public function testWhatTheHistoryGaveCanBePublishedAgain(): void
    {
        [$from, $to] = [self::channel(), self::channel()];
        push_publish($from, ['n' => 1]);
        push_publish($from, 'text');
        $again = array_map(
            static fn (Message $m): Message => new Message($to, $m->data, $m->event, $m->event_id), push_history($from),
        );
        push_publish_many($again);
        self::assertSame(self::stored($from)->body, self::stored($to)->body);
        self::assertSame([3, 4], array_column(push_publish_many(push_history($from)), 'id'));
    }

    /** @return iterable<string, array{mixed, string, string}> */
    public function wrongElements(): iterable
    {
        $text = 'must contain only Push\Message objects,';
        yield 'int' => [1, TypeError::class, "$text int given as element 1"];
        yield 'null' => [null, TypeError::class, "$text null given as element 1"];
        yield 'another class' => [new \stdClass(), TypeError::class, "$text stdClass given as element 1"];
        yield 'array' => [['channel' => 'c'], TypeError::class, "$text array given as element 1"];
        $empty = (new \ReflectionClass(Message::class))->newInstanceWithoutConstructor();
        yield 'unfinished' => [$empty, ValueError::class, 'element 1 is not initialized'];
        foreach ([
            'channel' => ['', 'must not be empty'],
            'event' => ["a\r", 'must not contain line breaks'],
            'event_id' => ["a\0", 'must not contain any null bytes'],
            'ttl' => [-1, 'must be between 1 and 4294967295'],
            'dedupe' => [str_repeat('x', 1025), 'must not be longer than 1024 bytes, 1025 bytes given'],
        ] as $name => [$value, $end]) {
            $restored = Message::__set_state([$name => $value] + (array) self::complete());
            yield $name => [$restored, ValueError::class, "\$$name of element 1 $end"];
        }
        $name = str_repeat('x', 256);
        yield 'over the configured length' => [
            new Message($name, 1), ValueError::class,
            '$channel of an element must not be longer than 255 bytes (max_channel_id_length), 256 bytes given',
        ];
    }

    /** @dataProvider wrongElements */
    public function testOneWrongElementPublishesNone(mixed $element, string $class, string $text): void
    {
        $channel = self::channel();
        self::assertThrows(
            $class, "push_publish_many(): Argument #1 (\$messages) $text",
            fn () => push_publish_many([new Message($channel, 'x'), $element]),
        );
        self::assertNull(push_channel_info($channel));
    }

    public function testWhatTheHubRefusesPublishesNone(): void
    {
        $channel = self::channel();
        $small = new Message($channel, 'x');
        try {
            push_publish_many([$small, new Message($channel, str_repeat('x', 65537))]);
            self::fail('accepted');
        } catch (PayloadTooLarge $e) {
            self::assertStringContainsString('65537 bytes long, max_message_size allows 65536', $e->getMessage());
        }
        try {
            push_publish_many(array_fill(0, 300, new Message($channel, str_repeat('x', 60000))));
            self::fail('accepted');
        } catch (PayloadTooLarge $e) {
            self::assertMatchesRegularExpression(
                '/^the messages have 18\d{6} bytes together, at most 16777216 go out at once$/', $e->getMessage(),
            );
        }
        try {
            push_publish_many([$small, new Message($channel, [NAN])]);
            self::fail('accepted');
        } catch (EncodingError $e) {
            self::assertInstanceOf(\JsonException::class, $e->getPrevious());
        }
        self::assertNull(push_channel_info($channel));
    }

    public function testPhpCodeThatRunsMeanwhileCannotTakeMessagesAway(): void
    {
        $channel = self::channel();
        $messages = [];
        $vandal = new class($messages, $channel) implements JsonSerializable {
            public function __construct(private array &$messages, private readonly string $channel)
            {
            }

            public function jsonSerialize(): int
            {
                foreach ($this->messages as &$message) {
                    $message = null;
                }
                $this->messages = [];

                return push_publish($this->channel, 'inner')->id;
            }
        };
        $messages = [new Message($channel, $vandal), new Message($channel, str_repeat('x', 3)), new Message($channel, ['y'])];
        foreach ($messages as &$message) {
        }
        unset($message);
        self::assertSame([2, 3, 4], array_column(push_publish_many($messages), 'id'));
        self::assertSame('inner1xxx["y"]', self::stored($channel)->body);
        self::assertSame([], $messages);
    }

    public function testAnExceptionOfOneMessagePublishesNone(): void
    {
        $channel = self::channel();
        $throws = new class implements JsonSerializable {
            public function jsonSerialize(): never
            {
                throw new \DomainException('mine');
            }
        };
        self::assertThrows(\DomainException::class, 'mine', fn () => push_publish_many([
            new Message($channel, ['x']), new Message($channel, $throws),
        ]));
        self::assertNull(push_channel_info($channel));
    }

    public function testAFatalErrorWhileABatchIsEncodedHurtsNothing(): void
    {
        $hub = Hub::start();
        $php = Php::start(<<<'PHP'
            $greedy = new class implements JsonSerializable {
                public function jsonSerialize(): array { return array_fill(0, 1 << 24, str_repeat('x', 100)); }
            };
            register_shutdown_function(function () {
                ini_set('memory_limit', '128M');
                echo json_encode(array_column(push_publish_many([new Push\Message('c', 'after'), new Push\Message('c', [1])]), 'id'));
            });
            push_publish_many([new Push\Message('c', ['x']), new Push\Message('c', $greedy)]);
            PHP, ['push.socket' => $hub->socket, 'memory_limit' => '16M']);
        self::assertSame(255, $php->end());
        self::assertStringContainsString('Allowed memory size', $php->output());
        self::assertStringContainsString('[1,2]', $php->output());
        $hub->stop();
    }
}
