--TEST--
Deleting a channel, once
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-delete_channel/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
push_publish('news', 'x');
var_dump(push_delete_channel('news'), push_delete_channel('news'), push_channel_info('news'));
push_create_channel(name: 'news');
var_dump(push_delete_channel('news', 'It was nice with you.'));
?>
--EXPECT--
bool(true)
bool(false)
NULL
bool(true)
