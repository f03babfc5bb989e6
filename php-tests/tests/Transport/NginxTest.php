<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Connection;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Subscriber;

/** Every transport passes nginx, with the files of examples/nginx or with less. */
final class NginxTest extends TestCase
{
    private const UPGRADE = [
        'Connection' => 'Upgrade', 'Upgrade' => 'websocket',
        'Sec-WebSocket-Version' => '13', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
    ];

    private static Hub $hub;
    private static Nginx $nginx;

    public static function setUpBeforeClass(): void
    {
        $location = static fn (string $path, string $kind, string $more = ''): string => <<<TOML
            [[location]]
            path = "$path"
            subscriber = "$kind"
            $more

            TOML;
        self::$hub = Hub::start("ping_message_interval = \"1s\"\n"
            . $location('/sub/', 'long-polling') . $location('/poll/', 'polling') . $location('/stream/', 'streaming')
            . $location('/ev/', 'eventsource') . $location('/ws/', 'websocket')
            . $location('/silent/', 'eventsource', 'ping_message_interval = "none"'));
        // Nothing of what the examples say of streams, and a time-out between one ping and three.
        self::$nginx = Nginx::before(self::$hub->address, Directory::make('pages'), <<<'NGINX'
            location /bare/ {
                rewrite ^/bare(/.*) $1 break;
                proxy_pass http://push;
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $push_connection;
                proxy_read_timeout 2s;
            }
            NGINX);
    }

    public static function tearDownAfterClass(): void
    {
        self::$nginx->stop();
        self::$hub->stop();
    }

    /** @return iterable<string, array{string, int, array<string, string>, string, string}> path, pings, headers, in the answer's head, a message */
    public function streams(): iterable
    {
        // Three pings are more than the two seconds of /bare/.
        foreach (['' => 1, '/bare' => 3] as $where => $pings) {
            yield "$where/ev/" => ["$where/ev/", $pings, [], 'text/event-stream', "data: news\n\n"];
            yield "$where/stream/" => ["$where/stream/", $pings, [], 'text/plain', 'news'];
            yield "$where/ws/" => ["$where/ws/", $pings, self::UPGRADE, '101 Switching Protocols', "\x81\x04news"];
        }
    }

    /** @dataProvider streams */
    public function testAStreamComesAtOnceAndOutlivesTheTimeOut(string $path, int $pings, array $headers, string $head, string $message): void
    {
        $channel = self::$hub->php('return create_channel();');
        $connection = new Connection(self::$nginx->address, $path . $channel, $headers);
        self::assertStringContainsString($head, $connection->until("\r\n\r\n"));
        self::$hub->publish($channel, ['news'], subscribers: 1);
        $connection->until($message);
        // A WebSocket answers with a pong, or the hub closes it.
        $ping = ['ev' => ': -1', 'stream' => "1\r\n \r\n", 'ws' => "\x89\x00"][basename($path)];
        $pong = $headers === [] ? '' : "\x8a\x80\0\0\0\0";
        foreach (range(1, $pings) as $times) {
            $connection->until($ping, $times);
            $connection->send($pong);
        }
        self::$hub->publish($channel, ['news'], subscribers: 1);
        $connection->until($message, 2);
        // The hub hears that the browser has gone.
        $connection->close();
        self::assertTrue(self::$hub->php("return Push\\Tests\\Support\\Wait::until(
            fn () => push_channel_info('$channel')->subscribers === 0, 'the seat is free');"));
    }

    public function testWithoutPingsTheTimeOutEndsAStream(): void
    {
        $channel = self::$hub->php('return create_channel();');
        $connection = new Connection(self::$nginx->address, "/bare/silent/$channel");
        $connection->until('text/event-stream');
        self::assertStringNotContainsString(': -1', $connection->end());
    }

    public function testPollsPassAndKeepTheirConnection(): void
    {
        [$channel, $position] = self::$hub->php('return [create_channel(), push_position()];');
        $browser = new Subscriber(self::$nginx->address);
        foreach (['/sub/', '/poll/', '/sub/', '/bare/sub/'] as $number => $path) {
            self::$hub->publish($channel, ["news $number"]);
            $browser->ask("$path$channel?position=$position");
            $answer = $browser->answer();
            self::assertSame([200, "news $number"], [$answer->status, $answer->body]);
            $position = $answer->position();
        }
        $browser->ask("/poll/$channel?position=$position");
        self::assertSame(304, $browser->answer()->status);
    }

    public function testARefusedWebSocketSaysWhy(): void
    {
        $connection = new Connection(self::$nginx->address, '/ws/nobody-made-this', self::UPGRADE);
        // 1008, and the reason as JSON.
        self::assertMatchesRegularExpression('~\x88.\x03\xf0\{"http_status": ?403~s', $connection->end());
    }
}
