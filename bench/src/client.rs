//! The same calls as from PHP, by the client that PHP uses, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::embedded::Embedded;
use push_core::message::NewMessage;

use crate::Result;
use crate::php::{Measured, Way};
use crate::server::Server;

/// Publishes `calls` messages, call after call.
pub(crate) fn run(server: Option<&Server>, way: Way, calls: u32, channel: &str) -> Result<Measured> {
    let mut client = match server {
        Some(server) => attached(server),
        None => embedded()?,
    };
    let mut times = Vec::with_capacity(calls as usize);
    let begin = Instant::now();
    for number in 1..=calls {
        let text = format!("{number:0>10}{:.<90}", "");
        let message = NewMessage::new(text.as_bytes());
        let start = Instant::now();
        if way == Way::ClientPublishAsync {
            client.publish_async(channel, &message)?;
        } else {
            client.publish(channel, &message)?;
        }
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    let took = begin.elapsed();
    if server.is_none() && client.channel_info(channel)?.is_none_or(|info| info.published != u64::from(calls)) {
        return Err("the hub in this process lost a message".into());
    }
    Ok(Measured::of(times, took))
}

pub(crate) fn attached(server: &Server) -> Client {
    let config = Config::default();
    Client::new(Options {
        socket: server.socket(),
        inherited: None,
        timeout: Duration::from_secs(5),
        backoff: config.backoff,
        ring_size: config.ring_size,
    })
}

fn embedded() -> Result<Client> {
    let mut config = Config::default();
    config.set("listen", "127.0.0.1:0")?;
    config.set("threads", "1")?;
    Ok(Client::embedded(Arc::new(Embedded::start(&config)?)))
}
