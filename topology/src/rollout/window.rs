//! When machines may install: windows and blackouts by the clock of their site.
//!
//! The clock on the wall decides alone: a window lies in the hour that it shows
//! twice both times, and one in the hour that it leaves out does not come.

use jiff::{SignedDuration, Timestamp};

use crate::link::hours::Hours;
use crate::link::zone::Zone;

/// How far ahead the next opening is looked for: weeks in which a clock is
/// moved are among them.
const AHEAD: SignedDuration = SignedDuration::from_hours(15 * 24);

/// Hours that begin and end on whole minutes.
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// Whether something may be installed at an instant. Without windows any time
/// is one; a blackout goes before a window.
#[must_use]
pub fn is_open(windows: &[Hours], blackouts: &[Hours], zone: &Zone, at: Timestamp) -> bool {
    let wall = zone.wall(at);
    let is_in = |hours: &[Hours]| hours.iter().any(|hours| hours.contain(wall));
    (windows.is_empty() || is_in(windows)) && !is_in(blackouts)
}

/// The first instant from `now` on at which something may be installed; `None`
/// where there is none in two weeks.
#[must_use]
pub fn next(
    windows: &[Hours],
    blackouts: &[Hours],
    zone: &Zone,
    now: Timestamp,
) -> Option<Timestamp> {
    if is_open(windows, blackouts, zone, now) {
        return Some(now);
    }
    // Zones of today are moved against UTC by whole minutes.
    let into = now.as_second().rem_euclid(60);
    let mut at = Timestamp::from_second(now.as_second() - into).ok()?.checked_add(MINUTE).ok()?;
    let end = now.checked_add(AHEAD).ok()?;
    while at < end {
        if is_open(windows, blackouts, zone, at) {
            return Some(at);
        }
        at = at.checked_add(MINUTE).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn hours(texts: &[&str]) -> Vec<Hours> {
        texts.iter().map(|text| text.parse().expect("hours")).collect()
    }

    fn opens(windows: &[&str], blackouts: &[&str], zone: &str, now: &str) -> Option<Timestamp> {
        let zone: Zone = zone.parse().expect("a zone");
        next(&hours(windows), &hours(blackouts), &zone, at(now))
    }

    #[test]
    fn windows_lie_in_the_clock_of_the_site() {
        let night = &["22:00-06:00"];
        let noon = "2026-11-27T12:00:00Z";
        assert_eq!(opens(night, &[], "Pacific/Kiritimati", noon), Some(at(noon)));
        assert_eq!(
            opens(night, &[], "Pacific/Pago_Pago", noon),
            Some(at(noon)),
            "it is 01:00 there"
        );
        assert_eq!(opens(night, &[], "Europe/Paris", noon), Some(at("2026-11-27T21:00:00Z")));
        let but_friday = opens(night, &["Fri 00:00-24:00"], "Europe/Paris", noon);
        assert_eq!(but_friday, Some(at("2026-11-27T23:00:00Z")));
    }

    #[test]
    fn the_hour_left_out_does_not_come_and_the_one_shown_twice_does_twice() {
        let spring = opens(&["Sun 02:10-02:50"], &[], "Europe/Paris", "2026-03-29T00:00:00Z");
        assert_eq!(spring, Some(at("2026-04-05T00:10:00Z")));
        let zone = "Europe/Paris".parse().expect("a zone");
        let window = hours(&["Sun 02:00-03:00"]);
        let is_open = |text: &str| is_open(&window, &[], &zone, at(text));
        assert!(is_open("2026-10-25T00:30:00Z") && is_open("2026-10-25T01:30:00Z"));
        assert!(!is_open("2026-10-25T02:30:00Z"));
    }

    #[test]
    fn what_never_opens_is_said_to_never_open() {
        assert_eq!(
            opens(&["Mon 08:00-09:00"], &["08:00-10:00"], "UTC", "2026-11-27T12:00:00Z"),
            None
        );
    }
}
