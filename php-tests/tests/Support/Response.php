<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** An HTTP response, or the part of a FastCGI answer that is one. */
final class Response
{
    /** @param array<string, string> $headers by lower-case name */
    public function __construct(
        public readonly int $status,
        public readonly array $headers,
        public readonly string $body,
    ) {
    }

    public function json(): mixed
    {
        return json_decode($this->body, true, 512, JSON_THROW_ON_ERROR);
    }

    /** The position after this answer, as the headers of a long-poll give it. */
    public function position(): string
    {
        $tag = preg_match('~^W/"?(\d+)"?$~', $this->headers['etag'] ?? '', $match) ? $match[1] : '';

        return strtotime($this->headers['last-modified'] ?? '') . '.' . $tag;
    }

    /**
     * @param list<string> $lines
     * @return array<string, string>
     */
    public static function headers(array $lines): array
    {
        $headers = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2);
            $headers[strtolower($name)] = trim($value);
        }

        return $headers;
    }
}
