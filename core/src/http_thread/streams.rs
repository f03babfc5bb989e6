//! Subscribers that stay: streaming, event streams and WebSockets.
//!
//! Live messages are put out as shared bytes and written once for all that came together. A subscriber that does not take
//! them falls behind: what it has not got is read from the log when it has room again, so that it never holds more than
//! `client_buffer` behind the piece that is being written.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;

use super::{HttpThread, refusal_frame};
use crate::access::limits::{By, Deed};
use crate::channel::ChannelId;
use crate::config::{Location, Mode};
use crate::fanout::{Key, Places};
use crate::identity::Grant;
use crate::message::{Kind, NewMessage};
use crate::sequencer::{Batch, Seats};
use crate::transport::connection::{Progress, Sending, State, Waiting};
use crate::transport::deadlines::{Deadlines, Tick};
use crate::transport::json::Publication;
use crate::transport::output::Output;
use crate::transport::render::Item;
use crate::transport::reply::Reply;
use crate::transport::stream::{Frames, Renderer, Stream};
use crate::transport::websocket::{self, CloseCode, Opcode, Received};
use crate::transport::{Farewell, Form, Layout, refuse};

/// What a WebSocket may publish in one turn: so many short messages, each counted in every one of its channels.
const TURN: usize = 256;

/// How long a WebSocket may take to answer a ping, and how long what was sent to any stream may stay without
/// acknowledgement by the other end's kernel.
const PONG: Duration = Duration::from_secs(20);

/// What of a WebSocket client's words is acted on when all of them were heard.
enum Said {
    Text(Vec<u8>),
    Close(Option<CloseCode>),
}

impl HttpThread {
    pub(super) fn open_stream(&mut self, key: Key, mut waiting: Waiting, missed: &Batch, seats: &Seats, head: &Reply) {
        let config = self.config.clone();
        let renderer = Renderer::new(&config, &waiting.form, waiting.framing.http10);
        let mut out = head.render_open(renderer.frames(), waiting.framing.keep_alive);
        let complete = missed.messages.is_empty().then_some(missed.position);
        renderer.header(&mut out, complete.filter(|_| !missed.gap));
        if missed.gap {
            renderer.gap(&mut out, missed.position, complete);
        }
        missed.messages.iter().for_each(|message| renderer.message(&mut out, &message.into()));
        renderer.complete(&mut out, missed.position);
        let mut output = Output::default();
        output.push(out.into());
        waiting.places = self.seating.add(key, seats);
        self.inbox.mailbox.counters.seated(waiting.form.mode);
        let life = self.location(&waiting.form).subscriber_connection_ttl;
        let life = [life, waiting.grant.as_deref().and_then(Grant::time_left)].into_iter().flatten().min();
        let ends = Deadlines::after(self.now, life);
        let Some(connection) = self.connections.get(key) else { return };
        connection.state = State::Streaming(Box::new(Stream {
            waiting,
            output,
            behind: missed.more,
            touched: false,
            pinged: false,
            patient: false,
            ends,
            input: websocket::Input::default(),
        }));
        connection.give_up_after(PONG);
        if connection.hung_up {
            return self.close(key);
        }
        // A WebSocket may have sent frames behind its handshake.
        self.queue(key);
        self.write_stream(key);
        if self.draining {
            self.end_stream(key, None);
        }
    }

    pub(super) fn on_stream_event(&mut self, key: Key, room: bool) {
        let Some((stream, hung_up)) = self.stream(key) else { return };
        let reads = stream.waiting.form.mode == Mode::WebSocket;
        if hung_up && !reads {
            return self.close(key);
        }
        if room {
            stream.output.unblock();
            self.write_stream(key);
        }
        if reads {
            self.queue(key);
        }
    }

    /// A turn of its own: a WebSocket is read, and who is behind gets the next messages from the log.
    pub(super) fn serve_stream(&mut self, key: Key) {
        self.read_websocket(key);
        let Some((stream, _)) = self.stream(key) else { return };
        if stream.behind && stream.output.is_empty() {
            self.catch_up(key);
        }
    }

    /// Puts the message out to the channel's streams that it concerns and that have not seen it. Each form is rendered once.
    pub(super) fn stream_to_all(&mut self, channel: ChannelId, item: &Item<'_>, concerned: impl Fn(&Waiting) -> bool) {
        let limit = self.config.client_buffer as usize;
        let mut rendered: Vec<(Form, bool, Bytes)> = Vec::new();
        for key in self.seated(channel) {
            let Some((stream, _)) = self.stream(key) else { continue };
            if stream.behind || stream.waiting.from >= item.position || !concerned(&stream.waiting) {
                continue;
            }
            let (form, http10) = (&stream.waiting.form, stream.waiting.framing.http10);
            let found = rendered.iter().find(|(of, version, _)| *version == http10 && of == form);
            let bytes = match found {
                Some((_, _, bytes)) => bytes.clone(),
                None => {
                    let form = form.clone();
                    let mut out = Vec::new();
                    Renderer::new(&self.config, &form, http10).message(&mut out, item);
                    let bytes = Bytes::from(out);
                    rendered.push((form, http10, bytes.clone()));
                    bytes
                }
            };
            self.put_out(key, bytes, limit, item);
        }
    }

    fn put_out(&mut self, key: Key, bytes: Bytes, limit: usize, item: &Item<'_>) {
        let Some((stream, _)) = self.stream(key) else { return };
        if !stream.output.takes(bytes.len(), limit) {
            self.write_stream(key);
        }
        let Some((stream, _)) = self.stream(key) else { return };
        if stream.output.takes(bytes.len(), limit) {
            stream.waiting.from = item.position;
            self.counters().delivered(1);
            self.touch(key, bytes);
        } else {
            stream.behind = true;
        }
    }

    /// A message of the channel is gone: its streams go on from the log, where one gap is said however much is missing.
    pub(super) fn streams_from_log(&mut self, channel: ChannelId) {
        for key in self.seated(channel) {
            if let Some((stream, _)) = self.stream(key) {
                stream.behind = true;
                self.queue(key);
            }
        }
    }

    /// Tells the streams of a channel that it is gone. Who has no other ends.
    pub(super) fn end_channel(&mut self, channel: ChannelId, item: &Item<'_>) {
        let config = self.config.clone();
        for key in self.seated(channel) {
            let Some((stream, _)) = self.stream(key) else { continue };
            let mut out = Vec::new();
            Renderer::new(&config, &stream.waiting.form, stream.waiting.framing.http10).message(&mut out, item);
            let gone: Places = stream.waiting.places.iter().filter(|(of, _)| *of == channel).copied().collect();
            stream.waiting.places.retain(|(of, _)| *of != channel);
            let alone = stream.waiting.places.is_empty();
            self.stand_up(&gone);
            self.touch(key, out.into());
            if alone {
                self.end_stream(key, None);
            }
        }
    }

    /// Writes what was put out since the last time.
    pub(super) fn write_streams(&mut self) {
        let touched = self.touched.len();
        for at in 0..touched {
            let key = self.touched[at];
            if self.stream(key).is_some_and(|(stream, _)| stream.touched) {
                self.write_stream(key);
            }
        }
        self.touched.drain(..touched);
        self.touched.shrink_to(self.connections.len());
    }

    /// Its life is over, it takes nothing, it does not answer; or it is time for a ping.
    pub(super) fn on_stream_deadline(&mut self, key: Key) {
        let now = self.now;
        let Some((stream, _)) = self.stream(key) else { return };
        if stream.ends <= now {
            let over = stream.waiting.grant.as_ref().is_some_and(|grant| grant.is_over());
            return self.end_stream(key, over.then_some(Farewell::Expired));
        }
        if stream.output.is_blocked() {
            // The kernel tells only of much room: who takes little, but takes it, is seen here.
            stream.output.unblock();
            let (progress, moved) = self.connections.write(key);
            return if moved { self.proceed_stream(key, progress, true) } else { self.close(key) };
        }
        if stream.pinged {
            return self.close(key);
        }
        // What it is owed is not put out yet, so that only its own position is sure.
        let complete = if stream.behind || self.exit.halted() { None } else { self.engine.complete_to(self.id) };
        let config = self.config.clone();
        let Some((stream, _)) = self.stream(key) else { return };
        let renderer = Renderer::new(&config, &stream.waiting.form, stream.waiting.framing.http10);
        let mut out = Vec::new();
        renderer.ping(&mut out, complete);
        stream.waiting.from = complete.unwrap_or(stream.waiting.from);
        stream.output.push(out.into());
        self.write_stream(key);
        let Some((stream, _)) = self.stream(key) else { return };
        if stream.waiting.form.mode == Mode::WebSocket {
            stream.pinged = true;
            let deadline = Deadlines::after(now, Some(PONG)).min(stream.ends);
            self.set_deadline_at(key, deadline);
        }
    }

    /// Says that nothing more comes, and why if there is a reason.
    pub(super) fn end_stream(&mut self, key: Key, farewell: Option<Farewell<'_>>) {
        let config = self.config.clone();
        let Some((stream, _)) = self.stream(key) else { return };
        let (framing, from, behind) = (stream.waiting.framing, stream.waiting.from, stream.behind);
        let renderer = Renderer::new(&config, &stream.waiting.form, framing.http10);
        let mut out = Vec::new();
        if let Some(head) = self.exit.head().filter(|_| !behind) {
            renderer.place(&mut out, head);
        }
        renderer.end(&mut out, farewell.map(|farewell| (farewell, from)));
        let keep_alive = renderer.frames() == Frames::Chunks && self.frame(framing).keep_alive;
        self.finish(key, out.into(), keep_alive);
    }

    /// The stream ends with these bytes.
    fn finish(&mut self, key: Key, last: Bytes, keep_alive: bool) {
        let Some(connection) = self.connections.get(key) else { return };
        let State::Streaming(stream) = std::mem::replace(&mut connection.state, State::Idle) else { return };
        let Stream { waiting, mut output, .. } = *stream;
        output.push(last);
        connection.state = State::Sending(Box::new(Sending { output, keep_alive }));
        self.leave(&waiting);
        self.set_deadline(key, Some(self.config.send_timeout));
        self.send_rest(key);
    }

    /// Reads messages that the subscriber has not taken live.
    fn catch_up(&mut self, key: Key) {
        let config = self.config.clone();
        let engine = self.engine.clone();
        let Some((stream, _)) = self.stream(key) else { return };
        let seats: Seats = stream.waiting.places.iter().map(|(channel, _)| *channel).collect();
        let batch =
            engine.read_on(&seats, stream.waiting.form.presence, stream.waiting.from, config.client_buffer as usize);
        let renderer = Renderer::new(&config, &stream.waiting.form, stream.waiting.framing.http10);
        let mut out = Vec::new();
        let complete = batch.messages.is_empty().then_some(batch.position);
        if batch.gap && !renderer.gap(&mut out, batch.position, complete) {
            return self.end_stream(key, None);
        }
        batch.messages.iter().for_each(|message| renderer.message(&mut out, &message.into()));
        renderer.complete(&mut out, batch.position);
        stream.waiting.from = batch.position;
        stream.behind = batch.more;
        stream.output.push(out.into());
        self.write_stream(key);
    }

    fn read_websocket(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let State::Streaming(stream) = &connection.state else { return };
        if stream.waiting.form.mode != Mode::WebSocket {
            return;
        }
        let publishes = self.config.locations[usize::from(stream.waiting.form.location)].websocket_allow_publish;
        if publishes && self.hold(key) {
            return;
        }
        let Some(connection) = self.connections.get(key) else { return };
        let unread = std::mem::take(&mut connection.unread);
        if !unread.is_empty() {
            let mut unread = unread.try_into_mut().unwrap_or_else(|shared| shared[..].into());
            let taken = self.hear(key, &mut unread);
            return self.keep_unread(key, unread.split_off(taken).freeze());
        }
        if !connection.readable && !connection.hung_up {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        match connection.read(&mut buffer) {
            None if connection.hung_up => self.close(key),
            None => {}
            Some(0) => self.close(key),
            Some(n) => {
                let taken = self.hear(key, &mut buffer[..n]);
                self.keep_unread(key, Bytes::copy_from_slice(&buffer[taken..n]));
            }
        }
        self.buffer = buffer;
    }

    /// What is left of a turn waits for the next one.
    fn keep_unread(&mut self, key: Key, rest: Bytes) {
        if let Some(connection) = self.connections.get(key).filter(|connection| connection.waiting().is_some()) {
            connection.unread = rest;
            self.queue(key);
        }
    }

    /// Does what a WebSocket client says with these bytes, until it has had its turn: how many of them that were.
    fn hear(&mut self, key: Key, bytes: &mut [u8]) -> usize {
        let max_message_size = self.config.max_message_size as usize;
        let config = self.config.clone();
        let Some((stream, _)) = self.stream(key) else { return 0 };
        let location = &config.locations[usize::from(stream.waiting.form.location)];
        stream.pinged = false;
        let limits = websocket::Limits { message: max_message_size, keep_text: location.websocket_allow_publish };
        let (mut said, mut pongs) = (Vec::new(), Vec::new());
        let channels = stream.waiting.places.len();
        let mut work = 0;
        let done = stream.input.feed(bytes, limits, |received| {
            match received {
                Received::Text(text) => {
                    work += channels * (1 + text.len() / 1024);
                    said.push(Said::Text(text.to_vec()));
                }
                Received::Ping(payload) => websocket::append_frame(&mut pongs, Opcode::Pong, payload),
                Received::Pong => {}
                Received::Close(code) => said.push(Said::Close(code)),
            }
            if work < TURN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if !pongs.is_empty() {
            // Who sends pings and takes no answers is not worth its memory.
            if !stream.output.takes(pongs.len(), config.client_buffer as usize) {
                self.close(key);
                return 0;
            }
            self.touch(key, pongs.into());
        }
        for said in said {
            let Some((stream, _)) = self.stream(key) else { return 0 };
            let mut out = Vec::new();
            match said {
                Said::Text(text) => {
                    // Who came with a token has the rights that it gives.
                    if stream.waiting.grant.as_ref().is_some_and(|grant| !grant.publish) {
                        let refusal = Reply::refusal(
                            403,
                            "What let this connection in does not let it publish to these channels.",
                        );
                        self.finish(key, refusal_frame(&refusal).into(), false);
                        return 0;
                    }
                    let seats: Seats = stream.waiting.places.iter().map(|(channel, _)| *channel).collect();
                    let json = stream.waiting.form.layout == Layout::Json;
                    let payer = stream.waiting.payer;
                    let limits = self.engine.access().limits();
                    let may = |by| limits.check(&config, Deed::Publish, by, payer, None);
                    let may = may(By::Address).and_then(|()| may(By::User));
                    if let Err(refusal) = may.and_then(|()| self.publish(location, &seats, &text, json)) {
                        self.finish(key, refusal_frame(&refusal).into(), false);
                        return 0;
                    }
                }
                Said::Close(code) => {
                    match code {
                        Some(code) => websocket::append_close(&mut out, code, ""),
                        None => websocket::append_frame(&mut out, Opcode::Close, b""),
                    }
                    self.finish(key, out.into(), false);
                    return 0;
                }
            }
        }
        let taken = match done {
            Ok(taken) => taken,
            Err(code) => {
                let mut out = Vec::new();
                websocket::append_close(&mut out, code, "");
                self.finish(key, out.into(), false);
                return 0;
            }
        };
        self.write_streams();
        // Who talks and takes nothing has not moved its deadline.
        if self.stream(key).is_some_and(|(stream, _)| !stream.output.is_blocked()) {
            self.set_stream_deadline(key);
        }
        taken
    }

    /// Publishes a text frame to the channels of its connection, or in JSON to the one that it names.
    fn publish(&self, location: &Location, seats: &Seats, text: &[u8], json: bool) -> Result<(), Reply> {
        let store = location.store_messages;
        let published = if json {
            Publication::parse(text).and_then(|Publication { channel, data, event }| {
                let payload = data.get().as_bytes();
                let message =
                    NewMessage { store, kind: Kind::Json, event: event.as_deref(), ..NewMessage::new(payload) };
                self.engine.publish_to(seats, Some(&channel), &message)
            })
        } else {
            self.engine.publish_to(seats, None, &NewMessage { store, kind: Kind::Bytes, ..NewMessage::new(text) })
        };
        published.map_err(|error| refuse(&error))
    }

    fn stream(&mut self, key: Key) -> Option<(&mut Stream, bool)> {
        let connection = self.connections.get(key)?;
        let hung_up = connection.hung_up;
        match &mut connection.state {
            State::Streaming(stream) => Some((stream, hung_up)),
            _ => None,
        }
    }

    fn location(&self, form: &Form) -> &Location {
        &self.config.locations[usize::from(form.location)]
    }

    /// Puts bytes out that are written before the thread rests.
    fn touch(&mut self, key: Key, bytes: Bytes) {
        let Some((stream, _)) = self.stream(key) else { return };
        stream.output.push(bytes);
        if !std::mem::replace(&mut stream.touched, true) {
            self.touched.push(key);
        }
    }

    fn write_stream(&mut self, key: Key) {
        let Some((stream, _)) = self.stream(key) else { return };
        let was_blocked = stream.output.is_blocked();
        let (progress, moved) = self.connections.write(key);
        self.proceed_stream(key, progress, moved || !was_blocked);
    }

    /// Does what follows from the progress of writing. `moved`: the client has taken some of it, or was not to take any.
    fn proceed_stream(&mut self, key: Key, progress: Progress, moved: bool) {
        self.be_patient(key, progress == Progress::Blocked);
        match progress {
            Progress::Over => self.close(key),
            Progress::Ready => {
                if self.stream(key).is_some_and(|(stream, _)| stream.behind) {
                    self.queue(key);
                }
                self.set_stream_deadline(key);
            }
            Progress::Blocked if moved => self.set_stream_deadline(key),
            Progress::Blocked => {}
        }
    }

    /// Who does not read what its kernel has taken is not gone: as long as it has no room, `send_timeout` holds.
    fn be_patient(&mut self, key: Key, patient: bool) {
        let send_timeout = self.config.send_timeout;
        let Some(connection) = self.connections.get(key) else { return };
        let State::Streaming(stream) = &mut connection.state else { return };
        if std::mem::replace(&mut stream.patient, patient) != patient {
            connection.give_up_after(if patient { PONG.max(send_timeout) } else { PONG });
        }
    }

    fn set_stream_deadline(&mut self, key: Key) {
        let (now, send_timeout) = (self.now, self.config.send_timeout);
        let Some(connection) = self.connections.get(key) else { return };
        let State::Streaming(stream) = &connection.state else { return };
        // A ping that is not answered keeps its time, whatever is sent meanwhile.
        if stream.pinged && !stream.output.is_blocked() {
            return;
        }
        let location = &self.config.locations[usize::from(stream.waiting.form.location)];
        let time = if stream.output.is_blocked() { Some(send_timeout) } else { location.ping_message_interval };
        let deadline: Tick = Deadlines::after(now, time).min(stream.ends);
        self.set_deadline_at(key, deadline);
    }
}
