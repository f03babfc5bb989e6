--TEST--
A hub that ends, and the next one
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-hub_ends/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
$hub = start_hub();
push_publish('news', 'x');
$hub->stop();
try {
    push_publish('news', 'y');
} catch (Push\Exception\HubUnavailable $e) {
    echo $e->getMessage(), "\n";
}
var_dump(push_ping());
// The next one is found without doing anything for it.
start_hub();
var_dump(push_publish('news', 'z')->id);
?>
--EXPECTF--
there is no hub at %s/push-phpt-hub_ends/hub.sock: start push-hub, or set push.socket to the path of its socket
bool(false)
int(1)
