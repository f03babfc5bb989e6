<?php

declare(strict_types=1);

namespace Push\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Program;

/**
 * What cannot happen happens in the extension: its clock fails, for which Rust has no answer but a panic. It is an error of
 * PHP, with its reason, and PHP goes on.
 */
final class PanicTest extends TestCase
{
    private const CLOCK = <<<'C'
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <errno.h>
        #include <stdlib.h>
        #include <string.h>
        #include <time.h>

        static int failing;

        void clock_fails(int fails) { failing = fails; }

        int clock_gettime(clockid_t clock, struct timespec *now) {
            int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
            Dl_info who;
            if (failing && dladdr(__builtin_return_address(0), &who) && strcmp(who.dli_fname, getenv("PUSH_EXTENSION")) == 0) {
                errno = EINVAL;
                return -1;
            }
            return real(clock, now);
        }

        /* PHP has its extensions look into the C library first, where nothing could come between. */
        void *dlopen(const char *name, int flags) {
            void *(*real)(const char *, int) = (void *(*)(const char *, int)) dlsym(RTLD_NEXT, "dlopen");
            return real(name, flags & ~RTLD_DEEPBIND);
        }
        C;

    private static string $clock;

    public static function setUpBeforeClass(): void
    {
        $directory = Directory::make('clock');
        self::$clock = "$directory/clock.so";
        file_put_contents("$directory/clock.c", self::CLOCK);
        $compiler = Program::start(['cc', '-shared', '-fPIC', '-o', self::$clock, "$directory/clock.c", '-ldl'], "$directory/cc");
        self::assertSame(0, $compiler->wait(), $compiler->output());
    }

    /** @return array{int, string} */
    private function php(string $code): array
    {
        $directory = Directory::make('panic');
        file_put_contents("$directory/code.php", "<?php $code");
        $command = ['env', 'LD_PRELOAD=' . self::$clock, PHP_BINARY, '-n'];
        $ini = ['extension' => getenv('PUSH_EXTENSION'), 'push.socket' => Hub::shared()->socket, 'display_errors' => 'stderr'];
        foreach ($ini as $name => $value) {
            array_push($command, '-d', "$name=$value");
        }
        array_push($command, '-d', 'extension=ffi', "$directory/code.php");
        $process = Program::start($command, "$directory/output");

        return [$process->wait(), $process->output()];
    }

    public function testACallThatPanicsThrowsAndTheNextOneWorks(): void
    {
        [$code, $output] = $this->php(<<<'PHP'
            $clock = FFI::cdef('void clock_fails(int fails);', getenv('LD_PRELOAD'));
            $channel = push_create_channel();
            $clock->clock_fails(1);
            try {
                push_ping(0.5);
            } catch (Error $e) {
                echo get_class($e), ': ', $e->getMessage(), "\n";
            }
            $clock->clock_fails(0);
            echo push_publish($channel, 'x')->id, " of $channel\n";
            // And at the end of the process.
            $clock->clock_fails(1);
            PHP);
        self::assertSame(0, $code, $output);
        self::assertStringContainsString('push: internal error: panicked at', $output);
        self::assertMatchesRegularExpression('~^Error: .*Invalid argument~m', $output);
        self::assertMatchesRegularExpression('~^1 of ~m', $output);
    }
}
