<?php
// What was said before: {"room": id, ...} or {"to": id of a person, ...}, with {"before": id of a message}.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
$data = request_data();
[$room, $recipient] = conversation_of($data, $person);
answer(['history' => messages_before($person['id'], $room, $recipient, message_id($data['before'] ?? null))]);
