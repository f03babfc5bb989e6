//! Attaching: the socket of the hub, one datagram with the segment, one back with the bell.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::link::{Deadline, Hub, Link};
use super::{Client, Options};
use crate::call::{Hello, OLDEST, PROTOCOL, WELCOME_FDS, Welcome};
use crate::error::Error;
use crate::online::Key;
use crate::shm::doorbell::Line;
use crate::shm::progress::Progress;
use crate::shm::ring::{Consumer, Producer};
use crate::shm::segment::Segment;
use crate::shm::set::View;

/// Bytes of the longest [`Welcome`]; a refusal carries a sentence.
const WELCOME: usize = 1024;

impl Client {
    /// The link to a hub that served it a moment ago, or that has just welcomed it.
    pub(super) fn attached(&mut self, deadline: &mut Deadline) -> Result<&mut Link, Error> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::new(self.options.ring_size)?,
        };
        if link.hub.is_none() {
            let ring = (&link.segment, &link.memfd);
            let mut welcomed = self.welcomed(ring, deadline);
            // The keeper holds the listener: a hub that died with our connection is followed by another.
            for _ in 1..ATTEMPTS {
                if !matches!(welcomed, Err(Unwelcome::Closed)) {
                    break;
                }
                welcomed = self.welcomed(ring, deadline);
            }
            let welcomed = welcomed.map_err(|unwelcome| match unwelcome {
                Unwelcome::Closed => {
                    Error::HubUnavailable("the hub closes each connection before it attaches the ring".to_owned())
                }
                Unwelcome::Error(error) => error,
            });
            // A ring that still holds messages is kept for the next attempt, one that no hub takes is not.
            let refused = matches!(welcomed, Err(Error::InvalidArgument(_)));
            match welcomed {
                Ok(hub) => {
                    link.hub = Some(hub);
                    self.pause = None;
                }
                Err(Error::InvalidArgument(text)) if refused => return Err(Error::HubUnavailable(text)),
                Err(error) => {
                    self.link = Some(link);
                    return Err(error);
                }
            }
        }
        Ok(self.link.insert(link))
    }

    /// Asks for the newest protocol, then for that of a hub which is older.
    fn welcomed(&self, ring: (&Segment, &OwnedFd), deadline: &mut Deadline) -> Result<Hub, Unwelcome> {
        match self.welcomed_with(PROTOCOL, ring, deadline) {
            Err(Unwelcome::Error(Error::Incompatible { found, .. })) if (OLDEST..PROTOCOL).contains(&found) => {
                self.welcomed_with(found, ring, deadline)
            }
            welcomed => welcomed,
        }
    }

    fn welcomed_with(
        &self,
        protocol: u16,
        ring: (&Segment, &OwnedFd),
        deadline: &mut Deadline,
    ) -> Result<Hub, Unwelcome> {
        let hello = match (self.namespace.as_str(), self.subscribes) {
            ("", true) => Hello::Subscribe { protocol },
            ("", false) => Hello::Attach { protocol },
            (namespace, subscribes) => Hello::Within { protocol, namespace: namespace.to_owned(), subscribes },
        };
        #[cfg(feature = "hub")]
        if let Some(hub) = &self.embedded {
            return welcomed(ring, hub.connect()?, (protocol, &hello), deadline);
        }
        welcomed(ring, connected(&self.options, deadline)?, (protocol, &hello), deadline)
    }
}

impl Link {
    fn new(ring_size: u32) -> Result<Self, Error> {
        let (segment, memfd) = Segment::create(ring_size as usize)
            .map_err(|errno| Error::HubUnavailable(format!("no shared memory for the ring: {}", said(errno))))?;
        let impossible = |corrupt| Error::HubUnavailable(format!("a new ring is not empty: {corrupt}"));
        let requests = Producer::new(segment.clone(), segment.requests()).map_err(impossible)?;
        let replies = Consumer::new(segment.clone(), segment.replies()).map_err(impossible)?;
        let progress = Progress::new(segment.clone());
        Ok(Self { memfd, requests, replies, segment, progress, hub: None, unrung: 0 })
    }
}

/// How often a hub that closes the connection is tried.
const ATTEMPTS: usize = 3;

/// Why there is no hub at the other end.
enum Unwelcome {
    /// It was there, and is not any more, or does not want us.
    Closed,
    Error(Error),
}

impl From<Error> for Unwelcome {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Shows the segment to the hub and waits for its word.
fn welcomed(
    (segment, memfd): (&Segment, &OwnedFd),
    socket: OwnedFd,
    (protocol, hello): (u16, &Hello),
    deadline: &mut Deadline,
) -> Result<Hub, Unwelcome> {
    let until = deadline.at();
    let hello = postcard::to_stdvec(hello).expect("plain data into a Vec");
    let fds = [memfd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let ended = |errno: Errno| match errno {
        Errno::AGAIN => Unwelcome::Error(deadline.missed()),
        Errno::CONNRESET | Errno::PIPE => Unwelcome::Closed,
        _ => Unwelcome::Error(Error::HubUnavailable(format!("the hub cannot be attached to: {}", said(errno)))),
    };
    net::sendmsg(&socket, &[IoSlice::new(&hello)], &mut control, SendFlags::NOSIGNAL).map_err(&ended)?;

    let mut answer = [0; WELCOME];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(WELCOME_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = uninterrupted(|| {
        let left = remaining(until)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(left))?;
        net::recvmsg(&socket, &mut [IoSliceMut::new(&mut answer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })
    .map_err(&ended)?;
    if received.bytes == 0 {
        return Err(Unwelcome::Closed);
    }
    let welcome: Welcome = postcard::from_bytes(&answer[..received.bytes]).map_err(|_| super::nonsense())?;
    if welcome.protocol != protocol {
        return Err(Error::Incompatible { found: welcome.protocol, expected: PROTOCOL }.into());
    }
    if let Some(refusal) = welcome.refusal {
        return Err(refusal.into());
    }
    let mut descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let bell = descriptors.next().ok_or_else(super::nonsense)?;
    // The hub has put the key into the segment before it welcomed us.
    let view = descriptors.next().and_then(|set| View::open(&set).ok());
    Ok(Hub { protocol, line: Line::new(socket), bell, online: segment.key().map(Key::from_words).zip(view) })
}

/// A socket connected to the hub's, through the inherited descriptor if that leads to a hub.
fn connected(options: &Options, deadline: &mut Deadline) -> Result<OwnedFd, Error> {
    let until = deadline.at();
    if let Some(inherited) = &options.inherited {
        let path = format!("/proc/self/fd/{}", inherited.as_raw_fd());
        match connect(Path::new(&path), until) {
            // Of a hub that is gone, or /proc is not mounted: the path may lead to the next hub.
            Err(Errno::CONNREFUSED | Errno::NOENT) => {}
            Err(Errno::AGAIN) => return Err(deadline.missed()),
            Err(errno) => return Err(unreachable(&options.socket, errno)),
            Ok(socket) => return Ok(socket),
        }
    }
    connect(&options.socket, until).map_err(|errno| match errno {
        Errno::AGAIN => deadline.missed(),
        Errno::NOENT if options.inherited.is_some() && !Path::new("/proc/self").exists() => {
            Error::HubUnavailable(format!(
                "this process sees neither /proc nor {}: mount /proc where its pool has its root (chroot), or the \
                 directory of the socket under the same path",
                options.socket.display()
            ))
        }
        _ => unreachable(&options.socket, errno),
    })
}

/// Connects in blocking mode: a stopped hub's full backlog makes `connect` wait, which the send time-out bounds.
fn connect(path: &Path, until: Instant) -> rustix::io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    uninterrupted(|| {
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(remaining(until)?))?;
        net::connect(&socket, &address)
    })?;
    Ok(socket)
}

/// Repeats what a signal interrupted; each attempt sees for itself how much time is left.
fn uninterrupted<T>(mut attempt: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// The time left as a socket time-out, of which zero would mean for ever.
fn remaining(until: Instant) -> rustix::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Errno::AGAIN) } else { Ok(left.max(Duration::from_millis(1))) }
}

fn said(errno: Errno) -> io::Error {
    io::Error::from(errno)
}

/// What is wrong with the socket, and the cure.
fn unreachable(path: &Path, errno: Errno) -> Error {
    let shown = path.display();
    let text = match errno {
        Errno::NOENT => {
            format!("there is no hub at {shown}: start push-hub, or set push.socket to the path of its socket")
        }
        Errno::CONNREFUSED => match path.metadata().map(|file| file.file_type()) {
            Ok(kind) if kind.is_dir() => {
                format!("{shown} is a directory: set push.socket to the path of the hub's socket in it")
            }
            Ok(kind) if !kind.is_socket() => {
                format!("{shown} is no socket: set push.socket to the path of the hub's socket")
            }
            _ => format!("{shown} was left behind by a hub that has ended: start push-hub again"),
        },
        Errno::ACCESS | Errno::PERM => format!(
            "this process may not use {shown}: add its user to the group of the socket (socket_group), or set socket_mode"
        ),
        Errno::PROTOTYPE => format!("{shown} is a socket, but not the hub's for clients: set push.socket to that"),
        Errno::NAMETOOLONG => {
            let len = path.as_os_str().len();
            format!("the path {shown} is {len} bytes long, a unix socket allows 108: use a shorter push.socket")
        }
        _ => format!("the hub at {shown} cannot be reached: {}", said(errno)),
    };
    Error::HubUnavailable(text)
}
