<?php
// What the chat keeps: people, rooms, messages and what was read, in one SQLite file.
//
// Every function is one short transaction, and what it changed is committed when it returns. Who is told about a
// change is decided in live.php, who may make one in the pages under public/.

declare(strict_types=1);

const ROOM_LIMIT = 30;          // every page follows all rooms in one request, max_channels_per_subscription is 100
const PEOPLE_LIMIT = 200;
const HISTORY_LIMIT = 50;       // messages of each conversation that a page begins with

function database(): PDO
{
    static $pdo = null;
    if ($pdo !== null) {
        return $pdo;
    }
    $pdo = new PDO('sqlite:' . getenv('IM_DATABASE'), options: [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
    ]);
    // WAL: who reads history never waits for who writes. Two writers wait for each other, at most 5 s.
    $pdo->exec('PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON');
    if ($pdo->query('PRAGMA user_version')->fetchColumn() === 0) {
        create_tables($pdo);
    }
    return $pdo;
}

function create_tables(PDO $pdo): void
{
    $pdo->exec('BEGIN IMMEDIATE');
    // Another worker may have been first.
    if ($pdo->query('PRAGMA user_version')->fetchColumn() === 0) {
        $pdo->exec(<<<'SQL'
            CREATE TABLE people (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                nick TEXT NOT NULL COLLATE NOCASE,
                session TEXT,                       -- SHA-256 of the cookie; NULL: signed out
                channel TEXT                        -- the private channel; NULL until the page is opened
            );
            CREATE UNIQUE INDEX people_session ON people (session);
            CREATE UNIQUE INDEX people_nick ON people (nick) WHERE session IS NOT NULL;
            CREATE TABLE rooms (
                id INTEGER PRIMARY KEY,
                name TEXT NOT NULL UNIQUE COLLATE NOCASE,
                channel TEXT NOT NULL
            );
            CREATE TABLE messages (
                id INTEGER PRIMARY KEY AUTOINCREMENT,
                sender INTEGER NOT NULL REFERENCES people (id),
                room INTEGER REFERENCES rooms (id),             -- either a room
                recipient INTEGER REFERENCES people (id),       -- or one person
                text TEXT NOT NULL,
                time INTEGER NOT NULL,
                key TEXT NOT NULL,                              -- the page's own: what it sends again is the same message
                UNIQUE (sender, key),
                CHECK ((room IS NULL) <> (recipient IS NULL))
            );
            CREATE INDEX messages_room ON messages (room, id) WHERE room IS NOT NULL;
            CREATE INDEX messages_sender ON messages (sender, id) WHERE recipient IS NOT NULL;
            CREATE INDEX messages_recipient ON messages (recipient, id) WHERE recipient IS NOT NULL;
            CREATE TABLE reads (
                person INTEGER NOT NULL REFERENCES people (id),
                conversation TEXT NOT NULL,                     -- room:<id> or person:<id>
                message INTEGER NOT NULL,                       -- read up to this one
                PRIMARY KEY (person, conversation)
            ) WITHOUT ROWID;
            PRAGMA user_version = 1;
            SQL);
        run('INSERT INTO rooms (id, name, channel) VALUES (1, ?, ?)', ['Lobby', new_room_channel()], $pdo);
    }
    $pdo->exec('COMMIT');
}

/** Runs one statement; its parameters never become part of the SQL. */
function run(string $sql, array $parameters = [], ?PDO $pdo = null): PDOStatement
{
    $statement = ($pdo ?? database())->prepare($sql);
    $statement->execute($parameters);
    return $statement;
}

// People

/** The person of this session cookie: id, nick, channel. */
function person_of_session(string $session): ?array
{
    return run('SELECT id, nick, channel FROM people WHERE session = ?', [hash('sha256', $session)])->fetch() ?: null;
}

/** A signed-in person: id, nick, channel. */
function person(int $id): ?array
{
    return run('SELECT id, nick, channel FROM people WHERE id = ? AND session IS NOT NULL', [$id])->fetch() ?: null;
}

/** Signs somebody in. null: somebody else has this nick at the moment. */
function add_person(string $nick, string $session): ?array
{
    $added = run(
        'INSERT INTO people (nick, session) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id, nick',
        [$nick, hash('sha256', $session)],
    )->fetchAll();
    return $added[0] ?? null;
}

/** Signs out. The nick is free again; who takes it is another person and sees nothing of this one. */
function end_session(int $id): void
{
    run('UPDATE people SET session = NULL WHERE id = ?', [$id]);
}

/** Keeps the private channel of a person; answers the one that is kept, should two pages have been opened at once. */
function keep_channel(int $id, string $channel): string
{
    run('UPDATE people SET channel = ? WHERE id = ? AND channel IS NULL', [$channel, $id]);
    return run('SELECT channel FROM people WHERE id = ?', [$id])->fetchColumn();
}

/** Everybody who is signed in, the newest first: id, nick. */
function people(): array
{
    return run('SELECT id, nick FROM people WHERE session IS NOT NULL ORDER BY id DESC LIMIT ' . PEOPLE_LIMIT)->fetchAll();
}

// Rooms

/** All rooms, the oldest (the lobby) first: id, name, channel. */
function rooms(): array
{
    return run('SELECT id, name, channel FROM rooms ORDER BY id')->fetchAll();
}

/** One room: id, name, channel. */
function room(int $id): ?array
{
    return run('SELECT id, name, channel FROM rooms WHERE id = ?', [$id])->fetch() ?: null;
}

/** A new room: id, name, channel. null: the name is taken, or there are ROOM_LIMIT rooms. */
function add_room(string $name): ?array
{
    $added = run(
        'INSERT INTO rooms (name, channel) SELECT ?, ? WHERE (SELECT count(*) FROM rooms) < ?
         ON CONFLICT DO NOTHING RETURNING id, name, channel',
        [$name, new_room_channel(), ROOM_LIMIT],
    )->fetchAll();
    return $added[0] ?? null;
}

/** Whoever knows a channel's name may listen to it, so a room's cannot be guessed and only signed-in people get it. */
function new_room_channel(): string
{
    return 'room-' . bin2hex(random_bytes(16));
}

// Messages, as they go to the page: id, room|null, from{id,nick}, to{id,nick}|null, text, time

const MESSAGE_COLUMNS = <<<'SQL'
    SELECT m.id, m.room, m.sender, s.nick AS sender_nick, m.recipient, r.nick AS recipient_nick, m.text, m.time
    FROM messages m JOIN people s ON s.id = m.sender LEFT JOIN people r ON r.id = m.recipient
    SQL;

/** A new message. The same $key of the same sender is the same message: it is there once, however often it is sent. */
function add_message(int $sender, ?int $room, ?int $recipient, string $text, string $key): array
{
    run(
        'INSERT INTO messages (sender, room, recipient, text, time, key) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
        [$sender, $room, $recipient, $text, time(), $key],
    );
    return message(run(MESSAGE_COLUMNS . ' WHERE m.sender = ? AND m.key = ?', [$sender, $key])->fetch());
}

/** The messages of one conversation before this one, in order. */
function messages_before(int $person, ?int $room, ?int $other, int $before): array
{
    [$which, $of] = $room !== null
        ? ['m.room = ?', [$room]]
        : ['((m.sender = ? AND m.recipient = ?) OR (m.sender = ? AND m.recipient = ?))', [$person, $other, $other, $person]];
    $found = run(MESSAGE_COLUMNS . " WHERE $which AND m.id < ? ORDER BY m.id DESC LIMIT ?", [...$of, $before, HISTORY_LIMIT]);
    return array_reverse(array_map(message(...), $found->fetchAll()));
}

/** The newest messages of every conversation that this person may read, in order. */
function history(int $person): array
{
    $found = [];
    foreach (rooms() as $room) {
        $latest = run(MESSAGE_COLUMNS . ' WHERE m.room = ? ORDER BY m.id DESC LIMIT ?', [$room['id'], HISTORY_LIMIT]);
        array_push($found, ...$latest->fetchAll());
    }
    $latest = run(
        'WITH mine AS (
             SELECT id, recipient AS other FROM messages WHERE sender = :me AND recipient IS NOT NULL
             UNION ALL
             SELECT id, sender AS other FROM messages WHERE recipient = :me
         ), numbered AS (
             SELECT id, row_number() OVER (PARTITION BY other ORDER BY id DESC) AS age FROM mine
         )
         ' . MESSAGE_COLUMNS . ' JOIN numbered ON numbered.id = m.id AND numbered.age <= :limit',
        ['me' => $person, 'limit' => HISTORY_LIMIT],
    );
    array_push($found, ...$latest->fetchAll());
    $messages = array_map(message(...), $found);
    usort($messages, fn (array $a, array $b): int => $a['id'] <=> $b['id']);
    return $messages;
}

function message(array $row): array
{
    return [
        'id' => $row['id'],
        'room' => $row['room'],
        'from' => ['id' => $row['sender'], 'nick' => $row['sender_nick']],
        'to' => $row['recipient'] === null ? null : ['id' => $row['recipient'], 'nick' => $row['recipient_nick']],
        'text' => $row['text'],
        'time' => $row['time'],
    ];
}

// What was read

/** This person has read the conversation up to this message. */
function mark_read(int $person, string $conversation, int $message): void
{
    run(
        'INSERT INTO reads (person, conversation, message) VALUES (?, ?, ?)
         ON CONFLICT DO UPDATE SET message = max(message, excluded.message)',
        [$person, $conversation, $message],
    );
}

/** Up to which message each conversation was read: room:1 => 17. */
function read_marks(int $person): array
{
    return run('SELECT conversation, message FROM reads WHERE person = ?', [$person])->fetchAll(PDO::FETCH_KEY_PAIR);
}

/** A new person begins with nothing unread. */
function mark_rooms_read(int $person): void
{
    run(
        "INSERT INTO reads (person, conversation, message)
         SELECT ?, 'room:' || room, max(id) FROM messages WHERE room IS NOT NULL GROUP BY room",
        [$person],
    );
}
