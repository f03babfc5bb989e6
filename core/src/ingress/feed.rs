//! Subscriptions of attached programs.
//!
//! One [`Feed`] per client, filled by its HTTP thread as messages come, emptied by the task that serves the client's ring as
//! far as there is room. A program that does not read falls behind: beyond `client_buffer` nothing is kept for it, and what it
//! has not got is read from the log when it reads on, or is a gap.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::call::{Answer, Delivery, Outcome, StoredMessage};
use crate::channel::{ChannelId, ChannelName, Namespace, ThreadId};
use crate::config::Config;
use crate::error::{Error, Limit};
use crate::message::{Message, Position};
use crate::sequencer::{self, Deletion, Guest, Refusal, Resume, Seat, Seats, Sequencer, Subscribe, Wanted};

/// What a program is to get; nothing before it has subscribed.
#[derive(Default)]
pub struct Feed {
    state: RefCell<State>,
    stirred: Notify,
}

#[derive(Default)]
struct State {
    /// `None` before the subscription.
    engine: Option<Arc<Sequencer>>,
    seats: Seats,
    queue: VecDeque<Queued>,
    /// Of the messages in the queue.
    bytes: usize,
    limit: usize,
    /// The queue and what was sent are complete up to here.
    position: Position,
    /// What comes after `position` is to be read from the log.
    behind: bool,
}

enum Queued {
    Message(Rc<Message>),
    Gap(Position),
    Deleted(Deletion),
}

impl Feed {
    /// What the program gets next.
    pub(crate) fn next(&self) -> Option<Delivery> {
        let mut state = self.state.borrow_mut();
        if state.queue.is_empty() && state.behind {
            let engine = state.engine.clone()?;
            let batch = engine.read_on(&state.seats, false, state.position, state.limit);
            state.take_in(batch.messages, batch.gap, batch.position, batch.more);
        }
        let next = state.queue.pop_front()?;
        Some(match next {
            Queued::Message(message) => {
                state.bytes -= weight(&message);
                delivery(Rc::unwrap_or_clone(message))
            }
            Queued::Gap(position) => Delivery::Gap(position),
            Queued::Deleted(deletion) => Delivery::Deleted {
                channel: deletion.name.to_string(),
                text: deletion.text.to_vec(),
                position: deletion.position,
            },
        })
    }

    /// Waits until there may be something.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    fn put(&self, message: &Rc<Message>) {
        let mut state = self.state.borrow_mut();
        if state.behind || state.position >= message.position {
            return;
        }
        if !state.queue.is_empty() && state.bytes + weight(message) > state.limit {
            state.behind = true;
        } else {
            state.position = message.position;
            state.bytes += weight(message);
            state.queue.push_back(Queued::Message(message.clone()));
        }
        self.stirred.notify_one();
    }

    /// The log knows what is missing.
    fn fall_behind(&self) {
        self.state.borrow_mut().behind = true;
        self.stirred.notify_one();
    }

    fn put_deletion(&self, deletion: &Deletion) {
        let mut state = self.state.borrow_mut();
        state.seats.retain(|seat| *seat != deletion.channel);
        if !state.behind {
            state.position = state.position.max(deletion.position);
        }
        // Who resumes from there has got what is in the queue, and the rest is in the log.
        let position = state.position;
        state.queue.push_back(Queued::Deleted(Deletion { position, ..deletion.clone() }));
        self.stirred.notify_one();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl State {
    fn take_in(&mut self, messages: Vec<Message>, gap: bool, position: Position, more: bool) {
        if gap {
            // Before the first message, so that who resumes from there loses none.
            let before = |first: Position| Position { tag: first.tag.saturating_sub(1), ..first };
            let first = messages.first().map(|first| before(first.position));
            self.queue.push_back(Queued::Gap(first.unwrap_or(position)));
        }
        self.bytes += messages.iter().map(weight).sum::<usize>();
        self.queue.extend(messages.into_iter().map(|message| Queued::Message(Rc::new(message))));
        self.position = position;
        self.behind = more;
    }
}

/// What a message counts for in `client_buffer`: one without a payload takes memory, too.
fn weight(message: &Message) -> usize {
    let texts = [&message.event, &message.event_id].into_iter().flatten().map(|text| text.len());
    (message.payload.len() + texts.sum::<usize>()).max(size_of::<Message>())
}

fn delivery(message: Message) -> Delivery {
    Delivery::Message {
        channel: message.channel.to_string(),
        message: StoredMessage {
            id: message.id,
            position: message.position,
            kind: message.kind,
            event: message.event.map(Into::into),
            event_id: message.event_id.map(Into::into),
            payload: message.payload.into(),
        },
    }
}

/// The feeds of one HTTP thread by channel. Programs that subscribe are few, so leaving is a search.
pub(crate) struct Feeds {
    thread: ThreadId,
    engine: Arc<Sequencer>,
    config: RefCell<Arc<Config>>,
    by_channel: RefCell<HashMap<ChannelId, Vec<Rc<Feed>>>>,
}

impl Feeds {
    pub(crate) fn new(thread: ThreadId, engine: Arc<Sequencer>, config: Arc<Config>) -> Self {
        Self { thread, engine, config: RefCell::new(config), by_channel: RefCell::default() }
    }

    /// Subscriptions from now on are held to this.
    pub(crate) fn reconfigure(&self, config: Arc<Config>) {
        self.config.replace(config);
    }

    /// Takes seats for the feed. A program may do what the backend may: no channel is closed to it.
    pub(crate) fn subscribe(
        &self,
        feed: &Rc<Feed>,
        namespace: &Namespace,
        channels: &[&str],
        after: Option<Position>,
    ) -> Outcome {
        if feed.state.borrow().engine.is_some() {
            return Err(Error::InvalidArgument(
                "this client has subscribed: a subscription is for its life".to_owned(),
            ));
        }
        let config = self.config.borrow().clone();
        let mut wanted: Vec<Wanted> = Vec::with_capacity(channels.len());
        for channel in channels {
            let name = ChannelName::within(namespace, channel.as_bytes(), config.max_channel_id_length)?;
            if !wanted.iter().any(|other| other.name == name) {
                wanted.push(Wanted { name, backlog: 0, opened: true });
            }
        }
        if wanted.is_empty() {
            return Err(Error::InvalidArgument("a subscription needs at least one channel".to_owned()));
        }
        if let Some(most) = config.max_channels_per_subscription
            && wanted.len() as u64 > u64::from(most)
        {
            return Err(Limit::ChannelsPerSubscription(most).into());
        }
        let subscribe = Subscribe {
            channels: &wanted,
            after,
            event_id: None,
            identity: None,
            authorized_only: false,
            most_wildcards: None,
            to_events: true,
            seat: Seat::Always(config.client_buffer as usize),
            enters: false,
            feed: sequencer::Feed::None,
        };
        let (batch, seats) = match self.engine.resume_or_wait(self.thread, subscribe) {
            Ok(Resume::Seated(batch, seats, _)) => (batch, seats),
            Ok(Resume::Now(_)) => unreachable!("it asks to be seated whatever it missed"),
            Err(Refusal::Limit(limit)) => return Err(limit.into()),
            Err(Refusal::Unauthorized | Refusal::Wildcards | Refusal::Events) => {
                return Err(Error::AccessDenied("the channels are not open to subscriptions".to_owned()));
            }
        };
        let mut by_channel = self.by_channel.borrow_mut();
        for seat in &seats {
            by_channel.entry(*seat).or_default().push(feed.clone());
        }
        let position = batch.position;
        let mut state = feed.state.borrow_mut();
        state.engine = Some(self.engine.clone());
        state.limit = config.client_buffer as usize;
        state.seats = seats;
        state.take_in(batch.messages, batch.gap, batch.position, batch.more);
        Ok(Answer::Subscribed(position))
    }

    /// The client is gone.
    pub(crate) fn leave(&self, feed: &Rc<Feed>) {
        let seats = std::mem::take(&mut feed.state.borrow_mut().seats);
        if seats.is_empty() {
            return;
        }
        let mut by_channel = self.by_channel.borrow_mut();
        for seat in &seats {
            if let Some(feeds) = by_channel.get_mut(seat) {
                feeds.retain(|other| !Rc::ptr_eq(other, feed));
                if feeds.is_empty() {
                    by_channel.remove(seat);
                }
            }
        }
        self.engine.unseat(self.thread, [(Guest::default(), seats)]);
    }

    /// Gives the message to the feeds of the channel, and says how many there are.
    pub(crate) fn message(&self, channel: ChannelId, message: Message) -> usize {
        let by_channel = self.by_channel.borrow();
        let Some(feeds) = by_channel.get(&channel) else { return 0 };
        let message = Rc::new(message);
        feeds.iter().for_each(|feed| feed.put(&message));
        feeds.len()
    }

    /// A message of the channel is missing.
    pub(crate) fn lost(&self, channel: ChannelId) {
        if let Some(feeds) = self.by_channel.borrow().get(&channel) {
            feeds.iter().for_each(|feed| feed.fall_behind());
        }
    }

    /// The channel is gone.
    pub(crate) fn deleted(&self, deletion: &Deletion) {
        let feeds = self.by_channel.borrow_mut().remove(&deletion.channel);
        feeds.into_iter().flatten().for_each(|feed| feed.put_deletion(deletion));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;

    #[test]
    fn a_program_that_does_not_read_takes_no_more_than_its_buffer_for_messages_of_nothing() {
        let feed = Feed::default();
        feed.state.borrow_mut().limit = 10_000;
        for tag in 1..=10_000 {
            let message = Message {
                channel: ChannelName::new(b"a", 255).expect("a name"),
                id: u64::from(tag),
                position: Position { time: 1, tag },
                kind: Kind::Bytes,
                event: None,
                event_id: None,
                payload: [].into(),
            };
            feed.put(&Rc::new(message));
        }
        let state = feed.state.borrow();
        assert!(state.behind && (2..1_000).contains(&state.queue.len()), "{}", state.queue.len());
    }
}
