<?php

declare(strict_types=1);

namespace Push\Tests\Browser;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Browser;
use Push\Tests\Support\ChromeDriver;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Wait;

/** The client that the hub serves, in a browser, behind nginx with the files of examples/nginx. */
final class ClientTest extends TestCase
{
    private const SETTINGS = <<<'TOML'
        ping_message_interval = "1s"
        presence_grace = "1s"
        max_messages_stored_per_channel = 1000
        websocket_allow_publish = true
        TOML;
    /** What a proxy does that streams are foreign to: keep answers until they are complete, or know no WebSockets. */
    private const OBSTACLES = <<<'NGINX'
        location /held/ {
            proxy_pass http://push/ev/;
            proxy_ignore_headers X-Accel-Buffering;
            proxy_buffering on;
            proxy_buffer_size 256k;
            proxy_buffers 8 256k;
            postpone_output 200000;
        }
        location /refused/ { return 403; }
        location /broken/ { return 444; }
        location /plain/ { proxy_pass http://push/ws/; }
        NGINX;
    private const TRANSPORTS = ['sse', 'websocket', 'long-poll'];

    private static Hub $hub;
    private static Nginx $nginx;
    private static ChromeDriver $driver;

    private Browser $browser;

    public static function setUpBeforeClass(): void
    {
        $address = '127.0.0.1:' . Machine::freePort();
        self::$hub = Hub::start(self::SETTINGS);
        self::$nginx = Nginx::before(self::$hub->address, self::pages(), self::OBSTACLES, $address);
        self::$driver = ChromeDriver::start();
    }

    public static function tearDownAfterClass(): void
    {
        self::$driver->end();
        self::$nginx->stop();
        self::$hub->stop();
    }

    protected function setUp(): void
    {
        $this->browser = self::$driver->browser();
    }

    protected function tearDown(): void
    {
        $this->browser->quit();
    }

    /** Pages that keep what the client tells: `texts`, and the rest as `told`. */
    private static function pages(): string
    {
        $directory = Directory::make('client');
        $script = <<<'JS'
            const texts = [], told = [];
            function listen(id, channelOptions, options) {
              window.client = connect('/', options);
              window.room = client.channel(id, channelOptions);
              room.on('message', ({ data }) => texts.push(data));
              for (const type of ['gap', 'close', 'join', 'leave']) room.on(type, (what) => told.push([type, what]));
              for (const type of ['state', 'error', 'disconnect']) client.on(type, (what) => told.push([type, what.message ?? what]));
            }
            JS;
        $head = "<!DOCTYPE html>\n<meta charset=\"utf-8\">\n<title>client</title>\n<link rel=\"icon\" href=\"data:,\">\n";
        file_put_contents("$directory/module.html", "$head<script type=\"module\">\nimport { connect } from '/push.js';\n$script\n"
            . "Object.assign(window, { texts, told, listen });\n</script>\n");
        file_put_contents("$directory/global.html", "$head<script src=\"/push.global.js\"></script>\n<script>\nconst { connect } = Push;\n$script\n"
            . "Object.assign(window, { texts, told, listen });\n</script>\n");

        return $directory;
    }

    /** @return array<string, array{string}> */
    public function transports(): array
    {
        return array_combine(self::TRANSPORTS, array_map(static fn (string $name): array => [$name], self::TRANSPORTS));
    }

    /** @dataProvider transports */
    public function testWhatIsMissedWithoutTheNetworkComesOnceAndInOrder(string $transport): void
    {
        $channel = $this->open(['transports' => [$transport]]);
        $this->publish($channel, ['a', ['b' => 1], "c\n</script>"]);
        $this->expect(['a', ['b' => 1], "c\n</script>"]);
        $this->browser->offline(true);
        $this->browser->until('client.state === "offline"', 'the client rests');
        $this->publish($channel, ['missed 1', 'missed 2'], subscribers: 0);
        $this->browser->offline(false);
        $this->expect(['a', ['b' => 1], "c\n</script>", 'missed 1', 'missed 2']);
        self::assertSame($transport, $this->browser->script('return client.transport'));
    }

    public function testTheScriptForATagIsTheSameClient(): void
    {
        $channel = $this->open([], page: 'global');
        $this->publish($channel, ['x']);
        $this->expect(['x']);
        self::assertSame('sse', $this->browser->script('return client.transport'));
        self::assertSame(['connect'], $this->browser->script('return Object.keys(Push)'));
        self::assertSame([], $this->browser->errors());
    }

    /** @dataProvider transports */
    public function testAHubThatIsKilledIsFoundAgainAndNothingIsLost(string $transport): void
    {
        $channel = $this->open(['transports' => [$transport]]);
        $this->publish($channel, ['before']);
        $this->expect(['before']);
        $this->kill();
        $this->publish($channel, ['after', 'and on']);
        $this->expect(['before', 'after', 'and on']);
        self::assertSame([], $this->told('gap'));
    }

    /** @return array<string, array{array<string, string>, string}> */
    public function obstacles(): array
    {
        return [
            'streams are held back' => [['sse' => 'held/'], 'websocket'],
            'streams are refused' => [['sse' => 'refused/'], 'websocket'],
            'WebSockets are refused, too' => [['sse' => 'refused/', 'websocket' => 'refused/'], 'long-poll'],
            'WebSockets are no upgrade' => [['sse' => 'held/', 'websocket' => 'plain/'], 'long-poll'],
            'connections break' => [['sse' => 'broken/', 'websocket' => 'broken/'], 'long-poll'],
        ];
    }

    /** @dataProvider obstacles */
    public function testWhereATransportDoesNotGetThroughAnotherDoesAndNothingIsLostOrDoubled(array $paths, string $transport): void
    {
        $channel = $this->open(['paths' => $paths], wait: false);
        // All the time while it is looking for a way, and after.
        $texts = [];
        $this->loadUntil($channel, $texts, fn (): bool => $this->browser->script('return client.state') === 'open');
        $this->loadUntil($channel, $texts, fn (): bool => $this->browser->script('return texts.length') > 0, more: 20);
        $this->expect($texts);
        self::assertSame($transport, $this->browser->script('return client.transport'));
        self::assertSame([], $this->told('gap'));
    }

    public function testAnotherTransportGoesOnWhereAStreamWasCutOff(): void
    {
        $channel = $this->open([]);
        $texts = [];
        $this->loadUntil($channel, $texts, fn (): bool => $this->browser->script('return texts.length') > 3);
        $this->browser->block('*/ev/*');
        // Only requests are blocked, and the stream is there.
        $this->kill();
        $this->loadUntil($channel, $texts, fn (): bool => $this->browser->script('return client.transport === "websocket" && client.state === "open"'), more: 10);
        $this->expect($texts);
    }

    public function testAGapIsTold(): void
    {
        $channel = $this->open([], channel: self::$hub->php('return create_channel(max_messages: 50);'));
        $this->publish($channel, ['first']);
        $this->expect(['first']);
        $this->browser->offline(true);
        $this->browser->until('client.state === "offline"', 'the client rests');
        $texts = array_map(static fn (int $number): string => "message $number", range(1, 60));
        $this->publish($channel, $texts, subscribers: 0);
        $this->browser->offline(false);
        $this->expect(['first', ...array_slice($texts, 10)]);
        self::assertCount(1, $this->told('gap'));
        self::assertSame(self::$hub->php('return push_position();'), $this->told('gap')[0]['position']);
    }

    public function testAPageThatIsPutAwayHasNoConnectionAndIsCompleteWhenItIsBack(): void
    {
        $channel = $this->open([]);
        $this->publish($channel, ['before']);
        $this->expect(['before']);
        $this->browser->script('dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))');
        $this->publish($channel, ['meanwhile'], subscribers: 0);
        $this->browser->script('dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))');
        $this->expect(['before', 'meanwhile']);
        // For good: at once, not when a ping fails.
        $this->browser->open('about:blank');
        $this->subscribers($channel, 0);
    }

    public function testPeopleAreSeenComingAndGoing(): void
    {
        $channel = $this->open([], ['presence' => true], token: 'ann');
        $this->browser->until('room.members.has("ann")', 'who is there');
        $other = self::$driver->browser();
        try {
            $this->open([], ['presence' => true], token: 'ben', channel: $channel, browser: $other);
            $this->browser->until('room.members.has("ben")', 'somebody comes');
            $other->until('room.count === 2', 'the other sees both');
            self::assertSame([], $this->told('join', $other));
        } finally {
            $other->quit();
        }
        $this->browser->until('room.count === 1', 'somebody goes');
        self::assertSame(['ben'], array_column($this->told('join'), 'user'));
        self::assertSame(['ben'], array_column($this->told('leave'), 'user'));
        self::assertSame(['nick' => 'ben'], $this->told('leave')[0]['info']);
        $page = $this->browser->promise('return room.roster()');
        self::assertSame(['ann'], array_column($page['members'], 'user'));
    }

    public function testATokenThatExpiresIsFollowedByAnother(): void
    {
        [$channel, $position] = self::$hub->php('return [create_channel(), push_position()];');
        $tokens = array_map(fn (int $ttl): string => $this->token($channel, 'ann', $ttl), [5, 60]);
        $this->browser->open('http://' . self::$nginx->address . '/module.html');
        $this->browser->script(
            'const [channel, position, tokens] = arguments; listen(channel, { position }, { token: async () => tokens.shift() }); window.tokens = tokens',
            $channel, $position, $tokens,
        );
        $texts = [];
        $this->loadUntil($channel, $texts, fn (): bool => $this->browser->script('return tokens.length') === 0, more: 10);
        $this->expect($texts);
        self::assertSame([], $this->told('error'));
    }

    /** @dataProvider transports */
    public function testWhoIsDisconnectedIsToldWhy(string $transport): void
    {
        $channel = $this->open(['transports' => [$transport]], token: 'ann');
        self::assertSame(1, self::$hub->php("return push_disconnect(user: 'ann', reason: 'somebody else', revoke: true);"));
        $this->browser->until('told.some(([type]) => type === "disconnect")', 'the reason');
        self::assertSame([['reason' => 'somebody else']], $this->told('disconnect'));
        // The token is worth nothing any more, and there is no other.
        $this->browser->until('client.state === "closed"', 'the client gives up');
        $this->subscribers($channel, 0);
    }

    public function testAWebSocketPublishesToOneOfItsChannels(): void
    {
        $channel = $this->open(['transports' => ['websocket']]);
        $this->browser->script('room.publish({ x: "é" }, "moved")');
        $this->expect([['x' => 'é']]);
        $kept = self::$hub->php("return array_map(fn (\$message) => [\$message->event, \$message->data], push_history('$channel'));");
        self::assertSame([['moved', ['x' => 'é']]], $kept);
    }

    /** Opens a page that listens to a new channel, or to this one; its name. */
    private function open(
        array $options, array $channelOptions = [], string $page = 'module', ?string $token = null, ?string $channel = null,
        ?Browser $browser = null, bool $wait = true,
    ): string {
        $browser ??= $this->browser;
        [$channel, $position] = self::$hub->php('return [' . var_export($channel, true) . ' ?? create_channel(), push_position()];');
        if ($token !== null) {
            $options['token'] = $this->token($channel, $token);
        }
        $browser->open('http://' . self::$nginx->address . "/$page.html");
        $browser->script('listen(...arguments)', $channel, (object) ($channelOptions + compact('position')), (object) $options);
        if ($wait) {
            $browser->until('client.state === "open"', 'the client is open');
        }

        return $channel;
    }

    private function token(string $channel, string $user, int $ttl = 60): string
    {
        return self::$hub->php("return push_token('$channel', '$user', $ttl, ['nick' => '$user']);");
    }

    /** The hub dies; its keeper starts another. */
    private function kill(): void
    {
        posix_kill(self::$hub->php('return push_status()["pid"];'), SIGKILL);
    }

    private function publish(string $channel, array $data, ?int $subscribers = null): void
    {
        self::$hub->publish($channel, $data, $subscribers);
    }

    /** Publishes until the condition holds, and then some more; `$texts` is all of it. */
    private function loadUntil(string $channel, array &$texts, callable $condition, int $more = 0): void
    {
        Wait::until(function () use ($channel, &$texts, $condition): bool {
            $this->publish($channel, [$texts[] = 'text ' . count($texts)]);

            return $condition();
        }, 'the condition under load', 30);
        if ($more > 0) {
            $this->publish($channel, $rest = array_map(static fn (int $at): string => 'text ' . $at, range(count($texts), count($texts) + $more - 1)));
            array_push($texts, ...$rest);
        }
    }

    private function subscribers(string $channel, int $count): void
    {
        $ask = "return push_channel_info('$channel')->subscribers;";
        Wait::until(static fn (): bool => self::$hub->php($ask) === $count, "$count subscribers");
    }

    private function expect(array $texts): void
    {
        try {
            $this->browser->until('texts.length >= ' . count($texts), count($texts) . ' messages', 30);
        } catch (\RuntimeException) {
            // The comparison says more.
        }
        self::assertSame($texts, $this->browser->script('return texts'));
    }

    /** @return list<mixed> what was told of this kind */
    private function told(string $type, ?Browser $browser = null): array
    {
        return ($browser ?? $this->browser)->script('return told.filter(([type]) => type === arguments[0]).map(([, what]) => what)', $type);
    }
}
