<?php
// A new room: {"name": ...}.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
$room = add_room(name_of(request_data()['name'] ?? null, 'The name of a room'))
    ?? refuse(409, 'There is already a room of this name, or there are too many rooms.');
$position = null;
try {
    // What is said there comes after this.
    $position = push_position();
    create_channel(name: $room['channel']);
} catch (Push\Exception\PushException $e) {
    // The next page that starts creates it.
    error_log($e->getMessage());
}
tell_everybody('room', $room);
answer(['room' => $room, 'position' => $position]);
