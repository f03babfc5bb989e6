<?php
// All that a page needs to begin, and to go on after a gap.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

// Who asks?
$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
try {
    // The channels to listen to: a private one that nobody can guess, and those of the rooms.
    $channels = open_channels($person, rooms());
    $person['channel'] = $channels[0];
    // Online from now on. When the page has connected, its connection takes over.
    push_presence_online($person['id'], lobby(), ['nick' => $person['nick']]);
    $online = push_presence_among(array_column(people(), 'id'), lobby());
    // "From here on", taken before history is read: what is published in between comes twice, and the page drops the
    // second by its id. The other way round it would not come at all.
    $position = push_position();
    $token = token_of($person);
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
    refuse(503, 'The push server cannot be reached.');
}
answer([
    'me' => ['id' => $person['id'], 'nick' => $person['nick']],
    'channels' => $channels,
    'token' => $token,
    'position' => $position,
    'rooms' => rooms(),
    'people' => people(),
    'online' => array_map(intval(...), $online),
    'history' => history($person['id']),
    'read' => (object) read_marks($person['id']),
]);
