//! Monthly cycles: the second Tuesday and some days.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// The most days after the weekday.
pub const MAX_DAYS: u8 = 27;

/// A day of every month, such as the third day after the second Tuesday. It
/// begins at midnight, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Which of the month's days of that name, from 1 to 4.
    nth: i8,
    /// The day of the week.
    weekday: Weekday,
    /// Days after it.
    days: u8,
}

/// Why a text is no cycle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no cycle; write a day of the month and days after it, such as `second Tuesday + 3 days` (at most {MAX_DAYS})"
)]
pub struct NoCycle(pub String);

const NTH: [&str; 4] = ["first", "second", "third", "fourth"];
const DAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl Cycle {
    /// The first beginning of a cycle at or after an instant.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Timestamp {
        let date = TimeZone::UTC.to_datetime(after).date();
        // What began last month may be due in this one.
        let months = (-1..=1_i32).filter_map(|months| {
            let month = date.first_of_month().checked_add(months.months()).ok()?;
            self.begins(month)
        });
        months.filter(|begins| *begins >= after).min().unwrap_or(Timestamp::MAX)
    }

    fn begins(&self, month: Date) -> Option<Timestamp> {
        let day = month.nth_weekday_of_month(self.nth, self.weekday).ok()?;
        let day = day.checked_add(i32::from(self.days).days()).ok()?;
        TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).ok()
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nth = usize::try_from(self.nth - 1).ok().and_then(|index| NTH.get(index));
        let name = DAYS.iter().find(|(_, day)| *day == self.weekday).map_or("", |(name, _)| name);
        let (first, rest) = name.split_at(name.len().min(1));
        write!(f, "{} {}{rest}", nth.unwrap_or(&""), first.to_uppercase())?;
        match self.days {
            0 => Ok(()),
            1 => f.write_str(" + 1 day"),
            days => write!(f, " + {days} days"),
        }
    }
}

impl FromStr for Cycle {
    type Err = NoCycle;

    fn from_str(text: &str) -> Result<Self, NoCycle> {
        let fault = || NoCycle(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let (day, days) = lower.split_once('+').unwrap_or((&lower, "0 days"));
        let mut words = day.split_whitespace();
        let nth = words.next().and_then(|word| NTH.iter().position(|one| *one == word));
        let weekday = words.next().and_then(|word| DAYS.iter().find(|(name, _)| *name == word));
        let count = days.trim().strip_suffix("days").or(days.trim().strip_suffix("day"));
        let days = count.and_then(|count| count.trim().parse::<u8>().ok());
        match (nth, weekday, days, words.next()) {
            (Some(nth), Some((_, weekday)), Some(days), None) if days <= MAX_DAYS => {
                let nth = i8::try_from(nth + 1).map_err(|_| fault())?;
                Ok(Self { nth, weekday: *weekday, days })
            }
            _ => Err(fault()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_second_tuesday_and_some_days() {
        let cycle: Cycle = "second Tuesday + 3 days".parse().expect("a cycle");
        assert_eq!(cycle.to_string(), "second Tuesday + 3 days");
        assert_eq!(cycle.next(at("2026-11-01T00:00:00Z")), at("2026-11-13T00:00:00Z"));
        assert_eq!(cycle.next(at("2026-11-13T00:00:00Z")), at("2026-11-13T00:00:00Z"));
        assert_eq!(cycle.next(at("2026-11-13T00:00:01Z")), at("2026-12-11T00:00:00Z"));
        let late: Cycle = "fourth Monday + 20 days".parse().expect("a cycle");
        assert_eq!(late.next(at("2026-12-01T00:00:00Z")), at("2026-12-13T00:00:00Z"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "tuesday", "fifth monday", "second tuesday + 28 days", "second tuesday x"]
        {
            assert!(text.parse::<Cycle>().is_err(), "{text}");
        }
    }
}
