<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** A reload of FPM with something changed: the hub goes over to the next one, and nobody loses anything. */
final class HandoverTest extends TestCase
{
    private string $directory;
    private ?FpmPool $fpm = null;

    protected function setUp(): void
    {
        $this->directory = Directory::make('fpm');
        file_put_contents("{$this->directory}/push.toml", "message_ttl = '10m'\n");
    }

    protected function tearDown(): void
    {
        if ($this->fpm !== null && Machine::runs($this->fpm->pid())) {
            $this->fpm->stop();
        }
    }

    /** @param array<string, string> $ini */
    private function start(bool $daemonize = false, array $ini = []): FpmPool
    {
        $ini += ['push.config' => "{$this->directory}/push.toml", 'push.linger' => '5s'];

        return $this->fpm = FpmPool::start($ini, [], $daemonize, $this->directory);
    }

    private static function hub(FpmPool $fpm): int
    {
        return $fpm->run('return push_status()["pid"];');
    }

    /** A script that publishes as long as $directory/going is there, on the connection of its first call; and its count. */
    private function script(FpmPool $fpm): Php
    {
        touch("{$this->directory}/going");
        $going = var_export("{$this->directory}/going", true);
        $script = Php::start(<<<PHP
            for (\$count = 0; file_exists($going); \$count++) {
                clearstatcache();
                if (push_publish('script', (string) \$count)->id !== \$count + 1) {
                    return "not message \$count";
                }
                usleep(1000);
            }
            return \$count;
            PHP, ['push.socket' => $fpm->socket, 'push.timeout' => '5s']);
        $published = 'return push_channel_info("script")?->published ?? 0;';
        Wait::until(static fn (): bool => $fpm->run($published) > 10, 'the script publishes');

        return $script;
    }

    private function assertScriptLostNothing(FpmPool $fpm, Php $script): void
    {
        unlink("{$this->directory}/going");
        $count = $script->result();
        self::assertIsInt($count, json_encode($count) . $script->output());
        self::assertSame($count, $fpm->run('return push_channel_info("script")->published;'));
        $last = $fpm->run('return array_column(push_history("script", null, 1000), "data");');
        self::assertSame(array_map('strval', range($count - count($last), $count - 1)), $last);
    }

    /** @return iterable<string, array{bool}> */
    public function daemonize(): iterable
    {
        yield 'in the foreground' => [false];
        yield 'as a daemon' => [true];
    }

    /** @dataProvider daemonize */
    public function testAReloadWithAnotherConfigurationHandsTheHubOver(bool $daemonize): void
    {
        $fpm = $this->start($daemonize);
        $hub = self::hub($fpm);
        $channel = $fpm->run('return create_channel();');
        self::assertSame(1, $fpm->run("return push_publish('$channel', 'before')->id;"));
        $subscriber = new Subscriber($fpm->address);
        $subscriber->ask("/sub/$channel");
        $seated = "return push_channel_info('$channel')->subscribers;";
        Wait::until(static fn (): bool => $fpm->run($seated) === 1, 'the subscriber is seated');
        $script = $this->script($fpm);

        file_put_contents("{$this->directory}/push.toml", "message_ttl = '20m'\nmax_message_size = '1k'\n");
        $fpm->reload();
        self::assertNotSame($hub, self::hub($fpm), $fpm->log());
        self::assertStringContainsString('push: a new hub has taken the place of the one before', $fpm->log());
        // Who waited has its position, and goes on from there on the same connection.
        $answer = $subscriber->answer();
        self::assertSame(304, $answer->status);
        self::assertSame(2, $fpm->run("return push_publish('$channel', 'after')->id;"));
        $subscriber->ask("/sub/$channel?position=" . $answer->position());
        self::assertSame('after', $subscriber->answer()->body);
        // The new limit holds.
        $refused = $fpm->run("return push_publish('$channel', str_repeat('x', 2000));");
        self::assertStringContainsString('max_message_size', $refused['message']);
        Wait::until(static fn (): bool => !Machine::runs($hub), "the old hub ends:\n" . $fpm->log());
        $this->assertScriptLostNothing($fpm, $script);
    }

    public function testAConfigurationThatCannotBeUsedLeavesTheHubAsItIs(): void
    {
        $fpm = $this->start();
        $hub = self::hub($fpm);
        $wrong = ["message_ttl = 'long'\n" => 'message_ttl', "socket_group = 'no-such-group'\n" => 'no-such-group'];
        foreach ($wrong as $toml => $named) {
            file_put_contents("{$this->directory}/push.toml", $toml);
            $fpm->reload();
            self::assertSame($hub, self::hub($fpm), $fpm->log());
            self::assertMatchesRegularExpression('/push: the running hub goes on.*' . preg_quote($named) . '/', $fpm->log());
            self::assertIsInt($fpm->run('return push_publish("c", "x")->id;'));
        }
    }

    public function testAnUpgradeHandsTheHubOver(): void
    {
        $own = phpversion('push') ?: self::fail('the tests run with the extension');
        $next = substr($own, 0, -1) . (str_ends_with($own, '9') ? '8' : '9');
        $files = ['extension' => "{$this->directory}/push.so", 'push.hub' => "{$this->directory}/push-hub"];
        $sources = ['extension' => getenv('PUSH_EXTENSION'), 'push.hub' => getenv('PUSH_HUB')];
        foreach ($files as $key => $file) {
            copy($sources[$key], $file);
            chmod($file, 0755);
        }
        $fpm = $this->start(false, $files);
        $hub = self::hub($fpm);
        $script = $this->script($fpm);
        // The next build, put in place as packages are: a renamed file. Only its number is another.
        foreach ($files as $file) {
            $from = preg_quote($own, '/');
            $sed = 'LC_ALL=C sed ' . escapeshellarg("s/$from/$next/g");
            exec("$sed $file > $file.new && chmod 755 $file.new && mv $file.new $file", $output, $code);
            self::assertSame(0, $code);
        }
        $fpm->reload();
        $status = $fpm->run('return push_status();');
        self::assertNotSame($hub, $status['pid'], $fpm->log());
        self::assertSame($next, $status['version']);
        self::assertStringContainsString("it is version $own, this is $next", $fpm->log());
        $this->assertScriptLostNothing($fpm, $script);
    }
}
