<?php

declare(strict_types=1);

namespace Push\Tests\Browser;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\ChromeDriver;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Nginx;

/**
 * The preset for pages that use pushstream.js, the client of nginx-push-stream-module.
 *
 * That client is not part of Push. PUSHSTREAM_JS names a copy of its misc/js/pushstream.js (the one under the MIT licence);
 * with it, unchanged, people chat in each of its modes.
 */
final class PushstreamTest extends TestCase
{
    /** What the client decodes once would come as something else if it were published as it stands here. */
    private const TEXTS = [...TransportsTest::TEXTS, 'a%', '%', "it's"];

    private static Hub $hub;
    private static Nginx $nginx;
    private static ChromeDriver $driver;
    /** @var list<Page> */
    private array $pages = [];

    public static function setUpBeforeClass(): void
    {
        self::$hub = Hub::start(<<<'TOML'
            preset = "pushstream"
            websocket_allow_publish = true
            longpolling_connection_ttl = "2s"
            subscriber_connection_ttl = "4s"
            TOML);
        $directory = Page::directory();
        if (getenv('PUSHSTREAM_JS') !== false) {
            copy(getenv('PUSHSTREAM_JS'), "$directory/pushstream.js");
        }
        $admin = dirname(self::$hub->socket) . '/admin.sock';
        // Anybody may publish here: what a chat without a backend did.
        self::$nginx = Nginx::before(self::$hub->address, $directory, "location = /pub { proxy_pass http://unix:$admin; }");
        self::$driver = ChromeDriver::start();
    }

    public static function tearDownAfterClass(): void
    {
        self::$driver->end();
        self::$nginx->stop();
        self::$hub->stop();
    }

    protected function tearDown(): void
    {
        foreach ($this->pages as $page) {
            $page->browser->quit();
        }
    }

    public function testAStreamInAFrameCallsThePage(): void
    {
        [$channel, $position] = self::$hub->php('return [create_channel(), push_position()];');
        $page = $this->page('frame', compact('channel', 'position'));
        self::$hub->publish($channel, ['between page and connection']);
        $page->add(<<<'JS'
            let frame, last = new URLSearchParams({ position });
            window.PushStream = {
              register(page) {
                page.p = (id, of, text, eventid, time, tag) => {
                  if (id > 0) {
                    last = new URLSearchParams({ time, tag });
                    show({ text: (of === channel ? '' : of) + decodeURIComponent(text) });
                  }
                };
                frame.onload = connect;
              },
            };
            function connect() {
              frame?.remove();
              frame = Object.assign(document.createElement('iframe'), { src: `/sub/${channel}?streamid=0&${last}` });
              document.body.append(frame);
            }
            connect();
            JS);
        $texts = ['between page and connection', ...self::TEXTS];
        self::$hub->publish($channel, self::TEXTS, subscribers: 1);
        self::assertSame($texts, $page->shows(count($texts)));
        $page->browser->screenshot('frame');
        self::$hub->publish($channel, ['while it is away'], subscribers: 0);
        self::$hub->publish($channel, ['again there'], subscribers: 1);
        array_push($texts, 'while it is away', 'again there');
        self::assertSame($texts, $page->shows(count($texts)));
        self::assertSame('what comes', $page->browser->script('return document.title'));
        self::assertSame([], $page->browser->errors());
    }

    /** @return array<string, array{array<string, mixed>}> settings of the client */
    public function modes(): array
    {
        $byArguments = ['messagesControlByArgument' => true];

        return [
            'eventsource' => [['modes' => 'eventsource']],
            'eventsource by arguments' => [['modes' => 'eventsource'] + $byArguments],
            'websocket' => [['modes' => 'websocket'] + $byArguments],
            'stream' => [['modes' => 'stream'] + $byArguments],
            'longpolling' => [['modes' => 'longpolling']],
            'longpolling by arguments' => [['modes' => 'longpolling'] + $byArguments],
            'longpolling with JSONP' => [['modes' => 'longpolling', 'useJSONP' => true]],
            'channels by argument' => [['modes' => 'longpolling', 'channelsByArgument' => true]],
        ];
    }

    /** @dataProvider modes */
    public function testTwoPeopleChatWithTheUnchangedClient(array $settings): void
    {
        if (getenv('PUSHSTREAM_JS') === false) {
            self::markTestSkipped('PUSHSTREAM_JS names no copy of pushstream.js.');
        }
        $channel = self::$hub->php('return create_channel();');
        $name = strtr($this->dataName(), ' ', '-');
        foreach (['ann', 'ben'] as $person) {
            $page = $this->page("$name-$person", compact('channel', 'settings'));
            $page->add(file_get_contents(getenv('PUSHSTREAM_JS')));
            $page->add(<<<'JS'
                // The first client of a page cannot stream: it sends its number, 0, as nothing.
                new PushStream();
                const stream = new PushStream({
                  host: location.hostname, port: location.port, timeout: 3000, reconnectOnTimeoutInterval: 300, ...settings,
                });
                stream.onmessage = (text, id, of) => show({ text: (of === channel ? '' : of) + text });
                stream.addChannel(channel);
                stream.connect();
                JS);
            $page->browser->until('stream.readyState === PushStream.OPEN', 'an open connection');
        }
        [$ann, $ben] = $this->pages;
        self::$hub->publish($channel, self::TEXTS, subscribers: 2);
        $texts = self::TEXTS;
        self::assertSame($texts, $ann->shows(count($texts)));
        self::assertSame($texts, $ben->shows(count($texts)));
        foreach (self::TEXTS as $at => $text) {
            $page = $this->pages[$at % 2];
            $page->browser->until('stream.readyState === PushStream.OPEN', 'an open connection');
            $page->browser->script('stream.sendMessage(arguments[0])', $text);
            $texts[] = $text;
            self::assertSame($texts, $ann->shows(count($texts)));
            self::assertSame($texts, $ben->shows(count($texts)));
        }
        $ann->browser->screenshot("pushstream-$name");
        self::$hub->publish($channel, ['while one is away'], subscribers: 1);
        $texts[] = 'while one is away';
        self::assertSame($texts, $ann->shows(count($texts)));
        self::assertSame($texts, $ben->shows(count($texts)));
    }

    /** @param array<string, mixed> $variables */
    private function page(string $title, array $variables): Page
    {
        $page = new Page(self::$driver->browser());
        $this->pages[] = $page;
        $page->open('http://' . self::$nginx->address, $title, $variables);

        return $page;
    }
}
