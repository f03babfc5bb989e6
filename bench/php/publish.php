<?php

/**
 * Times one way of publishing: php publish.php WAY PACE CALLS CHANNEL [URL]
 *
 * WAY is push_publish, push_publish_async, push_publish_many (a call sends 1,000 messages, which are made before it is
 * timed), curl (a kept connection that posts to URL), curl_new (a new connection each time), or redis (PUBLISH by php-redis
 * over the unix socket URL), or, without publishing, push_presence_is_online and push_presence_members (of 1,000 members in
 * CHANNEL). PACE is hot (call after call) or paced (one call every 0.5 ms, so that the server sleeps at each; this process
 * computes meanwhile, as a request does before it publishes). Messages are numbered from 1, 100 bytes each. With
 * push.mode=embedded the hub ends with this process, so that what it stored is looked at here. Prints one JSON line. Under
 * php-fpm the arguments come as ?0=WAY&1=PACE&...
 */

declare(strict_types=1);

const INTERVAL = 500_000;
const WARM_UP = 200;
const BATCH = 1000;
const MEMBERS = 1000;

$arguments = PHP_SAPI === 'cli' ? array_slice($argv, 1) : array_map(urldecode(...), $_GET);
[$way, $pace, $calls, $channel] = $arguments;
$calls = (int) $calls;

/** Ends the script where PHP would only warn. */
set_error_handler(static fn (int $level, string $message) => throw new ErrorException($message, 0, $level));

function posting_to(string $url, bool $anew): Closure
{
    $curl = curl_init($url);
    curl_setopt_array($curl, [
        CURLOPT_POST => true,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => ['Content-Type: text/plain', 'Expect:'],
        CURLOPT_TIMEOUT => 5,
        CURLOPT_FRESH_CONNECT => $anew,
        CURLOPT_FORBID_REUSE => $anew,
    ]);

    return static function (string $channel, string $text) use ($curl): void {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $text);
        $answer = curl_exec($curl);
        if ($answer === false || curl_getinfo($curl, CURLINFO_RESPONSE_CODE) >= 300) {
            throw new RuntimeException(curl_error($curl) ?: $answer);
        }
    };
}

function to_redis(string $socket): Closure
{
    $redis = new Redis();
    $redis->connect($socket);

    return static function (string $channel, string $text) use ($redis): void {
        if ($redis->publish($channel, $text) === false) {
            throw new RuntimeException($redis->getLastError());
        }
    };
}

/** Asks $question, whose answer is to be true, in a channel that has so many members at the first call. */
function asking_among_members(Closure $question): Closure
{
    $ready = false;

    return static function (string $channel) use ($question, &$ready): void {
        for (; !$ready; $ready = true) {
            foreach (range(1, MEMBERS) as $user) {
                push_presence_online($user, $channel, ['nick' => "Member $user"], 3600);
            }
        }
        if (!$question($channel)) {
            throw new RuntimeException('the members are not there');
        }
    };
}

$publish = match ($way) {
    'push_publish' => push_publish(...),
    'push_publish_async' => push_publish_async(...),
    'push_publish_many' => static fn (string $channel, array $messages) => push_publish_many($messages),
    'push_presence_is_online' => asking_among_members(static fn (string $channel): bool => push_presence_is_online(500, $channel)),
    'push_presence_members' => asking_among_members(
        static fn (string $channel): bool => count(push_presence_members($channel)) === MEMBERS,
    ),
    'curl' => posting_to("$arguments[4]?id=$channel", anew: false),
    'curl_new' => posting_to("$arguments[4]?id=$channel", anew: true),
    'redis' => to_redis($arguments[4]),
};
$between = match ($pace) {
    'hot' => 0,
    'paced' => INTERVAL,
};

$text = static fn (int $number): string => str_pad(sprintf('%010d', $number), 100, '.');
$message = static fn (int $number): Push\Message => new Push\Message($channel, $text($number));
$batch = $way === 'push_publish_many' ? BATCH : 1;

$times = array_fill(0, $calls, 0);
$begin = $start = hrtime(true);
for ($i = 0; $i < $calls; $i++) {
    $data = $batch === 1 ? $text($i + 1) : array_map($message, range($i * BATCH + 1, ($i + 1) * BATCH));
    $due = $start + $between;
    while ($between > 0 && hrtime(true) < $due);
    $start = hrtime(true);
    $publish($channel, $data);
    $times[$i] = hrtime(true) - $start;
}
$end = hrtime(true);

if (extension_loaded('push') && ini_get('push.mode') === 'embedded') {
    $stored = array_map(static fn (Push\Message $message): int => (int) $message->data, push_history($channel));
    if (count($stored) !== 100 || $stored !== range($calls * $batch - 99, $calls * $batch)) {
        throw new RuntimeException('the hub stored something else than the last messages: ' . implode(', ', $stored));
    }
}

// The first calls attach or connect, and warm caches.
$times = array_slice($times, WARM_UP);
sort($times);
$at = static fn (float $share): float => $times[(int) ($share * (count($times) - 1))] / 1000;
echo json_encode([
    'p50_us' => $at(0.50),
    'p99_us' => $at(0.99),
    'calls_per_second' => round($calls / (($end - $begin) / 1e9)),
]), "\n";
