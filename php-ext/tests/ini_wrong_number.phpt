--TEST--
A number out of range is named with its key and the range
--EXTENSIONS--
push
--INI--
push.threads=65
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
say(fn() => push_position());
say(fn() => push_publish('news', 'x'));
say(fn() => push_ping());
?>
--EXPECT--
Push\Exception\HubUnavailable: no hub: push.threads = "65": allowed is a number from 1 to 64
Push\Exception\HubUnavailable: no hub: push.threads = "65": allowed is a number from 1 to 64
bool(false)
