//! What processes beside the hub need in order to look up for themselves whether a user is online: under which number
//! the user stands in the set that the hub shares with them ([`crate::shm::set`]).
//!
//! The number is a keyed hash of user and channel, so that the set tells a process only what it knows how to ask, and how many
//! there are in all. Each namespace has a key of its own: the clients of one cannot ask about another.

use std::hash::Hasher;
#[cfg(feature = "hub")]
use std::io;

use siphasher::sip::SipHasher24;

/// From which users the numbers of a namespace follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u64; 2]);

impl Key {
    /// As the client finds it in its segment.
    pub(crate) fn from_words(words: [u64; 2]) -> Self {
        Self(words)
    }

    pub(crate) fn words(self) -> [u64; 2] {
        self.0
    }

    /// The number of a user in a channel, or on the whole site.
    pub(crate) fn number(self, channel: Option<&str>, user: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        // No channel has the empty name, and none a name with this byte.
        hasher.write(channel.unwrap_or_default().as_bytes());
        hasher.write_u8(0xff);
        hasher.write(user.as_bytes());
        hasher.finish()
    }
}

/// From what the keys of all namespaces follow.
#[cfg(feature = "hub")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secret {
    own: Key,
    /// That of the empty namespace, which most sites have.
    empty: Key,
}

#[cfg(feature = "hub")]
impl Secret {
    /// A new one.
    pub(crate) fn random() -> io::Result<Self> {
        let mut words = [[0; 8]; 2];
        let filled = getrandom::fill(words.as_flattened_mut());
        filled.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self::new(Key(words.map(u64::from_ne_bytes))))
    }

    fn new(own: Key) -> Self {
        Self { own, empty: Self::derive(own, "") }
    }

    /// The key of a namespace.
    pub(crate) fn key(self, namespace: &str) -> Key {
        if namespace.is_empty() { self.empty } else { Self::derive(self.own, namespace) }
    }

    fn derive(own: Key, namespace: &str) -> Key {
        let word = |which| own.number(Some(namespace), which);
        // A key of two zeros would be none.
        Key([word("0") | 1, word("1")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "hub")]
    #[test]
    fn what_differs_has_another_number() {
        let secret = Secret::new(Key([1, 2]));
        let mut numbers: Vec<u64> = Vec::new();
        for namespace in ["", "shop", "0"] {
            for (channel, user) in
                [(None, "ann"), (None, "bob"), (Some("ann"), "bob"), (Some("an"), "nbob"), (Some("annbob"), "x")]
            {
                numbers.push(secret.key(namespace).number(channel, user));
            }
        }
        numbers.push(Secret::new(Key([1, 3])).key("").number(None, "ann"));
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    /// A client of one build asks a hub of another.
    #[test]
    fn the_numbers_are_the_same_in_every_build() {
        assert_eq!(Key([1, 2]).number(Some("lobby"), "ann"), 11_169_847_221_941_430_974);
    }
}
