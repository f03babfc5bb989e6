--TEST--
push.socket names something that is no socket
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-file
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

touch(ini_get('push.socket'));
say(fn() => push_position());
unlink(ini_get('push.socket'));
?>
--EXPECTF--
Push\Exception\HubUnavailable: %s/push-phpt-file is no socket: set push.socket to the path of the hub's socket
