//! The messages of a run: 100 bytes that begin with a counter, so that a receiver sees what is lost, doubled or reordered.

use serde::Serialize;

use crate::Result;

/// Length of every message.
pub(crate) const SIZE: usize = 100;
const DIGITS: usize = 10;

/// Writes message number `counter` (1, 2, ...) to `out`.
pub(crate) fn write(counter: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{counter:0width$}", width = DIGITS).as_bytes());
    out.resize(out.len() + SIZE - DIGITS, b'.');
}

/// The counters of the messages in one answer, which may hold several, with or without line ends between them.
pub(crate) fn counters(mut body: &[u8], mut each: impl FnMut(u32) -> Result<()>) -> Result<()> {
    loop {
        body = body.trim_ascii_start();
        if body.is_empty() {
            return Ok(());
        }
        let counter = body
            .split_at_checked(SIZE)
            .filter(|(message, _)| message[DIGITS..].iter().all(|byte| *byte == b'.'))
            .and_then(|(message, _)| str::from_utf8(&message[..DIGITS]).ok()?.parse().ok());
        each(counter.ok_or_else(|| format!("not a message of this run: {:?}", String::from_utf8_lossy(body)))?)?;
        body = &body[SIZE..];
    }
}

/// The first message anywhere in `bytes`, and where it ends: transports put different things around it.
pub(crate) fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let is_message = |message: &&[u8]| {
        message[..DIGITS].iter().all(u8::is_ascii_digit) && message[DIGITS..].iter().all(|byte| *byte == b'.')
    };
    let start = bytes.windows(SIZE).position(|message| is_message(&message))?;
    Some((&bytes[start..start + SIZE], start + SIZE))
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

/// Which of the messages 1..=64 one receiver has seen.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen(u64);

impl Seen {
    /// The most messages a run that uses this may send.
    pub(crate) const CAPACITY: u32 = u64::BITS;

    /// Notes a message; a fault is added to `faults`. True if it is here for the first time.
    pub(crate) fn note(&mut self, counter: u32, faults: &mut Faults) -> Result<bool> {
        if !(1..=Self::CAPACITY).contains(&counter) {
            return Err(format!("message {counter} was never sent").into());
        }
        let bit = 1 << (counter - 1);
        if self.0 & bit != 0 {
            faults.doubled += 1;
            return Ok(false);
        }
        if self.0 > bit {
            faults.reordered += 1;
        }
        self.0 |= bit;
        Ok(true)
    }

    /// How many of the first `sent` messages are not here.
    pub(crate) fn missing(&self, sent: u32) -> u64 {
        u64::from(sent - self.0.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        counters(body, |counter| {
            found.push(counter);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_message_is_found_in_any_frame() -> Result<()> {
        let mut bytes = b"id: 1700000000.1\ndata: ".to_vec();
        write(3, &mut bytes);
        assert_eq!(first(&bytes[..bytes.len() - 1]), None);
        let end = bytes.len();
        bytes.extend_from_slice(b"\n\n: -1\n");
        let (message, found) = first(&bytes).ok_or("not found")?;
        assert_eq!((read(message)?, found), (vec![3], end));
        assert_eq!(first(&bytes[end..]), None);
        Ok(())
    }

    #[test]
    fn counters_come_back_from_one_or_several_messages() -> Result<()> {
        let mut body = Vec::new();
        write(7, &mut body);
        assert_eq!(body.len(), SIZE);
        assert_eq!(read(&body)?, [7]);
        write(8, &mut body);
        body.extend_from_slice(b"\r\n");
        write(9, &mut body);
        assert_eq!(read(&body)?, [7, 8, 9]);
        Ok(())
    }

    #[test]
    fn a_torn_or_foreign_message_is_an_error() {
        let mut body = Vec::new();
        write(7, &mut body);
        assert!(read(&body[..SIZE - 1]).is_err());
        body[SIZE - 1] = b'x';
        assert!(read(&body).is_err());
        assert!(read(b"404 Not Found").is_err());
    }

    #[test]
    fn what_a_receiver_saw_is_told_apart() -> Result<()> {
        let (mut seen, mut faults) = (Seen::default(), Faults::default());
        for counter in [1, 2, 2, 5, 4] {
            seen.note(counter, &mut faults)?;
        }
        assert_eq!(faults, Faults { lost: 0, doubled: 1, reordered: 1 });
        assert_eq!(seen.missing(6), 2);
        assert!(seen.note(65, &mut faults).is_err());
        Ok(())
    }
}
