--TEST--
Names that no channel can have
--EXTENSIONS--
push
--INI--
push.socket={TMP}/push-phpt-none/hub.sock
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

foreach (['', 'ALL', 'news*', "a\0b", 'a/b', "a\xff", str_repeat('x', 1025)] as $name) {
    say(fn() => push_publish($name, 'x'));
}
say(fn() => push_publish_async('', 'x'));
say(fn() => push_delete_channel(''));
say(fn() => push_channel_info(''));
say(fn() => create_channel(name: ''));
say(fn() => push_create_channel(name: ''));
?>
--EXPECT--
ValueError: push_publish(): Argument #1 ($channel) must not be empty
ValueError: push_publish(): Argument #1 ($channel) must not be "ALL" or contain "*", these mean several channels
ValueError: push_publish(): Argument #1 ($channel) must not be "ALL" or contain "*", these mean several channels
ValueError: push_publish(): Argument #1 ($channel) must not contain any null bytes
ValueError: push_publish(): Argument #1 ($channel) must not contain "/", which separates channels in URLs
ValueError: push_publish(): Argument #1 ($channel) must be valid UTF-8
ValueError: push_publish(): Argument #1 ($channel) must not be longer than 1024 bytes (max_channel_id_length), 1025 bytes given
ValueError: push_publish_async(): Argument #1 ($channel) must not be empty
ValueError: push_delete_channel(): Argument #1 ($channel) must not be empty
ValueError: push_channel_info(): Argument #1 ($channel) must not be empty
ValueError: create_channel(): Argument #2 ($name) must not be empty
ValueError: push_create_channel(): Argument #2 ($name) must not be empty
