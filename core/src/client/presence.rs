//! The calls about who is online, in a channel or on the whole site.

use std::os::fd::AsFd;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Client, named, nonsense};
use crate::call::{Answer, Call, MAX_BATCH, Member, PresenceCall};
use crate::error::Error;
use crate::shm::doorbell;

impl Client {
    /// Sets a user online: for `ttl` seconds, `presence_ttl` without, and as long as a connection of the user lives. `info` is
    /// a JSON object that others are told; empty: what was said before stays. Whether the user was
    /// not online before, or had other info.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_online(
        &mut self,
        user: &str,
        channel: Option<&str>,
        info: &[u8],
        ttl: Option<u32>,
    ) -> Result<bool, Error> {
        check(user, channel)?;
        match self.call(Call::Presence(PresenceCall::Online { user, channel, info, ttl }))? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(nonsense()),
        }
    }

    /// Sets a user offline at once, whatever connections there are; without a channel on the site only. Whether the user was
    /// online.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_offline(&mut self, user: &str, channel: Option<&str>) -> Result<bool, Error> {
        check(user, channel)?;
        match self.call(Call::Presence(PresenceCall::Offline { user, channel }))? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(nonsense()),
        }
    }

    /// Whether a user is online. Mostly seen without the hub: in memory that it shares.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_is_online(&mut self, user: &str, channel: Option<&str>) -> Result<bool, Error> {
        let online = self.presence_among(vec![user], channel)?;
        Ok(!online.is_empty())
    }

    /// Those of the users who are online, in the same order. As [`presence_is_online`](Self::presence_is_online).
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`Error::InvalidArgument`] for more than [`MAX_BATCH`] bytes of names.
    pub fn presence_among(&mut self, users: Vec<&str>, channel: Option<&str>) -> Result<Vec<String>, Error> {
        channel.map(named).transpose()?;
        let mut len = 0;
        for user in &users {
            check(user, None)?;
            len += user.len();
        }
        if len > MAX_BATCH {
            return Err(Error::InvalidArgument(format!(
                "the users have {len} bytes together, at most {MAX_BATCH} are asked for at once"
            )));
        }
        if let Some(online) = self.look_up(&users, channel) {
            return Ok(online);
        }
        match self.call(Call::Presence(PresenceCall::Among { users, channel }))? {
            Answer::Names(users) => Ok(users),
            _ => Err(nonsense()),
        }
    }

    /// The same without a call. `None`: the hub has to be asked.
    fn look_up(&mut self, users: &[&str], channel: Option<&str>) -> Option<Vec<String>> {
        self.leave_if_forked();
        let link = self.link.as_mut()?;
        let hub = link.hub.as_ref()?;
        let (key, view) = hub.online.as_ref()?;
        if link.segment.key() != Some(key.words()) {
            // Another hub has taken the ring over. It shares something else, with who attaches to it.
            if link.has_caught_up() == Ok(true) {
                self.link = None;
            }
            return None;
        }
        // The keeper holds the line, too, and a hub that is stopped says nothing.
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs());
        if !view.holds(second) || doorbell::hung_up(hub.line.as_fd()) {
            return None;
        }
        let mut online = Vec::new();
        for user in users {
            if view.contains(key.number(channel, user))? {
                online.push((*user).to_owned());
            }
        }
        Some(online)
    }

    /// What is known of a user who is online.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_get(&mut self, user: &str, channel: Option<&str>) -> Result<Option<Member>, Error> {
        check(user, channel)?;
        match self.call(Call::Presence(PresenceCall::Get { user, channel }))? {
            Answer::Member(member) => Ok(member),
            _ => Err(nonsense()),
        }
    }

    /// Those who are online and come after `after`, in the order of the users: at most `limit`, and at most
    /// [`MAX_PAGE`](crate::call::MAX_PAGE) bytes of them.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_members(&mut self, channel: Option<&str>, after: &str, limit: u32) -> Result<Vec<Member>, Error> {
        channel.map(named).transpose()?;
        match self.call(Call::Presence(PresenceCall::Members { channel, after, limit }))? {
            Answer::Members(members) => Ok(members),
            _ => Err(nonsense()),
        }
    }

    /// How many are online.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_count(&mut self, channel: Option<&str>) -> Result<u64, Error> {
        channel.map(named).transpose()?;
        match self.call(Call::Presence(PresenceCall::Count { channel }))? {
            Answer::Count(count) => Ok(count),
            _ => Err(nonsense()),
        }
    }

    /// The channels in which a user is online, in their order.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub fn presence_channels(&mut self, user: &str) -> Result<Vec<String>, Error> {
        check(user, None)?;
        match self.call(Call::Presence(PresenceCall::Channels { user }))? {
            Answer::Names(channels) => Ok(channels),
            _ => Err(nonsense()),
        }
    }
}

fn check(user: &str, channel: Option<&str>) -> Result<(), Error> {
    if user.is_empty() {
        return Err(Error::InvalidArgument("the user must not be empty".to_owned()));
    }
    channel.map(named).transpose()?;
    Ok(())
}
