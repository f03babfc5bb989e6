//! What strangers can send: each function is given any bytes, and panics where the code would do what it never may.
//!
//! One list for two readers. The tests at the end feed it a bounded number of inputs, random ones and sound ones that were
//! tampered with; the targets in `fuzz` feed it whatever the fuzzer finds. Nothing of it is in a hub.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::access::Access;
use crate::call::{Hello, PresenceCall, Reply, Request, StoredMessage, Welcome};
use crate::channel::{ChannelId, ChannelInfo, ChannelName, ChannelOptions, MAX_NAME, Namespace};
use crate::config::Config;
use crate::journal::{self, PAGE, Word};
use crate::log::{Record, forge};
use crate::message::{Kind, NewMessage, Position, Published};
use crate::registry::Entry;
use crate::sequencer::{self, Sequencer};
use crate::shm::progress::Progress;
use crate::shm::ring::{CONTROL_WORDS, Consumer, Layout, Next, Producer};
use crate::shm::segment::{MIN_RING, Segment};
use crate::transport::request::{Parsed, channels_path, parse, room};
use crate::transport::websocket::{Input, Limits};

/// Bytes of the rings here: with little memory a blind write hits what matters.
const CAPACITY: usize = 1024;
const LIMIT: usize = 300;

/// A peer that writes anywhere in the ring, at any moment: ten bytes say where and what, and whether it is read or written then.
pub fn ring(bytes: &[u8]) {
    let memory: Arc<[AtomicU64]> = (0..CONTROL_WORDS + CAPACITY / 8).map(|_| AtomicU64::new(0)).collect();
    let layout = Layout { control: 0, data: CONTROL_WORDS, capacity: CAPACITY };
    let Ok(mut consumer) = Consumer::new(memory.clone(), layout) else { panic!("a new ring is sound") };
    let Ok(mut producer) = Producer::new(memory.clone(), layout) else { panic!("a new ring is sound") };
    for step in bytes.chunks_exact(10) {
        let (at, value) = step.split_at(2);
        let at = usize::from(u16::from_le_bytes([at[0], at[1]]));
        let value = u64::from_le_bytes(value.try_into().expect("eight bytes"));
        match at >> 13 {
            // An honest message, as long as the number says, to be damaged by what follows.
            0 | 1 => {
                let message = vec![at as u8; value as usize % (2 * CAPACITY)];
                // What finds no room is left half sent, as by a producer that was killed.
                if producer.push(&message, &mut 0).is_err() {
                    return;
                }
            }
            2 | 3 => memory[at % memory.len()].store(value, Relaxed),
            // The positions, mostly near to where they are.
            4 => drop(memory[at % CONTROL_WORDS].fetch_add(value % 64, Relaxed)),
            _ => {
                for _ in 0..CAPACITY {
                    match consumer.next(LIMIT) {
                        Err(_) => return,
                        Ok(Next::Empty) => break,
                        Ok(Next::Part) => continue,
                        Ok(Next::Message(message)) => assert!(message.len() <= LIMIT),
                        Ok(Next::TooLong(beginning, len)) => assert!(len > LIMIT && beginning.len() <= len),
                    }
                    consumer.release();
                }
            }
        }
    }
}

/// A descriptor that a client brings: one byte for its seals, two for its length, then its content.
pub fn attach(bytes: &[u8]) {
    let Some((&[seals, low, high], content)) = bytes.split_first_chunk() else { return };
    let right = 4096 + 2 * MIN_RING;
    let len = if seals & 64 != 0 { right } else { usize::from(u16::from_le_bytes([low, high])) * 2 };
    let memfd = memfd_create(c"push-hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a descriptor");
    ftruncate(&memfd, len as u64).expect("memory");
    let content = &content[..content.len().min(len)];
    rustix::io::pwrite(&memfd, content, 0).expect("memory");
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    let wanted = if seals & 128 != 0 { all } else { SealFlags::from_bits_truncate(u32::from(seals & 31)) };
    fcntl_add_seals(&memfd, wanted).expect("it has none");
    let memfd: OwnedFd = memfd;
    let Ok(segment) = Segment::adopt(&memfd) else { return };
    assert!(wanted.contains(all) && Segment::size_of(&memfd).is_ok_and(|size| size == len as u64));
    let label = String::from_utf8(segment.label()).unwrap_or_default();
    if let Ok(namespace) = Namespace::new(&label) {
        assert_eq!(namespace.as_str(), label);
    }
    let progress = Progress::new(segment.clone());
    let _ = (progress.call(), progress.parts(), progress.result(0), progress.result(u64::MAX));
    if let Ok(mut requests) = Consumer::new(segment.clone(), segment.requests()) {
        for _ in 0..64 {
            match requests.next(LIMIT) {
                Ok(Next::Message(message)) => call(message),
                Ok(Next::Part | Next::TooLong(..)) => {}
                Ok(Next::Empty) | Err(_) => break,
            }
            requests.release();
        }
    }
    if let Ok(mut replies) = Producer::new(segment.clone(), segment.replies()) {
        let _ = replies.push(&[7; 100], &mut 0);
    }
}

/// Datagrams at the attach socket and frames of the ring, as both sides read them.
pub fn call(bytes: &[u8]) {
    fn same<'a, T: serde::Serialize + serde::Deserialize<'a> + std::fmt::Debug>(bytes: &'a [u8]) {
        let Ok(read) = postcard::from_bytes::<T>(bytes) else { return };
        let written = postcard::to_stdvec(&read).expect("plain data into a Vec");
        // Numbers may come in longer forms than they are written in, but nothing is left over.
        assert!(written.len() <= bytes.len(), "{read:?}");
    }
    same::<Hello>(bytes);
    same::<Welcome>(bytes);
    same::<Reply>(bytes);
    same::<Request<'_>>(bytes);
}

/// Names of channels, in URLs, in the ring and in the journal.
pub fn name(bytes: &[u8]) {
    let shop = Namespace::new("shop").expect("a namespace");
    for namespace in [Namespace::default(), shop] {
        if let Ok(name) = ChannelName::within(&namespace, bytes, MAX_NAME) {
            assert_eq!((name.as_bytes(), name.namespace()), (bytes, namespace.as_str()));
            assert_eq!(ChannelName::from_identity(name.identity()), Some(name));
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(name) = ChannelName::from_identity(text)
    {
        assert_eq!(name.identity(), text);
        assert!(!name.contains(['/', '\0']));
    }
    for (name, _) in channels_path(bytes) {
        assert!(!name.contains(&b'/'));
    }
}

/// The front of a connection, as the small parser reads it.
pub fn request(bytes: &[u8]) {
    let mut room = room();
    if let Parsed::Plain(request, len) = parse(bytes, &mut room) {
        assert!(len <= bytes.len() && request.body.len() <= len);
        // Where one request ends and the next begins must be the same for everybody on the way.
        assert!(request.all("transfer-encoding").next().is_none() && request.all("content-length").count() <= 1);
        for argument in ["id", "position", "callback", "token"] {
            request.argument(argument);
        }
        name(request.path.as_bytes());
    }
}

/// What a browser sends over a WebSocket means the same however it is cut into reads; the first byte says where it is cut.
pub fn websocket(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut input, mut heard) = (Input::default(), Vec::new());
        let limits = Limits { message: LIMIT, keep_text: true };
        for piece in pieces {
            let mut piece = piece.to_vec();
            let fed = input.feed(&mut piece, limits, |received| {
                heard.push(format!("{received:?}"));
                ControlFlow::Continue(())
            });
            match fed {
                Err(code) => {
                    heard.push(format!("{code:?}"));
                    break;
                }
                Ok(taken) => assert_eq!(taken, piece.len(), "it wanted more"),
            }
            if heard.last().is_some_and(|last| last.starts_with("Close")) {
                break;
            }
        }
        heard
    };
    let whole = read(&mut std::iter::once(bytes));
    assert_eq!(whole, read(&mut bytes.chunks(1 + usize::from(cut))));
}

/// What a script that is given as bytes puts into a journal, as sound or as damaged as it likes.
struct Script<'a>(&'a [u8]);

/// The second.
fn now() -> u32 {
    (crate::access::now() / 1000) as u32
}

/// Pages of the file that scripts reach.
const PAGES: u32 = 200;

impl Script<'_> {
    fn bytes(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number<const BYTES: usize>(&mut self) -> u64 {
        let mut bytes = [0; 8];
        let taken = self.bytes(BYTES);
        bytes[..taken.len()].copy_from_slice(taken);
        u64::from_le_bytes(bytes)
    }

    /// Mostly a small one, seldom any.
    fn any(&mut self) -> u64 {
        let small = self.number::<1>();
        if small < 250 { small } else { self.number::<8>() }
    }

    fn text(&mut self) -> String {
        let length = self.number::<1>() as usize % 40;
        String::from_utf8_lossy(self.bytes(length)).into_owned()
    }

    /// A second: over, far, or any.
    fn second(&mut self) -> u32 {
        match self.number::<1>() {
            second @ 0..100 => second as u32,
            far @ 100..240 => now() + 100 * far as u32,
            _ => self.number::<4>() as u32,
        }
    }

    fn position(&mut self, last: &mut Position) -> Position {
        match self.number::<1>() {
            more @ 0..240 => last.tag = last.tag.wrapping_add(more as u32),
            _ => *last = Position::unpack(self.number::<8>()),
        }
        *last
    }

    /// Whether something is left.
    fn goes_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// Writes all of it but what follows a step that says so, to a file of this layout.
    fn write(&mut self, file: &OwnedFd, layout: journal::Layout) {
        let data = layout.data();
        let put = |bytes: &[u8], at: u64| {
            let room = layout.saved().saturating_sub(at) as usize;
            journal::write_all(file, &bytes[..bytes.len().min(room)], at).expect("memory");
        };
        let (mut at, mut segment, mut number, mut pages) = (0, Vec::new(), 0_u32, 0);
        let mut last = Position { time: 1000, tag: 0 };
        let (mut offset, mut next) = (0, [0_u32; 2]);
        while self.goes_on() {
            let step = self.number::<1>() % 16;
            let content = match step {
                0 => {
                    let (word, value) = (self.number::<1>() % 24, self.number::<8>());
                    put(&value.to_le_bytes(), word * 8);
                    continue;
                }
                1 => {
                    let (page, entry) = (self.number::<2>() % u64::from(PAGES), self.number::<8>());
                    put(&entry.to_le_bytes(), PAGE as u64 + page * 8);
                    continue;
                }
                2 => {
                    let (page, offset) = (self.number::<2>() % u64::from(PAGES), self.number::<2>() % PAGE as u64);
                    let length = self.number::<1>() as usize;
                    put(self.bytes(length), page * PAGE as u64 + offset);
                    continue;
                }
                3..=5 => {
                    put(&segment, data + at * PAGE as u64);
                    let class = usize::from(step == 3);
                    at += pages;
                    pages = 1 + self.number::<1>() % 20;
                    number = match self.number::<1>() {
                        more @ 0..200 => next[class].wrapping_add(more as u32 / 40),
                        _ => self.number::<4>() as u32,
                    };
                    next[class] = number.wrapping_add(1);
                    let entry = u64::from(number) | (class as u64) << 32 | pages << 33;
                    put(&entry.to_le_bytes(), PAGE as u64 + at * 8);
                    (offset, segment) = (0, vec![0; pages as usize * PAGE]);
                    continue;
                }
                6 => break,
                7..=11 => {
                    let (slot, birth) = (self.any() as u32 % 8, self.any() as u32 % 4);
                    let (id, position, expires) = (self.any(), self.position(&mut last), self.second());
                    let event = self.number::<1>() as usize;
                    let (event, length) = (["", "event"][event % 2], event * 20);
                    let payload = vec![slot as u8; length];
                    let record = Record {
                        slot,
                        birth,
                        id,
                        position,
                        expires,
                        kind: Kind::Bytes,
                        event: (!event.is_empty()).then_some(event),
                        event_id: None,
                        payload: &payload,
                    };
                    (record.content(), None)
                }
                12 => {
                    let options = ChannelOptions {
                        owner: Some(self.text()),
                        ttl: Some(self.second()),
                        max_messages: Some(self.any() as u32),
                        message_ttl: Some(self.second()),
                        presence: true,
                    };
                    let (slot, birth) = (self.any() as u32, self.any() as u32 % 4);
                    let made = self.number::<1>().is_multiple_of(2);
                    let (id, name) = (ChannelId::new(slot, birth), self.text());
                    let entry = Entry::Channel { id, name: &name, options: made.then_some(options) };
                    let counters = [self.position(&mut last).pack(), self.any(), self.position(&mut last).pack()];
                    (postcard::to_stdvec(&entry).expect("plain data"), Some(counters))
                }
                13 => {
                    let (slot, birth, key) = (self.any() as u32 % 8, self.any() as u32 % 4, self.text());
                    let (id, position, expires) = (self.any(), self.position(&mut last), self.second());
                    let published = Published { id, position, subscribers: 1 };
                    let entry = Entry::Key { channel: ChannelId::new(slot, birth), key: &key, published, expires };
                    (postcard::to_stdvec(&entry).expect("plain data"), None)
                }
                14 => {
                    let (namespace, channel, user, info) = (self.text(), self.text(), self.text(), self.text());
                    let (namespace, info) = (["", &namespace][namespace.len() % 2], ["{}", &info][info.len() % 2]);
                    let channel = (!channel.is_empty()).then_some(&*channel);
                    let (since, lease) = (self.second(), self.second());
                    let entry = Entry::Member { namespace, channel, user: &user, info, since, lease };
                    (postcard::to_stdvec(&entry).expect("plain data"), None)
                }
                _ => {
                    let (length, words) = (self.number::<1>() as usize, self.number::<1>());
                    let words = (words % 2 == 0).then(|| [self.any(), self.any(), self.any()]);
                    (self.bytes(length).to_vec(), words)
                }
            };
            if let Some(end) = forge(&mut segment, offset, number, &content.0, content.1) {
                offset = end;
            }
        }
        put(&segment, data + at * PAGE as u64);
    }
}

/// How often it is worked with.
const ROUNDS: u8 = 8;

/// A hub that starts with this journal: it recovers what is whole, works, and the next one finds the same.
fn start(journal: &OwnedFd) {
    let mut config = Config::default();
    for (key, value) in [("memory_limit", "1m"), ("max_messages_stored_per_channel", "none")] {
        config.set(key, value).expect("allowed");
    }
    let open = || {
        let limits = crate::hub::limits(&config);
        let limits = sequencer::Limits { memory: 300 << 10, channel_inactivity: u32::MAX, ..limits };
        let (journal, access) = (journal.try_clone().expect("a descriptor"), Access::of_this_process());
        let (begin, access) = (Position { time: 2000, tag: 0 }, access.expect("random numbers"));
        Sequencer::new(limits, Box::default(), begin, String::new(), (journal, true), access, None)
    };
    let Ok(engine) = open() else { return };
    let known = |engine: &Sequencer| {
        let channels = engine.list_channels(&Namespace::default(), "", "", 100).into_iter();
        let histories = channels.map(|channel| {
            let name = ChannelName::new(channel.name.as_bytes(), MAX_NAME).expect("a name");
            let history = engine.history(&name, Position::START, 1000);
            let grow = |pair: &[StoredMessage]| pair[0].position < pair[1].position;
            assert!(history.windows(2).all(grow) && history.len() <= channel.stored as usize);
            (channel, history)
        });
        let known: Vec<(ChannelInfo, Vec<StoredMessage>)> = histories.collect();
        (known, engine.head(), engine.with_journal(|region| region.load(Word::Watermark)))
    };
    let before = known(&engine);
    let found = before.0.iter().take(5).map(|(channel, _)| channel.name.as_str());
    let names: BTreeSet<&str> = found.chain(["a", "b", "news"]).collect();
    let names: Vec<ChannelName> =
        names.into_iter().flat_map(|name| ChannelName::new(name.as_bytes(), MAX_NAME)).collect();
    for round in 0..ROUNDS {
        for name in &names {
            let payload = vec![round; usize::from(round) * 1500];
            let key = (round % 2 == 0).then_some("key");
            let message = NewMessage { dedupe: key, ..NewMessage::new(&payload) };
            let head = engine.head();
            if let Ok(published) = engine.publish(name, &message)
                && key.is_none()
            {
                assert!(published.position > head || head.time == u32::MAX, "{head}");
            }
        }
        let user = ["alice", "bob"][usize::from(round % 2)];
        let call = PresenceCall::Online { user, info: b"{}", channel: None, ttl: None };
        let _ = engine.presence(&Namespace::default(), &call, names.first());
        engine.expire();
        engine.expire_presence();
        if round == ROUNDS / 2 {
            let _ = engine.clear_channel(&names[0]);
            let _ = engine.delete_channel(&names[1], None);
        }
    }
    let mut changed = Vec::new();
    engine.with_journal(|region| region.take_changed(&mut changed));
    let second = now();
    let before = known(&engine);
    assert!(engine.status().memory <= config.memory_limit + (64 << 10));
    drop(engine);
    let engine = open().expect("the journal of a hub that worked");
    let after = known(&engine);
    // What expires does so by the clock.
    if second == now() {
        assert_eq!(before.0, after.0);
        assert!(before.2 == after.2, "it says that its own journal is damaged");
    }
}

/// The journal in memory that a hub and its keeper left.
pub fn journal(bytes: &[u8]) {
    let layout = journal::Layout::small();
    let file = journal::create_with(layout).expect("memory");
    Script(bytes).write(&file, layout);
    start(&file);
}

/// The files of `store_path` that a machine left. The first byte says what else happened to them; two scripts follow, of
/// which the second is what was to be saved last.
pub fn store(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut script = Script(bytes);
    crate::store::tampered(how, |file, layout| script.write(file, layout), start);
}

/// A configuration is refused, or it is the same when it is read again from how it is written.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Its value is the path of a file, which would be read.
    if text.contains("_file") {
        return;
    }
    let mut config = Config::default();
    if config.parse(text, "hostile").is_err() {
        return;
    }
    let _ = config.check();
    let written = config.to_toml();
    let mut again = Config::default();
    again.parse(&written, "written").expect("it takes back what it wrote");
    assert_eq!(again.to_toml(), written);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::call::{Call, PROTOCOL};

    /// Anything, or something sound with a few bytes of it changed, inserted or cut.
    fn tampered(sound: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8);
        let changed = (prop::sample::select(sound), vec(change, 0..6)).prop_map(|(mut bytes, changes)| {
            for (at, byte, how) in changes {
                let at = at.index(bytes.len() + 1);
                match how {
                    0 => bytes.insert(at, byte),
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.get_mut(at).into_iter().for_each(|old| *old = byte),
                }
            }
            bytes
        });
        prop_oneof![1 => vec(any::<u8>(), 0..400), 3 => changed]
    }

    fn calls() -> Vec<Vec<u8>> {
        let publish = Call::Publish { channel: "news", message: NewMessage::new(b"text") };
        let many = Call::PublishMany { messages: vec![("a", NewMessage::new(b"1")), ("b", NewMessage::new(b"2"))] };
        let subscribe = Call::Subscribe { channels: vec!["a", "b"], after: None };
        let calls = [publish, many, subscribe].map(|call| postcard::to_stdvec(&(7_u64, call)).expect("plain data"));
        let hello = Hello::Within { protocol: PROTOCOL, namespace: "shop".to_owned(), subscribes: true };
        calls.into_iter().chain([postcard::to_stdvec(&hello).expect("plain data")]).collect()
    }

    /// As a client makes it, behind the bytes that say how it is sealed and how long it is.
    fn segments() -> Vec<Vec<u8>> {
        let header =
            [u64::from_ne_bytes(*b"pushring"), 1, MIN_RING as u64, MIN_RING as u64].map(u64::to_ne_bytes).concat();
        let mut busy = header.clone();
        // Two frames of a call are said to lie in the requests ring.
        busy.resize(4096, 0);
        busy[128] = 64;
        busy.extend(calls().concat());
        [header, busy].map(|content| [&[0xc0, 0, 0][..], &content].concat()).to_vec()
    }

    fn requests() -> Vec<Vec<u8>> {
        [
            "GET /sub/a.b3/c?position=1.2&token=x HTTP/1.1\r\nHost: x\r\nIf-None-Match: W/1\r\n\r\n",
            "POST /pub?id=a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\ntextGET / HTTP/1.1\r\n\r\n",
            "POST /pub HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn frames() -> Vec<Vec<u8>> {
        let masked = b"\x07\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8";
        let parts = b"\x02\x01\x03Hel\x00\x01-\x80\x02lo\x8a\0\x81\x7e\0\x04text";
        vec![masked.to_vec(), parts.to_vec()]
    }

    fn configs() -> Vec<Vec<u8>> {
        [
            "message_ttl = \"5m\"\nlisten = [\"127.0.0.1:80\", \"unix:/run/x\"]\nclient_namespaces = [\"a:b\", \"7:*\", \"c:\"]\n",
            "namespace = \"shop\"\n[[location]]\npath = \"/a/\"\nsubscriber = \"polling\"\nmessage_template = \"~text~\"\n",
            "preset = \"pushstream\"\npadding_by_user_agent = \"[T|t]est,4096,512\"\nsocket_mode = \"0660\"\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    /// Steps of a script, of all kinds alike.
    fn script() -> impl Strategy<Value = Vec<u8>> {
        let step = (0..16u8, vec(prop_oneof![any::<u8>(), 0..4u8], 0..30));
        vec(step.prop_map(|(kind, rest)| [vec![kind], rest].concat()), 0..40).prop_map(|steps| steps.concat())
    }

    #[test]
    fn what_is_tampered_with_was_sound() {
        for bytes in &calls()[..3] {
            assert!(postcard::from_bytes::<Request<'_>>(bytes).is_ok());
        }
        assert!(matches!(parse(&requests()[0], &mut room()), Parsed::Plain(..)));
        for text in configs() {
            let parsed = Config::default().parse(std::str::from_utf8(&text).expect("text"), "sound");
            assert_eq!(parsed, Ok(()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_ring_takes_no_harm(bytes in vec(any::<u8>(), 0..600)) {
            ring(&bytes);
        }

        #[test]
        fn a_descriptor_takes_no_harm(bytes in tampered(segments())) {
            attach(&bytes);
        }

        #[test]
        fn a_call_is_refused_or_means_what_it_says(bytes in tampered(calls())) {
            call(&bytes);
        }

        #[test]
        fn a_name_stays_in_its_namespace(bytes in tampered(vec![b"news".to_vec(), b"\0shop/news".to_vec(), b"a.b3/c".to_vec()])) {
            name(&bytes);
        }

        #[test]
        fn a_request_has_one_end(bytes in tampered(requests())) {
            request(&bytes);
        }

        #[test]
        fn frames_mean_the_same_in_any_reads(bytes in tampered(frames())) {
            websocket(&bytes);
        }

        #[test]
        fn a_journal_is_recovered_as_far_as_it_is_whole(bytes in script()) {
            journal(&bytes);
        }

        #[test]
        fn what_a_disk_kept_is_recovered_as_far_as_it_is_whole(bytes in script()) {
            store(&bytes);
        }

        #[test]
        fn a_configuration_is_refused_or_kept(bytes in tampered(configs())) {
            config(&bytes);
        }
    }
}
