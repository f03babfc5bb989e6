<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\AccessDenied;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Wait;

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
        $ini = ['push.timeout' => '5s'] + ($first === null ? [] : [
            'push.socket' => $first->socket,
            'push.listen' => $first->address,
            'push.log' => "{$first->directory}/hub.log",
        ]);
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

    /** @return iterable<string, array{string, ?string}> what of the machine a pool sees whose root is $1; $2: the socket's directory */
    public function roots(): iterable
    {
        yield '/proc' => ['mkdir "$1/proc"; mount -t proc proc "$1/proc"', null];
        yield 'the directory of the socket' => ['mkdir -p "$1$2"; mount --bind "$2" "$1$2"', null];
        yield 'neither' => [':', 'mount /proc where its pool has its root (chroot), or the directory of the socket'];
    }

    /** @dataProvider roots */
    public function testAPoolWithARootOfItsOwnHasAWayToTheHub(string $mount, ?string $error): void
    {
        if (!Machine::root()) {
            self::markTestSkipped('only root gives a process another root');
        }
        [$root, $run, $directory] = [Directory::make('root'), Directory::make('run'), Directory::make('fpm')];
        chown($run, Machine::unprivileged());
        // The scripts are to have the same paths there.
        $script = "set -e; $mount; mkdir -p \"\$1\$3\"; mount --bind \"\$3\" \"\$1\$3\"; shift 3; exec \"\$@\"";
        $container = ['unshare', '--mount', 'sh', '-c', $script, 'sh', $root, $run, $directory];
        $fpm = FpmPool::start(['push.socket' => "$run/hub.sock", 'push.timeout' => '5s'], ['chroot' => $root], false, $directory, ['-n'], $container);
        $this->pools[] = $fpm;
        self::assertSame($error !== null, $fpm->run("return !file_exists('/proc/self') && !file_exists('$run');"));
        self::assertFalse($fpm->run('return file_exists("/bin");'), 'it has another root');
        if ($error !== null) {
            $thrown = $fpm->run('push_publish("c", "x");');
            self::assertSame(HubUnavailable::class, $thrown['class']);
            self::assertStringContainsString($error, $thrown['message']);

            return;
        }
        self::assertSame([1, 2], $fpm->run('return [push_publish("c", "x")->id, push_publish("c", "x")->id];'));
        posix_kill($fpm->find(['push-hub: hub']), SIGKILL);
        self::assertSame(3, $fpm->run('return push_publish("c", "x")->id;'), 'and to the next one');
    }

    /** A worker has turned against the others, with all that it inherited and that native code can do to it. */
    public function testWhatAWorkerDoesToItsDescriptorsHurtsNobody(): void
    {
        $ffi = ini_get('extension_dir') . '/ffi.so';
        if (!is_file($ffi) && !extension_loaded('FFI')) {
            self::markTestSkipped('this PHP has no FFI');
        }
        $options = ['-n', '-d', 'ffi.enable=1', ...(is_file($ffi) ? ['-d', 'extension=ffi'] : [])];
        $fpm = $this->pools[] = FpmPool::start(['push.timeout' => '5s'], ['pm.max_children' => 2], false, null, $options);
        $hub = $fpm->run('return push_status()["pid"];');
        $files = Directory::make('worker');
        chmod($files, 0777);
        $fpm->request($fpm->script(<<<PHP
            push_publish('c', 'x');
            fastcgi_finish_request();
            touch('$files/attached');
            while (!file_exists('$files/go')) {
                clearstatcache();
                usleep(1000);
            }
            \$libc = FFI::cdef('int shutdown(int, int); int getsockopt(int, int, int, int *, unsigned *);', 'libc.so.6');
            [\$listens, \$size] = [\$libc->new('int'), \$libc->new('unsigned')];
            \$shut = 0;
            foreach (array_filter(scandir('/proc/self/fd'), is_numeric(...)) as \$fd) {
                [\$listens->cdata, \$size->cdata] = [0, 4];
                // SOL_SOCKET, SO_ACCEPTCONN: the listener of php-fpm itself is not ours to protect.
                \$libc->getsockopt((int) \$fd, 1, 30, FFI::addr(\$listens), FFI::addr(\$size));
                \$shut += \$listens->cdata === 0 && \$libc->shutdown((int) \$fd, 2) === 0 ? 1 : 0;
            }
            file_put_contents('$files/done', json_encode([getmypid(), \$shut]), LOCK_EX);
            PHP));
        Wait::until(static fn (): bool => file_exists("$files/attached"), 'one worker is busy');
        [$other, $id] = $fpm->run('return [getmypid(), push_publish("c", "x")->id];');
        self::assertSame(2, $id);
        touch("$files/go");
        $done = static fn (): ?array => json_decode((string) @file_get_contents("$files/done"));
        [$worker, $shut] = Wait::until($done, 'it has shut down all that it has');
        self::assertNotSame($other, $worker);
        self::assertGreaterThan(0, $shut, 'its own way to the hub');
        $by = [];
        for ($id = 3; $id <= 200 && count($by) < 2; $id++) {
            [$pid, $published] = $fpm->run('return [getmypid(), push_publish("c", "x")->id];');
            self::assertSame($id, $published);
            $by[$pid] = true;
        }
        self::assertEqualsCanonicalizing([$worker, $other], array_keys($by), 'both go on');
        self::assertSame($hub, $fpm->run('return push_status()["pid"];'));
        // The master has lost nothing either.
        $fpm->reload();
        self::assertSame([$hub, $id], $fpm->run('return [push_status()["pid"], push_publish("c", "x")->id];'));
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
