--TEST--
push.on_unavailable=warn makes a warning of a missing hub where nobody needs an answer
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
push.on_unavailable=warn
--FILE--
<?php
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

say(fn() => push_publish_async('news', 'x'));
say(fn() => push_publish('news', 'x'));
var_dump(ini_set('push.on_unavailable', 'perhaps'), ini_set('push.on_unavailable', 'throw'));
say(fn() => push_publish_async('news', 'x'));
?>
--EXPECTF--
Warning: push_publish_async(): %Sthere is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket in %s on line %d
NULL
Push\Exception\HubUnavailable: there is no hub at %s
bool(false)
string(4) "warn"
Push\Exception\HubUnavailable: there is no hub at %s
