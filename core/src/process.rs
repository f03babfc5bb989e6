//! Processes: fork and exec, signals, privileges, and what survives them.
//!
//! The one place that forks. [`Spawn`] is made for a caller that is somebody else's process (PHP's master, with threads
//! and atfork handlers of other extensions): everything is prepared before, and between fork and exec only system calls
//! are made. What a spawned program starts with is exactly what [`Spawn`] names: its descriptors, its environment,
//! default signal dispositions. Nothing of it is tied to the life of a parent (`PR_SET_PDEATHSIG`, which the kernel clears in
//! a forked process): what keeper and hub do about each other's end they decide themselves. This module knows nothing of
//! hubs.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Pid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};

/// The signals keeper and hub read from [`Signals`]. A spawned program starts with them blocked, so that none is lost
/// before it reads them.
const READ: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1];

/// A program to start.
pub(crate) struct Spawn<'a> {
    /// The program; need not be readable (`O_PATH`).
    pub(crate) program: BorrowedFd<'a>,
    /// Its `argv[0]`, which is all it gets.
    pub(crate) name: &'a CStr,
    /// Its environment: `NAME=value`.
    pub(crate) environment: &'a [CString],
    /// Its descriptors, from 0.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
}

/// Whose child the program becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parent {
    /// Ours.
    Caller,
    /// Init's, in a session of its own: nothing of it is left to us.
    Init,
}

/// What the child needs, made before the fork.
struct Prepared<'a> {
    program: OwnedFd,
    failure: OwnedFd,
    descriptors: Vec<OwnedFd>,
    name: &'a CStr,
    /// As `execve` takes it, with the null at its end.
    environment: Vec<*const c_char>,
    parent: Parent,
    most_descriptors: RawFd,
}

impl Spawn<'_> {
    /// Starts it as a child, whose exit the caller has to take.
    pub(crate) fn child(&self) -> io::Result<Pid> {
        self.start(Parent::Caller)
    }

    /// Starts it detached: it belongs to init, and no zombie comes back.
    pub(crate) fn detached(&self) -> io::Result<()> {
        let between = self.start(Parent::Init)?;
        // ECHILD where SIGCHLD is ignored: then there is no zombie either.
        let _ = wait(between);
        Ok(())
    }

    fn start(&self, parent: Parent) -> io::Result<Pid> {
        let above = c_int::try_from(self.descriptors.len()).expect("a handful");
        let aside = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, above);
        let (result, failure) = pipe_with(PipeFlags::CLOEXEC)?;
        let prepared = Prepared {
            program: aside(self.program)?,
            failure: aside(failure.as_fd())?,
            descriptors: self.descriptors.iter().map(|fd| aside(*fd)).collect::<Result<_, _>>()?,
            name: self.name,
            environment: self.environment.iter().map(|entry| entry.as_ptr()).chain([ptr::null()]).collect(),
            parent,
            most_descriptors: RawFd::try_from(descriptor_limit()).unwrap_or(RawFd::MAX),
        };
        let result = File::from(result);
        drop(failure);
        // SAFETY: the child runs `Prepared::exec`, which makes system calls only.
        let Some(child) = (unsafe { fork() })? else { prepared.exec() };
        drop(prepared);
        // The pipe closes at the exec of the last descendant; until then it carries the errno of what failed.
        let mut errno = [0; 4];
        match (&result).read_exact(&mut errno) {
            Err(_) => Ok(child),
            Ok(()) => {
                let _ = wait(child);
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
            }
        }
    }
}

impl Prepared<'_> {
    /// The child's way to the program. Allocates nothing and takes no lock: the parent may have had threads.
    fn exec(&self) -> ! {
        // SAFETY: system calls on memory of our own; `name` and the descriptors outlive the call.
        let errno = unsafe { self.try_exec() };
        // SAFETY: as above; `_exit` runs no handlers of the parent's program.
        unsafe {
            let errno = errno.to_ne_bytes();
            libc::write(self.failure.as_raw_fd(), errno.as_ptr().cast(), errno.len());
            libc::_exit(127)
        }
    }

    /// Gives the errno of the call that failed.
    ///
    /// # Safety
    /// Only in a child just forked.
    unsafe fn try_exec(&self) -> c_int {
        // SAFETY: see the caller; each call gets pointers to locals or to `self`.
        unsafe {
            if self.parent == Parent::Init {
                if libc::setsid() < 0 {
                    return errno();
                }
                match fork() {
                    Ok(Some(_)) => libc::_exit(0),
                    Ok(None) => {}
                    Err(error) => return error.raw_os_error().unwrap_or(libc::EAGAIN),
                }
            }
            // The kernel's `struct sigaction`, where zero is the default in all fields. Not by glibc, which keeps two signals
            // for itself and would leave them as they are. KILL and STOP are refused, and need nothing.
            let default = [0_u64; 4];
            for signal in 1..=64 {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    signal,
                    default.as_ptr(),
                    ptr::null_mut::<u64>(),
                    size_of::<u64>(),
                );
            }
            let set = signal_set();
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) < 0 {
                return errno();
            }
            let mut target = 0;
            for fd in &self.descriptors {
                if libc::dup2(fd.as_raw_fd(), target) < 0 {
                    return errno();
                }
                target += 1;
            }
            let flag = libc::CLOSE_RANGE_CLOEXEC as c_int;
            if libc::syscall(libc::SYS_close_range, target, c_int::MAX, flag) < 0 {
                // Linux before 5.11 has no such flag.
                for fd in target..self.most_descriptors {
                    libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
            let argv: [*const c_char; 2] = [self.name.as_ptr(), ptr::null()];
            libc::syscall(
                libc::SYS_execveat,
                self.program.as_raw_fd(),
                c"".as_ptr(),
                argv.as_ptr(),
                self.environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            errno()
        }
    }
}

/// Forks without the atfork handlers of whatever is loaded into this process: the child is to become another program,
/// and handlers have been seen to tie it to the parent's life or to wait for threads that it does not have.
///
/// # Safety
/// The child may only make async-signal-safe calls until it executes a program or exits.
unsafe fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: without CLONE_VM the child has memory of its own; all other arguments are unused then.
    match unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) } {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn signal_set() -> libc::sigset_t {
    // SAFETY: `sigemptyset` makes a valid set of any bytes; the others add to it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in READ {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Takes the exit of a child of ours.
pub(crate) fn wait(child: Pid) -> io::Result<Exit> {
    use rustix::process::{WaitOptions, waitpid};
    let status = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()))?;
    let (_, status) = status.expect("without NOHANG there is a status");
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    })
}

/// Whether the signal asks a process to end.
pub(crate) fn ends(signal: Signal) -> bool {
    matches!(signal, Signal::TERM | Signal::INT)
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself.
    Code(i32),
    /// Killed.
    Signal(i32),
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// SIGTERM, SIGINT, SIGHUP and SIGUSR1 as something to poll, from the moment it is made. Threads started later inherit the mask.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    pub(crate) fn block() -> io::Result<Self> {
        let set = signal_set();
        // SAFETY: `set` is initialized and lives through both calls.
        let fd = unsafe {
            if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next signal that came, if any.
    pub(crate) fn next(&self) -> Option<Signal> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut info)).ok()?;
        let number = info.first_chunk().filter(|_| read == info.len())?;
        Signal::from_named_raw(i32::from_ne_bytes(*number))
    }
}

/// Does `work` with all signals blocked; threads that it starts keep them blocked, so that signals go on to whom they went
/// before.
#[cfg(feature = "hub")]
pub(crate) fn without_signals<T>(work: impl FnOnce() -> T) -> io::Result<T> {
    // SAFETY: zero is a valid `sigset_t`; both calls get pointers to locals.
    let before = unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) {
            0 => before,
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    };
    let done = work();
    // SAFETY: as above; it cannot fail with a set that the system gave.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    Ok(done)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Numbers that processes share; all see the last value stored, also when the one that stored it was killed.
pub(crate) struct SharedNumbers {
    at: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: it only gives out atomics in memory that stays mapped as long as it lives.
unsafe impl Send for SharedNumbers {}
// SAFETY: as above.
unsafe impl Sync for SharedNumbers {}

impl SharedNumbers {
    /// So many new ones, all 0: the descriptor by which processes can [`Self::map`] them.
    pub(crate) fn create(name: &CStr, count: usize) -> io::Result<OwnedFd> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, Self::bytes(count) as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(fd)
    }

    pub(crate) fn map(fd: BorrowedFd<'_>, count: usize) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(fd)?.contains(SealFlags::SHRINK)
            || rustix::fs::fstat(fd)?.st_size < Self::bytes(count) as i64
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at an address of the kernel's choice, page-aligned, of a file that cannot shrink.
        let at = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                Self::bytes(count),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        Ok(Self { at: NonNull::new(at.cast()).expect("a mapping is not at 0"), count })
    }

    fn bytes(count: usize) -> usize {
        count * size_of::<u64>()
    }
}

impl Deref for SharedNumbers {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: so many are mapped until drop, aligned, and every process goes through the atomics.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.count) }
    }
}

impl Drop for SharedNumbers {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nothing borrowed from it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.as_ptr().cast(), Self::bytes(self.count)) };
    }
}

/// A file in memory that nobody can change any more.
pub(crate) fn sealed(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(content)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

/// The content of a [`sealed`] file that is text.
pub(crate) fn unsealed(file: &OwnedFd) -> io::Result<String> {
    String::from_utf8(unsealed_bytes(file)?).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The content of a [`sealed`] file.
pub(crate) fn unsealed_bytes(file: &OwnedFd) -> io::Result<Vec<u8>> {
    if !rustix::fs::fcntl_get_seals(file)?.contains(SealFlags::WRITE) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a sealed file"));
    }
    let length = usize::try_from(rustix::fs::fstat(file)?.st_size).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut content = vec![0; length];
    // `pread`: the offset is shared with every process that inherited the descriptor.
    std::os::unix::fs::FileExt::read_exact_at(&File::from(file.try_clone()?), &mut content, 0)?;
    Ok(content)
}

/// `count` descriptors that a [`Spawn`] gave to this process, from `first`. To be called before anything else is opened,
/// which would get the number of one that is missing.
///
/// # Errors
/// One of them is not open: the process was not started by [`Spawn`].
pub(crate) fn inherited(first: RawFd, count: usize) -> io::Result<Vec<OwnedFd>> {
    let fds = first..first + RawFd::try_from(count).map_err(|_| io::ErrorKind::InvalidInput)?;
    let taken = fds.map(|fd| {
        // SAFETY: only borrowed to see whether it is open.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
        // SAFETY: open, and the program that was started with it owns it: nothing else in it can have opened it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    });
    taken.collect()
}

/// Opens a program for [`Spawn`].
pub(crate) fn program(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// The null device.
pub(crate) fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}

/// Process and user of the peer of a unix socket, as they were when it connected. The process is 0 when it lives in a pid
/// namespace that this one does not see, as with PHP in another container; hence not `rustix`, whose `Pid` cannot be that.
#[cfg(feature = "hub")]
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to locals, and `len` is the room behind the first.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if done == 0 { Ok((credentials.pid, credentials.uid)) } else { Err(io::Error::last_os_error()) }
}

/// Whether all processes here end with this one: it is the first of its pid namespace, whose end is everybody's, or what the first
/// one of a container runs, which ends right after it. Other programs may come first in a container, and live on: then it seems so.
#[cfg(feature = "hub")]
pub(crate) fn takes_all_with_it(pid: i32) -> bool {
    /// `PROC_PID_INIT_INO` of linux/proc_ns.h: the namespace of the machine itself, where process 1 has many children.
    const OF_THE_MACHINE: u64 = 0xEFFF_FFFC;
    let in_container =
        || rustix::fs::stat("/proc/self/ns/pid").is_ok_and(|namespace| namespace.st_ino != OF_THE_MACHINE);
    let parent = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may hold anything.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    pid == 1 || (parent() == Some(1) && in_container())
}

/// Gives pages that are free in the heap back to the system. The C library keeps them for itself else.
#[cfg(feature = "hub")]
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: only works on the heap's own books, under its own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How many descriptors this process may have.
pub(crate) fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many it could have after [`raise_descriptor_limit`].
pub(crate) fn most_descriptors() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the number of descriptors to what the system allows this process.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused where the hard limit is above what the kernel allows; then the soft one stays, and the start logs it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// User and group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

/// A size that holds the record of any user and of groups with thousands of members.
const RECORD: usize = 1 << 20;

/// Looks up a user.
pub(crate) fn user(name: &str) -> io::Result<Option<Account>> {
    let name = CString::new(name)?;
    let mut buffer = vec![0; RECORD];
    // SAFETY: zero is a valid value of all its fields.
    let mut record: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to locals, and the length is that of the buffer.
    let error =
        unsafe { libc::getpwnam_r(name.as_ptr(), &raw mut record, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    match (found.is_null(), error) {
        (false, _) => Ok(Some(Account { uid: Uid::from_raw(record.pw_uid), gid: Gid::from_raw(record.pw_gid) })),
        (true, 0 | libc::ENOENT | libc::ESRCH) => Ok(None),
        (true, error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Looks up a group.
pub(crate) fn group(name: &str) -> io::Result<Option<Gid>> {
    let name = CString::new(name)?;
    let mut buffer = vec![0; RECORD];
    // SAFETY: zero is a valid value of all its fields.
    let mut record: libc::group = unsafe { std::mem::zeroed() };
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to locals, and the length is that of the buffer.
    let error =
        unsafe { libc::getgrnam_r(name.as_ptr(), &raw mut record, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    match (found.is_null(), error) {
        (false, _) => Ok(Some(Gid::from_raw(record.gr_gid))),
        (true, 0 | libc::ENOENT | libc::ESRCH) => Ok(None),
        (true, error) => Err(io::Error::from_raw_os_error(error)),
    }
}

/// The groups of a user, by number: its own and those that it is a member of.
#[cfg(feature = "hub")]
pub(crate) fn groups(name: &str, account: Account) -> io::Result<Vec<u32>> {
    /// Linux allows a process no more.
    const MOST: usize = 65_536;
    let name = CString::new(name)?;
    let mut groups = vec![0; MOST];
    let mut count = MOST as c_int;
    // SAFETY: `count` says how many numbers there is room for; both pointers are to locals.
    let done = unsafe { libc::getgrouplist(name.as_ptr(), account.gid.as_raw(), groups.as_mut_ptr(), &raw mut count) };
    if done < 0 {
        return Err(io::Error::other("there are too many"));
    }
    groups.truncate(usize::try_from(count).unwrap_or(0));
    Ok(groups)
}

/// The name of a group, where it has one.
#[cfg(feature = "hub")]
pub(crate) fn group_name(gid: u32) -> Option<String> {
    let mut buffer = vec![0; RECORD];
    // SAFETY: zero is a valid value of all its fields.
    let mut record: libc::group = unsafe { std::mem::zeroed() };
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are to locals, and the length is that of the buffer.
    unsafe { libc::getgrgid_r(gid, &raw mut record, buffer.as_mut_ptr(), buffer.len(), &raw mut found) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a record that was found has a name, in `buffer`, which is alive.
    Some(unsafe { CStr::from_ptr(record.gr_name) }.to_string_lossy().into_owned())
}

/// Does `work` with the effective ids of `account`, so that what it makes belongs to it from the first moment and is
/// made with its rights only. For a process with one thread that is root.
pub(crate) fn acting_as<T>(account: Account, work: impl FnOnce() -> T) -> io::Result<T> {
    use rustix::process::{getegid, geteuid};
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let (uid, gid) = (geteuid(), getegid());
    set_thread_res_gid(None, account.gid, None)?;
    let done = set_thread_res_uid(None, account.uid, None).map(|()| work());
    set_thread_res_uid(None, uid, None)?;
    set_thread_res_gid(None, gid, None)?;
    Ok(done?)
}

/// Becomes `account` for good, without groups, and without a way back by a set-uid program. For a process with one thread.
pub(crate) fn become_account(account: Account) -> io::Result<()> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    set_thread_groups(&[])?;
    set_thread_res_gid(account.gid, account.gid, account.gid)?;
    set_thread_res_uid(account.uid, account.uid, account.uid)?;
    renounce()
}

/// No program started from here gains rights.
pub(crate) fn renounce() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}
