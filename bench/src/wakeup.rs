//! The floor of a call that waits for another process: this one wakes it, and is woken by it.
//!
//! Both sleep and are woken as the hub's thread and the calling process are: there in `epoll_wait` on an eventfd, here in `recv` on a
//! `SOCK_SEQPACKET` socket, which gets one byte. Neither does anything else. What that takes depends most on where the kernel lets
//! them run, so it is also measured on one core and on two.

use std::io::{stdin, stdout};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, write};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::Result;
use crate::php::{Measured, Pace};
use crate::server::dying_with_us;

/// As in the script.
const INTERVAL: Duration = Duration::from_micros(500);
/// What [`answer`] is told apart by.
const BELL: u64 = 0;
const SOCKET: u64 = 1;

/// By where both run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Wakeups {
    /// As the kernel chooses.
    pub(crate) free: Measured,
    pub(crate) one_core: Measured,
    /// Each on its own, if there are two.
    pub(crate) two_cores: Measured,
    /// As the kernel chooses, until the other process is woken.
    pub(crate) ring: Measured,
}

/// All three, one after the other.
pub(crate) fn run(pace: Pace) -> Result<Wakeups> {
    let all = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).map(|core| {
        let mut only = CpuSet::new();
        only.set(core);
        only
    });
    let first = cores.next().ok_or("no core")?;
    let second = cores.next().unwrap_or(first);
    let (free, ring) = ask(pace, &all)?;
    sched_setaffinity(None, &first)?;
    let pinned = [first, second].map(|theirs| ask(pace, &theirs));
    sched_setaffinity(None, &all)?;
    let [one_core, two_cores] = pinned;
    Ok(Wakeups { free, one_core: one_core?.0, two_cores: two_cores?.0, ring })
}

/// Wakes another process, which runs on these cores, and waits until it has woken this one; so often. The second figure is that of
/// waking it.
fn ask(pace: Pace, theirs: &CpuSet) -> Result<(Measured, Measured)> {
    let calls = if pace == Pace::Paced { 2_000 } else { 30_000 };
    let sleeper = Sleeper::start(theirs)?;
    let (mut times, mut rings) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
    let begin = Instant::now();
    let mut start = begin;
    for _ in 0..calls {
        if pace == Pace::Paced {
            let due = start + INTERVAL;
            // It computes meanwhile, as PHP does.
            while Instant::now() < due {}
        }
        start = Instant::now();
        sleeper.ring()?;
        rings.push(start.elapsed().as_nanos() as f64 / 1e3);
        sleeper.hear()?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    let took = begin.elapsed();
    Ok((Measured::of(times, took), Measured::of(rings, took)))
}

/// The other process: this program again.
struct Sleeper {
    process: Child,
    bell: OwnedFd,
    /// `None` when the process is to end.
    socket: Option<OwnedFd>,
}

impl Sleeper {
    fn start(cores: &CpuSet) -> Result<Sleeper> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = dying_with_us(std::env::current_exe()?);
        command.arg("answer").stdin(Stdio::from(bell.try_clone()?)).stdout(Stdio::from(theirs));
        let sleeper = Sleeper { process: command.spawn()?, bell, socket: Some(socket) };
        sched_setaffinity(Some(Pid::from_child(&sleeper.process)), cores)?;
        Ok(sleeper)
    }

    fn ring(&self) -> Result<()> {
        write(&self.bell, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    fn hear(&self) -> Result<()> {
        let socket = self.socket.as_ref().ok_or("it has ended")?;
        match recv(socket, &mut [0; 8], RecvFlags::empty())? {
            (_, 0) => Err("the other process has ended".into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        drop(self.socket.take());
        if let Err(error) = self.process.wait() {
            eprintln!("push-bench: waiting for the process that was woken: {error}");
        }
    }
}

/// The other process: an eventfd is its input, which is not read, and the socket its output. Ends with the other end of that.
pub(crate) fn answer() -> Result<()> {
    let (bell, socket) = (stdin(), stdout());
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let once_each = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, bell.as_fd(), epoll::EventData::new_u64(BELL), once_each)?;
    epoll::add(&epoll, socket.as_fd(), epoll::EventData::new_u64(SOCKET), epoll::EventFlags::RDHUP)?;
    let mut events = Vec::with_capacity(2);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == SOCKET {
                return Ok(());
            }
            send(socket.as_fd(), &[0], SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        }
    }
}
