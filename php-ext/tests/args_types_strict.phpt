--TEST--
Strict mode converts nothing but int to float
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
declare(strict_types=1);

function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

say(fn() => push_publish(7, 'x'));
say(fn() => push_publish(1.5, 'x'));
say(fn() => push_publish(null, 'x'));
say(fn() => push_publish('news', 'x', 7));
say(fn() => push_publish('news', 'x', null, null, '60'));
say(fn() => push_publish('news', 'x', null, null, 60.0));
say(fn() => push_publish('news', 'x', store: 1));
say(fn() => create_channel(1.0));
say(fn() => push_channel_info(new class { public function __toString(): string { return 'news'; } }) );
say(fn() => push_ping('0.2'));
say(fn() => push_ping(1));
?>
--EXPECTF--
TypeError: push_publish(): Argument #1 ($channel) must be of type string, int given
TypeError: push_publish(): Argument #1 ($channel) must be of type string, float given
TypeError: push_publish(): Argument #1 ($channel) must be of type string, null given
TypeError: push_publish(): Argument #3 ($event) must be of type ?string, int given
TypeError: push_publish(): Argument #5 ($ttl) must be of type ?int, string given
TypeError: push_publish(): Argument #5 ($ttl) must be of type ?int, float given
TypeError: push_publish(): Argument #6 ($store) must be of type bool, int given
TypeError: create_channel(): Argument #1 ($user) must be of type string|int|null, float given
TypeError: push_channel_info(): Argument #1 ($channel) must be of type string, %s given
TypeError: push_ping(): Argument #1 ($timeout) must be of type float, string given
bool(false)
