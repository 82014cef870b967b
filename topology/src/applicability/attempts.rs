//! How often a machine tried to install a revision, and whether it should again.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::report::LOOPING;

/// After so many installations that changed nothing, a revision is left alone.
pub const MAX_WITHOUT_EFFECT: u32 = 2;

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: SignedDuration = SignedDuration::from_hours(1);

/// The longest wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);

/// What came of installing a revision so far. It is forgotten when the revision
/// is found installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// The installer said that it succeeded, and the revision was needed still.
    pub without_effect: u32,
    /// The installer, or a download, failed.
    pub failed: u32,
    /// When it last did.
    pub failed_at: Option<Timestamp>,
    /// It was installed, and takes effect with a restart that has not come yet.
    pub awaits_restart: bool,
}

/// Why a machine leaves a revision alone for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It was installed again and again without effect: a person has to look.
    Looping,
    /// It takes effect with a restart.
    Restart,
    /// It failed lately.
    Until(Timestamp),
}

impl Attempts {
    /// Why it should not be tried at `now`, if so.
    #[must_use]
    pub fn rest(&self, now: Timestamp) -> Option<Rest> {
        if self.awaits_restart {
            return Some(Rest::Restart);
        }
        if self.without_effect >= MAX_WITHOUT_EFFECT {
            return Some(Rest::Looping);
        }
        let doublings = self.failed.checked_sub(1)?.min(8);
        let wait = (FIRST_WAIT * (1 << doublings)).min(LONGEST_WAIT);
        let until = self.failed_at?.checked_add(wait).ok()?;
        // A clock that was set back does not make the wait longer.
        let is_now = self.failed_at.is_some_and(|at| at <= now) && now < until;
        is_now.then_some(Rest::Until(until))
    }

    /// It was installed and is needed still.
    pub fn had_no_effect(&mut self) {
        self.without_effect = self.without_effect.saturating_add(1);
    }

    /// It failed at `now`.
    pub fn failed(&mut self, now: Timestamp) {
        self.failed = self.failed.saturating_add(1);
        self.failed_at = Some(now);
    }
}

impl Rest {
    /// As [`Display`](fmt::Display), of what was to be removed.
    #[must_use]
    pub fn of_removal(&self) -> String {
        match self {
            Self::Looping => {
                format!("{LOOPING} it was removed again and again and is there still")
            }
            Self::Restart | Self::Until(_) => self.to_string(),
        }
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Looping => write!(
                f,
                "{LOOPING} it was installed {MAX_WITHOUT_EFFECT} times and is needed still"
            ),
            Self::Restart => f.write_str("a restart of this machine completes it"),
            Self::Until(until) => write!(f, "it failed; it is tried again after {until:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn two_installations_without_effect_are_a_loop() {
        let mut attempts = Attempts::default();
        attempts.had_no_effect();
        assert_eq!(attempts.rest(at(0)), None);
        attempts.had_no_effect();
        assert_eq!(attempts.rest(at(1_000)), Some(Rest::Looping));
        let attempts = Attempts { awaits_restart: true, ..Attempts::default() };
        assert_eq!(attempts.rest(at(0)), Some(Rest::Restart));
    }

    #[test]
    fn failures_wait_longer_and_longer_up_to_a_day() {
        let mut attempts = Attempts::default();
        for (failure, hours) in (1..12).zip([1, 2, 4, 8, 16, 24, 24, 24, 24, 24, 24]) {
            attempts.failed(at(0));
            assert_eq!(attempts.rest(at(hours - 1)), Some(Rest::Until(at(hours))), "{failure}");
            assert_eq!(attempts.rest(at(hours)), None, "{failure}");
        }
        assert_eq!(attempts.rest(at(-1)), None, "a clock that was set back");
    }
}
