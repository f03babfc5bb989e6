<?php

declare(strict_types=1);

namespace Push\Tests\Publish;

use PHPUnit\Framework\TestCase;
use Push\Tests\Support\Directory;
use Push\Tests\Support\Hub;
use Push\Tests\Support\Machine;
use Push\Tests\Support\Php;
use Push\Tests\Support\Program;

/** What README and docs show is true: examples give what they say, errors read as they are quoted. */
final class ManualTest extends TestCase
{
    private const ROOT = __DIR__ . '/../../../';

    /** @return iterable<string, array{string, string}> the PHP blocks of docs/functions.md, under the line where they begin, with their settings */
    public function examples(): iterable
    {
        $text = file_get_contents(self::ROOT . 'docs/functions.md');
        preg_match_all('/^(?:<!-- ini: (.*?) -->\n)?```php\n(.*?)^```$/ms', $text, $blocks, PREG_OFFSET_CAPTURE);
        foreach ($blocks[2] as $at => [$code, $offset]) {
            yield 'line ' . substr_count($text, "\n", 0, $offset) + 1 => [$code, $blocks[1][$at][0]];
        }
    }

    /** @dataProvider examples */
    public function testAnExampleGivesWhatItSays(string $code, string $settings): void
    {
        // "statement;   // => value" becomes a comparison of both.
        $program = preg_replace_callback(
            '~^(?!\s)(.+);\s*// => (.+)$~m',
            static fn (array $line): string => '$__lines[] = [' . var_export($line[1], true) . ", {$line[2]}, {$line[1]}];",
            $code,
            -1,
            $comparisons,
        );
        $ini = parse_ini_string(strtr($settings, ' ', "\n"), false, INI_SCANNER_RAW) ?: ['push.socket' => Hub::start()->socket];
        $lines = Php::run("\$__lines = []; $program return \$__lines;", $ini);
        self::assertIsArray($lines, var_export($lines, true));
        self::assertGreaterThan(0, $comparisons, 'the example shows a result');
        self::assertCount($comparisons, $lines);
        foreach ($lines as [$statement, $expected, $actual]) {
            self::assertSame($expected, $actual, $statement);
        }
    }

    public function testEveryFunctionHasAChapterWithAnExampleThatCallsIt(): void
    {
        $chapters = preg_split('/^## (.+)$/m', file_get_contents(self::ROOT . 'docs/functions.md'), -1, PREG_SPLIT_DELIM_CAPTURE);
        $documented = [];
        for ($at = 1; $at < count($chapters); $at += 2) {
            preg_match_all('/^```php\n(.*?)^```$/ms', $chapters[$at + 1], $blocks);
            foreach (explode(', ', $chapters[$at]) as $function) {
                self::assertStringContainsString("$function(", implode($blocks[1]));
                $documented[] = $function;
            }
        }
        self::assertEqualsCanonicalizing(get_extension_funcs('push'), $documented);
    }

    /** @return iterable<string, array{array<string, string>, string}> settings and a call that goes wrong with them */
    public function troubles(): iterable
    {
        yield 'a wrong setting' => [['push.memory_limit' => 'lots'], 'push_position();'];
        yield 'no hub' => [['push.socket' => '/run/push/hub.sock.none'], 'push_position();'];
        yield 'create_channel' => [[], 'eval("function create_channel() {}");'];
        yield 'push_publish with an empty name' => [[], 'push_publish("", 1);'];
    }

    /** @dataProvider troubles */
    public function testTroublesAreQuotedWithTheirTexts(array $ini, string $call): void
    {
        $php = Php::start($call, $ini + ['error_log' => '', 'log_errors' => '0', 'display_errors' => 'stderr']);
        $code = $php->end();
        $said = $code === 0 ? $php->result()->message : $php->output();
        $said = str_replace('/run/push/hub.sock.none', '/run/push/hub.sock', $said);
        $said = str_replace('redeclare function ', 'redeclare ', $said); // since PHP 8.4
        foreach (self::quoted() as $text) {
            // What a quotation leaves out it writes as "...".
            if (preg_match('~' . str_replace('\.\.\.', '.*', preg_quote($text, '~')) . '~', $said) === 1) {
                $this->addToAssertionCount(1);

                return;
            }
        }
        self::fail("docs/troubleshooting.md does not quote: $said");
    }

    /** @return list<string> the texts in the first column of docs/troubleshooting.md */
    private static function quoted(): array
    {
        preg_match_all('/^\| `([^`]+)` \|/m', file_get_contents(self::ROOT . 'docs/troubleshooting.md'), $rows);
        self::assertNotEmpty($rows[1]);

        return $rows[1];
    }

    /** Every quoted text of the program stands in the sources, in the pieces that are fixed. */
    public function testQuotedTextsStandInTheSources(): void
    {
        $sources = file_get_contents(self::ROOT . 'php-ext/config.m4') . file_get_contents(self::ROOT . 'scripts/install.sh');
        foreach (['core/src', 'php-ext/src'] as $directory) {
            $files = new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(self::ROOT . $directory, \FilesystemIterator::SKIP_DOTS));
            foreach ($files as $file) {
                // A text that goes on in the next line of the source does not do so when it is read.
                $sources .= preg_replace('/\\\\\n\s*/', '', file_get_contents((string) $file)) . "\n";
            }
        }
        // Another test makes these happen; PHP says the one, and the others are put together from a key and its kind.
        $produced = preg_grep('/^(Cannot redeclare|push\.memory_limit|too many connections)/', self::quoted());
        foreach (array_diff(self::quoted(), $produced) as $text) {
            // Numbers, paths and values are others each time.
            $words = preg_split('~[^A-Za-z_ ;,\'-]+~', $text, -1, PREG_SPLIT_NO_EMPTY);
            usort($words, static fn (string $a, string $b): int => strlen($b) <=> strlen($a));
            $piece = trim($words[0]);
            self::assertTrue(str_contains($sources, $piece), "\"$piece\" of \"$text\" stands in no source");
        }
    }

    /** @return iterable<string, array{string}> the TOML blocks of README and docs */
    public function configurations(): iterable
    {
        foreach (['README.md', 'docs/configuration.md', 'docs/deploy.md', 'docs/transports.md'] as $file) {
            preg_match_all('/^```toml\n(.*?)^```$/ms', file_get_contents(self::ROOT . $file), $blocks);
            foreach ($blocks[1] as $number => $toml) {
                yield "$file " . $number + 1 => [$toml];
            }
        }
    }

    /** @dataProvider configurations */
    public function testAConfigurationIsAccepted(string $toml): void
    {
        $directory = Directory::make('toml');
        file_put_contents("$directory/push.toml", $toml);
        // The names are those of a Debian; here they are whoever there is.
        $group = posix_getgrgid(posix_getpwnam(Machine::unprivileged())['gid'])['name'];
        $program = Program::start([
            getenv('PUSH_HUB'), '--config', "$directory/push.toml", '--check', '--user', Machine::unprivileged(), '--socket-group', $group,
        ], "$directory/output");
        self::assertSame(0, $program->wait(), $program->output());
        self::assertMatchesRegularExpression('~^location +(/\w+)?/sub/ subscriber ~m', $program->output());
    }

    /** The five minutes of README: its commands, typed as they stand there. */
    public function testTheFiveMinutesWork(): void
    {
        preg_match('/^## Five minutes\n(.*?)^## /ms', file_get_contents(self::ROOT . 'README.md'), $chapter);
        preg_match_all('/^\$ (.+)\n((?:(?!\$ |```).+\n)*)/m', $chapter[1], $commands, PREG_SET_ORDER);
        self::assertSame('/usr/local/sbin/push-hub &', array_shift($commands)[1]);
        $hub = Hub::start();
        $directory = Directory::make('five-minutes');
        $php = [PHP_BINARY, '-n', '-d', 'extension=' . getenv('PUSH_EXTENSION'), '-d', "push.socket={$hub->socket}"];
        file_put_contents("$directory/php", "#!/bin/sh\nexec " . implode(' ', array_map(escapeshellarg(...), $php)) . ' "$@"' . "\n");
        chmod("$directory/php", 0755);
        self::assertGreaterThanOrEqual(4, count($commands));
        foreach ($commands as $at => [, $command, $output]) {
            $command = str_replace('127.0.0.1:8380', $hub->address, $command);
            $program = Program::start(['sh', '-c', $command], "$directory/$at", ['PATH' => "$directory:" . getenv('PATH')]);
            self::assertSame(0, $program->wait(), $program->output());
            // Positions are others each time.
            $pattern = preg_replace('/\d{10}(\\\\\.\d+)?/', '\d{10}(\.\d+)?', preg_quote(trim($output), '~'));
            self::assertMatchesRegularExpression("~^$pattern$~", trim($program->output()), $command);
        }
    }
}
