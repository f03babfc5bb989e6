--TEST--
What push_token() and push_disconnect() refuse
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

say(fn() => push_token());
say(fn() => push_token([]));
say(fn() => push_token(''));
say(fn() => push_token(['a', '']));
say(fn() => push_token('a/b'));
say(fn() => push_token(['a/*']));
say(fn() => push_token('a*b'));
say(fn() => push_token('ALL'));
say(fn() => push_token("\xff"));
say(fn() => push_token(['a', 7]));
say(fn() => push_token(new stdClass()));
say(fn() => push_token('a', ''));
say(fn() => push_token('a', 7, 0));
say(fn() => push_token('a', 7, 2592001));
say(fn() => push_token('a', 7, -1));
say(fn() => push_token('a', 7, 60, 'nick'));
say(fn() => push_token('a', 7, 60, ['x' => NAN]));
say(fn() => push_disconnect());
say(fn() => push_disconnect(reason: 'x', revoke: true));
say(fn() => push_disconnect(''));
say(fn() => push_disconnect(channel: ''));
say(fn() => push_disconnect(7, 'a*'));
say(fn() => push_disconnect(7, null, str_repeat('x', 124)));
say(fn() => push_disconnect(7, null, "a\nb"));
say(fn() => push_disconnect(7, null, "\xff"));
?>
--EXPECT--
ArgumentCountError: push_token() expects at least 1 argument, 0 given
ValueError: push_token(): Argument #1 ($channels) must not be empty
ValueError: push_token(): Argument #1 ($channels) must not be empty
ValueError: push_token(): Argument #1 ($channels) must not be empty
ValueError: push_token(): Argument #1 ($channels) must not contain "/", which separates channels in URLs
ValueError: push_token(): Argument #1 ($channels) must not contain "/", which separates channels in URLs
ValueError: push_token(): Argument #1 ($channels) must name channels, or what they begin with and "*" ("news.*"); "ALL" is no channel
ValueError: push_token(): Argument #1 ($channels) must name channels, or what they begin with and "*" ("news.*"); "ALL" is no channel
ValueError: push_token(): Argument #1 ($channels) must be valid UTF-8
TypeError: push_token(): Argument #1 ($channels) must contain only values of type string, int given as element 1
TypeError: push_token(): Argument #1 ($channels) must be of type array|string, stdClass given
ValueError: push_token(): Argument #2 ($user) must not be empty
ValueError: push_token(): Argument #3 ($ttl) must be between 1 and 2592000
ValueError: push_token(): Argument #3 ($ttl) must be between 1 and 2592000
ValueError: push_token(): Argument #3 ($ttl) must be between 1 and 2592000
TypeError: push_token(): Argument #4 ($info) must be of type array, string given
Push\Exception\EncodingError: Inf and NaN cannot be JSON encoded
ValueError: push_disconnect(): Argument #1 ($user) or #2 ($channel) must be given, else everybody would be disconnected
ValueError: push_disconnect(): Argument #1 ($user) or #2 ($channel) must be given, else everybody would be disconnected
ValueError: push_disconnect(): Argument #1 ($user) must not be empty
ValueError: push_disconnect(): Argument #2 ($channel) must not be empty
ValueError: push_disconnect(): Argument #2 ($channel) must not be "ALL" or contain "*", these mean several channels
ValueError: push_disconnect(): Argument #3 ($reason) must not be longer than 123 bytes, 124 bytes given
ValueError: push_disconnect(): Argument #3 ($reason) must be one line without control characters
ValueError: push_disconnect(): Argument #3 ($reason) must be valid UTF-8
