<?php

/**
 * The PHP extension push, for editors and static analysis. Kept by hand; a test compares it with the loaded extension.
 *
 * Every function may throw:
 *
 * - \TypeError, \ArgumentCountError, \ValueError: an argument is wrong and no call was made;
 * - Push\Exception\HubUnavailable: no hub answers. During a call, its outcome is open;
 * - Push\Exception\Timeout: the hub did not answer within push.timeout, the outcome is open. For a short time further
 *   calls of this process fail at once, so that a stopped hub does not cost a request more than one time-out.
 *
 * push.on_unavailable (throw or warn, also by ini_set()) says what push_publish_async() does without a hub: with warn it
 * raises an E_WARNING and returns, the message is lost. All other functions throw, whatever is set: their callers need the
 * answer, and null, false, 0, "" or [] would each be an answer that no hub gave. Publish after the commit and catch:
 *
 *     try {
 *         push_publish($channel, $data, dedupe: "order-$id");
 *     } catch (Push\Exception\PushException $e) {
 *         $logger->warning($e->getMessage());     // the page goes on without live news
 *     }
 *
 * A channel name is 1 to max_channel_id_length bytes of UTF-8 without NUL and "/"; "ALL" and names with "*" are reserved.
 */

namespace {

    /**
     * Publishes and waits until the hub has the message.
     *
     * @param non-empty-string $channel
     * @param mixed $data A string goes as its bytes; anything else as JSON (unescaped unicode and slashes).
     * @param ?non-empty-string $event One line of at most 1024 bytes: the event's name, for SSE and JSON answers.
     * @param ?non-empty-string $event_id One line of at most 1024 bytes: your own id of the message.
     * @param ?positive-int $ttl Seconds to keep the message; null: what the channel says.
     * @param bool $store false: only for those who are connected at this moment.
     * @param ?non-empty-string $dedupe One line of at most 1024 bytes: the channel takes one message of this key within
     *     dedupe_window (5 minutes); a second one is not published and gets the result of the first. With it a call
     *     whose outcome is open can simply be made again.
     *
     * @throws Push\Exception\EncodingError The data cannot be encoded as JSON; getPrevious() is the JsonException.
     * @throws Push\Exception\PayloadTooLarge The data is longer than max_message_size.
     * @throws Push\Exception\LimitExceeded The channel does not exist and no further may be made.
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_publish(string $channel, mixed $data, ?string $event = null, ?string $event_id = null, ?int $ttl = null, bool $store = true, ?string $dedupe = null): Push\Published {}

    /**
     * Publishes without waiting for the hub: the message is in memory that outlives this process. What the hub itself
     * would refuse is not heard of, unless it is this process (push.mode=embedded). Where push.on_unavailable is warn, HubUnavailable and Timeout are an E_WARNING.
     *
     * @param non-empty-string $channel
     * @param mixed $data As for push_publish().
     * @param ?non-empty-string $event
     * @param ?non-empty-string $event_id
     * @param ?positive-int $ttl
     * @param ?non-empty-string $dedupe As for push_publish().
     *
     * @throws Push\Exception\EncodingError
     * @throws Push\Exception\PayloadTooLarge
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout There was no room for the message for as long as push.timeout.
     */
    function push_publish_async(string $channel, mixed $data, ?string $event = null, ?string $event_id = null, ?int $ttl = null, bool $store = true, ?string $dedupe = null): void {}

    /**
     * Publishes many messages in this order with one call of the hub. All are checked first: when one is refused, none is
     * published. Together they may have 16 MiB.
     *
     * @param array<Push\Message> $messages The keys do not matter. What a message has of $id, $position and $time neither.
     * @return list<Push\Published> In the order of the messages.
     *
     * @throws Push\Exception\EncodingError
     * @throws Push\Exception\PayloadTooLarge One of them is longer than max_message_size, or all together are too long.
     * @throws Push\Exception\LimitExceeded
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_publish_many(array $messages): array {}

    /**
     * The same as push_create_channel(). With push.short_names=Off this name is left to others.
     *
     * @param int|non-empty-string|null $user
     * @param ?non-empty-string $name
     * @param ?positive-int $ttl
     * @param ?positive-int $max_messages
     * @param ?positive-int $message_ttl
     * @param bool $presence
     * @return non-empty-string
     *
     * @throws Push\Exception\LimitExceeded
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function create_channel(int|string|null $user = null, ?string $name = null, ?int $ttl = null, ?int $max_messages = null, ?int $message_ttl = null, bool $presence = true): string {}

    /**
     * Creates a channel, or sets the options of an existing one anew.
     *
     * @param int|non-empty-string|null $user The user whose private channel it is.
     * @param ?non-empty-string $name null: a random name that nobody can guess.
     * @param ?positive-int $ttl Seconds without use after which the channel goes; null: a day.
     * @param ?positive-int $max_messages Stored messages kept; null: max_messages_stored_per_channel.
     * @param ?positive-int $message_ttl Seconds a stored message lives; null: message_ttl.
     * @param bool $presence false: nobody is a member of it, whoever subscribes.
     * @return non-empty-string The channel's name.
     *
     * @throws Push\Exception\LimitExceeded
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_create_channel(int|string|null $user = null, ?string $name = null, ?int $ttl = null, ?int $max_messages = null, ?int $message_ttl = null, bool $presence = true): string {}

    /**
     * Deletes a channel with its messages and tells its subscribers.
     *
     * @param non-empty-string $channel
     * @param ?string $message What they are told; null: channel_deleted_message_text.
     * @return bool Whether there was such a channel.
     *
     * @throws Push\Exception\PayloadTooLarge
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_delete_channel(string $channel, ?string $message = null): bool {}

    /**
     * Drops the stored messages of a channel. Its subscribers stay and are told nothing, its numbers go on.
     *
     * @param non-empty-string $channel
     * @return int<0, max> How many there were; 0 also without such a channel.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_clear_channel(string $channel): int {}

    /**
     * Counters of a channel.
     *
     * @param non-empty-string $channel
     * @return ?Push\ChannelInfo null: there is no such channel.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_channel_info(string $channel): ?Push\ChannelInfo {}

    /**
     * Counters of the channels, page by page in the order of their names (by bytes).
     *
     *     for ($after = null; $page = push_channels('room-', after: $after); $after = end($page)->name) { ... }
     *
     * @param string $prefix What the names begin with.
     * @param int<1, 10000> $limit
     * @param ?string $after The last name of the page before.
     * @return list<Push\ChannelInfo>
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_channels(string $prefix = '', int $limit = 1000, ?string $after = null): array {}

    /**
     * The stored messages of a channel, oldest first, page by page. A page has at most $limit messages and, unless it has
     * only one, at most 1 MiB of them: the history is read when a page is empty.
     *
     *     for ($after = null; $page = push_history($channel, $after); $after = end($page)->position) { ... }
     *
     * @param non-empty-string $channel
     * @param ?non-empty-string $after A position: of the last message of the page before, of push_position(), of a
     *     subscriber. null: from the oldest one.
     * @param int<1, 10000> $limit
     * @return list<Push\Message> Empty also without such a channel.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_history(string $channel, ?string $after = null, int $limit = 100): array {}

    /**
     * The position of the newest message of all channels: "from here on", for a page that reads its history next.
     *
     * @return non-empty-string For ?position= of any subscription.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_position(): string {}

    /**
     * Sets a user online: others see the user join, for at least $ttl seconds, and as long as a connection of the user lives.
     * A page calls it when it is opened; the browser's connection then takes over.
     *
     * @param int|non-empty-string $user At most 255 bytes; 7 and '7' are the same user.
     * @param ?non-empty-string $channel null: on the whole site.
     * @param array<mixed> $info What others are told about the user, as a JSON object of at most 4 KiB. []: what was said before
     *     stays.
     * @param ?positive-int $ttl Seconds; null: presence_ttl (60 seconds).
     * @return bool Whether this call changed it: the user was not online, or had other $info.
     *
     * @throws Push\Exception\EncodingError $info cannot be encoded as JSON; getPrevious() is the JsonException.
     * @throws Push\Exception\LimitExceeded
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_online(int|string $user, ?string $channel = null, array $info = [], ?int $ttl = null): bool {}

    /**
     * Sets a user offline at once, without the grace: a sign-out. Connections stay open, and do not count until another one
     * is made.
     *
     * @param int|non-empty-string $user
     * @param ?non-empty-string $channel null: on the whole site; in its channels the user stays.
     * @return bool Whether the user was online.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_offline(int|string $user, ?string $channel = null): bool {}

    /**
     * Whether a user is online. After the first call to the hub it is looked up in memory that the hub shares: less than a
     * microsecond, and nobody is woken.
     *
     * @param int|non-empty-string $user
     * @param ?non-empty-string $channel null: on the whole site.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_is_online(int|string $user, ?string $channel = null): bool {}

    /**
     * Which of these users are online: the contacts of a page. Looked up as push_presence_is_online() does, or with one call.
     *
     * @param array<int|non-empty-string> $users The keys do not matter.
     * @param ?non-empty-string $channel null: on the whole site.
     * @return list<non-empty-string> In the order of $users.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_among(array $users, ?string $channel = null): array {}

    /**
     * What is known of a user who is online.
     *
     * @param int|non-empty-string $user
     * @param ?non-empty-string $channel null: on the whole site.
     * @return ?Push\Member null: not online.
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_get(int|string $user, ?string $channel = null): ?Push\Member {}

    /**
     * Who is online, page by page in the order of the users (by bytes). A page has at most $limit members and, unless it has
     * only one, at most 1 MiB of them: the list is read when a page is empty.
     *
     *     for ($after = null; $page = push_presence_members('lobby', after: $after); $after = end($page)->user) { ... }
     *
     * @param ?non-empty-string $channel null: on the whole site.
     * @param int<1, 10000> $limit
     * @param ?string $after The last user of the page before.
     * @return list<Push\Member>
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_members(?string $channel = null, int $limit = 1000, ?string $after = null): array {}

    /**
     * How many users are online. Several connections of one user count once.
     *
     * @param ?non-empty-string $channel null: on the whole site.
     * @return int<0, max>
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_count(?string $channel = null): int {}

    /**
     * The channels in which a user is online, in the order of their names (by bytes).
     *
     * @param int|non-empty-string $user
     * @return list<non-empty-string>
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_presence_channels(int|string $user): array {}

    /**
     * A token for a browser: it opens these channels to whoever sends it, and says who that is. Send it along with the
     * page; it comes back as `?token=`, in `Authorization: Bearer` or in the cookie `push_token`. It is valid until it
     * expires, or is revoked by push_disconnect(); the connections that it opened end with it, and go on with a new one
     * from their position.
     *
     * @param non-empty-string|non-empty-list<non-empty-string> $channels Names, or what names begin with and "*":
     *     "news.*"; "*" opens all.
     * @param int|non-empty-string|null $user Whose connections they are, for presence and push_disconnect(); at most 255
     *     bytes.
     * @param int<1, 2592000> $ttl Seconds; 30 days at most.
     * @param array<string, mixed> $info What presence tells others about the user, at most 2048 bytes as JSON.
     * @param bool $publish Its holder may publish to these channels by WebSocket, where websocket_allow_publish is on,
     *     and at public publisher locations.
     *
     * @return non-empty-string At most 6144 bytes.
     *
     * @throws Push\Exception\EncodingError The info cannot be encoded as JSON; getPrevious() is the JsonException.
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_token(string|array $channels, int|string|null $user = null, int $ttl = 3600, array $info = [], bool $publish = false): string {}

    /**
     * Ends connections of browsers: those of a user, those to a channel, or where both are given those of the user to the
     * channel. They are told the reason. They may come again, unless $revoke takes the token away that let them in.
     *
     * @param int|non-empty-string|null $user By the token of a connection, or as the owner of a private channel.
     * @param ?non-empty-string $channel
     * @param string $reason One line of at most 123 bytes.
     * @param bool $revoke Tokens that were issued until now open nothing any more: those of the user, for the channel, or
     *     both. What needs no token, stays open (authorized_channels_only).
     *
     * @return int<0, max> How many connections there were.
     *
     * @throws \ValueError Also when neither a user nor a channel is given.
     * @throws Push\Exception\LimitExceeded There is no memory to remember what is revoked.
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_disconnect(int|string|null $user = null, ?string $channel = null, string $reason = '', bool $revoke = false): int {}

    /**
     * Answers this request by handing it over: nginx takes it to the hub, where it listens to these channels as this user
     * until it ends, and this process is free. It sets the headers X-Accel-Redirect and X-Push-Identity; what the script prints is
     * thrown away. Needs nginx with examples/nginx/push-accel-location.conf, and trusted_listen of the hub.
     *
     * @param non-empty-string|non-empty-list<non-empty-string> $channels Names.
     * @param int|non-empty-string|null $user Whose connection it is, for presence and push_disconnect(); at most 255 bytes.
     * @param array<string, mixed> $info What presence tells others about the user, at most 2048 bytes as JSON. Together with
     *     the channels and the user at most 6144 bytes as JSON.
     *
     * @throws \ValueError Also when this is more than fits.
     * @throws \Error There is no request (command line), or its answer has begun: output was sent.
     * @throws Push\Exception\EncodingError The info cannot be encoded as JSON; getPrevious() is the JsonException.
     * @throws Push\Exception\HubUnavailable The configuration is wrong; the hub is not asked.
     */
    function push_accel(string|array $channels, int|string|null $user = null, array $info = []): void {}

    /**
     * Where browsers reach the hub that this process is (push.mode=embedded), as push.listen writes it; with port 0 there,
     * the port that it got. Starts it if no call has. The first one, if push.listen names several.
     *
     *     echo 'http://', push_hub_address(), "/sub/$channel";
     *
     * @return ?non-empty-string null: the hub is another process (push.mode=attach), or listens nowhere.
     *
     * @throws Push\Exception\HubUnavailable It cannot be started, or this is a child forked from its process.
     */
    function push_hub_address(): ?string {}

    /**
     * The state of the hub. Its socket is empty when it is this process (push.mode=embedded).
     *
     * @return array{state: string, version: string, pid: int, socket: string, uptime: int, channels: int, subscribers: int, messages: int, memory: int, position: string}
     *
     * @throws Push\Exception\HubUnavailable
     * @throws Push\Exception\Timeout
     */
    function push_status(): array {}

    /**
     * Whether the hub answers within this time; no answer is false, not an exception.
     *
     * @param float $timeout Seconds, more than 0 and at most 3600.
     */
    function push_ping(float $timeout = 0.2): bool {}

}

namespace Push {

    /** What a publisher learns of its message. */
    final readonly class Published
    {
        /** The channel's number of the message, from 1. */
        public int $id;
        /** Its place in the order over all channels, for ?position=. */
        public string $position;
        /** Subscriptions open on the channel at that moment. */
        public int $subscribers;

        /** For what var_export() wrote. */
        public static function __set_state(array $array): Published {}
    }

    /** A message to publish with others, or one read from a channel's history. */
    final readonly class Message
    {
        /** @var non-empty-string */
        public string $channel;
        /** As given; from the history a string, or the value that the JSON stands for, objects as arrays. */
        public mixed $data;
        public ?string $event;
        public ?string $event_id;
        /** Not known of a message from the history. */
        public ?int $ttl;
        public bool $store;
        /** Not known of a message from the history. */
        public ?string $dedupe;
        /** From the history: the channel's number of it. */
        public ?int $id;
        /** From the history: its place in the order over all channels. */
        public ?string $position;
        /** From the history: when it was published, in seconds since 1970. */
        public ?int $time;

        /**
         * All as for push_publish(). Data other than a string is encoded when it is published.
         *
         * @param non-empty-string $channel
         * @param ?non-empty-string $event
         * @param ?non-empty-string $event_id
         * @param ?positive-int $ttl
         * @param ?non-empty-string $dedupe
         */
        public function __construct(string $channel, mixed $data, ?string $event = null, ?string $event_id = null, ?int $ttl = null, bool $store = true, ?string $dedupe = null) {}

        /** For what var_export() wrote. */
        public static function __set_state(array $array): Message {}
    }

    /** A channel's counters at one moment. */
    final readonly class ChannelInfo
    {
        public string $name;
        /** Messages published since it exists. */
        public int $published;
        /** Messages stored now. */
        public int $stored;
        /** Subscriptions open now. */
        public int $subscribers;
        /** The user given when it was created. */
        public ?string $owner;
        /** Seconds without use after which it goes; null for a channel made by use alone. */
        public ?int $ttl;
        /** Position of its newest message, "0.0" before the first. */
        public string $position;

        /** For what var_export() wrote. */
        public static function __set_state(array $array): ChannelInfo {}
    }

    /** A user who is online. */
    final readonly class Member
    {
        public string $user;
        /** What others are told about the user. */
        public array $info;
        /** Connections open now; 0 while only push_presence_online() or the grace after the last one holds. */
        public int $connections;
        /** When the user joined, in seconds since 1970. */
        public int $since;

        /** For what var_export() wrote. */
        public static function __set_state(array $array): Member {}
    }

}

namespace Push\Exception {

    /** Everything this extension throws at run time. */
    interface PushException extends \Throwable {}

    /** No hub answers: not started, ended during the call, or its socket is out of reach. The message names the cure. */
    class HubUnavailable extends \RuntimeException implements PushException {}

    /** The hub did not answer within push.timeout; the call may still take effect. */
    class Timeout extends \RuntimeException implements PushException {}

    class ChannelNotFound extends \RuntimeException implements PushException {}

    class AccessDenied extends \RuntimeException implements PushException {}

    class PayloadTooLarge extends \RuntimeException implements PushException {}

    class LimitExceeded extends \RuntimeException implements PushException {}

    /** The data cannot be encoded as JSON; getPrevious() is the JsonException. */
    class EncodingError extends \RuntimeException implements PushException {}

}
