<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** An nginx before a hub and a pool, with the files of examples/nginx. */
final class Nginx
{
    /** @param string $foreign A second address of the same server: another origin for a browser */
    private function __construct(
        private readonly Program $process,
        public readonly string $address,
        public readonly string $foreign,
        private readonly string $directory,
    ) {
    }

    public static function start(FpmPool $pool): self
    {
        return self::before($pool->address, $pool->directory, <<<NGINX
            location ~ \.php$ {
                fastcgi_pass unix:{$pool->listen};
                fastcgi_param GATEWAY_INTERFACE CGI/1.1;
                fastcgi_param SERVER_PROTOCOL \$server_protocol;
                fastcgi_param REQUEST_METHOD \$request_method;
                fastcgi_param QUERY_STRING \$query_string;
                fastcgi_param REQUEST_URI \$request_uri;
                fastcgi_param SCRIPT_NAME \$fastcgi_script_name;
                fastcgi_param SCRIPT_FILENAME \$document_root\$fastcgi_script_name;
            }
            NGINX);
    }

    /**
     * @param string $hub Where the hub listens for browsers
     * @param string $root The directory of the pages
     * @param string $locations Further locations of the server
     * @param ?string $address Its own, where the hub has to know it
     */
    public static function before(string $hub, string $root, string $locations = '', ?string $address = null): self
    {
        $directory = Directory::make('nginx');
        $address ??= '127.0.0.1:' . Machine::freePort();
        $foreign = '127.0.0.1:' . Machine::freePort();
        $examples = dirname(__DIR__, 3) . '/examples/nginx';
        $upstream = str_replace('unix:/run/push/http.sock', $hub, file_get_contents("$examples/push-upstream.conf"));
        file_put_contents("$directory/push-upstream.conf", $upstream);

        return self::run($directory, <<<NGINX
            include $directory/push-upstream.conf;
            server {
                listen $address;
                listen $foreign;
                root $root;
                include $examples/push-locations.conf;
                $locations
            }
            NGINX, $address, $foreign);
    }

    /**
     * The servers of these files of examples/nginx, as they stand there but for paths and ports.
     *
     * @param list<string> $names Without .conf
     * @param string $locations Further locations of the first server, as a site may have them
     * @param array<string, string> $further What else stands for something in the files
     */
    public static function examples(array $names, FpmPool $pool, string $locations = '', array $further = []): self
    {
        $directory = Directory::make('nginx');
        [$address, $foreign] = ['127.0.0.1:' . Machine::freePort(), '127.0.0.1:' . Machine::freePort()];
        copy('/etc/nginx/fastcgi_params', "$directory/fastcgi_params");
        foreach (glob(dirname(__DIR__, 3) . '/examples/nginx/*.conf') as $file) {
            file_put_contents("$directory/" . basename($file), strtr(file_get_contents($file), $further + [
                'listen 80;' => "listen $address;\nlisten $foreign;\n$locations",
                '/var/www/html' => $pool->directory,
                'unix:/run/php/php-fpm.sock' => "unix:{$pool->listen}",
                'unix:/run/push/http.sock' => $pool->address,
                'unix:/run/push/' => 'unix:' . dirname($pool->socket) . '/',
            ]));
        }
        $servers = array_map(static fn (string $name): string => "include $directory/$name.conf;\n", $names);

        return self::run($directory, implode($servers), $address, $foreign);
    }

    private static function run(string $directory, string $http, string $address, string $foreign): self
    {
        $user = Machine::root() ? 'user ' . Machine::unprivileged() . ';' : '';
        foreach (['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'] as $name) {
            mkdir("$directory/$name", 0777);
            chmod("$directory/$name", 0777);
        }
        file_put_contents("$directory/nginx.conf", <<<NGINX
            $user
            worker_processes 1;
            daemon off;
            pid $directory/pid;
            error_log $directory/log;
            events { worker_connections 256; }
            http {
                access_log $directory/access;
                types { text/html html; text/javascript js; }
                charset utf-8;
                client_body_temp_path $directory/body;
                proxy_temp_path $directory/proxy;
                fastcgi_temp_path $directory/fastcgi;
                uwsgi_temp_path $directory/uwsgi;
                scgi_temp_path $directory/scgi;
                $http
            }
            NGINX);
        $process = Program::start(['nginx', '-c', "$directory/nginx.conf", '-e', "$directory/log"], "$directory/output");
        Wait::until(static function () use ($address, $process): bool {
            if ($process->exitCode() !== null) {
                throw new \RuntimeException("nginx ended at its start:\n" . $process->output());
            }
            $connection = @stream_socket_client("tcp://$address");

            return $connection !== false && fclose($connection);
        }, "nginx listens at $address");

        return new self($process, $address, $foreign, $directory);
    }

    /** All that it has logged. */
    public function log(): string
    {
        return file_get_contents("{$this->directory}/log") . file_get_contents("{$this->directory}/access");
    }

    public function stop(): void
    {
        $this->process->end();
    }
}
