--TEST--
Numbers out of range
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

foreach ([0, -1, PHP_INT_MAX] as $number) {
    say(fn() => push_publish('news', 'x', ttl: $number));
}
say(fn() => create_channel(ttl: 0));
say(fn() => create_channel(max_messages: -5));
say(fn() => create_channel(message_ttl: 1 << 32));
foreach ([0, -1.5, NAN, INF, 3601] as $seconds) {
    say(fn() => push_ping($seconds));
}
?>
--EXPECT--
ValueError: push_publish(): Argument #5 ($ttl) must be between 1 and 4294967295
ValueError: push_publish(): Argument #5 ($ttl) must be between 1 and 4294967295
ValueError: push_publish(): Argument #5 ($ttl) must be between 1 and 4294967295
ValueError: create_channel(): Argument #3 ($ttl) must be between 1 and 4294967295
ValueError: create_channel(): Argument #4 ($max_messages) must be between 1 and 4294967295
ValueError: create_channel(): Argument #5 ($message_ttl) must be between 1 and 4294967295
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
