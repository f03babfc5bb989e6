//! The journal on a disk, below `store_path`.
//!
//! The journal that the hub works with lies in memory, in a file on a tmpfs that has a name: it outlives hub and keeper
//! together, at the last message. One thread saves it to a file on the disk every `store_sync`, so that machine restart and
//! power loss cost that interval at most. Nobody else waits for the disk. To map the file on the disk itself was rejected:
//! a page that is under write-back may block whoever writes to it next (btrfs, RAID and checksumming devices hold it stable;
//! ext4 and xfs may wait for their own journal to note the first change after a sync), that would be the critical section,
//! and a full or failing disk would be a SIGBUS there. Here it is an error of a system call in a thread that can wait.
//!
//! ```text
//! journal       the image: page 0, map and extents as in [`crate::journal`], each page at its place
//! journal.redo  page 0: how many pages follow, for which state of the journal, and a checksum over all of it; the pages; then
//!               their numbers. See [`image`].
//! ```
//!
//! **Why what is found after a power loss is whole.** The image is always the journal of one moment, between two operations
//! of the sequencer; a hub that takes it over is in the place of one that was killed then. (1) The pages of a save are those
//! of one moment: pages that changed are copied while work goes on, again and again those that changed meanwhile, and the
//! last few inside of the critical section; the last copy of each page counts. (2) They go to `journal.redo` first, and
//! the image is not touched before `fdatasync` has said that they are there. Whatever subset of their pages a power loss leaves
//! before that, the checksum over all of them, their numbers, the image's id and the number of the save does not hold, and
//! the image is as it was. (3) Then they go to their places. Whatever subset of that a power loss leaves, the redo
//! is whole and is applied again, which overwrites each page that may have been half-done. (4) The redo is overwritten only after
//! `fdatasync` has said that the image has all of it. So nothing that was saved is ever lost by what was saved later, and
//! nothing is taken for records that were not: each record has a checksum of its own besides, which
//! tells damage of the disk.
//!
//! Space is reserved (`fallocate`) before anything is written, in memory as on the disk. While the disk is full, gone or
//! fails, the hub goes on in memory, the image stays as it was saved last, what changes is noted, and the thread tries again.

mod image;
mod saver;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, FlockOperation, FsWord, Mode, OFlags, flock, fstat, fstatfs, fstatvfs, open as open_file};
use rustix::io::Errno;

use crate::config::Config;
use crate::journal::{self, Header, Layout, Word};
use crate::keeper::StartError;
use image::Image;
pub(crate) use saver::{Progress, Saver};

/// Where the journal of a hub with `store_path` lies while it runs.
pub(crate) const LIVE: &str = "/dev/shm";
/// How long a hub that is just ending may still have the files.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(20);

/// The journal for a keeper that starts: that which a killed hub and keeper left, else what was saved, else a new one. It is
/// locked, as long as somebody holds this descriptor or one that was made from it.
///
/// # Errors
/// The files cannot be used; the sentence says why and what to do.
pub(crate) fn open(config: &Config) -> Result<OwnedFd, StartError> {
    let Some(directory) = &config.store_path else {
        return journal::create(config.memory_limit).map_err(|error| StartError::new(format!("journal: {error}")));
    };
    let refused = |error: io::Error| StartError::new(explain(directory, &error));
    let wanted = Layout::for_memory(config.memory_limit);
    check_memory(config.memory_limit)?;
    let until = Instant::now() + PATIENCE;
    let image = patiently(until, || Image::open(directory)).map_err(refused)?;
    let mut image = match image {
        Some(image) => image,
        None => {
            let id = random().map_err(refused)?;
            let mut image = Image::create(directory, wanted, id, None).map_err(refused)?;
            // It holds nothing, and that is all there was.
            image.set_clean(true).map_err(refused)?;
            image
        }
    };
    let saved = image.header().map_err(refused)?;
    let path = live_path(saved.id);
    let memory = |error: io::Error| StartError::new(explain_memory(&path, &error));
    let live = match find_live(&path, &saved, until) {
        Ok(Some(live)) => live,
        Ok(None) => build_live(&path, saved.layout.larger(wanted), &image).map_err(memory)?,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(refused(error)),
        Err(error) => return Err(memory(error)),
    };
    let live = match Header::read(&live).map_err(memory)?.layout {
        layout if layout.larger(wanted) == layout => live,
        layout => grow_live(&path, layout.larger(wanted), live).map_err(memory)?,
    };
    let header = Header::read(&live).map_err(memory)?;
    if header.layout != saved.layout {
        image = Image::create(directory, header.layout, header.id, Some(live.as_fd())).map_err(refused)?;
    }
    // Before anything is published: what is not saved after that is lost by a power loss, and that will be said.
    image.set_clean(false).map_err(refused)?;
    Ok(live)
}

/// Removes the journal from memory at the end of its last hub, if the disk has all of it.
pub(crate) fn ended(config: &Config, journal: &OwnedFd) {
    let Some(directory) = &config.store_path else { return };
    let Ok(live) = Header::read(journal) else { return };
    let path = live_path(live.id);
    let saved = || -> io::Result<bool> {
        let image = open_file(image::path(directory), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let (there, ours) = (rustix::fs::lstat(&path)?, fstat(journal)?);
        Ok(live.clean && Header::read(image)? == live && (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
    };
    match saved() {
        Ok(true) => {
            // What is left is older than the image as soon as that is written to again.
            let _ = rustix::fs::unlink(&path);
        }
        _ => tracing::warn!(
            "{} does not have all of the journal: {} is kept for the next start before a restart of the machine",
            directory.display(),
            path.display()
        ),
    }
}

/// Bytes that the image takes on the disk, for those who look from outside; `None` when nothing was ever saved there.
pub(crate) fn taken(directory: &Path) -> io::Result<Option<u64>> {
    match open_file(image::path(directory), OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => Header::read(&file).and_then(|_| Ok(Some(fstat(&file)?.st_blocks as u64 * 512))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the descriptor is of a file in memory.
pub(crate) fn in_memory(file: impl AsFd) -> io::Result<bool> {
    const TMPFS: FsWord = 0x0102_1994;
    const RAMFS: FsWord = 0x8584_58f6_u32 as FsWord;
    Ok(matches!(fstatfs(file)?.f_type, TMPFS | RAMFS))
}

fn live_path(id: u64) -> PathBuf {
    Path::new(LIVE).join(format!("push-journal-{id:016x}"))
}

fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_le_bytes(bytes).max(1))
}

/// Sees that there is a tmpfs, and says so when it may be too small.
fn check_memory(memory_limit: u64) -> Result<(), StartError> {
    let look = || -> io::Result<(bool, u64)> {
        let directory = open_file(LIVE, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let sizes = fstatvfs(&directory)?;
        // 0 blocks: without a limit.
        let size = if sizes.f_blocks == 0 { u64::MAX } else { sizes.f_blocks * sizes.f_frsize };
        Ok((in_memory(&directory)?, size))
    };
    match look() {
        Ok((true, size)) if size < memory_limit => {
            tracing::warn!(
                "{LIVE} holds {} MB, and memory_limit is {} MB: stored messages go before it is reached; make {LIVE} larger \
                 (mount -o remount,size=..., docker run --shm-size), or lower memory_limit",
                size >> 20,
                memory_limit >> 20
            );
            Ok(())
        }
        Ok((true, _)) => Ok(()),
        Ok((false, _)) => Err(StartError::new(format!(
            "store_path: {LIVE} is no tmpfs, and the journal lies there until it is saved: mount -t tmpfs tmpfs {LIVE}"
        ))),
        Err(error) => Err(StartError::new(format!(
            "store_path: {LIVE}: {error}: the journal lies there until it is saved; mount a tmpfs there"
        ))),
    }
}

/// Tries again as long as another hub has it.
fn patiently<T>(until: Instant, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

/// Takes the lock that goes with the file, at once or not at all.
fn lock(file: &OwnedFd) -> io::Result<()> {
    Ok(flock(file, FlockOperation::NonBlockingLockExclusive)?)
}

/// Opens a file for writing that is this user's alone.
fn open_own(path: &Path, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | more;
    let file = open_file(path, flags, Mode::RUSR | Mode::WUSR)?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is not a regular file"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "belongs to another user, or others may use it"));
    }
    Ok(file)
}

/// The journal of a killed keeper and hub, if it is not older than what was saved.
fn find_live(path: &Path, saved: &Header, until: Instant) -> io::Result<Option<OwnedFd>> {
    let live = match open_own(path, OFlags::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        live => live?,
    };
    patiently(until, || lock(&live))?;
    let header = Header::read(&live)?;
    let whole = u64::try_from(fstat(&live)?.st_size) == Ok(header.layout.all());
    if whole && header.id == saved.id && header.sequence >= saved.sequence {
        return Ok(Some(live));
    }
    tracing::warn!("{} is older than what was saved, by a hub elsewhere; it is removed", path.display());
    rustix::fs::unlink(path)?;
    Ok(None)
}

fn build_live(path: &Path, layout: Layout, image: &Image) -> io::Result<OwnedFd> {
    let clean = image.header()?.clean;
    put_live(path, layout, image.file(), |live| {
        journal::set(live, Word::Lost, u64::from(!clean))?;
        journal::set(live, Word::Clean, 0)
    })
}

/// `memory_limit` was raised.
fn grow_live(path: &Path, layout: Layout, live: OwnedFd) -> io::Result<OwnedFd> {
    // The bits are left behind: the image is made anew.
    put_live(path, layout, live.as_fd(), |_| Ok(()))
}

/// Makes it beside its place, so that a start that is killed leaves nothing half-done there.
fn put_live(
    path: &Path,
    layout: Layout,
    from: impl AsFd,
    finish: impl Fn(&OwnedFd) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let new = path.with_extension("new");
    let made = (|| {
        match rustix::fs::unlink(&new) {
            Err(Errno::NOENT) | Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        let live = open_own(&new, OFlags::CREATE | OFlags::EXCL)?;
        lock(&live)?;
        rustix::fs::ftruncate(&live, layout.all())?;
        journal::copy(from, &live, layout)?;
        finish(&live)?;
        rustix::fs::rename(&new, path)?;
        Ok(live)
    })();
    if made.is_err() {
        let _ = rustix::fs::unlink(&new);
    }
    made
}

/// Cause and cure of an error at the files on the disk.
fn explain(directory: &Path, error: &io::Error) -> String {
    let shown = directory.display();
    let user = rustix::process::geteuid().as_raw();
    let cure = match error.kind() {
        io::ErrorKind::NotFound => format!("make it for the hub's user: install -d -m 0700 -o {user} {shown}"),
        io::ErrorKind::NotADirectory => "store_path is the path of a directory; set another".to_owned(),
        io::ErrorKind::PermissionDenied => {
            format!("the directory and its files have to belong to uid {user}, the hub's user: chown -R {user} {shown}")
        }
        io::ErrorKind::WouldBlock => {
            return format!(
                "store_path = \"{shown}\": another hub is using it: stop that one, or set another store_path; two hubs never \
                 share one"
            );
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "there is no room on that file system: make some, or set another store_path".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is mounted read-only, perhaps after an error (dmesg): repair and remount it".to_owned()
        }
        io::ErrorKind::InvalidData => format!(
            "move the files journal and journal.redo away from {shown} to start without them, or start the version of \
             push-hub that wrote them"
        ),
        _ => "see whether the disk is there and well (dmesg), or set another store_path".to_owned(),
    };
    format!("store_path = \"{shown}\": {error}: {cure}")
}

fn explain_memory(path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    let cure = match error.kind() {
        io::ErrorKind::StorageFull => format!("make {LIVE} larger (mount -o remount,size=..., docker run --shm-size)"),
        io::ErrorKind::PermissionDenied => {
            "it is the journal of a hub that ran as another user: run as that user, or remove it and lose what was not saved"
                .to_owned()
        }
        _ => "remove it to start with what was saved".to_owned(),
    };
    format!("store_path: {shown}: {error}: {cure}")
}

/// Has an image be written, and then what was to be saved next, and gives what is found after `how` says what went wrong in
/// between: its lowest bits where the last save was cut off, the next whether something is damaged besides.
#[cfg(any(test, fuzzing))]
pub(crate) fn tampered(how: u8, mut write: impl FnMut(&OwnedFd, Layout), found: impl Fn(&OwnedFd)) {
    struct Place(PathBuf);
    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    let place = Place(Path::new(LIVE).join(format!("push-hostile-{:x}", random().expect("random numbers"))));
    std::fs::create_dir(&place.0).expect("a tmpfs");
    let (directory, layout) = (&place.0, Layout::small());
    let mut image = Image::create(directory, layout, 7, None).expect("room");
    let file = open_own(&image::path(directory), OFlags::empty()).expect("just made");
    write(&file, layout);
    let next = journal::create_with(layout).expect("memory");
    journal::set(&next, Word::Id, 7).expect("memory");
    write(&next, layout);
    let mut batch = image.begin();
    let mut bytes = [0; journal::PAGE];
    for page in 0..300 {
        let length = rustix::io::pread(&next, &mut bytes, u64::from(page) * journal::PAGE as u64).expect("memory");
        if length == bytes.len() && bytes.iter().any(|byte| *byte != 0) {
            image.add(&mut batch, page, &bytes).expect("room");
        }
    }
    image.write_redo(batch, 1).expect("room");
    drop(image);
    let redo = open_own(&directory.join("journal.redo"), OFlags::empty()).expect("just made");
    let length = u64::try_from(fstat(&redo).expect("a file").st_size).expect("a size");
    match how & 7 {
        0 => rustix::fs::ftruncate(&redo, 0).expect("a file"),
        1 => rustix::fs::ftruncate(&redo, length / u64::from(how.max(1))).expect("a file"),
        2 => journal::write_all(&redo, &[how], length.saturating_sub(u64::from(how) * 99)).expect("room"),
        3 => journal::write_all(&redo, &(u64::MAX >> (how / 4)).to_le_bytes(), 24).expect("room"),
        4 => rustix::fs::ftruncate(&redo, 1 << (how / 6)).expect("a file"),
        _ => {}
    }
    if how & 24 == 24 {
        rustix::fs::ftruncate(&file, layout.saved() / 32 * u64::from(how / 4)).expect("a file");
    }
    drop((file, redo));
    let Ok(Some(image)) = Image::open(directory) else { return };
    // What is recovered stays so.
    let sequence = image.sequence();
    drop(image);
    let image = Image::open(directory).expect("the files are sound now").expect("there is an image");
    assert_eq!(image.sequence(), sequence);
    found(&build_live(&directory.join("live"), image.header().expect("an image").layout, &image).expect("room"));
}

#[cfg(test)]
mod tests;
