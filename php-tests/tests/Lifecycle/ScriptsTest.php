<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\Timeout;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Wait;

/** What else a script does around its calls: it ends, forks, is interrupted, is compiled ahead. */
final class ScriptsTest extends TestCase
{
    private static Hub $hub;

    public static function setUpBeforeClass(): void
    {
        self::$hub = Hub::start();
    }

    public static function tearDownAfterClass(): void
    {
        self::$hub->stop();
    }

    /** @param array<string, string|int> $ini */
    private static function start(string $code, array $ini = []): Php
    {
        return Php::start($code, ['push.socket' => self::$hub->socket] + $ini);
    }

    /** @return list<mixed> what is stored in the channel */
    private static function stored(string $channel): array
    {
        return self::start("return array_column(push_history('$channel'), 'data');")->result();
    }

    public function testShutdownFunctionsAndDestructorsPublishAndExit(): void
    {
        $php = self::start(<<<'PHP'
            class Last { function __destruct() { push_publish('ends', 'destructor'); } }
            $GLOBALS['last'] = new Last();
            register_shutdown_function(function () {
                push_publish('ends', 'first');
                register_shutdown_function(function () { push_publish('ends', 'second'); exit(5); });
                register_shutdown_function(function () { push_publish('ends', 'PHP runs none after an exit'); });
            });
            push_publish('ends', 'script');
            exit(3);
            PHP);
        self::assertSame(5, $php->end(), $php->output());
        self::assertSame('', $php->output());
        self::assertSame(['script', 'first', 'second', 'destructor'], self::stored('ends'));
    }

    public function testAnExitWhileDataIsEncodedPublishesNothing(): void
    {
        foreach (['push_publish("exit", $exits)', 'push_publish_many([new Push\Message("exit", $exits)])'] as $call) {
            $php = self::start(<<<PHP
                \$exits = new class implements JsonSerializable { function jsonSerialize(): mixed { exit(6); } };
                try {
                    $call;
                } finally {
                    echo 'not reached';
                }
                PHP);
            self::assertSame(6, $php->end());
            self::assertSame('', $php->output());
        }
        self::assertSame([], self::stored('exit'));
    }

    public function testAFatalErrorEndsTheScriptAndItsShutdownFunctionStillPublishes(): void
    {
        $php = self::start(<<<'PHP'
            register_shutdown_function(fn () => push_publish('fatal', error_get_last()['message']));
            $fatal = new class implements JsonSerializable {
                function jsonSerialize(): mixed { trigger_error('the end', E_USER_ERROR); }
            };
            push_publish('fatal', $fatal);
            PHP);
        self::assertSame(255, $php->end());
        self::assertSame(['the end'], self::stored('fatal'));
    }

    public function testWaitingIsNoExecutionTime(): void
    {
        $hub = Hub::start();
        [$thrown, $after] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            Push\Tests\Support\Machine::stop($pid);
            set_time_limit(1);
            $thrown = Push\Tests\Support\Thrown::catch(fn () => push_position());
            posix_kill($pid, SIGCONT);
            return [$thrown, push_ping(5)];
            PHP, ['push.socket' => $hub->socket, 'push.timeout' => '1500ms']);
        self::assertSame(Timeout::class, $thrown->class);
        self::assertEqualsWithDelta(1.5, $thrown->seconds, 0.3);
        self::assertTrue($after);
        $hub->stop();
    }

    public function testAnAlarmDuringACallIsHandledAfterIt(): void
    {
        $hub = Hub::start();
        [$alive, $seconds, $alarms, $thrown] = Php::run(<<<'PHP'
            $pid = push_status()['pid'];
            pcntl_async_signals(true);
            $alarms = 0;
            pcntl_signal(SIGALRM, function () use (&$alarms) { $alarms++; push_ping(0.01); });
            Push\Tests\Support\Machine::stop($pid);
            pcntl_alarm(1);
            $start = hrtime(true);
            $alive = push_ping(1.4);
            $seconds = (hrtime(true) - $start) / 1e9;
            pcntl_signal(SIGALRM, fn () => throw new DomainException('too late'));
            pcntl_alarm(1);
            $thrown = Push\Tests\Support\Thrown::catch(function () { push_ping(1.2); });
            posix_kill($pid, SIGCONT);
            return [$alive, $seconds, $alarms, $thrown];
            PHP, ['push.socket' => $hub->socket]);
        self::assertFalse($alive);
        self::assertEqualsWithDelta(1.4, $seconds, 0.2);
        self::assertSame(1, $alarms);
        self::assertSame([\DomainException::class, 'too late'], [$thrown->class, $thrown->message]);
        $hub->stop();
    }

    public function testAnAlarmThatNobodyHandlesEndsTheProcess(): void
    {
        $hub = Hub::start();
        $php = Php::start(<<<'PHP'
            $pid = push_status()['pid'];
            Push\Tests\Support\Machine::stop($pid);
            file_put_contents(__DIR__ . '/pid', $pid);
            pcntl_alarm(1);
            push_ping(30);
            PHP, ['push.socket' => $hub->socket]);
        self::assertSame(128 + SIGALRM, $php->end());
        posix_kill((int) file_get_contents($php->directory . '/pid'), SIGCONT);
        self::assertTrue(Php::run('return push_ping(5);', ['push.socket' => $hub->socket]));
        $hub->stop();
    }

    public function testForkBeforeTheFirstCall(): void
    {
        $results = self::start(<<<'PHP'
            $channel = 'forked-' . getmypid();
            $children = [];
            for ($child = 0; $child < 4; $child++) {
                if (($children[] = pcntl_fork()) === 0) {
                    for ($i = 0; $i < 100; $i++) {
                        push_publish_many([new Push\Message($channel, 'x'), new Push\Message($channel, ['y'])]);
                    }
                    // An ordinary end: destructors and the module's shutdown run in the child.
                    exit(push_ping(5) ? 0 : 1);
                }
            }
            push_publish($channel, 'x');
            $codes = [];
            foreach ($children as $child) {
                pcntl_waitpid($child, $status);
                $codes[] = pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 'killed';
            }
            return [$codes, push_publish($channel, 'x')->id];
            PHP)->result();
        self::assertSame([[0, 0, 0, 0], 802], $results);
    }

    public function testAChildThatEndsLeavesItsParentsRingAlone(): void
    {
        $ids = self::start(<<<'PHP'
            $channel = 'parent-' . getmypid();
            $ids = [push_publish($channel, 'x')->id];
            for ($i = 0; $i < 10; $i++) {
                if (($child = pcntl_fork()) === 0) {
                    exit($i % 2 ? 0 : push_publish($channel, 'child')->id);
                }
                $ids[] = push_publish($channel, 'x')->id;
                pcntl_waitpid($child, $status);
                $ids[] = push_publish($channel, 'x')->id;
            }
            return count(array_unique($ids)) . ' of ' . end($ids);
            PHP)->result();
        self::assertSame('21 of 26', $ids);
    }

    /** Runtimes of other languages make children so: none of what libraries run at a fork runs there. */
    public function testAChildOfARawCloneHasAWayOfItsOwn(): void
    {
        $ffi = ini_get('extension_dir') . '/ffi.so';
        $clone = ['x86_64' => 56, 'aarch64' => 220][php_uname('m')] ?? null;
        if ((!is_file($ffi) && !extension_loaded('FFI')) || $clone === null) {
            self::markTestSkipped('this PHP has no FFI, or the number of the call is not known');
        }
        $results = self::start(<<<PHP
            \$libc = FFI::cdef('long syscall(long number, ...);', 'libc.so.6');
            \$channel = 'cloned-' . getmypid();
            \$ids = [push_publish(\$channel, 'parent')->id];
            \$children = [];
            for (\$child = 0; \$child < 4; \$child++) {
                \$pid = \$libc->syscall($clone, SIGCHLD, 0, 0, 0, 0);
                if (\$pid === 0) {
                    for (\$i = 0; \$i < 100; \$i++) {
                        push_publish(\$channel, 'child');
                        push_publish_async(\$channel, 'child');
                    }
                    // As such children end, and in an ordinary way.
                    \$child % 2 ? posix_kill(getmypid(), SIGKILL) : exit(push_ping(5) ? 0 : 1);
                }
                \$children[] = \$pid;
                for (\$i = 0; \$i < 100; \$i++) {
                    \$ids[] = push_publish(\$channel, 'parent')->id;
                }
            }
            \$codes = [];
            foreach (\$children as \$pid) {
                pcntl_waitpid(\$pid, \$status);
                \$codes[] = pcntl_wifexited(\$status) ? pcntl_wexitstatus(\$status) : 'killed';
            }
            Push\Tests\Support\Wait::until(fn () => push_channel_info(\$channel)->published >= 1201, 'all are published');
            return [\$codes, count(array_unique(\$ids)), push_publish(\$channel, 'parent')->id];
            PHP, ['ffi.enable' => '1', 'push.timeout' => '5s'] + (is_file($ffi) ? ['extension' => 'ffi'] : []))->result();
        self::assertSame([[0, 'killed', 0, 'killed'], 401, 1202], $results);
    }

    public function testDlIsRefusedWithItsCure(): void
    {
        $extension = getenv('PUSH_EXTENSION');
        $code = "echo 'before'; dl('" . basename($extension) . "'); echo 'after';";
        $command = [PHP_BINARY, '-n', '-d', 'extension_dir=' . dirname($extension), '-d', 'display_errors=1', '-r', $code];
        exec(implode(' ', array_map(escapeshellarg(...), $command)) . ' 2>&1', $lines, $exit);
        $output = implode("\n", $lines);
        self::assertSame(255, $exit, $output);
        self::assertStringStartsWith('before', $output);
        self::assertStringContainsString('push: dl() cannot load it; put extension=push into php.ini', $output);
        self::assertStringNotContainsString('after', $output);
    }

    /** @return array<string, string|int> opcache with the JIT, and a file to preload */
    private static function compiled(string $preload): array
    {
        $file = Directory::make('preload') . '/preload.php';
        file_put_contents($file, "<?php\n$preload");

        return [
            'zend_extension' => 'opcache',
            'opcache.enable' => 1,
            'opcache.enable_cli' => 1,
            'opcache.jit' => 'tracing',
            'opcache.jit_buffer_size' => '32M',
            'opcache.jit_hot_loop' => 16,
            'opcache.jit_hot_func' => 16,
            'opcache.preload' => $file,
        ] + (Machine::root() ? ['opcache.preload_user' => Machine::unprivileged()] : []);
    }

    private const PRELOADED = <<<'PHP'
        final class Late extends Push\Exception\Timeout {}
        final class News
        {
            public function __construct(public readonly Push\Message $message = new Push\Message('news', 'default')) {}

            public static function run(string $channel, int $count): array
            {
                $ids = [];
                for ($i = 1; $i <= $count; $i++) {
                    $one = push_publish($channel, $i % 3 ? "text $i" : ['number' => $i], store: (bool) ($i % 2));
                    [$two] = push_publish_many([new Push\Message(data: $i, channel: $channel, ttl: 60)]);
                    $ids[] = $two->id - $one->id;
                    try {
                        push_publish($channel, $i % 5 ? 'x' : NAN, dedupe: "key $i");
                    } catch (Push\Exception\PushException $e) {
                        $ids[] = $e::class;
                    }
                }
                return [array_count_values($ids), push_channel_info($channel)->published, (new News())->message->data];
            }
        }
        PHP;

    public function testOpcacheJitAndPreloadingChangeNothing(): void
    {
        [$result, $jit, $late] = self::start(<<<'PHP'
            $jit = opcache_get_status()['jit'];
            return [News::run('jit', 500), $jit['enabled'] && $jit['on'], (new Late('x')) instanceof Push\Exception\PushException];
            PHP, self::compiled(self::PRELOADED . 'push_publish("preload", "x");'))->result();
        self::assertSame([[1 => 500, \Push\Exception\EncodingError::class => 100], 1400, 'default'], $result);
        self::assertTrue($jit);
        self::assertTrue($late);
        self::assertSame(['x'], self::stored('preload'), 'a preloaded file may call');
    }

    public function testACommandThatOnlyLooksStartsNothingWhenItPreloads(): void
    {
        $arguments = [];
        foreach (self::compiled(self::PRELOADED) as $name => $value) {
            array_push($arguments, '-d', "$name=$value");
        }
        $fpm = FpmPool::probe([...$arguments, '-t']);
        self::assertStringContainsString('test is successful', $fpm->log());
        self::assertDirectoryDoesNotExist(dirname($fpm->socket), $fpm->log());
        self::assertFileDoesNotExist("{$fpm->directory}/hub.log");
    }

    public function testFpmPreloadsWithItsHub(): void
    {
        $fpm = FpmPool::start(self::compiled(self::PRELOADED));
        for ($request = 1; $request <= 3; $request++) {
            $result = $fpm->run("return News::run('request-$request', 100);");
            self::assertSame([[1 => 100, \Push\Exception\EncodingError::class => 20], 280, 'default'], $result);
        }
        $hub = $fpm->run('return push_status()["pid"];');
        $fpm->reload();
        self::assertSame($hub, $fpm->run('return push_status()["pid"];'));
        $fpm->stop();
        Wait::until(static fn (): bool => !Machine::runs($hub), 'the hub ends');
    }

    public function testAWorkerPublishesAfterItsAnswerIsOut(): void
    {
        $fpm = FpmPool::start();
        $script = $fpm->script('return 0;');
        file_put_contents($script, <<<'PHP'
            <?php
            header('Content-Type: application/json');
            echo json_encode(push_publish('finish', 'before')->id);
            fastcgi_finish_request();
            while (!push_channel_info('go')) {
                usleep(1000);
            }
            register_shutdown_function(function () { push_publish('finish', 'at the end'); exit; });
            push_publish('finish', 'after');
            PHP);
        self::assertSame(1, $fpm->request($script)->json());
        $direct = ['push.socket' => $fpm->socket];
        self::assertSame(1, Php::run('push_publish("go", "x"); return push_history("finish")[0]->id;', $direct));
        $data = Wait::until(static function () use ($direct): ?array {
            $data = Php::run('return array_column(push_history("finish"), "data");', $direct);

            return count($data) === 3 ? $data : null;
        }, 'the rest is published');
        self::assertSame(['before', 'after', 'at the end'], $data);
        self::assertSame(4, $fpm->run('return push_publish("finish", "the next request")->id;'));
        $hub = $fpm->run('return push_status()["pid"];');
        $fpm->stop();
        Wait::until(static fn (): bool => !Machine::runs($hub), 'the hub ends');
    }
}
