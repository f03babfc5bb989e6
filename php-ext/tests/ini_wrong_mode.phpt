--TEST--
push.mode is attach or embedded
--EXTENSIONS--
push
--INI--
push.mode=threads
--FILE--
<?php
foreach ([push_position(...), push_hub_address(...), fn () => push_publish('news', 'x')] as $call) {
    try {
        $call();
    } catch (Push\Exception\HubUnavailable $e) {
        echo $e->getMessage(), "\n";
    }
}
var_dump(push_ping(), ini_set('push.mode', 'attach'));
?>
--EXPECT--
no hub: push.mode = "threads": allowed is attach or embedded
no hub: push.mode = "threads": allowed is attach or embedded
no hub: push.mode = "threads": allowed is attach or embedded
bool(false)
bool(false)
