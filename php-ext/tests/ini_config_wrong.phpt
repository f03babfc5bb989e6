--TEST--
An error in the file of push.config is named with file, line and the key that was meant
--EXTENSIONS--
push
--INI--
push.config={PWD}/wrong.toml
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
Push\Exception\HubUnavailable: no hub: push.config: %s/wrong.toml:3: there is no key "thread"; did you mean threads?
Push\Exception\HubUnavailable: no hub: push.config: %s/wrong.toml:3: there is no key "thread"; did you mean threads?
bool(false)
