<?php
// What the chat says at once: which channels a page listens to, who is online, and where a change is published.
//
// Everything is in the database before it is published. A page that missed a publication finds it there.

declare(strict_types=1);

use Push\Exception\PushException;

/**
 * The channels of a page: the private one first, then those of the rooms.
 *
 * A channel that is already there stays as it is, and one that the hub no longer has (unused for a day, or the machine was
 * restarted) comes back under the name that the database kept.
 *
 * @throws PushException
 */
function open_channels(array $person, array $rooms): array
{
    $private = create_channel(user: $person['id'], name: $person['channel']);
    $channels = [$person['channel'] ?? keep_channel($person['id'], $private)];
    foreach ($rooms as $room) {
        $channels[] = create_channel(name: $room['channel']);
    }
    return $channels;
}

/**
 * What lets the page of this person listen: to the private channel, and to every room, those of tomorrow too. It also tells
 * the hub whose connection it is, so that the person is online as long as a page is open.
 *
 * @throws PushException
 */
function token_of(array $person): string
{
    return push_token([$person['channel'], 'room-*'], user: $person['id'], ttl: 3600, info: ['nick' => $person['nick']]);
}

/** The channel on which everybody hears everything that concerns all: the lobby's. Who is on it, is online. */
function lobby(): string
{
    return rooms()[0]['channel'];
}

/** Where a conversation is heard: in its room, or by its two people (the sender may have several pages open). */
function channels_of(array $sender, ?int $room, ?int $recipient): array
{
    if ($room !== null) {
        return [room($room)['channel']];
    }
    // Whoever never opened the page or has signed out since has no page to tell.
    return array_filter([person($recipient)['channel'] ?? null, $sender['channel']]);
}

/**
 * Publishes a change on these channels. false: the hub could not take it, so other pages see the change only later.
 *
 * @param ?string $key What is published again with the same key comes once.
 */
function tell(array $channels, string $event, array $data, ?string $key = null): bool
{
    try {
        foreach ($channels as $channel) {
            push_publish($channel, $data, event: $event, dedupe: $key);
        }
        return true;
    } catch (PushException $e) {
        error_log("$event was saved but not published: {$e->getMessage()}");
        return false;
    }
}

/** Publishes what everybody is to know. Every page listens to the lobby. */
function tell_everybody(string $event, array $data): bool
{
    return tell([lobby()], $event, $data);
}
