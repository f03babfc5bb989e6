--TEST--
Values that weak mode cannot convert
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

say(fn() => push_publish([], 'x'));
say(fn() => push_publish(new stdClass, 'x'));
say(fn() => push_publish(STDIN, 'x'));
say(fn() => push_publish('news', 'x', []));
say(fn() => push_publish('news', 'x', null, new stdClass));
say(fn() => push_publish('news', 'x', null, null, 'soon'));
say(fn() => push_publish('news', 'x', null, null, NAN));
say(fn() => push_publish('news', 'x', store: []));
say(fn() => create_channel([]));
say(fn() => create_channel(max_messages: '5 or 6'));
say(fn() => push_delete_channel('news', []));
say(fn() => push_ping('soon'));
?>
--EXPECT--
TypeError: push_publish(): Argument #1 ($channel) must be of type string, array given
TypeError: push_publish(): Argument #1 ($channel) must be of type string, stdClass given
TypeError: push_publish(): Argument #1 ($channel) must be of type string, resource given
TypeError: push_publish(): Argument #3 ($event) must be of type ?string, array given
TypeError: push_publish(): Argument #4 ($event_id) must be of type ?string, stdClass given
TypeError: push_publish(): Argument #5 ($ttl) must be of type ?int, string given
TypeError: push_publish(): Argument #5 ($ttl) must be of type ?int, float given
TypeError: push_publish(): Argument #6 ($store) must be of type bool, array given
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, array given
TypeError: create_channel(): Argument #4 ($max_messages) must be of type ?int, string given
TypeError: push_delete_channel(): Argument #2 ($message) must be of type ?string, array given
TypeError: push_ping(): Argument #1 ($timeout) must be of type float, string given
