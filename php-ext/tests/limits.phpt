--TEST--
Limits of the hub: channels, and the length of names
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-limits/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

start_hub('--max-number-of-channels', '2', '--max-channel-id-length', '10');
var_dump(push_publish('a', 'x')->id, push_publish('b', 'x')->id, push_publish('a', 'x')->id);
say(fn() => push_publish('c', 'x'));
say(fn() => create_channel(name: 'c'));
say(fn() => push_publish('abcdefghijk', 'x'));
push_delete_channel('a');
var_dump(push_publish('c', 'x')->id);
?>
--EXPECT--
int(1)
int(1)
int(2)
Push\Exception\LimitExceeded: there are as many channels as max_number_of_channels allows (2)
Push\Exception\LimitExceeded: there are as many channels as max_number_of_channels allows (2)
ValueError: push_publish(): Argument #1 ($channel) must not be longer than 10 bytes (max_channel_id_length), 11 bytes given
int(1)
