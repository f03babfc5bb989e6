<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use Push\Tests\Support\Hub;
use Push\Tests\Support\Response;
use Push\Tests\Support\Subscriber;

/** Calls from files with and without strict types, and what a subscriber gets of them. */
trait Calls
{
    /** @var list<string> deprecations and warnings of the last call */
    private array $raised = [];

    public static function setUpBeforeClass(): void
    {
        Hub::shared();
    }

    private function call(bool $strict, string $function, array $arguments): mixed
    {
        $this->raised = [];
        set_error_handler(function (int $level, string $text): bool {
            $this->raised[] = $text;

            return true;
        });
        try {
            return eval('declare(strict_types=' . (int) $strict . '); return $function(...$arguments);');
        } finally {
            restore_error_handler();
        }
    }

    /** A name that no other test has. */
    private static function channel(): string
    {
        return 'test-' . bin2hex(random_bytes(8));
    }

    /** All that is stored in a channel, by an ordinary poll. */
    private static function stored(string $channel): Response
    {
        return Subscriber::get(Hub::shared()->address, '/poll/' . rawurlencode($channel) . '?position=0.0');
    }

    /** @return list<array<string, mixed>> the stored messages with all their fields */
    private static function messages(string $channel): array
    {
        $subscriber = new Subscriber(Hub::shared()->address);
        $subscriber->ask('/poll/' . rawurlencode($channel) . '?position=0.0', ['Accept' => 'application/json']);

        return $subscriber->answer()->json()['messages'];
    }
}
