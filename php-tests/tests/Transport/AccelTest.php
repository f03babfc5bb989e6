<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Connection;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FastCgi;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Response;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** push_accel() behind nginx with examples/nginx/accel.conf, and what browsers try to be somebody else. */
final class AccelTest extends TestCase
{
    private const UPGRADE = [
        'Connection' => 'Upgrade', 'Upgrade' => 'websocket',
        'Sec-WebSocket-Version' => '13', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
    ];
    /** What somebody who wants to be the admin sends. */
    private const FORGED = '{"channels":["secret"],"user":"admin"}';

    private static FpmPool $fpm;
    private static Nginx $nginx;
    /** A script that knows users by a cookie and lets them in to two channels. */
    private static string $listen;

    public static function setUpBeforeClass(): void
    {
        $directory = Directory::make('fpm');
        self::$fpm = FpmPool::start([
            'push.trusted_listen' => "unix:$directory/run/trusted.sock",
            'push.authorized_channels_only' => 'token',
            'push.presence_grace' => '1s',
        ], directory: $directory);
        // As sites have it that were moved: a way to any path.
        self::$nginx = Nginx::examples(['accel'], self::$fpm, 'rewrite ^/moved(/.*)$ $1 last;');
        self::$listen = '/' . basename(self::$fpm->script(<<<'PHP'
            $user = $_COOKIE['uid'] ?? exit(http_response_code(401));
            push_accel(["user-$user", 'lobby'], user: $user, info: ['nick' => "<$user>"]);
            PHP));
    }

    public static function tearDownAfterClass(): void
    {
        self::$nginx->stop();
        self::$fpm->stop();
    }

    protected function setUp(): void
    {
        self::waitForAnEmptyLobby();
    }

    protected function tearDown(): void
    {
        // Whatever was tried: nobody has become the admin, or hears what is for him alone.
        self::assertFalse(self::php("return push_presence_is_online('admin');"));
        self::assertSame(0, self::subscribers('secret'));
        self::php('push_disconnect(channel: "lobby");');
    }

    private static function php(string $code): mixed
    {
        return self::$fpm->run($code);
    }

    private static function subscribers(string $channel): int
    {
        return self::php('return push_channel_info(' . var_export($channel, true) . ')?->subscribers ?? 0;');
    }

    private static function waitForSeats(string $channel, int $count): void
    {
        Wait::until(static fn (): bool => self::subscribers($channel) === $count, "$channel has $count subscribers");
    }

    private static function waitForAnEmptyLobby(): void
    {
        Wait::until(static fn (): bool => self::lobby() === [], 'everybody has left the lobby');
    }

    /** @return list<string> */
    private static function lobby(): array
    {
        return self::php("return array_column(push_presence_members('lobby'), 'user');");
    }

    /** What a request of these bytes is answered. */
    private static function raw(string $bytes, ?string $address = null): Response
    {
        $browser = new Subscriber($address ?? self::$nginx->address);
        $browser->send($bytes);

        return $browser->answer();
    }

    public function testTheOnlyWorkerIsFreeWhileItsBrowsersWait(): void
    {
        $script = '/' . basename(self::$fpm->script(<<<'PHP'
            push_accel(['lobby', 'a.b3', 'grüße', '50%2F', "x y\r\nz"], 7, ['nick' => 'Änn', 'r' => "\r\n"]);
            echo 'thrown away';
            PHP));
        $browsers = array_map(static fn (): Subscriber => new Subscriber(self::$nginx->address), range(1, 3));
        array_walk($browsers, static fn (Subscriber $browser) => $browser->ask($script));
        self::waitForSeats('lobby', 3);
        $member = self::php("return push_presence_get(7, 'lobby');");
        self::assertSame([3, ['nick' => 'Änn', 'r' => "\r\n"]], [$member['connections'], $member['info']]);
        self::assertSame(0, self::subscribers('a'), 'a name, and no backlog of another');
        foreach (['a.b3', 'grüße', '50%2F', "x y\r\nz"] as $at => $channel) {
            self::waitForSeats($channel, 3);
            self::php('return push_publish(' . var_export($channel, true) . ", 'to $at', store: false);");
            array_walk($browsers, static fn (Subscriber $browser) => self::assertSame("to $at", $browser->answer()->body));
            array_walk($browsers, static fn (Subscriber $browser) => $browser->ask($script));
        }
        array_walk($browsers, static fn (Subscriber $browser) => $browser->close());
        self::waitForSeats('lobby', 0);
    }

    public function testABrowserGoesOnFromItsPosition(): void
    {
        $cookie = ['Cookie' => 'uid=7'];
        $position = self::php("push_publish('user-7', 'before'); return push_position();");
        self::php("push_publish('user-7', 'one');");
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask(self::$listen . "?position=$position", $cookie);
        $one = $browser->answer();
        self::assertSame([200, 'one'], [$one->status, $one->body]);
        self::assertArrayNotHasKey('x-push-identity', $one->headers, 'what is said to the hub stays there');
        self::assertArrayNotHasKey('x-accel-redirect', $one->headers);
        self::php("push_publish('user-7', 'two');");
        $browser->ask(self::$listen, $cookie + [
            'If-Modified-Since' => $one->headers['last-modified'], 'If-None-Match' => $one->headers['etag'],
        ]);
        $two = $browser->answer();
        self::assertSame([200, 'two'], [$two->status, $two->body]);
        $browser->ask(self::$listen . "?position=$position&format=json&x=a%20b%23%0d%0a", $cookie);
        self::assertSame(['one', 'two'], array_column($browser->answer()->json()['messages'], 'data'));
        // Who waits hears of the next one at once, and who leaves is gone.
        $browser->ask(self::$listen . "?position={$two->position()}", $cookie);
        self::waitForSeats('user-7', 1);
        self::php("push_publish('lobby', 'live');");
        self::assertSame('live', $browser->answer()->body);
        $browser->ask(self::$listen . "?position=" . self::php('return push_position();'), $cookie);
        self::waitForSeats('user-7', 1);
        self::assertSame(1, self::php("return push_disconnect(7, reason: 'signed out');"));
        self::assertSame([403, "signed out\n"], [($last = $browser->answer())->status, $last->body]);
        $browser->ask(self::$listen);
        self::assertSame(401, $browser->answer()->status, 'PHP decides each time');
    }

    public function testTheRequestSaysHowItIsAnswered(): void
    {
        $events = new Connection(self::$nginx->address, self::$listen, ['Cookie' => 'uid=7', 'Accept' => 'text/event-stream']);
        self::assertStringContainsString('text/event-stream', $events->until("\r\n\r\n"));
        $socket = new Connection(self::$nginx->address, self::$listen, [
            'Cookie' => 'uid=8', 'Origin' => 'http://' . self::$nginx->address, ...self::UPGRADE,
        ]);
        self::assertStringContainsString('101 Switching Protocols', $socket->until("\r\n\r\n"));
        self::waitForSeats('lobby', 2);
        self::assertSame(['7', '8'], self::lobby());
        self::php("push_publish('lobby', 'news');");
        $events->until("data: news\n\n");
        $socket->until("\x81\x04news");
        $socket->close();
        // The last id, which a browser sends by itself when it comes again.
        preg_match('~^id: (\S+)~m', $events->until('id: '), $id);
        $events->close();
        self::waitForSeats('lobby', 0);
        self::php("push_publish('lobby', 'missed');");
        $again = new Connection(self::$nginx->address, self::$listen, [
            'Cookie' => 'uid=7', 'Accept' => 'text/event-stream', 'Last-Event-ID' => $id[1],
        ]);
        $again->until("data: missed\n\n");
        $again->close();
    }

    public function testMuchIsHandedOver(): void
    {
        $script = self::$fpm->script(<<<'PHP'
            $channels = array_map(fn ($number) => sprintf('channel-%040d', $number), range(1, 70));
            push_accel([...$channels, 'lobby'], 'much', ['x' => str_repeat('y', 2000)]);
            PHP);
        self::assertGreaterThan(5500, strlen(self::$fpm->request($script)->headers['x-push-identity']));
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask('/' . basename($script));
        self::waitForSeats(sprintf('channel-%040d', 70), 1);
        self::assertSame(2000, strlen(self::php("return push_presence_get('much', 'lobby');")['info']['x']));
    }

    public function testWhatPhpAnswersCannotBeChangedByTheRequest(): void
    {
        $script = self::$fpm->script("push_accel(['a', \"é\\r\\nX: y\"], '7', ['nick' => \"\\u{1f600}\"]);");
        $answer = static fn (string $query): array => FastCgi::request(self::$fpm->listen, [
            'REQUEST_METHOD' => 'POST', 'SCRIPT_FILENAME' => $script, 'QUERY_STRING' => $query,
            'HTTP_X_PUSH_IDENTITY' => self::FORGED, 'HTTP_X_ACCEL_REDIRECT' => '/etc/passwd',
        ])->headers;
        $headers = $answer("a=1\r\nX-Evil: 1#%00\0");
        self::assertSame('/push-accel?a=1%0D%0AX-Evil:%201%23%00', $headers['x-accel-redirect']);
        self::assertArrayNotHasKey('x-evil', $headers);
        self::assertSame(
            '{"channels":["a","\u00e9\r\nX: y"],"user":"7","info":{"nick":"\ud83d\ude00"}}',
            $headers['x-push-identity'],
        );
        self::assertSame('/push-accel', $answer('')['x-accel-redirect']);
        $twice = self::$fpm->script("push_accel('first'); push_accel('second', 7);");
        self::assertSame('{"channels":["second"],"user":"7"}', self::$fpm->request($twice)->headers['x-push-identity']);
    }

    public function testAPoolHandsOverInItsOwnNamespaceOnly(): void
    {
        $shop = FpmPool::start(
            ['push.socket' => self::$fpm->socket, 'push.listen' => self::$fpm->address, 'push.trusted_listen' => 'none'],
            ['php_admin_value[push.namespace]' => 'shop'],
        );
        $script = $shop->script("push_accel('lobby', 'ann');");
        $identity = $shop->request($script)->headers['x-push-identity'];
        self::assertSame('{"channels":["lobby"],"user":"ann","ns":"shop"}', $identity);
        // The locations of this hub are in the empty one.
        $nginx = Nginx::examples(['accel'], $shop, '', [
            'unix:/run/push/trusted.sock' => 'unix:' . dirname(self::$fpm->socket) . '/trusted.sock',
        ]);
        $answer = Subscriber::get($nginx->address, '/' . basename($script));
        self::assertSame(403, $answer->status);
        self::assertStringContainsString('another namespace', $answer->headers['x-nginx-pushstream-explain']);
        $nginx->stop();
        $shop->stop();
    }

    public function testAnAnswerThatHasBegunIsNotHandedOver(): void
    {
        $script = self::$fpm->script("echo 'begun'; flush();\npush_accel('a', 7);");
        $answer = self::$fpm->request($script);
        self::assertArrayNotHasKey('x-accel-redirect', $answer->headers);
        self::assertStringStartsWith('begun', $answer->body);
        ['class' => $class, 'message' => $message] = json_decode(substr($answer->body, 5), true);
        self::assertSame('Error', $class);
        self::assertStringContainsString('push_accel(): the head of the answer has been sent (output started at ' . $script . ':', $message);
        // Output that waits in a buffer has not begun.
        $buffered = self::$fpm->script("ob_start(); echo 'waits'; push_accel('a', 7);");
        self::assertArrayHasKey('x-accel-redirect', self::$fpm->request($buffered)->headers);
    }

    public function testABrowserCannotSayWhoItIs(): void
    {
        $forged = self::FORGED;
        foreach ([
            ["X-Push-Identity: $forged"],
            ["x-push-identity: $forged", "X-PUSH-IDENTITY: $forged"],
            ["X_Push_Identity: $forged", "X-Push_Identity: $forged"],
            ['X-Push-Identity:', "X-Push-Identity : $forged"],
            ["Connection: close, X-Push-Identity", "X-Push-Identity: $forged"],
            ["Connection: X-Push-Identity"],
            ['X-Accel-Redirect: /push-accel', "Upstream-Http-X-Push-Identity: $forged"],
            ['X-Push-User: admin', 'X-Push-Channels: secret', 'Authorization: Bearer x.y.z'],
            ['Cookie: push_token=x.y.z; uid=admin2', 'X-Push-Position: 0.0'],
        ] as $at => $headers) {
            $user = 'user' . $at;
            $query = '?id=secret&user=admin&channels=secret&token=x.y.z&X-Push-Identity=' . rawurlencode($forged);
            $browser = new Subscriber(self::$nginx->address);
            $lines = ["GET " . self::$listen . "$query HTTP/1.1", 'Host: test', "Cookie: uid=$user", ...$headers];
            $browser->send(implode("\r\n", $lines) . "\r\n\r\n");
            // nginx itself refuses a name with a blank behind it; of two cookies PHP takes one.
            Wait::until(static fn (): bool => !$browser->waits() || self::lobby() !== [], implode(' | ', $headers));
            if ($browser->waits()) {
                self::assertContains(self::lobby(), [[$user], ['admin2']], implode(' | ', $headers));
            } else {
                self::assertStringContainsString('Identity :', implode($headers), 'the others are let in as they are');
                self::assertSame(400, $browser->answer()->status);
            }
            $browser->close();
            self::waitForAnEmptyLobby();
        }
        // Nor where PHP lets nobody in, or hands nothing over.
        foreach ([self::$listen => 401, '/' . basename(self::$fpm->script('return 1;')) => 200] as $path => $status) {
            $answer = self::raw("GET $path HTTP/1.1\r\nHost: test\r\nX-Push-Identity: $forged\r\nX-Accel-Redirect: /push-accel\r\n\r\n");
            self::assertSame($status, $answer->status);
        }
    }

    public function testNobodyReachesTheLocationThatPhpHandsOverTo(): void
    {
        $forged = 'X-Push-Identity: ' . self::FORGED;
        $host = self::$nginx->address;
        foreach ([
            '/push-accel', '/push-accel?position=0.0', '//push-accel', '/./push-accel', '/x/../push-accel', '/%70ush-accel',
            '/x/%2e%2e/push-accel', '/x/..%2fpush-accel', '/%2fpush-accel', '/push-accel/', '/push-accel/sub/secret', '/push-accel%3f',
            '/push-accel;x', '/Push-Accel', '/sub/secret', '/ws/secret', '/ev/secret', '/pub?id=secret', '/metrics',
            "http://$host/push-accel", 'http://push_trusted/sub/', 'http://push_trusted/push-accel',
        ] as $target) {
            foreach (['GET', 'POST', 'OPTIONS'] as $method) {
                foreach (['test', 'push_trusted', $host] as $name) {
                    $answer = self::raw("$method $target HTTP/1.1\r\nHost: $name\r\n$forged\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    self::assertContains($answer->status, [400, 404, 405], "$method $target Host: $name");
                    self::assertArrayNotHasKey('x-nginx-pushstream-explain', $answer->headers, 'the hub was never asked');
                }
            }
        }
        // A rewrite of the site leads there, and the hub hears of no identity.
        foreach (['/moved/push-accel', '/moved/push-accel?id=secret'] as $target) {
            $answer = self::raw("GET $target HTTP/1.1\r\nHost: test\r\n$forged\r\nX_Push_Identity: x\r\n\r\n");
            self::assertSame(403, $answer->status);
            self::assertStringContainsString('X-Push-Identity is missing', $answer->headers['x-nginx-pushstream-explain']);
        }
        // Browsers may reach the hub itself: there the header means nothing.
        foreach ([$forged, str_replace('-', '_', $forged), "$forged\r\n$forged"] as $headers) {
            $answer = self::raw("GET /sub/secret HTTP/1.1\r\nHost: test\r\n$headers\r\n\r\n", self::$fpm->address);
            self::assertSame(401, $answer->status);
        }
        $admin = 'unix:' . dirname(self::$fpm->socket) . '/admin.sock';
        self::assertSame(404, self::raw("GET /sub/ HTTP/1.1\r\nHost: test\r\n$forged\r\n\r\n", $admin)->status);
    }

    public function testPagesOfOtherSitesHearNothingByTheCookieOfTheUser(): void
    {
        $refused = static function (string $query, array $headers): void {
            $browser = new Subscriber(self::$nginx->address);
            $browser->ask(self::$listen . $query, ['Cookie' => 'uid=7', ...$headers]);
            $answer = $browser->answer();
            self::assertSame(403, $answer->status, $query . json_encode($headers));
            self::assertArrayNotHasKey('access-control-allow-origin', $answer->headers);
        };
        $refused('?callback=steal', []);
        $refused('?callback=steal&position=0.0', ['Referer' => 'https://evil.example/']);
        $refused('', ['Origin' => 'https://evil.example']);
        $refused('', ['Origin' => 'null', 'Accept' => 'text/event-stream']);
        $refused('', ['Origin' => 'http://test.evil.example']);
        $refused('', ['Sec-Fetch-Site' => 'cross-site']);
        foreach ([[], ['Origin' => 'https://evil.example'], ['Origin' => 'http://' . self::$nginx->foreign]] as $origin) {
            $socket = new Connection(self::$nginx->address, self::$listen, ['Cookie' => 'uid=7', ...$origin, ...self::UPGRADE]);
            // 1008, and the reason as JSON.
            self::assertMatchesRegularExpression('~\x88.\x03\xf0\{"http_status": ?403~s', $socket->end());
        }
        self::assertSame(0, self::subscribers('lobby'));
    }

    public function testARequestInTheBodyOfAnotherIsNotHeard(): void
    {
        $inner = "GET /sub/ HTTP/1.1\r\nHost: test\r\nX-Push-Identity: " . self::FORGED . "\r\n\r\n";
        $chunked = dechex(strlen($inner)) . "\r\n$inner\r\n0\r\n\r\n";
        $head = "POST " . self::$listen . " HTTP/1.1\r\nHost: test\r\nCookie: uid=7\r\n";
        foreach ([
            'a body' => "{$head}Content-Length: " . strlen($inner) . "\r\n\r\n$inner",
            'a body of a GET' => 'GET' . substr($head, 4) . 'Content-Length: ' . strlen($inner) . "\r\n\r\n$inner",
            'chunks' => "{$head}Transfer-Encoding: chunked\r\n\r\n$chunked",
            'length before chunks' => "{$head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n$chunked",
            'chunks before length' => "{$head}Transfer-Encoding: chunked\r\nContent-Length: " . strlen($chunked) . "\r\n\r\n$chunked",
            'two lengths' => "{$head}Content-Length: 0\r\nContent-Length: " . strlen($inner) . "\r\n\r\n$inner",
            'odd chunks' => "{$head}Transfer-Encoding: xchunked\r\n\r\n$chunked",
            'odder chunks' => "{$head}Transfer-Encoding:\tchunked , identity\r\n\r\n$chunked",
            'a signed length' => "{$head}Content-Length: +" . strlen($inner) . "\r\n\r\n$inner",
            'a length of no digits' => "{$head}Content-Length: 0x10\r\n\r\n$inner",
            'a bare line feed' => "{$head}X: y\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n$chunked",
        ] as $what => $bytes) {
            $browser = new Subscriber(self::$nginx->address);
            $browser->send($bytes);
            Wait::until(static fn (): bool => !$browser->waits() || self::lobby() === ['7'], $what);
            if ($browser->waits()) {
                self::php("push_publish('user-7', 'for 7', store: false);");
                self::assertSame('for 7', $browser->answer()->body, $what);
            } else {
                self::assertContains($browser->answer()->status, [400, 405, 501], $what);
            }
            $browser->close();
            self::waitForSeats('lobby', 0);
            // The connection that nginx keeps to the hub is where it should be: the next one gets its own answer.
            $next = new Subscriber(self::$nginx->address);
            $next->ask(self::$listen, ['Cookie' => 'uid=next']);
            self::waitForSeats('user-next', 1);
            self::php("push_publish('user-next', 'for the next', store: false);");
            self::assertSame('for the next', $next->answer()->body, $what);
            $next->close();
            self::waitForAnEmptyLobby();
        }
    }

    /** @depends testMuchIsHandedOver */
    public function testNoLogNamesChannelsOrUsers(): void
    {
        $log = self::$fpm->log() . self::$nginx->log();
        self::assertStringContainsString('a request was not let in', $log);
        foreach (['user-7', 'lobby', 'channel-0', '"channels"'] as $name) {
            self::assertStringNotContainsString($name, $log);
        }
    }
}
