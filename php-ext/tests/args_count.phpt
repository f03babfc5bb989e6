--TEST--
Too few and too many arguments
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

say(fn() => push_publish());
say(fn() => push_publish('news'));
say(fn() => push_publish('news', 'x', null, null, null, true, null, 'more'));
say(fn() => push_channel_info());
say(fn() => push_position(1));
say(fn() => push_ping(1, 2));
say(fn() => create_channel(1, 'n', 1, 1, 1, true, 1));
?>
--EXPECT--
ArgumentCountError: push_publish() expects at least 2 arguments, 0 given
ArgumentCountError: push_publish() expects at least 2 arguments, 1 given
ArgumentCountError: push_publish() expects at most 7 arguments, 8 given
ArgumentCountError: push_channel_info() expects exactly 1 argument, 0 given
ArgumentCountError: push_position() expects exactly 0 arguments, 1 given
ArgumentCountError: push_ping() expects at most 1 argument, 2 given
ArgumentCountError: create_channel() expects at most 6 arguments, 7 given
