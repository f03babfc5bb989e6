--TEST--
A publication: number, position, subscribers; and the object that says so
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
start_hub();
$first = push_publish('news', 'one');
$second = push_publish('news', 'two');
var_dump($first::class, $first->id, $second->id, $first->subscribers);
var_dump(preg_match('/^\d+\.\d+$/', $first->position), version_compare($second->position, $first->position, '>'));
try {
    $first->id = 7;
} catch (Error $e) {
    echo $e->getMessage(), "\n";
}
try {
    $first->other = 7;
} catch (Error $e) {
    echo $e->getMessage(), "\n";
}
var_dump(clone $first == $first, $first == $second);
var_dump(json_encode($first) === json_encode(['id' => 1, 'position' => $first->position, 'subscribers' => 0]));
var_dump(unserialize(serialize($first)) == $first);
?>
--EXPECT--
string(14) "Push\Published"
int(1)
int(2)
int(0)
int(1)
bool(true)
Cannot modify readonly property Push\Published::$id
Cannot create dynamic property Push\Published::$other
bool(true)
bool(false)
bool(true)
bool(true)
