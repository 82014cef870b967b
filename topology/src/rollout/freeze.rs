//! Freezes: times in which nothing opens somewhere, such as the end of the
//! year.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Priority;
use crate::name::{FreezeName, Site};

/// The most freezes of a mesh.
pub const MAX_FREEZES: usize = 256;

/// A time in which nothing opens somewhere. What is open stays open; machines
/// that ask a plan install nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// Where; empty: everywhere.
    pub geographies: Vec<Site>,
    /// From then.
    pub from: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Whether urgent rollouts go on.
    pub spares_urgent: bool,
}

/// Freezes by name.
pub type Freezes = BTreeMap<FreezeName, Freeze>;

/// Why a freeze cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is taken.
    #[error("there is a freeze {0} already; end it first, or choose another name")]
    Taken(FreezeName),
    /// No such freeze.
    #[error("there is no freeze {0}; `patchmesh freeze list` shows those there are")]
    Unknown(FreezeName),
    /// It would end before it begins.
    #[error("a freeze ends after it begins; this one would last from {0} until {1}")]
    Never(Timestamp, Timestamp),
    /// Nobody would know why.
    #[error("say why, with --reason")]
    NoReason,
    /// More than a mesh can have.
    #[error("the mesh has {MAX_FREEZES} freezes already; end one first")]
    TooMany,
}

/// Enters a freeze.
///
/// # Errors
/// See [`Rejection`].
pub fn add(freezes: &mut Freezes, name: FreezeName, freeze: Freeze) -> Result<(), Rejection> {
    if freezes.contains_key(&name) {
        return Err(Rejection::Taken(name));
    }
    if freezes.len() >= MAX_FREEZES {
        return Err(Rejection::TooMany);
    }
    if freeze.until <= freeze.from {
        return Err(Rejection::Never(freeze.from, freeze.until));
    }
    if freeze.reason.trim().is_empty() {
        return Err(Rejection::NoReason);
    }
    freezes.insert(name, freeze);
    Ok(())
}

impl Freeze {
    /// Whether it holds `site` at an instant; `None`: some site.
    #[must_use]
    pub fn holds(&self, site: Option<&Site>, priority: Priority, at: Timestamp) -> bool {
        self.lasts(priority, at) && (site.is_none() || self.is_all_of(site))
    }

    fn lasts(&self, priority: Priority, at: Timestamp) -> bool {
        let is_spared = self.spares_urgent && priority == Priority::Urgent;
        !is_spared && self.from <= at && at < self.until
    }

    /// Whether it is for all of a geography; `None`: of the world.
    fn is_all_of(&self, place: Option<&Site>) -> bool {
        self.geographies.is_empty() || place.is_some_and(|place| place.is_in(&self.geographies))
    }

    /// Whether it is for a part of a geography; `None`: of the world.
    fn is_part_of(&self, place: Option<&Site>) -> bool {
        let is_below = |place: &Site| self.geographies.iter().any(|one| one.is_within(place));
        self.is_all_of(place) || place.is_none_or(is_below)
    }
}

/// When something that would open at `at` opens, after all freezes that hold
/// it, and the last of them.
#[must_use]
pub fn delayed<'a>(
    freezes: &'a Freezes,
    site: Option<&Site>,
    priority: Priority,
    at: Timestamp,
) -> (Timestamp, Option<&'a FreezeName>) {
    after(freezes, at, |freeze, at| freeze.holds(site, priority, at))
}

/// When the first place of some geographies opens of what would open there at
/// `at`; none: of the world.
#[must_use]
pub fn first(
    freezes: &Freezes,
    geographies: &[Site],
    priority: Priority,
    at: Timestamp,
) -> Timestamp {
    let opens = |place: Option<&Site>| {
        let holds = |freeze: &Freeze, at| freeze.lasts(priority, at) && freeze.is_all_of(place);
        after(freezes, at, holds).0
    };
    places(geographies).map(opens).min().unwrap_or(at)
}

/// Each of some geographies; none: the world.
pub(super) fn places(geographies: &[Site]) -> impl Iterator<Item = Option<&Site>> + Clone {
    let world = geographies.is_empty().then_some(None);
    geographies.iter().map(Some).chain(world)
}

/// When the last place of a geography opens of what would open there at `at`,
/// and the last freeze before that; `None`: of the world.
#[must_use]
pub fn last<'a>(
    freezes: &'a Freezes,
    place: Option<&Site>,
    priority: Priority,
    at: Timestamp,
) -> (Timestamp, Option<&'a FreezeName>) {
    after(freezes, at, |freeze, at| freeze.lasts(priority, at) && freeze.is_part_of(place))
}

/// The first instant from `at` on that no freeze holds, and the last freeze
/// before it.
fn after(
    freezes: &Freezes,
    at: Timestamp,
    holds: impl Fn(&Freeze, Timestamp) -> bool,
) -> (Timestamp, Option<&FreezeName>) {
    let (mut opens, mut by) = (at, None);
    // Each step leaves one freeze behind, so there are at most as many.
    while let Some((name, freeze)) = freezes.iter().find(|(_, freeze)| holds(freeze, opens)) {
        (opens, by) = (freeze.until, Some(name));
    }
    (opens, by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn freeze(place: &str, from: i64, until: i64) -> Freeze {
        let geographies = vec![place.parse().expect("a site")];
        let reason = "end of year".to_owned();
        Freeze { geographies, from: at(from), until: at(until), reason, spares_urgent: true }
    }

    #[test]
    fn what_would_open_within_opens_after_the_last() {
        let name = |text: &str| text.parse::<FreezeName>().expect("a name");
        let mut freezes = Freezes::new();
        add(&mut freezes, name("b"), freeze("emea", 10, 20)).expect("added");
        add(&mut freezes, name("a"), freeze("emea/fr", 20, 30)).expect("added");
        let site = |text: &str| text.parse::<Site>().expect("a site");
        let opens =
            |place: &str, urgent, when| delayed(&freezes, Some(&site(place)), urgent, at(when)).0;
        assert_eq!(opens("emea/fr/paris", Priority::Normal, 12), at(30));
        assert_eq!(opens("emea/de", Priority::Normal, 12), at(20));
        assert_eq!(opens("emea/de", Priority::Normal, 9), at(9));
        assert_eq!(opens("apac", Priority::Normal, 12), at(12));
        assert_eq!(opens("emea/fr", Priority::Urgent, 12), at(12));
        assert_eq!(delayed(&freezes, None, Priority::Normal, at(12)).0, at(30));
        let priority = Priority::Normal;
        let first = |places: &[&str]| {
            let places: Vec<Site> = places.iter().map(|place| site(place)).collect();
            super::first(&freezes, &places, priority, at(12))
        };
        assert_eq!(first(&["emea/fr", "emea/de"]), at(20));
        assert_eq!((first(&["emea"]), first(&[])), (at(20), at(12)), "the world is not frozen");
        let last = |place: Option<&str>| {
            super::last(&freezes, place.map(site).as_ref(), priority, at(12)).0
        };
        assert_eq!((last(Some("emea")), last(None)), (at(30), at(30)), "a part of it is");
        assert_eq!(last(Some("apac")), at(12));
        let never = add(&mut freezes, name("c"), freeze("emea", 20, 20));
        assert_eq!(never, Err(Rejection::Never(at(20), at(20))));
    }
}
