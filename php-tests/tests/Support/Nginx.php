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
        $user = Machine::root() ? 'user ' . Machine::unprivileged() . ';' : '';
        foreach (['body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'] as $name) {
            mkdir("$directory/$name", 0777);
            chmod("$directory/$name", 0777);
        }
        $examples = dirname(__DIR__, 3) . '/examples/nginx';
        $upstream = str_replace('unix:/run/push/http.sock', $hub, file_get_contents("$examples/push-upstream.conf"));
        file_put_contents("$directory/push-upstream.conf", $upstream);
        file_put_contents("$directory/nginx.conf", <<<NGINX
            $user
            worker_processes 1;
            daemon off;
            pid $directory/pid;
            error_log $directory/log;
            events { worker_connections 256; }
            http {
                access_log off;
                types { text/html html; text/javascript js; }
                charset utf-8;
                client_body_temp_path $directory/body;
                proxy_temp_path $directory/proxy;
                fastcgi_temp_path $directory/fastcgi;
                uwsgi_temp_path $directory/uwsgi;
                scgi_temp_path $directory/scgi;
                include $directory/push-upstream.conf;
                server {
                    listen $address;
                    listen $foreign;
                    root $root;
                    include $examples/push-locations.conf;
                    $locations
                }
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

        return new self($process, $address, $foreign);
    }

    public function stop(): void
    {
        $this->process->end();
    }
}
