--TEST--
Empty data, binary data, the longest message, and one byte more
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-publish_sizes/hub.sock
--SKIPIF--
<?php
require __DIR__ . '/hub.inc';
skip_without_hub();
?>
--FILE--
<?php
require __DIR__ . '/hub.inc';
function say(callable $call): void
{
    try {
        var_dump($call());
    } catch (Throwable $e) {
        echo get_class($e), ': ', $e->getMessage(), "\n";
    }
}

start_hub('--max-message-size', '1k');
var_dump(push_publish('news', '')->id, push_publish('news', "\0\xff")->id, push_publish('news', str_repeat('x', 1024))->id);
say(fn() => push_publish('news', str_repeat('x', 1025)));
say(fn() => push_publish('news', [str_repeat('x', 1021)]));
var_dump(push_channel_info('news')->stored);
?>
--EXPECT--
int(1)
int(2)
int(3)
Push\Exception\PayloadTooLarge: the message is 1025 bytes long, max_message_size allows 1024
Push\Exception\PayloadTooLarge: the message is 1025 bytes long, max_message_size allows 1024
int(3)
