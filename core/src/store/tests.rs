//! Saves against power losses: what may be on a disk afterwards is made from copies of its files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::saver::Work;
use super::*;
use crate::access::Access;
use crate::channel::{ChannelInfo, ChannelName, ChannelOptions, Namespace};
use crate::journal::PAGE;
use crate::message::{NewMessage, Position};
use crate::sequencer::Sequencer;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn name(index: usize) -> ChannelName {
    ChannelName::new(NAMES[index].as_bytes(), 255).expect("a name")
}

fn engine(live: OwnedFd) -> Arc<Sequencer> {
    let mut config = Config::default();
    let settings = [("memory_limit", "1m"), ("max_messages_stored_per_channel", "none"), ("message_ttl", "1d")];
    for (key, value) in settings.into_iter().chain([("channel_inactivity_time", "1d")]) {
        config.set(key, value).expect("allowed");
    }
    let limits = crate::hub::limits(&config);
    let start = Position { time: 1000, tag: 0 };
    let access = Access::of_this_process().expect("random numbers");
    Arc::new(
        Sequencer::new(limits, Box::default(), start, String::new(), (live, true), access, None).expect("a journal"),
    )
}

/// A hub that saves here, with what is here.
fn hub(directory: &Path) -> (Arc<Sequencer>, Work) {
    let image = match Image::open(directory).expect("sound files") {
        Some(image) => image,
        None => Image::create(directory, Layout::small(), 7, None).expect("room"),
    };
    let layout = image.header().expect("an image").layout;
    let engine = engine(build_live(&directory.join("live"), layout, &image).expect("room"));
    let work = Work::new(directory, Duration::from_secs(1), &engine);
    (engine, work)
}

#[derive(Clone, Debug)]
enum Step {
    Publish { channel: usize, size: usize, key: Option<u8> },
    Create { channel: usize, most: u32 },
    Delete { channel: usize },
    Clear { channel: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0..NAMES.len();
    prop_oneof![
        8 => (channel.clone(), 0usize..20_000, prop::option::of(0u8..3))
            .prop_map(|(channel, size, key)| Step::Publish { channel, size, key }),
        2 => (channel.clone(), 1u32..5).prop_map(|(channel, most)| Step::Create { channel, most }),
        1 => channel.clone().prop_map(|channel| Step::Delete { channel }),
        1 => channel.prop_map(|channel| Step::Clear { channel }),
    ]
}

fn apply(engine: &Sequencer, step: &Step) {
    match *step {
        Step::Publish { channel, size, key } => {
            let key = key.map(|key| format!("key {key}"));
            let payload = vec![size as u8; size];
            let message = NewMessage { dedupe: key.as_deref(), ..NewMessage::new(&payload) };
            engine.publish(&name(channel), &message).expect("there is room");
        }
        Step::Create { channel, most } => {
            let options = ChannelOptions { max_messages: Some(most), ..ChannelOptions::default() };
            engine.create_channel(Some(name(channel)), options).expect("there is room");
        }
        Step::Delete { channel } => drop(engine.delete_channel(&name(channel), None).expect("allowed")),
        Step::Clear { channel } => drop(engine.clear_channel(&name(channel)).expect("allowed")),
    }
}

/// Number, position and size of a message; the size says what it consists of.
type Known = (u64, Position, usize);

fn known(engine: &Sequencer) -> Vec<(ChannelInfo, Vec<Known>)> {
    let channels = engine.list_channels(&Namespace::default(), "", "", 100).into_iter();
    let all = channels.map(|channel| {
        let name = ChannelName::new(channel.name.as_bytes(), 255).expect("a name");
        let messages = engine.history(&name, Position::START, usize::MAX).into_iter().map(|message| {
            let size = message.payload.len();
            assert!(message.payload.iter().all(|byte| *byte == size as u8));
            (message.id, message.position, size)
        });
        (channel, messages.collect())
    });
    all.collect()
}

/// The two files as they are at this moment.
fn files(directory: &Path) -> [Vec<u8>; 2] {
    ["journal", "journal.redo"].map(|name| fs::read(directory.join(name)).unwrap_or_default())
}

/// Pages of the old file and of the new one, as the disk happened to have got to them.
fn mixed(old: &[u8], new: &[u8], chosen: &BTreeSet<usize>) -> Vec<u8> {
    let mut bytes = new.to_vec();
    for (page, part) in bytes.chunks_mut(PAGE).enumerate() {
        let before = old.get(page * PAGE..).unwrap_or_default();
        if !chosen.contains(&page) {
            let length = before.len().min(part.len());
            part[..length].copy_from_slice(&before[..length]);
            part[length..].fill(0);
        }
    }
    bytes
}

fn put(directory: &Path, files: [&[u8]; 2]) {
    for (name, bytes) in ["journal", "journal.redo"].into_iter().zip(files) {
        let file = open_own(&directory.join(name), OFlags::CREATE).expect("room");
        let file = File::from(file);
        file.set_len(bytes.len() as u64).expect("room");
        // Holes stay holes.
        for (page, part) in bytes.chunks(PAGE).enumerate().filter(|(_, part)| part.iter().any(|byte| *byte != 0)) {
            file.write_all_at(part, (page * PAGE) as u64).expect("room");
        }
    }
}

/// Pages in which they differ.
fn changed(old: &[u8], new: &[u8]) -> Vec<usize> {
    let differs = |page: usize, part: &[u8]| {
        let before = old.get(page * PAGE..).unwrap_or_default();
        // What was never written is zeros.
        let (there, missing) = part.split_at(before.len().min(part.len()));
        before[..there.len()] != *there || missing.iter().any(|byte| *byte != 0)
    };
    new.chunks(PAGE).enumerate().filter(|(page, part)| differs(*page, part)).map(|(page, _)| page).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_power_loss_leaves_one_save_or_the_next_and_nothing_else(
        before in prop::collection::vec(step(), 1..40),
        between in prop::collection::vec(step(), 1..40),
        applying in any::<bool>(),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
    ) {
        let directory = tempfile::tempdir().expect("room");
        let (engine, mut work) = hub(directory.path());
        before.iter().for_each(|step| apply(&engine, step));
        work.save(false).expect("a disk");
        let (first, old) = (known(&engine), files(directory.path()));
        between.iter().for_each(|step| apply(&engine, step));
        work.save(false).expect("a disk");
        let (second, new) = (known(&engine), files(directory.path()));

        // What was written without order since the last time that the disk said it had all.
        let (at, fixed) = if applying { (0, &new[1]) } else { (1, &old[0]) };
        let written = changed(&old[at], &new[at]);
        let chosen: BTreeSet<usize> =
            chosen.iter().filter(|_| !written.is_empty()).map(|index| *index.get(&written)).collect();
        let torn = mixed(&old[at], &new[at], &chosen);
        let place = tempfile::tempdir().expect("room");
        put(place.path(), if applying { [&torn, fixed] } else { [fixed, &torn] });

        let (found, mut work) = hub(place.path());
        let all = chosen.len() == written.len();
        prop_assert_eq!(&known(&found), if applying || all { &second } else { &first }, "{} of {:?}", chosen.len(), written);
        // It goes on as any other, and nothing of the torn save comes back.
        between.iter().for_each(|step| apply(&found, step));
        let third = known(&found);
        work.save(true).expect("a disk");
        drop((found, work));
        fs::remove_file(place.path().join("live")).expect("there");
        prop_assert_eq!(known(&hub(place.path()).0), third);
    }
}

#[test]
fn a_save_in_the_midst_of_publishing_is_of_one_moment() {
    let directory = tempfile::tempdir().expect("room");
    let (engine, mut work) = hub(directory.path());
    let (done, published) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0u64;
            while !done.load(Ordering::Relaxed) {
                // Old ones are evicted and their memory is used again all the time.
                let payload = [number.to_le_bytes().as_slice(), &vec![number as u8; (number % 3000) as usize]].concat();
                let channel = name((number % 3) as usize);
                engine.publish(&channel, &NewMessage::new(&payload)).expect("room");
                number += 1;
                published.store(number, Ordering::Release);
            }
        });
        let mut least = 0;
        for _ in 0..30 {
            let before = published.load(Ordering::Acquire);
            work.save(false).expect("a disk");
            let after = published.load(Ordering::Acquire);
            let place = tempfile::tempdir().expect("room");
            let files = files(directory.path());
            put(place.path(), [&files[0], &files[1]]);
            let (found, _work) = hub(place.path());
            let mut numbers: Vec<u64> = (0..3)
                .flat_map(|channel| found.history(&name(channel), Position::START, usize::MAX))
                .map(|message| {
                    let number = u64::from_le_bytes(*message.payload.first_chunk().expect("a number"));
                    assert!(message.payload[8..].iter().all(|byte| *byte == number as u8));
                    assert_eq!(message.payload.len() as u64, 8 + number % 3000);
                    number
                })
                .collect();
            numbers.sort_unstable();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a hole: {numbers:?}");
            if let Some(last) = numbers.last() {
                assert!((before.max(1) - 1..=after).contains(last), "{last} of {before} to {after}");
                assert!(*last >= least);
                least = *last;
            }
        }
        assert!(least > 100, "{least}");
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn nothing_is_written_while_nothing_changed_and_room_is_given_back() {
    let directory = tempfile::tempdir().expect("room");
    let (engine, mut work) = hub(directory.path());
    let region = engine.with_journal(Arc::clone);
    for _ in 0..50 {
        engine.publish(&name(0), &NewMessage::new(&[10_000_usize as u8; 10_000])).expect("room");
    }
    assert!(region.has_changed());
    work.save(false).expect("a disk");
    assert!(!region.has_changed());
    let before = taken(directory.path()).expect("an image").expect("an image");
    assert!(before > 500_000, "{before}");
    engine.clear_channel(&name(0)).expect("allowed");
    engine.expire();
    work.save(false).expect("a disk");
    let left = taken(directory.path()).expect("an image").expect("an image");
    assert!(left < before / 2, "{left} of {before}");
}

#[test]
fn what_is_no_image_or_of_another_version_is_refused() {
    let directory = tempfile::tempdir().expect("room");
    drop(hub(directory.path()));
    let file = fs::OpenOptions::new().write(true).open(path(directory.path())).expect("there");
    file.write_all_at(&99u64.to_le_bytes(), 8).expect("room");
    let error = Image::open(directory.path()).err().expect("refused");
    let text = explain(directory.path(), &error);
    assert!(text.contains("version 99") && text.contains("move the files"), "{text}");
    file.write_all_at(b"x", 0).expect("room");
    let error = Image::open(directory.path()).err().expect("refused");
    assert!(explain(directory.path(), &error).contains("no journal"));
    file.set_len(10).expect("room");
    assert!(Image::open(directory.path()).is_err());
}

fn path(directory: &Path) -> PathBuf {
    image::path(directory)
}

/// Runs the test of this name in a mount namespace of its own; false where that is not allowed.
fn in_namespace(test: &str) -> bool {
    let program = std::env::current_exe().expect("this program");
    let allowed = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
    if allowed {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private"]).arg(program).args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
        ]);
        let status = command.env("PUSH_NAMESPACE", "1").status().expect("it runs");
        assert!(status.success(), "{test} failed in its namespace");
    } else {
        eprintln!("not tried: this user may not make a mount namespace");
    }
    allowed
}

fn mount(arguments: &[&str], directory: &Path) {
    assert!(Command::new("mount").args(arguments).arg(directory).status().expect("mount").success());
}

#[test]
fn a_disk_that_is_full_at_any_moment_costs_nothing_that_was_saved() {
    in_namespace("store::tests::full_at_any_moment");
}

#[test]
#[ignore = "mounts; run by the test above"]
fn full_at_any_moment() {
    assert!(std::env::var_os("PUSH_NAMESPACE").is_some(), "it mounts a tmpfs, and needs a namespace of its own");
    let disk = tempfile::tempdir().expect("room");
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], disk.path());
    let home = tempfile::tempdir().expect("room");
    let start = || -> io::Result<(Arc<Sequencer>, Work)> {
        let image = Image::create(disk.path(), Layout::small(), 7, None)?;
        let live = build_live(&home.path().join("live"), image.header()?.layout, &image)?;
        drop(image);
        let engine = engine(live);
        let work = Work::new(disk.path(), Duration::from_secs(1), &engine);
        Ok((engine, work))
    };
    let (engine, mut work) = start().expect("room for an empty one");
    let (mut saved, mut failures, mut successes) = (known(&engine), 0, 0);
    // A little more room each time, so that each allocation of a save is the one that fails at some time.
    for pages in (16..500).step_by(2) {
        // In bursts, so that it catches up in between.
        if pages % 4 == 0 && pages % 100 < 60 {
            let payload = vec![9000_usize as u8; 9000];
            for channel in 0..2 {
                engine.publish(&name(channel), &NewMessage::new(&payload)).expect("memory");
            }
        }
        mount(&["-o", &format!("remount,size={}k", pages * 4)], disk.path());
        match work.save(false) {
            Ok(()) => {
                saved = known(&engine);
                successes += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{error}");
                work.failed(&error);
                failures += 1;
            }
        }
        if pages % 30 == 0 {
            // What a restart of the machine would find now.
            let place = tempfile::tempdir().expect("room");
            let files = files(disk.path());
            put(place.path(), [&files[0], &files[1]]);
            assert_eq!(known(&hub(place.path()).0), saved, "with {pages} pages");
        }
    }
    assert!(failures > 60 && successes > 10, "{failures} failures, {successes} successes");
    mount(&["-o", "remount,size=100m"], disk.path());
    work.save(false).expect("there is room again");
    let place = tempfile::tempdir().expect("room");
    let files = files(disk.path());
    put(place.path(), [&files[0], &files[1]]);
    assert_eq!(known(&hub(place.path()).0), known(&engine));

    // Mounted read-only, as after an error.
    engine.publish(&name(0), &NewMessage::new(&[4; 4])).expect("memory");
    // Which is refused as long as a file is open for writing.
    work.failed(&io::Error::other("a test"));
    mount(&["-o", "remount,ro"], disk.path());
    let error = work.save(false).expect_err("it is read-only");
    assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
    work.failed(&error);
    mount(&["-o", "remount,rw"], disk.path());
    work.save(false).expect("it can be written to again");
}
