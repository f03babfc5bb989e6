<?php

// One publisher: publishes until its time is over, however often the hub dies meanwhile, and notes each number whose call
// returned. A note is one write, so whoever kills this process finds all of them.

declare(strict_types=1);

use Push\Exception\PushException;

['run' => $run, 'channel' => $channel, 'milliseconds' => $milliseconds, 'notes' => $notes] = $_GET;

/** Longer than any interruption: what fails for so long is not tried again. */
const GIVE_UP = 30;
/** As fast as can be, so that somebody who kills this process meets a call. */
const BURST = 200;
/** Microseconds between two calls after that. */
const PACE = 3000;

$publish = (int) $run % 2 === 0 ? push_publish(...) : push_publish_async(...);
$end = hrtime(true) + (int) $milliseconds * 1_000_000;
file_put_contents("$notes/$run.pid", (string) getmypid());
$returned = fopen("$notes/$run", 'ab');
$exceptions = 0;
$longest = 0;
for ($number = 1; $number <= BURST || hrtime(true) < $end; $number++) {
    $begin = hrtime(true);
    $data = str_pad("$run:$number:$begin:", 100, '.');
    for (;;) {
        try {
            $publish($channel, $data, dedupe: "$run-$number");
            break;
        } catch (PushException $exception) {
            $exceptions++;
            if (hrtime(true) - $begin > GIVE_UP * 1_000_000_000) {
                throw $exception;
            }
            usleep(1000);
        }
    }
    $longest = max($longest, hrtime(true) - $begin);
    fwrite($returned, '.');
    if ($number >= BURST) {
        usleep(PACE);
    }
}
echo json_encode(['exceptions' => $exceptions, 'longest' => $longest]);
