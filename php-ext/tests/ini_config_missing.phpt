--TEST--
push.config names a file that is not there
--EXTENSIONS--
push
--INI--
push.config={PWD}/missing.toml
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
--EXPECTF--
Push\Exception\HubUnavailable: no hub: push.config: %s/missing.toml: No such file or directory (os error 2)
Push\Exception\HubUnavailable: no hub: push.config: %s/missing.toml: No such file or directory (os error 2)
bool(false)
