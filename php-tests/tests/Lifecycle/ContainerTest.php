<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\Connection;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** php-fpm in a container: its end is that of the hub, too, and nobody who waits is left without an answer. */
final class ContainerTest extends TestCase
{
    private const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
    /** Takes exits, and ends with the one program that it runs. */
    private const INIT = ['sh', '-c', '"$@" & trap "" QUIT TERM; wait $!', 'init'];
    private const UPGRADE = [
        'Connection' => 'Upgrade', 'Upgrade' => 'websocket',
        'Sec-WebSocket-Version' => '13', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
    ];

    private ?FpmPool $fpm = null;

    protected function setUp(): void
    {
        if (!Machine::root()) {
            self::markTestSkipped('only root makes a namespace of process numbers');
        }
    }

    protected function tearDown(): void
    {
        if ($this->fpm !== null && Machine::runs($this->fpm->pid())) {
            $this->fpm->stop();
        }
    }

    /** @param list<string> $init */
    private function start(array $init = [], array $pool = []): FpmPool
    {
        // Nobody waits for the linger here.
        $ini = ['push.linger' => '1h', 'push.timeout' => '5s'];
        $container = [...self::CONTAINER, ...$init];

        return $this->fpm = FpmPool::start($ini, $pool, false, null, ['-n'], $container);
    }

    private function seats(string $channel, int $count): void
    {
        $seated = "return push_channel_info('$channel')->subscribers;";
        Wait::until(fn (): bool => $this->fpm->run($seated) === $count, "$count subscribers are seated");
    }

    /** @return iterable<string, array{list<string>, int}> */
    public function ends(): iterable
    {
        yield 'php-fpm is process 1, SIGQUIT' => [[], SIGQUIT];
        yield 'php-fpm is process 1, SIGTERM' => [[], SIGTERM];
        yield 'another runs php-fpm' => [self::INIT, SIGQUIT];
    }

    /**
     * @param list<string> $init
     * @dataProvider ends
     */
    public function testWhoWaitsIsAnsweredWhenTheContainerStops(array $init, int $signal): void
    {
        $fpm = $this->start($init);
        $master = $fpm->run('return (int) explode(" ", file_get_contents("/proc/self/stat"))[3];');
        self::assertSame($init === [], $master === 1);
        $hub = $fpm->find(['push-hub: hub']);
        [$channel, $position] = $fpm->run('return [create_channel(), push_publish("other", "x")->position];');
        $poll = new Subscriber($fpm->address);
        $poll->ask("/sub/$channel");
        $events = new Connection($fpm->address, "/ev/$channel");
        $socket = new Connection($fpm->address, "/ws/$channel", self::UPGRADE);
        $this->seats($channel, 3);
        $answered = $fpm->run("return push_publish('$channel', 'the last one')->position;");
        self::assertSame('the last one', $poll->answer()->body);
        $poll->ask("/sub/$channel?position=$answered");
        $this->seats($channel, 3);
        $head = $fpm->run('return push_publish("other", "x")->position;');
        self::assertGreaterThan($position, $head);
        self::assertTrue($poll->waits());

        $fpm->stop($signal);
        $answer = $poll->answer();
        self::assertSame([304, $head], [$answer->status, $answer->position()], $fpm->log());
        $streamed = $events->end();
        self::assertStringContainsString('data: the last one', $streamed);
        self::assertStringEndsWith("id: $head\n\n\r\n0\r\n\r\n", $streamed, 'it comes back from there');
        self::assertStringEndsWith("\x81\x0cthe last one\x88\x00", $socket->end(), 'a close frame');
        Wait::until(static fn (): bool => !Machine::runs($hub), 'the hub ends with the container');
    }

    public function testAReloadLeavesThemWaiting(): void
    {
        $fpm = $this->start();
        [$hub, $channel] = $fpm->run('return [push_status()["pid"], create_channel()];');
        $poll = new Subscriber($fpm->address);
        $poll->ask("/sub/$channel");
        $socket = new Connection($fpm->address, "/ws/$channel", self::UPGRADE);
        $this->seats($channel, 2);
        // The second master has what the first left it in its environment.
        for ($i = 0; $i < 2; $i++) {
            $fpm->reload();
            self::assertSame([$hub, 2], $fpm->run("return [push_status()['pid'], push_channel_info('$channel')->subscribers];"));
            self::assertTrue($poll->waits());
        }
        self::assertSame(2, $fpm->run("return push_publish('$channel', 'after')->subscribers;"));
        self::assertSame('after', $poll->answer()->body);
        $socket->until("\x81\x05after");
        // Its end is one all the same.
        $poll->ask("/sub/$channel?position=" . $fpm->run('return push_position();'));
        $this->seats($channel, 2);
        $fpm->stop();
        self::assertSame(304, $poll->answer()->status);
        self::assertStringEndsWith("\x88\x00", $socket->end());
    }

    public function testAWorkerThatEndsIsNoEnd(): void
    {
        $fpm = $this->start([], ['pm.max_requests' => 2]);
        $channel = $fpm->run('return create_channel();');
        $poll = new Subscriber($fpm->address);
        $poll->ask("/sub/$channel");
        $this->seats($channel, 1);
        $workers = [];
        while (count($workers) < 4) {
            $workers[$fpm->run('return getmypid();')] = true;
        }
        self::assertTrue($poll->waits());
        self::assertSame(1, $fpm->run("return push_publish('$channel', 'x')->subscribers;"));
    }

    public function testAContainerWhoseFilesCannotBeWritten(): void
    {
        $directory = Directory::make('fpm');
        // What is left is a volume for sockets, secret and log.
        $mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"';
        $container = [...self::CONTAINER, 'sh', '-c', $mount, $directory];
        $ini = ['push.timeout' => '5s'];
        $fpm = $this->fpm = FpmPool::start($ini, [], false, $directory, ['-n'], $container);
        self::assertFalse($fpm->run('return @touch("/var/tmp/push-test");'));
        $hub = $fpm->find(['push-hub: hub']);
        self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
        posix_kill($hub, SIGKILL);
        self::assertSame(2, $fpm->run('return push_publish("c", "x")->id;'));
        posix_kill($fpm->find(['push-hub: keeper']), SIGKILL);
        Wait::until(static fn (): bool => $fpm->find(['push-hub: restored keeper']) !== null, 'another keeper');
    }

    public function testAContainerWithoutProcIsToldWhatItNeeds(): void
    {
        $fpm = $this->start(['sh', '-c', 'mount -t tmpfs -o ro none /proc && exec "$0" "$@"']);
        self::assertStringContainsString('no hub was started: /proc/self/cmdline: No such file', $fpm->log());
        self::assertStringContainsString('mount /proc, or run the hub as a service', $fpm->log());
        self::assertSame(HubUnavailable::class, $fpm->run('return push_publish("c", "x");')['class'] ?? null);
    }

    /** As `docker run --pids-limit`: what cannot be started now is started when there is room. */
    public function testALimitOfProcesses(): void
    {
        $group = '/sys/fs/cgroup/pids/push-' . getmypid();
        if (!@mkdir($group)) {
            self::markTestSkipped('this machine has no groups of processes that can be limited');
        }
        try {
            $enter = 'echo $$ >"$0/cgroup.procs" && exec "$@"';
            $container = ['sh', '-c', $enter, $group, ...self::CONTAINER];
            $fpm = $this->fpm = FpmPool::start(['push.timeout' => '1s'], [], false, null, ['-n'], $container);
            self::assertSame(1, $fpm->run('return push_publish("c", "x")->id;'));
            $log = static fn (): string => (string) file_get_contents("{$fpm->directory}/hub.log");
            $limit = static fn (int|string $most): mixed => file_put_contents("$group/pids.max", (string) $most);
            // None for a process; one for a process without threads.
            foreach ([0, 1] as $room) {
                $hub = $fpm->find(['push-hub: hub']);
                $others = (int) file_get_contents("$group/pids.current") - count(glob("/proc/$hub/task/*"));
                $failures = substr_count($log(), 'Resource temporarily unavailable');
                $limit($others + $room);
                posix_kill($hub, SIGKILL);
                Wait::until(
                    static fn (): bool => substr_count($log(), 'Resource temporarily unavailable') > $failures,
                    "the log says why there is no hub with room for $room",
                );
                self::assertFalse($fpm->run('return push_ping();'));
                $limit('max');
                Wait::until(static fn (): bool => $fpm->run('return push_ping();'), 'a hub');
                self::assertSame($room + 2, $fpm->run('return push_publish("c", "x")->id;'));
            }
        } finally {
            $this->tearDown();
            Wait::until(static fn (): bool => trim((string) file_get_contents("$group/cgroup.procs")) === '' && rmdir($group), 'the group is empty');
        }
    }

    public function testAStoppedHubDelaysTheEndOnlyForAMoment(): void
    {
        $fpm = $this->start();
        $fpm->run('push_publish("c", "x");');
        Machine::stop($fpm->find(['push-hub: keeper']));
        Machine::stop($fpm->find(['push-hub: hub']));
        $start = microtime(true);
        $fpm->stop();
        self::assertLessThan(5.0, microtime(true) - $start);
    }
}
