--TEST--
Clearing drops the stored messages and goes on counting
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-clear_channel/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
push_publish('news', 'one');
push_publish('news', 'two');
var_dump(push_clear_channel('news'), push_clear_channel('news'), push_clear_channel('nobody'));
var_dump(push_history('news'), push_publish('news', 'three')->id);
?>
--EXPECT--
int(2)
int(0)
int(0)
array(0) {
}
int(3)
