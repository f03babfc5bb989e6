<?php

declare(strict_types=1);

namespace Push\Tests\Support;

/** An nginx before a pool and its hub, as the README sets one up. */
final class Nginx
{
    private function __construct(private readonly Program $process, public readonly string $address)
    {
    }

    public static function start(FpmPool $pool): self
    {
        $directory = Directory::make('nginx');
        $address = '127.0.0.1:' . Machine::freePort();
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
                access_log off;
                client_body_temp_path $directory/body;
                proxy_temp_path $directory/proxy;
                fastcgi_temp_path $directory/fastcgi;
                uwsgi_temp_path $directory/uwsgi;
                scgi_temp_path $directory/scgi;
                server {
                    listen $address;
                    root {$pool->directory};
                    location /sub/ {
                        proxy_pass http://{$pool->address};
                        proxy_http_version 1.1;
                        proxy_set_header Connection "";
                        proxy_buffering off;
                    }
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

        return new self($process, $address);
    }

    public function stop(): void
    {
        $this->process->end();
    }
}
