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
foreach ([push_presence_online(...), push_presence_offline(...), push_presence_is_online(...), push_presence_get(...), push_presence_channels(...)] as $function) {
    say(fn() => $function(''));
    say(fn() => $function("\xff"));
    say(fn() => $function([]));
}
say(fn() => push_presence_among(['ann', 7, '']));
say(fn() => push_presence_among(["\xff"]));
say(fn() => push_presence_among(['ann', 1.5]));
say(fn() => push_presence_among([null]));
say(fn() => push_presence_among('ann'));
?>
--EXPECT--
ValueError: create_channel(): Argument #1 ($user) must not be empty
ValueError: create_channel(): Argument #1 ($user) must be valid UTF-8
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, stdClass given
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, resource given
ValueError: push_presence_online(): Argument #1 ($user) must not be empty
ValueError: push_presence_online(): Argument #1 ($user) must be valid UTF-8
TypeError: push_presence_online(): Argument #1 ($user) must be of type string|int, array given
ValueError: push_presence_offline(): Argument #1 ($user) must not be empty
ValueError: push_presence_offline(): Argument #1 ($user) must be valid UTF-8
TypeError: push_presence_offline(): Argument #1 ($user) must be of type string|int, array given
ValueError: push_presence_is_online(): Argument #1 ($user) must not be empty
ValueError: push_presence_is_online(): Argument #1 ($user) must be valid UTF-8
TypeError: push_presence_is_online(): Argument #1 ($user) must be of type string|int, array given
ValueError: push_presence_get(): Argument #1 ($user) must not be empty
ValueError: push_presence_get(): Argument #1 ($user) must be valid UTF-8
TypeError: push_presence_get(): Argument #1 ($user) must be of type string|int, array given
ValueError: push_presence_channels(): Argument #1 ($user) must not be empty
ValueError: push_presence_channels(): Argument #1 ($user) must be valid UTF-8
TypeError: push_presence_channels(): Argument #1 ($user) must be of type string|int, array given
ValueError: push_presence_among(): Argument #1 ($users) element 2 must not be empty
ValueError: push_presence_among(): Argument #1 ($users) element 0 must be valid UTF-8
TypeError: push_presence_among(): Argument #1 ($users) must contain only values of type string|int, float given as element 1
TypeError: push_presence_among(): Argument #1 ($users) must contain only values of type string|int, null given as element 0
TypeError: push_presence_among(): Argument #1 ($users) must be of type array, string given
