--TEST--
Without a hub calls throw at once, and push_ping() says false
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
push.timeout=5s
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

$start = hrtime(true);
say(fn() => push_publish('news', 'x'));
say(fn() => push_publish_async('news', 'x'));
say(fn() => push_publish_many([new Push\Message('news', 'x')]));
say(fn() => push_clear_channel('news'));
say(fn() => push_channels());
say(fn() => push_history('news'));
say(fn() => create_channel());
say(fn() => push_create_channel(name: 'news'));
say(fn() => push_delete_channel('news'));
say(fn() => push_channel_info('news'));
say(fn() => push_position());
say(fn() => push_token('news'));
say(fn() => push_disconnect(7));
say(fn() => push_presence_online(7));
say(fn() => push_presence_offline(7));
say(fn() => push_presence_is_online(7));
say(fn() => push_presence_among([7]));
say(fn() => push_presence_get(7));
say(fn() => push_presence_members());
say(fn() => push_presence_count());
say(fn() => push_presence_channels(7));
say(fn() => push_status());
say(fn() => push_ping(5));
// Nobody waits for push.timeout where nobody listens.
var_dump(hrtime(true) - $start < 2e9);
?>
--EXPECTF--
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
Push\Exception\HubUnavailable: there is no hub at %s/push-phpt-none/hub.sock: start push-hub, or set push.socket to the path of its socket
bool(false)
bool(true)
