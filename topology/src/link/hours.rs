//! Hours of the week, such as `Mon-Fri 08:00-18:00`, by the clock on the wall.
//!
//! Hours that end at or before they begin go on past midnight and belong to the
//! day on which they begin. The clock on the wall decides alone: an hour that
//! it shows twice, when summer time ends, counts twice, and one that it leaves
//! out does not come.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;

use crate::week::{self, DAILY};

pub(super) use crate::week::DAY;

/// Minutes of a week.
pub(super) const WEEK: u16 = 7 * DAY;

/// Some hours on some days of the week; never none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hours {
    /// One bit a day, Monday the lowest.
    days: u8,
    /// Minutes after midnight, below 24 hours.
    from: u16,
    /// Minutes after midnight, up to 24 hours; not `from`.
    to: u16,
}

/// Why a text names no hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another form.
    #[error(
        "{0:?} are not hours; write days and times, such as `Mon-Fri 08:00-18:00`, `Sat,Sun 00:00-24:00` or `22:00-06:00`"
    )]
    Form(String),
    /// The end is the beginning.
    #[error("{0:?} would be over as soon as they begin; a whole day is 00:00-24:00")]
    Never(String),
}

impl Hours {
    /// At any time.
    pub const ALWAYS: Self = Self { days: DAILY, from: 0, to: DAY };

    /// The hours of these days, a bit each, Monday the lowest.
    ///
    /// # Errors
    /// Hours that never come.
    pub fn new(days: u8, from: u16, to: u16) -> Result<Self, Error> {
        let hours = Self { days, from, to };
        if days > DAILY || from >= DAY || to > DAY {
            return Err(Error::Form(format!("days {days:#x}, minutes {from} to {to}")));
        }
        if days == 0 || from == to {
            return Err(Error::Never(hours.to_string()));
        }
        Ok(hours)
    }

    /// The days on which they begin, a bit each, Monday the lowest.
    #[must_use]
    pub const fn days(self) -> u8 {
        self.days
    }

    /// When they begin, in minutes after midnight.
    #[must_use]
    pub const fn from(self) -> u16 {
        self.from
    }

    /// When they end, in minutes after midnight.
    #[must_use]
    pub const fn to(self) -> u16 {
        self.to
    }

    /// Whether the clock on the wall is within them.
    #[must_use]
    pub fn contain(self, wall: DateTime) -> bool {
        self.contain_minute(minute_of_week(wall))
    }

    /// The same by minutes after Monday, 00:00.
    pub(super) fn contain_minute(self, minute: u16) -> bool {
        let (day, minute) = (minute / DAY, minute % DAY);
        let is_on = |day: u16| self.days >> (day % 7) & 1 == 1;
        if self.from < self.to {
            return is_on(day) && (self.from..self.to).contains(&minute);
        }
        is_on(day) && minute >= self.from || is_on(day + 6) && minute < self.to
    }
}

/// Minutes since Monday, 00:00.
pub(super) fn minute_of_week(wall: DateTime) -> u16 {
    let number = |value: i8| u16::try_from(value).unwrap_or_default();
    let day = number(wall.date().weekday().to_monday_zero_offset());
    day * DAY + number(wall.hour()) * 60 + number(wall.minute())
}

impl fmt::Debug for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hours({self})")
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = format!("{}-{}", week::time(self.from), week::time(self.to));
        f.pad(&week::with_days(self.days, &times))
    }
}

impl FromStr for Hours {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form(text.to_owned());
        let (days, times) = week::days_and_rest(text).ok_or_else(form)?;
        let (from, to) = times.split_once('-').ok_or_else(form)?;
        let (from, to) =
            (week::minutes(from).ok_or_else(form)?, week::minutes(to).ok_or_else(form)?);
        if from >= DAY || to > DAY {
            return Err(form());
        }
        if from == to {
            return Err(Error::Never(text.to_owned()));
        }
        Self::new(days, from, to)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::{prop_assert_eq, prop_assume, proptest};

    use super::{DAILY, DAY, Error, Hours};

    fn hours(text: &str) -> Hours {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn reads_what_people_write() {
        for (text, shown) in [
            ("Mon-Fri 08:00-18:00", "Mon-Fri 08:00-18:00"),
            ("mon,tue 08:00-18:00", "Mon,Tue 08:00-18:00"),
            ("Fri-Mon 22:30-06:00", "Fri-Mon 22:30-06:00"),
            ("Sat,Mon,Tue,Wed 00:00-24:00", "Mon-Wed,Sat 00:00-24:00"),
            ("Mon-Sun 01:00-02:00", "01:00-02:00"),
            ("daily 01:00-02:00", "01:00-02:00"),
            ("20:00-06:00", "20:00-06:00"),
        ] {
            assert_eq!(hours(text).to_string(), shown, "{text}");
            assert_eq!(hours(shown), hours(text), "{text}");
        }
        for text in ["", "Mon", "Mon 8-18", "Mon 8:00-18:00", "Mon 08:00-25:00", "Mo 08:00-18:00"] {
            assert!(matches!(text.parse::<Hours>(), Err(Error::Form(_))), "{text}");
        }
        for text in ["Mon 24:00-06:00", "08:00-18:60", "Mon 08:00-18:00 x", "Mon- 08:00-18:00"] {
            assert!(matches!(text.parse::<Hours>(), Err(Error::Form(_))), "{text}");
        }
    }

    #[test]
    fn hours_that_never_come_are_refused_with_words() {
        let error = "Mon-Fri 08:00-08:00".parse::<Hours>().expect_err("no time");
        assert!(error.to_string().contains("a whole day is 00:00-24:00"), "{error}");
        assert!(matches!(Hours::new(0, 60, 120), Err(Error::Never(_))));
        assert!(matches!(Hours::new(0x80, 60, 120), Err(Error::Form(_))));
        assert!(matches!(Hours::new(1, DAY, 120), Err(Error::Form(_))));
    }

    #[test]
    fn hours_past_midnight_belong_to_the_day_they_begin() {
        let night = hours("Fri 20:00-06:00");
        // 2026-11-27 is a Friday.
        let at = |day, hour, minute| date(2026, 11, day).at(hour, minute, 0, 0);
        assert!(!night.contain(at(27, 5, 0)) && !night.contain(at(27, 19, 59)));
        assert!(night.contain(at(27, 20, 0)) && night.contain(at(28, 5, 59)));
        assert!(!night.contain(at(28, 6, 0)) && !night.contain(at(28, 20, 0)));
        let sunday = hours("Sun 20:00-06:00");
        assert!(sunday.contain(at(30, 5, 0)), "past the end of the week");
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(days in 1..=DAILY, from in 0..DAY, to in 0..=DAY) {
            prop_assume!(from != to);
            let hours = Hours::new(days, from, to).expect("hours");
            prop_assert_eq!(hours.to_string().parse::<Hours>(), Ok(hours));
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,32}") {
            let _ = text.parse::<Hours>();
        }
    }
}
