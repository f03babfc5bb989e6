//! Memory that messages took is given back to the system. Alone in its process, which is measured.

mod support;

use push_core::channel::ChannelName;
use push_core::message::NewMessage;
use support::{hub, wait_until};

/// Bytes of this process that no other has.
fn private_bytes() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").expect("Linux");
    let line = rollup.lines().find(|line| line.starts_with("Pss:")).expect("a line for PSS");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

#[test]
fn expired_messages_leave_the_process() {
    let hub = hub(&[("message_ttl", "8s"), ("max_messages_stored_per_channel", "none")]);
    let engine = hub.hub.as_ref().expect("running").engine();
    let before = private_bytes();
    for number in 0..100_000 {
        let name = ChannelName::new(format!("c{}", number % 1000).as_bytes(), 255).expect("a name");
        engine.publish(&name, &NewMessage::new(&[b'x'; 1000])).expect("published");
    }
    let full = private_bytes();
    assert!(full - before > 90_000_000, "100 MB take {} bytes", full - before);
    assert!(full - before < 130_000_000, "100 MB take {} bytes", full - before);
    wait_until("the memory is back", || private_bytes() < before + 10_000_000);
}
