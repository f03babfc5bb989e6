<?php

declare(strict_types=1);

namespace Push\Tests\Transport;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Response;
use Push\Tests\Support\Subscriber;
use Push\Tests\Support\Wait;

/** What PHP under php-fpm gives out lets browsers in, for as long as PHP wants them to stay. */
final class TokenTest extends TestCase
{
    private static FpmPool $fpm;

    public static function setUpBeforeClass(): void
    {
        self::$fpm = FpmPool::start(['push.authorized_channels_only' => 'token', 'push.log_level' => 'debug']);
    }

    public static function tearDownAfterClass(): void
    {
        self::$fpm->stop();
    }

    private static function token(string $arguments): string
    {
        return self::$fpm->run("return push_token($arguments);");
    }

    private static function poll(string $channel, string $token, string $path = 'poll'): Response
    {
        return Subscriber::get(self::$fpm->address, "/$path/$channel?token=$token");
    }

    private static function waiting(string $channel, string $token): Subscriber
    {
        $subscriber = new Subscriber(self::$fpm->address);
        $before = self::subscribers($channel);
        $subscriber->ask("/sub/$channel?token=$token");
        Wait::until(fn (): bool => self::subscribers($channel) > $before, 'it waits');

        return $subscriber;
    }

    private static function subscribers(string $channel): int
    {
        return self::$fpm->run("return push_channel_info('$channel')?->subscribers ?? 0;");
    }

    public function testOnlyATokenOfPhpOpensAChannel(): void
    {
        $channel = self::$fpm->run('return create_channel(user: 7);');
        $token = self::token("['$channel', 'news.*'], 7, info: ['nick' => 'Ann']");
        self::assertSame(304, self::poll($channel, $token)->status);
        self::assertSame(304, self::poll('news.sport', $token)->status);
        self::assertSame(403, self::poll('other', $token)->status);
        self::assertSame(401, self::poll($channel, '')->status);
        self::assertSame(401, self::poll($channel, substr($token, 0, -1))->status);
        $subscriber = self::waiting($channel, $token);
        self::$fpm->run("push_publish('$channel', 'hello');");
        self::assertSame('hello', $subscriber->answer()->body);
    }

    public function testAUserWhoSignsOutIsToldSoAndStaysOut(): void
    {
        $token = self::token("'lobby', 'ann'");
        $ann = self::waiting('lobby', $token);
        $bob = self::waiting('lobby', self::token("'lobby', 'bob'"));
        self::assertSame(1, self::$fpm->run("return push_disconnect('ann', reason: 'signed out', revoke: true);"));
        $answer = $ann->answer();
        self::assertSame([403, "signed out\n"], [$answer->status, $answer->body]);
        self::assertTrue($bob->waits());
        self::assertSame(401, self::poll('lobby', $token)->status);
        self::assertSame(304, self::poll('lobby', self::token("'lobby', 'ann'"))->status, 'who signs in again');
        self::assertSame(1, self::$fpm->run("return push_disconnect(channel: 'lobby', reason: 'closed');"));
        self::assertSame(403, $bob->answer()->status);
    }

    public function testWhatASecondGaveEndsWithIt(): void
    {
        $subscriber = self::waiting('short', self::token("'short', 7, 2"));
        $answer = $subscriber->answer();
        self::assertSame(401, $answer->status);
        $position = $answer->position();
        self::$fpm->run("push_publish('short', 'missed');");
        $token = self::token("'short', 7");
        $answer = Subscriber::get(self::$fpm->address, "/sub/short?token=$token&position=$position");
        self::assertSame([200, 'missed'], [$answer->status, $answer->body]);
        self::assertArrayNotHasKey('x-push-gap', $answer->headers);
    }

    /** @depends testAUserWhoSignsOutIsToldSoAndStaysOut */
    public function testNeitherASecretNorATokenStandsInALogAndPhpDoesNotKnowTheSecret(): void
    {
        $secret = trim((string) file_get_contents(self::$fpm->directory . '/run/secret'));
        self::assertMatchesRegularExpression('~^[\w-]{43}$~', $secret);
        $log = file_get_contents(self::$fpm->directory . '/hub.log') . self::$fpm->log();
        self::assertStringContainsString('a request was not let in: The token', $log);
        self::assertStringNotContainsString('eyJ', $log);
        self::assertStringNotContainsString($secret, $log);
        $info = self::$fpm->run('ob_start(); phpinfo(); return ob_get_clean() . serialize([ini_get_all(), $_ENV, $_SERVER]);');
        self::assertStringNotContainsString($secret, $info);
    }
}
