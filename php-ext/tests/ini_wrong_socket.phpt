--TEST--
A socket needs an absolute path
--EXTENSIONS--
push
--INI--
push.socket=hub.sock
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
Push\Exception\HubUnavailable: no hub: push.socket = "hub.sock": allowed is an absolute path of at most 92 bytes
Push\Exception\HubUnavailable: no hub: push.socket = "hub.sock": allowed is an absolute path of at most 92 bytes
bool(false)
