//! What strangers can send: each function is given any bytes, and panics where the code would do what it never may.
//!
//! One list for two readers. The tests at the end feed it a bounded number of inputs, random ones and sound ones that were
//! tampered with; the targets in `fuzz` feed it whatever the fuzzer finds. Nothing of it is in a hub.

use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::call::{Hello, Reply, Request, Welcome};
use crate::channel::{ChannelName, MAX_NAME, Namespace};
use crate::config::Config;
use crate::shm::progress::Progress;
use crate::shm::ring::{CONTROL_WORDS, Consumer, Layout, Next, Producer};
use crate::shm::segment::{MIN_RING, Segment};
use crate::transport::request::{MAX_HEADERS, Parsed, channels_path, parse};
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
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    if let Parsed::Plain(request, len) = parse(bytes, &mut headers) {
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
    use crate::message::NewMessage;

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

    #[test]
    fn what_is_tampered_with_was_sound() {
        for bytes in &calls()[..3] {
            assert!(postcard::from_bytes::<Request<'_>>(bytes).is_ok());
        }
        assert!(matches!(parse(&requests()[0], &mut [httparse::EMPTY_HEADER; MAX_HEADERS]), Parsed::Plain(..)));
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
        fn a_configuration_is_refused_or_kept(bytes in tampered(configs())) {
            config(&bytes);
        }
    }
}
