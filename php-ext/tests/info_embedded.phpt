--TEST--
The section of phpinfo() of an embedded hub, which it does not start
--EXTENSIONS--
push
--INI--
push.mode=embedded
push.listen=127.0.0.1:0
--FILE--
<?php
function info(): string
{
    ob_start();
    (new ReflectionExtension('push'))->info();
    return explode("\nDirective", ob_get_clean())[0];
}
echo info();
push_publish('news', 'x');
echo info();
var_dump(str_contains(info(), "\naddress => " . push_hub_address() . "\n"));
?>
--EXPECTF--
push

version => %s
mode => embedded
hub => starts in this process at the first call

push

version => %s
hub => running, version %s, pid %d
mode => embedded
address => 127.0.0.1:%d
uptime => %d s
channels => 1
subscribers => 0
stored messages => 1
memory => %d bytes
bool(true)
