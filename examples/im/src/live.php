<?php
// What the chat says at once: which channels a page listens to, and which channels a change is published on.
//
// Everything is in the database before it is published. A page that missed a publication finds it there.

declare(strict_types=1);

use Push\Exception\PushException;

/**
 * The channels of a page: the private one first, then those of the rooms.
 *
 * A channel that is already there stays as it is, and one that the hub no longer has (unused for a day, or the hub was
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

/** Where a message is to be seen: in its room, or with its two people (the sender may have several pages open). */
function channels_of(array $message): array
{
    if ($message['room'] !== null) {
        return [room($message['room'])['channel']];
    }
    $people = [person($message['to']['id']), person($message['from']['id'])];
    // Whoever never opened the page or has signed out since has no page to tell.
    return array_filter(array_column(array_filter($people), 'channel'));
}

/** Publishes a change on these channels. false: the hub could not take it, so other pages see the change only later. */
function tell(array $channels, string $event, array $data): bool
{
    try {
        foreach ($channels as $channel) {
            push_publish($channel, $data, event: $event);
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
    return tell([rooms()[0]['channel']], $event, $data);
}
