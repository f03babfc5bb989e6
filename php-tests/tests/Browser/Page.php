<?php

declare(strict_types=1);

namespace Push\Tests\Browser;

use Push\Tests\Support\Browser;
use Push\Tests\Support\Directory;
use RuntimeException;

/** A page that shows what comes, in a list; what makes it come a test puts in. */
final class Page
{
    private const SHOWN = "[...document.querySelectorAll('li')].map((item) => item.textContent)";

    public function __construct(public readonly Browser $browser)
    {
    }

    /** The directory with the page, for nginx. */
    public static function directory(): string
    {
        $directory = Directory::make('pages');
        file_put_contents("$directory/page.html", <<<'HTML'
            <!DOCTYPE html>
            <meta charset="utf-8">
            <title>what comes</title>
            <link rel="icon" href="data:,">
            <style>body { font: 16px sans-serif } li { white-space: pre-wrap }</style>
            <h1></h1>
            <ol></ol>
            <script>
              const show = ({ text }) => {
                document.querySelector('ol').append(Object.assign(document.createElement('li'), { textContent: text }));
              };
            </script>
            HTML);

        return $directory;
    }

    /** Loads it, with variables for what is put in. @param array<string, mixed> $variables */
    public function open(string $origin, string $title, array $variables): void
    {
        $this->browser->open("$origin/page.html");
        $this->browser->script('document.querySelector("h1").textContent = arguments[0]; Object.assign(window, arguments[1])', $title, $variables);
    }

    /** Puts a script in. */
    public function add(string $code, string $type = 'text/javascript'): void
    {
        $this->browser->script(
            'document.body.append(Object.assign(document.createElement("script"), { type: arguments[0], text: arguments[1] }))',
            $type,
            $code,
        );
    }

    /** @return list<string> */
    public function shown(): array
    {
        return $this->browser->script('return ' . self::SHOWN);
    }

    /** Waits until as many messages are shown, and answers what is shown then. @return list<string> */
    public function shows(int $count): array
    {
        try {
            $this->browser->until(self::SHOWN . ".length >= $count", "$count messages");
        } catch (RuntimeException) {
            // The comparison with what is shown says more.
        }

        return $this->shown();
    }
}
