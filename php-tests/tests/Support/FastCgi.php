<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/** The client side of FastCGI, as far as one request without a body needs it. */
final class FastCgi
{
    private const BEGIN = 1;
    private const END = 3;
    private const PARAMS = 4;
    private const STDIN = 5;
    private const STDOUT = 6;
    private const RESPONDER = 1;

    /** @param array<string, string> $params */
    public static function request(string $path, array $params, float $seconds = 15.0): Response
    {
        $socket = @stream_socket_client("unix://$path", $code, $text, $seconds);
        if ($socket === false) {
            throw new RuntimeException("$path: $text");
        }
        stream_set_timeout($socket, (int) $seconds);
        $pairs = '';
        foreach ($params as $name => $value) {
            $pairs .= pack('NN', strlen($name) | 1 << 31, strlen($value) | 1 << 31) . $name . $value;
        }
        @fwrite($socket, self::record(self::BEGIN, pack('nCx5', self::RESPONDER, 0))
            . self::record(self::PARAMS, $pairs) . self::record(self::PARAMS, '') . self::record(self::STDIN, ''));
        $output = '';
        while (($header = self::read($socket, 8)) !== null) {
            ['type' => $type, 'length' => $length, 'padding' => $padding] =
                unpack('Cversion/Ctype/nid/nlength/Cpadding', $header);
            $content = self::read($socket, $length + $padding);
            if ($type === self::STDOUT) {
                $output .= substr((string) $content, 0, $length);
            } elseif ($type === self::END) {
                return self::response($output);
            }
        }
        throw new RuntimeException("php-fpm closed the connection after \"$output\"");
    }

    private static function record(int $type, string $content): string
    {
        return pack('CCnnCx', 1, $type, 1, strlen($content), 0) . $content;
    }

    /** @param resource $socket */
    private static function read($socket, int $length): ?string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $more = @fread($socket, $length - strlen($bytes));
            if ($more === false || $more === '') {
                return null;
            }
            $bytes .= $more;
        }

        return $bytes;
    }

    private static function response(string $output): Response
    {
        [$head, $body] = explode("\r\n\r\n", $output, 2) + [1 => ''];
        $headers = Response::headers(array_filter(explode("\r\n", $head)));

        return new Response((int) ($headers['status'] ?? 200), $headers, $body);
    }
}
