--TEST--
Named and unpacked arguments
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

say(fn() => push_publish(data: 'x'));
say(fn() => push_publish('news', 'x', channel: 'other'));
say(fn() => push_publish('news', 'x', evnt: 'e'));
say(fn() => push_publish(...['channel' => 'news', 'data' => 'x', 'ttl' => 0]));
say(fn() => push_publish(...['news', 'x', '']));
say(fn() => create_channel(name: ''));
?>
--EXPECT--
ArgumentCountError: push_publish(): Argument #1 ($channel) not passed
Error: Named parameter $channel overwrites previous argument
Error: Unknown named parameter $evnt
ValueError: push_publish(): Argument #5 ($ttl) must be between 1 and 4294967295
ValueError: push_publish(): Argument #3 ($event) must not be empty
ValueError: create_channel(): Argument #2 ($name) must not be empty
