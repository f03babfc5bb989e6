//! The journal: the memory of the engine that outlives the hub.
//!
//! The segments of the log *are* the journal: they lie in a memfd that keeper and hub both hold, there is one copy of each
//! message, and a hub that starts finds what the one before it had and builds its indexes anew. Measured with 1,000,000
//! messages of 100 bytes, each there when its call returns: segments 0.2 µs per message and 60 ms to check them all again;
//! LMDB (`heed`, one transaction each, no sync) 1.1 µs and 33 ms; `fjall` (journal flushed to the kernel each time)
//! 2.7 µs and 410 ms; and both would have kept a second copy beside the log.
//!
//! This file gives out runs of pages ([`Extent`]), each with the number of the segment it is, and knows after a crash which
//! of them were in use. What stands in them is the business of [`crate::log`]: nothing read here is trusted further than
//! that it lies inside of the file. It is also the one file that maps the journal.
//!
//! ```text
//! page 0      the words of [`Word`]
//! pages 1..   the map: 8 bytes for each page of the extents; that of an extent's first page says which segment it is and
//!             how many pages it has, all others are 0. Storing that word is what makes or ends an extent.
//! then        extents, and holes that take no memory
//! then        a bit for each page before: whether it changed since [`crate::store`] took it
//! then        such bits again: it was taken, and is not yet on the disk
//! ```
//!
//! With `store_path` the file has a name on a tmpfs, so that it also outlives keeper and hub together. The pages above the
//! bits are what is kept on a disk. The bits lie in the file because a hub that is killed leaves its successor what is still
//! to be saved. They change inside of the critical section only.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, SealFlags, SeekFrom, fallocate, fcntl_lock};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// What memory is given out and back in.
pub(crate) const PAGE: usize = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"pushjrnl");
const VERSION: u64 = 2;
/// Extents that keep their memory for the next one of the same size: a log that is written and evicted all the time would
/// else give pages back to the system and fetch them again.
const KEPT: usize = 4;
/// What may be scattered beyond `memory_limit` before an extent finds no place: addresses cost nothing.
const SCATTER: u64 = 128 << 20;
/// Holes that are remembered one by one until the disk is told of them.
const MOST_FREED: usize = 4096;

/// The words of page 0 after magic and version, each for itself whole after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// Pages for extents.
    Pages = 2,
    /// Which journal it is among those on disks; 0 of one that has never been on one.
    Id = 3,
    /// How often it was saved.
    Sequence = 4,
    /// 1 when nothing changed after it was saved last.
    Clean = 5,
    /// 1 when it comes from a disk, and more was published than that had.
    Lost = 6,
    /// The head.
    Head = 8,
    /// See the field of that name in the sequencer.
    Watermark = 9,
    /// 1 while an operation is under way.
    Busy = 16,
    /// Of the last operation: the head before it.
    Before = 17,
    /// Of the last operation that a client asked for: its number, where the call lies in its ring, which part of it.
    Client = 18,
    Call = 19,
    Part = 20,
}

/// Which of the two logs a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Messages, in position order.
    Messages = 0,
    /// Channels and keys.
    Registry = 1,
}

/// A run of pages that nobody else has.
pub(crate) struct Extent {
    region: Arc<Region>,
    span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    page: u32,
    pages: u32,
}

/// An extent that was in use when the last hub ended.
pub(crate) struct Found {
    pub(crate) class: Class,
    pub(crate) number: u32,
    pub(crate) extent: Extent,
}

/// The mapped journal. See the module.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    layout: Layout,
    /// Where the extents begin.
    data: usize,
    /// Where each set of bits begins, in the order of [`Bits`].
    bits: [usize; 2],
    pages: u32,
    free: Mutex<Free>,
    /// Bytes of `Free::kept`, for those who ask all the time.
    kept: AtomicUsize,
    /// Whether changes are noted, for a disk.
    tracked: bool,
    changed: AtomicBool,
    /// Page 0, which changes several times with each message, is among that.
    words_changed: AtomicBool,
    /// The system had no page left.
    exhausted: AtomicBool,
    file: OwnedFd,
}

#[derive(Default)]
struct Free {
    /// Holes, by their first page.
    holes: BTreeMap<u32, u32>,
    kept: Vec<Span>,
    /// What became a hole since the disk was told.
    freed: Vec<Span>,
}

/// How the file is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Pages for extents.
    pages: u32,
}

impl Layout {
    pub(crate) fn for_memory(memory_limit: u64) -> Self {
        let pages = memory_limit.saturating_mul(2).saturating_add(SCATTER).div_ceil(PAGE as u64);
        Self { pages: u32::try_from(pages).unwrap_or(u32::MAX / 2) }
    }

    /// A small one, whose pages a test can look at one by one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn small() -> Self {
        Self { pages: 1024 }
    }

    pub(crate) fn larger(self, other: Self) -> Self {
        Self { pages: self.pages.max(other.pages) }
    }

    fn map_pages(self) -> usize {
        (self.pages as usize).div_ceil(PAGE / 8)
    }

    /// Where the extents begin.
    pub(crate) fn data(self) -> u64 {
        (1 + self.map_pages()) as u64 * PAGE as u64
    }

    /// Pages that are kept on a disk.
    fn saved_pages(self) -> usize {
        1 + self.map_pages() + self.pages as usize
    }

    /// Pages of one set of bits.
    fn bit_pages(self) -> usize {
        self.saved_pages().div_ceil(PAGE * 8)
    }

    /// Bytes that are kept on a disk.
    pub(crate) fn saved(self) -> u64 {
        self.saved_pages() as u64 * PAGE as u64
    }

    /// Bytes of the file.
    pub(crate) fn all(self) -> u64 {
        self.saved() + 2 * self.bit_pages() as u64 * PAGE as u64
    }
}

/// What page 0 of a journal says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) layout: Layout,
    pub(crate) id: u64,
    pub(crate) sequence: u64,
    pub(crate) clean: bool,
}

impl Header {
    /// Reads it.
    ///
    /// # Errors
    /// It is no journal, or one of another version, or cannot be read.
    pub(crate) fn read(file: impl AsFd) -> io::Result<Self> {
        let mut bytes = [0; 64];
        let length = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes, 0))?;
        let (words, _) = bytes.as_chunks();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        if length < bytes.len() || word(0) != MAGIC {
            return Err(invalid("it is no journal"));
        }
        if word(1) != VERSION {
            return Err(invalid(&format!("it has the format of version {}, and this hub writes {VERSION}", word(1))));
        }
        let of = |name: Word| word(name as usize);
        let pages = u32::try_from(of(Word::Pages)).ok().filter(|pages| (1..=u32::MAX / 2).contains(pages));
        let pages = pages.ok_or_else(|| invalid("it has an impossible size"))?;
        Ok(Self {
            layout: Layout { pages },
            id: of(Word::Id),
            sequence: of(Word::Sequence),
            clean: of(Word::Clean) != 0,
        })
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

// SAFETY: the memory is reached through `word`, which is atomic, and through extents, of which each has pages of its own.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// A new journal for a hub with this `memory_limit`, to be given to [`Region::open`] by this hub and those after it.
///
/// # Errors
/// The system's, when it has no descriptor left.
pub(crate) fn create(memory_limit: u64) -> io::Result<OwnedFd> {
    create_with(Layout::for_memory(memory_limit))
}

pub(crate) fn create_with(layout: Layout) -> io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create(c"push-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    rustix::fs::ftruncate(&file, layout.all())?;
    begin(&file, layout, 0)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// How long a hub waits for the one before it, which may be about to end.
const LOCK: Duration = Duration::from_secs(5);

/// Sees to it that nobody else writes to the journal as long as this process lives, or until it closes the file. A lock of the
/// process, not of the descriptor: keeper and hub hold the same one.
fn lock(file: &OwnedFd, alive: &dyn Fn()) -> io::Result<()> {
    let deadline = Instant::now() + LOCK;
    loop {
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS | Errno::AGAIN) if Instant::now() < deadline => {
                alive();
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::ACCESS | Errno::AGAIN) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another hub writes to the journal"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether no hub writes to the journal. For a keeper, which does not either.
pub(crate) fn is_free(file: &OwnedFd) -> bool {
    let free = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if free {
        let _ = fcntl_lock(file, FlockOperation::Unlock);
    }
    free
}

/// The largest `memory_limit` that the journal has addresses for. It was made for half of it, but messages need not be
/// scattered so much.
pub(crate) fn most_memory(file: impl AsFd) -> io::Result<u64> {
    let Layout { pages } = Header::read(file)?.layout;
    Ok((u64::from(pages) * PAGE as u64).saturating_sub(SCATTER))
}

/// Makes an empty file a journal without extents.
pub(crate) fn begin(file: impl AsFd, layout: Layout, id: u64) -> io::Result<()> {
    let words = [MAGIC, VERSION, u64::from(layout.pages), id];
    write_all(file, words.map(u64::to_le_bytes).as_flattened(), 0)
}

/// Sets one word of page 0 in a file that nobody maps.
pub(crate) fn set(file: impl AsFd, word: Word, value: u64) -> io::Result<()> {
    write_all(file, &value.to_le_bytes(), word as u64 * 8)
}

/// Puts page 0, the map and all extents of a journal into another file, whose layout has as many pages or more. Both may
/// be on a disk or a tmpfs. `reserve` says to have all of its pages before the first is written.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd, layout: Layout) -> io::Result<()> {
    let old = Header::read(&from)?.layout;
    let Map { extents, damage } = Map::read(&from, old)?;
    let place = |layout: Layout, page: u32| layout.data() + u64::from(page) * PAGE as u64;
    let entry_of = |page: u32| (PAGE + page as usize * 8) as u64;
    for (span, _) in &extents {
        reserve(&to, place(layout, span.page), span.bytes() as u64)?;
    }
    let mut buffer = vec![0; 1 << 20];
    for (span, entry) in &extents {
        let mut done = 0;
        while done < span.bytes() {
            let part = &mut buffer[..(span.bytes() - done).min(1 << 20)];
            // A hole at the end of a file that was never written there.
            let length = rustix::io::retry_on_intr(|| {
                rustix::io::pread(&from, &mut *part, place(old, span.page) + done as u64)
            })?;
            if length == 0 {
                break;
            }
            write_all(&to, &part[..length], place(layout, span.page) + done as u64)?;
            done += length;
        }
        write_all(&to, &entry.to_le_bytes(), entry_of(span.page))?;
    }
    // Which is impossible in any layout: whoever opens the copy is to know.
    for page in damage {
        write_all(&to, &1_u64.to_le_bytes(), entry_of(page))?;
    }
    let page = &mut buffer[..PAGE];
    let length = rustix::io::retry_on_intr(|| rustix::io::pread(&from, &mut *page, 0))?;
    write_all(&to, &page[..length], 0)?;
    set(&to, Word::Pages, layout.pages.into())
}

/// A journal in memory with room for this `memory_limit`: the same one, or a larger one that has all of it. Nobody may write
/// to it meanwhile.
pub(crate) fn for_limit(file: OwnedFd, memory_limit: u64) -> io::Result<OwnedFd> {
    let (has, wanted) = (Header::read(&file)?.layout, Layout::for_memory(memory_limit));
    if has.larger(wanted) == has {
        return Ok(file);
    }
    let larger = create(memory_limit)?;
    copy(&file, &larger, wanted)?;
    Ok(larger)
}

/// Has the system set these pages of the file aside, so that a full disk or memory is an error here and nowhere later.
pub(crate) fn reserve(file: impl AsFd, at: u64, length: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| fallocate(&file, FallocateFlags::empty(), at, length)) {
        // Such file systems say it when they are written to.
        Err(Errno::OPNOTSUPP) => Ok(()),
        done => Ok(done?),
    }
}

pub(crate) fn write_all(file: impl AsFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, bytes, at))?;
        if length == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        (bytes, at) = (&bytes[length..], at + length as u64);
    }
    Ok(())
}

/// What the map says.
struct Map {
    /// With their words, in order; none reaches into the next.
    extents: Vec<(Span, u64)>,
    /// Pages whose words are of no extent that there can be.
    damage: Vec<u32>,
}

impl Map {
    fn read(file: impl AsFd, layout: Layout) -> io::Result<Self> {
        let (mut extents, mut damage, mut end) = (Vec::new(), Vec::new(), 0);
        for (page, entry) in entries(file, layout)? {
            match Span::of(page, entry, layout).filter(|_| page >= end) {
                Some(span) => {
                    end = page + span.pages;
                    extents.push((span, entry));
                }
                None => damage.push(page),
            }
        }
        Ok(Self { extents, damage })
    }
}

/// The words of the map that are not 0, by page. Read instead of looked at: mapped, holes would come into being.
fn entries(file: impl AsFd, layout: Layout) -> io::Result<Vec<(u32, u64)>> {
    let mut found = Vec::new();
    let mut bytes = [0; PAGE];
    let mut at = PAGE as u64;
    let end = layout.data();
    loop {
        // To the next page that is there; ENXIO behind the last one.
        at = match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) if data < end => data / PAGE as u64 * PAGE as u64,
            Ok(_) | Err(Errno::NXIO) => return Ok(found),
            Err(error) => return Err(error.into()),
        };
        if rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes, at))? < PAGE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let first = ((at as usize - PAGE) / 8) as u32;
        let (words, _) = bytes.as_chunks();
        let entries = (first..layout.pages).zip(words).map(|(page, word)| (page, u64::from_le_bytes(*word)));
        found.extend(entries.filter(|(_, entry)| *entry != 0));
        at += PAGE as u64;
    }
}

impl Region {
    /// Maps the journal and says what is in use in it, in no order. `tracked` has changes noted for a disk. The flag says that
    /// something was damaged, so that messages may be missing. `alive` is called as long as this waits.
    ///
    /// # Errors
    /// It is no journal, or the system refuses.
    pub(crate) fn open(file: OwnedFd, tracked: bool, alive: &dyn Fn()) -> io::Result<(Arc<Self>, Vec<Found>, bool)> {
        lock(&file, alive)?;
        let stat = rustix::fs::fstat(&file)?;
        let sealed =
            rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK | SealFlags::GROW));
        // One with a name cannot be sealed; nobody else may open it.
        let own = stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o077 == 0;
        if !sealed && !own {
            return Err(invalid("the journal may change its size"));
        }
        let layout = Header::read(&file)?.layout;
        if u64::try_from(stat.st_size) != Ok(layout.all()) {
            return Err(invalid("the journal has an impossible size"));
        }
        let len = usize::try_from(layout.all()).map_err(|_| invalid("the journal is too large for this machine"))?;
        // SAFETY: a new mapping at a place the kernel chooses touches no memory of ours.
        let base = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file.as_fd(), 0)
        }?;
        let base = NonNull::new(base.cast::<u8>()).expect("a mapping is not at 0");
        let region = Arc::new(Self {
            base,
            len,
            layout,
            data: layout.data() as usize,
            bits: [0, layout.bit_pages() * PAGE].map(|from| layout.saved() as usize + from),
            pages: layout.pages,
            free: Mutex::default(),
            kept: AtomicUsize::new(0),
            tracked,
            changed: AtomicBool::new(false),
            words_changed: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            file,
        });
        // SAFETY: the range is the mapping just made. A child of this process must not share the pages: it would write
        // into the hub's journal.
        unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) }?;
        let (found, damaged) = region.find()?;
        if tracked {
            region.not_saved();
        }
        Ok((region, found, damaged))
    }

    /// Reads the map, and makes holes of all that is not in use: what stands there could be taken for records later.
    fn find(self: &Arc<Self>) -> io::Result<(Vec<Found>, bool)> {
        let Map { extents, damage } = Map::read(&self.file, self.layout)?;
        damage.iter().for_each(|page| self.set_entry(*page, 0));
        let (mut found, mut end) = (Vec::new(), 0);
        for (span, entry) in extents {
            self.make_hole(Span { page: end, pages: span.page - end });
            end = span.page + span.pages;
            let class = if entry >> 32 & 1 == 0 { Class::Messages } else { Class::Registry };
            let extent = Extent { region: self.clone(), span };
            found.push(Found { class, number: entry as u32, extent });
        }
        self.make_hole(Span { page: end, pages: self.pages - end });
        Ok((found, !damage.is_empty()))
    }

    fn lock(&self) -> MutexGuard<'_, Free> {
        self.free.lock().expect("its holders do not panic")
    }

    /// Pages for at least `bytes`, which are no segment yet: [`Extent::commit`] makes them one.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Option<Extent> {
        let pages = u32::try_from(bytes.div_ceil(PAGE)).ok()?.max(1);
        let mut free = self.lock();
        let span = match free.kept.iter().position(|span| span.pages == pages) {
            Some(index) => {
                let span = free.kept.swap_remove(index);
                self.kept.fetch_sub(span.bytes(), Ordering::Relaxed);
                span
            }
            None => {
                let (page, hole) =
                    free.holes.iter().find(|(_, hole)| **hole >= pages).map(|(page, hole)| (*page, *hole))?;
                let span = Span { page, pages };
                let at = self.data as u64 + u64::from(page) * PAGE as u64;
                if let Err(error) = reserve(&self.file, at, span.bytes() as u64) {
                    if !self.exhausted.swap(true, Ordering::Relaxed) {
                        tracing::error!(
                            "the memory of the journal: {error}: stored messages go before memory_limit is reached; make \
                             room in {}, or lower memory_limit",
                            crate::store::LIVE
                        );
                    }
                    return None;
                }
                self.exhausted.store(false, Ordering::Relaxed);
                free.holes.remove(&page);
                if hole > pages {
                    free.holes.insert(page + pages, hole - pages);
                }
                // One call instead of a fault for each page; kernels before 5.14 do not know it, and fault.
                // SAFETY: the pages are in the mapping, and nobody has them.
                let _ = unsafe { madvise(self.start(span).cast(), span.bytes(), Advice::LinuxPopulateWrite) };
                span
            }
        };
        Some(Extent { region: self.clone(), span })
    }

    /// Bytes of extents that it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.pages as usize * PAGE
    }

    /// Whether an extent of this size can be had, which is kept for that. Only when addresses are scattered badly, or the
    /// tmpfs is full, it cannot.
    pub(crate) fn has_place(self: &Arc<Self>, bytes: usize) -> bool {
        if self.keeps(bytes) {
            return true;
        }
        let Some(Extent { span, .. }) = self.allocate(bytes) else { return false };
        self.lock().kept.push(span);
        self.kept.fetch_add(span.bytes(), Ordering::Relaxed);
        true
    }

    /// Bytes of pages that are kept for the next extents.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether an extent of this size would get kept pages.
    pub(crate) fn keeps(&self, bytes: usize) -> bool {
        let pages = bytes.div_ceil(PAGE) as u32;
        self.lock().kept.iter().any(|span| span.pages == pages)
    }

    /// Gives kept pages back to the system; false when there were none.
    pub(crate) fn give_back(&self) -> bool {
        let kept = std::mem::take(&mut self.lock().kept);
        self.kept.store(0, Ordering::Relaxed);
        kept.iter().for_each(|span| self.make_hole(*span));
        !kept.is_empty()
    }

    fn make_hole(&self, span: Span) {
        if span.pages == 0 {
            return;
        }
        // SAFETY: the pages are in the mapping, and nobody has them.
        let _ = unsafe { madvise(self.start(span).cast(), span.bytes(), Advice::LinuxRemove) };
        let Span { mut page, mut pages } = span;
        let mut free = self.lock();
        if self.tracked {
            self.saved_page(span).for_each(|page| self.bit(page, Bits::Changed).clear());
            // Once they are very many: all that is a hole then.
            if free.freed.len() == MOST_FREED {
                free.freed = vec![Span { page: 0, pages: self.pages }];
            }
            free.freed.push(span);
        }
        if let Some((before, length)) = free.holes.range(..page).next_back().map(|(page, length)| (*page, *length))
            && before + length == page
        {
            free.holes.remove(&before);
            (page, pages) = (before, pages + length);
        }
        if let Some(length) = free.holes.remove(&(page + pages)) {
            pages += length;
        }
        free.holes.insert(page, pages);
    }

    pub(crate) fn load(&self, word: Word) -> u64 {
        self.at(word as usize * 8).load(Ordering::Relaxed)
    }

    /// Stores the word after everything that this thread has stored before, as far as the next hub can see it.
    pub(crate) fn store(&self, word: Word, value: u64) {
        if self.tracked && !self.words_changed.load(Ordering::Relaxed) {
            self.mark(0..1);
            self.words_changed.store(true, Ordering::Relaxed);
        }
        self.at(word as usize * 8).store(value, Ordering::Release);
    }

    fn set_entry(&self, page: u32, entry: u64) {
        let offset = PAGE + page as usize * 8;
        self.mark(offset / PAGE..offset / PAGE + 1);
        self.at(offset).store(entry, Ordering::Release);
    }

    /// A word before or behind the extents.
    fn at(&self, offset: usize) -> &AtomicU64 {
        let outside = offset < self.data || (self.bits[0]..self.len).contains(&offset);
        assert!(offset.is_multiple_of(8) && outside);
        // SAFETY: mapped and aligned, checked above; this part of the mapping is reached in no other way.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
    }

    /// The pages of a span, as the disk numbers them.
    fn saved_page(&self, span: Span) -> Range<usize> {
        let first = self.data / PAGE + span.page as usize;
        first..first + span.pages as usize
    }

    fn bit(&self, page: usize, of: Bits) -> Bit<'_> {
        Bit { word: self.at(self.bits[of as usize] + page / 64 * 8), mask: 1 << (page % 64) }
    }

    /// These pages change. Said before they do; who takes them is not in the critical section at that time.
    fn mark(&self, pages: Range<usize>) {
        if !self.tracked {
            return;
        }
        pages.for_each(|page| self.bit(page, Bits::Changed).set());
        if !self.changed.load(Ordering::Relaxed) {
            self.changed.store(true, Ordering::Relaxed);
        }
    }

    /// Whether anything is to be saved.
    pub(crate) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    pub(crate) fn header(&self) -> Header {
        Header {
            layout: self.layout,
            id: self.load(Word::Id),
            sequence: self.load(Word::Sequence),
            clean: self.load(Word::Clean) != 0,
        }
    }

    /// Appends what changed since the last time, as numbers of pages in order; it is taken from now on. Only inside of the
    /// critical section, as all that follows.
    pub(crate) fn take_changed(&self, pages: &mut Vec<u32>) {
        self.changed.store(false, Ordering::Relaxed);
        self.words_changed.store(false, Ordering::Relaxed);
        for at in 0..self.layout.saved_pages().div_ceil(64) {
            let changed = self.at(self.bits[Bits::Changed as usize] + at * 8);
            let mut bits = changed.load(Ordering::Relaxed);
            if bits == 0 {
                continue;
            }
            // In this order: a hub that is killed in between leaves them twice.
            self.at(self.bits[Bits::Taken as usize] + at * 8).fetch_or(bits, Ordering::Relaxed);
            changed.store(0, Ordering::Release);
            while bits != 0 {
                pages.push((at * 64) as u32 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
    }

    /// What was taken is on the disk.
    pub(crate) fn saved(&self) {
        for at in 0..self.layout.saved_pages().div_ceil(64) {
            let word = self.at(self.bits[Bits::Taken as usize] + at * 8);
            // To read a hole costs nothing, to write one a page.
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// What was taken has not come to the disk, and what became a hole may still take room there.
    pub(crate) fn not_saved(&self) {
        self.lock().freed = vec![Span { page: 0, pages: self.pages }];
        for at in 0..self.layout.saved_pages().div_ceil(64) {
            let taken = self.at(self.bits[Bits::Taken as usize] + at * 8);
            let changed = self.at(self.bits[Bits::Changed as usize] + at * 8);
            let bits = taken.load(Ordering::Relaxed);
            if bits != 0 {
                changed.fetch_or(bits, Ordering::Relaxed);
                taken.store(0, Ordering::Release);
            }
            if bits != 0 || changed.load(Ordering::Relaxed) != 0 {
                self.changed.store(true, Ordering::Relaxed);
            }
        }
    }

    /// All that is in use is to be saved, because the disk has nothing of it.
    pub(crate) fn change_all(&self) -> io::Result<()> {
        self.mark(0..1);
        for (span, _) in Map::read(&self.file, self.layout)?.extents {
            let map = (PAGE + span.page as usize * 8) / PAGE;
            self.mark(map..map + 1);
            self.mark(self.saved_page(span));
        }
        Ok(())
    }

    /// Reads pages as they are now: those in use change meanwhile, outside of the critical section.
    pub(crate) fn read(&self, first: u32, bytes: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let at = u64::from(first) * PAGE as u64 + done as u64;
            // By the system, because a reference to memory that changes is none that Rust allows.
            match rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut bytes[done..], at))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => done += length,
            }
        }
        Ok(())
    }

    /// What became a hole since the last time and still is one, as bytes of the file.
    pub(crate) fn take_freed(&self) -> Vec<Range<u64>> {
        let mut free = self.lock();
        let freed = std::mem::take(&mut free.freed);
        let mut ranges = Vec::new();
        for Span { page, pages } in freed {
            let before = free.holes.range(..=page).next_back();
            let holes = before.into_iter().chain(free.holes.range(page + 1..page + pages));
            for (hole, length) in holes {
                let (from, to) = ((*hole).max(page), (hole + length).min(page + pages));
                if from < to {
                    let at = |page: u32| self.data as u64 + u64::from(page) * PAGE as u64;
                    ranges.push(at(from)..at(to));
                }
            }
        }
        ranges
    }

    fn start(&self, span: Span) -> *mut u8 {
        let offset = self.data + span.page as usize * PAGE;
        assert!(offset + span.bytes() <= self.len);
        // SAFETY: inside of the mapping, checked above.
        unsafe { self.base.add(offset).as_ptr() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `open` with this length; extents, which reach into it, hold a reference to it.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

impl Span {
    /// The one that a word of the map tells of, if it is possible.
    fn of(page: u32, entry: u64, layout: Layout) -> Option<Self> {
        let pages = (entry >> 33) as u32;
        (pages > 0 && page < layout.pages && pages <= layout.pages - page).then_some(Self { page, pages })
    }

    fn bytes(self) -> usize {
        self.pages as usize * PAGE
    }
}

/// The two sets of bits.
#[derive(Clone, Copy)]
enum Bits {
    Changed = 0,
    Taken = 1,
}

struct Bit<'a> {
    word: &'a AtomicU64,
    mask: u64,
}

impl Bit<'_> {
    // Looked at first: most are as they shall be, and holes of the bits stay holes.
    fn set(&self) {
        if self.word.load(Ordering::Relaxed) & self.mask == 0 {
            self.word.fetch_or(self.mask, Ordering::Release);
        }
    }

    fn clear(&self) {
        if self.word.load(Ordering::Relaxed) & self.mask != 0 {
            self.word.fetch_and(!self.mask, Ordering::Release);
        }
    }
}

impl Extent {
    /// From here on the next hub will find it as this segment, with all that was written to it.
    pub(crate) fn commit(&self, class: Class, number: u32) {
        let entry = u64::from(number) | (class as u64) << 32 | u64::from(self.span.pages) << 33;
        self.region.set_entry(self.span.page, entry);
    }

    /// Bytes that are about to change.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.span.bytes());
        let first = self.region.data / PAGE + self.span.page as usize;
        self.region.mark(first + range.start / PAGE..first + range.end.div_ceil(PAGE));
        // SAFETY: as in `deref`, and this is the only reference to the only owner. The range is inside, checked above.
        unsafe { slice::from_raw_parts_mut(self.region.start(self.span).add(range.start), range.len()) }
    }

    /// Ends it. Dropped instead, it stays in use.
    pub(crate) fn free(self) {
        let Self { region, span } = &self;
        region.set_entry(span.page, 0);
        let mut free = region.lock();
        // Only what is often wanted: whole segments.
        if span.pages as usize == crate::log::SEGMENT / PAGE && free.kept.len() < KEPT {
            free.kept.push(*span);
            region.kept.fetch_add(span.bytes(), Ordering::Relaxed);
        } else {
            drop(free);
            region.make_hole(*span);
        }
    }
}

impl Deref for Extent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start` checks that the pages are mapped, which they are as long as `region` lives; they belong to this
        // extent alone. The keeper, which holds the file, never maps it, and nobody else has it. Seals keep its size, or
        // nobody else may open it.
        unsafe { slice::from_raw_parts(self.region.start(self.span), self.span.bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(file: &OwnedFd) -> (Arc<Region>, Vec<Found>, bool) {
        Region::open(file.try_clone().expect("a descriptor"), true, &|| ()).expect("a journal")
    }

    #[test]
    fn what_was_committed_is_found_again_and_the_rest_is_empty() {
        let file = create(1 << 20).expect("a memfd");
        let (region, found, damaged) = open(&file);
        assert!(found.is_empty() && !damaged);
        let mut kept = region.allocate(10_000).expect("there is room");
        assert_eq!(kept.len(), 3 * PAGE);
        kept.bytes_mut(0..4).copy_from_slice(b"kept");
        kept.commit(Class::Registry, 7);
        let mut forgotten = region.allocate(PAGE).expect("there is room");
        forgotten.bytes_mut(0..PAGE).fill(1);
        region.store(Word::Head, 5);
        drop((kept, forgotten, region));
        let (region, found, damaged) = open(&file);
        assert_eq!((found.len(), found[0].class, found[0].number, damaged), (1, Class::Registry, 7, false));
        assert_eq!((&found[0].extent[..4], region.load(Word::Head)), (&b"kept"[..], 5));
        let again = region.allocate(PAGE).expect("there is room");
        assert!(again.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn extents_never_overlap_and_holes_grow_together() {
        let (region, ..) = open(&create(1 << 20).expect("a memfd"));
        let all = region.pages;
        let mut extents: Vec<Extent> =
            (1..50).map(|pages| region.allocate(pages * PAGE).expect("there is room")).collect();
        for (number, extent) in extents.iter_mut().enumerate() {
            let all = 0..extent.len();
            extent.bytes_mut(all).fill(number as u8);
        }
        assert!(extents.iter().enumerate().all(|(number, extent)| extent.iter().all(|byte| *byte == number as u8)));
        while extents.len() > 1 {
            extents.swap_remove(extents.len() / 2).free();
        }
        extents.into_iter().for_each(Extent::free);
        region.give_back();
        assert_eq!(region.lock().holes, BTreeMap::from([(0, all)]));
        assert!(region.allocate(all as usize * PAGE + 1).is_none());
    }

    #[test]
    fn a_damaged_map_is_noticed() {
        let file = create(1 << 20).expect("a memfd");
        let (region, ..) = open(&file);
        let extent = region.allocate(4 * PAGE).expect("there is room");
        extent.commit(Class::Messages, 1);
        // Inside of the first, beyond the end, without pages.
        for (page, pages) in [(1, 1), (region.pages - 1, 2), (100, 0), (200, u64::MAX >> 33)] {
            region.set_entry(page, 1 | pages << 33);
        }
        drop((extent, region));
        let (_region, found, damaged) = open(&file);
        assert_eq!((found.len(), found[0].extent.len(), damaged), (1, 4 * PAGE, true));
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let file = create(1 << 20).expect("a memfd");
        rustix::io::pwrite(&file, b"something else", 0).expect("a memfd");
        assert!(Region::open(file, false, &|| ()).is_err());
        assert!(Region::open(crate::process::sealed(c"empty", b"").expect("a memfd"), false, &|| ()).is_err());
    }
}
