//! When machines install by themselves: at a time of some days of the week, by
//! their own clocks.
//!
//! A machine that was switched off then does it when it is there again, once.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, civil::Time};

use crate::week::{self, DAY};

/// `03:00` of every day, or such as `Sun 03:00`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstallTime {
    /// One bit a day, Monday the lowest; never none.
    days: u8,
    /// Minutes after midnight, below 24 hours.
    minute: u16,
}

/// Not such a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time to install at; write a time or days and a time, such as `03:00`, `Sun 03:00` or `Mon-Fri 22:30`"
)]
pub struct NoInstallTime(String);

impl InstallTime {
    /// Until when what a machine would do by itself waits; `None`: such a time has come since
    /// `since`. The machine is that much `later` than others, so that not all come at once.
    #[must_use]
    pub fn wait(
        self,
        since: Timestamp,
        later: SignedDuration,
        now: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let today = zone.to_datetime(now).date();
        let moment = |offset: i64| {
            let day = today.checked_add(offset.days()).ok()?;
            let bit = day.weekday().to_monday_zero_offset();
            if self.days >> bit & 1 == 0 {
                return None;
            }
            let wall = zone.to_ambiguous_timestamp(day.to_datetime(self.time()));
            wall.compatible().ok()?.checked_add(later).ok()
        };
        // The last one may be a week ago, and the day before, where midnight is within `later`.
        let moments: Vec<Timestamp> = (-9..=9).filter_map(moment).collect();
        let has_come = moments.iter().any(|moment| since < *moment && *moment <= now);
        let next = moments.into_iter().find(|moment| *moment > now);
        if has_come || now < since { None } else { next }
    }

    fn time(self) -> Time {
        let number = |value: u16| i8::try_from(value).unwrap_or_default();
        jiff::civil::time(number(self.minute / 60), number(self.minute % 60), 0, 0)
    }
}

impl fmt::Debug for InstallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstallTime({self})")
    }
}

impl fmt::Display for InstallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&week::with_days(self.days, &week::time(self.minute)))
    }
}

impl FromStr for InstallTime {
    type Err = NoInstallTime;

    fn from_str(text: &str) -> Result<Self, NoInstallTime> {
        let wrong = || NoInstallTime(text.chars().take(64).collect());
        let (days, time) = week::days_and_rest(text).ok_or_else(wrong)?;
        let minute = week::minutes(time).filter(|minute| *minute < DAY).ok_or_else(wrong)?;
        Ok(Self { days, minute })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;
    use crate::week::DAILY;

    fn wait(time: &str, since: &str, later_minutes: i64, now: &str) -> Option<String> {
        let zone = TimeZone::get("Europe/Paris").unwrap();
        let at = |text: &str| format!("2026-{text}:00Z").parse::<Timestamp>().unwrap();
        let later = SignedDuration::from_mins(later_minutes);
        let time: InstallTime = time.parse().unwrap();
        time.wait(at(since), later, at(now), &zone).map(|until| until.to_string()[5..16].to_owned())
    }

    #[test]
    fn it_is_read_as_people_write_it() {
        for (text, shown) in
            [("03:00", "03:00"), ("daily 03:00", "03:00"), ("sun,mon 22:30", "Sun,Mon 22:30")]
        {
            assert_eq!(text.parse::<InstallTime>().unwrap().to_string(), shown);
        }
        for wrong in ["", "3:00", "24:00", "Sun", "Sun 03:00 x", "Sun-", "Caturday 03:00"] {
            let error = wrong.parse::<InstallTime>().unwrap_err().to_string();
            assert!(error.contains("such as `03:00`"), "{error}");
        }
    }

    #[test]
    fn what_waits_goes_at_the_time_or_when_the_machine_is_there_again() {
        // 2026-11-29 is a Sunday; Paris is an hour ahead.
        let sunday = "Sun 03:00";
        assert_eq!(wait(sunday, "11-25T08:00", 0, "11-28T10:00").unwrap(), "11-29T02:00");
        assert_eq!(wait(sunday, "11-25T08:00", 0, "11-29T01:59").unwrap(), "11-29T02:00");
        assert_eq!(wait(sunday, "11-25T08:00", 0, "11-29T02:00"), None);
        // It was off on Sunday.
        assert_eq!(wait(sunday, "11-25T08:00", 0, "12-02T10:00"), None);
        // Done, it waits for the next.
        assert_eq!(wait(sunday, "11-29T02:05", 0, "11-29T02:06").unwrap(), "12-06T02:00");
        // Each machine by its own delay, also over midnight.
        assert_eq!(wait("23:50", "11-27T12:00", 25, "11-27T23:10").unwrap(), "11-27T23:15");
        assert_eq!(wait("23:50", "11-27T12:00", 25, "11-27T23:15"), None);
        assert_eq!(wait("23:50", "11-27T23:15", 25, "11-27T23:16").unwrap(), "11-28T23:15");
    }

    #[test]
    fn an_hour_that_the_clock_leaves_out_comes_after_it() {
        // On 2026-03-29 Paris goes from 02:00 to 03:00.
        assert_eq!(wait("02:30", "03-28T12:00", 0, "03-28T20:00").unwrap(), "03-29T01:30");
        // On 2026-10-25 it shows 02:30 twice; once is enough.
        assert_eq!(wait("02:30", "10-25T00:31", 0, "10-25T00:31").unwrap(), "10-26T01:30");
    }

    #[test]
    fn a_clock_that_was_put_back_holds_up_nothing() {
        assert_eq!(wait("03:00", "11-29T12:00", 0, "11-28T12:00"), None);
    }

    proptest! {
        #[test]
        fn within_a_week_there_is_one(bits in 1..=DAILY, minute in 0..DAY, hour in 0..8760_i64, later in 0..30_i64) {
            let time = InstallTime { days: bits, minute };
            prop_assert_eq!(time.to_string().parse::<InstallTime>().unwrap(), time);
            let now = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hour);
            let (later, zone) = (SignedDuration::from_mins(later), TimeZone::get("America/New_York").unwrap());
            // Asked right after one was done, the next is at most a week and an hour away.
            let next = time.wait(now, later, now, &zone);
            let at_once = next.is_none();
            let until = next.unwrap_or(now);
            prop_assert!(until <= now + SignedDuration::from_hours(7 * 24 + 1));
            if !at_once {
                prop_assert!(until > now);
                prop_assert!(time.wait(now, later, until, &zone).is_none());
            }
        }
    }
}
