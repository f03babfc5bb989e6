--TEST--
Conversions that PHP calls deprecated
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

say(fn() => push_publish(null, 'x'));
say(fn() => push_publish('news', 'x', null, null, -60.5));
say(fn() => push_ping(null));
?>
--EXPECTF--
Deprecated: push_publish(): Passing null to parameter #1 ($channel) of type string is deprecated in %s on line %d
ValueError: push_publish(): Argument #1 ($channel) must not be empty

Deprecated: Implicit conversion from float -60.5 to int loses precision in %s on line %d
ValueError: push_publish(): Argument #5 ($ttl) must be between 1 and 4294967295

Deprecated: push_ping(): Passing null to parameter #1 ($timeout) of type float is deprecated in %s on line %d
ValueError: push_ping(): Argument #1 ($timeout) must be greater than 0 and at most 3600
