--TEST--
Settings that do not go together
--EXTENSIONS--
push
--INI--
push.memory_limit=1m
push.max_message_size=2m
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
Push\Exception\HubUnavailable: no hub: max_message_size is larger than memory_limit: a message must fit into the memory
Push\Exception\HubUnavailable: no hub: max_message_size is larger than memory_limit: a message must fit into the memory
bool(false)
