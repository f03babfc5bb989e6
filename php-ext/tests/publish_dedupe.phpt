--TEST--
The same dedupe key is published once
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_dedupe/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$first = push_publish('orders', 'paid', dedupe: 'order-1');
$again = push_publish('orders', 'paid', dedupe: 'order-1');
var_dump($first == $again, push_publish('orders', 'paid', dedupe: 'order-2')->id, push_publish('other', 'paid', dedupe: 'order-1')->id);
var_dump(push_channel_info('orders')->published);
?>
--EXPECT--
bool(true)
int(2)
int(1)
int(2)
