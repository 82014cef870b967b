//! Planned synchronisations: when the next one is due, and when it is time to
//! tell a person that they fail.
//!
//! A plan says when a vendor's source is asked by itself: every so often, or
//! at an hour of the day in some time zone. One that fails runs again
//! [`Retries::times`] times at [`Retries::interval`]; then it is an alert, and
//! goes on by the plan. Any success, also of a synchronisation that a person or
//! a push began, ends the waiting.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// The shortest time between two planned synchronisations: what is sooner is
/// no plan.
pub const SHORTEST: SignedDuration = SignedDuration::from_secs(1);

/// The longest time between two planned synchronisations.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// When a synchronisation runs by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// So often.
    Every(SignedDuration),
    /// At this time of every day, in this zone.
    At(Time, TimeZone),
}

/// Why a plan cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Too often or too seldom.
    #[error("a source is asked every {0}; write something from 1s to 31d")]
    Interval(SignedDuration),
    /// No time of day.
    #[error("{0:?} is no time of day; write HH:MM, such as 02:00")]
    Time(String),
    /// No zone.
    #[error("{0:?} is no time zone that is known here; write one such as Europe/Paris, or UTC")]
    Zone(String),
}

impl Plan {
    /// A plan of so often.
    ///
    /// # Errors
    /// [`Error::Interval`].
    pub fn every(interval: SignedDuration) -> Result<Self, Error> {
        if (SHORTEST..=LONGEST).contains(&interval) {
            return Ok(Self::Every(interval));
        }
        Err(Error::Interval(interval))
    }

    /// A plan of every day, at `HH:MM` in a zone by its IANA name.
    ///
    /// # Errors
    /// [`Error::Time`], [`Error::Zone`].
    pub fn at(time: &str, zone: &str) -> Result<Self, Error> {
        let wrong = || Error::Time(time.chars().take(16).collect());
        let (hour, minute) = time.split_once(':').ok_or_else(wrong)?;
        let number = |text: &str| {
            let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            i8::from_str(text).ok().filter(|_| is_plain)
        };
        let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
        let time = Time::new(hour, minute, 0, 0).map_err(|_| wrong())?;
        let unknown = |_| Error::Zone(zone.chars().take(64).collect());
        Ok(Self::At(time, TimeZone::get(zone).map_err(unknown)?))
    }

    /// The first planned moment after `time`.
    #[must_use]
    pub fn after(&self, time: Timestamp) -> Timestamp {
        match self {
            Self::Every(interval) => time.checked_add(*interval).unwrap_or(Timestamp::MAX),
            Self::At(hour, zone) => {
                let mut day = time.to_zoned_datetime(zone.clone()).date();
                // Yesterday in that zone may still be today; a clock that is put
                // back passes an hour twice.
                for _ in 0..4 {
                    let moment = day.to_datetime(*hour).to_zoned_datetime(zone.clone());
                    match moment.map(|moment| moment.timestamp()) {
                        Ok(moment) if moment > time => return moment,
                        _ => {}
                    }
                    match day.checked_add(1.day()) {
                        Ok(next) => day = next,
                        Err(_) => break,
                    }
                }
                Timestamp::MAX
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {interval:#}"),
            Self::At(time, zone) => {
                let zone = zone.iana_name().unwrap_or("UTC");
                write!(f, "daily at {:02}:{:02} {zone}", time.hour(), time.minute())
            }
        }
    }
}

/// How a planned synchronisation that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// How often, before it is an alert.
    pub times: u32,
    /// How long after the last try.
    pub interval: SignedDuration,
}

/// How it went so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// The last try, or when the plan was made.
    pub last: Timestamp,
    /// Planned tries in a row that failed, up to the last.
    pub failures: u32,
}

impl Course {
    /// When the next try is due.
    #[must_use]
    pub fn due(&self, plan: &Plan, retries: Retries) -> Timestamp {
        if self.failures == 0 || self.is_alert(retries) {
            return plan.after(self.last);
        }
        // A plan of every minute need not wait half an hour.
        let again = self.last.checked_add(retries.interval).unwrap_or(Timestamp::MAX);
        again.min(plan.after(self.last))
    }

    /// Whether a person has to be told.
    #[must_use]
    pub const fn is_alert(&self, retries: Retries) -> bool {
        self.failures > retries.times
    }

    /// After a planned try that ended at `now`.
    #[must_use]
    pub const fn tried(self, has_succeeded: bool, now: Timestamp) -> Self {
        let failures = if has_succeeded { 0 } else { self.failures.saturating_add(1) };
        Self { last: now, failures }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    const RETRIES: Retries = Retries { times: 3, interval: SignedDuration::from_mins(30) };

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn next(plan: &Plan, time: &str) -> String {
        plan.after(at(time)).to_string()
    }

    #[test]
    fn a_time_of_day_keeps_to_its_zone_when_clocks_change() {
        let plan = Plan::at("02:30", "Europe/Paris").expect("a plan");
        assert_eq!(next(&plan, "2026-11-25T01:00:00Z"), "2026-11-25T01:30:00Z");
        assert_eq!(next(&plan, "2026-11-25T01:30:00Z"), "2026-11-26T01:30:00Z");
        assert_eq!(next(&plan, "2026-07-01T00:00:00Z"), "2026-07-01T00:30:00Z");
        // On 29 March 2026 there is no half past two; on 25 October there are two.
        assert_eq!(next(&plan, "2026-03-28T23:00:00Z"), "2026-03-29T01:30:00Z");
        assert_eq!(next(&plan, "2026-10-24T22:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(next(&plan, "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        // Where it is tomorrow already.
        let far = Plan::at("00:10", "Pacific/Auckland").expect("a plan");
        assert_eq!(next(&far, "2026-11-25T11:05:00Z"), "2026-11-25T11:10:00Z");
    }

    #[test]
    fn plans_are_checked_and_read_well() {
        for time in ["2:00", "24:00", "02:60", "0200", "", "02:00:00", "-1:00"] {
            assert!(matches!(Plan::at(time, "UTC"), Err(Error::Time(_))), "{time}");
        }
        assert!(matches!(Plan::at("02:00", "Europe/Atlantis"), Err(Error::Zone(_))));
        assert!(Plan::every(SignedDuration::ZERO).is_err());
        let plan = Plan::at("02:00", "Europe/Paris").expect("a plan");
        assert_eq!(plan.to_string(), "daily at 02:00 Europe/Paris");
        let plan = Plan::every(SignedDuration::from_hours(6)).expect("a plan");
        assert_eq!(plan.to_string(), "every 6h");
    }

    #[test]
    fn three_more_tries_at_half_an_hour_then_an_alert() {
        let plan = Plan::every(SignedDuration::from_hours(24)).expect("a plan");
        let mut now = at("2026-11-25T00:00:00Z");
        let mut course = Course { last: now, failures: 0 };
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = course.due(&plan, RETRIES);
            waits.push(due.duration_since(now).as_mins());
            now = due;
            course = course.tried(false, now);
        }
        assert_eq!(waits, [1440, 30, 30, 30, 1440, 1440]);
        assert!(course.is_alert(RETRIES));
        assert!(!course.tried(true, now).is_alert(RETRIES));
    }

    proptest! {
        #[test]
        fn the_next_try_is_later_and_alerts_come_after_all_retries(
            hours in 1..200i64, outcomes in proptest::collection::vec(any::<bool>(), 1..40),
        ) {
            let plan = Plan::every(SignedDuration::from_hours(hours)).expect("a plan");
            let mut course = Course { last: at("2026-01-01T00:00:00Z"), failures: 0 };
            let mut failed_in_a_row = 0;
            for has_succeeded in outcomes {
                let due = course.due(&plan, RETRIES);
                prop_assert!(due > course.last && due <= plan.after(course.last));
                course = course.tried(has_succeeded, due);
                failed_in_a_row = if has_succeeded { 0 } else { failed_in_a_row + 1 };
                prop_assert_eq!(course.is_alert(RETRIES), failed_in_a_row > RETRIES.times);
            }
        }
    }
}
