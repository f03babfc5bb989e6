<?php
// Sign out: the nick is free again, the private channel is closed.

declare(strict_types=1);

require __DIR__ . '/../src/web.php';

$person = authenticate($_COOKIE) ?? refuse(401, 'You are not signed in.');
require_own_page();
end_session($person['id']);
set_session_cookie('');
tell_everybody('left', ['id' => $person['id']]);
try {
    // Other pages of this person learn of it by losing their channel.
    $person['channel'] === null || push_delete_channel($person['channel']);
} catch (Push\Exception\PushException $e) {
    error_log($e->getMessage());
}
answer(['me' => null]);
