<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Php;

/** A process that calls for ever stays as large as it was. */
final class MemoryTest extends TestCase
{
    /** @return iterable<string, array{string}> what is called again and again; $i counts, $c is a channel with a message of each kind */
    public function calls(): iterable
    {
        yield 'push_publish' => ['push_publish($c, "text", event: "e$i", event_id: "i$i")'];
        yield 'push_publish, JSON' => ['push_publish($c, ["number" => $i])'];
        yield 'push_publish, deduplicated' => ['push_publish($c, "text", dedupe: "key" . $i % 100)'];
        yield 'push_publish_async' => ['push_publish_async($c, "text $i")'];
        yield 'push_publish_many' => ['push_publish_many([new Push\Message($c, "text $i"), new Push\Message($c, [$i])])'];
        yield 'channels made and deleted' => ['push_delete_channel(create_channel($i, max_messages: 1), "gone")'];
        yield 'push_create_channel' => ['push_create_channel(name: "one")'];
        yield 'push_channel_info' => ['push_channel_info($c)'];
        yield 'push_clear_channel' => ['push_clear_channel("one")'];
        yield 'push_channels' => ['push_channels($c, limit: 1)'];
        yield 'push_history' => ['push_history($c, limit: 1)'];
        yield 'push_history, both kinds' => ['push_history($c, limit: 2)'];
        yield 'push_position' => ['push_position()'];
        yield 'push_presence_online' => ['push_presence_online($i % 100, $c, ["number" => $i])'];
        yield 'push_presence_offline' => ['push_presence_offline($i % 100, $c)'];
        yield 'push_presence_is_online' => ['push_presence_is_online(7, "one")'];
        yield 'push_presence_among' => ['push_presence_among([7, "8"], "one")'];
        yield 'push_presence_get' => ['push_presence_get(7, "one")'];
        yield 'push_presence_members' => ['push_presence_members("one")'];
        yield 'push_presence_count' => ['push_presence_count("one")'];
        yield 'push_presence_channels' => ['push_presence_channels(7)'];
        yield 'push_hub_address' => ['push_hub_address()'];
        yield 'push_status' => ['push_status()'];
        yield 'push_ping' => ['push_ping()'];
        yield 'messages as values' => [
            'unserialize(serialize(Push\Message::__set_state((array) new Push\Message($c, [$i], "e$i"))))',
        ];
        foreach ([
            'a wrong argument' => 'push_publish("a/$i", "x")',
            'a wrong type' => 'push_publish([], "x")',
            'a wrong element' => 'push_publish_many([new Push\Message($c, [$i]), $i])',
            'wrong data' => 'push_publish($c, ["a$i", NAN])',
            'wrong data in a batch' => 'push_publish_many([new Push\Message($c, [$i]), new Push\Message($c, [NAN])])',
            'wrong users' => 'push_presence_among([$i, ""])',
            'wrong info' => 'push_presence_online($i, null, ["a$i" => NAN])',
            'refused by the hub' => 'push_publish($long, "x")',
            'a second constructor' => '$message->__construct("x$i", 1)',
            'an invalid state' => 'Push\Message::__set_state(["channel" => "c$i"])',
        ] as $what => $call) {
            yield $what => ["(function () use (\$c, \$i, \$long, \$message) { try { $call; } catch (Throwable) { return; } exit(9); })()"];
        }
    }

    /** @dataProvider calls */
    public function testCallsNeedNoMoreMemoryTheMoreThereAre(string $call): void
    {
        [$calls, $php, $resident] = Php::run(<<<PHP
            \$resident = function (): int {
                preg_match('/^RssAnon:\\s+(\\d+) kB$/m', file_get_contents('/proc/self/status'), \$match);
                return (int) \$match[1];
            };
            \$c = create_channel(max_messages: 2);
            push_publish_many([new Push\\Message(\$c, 'text'), new Push\\Message(\$c, ['json' => [1, null]])]);
            push_create_channel(name: 'one');
            push_presence_online(7, 'one', ['nick' => 'Ann'], 3600);
            \$long = str_repeat('x', 256);
            \$message = new Push\\Message(\$c, 1);
            // The first tenth makes what is made once, such as the rings and the allocator's arenas.
            \$round = function (int \$calls, float \$seconds) use (\$c, \$long, \$message): int {
                \$deadline = microtime(true) + \$seconds;
                for (\$i = 0; \$i < \$calls && (\$i % 256 || microtime(true) < \$deadline); \$i++) {
                    $call;
                }
                return \$i;
            };
            \$round(10000, 0.1);
            // Measuring for the first time needs memory, too.
            [\$php, \$all] = [0, \$resident()];
            [\$php, \$all] = [memory_get_usage(), \$resident()];
            \$calls = \$round(90000, 1.0);
            return [\$calls, memory_get_usage() - \$php, \$resident() - \$all];
            PHP, ['push.socket' => Hub::shared()->socket]);
        self::assertGreaterThan(1000, $calls);
        self::assertLessThan(1024, $php, "bytes of PHP after $calls calls");
        self::assertLessThan(400, $resident, "KB of the process after $calls calls");
    }
}
