//! The keeper dies, and the hub gives it back. The real program, whose processes are killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use push_core::keeper::How;
use push_core::message::{NewMessage, Position};
use rustix::process::Signal;
use support::process::*;
use support::stream::Stream;
use support::websocket::WebSocket;
use support::{Client, seccomp, wait_until};

const RESTORED: &str = "push-hub: restored keeper";
const HUB: &str = "push-hub: hub";

/// Kills the keeper and waits for the next one.
fn kill_keeper(site: &Site) -> i32 {
    let before = site.keeper().unwrap();
    signal(before, Signal::KILL);
    await_keeper(site, before)
}

/// The keeper after that one.
fn await_keeper(site: &Site, before: i32) -> i32 {
    let mut keeper = before;
    wait_until("there is another keeper", || {
        // Each question is a connection: asked without a pause they are a flood, of which the hub refuses a part.
        std::thread::sleep(Duration::from_millis(2));
        keeper = site.keeper().unwrap_or_else(|| panic!("nobody listens\n{}", site.log()));
        keeper != before
    });
    assert_eq!(command_line(keeper), RESTORED, "{}", site.log());
    keeper
}

/// The hub after that one.
fn await_hub(site: &Site, before: i32) -> i32 {
    let mut hub = before;
    wait_until("there is another hub", || {
        hub = attach(&site.socket()).status().map_or(before, |status| status.pid as i32);
        hub != before
    });
    hub
}

fn message(text: &str) -> NewMessage<'_> {
    NewMessage::new(text.as_bytes())
}

fn subscribers(site: &Site, channel: &str) -> u64 {
    attach(&site.socket()).channel_info(channel).unwrap().map_or(0, |info| u64::from(info.subscribers))
}

/// Everything that the hub stored of the channel.
fn texts(site: &Site, channel: &str) -> Vec<String> {
    let history = attach(&site.socket()).history(channel, Position::START, 10_000).unwrap();
    history.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
}

#[test]
fn a_killed_keeper_is_replaced_and_nobody_notices() {
    let site = Site::new();
    let running = Foreground::start(&site, &site.config(&[("longpolling_connection_ttl", "none")]));
    let hub = site.serving();
    let mut client = attach(&site.socket());
    client.publish("b", &message("stored")).unwrap();
    let mut poll = Client::new(site.listen);
    poll.get("/sub/a", "");
    let mut stream = Client::new(site.listen);
    stream.get("/stream/a", "");
    let (_, mut stream) = Stream::open(stream);
    let (_, mut socket) = WebSocket::open(Client::new(site.listen), "/ws/a", "");
    wait_until("all are there", || subscribers(&site, "a") == 3);

    let restored = kill_keeper(&site);
    assert_eq!(stat(restored).unwrap().1, hub, "the hub started it");
    let expected = [
        format!(
            "the keeper (pid {}) ended: cause unknown, because another process was its parent; the next in 0ns",
            running.pid()
        ),
        format!("a new keeper (pid {restored}) watches the hub (pid {hub})"),
    ];
    wait_until("the log says so", || expected.iter().all(|line| site.log().contains(line)));
    assert!(!site.log().contains(&format!("the hub (pid {hub}) ended")), "{}", site.log());
    assert_eq!(client.publish("a", &message("1")).unwrap().subscribers, 3);
    assert_eq!(poll.response().text(), "1");
    stream.expect("1");
    assert_eq!(socket.text(), "1");
    assert_eq!(site.serving(), hub);

    // Of the one that it started the hub knows how it ended.
    let second = kill_keeper(&site);
    wait_until("the log names the cause", || {
        site.log().contains(&format!("the keeper (pid {restored}) ended: signal 9; the next in "))
    });
    assert_eq!(stat(restored), None, "the hub took its exit");

    // The restored one restores the hub; calls in the ring reach it.
    signal(hub, Signal::KILL);
    let next = await_hub(&site, hub);
    assert!(site.log().contains(&format!("the hub (pid {hub}) ended: cause unknown")), "{}", site.log());
    assert_eq!(stat(next).unwrap().1, second);
    assert_eq!(client.publish("a", &message("2")).unwrap().id, 2);
    assert_eq!(texts(&site, "b"), ["stored"]);
    signal(next, Signal::KILL);
    await_hub(&site, next);
    assert!(site.log().contains(&format!("the hub (pid {next}) ended: signal 9")), "{}", site.log());
}

#[test]
fn twenty_keepers_in_a_row_cost_nobody_a_connection() {
    const KILLS: usize = 20;
    let site = Site::new();
    let settings = [("longpolling_connection_ttl", "none"), ("max_messages_stored_per_channel", "none")];
    let _running = Foreground::start(&site, &site.config(&settings));
    let hub = site.serving();
    let mut quiet = Client::new(site.listen);
    quiet.get("/sub/quiet", "");
    let (_, mut socket) = WebSocket::open(Client::new(site.listen), "/ws/a", "");
    wait_until("both are there", || subscribers(&site, "quiet") == 1 && subscribers(&site, "a") == 1);
    let descriptors = || fs::read_dir(format!("/proc/{hub}/fd")).map(Iterator::count).ok();
    let before = descriptors();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = Stop(&done);
        let publisher = scope.spawn(|| {
            let mut client = attach(&site.socket());
            let mut count = 0_u64;
            while !done.load(Ordering::Relaxed) {
                count += 1;
                let published = client.publish("a", &message(&count.to_string()));
                assert_eq!(published.map(|published| (published.id, published.subscribers)), Ok((count, 1)));
                // Others share the processor.
                std::thread::sleep(Duration::from_millis(1));
            }
            count
        });
        let comes = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // A client that comes at any moment is served, and kept for the next hub.
                attach(&site.socket()).publish("c", &message("x")).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        for _ in 0..KILLS {
            kill_keeper(&site);
        }
        drop(stop);
        let count = publisher.join().unwrap();
        comes.join().unwrap();
        for number in 1..=count {
            assert_eq!(socket.text(), number.to_string());
        }
    });
    assert_eq!(site.serving(), hub);
    for wait in ["0ns", "10ms"] {
        assert!(site.log().contains(&format!("the next in {wait}\n")), "{wait}\n{}", site.log());
    }
    assert!(children(hub).len() == 1, "zombies are left");
    wait_until("no descriptor is left behind", || descriptors() <= before);
    assert!(quiet.is_silent());
    attach(&site.socket()).publish("quiet", &message("x")).unwrap();
    assert_eq!(quiet.response().text(), "x");
}

#[test]
fn a_restored_keeper_takes_signals_as_the_first_one_did() {
    let site = Site::new();
    let config = site.config(&[]);
    let _running = Foreground::start(&site, &config);
    let hub = site.serving();
    let keeper = kill_keeper(&site);
    // SIGHUP: it knows where the configuration is.
    site.write(&site.config(&[("max_number_of_channels", "1")]));
    signal(keeper, Signal::HUP);
    wait_until("it is read again", || site.log().contains("SIGHUP: changed from now on: max_number_of_channels"));
    // The next keeper, and the next hub, have it from the hub.
    let keeper = kill_keeper(&site);
    signal(hub, Signal::KILL);
    let hub = await_hub(&site, hub);
    let mut client = attach(&site.socket());
    client.publish("a", &message("x")).unwrap();
    assert!(client.publish("b", &message("x")).unwrap_err().to_string().contains("max_number_of_channels allows (1)"));
    // SIGUSR1: both write to the new file.
    let log = site.path("hub.log");
    fs::rename(&log, site.path("old.log")).unwrap();
    fs::write(&log, "").unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&log, Some(65534), None).unwrap();
    }
    signal(keeper, Signal::USR1);
    wait_until("both have opened it", || site.log().matches("the log was opened again").count() == 2);
    // A restored keeper writes there, too.
    let keeper = kill_keeper(&site);
    wait_until("it writes there", || site.log().contains(&format!("a new keeper (pid {keeper})")));
    // SIGTERM: who waits is answered, and the files are removed.
    let mut waiting = Client::new(site.listen);
    waiting.get("/sub/a", "");
    wait_until("somebody waits", || subscribers(&site, "a") == 1);
    signal(keeper, Signal::TERM);
    assert_eq!(waiting.response().status, 304);
    wait_until("both end", || gone(keeper) && gone(hub));
    for file in ["hub.sock", "hub.sock.fpm", "admin.sock"] {
        assert!(!site.path("run").join(file).exists(), "{file} is left: {}", site.log());
    }
}

#[test]
fn leases_outlive_the_keeper() {
    let site = Site::new();
    let config = site.config(&[("linger", "0s")]);
    let mut first = Leased::start(&site, &config);
    let mut second = Leased::start(&site, &config);
    let hub = site.serving();
    let keeper = kill_keeper(&site);
    first.give_up();
    // A master that comes now has its lease from the hub, through the new keeper.
    let mut third = Leased::start(&site, &config);
    assert_eq!((third.how(), third.keeper), (How::Adopted, keeper));
    second.give_up();
    let keeper = kill_keeper(&site);
    attach(&site.socket()).publish("a", &message("still here")).unwrap();
    assert_eq!(site.serving(), hub);
    signal(keeper, Signal::HUP);
    wait_until("the log says so", || site.log().contains("SIGHUP changes no key: php-fpm gave this hub"));
    (first.keeper, second.keeper, third.keeper) = (keeper, keeper, keeper);
    third.give_up();
    wait_until("keeper and hub end with the last lease", || gone(keeper) && gone(hub));
    assert!(!site.socket().exists() && !site.path("run/hub.sock.fpm").exists());
}

#[test]
fn a_restored_keeper_hands_its_hub_over() {
    let site = Site::new();
    let mut leased = Leased::start(&site, &site.config(&[("linger", "5s")]));
    let hub = site.serving();
    attach(&site.socket()).publish("a", &message("stored")).unwrap();
    kill_keeper(&site);
    let how = leased.reload(&site.config(&[("linger", "5s"), ("message_ttl", "1h")]), Path::new(PROGRAM));
    assert!(matches!(how, How::TookOver { .. }), "{how:?}\n{}", site.log());
    assert_ne!(site.serving(), hub);
    assert_eq!(texts(&site, "a"), ["stored"]);
    // The new keeper and its hub restore each other as those before did.
    kill_keeper(&site);
    let hub = site.serving();
    signal(hub, Signal::KILL);
    await_hub(&site, hub);
    assert_eq!(texts(&site, "a"), ["stored"]);
    leased.keeper = site.keeper().unwrap();
    signal(leased.keeper, Signal::TERM);
    wait_until("it ends", || gone(leased.keeper));
    for file in ["hub.sock", "hub.sock.fpm", "admin.sock"] {
        assert!(!site.path("run").join(file).exists(), "{file} is left: {}", site.log());
    }
}

#[test]
fn a_lease_that_ended_while_there_was_no_keeper_is_missed_by_the_next() {
    let site = Site::new();
    let mut leased = Leased::start(&site, &site.config(&[("linger", "0s")]));
    let hub = site.serving();
    support::stop_process(hub);
    signal(leased.keeper, Signal::KILL);
    leased.give_up();
    signal(hub, Signal::CONT);
    wait_until("both end", || gone(hub));
    assert!(site.log().contains("no PHP master holds this hub any more"), "{}", site.log());
    wait_until("the files are gone", || !site.socket().exists());
}

#[test]
fn a_keeper_killed_while_a_hub_starts_is_given_back_by_that_hub() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    for round in 1..=6 {
        let (keeper, hub) = (site.keeper().unwrap(), site.serving());
        let text = round.to_string();
        attach(&site.socket()).publish("a", &message(&text)).unwrap();
        signal(hub, Signal::KILL);
        let next = || children(keeper).into_iter().find(|pid| *pid != hub && !gone(*pid) && command_line(*pid) == HUB);
        wait_until("a hub starts", || next().is_some());
        signal(keeper, Signal::KILL);
        await_keeper(&site, keeper);
        await_hub(&site, hub);
        assert_eq!(texts(&site, "a").len(), round, "{}", site.log());
    }
}

#[test]
fn a_hub_killed_while_a_keeper_starts_is_given_back_by_that_keeper() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    for round in 1..=6 {
        let (keeper, hub) = (site.keeper().unwrap(), site.serving());
        attach(&site.socket()).publish("a", &message(&round.to_string())).unwrap();
        signal(keeper, Signal::KILL);
        let next = || children(hub).into_iter().find(|pid| *pid != keeper && command_line(*pid) == RESTORED);
        wait_until("a keeper starts", || next().is_some());
        signal(hub, Signal::KILL);
        await_hub(&site, hub);
        await_keeper(&site, keeper);
        assert_eq!(texts(&site, "a").len(), round, "{}", site.log());
    }
}

#[test]
fn nothing_is_left_of_both_killed_at_once() {
    let site = Site::new();
    let _running = Foreground::start(&site, &site.config(&[]));
    let (keeper, hub) = (site.keeper().unwrap(), site.serving());
    kill_both(keeper);
    wait_until("both are gone", || gone(keeper) && gone(hub));
    // The last thread of a process closes its descriptors.
    wait_until("nobody listens", || site.keeper().is_none());
    assert!(attach(&site.socket()).publish("a", &message("x")).is_err());
    assert!(std::net::TcpStream::connect(site.listen).is_err());
}

/// Starts it where numbers of processes begin anew; what `shell` starts as `"$0" --config "$1"` lives as long as `shell`.
fn contained(site: &Site, shell: &str) -> Option<Foreground> {
    let file = site.write(&site.config(&[]));
    let apart = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let allowed = Command::new("unshare").args(apart).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("only root makes a namespace of process numbers");
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(apart).args(["sh", "-c", shell, PROGRAM]).arg(file);
    Some(Foreground::start_by(&mut command, site))
}

/// What Docker and Podman deny in a container that has no capabilities.
const DENIED: [libc::c_long; 47] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_get_mempolicy,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_personality,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

#[test]
fn what_containers_deny_is_not_needed() {
    let site = Site::new();
    let error = |number: i32| libc::SECCOMP_RET_ERRNO | number as u32;
    // Of this one the C library expects to hear that there is no such call.
    let filters =
        [seccomp::filter(&DENIED, error(libc::EPERM)), seccomp::filter(&[libc::SYS_clone3], error(libc::ENOSYS))];
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(site.write(&site.config(&[])));
    let hold = move || filters.iter().try_for_each(|filter| seccomp::hold_to(filter, 0).map(drop));
    // SAFETY: it makes system calls only.
    unsafe { command.pre_exec(hold) };
    let _running = Foreground::start_by(&mut command, &site);
    let held = |pid: i32| assert_eq!(status_field(pid, "Seccomp"), "2", "by filters");
    for round in 0..3 {
        let hub = site.serving();
        held(hub);
        site.publish("a", "x");
        assert_eq!(texts(&site, "a").len(), 2 * round + 1);
        signal(hub, Signal::KILL);
        await_hub(&site, hub);
        site.publish("a", "y");
        held(kill_keeper(&site));
    }
}

fn zombies(parent: i32) -> usize {
    children(parent).into_iter().map(|pid| usize::from(gone(pid)) + zombies(pid)).sum()
}

/// Kills hubs and keepers by turns; each is replaced.
fn kill_by_turns(site: &Site, keepers: usize) {
    let serves = || site.log().matches("a new hub serves").count();
    for _ in 0..keepers {
        kill_keeper(site);
        let before = serves();
        let keeper = site.keeper().unwrap();
        // The hub that started this keeper, or which it started.
        let related = children(keeper).into_iter().chain(stat(keeper).map(|(_, parent)| parent));
        let hub = related.into_iter().find(|pid| command_line(*pid) == HUB).unwrap();
        signal(hub, Signal::KILL);
        wait_until("the next hub serves", || serves() > before);
    }
}

#[test]
fn as_process_1_the_keeper_leaves_no_zombies() {
    let site = Site::new();
    let Some(running) = contained(&site, "exec \"$0\" --config \"$1\"") else { return };
    for round in 1..=4 {
        signal(site.hub(), Signal::KILL);
        wait_until("the next hub serves", || site.log().matches("a new hub serves").count() == round);
    }
    site.publish("a", "x");
    assert_eq!(zombies(running.pid()), 0);
}

#[test]
fn where_process_1_takes_exits_no_zombies_are_left() {
    let site = Site::new();
    // The shell waits for whatever ends, also for those whose parent has ended.
    let Some(running) = contained(&site, "\"$0\" --config \"$1\" & while :; do wait; sleep 0.01; done") else { return };
    kill_by_turns(&site, 3);
    site.publish("a", "x");
    wait_until("no zombies are left", || zombies(running.pid()) == 0);
}

#[test]
fn where_process_1_takes_no_exits_only_those_without_a_parent_stay() {
    let site = Site::new();
    let Some(running) = contained(&site, "\"$0\" --config \"$1\" & exec sleep 1000") else { return };
    // The first keeper was left to process 1; those after it are children of the hub.
    for _ in 0..4 {
        kill_keeper(&site);
    }
    site.publish("a", "x");
    assert_eq!(zombies(running.pid()), 1);
}

/// Also when a thread fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
