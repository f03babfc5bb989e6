//! The keeper's watch for a hub that hangs: what it kills, and what it leaves alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

use push_core::message::{NewMessage, Position};
use rustix::process::Signal;
use support::process::*;
use support::{DEADLINE, stop_process, wait_until};

/// A thread of another process, which does not go on before this is dropped.
struct Hung(i32);

impl Hung {
    /// None where debuggers are not allowed.
    fn thread(tid: i32) -> Option<Self> {
        // SAFETY: without memory of ours.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, tid, 0, 0) } == 0;
        // SAFETY: as above.
        let stopped = seized && unsafe { libc::ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0) } == 0;
        stopped.then(|| {
            let hung = Self(tid);
            assert!(hung.wait());
            hung
        })
    }

    /// Waits for what happens to it next: false when it has ended.
    fn wait(&self) -> bool {
        let mut status = 0;
        // SAFETY: the pointer is to a local.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) }, self.0);
        libc::WIFSTOPPED(status)
    }
}

#[test]
fn a_hub_of_which_a_thread_hangs_is_killed_and_replaced() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("watchdog", "1s")]));
    let hub = site.serving();
    attach(&site.socket()).publish("a", &NewMessage::new(b"stored")).unwrap();
    let threads = fs::read_dir(format!("/proc/{hub}/task")).unwrap().map(|entry| entry.unwrap());
    let (tid, _) = threads
        .map(|entry| (entry.file_name(), fs::read_to_string(entry.path().join("comm")).unwrap()))
        .find(|(_, name)| name.trim_end() == "push-http-1")
        .expect("an HTTP thread");
    let Some(hung) = Hung::thread(tid.to_str().unwrap().parse().unwrap()) else {
        eprintln!("debuggers are not allowed here");
        return;
    };
    let said = format!("the hub (pid {hub}) hangs: HTTP thread 1 gave no sign of life for 1s; it is killed");
    wait_until("the keeper notices", || site.log().contains(&said));
    // The system wants a debugger to see the end.
    while hung.wait() {}
    wait_until("the log names the cause", || site.log().contains(&format!("the hub (pid {hub}) ended: signal 6")));
    let mut client = attach(&site.socket());
    wait_until("the next hub serves", || client.status().is_ok_and(|status| status.pid as i32 != hub));
    assert_eq!(client.history("a", Position::START, 10).unwrap().len(), 1);
}

/// The hub that the keeper has started last, as soon as there is one.
fn child(keeper: i32) -> i32 {
    let mut found = None;
    wait_until("the next hub", || {
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
        found = children.split_whitespace().last().map(|pid| pid.parse().unwrap());
        found.is_some()
    });
    found.unwrap()
}

/// Makes the process go round in circles where it is.
#[cfg(target_arch = "x86_64")]
fn spin(hung: Hung) {
    const JUMP_TO_ITSELF: i64 = 0xfeeb;
    // SAFETY: plain numbers, all of which are written.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the pointer is to a local of the kind that is asked for.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_GETREGS, hung.0, none, &raw mut registers) }, 0);
    // SAFETY: without memory of ours.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_POKETEXT, hung.0, registers.rip, JUMP_TO_ITSELF) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, hung.0, none, none) }, 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_hub_that_hangs_while_it_reads_the_journal_is_killed_and_replaced() {
    let site = Site::new();
    let settings = [("watchdog", "1s"), ("max_messages_stored_per_channel", "none"), ("memory_limit", "256m")];
    let running = Foreground::start(&site, &site.config(&settings));
    let mut client = attach(&site.socket());
    let payload = [7; 100];
    let messages: Vec<_> = (0..1000).map(|_| ("a", NewMessage::new(&payload))).collect();
    for _ in 0..300 {
        client.publish_many(messages.clone()).unwrap();
    }
    let first = site.serving();
    signal(first, Signal::KILL);
    wait_until("it is gone", || child(running.pid()) != first);
    let hub = child(running.pid());
    // Long enough to have begun, and not to be done.
    wait_until("it has what it needs", || {
        let maps = fs::read_to_string(format!("/proc/{hub}/maps")).unwrap_or_default();
        maps.contains("push-journal")
    });
    let Some(hung) = Hung::thread(hub) else {
        eprintln!("debuggers are not allowed here");
        return;
    };
    assert!(!site.log().contains("a new hub serves"), "{}", site.log());
    spin(hung);
    let said = format!("the hub (pid {hub}) hangs: the engine gave no sign of life for 3s; it is killed");
    wait_until("the keeper notices", || site.log().contains(&said));
    wait_until("the log names the cause", || site.log().contains(&format!("the hub (pid {hub}) ended: signal 6")));
    wait_until("the next hub serves", || client.status().is_ok_and(|status| status.messages == 300_000));
}

#[test]
fn a_hub_that_somebody_stopped_is_left_alone() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("watchdog", "1s")]));
    let hub = site.serving();
    let said = format!("the hub (pid {hub}) is stopped, by a signal or a debugger; it is left so");
    for round in 1..=2 {
        stop_process(hub);
        wait_until("the keeper says so", || site.log().matches(&said).count() == round);
        signal(hub, Signal::CONT);
        attach(&site.socket()).publish("a", &NewMessage::new(b"x")).unwrap();
        // Asked again, and answered: the next stop is another one.
        let mut questions = Questions::of(&site);
        wait_until("it answers", || questions.count() >= 2);
    }
    assert_eq!(site.serving(), hub);
}

#[test]
fn a_busy_hub_is_left_alone() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("watchdog", "3s")]));
    let hub = site.serving();
    let done = AtomicBool::new(false);
    let busy = || {
        let mut client = attach(&site.socket());
        let text = "x".repeat(200);
        while !done.load(Ordering::Relaxed) {
            client.publish_async("a", &NewMessage::new(text.as_bytes())).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let publishers = [scope.spawn(busy), scope.spawn(busy)];
        let mut questions = Questions::of(&site);
        wait_until("it was asked for longer than it may be silent", || {
            done.store(questions.count() > 8, Ordering::Relaxed);
            done.load(Ordering::Relaxed)
        });
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
    });
    assert_eq!(site.serving(), hub);
    assert!(!site.log().contains("hangs"), "{}", site.log());
}

/// Counts the questions of the keeper: each wakes both threads, and over one connection nobody else does.
struct Questions {
    admin: UnixStream,
    before: u64,
}

impl Questions {
    fn of(site: &Site) -> Self {
        let admin = UnixStream::connect(site.path("run/admin.sock")).unwrap();
        admin.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut questions = Self { admin, before: 0 };
        questions.before = questions.wake_ups();
        questions
    }

    fn count(&mut self) -> u64 {
        (self.wake_ups() - self.before) / 2
    }

    fn wake_ups(&mut self) -> u64 {
        self.admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"# EOF\n") {
            let mut part = [0; 4096];
            let length = self.admin.read(&mut part).unwrap();
            assert_ne!(length, 0, "the hub ended");
            text.extend_from_slice(&part[..length]);
        }
        let text = String::from_utf8(text).unwrap();
        text.lines().find_map(|line| line.strip_prefix("push_wake_ups_total ")).unwrap().parse().unwrap()
    }
}
