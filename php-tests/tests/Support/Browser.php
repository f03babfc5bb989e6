<?php

declare(strict_types=1);

namespace Push\Tests\Support;

use RuntimeException;

/**
 * A tab of a headless Chromium with a profile of its own, driven over chromedriver (W3C WebDriver).
 *
 * Waiting is always for a condition in the page, with a deadline.
 */
final class Browser
{
    private const ELEMENT = 'element-6066-11e4-a52e-4f735466cecf';

    private readonly \CurlHandle $http;
    private readonly string $session;
    private string $tab;
    /** The tab that chromedriver talks to, of all that share the session. */
    private readonly \ArrayObject $current;

    /** @param string $driver address of a running chromedriver */
    public function __construct(private readonly string $driver, private readonly string $profile)
    {
        $this->http = curl_init();
        $answer = $this->call('POST', '/session', ['capabilities' => ['alwaysMatch' => [
            'goog:chromeOptions' => [
                'args' => [
                    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run',
                    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions',
                    '--window-size=1200,800', "--user-data-dir=$profile",
                ],
            ],
            'timeouts' => ['pageLoad' => 20_000, 'script' => 20_000],
        ]]]);
        $this->session = "/session/{$answer['sessionId']}";
        $this->tab = $this->call('GET', "{$this->session}/window", null);
        $this->current = new \ArrayObject(['tab' => $this->tab]);
    }

    /** Another one of the same browser, in a window of its own, so that both are visible. */
    public function tab(): self
    {
        $new = clone $this;
        $new->tab = $this->command('POST', '/window/new', ['type' => 'window'])['handle'];

        return $new;
    }

    /** Ends it as a machine that loses its power does. */
    public function kill(): void
    {
        foreach (glob('/proc/[0-9]*/cmdline') as $file) {
            if (str_contains((string) @file_get_contents($file), "--user-data-dir={$this->profile}")) {
                posix_kill((int) basename(dirname($file)), SIGKILL);
            }
        }
    }

    /** The value of a cookie of the page's site. */
    public function cookie(string $name): string
    {
        return $this->command('GET', "/cookie/$name")['value'];
    }

    public function setCookie(string $name, string $value): void
    {
        $this->command('POST', '/cookie', ['cookie' => ['name' => $name, 'value' => $value, 'httpOnly' => true]]);
    }

    public function open(string $url): void
    {
        $this->command('POST', '/url', ['url' => $url]);
    }

    public function click(string $css): void
    {
        $this->element($css, 'click', []);
    }

    public function type(string $css, string $text): void
    {
        $this->element($css, 'value', ['text' => $text]);
    }

    /** What the function body answers; arguments are in `arguments`. */
    public function script(string $body, mixed ...$arguments): mixed
    {
        return $this->command('POST', '/execute/sync', ['script' => $body, 'args' => $arguments]);
    }

    /** What the promise of the function body comes to. */
    public function promise(string $body, mixed ...$arguments): mixed
    {
        return $this->script("return (async () => { $body })()", ...$arguments);
    }

    /** Waits until the expression is true, and answers it. */
    public function until(string $expression, string $what, float $seconds = 15): mixed
    {
        try {
            return Wait::until(fn (): mixed => $this->script("return $expression") ?: null, $what, $seconds);
        } catch (RuntimeException $late) {
            throw new RuntimeException("{$late->getMessage()}; the page says:\n" . $this->script('return document.body.innerText'));
        }
    }

    public function offline(bool $offline): void
    {
        $this->devtools('Network.enable', new \stdClass());
        $this->devtools('Network.emulateNetworkConditions', [
            'offline' => $offline, 'latency' => 0, 'downloadThroughput' => -1, 'uploadThroughput' => -1,
        ]);
    }

    /** Requests to these addresses fail; an empty list lets all pass. */
    public function block(string ...$patterns): void
    {
        $this->devtools('Network.enable', new \stdClass());
        $this->devtools('Network.setBlockedURLs', ['urls' => $patterns]);
    }

    /** Runs the script in every page before its own. */
    public function prepare(string $script): void
    {
        $this->devtools('Page.addScriptToEvaluateOnNewDocument', ['source' => $script]);
    }

    public function size(int $width, int $height, bool $phone): void
    {
        $this->devtools('Emulation.setDeviceMetricsOverride', [
            'width' => $width, 'height' => $height, 'deviceScaleFactor' => 1, 'mobile' => $phone,
        ]);
    }

    public function dark(bool $dark): void
    {
        $this->devtools('Emulation.setEmulatedMedia', [
            'features' => [['name' => 'prefers-color-scheme', 'value' => $dark ? 'dark' : 'light']],
        ]);
    }

    /** What it shows, kept as an image where PUSH_SCREENSHOTS names a directory. */
    public function screenshot(string $name): void
    {
        $directory = getenv('PUSH_SCREENSHOTS');
        if ($directory !== false) {
            file_put_contents("$directory/$name.png", base64_decode($this->command('GET', '/screenshot'), true));
        }
    }

    /** What the page wrote to its console as errors since the last call. */
    public function errors(): array
    {
        $entries = $this->command('POST', '/se/log', ['type' => 'browser']);
        return array_column(array_filter($entries, fn (array $entry): bool => $entry['level'] === 'SEVERE'), 'message');
    }

    public function quit(): void
    {
        $this->command('DELETE', '');
    }

    private function devtools(string $command, array|object $parameters): mixed
    {
        return $this->command('POST', '/goog/cdp/execute', ['cmd' => $command, 'params' => $parameters]);
    }

    private function element(string $css, string $action, array $data): void
    {
        $found = $this->command('POST', '/element', ['using' => 'css selector', 'value' => $css]);
        $this->command('POST', "/element/{$found[self::ELEMENT]}/$action", $data);
    }

    private function command(string $method, string $path, ?array $data = null): mixed
    {
        if ($this->current['tab'] !== $this->tab) {
            $this->call('POST', "{$this->session}/window", ['handle' => $this->tab]);
            $this->current['tab'] = $this->tab;
        }

        return $this->call($method, $this->session . $path, $data);
    }

    private function call(string $method, string $path, ?array $data): mixed
    {
        curl_setopt_array($this->http, [
            CURLOPT_URL => $this->driver . $path,
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Expect:'],
            CURLOPT_POSTFIELDS => $data === null ? '' : json_encode((object) $data, JSON_THROW_ON_ERROR),
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_TIMEOUT => 60,
        ]);
        $answer = curl_exec($this->http);
        if ($answer === false) {
            throw new RuntimeException("$method $path: " . curl_error($this->http));
        }
        $value = json_decode($answer, true, flags: JSON_THROW_ON_ERROR)['value'];
        if (isset($value['error'])) {
            throw new RuntimeException("$method $path: {$value['error']}: {$value['message']}");
        }
        return $value;
    }
}
