//! What holds, when it changes, and when a transfer is done: by example, at the
//! edges of the calendar, and by property.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;

use super::*;
use crate::link::hours::DAY;

fn rule(text: &str) -> Rule {
    let (hours, rate) = text.rsplit_once(' ').expect("hours and a rate");
    Rule { hours: hours.parse().expect("hours"), rate: rate.parse().expect("a rate") }
}

fn limits(default: &str, rules: &[&str]) -> Limits {
    let rules = rules.iter().map(|text| rule(text)).collect();
    Limits { default: default.parse().expect("a rate"), rules }
}

fn down(zone: &str, default: &str, rules: &[&str]) -> Profile {
    let profile = Profile {
        zone: zone.parse().expect("a zone"),
        down: limits(default, rules),
        ..Profile::default()
    };
    profile.validate().expect("a profile");
    profile
}

fn bulk(zone: &str, hours: &[&str]) -> Profile {
    let bulk = hours.iter().map(|text| text.parse().expect("hours")).collect();
    Profile { zone: zone.parse().expect("a zone"), bulk, ..Profile::default() }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn rate(text: &str) -> Rate {
    text.parse().expect("a rate")
}

/// The next changes, each with the limit from then on.
fn changes(profile: &Profile, from: &str, count: usize) -> Vec<String> {
    let mut now = at(from);
    let mut seen = Vec::new();
    while let Some(next) = profile.next_change(now).filter(|_| seen.len() < count) {
        seen.push(format!("{next} {}", profile.at(next).down.rate));
        now = next;
    }
    seen
}

#[test]
fn a_rule_takes_the_place_of_the_default() {
    let office = down("Europe/Paris", "10Mbit/s", &["Mon-Fri 08:00-18:00 2Mbit/s"]);
    // 2026-11-25 is a Wednesday; Paris is an hour ahead.
    let before = office.at(at("2026-11-25T06:59:59Z")).down;
    assert_eq!((before.rate, before.rule), (rate("10Mbit/s"), None));
    let within = office.at(at("2026-11-25T07:00:00Z")).down;
    assert_eq!(within.rate, rate("2Mbit/s"));
    assert_eq!(within.rule.expect("a rule").to_string(), "Mon-Fri 08:00-18:00");
    assert_eq!(
        changes(&office, "2026-11-27T12:00:00Z", 2),
        ["2026-11-27T17:00:00Z 10Mbit/s", "2026-11-30T07:00:00Z 2Mbit/s"],
        "over a weekend"
    );
    let night = down("UTC", "2Mbit/s", &["20:00-06:00 unlimited"]);
    assert!(night.at(at("2026-11-25T23:00:00Z")).down.rate.is_unlimited(), "upward too");
}

#[test]
fn the_strictest_of_overlapping_rules_holds() {
    let profile = down(
        "UTC",
        "unlimited",
        &["08:00-18:00 10Mbit/s", "12:00-14:00 1Mbit/s", "13:00-20:00 5Mbit/s"],
    );
    let seen = changes(&profile, "2026-11-25T00:00:00Z", 5);
    assert_eq!(
        seen,
        [
            "2026-11-25T08:00:00Z 10Mbit/s",
            "2026-11-25T12:00:00Z 1Mbit/s",
            "2026-11-25T14:00:00Z 5Mbit/s",
            "2026-11-25T20:00:00Z unlimited",
            "2026-11-26T08:00:00Z 10Mbit/s",
        ],
    );
}

#[test]
fn a_rule_that_never_holds_is_refused_with_words() {
    let refused = |rules: &[&str]| {
        let profile = Profile { up: limits("10Mbit/s", rules), ..Profile::default() };
        profile.validate().expect_err("a rule that never holds").to_string()
    };
    let error = refused(&["08:00-18:00 1Mbit/s", "Mon 09:00-12:00 2Mbit/s"]);
    assert!(error.contains("up rule `Mon 09:00-12:00 2Mbit/s` would never hold"), "{error}");
    refused(&["08:00-18:00 1Mbit/s", "08:00-18:00 1Mbit/s"]);
    refused(&["00:00-12:00 1Mbit/s", "12:00-24:00 1Mbit/s", "23:00-01:00 2Mbit/s"]);
    let many: Vec<String> =
        (0..=MAX_RULES).map(|n| format!("00:{n:02}-00:{:02} 1Mbit/s", n + 1)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(refused(&many).contains("at most"));
    let odd = Profile { critical_waits: true, ..Profile::default() };
    assert_eq!(odd.validate(), Err(Error::NothingToWaitFor));
    let odd = Profile { ahead: Class::Control, ..Profile::default() };
    assert_eq!(odd.validate(), Err(Error::Ahead(Class::Control)));
}

#[test]
fn summer_time_begins() {
    // Paris leaves out 02:00 to 03:00 on 2026-03-29, at 01:00 UTC.
    let within = down("Europe/Paris", "10Mbit/s", &["02:15-02:45 1Mbit/s"]);
    assert_eq!(
        changes(&within, "2026-03-28T12:00:00Z", 1),
        ["2026-03-30T00:15:00Z 1Mbit/s"],
        "an hour that the clock leaves out does not come"
    );
    let across = down("Europe/Paris", "10Mbit/s", &["02:30-04:00 1Mbit/s"]);
    assert_eq!(
        changes(&across, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z 1Mbit/s", "2026-03-29T02:00:00Z 10Mbit/s"],
        "what began in the gap holds from its end on"
    );
    let night = bulk("Europe/Paris", &["22:00-06:00"]);
    let open = at("2026-03-28T21:00:00Z");
    let closed = night.next_change(open).expect("a change");
    assert_eq!(closed.duration_since(open).as_hours(), 7, "a night of seven hours");
}

#[test]
fn summer_time_ends() {
    // Paris shows 02:00 to 03:00 twice on 2026-10-25, from 00:00 UTC.
    let across = down("Europe/Paris", "10Mbit/s", &["02:30-04:00 1Mbit/s"]);
    assert_eq!(
        changes(&across, "2026-10-24T22:00:00Z", 4),
        [
            "2026-10-25T00:30:00Z 1Mbit/s",
            "2026-10-25T01:00:00Z 10Mbit/s",
            "2026-10-25T01:30:00Z 1Mbit/s",
            "2026-10-25T03:00:00Z 10Mbit/s",
        ],
        "the clock on the wall decides, also when it is set back"
    );
    let night = bulk("Europe/Paris", &["22:00-06:00"]);
    let open = at("2026-10-24T20:00:00Z");
    let closed = night.next_change(open).expect("a change");
    assert_eq!(closed.duration_since(open).as_hours(), 9, "a night of nine hours");
}

#[test]
fn the_ends_of_the_world() {
    // It is the same hour at UTC+14 and UTC-10, a day apart.
    for (zone, offset) in [("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11)] {
        let profile = down(zone, "10Mbit/s", &["Mon 00:00-24:00 1Mbit/s"]);
        // Monday, 2026-11-30, by the clock there.
        let begins = at("2026-11-30T00:00:00Z") - SignedDuration::from_hours(offset);
        let ends = begins + SignedDuration::from_hours(24);
        let found = profile.next_change(at("2026-11-26T00:00:00Z"));
        assert_eq!((found, profile.next_change(begins)), (Some(begins), Some(ends)), "{zone}");
        assert_eq!(profile.at(begins).down.rate, rate("1Mbit/s"), "{zone}");
    }
    // Samoa had no 30th of December in 2011: a Friday.
    let samoa = down("Pacific/Apia", "10Mbit/s", &["Fri 08:00-18:00 1Mbit/s"]);
    let next = samoa.next_change(at("2011-12-29T20:00:00Z")).expect("a change");
    assert_eq!(next, at("2012-01-05T18:00:00Z"), "the Friday after");
}

#[test]
fn bulk_waits_for_its_hours_and_the_urgent_does_not() {
    let mut profile = bulk("Europe/Paris", &["Mon-Fri 20:00-06:00", "Sat,Sun 00:00-24:00"]);
    let noon = at("2026-11-25T11:00:00Z");
    let holds = profile.at(noon);
    let may = |profile: &Profile| Class::ALL.map(|class| profile.admits(class, &holds));
    assert_eq!(may(&profile), [true, true, false, false]);
    assert_eq!(profile.opens(Class::Normal, noon), Some(at("2026-11-25T19:00:00Z")));
    assert_eq!(profile.opens(Class::Critical, noon), Some(noon));
    profile.critical_waits = true;
    assert_eq!(may(&profile), [true, false, false, false]);
    assert_eq!(profile.opens(Class::Critical, noon), Some(at("2026-11-25T19:00:00Z")));
    // Friday night runs into the weekend, Sunday ends at midnight.
    assert_eq!(profile.next_change(at("2026-11-27T20:00:00Z")), Some(at("2026-11-29T23:00:00Z")));
}

#[test]
fn a_forecast_follows_the_schedule() {
    let profile = down("UTC", "80Mbit/s", &["08:00-18:00 8Mbit/s"]);
    let now = at("2026-11-25T17:00:00Z");
    let measured = |own: &str, line: &str| Some(Measured { own: rate(own), line: rate(line) });
    let done = |left, measured| {
        forecast(&profile, Way::Down, Class::Normal, left, now, measured, Rate::UNLIMITED)
    };
    // An hour at 1 MB/s, then 10 MB/s.
    let left = 3_600_000_000 + 600_000_000;
    assert_eq!(done(left, None), Some(at("2026-11-25T18:01:00Z")));
    assert_eq!(done(left, measured("8Mbit/s", "8Mbit/s")), Some(at("2026-11-25T18:01:00Z")));
    // Half of the line is its share, also later.
    assert_eq!(done(left, measured("4Mbit/s", "8Mbit/s")), Some(at("2026-11-25T18:08:00Z")));
    // The line itself carries no more.
    assert_eq!(
        done(3_600_000_000, measured("4Mbit/s", "4Mbit/s")),
        Some(at("2026-11-25T19:00:00Z"))
    );
    assert_eq!(done(0, None), Some(now));
    // What the node allows as a whole counts as well.
    let cap = rate("4Mbit/s");
    let capped = forecast(&profile, Way::Down, Class::Normal, 3_600_000_000, now, None, cap);
    assert_eq!(capped, Some(at("2026-11-25T19:00:00Z")));
    let free = Profile::default();
    let nothing = forecast(&free, Way::Up, Class::Normal, 1, now, None, Rate::UNLIMITED);
    assert_eq!(nothing, None, "nothing limits it and nothing was measured");
}

#[test]
fn a_forecast_waits_for_bulk_hours() {
    let mut profile = bulk("UTC", &["Mon-Fri 20:00-06:00"]);
    profile.down.default = rate("8Mbit/s");
    let now = at("2026-11-27T12:00:00Z");
    let done = |class, left| forecast(&profile, Way::Down, class, left, now, None, Rate::UNLIMITED);
    assert_eq!(done(Class::Normal, 1_000_000), Some(at("2026-11-27T20:00:01Z")));
    // Ten hours hold 36 GB; the rest waits for Monday evening.
    assert_eq!(done(Class::Normal, 36_001_000_000), Some(at("2026-11-30T20:00:01Z")));
    assert_eq!(done(Class::Critical, 1_000_000), Some(at("2026-11-27T12:00:01Z")));
    assert_eq!(done(Class::Normal, u64::MAX), None, "years");
}

fn any_hours() -> impl Strategy<Value = Hours> {
    let minutes = || (0..96_u16).prop_map(|quarter| quarter * 15);
    (1..=0x7f_u8, minutes(), minutes()).prop_map(|(days, from, to)| {
        let to = if from == to { DAY } else { to };
        Hours::new(days, from, to).expect("hours")
    })
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let rates = || select(vec!["100kbit/s", "1Mbit/s", "5Mbit/s", "unlimited"]).prop_map(rate);
    let rule = (any_hours(), rates()).prop_map(|(hours, rate)| Rule { hours, rate });
    let zones = select(vec![
        "UTC",
        "Europe/Paris",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ]);
    (zones, rates(), vec(rule, 0..4), vec(any_hours(), 0..3)).prop_map(
        |(zone, default, rules, bulk)| Profile {
            zone: zone.parse().expect("a zone"),
            down: Limits { default, rules },
            bulk,
            ..Profile::default()
        },
    )
}

proptest! {
    #[test]
    fn nothing_changes_before_the_next_change(
        profile in any_profile(),
        second in 1_767_225_600_i64..1_830_000_000,
        part in 0..1000_i64,
    ) {
        let now = Timestamp::from_second(second).expect("a time");
        let holds = profile.at(now);
        match profile.next_change(now) {
            None => for hour in 0..24 * 7 {
                prop_assert_eq!(profile.at(now + SignedDuration::from_hours(hour)), holds);
            },
            Some(next) => {
                prop_assert!(next > now && profile.at(next) != holds);
                let until = next.duration_since(now).as_secs();
                let between = now + SignedDuration::from_secs((until - 1) * part / 1000);
                prop_assert_eq!(profile.at(between), holds, "at {}", between);
                prop_assert_eq!(profile.at(next - SignedDuration::from_secs(1)), holds);
            }
        }
    }

    #[test]
    fn more_takes_longer(
        profile in any_profile(),
        left in 1..10_000_000_000_u64,
        second in 1_767_225_600_i64..1_830_000_000,
        class in select(Class::ALL.to_vec()),
        own in Just("2Mbit/s").prop_map(rate),
        is_measured in any::<bool>(),
    ) {
        let now = Timestamp::from_second(second).expect("a time");
        let measured = is_measured.then_some(Measured { own, line: own });
        let done = |left| forecast(&profile, Way::Down, class, left, now, measured, Rate::UNLIMITED);
        if let (Some(less), Some(more)) = (done(left / 2), done(left)) {
            prop_assert!(now <= less && less <= more);
        }
    }
}
