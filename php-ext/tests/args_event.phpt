--TEST--
Event names, event ids and dedupe keys are one line of text
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

foreach (['', "a\nb", "a\rb", "a\0b", "\xff", str_repeat('x', 1025)] as $line) {
    say(fn() => push_publish('news', 'x', $line));
}
say(fn() => push_publish('news', 'x', event_id: "a\nb"));
say(fn() => push_publish('news', 'x', dedupe: "a\nb"));
say(fn() => push_publish_async('news', 'x', event: ''));
?>
--EXPECT--
ValueError: push_publish(): Argument #3 ($event) must not be empty
ValueError: push_publish(): Argument #3 ($event) must not contain line breaks
ValueError: push_publish(): Argument #3 ($event) must not contain line breaks
ValueError: push_publish(): Argument #3 ($event) must not contain any null bytes
ValueError: push_publish(): Argument #3 ($event) must be valid UTF-8
ValueError: push_publish(): Argument #3 ($event) must not be longer than 1024 bytes, 1025 bytes given
ValueError: push_publish(): Argument #4 ($event_id) must not contain line breaks
ValueError: push_publish(): Argument #7 ($dedupe) must not contain line breaks
ValueError: push_publish_async(): Argument #3 ($event) must not be empty
