--TEST--
What the functions about presence refuse
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

say(fn() => push_presence_online(7, 'a/b'));
say(fn() => push_presence_online(7, ''));
say(fn() => push_presence_online(7, null, ['x' => NAN]));
say(fn() => push_presence_online(7, null, 'nick'));
say(fn() => push_presence_online(7, null, [], 0));
say(fn() => push_presence_online(7, null, [], -1));
say(fn() => push_presence_offline(7, 'ALL'));
say(fn() => push_presence_is_online(7, 'a*'));
say(fn() => push_presence_among([], ''));
say(fn() => push_presence_get(7, ''));
say(fn() => push_presence_members(''));
say(fn() => push_presence_members(limit: 0));
say(fn() => push_presence_members(limit: 10001));
say(fn() => push_presence_members(after: "\xff"));
say(fn() => push_presence_count(''));
say(fn() => push_presence_count([]));
say(fn() => push_presence_online());
say(fn() => push_presence_channels(7, 'news'));
?>
--EXPECT--
ValueError: push_presence_online(): Argument #2 ($channel) must not contain "/", which separates channels in URLs
ValueError: push_presence_online(): Argument #2 ($channel) must not be empty
Push\Exception\EncodingError: Inf and NaN cannot be JSON encoded
TypeError: push_presence_online(): Argument #3 ($info) must be of type array, string given
ValueError: push_presence_online(): Argument #4 ($ttl) must be between 1 and 4294967295
ValueError: push_presence_online(): Argument #4 ($ttl) must be between 1 and 4294967295
ValueError: push_presence_offline(): Argument #2 ($channel) must not be "ALL" or contain "*", these mean several channels
ValueError: push_presence_is_online(): Argument #2 ($channel) must not be "ALL" or contain "*", these mean several channels
ValueError: push_presence_among(): Argument #2 ($channel) must not be empty
ValueError: push_presence_get(): Argument #2 ($channel) must not be empty
ValueError: push_presence_members(): Argument #1 ($channel) must not be empty
ValueError: push_presence_members(): Argument #2 ($limit) must be between 1 and 10000
ValueError: push_presence_members(): Argument #2 ($limit) must be between 1 and 10000
ValueError: push_presence_members(): Argument #3 ($after) must be valid UTF-8
ValueError: push_presence_count(): Argument #1 ($channel) must not be empty
TypeError: push_presence_count(): Argument #1 ($channel) must be of type ?string, array given
ArgumentCountError: push_presence_online() expects at least 1 argument, 0 given
ArgumentCountError: push_presence_channels() expects exactly 1 argument, 2 given
