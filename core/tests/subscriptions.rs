//! Subscriptions of programs, over the ring: in order, whatever the program does not read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use push_core::call::Delivery;
use push_core::client::{Client, Options, Subscription};
use push_core::error::Error;
use push_core::message::{NewMessage, Position};
use rustix::event::{PollFd, PollFlags, poll};
use support::{DEADLINE, TestHub, hub, wait_until};

fn client(hub: &TestHub) -> Client {
    Client::new(Options {
        socket: hub.socket.clone(),
        inherited: None,
        timeout: DEADLINE,
        backoff: DEADLINE,
        ring_size: 16 << 10,
    })
}

fn publish(client: &mut Client, channel: &str, text: &str) -> Position {
    client.publish(channel, &NewMessage::new(text.as_bytes())).unwrap().position
}

/// The next thing that comes.
fn next(subscription: &mut Subscription) -> Delivery {
    let end = std::time::Instant::now() + DEADLINE;
    loop {
        if let Some(delivery) = subscription.receive().unwrap() {
            return delivery;
        }
        assert!(std::time::Instant::now() < end, "nothing comes");
        let wait = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(subscription.descriptor(), PollFlags::IN)], Some(&wait)).unwrap();
    }
}

fn text(subscription: &mut Subscription) -> String {
    match next(subscription) {
        Delivery::Message { channel, message } => {
            format!("{channel}={}", String::from_utf8(message.payload).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_missed_comes_first_and_then_what_comes_in_one_order() {
    let hub = hub(&[]);
    let mut publisher = client(&hub);
    let from = publish(&mut publisher, "a", "0");
    for (channel, number) in [("a", "1"), ("b", "2"), ("a", "3")] {
        publish(&mut publisher, channel, number);
    }
    let mut subscription = Subscription::new(client(&hub), &["a", "b", "a"], Some(from)).unwrap();
    publish(&mut publisher, "b", "4");
    publish(&mut publisher, "c", "nobody asked");
    let last = publish(&mut publisher, "a", "5");
    let expected = ["a=1", "b=2", "a=3", "b=4", "a=5"];
    assert_eq!(expected.map(|_| text(&mut subscription)), expected);
    assert_eq!(subscription.position(), last);
    assert_eq!(subscription.receive().unwrap(), None);
}

#[test]
fn a_program_that_does_not_read_falls_behind_and_loses_nothing() {
    let hub = hub(&[("client_buffer", "4k"), ("max_messages_stored_per_channel", "none")]);
    let mut publisher = client(&hub);
    let mut slow = Subscription::new(client(&hub), &["a"], None).unwrap();
    let mut quick = Subscription::new(client(&hub), &["a"], None).unwrap();
    // Far more than ring and buffer hold.
    for number in 0..400 {
        publish(&mut publisher, "a", &format!("{number:0300}"));
        assert_eq!(text(&mut quick), format!("a={number:0300}"), "it holds up nobody");
    }
    for number in 0..400 {
        assert_eq!(text(&mut slow), format!("a={number:0300}"));
    }
    assert_eq!(slow.receive().unwrap(), None, "and nothing comes twice");
}

#[test]
fn what_is_gone_before_it_is_read_is_a_gap_said_once_and_before_the_rest() {
    let hub = hub(&[("client_buffer", "4k"), ("max_messages_stored_per_channel", "10")]);
    let mut publisher = client(&hub);
    let mut slow = Subscription::new(client(&hub), &["a"], None).unwrap();
    for number in 0..400 {
        publish(&mut publisher, "a", &format!("{number:0300}"));
    }
    let (mut heard, mut gaps) = (Vec::new(), Vec::new());
    while heard.last() != Some(&399) {
        match next(&mut slow) {
            Delivery::Message { message, .. } => {
                heard.push(String::from_utf8(message.payload).unwrap().parse::<u32>().unwrap());
            }
            Delivery::Gap(position) => gaps.push((heard.len(), position)),
            other => panic!("{other:?}"),
        }
    }
    assert!(heard.is_sorted() && heard.windows(2).all(|two| two[0] < two[1]), "in order, each once");
    let holes: Vec<usize> = (1..heard.len()).filter(|at| heard[at - 1] + 1 != heard[*at]).collect();
    let said: Vec<usize> = gaps.iter().map(|(at, _)| *at).collect();
    assert_eq!(said, holes, "{heard:?}");
    // There may be others before, where the hub itself was too far behind.
    let (at, position) = *gaps.last().unwrap();
    assert_eq!(heard[at..], (390..400).collect::<Vec<_>>(), "it comes before what is still there");
    // Who resumes from the gap gets the rest.
    let mut again = Subscription::new(client(&hub), &["a"], Some(position)).unwrap();
    assert_eq!(text(&mut again), format!("a={:0300}", 390));
}

#[test]
fn a_deleted_channel_is_told_in_its_place_and_the_others_go_on() {
    let hub = hub(&[]);
    let mut publisher = client(&hub);
    let mut subscription = Subscription::new(client(&hub), &["a", "b"], None).unwrap();
    publish(&mut publisher, "a", "1");
    assert!(publisher.delete_channel("a", Some(b"closed")).unwrap());
    publish(&mut publisher, "a", "another channel");
    publish(&mut publisher, "b", "2");
    assert_eq!(text(&mut subscription), "a=1");
    let Delivery::Deleted { channel, text: told, .. } = next(&mut subscription) else { panic!("it was deleted") };
    assert_eq!((channel.as_str(), told.as_slice()), ("a", &b"closed"[..]));
    assert_eq!(text(&mut subscription), "b=2");
}

#[test]
fn seats_are_given_back_when_the_program_goes() {
    let hub = hub(&[]);
    let subscription = Subscription::new(client(&hub), &["a", "b"], None).unwrap();
    hub.wait_for_subscribers("a", 1);
    drop(subscription);
    hub.wait_for_subscribers("a", 0);
    wait_until("all are", || hub.hub.as_ref().unwrap().engine().status().subscribers == 0);
}

#[test]
fn what_cannot_be_subscribed_to_is_refused() {
    let hub = hub(&[("max_channels_per_subscription", "2")]);
    let refused = |channels: &[&str]| Subscription::new(client(&hub), channels, None).map(drop).unwrap_err();
    assert!(matches!(refused(&[]), Error::InvalidArgument(_)));
    assert!(matches!(refused(&["a/b"]), Error::InvalidName(_)));
    assert!(matches!(refused(&["a", "b", "c"]), Error::LimitExceeded(_)));
    assert_eq!(hub.hub.as_ref().unwrap().engine().status().channels, 0, "a refused subscription makes nothing");
}
