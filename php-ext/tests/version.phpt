--TEST--
The extension's version is that of its sources
--EXTENSIONS--
push
--FILE--
<?php
$version = phpversion('push');
var_dump(preg_match('/^\d+\.\d+\.\d+(-[0-9A-Za-z.]+)?$/', $version));
var_dump((new ReflectionExtension('push'))->getVersion() === $version);
?>
--EXPECT--
int(1)
bool(true)
