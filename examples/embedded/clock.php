<?php

/**
 * A PHP daemon that is its own push server: tells the time to whoever asks.
 *
 *     php -d push.mode=embedded clock.php
 *     curl -s 'http://127.0.0.1:8380/sub/clock'
 */

declare(strict_types=1);

$channel = push_create_channel(name: 'clock', max_messages: 60);
echo 'http://', push_hub_address(), "/sub/$channel\n";

pcntl_async_signals(true);
foreach ([SIGINT, SIGTERM] as $signal) {
    pcntl_signal($signal, static fn () => exit);    // PHP ends in order, and the hub answers who waits
}

for (;;) {
    push_publish($channel, ['time' => date('H:i:s')]);
    sleep(1);
}
