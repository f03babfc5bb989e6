--TEST--
The exception of a missing hub: classes, code, place
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
--FILE--
<?php
try {
    push_position();
} catch (Push\Exception\PushException $e) {
    var_dump($e::class, $e instanceof Push\Exception\HubUnavailable, $e instanceof RuntimeException);
    var_dump($e->getCode() > 0, $e->getFile() === __FILE__, $e->getLine(), $e->getPrevious());
    echo $e->getTraceAsString(), "\n";
}
?>
--EXPECTF--
string(29) "Push\Exception\HubUnavailable"
bool(true)
bool(true)
bool(true)
bool(true)
int(3)
NULL
#0 %sno_hub_exception.php(3): push_position()
#1 {main}
