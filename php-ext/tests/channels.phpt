--TEST--
Channels in the order of their names, page by page
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-channels/hub.sock
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

start_hub();
foreach (['b', 'room-2', 'room-10', 'room-1'] as $name) {
    push_create_channel(name: $name);
}
$names = fn(array $channels): string => implode(' ', array_column($channels, 'name'));
var_dump($names(push_channels()), $names(push_channels('room-')), $names(push_channels('room-', 1, 'room-1')), push_channels('none'));
var_dump(push_channels('b')[0] == push_channel_info('b'));
say(fn() => push_channels(limit: 0));
say(fn() => push_channels(limit: 10001));
?>
--EXPECT--
string(23) "b room-1 room-10 room-2"
string(21) "room-1 room-10 room-2"
string(7) "room-10"
array(0) {
}
bool(true)
ValueError: push_channels(): Argument #2 ($limit) must be between 1 and 10000
ValueError: push_channels(): Argument #2 ($limit) must be between 1 and 10000
