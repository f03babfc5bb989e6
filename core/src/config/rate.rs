//! How often something may be done, as nginx's `limit_req` says it: a rate, and a burst above it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A rate and a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    per: Unit,
    burst: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Second,
    Minute,
}

/// The most of either number.
const MOST: u32 = 100_000;

impl Rate {
    /// The time in which the rate brings one.
    #[must_use]
    pub fn interval(&self) -> Duration {
        match self.per {
            Unit::Second => Duration::from_secs(1) / self.count,
            Unit::Minute => Duration::from_secs(60) / self.count,
        }
    }

    /// How many may come at once beside the one that the rate brings.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }
}

impl FromStr for Rate {
    type Err = ();

    /// A blank instead of the `=`, because php.ini takes no `=` in a value without quotes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str, least: u32| {
            let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = plain.then(|| digits.parse().ok()).flatten();
            number.filter(|number| (least..=MOST).contains(number)).ok_or(())
        };
        let (rate, rest) = text.trim().split_once(char::is_whitespace).ok_or(())?;
        let burst = rest.trim_start().strip_prefix("burst").ok_or(())?;
        let burst = burst.strip_prefix('=').or_else(|| burst.strip_prefix(char::is_whitespace)).ok_or(())?;
        let (count, per) = match rate.strip_suffix("r/s") {
            Some(count) => (count, Unit::Second),
            None => (rate.strip_suffix("r/m").ok_or(())?, Unit::Minute),
        };
        Ok(Self { count: number(count, 1)?, per, burst: number(burst.trim_start(), 0)? })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            Unit::Second => "r/s",
            Unit::Minute => "r/m",
        };
        write!(f, "{}{unit} burst={}", self.count, self.burst)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_in_nginx() {
        for (text, canonical, interval) in [
            ("20r/s burst=40", "20r/s burst=40", Duration::from_millis(50)),
            ("20r/s burst 40", "20r/s burst=40", Duration::from_millis(50)),
            (" 30r/m  burst=0 ", "30r/m burst=0", Duration::from_secs(2)),
            ("100000r/s burst=100000", "100000r/s burst=100000", Duration::from_micros(10)),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.interval()), (canonical, interval), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }

    #[test]
    fn what_says_no_rate_or_no_burst_is_not_read() {
        for text in [
            "",
            "20",
            "20r/s",
            "20/s burst=40",
            "0r/s burst=4",
            "100001r/s burst=4",
            "1r/s burst=100001",
            "1r/h burst=1",
            "1.5r/s burst=1",
            "-1r/s burst=1",
            "1r/s burst=",
            "1r/s burst",
            "1r/s burst=-1",
            "1r/s burst=+1",
            "1r/s burst=1 nodelay",
            "burst=1 1r/s",
            "1r/s burst40",
            "r/s burst=1",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(()), "{text}");
        }
    }
}
