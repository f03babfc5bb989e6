//! What a request body takes while it arrives. Alone in its process, which is measured.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use support::hub;

fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).expect("resident pages").parse::<u64>().expect("a number") * 4096
}

#[test]
fn a_body_in_tiny_chunks_takes_the_memory_of_its_bytes() {
    let hub = hub(&[("max_message_size", "1m")]);
    let body = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(300_000));
    let mut client = hub.connect_admin();
    let before = resident_bytes();
    let over = Arc::new(AtomicBool::new(false));
    let seen = over.clone();
    let measuring = thread::spawn(move || {
        let mut most = 0;
        while !seen.load(Ordering::Relaxed) {
            most = most.max(resident_bytes());
        }
        most
    });
    client.send("POST /pub?id=a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&body);
    assert_eq!(client.response().status, 200);
    over.store(true, Ordering::Relaxed);
    let grown = measuring.join().expect("no panic").saturating_sub(before);
    assert!(grown < 4_000_000, "a body of 300,000 bytes took {grown}");
}
