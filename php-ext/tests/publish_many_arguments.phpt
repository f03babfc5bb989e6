--TEST--
push_publish_many() takes messages and nothing else
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

say(fn() => push_publish_many());
say(fn() => push_publish_many('news'));
say(fn() => push_publish_many(['news']));
say(fn() => push_publish_many([new Push\Message('news', 'x'), new stdClass]));
say(fn() => push_publish_many([new Push\Message('news', NAN)]));
?>
--EXPECT--
ArgumentCountError: push_publish_many() expects exactly 1 argument, 0 given
TypeError: push_publish_many(): Argument #1 ($messages) must be of type array, string given
TypeError: push_publish_many(): Argument #1 ($messages) must contain only Push\Message objects, string given as element 0
TypeError: push_publish_many(): Argument #1 ($messages) must contain only Push\Message objects, stdClass given as element 1
Push\Exception\EncodingError: Inf and NaN cannot be JSON encoded
