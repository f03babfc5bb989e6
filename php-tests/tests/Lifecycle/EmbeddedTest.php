<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Exception\HubUnavailable;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Program;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** push.mode = embedded: the hub is threads of the PHP that publishes. */
final class EmbeddedTest extends TestCase
{
    private const INI = ['push.mode' => 'embedded', 'push.listen' => '127.0.0.1:0', 'push.threads' => 2];

    /** Tells this process where the hub is, in one step. */
    private const TELL = 'file_put_contents(__DIR__ . "/new", push_hub_address()); rename(__DIR__ . "/new", __DIR__ . "/address");';

    /** Waits in $channel until somebody subscribes to it. */
    private const SEATED = 'while (!push_channel_info($channel)?->subscribers) { usleep(1000); }';

    /** @param array<string, string|int> $ini */
    private static function start(string $code, array $ini = []): Php
    {
        return Php::start($code, $ini + self::INI);
    }

    private static function address(Php $php): string
    {
        $file = "{$php->directory}/address";
        Wait::until(static fn (): bool => file_exists($file), "the hub tells its address:\n" . $php->output());

        return file_get_contents($file);
    }

    /** A subscriber of a script that does nothing else than wait for it. */
    private static function poll(Php $php, string $target): Subscriber
    {
        $subscriber = new Subscriber(self::address($php));
        $subscriber->ask($target);

        return $subscriber;
    }

    public function testASubscriberGetsWhatTheProcessPublishes(): void
    {
        $php = self::start('$channel = push_create_channel(name: "news");' . self::TELL . self::SEATED . <<<'PHP'
            $first = push_publish($channel, ['text' => 'Hello']);
            push_publish_async($channel, 'again');
            return [$first->subscribers, push_publish($channel, 'third')->id, push_status()['pid'] === getmypid()];
            PHP);
        $answer = self::poll($php, '/sub/news')->answer();
        self::assertSame([200, '{"text":"Hello"}'], [$answer->status, $answer->body]);
        self::assertSame([1, 3, true], $php->result());
    }

    public function testAttachedItListensNowhere(): void
    {
        self::assertNull(Php::run('return push_hub_address();', ['push.socket' => '/nowhere/hub.sock']));
        self::assertNull(Php::run('return push_hub_address();', ['push.mode' => 'attach', 'push.socket' => '/nowhere/hub.sock']));
    }

    public function testNothingStartsBeforeTheFirstCall(): void
    {
        [$before, $info, $after] = Php::run(<<<'PHP'
            $threads = fn (): int => count(glob('/proc/self/task/*'));
            $before = $threads();
            ob_start();
            phpinfo(INFO_MODULES);
            return [[$before, $threads()], ob_get_clean(), [push_ping(), $threads()]];
            PHP, self::INI);
        self::assertSame([1, 1], $before);
        self::assertStringContainsString("mode => embedded\nhub => starts in this process at the first call\n", $info);
        self::assertSame([true, 3], $after);
    }

    /** @return iterable<string, array{string, int}> how the script ends, and its exit code */
    public function ends(): iterable
    {
        yield 'its end' => ['return;', 0];
        yield 'exit' => ['exit(3);', 3];
        yield 'a fatal error' => ['trigger_error("the end", E_USER_ERROR);', 255];
        yield 'an exception' => ['set_exception_handler(null); ini_set("display_errors", 0); register_shutdown_function(fn () => throw new Exception("x")); exit;', 255];
        yield 'exit within an encoding' => ['push_publish("x", new class implements JsonSerializable { function jsonSerialize(): mixed { exit(4); } });', 4];
        yield 'a signal that the script handles' => ['pcntl_async_signals(true); pcntl_signal(SIGTERM, fn () => exit(5)); posix_kill(getmypid(), SIGTERM); sleep(60);', 5];
    }

    /** @dataProvider ends */
    public function testWhoWaitsIsAnsweredWithAPositionWhenTheProcessEnds(string $end, int $code): void
    {
        $php = self::start('$channel = push_create_channel(name: "news");' . self::TELL . self::SEATED . <<<PHP
            register_shutdown_function(fn () => file_put_contents(__DIR__ . '/last', push_publish('other', 'x')->position));
            $end
            PHP);
        $answer = self::poll($php, '/sub/news')->answer();
        self::assertSame(304, $answer->status);
        self::assertSame('close', $answer->headers['connection']);
        self::assertSame($code, $php->end(), $php->output());
        $last = file_get_contents("{$php->directory}/last");
        self::assertSame(explode('.', $last)[1], substr($answer->headers['etag'], 2), 'the position covers the last message');
        self::assertFalse(@stream_socket_client('tcp://' . self::address($php)));
    }

    public function testAClientThatDoesNotReadDelaysTheEndByDrainTimeoutAtMost(): void
    {
        // More than the buffers of both sides hold, so that the answer is still on its way.
        $php = self::start('$channel = push_create_channel(name: "large");' . self::TELL . self::SEATED . <<<'PHP'
            push_publish($channel, str_repeat('x', 30_000_000));
            file_put_contents(__DIR__ . '/ends', microtime(true));
            PHP, ['push.max_message_size' => '32m', 'push.drain_timeout' => '500ms']);
        $socket = stream_socket_client('tcp://' . self::address($php));
        fwrite($socket, "GET /sub/large HTTP/1.1\r\nHost: test\r\n\r\n");
        self::assertSame(0, $php->end(), $php->output());
        $seconds = microtime(true) - (float) file_get_contents("{$php->directory}/ends");
        self::assertGreaterThan(0.4, $seconds);
        self::assertLessThan(5.0, $seconds);
        fclose($socket);
    }

    public function testAForkedChildIsRefusedAndItsParentGoesOn(): void
    {
        $php = self::start('$channel = push_create_channel(name: "news");' . self::TELL . self::SEATED . <<<'PHP'
            $child = pcntl_fork();
            if ($child === 0) {
                $catch = Push\Tests\Support\Thrown::catch(...);
                $said = [
                    $catch(fn () => push_publish('news', 'x')), $catch(fn () => push_publish_async('news', 'x')),
                    $catch(push_hub_address(...)), push_ping(),
                ];
                file_put_contents(__DIR__ . '/child', serialize($said));
                exit(7);
            }
            pcntl_waitpid($child, $status);
            return [pcntl_wexitstatus($status), push_publish('news', 'parent')->subscribers, getmypid(), count(glob('/proc/self/task/*'))];
            PHP);
        self::assertSame('parent', self::poll($php, '/sub/news')->answer()->body);
        [$status, $subscribers, $pid, $threads] = $php->result();
        self::assertSame([7, 1, 3], [$status, $subscribers, $threads]);
        $said = unserialize(file_get_contents("{$php->directory}/child"));
        self::assertFalse(array_pop($said));
        foreach ($said as $thrown) {
            self::assertSame(HubUnavailable::class, $thrown->class);
            self::assertStringStartsWith("this process was forked from process $pid, whose threads are the hub", $thrown->message);
        }
    }

    public function testADaemonMayForkBeforeItsFirstCall(): void
    {
        $php = self::start('if (pcntl_fork() !== 0) { pcntl_wait($status); exit(pcntl_wexitstatus($status)); }'
            . '$channel = push_create_channel(name: "news");' . self::TELL . self::SEATED . 'push_publish($channel, "child"); exit(9);');
        self::assertSame('child', self::poll($php, '/sub/news')->answer()->body);
        self::assertSame(9, $php->end(), $php->output());
    }

    public function testAChildDoesNotKeepConnectionsAndPortOfItsParent(): void
    {
        $php = self::start(<<<'PHP'
            foreach (['none', 'fork', 'one', 'two', 'end'] as $channel) {
                push_create_channel(name: $channel);
            }
            PHP . self::TELL . '$channel = "fork";' . self::SEATED . <<<'PHP'
            if (pcntl_fork() === 0) {
                file_put_contents(__DIR__ . '/child', getmypid());
                sleep(600);
            }
            push_publish($channel, 'forked');
            foreach (['one', 'two', 'end'] as $channel) {
                while (!push_channel_info($channel)->subscribers) { usleep(1000); }
                push_create_channel(name: "$channel-waits");
            }
            push_publish('one', 'still there');
            PHP, ['push.threads' => 1, 'push.keepalive_timeout' => '1s']);
        $address = self::address($php);
        $idle = self::poll($php, '/poll/none');
        self::assertSame(304, $idle->answer()->status);
        $forks = self::poll($php, '/sub/fork');
        self::assertSame('forked', $forks->answer()->body);
        $child = (int) Wait::until(static fn (): string|false => @file_get_contents("{$php->directory}/child"), 'the child');
        try {
            // After a second the hub closes both; the child's duplicates must not keep that from the other side.
            $idle->assertClosed();
            $forks->assertClosed();
            // Nor must their end be taken for that of the connections which have taken their places.
            $seated = static fn (string $channel): bool => self::poll($php, "/poll/$channel-waits?position=0.0")->answer()->status !== 403;
            $one = self::poll($php, '/sub/one');
            Wait::until(static fn (): bool => $seated('one'), 'the first is seated');
            $idle->close();
            $forks->close();
            $two = self::poll($php, '/sub/two');
            Wait::until(static fn (): bool => $seated('two'), 'the second is seated');
            self::assertTrue($one->waits() && $two->waits());
            $end = self::poll($php, '/sub/end');
            self::assertSame('still there', $one->answer()->body);
            self::assertSame([304, 304], [$two->answer()->status, $end->answer()->status]);
            self::assertSame(0, $php->end(), $php->output());
            self::assertFalse(@stream_socket_client("tcp://$address"));
        } finally {
            posix_kill($child, SIGKILL);
        }
    }

    public function testSignalsGoToThePhpThread(): void
    {
        [$alarms, $children, $usr] = Php::run(<<<'PHP'
            push_ping();
            pcntl_async_signals(true);
            $alarms = $children = $usr = 0;
            pcntl_signal(SIGALRM, function () use (&$alarms) { $alarms++; push_publish('alarm', 'x'); });
            pcntl_signal(SIGCHLD, function () use (&$children) { $children++; });
            pcntl_signal(SIGUSR1, function () use (&$usr) { $usr++; });
            pcntl_alarm(1);
            $interrupted = sleep(60);
            if (pcntl_fork() === 0) {
                exit;
            }
            Push\Tests\Support\Wait::until(function () use (&$children) { return $children > 0; }, 'SIGCHLD');
            for ($i = 0; $i < 1000; $i++) {
                posix_kill(getmypid(), SIGUSR1);
                push_publish('x', 'busy');
            }
            return [[$alarms, $interrupted > 0, push_channel_info('alarm')->published], $children, $usr];
            PHP, self::INI);
        self::assertSame([1, true, 1], $alarms);
        self::assertSame([1, 1000], [$children, $usr]);
    }

    public function testAnUnhandledSignalEndsTheProcess(): void
    {
        $php = self::start(self::TELL . 'posix_kill(getmypid(), SIGTERM); sleep(60);');
        self::assertSame(128 + SIGTERM, $php->end());
    }

    public function testExecutionTimeIsStillLimited(): void
    {
        $php = self::start('push_ping(); set_time_limit(1); ini_set("display_errors", "stderr"); while (true) { push_position(); }');
        self::assertSame(255, $php->end());
        self::assertStringContainsString('Maximum execution time of 1 second exceeded', $php->output());
    }

    public function testAPortInUseIsNamedAndAskedForOnlyNowAndThen(): void
    {
        $taken = stream_socket_server('tcp://127.0.0.1:0');
        $address = stream_socket_get_name($taken, false);
        [$first, $second, $third, $address] = Php::run(<<<'PHP'
            $catch = Push\Tests\Support\Thrown::catch(...);
            return [$catch(push_position(...)), $catch(fn () => push_publish('x', 'y')), push_ping(), ini_get('push.listen')];
            PHP, ['push.listen' => $address] + self::INI);
        self::assertSame(HubUnavailable::class, $first->class);
        self::assertStringStartsWith("no hub was started in this process: listen: cannot listen on $address: ", $first->message);
        self::assertSame($first->message, $second->message);
        self::assertLessThan(0.2, $second->seconds);
        self::assertFalse($third);
        fclose($taken);
    }

    public function testAPortThatBecomesFreeIsTaken(): void
    {
        self::assertTrue(Php::run(<<<'PHP'
            $server = stream_socket_server('tcp://' . ini_get('push.listen'));
            $refused = push_ping();
            fclose($server);
            Push\Tests\Support\Wait::until(fn () => push_ping(), 'the hub starts');
            return !$refused && push_hub_address() === ini_get('push.listen');
            PHP, ['push.listen' => '127.0.0.1:' . Machine::freePort()] + self::INI));
    }

    public function testFpmRefusesItAtItsStartAndServes(): void
    {
        $fpm = FpmPool::start(['push.mode' => 'embedded']);
        $text = 'push.mode = "embedded": php-fpm forks its workers, and threads do not survive a fork; leave push.mode at attach';
        self::assertStringContainsString("push: no hub was started: $text", $fpm->log());
        $said = $fpm->run('try { push_hub_address(); } catch (Push\Exception\HubUnavailable $e) { return $e->getMessage(); }');
        self::assertStringContainsString($text, $said);
        self::assertFalse($fpm->run('return push_ping();'));
        $fpm->stop();
    }

    /** @param array<string, string> $environment */
    private static function web(string $script, array $environment = []): array
    {
        $directory = Directory::make('web');
        file_put_contents("$directory/index.php", $script);
        $address = '127.0.0.1:' . Machine::freePort();
        $command = [PHP_BINARY, '-n', '-d', 'extension=' . getenv('PUSH_EXTENSION')];
        foreach (self::INI as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        $environment += getenv();
        $program = Program::start([...$command, '-S', $address, '-t', $directory], "$directory/output", $environment);
        Wait::until(static fn (): bool => (bool) @stream_socket_client("tcp://$address"), 'php -S listens');

        return [$program, $address];
    }

    private static function page(string $address, string $query): string
    {
        return (string) file_get_contents("http://$address/?$query", false, stream_context_create(['http' => ['ignore_errors' => true]]));
    }

    public function testTheBuiltInWebServerIsItsOwnPushServer(): void
    {
        [$program, $web] = self::web(<<<'PHP'
            <?php
            parse_str($_SERVER['QUERY_STRING'], $query);
            echo match ($query['do']) {
                'start' => json_encode(['address' => push_hub_address(), 'channel' => create_channel(), 'position' => push_position()]),
                'count' => push_channel_info($query['channel'])->subscribers,
                'publish' => push_publish($query['channel'], ['text' => $query['text']])->subscribers,
            };
            PHP);
        ['address' => $address, 'channel' => $channel, 'position' => $position] = json_decode(self::page($web, 'do=start'), true);
        self::assertSame($address, json_decode(self::page($web, 'do=start'), true)['address'], 'one hub for all requests');
        $subscriber = new Subscriber($address);
        $subscriber->ask("/sub/$channel?position=$position", ['Accept' => 'application/json']);
        Wait::until(static fn (): bool => self::page($web, "do=count&channel=$channel") === '1', 'the subscriber is seated');
        self::assertSame('1', self::page($web, "do=publish&channel=$channel&text=Hello"));
        $answer = $subscriber->answer()->json();
        self::assertSame(['text' => 'Hello'], $answer['messages'][0]['data']);
        $subscriber->ask("/sub/$channel?position={$answer['position']}");
        Wait::until(static fn (): bool => self::page($web, "do=count&channel=$channel") === '1', 'it asks again');
        // Ctrl-C
        $program->signal(SIGINT);
        self::assertSame(304, $subscriber->answer()->status);
        self::assertSame(0, $program->wait(), $program->output());
    }

    public function testTheBuiltInWebServerWithSeveralProcessesIsRefused(): void
    {
        [$program, $web] = self::web(
            '<?php try { push_hub_address(); } catch (Push\Exception\HubUnavailable $e) { echo $e->getMessage(); }',
            ['PHP_CLI_SERVER_WORKERS' => '2'],
        );
        self::assertStringContainsString('push.mode = "embedded": PHP_CLI_SERVER_WORKERS makes several processes', self::page($web, ''));
        // As Ctrl-C does, which goes to all of them.
        $children = explode(' ', trim(file_get_contents("/proc/{$program->pid}/task/{$program->pid}/children")));
        self::assertCount(2, $children);
        array_map(static fn (string $pid): bool => posix_kill((int) $pid, SIGINT), $children);
        $program->end(SIGINT);
    }

    public function testSettingsOfTheHubHold(): void
    {
        $directory = Directory::make('settings');
        $php = self::start('$channel = push_create_channel(name: "ab");' . self::TELL . <<<'PHP'
            $catch = Push\Tests\Support\Thrown::catch(...);
            $thrown = [$catch(fn () => push_publish('abcd', 'x')), $catch(fn () => push_publish('ab', '0123456789x'))];
            while (!push_channel_info('end')) { usleep(1000); }
            return $thrown;
            PHP, [
                'push.max_channel_id_length' => 3,
                'push.max_message_size' => 10,
                'push.admin_listen' => "unix:$directory/admin.sock",
                'push.log' => "$directory/log",
            ]);
        self::address($php);
        Wait::until(static fn (): bool => file_exists("$directory/admin.sock"), 'the admin listener');
        $admin = stream_socket_client("unix://$directory/admin.sock");
        fwrite($admin, "POST /pub?id=end HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\nx");
        self::assertStringStartsWith('HTTP/1.1 200 ', (string) fgets($admin));
        fclose($admin);
        [$name, $data] = $php->result();
        self::assertSame('push_publish(): Argument #1 ($channel) must not be longer than 3 bytes (max_channel_id_length), 4 bytes given', $name->message);
        self::assertSame(\Push\Exception\PayloadTooLarge::class, $data->class);
        self::assertFileDoesNotExist("$directory/admin.sock");
        self::assertFileExists("$directory/log");
    }

    public function testCallsNeedNoMoreMemoryTheMoreThereAre(): void
    {
        [$php, $resident, $threads] = Php::run(<<<'PHP'
            $resident = function (): int {
                preg_match('/^RssAnon:\s+(\d+) kB$/m', file_get_contents('/proc/self/status'), $match);
                return (int) $match[1];
            };
            $channel = create_channel(max_messages: 2);
            $round = function (int $calls) use ($channel) {
                for ($i = 0; $i < $calls; $i++) {
                    push_publish($channel, "text $i", event: 'e');
                    push_publish_async($channel, [$i]);
                    push_history($channel);
                    push_channel_info($channel);
                    push_hub_address();
                    push_delete_channel(create_channel());
                }
            };
            $round(10000);
            [$php, $all] = [0, $resident()];
            [$php, $all] = [memory_get_usage(), $resident()];
            $round(90000);
            return [memory_get_usage() - $php, $resident() - $all, count(glob('/proc/self/task/*'))];
            PHP, self::INI);
        self::assertLessThan(1024, $php);
        self::assertLessThan(1000, $resident, 'KB');
        self::assertSame(3, $threads);
    }

    public function testOpcacheJitAndPreloadingChangeNothing(): void
    {
        $file = Directory::make('preload') . '/preload.php';
        file_put_contents($file, '<?php function say($channel, $i) { return push_publish($channel, ["number" => $i])->id; }');
        [$last, $jit, $address] = Php::run(<<<'PHP'
            for ($i = 1; $i <= 5000; $i++) {
                $last = say('jit', $i);
            }
            return [$last, opcache_get_status()['jit']['on'], push_hub_address()];
            PHP, [
                'zend_extension' => 'opcache', 'opcache.enable_cli' => 1, 'opcache.jit' => 'tracing',
                'opcache.jit_buffer_size' => '32M', 'opcache.preload' => $file,
            ] + (Machine::root() ? ['opcache.preload_user' => Machine::unprivileged()] : []) + self::INI);
        self::assertSame([5000, true], [$last, $jit]);
        self::assertMatchesRegularExpression('~^127\.0\.0\.1:[1-9]\d+$~', $address);
    }

    public function testTheExampleIsItsOwnPushServer(): void
    {
        $directory = Directory::make('example');
        $command = [PHP_BINARY, '-n', '-d', 'extension=' . getenv('PUSH_EXTENSION')];
        if (is_file(ini_get('extension_dir') . '/pcntl.so')) {
            array_push($command, '-d', 'extension=pcntl');
        }
        foreach (self::INI as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        $program = Program::start([...$command, dirname(__DIR__, 3) . '/examples/embedded/clock.php'], "$directory/output");
        $url = Wait::until(
            static fn (): ?string => preg_match('~http://(\S+)~', $program->output(), $match) === 1 ? $match[1] : null,
            "the example tells where it is:\n" . $program->output(),
        );
        [$address, $path] = explode('/', $url, 2);
        $subscriber = new Subscriber($address);
        $position = '0.0';
        $times = [];
        while (count($times) < 3) {
            $subscriber->ask("/$path?position=$position", ['Accept' => 'application/json']);
            $answer = $subscriber->answer()->json();
            self::assertFalse($answer['gap']);
            $position = $answer['position'];
            array_push($times, ...array_column(array_column($answer['messages'], 'data'), 'time'));
        }
        self::assertSame($times, array_unique($times));
        $subscriber->ask("/$path?position=$position", ['Accept' => 'application/json']);
        $program->signal(SIGTERM);
        Wait::until(static fn (): bool => $subscriber->answer()->headers['connection'] === 'close', 'the last answer');
        self::assertSame(0, $program->wait(), $program->output());
    }
}
