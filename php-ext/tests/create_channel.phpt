--TEST--
Channels: unguessable names, given names, owners
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-create_channel/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$names = [];
for ($i = 0; $i < 100; $i++) {
    $names[] = create_channel();
}
var_dump(count(array_unique($names)), count(preg_grep('/^[A-Za-z0-9_-]{20,}$/', $names)));
var_dump(create_channel(name: 'lobby'), push_create_channel(name: 'lobby'));
var_dump(push_channel_info(create_channel(7))->owner, push_channel_info(create_channel('ann'))->owner);
$info = push_channel_info(create_channel(user: 'bob', name: 'mine', ttl: 60, max_messages: 2, message_ttl: 60));
var_dump($info->name, $info->owner, $info->ttl);
foreach (['a', 'b', 'c'] as $data) {
    push_publish('mine', $data);
}
var_dump(push_channel_info('mine')->stored);
?>
--EXPECT--
int(100)
int(100)
string(5) "lobby"
string(5) "lobby"
string(1) "7"
string(3) "ann"
string(4) "mine"
string(3) "bob"
int(60)
int(2)
