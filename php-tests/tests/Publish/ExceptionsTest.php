<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;
use Push\Exception\AccessDenied;
use Push\Exception\ChannelNotFound;
use Push\Exception\EncodingError;
use Push\Exception\HubUnavailable;
use Push\Exception\LimitExceeded;
use Push\Exception\PayloadTooLarge;
use Push\Exception\PushException;
use Push\Exception\Timeout;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Php;
use RuntimeException;

/** The exceptions are ordinary ones: they say where they were thrown, and users make and extend them. */
final class ExceptionsTest extends TestCase
{
    use Calls;

    /** @return iterable<array{class-string<RuntimeException>}> */
    public function classes(): iterable
    {
        yield [HubUnavailable::class];
        yield [Timeout::class];
        yield [ChannelNotFound::class];
        yield [AccessDenied::class];
        yield [PayloadTooLarge::class];
        yield [LimitExceeded::class];
        yield [EncodingError::class];
    }

    /** @dataProvider classes */
    public function testUsersMakeAndCatchThem(string $class): void
    {
        $previous = new \LogicException('before');
        $line = __LINE__ + 1;
        $exception = new $class('text', 12, $previous);
        self::assertInstanceOf(PushException::class, $exception);
        self::assertInstanceOf(RuntimeException::class, $exception);
        self::assertSame(['text', 12, __FILE__, $line, $previous], [
            $exception->getMessage(), $exception->getCode(), $exception->getFile(), $exception->getLine(),
            $exception->getPrevious(),
        ]);
        try {
            throw $exception;
        } catch (PushException $caught) {
            self::assertSame($exception, $caught);
        }
        self::assertEquals('', (new $class())->getMessage());
    }

    /** @dataProvider classes */
    public function testUsersExtendThem(string $class): void
    {
        $short = substr(strrchr($class, '\\'), 1);
        $mine = "Mine$short";
        eval("class $mine extends $class { public function __construct(public readonly string \$more) { parent::__construct(\"more: \$more\", 5); } }");
        $exception = new $mine('x');
        self::assertInstanceOf($class, $exception);
        self::assertSame(['more: x', 5, 'x'], [$exception->getMessage(), $exception->getCode(), $exception->more]);
        self::assertStringContainsString(__FUNCTION__, $exception->getTraceAsString());
    }

    public function testAThrownOneSaysWhereAndWhat(): void
    {
        try {
            $line = __LINE__ + 1;
            push_publish($channel = self::channel(), str_repeat('x', 65537));
            self::fail('accepted');
        } catch (PayloadTooLarge $e) {
            self::assertSame([__FILE__, $line], [$e->getFile(), $e->getLine()]);
            self::assertSame('push_publish', $e->getTrace()[0]['function']);
            self::assertSame(3, $e->getCode());
            self::assertNull($e->getPrevious());
        }
    }

    public function testInAFinallyTheEarlierExceptionIsThePrevious(): void
    {
        $first = new \LogicException('first');
        try {
            try {
                throw $first;
            } finally {
                push_publish('c', NAN);
            }
        } catch (EncodingError $e) {
            self::assertInstanceOf(\JsonException::class, $e->getPrevious());
            self::assertSame($first, $e->getPrevious()->getPrevious());
        }
    }

    public function testALimitOfTheHubIsLimitExceeded(): void
    {
        $hub = Hub::start("max_number_of_channels = 2\n");
        $results = Php::run(<<<'PHP'
            create_channel();
            push_publish('second', 'x');
            $catch = Push\Tests\Support\Thrown::catch(...);
            return [
                $catch(fn () => create_channel()),
                $catch(fn () => push_publish('third', 'x')),
                push_publish('second', 'y')->id,
            ];
            PHP, ['push.socket' => $hub->socket]);
        foreach ([$results[0], $results[1]] as $thrown) {
            self::assertSame([LimitExceeded::class, 4], [$thrown->class, $thrown->code]);
            self::assertStringContainsString('max_number_of_channels', $thrown->message);
        }
        self::assertSame(2, $results[2]);
        $hub->stop();
    }
}
