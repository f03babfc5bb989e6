//! Users that the hub does not know, and users that take more than their part.
//!
//! The kernel tells the hub the user of the thread that connects, so that root's tests have threads of other users. Run by
//! anyone else these tests have one user, who is the stranger.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, Permissions};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use push_core::call::{Hello, PROTOCOL, Welcome};
use push_core::channel::Namespace;
use push_core::client::{Client, Options};
use push_core::config::Config;
use push_core::error::{Error, Limit};
use push_core::ingress::admission::Admission;
use push_core::keeper::start_or_adopt;
use push_core::message::NewMessage;
use push_core::shm::segment::Segment;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{Gid, Signal, Uid, geteuid};
use support::process::{Foreground, PROGRAM, Site, signal};
use support::{DEADLINE, TestHub, hub, wait_until};

const NOBODY: u32 = 65_534;

/// The user of [`as_stranger`].
fn stranger() -> u32 {
    if geteuid().is_root() { NOBODY } else { geteuid().as_raw() }
}

/// Ids belong to threads as far as the kernel is concerned.
fn as_stranger<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let work = move || {
        if geteuid().is_root() {
            rustix::thread::set_thread_groups(&[]).unwrap();
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        }
        work()
    };
    std::thread::scope(|threads| threads.spawn(work).join().unwrap())
}

/// A hub whose socket every user can open.
fn open_hub(settings: &[(&str, &str)]) -> TestHub {
    let hub = hub(settings);
    fs::set_permissions(hub.socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&hub.socket, Permissions::from_mode(0o666)).unwrap();
    hub
}

fn client(socket: &Path, namespace: &str) -> Client {
    let mut client = Client::new(Options {
        socket: socket.to_owned(),
        inherited: None,
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 256 << 10,
    });
    client.set_namespace(&Namespace::new(namespace).unwrap());
    client
}

/// What a stranger with this namespace is told; nothing when it may come in.
fn refusal(socket: PathBuf, namespace: &'static str) -> Option<Error> {
    as_stranger(move || client(&socket, namespace).publish("a", &NewMessage::new(b"x")).err())
}

fn connect(socket: &Path) -> OwnedFd {
    let connection =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::connect(&connection, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    rustix::net::sockopt::set_socket_timeout(&connection, rustix::net::sockopt::Timeout::Recv, Some(DEADLINE)).unwrap();
    connection
}

fn send(connection: &OwnedFd, hello: &Hello, descriptors: &[BorrowedFd<'_>]) {
    let bytes = postcard::to_stdvec(hello).unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    rustix::net::sendmsg(connection, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

/// The next datagram, empty at the end of the connection, and how many descriptors came with it.
fn receive(connection: &OwnedFd) -> (Vec<u8>, usize) {
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::net::recvmsg(connection, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags);
    bytes.truncate(received.map_or(0, |received| received.bytes));
    let descriptors = control.drain().map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.count(),
        _ => 0,
    });
    (bytes, descriptors.sum())
}

#[test]
fn a_user_who_is_not_listed_is_refused_and_leaves_nothing_behind() {
    let hub = open_hub(&[("client_namespaces", "1:shop, 2:*")]);
    for namespace in ["", "shop"] {
        let Some(Error::AccessDenied(text)) = refusal(hub.socket.clone(), namespace) else { panic!("it came in") };
        assert!(text.contains(&format!("client_namespaces of this hub does not name uid {}", stranger())), "{text}");
    }
    let status = hub.hub.as_ref().unwrap().engine().status();
    assert_eq!((status.channels, status.messages), (0, 0));
    // Before anything that it brings is looked at.
    let socket = hub.socket.clone();
    as_stranger(move || {
        let connection = connect(&socket);
        send(&connection, &Hello::Attach { protocol: PROTOCOL }, &[std::io::stdin().as_fd()]);
        let (welcome, bells) = receive(&connection);
        let welcome: Welcome = postcard::from_bytes(&welcome).unwrap();
        assert!(matches!(welcome.refusal, Some(Error::AccessDenied(_))), "{welcome:?}");
        assert_eq!((bells, receive(&connection)), (0, (Vec::new(), 0)));
    });
    // Root may read the hub's memory anyway.
    if geteuid().is_root() {
        client(&hub.socket, "shop").publish("a", &NewMessage::new(b"x")).unwrap();
    }
}

#[test]
fn a_user_has_the_namespaces_of_its_entries() {
    let entry = |namespaces: &[&str]| -> String {
        namespaces.iter().map(|namespace| format!("{}:{namespace} ", stranger())).collect()
    };
    for (namespaces, may, may_not) in [
        (&["shop"][..], &["shop"][..], &["", "blog", "shop.test"][..]),
        (&["shop", "blog"], &["shop", "blog"], &["", "shop2"]),
        (&[""], &[""], &["shop"]),
        (&["*"], &["", "shop"], &[]),
    ] {
        let hub = open_hub(&[("client_namespaces", &entry(namespaces))]);
        for namespace in may {
            assert_eq!(refusal(hub.socket.clone(), namespace), None, "{namespaces:?}");
        }
        for namespace in may_not {
            let Some(Error::AccessDenied(text)) = refusal(hub.socket.clone(), namespace) else { panic!("{namespace}") };
            assert!(
                text.contains(&format!("the namespace \"{namespace}\"")) && text.contains("push.namespace"),
                "{text}"
            );
        }
    }
    if geteuid().is_root() {
        let hub = open_hub(&[("client_namespaces", "nobody:shop")]);
        assert_eq!(refusal(hub.socket.clone(), "shop"), None, "a user by its name");
    }
}

#[test]
fn a_namespace_that_cannot_be_is_refused() {
    let hub = open_hub(&[]);
    let (_, memfd) = Segment::create(16 << 10).unwrap();
    for namespace in ["a/b".to_owned(), "\0".to_owned(), "x".repeat(65), "*".to_owned()] {
        let connection = connect(&hub.socket);
        let hello = Hello::Within { protocol: PROTOCOL, namespace: namespace.clone(), subscribes: false };
        send(&connection, &hello, &[memfd.as_fd()]);
        let welcome: Welcome = postcard::from_bytes(&receive(&connection).0).unwrap();
        assert!(matches!(welcome.refusal, Some(Error::InvalidArgument(_))), "{namespace}: {welcome:?}");
    }
}

#[test]
fn who_is_taken_from_the_list_is_out_at_once_and_others_stay() {
    let config = |list: &str| {
        let mut config = Config::default();
        config.set("client_namespaces", list).unwrap();
        config
    };
    let mut hub = open_hub(&[("client_namespaces", &format!("{}:shop", stranger()))]);
    let socket = hub.socket.clone();
    let (stay, go) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    std::thread::scope(|threads| {
        let (attached, changed) = (stay.clone(), go.clone());
        let worker = threads.spawn(move || {
            as_stranger(move || {
                let mut client = client(&socket, "shop");
                client.publish("a", &NewMessage::new(b"x")).unwrap();
                attached.wait();
                changed.wait();
                client.publish("a", &NewMessage::new(b"y"))
            })
        });
        stay.wait();
        hub.hub.as_mut().unwrap().reconfigure(&Arc::new(config("1:*")));
        go.wait();
        let refused = worker.join().unwrap();
        assert!(matches!(refused, Err(Error::AccessDenied(_))), "{refused:?}");
    });
    let engine = hub.hub.as_ref().unwrap().engine();
    let listed = engine.list_channels(&Namespace::new("shop").unwrap(), "", "", 10);
    assert_eq!((listed.len(), listed[0].published), (1, 1));
}

#[test]
fn a_stranger_cannot_keep_the_hub_running() {
    let site = Site::new();
    let config = site.config(&[("client_namespaces", "1:shop"), ("socket_mode", "0666")]);
    let _running = Foreground::start(&site, &config);
    if !geteuid().is_root() {
        // Who runs the hub may.
        assert!(start_or_adopt(&config, Path::new(PROGRAM)).is_ok());
        return;
    }
    let socket = site.socket();
    as_another_stranger(|| {
        let connection = connect(&socket);
        let lease = Hello::Lease { protocol: PROTOCOL, build: "0".to_owned(), config_hash: 0 };
        send(&connection, &lease, &[]);
        let (text, leases) = receive(&connection);
        assert_eq!(leases, 0);
        assert!(String::from_utf8_lossy(&text).contains("does not name uid 2"), "{text:?}");
        let error = start_or_adopt(&config, Path::new(PROGRAM)).unwrap_err().to_string();
        assert!(error.contains(&socket.display().to_string()) && error.contains("client_namespaces"), "{error}");
    });
    // Root, as the master of php-fpm is, and the user of the hub.
    assert!(start_or_adopt(&config, Path::new(PROGRAM)).is_ok());
    assert!(as_stranger(|| start_or_adopt(&config, Path::new(PROGRAM)).is_ok()));
}

#[test]
fn only_one_whose_end_is_the_hubs_has_everybody_answered() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("socket_mode", "0666")]));
    let mut waits = support::Client::new(site.listen);
    waits.get("/sub/a", "");
    let seated = || client(&site.socket(), "").channel_info("a").unwrap().is_some_and(|info| info.subscribers == 1);
    wait_until("the subscriber is seated", seated);
    let socket = site.socket();
    let say = || {
        let connection = connect(&socket);
        send(&connection, &Hello::Ending, &[]);
        assert_eq!(receive(&connection), (Vec::new(), 0), "it is heard, and not answered");
    };
    // By root, or who runs this; and by somebody who could be the first process of a container.
    say();
    as_stranger(say);
    if geteuid().is_root() {
        as_another_stranger(say);
    }
    assert!(waits.is_silent());
    assert!(seated());
}

/// The hub of a site runs as `nobody`, who is no stranger to it.
fn as_another_stranger<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let switched = || {
        let (uid, gid) = (Uid::from_raw(2), Gid::from_raw(2));
        rustix::thread::set_thread_groups(&[]).unwrap();
        rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        work()
    };
    std::thread::scope(|threads| threads.spawn(switched).join().unwrap())
}

#[test]
fn one_user_has_so_many_clients_and_others_have_theirs() {
    let hub = open_hub(&[("max_clients_per_uid", "3")]);
    let socket = hub.socket.clone();
    as_stranger(|| {
        let mut clients: Vec<Client> = (0..3).map(|_| client(&socket, "")).collect();
        for client in &mut clients {
            assert!(client.ping(DEADLINE));
        }
        let mut one_more = client(&socket, "");
        let refused = one_more.publish("a", &NewMessage::new(b"x"));
        let limit = Limit::Clients { uid: stranger(), limit: 3 };
        assert_eq!(refused, Err(Error::LimitExceeded(limit)));
        assert!(limit.to_string().contains("max_clients_per_uid allows (3)"));
        clients.pop();
        wait_until("the place is free", || one_more.publish("a", &NewMessage::new(b"x")).is_ok());
        if geteuid().as_raw() != stranger() {
            return;
        }
        assert!(clients[0].ping(DEADLINE), "who is there stays");
    });
    if geteuid().is_root() {
        assert!(client(&hub.socket, "").ping(DEADLINE));
    }
}

#[test]
fn one_user_has_so_much_memory() {
    let hub = open_hub(&[("max_client_bytes_per_uid", "1m")]);
    let socket = hub.socket.clone();
    as_stranger(move || {
        // 4 KB, 256 KB and 64 KB each.
        let each = (4 << 10) + (256 << 10) + (64 << 10);
        let mut clients: Vec<Client> = (0..3).map(|_| client(&socket, "")).collect();
        for client in &mut clients {
            assert!(client.ping(DEADLINE));
        }
        let mut one_more = client(&socket, "");
        let limit = Limit::ClientBytes { uid: stranger(), held: 3 * each, wanted: each, limit: 1 << 20 };
        assert_eq!(one_more.publish("a", &NewMessage::new(b"x")), Err(Error::LimitExceeded(limit)));
        assert!(limit.to_string().contains("max_client_bytes_per_uid (1048576)"), "{limit}");
        clients.pop();
        wait_until("there is room", || one_more.publish("a", &NewMessage::new(b"x")).is_ok());
    });
}

#[test]
fn connections_that_say_nothing_are_counted_and_let_go() {
    let hub = open_hub(&[("max_clients_per_uid", "4")]);
    let socket = hub.socket.clone();
    as_stranger(|| {
        let begun = Instant::now();
        let silent: Vec<OwnedFd> = (0..100).map(|_| connect(&socket)).collect();
        // Those above the limit end at once, without having said a word.
        let mut ended = 0;
        wait_until("most are closed", || {
            let closed = |connection: &&OwnedFd| {
                matches!(rustix::net::recv(connection, &mut [0_u8; 1], RecvFlags::DONTWAIT), Ok((_, 0)))
            };
            ended = silent.iter().filter(closed).count();
            ended >= 80
        });
        assert!(begun.elapsed() < Duration::from_secs(2), "before the others are given up: {:?}", begun.elapsed());
        assert_eq!(ended, 80, "4, and 16 that would have been told");
        let told = client(&socket, "").publish("a", &NewMessage::new(b"x"));
        assert!(told.is_err(), "no place is left");
        // They are let go, and the user may come again.
        wait_until("there is a place", || client(&socket, "").ping(DEADLINE));
    });
    if geteuid().is_root() {
        assert!(client(&hub.socket, "").ping(DEADLINE));
    }
}

#[test]
fn what_strangers_send_leaves_no_descriptors_behind() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[("client_namespaces", "1:*"), ("socket_mode", "0666")]));
    let pid = site.hub();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count);
    let Ok(_) = open() else {
        // Only root may look into a process that has changed its user.
        return;
    };
    let held = || open().expect("the hub runs");
    let socket = site.socket();
    // All of it twice: the first time the hub may still open what it needs itself.
    send_everything(&socket);
    let before = held();
    send_everything(&socket);
    wait_until("all descriptors are closed", || held() <= before);
    assert_eq!(site.hub(), pid);
}

/// As somebody who is not listed, until the hub has closed each connection.
fn send_everything(socket: &Path) {
    as_stranger(|| {
        let (_, memfd) = Segment::create(16 << 10).unwrap();
        for hello in [
            Hello::Attach { protocol: PROTOCOL },
            Hello::Attach { protocol: 77 },
            Hello::Subscribe { protocol: PROTOCOL },
            Hello::Within { protocol: PROTOCOL, namespace: "x".to_owned(), subscribes: false },
            Hello::Lease { protocol: PROTOCOL, build: "0".to_owned(), config_hash: 0 },
            Hello::Ending,
        ] {
            for count in [1, 2, 3, 253] {
                for _ in 0..5 {
                    let connection = connect(socket);
                    send(&connection, &hello, &vec![memfd.as_fd(); count]);
                    while !receive(&connection).0.is_empty() {}
                }
            }
        }
    });
}

#[test]
fn a_list_with_an_unknown_user_is_refused_at_the_start_and_at_a_reload() {
    let site = Site::new();
    let wrong = site.config(&[("client_namespaces", "nosuchuser:shop")]);
    let error = start_or_adopt(&wrong, Path::new(PROGRAM)).unwrap_err().to_string();
    assert!(error.contains("client_namespaces: user nosuchuser: there is no such user"), "{error}");
    let running = Foreground::start(&site, &site.config(&[("client_namespaces", "2:shop")]));
    site.write(&wrong);
    signal(running.pid(), Signal::HUP);
    wait_until("the log says so", || site.log().contains("user nosuchuser: there is no such user"));
    site.write(&site.config(&[("client_namespaces", "2:shop, 3:shop")]));
    signal(running.pid(), Signal::HUP);
    wait_until("it is taken over", || site.log().contains("changed from now on: client_namespaces"));
}

#[test]
fn places_are_given_back() {
    let mut config = Config::default();
    config.set("max_clients_per_uid", "1").unwrap();
    let admission = Admission::new(&config);
    let namespace = Namespace::default();
    for _ in 0..3 {
        let mut place = admission.enter(7).unwrap();
        assert_eq!((place.admit(&namespace), place.take(1 << 20)), (Ok(()), Ok(())));
        let second = admission.enter(7).unwrap();
        assert!(matches!(second.admit(&namespace), Err(Error::LimitExceeded(_))));
        assert!(admission.enter(8).unwrap().admit(&namespace).is_ok());
    }
}

#[test]
fn what_a_worker_does_to_what_it_inherited_hurts_nobody() {
    let site = Site::new();
    let started = start_or_adopt(&site.config(&[("linger", "0s")]), Path::new(PROGRAM)).unwrap();
    let pid = site.hub();
    let inherited = || Options {
        socket: PathBuf::from("/nowhere"),
        inherited: Some(started.attach.try_clone().unwrap()),
        timeout: DEADLINE,
        backoff: Duration::from_millis(1),
        ring_size: 64 << 10,
    };
    let mut other = Client::new(inherited());
    other.publish("a", &NewMessage::new(b"before")).unwrap();
    // One worker has turned against the others. It has what the master left it, and connections of its own.
    as_stranger(|| {
        for descriptor in [&started.lease, &started.attach] {
            let copy = descriptor.try_clone().unwrap();
            let _ = rustix::net::shutdown(&copy, rustix::net::Shutdown::Both);
            let _ = rustix::io::write(&copy, &[0xff; 4096]);
            let _ = rustix::io::ioctl_fionbio(&copy, true);
            let _ = rustix::fs::ftruncate(&copy, 0);
        }
        let own = connect(Path::new(&format!("/proc/self/fd/{}", started.attach.as_raw_fd())));
        rustix::net::shutdown(&own, rustix::net::Shutdown::Both).unwrap();
    });
    other.publish("a", &NewMessage::new(b"attached before")).unwrap();
    Client::new(inherited()).publish("a", &NewMessage::new(b"attached after")).unwrap();
    assert_eq!(other.channel_info("a").unwrap().unwrap().published, 3);
    assert_eq!(site.hub(), pid, "the hub is kept");
    drop(started);
    wait_until("it ends with the lease", || site.keeper().is_none());
}
