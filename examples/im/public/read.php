<?php
// Read up to a message: {"room": id, ...} or {"to": id of a person, ...}, with {"message": id}.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
$data = request_data();
[$room, $recipient] = conversation_of($data, $person);
$conversation = $room !== null ? "room:$room" : "person:$recipient";
$message = message_id($data['message'] ?? null);
mark_read($person['id'], $conversation, $message);
// The other pages of this person count anew.
tell(array_filter([$person['channel']]), 'read', ['conversation' => $conversation, 'message' => $message]);
answer([]);
