--TEST--
The state of the hub
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-status/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
$hub = start_hub();
push_publish('a', 'x');
push_publish('b', 'y');
$status = push_status();
foreach ($status as $key => $value) {
    echo "$key ", get_debug_type($value), "\n";
}
var_dump($status['state'], $status['version'] === phpversion('push'), $status['socket'] === $hub->socket);
var_dump($status['channels'], $status['messages'], $status['subscribers'], $status['memory'] > 0, $status['position'] === push_position());
var_dump(str_starts_with(file_get_contents("/proc/{$status['pid']}/cmdline"), 'push-hub'));
?>
--EXPECT--
state string
version string
pid int
socket string
uptime int
channels int
subscribers int
messages int
memory int
position string
string(7) "running"
bool(true)
bool(true)
int(2)
int(2)
int(0)
bool(true)
bool(true)
bool(true)
