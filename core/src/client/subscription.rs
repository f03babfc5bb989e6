//! A subscription of this process: an attach of its own, whose replies are the messages.
//!
//! It never waits for messages: its descriptor is readable when there may be one, or when it is time to look for a hub again.
//! Where it stands is known here, so that after the hub's end it goes on with the next one where it was.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::link::Link;
use super::{Came, Client, LONGEST_PAUSE, LONGEST_REPLY, nonsense};
use crate::call::{Answer, Call, Delivery, Reply};
use crate::error::Error;
use crate::message::Position;
use crate::shm::doorbell;
use crate::shm::ring::{Corrupt, Next};

/// See the module.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    /// Those that were not deleted.
    channels: Vec<String>,
    position: Option<Position>,
    /// Holds the line to the hub and the timer.
    readiness: OwnedFd,
    timer: OwnedFd,
    /// When to look for a hub again, and how long it was waited for before.
    again: Option<(Instant, Duration)>,
    /// The timer says that there is something to read.
    unread: bool,
}

/// What lies in the ring.
enum Received {
    Delivery(Delivery),
    Nothing,
    /// The hub is gone, and all that it left was read.
    Gone,
}

impl Subscription {
    /// Subscribes by way of `client`, which makes no other calls, to what comes after `position`; `None`: from now on.
    ///
    /// # Errors
    /// What the hub refuses, [`Error::Timeout`], [`Error::HubUnavailable`].
    pub fn new(client: Client, channels: &[&str], position: Option<Position>) -> Result<Self, Error> {
        let none = |errno: Errno| {
            Error::HubUnavailable(format!("no descriptor for a subscription: {}", std::io::Error::from(errno)))
        };
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(none)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(none)?;
        epoll::add(&readiness, &timer, EventData::new_u64(0), EventFlags::IN).map_err(none)?;
        let client = Client { subscribes: true, ..client };
        let channels = channels.iter().map(|channel| (*channel).to_owned()).collect();
        let mut subscription = Self { client, channels, position, readiness, timer, again: None, unread: false };
        subscription.subscribe()?;
        Ok(subscription)
    }

    /// What came next, if something has come.
    ///
    /// # Errors
    /// [`Error::HubUnavailable`] and others: the hub is gone, and no other one has taken the subscription so far. The descriptor
    /// is readable when it is time to ask again.
    pub fn receive(&mut self) -> Result<Option<Delivery>, Error> {
        loop {
            match self.client.link.as_mut().map(Link::receive) {
                Some(Ok(Received::Delivery(delivery))) => {
                    self.see(&delivery);
                    self.tell_unread();
                    return Ok(Some(delivery));
                }
                Some(Ok(Received::Nothing)) => {
                    self.tell_unread();
                    return Ok(None);
                }
                Some(Ok(Received::Gone) | Err(_)) => self.let_go(),
                None => {}
            }
            if self.channels.is_empty() || self.again.is_some_and(|(at, _)| Instant::now() < at) {
                return Ok(None);
            }
            if let Err(error) = self.subscribe() {
                self.try_later();
                return Err(error);
            }
        }
    }

    /// Readable when there may be something. It is the same during the whole life.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    /// Up to where everything was given by [`receive`](Self::receive).
    #[must_use]
    pub fn position(&self) -> Position {
        self.position.unwrap_or(Position::START)
    }

    fn subscribe(&mut self) -> Result<(), Error> {
        self.let_go();
        let channels = self.channels.iter().map(String::as_str).collect();
        let call = Call::Subscribe { channels, after: self.position };
        // Whether it is time is decided here.
        self.client.pause = None;
        let answer = self.client.acknowledged(&call, self.client.options.timeout)?;
        let Came::Answer(Answer::Subscribed(position)) = answer else { return Err(nonsense()) };
        let line = self.client.link.as_ref().and_then(|link| link.hub.as_ref()).map(|hub| hub.line.as_fd());
        let watched = line.map(|line| epoll::add(&self.readiness, line, EventData::new_u64(1), EventFlags::IN));
        if !matches!(watched, Some(Ok(()))) {
            self.let_go();
            return Err(Error::HubUnavailable("the hub ended when it had taken the subscription".to_owned()));
        }
        self.position.get_or_insert(position);
        self.again = None;
        self.alarm(Duration::ZERO);
        self.unread = false;
        self.tell_unread();
        Ok(())
    }

    /// Keeps the descriptor readable while there is something in the ring, for which nobody rings any more.
    fn tell_unread(&mut self) {
        let unread = self.client.link.as_mut().is_some_and(|link| !link.replies.want_data().unwrap_or(false));
        if unread != self.unread {
            self.unread = unread;
            self.alarm(if unread { Duration::from_nanos(1) } else { Duration::ZERO });
        }
    }

    /// Leaves the hub. What lies unread in the ring is read again from the log of the next one.
    fn let_go(&mut self) {
        let Some(link) = self.client.link.take() else { return };
        // A forked child has a duplicate of the line, which would keep it in the set.
        if let Some(hub) = &link.hub {
            let _ = epoll::delete(&self.readiness, hub.line.as_fd());
        }
    }

    fn try_later(&mut self) {
        let first = self.client.options.backoff;
        let pause = self.again.map_or(first, |(_, pause)| (pause * 2).min(LONGEST_PAUSE.max(first)));
        self.again = Some((Instant::now() + pause, pause));
        self.alarm(pause);
        self.unread = false;
    }

    /// Makes the descriptor readable after this time, or takes that back.
    fn alarm(&self, after: Duration) {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let time = Itimerspec { it_interval: never, it_value };
        // Both are right, so that it does not fail; setting a timer anew takes back that it was readable.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time);
    }

    fn see(&mut self, delivery: &Delivery) {
        let position = match delivery {
            Delivery::Message { message, .. } => message.position,
            Delivery::Gap(position) => *position,
            Delivery::Deleted { channel, position, .. } => {
                // Subscribing to it once more would create it.
                self.channels.retain(|other| other != channel);
                *position
            }
        };
        self.position = Some(position);
    }
}

impl Link {
    fn receive(&mut self) -> Result<Received, Corrupt> {
        let mut gone = false;
        loop {
            let found = match self.replies.next(LONGEST_REPLY)? {
                Next::Empty => None,
                Next::Part | Next::TooLong(..) => Some(None),
                Next::Message(bytes) => Some(match postcard::from_bytes::<Reply>(bytes) {
                    Ok((0, Ok(Answer::Delivered(delivery)))) => Some(delivery),
                    _ => None,
                }),
            };
            if let Some(delivery) = found {
                self.make_room();
                match delivery {
                    Some(delivery) => return Ok(Received::Delivery(delivery)),
                    None => continue,
                }
            }
            if gone {
                return Ok(Received::Gone);
            }
            // Nudges are taken before the last look, so that none is taken for what is not seen yet.
            gone = self.hub.as_ref().is_none_or(|hub| silent(hub.line.as_fd()).is_err());
            if !gone && self.replies.want_data()? {
                return Ok(Received::Nothing);
            }
        }
    }

    fn make_room(&mut self) {
        self.replies.release();
        if self.replies.producer_waits(true)
            && let Some(hub) = &self.hub
        {
            doorbell::ring(hub.bell.as_fd());
        }
    }
}

/// Takes all nudges from the line.
fn silent(line: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match net::recv(line, &mut [0_u8; 8], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Errno::CONNRESET),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}
