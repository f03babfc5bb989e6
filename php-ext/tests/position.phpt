--TEST--
The head is the position of the newest message of all channels
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-position/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$head = push_position();
var_dump(preg_match('/^\d+\.\d+$/', $head), push_position() === $head);
$a = push_publish('a', 'x')->position;
var_dump(push_position() === $a, version_compare($a, $head, '>'));
$b = push_publish('b', 'x')->position;
var_dump(push_position() === $b, version_compare($b, $a, '>'));
?>
--EXPECT--
int(1)
bool(true)
bool(true)
bool(true)
bool(true)
bool(true)
