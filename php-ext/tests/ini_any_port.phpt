--TEST--
Port 0 is for an embedded hub only
--EXTENSIONS--
push
--INI--
push.listen=127.0.0.1:0
--FILE--
<?php
try {
    push_position();
} catch (Push\Exception\HubUnavailable $e) {
    echo $e->getMessage(), "\n";
}
?>
--EXPECT--
no hub: listen = "127.0.0.1:0": nobody could be told where a hub with another port at each start is; name a port (0 is for a hub in the process that publishes, push.mode = embedded)
