--TEST--
push_publish_async() returns nothing, and the message follows
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_async/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
var_dump(push_publish_async('news', 'x'));
// Calls of one process keep their order.
var_dump(push_channel_info('news')->published, push_publish('news', 'y')->id);
?>
--EXPECT--
NULL
int(1)
int(2)
