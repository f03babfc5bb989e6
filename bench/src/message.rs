//! The messages of a run: they begin with a counter, so that a receiver sees what is lost, doubled or reordered.

use serde::Serialize;

use crate::Result;

/// Length of a message where a scenario says nothing else.
pub(crate) const SIZE: usize = 100;
const DIGITS: usize = 10;

/// Writes message number `counter` (1, 2, ...), `size` bytes long, to `out`.
pub(crate) fn write(counter: u32, size: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{counter:0width$}", width = DIGITS).as_bytes());
    out.resize(out.len() + size - DIGITS, b'.');
}

/// The counters of the messages in one answer, which may hold several, with or without line ends between them.
pub(crate) fn counters(mut body: &[u8], size: usize, mut each: impl FnMut(u32) -> Result<()>) -> Result<()> {
    loop {
        body = body.trim_ascii_start();
        if body.is_empty() {
            return Ok(());
        }
        let counter = body
            .split_at_checked(size)
            .filter(|(message, _)| message[DIGITS..].iter().all(|byte| *byte == b'.'))
            .and_then(|(message, _)| str::from_utf8(&message[..DIGITS]).ok()?.parse().ok());
        each(counter.ok_or_else(|| format!("not a message of this run: {:?}", String::from_utf8_lossy(body)))?)?;
        body = &body[size..];
    }
}

/// The first message anywhere in `bytes`, and where it ends: transports put different things around it.
pub(crate) fn first(bytes: &[u8], size: usize) -> Option<(&[u8], usize)> {
    let is_message = |message: &&[u8]| {
        message[..DIGITS].iter().all(u8::is_ascii_digit) && message[DIGITS..].iter().all(|byte| *byte == b'.')
    };
    let start = bytes.windows(size).position(|message| is_message(&message))?;
    Some((&bytes[start..start + size], start + size))
}

/// What must not happen. All zero, or the run is void.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
}

impl Faults {
    pub(crate) fn none(&self) -> bool {
        *self == Faults::default()
    }

    pub(crate) fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
    }
}

/// Which messages of one channel a receiver has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen {
    newest: u32,
    /// How many different ones.
    messages: u32,
    /// Bit n: it has the one that is n older than the newest.
    recent: u64,
}

impl Seen {
    /// Of a receiver to whom the channel begins with the message after `counter`.
    pub(crate) fn after(counter: u32) -> Seen {
        Seen { newest: counter, messages: counter, recent: u64::MAX }
    }

    /// Notes a message of a channel to which `sent` were sent; a fault is added to `faults`. True if it is here for the
    /// first time.
    pub(crate) fn note(&mut self, counter: u32, sent: u32, faults: &mut Faults) -> Result<bool> {
        if !(1..=sent).contains(&counter) {
            return Err(format!("message {counter} was never sent").into());
        }
        if let Some(ahead @ 1..) = counter.checked_sub(self.newest) {
            self.recent = self.recent.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = counter;
            self.messages += 1;
            return Ok(true);
        }
        let Some(bit) = 1_u64.checked_shl(self.newest - counter) else {
            return Err(format!("message {counter} came after {}", self.newest).into());
        };
        let new = self.recent & bit == 0;
        if new {
            self.recent |= bit;
            self.messages += 1;
            faults.reordered += 1;
        } else {
            faults.doubled += 1;
        }
        Ok(new)
    }

    /// How many of the first `sent` messages are not here.
    pub(crate) fn missing(&self, sent: u32) -> u64 {
        u64::from(sent - self.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        counters(body, SIZE, |counter| {
            found.push(counter);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_message_is_found_in_any_frame() -> Result<()> {
        let mut bytes = b"id: 1700000000.1\ndata: ".to_vec();
        write(3, SIZE, &mut bytes);
        assert_eq!(first(&bytes[..bytes.len() - 1], SIZE), None);
        let end = bytes.len();
        bytes.extend_from_slice(b"\n\n: -1\n");
        let (message, found) = first(&bytes, SIZE).ok_or("not found")?;
        assert_eq!((read(message)?, found), (vec![3], end));
        assert_eq!(first(&bytes[end..], SIZE), None);
        Ok(())
    }

    #[test]
    fn counters_come_back_from_one_or_several_messages() -> Result<()> {
        let mut body = Vec::new();
        write(7, SIZE, &mut body);
        assert_eq!(body.len(), SIZE);
        assert_eq!(read(&body)?, [7]);
        write(8, SIZE, &mut body);
        body.extend_from_slice(b"\r\n");
        write(9, SIZE, &mut body);
        assert_eq!(read(&body)?, [7, 8, 9]);
        Ok(())
    }

    #[test]
    fn a_torn_or_foreign_message_is_an_error() {
        let mut body = Vec::new();
        write(7, SIZE, &mut body);
        assert!(read(&body[..SIZE - 1]).is_err());
        body[SIZE - 1] = b'x';
        assert!(read(&body).is_err());
        assert!(read(b"404 Not Found").is_err());
    }

    #[test]
    fn what_a_receiver_saw_is_told_apart() -> Result<()> {
        let (mut seen, mut faults) = (Seen::default(), Faults::default());
        for counter in [1, 2, 2, 5, 4] {
            seen.note(counter, 200, &mut faults)?;
        }
        assert_eq!(faults, Faults { lost: 0, doubled: 1, reordered: 1 });
        assert_eq!(seen.missing(6), 2);
        assert!(seen.note(201, 200, &mut faults).is_err());
        assert!(seen.note(0, 200, &mut faults).is_err());
        // A long way ahead and back again is no silent success either.
        assert!(seen.note(200, 200, &mut faults)?);
        assert!(seen.note(3, 200, &mut faults).is_err());
        assert_eq!(seen.missing(200), 195);
        Ok(())
    }

    #[test]
    fn who_comes_later_misses_only_what_is_sent_then() -> Result<()> {
        let (mut seen, mut faults) = (Seen::after(70), Faults::default());
        assert_eq!(seen.missing(70), 0);
        assert!(!seen.note(70, 71, &mut faults)?);
        assert_eq!(faults.doubled, 1);
        assert_eq!(seen.missing(71), 1);
        assert!(seen.note(71, 71, &mut faults)?);
        assert_eq!(seen.missing(71), 0);
        Ok(())
    }
}
