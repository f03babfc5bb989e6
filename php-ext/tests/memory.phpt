--TEST--
Calls leave no memory behind
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-memory/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$call = function (): void {
    push_publish('news', ['text' => 'x'], 'event', 'id', 60);
    push_publish_async('news', 'x');
    push_publish_many([new Push\Message('many', ['text' => 'x']), new Push\Message('many', 'y')]);
    push_channel_info('news');
    push_channels('', 1);
    push_history('many', null, 1);
    push_clear_channel('many');
    push_delete_channel(create_channel('ann'));
    push_token(['news', 'many.*'], 7, 60, ['nick' => 'Ann', 'tags' => [1, 2]], true);
    push_token('news');
    push_disconnect(7, 'news', 'bye');
    push_presence_online(7, 'news', ['nick' => 'Ann', 'tags' => [1, 2]]);
    push_presence_is_online(7, 'news');
    push_presence_among([7, '8'], 'news');
    push_presence_get(7, 'news');
    push_presence_members('news');
    push_presence_count('news');
    push_presence_channels(7);
    push_presence_offline(7, 'news');
    push_status();
    push_position();
    try {
        push_accel(['news', 'many'], 7, ['nick' => 'Ann', 'tags' => [1, 2]]);
    } catch (Error) {
    }
    try {
        push_publish('', 'x');
    } catch (ValueError) {
    }
    try {
        push_presence_among([7, ''], 'news');
    } catch (ValueError) {
    }
};
for ($i = 0; $i < 100; $i++) {
    $call();
}
$before = memory_get_usage();
for ($i = 0; $i < 1000; $i++) {
    $call();
}
var_dump(memory_get_usage() - $before);
?>
--EXPECT--
int(0)
