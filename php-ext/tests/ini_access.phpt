--TEST--
Settings belong to the administrator, except those that are read per call
--EXTENSIONS--
push
--FILE--
<?php
foreach (ini_get_all('push') as $name => ['access' => $access]) {
    if ($access !== INI_SYSTEM) {
        $others[] = $name;
    }
}
var_dump(in_array('push.timeout', $others, true), array_diff($others, ['push.timeout', 'push.on_unavailable']));
var_dump(ini_set('push.socket', '/elsewhere'), ini_set('push.memory_limit', '1g'), ini_set('push.short_names', '0'));
var_dump(ini_get('push.memory_limit'));
?>
--EXPECT--
bool(true)
array(0) {
}
bool(false)
bool(false)
bool(false)
string(0) ""
