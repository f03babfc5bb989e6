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
//! pages 1..   the map: 8 bytes for each page of the rest; that of an extent's first page says which segment it is and how
//!             many pages it has, all others are 0. Storing that word is what makes or ends an extent.
//! the rest    extents, and holes that take no memory
//! ```

use std::collections::BTreeMap;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, MemfdFlags, SealFlags, SeekFrom, fcntl_lock};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// What memory is given out and back in.
pub(crate) const PAGE: usize = 4096;
const MAGIC: u64 = u64::from_le_bytes(*b"pushjrnl");
const VERSION: u64 = 1;
/// Extents that keep their memory for the next one of the same size: a log that is written and evicted all the time would
/// else give pages back to the system and fetch them again.
const KEPT: usize = 4;
/// What may be scattered beyond `memory_limit` before an extent finds no place: addresses cost nothing.
const SCATTER: u64 = 128 << 20;

/// The words of page 0 that others use, each for itself whole after a kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
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
    /// Where the extents begin.
    data: usize,
    pages: u32,
    free: Mutex<Free>,
    /// Bytes of `Free::kept`, for those who ask all the time.
    kept: AtomicUsize,
    file: OwnedFd,
}

#[derive(Default)]
struct Free {
    /// Holes, by their first page.
    holes: BTreeMap<u32, u32>,
    kept: Vec<Span>,
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
    let file = rustix::fs::memfd_create(c"push-journal", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let pages = (memory_limit.saturating_mul(2).saturating_add(SCATTER)).div_ceil(PAGE as u64);
    rustix::fs::ftruncate(&file, (1 + pages.div_ceil(512) + pages) * PAGE as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(file)
}

/// How long a hub waits for the one before it, which may be about to end.
const LOCK: Duration = Duration::from_secs(5);

/// Sees to it that nobody else writes to the journal as long as this process lives, or until it closes the file. A lock of the
/// process, not of the descriptor: keeper and hub hold the same one.
fn lock(file: &OwnedFd) -> io::Result<()> {
    let deadline = Instant::now() + LOCK;
    loop {
        match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS | Errno::AGAIN) if Instant::now() < deadline => {
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

impl Region {
    /// Maps the journal and says what is in use in it, in no order. A new one is made ready. The flag says that something
    /// was damaged, so that messages may be missing.
    ///
    /// # Errors
    /// It is no journal, or the system refuses.
    pub(crate) fn open(file: OwnedFd) -> io::Result<(Arc<Self>, Vec<Found>, bool)> {
        let no_journal = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        lock(&file)?;
        if !rustix::fs::fcntl_get_seals(&file)?.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(no_journal("the journal may change its size"));
        }
        let len = usize::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        // One page of the map for 512 pages.
        let after_header = (len / PAGE).saturating_sub(1);
        let map_pages = after_header.div_ceil(513);
        let pages = u32::try_from(after_header - map_pages).unwrap_or(0);
        if pages == 0 {
            return Err(no_journal("the journal has an impossible size"));
        }
        // SAFETY: a new mapping at a place the kernel chooses touches no memory of ours.
        let base = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file.as_fd(), 0)
        }?;
        let base = NonNull::new(base.cast::<u8>()).expect("a mapping is not at 0");
        let data = (1 + map_pages) * PAGE;
        let region = Arc::new(Self { base, len, data, pages, free: Mutex::default(), kept: AtomicUsize::new(0), file });
        // SAFETY: the range is the mapping just made. A child of this process must not share the pages: it would write
        // into the hub's journal.
        unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxDontFork) }?;
        let (magic, version) = (region.at(0), region.at(8));
        match (magic.load(Ordering::Relaxed), version.load(Ordering::Relaxed)) {
            (MAGIC, VERSION) => {}
            (0, 0) => {
                version.store(VERSION, Ordering::Relaxed);
                magic.store(MAGIC, Ordering::Relaxed);
            }
            _ => return Err(no_journal("the journal is of another version")),
        }
        let (found, damaged) = region.find(map_pages)?;
        Ok((region, found, damaged))
    }

    /// Reads the map, and makes holes of all that is not in use: what stands there could be taken for records later.
    fn find(self: &Arc<Self>, map_pages: usize) -> io::Result<(Vec<Found>, bool)> {
        let (mut found, mut damaged, mut end) = (Vec::new(), false, 0);
        for (page, entry) in self.entries(map_pages)? {
            let pages = (entry >> 33) as u32;
            if page < end || pages == 0 || pages > self.pages - page {
                self.entry(page).store(0, Ordering::Relaxed);
                damaged = true;
                continue;
            }
            self.make_hole(Span { page: end, pages: page - end });
            end = page + pages;
            let class = if entry >> 32 & 1 == 0 { Class::Messages } else { Class::Registry };
            let extent = Extent { region: self.clone(), span: Span { page, pages } };
            found.push(Found { class, number: entry as u32, extent });
        }
        self.make_hole(Span { page: end, pages: self.pages - end });
        Ok((found, damaged))
    }

    /// The words of the map that are not 0, by page. Read instead of looked at: mapped, holes would come into being.
    fn entries(&self, map_pages: usize) -> io::Result<Vec<(u32, u64)>> {
        let mut found = Vec::new();
        let mut bytes = [0; PAGE];
        let mut at = PAGE as u64;
        let end = ((1 + map_pages) * PAGE) as u64;
        loop {
            // To the next page that is there; ENXIO behind the last one.
            at = match rustix::fs::seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) if data < end => data / PAGE as u64 * PAGE as u64,
                Ok(_) | Err(Errno::NXIO) => return Ok(found),
                Err(error) => return Err(error.into()),
            };
            if rustix::io::retry_on_intr(|| rustix::io::pread(&self.file, &mut bytes, at))? < PAGE {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let first = ((at as usize - PAGE) / 8) as u32;
            let (words, _) = bytes.as_chunks();
            let entries = (first..self.pages).zip(words).map(|(page, word)| (page, u64::from_le_bytes(*word)));
            found.extend(entries.filter(|(_, entry)| *entry != 0));
            at += PAGE as u64;
        }
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
                free.holes.remove(&page);
                if hole > pages {
                    free.holes.insert(page + pages, hole - pages);
                }
                let span = Span { page, pages };
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

    /// Whether there is a place for an extent of this size. Only when addresses are scattered badly there is none.
    pub(crate) fn has_place(&self, bytes: usize) -> bool {
        let pages = bytes.div_ceil(PAGE) as u32;
        let free = self.lock();
        free.kept.iter().any(|span| span.pages == pages) || free.holes.values().any(|hole| *hole >= pages)
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
        self.at(word as usize * 8).store(value, Ordering::Release);
    }

    fn entry(&self, page: u32) -> &AtomicU64 {
        self.at(PAGE + page as usize * 8)
    }

    /// A word before the extents.
    fn at(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.data);
        // SAFETY: mapped and aligned, checked above; this part of the mapping is reached in no other way.
        unsafe { self.base.add(offset).cast::<AtomicU64>().as_ref() }
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
    fn bytes(self) -> usize {
        self.pages as usize * PAGE
    }
}

impl Extent {
    /// From here on the next hub will find it as this segment, with all that was written to it.
    pub(crate) fn commit(&self, class: Class, number: u32) {
        let entry = u64::from(number) | (class as u64) << 32 | u64::from(self.span.pages) << 33;
        self.region.entry(self.span.page).store(entry, Ordering::Release);
    }

    /// Ends it. Dropped instead, it stays in use.
    pub(crate) fn free(self) {
        let Self { region, span } = &self;
        region.entry(span.page).store(0, Ordering::Release);
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
        // extent alone. The keeper, which holds the file, never maps it, and nobody else has it. The seals keep its size.
        unsafe { slice::from_raw_parts(self.region.start(self.span), self.span.bytes()) }
    }
}

impl DerefMut for Extent {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and this is the only reference to the only owner.
        unsafe { slice::from_raw_parts_mut(self.region.start(self.span), self.span.bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(file: &OwnedFd) -> (Arc<Region>, Vec<Found>, bool) {
        Region::open(file.try_clone().expect("a descriptor")).expect("a journal")
    }

    #[test]
    fn what_was_committed_is_found_again_and_the_rest_is_empty() {
        let file = create(1 << 20).expect("a memfd");
        let (region, found, damaged) = open(&file);
        assert!(found.is_empty() && !damaged);
        let mut kept = region.allocate(10_000).expect("there is room");
        assert_eq!(kept.len(), 3 * PAGE);
        kept[..4].copy_from_slice(b"kept");
        kept.commit(Class::Registry, 7);
        let mut forgotten = region.allocate(PAGE).expect("there is room");
        forgotten.fill(1);
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
            extent.fill(number as u8);
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
            region.entry(page).store(1 | pages << 33, Ordering::Relaxed);
        }
        drop((extent, region));
        let (_region, found, damaged) = open(&file);
        assert_eq!((found.len(), found[0].extent.len(), damaged), (1, 4 * PAGE, true));
    }

    #[test]
    fn what_is_no_journal_is_refused() {
        let file = create(1 << 20).expect("a memfd");
        rustix::io::pwrite(&file, b"something else", 0).expect("a memfd");
        assert!(Region::open(file).is_err());
        assert!(Region::open(crate::process::sealed(c"empty", b"").expect("a memfd")).is_err());
    }
}
