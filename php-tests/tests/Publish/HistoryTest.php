<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;
use Push\ChannelInfo;
use Push\Message;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;
use TypeError;
use ValueError;

/** Reading back what is stored, dropping it, and listing channels. */
final class HistoryTest extends TestCase
{
    use Calls;

    public function testTheHistoryHasWhatWasPublished(): void
    {
        $channel = create_channel(max_messages: 100);
        $published = [
            push_publish($channel, 'grüße', event: 'news', event_id: 'mine', ttl: 60, dedupe: 'key'),
            push_publish($channel, "\0\xff"),
            push_publish($channel, ['list' => [1, 2.5, null], 'object' => new \stdClass(), 'text' => 'grüße/☃']),
            push_publish($channel, null),
            push_publish($channel, '{"a":1}'),
            push_publish($channel, ''),
        ];
        push_publish($channel, 'not kept', store: false);
        $messages = push_history($channel);
        self::assertContainsOnlyInstancesOf(Message::class, $messages);
        self::assertSame([
            'grüße', "\0\xff", ['list' => [1, 2.5, null], 'object' => [], 'text' => 'grüße/☃'], null, '{"a":1}', '',
        ], array_column($messages, 'data'));
        self::assertSame(array_column($published, 'id'), array_column($messages, 'id'));
        self::assertSame(array_column($published, 'position'), array_column($messages, 'position'));
        foreach ($messages as $number => $message) {
            self::assertSame([$channel, true, null, null], [
                $message->channel, $message->store, $message->ttl, $message->dedupe,
            ]);
            self::assertSame((int) $message->position, $message->time);
            self::assertSame($number === 0 ? ['news', 'mine'] : [null, null], [$message->event, $message->event_id]);
        }
        self::assertEquals($messages, unserialize(serialize($messages)));
    }

    public function testTheHistoryIsReadInPages(): void
    {
        $channel = create_channel(max_messages: 50);
        for ($i = 1; $i <= 25; $i++) {
            push_publish($channel, $i);
        }
        [$pages, $data] = [[], []];
        for ($after = null; $page = push_history($channel, $after, 10); $after = end($page)->position) {
            $pages[] = count($page);
            array_push($data, ...array_column($page, 'data'));
        }
        self::assertSame([10, 10, 5], $pages);
        self::assertSame(range(1, 25), $data);
        self::assertSame([], push_history($channel, push_position()));
        self::assertCount(25, push_history($channel, '0.0'));
        self::assertCount(1, push_history(limit: 1, channel: $channel));
        self::assertSame([], push_history(self::channel()));
    }

    public function testAPageOfLargeMessagesIsShorter(): void
    {
        ini_set('push.timeout', '10s');
        $channel = create_channel(max_messages: 100);
        $data = array_map(static fn (): string => random_bytes(60000), range(1, 100));
        foreach ($data as $bytes) {
            push_publish($channel, $bytes);
        }
        [$pages, $read] = [0, []];
        for ($after = null; $page = push_history($channel, $after); $after = end($page)->position) {
            $pages++;
            array_push($read, ...array_column($page, 'data'));
        }
        ini_restore('push.timeout');
        self::assertSame(6, $pages);
        self::assertTrue($data === $read);
    }

    public function testTheDeepestDataComesBack(): void
    {
        $deep = [];
        for ($i = 1; $i < 512; $i++) {
            $deep = [$deep];
        }
        $channel = self::channel();
        push_publish($channel, $deep);
        self::assertSame($deep, push_history($channel)[0]->data);
    }

    public function testReadingDisturbsNoJsonErrorOfTheScript(): void
    {
        $channel = self::channel();
        push_publish($channel, [1]);
        json_decode('{');
        $error = json_last_error();
        push_history($channel);
        self::assertSame([JSON_ERROR_SYNTAX, JSON_ERROR_SYNTAX], [$error, json_last_error()]);
    }

    public function testClearingDropsMessagesAndKeepsSubscribers(): void
    {
        $channel = create_channel();
        push_publish($channel, 'a');
        push_publish($channel, 'b');
        $subscriber = new Subscriber(Hub::shared()->address);
        $subscriber->ask("/sub/$channel?position=" . push_position());
        Wait::until(
            static fn (): bool => push_channel_info($channel)->subscribers === 1, 'the subscriber is seated',
        );
        self::assertSame(2, push_clear_channel($channel));
        self::assertTrue($subscriber->waits());
        $info = push_channel_info($channel);
        self::assertSame([2, 0, 1], [$info->published, $info->stored, $info->subscribers]);
        self::assertSame([], push_history($channel));
        self::assertSame(3, push_publish($channel, 'c')->id);
        self::assertSame('c', $subscriber->answer()->body);
        self::assertSame([1, 0], [push_clear_channel($channel), push_clear_channel($channel)]);
        self::assertSame(0, push_clear_channel(self::channel()));
    }

    public function testChannelsAreListedInPages(): void
    {
        $prefix = self::channel();
        $names = [];
        foreach (range(1, 25) as $number) {
            $names[] = create_channel(user: $number, name: sprintf('%s-%02d', $prefix, $number));
        }
        $found = [];
        for ($after = null; $page = push_channels($prefix, 10, $after); $after = end($page)->name) {
            self::assertLessThanOrEqual(10, count($page));
            self::assertContainsOnlyInstancesOf(ChannelInfo::class, $page);
            array_push($found, ...$page);
        }
        self::assertSame($names, array_column($found, 'name'));
        self::assertEquals(push_channel_info($names[6]), $found[6]);
        self::assertSame([], push_channels(self::channel()));
        self::assertCount(25, push_channels($prefix));
        self::assertGreaterThanOrEqual(25, count(push_channels()));
        self::assertSame($names[24], push_channels($prefix, after: $names[23])[0]->name);
    }

    /** @return iterable<array{string, array, class-string, string}> */
    public function wrong(): iterable
    {
        foreach ([0, -1, 10001, PHP_INT_MAX] as $limit) {
            yield ['push_history', ['c', null, $limit], ValueError::class, '#3 ($limit) must be between 1 and 10000'];
            yield ['push_channels', ['', $limit], ValueError::class, '#2 ($limit) must be between 1 and 10000'];
        }
        foreach (['', '1', '1.', '.1', '1.2.3', '-1.2', '1.x', '4294967296.1', "1.2\0"] as $position) {
            $text = '#2 ($after) must be two numbers <time>.<tag>, as in 1767225600.3';
            yield ['push_history', ['c', $position], ValueError::class, $text];
        }
        yield ['push_history', ['a/b'], ValueError::class, '#1 ($channel) must not contain "/", which separates channels in URLs'];
        yield ['push_history', [[]], TypeError::class, '#1 ($channel) must be of type string, array given'];
        yield ['push_history', ['c', []], TypeError::class, '#2 ($after) must be of type ?string, array given'];
        yield ['push_history', ['c', null, 'x'], TypeError::class, '#3 ($limit) must be of type int, string given'];
        yield ['push_clear_channel', [''], ValueError::class, '#1 ($channel) must not be empty'];
        yield ['push_clear_channel', [[]], TypeError::class, '#1 ($channel) must be of type string, array given'];
        yield ['push_channels', [[]], TypeError::class, '#1 ($prefix) must be of type string, array given'];
        yield ['push_channels', ["\xff"], ValueError::class, '#1 ($prefix) must be valid UTF-8'];
        yield ['push_channels', ['', []], TypeError::class, '#2 ($limit) must be of type int, array given'];
        yield ['push_channels', ['', 1, "\xff"], ValueError::class, '#3 ($after) must be valid UTF-8'];
        $text = '#3 ($after) must not be longer than 1024 bytes, 1025 bytes given';
        yield ['push_channels', ['', 1, str_repeat('x', 1025)], ValueError::class, $text];
    }

    /** @dataProvider wrong */
    public function testAWrongArgumentIsNamed(string $function, array $arguments, string $class, string $text): void
    {
        $this->expectException($class);
        $this->expectExceptionMessage("$function(): Argument $text");
        $function(...$arguments);
    }
}
