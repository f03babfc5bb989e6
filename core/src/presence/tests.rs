//! Presence against a simple model: tabs that come, poll, go, break and are lost without a word; PHP; a hub that is reloaded
//! or killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::identity::{MAX_INFO, MAX_USER};
use crate::online::Secret;
use crate::shm::set::{Set, View};

const SETTINGS: Settings = Settings { grace: 15 * SECOND, ttl: 60, diff_members: 100, count_members: 1_000 };
const USERS: [&str; 4] = ["ada", "bob", "cyn", "dan"];

fn channel(name: &str) -> Place {
    Place::Channel(ChannelName::new(name.as_bytes(), 255).expect("a name"))
}

/// A hub and its journal, as far as presence concerns them.
struct Hub {
    presence: Presence,
    head: Position,
    journal: BTreeMap<u32, (Place, String, String, u32, u32)>,
    records: u32,
    now: Now,
    /// What other processes see.
    view: Option<View>,
}

/// Of all hubs.
fn secret() -> Secret {
    static SECRET: OnceLock<Secret> = OnceLock::new();
    *SECRET.get_or_init(|| Secret::random().expect("random numbers"))
}

fn address(number: u32) -> Address {
    Address { segment: number, offset: 0 }
}

impl Hub {
    fn new(settings: Settings) -> Self {
        let head = Position { time: 1_000, tag: 0 };
        let (presence, now) = (Presence::new(settings, head), Now { tick: 0, second: 1_000 });
        Self { presence, head, journal: BTreeMap::new(), records: 0, now, view: None }
    }

    fn share(&mut self) {
        let (set, file) = Set::create(1_000).expect("memory");
        self.presence.share(Shared::new(set, secret()));
        self.view = Some(View::open(&file).expect("a set"));
    }

    fn change<T>(&mut self, work: impl FnOnce(&mut Presence, Now, Stamp<'_>) -> T) -> T {
        let head = &mut self.head;
        let result = work(&mut self.presence, self.now, &mut || {
            head.tag += 1;
            *head
        });
        let mut effects = std::mem::take(&mut self.presence.effects);
        for (room, user) in effects.changed.drain(..) {
            let Some(kept) = self.presence.kept(room, user, self.now) else { continue };
            self.records += 1;
            let record = (kept.place.clone(), kept.user.to_owned(), kept.info.to_owned(), kept.since, kept.lease);
            self.journal.insert(self.records, record);
            effects.gone.extend(self.presence.set_record(room, user, Some(address(self.records))));
        }
        for record in effects.gone {
            assert!(self.journal.remove(&record.segment).is_some(), "a record is released once");
        }
        result
    }

    fn pass(&mut self, ticks: Tick) {
        let end = self.now.tick + ticks;
        // As the hub does it: no later than the next deadline.
        while self.presence.next_deadline() <= end {
            let tick = self.presence.next_deadline().max(self.now.tick);
            self.set_tick(tick);
            while self.change(|presence, now, stamp| presence.expire(now, stamp)) {}
        }
        self.set_tick(end);
    }

    fn set_tick(&mut self, tick: Tick) {
        self.now = Now { tick, second: 1_000 + tick / SECOND };
    }

    fn enter(&mut self, place: &Place, user: &str) -> UserId {
        self.change(|presence, now, stamp| presence.touch(place, user, b"", now, stamp));
        let id = self.presence.hold_user("", user);
        self.presence.connect(place, id);
        id
    }

    fn leave(&mut self, place: &Place, user: UserId) {
        self.change(|presence, now, _| {
            presence.disconnect(place, user, now);
            presence.release(user);
        });
    }

    /// A reader comes, and waits.
    fn watch(&mut self, place: &Place, thread: ThreadId) {
        self.change(|presence, now, stamp| presence.attend(place, now, stamp));
        self.presence.watch(place, thread);
    }

    /// The hub is killed, and the next one finds the journal.
    fn crash(&mut self, settings: Settings) {
        // It begins after every position that was given.
        self.head = Position { time: self.head.time + 1, tag: 0 };
        self.presence = Presence::new(settings, self.head);
        for (number, (place, user, info, since, lease)) in self.journal.clone() {
            let kept = Kept { place: &place, user: &user, info: &info, since, lease };
            let replaced = self.presence.restore(kept, address(number), self.now).expect("it was let in before");
            assert_eq!(replaced, None);
        }
        if self.view.is_some() {
            self.share();
        }
    }

    fn users(&self, place: &Place) -> BTreeSet<String> {
        let page = self.presence.members(place, "", usize::MAX, usize::MAX);
        assert_eq!((page.count, page.more), (page.members.len(), false));
        let users: BTreeSet<String> = page.members.into_iter().map(|member| member.user).collect();
        if let Some(view) = &self.view {
            let key = secret().key(place.namespace());
            for user in USERS {
                let number = key.number(place.channel().map(|name| &**name), user);
                assert_eq!(view.contains(number), Some(users.contains(user)), "others see that of {user}");
            }
        }
        users
    }
}

/// What a reader of a feed knows.
#[derive(Clone, Debug, Default)]
struct Reader {
    position: Option<Position>,
    /// Nothing is collected before it is told.
    hears_each: bool,
    members: BTreeSet<String>,
    counted: Option<usize>,
}

impl Reader {
    /// Reads on, as a long-poll does.
    fn read(&mut self, hub: &Hub, place: &Place) {
        match hub.presence.missed(place, self.position, false) {
            Missed::All(text) => self.hear(&text, false),
            Missed::Later(said) => said.iter().for_each(|(position, text)| {
                assert!(Some(*position) > self.position);
                self.hear(text, true);
            }),
        }
        self.position = Some(hub.head);
    }

    /// `exact`: it knows what was there before, so that nobody leaves who is not there, and nobody joins who is.
    fn hear(&mut self, text: &[u8], exact: bool) {
        let said: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        let users = |key: &str| -> Vec<String> {
            let list = said[key].as_array().expect("a list").iter();
            list.map(|user| user["user"].as_str().or(user.as_str()).expect("a name").to_owned()).collect()
        };
        match said["type"].as_str().expect("a type") {
            "snapshot" => {
                self.members = users("members").into_iter().collect();
                self.counted = None;
            }
            "diff" => {
                assert_eq!(self.counted, None, "a difference to a number");
                for user in users("leaves") {
                    assert!(self.members.remove(&user) || !exact, "{user} leaves and was not there");
                }
                for user in users("joins") {
                    // Of who left and came again while news were collected the new one is told.
                    assert!(
                        self.members.insert(user.clone()) || !exact || !self.hears_each,
                        "{user} joins and was there"
                    );
                }
            }
            "count" => {
                self.members.clear();
                self.counted = Some(said["count"].as_u64().expect("a number") as usize);
                return;
            }
            other => panic!("{other}"),
        }
        assert_eq!(said["count"].as_u64(), Some(self.members.len() as u64), "{said}");
    }

    fn knows(&self, truth: &BTreeSet<String>) -> bool {
        self.counted.map_or(self.members == *truth, |count| count == truth.len())
    }
}

#[test]
fn a_member_stays_between_two_polls_and_leaves_a_grace_after_the_last() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    for _ in 0..10 {
        let poll = hub.enter(&lobby, "ada");
        hub.pass(250);
        hub.leave(&lobby, poll);
        hub.pass(149);
    }
    assert_eq!(hub.presence.counters(), (1, 1, 0));
    hub.pass(1);
    assert!(hub.presence.is_online(&lobby, "ada"));
    hub.pass(2);
    assert_eq!(hub.presence.counters(), (0, 1, 1));
    assert_eq!(hub.journal.len(), 0);
    assert_eq!(hub.presence.allocated(), 0);
}

#[test]
fn several_tabs_are_one_member() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    let tabs = [hub.enter(&lobby, "ada"), hub.enter(&lobby, "ada"), hub.enter(&lobby, "ada")];
    assert_eq!(hub.presence.get(&lobby, "ada").expect("a member").connections, 3);
    hub.leave(&lobby, tabs[0]);
    hub.leave(&lobby, tabs[1]);
    hub.pass(1_000);
    assert_eq!(hub.presence.counters(), (1, 1, 0));
    hub.leave(&lobby, tabs[2]);
    hub.pass(151);
    assert_eq!(hub.presence.counters(), (0, 1, 1));
}

#[test]
fn a_connection_takes_a_lease_over() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    let online = |hub: &mut Hub, ttl| {
        let said = |presence: &mut Presence, now, stamp: Stamp<'_>| {
            presence.online(&channel("lobby"), "ada", b"{\"n\":1}", Some(ttl), now, stamp)
        };
        hub.change(said).expect("allowed")
    };
    assert!(online(&mut hub, 60));
    assert!(!online(&mut hub, 600), "nothing new");
    let tab = hub.enter(&lobby, "ada");
    hub.pass(10);
    hub.leave(&lobby, tab);
    hub.pass(152);
    assert!(!hub.presence.is_online(&lobby, "ada"), "the lease went on after the connection");

    assert!(online(&mut hub, 1));
    let tab = hub.enter(&lobby, "ada");
    hub.pass(100);
    assert!(hub.presence.is_online(&lobby, "ada"), "the lease ended, the connection is there");
    assert!(!online(&mut hub, 60));
    hub.leave(&lobby, tab);
    hub.pass(590);
    assert!(hub.presence.is_online(&lobby, "ada"), "said while the connection was there");
    hub.pass(20);
    assert!(!hub.presence.is_online(&lobby, "ada"));
}

#[test]
fn who_is_set_offline_is_so_until_another_connection_comes() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    let first = hub.enter(&lobby, "ada");
    let offline =
        |presence: &mut Presence, now, stamp: Stamp<'_>| presence.offline(&channel("lobby"), "ada", now, stamp);
    assert!(hub.change(offline).expect("a user"));
    assert!(!hub.change(offline).expect("a user"));
    assert!(hub.users(&lobby).is_empty() && hub.presence.channels("", "ada").is_empty());
    let second = hub.enter(&lobby, "ada");
    assert_eq!(hub.presence.get(&lobby, "ada").expect("a member").connections, 2);
    hub.leave(&lobby, first);
    assert!(hub.change(offline).expect("a user"));
    hub.leave(&lobby, second);
    assert_eq!(hub.presence.counters(), (0, 2, 2));
    assert_eq!(hub.presence.allocated(), 0, "nothing is left of it");
}

#[test]
fn whoever_could_not_be_shown_counts_when_others_of_the_user_end() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    // There was no memory to show the user when this one came.
    let first = hub.presence.hold_user("", "ada");
    hub.presence.connect(&lobby, first);
    assert!(hub.users(&lobby).is_empty());
    let second = hub.enter(&lobby, "ada");
    hub.leave(&lobby, first);
    hub.pass(2 * SETTINGS.grace);
    assert_eq!(hub.presence.get(&lobby, "ada").expect("still there").connections, 1);
    hub.leave(&lobby, second);
    hub.pass(2 * SETTINGS.grace);
    assert_eq!((hub.presence.counters(), hub.presence.allocated()), ((0, 1, 1), 0));
}

#[test]
fn all_leave_when_presence_is_turned_off_and_those_who_are_there_come_back_with_it() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    let (first, second) = (hub.enter(&lobby, "ada"), hub.enter(&lobby, "ada"));
    let gone = hub.enter(&lobby, "bob");
    hub.leave(&lobby, gone);
    let away = hub.enter(&lobby, "cyn");
    hub.change(|presence, now, stamp| presence.online(&lobby, "dan", b"", None, now, stamp)).expect("a user");
    hub.watch(&lobby, 0);
    let mut reader = Reader::default();
    reader.read(&hub, &lobby);
    assert_eq!(reader.members.len(), 4);
    hub.change(|presence, now, stamp| presence.switch(&lobby, false, now, stamp));
    reader.read(&hub, &lobby);
    assert!(reader.members.is_empty() && hub.users(&lobby).is_empty() && hub.journal.is_empty());
    hub.leave(&lobby, away);
    hub.leave(&lobby, first);
    hub.change(|presence, now, stamp| presence.switch(&lobby, true, now, stamp));
    reader.read(&hub, &lobby);
    assert_eq!(reader.members, BTreeSet::from(["ada".to_owned()]));
    assert_eq!((hub.users(&lobby), hub.journal.len()), (reader.members, 1));
    hub.leave(&lobby, second);
    hub.presence.unwatch(&lobby, 0, hub.now);
    hub.pass(LINGER + SECOND);
    assert_eq!((hub.presence.allocated(), hub.journal.len()), (0, 0));
}

#[test]
fn what_makes_no_sense_is_refused_and_leaves_nothing() {
    let mut hub = Hub::new(SETTINGS);
    let long = "x".repeat(MAX_USER + 1);
    let info = format!("{{\"x\":\"{}\"}}", "x".repeat(MAX_INFO));
    for (user, info, ttl, word) in [
        ("", "", None, "empty"),
        (&*long, "", None, "255"),
        ("a\0b", "", None, "control"),
        ("ada", "7", None, "JSON object"),
        ("ada", "{", None, "JSON object"),
        ("ada", &info, None, "2048"),
        ("ada", "{}", Some(0), "ttl"),
    ] {
        let refused = hub.change(|presence, now, stamp| {
            presence.online(&Place::Site(Namespace::default()), user, info.as_bytes(), ttl, now, stamp)
        });
        let text = refused.expect_err("nonsense").to_string();
        assert!(text.contains(word), "{text}");
    }
    assert_eq!((hub.presence.counters(), hub.presence.allocated()), ((0, 0, 0), 0));
    // What a token says beyond that counts as nothing.
    let place = channel("lobby");
    hub.change(|presence, now, stamp| presence.touch(&place, "ada", info.as_bytes(), now, stamp));
    assert_eq!(hub.presence.get(&place, "ada").expect("a member").info, "{}");
}

#[test]
fn members_are_listed_page_by_page() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    for number in 0..25 {
        hub.enter(&lobby, &format!("user {number:02}"));
    }
    let (mut after, mut all) = (String::new(), Vec::new());
    loop {
        let page = hub.presence.members(&lobby, &after, 10, usize::MAX);
        assert_eq!(page.count, 25);
        all.extend(page.members.iter().map(|member| member.user.clone()));
        after = all.last().expect("one more").clone();
        assert_eq!(page.more, all.len() < 25);
        if !page.more {
            break;
        }
    }
    assert!(all.is_sorted() && all.len() == 25);
    assert_eq!(hub.presence.members(&lobby, "", 10, 1).members.len(), 1);
}

#[test]
fn large_channels_are_told_of_once_a_second_and_larger_ones_in_numbers() {
    let settings = Settings { diff_members: 3, count_members: 8, ..SETTINGS };
    let (mut hub, lobby) = (Hub::new(settings), channel("lobby"));
    let mut reader = Reader::default();
    hub.watch(&lobby, 0);
    reader.read(&hub, &lobby);
    let mut tabs = Vec::new();
    let mut said = 0;
    for number in 0..40 {
        tabs.push(hub.enter(&lobby, &format!("user {number:02}")));
        let Missed::Later(news) = hub.presence.missed(&lobby, reader.position, false) else { panic!("it reads on") };
        said += news.len();
        reader.read(&hub, &lobby);
        hub.pass(1);
    }
    hub.pass(SECOND);
    reader.read(&hub, &lobby);
    // Three at once each, then five seconds at most.
    assert!((4..=9).contains(&said), "{said}");
    assert_eq!(reader.counted, Some(40));
    // A reader that begins is told the same.
    let mut new = Reader::default();
    new.read(&hub, &lobby);
    assert_eq!(new.counted, Some(40));
    for tab in tabs.drain(7..) {
        hub.leave(&lobby, tab);
    }
    hub.pass(200);
    reader.read(&hub, &lobby);
    assert_eq!((reader.counted, reader.members.len()), (None, 7), "few enough to be named again");
    assert!(reader.knows(&hub.users(&lobby)));
}

#[test]
fn who_comes_and_goes_within_a_second_is_not_told_of() {
    let settings = Settings { diff_members: 1, ..SETTINGS };
    let (mut hub, lobby) = (Hub::new(settings), channel("lobby"));
    hub.watch(&lobby, 0);
    for user in ["ada", "bob"] {
        hub.enter(&lobby, user);
    }
    hub.pass(100);
    hub.enter(&lobby, "cyn");
    let head = hub.head;
    hub.enter(&lobby, "dan");
    hub.change(|presence, now, stamp| presence.offline(&channel("lobby"), "dan", now, stamp)).expect("a user");
    hub.pass(100);
    assert_eq!(hub.presence.missed(&lobby, Some(head), false), Missed::Later(Vec::new()));
}

#[test]
fn a_feed_that_nobody_reads_is_forgotten_and_who_comes_back_begins_again() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    hub.watch(&lobby, 1);
    hub.enter(&lobby, "ada");
    let mut reader = Reader::default();
    reader.read(&hub, &lobby);
    hub.presence.unwatch(&lobby, 1, hub.now);
    hub.enter(&lobby, "bob");
    assert!(matches!(hub.presence.missed(&lobby, reader.position, false), Missed::Later(news) if news.len() == 1));
    hub.pass(LINGER + 10);
    hub.enter(&lobby, "cyn");
    hub.watch(&lobby, 1);
    assert!(matches!(hub.presence.missed(&lobby, reader.position, false), Missed::All(_)));
    reader.read(&hub, &lobby);
    assert!(reader.knows(&hub.users(&lobby)));
    // What it has is still right, and nothing has to be said.
    assert_eq!(hub.presence.missed(&lobby, reader.position, false), Missed::Later(Vec::new()));
}

#[test]
fn feeds_of_one_moment_are_looked_after_a_few_at_a_time() {
    let mut hub = Hub::new(SETTINGS);
    let places: Vec<Place> = (0..3 * FEEDS).map(|number| channel(&format!("room {number}"))).collect();
    for place in &places {
        hub.change(|presence, now, stamp| presence.attend(place, now, stamp));
    }
    hub.set_tick(LINGER + 1);
    let mut entries = 1;
    while hub.change(|presence, now, stamp| presence.expire(now, stamp)) {
        entries += 1;
    }
    assert_eq!((entries, hub.presence.allocated()), (3, 0));
}

#[test]
fn a_channel_that_is_deleted_has_no_members() {
    let (mut hub, lobby) = (Hub::new(SETTINGS), channel("lobby"));
    hub.watch(&lobby, 0);
    let tab = hub.enter(&lobby, "ada");
    let mut reader = Reader::default();
    reader.read(&hub, &lobby);
    hub.change(|presence, _, _| presence.drop_place(&channel("lobby")));
    assert!(hub.presence.channels("", "ada").is_empty());
    reader.read(&hub, &lobby);
    assert!(reader.members.is_empty());
    hub.leave(&lobby, tab);
    assert_eq!((hub.presence.allocated(), hub.journal.len()), (0, 0));
}

/// A tab of a browser, or a phone, with one transport.
#[derive(Clone, Debug)]
enum Step {
    /// The connection opens, or the next poll comes.
    Open(usize),
    /// It ends: the poll is answered, the tab is closed, the network says so.
    Close(usize),
    /// It is gone, and only the hub does not know: the ping is not answered, or the hold of the poll is over, after so many
    /// ticks at most.
    Lose(usize, Tick),
    Online(usize, u32),
    Offline(usize),
    Pass(Tick),
    /// A reader polls.
    Read(usize),
    /// All seats leave and come back, as at a reload.
    Reload,
    /// The hub is killed: those who live come back within the time.
    Crash,
}

const TABS: usize = 6;
const READERS: usize = 2;
/// What a lost connection needs to be seen: the hold of a poll, or ping and time-out.
const SEEN: Tick = 35 * SECOND;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..TABS).prop_map(Step::Open),
        6 => (0..TABS).prop_map(Step::Close),
        2 => (0..TABS, 1..SEEN).prop_map(|(tab, ticks)| Step::Lose(tab, ticks)),
        3 => (0..USERS.len(), 1u32..40).prop_map(|(user, ttl)| Step::Online(user, ttl)),
        2 => (0..USERS.len()).prop_map(Step::Offline),
        8 => prop_oneof![1u32..20, 20u32..200, Just(700)].prop_map(Step::Pass),
        8 => (0..READERS).prop_map(Step::Read),
        1 => Just(Step::Reload),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Clone, Copy, Debug, Default)]
struct Tab {
    seat: Option<UserId>,
    /// The tick in which the hub sees that it is lost.
    lost: Option<Tick>,
}

/// What is true of a user: the model.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    online: bool,
    /// Nobody may be shown after this tick, unless a connection is there.
    until: Tick,
    lease: Tick,
}

impl Truth {
    /// A connection has ended; one that did not count changes nothing.
    fn ends(&mut self, now: Tick, grace: Tick) {
        if self.online {
            self.until = now + grace;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_roster_is_the_truth(
        steps in steps(),
        diff_members in 1usize..5,
        spread in 0usize..3,
    ) {
        let settings = Settings { diff_members, count_members: diff_members + spread, ..SETTINGS };
        let lobby = channel("lobby");
        let mut hub = Hub::new(settings);
        hub.share();
        let mut tabs = [Tab::default(); TABS];
        let mut truth = [Truth::default(); USERS.len()];
        let hears_each = diff_members >= USERS.len();
        let mut readers = vec![Reader { hears_each, ..Reader::default() }; READERS];
        // What the journal keeps of a lease is whole seconds, so that after a crash it may be a second longer.
        let mut late = SECOND;
        hub.watch(&lobby, 0);
        let user = |tab: usize| tab % USERS.len();
        for step in steps {
            let before = hub.users(&lobby);
            let now = hub.now.tick;
            match &step {
                Step::Open(tab) if tabs[*tab].seat.is_none() => {
                    tabs[*tab].seat = Some(hub.enter(&lobby, USERS[user(*tab)]));
                    let truth = &mut truth[user(*tab)];
                    (truth.online, truth.lease, truth.until) = (true, 0, now + settings.grace);
                }
                Step::Close(tab) if tabs[*tab].seat.is_some() => {
                    let tab_user = user(*tab);
                    let seat = std::mem::take(&mut tabs[*tab]).seat.expect("checked");
                    hub.leave(&lobby, seat);
                    truth[tab_user].ends(now, settings.grace);
                }
                Step::Lose(tab, ticks) if tabs[*tab].seat.is_some() => {
                    tabs[*tab].lost.get_or_insert(now + ticks);
                }
                Step::Online(index, ttl) => {
                    hub.change(|presence, now, stamp| {
                        presence.online(&channel("lobby"), USERS[*index], b"", Some(*ttl), now, stamp)
                    }).expect("allowed");
                    let truth = &mut truth[*index];
                    (truth.online, truth.lease) = (true, now + ttl * SECOND);
                }
                Step::Offline(index) => {
                    hub.change(|presence, now, stamp| presence.offline(&channel("lobby"), USERS[*index], now, stamp))
                        .expect("a user");
                    truth[*index] = Truth::default();
                }
                Step::Pass(ticks) => {
                    let end = now + ticks;
                    // Lost connections are seen on the way.
                    loop {
                        let lost = tabs.iter().enumerate().filter_map(|(at, tab)| Some((tab.lost?, at)));
                        let Some((tick, at)) = lost.min().filter(|(tick, _)| *tick <= end) else { break };
                        hub.pass(tick.saturating_sub(hub.now.tick));
                        let seat = std::mem::take(&mut tabs[at]).seat.expect("it was lost");
                        hub.leave(&lobby, seat);
                        truth[user(at)].ends(tick, settings.grace);
                    }
                    hub.pass(end - hub.now.tick);
                }
                Step::Read(reader) => readers[*reader].read(&hub, &lobby),
                Step::Reload => {
                    for (at, tab) in tabs.iter_mut().enumerate() {
                        if let Some(seat) = tab.seat {
                            hub.leave(&lobby, seat);
                            tab.seat = Some(hub.enter(&lobby, USERS[user(at)]));
                            let truth = &mut truth[user(at)];
                            (truth.online, truth.lease, truth.until) = (true, 0, now + settings.grace);
                        }
                    }
                    prop_assert!(before.is_subset(&hub.users(&lobby)), "nobody leaves by a reload");
                }
                Step::Crash => {
                    late = 2 * SECOND;
                    hub.crash(settings);
                    prop_assert_eq!(&before, &hub.users(&lobby), "nobody leaves by a crash");
                    hub.watch(&lobby, 0);
                    truth.iter_mut().for_each(|truth| truth.ends(now, settings.grace));
                    for (at, tab) in tabs.iter_mut().enumerate() {
                        // Those that were lost do not come back.
                        let back = tab.seat.is_some() && tab.lost.is_none();
                        *tab = Tab::default();
                        if back {
                            tab.seat = Some(hub.enter(&lobby, USERS[user(at)]));
                            let truth = &mut truth[user(at)];
                            (truth.online, truth.lease) = (true, 0);
                        }
                    }
                    prop_assert!(before.is_subset(&hub.users(&lobby)), "nobody leaves who comes back");
                }
                Step::Open(_) | Step::Close(_) | Step::Lose(..) => {}
            }
            let shown = hub.users(&lobby);
            let now = hub.now.tick;
            for (index, truth) in truth.iter_mut().enumerate() {
                let seated = (0..TABS).any(|tab| user(tab) == index && tabs[tab].seat.is_some());
                let end = truth.until.max(truth.lease);
                let here = shown.contains(USERS[index]);
                if truth.online && (seated || now <= end) {
                    prop_assert!(here, "{} is missing: {:?}", USERS[index], truth);
                } else if !truth.online || now > truth.until.saturating_add(SECOND).max(truth.lease.saturating_add(late)) {
                    prop_assert!(!here, "{} is a ghost: {:?} at {}", USERS[index], truth, now);
                    truth.online = false;
                } else {
                    truth.online = here;
                }
            }
        }
        // Quiet: nobody has come or left for a second, so that everything that was collected is said.
        loop {
            let before = (hub.head, hub.users(&lobby));
            hub.pass(SECOND + 1);
            if before == (hub.head, hub.users(&lobby)) {
                break;
            }
        }
        for reader in &mut readers {
            reader.read(&hub, &lobby);
            prop_assert!(reader.knows(&hub.users(&lobby)), "{:?} of {:?}", reader, hub.users(&lobby));
        }
        let (members, joins, leaves) = hub.presence.counters();
        prop_assert!(joins + USERS.len() as u64 >= leaves + members);
        prop_assert_eq!(members as usize, hub.users(&lobby).len());
        // All leave: nothing stays behind.
        for tab in &mut tabs {
            if let Some(seat) = tab.seat.take() {
                hub.leave(&lobby, seat);
            }
        }
        hub.presence.unwatch(&lobby, 0, hub.now);
        hub.pass(LINGER + 100 * SECOND);
        prop_assert!(hub.users(&lobby).is_empty());
        hub.presence.shared = None;
        prop_assert_eq!((hub.presence.allocated(), hub.journal.len()), (0, 0));
        prop_assert_eq!(hub.presence.next_deadline(), NEVER);
    }
}

#[test]
fn a_user_of_the_same_name_in_another_namespace_is_somebody_else() {
    let mut hub = Hub::new(SETTINGS);
    hub.share();
    let [own, shop] = ["", "shop"].map(|namespace| Namespace::new(namespace).expect("a namespace"));
    let within = |namespace: &Namespace| {
        [Place::Site(namespace.clone()), Place::Channel(ChannelName::within(namespace, b"lobby", 255).expect("a name"))]
    };
    for place in &within(&shop) {
        hub.change(|presence, now, stamp| presence.online(place, "ada", b"", Some(60), now, stamp)).expect("sound");
        hub.change(|presence, now, stamp| presence.touch(place, "ada", b"", now, stamp));
    }
    let check = |hub: &Hub| {
        for (namespace, there) in [(&own, false), (&shop, true)] {
            for place in &within(namespace) {
                assert_eq!(hub.presence.is_online(place, "ada"), there, "{place:?}");
                assert_eq!(hub.users(place).len(), usize::from(there));
                assert_eq!(hub.presence.members(place, "", 10, 1_000).members.len(), usize::from(there));
            }
            assert_eq!(hub.presence.channels(namespace.as_str(), "ada").len(), usize::from(there));
        }
    };
    check(&hub);
    hub.crash(SETTINGS);
    check(&hub);
    // The end of a connection is that of one of its namespace.
    let id = hub.presence.hold_user("shop", "ada");
    let [site, _] = within(&shop);
    hub.presence.connect(&site, id);
    let now = hub.now;
    assert_eq!(hub.presence.get(&site, "ada").map(|member| member.connections), Some(1));
    hub.presence.disconnect_from_site(id, now);
    assert_eq!(hub.presence.get(&site, "ada").map(|member| member.connections), Some(0));
    hub.presence.release(id);
}
