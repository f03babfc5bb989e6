<?php

declare(strict_types=1);

namespace Push\Tests\Install;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Directory;
use Push\Tests\Support\FpmPool;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Program;
use RuntimeException;

/** What a packager does: into a directory that stands for the root of another system, and what comes of it there. */
final class InstallTest extends TestCase
{
    private const SOURCE = __DIR__ . '/../../..';

    /** The same for all tests, because the extension is compiled anew for every PREFIX. */
    private static string $prefix;

    public static function setUpBeforeClass(): void
    {
        self::$prefix = Directory::make('prefix') . '/usr';
    }

    /**
     * Runs a program to its end; what it wrote.
     *
     * @param list<string> $command
     * @param array<string, string> $environment Beside that of the tests
     */
    private static function execute(array $command, array $environment = [], string $in = self::SOURCE): string
    {
        $output = Directory::make('command') . '/output';
        $shell = ['sh', '-c', 'cd "$0" && exec "$@"', $in, ...$command];
        $program = Program::start($shell, $output, $environment + getenv());
        $code = $program->wait(900.0);
        if ($code !== 0) {
            throw new RuntimeException(implode(' ', $command) . " ended with $code:\n" . $program->output());
        }

        return $program->output();
    }

    private static function make(string $target, string $image): string
    {
        return self::execute(['make', $target], ['DESTDIR' => $image, 'PREFIX' => self::$prefix, 'MAKEFLAGS' => '']);
    }

    private static function config(string $option): string
    {
        return trim(self::execute([getenv('PHP_CONFIG'), $option]));
    }

    /** Files and links below a directory, as paths from it. */
    private static function files(string $directory): array
    {
        $files = trim(self::execute(['find', '.', '!', '-type', 'd', '-printf', '/%P\n'], [], $directory));
        $files = $files === '' ? [] : explode("\n", $files);
        sort($files);

        return $files;
    }

    private static function iniDirectory(): string
    {
        return '/etc/php/' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION;
    }

    public function testWhatIsInstalledWorksAndIsRemovedAgain(): void
    {
        $image = Directory::make('image');
        $prefix = self::$prefix;
        self::make('install', $image);

        $extension = self::config('--extension-dir') . '/push.so';
        $expected = [
            "$prefix/sbin/push-hub", $extension, "$prefix/lib/libpush.so", "$prefix/lib/libpush.so.0",
            "$prefix/lib/libpush.so." . phpversion('push'), "$prefix/lib/libpush.a", "$prefix/include/push.h",
            "$prefix/include/push.ffi.h",
            "$prefix/lib/pkgconfig/push.pc", "$prefix/lib/sysusers.d/push.conf", "$prefix/lib/tmpfiles.d/push.conf",
            "$prefix/lib/systemd/system/push-hub.service", "$prefix/lib/systemd/system/push-hub.socket",
            "$prefix/lib/systemd/system/push-hub-fpm.socket", '/etc/push.toml',
        ];
        if (is_dir(self::iniDirectory())) {
            $expected[] = self::iniDirectory() . '/mods-available/push.ini';
        }
        sort($expected);
        self::assertSame($expected, self::files($image));

        self::checkIni($image, dirname($extension));
        self::checkLibrary($image);
        self::checkHub($image, $extension);
        self::checkService($image);

        self::make('uninstall', $image);
        self::assertSame([], self::files($image));
    }

    /** The unit runs the hub that was installed, with the configuration that was, and systemd makes what it needs. */
    private static function checkService(string $image): void
    {
        $libraries = $image . self::$prefix . '/lib';
        $unit = file_get_contents("$libraries/systemd/system/push-hub.service");
        $hub = self::$prefix . '/sbin/push-hub';
        self::assertStringContainsString("\nExecStart=$hub --config /etc/push.toml\n", $unit);
        $socket = Directory::make('service') . '/hub.sock';
        $check = self::execute([
            $image . $hub, '--config', "$image/etc/push.toml", '--check', '--user', Machine::unprivileged(), '--socket', $socket,
        ]);
        self::assertMatchesRegularExpression("~^socket +$socket$~m", $check);
        if (trim(self::execute(['sh', '-c', 'command -v systemd-tmpfiles || true'])) === '') {
            return;
        }
        // Another system, with nothing in it but its users.
        $root = Directory::make('root');
        mkdir("$root/etc");
        self::execute(['systemd-sysusers', "--root=$root", "$libraries/sysusers.d/push.conf"]);
        self::assertMatchesRegularExpression('~^push:.*:/usr/sbin/nologin$~m', file_get_contents("$root/etc/passwd"));
        self::execute(['systemd-tmpfiles', "--root=$root", '--create', "$libraries/tmpfiles.d/push.conf"]);
        self::assertSame(0o40700, fileperms("$root/run/push/hub.sock.fpm"));
    }

    /** PHP loads the extension by the file that phpenmod links. */
    private static function checkIni(string $image, string $directory): void
    {
        $mods = $image . self::iniDirectory() . '/mods-available';
        if (!is_dir($mods)) {
            return;
        }
        self::assertStringStartsWith("; priority=30\n", file_get_contents("$mods/push.ini"));
        $loaded = self::execute(
            [PHP_BINARY, '-d', "extension_dir=$image$directory", '-r', 'echo phpversion("push"), " ", php_ini_scanned_files();'],
            ['PHP_INI_SCAN_DIR' => $mods],
        );
        self::assertSame(phpversion('push') . " $mods/push.ini", trim($loaded));
    }

    /** A C program finds header and library by pkg-config, and runs with either library. */
    private static function checkLibrary(string $image): void
    {
        $libraries = $image . self::$prefix . '/lib';
        $environment = ['PKG_CONFIG_PATH' => "$libraries/pkgconfig", 'PKG_CONFIG_SYSROOT_DIR' => $image];
        $flags = static fn (string ...$options): array => preg_split(
            '/\s+/', trim(self::execute(['pkg-config', ...$options, 'push'], $environment)),
        );
        self::assertSame([phpversion('push')], $flags('--modversion'));
        $directory = Directory::make('program');
        file_put_contents("$directory/version.c", <<<'C'
            #include <push.h>
            #include <stdio.h>
            int main(void) { return puts(push_version()) < 0; }
            C);
        $compile = ['cc', "$directory/version.c", ...$flags('--cflags')];
        self::execute([...$compile, '-o', "$directory/shared", ...$flags('--libs')]);
        self::assertStringContainsString('libpush.so.0', self::execute(['readelf', '-d', "$directory/shared"]));
        $said = self::execute(["$directory/shared"], ['LD_LIBRARY_PATH' => $libraries]);
        self::assertSame(phpversion('push'), trim($said));
        $static = ['-Wl,-Bstatic', '-lpush', '-Wl,-Bdynamic'];
        $others = array_diff($flags('--libs', '--static'), ['-lpush']);
        self::execute([...$compile, '-o', "$directory/static", "-L$libraries", ...$static, ...$others]);
        self::assertSame(phpversion('push'), trim(self::execute(["$directory/static"])));
    }

    /** The package is unpacked, and php-fpm finds the hub there without being told where it is. */
    private static function checkHub(string $image, string $extension): void
    {
        self::assertTrue(rename($image . self::$prefix, self::$prefix));
        $fpm = FpmPool::start(['extension' => $image . $extension, 'push.hub' => '']);
        try {
            $pid = $fpm->run('return push_status()["pid"];');
            self::assertSame(self::$prefix . '/sbin/push-hub', readlink("/proc/$pid/exe"));
        } finally {
            $fpm->stop();
        }
        self::assertTrue(rename(self::$prefix, $image . self::$prefix));
    }

    public function testSettingsThatWereChangedAreKept(): void
    {
        $image = Directory::make('image');
        self::make('install', $image);
        $files = ["$image/etc/push.toml"];
        if (is_dir(self::iniDirectory())) {
            $files[] = $image . self::iniDirectory() . '/mods-available/push.ini';
        }
        foreach ($files as $file) {
            file_put_contents($file, "# changed\n", FILE_APPEND);
        }
        $changed = array_map(file_get_contents(...), $files);
        $installed = self::make('install', $image);
        $uninstalled = self::make('uninstall', $image);
        foreach ($files as $file) {
            self::assertStringContainsString("$file is kept as it is, because it was changed", $installed);
            self::assertStringContainsString("$file stays, because it was changed", $uninstalled);
        }
        self::assertSame($changed, array_map(file_get_contents(...), $files));
        self::assertSameSize($files, self::files($image));
    }

    /** `make build` as a user, then `sudo make install` as root, who has no Rust. */
    public function testWithoutRustIsInstalledWhatWasBuiltForThisPrefix(): void
    {
        $built = Directory::make('image');
        self::make('install', $built);
        $environment = [
            'PATH' => '/usr/bin:/bin', 'HOME' => '/nonexistent', 'MAKEFLAGS' => '', 'PREFIX' => self::$prefix,
            'CARGO_TARGET_DIR' => dirname(getenv('PUSH_HUB'), 2),
        ];
        if (trim(self::execute(['sh', '-c', 'command -v cargo || true'], $environment)) !== '') {
            self::markTestSkipped('every user has Rust here');
        }
        $image = Directory::make('image');
        self::execute(['make', 'install'], ['DESTDIR' => $image] + $environment);
        self::assertSame(self::files($built), self::files($image));

        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage('was built for another PREFIX. Build again, as your user: make build PREFIX=/other');
        self::execute(['make', 'install'], ['DESTDIR' => $image, 'PREFIX' => '/other'] + $environment);
    }

    public function testARelativePrefixIsRefused(): void
    {
        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage('PREFIX=usr: must be an absolute path');
        self::execute(['make', 'install'], ['DESTDIR' => Directory::make('image'), 'PREFIX' => 'usr', 'MAKEFLAGS' => '']);
    }

    /** phpize, configure, make, make test, make install, with the sources linked so that they stay clean. */
    public function testPhpizeBuildsAndInstallsExtensionAndHub(): void
    {
        $place = Directory::make('phpize');
        mkdir("$place/php-ext");
        symlink(realpath(self::SOURCE . '/Cargo.toml'), "$place/Cargo.toml");
        foreach (['config.m4', 'Makefile.frag'] as $file) {
            copy(self::SOURCE . "/php-ext/$file", "$place/php-ext/$file");
        }
        mkdir("$place/php-ext/tests");
        foreach (['loaded.phpt', 'version.phpt'] as $file) {
            copy(self::SOURCE . "/php-ext/tests/$file", "$place/php-ext/tests/$file");
        }
        $run = static fn (string ...$command): string => self::execute(
            $command, ['CARGO_TARGET_DIR' => dirname(getenv('PUSH_HUB'), 2), 'MAKEFLAGS' => ''], "$place/php-ext",
        );
        $phpize = dirname(getenv('PHP_CONFIG')) . '/' . str_replace('php-config', 'phpize', basename(getenv('PHP_CONFIG')));
        $hub = self::$prefix . '/sbin/push-hub';
        $run($phpize);
        $run('./configure', '--with-php-config=' . getenv('PHP_CONFIG'), "--with-push-hub=$hub");
        $run('make');
        self::assertMatchesRegularExpression('~Tests passed +: +2 ~', $run('make', 'test', 'NO_INTERACTION=1'));

        // Root, who installs, often has no Rust.
        $image = Directory::make('image');
        $run('make', 'install', "INSTALL_ROOT=$image", 'CARGO=/bin/false');
        $extension = self::config('--extension-dir') . '/push.so';
        $expected = [$hub, $extension];
        sort($expected);
        self::assertSame($expected, self::files($image));
        $version = self::execute([PHP_BINARY, '-n', '-d', "extension=$image$extension", '-r', 'echo phpversion("push");']);
        self::assertSame(phpversion('push'), trim($version));
        self::assertSame('push-hub ' . phpversion('push'), trim(self::execute(["$image$hub", '--version'])));
        self::checkHub($image, $extension);
    }

    public function testComposerJsonTellsPieWhereToBuild(): void
    {
        $package = json_decode(file_get_contents(self::SOURCE . '/composer.json'), true, flags: JSON_THROW_ON_ERROR);
        self::assertSame('php-ext', $package['type']);
        self::assertMatchesRegularExpression('~^[a-z0-9]([_.-]?[a-z0-9]+)*/[a-z0-9](([_.]|-{1,2})?[a-z0-9]+)*$~', $package['name']);
        $pie = $package['php-ext'];
        self::assertSame('push', $pie['extension-name']);
        self::assertSame(['linux'], $pie['os-families']);
        self::assertSame((bool) PHP_ZTS, PHP_ZTS ? $pie['support-zts'] : !$pie['support-nts']);
        // PIE knows these words; with any other it refuses the package.
        self::assertSame([], array_diff($pie['download-url-method'], ['composer-default', 'pre-packaged-source', 'pre-packaged-binary']));
        self::assertSame([], array_diff(array_keys($pie), [
            'extension-name', 'priority', 'support-zts', 'support-nts', 'os-families', 'build-path', 'download-url-method',
            'configure-options',
        ]));
        $m4 = file_get_contents(self::SOURCE . "/{$pie['build-path']}/config.m4");
        foreach ($pie['configure-options'] as $option) {
            self::assertStringContainsString("--{$option['name']}=", $m4);
        }
        // What phpenmod and PIE load it after is one number.
        self::assertStringContainsString("; priority={$pie['priority']}\n", file_get_contents(self::SOURCE . '/php-ext/push.ini'));
    }
}
