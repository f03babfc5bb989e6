//! Every call of a client against a real hub.

mod support;

use push_core::channel::ChannelOptions;
use push_core::client::{Client, Options};
use push_core::error::Error;
use push_core::message::{Kind, NewMessage, Position};
use support::{DEADLINE, TestHub, hub};

fn attach(hub: &TestHub) -> Client {
    Client::new(Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: DEADLINE,
        backoff: DEADLINE,
        ring_size: 64 << 10,
    })
}

#[test]
fn a_batch_is_published_whole_and_in_order() {
    let hub = hub(&[("max_number_of_channels", "2"), ("max_messages_stored_per_channel", "none")]);
    let mut client = attach(&hub);
    let texts: Vec<String> = (0..10_000).map(|number| format!("message {number}")).collect();
    assert!(texts.iter().map(String::len).sum::<usize>() > 64 << 10, "the batch is larger than the ring");
    let batch = texts
        .iter()
        .enumerate()
        .map(|(number, text)| (if number % 2 == 0 { "even" } else { "odd" }, NewMessage::new(text.as_bytes())));
    let published = client.publish_many(batch.collect()).expect("published");
    assert_eq!(published.len(), texts.len());
    assert!(published.is_sorted_by_key(|message| message.position));
    assert_eq!((published[9].id, published[8].id), (5, 5));
    let refused = client.publish_many(vec![("even", NewMessage::new(b"x")), ("third", NewMessage::new(b"x"))]);
    assert!(matches!(refused, Err(Error::LimitExceeded(_))));
    let large = vec![0; 65 << 10];
    let refused = client.publish_many(vec![("even", NewMessage::new(b"x")), ("odd", NewMessage::new(&large))]);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    // The last of many, of which not all fit into one call.
    for (channel, payload) in [("odd", &large[..]), ("third", b"x")] {
        let last = (channel, NewMessage::new(payload));
        let many = vec![("even", NewMessage::new(b"x")); 400].into_iter().chain([last]);
        assert!(matches!(client.publish_many(many.collect()), Err(Error::TooLarge { .. } | Error::LimitExceeded(_))));
    }
    let huge = vec![0; 9 << 20];
    let refused = client.publish_many(vec![("even", NewMessage::new(&huge)), ("odd", NewMessage::new(&huge))]);
    assert!(matches!(refused, Err(Error::TooLarge { .. })));
    assert_eq!(client.channel_info("even").expect("an answer").expect("a channel").published, 5_000);
    assert!(client.publish_many(Vec::new()).expect("an empty batch is fine").is_empty());
}

#[test]
fn history_is_read_page_by_page() {
    let hub = hub(&[]);
    let mut client = attach(&hub);
    assert!(client.history("a", Position::START, 10).expect("an answer").is_empty());
    let event = NewMessage { event: Some("e"), event_id: Some("7"), kind: Kind::Json, ..NewMessage::new(b"[1]") };
    client.publish("a", &event).expect("published");
    for text in ["2", "3", "\0\u{ff}"] {
        client.publish("a", &NewMessage::new(text.as_bytes())).expect("published");
    }
    let first = client.history("a", Position::START, 3).expect("an answer");
    assert_eq!(first.iter().map(|message| message.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        (first[0].event.as_deref(), first[0].event_id.as_deref(), first[0].kind),
        (Some("e"), Some("7"), Kind::Json)
    );
    let rest = client.history("a", first[2].position, 3).expect("an answer");
    assert_eq!((rest.len(), rest[0].payload.as_slice()), (1, "\0\u{ff}".as_bytes()));
    assert_eq!(client.clear_channel("a").expect("an answer"), 4);
    assert_eq!(client.clear_channel("none").expect("an answer"), 0);
    assert!(client.history("a", Position::START, 10).expect("an answer").is_empty());
}

#[test]
fn channels_are_listed_with_their_counters() {
    let hub = hub(&[]);
    let mut client = attach(&hub);
    let options = ChannelOptions { owner: Some("ada".to_owned()), ttl: Some(60), ..ChannelOptions::default() };
    client.create_channel(Some("room-1"), options).expect("created");
    client.publish("room-2", &NewMessage::new(b"x")).expect("published");
    client.publish("other", &NewMessage::new(b"x")).expect("published");
    let rooms = client.channels("room-", "", 10).expect("an answer");
    assert_eq!(rooms.iter().map(|info| info.name.as_str()).collect::<Vec<_>>(), ["room-1", "room-2"]);
    assert_eq!((rooms[0].owner.as_deref(), rooms[0].ttl, rooms[1].stored), (Some("ada"), Some(60), 1));
    assert_eq!(client.channels("", "other", 1).expect("an answer")[0].name, "room-1");
}

#[test]
fn a_repeated_publication_gets_the_result_of_the_first() {
    let hub = hub(&[]);
    let mut client = attach(&hub);
    let message = NewMessage { dedupe: Some("order-17"), ..NewMessage::new(b"x") };
    let first = client.publish("a", &message).expect("published");
    assert_eq!(client.publish("a", &message).expect("published"), first);
    client.publish_async("a", &message).expect("published");
    assert_eq!(client.channel_info("a").expect("an answer").expect("a channel").published, 1);
    let empty = NewMessage { dedupe: Some(""), ..message };
    assert!(matches!(client.publish("a", &empty), Err(Error::InvalidArgument(_))));
}

#[test]
fn names_are_held_to_the_configured_length() {
    let hub = hub(&[("max_channel_id_length", "4")]);
    let mut client = attach(&hub);
    assert!(matches!(client.publish("abcde", &NewMessage::new(b"x")), Err(Error::InvalidName(_))));
    client.publish("abcd", &NewMessage::new(b"x")).expect("published");
    assert!(client.delete_channel("abcd", None).expect("an answer"));
    assert!(!client.delete_channel("abcd", None).expect("an answer"));
    assert_eq!(client.channel_info("abcd").expect("an answer"), None);
    assert!(client.position().expect("an answer") > Position::START);
    assert_eq!(client.status().expect("an answer").channels, 0);
}
