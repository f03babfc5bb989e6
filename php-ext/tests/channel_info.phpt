--TEST--
What a channel says of itself
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-channel_info/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
var_dump(push_channel_info('news'));
push_create_channel(name: 'news');
$info = push_channel_info('news');
var_dump([...(array) $info, 'position' => preg_match('/^\d+\.\d+$/', $info->position)]);
$position = push_publish('news', 'x')->position;
$info = push_channel_info('news');
var_dump($info->published, $info->stored, $info->position === $position);
try {
    $info->stored = 0;
} catch (Error $e) {
    echo $e->getMessage(), "\n";
}
?>
--EXPECT--
NULL
array(7) {
  ["name"]=>
  string(4) "news"
  ["published"]=>
  int(0)
  ["stored"]=>
  int(0)
  ["subscribers"]=>
  int(0)
  ["owner"]=>
  NULL
  ["ttl"]=>
  int(86400)
  ["position"]=>
  int(1)
}
int(1)
int(1)
bool(true)
Cannot modify readonly property Push\ChannelInfo::$stored
