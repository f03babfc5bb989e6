<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** The master of FPM starts a hub, adopts it at a reload, and lets it go at its end. */
final class FpmTest extends TestCase
{
    private ?FpmPool $fpm = null;

    protected function tearDown(): void
    {
        // Ends what a failed test left running; a hub follows its last lease.
        if ($this->fpm !== null && Machine::runs($this->fpm->pid())) {
            $this->fpm->stop();
        }
    }

    private function start(mixed ...$arguments): FpmPool
    {
        return $this->fpm = FpmPool::start(...$arguments);
    }

    private static function hub(FpmPool $fpm): int
    {
        return $fpm->run('return push_status()["pid"];');
    }

    /** A subscriber that waits in a new channel; both. */
    private static function subscribe(FpmPool $fpm): array
    {
        $channel = $fpm->run('return create_channel();');
        $subscriber = new Subscriber($fpm->address);
        $subscriber->ask("/sub/$channel");
        $seated = "return push_channel_info('$channel')->subscribers;";
        Wait::until(static fn (): bool => $fpm->run($seated) === 1, 'the subscriber is seated');

        return [$channel, $subscriber];
    }

    private static function assertEnds(int $hub, FpmPool $fpm): void
    {
        Wait::until(static fn (): bool => !Machine::runs($hub), "the hub ends after the linger:\n" . $fpm->log());
        Wait::until(static fn (): bool => !file_exists($fpm->socket), 'its socket goes');
    }

    public function testTheMasterStartsAHubThatWorkersReach(): void
    {
        $fpm = $this->start();
        $status = $fpm->run('return push_status();');
        self::assertSame(['running', $fpm->socket], [$status['state'], $status['socket']]);
        $line = file_get_contents("/proc/{$status['pid']}/status");
        preg_match('/^Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/m', $line, $match);
        $user = posix_getpwnam(Machine::unprivileged())['uid'];
        self::assertSame(array_fill(0, 4, (string) $user), array_slice($match, 1), 'privileges were dropped');
        self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
        self::assertSame(2, $fpm->run('return push_publish("c", "x")->id;'));
        $fpm->stop();
        self::assertEnds($status['pid'], $fpm);
    }

    /** @return iterable<array{list<string>}> */
    public function probes(): iterable
    {
        foreach ([
            '-t', '-tt', '-i', '-m', '-v', '-h', '--test', '--info', '--modules', '--version', '--help', '-Rt', '-?',
        ] as $flag) {
            yield $flag => [[$flag]];
        }
        yield 'after a value' => [['-d', 'push.threads=1', '-t']];
        yield 'an unknown flag' => [['--nonsense']];
    }

    /** @dataProvider probes */
    public function testACommandThatOnlyLooksStartsNothing(array $arguments): void
    {
        $fpm = FpmPool::probe($arguments);
        self::assertNotSame('', $fpm->log());
        self::assertDirectoryDoesNotExist(dirname($fpm->socket), $fpm->log());
        self::assertFileDoesNotExist("{$fpm->directory}/hub.log");
    }

    /** @return iterable<string, array{bool}> */
    public function daemonize(): iterable
    {
        yield 'in the foreground' => [false];
        yield 'as a daemon' => [true];
    }

    /** @dataProvider daemonize */
    public function testAReloadKeepsTheHubAndThoseWhoWait(bool $daemonize): void
    {
        $fpm = $this->start([], [], $daemonize);
        $hub = self::hub($fpm);
        [$channel, $subscriber] = self::subscribe($fpm);
        $fpm->reload();
        self::assertSame($hub, self::hub($fpm));
        self::assertTrue($subscriber->waits());
        self::assertSame(1, $fpm->run("return push_publish('$channel', 'after the reload')->subscribers;"));
        self::assertSame('after the reload', $subscriber->answer()->body);
        $fpm->stop();
        self::assertEnds($hub, $fpm);
    }

    /** @return iterable<string, array{int, bool}> */
    public function ends(): iterable
    {
        yield 'SIGQUIT' => [SIGQUIT, false];
        yield 'SIGTERM' => [SIGTERM, false];
        yield 'SIGQUIT to a daemon' => [SIGQUIT, true];
        yield 'SIGTERM to a daemon' => [SIGTERM, true];
    }

    /** @dataProvider ends */
    public function testTheHubEndsAfterTheLinger(int $signal, bool $daemonize): void
    {
        $fpm = $this->start(['push.linger' => '1s'], [], $daemonize);
        $hub = self::hub($fpm);
        [, $subscriber] = self::subscribe($fpm);
        $fpm->stop($signal);
        self::assertTrue($subscriber->waits(), 'not before the linger');
        $answer = $subscriber->answer();
        self::assertSame(304, $answer->status, 'who waits is told');
        self::assertMatchesRegularExpression('/^\d+\.\d+$/', $answer->position());
        self::assertEnds($hub, $fpm);
    }

    public function testAKilledMasterLeavesWorkersAndHubToServe(): void
    {
        $fpm = $this->start();
        [$hub, $worker] = [self::hub($fpm), $fpm->run('return getmypid();')];
        [$channel, $subscriber] = self::subscribe($fpm);
        posix_kill($fpm->pid(), SIGKILL);
        Wait::until(static fn (): bool => !Machine::runs($fpm->pid()), 'the master is gone');
        self::assertSame(1, $fpm->run("return push_publish('$channel', 'without a master')->subscribers;"));
        self::assertSame('without a master', $subscriber->answer()->body);
        self::assertSame([$hub, $worker], [self::hub($fpm), $fpm->run('return getmypid();')]);
        posix_kill($worker, SIGKILL);
        self::assertEnds($hub, $fpm);
    }

    public function testAStartThatFailsLeavesNoHub(): void
    {
        $directory = Directory::make('fpm');
        try {
            FpmPool::start([], ['pm.max_children' => 0], false, $directory);
            self::fail('php-fpm started');
        } catch (\RuntimeException $error) {
            // The modules start before the pools are read.
            self::assertStringContainsString('pm.max_children', $error->getMessage());
        }
        $log = static fn (): string => file_get_contents("$directory/hub.log");
        Wait::until(static fn (): bool => str_contains($log(), 'no PHP master holds this hub any more'), 'the hub knows');
        Wait::until(static fn (): bool => !file_exists("$directory/run/hub.sock"), 'it ends');
    }

    public function testALogWithoutRoomIsNoReasonToEnd(): void
    {
        $fpm = $this->start(['push.log' => '/dev/full']);
        self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
        $hub = self::hub($fpm);
        posix_kill($hub, SIGKILL);
        Wait::until(static fn (): bool => ($next = self::hub($fpm)) !== $hub && is_int($next), 'another hub');
        self::assertSame(2, $fpm->run('return push_publish("c", "x")->id;'));
    }

    public function testTheNextFpmWithinTheLingerAdoptsTheHub(): void
    {
        $first = $this->start(['push.linger' => '3s']);
        $hub = self::hub($first);
        $first->run('return push_publish("c", "kept")->id;');
        $first->stop();
        $second = $this->start(['push.linger' => '3s', 'push.listen' => $first->address], [], false, $first->directory);
        self::assertSame($hub, self::hub($second));
        self::assertSame(1, $second->run('return push_channel_info("c")->stored;'));
        $second->stop();
        self::assertEnds($hub, $second);
    }

    public function testAHubThatIsAServiceIsAdoptedAndOutlivesFpm(): void
    {
        $service = Hub::start();
        $ini = ['push.config' => "{$service->directory}/push.toml", 'push.socket' => $service->socket];
        $ini += ['push.listen' => $service->address];
        $fpm = $this->start($ini);
        $hub = self::hub($fpm);
        self::assertSame($service->php('return push_status()["pid"];'), $hub);
        $channel = $fpm->run('return create_channel();');
        $subscriber = new Subscriber($service->address);
        $subscriber->ask("/sub/$channel");
        $seated = "return push_channel_info('$channel')->subscribers;";
        Wait::until(static fn (): bool => $fpm->run($seated) === 1, 'the subscriber is seated');
        $fpm->stop();

        $next = $this->start($ini);
        self::assertSame($hub, self::hub($next));
        self::assertTrue($subscriber->waits());
        self::assertSame(1, $next->run("return push_publish('$channel', 'after a restart')->subscribers;"));
        self::assertSame('after a restart', $subscriber->answer()->body);
        $next->stop();
        $service->stop();
        self::assertFalse(Machine::runs($hub));
    }

    public function testWorkersComeAndGoAndTheHubStays(): void
    {
        $fpm = $this->start([], ['pm.max_requests' => 2]);
        $hub = self::hub($fpm);
        $workers = [];
        for ($i = 1; $i <= 10; $i++) {
            [$worker, $id] = $fpm->run('return [getmypid(), push_publish("c", "x")->id];');
            self::assertSame($i, $id);
            $workers[$worker] = true;
        }
        self::assertGreaterThan(3, count($workers));
        self::assertSame($hub, self::hub($fpm));
        $fpm->stop();
        self::assertEnds($hub, $fpm);
    }

    /** Of what the endless script has published all that is still stored: without a gap up to the last that was counted. */
    private static function assertNothingTorn(FpmPool $fpm, string $channel): void
    {
        [$count, $wrong, $last] = Php::run(<<<PHP
            [\$next, \$wrong, \$after] = [null, [], null];
            while (\$page = push_history('$channel', \$after, 10000)) {
                foreach (\$page as \$message) {
                    \$next ??= (int) \$message->data;
                    if (\$message->data !== (string) \$next++) {
                        \$wrong[] = [\$next, \$message->data];
                    }
                    \$after = \$message->position;
                }
            }
            return [push_channel_info('$channel')->published, array_slice(\$wrong, 0, 5), \$next];
            PHP, ['push.socket' => $fpm->socket, 'push.timeout' => '5s']);
        self::assertSame([], $wrong);
        self::assertSame($count, $last);
        self::assertGreaterThan(0, $count);
    }

    private const ENDLESS = <<<'PHP'
        fastcgi_finish_request();
        for ($i = 0; ; $i += 2) {
            push_publish_async('endless', (string) $i);
            push_publish('endless', (string) ($i + 1));
        }
        PHP;

    public function testAWorkerThatTakesTooLongIsEndedBetweenTwoMessages(): void
    {
        $pool = ['pm.max_children' => 2, 'request_terminate_timeout' => '1s'];
        $pool['request_terminate_timeout_track_finished'] = 'yes';
        $fpm = $this->start(['push.timeout' => '5s'], $pool);
        $hub = self::hub($fpm);
        $fpm->request($fpm->script(self::ENDLESS));
        $ended = static fn (): bool => str_contains($fpm->log(), 'execution timed out');
        Wait::until($ended, 'php-fpm ends the worker');
        Wait::until(static fn (): bool => str_contains($fpm->log(), 'exited on signal 15'), 'it is gone');
        self::assertNothingTorn($fpm, 'endless');
        self::assertSame([$hub, 1], $fpm->run('return [push_status()["pid"], push_publish("c", "x")->id];'));
    }

    public function testAReloadThatEndsABusyWorkerLosesNothing(): void
    {
        $pool = ['pm.max_children' => 2, 'process_control_timeout' => '1s'];
        $fpm = $this->start(['push.timeout' => '5s'], $pool);
        $hub = self::hub($fpm);
        [$channel, $subscriber] = self::subscribe($fpm);
        $fpm->request($fpm->script(self::ENDLESS));
        $busy = 'return push_channel_info("endless")?->published ?? 0;';
        Wait::until(static fn (): bool => $fpm->run($busy) > 100, 'a worker is busy');
        $fpm->reload();
        self::assertNothingTorn($fpm, 'endless');
        self::assertSame($hub, self::hub($fpm));
        self::assertTrue($subscriber->waits());
        self::assertSame(1, $fpm->run("return push_publish('$channel', 'after the reload')->subscribers;"));
        self::assertSame('after the reload', $subscriber->answer()->body);
    }

    public function testAKilledHubIsReplacedUnderTheWorkers(): void
    {
        $fpm = $this->start();
        $hub = self::hub($fpm);
        posix_kill($hub, SIGKILL);
        $next = Wait::until(static function () use ($fpm, $hub): ?int {
            $pid = $fpm->run('return push_status()["pid"];');

            return is_int($pid) && $pid !== $hub ? $pid : null;
        }, 'another hub');
        self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
        $fpm->stop();
        self::assertEnds($next, $fpm);
    }

    /** @param list<string> $texts what log and exception say */
    private function assertServesWithoutHub(array $ini, array $texts, ?string $directory = null): void
    {
        $fpm = $this->start($ini, [], false, $directory);
        self::assertSame(2, $fpm->run('return 1 + 1;'), 'FPM serves');
        $thrown = $fpm->run('return push_publish("c", "x");');
        self::assertSame(HubUnavailable::class, $thrown['class'] ?? null, json_encode($thrown));
        self::assertLessThan(0.25, $thrown['seconds']);
        self::assertFalse($fpm->run('return push_ping();'));
        $log = $fpm->log();
        self::assertMatchesRegularExpression('/Warning: +push: no hub was started: /', $log);
        foreach ($texts as $text) {
            self::assertStringContainsString($text, $log);
            self::assertStringContainsString($text, $thrown['message']);
        }
        $fpm->stop();
    }

    public function testTheReasonIsLoggedWhereThereIsNoPhpIni(): void
    {
        // What PHP has without one: it would show the error, to nobody.
        $ini = ['push.hub' => '/nonexistent/push-hub', 'display_errors' => '1', 'log_errors' => '0'];
        $this->assertServesWithoutHub($ini, ['/nonexistent/push-hub']);
    }

    public function testAMissingUserIsNamedWithItsCure(): void
    {
        if (!Machine::root()) {
            self::markTestSkipped('only root changes the user');
        }
        $this->assertServesWithoutHub(['push.user' => 'push-nobody-has-this'], ['push-nobody-has-this', 'useradd']);
    }

    public function testABusyPortIsNamed(): void
    {
        $busy = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($busy, false);
        $this->assertServesWithoutHub(['push.listen' => $address], [$address]);
        fclose($busy);
    }

    public function testAWrongIniValueIsNamed(): void
    {
        $text = 'push.memory_limit = "plenty": allowed is a size';
        $this->assertServesWithoutHub(['push.memory_limit' => 'plenty'], [$text]);
    }

    public function testAWrongTomlFileIsNamed(): void
    {
        $directory = Directory::make('fpm');
        file_put_contents("$directory/push.toml", "threads = 1\nmessage_ttl = \"long\"\n");
        $ini = ['push.config' => "$directory/push.toml"];
        $this->assertServesWithoutHub($ini, ["$directory/push.toml:2: "], $directory);
    }

    public function testAMissingHubProgramIsNamed(): void
    {
        $this->assertServesWithoutHub(['push.hub' => '/nonexistent/push-hub'], ['/nonexistent/push-hub', 'push.hub']);
    }

    public function testADirectoryInPlaceOfTheSocketIsNamed(): void
    {
        $directory = Directory::make('fpm');
        mkdir("$directory/run/hub.sock", 0755, true);
        chown("$directory/run", Machine::unprivileged());
        $this->assertServesWithoutHub([], ["$directory/run/hub.sock"], $directory);
    }

    public function testAnIniFileSaysOffAndNone(): void
    {
        $directory = Directory::make('fpm');
        $entries = "push.authorized_channels_only = Off\npush.max_channels_per_subscription = none\n";
        file_put_contents("$directory/php.ini", $entries);
        $fpm = $this->start([], [], false, $directory, ['-c', "$directory/php.ini"]);
        self::assertSame(304, Subscriber::get($fpm->address, '/poll/nobody-made-this')->status, 'anyone subscribes');
        $many = implode('/', array_map(static fn (int $i): string => "c$i", range(1, 150)));
        self::assertSame(304, Subscriber::get($fpm->address, "/poll/$many")->status, 'to any number of channels');
        $hub = self::hub($fpm);
        $fpm->stop();
        self::assertEnds($hub, $fpm);
    }

    public function testAWorkerOfAnotherUserReachesASocketThatIsClosedToIt(): void
    {
        $user = Machine::root() ? ['user' => 'nobody', 'group' => 'nogroup'] : [];
        $fpm = $this->start(['push.socket_mode' => '0600'], $user);
        self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
        $hub = self::hub($fpm);
        $fpm->stop();
        self::assertEnds($hub, $fpm);
    }
}
