<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** A client that sends what it is told to and keeps all that comes, for answers without end. */
final class Connection
{
    /** @var resource */
    private $socket;
    private string $received = '';

    /** @param array<string, string> $headers of a GET request */
    public function __construct(string $address, string $target, array $headers = [])
    {
        $this->socket = stream_socket_client("tcp://$address", $code, $text, 5.0)
            ?: throw new \RuntimeException("$address: $text");
        stream_set_blocking($this->socket, false);
        $lines = ["GET $target HTTP/1.1", "Host: $address"];
        foreach ($headers as $name => $value) {
            $lines[] = "$name: $value";
        }
        fwrite($this->socket, implode("\r\n", $lines) . "\r\n\r\n");
    }

    public function send(string $bytes): void
    {
        fwrite($this->socket, $bytes);
    }

    /** Waits until the text has come as often, and answers all that came so far. */
    public function until(string $text, int $times = 1, float $seconds = 10.0): string
    {
        return Wait::until(function () use ($text, $times): ?string {
            $this->read();

            return substr_count($this->received, $text) >= $times ? $this->received : null;
        }, json_encode($text, JSON_INVALID_UTF8_SUBSTITUTE) . " comes $times times", $seconds);
    }

    /** Waits for its end, and answers all that came. */
    public function end(float $seconds = 10.0): string
    {
        return Wait::until(function (): ?string {
            $this->read();

            return feof($this->socket) ? $this->received : null;
        }, 'the connection ends', $seconds);
    }

    public function close(): void
    {
        fclose($this->socket);
    }

    private function read(): void
    {
        while (($bytes = fread($this->socket, 65536)) !== false && $bytes !== '') {
            $this->received .= $bytes;
        }
    }
}
