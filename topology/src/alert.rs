//! Alerts: what is wrong until it is put right.
//!
//! An alert is named by what causes it, so raising it again changes nothing
//! and whoever sees the cause gone can take it back. It stays until then; no
//! time and no restart solves it. [`Alerts`] is bounded, since every node
//! passes on what all nodes below it say.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// The most alerts of one node. More than a person can act on; an alert that
/// weighs more takes the place of one that weighs less.
pub const MAX_ALERTS: usize = 32;

/// The most characters of a text; more are cut off.
pub const MAX_TEXT: usize = 400;

/// The most characters of a key; more are cut off.
pub const MAX_KEY: usize = 120;

/// How much an alert weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something goes on in another way than planned.
    Warning,
    /// Something does not go on until a person acts.
    Critical,
}

impl Severity {
    /// The word used in commands and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// How much it weighs.
    pub severity: Severity,
    /// What is wrong and what can be done, for a person.
    pub text: String,
    /// When it was raised first.
    pub since: Timestamp,
}

/// What raising an alert came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raised {
    /// It is new.
    New,
    /// It was there; its words or weight changed.
    Changed,
    /// It was there as it is.
    Same,
    /// There are [`MAX_ALERTS`] of at least its weight already.
    Refused,
}

/// What is wrong at one node, by the key of each cause.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Alerts {
    alerts: BTreeMap<String, Alert>,
}

impl Alerts {
    /// Alerts that were kept. Beyond [`MAX_ALERTS`] they are left out.
    #[must_use]
    pub fn of(kept: impl IntoIterator<Item = (String, Alert)>) -> Self {
        Self { alerts: kept.into_iter().take(MAX_ALERTS).collect() }
    }

    /// Says that something is wrong.
    pub fn raise(&mut self, key: &str, severity: Severity, text: &str, now: Timestamp) -> Raised {
        let (key, text) = (plain(key, MAX_KEY), plain(text, MAX_TEXT));
        if let Some(alert) = self.alerts.get_mut(&key) {
            if alert.severity == severity && alert.text == text {
                return Raised::Same;
            }
            (alert.severity, alert.text) = (severity, text);
            return Raised::Changed;
        }
        if self.alerts.len() >= MAX_ALERTS && !self.make_room(severity) {
            return Raised::Refused;
        }
        self.alerts.insert(key, Alert { severity, text, since: now });
        Raised::New
    }

    /// Drops the newest alert that weighs less than `severity`, if one does.
    fn make_room(&mut self, severity: Severity) -> bool {
        let lighter = self.alerts.iter().filter(|(_, alert)| alert.severity < severity);
        let newest = lighter.max_by_key(|(_, alert)| alert.since).map(|(key, _)| key.clone());
        newest.is_some_and(|key| self.alerts.remove(&key).is_some())
    }

    /// Says that it is wrong no more; what it was, if it was.
    pub fn clear(&mut self, key: &str) -> Option<Alert> {
        self.alerts.remove(&plain(key, MAX_KEY))
    }

    /// Every alert, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Alert)> {
        self.alerts.iter().map(|(key, alert)| (key.as_str(), alert))
    }

    /// The alert of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Alert> {
        self.alerts.get(&plain(key, MAX_KEY))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alerts.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty()
    }
}

/// At most `limit` characters, fit for a terminal.
fn plain(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn severity() -> impl Strategy<Value = Severity> {
        any::<bool>().prop_map(|heavy| if heavy { Severity::Critical } else { Severity::Warning })
    }

    #[test]
    fn it_stays_until_it_is_solved_and_keeps_its_first_time() {
        let mut alerts = Alerts::default();
        assert_eq!(alerts.raise("parent", Severity::Warning, "gone", at(1)), Raised::New);
        assert_eq!(alerts.raise("parent", Severity::Warning, "gone", at(2)), Raised::Same);
        assert_eq!(alerts.raise("parent", Severity::Critical, "gone", at(3)), Raised::Changed);
        assert_eq!(alerts.get("parent").map(|alert| alert.since), Some(at(1)));
        assert!(alerts.clear("parent").is_some() && alerts.clear("parent").is_none());
        assert!(alerts.is_empty());
    }

    #[test]
    fn what_weighs_more_takes_the_place_of_the_newest_that_weighs_less() {
        let mut alerts = Alerts::default();
        for number in 0..MAX_ALERTS {
            let now = at(number as i64);
            alerts.raise(&format!("{number:03}"), Severity::Warning, "w", now);
        }
        assert_eq!(alerts.raise("more", Severity::Warning, "w", at(99)), Raised::Refused);
        assert_eq!(alerts.raise("disk", Severity::Critical, "full", at(99)), Raised::New);
        assert!(alerts.get("disk").is_some() && alerts.get("031").is_none());
        assert!(alerts.get("000").is_some());
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_nothing_heavy_makes_way(
            steps in proptest::collection::vec((0..60u8, severity(), any::<bool>()), 0..200)
        ) {
            let mut alerts = Alerts::default();
            for (time, (key, severity, is_raised)) in steps.into_iter().enumerate() {
                let heavy = |alerts: &Alerts| {
                    alerts.iter().filter(|(_, one)| one.severity == Severity::Critical).count()
                };
                let before = heavy(&alerts);
                let key = key.to_string();
                if is_raised {
                    let was_there = alerts.get(&key).is_some();
                    let raised = alerts.raise(&key, severity, "\u{1b}text", at(time as i64));
                    prop_assert_eq!(raised == Raised::Refused, alerts.get(&key).is_none());
                    prop_assert!(was_there || heavy(&alerts) >= before);
                } else {
                    alerts.clear(&key);
                    prop_assert!(alerts.get(&key).is_none());
                }
                prop_assert!(alerts.len() <= MAX_ALERTS);
                let is_plain = alerts.iter().all(|(_, one)| !one.text.contains(char::is_control));
                prop_assert!(is_plain);
            }
        }
    }
}
