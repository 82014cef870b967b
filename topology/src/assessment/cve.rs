//! The name of a vulnerability.

use std::fmt;
use std::str::FromStr;

/// The first year that names have.
const FIRST_YEAR: u16 = 1999;

/// Names a vulnerability, such as `CVE-2024-21338`. Sorts by year and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CveId {
    year: u16,
    number: u64,
}

/// A text that names no vulnerability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CVE; write CVE-YEAR-NUMBER, such as CVE-2024-21338")]
pub struct NoCve(String);

impl CveId {
    /// The vulnerability of that year and number; `None` for years that have none.
    #[must_use]
    pub const fn new(year: u16, number: u64) -> Option<Self> {
        if year >= FIRST_YEAR && year <= 9999 { Some(Self { year, number }) } else { None }
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> u16 {
        self.year
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    fn read(text: &str) -> Option<Self> {
        let (word, rest) = text.split_at_checked(4)?;
        let (year, number) = rest.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_form = word.eq_ignore_ascii_case("CVE-")
            && year.len() == 4
            && number.len() >= 4
            && digits(year)
            && digits(number);
        if !is_form {
            return None;
        }
        Self::new(year.parse().ok()?, number.parse().ok()?)
    }
}

impl fmt::Display for CveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("CVE-{}-{:04}", self.year, self.number))
    }
}

impl FromStr for CveId {
    type Err = NoCve;

    fn from_str(text: &str) -> Result<Self, NoCve> {
        // An error repeats no more than a name's length of what was given.
        Self::read(text).ok_or_else(|| NoCve(text.chars().take(40).collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn reads_names_and_nothing_else() {
        let read = |text: &str| text.parse::<CveId>().map(|cve| cve.to_string());
        assert_eq!(read("CVE-2024-0042").as_deref(), Ok("CVE-2024-0042"));
        assert_eq!(read("cve-2021-44228").as_deref(), Ok("CVE-2021-44228"));
        for wrong in [
            "",
            "CVE-",
            "CVE-2024",
            "CVE-2024-1",
            "CVE-24-1234",
            "CVE-1998-1234",
            "CVE-2024-12a4",
            "CVE-2024--123",
            "CVE-2024-99999999999999999999999",
            "XCV-2024-1234",
            "CVÉ-2024-1234",
            " CVE-2024-1234",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(year in FIRST_YEAR..=9999, number in any::<u64>()) {
            let cve = CveId::new(year, number).expect("a CVE");
            prop_assert_eq!(cve.to_string().parse(), Ok(cve));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<CveId>();
        }
    }
}
