--TEST--
Weak mode makes a channel's name and an event of scalars and Stringables
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_conversions/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
final class Name
{
    public function __toString(): string
    {
        return 'text';
    }
}
$reference = 'by reference';
$alias = &$reference;
foreach ([7, 1.5, true, new Name, $alias] as $name) {
    push_publish($name, 'x', $name, $name, '60', 1);
}
foreach (['7', '1.5', '1', 'text', 'by reference'] as $name) {
    var_dump(push_channel_info($name)->published);
}
call_user_func_array('push_publish', [&$reference, &$reference]);
array_map('push_publish', ['by reference'], ['x']);
$function = push_publish(...);
var_dump($function('by reference', 'x')->id);
?>
--EXPECT--
int(1)
int(1)
int(1)
int(1)
int(1)
int(4)
