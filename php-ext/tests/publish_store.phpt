--TEST--
store: false is for those who are connected
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_store/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
push_publish('news', 'kept');
push_publish('news', 'now', store: false);
$info = push_channel_info('news');
var_dump($info->published, $info->stored);
?>
--EXPECT--
int(2)
int(1)
