<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** Keeper and hub under php-fpm: each gives the other back, and nothing is left of them that nobody waits for. */
final class KeeperTest extends TestCase
{
    private const KEEPERS = ['push-hub: keeper', 'push-hub: restored keeper'];
    private const HUBS = ['push-hub: hub'];

    private ?FpmPool $fpm = null;

    protected function tearDown(): void
    {
        // Ends what a failed test left running; a hub follows its last lease.
        if ($this->fpm !== null && Machine::runs($this->fpm->pid())) {
            $this->fpm->stop();
        }
    }

    private function keeper(): int
    {
        return Wait::until(fn (): ?int => $this->fpm->find(self::KEEPERS), "a keeper:\n" . $this->fpm->log());
    }

    private function hub(): int
    {
        return Wait::until(fn (): ?int => $this->fpm->find(self::HUBS), "a hub:\n" . $this->fpm->log());
    }

    /** Kills the keeper and waits for the next one, which watches. */
    private function killKeeper(): void
    {
        $before = substr_count($this->fpm->log(), 'a new keeper (pid');
        posix_kill($this->keeper(), SIGKILL);
        $next = fn (): bool => substr_count($this->fpm->log(), 'a new keeper (pid') > $before;
        Wait::until($next, 'the next keeper watches');
    }

    /** Kills the hub and waits for the next one, which serves. */
    private function killHub(): void
    {
        $before = substr_count($this->fpm->log(), 'a new hub serves');
        posix_kill($this->hub(), SIGKILL);
        Wait::until(fn (): bool => substr_count($this->fpm->log(), 'a new hub serves') > $before, 'the next hub serves');
    }

    private function killBoth(): void
    {
        [$keeper, $hub] = [$this->keeper(), $this->hub()];
        // So that it does not start another hub before its own end.
        Machine::stop($keeper);
        posix_kill($hub, SIGKILL);
        posix_kill($keeper, SIGKILL);
        Wait::until(static fn (): bool => !Machine::runs($hub) && !Machine::runs($keeper), 'both are gone');
    }

    private function subscribe(): array
    {
        $channel = $this->fpm->run('return create_channel();');
        $subscriber = new Subscriber($this->fpm->address);
        $subscriber->ask("/sub/$channel");
        $seated = "return push_channel_info('$channel')->subscribers;";
        Wait::until(fn (): bool => $this->fpm->run($seated) === 1, 'the subscriber is seated');

        return [$channel, $subscriber];
    }

    public function testNobodyNoticesThatTheKeeperIsKilled(): void
    {
        $this->fpm = FpmPool::start();
        [$channel, $subscriber] = $this->subscribe();
        $hub = $this->hub();
        $this->killKeeper();
        self::assertTrue($subscriber->waits());
        self::assertSame(1, $this->fpm->run("return push_publish('$channel', 'still here')->subscribers;"));
        self::assertSame('still here', $subscriber->answer()->body);

        // The lease of a master that reloads is with the new keeper.
        $this->fpm->reload();
        self::assertSame($hub, $this->hub());
        $this->killKeeper();
        $this->killHub();
        self::assertSame(2, $this->fpm->run("return push_publish('$channel', 'and again')->id;"));
        [$keeper, $hub] = [$this->keeper(), $this->hub()];
        $this->fpm->stop();
        Wait::until(static fn (): bool => !Machine::runs($hub) && !Machine::runs($keeper), 'both end after the linger');
        self::assertFileDoesNotExist($this->fpm->socket);
    }

    public function testBothKilledAtOnceAreBackAtTheNextReload(): void
    {
        $this->fpm = FpmPool::start();
        self::assertSame(1, $this->fpm->run('return push_publish("c", "x")->id;'));
        $this->killBoth();
        for ($i = 0; $i < 3; $i++) {
            $thrown = $this->fpm->run('return push_publish("c", "x");');
            self::assertSame(HubUnavailable::class, $thrown['class'] ?? null, json_encode($thrown));
            self::assertFalse($this->fpm->run('return push_ping();'));
        }
        self::assertNull($this->fpm->find([...self::KEEPERS, ...self::HUBS]), 'nothing restarts them');
        $this->fpm->reload();
        // What was stored went with them.
        self::assertSame(1, $this->fpm->run('return push_publish("c", "x")->id;'));
    }

    /** php-fpm as the first process of a container takes the exits of all that have lost their parent. */
    public function testInAContainerNoZombiesAreLeft(): void
    {
        if (!Machine::root()) {
            self::markTestSkipped('only root makes a namespace of process numbers');
        }
        $container = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];
        $this->fpm = FpmPool::start([], [], false, null, ['-n'], $container);
        self::assertSame(1, $this->fpm->run('return (int) explode(" ", file_get_contents("/proc/self/stat"))[3];'), 'it is process 1 there');
        [$channel] = $this->subscribe();
        for ($round = 1; $round <= 3; $round++) {
            $this->killKeeper();
            $this->killHub();
            $this->killHub();
        }
        self::assertSame(1, $this->fpm->run("return push_publish('$channel', 'x')->id;"));
        $this->killBoth();
        $this->fpm->run('return push_ping();');
        $master = $this->fpm->pid();
        $zombies = static fn (): array => array_filter(
            Machine::descendants($master),
            static fn (int $pid): bool => !Machine::runs($pid),
        );
        Wait::until(static fn (): bool => $zombies() === [], 'no zombies are left');
    }
}
