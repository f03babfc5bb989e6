--TEST--
A wrong size is named with its key and what is allowed
--EXTENSIONS--
push
--INI--
push.memory_limit=lots
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
Push\Exception\HubUnavailable: no hub: push.memory_limit = "lots": allowed is a size such as 500, 32k or 1m, 1m to 1024g
Push\Exception\HubUnavailable: no hub: push.memory_limit = "lots": allowed is a size such as 500, 32k or 1m, 1m to 1024g
bool(false)
