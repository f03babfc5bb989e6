//! Every interleaving of one producer and one consumer: no frame is read before it is written, nobody sleeps for ever.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p push-core --no-default-features --release --test ring_loom`
#![cfg(loom)]

#[path = "../src/shm/ring.rs"]
#[allow(dead_code, unreachable_pub, reason = "the file as it is, with loom's atomics; the models use the greater part")]
mod ring;

use std::sync::Arc;

use loom::sync::{Condvar, Mutex};
use loom::thread;
use ring::{CONTROL_WORDS, Consumer, Layout, Next, Producer, Word};

type Memory = Arc<[Word]>;

/// Room for four frames of one word.
const LAYOUT: Layout = Layout { control: 0, data: CONTROL_WORDS, capacity: 64 };

fn ring() -> (Producer<Memory>, Consumer<Memory>) {
    let memory: Memory = (0..CONTROL_WORDS + LAYOUT.capacity / 8).map(|_| Word::new(0)).collect();
    (Producer::new(memory.clone(), LAYOUT).expect("a sound ring"), Consumer::new(memory, LAYOUT).expect("a sound ring"))
}

/// An eventfd or a byte on a socket: it remembers that it was rung.
struct Bell(Mutex<bool>, Condvar);

impl Bell {
    fn ring(&self) {
        *self.0.lock().expect("no panic") = true;
        self.1.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.0.lock().expect("no panic");
        while !*rung {
            rung = self.1.wait(rung).expect("no panic");
        }
        *rung = false;
    }
}

#[derive(Clone)]
struct Bells {
    consumer: Arc<Bell>,
    producer: Arc<Bell>,
}

fn bells() -> Bells {
    let bell = || Arc::new(Bell(Mutex::new(false), Condvar::new()));
    Bells { consumer: bell(), producer: bell() }
}

fn send(producer: &mut Producer<Memory>, bells: &Bells, message: &[u8]) {
    let mut sent = 0;
    while !producer.push(message, &mut sent).expect("a sound ring") {
        producer.want_room();
        if producer.push(message, &mut sent).expect("a sound ring") {
            break;
        }
        // Last, because both attempts may have written frames.
        if producer.consumer_waits() {
            bells.consumer.ring();
        }
        bells.producer.wait();
    }
    if producer.consumer_waits() {
        bells.consumer.ring();
    }
}

fn receive(consumer: &mut Consumer<Memory>, bells: &Bells) -> Vec<u8> {
    loop {
        let message = match consumer.next(72).expect("a sound ring") {
            Next::Message(bytes) => Some(bytes.to_vec()),
            Next::Part => continue,
            Next::Empty => None,
            Next::TooLong(..) => unreachable!("72 bytes were allowed"),
        };
        if let Some(message) = message {
            consumer.release();
            if consumer.producer_waits(false) {
                bells.producer.ring();
            }
            return message;
        }
        if consumer.producer_waits(true) {
            bells.producer.ring();
        }
        if consumer.want_data().expect("a sound ring") {
            bells.consumer.wait();
        }
    }
}

fn model(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

#[test]
fn consumer_that_falls_asleep_is_woken_by_the_next_frame() {
    model(5, || {
        let ((mut producer, mut consumer), bells) = (ring(), bells());
        let other = bells.clone();
        let writer = thread::spawn(move || {
            send(&mut producer, &other, b"first");
            send(&mut producer, &other, b"second");
        });
        assert_eq!(receive(&mut consumer, &bells), b"first");
        assert_eq!(receive(&mut consumer, &bells), b"second");
        writer.join().expect("no panic");
    });
}

#[test]
fn producer_of_a_full_ring_is_woken_by_room() {
    model(3, || {
        let ((mut producer, mut consumer), bells) = (ring(), bells());
        for message in [b"1", b"2", b"3", b"4"] {
            send(&mut producer, &bells, message);
        }
        let other = bells.clone();
        let writer = thread::spawn(move || send(&mut producer, &other, b"5"));
        for message in [b"1", b"2", b"3", b"4", b"5"] {
            assert_eq!(receive(&mut consumer, &bells), message);
        }
        writer.join().expect("no panic");
    });
}

#[test]
fn fragments_pass_while_the_ring_is_too_small_for_the_whole() {
    model(2, || {
        let ((mut producer, mut consumer), bells) = (ring(), bells());
        let message: Vec<u8> = (0..72).collect();
        let (other, expected) = (bells.clone(), message.clone());
        let writer = thread::spawn(move || send(&mut producer, &other, &message));
        assert_eq!(receive(&mut consumer, &bells), expected);
        writer.join().expect("no panic");
    });
}
