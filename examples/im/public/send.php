<?php
// A message: {"room": id, ...} or {"to": id of a person, ...}, with {"text": ..., "key": ...}.
//
// The page sends it again, with the same key, when it got no answer: it is saved once and comes once.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
$data = request_data();
[$room, $recipient] = conversation_of($data, $person);
$text = text_of($data['text'] ?? null, 2000, 'A message');
$key = text_of($data['key'] ?? null, 64, 'The key of a message');

// Saved and committed first, then published: nobody is told of a message that a roll-back takes away.
$message = add_message($person['id'], $room, $recipient, $text, $key);
$published = tell(channels_of($person, $room, $recipient), 'message', $message, key: "message-{$message['id']}");
answer(['message' => $message, 'published' => $published]);
