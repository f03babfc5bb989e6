--TEST--
push.timeout: set and restored by a script, wrong values refused
--EXTENSIONS--
push
--INI--
push.timeout=300ms
--FILE--
<?php
var_dump(ini_set('push.timeout', '1s'));
var_dump(ini_get('push.timeout'));
foreach (['soon', '0', '-1', '2d', '1 s s'] as $wrong) {
    var_dump(ini_set('push.timeout', $wrong));
}
var_dump(ini_get('push.timeout'));
ini_restore('push.timeout');
var_dump(ini_get('push.timeout'));
?>
--EXPECT--
string(5) "300ms"
string(2) "1s"
bool(false)
bool(false)
bool(false)
bool(false)
bool(false)
string(2) "1s"
string(5) "300ms"
