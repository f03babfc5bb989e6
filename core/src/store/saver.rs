//! The thread that saves: the only one that waits for a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::explain;
use super::image::{Batch, Image};
use crate::config::Config;
use crate::journal::{PAGE, Region, Word};
use crate::sequencer::Sequencer;

/// Pages that are copied inside of the critical section: some ten microseconds.
const FEW: usize = 32;
/// How often what changed meanwhile is copied again before it is done inside of the critical section, however much it is.
pub(super) const ROUNDS: usize = 10;
/// Pages that are copied at a time outside.
const MANY: usize = 256;
/// The first wait after a failure; it doubles up to `LONGEST`.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);
/// How long the hub before this one may take to end before it is said that the files are in use.
const HANDOVER: Duration = Duration::from_secs(30);

/// What is told of it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    failing: AtomicBool,
    saves: AtomicU64,
}

impl Progress {
    /// Whether the last save succeeded.
    pub(crate) fn works(&self) -> bool {
        !self.failing.load(Ordering::Relaxed)
    }

    /// Saves since the start.
    pub(crate) fn saves(&self) -> u64 {
        self.saves.load(Ordering::Relaxed)
    }
}

enum Order {
    /// Save all, and say that nothing comes after it.
    Finish,
    /// Leave the files to another hub.
    LetGo,
}

/// The running thread. Dropped, it ends without another save.
pub(crate) struct Saver {
    orders: Sender<Order>,
    ended: Receiver<()>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// Starts it, if there is a `store_path`.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn start(config: &Config, engine: &Arc<Sequencer>) -> io::Result<Option<Self>> {
        let Some(directory) = &config.store_path else { return Ok(None) };
        let work = Work::new(directory, config.store_sync, engine);
        let (orders, ordered) = channel();
        let (end, ended) = channel();
        let thread = std::thread::Builder::new().name("push-store".to_owned()).spawn(move || {
            work.run(&ordered);
            // Nobody waits where the hub was dropped.
            let _ = end.send(());
        })?;
        Ok(Some(Self { orders, ended, thread }))
    }

    /// Saves all, and that nothing comes after it, as far as the disk does that in this time.
    pub(crate) fn finish(self, patience: Duration) {
        if let Err(error) = self.end(Order::Finish, patience) {
            tracing::error!("{error}; the hub does not wait for it any longer");
        }
    }

    /// Leaves journal and files to another hub.
    ///
    /// # Errors
    /// The disk gives no answer, and the thread waits for it.
    pub(crate) fn let_go(self, patience: Duration) -> io::Result<()> {
        self.end(Order::LetGo, patience)
    }

    fn end(self, order: Order, patience: Duration) -> io::Result<()> {
        if self.orders.send(order).is_err() || self.ended.recv_timeout(patience).is_err() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the disk of store_path gives no answer"));
        }
        let _ = self.thread.join();
        Ok(())
    }
}

pub(super) struct Work {
    directory: PathBuf,
    interval: Duration,
    engine: Arc<Sequencer>,
    region: Arc<Region>,
    progress: Arc<Progress>,
    /// Opened when it is needed, and anew after an error.
    image: Option<Image>,
    started: Instant,
}

impl Work {
    pub(super) fn new(directory: &Path, interval: Duration, engine: &Arc<Sequencer>) -> Self {
        Self {
            directory: directory.to_owned(),
            interval,
            engine: engine.clone(),
            region: engine.with_journal(Arc::clone),
            progress: engine.stored().cloned().unwrap_or_default(),
            image: None,
            started: Instant::now(),
        }
    }

    fn run(mut self, orders: &Receiver<Order>) {
        let mut wait = self.interval;
        let mut backoff = RETRY;
        loop {
            let clean = match orders.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => false,
                Ok(Order::Finish) => true,
                Ok(Order::LetGo) | Err(RecvTimeoutError::Disconnected) => return,
            };
            if !clean && !self.region.has_changed() && self.progress.works() {
                continue;
            }
            let begun = Instant::now();
            match self.save(clean) {
                Ok(()) => {
                    self.progress.saves.fetch_add(1, Ordering::Relaxed);
                    if !self.progress.works() {
                        tracing::warn!("store_path = \"{}\": messages are saved again", self.directory.display());
                        self.progress.failing.store(false, Ordering::Relaxed);
                    }
                    backoff = RETRY;
                    wait = self.interval.saturating_sub(begun.elapsed());
                }
                Err(error) => {
                    self.failed(&error);
                    wait = backoff.max(self.interval.min(LONGEST));
                    backoff = (backoff * 2).min(LONGEST);
                }
            }
            if clean {
                return;
            }
        }
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        self.image = None;
        self.engine.with_journal(|region| region.not_saved());
        // The hub before this one is ending.
        let expected = error.kind() == io::ErrorKind::WouldBlock && self.started.elapsed() < HANDOVER;
        if !expected && self.progress.works() {
            tracing::error!(
                "{}. Until that is done messages are in memory only: they outlive hub and keeper, and not the machine",
                explain(&self.directory, error)
            );
            self.progress.failing.store(true, Ordering::Relaxed);
        }
    }

    fn image(&mut self) -> io::Result<Image> {
        if let Some(image) = self.image.take() {
            image.check()?;
            return Ok(image);
        }
        let journal = self.region.header();
        if let Some(image) = Image::open(&self.directory)? {
            return match image.is_of(&journal) {
                true => Ok(image),
                false => {
                    let text = "the journal of another hub is there, which this one does not replace";
                    Err(io::Error::new(io::ErrorKind::InvalidData, text))
                }
            };
        }
        // Of a hub that had no store_path so far, or the files were removed.
        let id = if journal.id == 0 { super::random()? } else { journal.id };
        let image = Image::create(&self.directory, journal.layout, id, None)?;
        self.engine.with_journal(|region| {
            region.store(Word::Id, id);
            region.change_all()
        })?;
        Ok(image)
    }

    pub(super) fn save(&mut self, clean: bool) -> io::Result<()> {
        let mut image = self.image()?;
        let mut batch = image.begin();
        let mut pages = Vec::new();
        for _ in 0..ROUNDS {
            pages.clear();
            self.engine.with_journal(|region| region.take_changed(&mut pages));
            self.copy(&mut image, &mut batch, &pages)?;
            if pages.len() <= FEW {
                break;
            }
        }
        pages.clear();
        let mut bytes = Vec::with_capacity(2 * FEW * PAGE);
        let sequence = image.sequence() + 1;
        let freed = self.engine.with_journal(|region| {
            region.store(Word::Sequence, sequence);
            region.store(Word::Clean, clean.into());
            region.take_changed(&mut pages);
            for run in pages.chunk_by(|one, next| one + 1 == *next) {
                let from = bytes.len();
                bytes.resize(from + run.len() * PAGE, 0);
                region.read(run[0], &mut bytes[from..])?;
            }
            io::Result::Ok(region.take_freed())
        })?;
        let mut rest = bytes.as_slice();
        for run in pages.chunk_by(|one, next| one + 1 == *next) {
            let (part, after) = rest.split_at(run.len() * PAGE);
            image.add(&mut batch, run[0], part)?;
            rest = after;
        }
        image.save(batch, sequence, &freed)?;
        self.engine.with_journal(|region| region.saved());
        self.image = Some(image);
        Ok(())
    }

    /// Adds the pages as they are at this moment or a later one.
    fn copy(&self, image: &mut Image, batch: &mut Batch, pages: &[u32]) -> io::Result<()> {
        let mut bytes = vec![0; MANY * PAGE];
        for run in pages.chunk_by(|one, next| one + 1 == *next) {
            for part in run.chunks(MANY) {
                let bytes = &mut bytes[..part.len() * PAGE];
                self.region.read(part[0], bytes)?;
                image.add(batch, part[0], bytes)?;
            }
        }
        Ok(())
    }
}
