<?php
// Sign out: the nick is free again, the private channel is closed.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
end_session($person['id']);
set_session_cookie('');
try {
    // The token opens nothing any more, what is open is closed, and the other pages of this person learn of it.
    push_disconnect($person['id'], reason: 'signed out', revoke: true);
    if ($person['channel'] !== null) {
        push_delete_channel($person['channel']);
    }
    // Offline now, not after the grace.
    foreach ([null, ...push_presence_channels($person['id'])] as $channel) {
        push_presence_offline($person['id'], $channel);
    }
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
}
tell_everybody('left', ['id' => $person['id']]);
answer(['me' => null]);
