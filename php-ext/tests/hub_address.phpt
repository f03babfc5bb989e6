--TEST--
push_hub_address() of a process that attaches: nowhere
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
var_dump(ini_get('push.mode'), push_hub_address());
?>
--EXPECT--
string(6) "attach"
NULL
