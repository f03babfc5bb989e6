--TEST--
The section of phpinfo(): version, state of the hub, socket, settings
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
push.threads=3
push.timeout=1s
--FILE--
<?php
ob_start();
(new ReflectionExtension('push'))->info();
$text = ob_get_clean();
foreach (['version' => phpversion('push'), 'socket' => ini_get('push.socket')] as $name => $value) {
    var_dump(preg_match("~^$name => (.*)$~m", $text, $match), $match[1] === $value);
}
var_dump(preg_match('~^hub => (running|.*no hub)~m', $text));
var_dump(str_contains($text, "Directive => Local Value => Master Value\n"));
var_dump(preg_match('~^push.threads => 3 => 3$~m', $text));
ini_set('push.timeout', '2s');
ob_start();
(new ReflectionExtension('push'))->info();
var_dump(preg_match('~^push.timeout => 2s => 1s$~m', ob_get_clean()));
?>
--EXPECT--
int(1)
bool(true)
int(1)
bool(true)
int(1)
bool(true)
int(1)
int(1)
