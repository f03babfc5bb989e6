//! The engine against a naive list of everything that was ever stored.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::reading::{ANSWER, EVENT_IDS};
use super::*;
use crate::journal;
use crate::presence::{Now, Place};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const START: u32 = 1_000;

fn name(index: usize) -> ChannelName {
    ChannelName::new(NAMES[index].as_bytes(), 255).expect("a name")
}

fn limits() -> Limits {
    Limits {
        memory: 1 << 20,
        message_size: 64 << 10,
        channel_id_length: 255,
        channels: None,
        events: None,
        wildcard_prefix: None,
        wildcard_channels: None,
        subscribers_per_channel: None,
        messages_per_channel: None,
        message_ttl: 1_000_000,
        channel_inactivity: 30,
        dedupe_window: 300,
        deleted_text: Arc::from(&b"gone"[..]),
        presence: Settings { grace: 150, ttl: 60, diff_members: 100, count_members: 1000 },
    }
}

fn state(limits: Limits) -> State {
    let journal = journal::create(limits.memory).expect("a memfd");
    restored(limits, START, &journal)
}

/// The hub that starts `now` with this journal. The one before it is as good as killed when it was dropped.
fn restored(limits: Limits, now: u32, journal: &OwnedFd) -> State {
    let journal = journal.try_clone().expect("a descriptor");
    State::restore(limits, 2, Position { time: START, tag: 0 }, now, journal, false, &|| ()).expect("a journal")
}

fn wanted(set: &BTreeSet<usize>) -> Vec<Wanted> {
    set.iter().map(|&index| Wanted { name: name(index), backlog: 0, opened: false }).collect()
}

fn ask(channels: &[Wanted], after: Option<Position>, wait: bool) -> Subscribe<'_> {
    let seat = if wait { Seat::IfNothingMissed } else { Seat::Never };
    Subscribe {
        channels,
        after,
        event_id: None,
        identity: None,
        authorized_only: false,
        most_wildcards: None,
        to_events: false,
        seat,
        enters: false,
        feed: Feed::None,
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        channel: usize,
        size: usize,
        store: bool,
        ttl: Option<u32>,
    },
    Delete {
        channel: usize,
    },
    Create {
        channel: usize,
        max_messages: Option<u32>,
    },
    Pass {
        seconds: u32,
    },
    /// The subscriber polls from its position, or takes what its thread is owed when it waits.
    Poll {
        subscriber: usize,
    },
    /// It takes its seats and stays, or reads on from the log when it is behind; so many bytes at a time.
    Stay {
        subscriber: usize,
        bytes: usize,
    },
    /// It stays, and no longer takes what comes.
    FallBehind {
        subscriber: usize,
    },
    /// It leaves without an answer.
    Leave {
        subscriber: usize,
    },
    Sweep,
    /// The hub is killed, and another one goes on.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = 0..NAMES.len();
    let size = prop_oneof![8 => 1usize..200, 1 => 20_000usize..60_000];
    let step = prop_oneof![
        8 => (channel.clone(), size, prop::bool::weighted(0.9), prop::option::weighted(0.2, 1u32..20))
            .prop_map(|(channel, size, store, ttl)| Step::Publish { channel, size, store, ttl }),
        1 => channel.clone().prop_map(|channel| Step::Delete { channel }),
        1 => (channel, prop::option::of(1u32..5)).prop_map(|(channel, max_messages)| Step::Create { channel, max_messages }),
        1 => (1u32..15).prop_map(|seconds| Step::Pass { seconds }),
        8 => (0..SUBSCRIBERS).prop_map(|subscriber| Step::Poll { subscriber }),
        4 => (0..SUBSCRIBERS, prop_oneof![Just(ANSWER), 1usize..2_000])
            .prop_map(|(subscriber, bytes)| Step::Stay { subscriber, bytes }),
        2 => (0..SUBSCRIBERS).prop_map(|subscriber| Step::FallBehind { subscriber }),
        1 => (0..SUBSCRIBERS).prop_map(|subscriber| Step::Leave { subscriber }),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..200)
}

const SUBSCRIBERS: usize = 4;

/// A subscriber as its HTTP thread and its browser together see it.
#[derive(Debug)]
struct Subscriber {
    channels: BTreeSet<usize>,
    thread: ThreadId,
    position: Option<Position>,
    waits: Option<(Position, Seats)>,
    stays: Option<Stay>,
}

/// A subscriber that stays, as its HTTP thread sees it.
#[derive(Debug)]
struct Stay {
    from: Position,
    /// Its seats, of which a deletion takes one.
    seats: Vec<(ChannelId, usize)>,
    behind: bool,
    /// It was told that messages are missing, and has got none since.
    told: bool,
}

impl Stay {
    fn ids(&self) -> Seats {
        self.seats.iter().map(|(id, _)| *id).collect()
    }

    /// The channels of the seats that still are.
    fn channels(&self, state: &State) -> BTreeSet<usize> {
        self.seats.iter().filter(|(id, _)| state.channels.get(*id).is_some()).map(|(_, channel)| *channel).collect()
    }
}

/// All that was stored, by position, and what is owed to whom is checked against it.
#[derive(Default)]
struct Model {
    stored: BTreeMap<Position, (usize, usize)>,
    /// Everything published, stored or not.
    published: BTreeMap<Position, (usize, usize)>,
}

impl Model {
    fn missed(&self, channels: &BTreeSet<usize>, after: Position) -> Vec<(Position, usize)> {
        let later =
            self.stored.iter().filter(|(position, (channel, _))| **position > after && channels.contains(channel));
        later.map(|(position, (_, size))| (*position, *size)).collect()
    }

    fn check(&self, channels: &BTreeSet<usize>, after: Position, batch: &Batch) -> Result<(), TestCaseError> {
        let got: Vec<(Position, usize)> =
            batch.messages.iter().map(|message| (message.position, message.payload.len())).collect();
        let mut missed = self.missed(channels, after);
        if batch.gap {
            let known: BTreeSet<_> = missed.into_iter().collect();
            prop_assert!(got.iter().all(|message| known.contains(message)), "{got:?} of {known:?}");
            prop_assert!(got.is_sorted());
        } else {
            if batch.more {
                prop_assert!(got.len() < missed.len());
                missed.truncate(got.len());
            }
            prop_assert_eq!(got, missed, "after {} without a gap", after);
        }
        if batch.more {
            prop_assert_eq!(Some(batch.position), batch.messages.last().map(|message| message.position));
        }
        Ok(())
    }
}

/// Delivers what a thread is owed to those of its subscribers that wait, one message each, as long-polling does.
fn deliver(
    state: &mut State,
    now: u32,
    thread: ThreadId,
    all: &mut [Subscriber],
    model: &Model,
) -> Result<(), TestCaseError> {
    let mut events = Vec::new();
    while state.take_owed(thread, &mut events, |_| 0) {}
    for event in events {
        let (channel, message, position, deleted) = match event {
            Event::Message(id, message, _) => (id, Some(message.clone()), message.position, false),
            Event::Lost(id) => (id, None, state.head, false),
            Event::Deleted(deletion) => (deletion.channel, None, deletion.position, true),
        };
        for subscriber in all.iter_mut().filter(|subscriber| subscriber.thread == thread) {
            let stayed = subscriber.stays.is_some();
            deliver_to_stay(subscriber, channel, message.as_ref(), deleted, model)?;
            if stayed && subscriber.stays.is_none() {
                state.unseat(now, thread, Guest::default(), Seats::new());
            }
            let Some((from, seats)) = &subscriber.waits else { continue };
            if !seats.contains(&channel) || message.as_ref().is_some_and(|message| message.position <= *from) {
                continue;
            }
            match &message {
                Some(message) => {
                    let (channel, size) = model.published[&message.position];
                    prop_assert_eq!((&*message.channel, message.payload.len()), (NAMES[channel], size));
                    prop_assert!(subscriber.channels.contains(&channel));
                    let between = model.missed(&subscriber.channels, *from);
                    let earlier = between.iter().filter(|(position, _)| *position < message.position).count();
                    prop_assert_eq!(earlier, 0, "{} comes before what was stored since {}", message.position, from);
                }
                // It is told of the gap, or that the channel is gone.
                None => prop_assert!(position >= *from),
            }
            subscriber.position = Some(position);
            let seats = seats.clone();
            subscriber.waits = None;
            state.unseat(now, thread, Guest::default(), seats);
        }
    }
    // Who stays and is not behind has everything up to the head.
    for stay in all.iter_mut().filter(|subscriber| subscriber.thread == thread).filter_map(|all| all.stays.as_mut()) {
        if !stay.behind {
            if !stay.told {
                prop_assert_eq!(model.missed(&stay.channels(state), stay.from), vec![]);
            }
            stay.from = state.head;
        }
    }
    Ok(())
}

/// One event for a subscriber that stays; a message, a loss or a deletion.
fn deliver_to_stay(
    subscriber: &mut Subscriber,
    channel: ChannelId,
    message: Option<&Message>,
    deleted: bool,
    model: &Model,
) -> Result<(), TestCaseError> {
    let Some(stay) = &mut subscriber.stays else { return Ok(()) };
    if !stay.seats.iter().any(|(id, _)| *id == channel) {
        return Ok(());
    }
    match message {
        Some(message) if !stay.behind && message.position > stay.from => {
            let channels = stay.seats.iter().map(|(_, channel)| *channel).collect();
            let between = model.missed(&channels, stay.from);
            let earlier = between.iter().filter(|(position, _)| *position < message.position).count();
            prop_assert!(
                earlier == 0 || stay.told,
                "{} comes before what was stored since {}",
                message.position,
                stay.from
            );
            let (channel, size) = model.published[&message.position];
            prop_assert_eq!((&*message.channel, message.payload.len()), (NAMES[channel], size));
            (stay.from, stay.told) = (message.position, false);
        }
        Some(_) => {}
        None if deleted => {
            stay.seats.retain(|(id, _)| *id != channel);
            if stay.seats.is_empty() {
                subscriber.position = Some(stay.from);
                subscriber.stays = None;
            }
        }
        None => stay.told |= !stay.behind,
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_subscriber_gets_all_that_was_stored_or_is_told_of_a_gap(
        steps in steps(),
        sets in prop::collection::vec(prop::collection::btree_set(0..NAMES.len(), 1..=3), SUBSCRIBERS),
        most in prop::option::of(1u32..6),
        message_ttl in prop_oneof![Just(1_000_000u32), 5u32..40],
        events in prop::bool::weighted(0.3),
    ) {
        let events = events.then(|| ChannelName::new(b"events", 255).expect("a name"));
        let limits = Limits { messages_per_channel: most, message_ttl, events, ..limits() };
        let journal = journal::create(limits.memory).expect("a memfd");
        let mut state = restored(limits.clone(), START, &journal);
        let mut model = Model::default();
        let mut now = START + 1;
        let mut all: Vec<Subscriber> = sets.into_iter().enumerate().map(|(index, channels)| Subscriber {
            channels, thread: (index % 2) as u8, position: None, waits: None, stays: None,
        }).collect();
        for step in steps {
            match step {
                Step::Publish { channel, size, store, ttl } => {
                    let payload = vec![b'x'; size];
                    let message = NewMessage { store, ttl, ..NewMessage::new(&payload) };
                    let before = state.head;
                    let (published, woken) = state.publish(None, now, &name(channel), &message).expect("allowed");
                    prop_assert!(published.position > before);
                    let seated = |thread| all.iter().any(|subscriber| {
                        let present = subscriber.waits.is_some() || subscriber.stays.is_some();
                        subscriber.thread == thread && present && subscriber.channels.contains(&channel)
                    });
                    // Seats in a channel that was deleted are no seats in the new one.
                    prop_assert!((0..2).all(|thread| woken & 1 << thread == 0 || seated(thread)));
                    model.published.insert(published.position, (channel, size));
                    if store {
                        model.stored.insert(published.position, (channel, size));
                    }
                }
                Step::Delete { channel } => {
                    state.delete(now, &name(channel), None).expect("allowed");
                }
                Step::Create { channel, max_messages } => {
                    let options = ChannelOptions { max_messages, ..ChannelOptions::default() };
                    state.create(now, name(channel), options).expect("allowed");
                }
                Step::Pass { seconds } => now += seconds,
                Step::Sweep => {
                    state.expire(now);
                }
                Step::Restart => {
                    drop(state);
                    state = restored(limits.clone(), now, &journal);
                    for subscriber in &mut all {
                        let waited = subscriber.waits.take().map(|(from, _)| from);
                        let stayed = subscriber.stays.take().map(|stay| stay.from);
                        subscriber.position = waited.or(stayed).or(subscriber.position);
                    }
                }
                Step::Leave { subscriber } => {
                    let subscriber = &mut all[subscriber];
                    if let Some((from, seats)) = subscriber.waits.take() {
                        state.unseat(now, subscriber.thread, Guest::default(), seats);
                        subscriber.position = Some(from);
                    }
                    if let Some(stay) = subscriber.stays.take() {
                        state.unseat(now, subscriber.thread, Guest::default(), stay.ids());
                        subscriber.position = Some(stay.from);
                    }
                }
                Step::FallBehind { subscriber } => {
                    if let Some(stay) = &mut all[subscriber].stays {
                        stay.behind = true;
                    }
                }
                Step::Stay { subscriber, bytes } => {
                    let subscriber = &mut all[subscriber];
                    if let Some(stay) = &mut subscriber.stays {
                        if stay.behind {
                            let batch = state.read_on(&stay.ids(), false, stay.from, bytes);
                            model.check(&stay.channels(&state), stay.from, &batch)?;
                            prop_assert!(batch.position >= stay.from);
                            (stay.from, stay.behind, stay.told) = (batch.position, batch.more, false);
                        }
                        continue;
                    }
                    if let Some((from, seats)) = subscriber.waits.take() {
                        state.unseat(now, subscriber.thread, Guest::default(), seats);
                        subscriber.position = Some(from);
                    }
                    let channels = wanted(&subscriber.channels);
                    let head = state.head;
                    let ask = Subscribe { seat: Seat::Always(bytes), ..ask(&channels, subscriber.position, true) };
                    match state.resume_or_wait(now, subscriber.thread, ask) {
                        Ok(Resume::Seated(batch, seats, _)) => {
                            match subscriber.position {
                                Some(after) => model.check(&subscriber.channels, after, &batch)?,
                                None => prop_assert!(batch.messages.is_empty() && !batch.gap),
                            }
                            prop_assert!(batch.more || batch.position >= head);
                            let seats = seats.into_iter().zip(subscriber.channels.iter().copied()).collect();
                            subscriber.stays = Some(Stay { from: batch.position, seats, behind: batch.more, told: false });
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
                Step::Poll { subscriber } => {
                    if all[subscriber].waits.is_some() || all[subscriber].stays.is_some() {
                        let thread = all[subscriber].thread;
                        deliver(&mut state, now, thread, &mut all, &model)?;
                        continue;
                    }
                    let subscriber = &mut all[subscriber];
                    let channels = wanted(&subscriber.channels);
                    match state.resume_or_wait(now, subscriber.thread, ask(&channels, subscriber.position, true)) {
                        Ok(Resume::Now(batch)) => {
                            let after = subscriber.position.expect("without a position it waits");
                            model.check(&subscriber.channels, after, &batch)?;
                            prop_assert!(batch.position >= after || batch.gap);
                            subscriber.position = Some(batch.position);
                        }
                        Ok(Resume::Seated(Batch { position: from, .. }, seats, _)) => {
                            if let Some(after) = subscriber.position {
                                prop_assert_eq!(model.missed(&subscriber.channels, after), vec![]);
                            }
                            subscriber.waits = Some((from, seats));
                        }
                        Err(refusal) => prop_assert!(false, "{refusal:?}"),
                    }
                }
            }
            let taken = all.iter().flat_map(|subscriber| {
                let waits = subscriber.waits.iter().flat_map(|(_, seats)| seats.iter().copied());
                waits.chain(subscriber.stays.iter().flat_map(Stay::ids))
            });
            let seated = taken.filter(|id| state.channels.get(*id).is_some()).count();
            prop_assert_eq!(state.subscribers, seated as u64);
            let there = |subscriber: &&Subscriber| subscriber.waits.is_some() || subscriber.stays.is_some();
            prop_assert_eq!(state.connections, all.iter().filter(there).count() as u64);
            prop_assert!(state.memory() <= (1 << 20) + (64 << 10));
        }
    }
}

#[test]
fn memory_is_given_back_when_messages_expire() {
    let mut state = state(Limits { memory: 64 << 20, message_ttl: 10, ..limits() });
    for number in 0..20_000 {
        state.publish(None, START, &name(number % 3), &NewMessage::new(&[b'x'; 1000])).expect("published");
    }
    let full = state.memory();
    assert!(full > 20_000_000);
    assert!(state.expire(START + 10).0 > 19_000_000);
    assert_eq!(state.stored, 0);
    assert!(state.memory() < 200_000, "{} bytes are left", state.memory());
    state.expire(START + 100);
    assert_eq!((state.channels.len(), state.channel_bytes), (0, 0));
}

#[test]
fn one_long_lived_message_does_not_hold_a_segment_of_dead_ones() {
    let mut state = state(Limits { memory: 64 << 20, messages_per_channel: Some(2), ..limits() });
    for number in 0..20_000 {
        let channel = if number % 1000 == 0 { 1 } else { 0 };
        state.publish(None, START, &name(channel), &NewMessage::new(&[b'x'; 1000])).expect("published");
    }
    assert_eq!(state.stored, 4);
    state.expire(START);
    assert!(state.memory() < 200_000, "{} bytes for four messages", state.memory());
    let channels = wanted(&BTreeSet::from([0, 1]));
    let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, ask(&channels, Some(Position::START), false)) else {
        panic!("stored messages are answered at once")
    };
    assert_eq!(batch.messages.len(), 4);
}

#[test]
fn the_oldest_messages_give_way_and_their_readers_are_told() {
    let mut state = state(limits());
    let channels = wanted(&BTreeSet::from([0]));
    state.publish(None, START, &name(0), &NewMessage::new(b"first")).expect("published");
    let seen = state.head;
    for _ in 0..2_000 {
        state.publish(None, START, &name(1), &NewMessage::new(&[b'x'; 1000])).expect("published");
        assert!(state.memory() <= 1 << 20);
    }
    let Ok(Resume::Now(batch)) =
        state.resume_or_wait(START, 0, ask(&channels, Some(Position { tag: 0, ..seen }), true))
    else {
        panic!("a gap is answered at once")
    };
    assert!(batch.gap && batch.messages.is_empty());
    assert_eq!(batch.position, state.head);
}

#[test]
fn creating_fails_when_nothing_is_left_to_give_way() {
    let mut state = state(limits());
    let name = |number: usize| ChannelName::new(format!("channel-{number}").as_bytes(), 255).expect("a name");
    let created =
        (0..).take_while(|&number| state.create(START, name(number), ChannelOptions::default()).is_ok()).count();
    assert!(created > 1000);
    assert_eq!(
        state.publish(None, START, &name(created), &NewMessage::new(b"x")).map(|_| ()),
        Err(Error::LimitExceeded(Limit::Memory(1 << 20)))
    );
    state.publish(None, START, &name(0), &NewMessage::new(b"x")).expect("the channel exists");
    state.expire(START + 25 * 3600);
    state.create(START + 25 * 3600, name(created), ChannelOptions::default()).expect("there is room again");
}

#[test]
fn a_channel_belongs_to_nobody_who_cannot_be_a_user() {
    let mut state = state(limits());
    for (owner, word) in [(String::new(), "empty"), ("x".repeat(256), "255"), ("a\nb".to_owned(), "control")] {
        let options = ChannelOptions { owner: Some(owner), ..ChannelOptions::default() };
        let refused = state.create(START, name(0), options).expect_err("no user").to_string();
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(state.channels.len(), 0);
}

#[test]
fn a_created_channel_lives_for_its_ttl_after_its_last_use() {
    let mut state = state(limits());
    state.create(START, name(0), ChannelOptions { ttl: Some(100), ..ChannelOptions::default() }).expect("created");
    state.publish(None, START + 90, &name(0), &NewMessage::new(b"x")).expect("published");
    assert!(state.find(START + 189, &name(0)).is_some());
    assert!(state.find(START + 190, &name(0)).is_none());
}

#[test]
fn positions_grow_though_the_clock_goes_back() {
    let mut state = state(limits());
    let mut last = Position::START;
    for now in [START + 5, START + 5, START + 1, START + 6, START] {
        let (published, _) = state.publish(None, now, &name(0), &NewMessage::new(b"x")).expect("published");
        assert!(published.position > last);
        last = published.position;
    }
    assert_eq!(last, Position { time: START + 6, tag: 2 });
}

#[test]
fn an_answer_is_bounded_and_the_rest_follows() {
    let mut state = state(Limits { memory: 64 << 20, ..limits() });
    for _ in 0..200 {
        state.publish(None, START, &name(0), &NewMessage::new(&[b'x'; 60_000])).expect("published");
    }
    let mut channels = wanted(&BTreeSet::from([0]));
    let (mut count, mut after) = (0, Position::START);
    while count < 200 {
        let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, ask(&channels, Some(after), true)) else {
            panic!("there is more")
        };
        assert!(!batch.gap && batch.messages.iter().map(|message| message.payload.len()).sum::<usize>() <= ANSWER);
        (count, after) = (count + batch.messages.len(), batch.position);
    }
    assert_eq!((count, after), (200, state.head));
    channels[0].backlog = 200;
    let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, ask(&channels, None, true)) else {
        panic!("a backlog is answered at once")
    };
    assert!(batch.gap, "a backlog that is cut is a gap");
    assert_eq!(batch.messages.last().map(|message| message.position), Some(state.head));
}

#[test]
fn a_key_is_taken_once_within_its_window() {
    let mut state = state(limits());
    let mut publish = |now, channel, dedupe| {
        let message = NewMessage { dedupe: Some(dedupe), ..NewMessage::new(b"x") };
        state.publish(None, now, &name(channel), &message).expect("published").0
    };
    let first = publish(START, 0, "k");
    assert_eq!(publish(START + 299, 0, "k"), first);
    assert_ne!(publish(START + 299, 0, "other").id, first.id);
    assert_ne!(publish(START + 299, 1, "k").position, first.position);
    assert_eq!(publish(START + 300, 0, "k").id, 3);
    state.expire(START + 1000);
    assert_eq!(state.dedupe.allocated(), 0);
}

#[test]
fn a_deleted_channel_forgets_its_keys() {
    let mut state = state(limits());
    let message = NewMessage { dedupe: Some("k"), ..NewMessage::new(b"x") };
    let (first, _) = state.publish(None, START, &name(0), &message).expect("published");
    state.delete(START, &name(0), None).expect("allowed");
    let (second, _) = state.publish(None, START, &name(0), &message).expect("published");
    assert!(second.position > first.position);
}

#[test]
fn a_batch_is_admitted_as_a_whole() {
    let mut state = state(Limits { channels: Some(2), message_size: 10, ..limits() });
    let message = NewMessage::new(b"x");
    let large = NewMessage::new(b"eleven bytes");
    assert!(matches!(state.admit(START, &[(name(0), message), (name(1), large)]), Err(Error::TooLarge { .. })));
    let three = [(name(0), message), (name(1), message), (name(2), message)];
    assert_eq!(state.admit(START, &three), Err(Error::LimitExceeded(Limit::Channels(2))));
    assert_eq!(state.channels.len(), 0);
    assert_eq!(state.admit(START, &[(name(0), message), (name(1), message), (name(0), message)]), Ok(()));
    assert_eq!(state.channels.len(), 2);
}

#[test]
fn channels_are_listed_page_by_page() {
    let mut state = state(limits());
    for text in ["room-2", "room-1", "room-10", "roof", "x", "room-3"] {
        let name = ChannelName::new(text.as_bytes(), 255).expect("a name");
        state.create(START, name, ChannelOptions::default()).expect("created");
    }
    let mut page = |prefix: &str, after: &str, limit| -> Vec<String> {
        state.list(START, &Namespace::default(), prefix, after, limit).into_iter().map(|info| info.name).collect()
    };
    assert_eq!(page("room-", "", 3), ["room-1", "room-10", "room-2"]);
    assert_eq!(page("room-", "room-2", 3), ["room-3"]);
    assert_eq!(page("", "", 2), ["roof", "room-1"]);
    assert_eq!(page("", "room-3", 10), ["x"]);
    assert!(page("none", "", 10).is_empty());
    assert!(state.list(START + 25 * 3600, &Namespace::default(), "", "", 10).is_empty());
}

#[test]
fn a_cleared_channel_keeps_its_subscribers_and_says_what_is_missing() {
    let mut state = state(limits());
    let channels = wanted(&BTreeSet::from([0]));
    let seated = state.resume_or_wait(START, 0, ask(&channels, None, true));
    assert!(matches!(seated, Ok(Resume::Seated(..))));
    for _ in 0..3 {
        state.publish(None, START, &name(0), &NewMessage::new(b"x")).expect("published");
    }
    assert_eq!(state.history(START, &name(0), Position::START, 2).len(), 2);
    assert_eq!(state.clear(START, &name(0)), Ok(3));
    assert_eq!((state.clear(START, &name(0)), state.stored, state.subscribers), (Ok(0), 0, 1));
    let Ok(Resume::Now(batch)) =
        state.resume_or_wait(START, 1, ask(&channels, Some(Position { time: START, tag: 1 }), false))
    else {
        panic!("a poll is answered at once")
    };
    assert!(batch.gap);
}

/// All that can be asked about the channels.
fn known(state: &mut State, now: u32) -> Vec<(ChannelInfo, Option<ChannelOptions>, Position, Vec<Message>)> {
    let infos = state.list(now, &Namespace::default(), "", "", usize::MAX);
    let of = |info: ChannelInfo| {
        let name = ChannelName::new(info.name.as_bytes(), 255).expect("a name");
        let id = state.find(now, &name).expect("just listed");
        let channel = state.channels.get(id).expect("just found");
        let (options, complete) = (channel.created.as_deref().cloned(), channel.history.complete_since());
        (info, options, complete, state.history(now, &name, Position::START, usize::MAX))
    };
    infos.into_iter().map(of).collect()
}

#[derive(Clone, Debug)]
enum Change {
    Publish { channel: usize, size: usize, store: bool, ttl: Option<u32>, key: Option<usize> },
    Create { channel: usize, options: ChannelOptions },
    Delete { channel: usize },
    Clear { channel: usize },
    Pass { seconds: u32 },
    Restart,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let channel = 0..NAMES.len();
    let size = prop_oneof![8 => 0usize..200, 1 => 20_000usize..100_000];
    let ttl = prop::option::weighted(0.2, 1u32..20);
    let owner = prop::option::of("[a-z]{1,9}");
    let options =
        (owner, prop::option::of(50u32..200), prop::option::of(1u32..5), ttl.clone(), prop::bool::weighted(0.8));
    let options = options.prop_map(|(owner, ttl, max_messages, message_ttl, presence)| ChannelOptions {
        owner,
        ttl,
        max_messages,
        message_ttl,
        presence,
    });
    let change = prop_oneof![
        12 => (channel.clone(), size, prop::bool::weighted(0.9), ttl, prop::option::weighted(0.3, 0usize..3))
            .prop_map(|(channel, size, store, ttl, key)| Change::Publish { channel, size, store, ttl, key }),
        2 => (channel.clone(), options).prop_map(|(channel, options)| Change::Create { channel, options }),
        1 => channel.clone().prop_map(|channel| Change::Delete { channel }),
        1 => channel.prop_map(|channel| Change::Clear { channel }),
        1 => (1u32..40).prop_map(|seconds| Change::Pass { seconds }),
        2 => Just(Change::Restart),
    ];
    prop::collection::vec(change, 1..150)
}

const KEYS: [&str; 3] = ["k", "another key", "3"];

fn apply(state: &mut State, now: u32, change: &Change) -> Option<(Published, Woken)> {
    match change {
        Change::Publish { channel, size, store, ttl, key } => {
            let payload = vec![*size as u8; *size];
            let dedupe = key.map(|key| KEYS[key]);
            let message = NewMessage { store: *store, ttl: *ttl, dedupe, ..NewMessage::new(&payload) };
            return Some(state.publish(None, now, &name(*channel), &message).expect("allowed"));
        }
        Change::Create { channel, options } => state.create(now, name(*channel), options.clone()).expect("allowed"),
        Change::Delete { channel } => drop(state.delete(now, &name(*channel), None)),
        Change::Clear { channel } => drop(state.clear(now, &name(*channel))),
        Change::Pass { .. } | Change::Restart => drop(state.expire(now)),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn a_hub_that_is_killed_again_and_again_knows_what_one_knows_that_lived(
        changes in changes(),
        most in prop::option::of(1u32..6),
    ) {
        // How long a channel is not in use begins anew with each hub.
        let limits = Limits { memory: 64 << 20, messages_per_channel: most, message_size: 100_000, channel_inactivity: 1 << 20, ..limits() };
        let limits = Limits { dedupe_window: 30, ..limits };
        let journal = journal::create(limits.memory).expect("a memfd");
        let (mut lives, mut dies) = (state(limits.clone()), restored(limits.clone(), START, &journal));
        let mut now = START + 1;
        for change in &changes {
            let change = match change {
                // The same for the time of a created one.
                Change::Create { channel, options } => Change::Create {
                    channel: *channel,
                    options: ChannelOptions { ttl: options.ttl.map(|ttl| ttl << 16), ..options.clone() },
                },
                other => other.clone(),
            };
            if let Change::Pass { seconds } = change {
                now += seconds;
            }
            prop_assert_eq!(apply(&mut lives, now, &change), apply(&mut dies, now, &change));
            if let Change::Restart = change {
                drop(dies);
                dies = restored(limits.clone(), now, &journal);
            }
            prop_assert_eq!(known(&mut lives, now), known(&mut dies, now));
            prop_assert_eq!((lives.head, lives.watermark, lives.stored), (dies.head, dies.watermark, dies.stored));
        }
        let before = dies.memory();
        drop(dies);
        dies = restored(limits, now, &journal);
        prop_assert!(dies.memory() <= before, "{} after {before}", dies.memory());
    }

    #[test]
    fn a_damaged_journal_gives_no_wrong_message_and_its_readers_are_told(
        changes in changes(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1usize..5000), 1..8),
    ) {
        let journal = journal::create(1 << 20).expect("a memfd");
        let mut state = restored(limits(), START, &journal);
        let mut now = START + 1;
        let mut published = BTreeMap::new();
        for change in &changes {
            if let Change::Pass { seconds } = change {
                now += seconds;
            }
            let result = match change {
                Change::Publish { size, .. } if *size > 64 << 10 => None,
                change => apply(&mut state, now, change),
            };
            if let (Some((result, _)), Change::Publish { channel, size, .. }) = (result, change) {
                published.entry(result.position).or_insert((*channel, *size));
            }
        }
        drop(state);
        let used = journal_bytes(&journal);
        for (at, byte, len) in damage {
            let at = *at.get(&used);
            rustix::io::pwrite(&journal, &vec![byte; len.min(4096 - at as usize % 4096)], at).expect("a memfd");
        }
        let Ok(mut state) = State::restore(
            limits(), 2, Position { time: now + 1, tag: 0 }, now, journal.try_clone().expect("a descriptor"), false,
            &|| (),
        ) else { return Ok(()) };
        for channel in 0..NAMES.len() {
            for message in state.history(now, &name(channel), Position::START, usize::MAX) {
                let (_, size) = published[&message.position];
                prop_assert!(message.payload.len() == size && message.payload.iter().all(|byte| *byte == size as u8));
            }
        }
        // It goes on as any other.
        for change in &changes {
            if !matches!(change, Change::Publish { size, .. } if *size > 64 << 10) {
                apply(&mut state, now, change);
            }
        }
    }
}

/// Where the journal has something but zeros: places to damage.
fn journal_bytes(journal: &OwnedFd) -> Vec<u64> {
    let mut page = [0; 4096];
    let mut places = Vec::new();
    let mut at = 0;
    while let Ok(data) = rustix::fs::seek(journal, rustix::fs::SeekFrom::Data(at)) {
        rustix::io::pread(journal, &mut page, data).expect("a memfd");
        places.extend((0..4096).filter(|offset| page[*offset as usize] != 0).map(|offset| data + offset));
        at = data + 4096;
    }
    places
}

#[test]
fn a_damaged_record_is_a_gap_for_all_that_was_before() {
    let journal = journal::create(1 << 20).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let seen = state.publish(None, START, &name(0), &NewMessage::new(b"seen")).expect("published").0.position;
    for text in ["first of many", "damaged", "behind it"] {
        state.publish(None, START, &name(0), &NewMessage::new(text.as_bytes())).expect("published");
    }
    drop(state);
    let at = journal_bytes(&journal).into_iter().find(|at| {
        let mut found = [0; 7];
        rustix::io::pread(&journal, &mut found, *at).expect("a memfd");
        &found == b"damaged"
    });
    rustix::io::pwrite(&journal, b"D", at.expect("it is there")).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let channels = wanted(&BTreeSet::from([0]));
    let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, ask(&channels, Some(seen), true)) else {
        panic!("a gap is answered at once")
    };
    assert!(batch.gap);
    let texts: Vec<&[u8]> = batch.messages.iter().map(|message| &*message.payload).collect();
    assert_eq!(texts, [b"first of many"]);
    let (published, _) = state.publish(None, START, &name(0), &NewMessage::new(b"next")).expect("published");
    assert_eq!((published.id, published.position > batch.position), (5, true));
}

#[test]
fn a_message_that_was_stored_before_the_hub_could_note_it_is_known_as_published() {
    let journal = journal::create(1 << 20).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    // The one is noted in, the other is as if the hub was killed in between.
    let (noted, seen) = (progress(), progress());
    for (call, part) in [(0, 0), (64, 0), (64, 1)] {
        for progress in [&noted, &seen] {
            progress.begin(call);
        }
        let origin = Some(Origin { client: 7, progress: &noted });
        let (published, _) = state.publish(origin, START, &name(0), &NewMessage::new(b"x")).expect("published");
        drop(state);
        state = restored(limits(), START, &journal);
        state.complete(7, &noted);
        assert_eq!((noted.parts(), noted.result(part)), (part + 1, Some(published.words())));
        state.complete(7, &seen);
        assert_eq!(seen.parts(), part, "it is told once");
        drop(state);
        state = restored(limits(), START, &journal);
        state.complete(8, &seen);
        assert_eq!(seen.parts(), part, "another client's call");
        state.complete(7, &seen);
        assert_eq!((seen.parts(), seen.result(part)), (part + 1, Some(published.words())));
    }
    // Nothing was stored of this one, and what came then is nobody's.
    for progress in [&noted, &seen] {
        progress.begin(128);
    }
    let message = NewMessage { store: false, ..NewMessage::new(b"x") };
    let origin = Some(Origin { client: 7, progress: &noted });
    state.publish(origin, START, &name(0), &message).expect("published");
    drop(state);
    state = restored(limits(), START, &journal);
    state.complete(7, &seen);
    assert_eq!(seen.parts(), 0);
    state.publish(None, START, &name(0), &NewMessage::new(b"by HTTP")).expect("published");
    drop(state);
    state = restored(limits(), START, &journal);
    state.complete(7, &seen);
    assert_eq!(seen.parts(), 0);
}

#[test]
fn what_a_call_did_is_not_done_again_by_the_next_hub() {
    let journal = journal::create(1 << 20).expect("a memfd");
    let engine = || {
        let (journal, access) =
            (journal.try_clone().expect("a descriptor"), Access::of_this_process().expect("random numbers"));
        let start = Position { time: START, tag: 0 };
        Sequencer::new(limits(), Box::default(), start, String::new(), (journal, false), access, None)
            .expect("a journal")
    };
    let (progress, mut hub, site) = (progress(), engine(), Namespace::default());
    let origin = Some(Origin { client: 7, progress: &progress });
    // Each call is made by two hubs, as one is that was killed before it could take the call out of the ring.
    progress.begin(0);
    let create =
        |hub: &Sequencer| hub.create_channel_for(origin, &site, None, ChannelOptions::default()).expect("a name");
    let name = create(&hub);
    hub = engine();
    assert_eq!((create(&hub), hub.status().channels), (name.clone(), 1));
    let publish = |hub: &Sequencer| hub.publish(&name, &NewMessage::new(b"x")).expect("published");
    for _ in 0..3 {
        publish(&hub);
    }
    progress.begin(64);
    assert_eq!(hub.clear_channel_for(origin, &name), Ok(3));
    publish(&hub);
    hub = engine();
    assert_eq!(hub.clear_channel_for(origin, &name), Ok(3));
    assert_eq!(hub.channel_info(&name).expect("it is there").stored, 1, "what came after it stays");
    progress.begin(128);
    assert_eq!(hub.delete_channel_for(origin, &name, None), Ok(true));
    hub.create_channel(Some(name.clone()), ChannelOptions::default()).expect("made anew by somebody else");
    hub = engine();
    assert_eq!(hub.delete_channel_for(origin, &name, None), Ok(true));
    assert!(hub.channel_info(&name).is_some());
    progress.begin(192);
    let owner = |owner: &str| ChannelOptions { owner: Some(owner.to_owned()), ..ChannelOptions::default() };
    let change = |hub: &Sequencer| hub.create_channel_for(origin, &site, Some(name.clone()), owner("first"));
    assert_eq!(change(&hub).as_ref(), Ok(&name));
    hub.create_channel(Some(name.clone()), owner("second")).expect("changed by somebody else");
    hub = engine();
    assert_eq!(change(&hub).as_ref(), Ok(&name));
    assert_eq!(hub.channel_info(&name).expect("it is there").owner.as_deref(), Some("second"));
}

fn progress() -> Progress {
    Progress::new(crate::shm::segment::Segment::create(crate::shm::segment::MIN_RING).expect("memory").0)
}

#[test]
fn a_key_whose_message_was_not_stored_is_forgotten() {
    let journal = journal::create(1 << 20).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let message = NewMessage { dedupe: Some("k"), ..NewMessage::new(b"x") };
    let (first, _) = state.publish(None, START, &name(0), &NewMessage::new(b"before")).expect("published");
    // As far as a hub comes that is killed between the two.
    let id = state.find(START, &name(0)).expect("just published");
    let published = Published { id: 2, position: next(state.head, START), subscribers: 0 };
    state.journal.store(Word::Before, state.head.pack());
    state.journal.store(Word::Busy, 1);
    let entry = registry::Entry::Key { channel: id, key: "k", published, expires: START + 300 };
    state.registry.add(&entry, None).expect("there is room");
    drop(state);
    let mut state = restored(limits(), START, &journal);
    let (second, _) = state.publish(None, START, &name(0), &message).expect("published");
    assert_eq!((first.id, second.id, state.stored), (1, 2, 2));
    assert_eq!(state.publish(None, START, &name(0), &message).expect("published").0, second);
}

#[test]
fn what_goes_to_many_seats_comes_in_small_batches() {
    let mut state = state(limits());
    let channels = wanted(&BTreeSet::from([0]));
    assert!(matches!(state.resume_or_wait(START, 0, ask(&channels, None, true)), Ok(Resume::Seated(..))));
    for _ in 0..10 {
        state.publish(None, START, &name(0), &NewMessage::new(b"x")).expect("published");
    }
    let mut events = Vec::new();
    assert!(state.take_owed(0, &mut events, |_| BATCH / SEAT));
    assert_eq!(events.len(), 1);
    assert!(!state.take_owed(0, &mut events, |_| 1));
    assert_eq!(events.len(), 10);
}

#[test]
fn channels_of_one_second_expire_a_few_at_a_time() {
    let mut state = state(Limits { channel_inactivity: 10, ..limits() });
    for number in 0..EXPIRE + 1 {
        let name = ChannelName::new(number.to_string().as_bytes(), 8).expect("a name");
        state.create_all(START, [&name]).expect("room");
    }
    assert!(state.expire(START + 400).1);
    assert_eq!(state.channels.len(), 1);
    assert!(!state.expire(START + 400).1);
    assert_eq!(state.channels.len(), 0);
}

#[test]
fn an_event_id_is_looked_for_among_the_newest_messages() {
    let mut state = state(Limits { memory: 64 << 20, messages_per_channel: None, ..limits() });
    let ids = ["old", "new"];
    for number in 0..=EVENT_IDS {
        let event_id = if number == 0 { Some(ids[0]) } else { Some(ids[1]).filter(|_| number == EVENT_IDS) };
        state.publish(None, START, &name(0), &NewMessage { event_id, ..NewMessage::new(b"x") }).expect("published");
    }
    let channels = wanted(&BTreeSet::from([0]));
    let known = ids.map(|id| {
        let subscribe = Subscribe { event_id: Some(id), ..ask(&channels, None, false) };
        match state.resume_or_wait(START, 0, subscribe) {
            Ok(Resume::Now(batch)) => (batch.gap, batch.messages.len()),
            other => panic!("{other:?}"),
        }
    });
    assert!(known[0].0 && known[0].1 > 0, "what is too old is a gap: {known:?}");
    assert_eq!(known[1], (false, 0));
}

fn lobby() -> Place {
    Place::Channel(ChannelName::new(b"lobby", 255).expect("a name"))
}

/// PHP says that the user is online, `tick` tenths after the start.
fn online(state: &mut State, tick: Tick, user: &str, info: &[u8], ttl: u32) -> Result<bool, Error> {
    let now = Now { tick, second: START + tick / 10 };
    state.with_presence(now, |presence, stamp| presence.online(&lobby(), user, info, Some(ttl), now, stamp))
}

fn expire_presence(state: &mut State, tick: Tick) {
    let now = Now { tick, second: START + tick / 10 };
    while state.with_presence(now, |presence, stamp| presence.expire(now, stamp)) {}
}

#[test]
fn leases_outlive_the_hub_and_who_has_left_does_not_come_back() {
    let journal = journal::create(limits().memory).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let info = b"{\"nick\":\"Ada\"}";
    assert_eq!(online(&mut state, 0, "ada", info, 60), Ok(true));
    assert_eq!(online(&mut state, 0, "bob", b"", 1), Ok(true));
    assert_eq!(online(&mut state, 0, "cyn", b"", 60), Ok(true));
    let now = Now { tick: 0, second: START };
    let left = state.with_presence(now, |presence, stamp| presence.offline(&lobby(), "cyn", now, stamp));
    assert_eq!(left, Ok(true));
    // Killed again and again: what it said last holds.
    assert_eq!(online(&mut state, 0, "ada", b"", 30), Ok(false));
    for _ in 0..3 {
        drop(state);
        state = restored(limits(), START + 10, &journal);
    }
    let ada = state.presence.get(&lobby(), "ada").expect("her lease goes on");
    assert_eq!((ada.info.as_bytes(), ada.since, ada.connections), (&info[..], u64::from(START), 0));
    assert!(state.presence.is_online(&lobby(), "bob"), "whoever was there is shown for a grace");
    assert!(!state.presence.is_online(&lobby(), "cyn"));
    expire_presence(&mut state, 160);
    assert!(!state.presence.is_online(&lobby(), "bob"));
    expire_presence(&mut state, 190);
    assert!(state.presence.is_online(&lobby(), "ada"));
    expire_presence(&mut state, 220);
    assert_eq!(state.presence.counters().0, 0);
    drop(state);
    assert_eq!(restored(limits(), START + 40, &journal).presence.counters().0, 0);
}

#[test]
fn who_was_a_member_when_presence_was_turned_off_is_none_for_the_next_hub() {
    let journal = journal::create(limits().memory).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let lobby_name = lobby().channel().expect("a channel").clone();
    assert_eq!(online(&mut state, 0, "ada", b"", 60), Ok(true));
    // Killed between the record of the channel and those of its members: these are still there.
    let entry = registry::Entry::Channel {
        id: state.find_or_create(START, &lobby_name).expect("a channel"),
        name: lobby_name.identity(),
        options: Some(ChannelOptions { presence: false, ..ChannelOptions::default() }),
    };
    let counters = state.channels.get(state.channels.find(&lobby_name).expect("made")).expect("made").counters();
    state.registry.add(&entry, Some(counters)).expect("there is room");
    for _ in 0..2 {
        drop(state);
        state = restored(limits(), START + 1, &journal);
        assert_eq!(state.presence.counters().0, 0);
    }
    state.create(START + 1, lobby_name, ChannelOptions::default()).expect("there is room");
    drop(state);
    assert_eq!(restored(limits(), START + 2, &journal).presence.counters().0, 0, "their records are gone");
}

#[test]
fn members_count_against_the_memory_and_give_it_back() {
    let mut state = state(limits());
    let empty = state.memory();
    let user = |number: usize| format!("a user with a name that is not short, number {number}");
    let mut count = 0;
    let refused = loop {
        let name = user(count);
        match state.room_for_member(&lobby(), &name, 0) {
            Ok(()) => assert_eq!(online(&mut state, 0, &name, b"", 60), Ok(true)),
            Err(limit) => break limit,
        }
        count += 1;
    };
    assert_eq!(refused, Limit::Memory(1 << 20));
    assert!((1_000..10_000).contains(&count), "{count}");
    assert!(state.memory() <= 1 << 20);
    expire_presence(&mut state, 700);
    state.expire(START + 70);
    // A segment of the registry is kept.
    assert!(state.memory() <= empty + (128 << 10), "{} above {empty}", state.memory());
}

/// A reader of one channel with all that is said of it, as an event stream has it.
fn read_from(state: &State, seats: &[ChannelId], mut after: Position, bytes: usize) -> Vec<(Position, bool)> {
    let mut all = Vec::new();
    loop {
        let batch = state.read_on(seats, true, after, bytes);
        assert!(!batch.gap);
        all.extend(batch.messages.iter().map(|message| (message.position, message.is_presence())));
        after = batch.position;
        if !batch.more {
            return all;
        }
    }
}

#[test]
fn one_position_covers_messages_and_presence() {
    let mut state = state(limits());
    let channels = [Wanted { name: ChannelName::new(b"lobby", 255).expect("a name"), backlog: 0, opened: true }];
    let ask = Subscribe { seat: Seat::Always(ANSWER), feed: Feed::Since, ..ask(&channels, None, true) };
    let Ok(Resume::Seated(first, seats, guest)) = state.resume_or_wait(START, 0, ask) else { panic!("it stays") };
    assert_eq!((first.messages.len(), first.position), (1, state.head), "it begins with who is there");
    assert!(guest.watches && guest.user.is_none());
    let mut said = Vec::new();
    for number in 0..20 {
        online(&mut state, number, &format!("user {number}"), b"", 60).expect("allowed");
        said.push((state.head, true));
        let message = NewMessage::new(b"hello");
        let (published, _) = state.publish(None, START, &channels[0].name, &message).expect("allowed");
        said.push((published.position, false));
    }
    let mut events = Vec::new();
    while state.take_owed(0, &mut events, |_| 1) {}
    let owed = events.iter().map(|event| match event {
        Event::Message(_, message, _) => (message.position, message.is_presence()),
        other => panic!("{other:?}"),
    });
    assert_eq!(owed.collect::<Vec<_>>(), said);
    for (at, (after, _)) in said.iter().enumerate() {
        for bytes in [1, 200, ANSWER] {
            assert_eq!(read_from(&state, &seats, *after, bytes), said[at + 1..], "after {after}, {bytes} at a time");
        }
        let resumed = Subscribe { after: Some(*after), seat: Seat::Never, ..ask };
        let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, resumed) else { panic!("it asks once") };
        assert_eq!(batch.messages.len(), said.len() - at - 1);
    }
    // What is too long ago for the differences begins anew, before everything that was missed.
    for number in 0..200 {
        online(&mut state, 300 + number % 2, "ada", format!("{{\"n\":{number}}}").as_bytes(), 60).expect("allowed");
    }
    let resumed = Subscribe { after: Some(said[0].0), seat: Seat::Never, ..ask };
    let Ok(Resume::Now(batch)) = state.resume_or_wait(START, 0, resumed) else { panic!("it asks once") };
    assert!(!batch.gap, "no message is missing");
    assert_eq!((batch.messages.len(), batch.position), (1 + 20, state.head));
    assert!(batch.messages[0].is_presence() && batch.messages[0].position < batch.messages[1].position);
    state.unseat(START, 0, guest, seats);
}

#[test]
fn what_is_revoked_outlives_the_hub_and_is_forgotten_when_no_token_can_be_valid() {
    let journal = journal::create(1 << 20).expect("a memfd");
    let mut state = restored(limits(), START, &journal);
    let key = |number: usize| revocation("", Some(&number.to_string()), None);
    let before = state.revoked.issue(access::now());
    // Again and again, so that entries of the registry die and others are moved.
    for round in 0..200 {
        for number in (0..50).filter(|number| round == 0 || number % 7 == round % 7) {
            state.revoke(&key(number)).expect("there is room");
        }
        assert!(state.registry.allocated() < 300 << 10, "round {round}: {} bytes", state.registry.allocated());
    }
    let taken = state.revoked_bytes;
    drop(state);
    let mut state = restored(limits(), START, &journal);
    assert_eq!(state.revoked_bytes, taken);
    let after = state.revoked.issue(access::now());
    for number in 0..50 {
        let concerned = |issued| state.revoked.concerns_user("", &number.to_string(), issued);
        assert!(concerned(before) && !concerned(after), "{number}");
    }
    assert!(!state.revoked.concerns_user("", "50", before) && !state.revoked.concerns_user("shop", "1", before));
    let now = (access::now() / 1000) as u32;
    state.expire(now + crate::call::MAX_TOKEN_TTL);
    assert!(state.revoked.concerns_user("", "1", before));
    state.expire(now + crate::call::MAX_TOKEN_TTL + 5);
    assert!(!state.revoked.concerns_user("", "1", before));
    assert_eq!(state.revoked_bytes, 0);
    drop(state);
    assert!(!restored(limits(), START, &journal).revoked.concerns_user("", "1", before));
}
