<?php

declare(strict_types=1);

namespace Push\Tests\Browser;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Browser;
use Push\Tests\Support\ChromeDriver;
use Push\Tests\Support\Example;
use Push\Tests\Support\Machine;
use RuntimeException;

/** People chat through the example: real browsers, nginx, php-fpm and hub. */
final class ChatTest extends TestCase
{
    private const TEXTS = "[...document.querySelectorAll('#messages .text')].map((item) => item.textContent)";
    private const LIVE = "document.querySelector('#state.live')";

    private static Example $example;
    private static ChromeDriver $driver;

    /** @var list<Browser> */
    private array $browsers = [];

    public static function setUpBeforeClass(): void
    {
        self::$example = Example::start();
        self::$driver = ChromeDriver::start();
    }

    public static function tearDownAfterClass(): void
    {
        self::$driver->end();
        self::$example->stop();
    }

    protected function tearDown(): void
    {
        foreach ($this->browsers as $browser) {
            $browser->quit();
        }
    }

    public function testTwoPeopleChatInARoomAndInPrivate(): void
    {
        $ann = $this->browser('Ann');
        $ben = $this->browser('Ben');
        $cleo = $this->browser('Cleo');

        $this->room($ann, 'Garden');
        $this->select($ben, 'Garden');
        $this->say($ann, 'The tomatoes are ripe.');
        $this->say($ann, "Who wants some?\nThere are many.");
        $this->expect($ben, ['The tomatoes are ripe.', "Who wants some?\nThere are many."]);
        $this->say($ben, 'I do! <img src=x onerror="document.title=1"> & thanks 🍅');
        $this->expect($ann, ['The tomatoes are ripe.', "Who wants some?\nThere are many.", 'I do! <img src=x onerror="document.title=1"> & thanks 🍅']);
        $ann->screenshot('room');

        $cleo->until("document.querySelector('#rooms .unread')?.firstChild.data === '3'", 'three unread messages');
        $cleo->screenshot('unread');

        $this->select($ann, 'Ben');
        $this->say($ann, 'Come at six.');
        $this->select($ben, 'Ann');
        $this->expect($ben, ['Come at six.']);
        $this->say($ben, 'Six it is.');
        $this->expect($ann, ['Come at six.', 'Six it is.']);
        $ben->screenshot('private');
        $ben->dark(true);
        $ben->screenshot('private-dark');

        // Cleo has heard all that was for her when a later message is there; and her history has nothing of theirs.
        $this->select($cleo, 'Garden');
        $this->say($ben, 'See you.', 'Garden');
        $cleo->until(self::TEXTS . '.includes("See you.")', 'a message after the private ones');
        $this->assertFalse($cleo->script("return document.body.innerText.includes('Six it is.')"));
        $history = $cleo->promise("return (await fetch('start.php')).text()");
        $this->assertStringContainsString('The tomatoes are ripe.', $history);
        $this->assertStringNotContainsString('Six it is.', $history);

        $cleo->size(390, 780, true);
        $cleo->screenshot('phone');
        $cleo->click('#back');
        $cleo->screenshot('phone-list');
        foreach ($this->browsers as $browser) {
            $this->assertSame([], $browser->errors());
        }
    }

    public function testAMessageBetweenPageLoadAndFirstPollIsShown(): void
    {
        $ann = $this->browser('Dora');
        $this->room($ann, 'Early');
        $this->say($ann, 'before');
        $ben = $this->browser('Emil');
        $this->select($ben, 'Early');

        $ben->block('*/sub/*');
        $ben->open(self::$example->url);
        $ben->until(self::TEXTS . ' && !document.querySelector("#chat").hidden', 'the page with its history');
        $this->say($ann, 'between');
        $this->say($ann, 'and again');
        $this->select($ben, 'Early');
        $this->assertSame(['before'], $this->texts($ben));
        $ben->block();
        $this->expect($ben, ['before', 'between', 'and again']);
        $this->say($ann, 'after');
        $this->expect($ben, ['before', 'between', 'and again', 'after']);
    }

    public function testWhatWasMissedOfflineIsShownOnceAndInOrder(): void
    {
        $ann = $this->browser('Finn');
        $ben = $this->browser('Gwen');
        $this->room($ann, 'Tunnel');
        $this->select($ben, 'Tunnel');
        $this->say($ann, 'message 0');
        $this->expect($ben, ['message 0']);

        $ben->offline(true);
        $ben->until("document.querySelector('#state.offline')", 'the page says that it is offline');
        $ben->screenshot('offline');
        foreach (range(1, 30) as $number) {
            $this->say($ann, "message $number");
        }
        // Also a room that is made and used in the meantime.
        $this->room($ann, 'Daylight');
        $this->say($ann, 'a new room');
        $this->say($ann, 'message 31', 'Tunnel');
        $this->assertSame(['message 0'], $this->texts($ben));
        $ben->offline(false);

        $this->expect($ben, array_map(fn (int $number): string => "message $number", range(0, 31)));
        $this->select($ben, 'Daylight');
        $this->expect($ben, ['a new room']);
    }

    public function testWhatTheHubNoLongerHasComesFromTheDatabase(): void
    {
        $ann = $this->browser('Hugo');
        $ben = $this->browser('Iris');
        $this->room($ann, 'Flood');
        $this->select($ben, 'Flood');
        $this->say($ann, 'message 0');
        $this->expect($ben, ['message 0']);

        $ben->offline(true);
        $ben->until("document.querySelector('#state.offline')", 'the page says that it is offline');
        // The hub keeps 100 messages of a channel.
        $ann->promise(<<<'JS'
            const { rooms } = await (await fetch('start.php')).json();
            const room = rooms.find(({ name }) => name === 'Flood').id;
            for (let number = 1; number <= 150; number++) {
              await fetch('send.php', { method: 'POST', body: JSON.stringify({ room, text: `message ${number}` }) });
            }
            JS);
        $ben->offline(false);
        // A page begins with the last 50 of a conversation.
        $this->expect($ben, array_map(fn (int $number): string => "message $number", range(101, 150)));
        $this->say($ann, 'and on');
        $ben->until(self::TEXTS . '.at(-1) === "and on"', 'a message after the gap');
    }

    public function testTheChatGoesOnWhenTheHubIsKilled(): void
    {
        $ann = $this->browser('Jan');
        $ben = $this->browser('Kim');
        $this->room($ann, 'Phoenix');
        $this->select($ben, 'Phoenix');
        $this->say($ann, 'one');
        $this->expect($ben, ['one']);

        [, $hub] = self::$example->hub();
        posix_kill($hub, SIGKILL);
        $ann->until("document.querySelector('#state.live')", 'the page has found the new hub');
        $this->say($ann, 'two');
        $this->say($ben, 'three');
        $this->expect($ann, ['one', 'two', 'three']);
        $this->expect($ben, ['one', 'two', 'three']);
        $this->assertNotSame($hub, self::$example->status()['pid']);
    }

    public function testStrangersAndForeignPagesAreRefused(): void
    {
        $ann = $this->browser('Lola');
        $this->room($ann, 'Closed');
        $this->assertSame([401, 401, 401], array_map(
            fn (string $page): int => $this->status($page, 'POST', ['Origin: ' . self::$example->url]),
            ['/start.php', '/send.php', '/room.php'],
        ));
        foreach (['/sign-in.php', '/send.php', '/room.php', '/sign-out.php'] as $page) {
            $cookie = $page === '/sign-in.php' ? [] : ["Cookie: im_session={$this->signIn('Mia ' . $page)}"];
            $this->assertSame(403, $this->status($page, 'POST', ['Origin: https://example.org', ...$cookie]), $page);
            $this->assertSame(403, $this->status($page, 'POST', $cookie), $page);
            $this->assertSame(405, $this->status($page, 'GET', $cookie), $page);
        }
        // A channel that the backend did not make cannot be listened to, and nobody can publish from outside.
        $this->assertSame(403, $this->status('/sub/made-up', 'GET'));
        $this->assertSame(404, $this->status('/pub?id=made-up', 'POST'));
    }

    /** The last one: nothing of what `make run` started is left. */
    public function testStoppingEndsEverything(): void
    {
        $hub = self::$example->hub();
        self::$example->stop();
        $this->assertSame([false, false], array_map(Machine::runs(...), $hub));
        $this->assertDirectoryDoesNotExist(self::$example->directory);
        $this->assertFalse(@file_get_contents(self::$example->url));
    }

    private function browser(string $nick): Browser
    {
        $browser = self::$driver->browser();
        $this->browsers[] = $browser;
        $browser->open(self::$example->url);
        $browser->until("!document.querySelector('#door').hidden", 'the door');
        if ($nick === 'Ann') {
            $browser->screenshot('door');
        }
        // The page asks who it is, and the console tells of the 401. From here on it should be silent.
        $browser->errors();
        $browser->type('#nick', $nick);
        $browser->click('#sign-in button');
        $browser->until(self::LIVE . " && document.querySelector('#me').textContent === " . json_encode($nick), 'the chat is live');
        return $browser;
    }

    private function room(Browser $browser, string $name): void
    {
        $browser->type('#room-name', $name);
        $browser->click('#new-room button');
        $browser->until("document.querySelector('#title').textContent === " . json_encode($name), "the room $name");
    }

    private function select(Browser $browser, string $title): void
    {
        $find = "[...document.querySelectorAll('nav li button')].find((b) => b.querySelector('.name').textContent === " . json_encode($title) . ')';
        $browser->until($find, "$title in the list");
        $browser->script("$find.click()");
    }

    private function say(Browser $browser, string $text, ?string $where = null): void
    {
        if ($where !== null) {
            $this->select($browser, $where);
        }
        $before = count($this->texts($browser));
        // WebDriver cannot type what lies outside the first plane of Unicode into Chromium.
        $browser->script("const t = document.querySelector('#text'); t.value = arguments[0]; document.querySelector('#send').requestSubmit()", $text);
        $browser->until(self::TEXTS . ".length > $before && document.querySelector('#text').value === ''", "our own message: $text");
    }

    private function texts(Browser $browser): array
    {
        return $browser->script('return ' . self::TEXTS);
    }

    /** Waits until exactly these messages are shown; one that is late may still come between others. */
    private function expect(Browser $browser, array $texts): void
    {
        $wanted = json_encode($texts, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        try {
            $browser->until('JSON.stringify(' . self::TEXTS . ") === JSON.stringify($wanted)", 'these messages', 30);
        } catch (RuntimeException) {
            // Below is said what is different.
        }
        $this->assertSame($texts, $this->texts($browser));
    }

    private function signIn(string $nick): string
    {
        $this->request('/sign-in.php', 'POST', ['Origin: ' . self::$example->url], json_encode(['nick' => $nick]), $headers);
        $this->assertSame(1, preg_match('/^Set-Cookie: im_session=([0-9a-f]{32});.*HttpOnly; SameSite=Lax$/mi', implode("\n", $headers), $match));
        return $match[1];
    }

    private function status(string $path, string $method, array $headers = []): int
    {
        $this->request($path, $method, $headers, '{}', $answer);
        return (int) explode(' ', $answer[0])[1];
    }

    private function request(string $path, string $method, array $headers, string $body, ?array &$answer): void
    {
        file_get_contents(self::$example->url . $path, context: stream_context_create(['http' => [
            'method' => $method, 'header' => ['Content-Type: application/json', ...$headers], 'content' => $method === 'POST' ? $body : '', 'ignore_errors' => true, 'timeout' => 10,
        ]]));
        $answer = $http_response_header;
    }
}
