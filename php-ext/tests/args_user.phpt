--TEST--
The user of a channel
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
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

say(fn() => create_channel(''));
say(fn() => create_channel("\xff"));
say(fn() => create_channel(new stdClass));
say(fn() => create_channel(STDIN));
?>
--EXPECT--
ValueError: create_channel(): Argument #1 ($user) must not be empty
ValueError: create_channel(): Argument #1 ($user) must be valid UTF-8
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, stdClass given
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, resource given
