<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** A chromedriver, which starts and drives browsers. */
final class ChromeDriver
{
    private function __construct(private readonly Program $process, public readonly string $address)
    {
    }

    public static function start(): self
    {
        $process = Program::start(['chromedriver', '--port=0'], Directory::make('chromedriver') . '/output');
        $port = Wait::until(
            static fn (): ?string => preg_match('~successfully on port (\d+)~', $process->output(), $match) ? $match[1] : null,
            'chromedriver listens',
        );

        return new self($process, "http://127.0.0.1:$port");
    }

    public function browser(): Browser
    {
        return new Browser($this->address, Directory::make('browser'));
    }

    public function end(): void
    {
        $this->process->end();
    }
}
