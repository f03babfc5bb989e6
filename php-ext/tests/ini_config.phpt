--TEST--
Settings come from the file of push.config
--EXTENSIONS--
push
--INI--
push.config={PWD}/right.toml
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
?>
--EXPECT--
Push\Exception\HubUnavailable: there is no hub at /nowhere/hub.sock: start push-hub, or set push.socket to the path of its socket
