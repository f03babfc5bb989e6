<?php
// "Somebody is writing": {"room": id} or {"to": id of a person}. Only for those who look at this moment, so it is neither
// saved nor stored, and nobody waits for it.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
[$room, $recipient] = conversation_of(request_data(), $person);
try {
    foreach (channels_of($person, $room, $recipient) as $channel) {
        push_publish_async($channel, ['room' => $room, 'from' => $person['id']], event: 'typing', store: false);
    }
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
}
answer([]);
