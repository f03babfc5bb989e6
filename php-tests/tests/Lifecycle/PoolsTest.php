<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\AccessDenied;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;

/** Pools that share a hub and do not see each other; and what the programs that PHP runs get of it, which is nothing. */
final class PoolsTest extends TestCase
{
    /** @var list<FpmPool> */
    private array $pools = [];

    protected function tearDown(): void
    {
        foreach ($this->pools as $fpm) {
            if (Machine::runs($fpm->pid())) {
                $fpm->stop();
            }
        }
    }

    /** A pool of its own php-fpm, at the hub of the first one. */
    private function pool(?string $namespace): FpmPool
    {
        $first = $this->pools[0] ?? null;
        $ini = $first === null ? [] : [
            'push.socket' => $first->socket,
            'push.listen' => $first->address,
            'push.log' => "{$first->directory}/hub.log",
        ];
        $pool = $namespace === null ? [] : ['php_admin_value[push.namespace]' => $namespace];

        return $this->pools[] = FpmPool::start($ini, $pool);
    }

    public function testEachPoolHasTheChannelsOfItsNamespace(): void
    {
        $pools = ['shop' => $this->pool('shop'), 'blog' => $this->pool('blog'), '' => $this->pool(null)];
        foreach ($pools as $namespace => $fpm) {
            self::assertSame(1, $fpm->run("return push_publish('news', 'of $namespace')->id;"));
            $fpm->run("create_channel(name: 'only-$namespace');");
        }
        foreach ($pools as $namespace => $fpm) {
            self::assertSame(["of $namespace"], $fpm->run("return array_column(push_history('news'), 'data');"));
            self::assertSame(['news', "only-$namespace"], $fpm->run("return array_column(push_channels(), 'name');"));
        }
        self::assertCount(1, array_unique(array_map(
            static fn (FpmPool $fpm): int => $fpm->run('return push_status()["pid"];'),
            array_values($pools),
        )), 'one hub');
        $pools['shop']->run("push_delete_channel('news');");
        self::assertNull($pools['shop']->run("return push_channel_info('news');"));
        self::assertSame(1, $pools['blog']->run("return push_channel_info('news')->stored;"));
    }

    public function testCodeCannotLeaveTheNamespaceOfItsPool(): void
    {
        $fpm = $this->pool('shop');
        self::assertFalse($fpm->run("return ini_set('push.namespace', 'blog');"));
        $fpm->run("push_publish('news', 'x');");
        self::assertNull($this->pool('blog')->run("return push_channel_info('news');"));
    }

    public function testAWrongNamespaceIsNamedAndNothingIsPublishedElsewhere(): void
    {
        $fpm = $this->pool('a/b');
        $thrown = $fpm->run("push_publish('news', 'x');");
        self::assertSame(HubUnavailable::class, $thrown['class']);
        self::assertStringContainsString('push.namespace = "a/b": allowed is', $thrown['message']);
        self::assertNull($this->pool(null)->run("return push_channel_info('news');"));
    }

    public function testACliScriptHasTheNamespaceThatItIsGiven(): void
    {
        $hub = Hub::start();
        $publish = "return push_publish('news', 'x')->id;";
        foreach (['shop', 'blog'] as $namespace) {
            $ini = ['push.socket' => $hub->socket, 'push.namespace' => $namespace];
            self::assertSame([1, 2], [Php::run($publish, $ini), Php::run($publish, $ini)]);
        }
        self::assertNull($hub->php("return push_channel_info('news');"));
        $hub->stop();
    }

    public function testAUserWhoIsNotListedIsDenied(): void
    {
        if (!Machine::root()) {
            self::markTestSkipped('only root runs PHP as another user');
        }
        $hub = Hub::start('client_namespaces = "1:shop"' . "\nsocket_mode = \"0666\"");
        $nobody = Php::run(
            "posix_setuid(posix_getpwnam('nobody')['uid']); push_publish('news', 'x');",
            ['push.socket' => $hub->socket],
        );
        self::assertSame(AccessDenied::class, $nobody->class);
        self::assertStringContainsString('client_namespaces', $nobody->message);
        self::assertNull($hub->php("return push_channel_info('news');"), 'root may');
        $hub->stop();
    }

    /** What a program that PHP runs sees, before and after a call: its descriptors above the standard ones, and its environment. */
    private const CHILDREN = <<<'PHP'
        $child = static function (): array {
            $process = proc_open(['/bin/sh', '-c', 'env | sort; echo; ls -l /proc/$$/fd'], [1 => ['pipe', 'w']], $pipes);
            $text = stream_get_contents($pipes[1]);
            proc_close($process);
            preg_match_all('~ (\d+) -> (\S+)$~m', $text, $found, PREG_SET_ORDER);
            $open = array_filter($found, static fn (array $one): bool => $one[1] > 2);

            return [strstr($text, "\n\n", true), array_map(static fn (array $one): string => $one[2], array_values($open))];
        };
        $before = $child();
        push_publish('children', 'x');
        push_publish_async('children', 'y');

        return [$before, $child(), explode("\n", (string) shell_exec('ls -l /proc/self/fd'))];
        PHP;

    private static function assertNothingInherited(array $seen): void
    {
        [$before, $after, $shell] = $seen;
        self::assertSame($before, $after, 'a call changes nothing for them');
        // PHP lets them have its script and its connection; and some are of the process that runs these tests.
        $tests = array_map(static fn (string $path): string => (string) @readlink($path), glob('/proc/self/fd/*'));
        $ours = '~^(memfd:|anon_inode:|pipe:)|hub\.sock~';
        self::assertSame([], array_values(preg_grep($ours, array_diff($after[1], $tests))));
        self::assertNotSame([], $shell);
        self::assertSame([], preg_grep('~memfd:|anon_inode:|hub\.sock~', $shell));
    }

    public function testProgramsThatAWorkerRunsInheritNothing(): void
    {
        self::assertNothingInherited($this->pool('shop')->run(self::CHILDREN));
    }

    public function testProgramsThatAScriptRunsInheritNothing(): void
    {
        $hub = Hub::start();
        self::assertNothingInherited($hub->php(self::CHILDREN));
        // The same for a program that takes the place of PHP.
        $directory = sys_get_temp_dir();
        $file = tempnam($directory, 'push');
        $php = Php::start(
            "push_publish('children', 'x'); pcntl_exec('/bin/sh', ['-c', 'ls -l /proc/self/fd > $file']);",
            ['push.socket' => $hub->socket],
        );
        self::assertSame(0, $php->end());
        self::assertStringContainsString('->', (string) file_get_contents($file));
        self::assertDoesNotMatchRegularExpression('~memfd:|anon_inode|socket:~', (string) file_get_contents($file));
        unlink($file);
        $hub->stop();
    }
}
