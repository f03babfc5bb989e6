//! The ring as a codec: whatever goes in comes out, and whatever a stranger writes does no harm.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use proptest::collection::vec;
use proptest::prelude::*;
use push_core::shm::ring::{CONTROL_WORDS, Consumer, Layout, Next, Producer};

type Memory = Arc<[AtomicU64]>;

const LIMIT: usize = 40_000;

fn layout(capacity: usize) -> Layout {
    Layout { control: 3, data: 3 + CONTROL_WORDS, capacity }
}

fn memory(capacity: usize) -> Memory {
    (0..3 + CONTROL_WORDS + capacity / 8).map(|_| AtomicU64::new(0)).collect()
}

fn message(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| seed.wrapping_add((at * 7) as u8)).collect()
}

/// What one message became.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Whole(Vec<u8>),
    TooLong(usize),
}

/// Reads at most `frames`; false when the ring was empty.
fn read(consumer: &mut Consumer<Memory>, limit: usize, frames: usize, got: &mut Vec<Got>) -> bool {
    for done in 0..frames {
        match consumer.next(limit).expect("our own producer") {
            Next::Empty => return done > 0,
            Next::Part => continue,
            Next::Message(bytes) => got.push(Got::Whole(bytes.to_vec())),
            Next::TooLong(beginning, len) => {
                assert!(!beginning.is_empty() && beginning.len() < len);
                got.push(Got::TooLong(len));
            }
        }
        consumer.release();
    }
    frames > 0
}

fn sizes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..200_usize, 2 => 900..1_100_usize, 2 => 0..9_000_usize, 1 => 0..60_000_usize]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sizes, read in any steps, through rings of any size, begun at any position.
    #[test]
    fn messages_come_out_as_they_went_in(
        capacity in prop_oneof![Just(64_usize), Just(4096), Just(16_384)],
        sizes in vec(sizes(), 1..12),
        steps in vec(1..5_usize, 1..40),
        laps in 0..3_usize,
    ) {
        let memory = memory(capacity);
        let layout = layout(capacity);
        let mut producer = Producer::new(memory.clone(), layout).expect("all zeros");
        let mut consumer = Consumer::new(memory, layout).expect("all zeros");
        let mut steps = steps.into_iter().cycle();
        // Begin somewhere within a lap.
        for _ in 0..laps {
            assert!(producer.push(&[1; 3], &mut 0).expect("room"));
            read(&mut consumer, LIMIT, 1, &mut Vec::new());
        }
        let mut got = Vec::new();
        for (number, &size) in sizes.iter().enumerate() {
            let bytes = message(number as u8, size);
            let mut sent = 0;
            while !producer.push(&bytes, &mut sent).expect("our own consumer") {
                prop_assert!(read(&mut consumer, LIMIT, steps.next().expect("endless"), &mut got), "full, yet empty");
            }
        }
        while read(&mut consumer, LIMIT, 1, &mut got) {}
        let expected: Vec<_> = sizes.iter().enumerate().map(|(number, &size)| {
            if size > LIMIT { Got::TooLong(size) } else { Got::Whole(message(number as u8, size)) }
        }).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!(producer.consumed().expect("our own consumer"), producer.head());
    }

    /// Producer and consumer may be replaced between any two steps. What was not released is read again; of a message that
    /// streams through, the end without its beginning is passed over.
    #[test]
    fn a_consumer_that_takes_over_reads_what_was_not_released(
        sizes in vec(0..1_900_usize, 1..12),
        frames in 0..12_usize,
    ) {
        let (memory, layout) = (memory(4096), layout(4096));
        let mut producer = Producer::new(memory.clone(), layout).expect("all zeros");
        let mut written = Vec::new();
        for (number, &size) in sizes.iter().enumerate() {
            let bytes = message(number as u8, size);
            if !producer.push(&bytes, &mut 0).expect("nobody reads") {
                break;
            }
            written.push(Got::Whole(bytes));
        }
        let mut got = Vec::new();
        let mut first = Consumer::new(memory.clone(), layout).expect("a sound ring");
        read(&mut first, LIMIT, frames, &mut got);
        drop(first);
        let mut second = Consumer::new(memory, layout).expect("a sound ring");
        while read(&mut second, LIMIT, 1, &mut got) {}
        prop_assert_eq!(got, written);
    }

    /// A stranger's ring: refused or read, in bounded steps, never a panic, and never a message above the limit.
    #[test]
    fn any_content_is_survived(
        words in vec(any::<u64>(), 3 + CONTROL_WORDS + 64),
        head in prop_oneof![Just(0_u64), (0..80_u64).prop_map(|words| words * 8), any::<u64>()],
        tail in prop_oneof![3 => Just(0_u64), 1 => any::<u64>()],
        headers in vec((0..70_usize, 0..200_u64, 0..200_u64, any::<bool>()), 0..20),
        later in vec((0..64_usize, any::<u64>()), 0..20),
    ) {
        let (memory, layout) = (memory(512), layout(512));
        for (to, from) in memory.iter().zip(words) {
            to.store(from, Relaxed);
        }
        memory[layout.control].store(head, Relaxed);
        memory[layout.control + 16].store(tail, Relaxed);
        // Headers that are nearly right lead further in.
        for (at, len, rest, first) in headers {
            memory[layout.data + at % 64].store(len | rest << 32 | u64::from(first) << 63, Relaxed);
        }
        let _ = Producer::new(memory.clone(), layout).map(|mut producer| producer.push(&[7; 300], &mut 0));
        let Ok(mut consumer) = Consumer::new(memory.clone(), layout) else { return Ok(()) };
        let mut later = later.into_iter();
        for _ in 0..200 {
            match consumer.next(150) {
                Err(_) | Ok(Next::Empty) => break,
                Ok(Next::Message(bytes)) => prop_assert!(bytes.len() <= 150),
                Ok(Next::TooLong(bytes, len)) => prop_assert!(len > 150 && bytes.len() <= 120),
                Ok(Next::Part) => {}
            }
            consumer.release();
            let _ = consumer.want_data();
            // It changes its mind while we read.
            if let Some((at, word)) = later.next() {
                memory[layout.control + at].store(word, Relaxed);
            }
        }
    }
}

#[test]
fn a_message_that_was_given_up_is_dropped_and_its_room_given_back() {
    let (memory, layout) = (memory(64), layout(64));
    let mut producer = Producer::new(memory.clone(), layout).expect("all zeros");
    let mut consumer = Consumer::new(memory, layout).expect("all zeros");
    assert!(!producer.push(&[1; 40], &mut 0).expect("room for four frames of five"));
    let mut got = Vec::new();
    while read(&mut consumer, 100, 1, &mut got) {}
    assert!(producer.push(b"next", &mut 0).expect("the consumer has given back what it can"));
    while read(&mut consumer, 100, 1, &mut got) {}
    assert_eq!(got, [Got::Whole(b"next".to_vec())]);
    assert_eq!(producer.consumed().expect("our own consumer"), producer.head());
}

#[test]
fn what_no_consumer_took_can_be_taken_back() {
    let (memory, layout) = (memory(4096), layout(4096));
    let mut producer = Producer::new(memory.clone(), layout).expect("all zeros");
    assert!(producer.push(b"stays", &mut 0).expect("room"));
    let start = producer.head();
    assert!(producer.push(b"goes", &mut 0).expect("room"));
    producer.retract(start).expect("a sound ring");
    assert!(producer.push(b"after", &mut 0).expect("room"));
    let mut got = Vec::new();
    let mut consumer = Consumer::new(memory, layout).expect("a sound ring");
    while read(&mut consumer, 100, 1, &mut got) {}
    assert_eq!(got, [Got::Whole(b"stays".to_vec()), Got::Whole(b"after".to_vec())]);
}
