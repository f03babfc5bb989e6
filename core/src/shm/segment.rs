//! The shared memory of one client: made and sealed by the client, checked and mapped by the hub.
//!
//! Promises its neighbours a slice of atomic words that stays mapped, at its full length, as long as the [`Segment`]
//! lives: the seals forbid the file to shrink, so that no access can fault. A forked child does not have the mapping;
//! [`Segment::is_ours`] says so before anybody touches it.

use std::ffi::{CStr, c_void};
use std::fmt;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{self, MemfdFlags, SealFlags};
use rustix::io::{self, Errno};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};

use super::ring::{CONTROL_WORDS, Layout};

const MAGIC: u64 = u64::from_ne_bytes(*b"pushring");
const VERSION: u64 = 1;
const WORD: usize = size_of::<AtomicU64>();
/// Rings begin here; the words before are drawn in the module above.
const HEADER: usize = 4096;
const LABEL: usize = 32 / WORD;
const CONTROL: usize = 128 / WORD;
const KEY: usize = 896 / WORD;
const PROGRESS: usize = 1024 / WORD;
/// Words of [`super::progress`].
pub(super) const PROGRESS_WORDS: usize = HEADER / WORD - PROGRESS;
/// The longest label.
pub const MAX_LABEL: usize = (CONTROL - LABEL - 1) * WORD;
/// The smallest ring: its frames still hold a channel name of any allowed length.
pub const MIN_RING: usize = 16 << 10;
/// The largest ring.
pub const MAX_RING: usize = 64 << 20;
/// The file keeps its length for ever.
pub(super) const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
/// `TMPFS_MAGIC` of linux/magic.h. A memfd of huge pages is another file system; it can run out of pages and fault.
const TMPFS: i64 = 0x0102_1994;

/// Why a descriptor is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a memfd, or not made by `memfd_create` with the flags we use.
    #[error("the descriptor is no memfd")]
    NotMemfd,
    /// Its owner could shrink it under us.
    #[error("the memfd is not sealed against shrinking, growing and unsealing")]
    Unsealed,
    /// Too short for what its header says, or too long.
    #[error("the memfd is {0} bytes long, which its header does not say")]
    Size(u64),
    /// Not our header, or that of another version.
    #[error("the memfd does not begin with the header of a ring, version {VERSION}")]
    Header,
    /// The kernel refused.
    #[error("the memfd cannot be mapped: {0}")]
    Kernel(#[from] Errno),
}

/// A handle to a mapped segment: all of its words.
#[derive(Clone, Debug)]
pub struct Segment {
    mapping: Arc<Mapping>,
    requests: usize,
    replies: usize,
}

impl Segment {
    /// A new segment with a request ring of at least `ring_size` bytes, and the memfd to pass on.
    ///
    /// # Errors
    /// The kernel's, when it has no descriptor or no memory.
    pub fn create(ring_size: usize) -> io::Result<(Self, OwnedFd)> {
        let requests = ring_size.clamp(MIN_RING, MAX_RING).next_power_of_two();
        // Answers are short.
        let replies = (requests / 4).max(MIN_RING);
        let memfd = memfd(c"push-ring")?;
        let len = HEADER + requests + replies;
        fs::ftruncate(&memfd, len as u64)?;
        fs::fcntl_add_seals(&memfd, SEALS)?;
        let mapping = Mapping::new(&memfd, len, Access::Both, Some(Birthmark::new()?))?;
        // SAFETY: the range is the mapping just made. A child of this process must not write into its parent's ring:
        // two producers would destroy it.
        unsafe { mm::madvise(mapping.words.as_ptr().cast(), len, Advice::LinuxDontFork)? };
        for (word, value) in mapping.words().iter().zip([MAGIC, VERSION, requests as u64, replies as u64]) {
            word.store(value, Relaxed);
        }
        Ok((Self { mapping: Arc::new(mapping), requests, replies }, memfd))
    }

    /// Bytes that adopting this descriptor would map.
    ///
    /// # Errors
    /// As [`Segment::adopt`].
    pub fn size_of(memfd: &OwnedFd) -> Result<u64, Invalid> {
        let size = sealed_size(memfd)?;
        match (HEADER + 2 * MIN_RING..=HEADER + 2 * MAX_RING).contains(&(size as usize)) {
            true => Ok(size),
            false => Err(Invalid::Size(size)),
        }
    }

    /// Maps the segment of a stranger.
    ///
    /// # Errors
    /// [`Invalid`] unless it is sealed and as long as its header says.
    pub fn adopt(memfd: &OwnedFd) -> Result<Self, Invalid> {
        let size = Self::size_of(memfd)?;
        let mapping = Mapping::new(memfd, size as usize, Access::Both, None)?;
        let mut header = mapping.words().iter().map(|word| word.load(Relaxed));
        if header.next() != Some(MAGIC) || header.next() != Some(VERSION) {
            return Err(Invalid::Header);
        }
        // Each is read once; from here on our own copies count.
        let mut capacity = || {
            let bytes = usize::try_from(header.next()?).ok()?;
            (bytes.is_power_of_two() && (MIN_RING..=MAX_RING).contains(&bytes)).then_some(bytes)
        };
        let (requests, replies) = (capacity().ok_or(Invalid::Header)?, capacity().ok_or(Invalid::Header)?);
        if HEADER + requests + replies != mapping.len {
            return Err(Invalid::Size(size));
        }
        Ok(Self { mapping: Arc::new(mapping), requests, replies })
    }

    /// Where the requests lie.
    #[must_use]
    pub fn requests(&self) -> Layout {
        Layout { control: CONTROL, data: HEADER / WORD, capacity: self.requests }
    }

    /// Where the replies lie.
    #[must_use]
    pub fn replies(&self) -> Layout {
        Layout { control: CONTROL + CONTROL_WORDS, data: (HEADER + self.requests) / WORD, capacity: self.replies }
    }

    /// The words between control and rings; see [`super::progress`].
    pub(super) fn progress(&self) -> &[AtomicU64] {
        &self[PROGRESS..HEADER / WORD]
    }

    /// Gives the client the key to what the hub shares with it, or takes it away: two words, of which not both are 0.
    pub fn set_key(&self, key: Option<[u64; 2]>) {
        let words = key.unwrap_or_default();
        self[KEY].store(words[0], Relaxed);
        self[KEY + 1].store(words[1], Relaxed);
    }

    /// The key that the hub has given.
    #[must_use]
    pub fn key(&self) -> Option<[u64; 2]> {
        let key = [self[KEY].load(Relaxed), self[KEY + 1].load(Relaxed)];
        (key != [0; 2]).then_some(key)
    }

    /// Takes the key away by the descriptor of a segment: who does so has no part in the rings and need not map it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_key(memfd: &OwnedFd) -> io::Result<()> {
        io::pwrite(memfd, &[0; 2 * WORD], (KEY * WORD) as u64).map(drop)
    }

    /// Writes a note for the hub that will adopt the segment when this one is gone, of at most [`MAX_LABEL`] bytes.
    ///
    /// # Panics
    /// It is longer.
    pub fn set_label(&self, text: &[u8]) {
        assert!(text.len() <= MAX_LABEL);
        let words = &self[LABEL + 1..CONTROL];
        for (word, bytes) in words.iter().zip(text.chunks(WORD)) {
            let mut value = [0; WORD];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(value), Relaxed);
        }
        self[LABEL].store(text.len() as u64, Relaxed);
    }

    /// The note, which the client may have changed.
    #[must_use]
    pub fn label(&self) -> Vec<u8> {
        let len = usize::try_from(self[LABEL].load(Relaxed)).map_or(MAX_LABEL, |len| len.min(MAX_LABEL));
        let words = self[LABEL + 1..CONTROL].iter();
        let mut text: Vec<u8> = words.flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        text.truncate(len);
        text
    }

    /// Bytes of it.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.mapping.len as u64
    }

    /// False in a forked child: the segment is its parent's and must not be touched, only dropped.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.mapping.is_ours()
    }
}

impl Deref for Segment {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        self.mapping.words()
    }
}

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// A store faults.
    Read,
    Both,
}

pub(super) struct Mapping {
    words: NonNull<AtomicU64>,
    len: usize,
    /// The hub does not fork; a client may.
    birthmark: Option<Birthmark>,
}

// SAFETY: the memory is reached only as atomic words, and unmapped only by the last owner.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// The file must be sealed against shrinking, and have this length at least.
    pub(super) fn new(memfd: &OwnedFd, len: usize, access: Access, birthmark: Option<Birthmark>) -> io::Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Both => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at a place the kernel chooses touches no memory of ours.
        let address = unsafe { mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, memfd.as_fd(), 0)? };
        let words = NonNull::new(address.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { words, len, birthmark })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `new` mapped `len` bytes, readable, page-aligned; the seals keep the file that long. All access is
        // atomic. Who stores into what was mapped for reading faults and cannot do harm, and so does a forked child that
        // does not ask `is_ours` first.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len / WORD) }
    }

    fn is_ours(&self) -> bool {
        self.birthmark.as_ref().is_none_or(Birthmark::is_ours)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child other memory may be mapped at this address by now.
        if self.is_ours() {
            // SAFETY: the range is ours since `new`, and the last reference to it ends here.
            let _ = unsafe { mm::munmap(self.words.as_ptr().cast(), self.len) };
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A page that the kernel empties in every child, also in one made by a raw `clone`, which runs no `pthread_atfork`
/// handler. Looking at it costs one load; asking for the pid costs a system call.
#[derive(Debug)]
pub struct Birthmark(NonNull<AtomicU64>);

// SAFETY: the page is reached only as an atomic word, and unmapped only by its one owner.
unsafe impl Send for Birthmark {}
// SAFETY: as above.
unsafe impl Sync for Birthmark {}

impl Birthmark {
    const LEN: usize = 4096;

    /// The mark of this process.
    ///
    /// # Errors
    /// The kernel's, when it has no memory.
    pub fn new() -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place the kernel chooses touches no memory of ours.
        let address: *mut c_void =
            unsafe { mm::mmap_anonymous(ptr::null_mut(), Self::LEN, protection, MapFlags::PRIVATE)? };
        let mark = Self(NonNull::new(address.cast()).ok_or(Errno::NOMEM)?);
        // SAFETY: the range is the mapping just made.
        unsafe { mm::madvise(address, Self::LEN, Advice::LinuxWipeOnFork)? };
        mark.word().store(1, Relaxed);
        Ok(mark)
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: mapped since `new`, in children too, until `drop`.
        unsafe { self.0.as_ref() }
    }

    /// False in a forked child.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.word().load(Relaxed) == 1
    }
}

impl Drop for Birthmark {
    fn drop(&mut self) {
        // SAFETY: the range is ours since `new`, in children too.
        let _ = unsafe { mm::munmap(self.0.as_ptr().cast(), Self::LEN) };
    }
}

/// The bytes of a stranger's memfd, which can neither become fewer nor fault.
pub(super) fn sealed_size(memfd: &OwnedFd) -> Result<u64, Invalid> {
    // Nothing that the peer owns is called before the seals have proved it a memfd: a file of a user-space file system
    // could keep us waiting.
    let seals = fs::fcntl_get_seals(memfd).map_err(|_| Invalid::NotMemfd)?;
    if !seals.contains(SEALS) {
        return Err(Invalid::Unsealed);
    }
    #[allow(clippy::unnecessary_cast, reason = "its type differs between architectures")]
    if fs::fstatfs(memfd)?.f_type as i64 != TMPFS {
        return Err(Invalid::NotMemfd);
    }
    Ok(fs::fstat(memfd)?.st_size as u64)
}

/// A new memfd that can be sealed.
pub(super) fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Where `vm.memfd_noexec` is 2 only such a memfd is allowed; kernels before 6.3 do not know the flag.
    match fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        other => other,
    }
}
