//! Nothing lost, doubled or reordered while publishers and re-polling subscribers race.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use push_core::channel::ChannelName;
use push_core::message::NewMessage;
use support::{Client, hub, wait_until};

const PUBLISHERS: usize = 2;
const SUBSCRIBERS: usize = 200;
const CHANNELS: usize = 100;
/// Messages of each publisher to each channel: 100,000 in all.
const PER_PUBLISHER: usize = 500;

fn channel(number: usize) -> String {
    format!("c{}", number % CHANNELS)
}

/// What one subscriber has of each channel: the last number of each publisher.
#[derive(Default)]
struct Seen {
    last: HashMap<(String, u64), u64>,
    count: usize,
    position: String,
}

impl Seen {
    fn take(&mut self, body: &[u8]) {
        let answer: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(answer["gap"], false);
        for message in answer["messages"].as_array().expect("a list") {
            let channel = message["channel"].as_str().expect("a name").to_owned();
            let text = message["data"].as_str().expect("a text");
            let (publisher, number) = text.split_once(' ').expect("two numbers");
            let number: u64 = number.parse().expect("a number");
            let last = self.last.entry((channel, publisher.parse().expect("a number"))).or_default();
            assert_eq!(number, *last + 1, "after {last} of publisher {publisher}, on {}", message["channel"]);
            *last = number;
            self.count += 1;
        }
        self.position = answer["position"].as_str().expect("a position").to_owned();
    }
}

fn subscribe(mut client: Client, id: usize, delivered: &AtomicUsize) -> Seen {
    let path = format!("/lp/{}/{}/{}", channel(id), channel(id + 1), channel(id + 7));
    let mut seen = Seen { position: "0.0".to_owned(), ..Seen::default() };
    while seen.count < 3 * PUBLISHERS * PER_PUBLISHER {
        client.get(&format!("{path}?position={}", seen.position), "Accept: application/json\r\n");
        let answer = client.response();
        assert_eq!(answer.status, 200);
        let before = seen.count;
        seen.take(&answer.body);
        delivered.fetch_add(seen.count - before, Ordering::Relaxed);
    }
    seen
}

#[test]
fn every_subscriber_gets_every_message_once_and_in_order() {
    let hub = hub(&[("max_messages_stored_per_channel", "none"), ("longpolling_connection_ttl", "5s")]);
    let engine = hub.hub.as_ref().expect("running").engine().clone();
    let delivered = Arc::new(AtomicUsize::new(0));
    let subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|id| {
            let (client, delivered) = (hub.connect(), delivered.clone());
            thread::spawn(move || subscribe(client, id, &delivered))
        })
        .collect();
    let together = Arc::new(Barrier::new(PUBLISHERS));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (engine, together, delivered) = (engine.clone(), together.clone(), delivered.clone());
            thread::spawn(move || {
                let names: Vec<ChannelName> =
                    (0..CHANNELS).map(|id| ChannelName::new(channel(id).as_bytes(), 255).expect("a name")).collect();
                for number in 1..=PER_PUBLISHER {
                    // Hardly ahead of the subscribers, so that most of them wait, or are just about to.
                    let behind = (number - 1).saturating_sub(2) * SUBSCRIBERS * 3 * PUBLISHERS;
                    wait_until("the subscribers keep up", || delivered.load(Ordering::Relaxed) >= behind);
                    together.wait();
                    for id in 0..CHANNELS {
                        // The second one swaps neighbours, so that both hit two channels of one subscriber at once.
                        let name = &names[id ^ publisher];
                        let text = format!("{publisher} {number}");
                        engine.publish(name, &NewMessage::new(text.as_bytes())).expect("published");
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().expect("published all");
    }
    let total: usize = subscribers.into_iter().map(|subscriber| subscriber.join().expect("got all").count).sum();
    assert_eq!(total, SUBSCRIBERS * 3 * PUBLISHERS * PER_PUBLISHER);
}
