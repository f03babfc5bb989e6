<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** Waiting for conditions, never for durations. */
final class Wait
{
    /**
     * What $condition returns once it is neither null nor false.
     *
     * @template T
     * @param callable(): (T|null|false) $condition
     * @return T
     */
    public static function until(callable $condition, string $what, float $seconds = 10.0): mixed
    {
        $deadline = microtime(true) + $seconds;
        do {
            $result = $condition();
            if ($result !== null && $result !== false) {
                return $result;
            }
            usleep(2000);
        } while (microtime(true) < $deadline);

        throw new RuntimeException("not within $seconds s: $what");
    }
}
