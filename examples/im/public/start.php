<?php
// All that a page needs to begin, and to begin again after a gap.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

// Who asks?
$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
try {
    // The channels to listen to: a private one that nobody can guess, and those of the rooms.
    $rooms = rooms();
    $channels = open_channels($person, $rooms);
    // "From here on", taken before history is read: what is published in between comes twice, and the page drops the
    // second by its id. The other way round it would not come at all.
    $position = push_position();
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
    refuse(503, 'The push server cannot be reached.');
}
answer([
    'me' => ['id' => $person['id'], 'nick' => $person['nick']],
    'channels' => $channels,
    'position' => $position,
    'rooms' => rooms(),
    'people' => people(),
    'history' => history($person['id']),
]);
