<?php
// Requests and answers: who asks, whether the request comes from our own page, and how we say no.

declare(strict_types=1);

require __DIR__ . '/store.php';
require __DIR__ . '/live.php';

const COOKIE = 'im_session';

header('Cache-Control: no-store');

/** The person who sent the cookie: id, nick, channel. */
function authenticate(array $cookies): ?array
{
    $session = $cookies[COOKIE] ?? null;
    return is_string($session) ? person_of_session($session) : null;
}

/** An empty value takes the cookie back. */
function set_session_cookie(string $session): void
{
    setcookie(COOKIE, $session, [
        'expires' => $session === '' ? 1 : time() + 30 * 86400,
        'path' => '/',
        'secure' => ($_SERVER['HTTPS'] ?? '') !== '',
        'httponly' => true,
        'samesite' => 'Lax',
    ]);
}

/** A change must come by POST and from our own page: browsers always say the origin of a POST, and cannot be made to lie. */
function require_own_page(): void
{
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        header('Allow: POST');
        refuse(405, 'This address takes POST only.');
    }
    $scheme = ($_SERVER['HTTPS'] ?? '') !== '' ? 'https' : 'http';
    if (($_SERVER['HTTP_ORIGIN'] ?? '') !== "$scheme://{$_SERVER['HTTP_HOST']}") {
        refuse(403, 'This request does not come from the chat itself.');
    }
}

/** The JSON object that the page sent. */
function request_data(): array
{
    $data = json_decode(file_get_contents('php://input'), true, 4);
    return is_array($data) ? $data : refuse(400, 'The request is no JSON object.');
}

/** A text of 1 to $limit characters, without blanks around it; anything else is refused. */
function text_of(mixed $value, int $limit, string $what): string
{
    $text = is_string($value) ? preg_replace('/^[\s\p{Z}\p{C}]+|[\s\p{Z}\p{C}]+$/u', '', $value) : null;
    if ($text === null || preg_match("/^.{1,$limit}$/su", $text) !== 1) {
        refuse(400, "$what must have 1 to $limit characters.");
    }
    return $text;
}

/** A name in one line: letters, digits and signs, nothing that is invisible or turns the text around. */
function name_of(mixed $value, string $what): string
{
    $name = text_of($value, 30, $what);
    return preg_match('/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u', $name) ? $name : refuse(400, "$what has characters that are not allowed.");
}

/**
 * Which conversation the page means, {"room": id} or {"to": id of a person}: the room and the person, one of them null.
 *
 * @return array{?int, ?int}
 */
function conversation_of(array $data, array $person): array
{
    if (is_int($data['to'] ?? null)) {
        if ($data['to'] === $person['id'] || person($data['to']) === null) {
            refuse(404, 'There is nobody of this name any more.');
        }
        return [null, $data['to']];
    }
    $room = is_int($data['room'] ?? null) ? $data['room'] : 0;
    room($room) ?? refuse(404, 'There is no such room.');
    return [$room, null];
}

/** The number of a message. */
function message_id(mixed $value): int
{
    return is_int($value) && $value > 0 ? $value : refuse(400, 'This is no message.');
}

function answer(array $data): never
{
    header('Content-Type: application/json');
    exit(json_encode($data, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES));
}

function refuse(int $status, string $why): never
{
    http_response_code($status);
    answer(['error' => $why]);
}
