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
    private const ONLINE = "[...document.querySelectorAll('#people button')].filter((b) => b.querySelector('.dot')).map((b) => b.querySelector('.name').textContent).sort()";
    /** How messages come, but for WebSockets. */
    private const PUSH = ['*/ev/*', '*/sub/*'];
    private const LIVE = "document.querySelector('#state.open')";

    /** Visible texts with less contrast than 4.5 to 1 (WCAG 2.2, 1.4.3). */
    private const UNREADABLE = <<<'JS'
        const parts = (color) => color.match(/[\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
        const behind = (element) => {
          for (; element; element = element.parentElement) {
            const color = parts(getComputedStyle(element).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
          }
          return [255, 255, 255];
        };
        const found = [];
        for (const element of document.body.querySelectorAll('*')) {
          const text = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim()).map((node) => node.data.trim()).join(' ');
          if (!text || !element.checkVisibility({ visibilityProperty: true }) || element.matches('.unseen, :disabled')) continue;
          const [a, b] = [light(parts(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
          const ratio = (a + 0.05) / (b + 0.05);
          if (ratio < 4.5) found.push(`${text}: ${ratio.toFixed(2)}`);
        }
        return found;
        JS;
    /** Visible controls without a name for those who do not see them. */
    private const NAMELESS = <<<'JS'
        return [...document.querySelectorAll('button, input, textarea')]
          .filter((control) => control.checkVisibility() && !control.ariaLabel && !control.labels?.[0]?.textContent.trim() && !control.textContent.trim())
          .map((control) => control.outerHTML);
        JS;

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
        // They are unread also after the page was loaded again.
        $cleo->open(self::$example->url);
        $cleo->until(self::LIVE . " && document.querySelector('#rooms .unread')?.firstChild.data === '3'", 'three unread messages, still');

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

    /** The pictures of the README are made here. */
    public function testItIsReadableAndUsableWithAKeyboardOnADeskAndOnAPhone(): void
    {
        $vera = $this->browser('Vera');
        $yuki = $this->browser('Yuki');
        $omar = $this->browser('Omar');
        $this->room($vera, 'Choir');
        $this->select($yuki, 'Choir');
        $this->select($omar, 'Choir');
        $this->say($vera, 'Rehearsal is at seven on Thursday. The hall is open from half past six.');
        $this->say($yuki, 'I will bring the scores.');
        $this->say($yuki, 'And tea.');
        $this->say($omar, 'Do we sing the Fauré?');
        $this->say($vera, 'Yes, from the beginning to the Sanctus.');
        $this->say($yuki, 'Can you open for me?', 'Vera');
        $omar->quit();
        unset($this->browsers[array_search($omar, $this->browsers, true)]);

        // By keyboard alone: what was typed goes with Enter, and Shift+Tab leads to the messages and on.
        $this->select($yuki, 'Choir');
        $yuki->type('#text', "On my way\u{E007}");
        $yuki->until(self::TEXTS . ".at(-1) === 'On my way' && document.querySelector('#text').value === ''", 'Enter sends');
        $yuki->type('#text', "\u{E008}\u{E004}");
        $this->assertSame('messages', $yuki->script('return document.activeElement.id'));
        $this->assertNotSame('none', $yuki->script('return getComputedStyle(document.activeElement).outlineStyle'));

        $vera->until("document.querySelector('#people .unread')", 'something unread');
        $this->dots($vera, ['Yuki'], 60);
        $yuki->type('#text', 'Se');
        $vera->until("document.querySelector('#typing').textContent === 'Yuki is writing…'", 'Yuki is writing');
        $vera->screenshot('chat');
        foreach ([[1200, 800, false], [390, 780, true]] as [$width, $height, $phone]) {
            $vera->size($width, $height, $phone);
            foreach ([false, true] as $dark) {
                $vera->dark($dark);
                $this->assertUsable($vera);
                if ($phone) {
                    $vera->click('#back');
                    $this->assertUsable($vera);
                    $this->select($vera, 'Choir');
                }
            }
        }
        $vera->dark(false);
        $yuki->type('#text', 'e you');
        $vera->until("document.querySelector('#typing').textContent === 'Yuki is writing…'", 'Yuki is writing');
        $vera->screenshot('chat-phone');
        // The keyboard of the phone opens.
        $vera->size(390, 400, true);
        $list = "document.querySelector('#messages')";
        $vera->until("$list.clientHeight < 300 && $list.scrollHeight > $list.clientHeight", 'there is no room for all');
        $vera->until("$list.scrollHeight - $list.scrollTop - $list.clientHeight < 2", 'the last message is seen');
        $this->assertSame([], $vera->errors());
    }

    public function testTabsOfOnePersonShareWhatIsReadAndTellWhoIsWriting(): void
    {
        $ada = $this->browser('Ada');
        $bob = $this->browser('Bob');
        $second = $bob->tab();
        $second->open(self::$example->url);
        $second->until(self::LIVE, 'the second tab is live');
        $this->say($ada, 'For you, Bob.', 'Bob');
        foreach ([$bob, $second] as $tab) {
            $tab->until("document.querySelector('#people .unread')?.firstChild.data === '1'", 'one unread message');
            $tab->until("document.title === '(1) Push chat'", 'the title counts, too');
        }
        $this->select($bob, 'Ada');
        $this->expect($bob, ['For you, Bob.']);
        $second->until("!document.querySelector('#people .unread')", 'what one tab has read is read in the other');

        $bob->type('#text', 'Hm');
        $ada->until("document.querySelector('#typing').textContent === 'Bob is writing…'", 'Bob is writing');
        $this->say($bob, 'Thanks.');
        $ada->until("document.querySelector('#typing').textContent === ''", 'Bob has written');
        $bob->type('#text', 'A');
        $ada->until("document.querySelector('#typing').textContent === 'Bob is writing…'", 'Bob is writing the next one');
        $this->expect($ada, ['For you, Bob.', 'Thanks.']);
        $this->select($second, 'Ada');
        $this->expect($second, ['For you, Bob.', 'Thanks.']);

        // Who signs out is gone for the others at once, and in every tab.
        $this->dots($ada, ['Bob']);
        $bob->click('#sign-out');
        $second->until("!document.querySelector('#door').hidden", 'the door in the second tab');
        $ada->until("document.querySelector('#about').textContent === 'has left'", 'Bob has left');
        $this->dots($ada, []);
    }

    /** The network of one is lost, a laptop is closed, php-fpm is reloaded, the hub is killed. */
    public function testEverybodyEndsWithTheSameMessagesInTheSameOrderAndTheRightDots(): void
    {
        $nicks = ['Ona', 'Pia', 'Rui'];
        $tabs = [];
        foreach ($nicks as $nick) {
            $first = $this->browser($nick);
            $second = $first->tab();
            $second->open(self::$example->url);
            $second->until(self::LIVE, 'the second tab is live');
            $tabs[$nick] = [$first, $second];
        }
        [$ona, $pia, $rui] = array_column($tabs, 0);
        $this->room($ona, 'Storm');
        $said = [];
        $say = function (Browser $browser, string $text) use (&$said): void {
            $this->say($browser, $text);
            $said[] = $text;
        };
        $everywhere = function (string ...$nicks) use (&$tabs, &$said): void {
            foreach (array_merge(...array_map(fn (string $nick): array => $tabs[$nick], $nicks)) as $tab) {
                $this->expect($tab, $said);
            }
        };
        foreach (array_merge(...array_values($tabs)) as $tab) {
            $this->select($tab, 'Storm');
        }
        foreach ($tabs as $nick => [$first, $second]) {
            $say($first, "$nick is here");
            $say($second, "$nick is here twice");
        }
        $everywhere(...$nicks);
        foreach ($nicks as $nick) {
            $this->dots($tabs[$nick][0], array_values(array_diff($nicks, [$nick])));
        }

        // Pia is in a tunnel, and Rui closes the laptop.
        foreach ($tabs['Pia'] as $tab) {
            $tab->offline(true);
            $tab->until("document.querySelector('#state.offline')", 'the page says that it is offline');
        }
        $session = $rui->cookie('im_session');
        $rui->kill();
        unset($this->browsers[array_search($rui, $this->browsers, true)]);
        $say($ona, 'Where is everybody?');

        // One connection of two is no absence, none for some seconds neither.
        self::$example->reload();
        $say($tabs['Ona'][1], 'PHP is new');
        [, $hub] = self::$example->hub();
        posix_kill($hub, SIGKILL);
        $say($ona, 'and so is the hub');
        $everywhere('Ona');
        foreach ($tabs['Ona'] as $tab) {
            $this->dots($tab, [], 60);
        }

        // Both come back.
        foreach ($tabs['Pia'] as $tab) {
            $tab->offline(false);
        }
        $rui = $this->browsers[] = self::$driver->browser();
        $rui->open(self::$example->url);
        $rui->setCookie('im_session', $session);
        $tabs['Rui'] = [$rui, $rui->tab()];
        foreach ($tabs['Rui'] as $tab) {
            $tab->open(self::$example->url);
            $tab->until(self::LIVE, 'Rui is back');
            $this->select($tab, 'Storm');
        }
        $everywhere(...$nicks);
        foreach ($tabs as $nick => [$first, $second]) {
            $say($first, "$nick is back");
            $say($second, "$nick is back twice");
        }
        $everywhere(...$nicks);
        foreach ($tabs as $nick => $both) {
            foreach ($both as $tab) {
                $this->dots($tab, array_values(array_diff($nicks, [$nick])));
            }
        }
        $this->assertNotSame($hub, self::$example->status()['pid']);
    }

    public function testAMessageBetweenPageLoadAndFirstPollIsShown(): void
    {
        $ann = $this->browser('Dora');
        $this->room($ann, 'Early');
        $this->say($ann, 'before');
        $ben = $this->browser('Emil');
        $this->select($ben, 'Early');

        $ben->block(...self::PUSH);
        // Which are not blocked so.
        $ben->prepare('delete window.WebSocket');
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
              await fetch('send.php', { method: 'POST', body: JSON.stringify({ room, text: `message ${number}`, key: `${number}` }) });
            }
            JS);
        $ben->offline(false);
        // What the hub still has, and the 50 that a page begins with; not what is before them with a hole between.
        $this->expect($ben, array_map(fn (int $number): string => "message $number", range(51, 150)));
        $this->say($ann, 'and on');
        $ben->until(self::TEXTS . '.at(-1) === "and on"', 'a message after the gap');
        $ben->click('#earlier');
        $ben->until(self::TEXTS . "[0] === 'message 1'", 'what was said before');
        $ben->click('#earlier');
        $this->expect($ben, [...array_map(fn (int $number): string => "message $number", range(0, 150)), 'and on']);
        $this->assertTrue($ben->script("return document.querySelector('#earlier').hidden"));
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
        $ann->until("document.querySelector('#state.open')", 'the page has found the new hub');
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
        $this->assertSame(array_fill(0, 7, 401), array_map(
            fn (string $page): int => $this->status($page, 'POST', ['Origin: ' . self::$example->url]),
            ['/start.php', '/send.php', '/room.php', '/read.php', '/typing.php', '/earlier.php', '/token.php'],
        ));
        foreach (['/sign-in.php', '/send.php', '/room.php', '/read.php', '/typing.php', '/earlier.php', '/sign-out.php'] as $page) {
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

    /** Waits until exactly these are shown as online, of those who take part in this test. @param list<string> $nicks */
    private function dots(Browser $browser, array $nicks, float $seconds = 15): void
    {
        sort($nicks);
        $wanted = json_encode($nicks, JSON_THROW_ON_ERROR);
        $browser->until('JSON.stringify(' . self::ONLINE . ") === JSON.stringify($wanted)", "online: $wanted", $seconds);
    }

    private function assertUsable(Browser $browser): void
    {
        $this->assertSame([], $browser->script(self::UNREADABLE));
        $this->assertSame([], $browser->script(self::NAMELESS));
        $this->assertSame(0, $browser->script('return Math.max(0, document.documentElement.scrollWidth - innerWidth)'), 'nothing is to the side');
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
