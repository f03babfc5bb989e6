<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\HubUnavailable;
use Push\Exception\Timeout;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Thrown;
use Push\Tests\Support\Wait;

/** A hub that is not there, or not as it should be: a named exception in time, and a process that goes on. */
final class HubTroubleTest extends TestCase
{
    /** Every call once, each in time. */
    private const ALL_CALLS = <<<'PHP'
        $calls = [
            fn () => push_publish('c', 'x'), fn () => push_publish_async('c', 'x'), fn () => create_channel(),
            fn () => push_delete_channel('c'), fn () => push_channel_info('c'), fn () => push_position(),
            fn () => push_status(), fn () => push_publish_many([new Push\Message('c', 'x')]),
            fn () => push_clear_channel('c'), fn () => push_channels(), fn () => push_history('c'),
            fn () => push_presence_online(7), fn () => push_presence_offline(7), fn () => push_presence_is_online(7),
            fn () => push_presence_among([7]), fn () => push_presence_get(7), fn () => push_presence_members(),
            fn () => push_presence_count(), fn () => push_presence_channels(7),
        ];
        return [array_map(Push\Tests\Support\Thrown::catch(...), $calls), push_ping()];
        PHP;

    /** @param array<string, string|int> $ini */
    private function assertUnavailable(array $ini, string $text, string $before = ''): void
    {
        [$thrown, $alive] = Php::run($before . self::ALL_CALLS, $ini);
        self::assertFalse($alive);
        foreach ($thrown as $number => $one) {
            self::assertInstanceOf(Thrown::class, $one, "call $number");
            self::assertSame(HubUnavailable::class, $one->class);
            self::assertSame(7, $one->code);
            self::assertStringContainsString($text, $one->message);
            self::assertLessThan(0.25, $one->seconds);
        }
    }

    public function testNoHub(): void
    {
        $path = Directory::make('none') . '/hub.sock';
        $this->assertUnavailable(['push.socket' => $path], $path);
    }

    public function testAStaleSocket(): void
    {
        // What a hub leaves behind that is killed together with its keeper.
        $hub = Hub::start();
        $keeper = $hub->pid();
        $pid = Php::run('return push_status()["pid"];', ['push.socket' => $hub->socket]);
        posix_kill($keeper, SIGSTOP);
        posix_kill($pid, SIGKILL);
        posix_kill($keeper, SIGKILL);
        Wait::until(static fn (): bool => !Machine::runs($pid) && !Machine::runs($keeper), 'both are gone');
        self::assertFileExists($hub->socket);
        $this->assertUnavailable(['push.socket' => $hub->socket], $hub->socket);
    }

    public function testADirectoryInPlaceOfTheSocket(): void
    {
        $path = Directory::make('directory');
        $this->assertUnavailable(['push.socket' => $path], $path);
    }

    public function testAnotherKindOfSocket(): void
    {
        $path = Directory::make('stream') . '/hub.sock';
        $server = stream_socket_server("unix://$path");
        $this->assertUnavailable(['push.socket' => $path], $path);
        fclose($server);
    }

    public function testASocketOutOfReach(): void
    {
        $hub = Hub::start("socket_mode = \"0600\"\n");
        $other = '';
        if (Machine::root()) {
            $nobody = posix_getpwnam('nobody');
            $other = "posix_setgid({$nobody['gid']}); posix_setuid({$nobody['uid']});";
        } else {
            chmod($hub->socket, 0);
        }
        $this->assertUnavailable(['push.socket' => $hub->socket], $hub->socket, $other);
        $hub->stop();
    }

    /** @return iterable<string, array{array<string, string|int>, string}> */
    public function wrongConfigurations(): iterable
    {
        yield 'a number' => [['push.threads' => 'many'], 'push.threads = "many": allowed is a number from 1 to 64'];
        yield 'a size' => [['push.ring_size' => '100'], 'push.ring_size = "100": allowed is'];
        yield 'a time' => [['push.timeout' => 'soon'], 'push.timeout = "soon": allowed is a time'];
        yield 'a path' => [['push.socket' => 'relative'], 'push.socket = "relative": allowed is an absolute path'];
        yield 'a choice' => [
            ['push.on_unavailable' => 'maybe'], 'push.on_unavailable = "maybe": allowed is throw or warn',
        ];
        yield 'two keys' => [['push.max_message_size' => '2m', 'push.memory_limit' => '1m'], 'max_message_size'];
        yield 'no file' => [['push.config' => '/nonexistent/push.toml'], '/nonexistent/push.toml'];
    }

    /** @dataProvider wrongConfigurations */
    public function testAWrongIniValueIsNamedWithWhatIsAllowed(array $ini, string $text): void
    {
        $this->assertUnavailable($ini, $text);
    }

    public function testAWrongTomlFileIsNamedWithItsLine(): void
    {
        $file = Directory::make('toml') . '/push.toml';
        file_put_contents($file, "threads = 2\n\ntimeout = \"soon\"\n");
        $this->assertUnavailable(['push.config' => $file], "push.config: $file:3: ");
        file_put_contents($file, "threads = [\n");
        $this->assertUnavailable(['push.config' => $file], "push.config: $file:");
    }

    public function testIniGoesBeforeTheTomlFile(): void
    {
        $hub = Hub::start();
        $file = Directory::make('toml') . '/push.toml';
        file_put_contents($file, "socket = \"/nonexistent/hub.sock\"\n");
        self::assertTrue(Php::run('return push_ping();', ['push.config' => $file, 'push.socket' => $hub->socket]));
        file_put_contents($file, "socket = \"{$hub->socket}\"\n");
        self::assertTrue(Php::run('return push_ping();', ['push.config' => $file]));
        self::assertTrue(Php::run('return push_ping();', ['push.config' => $file, 'push.socket' => '']));
        $hub->stop();
    }

    public function testAStoppedHubCostsOneTimeOut(): void
    {
        $hub = Hub::start();
        [$first, $second, $ping, $after] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            $publish = fn () => Push\Tests\Support\Thrown::catch(fn () => push_publish('c', 'x'));
            Push\Tests\Support\Machine::stop($pid);
            $first = $publish();
            $second = $publish();
            $ping = push_ping(0.05);
            posix_kill($pid, SIGCONT);
            $deadline = microtime(true) + 5;
            do {
                $after = $publish();
            } while ($after instanceof Push\Tests\Support\Thrown && microtime(true) < $deadline);
            return [$first, $second, $ping, (array) $after];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '150ms']);
        self::assertSame([Timeout::class, 8], [$first->class, $first->code]);
        self::assertStringContainsString('150 ms (push.timeout)', $first->message);
        self::assertEqualsWithDelta(0.15, $first->seconds, 0.1);
        self::assertContains($second->class, [Timeout::class, HubUnavailable::class]);
        self::assertLessThan(0.05, $second->seconds, 'within the back-off nothing waits');
        self::assertFalse($ping);
        self::assertSame(2, $after['id'], 'the one whose outcome was open took effect');
        $hub->stop();
    }

    public function testAScriptSetsItsOwnTimeOut(): void
    {
        $hub = Hub::start();
        [$thrown, $set, $wrong, $kept, $restored] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            $set = ini_set('push.timeout', '50ms');
            $wrong = ini_set('push.timeout', 'soon');
            $kept = ini_get('push.timeout');
            Push\Tests\Support\Machine::stop($pid);
            $thrown = Push\Tests\Support\Thrown::catch(fn () => push_position());
            posix_kill($pid, SIGCONT);
            ini_restore('push.timeout');
            return [$thrown, $set, $wrong, $kept, ini_get('push.timeout')];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '5s']);
        self::assertSame(Timeout::class, $thrown->class);
        self::assertStringContainsString(' 50 ms ', $thrown->message);
        self::assertLessThan(0.2, $thrown->seconds);
        self::assertSame(['5s', false, '50ms', '5s'], [$set, $wrong, $kept, $restored]);
        $hub->stop();
    }

    public function testWithoutAHubPublishingAsynchronouslyMayWarn(): void
    {
        $code = <<<'PHP'
            $warnings = [];
            set_error_handler(function (int $level, string $text) use (&$warnings) {
                $warnings[] = [$level, $text];
                try {
                    push_position();
                } catch (Push\Exception\PushException $e) {
                    $warnings[] = $e::class;
                }
                return true;
            });
            $catch = Push\Tests\Support\Thrown::catch(...);
            $set = ini_set('push.on_unavailable', 'warn');
            $results = [
                $catch(fn () => push_publish_async('c', 'x')), $catch(fn () => push_publish('c', 'x')),
                $catch(fn () => push_publish_async('', 'x')), ini_set('push.on_unavailable', 'sometimes'),
            ];
            ini_restore('push.on_unavailable');
            return [$warnings, $set, $results, $catch(fn () => push_publish_async('c', 'x'))];
            PHP;
        $path = Directory::make('none') . '/hub.sock';
        [$warnings, $set, [$async, $acknowledged, $wrong, $refused], $restored] = Php::run($code, ['push.socket' => $path]);
        self::assertSame('throw', $set);
        self::assertNull($async);
        self::assertCount(2, $warnings);
        self::assertSame(E_WARNING, $warnings[0][0]);
        self::assertStringStartsWith('push_publish_async(): ', $warnings[0][1]);
        self::assertStringContainsString($path, $warnings[0][1]);
        self::assertSame(HubUnavailable::class, $warnings[1], 'the handler may call');
        self::assertSame(HubUnavailable::class, $acknowledged->class, 'who needs an answer gets an exception');
        self::assertSame(\ValueError::class, $wrong->class, 'an error of the program stays one');
        self::assertFalse($refused);
        self::assertSame(HubUnavailable::class, $restored->class);
        $ini = ['push.socket' => $path, 'push.on_unavailable' => 'warn'];
        self::assertNull(Php::run($code, $ini)[3], 'an INI file may say it');
    }

    public function testAHandlerOfTheWarningMayThrow(): void
    {
        [$thrown, $after] = Php::run(<<<'PHP'
            set_error_handler(fn (int $level, string $text) => throw new ErrorException($text, 0, $level));
            $publish = fn () => Push\Tests\Support\Thrown::catch(fn () => push_publish_async('c', 'x'));
            return [$publish(), $publish()];
            PHP, ['push.socket' => Directory::make('none') . '/hub.sock', 'push.on_unavailable' => 'warn']);
        self::assertSame([\ErrorException::class, \ErrorException::class], [$thrown->class, $after->class]);
        self::assertStringStartsWith('push_publish_async(): ', $thrown->message);
    }

    public function testAFullRingIsAWarningToo(): void
    {
        $hub = Hub::start();
        [$warnings, $seconds] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            $warnings = [];
            set_error_handler(function (int $level, string $text) use (&$warnings) { return $warnings[] = $text; });
            Push\Tests\Support\Machine::stop($pid);
            $start = hrtime(true);
            while (count($warnings) < 3) {
                push_publish_async('c', str_repeat('x', 30000));
            }
            $seconds = (hrtime(true) - $start) / 1e9;
            posix_kill($pid, SIGCONT);
            return [$warnings, $seconds];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '200ms', 'push.on_unavailable' => 'warn']);
        self::assertStringContainsString('200 ms (push.timeout)', $warnings[0]);
        self::assertLessThan(1.0, $seconds, 'one time-out, not three');
        $hub->stop();
    }

    public function testOnlyTheTimeOutAndWhatComesOfItAreForScripts(): void
    {
        $access = array_map(static fn (array $entry): int => $entry['access'], ini_get_all('push'));
        $changeable = array_filter($access, static fn (int $access): bool => $access !== INI_SYSTEM);
        ksort($changeable);
        self::assertSame(['push.on_unavailable' => INI_ALL, 'push.timeout' => INI_ALL], $changeable);
        foreach (['push.socket', 'push.config', 'push.hub', 'push.short_names', 'push.listen', 'push.user'] as $entry) {
            self::assertArrayHasKey($entry, $access);
            self::assertFalse(ini_set($entry, '1'));
        }
    }

    /** A publication that waits for a stopped hub; the process, and the pids of hub and keeper. */
    private static function publishIntoAStoppedHub(Hub $hub): array
    {
        $php = Php::start(<<<'PHP'
            $pid = push_status()['pid'];
            Push\Tests\Support\Machine::stop($pid);
            file_put_contents(__DIR__ . '/pid', $pid);
            $start = hrtime(true);
            $result = Push\Tests\Support\Thrown::catch(fn () => push_publish('c', 'x')->id);
            $seconds = (hrtime(true) - $start) / 1e9;
            return [$result, $seconds, push_ping(), push_ping() ? [push_publish('c', 'y')->id, push_status()['pid']] : null];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '20s']);
        $file = $php->directory . '/pid';
        $pid = (int) Wait::until(static fn (): string|false => @file_get_contents($file) ?: false, 'the hub is stopped');
        // Nothing but the call sleeps for so long.
        [$sleep, $since] = [null, 0.0];
        Wait::until(static function () use ($php, &$sleep, &$since): bool {
            $before = $sleep;
            $sleep = Machine::sleeps($php->pid());
            $since = $sleep === $before && $sleep !== null ? $since : microtime(true);

            return microtime(true) - $since > 0.2;
        }, 'the call waits');

        return [$php, $pid, $hub->pid()];
    }

    public function testACallThatAKilledHubDidNotHearIsAnsweredByTheNextHub(): void
    {
        $hub = Hub::start();
        [$php, $pid] = self::publishIntoAStoppedHub($hub);
        posix_kill($pid, SIGKILL);
        [$id, $seconds, $alive, [$next, $other]] = $php->result();
        self::assertSame(1, $id);
        self::assertLessThan(5.0, $seconds, 'no time-out was needed');
        self::assertTrue($alive);
        self::assertSame(2, $next, 'it took effect once');
        self::assertNotSame($pid, $other);
        $hub->stop();
    }

    public function testAHubThatIsKilledForGoodDuringACallIsNoticedAtOnce(): void
    {
        $hub = Hub::start();
        [$php, $pid, $keeper] = self::publishIntoAStoppedHub($hub);
        posix_kill($keeper, SIGKILL);
        posix_kill($pid, SIGKILL);
        [$thrown, $seconds, $alive] = $php->result();
        self::assertSame([HubUnavailable::class, 7], [$thrown->class, $thrown->code]);
        self::assertLessThan(5.0, $seconds, 'no time-out was needed');
        self::assertFalse($alive);
    }

    public function testSignalsDuringACallNeitherShortenNorProlongItNorGetLost(): void
    {
        $hub = Hub::start();
        [$thrown, $seconds, $alive, $alarms] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            $alarms = 0;
            pcntl_async_signals(true);
            pcntl_signal(SIGUSR1, function () use (&$alarms) { $alarms++; }, false);
            $me = getmypid();
            $signals = function () use ($me) {
                if (($child = pcntl_fork()) === 0) {
                    for ($i = 0; $i < 20; $i++) {
                        usleep(10000);
                        posix_kill($me, SIGUSR1);
                    }
                    posix_kill(getmypid(), SIGKILL);
                }
            };
            Push\Tests\Support\Machine::stop($pid);
            $signals();
            $thrown = Push\Tests\Support\Thrown::catch(fn () => push_position());
            // PHP itself drops the handlers of signals that come during an internal function that throws.
            $alarms = 0;
            $signals();
            $start = hrtime(true);
            $alive = push_ping(0.5);
            $seconds = (hrtime(true) - $start) / 1e9;
            posix_kill($pid, SIGCONT);
            return [$thrown, $seconds, $alive, $alarms];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '500ms']);
        self::assertSame(Timeout::class, $thrown->class);
        self::assertEqualsWithDelta(0.5, $thrown->seconds, 0.2);
        self::assertFalse($alive);
        self::assertEqualsWithDelta(0.5, $seconds, 0.2);
        self::assertSame(20, $alarms);
        $hub->stop();
    }

    public function testTheTimeLimitOfAScriptDuringACallEndsTheScriptAndNothingElse(): void
    {
        $hub = Hub::start();
        $php = Php::start(<<<'PHP'
            push_publish('c', 'before');
            set_time_limit(1);
            for (;;) {
                push_publish('c', str_repeat('x', 1000));
            }
            PHP, ['push.socket' => $hub->socket]);
        self::assertSame(255, $php->end());
        self::assertStringContainsString('Maximum execution time of 1 second exceeded', $php->output());
        $before = Php::run('return push_channel_info("c")->published;', ['push.socket' => $hub->socket]);
        self::assertGreaterThan(1, $before);
        $after = Php::run('return push_publish("c", "x")->id;', ['push.socket' => $hub->socket]);
        self::assertSame($before + 1, $after);
        $hub->stop();
    }

    public function testTheMemoryLimitDuringACallEndsTheScriptAndNothingElse(): void
    {
        $hub = Hub::start();
        $php = Php::start(<<<'PHP'
            $data = array_fill(0, 100, str_repeat('x', 10000));
            $kept = [];
            for (;;) {
                try {
                    push_publish('c', $data);
                } catch (Push\Exception\PayloadTooLarge $e) {
                    $kept[] = [$e, str_repeat('y', 100000)];
                }
            }
            PHP, ['push.socket' => $hub->socket, 'memory_limit' => '16M']);
        self::assertSame(255, $php->end(), $php->output());
        self::assertStringContainsString('Allowed memory size', $php->output());
        self::assertTrue(Php::run('return push_ping();', ['push.socket' => $hub->socket]));
        $hub->stop();
    }

    public function testAForkedProcessHasAWayOfItsOwn(): void
    {
        $hub = Hub::start();
        $published = Php::run(<<<'PHP'
            push_publish('c', 'first');
            $children = [];
            for ($child = 0; $child < 4; $child++) {
                if (($children[] = pcntl_fork()) === 0) {
                    for ($i = 0; $i < 200; $i++) {
                        push_publish('c', 'x');
                        push_publish_async('c', 'x');
                    }
                    posix_kill(getmypid(), SIGKILL);
                }
            }
            for ($i = 0; $i < 200; $i++) {
                push_publish('c', 'x');
            }
            foreach ($children as $child) {
                pcntl_waitpid($child, $status);
            }
            $deadline = microtime(true) + 5;
            do {
                $published = push_channel_info('c')->published;
            } while ($published < 1801 && microtime(true) < $deadline);
            return $published;
            PHP, ['push.socket' => $hub->socket]);
        self::assertSame(1 + 4 * 400 + 200, $published);
        $hub->stop();
    }

    public function testShortNamesCanBeLeftToOthers(): void
    {
        $code = <<<'PHP'
            eval('function create_channel() { return "mine"; }');
            return [create_channel(), (new ReflectionFunction('create_channel'))->isUserDefined(),
                function_exists('push_create_channel')];
            PHP;
        foreach (['0', 'Off', 'no', ''] as $value) {
            self::assertSame(['mine', true, true], Php::run($code, ['push.short_names' => $value]));
        }
        self::assertTrue(Php::run("return function_exists('create_channel');", ['push.short_names' => 'On']));
    }

    public function testInfoSaysWhatThereIs(): void
    {
        $hub = Hub::start();
        $info = static fn (string $socket): string => (string) shell_exec(implode(' ', array_map(escapeshellarg(...), [
            PHP_BINARY, '-n', '-d', 'extension=' . getenv('PUSH_EXTENSION'), '-d', "push.socket=$socket", '--ri', 'push',
        ])));
        Php::run('push_publish("c", "x"); create_channel();', ['push.socket' => $hub->socket]);
        $text = $info($hub->socket);
        self::assertStringContainsString("channels => 2\nsubscribers => 0\nstored messages => 1\n", $text);
        self::assertMatchesRegularExpression('/^uptime => \d+ s\nchannels/m', $text);
        self::assertMatchesRegularExpression('/^memory => \d+ bytes$/m', $text);
        self::assertStringContainsString('push.on_unavailable => throw => throw', $text);
        self::assertStringContainsString('version => ' . phpversion('push'), $text);
        self::assertMatchesRegularExpression('/hub => running, version \S+, pid \d+/', $text);
        self::assertStringContainsString("socket => {$hub->socket}", $text);
        self::assertStringContainsString("push.socket => {$hub->socket} => {$hub->socket}", $text);
        self::assertStringContainsString('push.timeout => no value => no value', $text);
        $hub->stop();
        $text = $info($hub->socket);
        self::assertStringContainsString('hub => ', $text);
        self::assertStringNotContainsString('running, version', $text);
    }
}
