<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** What a call threw, and how long it took to throw it. */
final class Thrown
{
    public function __construct(
        public readonly string $class,
        public readonly string $message,
        public readonly int $code,
        public readonly float $seconds,
    ) {
    }

    /** The result of $call, or what it threw. */
    public static function catch(callable $call): mixed
    {
        $start = hrtime(true);
        try {
            return $call();
        } catch (\Throwable $e) {
            return new self($e::class, $e->getMessage(), $e->getCode(), (hrtime(true) - $start) / 1e9);
        }
    }
}
