//! What each server is told, so that they do the same.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::geteuid;

use super::{Setup, USER, dying_with_us, socket};
use crate::Result;

const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// nginx with one worker and nchan in it.
pub(super) fn nchan(directory: &Path, listen: SocketAddr, setup: &Setup) -> Result<Command> {
    let Setup { stored, ttl, .. } = setup;
    let first = if setup.newest_first { "newest" } else { "oldest" };
    let mut locations = String::new();
    for (path, transport) in
        [("lp", "longpoll"), ("stream", "http-raw-stream"), ("ev", "eventsource"), ("ws", "websocket")]
    {
        locations += &format!(
            "location ~ ^/{path}/(.+)$ {{
                nchan_subscriber {transport};
                nchan_subscriber_first_message {first};
                nchan_channel_id $1;
            }}\n"
        );
    }
    locations += &format!(
        "location = /pub {{
            nchan_publisher;
            nchan_channel_id $arg_id;
            nchan_message_buffer_length {stored};
            nchan_message_timeout {ttl};
        }}"
    );
    nginx(directory, &format!("load_module {NCHAN_MODULE};"), "", listen, &locations)
}

/// nginx with one worker, which hands everything to the hub at `upstream`.
pub(super) fn proxy(directory: &Path, listen: SocketAddr, upstream: SocketAddr) -> Result<Command> {
    let to_hub = format!("upstream hub {{ server {upstream}; keepalive 5000; }}");
    let location = "location / {
            proxy_pass http://hub;
            proxy_http_version 1.1;
            proxy_set_header Connection $http_connection;
            proxy_set_header Upgrade $http_upgrade;
            proxy_buffering off;
            proxy_read_timeout 1h;
        }";
    nginx(directory, "", &to_hub, listen, location)
}

fn nginx(directory: &Path, load: &str, http: &str, listen: SocketAddr, locations: &str) -> Result<Command> {
    let place = directory.display();
    let config = format!(
        "{load}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {place}/nginx.pid;
error_log {place}/error.log warn;
events {{ worker_connections 19900; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_temp_path {place}/client_body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    {http}
    server {{
        listen {listen} backlog=4096;
        {locations}
    }}
}}
"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = dying_with_us("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(file).arg("-e").arg(directory.join("error.log"));
    Ok(command)
}

/// The floor, which is this program.
pub(super) fn floor(listen: SocketAddr, setup: &Setup) -> Result<Command> {
    let mut command = dying_with_us(std::env::current_exe()?);
    command.args(["floor", "--listen", &listen.to_string(), "--stored", &setup.stored.to_string()]);
    Ok(command)
}

pub(super) fn hub(
    directory: &Path,
    hub: &Path,
    listen: SocketAddr,
    admin: SocketAddr,
    setup: &Setup,
) -> Result<Command> {
    let Setup { stored, ttl, threads, .. } = setup;
    // As nginx does with its workers, the hub leaves root behind.
    let mut settings = if geteuid().is_root() { format!("user = \"{USER}\"\n") } else { String::new() };
    if setup.on_disk {
        let store = directory.join("store");
        let mut install = Command::new("install");
        install.args(["-d", "-m", "0700"]).arg(&store);
        if geteuid().is_root() {
            install.args(["-o", USER]);
        }
        if !install.status()?.success() {
            return Err(format!("{} cannot be made", store.display()).into());
        }
        settings += &format!("store_path = \"{}\"\n", store.display());
    }
    let config = format!(
        "listen = [\"{listen}\"]
admin_listen = [\"{admin}\"]
socket = \"{}\"
secret_file = \"{}\"
threads = {threads}
authorized_channels_only = \"off\"
longpolling_connection_ttl = \"none\"
ping_message_interval = \"none\"
header_timeout = \"1h\"
keepalive_timeout = \"1h\"
memory_limit = \"1g\"
message_ttl = \"{ttl}\"
max_messages_stored_per_channel = {stored}
{settings}",
        socket(directory).display(),
        socket(directory).with_file_name("secret").display()
    );
    let file = directory.join("push.toml");
    fs::write(&file, config)?;
    let mut command = dying_with_us(hub);
    command.arg("--config").arg(file);
    Ok(command)
}
