<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** The way of a page: PHP behind nginx makes a channel and publishes, a browser polls through nginx. */
final class WebTest extends TestCase
{
    private static FpmPool $fpm;
    private static Nginx $nginx;

    public static function setUpBeforeClass(): void
    {
        self::$fpm = FpmPool::start();
        self::$nginx = Nginx::start(self::$fpm);
    }

    public static function tearDownAfterClass(): void
    {
        self::$nginx->stop();
        self::$fpm->stop();
    }

    /** What a page of this code answers, asked through nginx. */
    private static function page(string $code): mixed
    {
        return Subscriber::get(self::$nginx->address, '/' . basename(self::$fpm->script($code)))->json();
    }

    private static function waitForSeat(string $channel): void
    {
        $seats = "return push_channel_info('$channel')->subscribers;";
        Wait::until(static fn (): bool => self::page($seats) === 1, 'the subscriber is seated');
    }

    public function testAPublicationReachesWhoWaits(): void
    {
        $channel = self::page('return create_channel(user: 7);');
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask("/sub/$channel");
        self::waitForSeat($channel);
        self::assertTrue($browser->waits());
        $published = self::page("return push_publish('$channel', ['text' => 'grüße']);");
        self::assertSame(1, $published['subscribers']);
        $answer = $browser->answer();
        self::assertSame([200, '{"text":"grüße"}'], [$answer->status, $answer->body]);
        self::assertSame($published['position'], $answer->position());
    }

    public function testNothingIsLostBetweenThePageAndItsFirstPoll(): void
    {
        [$channel, $position] = self::page(<<<'PHP'
            $channel = create_channel();
            push_publish($channel, 'history, which the page has');
            return [$channel, push_position()];
            PHP);
        self::page("return push_publish('$channel', 'between');");
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask("/sub/$channel?position=$position");
        $first = $browser->answer();
        self::assertSame('between', $first->body);

        $browser->ask("/sub/$channel?position={$first->position()}");
        self::waitForSeat($channel);
        self::page("return push_publish('$channel', 'live');");
        $second = $browser->answer();
        self::assertSame('live', $second->body);
        self::assertTrue(version_compare($first->position(), $second->position(), '<'));

        foreach (['missed 1', 'missed 2'] as $text) {
            self::page("return push_publish('$channel', '$text');");
        }
        $browser->ask("/sub/$channel?position={$second->position()}", ['Accept' => 'application/json']);
        $both = $browser->answer()->json();
        self::assertSame(['missed 1', 'missed 2'], array_column($both['messages'], 'data'));
        self::assertFalse($both['gap']);
    }

    public function testOnePositionServesSeveralChannels(): void
    {
        [$one, $two, $position] = self::page('return [create_channel(), create_channel(), push_position()];');
        foreach ([[$one, 'a'], [$two, 'b'], [$one, 'c']] as [$channel, $text]) {
            self::page("return push_publish('$channel', '$text');");
        }
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask("/sub/$one/$two?position=$position", ['Accept' => 'application/json']);
        $answer = $browser->answer()->json();
        self::assertSame(['a', 'b', 'c'], array_column($answer['messages'], 'data'));
        self::assertSame([$one, $two, $one], array_column($answer['messages'], 'channel'));
    }

    public function testAMessageKeepsItsKindAndItsEvent(): void
    {
        [$channel, $position] = self::page(<<<'PHP'
            $channel = create_channel();
            $position = push_position();
            push_publish_async($channel, ['n' => 1], event: 'state', event_id: 'id-1');
            push_publish_async($channel, '{"n":1}');
            push_publish($channel, "\xff\0");
            return [$channel, $position];
            PHP);
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask("/sub/$channel?position=$position", ['Accept' => 'application/json']);
        $messages = $browser->answer()->json()['messages'];
        self::assertSame([['n' => 1], '{"n":1}', base64_encode("\xff\0")], array_column($messages, 'data'));
        self::assertSame('state', $messages[0]['event']);
        self::assertSame('base64', $messages[2]['encoding']);
    }

    public function testAChannelWithTheNameOfAScriptIsNone(): void
    {
        self::page("return push_publish('notes.php', 'not run');");
        $answer = Subscriber::get(self::$nginx->address, '/sub/notes.php?position=0.0');
        self::assertSame([200, 'not run'], [$answer->status, $answer->body]);
    }

    public function testAChannelThatNobodyMadeIsRefused(): void
    {
        self::assertSame(403, Subscriber::get(self::$nginx->address, '/sub/nobody-made-this')->status);
    }
}
