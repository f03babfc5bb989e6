//! The files on the disk: the image of the journal, and the redo by which a save is all or nothing. The argument stands in
//! the module above.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fdatasync, fstat, fsync, ftruncate, rename, unlink};
use rustix::io::Errno;
use xxhash_rust::xxh3::Xxh3;

use super::saver::ROUNDS;
use super::{lock, open_own};
use crate::journal::{self, Header, Layout, PAGE, Word, reserve, write_all};

const MAGIC: u64 = u64::from_le_bytes(*b"pushredo");
/// Magic, id of the journal, number of the save, pages, checksum.
const WORDS: usize = 5;
/// Pages that are read or written at a time.
const MANY: usize = 256;
/// A redo that became larger gives its space back.
const LARGE: u64 = 64 << 20;

/// Both files, locked.
pub(super) struct Image {
    directory: PathBuf,
    file: OwnedFd,
    redo: OwnedFd,
    header: Header,
    /// Pages of the image that are known to be reserved, a bit for each.
    reserved: Vec<u64>,
    /// Bytes of the redo that are.
    room: u64,
}

/// The pages of a save, as they are collected.
pub(super) struct Batch {
    pages: Vec<u32>,
    hash: Xxh3,
}

pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("journal")
}

fn redo_path(directory: &Path) -> PathBuf {
    directory.join("journal.redo")
}

impl Image {
    /// What was saved in this directory; `None` when nothing ever was.
    ///
    /// # Errors
    /// `WouldBlock`: another hub has it. `InvalidData`: it is no image, or one of another version.
    pub(super) fn open(directory: &Path) -> io::Result<Option<Self>> {
        let file = match open_own(&path(directory), OFlags::empty()) {
            // The directory itself may be missing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                sync_directory(directory)?;
                return Ok(None);
            }
            file => file?,
        };
        lock(&file)?;
        let header = sound(&file)?;
        let redo = open_own(&redo_path(directory), OFlags::CREATE)?;
        let mut image = Self::of(directory, file, redo, header);
        image.recover()?;
        Ok(Some(image))
    }

    /// A new one with this content, or an empty one, in the place of any that is there.
    ///
    /// # Errors
    /// The system's; what is there is left then.
    pub(super) fn create(directory: &Path, layout: Layout, id: u64, from: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        let new = directory.join("journal.new");
        let made = (|| {
            remove(&new)?;
            let file = open_own(&new, OFlags::CREATE | OFlags::EXCL)?;
            lock(&file)?;
            ftruncate(&file, layout.saved())?;
            reserve(&file, 0, PAGE as u64)?;
            match from {
                None => journal::begin(&file, layout, id)?,
                Some(from) => journal::copy(from, &file, layout)?,
            }
            fsync(&file)?;
            // It belongs to the one before.
            remove(&redo_path(directory))?;
            sync_directory(directory)?;
            let redo = open_own(&redo_path(directory), OFlags::CREATE | OFlags::EXCL)?;
            rename(&new, path(directory))?;
            sync_directory(directory)?;
            let header = Header::read(&file)?;
            Ok(Self::of(directory, file, redo, header))
        })();
        if made.is_err() {
            let _ = unlink(&new);
        }
        made
    }

    fn of(directory: &Path, file: OwnedFd, redo: OwnedFd, header: Header) -> Self {
        let reserved = vec![0; (header.layout.saved() / PAGE as u64).div_ceil(64) as usize];
        Self { directory: directory.to_owned(), file, redo, header, reserved, room: 0 }
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(super) fn header(&self) -> io::Result<Header> {
        Header::read(&self.file)
    }

    /// Which journal it is of, and in which layout.
    pub(super) fn is_of(&self, journal: &Header) -> bool {
        (self.header.id, self.header.layout) == (journal.id, journal.layout)
    }

    /// The number of the last save.
    pub(super) fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// Says on the disk whether it is all there was.
    pub(super) fn set_clean(&mut self, clean: bool) -> io::Result<()> {
        if self.header.clean != clean {
            journal::set(&self.file, Word::Clean, clean.into())?;
            fdatasync(&self.file)?;
            self.header.clean = clean;
        }
        Ok(())
    }

    /// Whether both files are still those at their paths: a hub that saves to removed ones saves nothing.
    pub(super) fn check(&self) -> io::Result<()> {
        for (file, path) in [(&self.file, path(&self.directory)), (&self.redo, redo_path(&self.directory))] {
            let (ours, there) = (fstat(file)?, rustix::fs::lstat(&path)?);
            if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino) {
                return Err(io::Error::new(io::ErrorKind::NotFound, "was removed or replaced"));
            }
        }
        Ok(())
    }

    pub(super) fn begin(&self) -> Batch {
        Batch { pages: Vec::new(), hash: Xxh3::with_seed(self.header.id) }
    }

    /// Adds pages that follow each other, from the one of this number.
    pub(super) fn add(&mut self, batch: &mut Batch, first: u32, bytes: &[u8]) -> io::Result<()> {
        let at = ((1 + batch.pages.len()) * PAGE) as u64;
        self.reserve_redo(at + bytes.len() as u64)?;
        write_all(&self.redo, bytes, at)?;
        batch.hash.update(bytes);
        batch.pages.extend((first..).take(bytes.len() / PAGE));
        Ok(())
    }

    fn reserve_redo(&mut self, end: u64) -> io::Result<()> {
        if end > self.room {
            // In larger steps: each is a call.
            let end = end.next_multiple_of(64 << 10);
            reserve(&self.redo, 0, end)?;
            self.room = end;
        }
        Ok(())
    }

    /// Has the save happen: after this returns, or never. `freed` is what of the image nobody needs any more.
    ///
    /// # Errors
    /// The system's. The image is then as before, or becomes what was to be saved when it is opened the next time.
    pub(super) fn save(&mut self, batch: Batch, sequence: u64, freed: &[Range<u64>]) -> io::Result<()> {
        let pages = self.write_redo(batch, sequence)?;
        self.apply(&pages)?;
        self.header.sequence = sequence;
        for range in freed {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // It gives space back; where the file system cannot, it stays reserved.
            if fallocate(&self.file, how, range.start, range.end - range.start).is_ok() {
                let from = (range.start / PAGE as u64) as usize;
                (from..(range.end / PAGE as u64) as usize)
                    .for_each(|page| self.reserved[page / 64] &= !(1 << (page % 64)));
            }
        }
        if self.room > LARGE {
            self.forget_redo()?;
        }
        Ok(())
    }

    /// The first half of it: the redo is whole, and nothing of it in its place. Gives the numbers of the pages.
    pub(super) fn write_redo(&mut self, batch: Batch, sequence: u64) -> io::Result<Vec<u32>> {
        let Batch { pages, mut hash } = batch;
        let numbers: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        let at = ((1 + pages.len()) * PAGE) as u64;
        self.reserve_redo(at + numbers.len() as u64)?;
        self.reserve_image(&pages)?;
        write_all(&self.redo, &numbers, at)?;
        hash.update(&numbers);
        let words = [MAGIC, self.header.id, sequence, pages.len() as u64];
        hash.update(words.map(u64::to_le_bytes).as_flattened());
        let header = [words[0], words[1], words[2], words[3], hash.digest()].map(u64::to_le_bytes);
        let written = write_all(&self.redo, header.as_flattened(), 0).and_then(|()| Ok(fdatasync(&self.redo)?));
        if let Err(error) = written {
            // What the system failed to write it may forget to write, and yet show: it must not be taken for durable.
            let _ = ftruncate(&self.redo, 0).and_then(|()| unlink(redo_path(&self.directory)));
            return Err(error);
        }
        Ok(pages)
    }

    fn forget_redo(&mut self) -> io::Result<()> {
        ftruncate(&self.redo, 0)?;
        self.room = 0;
        Ok(fdatasync(&self.redo)?)
    }

    /// Every page that will be written, before the first one is.
    fn reserve_image(&mut self, pages: &[u32]) -> io::Result<()> {
        let mut missing: Vec<u32> =
            pages.iter().copied().filter(|page| self.reserved[*page as usize / 64] & 1 << (page % 64) == 0).collect();
        missing.sort_unstable();
        missing.dedup();
        for run in missing.chunk_by(|one, next| one + 1 == *next) {
            reserve(&self.file, u64::from(run[0]) * PAGE as u64, (run.len() * PAGE) as u64)?;
            run.iter().for_each(|page| self.reserved[*page as usize / 64] |= 1 << (page % 64));
        }
        Ok(())
    }

    /// Puts what stands in the redo into its places.
    fn apply(&mut self, pages: &[u32]) -> io::Result<()> {
        // The last copy of each.
        let last: HashMap<u32, usize> = pages.iter().copied().zip(1..).collect();
        let mut last: Vec<(u32, usize)> = last.into_iter().collect();
        last.sort_unstable();
        let mut bytes = vec![0; MANY * PAGE];
        for run in last.chunk_by(|one, next| one.0 + 1 == next.0 && one.1 + 1 == next.1) {
            for part in run.chunks(MANY) {
                let bytes = &mut bytes[..part.len() * PAGE];
                read_all(&self.redo, bytes, (part[0].1 * PAGE) as u64)?;
                write_all(&self.file, bytes, u64::from(part[0].0) * PAGE as u64)?;
            }
        }
        Ok(fdatasync(&self.file)?)
    }

    /// Finishes a save that was cut off, if all of it had come to the redo.
    fn recover(&mut self) -> io::Result<()> {
        if let Some(pages) = self.redo_pages()? {
            fdatasync(&self.redo)?;
            self.reserve_image(&pages)?;
            self.apply(&pages)?;
            self.header = sound(&self.file)?;
        }
        self.forget_redo()
    }

    /// The numbers of the pages in the redo, if it is whole and not older than the image.
    fn redo_pages(&self) -> io::Result<Option<Vec<u32>>> {
        let length = u64::try_from(fstat(&self.redo)?.st_size).unwrap_or(0);
        let mut header = [0; WORDS * 8];
        if length < PAGE as u64 {
            return Ok(None);
        }
        read_all(&self.redo, &mut header, 0)?;
        let (words, _) = header.as_chunks();
        let [magic, id, sequence, count, checksum] = [0, 1, 2, 3, 4].map(|at| u64::from_le_bytes(words[at]));
        let all = self.header.layout.saved() / PAGE as u64;
        // A save takes each page once in each round; more than that could also be a hole without an end.
        let fits = count <= all * (ROUNDS as u64 + 1)
            && count.checked_mul(PAGE as u64 + 4).is_some_and(|bytes| bytes <= length - PAGE as u64);
        if magic != MAGIC || id != self.header.id || sequence < self.header.sequence || !fits {
            return Ok(None);
        }
        let mut hash = Xxh3::with_seed(id);
        let mut bytes = vec![0; MANY * PAGE];
        let mut done = 0;
        while done < count {
            let part = &mut bytes[..(count - done).min(MANY as u64) as usize * PAGE];
            read_all(&self.redo, part, (1 + done) * PAGE as u64)?;
            hash.update(part);
            done += (part.len() / PAGE) as u64;
        }
        let mut numbers = vec![0; count as usize * 4];
        read_all(&self.redo, &mut numbers, (1 + count) * PAGE as u64)?;
        hash.update(&numbers);
        hash.update(&header[..(WORDS - 1) * 8]);
        let (numbers, _) = numbers.as_chunks();
        let pages: Vec<u32> = numbers.iter().map(|number| u32::from_le_bytes(*number)).collect();
        let whole = hash.digest() == checksum && pages.iter().all(|page| u64::from(*page) < all);
        Ok(whole.then_some(pages))
    }
}

/// What the image says of itself, if it has the size for that.
fn sound(file: &OwnedFd) -> io::Result<Header> {
    let header = Header::read(file)?;
    if u64::try_from(fstat(file)?.st_size) != Ok(header.layout.saved()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has an impossible size"));
    }
    Ok(header)
}

fn remove(path: &Path) -> io::Result<()> {
    match unlink(path) {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fsync(rustix::fs::open(directory, flags, Mode::empty())?)?)
}

fn read_all(file: impl AsFd, bytes: &mut [u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes[done..], at + done as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => done += length,
        }
    }
    Ok(())
}
