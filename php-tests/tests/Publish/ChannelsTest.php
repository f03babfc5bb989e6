<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;
use Push\ChannelInfo;
use Push\Published;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** What the calls do and return. */
final class ChannelsTest extends TestCase
{
    use Calls;

    public function testPublishingCountsAndAdvances(): void
    {
        $channel = self::channel();
        $before = push_position();
        $first = push_publish($channel, 'a');
        $second = push_publish($channel, 'b');
        self::assertSame([1, 2], [$first->id, $second->id]);
        self::assertMatchesRegularExpression('/^\d{10}\.\d+$/', $first->position);
        self::assertTrue(version_compare($before, $first->position, '<'));
        self::assertTrue(version_compare($first->position, $second->position, '<'));
        self::assertSame($second->position, push_position());
        self::assertSame(0, $second->subscribers);
    }

    public function testChannelInfo(): void
    {
        self::assertNull(push_channel_info(self::channel()));
        $channel = create_channel(user: 'ann', ttl: 600, max_messages: 2, message_ttl: 60);
        self::assertEquals([$channel, 0, 0, 0, 'ann', 600, '0.0'], array_values((array) push_channel_info($channel)));
        foreach (['a', 'b', 'c'] as $text) {
            $last = push_publish($channel, $text);
        }
        $info = push_channel_info($channel);
        self::assertSame([3, 2], [$info->published, $info->stored]);
        self::assertSame($last->position, $info->position);
        self::assertSame('bc', self::stored($channel)->body);
        $implicit = self::channel();
        push_publish($implicit, 'x');
        self::assertNull(push_channel_info($implicit)->ttl);
    }

    public function testARandomNameCannotBeGuessed(): void
    {
        $names = array_map(static fn (): string => create_channel(), range(1, 50));
        self::assertCount(50, array_unique($names));
        foreach ($names as $name) {
            self::assertMatchesRegularExpression('/^[A-Za-z0-9_-]{22,64}$/', $name);
        }
    }

    public function testCreatingAnExistingChannelKeepsItsMessages(): void
    {
        $channel = create_channel(name: self::channel());
        push_publish($channel, 'kept');
        self::assertSame($channel, create_channel(user: 5, name: $channel));
        self::assertSame('5', push_channel_info($channel)->owner);
        self::assertSame('kept', self::stored($channel)->body);
    }

    public function testBothNamesCreateChannels(): void
    {
        self::assertNotNull(push_channel_info(push_create_channel()));
        self::assertNotNull(push_channel_info(create_channel()));
    }

    public function testADeletedChannelTellsItsSubscribersAndIsGone(): void
    {
        $channel = create_channel();
        $subscriber = new Subscriber(Hub::shared()->address);
        $subscriber->ask("/sub/$channel");
        Wait::until(
            static fn (): bool => push_channel_info($channel)->subscribers === 1, 'the subscriber is seated',
        );
        self::assertTrue(push_delete_channel($channel, "gone\0"));
        self::assertSame("gone\0", $subscriber->answer()->body);
        self::assertNull(push_channel_info($channel));
        self::assertFalse(push_delete_channel($channel));
    }

    public function testALivingSubscriberIsCountedAndGetsAnUnstoredMessage(): void
    {
        $channel = create_channel();
        $subscriber = new Subscriber(Hub::shared()->address);
        $subscriber->ask("/sub/$channel");
        Wait::until(
            static fn (): bool => push_channel_info($channel)->subscribers === 1, 'the subscriber is seated',
        );
        self::assertTrue($subscriber->waits());
        $published = push_publish($channel, 'now or never', store: false);
        self::assertSame(1, $published->subscribers);
        $answer = $subscriber->answer();
        self::assertSame([200, 'now or never'], [$answer->status, $answer->body]);
        self::assertSame($published->position, $answer->position());
        self::assertSame(0, push_channel_info($channel)->stored);
    }

    public function testAMessageOutlivesItsTimeNot(): void
    {
        $channel = create_channel();
        push_publish($channel, 'short', ttl: 1);
        push_publish($channel, 'long', ttl: 60);
        self::assertSame('shortlong', self::stored($channel)->body);
        Wait::until(static fn (): bool => push_channel_info($channel)->stored === 1, 'the first message expires');
        self::assertSame('long', self::stored($channel)->body);
    }

    public function testAKeyPublishesOncePerChannel(): void
    {
        [$channel, $other] = [self::channel(), self::channel()];
        $first = push_publish($channel, 'one', dedupe: 'order-7');
        self::assertEquals($first, push_publish($channel, 'again', dedupe: 'order-7'));
        push_publish_async($channel, 'once more', dedupe: 'order-7');
        self::assertSame(2, push_publish($channel, ' two', dedupe: 'order-8')->id);
        self::assertSame(1, push_publish($other, 'elsewhere', dedupe: 'order-7')->id);
        self::assertSame(3, push_publish($channel, ' three')->id);
        self::assertSame('one two three', self::stored($channel)->body);
    }

    public function testStatus(): void
    {
        $status = push_status();
        self::assertSame(
            ['state', 'version', 'pid', 'socket', 'uptime', 'channels', 'subscribers', 'messages', 'memory', 'position'],
            array_keys($status),
        );
        self::assertSame('running', $status['state']);
        self::assertSame(phpversion('push'), $status['version']);
        self::assertSame(Hub::shared()->socket, $status['socket']);
        self::assertTrue(posix_kill($status['pid'], 0));
        self::assertSame(push_position(), $status['position']);
        create_channel();
        self::assertSame($status['channels'] + 1, push_status()['channels']);
        self::assertTrue(push_ping());
    }

    public function testReturnedObjects(): void
    {
        $published = push_publish($channel = self::channel(), 'x');
        $info = push_channel_info($channel);
        self::assertInstanceOf(Published::class, $published);
        self::assertInstanceOf(ChannelInfo::class, $info);
        foreach ([$published, $info] as $object) {
            self::assertEquals($object, clone $object);
            self::assertEquals($object, unserialize(serialize($object)));
            self::assertSame((array) $object, json_decode(json_encode($object), true));
            self::assertSame((array) $object, get_object_vars($object));
            foreach (array_keys((array) $object) as $name) {
                $class = $object::class;
                self::assertFails("Cannot modify readonly property $class::\$$name", fn () => $object->$name = 1);
                self::assertFails("Cannot unset readonly property $class::\$$name", function () use ($object, $name): void {
                    unset($object->$name);
                });
                self::assertFails("Cannot modify readonly property $class::\$$name", function () use ($object, $name): void {
                    $reference = &$object->$name;
                });
            }
            $class = $object::class;
            self::assertFails("Cannot create dynamic property $class::\$more", fn () => $object->more = 1);
        }
    }

    private static function assertFails(string $message, callable $change): void
    {
        try {
            $change();
        } catch (\Error $e) {
            self::assertSame($message, $e->getMessage());

            return;
        }
        self::fail("not refused: $message");
    }
}
