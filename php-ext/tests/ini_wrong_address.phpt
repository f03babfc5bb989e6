--TEST--
An address to listen on needs a port
--EXTENSIONS--
push
--INI--
push.listen=localhost
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
say(fn() => push_position());
say(fn() => push_publish('news', 'x'));
say(fn() => push_ping());
?>
--EXPECT--
Push\Exception\HubUnavailable: no hub: push.listen = "localhost": allowed is addresses such as 127.0.0.1:8380, [::1]:8380 or unix:/run/push/http.sock, separated by commas, or none
Push\Exception\HubUnavailable: no hub: push.listen = "localhost": allowed is addresses such as 127.0.0.1:8380, [::1]:8380 or unix:/run/push/http.sock, separated by commas, or none
bool(false)
