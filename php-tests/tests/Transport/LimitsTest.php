<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Response;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** Behind nginx, with the files of examples/nginx, each browser has the limits of its own address, and cannot say another. */
final class LimitsTest extends TestCase
{
    private static Hub $hub;
    private static Nginx $nginx;

    public static function setUpBeforeClass(): void
    {
        self::$hub = Hub::start(<<<'TOML'
            trusted_proxies = "127.0.0.1"
            connect_rate_per_address = "1r/m burst=1"
            TOML);
        self::$nginx = Nginx::before(self::$hub->address, Directory::make('pages'));
    }

    public static function tearDownAfterClass(): void
    {
        self::$nginx->stop();
        self::$hub->stop();
    }

    /** A poll of a browser with this address, which sends these headers. */
    private static function poll(string $channel, string $from, array $headers = []): Response
    {
        $browser = new Subscriber(self::$nginx->address, $from);
        $browser->ask("/poll/$channel", $headers);

        return $browser->answer();
    }

    public function testWhatABrowserWritesIntoTheHeaderDoesNotHelp(): void
    {
        $channel = self::$hub->php('return create_channel();');
        $forged = static fn (string $text): array => ['X-Forwarded-For' => $text];
        self::assertSame(304, self::poll($channel, '127.0.0.2')->status);
        self::assertSame(304, self::poll($channel, '127.0.0.2', $forged('192.0.2.1'))->status);
        foreach (['192.0.2.2', '192.0.2.3, 127.0.0.1', '127.0.0.1', '127.0.0.3', 'unix:', 'nonsense,', '', '::1'] as $text) {
            $answer = self::poll($channel, '127.0.0.2', $forged($text));
            self::assertSame(429, $answer->status, $text);
            self::assertGreaterThan(30, (int) $answer->headers['retry-after']);
            self::assertStringContainsString('(connect_rate_per_address)', $answer->headers['x-nginx-pushstream-explain']);
        }
        self::assertSame(304, self::poll($channel, '127.0.0.3', $forged('127.0.0.2'))->status, 'others come in');
        Wait::until(static fn (): bool => str_contains(self::$hub->log(), 'client=127.0.0.2'), 'the log names the browser');
        self::assertStringNotContainsString($channel, self::$hub->log());
        self::assertDoesNotMatchRegularExpression('~client=(192\.0\.2|127\.0\.0\.[13])~', self::$hub->log());
    }

    /** nginx has a few connections to the hub for all of them. */
    public function testALongPollGoesOnAndAnotherBrowserDoesNotGoOnInItsPlace(): void
    {
        [$channel, $position] = self::$hub->php('return [create_channel(), push_position()];');
        $browser = new Subscriber(self::$nginx->address, '127.0.0.4');
        foreach (range(1, 4) as $number) {
            $browser->ask("/sub/$channel?position=$position");
            self::$hub->publish($channel, ["news $number"], subscribers: 1);
            $answer = $browser->answer();
            self::assertSame([200, "news $number"], [$answer->status, $answer->body]);
            $position = $answer->position();
        }
        $statuses = array_map(fn (): int => self::poll($channel, '127.0.0.5')->status, range(1, 3));
        self::assertSame([304, 304, 429], $statuses);
        $browser->ask("/sub/$channel?position=$position");
        self::$hub->publish($channel, ['news'], subscribers: 1);
        self::assertSame(200, $browser->answer()->status);
    }
}
