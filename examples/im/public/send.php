<?php
// A message: {"room": id, "text": ...} or {"to": id of a person, "text": ...}.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
$data = request_data();
$text = text_of($data['text'] ?? null, 2000, 'A message');
$room = $recipient = null;
if (is_int($data['to'] ?? null)) {
    $recipient = $data['to'];
    if ($recipient === $person['id'] || person($recipient) === null) {
        refuse(404, 'There is nobody of this name any more.');
    }
} else {
    $room = is_int($data['room'] ?? null) ? $data['room'] : 0;
    room($room) ?? refuse(404, 'There is no such room.');
}

// Saved and committed first, then published: nobody is told of a message that a roll-back takes away.
$message = add_message($person['id'], $room, $recipient, $text);
answer(['message' => $message, 'published' => tell(channels_of($message), 'message', $message)]);
