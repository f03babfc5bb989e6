--TEST--
A wrong time is named with its key and what is allowed
--EXTENSIONS--
push
--INI--
push.timeout=never
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
Push\Exception\HubUnavailable: no hub: push.timeout = "never": allowed is a time such as 250ms, 30s or 5m, 1ms to 1d
Push\Exception\HubUnavailable: no hub: push.timeout = "never": allowed is a time such as 250ms, 30s or 5m, 1ms to 1d
bool(false)
