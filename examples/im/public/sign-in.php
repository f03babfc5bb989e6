<?php
// Sign in with a nick: {"nick": ...}. No password, this is an example: a nick belongs to one browser until that signs out.
// A site of yours has accounts; what counts for the rest is that authenticate() knows who asks.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

require_own_page();
$nick = name_of(request_data()['nick'] ?? null, 'A nick');
$session = bin2hex(random_bytes(16));
$person = add_person($nick, $session) ?? refuse(409, "Somebody else is called $nick at the moment.");
mark_rooms_read($person['id']);
set_session_cookie($session);
tell_everybody('person', $person);
answer(['me' => $person]);
