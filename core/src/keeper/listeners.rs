//! The listening sockets: made before privileges are dropped, or passed by a service manager; held as long as the keeper
//! lives.
//!
//! A unix socket is bound beside its path and renamed over it, so that a path never leads nowhere, and it is made with
//! the ids and the mode it shall have, so that nothing has to be changed by path in a directory others may write to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, chmod, chownat, fstat, lstat, mkdir, open, rename, unlink,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with, sockopt,
};
use rustix::process::{geteuid, umask};
use serde::{Deserialize, Serialize};

use super::owner::Owner;
use super::service::{Passed, Place};
use super::{StartError, beside, private_directory, private_path};
use crate::config::{Address, Config};

/// Connections that may wait to be accepted: many, because a keeper without a hub holds on to all of them.
const BACKLOG: i32 = 4096;

/// A port may still be held by a hub that is answering its last requests.
const PORT_PATIENCE: Duration = Duration::from_secs(1);

/// All listening sockets of a hub, and which files to remove in the end.
#[derive(Default)]
pub(crate) struct Listeners {
    sockets: Vec<OwnedFd>,
    files: Files,
}

/// The files of sockets that another keeper made.
pub(super) struct Inherited {
    /// In use on.
    pub(super) kept: Files,
    /// Nobody listens any more.
    pub(super) dropped: Files,
}

/// What was made in the file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Files {
    /// Sockets, each with its device and inode.
    made: Vec<(PathBuf, u64, u64)>,
    private: Option<PathBuf>,
}

impl Listeners {
    /// Those that another process made, and which it hands on.
    pub(super) fn handed_on(sockets: Vec<OwnedFd>, files: Files) -> Self {
        Self { sockets, files }
    }

    /// Takes those that were passed and makes the others; or makes none.
    pub(super) fn bind(config: &Config, owner: &Owner, mut passed: Passed) -> Result<Self, StartError> {
        let mut listeners = Self::default();
        let done = listeners.bind_all(config, owner, &mut passed);
        if done.is_err() {
            listeners.remove_files();
        }
        done.map(|()| listeners)
    }

    /// Takes of those of another keeper, with configuration `before`, what `config` has too, and makes the others; or makes
    /// none. Only what is made now belongs to this set as yet.
    pub(super) fn inherit(
        config: &Config,
        owner: &Owner,
        old: Self,
        before: &Config,
    ) -> Result<(Self, Inherited), StartError> {
        let Self { sockets, files } = old;
        let wanted: Vec<Place> = places(config).collect();
        let passed = places(before).zip(sockets).filter(|(place, _)| wanted.contains(place));
        let listeners = Self::bind(config, owner, Passed::of(passed.collect()))?;
        let is_wanted = |path: &Path| wanted.iter().any(|place| place.address == Address::Unix(path.to_owned()));
        let (kept, dropped): (Vec<_>, Vec<_>) = files.made.into_iter().partition(|(path, ..)| is_wanted(path));
        for (path, ..) in &kept {
            let mode = if *path == private_path(&config.socket) { 0o666 } else { config.socket_mode };
            owner.act(|| permit(path, mode, owner)).map_err(|error| {
                StartError::new(format!("socket_mode, socket_group: {} cannot be changed: {error}", path.display()))
            })?;
        }
        let same = before.socket == config.socket;
        let (private, dropped_private) = if same { (files.private, None) } else { (None, files.private) };
        Ok((
            listeners,
            Inherited {
                kept: Files { made: kept, private },
                dropped: Files { made: dropped, private: dropped_private },
            },
        ))
    }

    /// Removes these files, too, in the end.
    pub(super) fn add_files(&mut self, files: Files) {
        self.files.made.extend(files.made);
        self.files.private = self.files.private.take().or(files.private);
    }

    /// Leaves these files to somebody else again.
    pub(super) fn leave_files(&mut self, files: &Files) {
        self.files.made.retain(|file| !files.made.contains(file));
        self.files.private = self.files.private.take().filter(|_| files.private.is_none());
    }

    /// Those of a hub without a keeper, in the process that publishes, which stays who it is: no attach sockets.
    pub(crate) fn bind_embedded(config: &Config) -> Result<Self, StartError> {
        let owner = Owner::present(config)?;
        let mut listeners = Self::default();
        let done = listeners.bind_http(config, &owner, &mut Passed::default());
        if done.is_err() {
            listeners.remove_files();
        }
        done.map(|()| listeners)
    }

    fn bind_all(&mut self, config: &Config, owner: &Owner, passed: &mut Passed) -> Result<(), StartError> {
        let [attach, private] = attach_places(config);
        let all: Vec<_> = places(config).collect();
        passed.check(&all)?;
        self.bind_http(config, owner, passed)?;
        let socket = match passed.socket(&attach) {
            Some(socket) => socket,
            None => self.unix("socket", &config.socket, SocketType::SEQPACKET, config.socket_mode, owner)?,
        };
        self.sockets.push(socket);
        let socket = match passed.socket(&private) {
            Some(socket) => socket,
            None => self.private(&config.socket, owner)?,
        };
        self.sockets.push(socket);
        Ok(())
    }

    fn bind_http(&mut self, config: &Config, owner: &Owner, passed: &mut Passed) -> Result<(), StartError> {
        for (key, place) in http_places(config) {
            let socket = match (passed.socket(&place), &place.address) {
                (Some(socket), _) => socket,
                (None, Address::Tcp(address)) => tcp(*address).map_err(|error| tcp_error(key, address, error))?,
                (None, Address::Unix(path)) => {
                    owner.prepare_directory(path)?;
                    self.unix(key, path, SocketType::STREAM, config.socket_mode, owner)?
                }
            };
            self.sockets.push(socket);
        }
        Ok(())
    }

    /// The attach socket of those who inherit the way to it.
    fn private(&mut self, socket: &Path, owner: &Owner) -> Result<OwnedFd, StartError> {
        let directory = private_directory(socket);
        owner.act(|| make_private(&directory)).map_err(|error| {
            StartError::new(format!("socket: cannot make the directory {}: {error}; remove it", directory.display()))
        })?;
        self.files.private = Some(directory);
        self.unix("socket", &private_path(socket), SocketType::SEQPACKET, 0o666, owner)
    }

    fn unix(
        &mut self,
        key: &str,
        path: &Path,
        kind: SocketType,
        mode: u32,
        owner: &Owner,
    ) -> Result<OwnedFd, StartError> {
        let refused = |why: String| StartError::new(format!("{key}: cannot listen on unix:{}: {why}", path.display()));
        let free = owner.act(|| Ok(in_the_way(path, kind))).and_then(|result| result);
        match free.map_err(|error| refused(unix_cure(path, error, owner)))? {
            None => {}
            Some(why) => return Err(refused(why)),
        }
        let made = owner.act(|| make_unix(path, kind, mode, owner));
        let (socket, file) = made.map_err(|error| refused(unix_cure(path, error, owner)))?;
        self.files.made.push((path.to_owned(), file.st_dev, file.st_ino));
        Ok(socket)
    }

    /// In the order in which a hub takes them.
    pub(crate) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    /// Who asks the kernel for the process at the other end of a unix socket gets this one from now on, and not the one that
    /// made the socket.
    pub(super) fn claim(&self) {
        if self.files.made.is_empty() {
            return;
        }
        for socket in &self.sockets {
            let unix = getsockname(socket).is_ok_and(|name| name.address_family() == AddressFamily::UNIX);
            if unix && let Err(error) = listen(socket, BACKLOG) {
                tracing::warn!("a unix socket cannot be claimed: {}", io::Error::from(error));
            }
        }
    }

    /// Stops listening, as far as this process is concerned, and removes the files, unless somebody else's are there now.
    pub(crate) fn close(&mut self) {
        self.sockets.clear();
        self.remove_files();
    }

    fn remove_files(&mut self) {
        for (path, device, inode) in self.files.made.drain(..) {
            let same = |now: &Stat| (now.st_dev, now.st_ino) == (device, inode);
            if lstat(&path).is_ok_and(|now| same(&now))
                && let Err(error) = unlink(&path)
            {
                tracing::warn!("{} cannot be removed: {}", path.display(), io::Error::from(error));
            }
        }
        if let Some(directory) = self.files.private.take() {
            // Not empty where another keeper's socket is in it by now.
            let _ = rustix::fs::rmdir(directory);
        }
    }
}

/// All sockets of a hub, in the order in which it takes them.
fn places(config: &Config) -> impl Iterator<Item = Place> {
    http_places(config).map(|(_, place)| place).chain(attach_places(config))
}

fn attach_places(config: &Config) -> [Place; 2] {
    [config.socket.clone(), private_path(&config.socket)].map(|path| Place::unix(&path, SocketType::SEQPACKET))
}

/// Gives a socket that is there the mode and the group of the configuration. Not by its path: others may write there.
fn permit(path: &Path, mode: u32, owner: &Owner) -> io::Result<()> {
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(io::Error::other("is no socket any more"));
    }
    let group = owner.group.filter(|group| group.as_raw() != stat.st_gid);
    if group.is_some() {
        chownat(&file, "", None, group, AtFlags::EMPTY_PATH)?;
    }
    if stat.st_mode & 0o777 != mode {
        chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// What `listen`, `admin_listen` and `trusted_listen` name, in the order in which a hub takes them.
fn http_places(config: &Config) -> impl Iterator<Item = (&'static str, Place)> {
    let all = [
        ("listen", &config.listen),
        ("admin_listen", &config.admin_listen),
        ("trusted_listen", &config.trusted_listen),
    ];
    all.into_iter().flat_map(|(key, addresses)| {
        let place = |address: &Address| Place { address: address.clone(), kind: SocketType::STREAM };
        addresses.iter().map(move |address| (key, place(address)))
    })
}

/// Makes a directory that nobody else can enter, or takes the one that a killed keeper left.
fn make_private(directory: &Path) -> io::Result<()> {
    match mkdir(directory, Mode::RWXU) {
        Err(Errno::EXIST) => {
            let stat = lstat(directory)?;
            let ours = FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && stat.st_uid == geteuid().as_raw()
                && stat.st_mode & 0o077 == 0;
            if ours { Ok(()) } else { Err(Errno::EXIST.into()) }
        }
        done => Ok(done?),
    }
}

fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // As nginx: `[::]:80` and `0.0.0.0:80` are two listeners.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it, which saves a call for each.
    sockopt::set_tcp_nodelay(&socket, true)?;
    let deadline = Instant::now() + PORT_PATIENCE;
    loop {
        let bound = bind(&socket, &address).and_then(|()| listen(&socket, BACKLOG));
        match bound {
            Ok(()) => return Ok(socket),
            Err(Errno::ADDRINUSE) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
}

fn tcp_error(key: &str, address: &SocketAddr, error: io::Error) -> StartError {
    let cure = match error.kind() {
        io::ErrorKind::AddrInUse => format!("`ss -ltnp` shows what uses it; stop that or set another {key}"),
        io::ErrorKind::AddrNotAvailable => format!("no interface of this machine has this address; set another {key}"),
        io::ErrorKind::PermissionDenied => {
            format!("ports below 1024 need root or CAP_NET_BIND_SERVICE; set another port in {key}")
        }
        _ => format!("set another {key}"),
    };
    StartError::new(format!("{key}: cannot listen on {address}: {error}: {cure}"))
}

/// What keeps `path` from being ours; nothing when there is nothing, or a socket that nobody listens on.
fn in_the_way(path: &Path, kind: SocketType) -> io::Result<Option<String>> {
    match lstat(path) {
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => {}
            FileType::Directory => return Ok(Some("a directory is there; remove it or set another path".to_owned())),
            _ => return Ok(Some("a file that is no socket is there; remove it or set another path".to_owned())),
        },
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    match connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(None),
        // EPROTOTYPE: a listener of another kind. EAGAIN: its backlog is full.
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => {
            Ok(Some("another process listens there; stop it or set another path".to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

fn make_unix(path: &Path, kind: SocketType, mode: u32, owner: &Owner) -> io::Result<(OwnedFd, Stat)> {
    let new = beside(path, ".new");
    match lstat(&new) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Socket => unlink(&new)?,
        _ => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    let before = umask(Mode::from_raw_mode(!mode & 0o777));
    let bound = bind(&socket, &SocketAddrUnix::new(&new)?);
    umask(before);
    bound?;
    let finish = || -> io::Result<Stat> {
        if owner.account.is_none() && owner.group.is_some() {
            chownat(CWD, &new, None, owner.group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        listen(&socket, BACKLOG)?;
        let stat = lstat(&new)?;
        rename(&new, path)?;
        Ok(stat)
    };
    let stat = finish().inspect_err(|_| {
        let _ = unlink(&new);
    })?;
    Ok((socket, stat))
}

fn unix_cure(path: &Path, error: io::Error, owner: &Owner) -> String {
    let directory = path.parent().unwrap_or(Path::new("/")).display();
    let cure = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{directory} must be writable for {} (chown it), or set another path", owner.name())
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => format!("make the directory {directory}"),
        io::ErrorKind::ReadOnlyFilesystem => "set a path on a file system that can be written to".to_owned(),
        _ => "set another path".to_owned(),
    };
    format!("{error}: {cure}")
}
