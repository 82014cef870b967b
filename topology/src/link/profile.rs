//! What may pass over the line between a node and its parents, and when.
//!
//! A rule takes the place of the default while its hours last, upward too.
//! Where rules overlap, the strictest holds. A rule that would never hold,
//! because a stricter one covers all its hours, is refused: it reads like a
//! promise that nobody keeps.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Class;
use super::hours::{self, Hours, WEEK};
use super::rate::Rate;
use super::zone::Zone;

/// The most rules of one direction, and the most hours for bulk content; a week
/// has not more shifts than that.
pub const MAX_RULES: usize = 32;

/// Days that are looked ahead for a change: what comes weekly may be left out
/// once, when the clocks are moved.
const LOOK_AHEAD: i8 = 15;

/// Another limit for some hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule {
    /// When.
    pub hours: Hours,
    /// How much then.
    pub rate: Rate,
}

/// The limit of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// What holds when no rule does.
    pub default: Rate,
    /// What holds at other hours.
    pub rules: Vec<Rule>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { default: Rate::UNLIMITED, rules: Vec::new() }
    }
}

/// What the line between a node and its parents may carry. The default is a
/// line without limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The zone of its hours: the node's own.
    pub zone: Zone,
    /// From the parents to the node.
    pub down: Limits,
    /// From the node to its parents.
    pub up: Limits,
    /// When `normal` and `background` content may pass; none: at any time.
    pub bulk: Vec<Hours>,
    /// Whether `critical` content waits for those hours too.
    pub critical_waits: bool,
    /// The class of what is fetched ahead: [`Class::Normal`] or
    /// [`Class::Background`].
    pub ahead: Class,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            zone: Zone::default(),
            down: Limits::default(),
            up: Limits::default(),
            bulk: Vec::new(),
            critical_waits: false,
            ahead: Class::Normal,
        }
    }
}

/// Which way, as seen from the node that the profile belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// From its parents.
    Down,
    /// To its parents.
    Up,
}

impl Way {
    /// The word used in commands and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// A limit and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// How much.
    pub rate: Rate,
    /// The hours of the rule that holds; `None`: the default.
    pub rule: Option<Hours>,
}

/// What holds at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce {
    /// From the parents.
    pub down: Allowed,
    /// To the parents.
    pub up: Allowed,
    /// Whether bulk content may pass.
    pub bulk_open: bool,
}

impl InForce {
    /// The limit of one direction.
    #[must_use]
    pub const fn way(&self, way: Way) -> Allowed {
        match way {
            Way::Down => self.down,
            Way::Up => self.up,
        }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rule that never holds.
    #[error(
        "the {way} rule `{hours} {rate}` would never hold: stricter rules, or the same before it, cover all its hours; the strictest of overlapping rules counts"
    )]
    NeverHolds {
        /// The direction.
        way: &'static str,
        /// Its hours.
        hours: Hours,
        /// Its limit.
        rate: Rate,
    },
    /// Too many.
    #[error("{count} {what}; at most {MAX_RULES} are possible")]
    Many {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// Not a class for what is fetched ahead.
    #[error("what is fetched ahead is normal or background, not {0}")]
    Ahead(Class),
    /// Critical content is to wait for hours that there are not.
    #[error("critical content cannot wait for bulk hours, since none are set")]
    NothingToWaitFor,
}

impl Limits {
    /// The limit at a minute of the week.
    fn at_minute(&self, minute: u16) -> Allowed {
        let holding = self.holding(minute).map(|index| self.rules[index]);
        match holding {
            Some(rule) => Allowed { rate: rule.rate, rule: Some(rule.hours) },
            None => Allowed { rate: self.default, rule: None },
        }
    }

    /// The strictest rule of a minute; the first of equals.
    fn holding(&self, minute: u16) -> Option<usize> {
        let within = |index: &usize| self.rules[*index].hours.contain_minute(minute);
        (0..self.rules.len()).filter(within).min_by_key(|&index| self.rules[index].rate)
    }

    fn validate(&self, way: Way) -> Result<(), Error> {
        let count = self.rules.len();
        if count > MAX_RULES {
            return Err(Error::Many { what: "rules of one direction", count });
        }
        let mut holds = vec![false; count];
        for index in (0..WEEK).filter_map(|minute| self.holding(minute)) {
            holds[index] = true;
        }
        match holds.iter().position(|holds| !holds) {
            None => Ok(()),
            Some(index) => {
                let Rule { hours, rate } = self.rules[index];
                Err(Error::NeverHolds { way: way.as_str(), hours, rate })
            }
        }
    }
}

impl Profile {
    /// The limits of one direction.
    #[must_use]
    pub const fn limits(&self, way: Way) -> &Limits {
        match way {
            Way::Down => &self.down,
            Way::Up => &self.up,
        }
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self { zone: self.zone.clone(), ..Self::default() }
    }

    /// Whether it is the same all week.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.down.rules.is_empty() && self.up.rules.is_empty() && self.bulk.is_empty()
    }

    /// What holds at an instant.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> InForce {
        let minute = hours::minute_of_week(self.zone.wall(now));
        InForce {
            down: self.down.at_minute(minute),
            up: self.up.at_minute(minute),
            bulk_open: self.bulk.is_empty()
                || self.bulk.iter().any(|hours| hours.contain_minute(minute)),
        }
    }

    /// Whether content of a class may pass, given what holds.
    #[must_use]
    pub const fn admits(&self, class: Class, holds: &InForce) -> bool {
        match class {
            Class::Control => true,
            Class::Critical => holds.bulk_open || !self.critical_waits,
            Class::Normal | Class::Background => holds.bulk_open,
        }
    }

    /// The first instant after `now` at which something else holds; `None` where
    /// nothing ever changes.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let before = self.at(now);
        self.next(now, |holds| *holds != before)
    }

    /// When content of a class may pass again: `now` where it may already.
    #[must_use]
    pub fn opens(&self, class: Class, now: Timestamp) -> Option<Timestamp> {
        if self.admits(class, &self.at(now)) {
            return Some(now);
        }
        self.next(now, |holds| self.admits(class, holds))
    }

    /// The first instant after `now` at which `is_met` by what holds. What holds
    /// changes only where the clock shows a boundary of some hours, or is moved.
    fn next(&self, now: Timestamp, is_met: impl Fn(&InForce) -> bool) -> Option<Timestamp> {
        if self.is_constant() {
            return None;
        }
        let boundaries = self.boundaries();
        let today = self.zone.date(now);
        let mut moved = self.zone.transition_after(now);
        for ahead in 0..LOOK_AHEAD {
            let date = today.checked_add(jiff::Span::new().days(ahead)).ok()?;
            let walls = boundaries.iter().filter_map(|&minute| {
                let after = SignedDuration::from_mins(i64::from(minute));
                date.at(0, 0, 0, 0).checked_add(after).ok()
            });
            let mut instants: Vec<Timestamp> =
                walls.flat_map(|wall| self.zone.instants(wall)).collect();
            while let Some(at) = moved.filter(|at| self.zone.date(*at) <= date) {
                instants.push(at);
                moved = self.zone.transition_after(at);
            }
            instants.sort_unstable();
            let found =
                instants.into_iter().filter(|at| *at > now).find(|at| is_met(&self.at(*at)));
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Minutes of the day at which something may begin or end.
    fn boundaries(&self) -> Vec<u16> {
        let rules = self.down.rules.iter().chain(&self.up.rules).map(|rule| &rule.hours);
        let hours = rules.chain(&self.bulk);
        let mut minutes: Vec<u16> =
            hours.flat_map(|hours| [hours.from(), hours.to() % hours::DAY]).collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }

    /// Checks that it can be used.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), Error> {
        self.down.validate(Way::Down)?;
        self.up.validate(Way::Up)?;
        if self.bulk.len() > MAX_RULES {
            return Err(Error::Many { what: "bulk hours", count: self.bulk.len() });
        }
        if !matches!(self.ahead, Class::Normal | Class::Background) {
            return Err(Error::Ahead(self.ahead));
        }
        if self.critical_waits && self.bulk.is_empty() {
            return Err(Error::NothingToWaitFor);
        }
        Ok(())
    }
}

/// What is known of how fast a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// This transfer.
    pub own: Rate,
    /// Everything in the same direction of the line.
    pub line: Rate,
}

/// The part of a limit, in percent, from which on it is the limit, and not the
/// line, that holds traffic back.
const SATURATED: u64 = 85;

/// The most changes of a schedule that a forecast goes through: more than a year
/// of two a day.
const MAX_STEPS: usize = 1000;

/// When `left` bytes of `class` will have passed, given the schedule of the line
/// and what is measured now. `None` where nothing can be said: nothing was
/// measured and nothing limits, or it would take years.
///
/// A transfer that goes as fast as its share of the limit is taken to go on
/// with that share when the limit changes; one that is slower is held back by
/// the line or the other side, and is taken to become no faster. `cap` is what
/// else limits the line at any time.
#[must_use]
pub fn forecast(
    profile: &Profile,
    way: Way,
    class: Class,
    left: u64,
    now: Timestamp,
    measured: Option<Measured>,
    cap: Rate,
) -> Option<Timestamp> {
    let holds = profile.at(now);
    let pace = Guess::new(holds.way(way).rate.min(cap), measured);
    let (mut from, mut holds, mut left) = (now, holds, left);
    for _ in 0..MAX_STEPS {
        if left == 0 {
            return Some(from);
        }
        let change = profile.next_change(from);
        if profile.admits(class, &holds) {
            let rate = pace.at(holds.way(way).rate.min(cap))?;
            let needed = rate.time_of(left);
            let until =
                SignedDuration::try_from(needed).ok().and_then(|t| from.checked_add(t).ok());
            match (change, until) {
                (None, until) => return until,
                (Some(change), Some(until)) if until <= change => return Some(until),
                (Some(change), _) => {
                    let time = Duration::try_from(change.duration_since(from)).ok()?;
                    left = left.saturating_sub(rate.bytes_in(time));
                }
            }
        }
        from = change?;
        holds = profile.at(from);
    }
    None
}

/// How fast it will go under another limit.
struct Guess {
    measured: Option<Measured>,
    /// Whether the limit is what holds it back now.
    is_limited: bool,
}

impl Guess {
    fn new(limit: Rate, measured: Option<Measured>) -> Self {
        let is_limited = match (limit.bits(), measured.and_then(|rate| rate.line.bits())) {
            (Some(limit), Some(line)) => line >= limit / 100 * SATURATED,
            _ => false,
        };
        Self { measured, is_limited }
    }

    fn at(&self, limit: Rate) -> Option<Rate> {
        let Some(Measured { own, line }) = self.measured else {
            return (!limit.is_unlimited()).then_some(limit);
        };
        match self.is_limited {
            true if limit.is_unlimited() => Some(own),
            true => Some(limit.share(own, line)),
            false => Some(limit.min(own)),
        }
    }
}

#[cfg(test)]
mod tests;
