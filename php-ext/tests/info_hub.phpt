--TEST--
phpinfo() shows the hub that runs
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-info_hub/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
$hub = start_hub();
ob_start();
(new ReflectionExtension('push'))->info();
$text = ob_get_clean();
var_dump(preg_match('~^hub => running\b.*$~m', $text, $match));
var_dump(str_contains($match[0], (string) push_status()['pid']));
?>
--EXPECT--
int(1)
bool(true)
