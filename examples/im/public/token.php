<?php
// A fresh token, before the old one is over: the page goes on where it was.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
try {
    $person['channel'] = open_channels($person, rooms())[0];
    answer(['token' => token_of($person)]);
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
    refuse(503, 'The push server cannot be reached.');
}
