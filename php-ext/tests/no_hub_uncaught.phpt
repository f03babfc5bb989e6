--TEST--
An uncaught exception ends the script with PHP's usual text
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
push_publish('news', 'x');
echo "not reached\n";
?>
--EXPECTF--
Fatal error: Uncaught Push\Exception\HubUnavailable: there is no hub at %s: start push-hub, or set push.socket to the path of its socket in %sno_hub_uncaught.php:2
Stack trace:
#0 %sno_hub_uncaught.php(2): push_publish('news', 'x')
#1 {main}
  thrown in %sno_hub_uncaught.php on line 2
