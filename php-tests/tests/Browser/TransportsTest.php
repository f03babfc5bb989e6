<?php

declare(strict_types=1);

namespace Push\Tests\Browser;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\ChromeDriver;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Nginx;

/** The examples of docs/transports.md as they stand there, in a browser, behind nginx with the files of examples/nginx. */
final class TransportsTest extends TestCase
{
    private const MANUAL = __DIR__ . '/../../../docs/transports.md';
    /** Connections end after this, so that every page comes back at least once. */
    private const LIFE = '2s';
    public const TEXTS = [
        '你好，世界', 'emoji 😀 👩‍👩‍👧', "quotes \" ' ` and \\", '</script><script>document.title = "broken"</script><!--', '}{ {}{} }',
        "one\ntwo\r\nthree\ttab", "\u{2028}\u{2029}\u{feff}\u{7f}", '100% of %41 + %zz &amp; <b>', '~text~ ~id~', 'data: x', ' blank ',
    ];

    private static Hub $hub;
    private static Nginx $nginx;
    private static ChromeDriver $driver;
    private static Page $page;

    public static function setUpBeforeClass(): void
    {
        $address = '127.0.0.1:' . Machine::freePort();
        [$locations] = self::manual('toml');
        self::$hub = Hub::start(implode("\n", [
            'subscriber_connection_ttl = "' . self::LIFE . '"',
            'longpolling_connection_ttl = "' . self::LIFE . '"',
            "allowed_origins = [\"http://$address\"]",
            $locations,
        ]));
        self::$nginx = Nginx::before(self::$hub->address, Page::directory(), address: $address);
        self::$driver = ChromeDriver::start();
        self::$page = new Page(self::$driver->browser());
    }

    public static function tearDownAfterClass(): void
    {
        self::$page->browser->quit();
        self::$driver->end();
        self::$nginx->stop();
        self::$hub->stop();
    }

    /** @return array<string, array{string, string, string}> name, type of the script, transport */
    public function transports(): array
    {
        return [
            'EventSource' => ['EventSource', 'text/javascript'],
            'Long-poll' => ['Long-poll', 'module'],
            'WebSocket' => ['WebSocket', 'text/javascript'],
            'JSONP' => ['JSONP', 'text/javascript'],
        ];
    }

    /** @dataProvider transports */
    public function testEveryMessageIsShownOnceAndUnchanged(string $transport, string $type): void
    {
        $this->follow($transport, $type, static fn (string $code): string => $code);
    }

    /** @dataProvider transports */
    public function testAPageOfAListedOriginSeesTheSame(string $transport, string $type): void
    {
        $foreign = self::$nginx->foreign;
        $this->follow($transport, $type, static fn (string $code): string => strtr($code, [
            '`/' => "`http://$foreign/", '${location.origin.replace(\'http\', \'ws\')}' => "ws://$foreign",
        ]));
    }

    /** From a page with a position, over the end of a connection, to the next one. */
    private function follow(string $transport, string $type, callable $change): void
    {
        [$channel] = $this->open($transport);
        $this->publish($channel, ['between page and connection']);
        [$code] = self::manual('js', $transport);
        self::$page->add($change(str_replace('https://push.example.com', 'http://' . self::$nginx->foreign, $code)), $type);

        $texts = ['between page and connection', ...self::TEXTS];
        $this->publish($channel, self::TEXTS, subscribers: 1);
        self::assertSame($texts, self::$page->shows(count($texts)));
        self::$page->browser->screenshot(strtolower($transport));
        array_push($texts, 'while it is away', 'and one more');
        $this->publish($channel, ['while it is away', 'and one more'], subscribers: 0);
        self::assertSame($texts, self::$page->shows(count($texts)));
        $texts[] = 'again there';
        $this->publish($channel, ['again there'], subscribers: 1);
        self::assertSame($texts, self::$page->shows(count($texts)));
        self::assertSame('what comes', self::$page->browser->script('return document.title'));
        self::assertSame([], array_values(preg_grep('/304/', self::$page->browser->errors(), PREG_GREP_INVERT)));
    }

    public function testAnEventHasAListenerOfItsOwn(): void
    {
        [$channel] = $this->open('events');
        self::$page->add(self::manual('js', 'EventSource')[0]);
        self::$page->add('events.addEventListener("typing", ({ data }) => show({ text: `typing ${data}` }))');
        self::$hub->php("push_publish('$channel', 'Ann', event: 'typing'); push_publish('$channel', ['text' => 'after']);");
        self::assertSame(['typing Ann', 'after'], self::$page->shows(2));
    }

    public function testAHubThatStartsAnewIsFoundAgainAndTheGapIsTold(): void
    {
        [$channel] = $this->open('restart');
        self::$page->add(self::manual('js', 'EventSource')[0]);
        $this->publish($channel, ['before'], subscribers: 1);
        self::assertSame(['before'], self::$page->shows(1));
        self::$hub->restart();
        $this->publish($channel, ['after']);
        // The page of the example loads itself anew, and a real one gets its history then.
        self::$page->browser->until('performance.getEntriesByType("navigation")[0].type === "reload"', 'the page is told of the gap');
    }

    public function testAWebSocketSendsToAllOfTheChannel(): void
    {
        [$channel, $position] = $this->open('sender');
        [$code] = self::manual('js', 'WebSocket');
        self::$page->add($code);
        $other = new Page(self::$driver->browser());
        try {
            $other->open('http://' . self::$nginx->address, 'receiver', compact('channel', 'position'));
            $other->add($code);
            $other->browser->until('socket.readyState === WebSocket.OPEN', 'an open WebSocket');
            foreach (self::TEXTS as $at => $text) {
                // A connection of this test lives for two seconds only, so whether it is open is asked where it is used.
                $message = json_encode(json_encode(compact('text')));
                self::$page->browser->until("socket.readyState === WebSocket.OPEN && [socket.send($message)]", 'an open WebSocket');
                self::assertCount($at + 1, self::$page->shows($at + 1));
            }
            self::assertSame(self::TEXTS, self::$page->shown());
            self::assertSame(self::TEXTS, $other->shows(count(self::TEXTS)));
            $other->browser->screenshot('websocket-receiver');
        } finally {
            $other->browser->quit();
        }
        $kept = self::$hub->php("return array_map(fn (\$message) => json_decode(\$message->data)->text, push_history('$channel'));");
        self::assertSame(self::TEXTS, $kept);
    }

    public function testAPageOfAListedOriginReadsThePositionFromTheHeaders(): void
    {
        [$channel] = $this->open('headers');
        $this->publish($channel, ['one', 'two']);
        $seen = self::$page->browser->promise(<<<'JS'
            const [address, seen] = [arguments[0], []];
            let headers = { 'If-Modified-Since': 'Thu, 01 Jan 1970 00:00:00 GMT', 'If-None-Match': 'W/0' };
            for (const status of [200, 304]) {
              const answer = await fetch(address, { headers });
              headers = { 'If-Modified-Since': answer.headers.get('Last-Modified'), 'If-None-Match': answer.headers.get('Etag') };
              seen.push([answer.status, await answer.text()]);
            }
            return [seen, headers];
            JS, 'http://' . self::$nginx->foreign . "/sub/$channel");
        self::assertSame([[200, '{"text":"one"}{"text":"two"}'], [304, '']], $seen[0]);
        self::assertMatchesRegularExpression('~^W/\d+$~', $seen[1]['If-None-Match']);
        self::assertNotFalse(strtotime($seen[1]['If-Modified-Since']));
    }

    public function testAPageOfAnotherOriginReadsNothing(): void
    {
        [$channel, $position] = $this->open('stranger', origin: self::$nginx->foreign);
        $this->publish($channel, ['secret']);
        $hub = self::$nginx->address;
        $errors = self::$page->browser->promise(<<<'JS'
            const [hub, where] = arguments;
            const told = (source) => new Promise((resolve) => { source.onmessage = source.onerror = ({ type }) => resolve(type); });
            return [
              await fetch(`http://${hub}/sub/${where}`).then((answer) => answer.text(), (error) => error.name),
              await told(new EventSource(`http://${hub}/ev/${where}`)),
              await told(new WebSocket(`ws://${hub}/ws/${where}`)),
            ];
            JS, $hub, "$channel?position=$position");
        self::assertSame(['TypeError', 'error', 'error'], $errors);
    }

    /** @return array{string, string} channel and position of a new page, which has both */
    private function open(string $title, ?string $origin = null): array
    {
        [$channel, $position] = self::$hub->php('return [create_channel(), push_position()];');
        self::$page->open('http://' . ($origin ?? self::$nginx->address), $title, compact('channel', 'position'));
        self::$page->browser->errors();

        return [$channel, $position];
    }

    private function publish(string $channel, array $texts, ?int $subscribers = null): void
    {
        self::$hub->publish($channel, array_map(static fn (string $text): array => compact('text'), $texts), $subscribers);
    }

    /** @return list<string> the blocks of this language in the manual, or in one chapter of it */
    private static function manual(string $language, ?string $chapter = null): array
    {
        $text = file_get_contents(self::MANUAL);
        if ($chapter !== null) {
            self::assertSame(1, preg_match("/^## $chapter\n(.*?)(?=^## |\z)/ms", $text, $match));
            $text = $match[1];
        }
        preg_match_all("/^```$language\n(.*?)^```$/ms", $text, $blocks);

        return $blocks[1];
    }
}
