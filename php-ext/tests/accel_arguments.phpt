--TEST--
What push_accel() refuses, and that there is nothing to hand over on the command line
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

say(fn() => push_accel());
say(fn() => push_accel([]));
say(fn() => push_accel(''));
say(fn() => push_accel(['a', '']));
say(fn() => push_accel('a/b'));
say(fn() => push_accel("a\0"));
say(fn() => push_accel('news.*'));
say(fn() => push_accel('ALL'));
say(fn() => push_accel("\xff"));
say(fn() => push_accel(str_repeat('x', 1025)));
say(fn() => push_accel(['a', 7]));
say(fn() => push_accel(new stdClass()));
say(fn() => push_accel('a', ''));
say(fn() => push_accel('a', "\xff"));
say(fn() => push_accel('a', "7\r\nX-Push-Identity: 8"));
say(fn() => push_accel('a', str_repeat('x', 256)));
say(fn() => push_accel('a', []));
say(fn() => push_accel('a', 7, 'nick'));
say(fn() => push_accel('a', 7, ['x' => NAN]));
say(fn() => push_accel('a', 7, ['x' => str_repeat('y', 2048)]));
say(fn() => push_accel('a', null, ['nick' => 'Ann']));
say(fn() => push_accel(array_fill(0, 10, str_repeat('x', 1024))));
// Nothing is wrong with these.
say(fn() => push_accel('a', 7, ['nick' => 'Ann']));
say(fn() => push_accel(['a.b3', "line\r\nbreak", 'grüße', '50%'], 'ann', ['Ann', 'x' => "\r\n"]));
say(fn() => push_accel(12, null));
var_dump(headers_list());
?>
--EXPECT--
ArgumentCountError: push_accel() expects at least 1 argument, 0 given
ValueError: push_accel(): Argument #1 ($channels) must not be empty
ValueError: push_accel(): Argument #1 ($channels) must not be empty
ValueError: push_accel(): Argument #1 ($channels) must not be empty
ValueError: push_accel(): Argument #1 ($channels) must not contain "/", which separates channels in URLs
ValueError: push_accel(): Argument #1 ($channels) must not contain any null bytes
ValueError: push_accel(): Argument #1 ($channels) must not be "ALL" or contain "*", these mean several channels
ValueError: push_accel(): Argument #1 ($channels) must not be "ALL" or contain "*", these mean several channels
ValueError: push_accel(): Argument #1 ($channels) must be valid UTF-8
ValueError: push_accel(): Argument #1 ($channels) must not be longer than 1024 bytes (max_channel_id_length), 1025 bytes given
TypeError: push_accel(): Argument #1 ($channels) must contain only values of type string, int given as element 1
TypeError: push_accel(): Argument #1 ($channels) must be of type array|string, stdClass given
ValueError: push_accel(): Argument #2 ($user) must not be empty
ValueError: push_accel(): Argument #2 ($user) must be valid UTF-8
ValueError: the user must not contain control characters
ValueError: the user has 256 bytes, allowed are 255
TypeError: push_accel(): Argument #2 ($user) must be of type string|int|null, array given
TypeError: push_accel(): Argument #3 ($info) must be of type array, string given
Push\Exception\EncodingError: Inf and NaN cannot be JSON encoded
ValueError: info has 2056 bytes as JSON, allowed are 2048
ValueError: info is about a user, and none is given
ValueError: channels, user and info together have 10284 bytes as JSON, and a header of 6144 passes nginx safely: name fewer channels, or give less info
Error: push_accel(): there is no HTTP request to hand over: PHP runs on the command line
Error: push_accel(): there is no HTTP request to hand over: PHP runs on the command line
Error: push_accel(): there is no HTTP request to hand over: PHP runs on the command line
array(0) {
}
