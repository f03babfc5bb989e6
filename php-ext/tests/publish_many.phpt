--TEST--
Many messages in order with one call, or none
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_many/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub('--max-message-size', '1k');
$published = push_publish_many([new Push\Message('a', 1), 'key' => new Push\Message('b', 2), new Push\Message('a', 3)]);
var_dump(array_is_list($published), array_column($published, 'id'));
var_dump(version_compare($published[1]->position, $published[0]->position, '>'));
var_dump($published[2] == new Push\Published, push_publish_many([]));
try {
    push_publish_many([new Push\Message('c', 'x'), new Push\Message('c', str_repeat('x', 1025))]);
} catch (Push\Exception\PayloadTooLarge $e) {
    echo $e::class, "\n";
}
var_dump(push_channel_info('c'));
?>
--EXPECT--
bool(true)
array(3) {
  [0]=>
  int(1)
  [1]=>
  int(1)
  [2]=>
  int(2)
}
bool(true)
bool(false)
array(0) {
}
Push\Exception\PayloadTooLarge
NULL
