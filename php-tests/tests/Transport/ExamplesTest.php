<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Connection;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Nginx;
use Push\Tests\Support\Response;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** The servers of examples/nginx: what they are for works, and what they keep out stays out. accel.conf has a test of its own. */
final class ExamplesTest extends TestCase
{
    private const UPGRADE = [
        'Connection' => 'Upgrade', 'Upgrade' => 'websocket',
        'Sec-WebSocket-Version' => '13', 'Sec-WebSocket-Key' => 'dGhlIHNhbXBsZSBub25jZQ==',
    ];
    private const FORGED = 'X-Push-Identity: {"channels":["secret"],"user":"admin"}';

    private static FpmPool $fpm;
    private static Nginx $nginx;
    private static string $secure;
    private static string $admin;
    private static string $certificate;
    private static Nginx $tls;

    public static function setUpBeforeClass(): void
    {
        self::$fpm = FpmPool::start(['push.authorized_channels_only' => 'token']);
        [self::$secure, self::$admin] = ['127.0.0.1:' . Machine::freePort(), '127.0.0.1:' . Machine::freePort()];
        $tls = self::certify('127.0.0.1');
        self::$certificate = "$tls/site.crt";
        // The public server and the private one are in one nginx, as on one machine.
        self::$nginx = Nginx::examples(['proxy', 'admin'], self::$fpm, further: [
            'listen 127.0.0.1:8381;' => 'listen ' . self::$admin . ';',
        ]);
        self::$tls = Nginx::examples(['tls'], self::$fpm, further: [
            'listen 443 ssl;' => 'listen ' . self::$secure . ' ssl;', '/etc/nginx/tls' => $tls,
        ]);
    }

    public static function tearDownAfterClass(): void
    {
        self::$tls->stop();
        self::$nginx->stop();
        self::$fpm->stop();
    }

    /** The directory of a certificate that its own key has signed. */
    private static function certify(string $name): string
    {
        $directory = Directory::make('tls');
        file_put_contents("$directory/openssl.cnf", "[req]\ndistinguished_name=n\n[n]\n[own]\nsubjectAltName=IP:$name\nbasicConstraints=CA:TRUE\n");
        $options = ['config' => "$directory/openssl.cnf", 'x509_extensions' => 'own', 'digest_alg' => 'sha256', 'private_key_bits' => 2048];
        $key = openssl_pkey_new($options);
        $request = openssl_csr_new(['commonName' => $name], $key, $options);
        openssl_x509_export_to_file(openssl_csr_sign($request, null, $key, 1, $options), "$directory/site.crt");
        openssl_pkey_export_to_file($key, "$directory/site.key", null, $options);

        return $directory;
    }

    private static function php(string $code): mixed
    {
        return self::$fpm->run($code);
    }

    private static function subscribers(string $channel): int
    {
        return self::php("return push_channel_info('$channel')?->subscribers ?? 0;");
    }

    private static function raw(string $address, string $bytes): Response
    {
        $browser = new Subscriber($address);
        $browser->send($bytes);

        return $browser->answer();
    }

    /** @param array<string, string> $headers */
    private static function get(string $address, string $target, array $headers = []): Response
    {
        $browser = new Subscriber($address);
        $browser->ask($target, $headers);

        return $browser->answer();
    }

    /** A browser at the server with TLS, to which nobody else can have answered. */
    private static function secure(array $options = [])
    {
        $options += ['cafile' => self::$certificate, 'peer_name' => '127.0.0.1'];
        $socket = @stream_socket_client('ssl://' . self::$secure, $code, $text, 5.0, STREAM_CLIENT_CONNECT, stream_context_create(['ssl' => $options]));
        if ($socket !== false) {
            stream_set_timeout($socket, 10);
        }

        return $socket;
    }

    /** What comes on the stream up to this text. */
    private static function until($socket, string $text): string
    {
        $received = '';
        while (!str_contains($received, $text)) {
            $bytes = fread($socket, 8192);
            self::assertNotSame('', (string) $bytes, "instead of \"$text\" the end, after $received");
            $received .= $bytes;
        }

        return $received;
    }

    public function testPagesListenAndPhpRunsBesides(): void
    {
        [$token, $position] = self::php("return [push_token('news', 7), push_position()];");
        self::php("push_publish('news', 'hello');");
        $answer = self::get(self::$nginx->address, "/sub/news?position=$position&token=$token");
        self::assertSame([200, 'hello'], [$answer->status, $answer->body]);
        $browser = new Subscriber(self::$nginx->address);
        $browser->ask('/sub/news', ['Authorization' => "Bearer $token"]);
        Wait::until(fn (): bool => self::subscribers('news') === 1, 'it waits');
        self::php("push_publish('news', 'live');");
        self::assertSame('live', $browser->answer()->body);
        self::assertSame(7, self::get(self::$nginx->address, '/' . basename(self::$fpm->script('return 7;')))->json());
        self::assertSame(200, self::get(self::$nginx->address, '/push.js')->status);
    }

    public function testATokenOpensWhatItNamesAndNothingElse(): void
    {
        $token = self::php("return push_token(['mine', 'mine.*'], 7);");
        $address = self::$nginx->address;
        foreach (['other', 'mine/other', 'other/mine', 'mine%2fother', '../other', 'mine/../other', '%2e%2e/other', '/other', 'mineX', 'MINE', '*', 'ALL'] as $path) {
            foreach (['poll', 'stream', 'ev', 'presence'] as $location) {
                $status = self::get($address, "/$location/$path?token=$token")->status;
                self::assertContains($status, [400, 403, 404], "/$location/$path");
            }
        }
        $socket = new Connection($address, "/ws/other?token=$token", self::UPGRADE);
        self::assertMatchesRegularExpression('~\{"http_status": ?403~', $socket->end());
        foreach (['', "$token.", substr($token, 0, -2), "$token&token=$token", str_replace('.', '%2e', $token) . 'x'] as $forged) {
            self::assertSame(401, self::get($address, "/poll/mine?token=$forged")->status);
        }
        foreach ([self::FORGED, str_replace('-', '_', self::FORGED), self::FORGED . "\r\n" . self::FORGED] as $header) {
            foreach (['/poll/secret', '/presence/secret', '/sub/secret'] as $path) {
                self::assertSame(401, self::raw($address, "GET $path HTTP/1.1\r\nHost: test\r\n$header\r\n\r\n")->status);
            }
        }
        self::assertSame(304, self::get($address, "/poll/mine/mine.1?token=$token")->status, 'and what it names is open');
        self::assertSame(0, self::subscribers('other') + self::subscribers('secret'));
    }

    public function testACookieIsNoneOfOtherSites(): void
    {
        $cookie = ['Cookie' => 'push_token=' . self::php("return push_token('news', 7);")];
        $address = self::$nginx->address;
        self::assertSame(304, self::get($address, '/poll/news', $cookie)->status);
        self::assertSame(304, self::get($address, '/poll/news', $cookie + ['Origin' => 'http://test'])->status);
        self::assertSame(401, self::get($address, '/poll/news?callback=steal', $cookie)->status, 'for JSONP there is no cookie');
        foreach (['https://evil.example', 'null', 'http://test.evil.example', 'http://test:81'] as $origin) {
            $answer = self::get($address, '/poll/news', $cookie + ['Origin' => $origin]);
            self::assertSame(403, $answer->status, $origin);
            self::assertArrayNotHasKey('access-control-allow-origin', $answer->headers);
        }
        foreach ([[], ['Origin' => 'https://evil.example'], ['Origin' => 'http://' . self::$nginx->foreign]] as $origin) {
            $socket = new Connection($address, '/ws/news', $cookie + $origin + self::UPGRADE);
            self::assertMatchesRegularExpression('~\{"http_status": ?403~', $socket->end());
        }
        $own = new Connection($address, '/ws/news', $cookie + ['Origin' => "http://$address"] + self::UPGRADE);
        self::assertStringContainsString('101 Switching Protocols', $own->until("\r\n\r\n"));
        Wait::until(fn (): bool => self::subscribers('news') === 1, 'a page of this host listens');
        $own->close();
    }

    public function testNothingOfTheAdminSocketIsPublic(): void
    {
        $before = self::php("push_publish('kept', 'x'); return push_channel_info('kept')->published;");
        $admin = self::$admin;
        $servers = [self::$nginx->address, self::$nginx->foreign, self::$tls->address, self::$fpm->address];
        foreach ([
            '/pub?id=kept', '/pub/?id=kept', '//pub?id=kept', '/sub/../pub?id=kept', '/sub/%2e%2e/pub?id=kept', '/sub/..%2fpub?id=kept',
            '/sub//..//..//pub?id=kept', '/%70ub?id=kept', '/sub/x/..;/pub?id=kept', '/channels-stats', '/metrics', '//metrics', '/sub/../metrics',
            '/push.js/../pub?id=kept', '/ws/../pub?id=kept', "http://$admin/metrics", "http://127.0.0.1/metrics", "http://localhost/pub?id=kept",
        ] as $target) {
            foreach (['GET', 'POST', 'DELETE'] as $method) {
                foreach (['test', '127.0.0.1', 'localhost', $admin] as $host) {
                    foreach ($servers as $server) {
                        $body = $method === 'POST' ? 'forged' : '';
                        $answer = self::raw($server, "$method $target HTTP/1.1\r\nHost: $host\r\nX-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /metrics\r\n"
                            . 'Content-Length: ' . strlen($body) . "\r\nConnection: close\r\n\r\n$body");
                        self::assertContains($answer->status, [301, 400, 401, 403, 404, 405], "$method $target Host: $host at $server");
                        self::assertStringNotContainsString('push_channels', $answer->body);
                    }
                }
            }
        }
        self::assertSame($before, self::php("return push_channel_info('kept')->published;"));
    }

    public function testWhatIsSmuggledIsNotServed(): void
    {
        $before = self::php("push_publish('kept', 'x'); return push_channel_info('kept')->published;");
        $token = self::php("return push_token('news', 7);");
        $inner = "POST /pub?id=kept HTTP/1.1\r\nHost: test\r\n" . self::FORGED . "\r\nContent-Length: 6\r\n\r\nforged";
        $chunked = dechex(strlen($inner)) . "\r\n$inner\r\n0\r\n\r\n";
        foreach ([self::$nginx->address, self::$fpm->address] as $address) {
            foreach (['GET', 'POST'] as $method) {
                $head = "$method /poll/news?token=$token HTTP/1.1\r\nHost: test\r\n";
                foreach ([
                    "{$head}Content-Length: " . strlen($inner) . "\r\n\r\n$inner",
                    "{$head}Transfer-Encoding: chunked\r\n\r\n$chunked",
                    "{$head}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n$chunked",
                    "{$head}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n$chunked",
                    "{$head}Content-Length: 0\r\nContent-Length: " . strlen($inner) . "\r\n\r\n$inner",
                    "{$head}Content-Length: " . strlen($inner) . ", 0\r\n\r\n$inner",
                    "{$head}Transfer-Encoding: xchunked\r\nContent-Length: " . strlen($inner) . "\r\n\r\n$inner",
                    "{$head}Transfer-Encoding : chunked\r\n\r\n$chunked",
                    "{$head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n$chunked",
                    "{$head} Content-Length: 0\r\nContent-Length: " . strlen($inner) . "\r\n\r\n$inner",
                    "{$head}Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: " . strlen($inner) . "\r\n\r\n$inner",
                ] as $bytes) {
                    $connection = new Subscriber($address);
                    $connection->send($bytes);
                    self::assertContains($connection->answer()->status, [304, 400, 405, 501], $bytes);
                    $connection->close();
                }
            }
            // What is kept of connections between nginx and the hub is in order.
            self::assertSame(304, self::get($address, "/poll/news?token=$token")->status);
        }
        self::assertSame($before, self::php("return push_channel_info('kept')->published;"));
        self::assertFalse(self::php("return push_presence_is_online('admin');"));
    }

    public function testTlsIsWhatBrowsersGet(): void
    {
        $answer = self::get(self::$tls->address, '/sub/news?position=0.0');
        self::assertSame([301, 'https://test/sub/news?position=0.0'], [$answer->status, $answer->headers['location']]);
        self::assertFalse(self::secure(['crypto_method' => STREAM_CRYPTO_METHOD_TLSv1_1_CLIENT]), 'too old');
        self::assertFalse(self::secure(['peer_name' => 'another.example']), 'a certificate of another host');
        $token = self::php("return push_token('tls', 7);");
        $browser = self::secure();
        $origin = 'https://' . self::$secure;
        fwrite($browser, "GET /ev/tls HTTP/1.1\r\nHost: " . self::$secure . "\r\nCookie: push_token=$token\r\nOrigin: $origin\r\n\r\n");
        $head = self::until($browser, "\r\n\r\n");
        self::assertStringContainsString('text/event-stream', $head);
        self::assertStringContainsString('Strict-Transport-Security: max-age=', $head);
        Wait::until(fn (): bool => self::subscribers('tls') === 1, 'it listens');
        self::php("push_publish('tls', 'hello');");
        self::until($browser, "data: hello\n\n");
        fclose($browser);
        $foreign = self::secure();
        fwrite($foreign, "GET /ev/tls HTTP/1.1\r\nHost: " . self::$secure . "\r\nCookie: push_token=$token\r\nOrigin: https://evil.example\r\n\r\n");
        self::assertStringContainsString(' 403 ', self::until($foreign, "\r\n\r\n"));
        fwrite($plain = stream_socket_client('tcp://' . self::$secure), "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        self::assertStringContainsString(' 400 ', stream_get_contents($plain));
        $page = self::secure();
        fwrite($page, 'GET /' . basename(self::$fpm->script("return \$_SERVER['HTTPS'] ?? null;")) . " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        self::assertStringContainsString('"on"', stream_get_contents($page), 'PHP knows, and makes its cookies Secure');
    }

    public function testNoLogNamesAChannelOrAToken(): void
    {
        $token = self::php("return push_token(['room-of-ann'], user: 'ann');");
        $address = self::$nginx->address;
        $poll = new Subscriber($address);
        $poll->ask("/sub/room-of-ann?token=$token");
        $streams = [
            new Connection($address, "/ev/room-of-ann?token=$token"),
            new Connection($address, "/ws/room-of-ann?token=$token", self::UPGRADE),
        ];
        Wait::until(static fn (): bool => self::subscribers('room-of-ann') === 3, 'all of them listen');
        $pid = self::php("return push_status()['pid'];");
        posix_kill($pid, SIGKILL);
        array_walk($streams, static fn (Connection $stream) => $stream->end());
        Wait::until(static fn (): bool => self::php("return push_ping() && push_status()['pid'] !== $pid;"), 'the next hub');
        self::get($address, '/nothing');
        Wait::until(static fn (): bool => str_contains(self::$nginx->log(), '/nothing'), 'nginx logs other requests');
        self::assertStringNotContainsString('room-of-ann', self::$nginx->log());
        self::assertStringNotContainsString($token, self::$nginx->log());
    }

    public function testMonitoringGetsItsCountersAndNothingElse(): void
    {
        $get = static fn (string $target, string $host, string $method = 'GET'): Response
            => self::raw(self::$admin, "$method $target HTTP/1.1\r\nHost: $host\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        foreach (['127.0.0.1', 'localhost', self::$admin] as $host) {
            self::assertStringContainsString('push_channels', $get('/metrics', $host)->body);
            self::assertSame('ok', trim($get('/healthz', $host)->body));
        }
        $before = self::php("push_publish('kept', 'x'); return push_channel_info('kept')->published;");
        foreach ([
            '/pub?id=kept', '/metrics/../pub?id=kept', '/metrics/%2e%2e/pub?id=kept', '/metrics/..%2fpub?id=kept', '/metrics/', '/metrics/pub?id=kept',
            '/metrics;/../pub?id=kept', '/healthz/../channels-stats', '/channels-stats', '/', '//pub?id=kept', '/metrics%2f..%2fpub?id=kept',
            '/metrics%3fx/../../pub?id=kept', '/sub/kept', '/metrics%20HTTP/1.1%0d%0a%0d%0aDELETE%20/pub?id=kept',
        ] as $target) {
            foreach (['GET', 'POST', 'PUT', 'DELETE'] as $method) {
                self::assertContains($get($target, 'localhost', $method)->status, [400, 403, 404], "$method $target");
            }
        }
        foreach (['POST', 'PUT', 'DELETE', 'OPTIONS'] as $method) {
            self::assertSame(403, $get('/metrics?id=kept', 'localhost', $method)->status, $method);
        }
        foreach (['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example', 'evil.example:8381', 'xlocalhost'] as $host) {
            self::assertSame(403, $get('/metrics', $host)->status, $host);
            self::assertSame(403, $get("http://$host/metrics", 'localhost')->status, $host);
        }
        self::assertSame($before, self::php("return push_channel_info('kept')->published;"));
    }
}
