--TEST--
A switch is on or off
--EXTENSIONS--
push
--INI--
push.store_messages=maybe
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
Push\Exception\HubUnavailable: no hub: push.store_messages = "maybe": allowed is on or off
Push\Exception\HubUnavailable: no hub: push.store_messages = "maybe": allowed is on or off
bool(false)
