//! How fast: bits per second, as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Slower than this nothing works: a sign of life alone would take minutes.
const SLOWEST: u64 = 8_000;

/// Faster than this no line is, so that sums of rates cannot overflow.
const FASTEST: u64 = 1_000_000_000_000;

/// Units, the longest spelling first where one ends in another; bits of each.
const UNITS: [(&str, u64); 11] = [
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("bit/s", 1),
    ("KiB/s", 8 << 10),
    ("MiB/s", 8 << 20),
    ("GiB/s", 8 << 30),
    ("kB/s", 8_000),
    ("MB/s", 8_000_000),
    ("GB/s", 8_000_000_000),
    ("B/s", 8),
];

/// A rate, or none at all; the stricter one is the lesser.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Why a text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a number with a unit.
    #[error(
        "{0:?} is not a rate; write a number and a unit, such as 10Mbit/s, 800kbit/s or 1.5MB/s, or unlimited"
    )]
    Form(String),
    /// Too slow or too fast.
    #[error("{0} is not a rate of a line; use 8kbit/s to 1000Gbit/s, or unlimited")]
    Range(String),
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Self = Self(u64::MAX);

    /// So many bits per second; 0 is no limit.
    ///
    /// # Errors
    /// Slower or faster than any line.
    pub fn from_bits(bits: u64) -> Result<Self, Error> {
        match bits {
            0 => Ok(Self::UNLIMITED),
            SLOWEST..=FASTEST => Ok(Self(bits)),
            _ => Err(Error::Range(Self(bits).to_string())),
        }
    }

    /// What was measured: so many bytes within a time, drawn to what a line can
    /// have.
    #[must_use]
    pub fn measured(bytes: u64, within: Duration) -> Self {
        let bits = u128::from(bytes) * 8_000_000 / within.as_micros().max(1);
        Self(u64::try_from(bits).unwrap_or(FASTEST).clamp(1, FASTEST))
    }

    /// Bits per second; `None` without a limit.
    #[must_use]
    pub const fn bits(self) -> Option<u64> {
        if self.is_unlimited() { None } else { Some(self.0) }
    }

    /// Whether there is no limit.
    #[must_use]
    pub const fn is_unlimited(self) -> bool {
        self.0 == u64::MAX
    }

    /// Bytes that pass within a time; everything where there is no limit.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        if self.is_unlimited() {
            return u64::MAX;
        }
        let bytes = u128::from(self.0) * time.as_nanos() / 8_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// How long so many bytes take; no time where there is no limit.
    #[must_use]
    pub fn time_of(self, bytes: u64) -> Duration {
        if self.is_unlimited() {
            return Duration::ZERO;
        }
        let nanos = (u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(self.0));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// `part` of `whole` of this rate, at least one bit a second.
    #[must_use]
    pub fn share(self, part: Self, whole: Self) -> Self {
        if self.is_unlimited() || part >= whole || whole.0 == 0 {
            return self;
        }
        let bits = u128::from(self.0) * u128::from(part.0) / u128::from(whole.0);
        Self(u64::try_from(bits).unwrap_or(FASTEST).max(1))
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rate({self})")
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unlimited() {
            return f.pad("unlimited");
        }
        let (unit, bits, digits) = match self.0 {
            1_000_000_000.. => ("Gbit/s", 1_000_000_000, 9),
            1_000_000.. => ("Mbit/s", 1_000_000, 6),
            1_000.. => ("kbit/s", 1_000, 3),
            _ => ("bit/s", 1, 0),
        };
        let (whole, rest) = (self.0 / bits, self.0 % bits);
        let fraction = format!("{rest:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        let text = match fraction {
            "" => format!("{whole}{unit}"),
            fraction => format!("{whole}.{fraction}{unit}"),
        };
        f.pad(&text)
    }
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "unlimited" {
            return Ok(Self::UNLIMITED);
        }
        let form = || Error::Form(text.to_owned());
        let unit = UNITS.iter().find_map(|&(unit, bits)| Some((text.strip_suffix(unit)?, bits)));
        let (number, unit) = unit.ok_or_else(form)?;
        let (whole, fraction) =
            number.trim_end().split_once('.').unwrap_or((number.trim_end(), ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        // Nine of each are more than any rate needs, and fit.
        let fits = |text: &str| text.len() <= 9 && digits(text);
        if whole.is_empty() || number.ends_with('.') || !fits(fraction) || !digits(whole) {
            return Err(form());
        }
        if whole.len() > 13 {
            return Err(Error::Range(text.to_owned()));
        }
        let value = |text: &str| text.parse::<u128>().map_err(|_| form());
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or_default());
        let fraction = if fraction.is_empty() { 0 } else { value(fraction)? };
        let bits = (value(whole)? * scale + fraction) * u128::from(unit) / scale;
        match u64::try_from(bits) {
            Ok(bits) if (SLOWEST..=FASTEST).contains(&bits) => Ok(Self(bits)),
            _ => Err(Error::Range(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert_eq, proptest};

    use super::{Error, FASTEST, Rate, SLOWEST};
    use std::time::Duration;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_what_people_write() {
        let same = [
            ("10Mbit/s", "10Mbit/s", 10_000_000),
            ("800kbit/s", "800kbit/s", 800_000),
            ("1.5MB/s", "12Mbit/s", 12_000_000),
            ("1 MiB/s", "8.388608Mbit/s", 8_388_608),
            ("0.5Gbit/s", "500Mbit/s", 500_000_000),
            ("1000Gbit/s", "1000Gbit/s", FASTEST),
            ("8000bit/s", "8kbit/s", SLOWEST),
            ("1000B/s", "8kbit/s", SLOWEST),
        ];
        for (text, shown, bits) in same {
            assert_eq!(rate(text).bits(), Some(bits), "{text}");
            assert_eq!(rate(text).to_string(), shown);
        }
        assert_eq!(rate("unlimited"), Rate::UNLIMITED);
        assert_eq!(Rate::UNLIMITED.to_string(), "unlimited");
        assert!(rate("10Mbit/s") < rate("1.5MB/s") && rate("1000Gbit/s") < Rate::UNLIMITED);
    }

    #[test]
    fn refuses_what_is_no_rate() {
        for text in ["", "10", "Mbit/s", "10mbit/s", "1.Mbit/s", ".5Mbit/s", "-1Mbit/s", "1,5MB/s"]
        {
            assert!(matches!(text.parse::<Rate>(), Err(Error::Form(_))), "{text}");
        }
        for text in ["0Mbit/s", "7kbit/s", "1001Gbit/s", "99999999999999bit/s"] {
            assert!(matches!(text.parse::<Rate>(), Err(Error::Range(_))), "{text}");
        }
        assert!(Rate::from_bits(1).is_err() && Rate::from_bits(u64::MAX).is_err());
        assert_eq!(Rate::from_bits(0), Ok(Rate::UNLIMITED));
    }

    #[test]
    fn bytes_and_time_agree() {
        let ten = rate("10Mbit/s");
        assert_eq!(ten.bytes_in(Duration::from_millis(50)), 62_500);
        assert_eq!(ten.time_of(62_500), Duration::from_millis(50));
        assert_eq!(Rate::measured(62_500, Duration::from_millis(50)), ten);
        assert_eq!(ten.share(rate("1Mbit/s"), rate("4Mbit/s")), rate("2.5Mbit/s"));
        assert_eq!(Rate::UNLIMITED.time_of(1 << 40), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(bits in SLOWEST..=FASTEST) {
            let rate = Rate::from_bits(bits).expect("in range");
            prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,24}") {
            let _ = text.parse::<Rate>();
        }
    }
}
