<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** A long-poll client on one kept connection that looks at the bytes. */
final class Subscriber
{
    /** @var resource */
    private $socket;
    private string $received = '';

    /**
     * @param string $address host:port, or unix:/path
     * @param string $from Its own address, of this machine
     */
    public function __construct(string $address, string $from = '')
    {
        $target = str_starts_with($address, 'unix:') ? 'unix://' . substr($address, 5) : "tcp://$address";
        $socket = stream_socket_client(
            $target,
            $code,
            $text,
            5.0,
            context: stream_context_create($from === '' ? [] : ['socket' => ['bindto' => "$from:0"]]),
        );
        if ($socket === false) {
            throw new RuntimeException("$address: $text");
        }
        stream_set_blocking($socket, false);
        $this->socket = $socket;
    }

    /** One request on a connection of its own. */
    public static function get(string $address, string $target): Response
    {
        $subscriber = new self($address);
        $subscriber->ask($target);

        return $subscriber->answer();
    }

    /** @param array<string, string> $headers */
    public function ask(string $target, array $headers = []): void
    {
        $request = "GET $target HTTP/1.1\r\nHost: test\r\n";
        foreach ($headers as $name => $value) {
            $request .= "$name: $value\r\n";
        }
        fwrite($this->socket, "$request\r\n");
    }

    /** Bytes as they are. */
    public function send(string $bytes): void
    {
        fwrite($this->socket, $bytes);
    }

    /** Whether not one byte of an answer has come. */
    public function waits(): bool
    {
        $this->read();

        return $this->received === '' && !feof($this->socket);
    }

    /** The next answer, cut from what comes exactly where its length says. */
    public function answer(float $seconds = 10.0): Response
    {
        return Wait::until(function (): ?Response {
            $this->read();
            $response = $this->cut();
            if ($response === null && feof($this->socket)) {
                throw new RuntimeException("closed after {$this->received}");
            }

            return $response;
        }, 'an answer to the subscriber', $seconds);
    }

    public function close(): void
    {
        fclose($this->socket);
    }

    /** Waits until the server has closed, without a further byte. */
    public function assertClosed(): void
    {
        Wait::until(function (): bool {
            $this->read();
            if ($this->received !== '') {
                throw new RuntimeException("instead of the end came {$this->received}");
            }

            return feof($this->socket);
        }, 'the server closes');
    }

    private function read(): void
    {
        while (($bytes = fread($this->socket, 65536)) !== false && $bytes !== '') {
            $this->received .= $bytes;
        }
    }

    private function cut(): ?Response
    {
        $end = strpos($this->received, "\r\n\r\n");
        if ($end === false) {
            return null;
        }
        $lines = explode("\r\n", substr($this->received, 0, $end));
        if (!preg_match('~^HTTP/1\.1 (\d{3}) ~', array_shift($lines), $match)) {
            throw new RuntimeException("no status line: {$this->received}");
        }
        $status = (int) $match[1];
        $headers = Response::headers($lines);
        $rest = substr($this->received, $end + 4);
        if ($status === 304 || $status === 204) {
            [$body, $used] = ['', 0];
        } elseif (isset($headers['content-length'])) {
            $used = (int) $headers['content-length'];
            $body = substr($rest, 0, $used);
        } elseif (($headers['transfer-encoding'] ?? '') === 'chunked') {
            [$body, $used] = self::unchunk($rest) ?? [null, PHP_INT_MAX];
        } else {
            throw new RuntimeException("an answer without length: {$this->received}");
        }
        if (strlen($rest) < $used) {
            return null;
        }
        $this->received = substr($rest, $used);

        return new Response($status, $headers, $body);
    }

    /** @return ?array{string, int} the body and the bytes it took, once it is complete */
    private static function unchunk(string $bytes): ?array
    {
        $body = '';
        for ($at = 0; preg_match('~\G([0-9a-f]+)\r\n~i', $bytes, $match, 0, $at); $at += $length + 2) {
            $at += strlen($match[0]);
            $length = (int) hexdec($match[1]);
            if (strlen($bytes) < $at + $length + 2) {
                return null;
            }
            if ($length === 0) {
                return [$body, $at + 2];
            }
            $body .= substr($bytes, $at, $length);
        }

        return null;
    }
}
