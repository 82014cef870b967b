//! Gates: what has to hold in a wave before the next one opens, and what stops
//! it.
//!
//! Shares are measured on machines that were reached. What is unreachable is
//! handled by a named rule, and no share is judged on fewer machines than its
//! sample.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{Share, later, words};

/// How many machines a wave is about, and what they said of what it opened.
/// `reached` ≤ `machines`, and `installed + failed` ≤ `reached`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Machines that belong to the wave.
    pub machines: u64,
    /// Those that came to an end with it: installed, failed, or not concerned.
    pub reached: u64,
    /// Those that have it.
    pub installed: u64,
    /// Those that failed, and do not have it.
    pub failed: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.machines += other.machines;
        self.reached += other.reached;
        self.installed += other.installed;
        self.failed += other.failed;
    }
}

/// A share that has to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtLeast {
    /// The share.
    pub share: Share,
    /// Machines below which nothing is judged.
    pub min_sample: u64,
}

/// What must not be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtMost {
    /// As a share of those reached.
    pub share: Option<Share>,
    /// As a number.
    pub count: Option<u64>,
    /// Machines reached below which the share is not judged. The number is
    /// judged always: it is a sample of its own.
    pub min_sample: u64,
}

/// What becomes of machines that cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unreachable {
    /// They hold the gate closed as far as `min_reached` says.
    #[default]
    Block,
    /// After the wave was open so long, they count no more.
    Ignore(SignedDuration),
    /// After the wave was open so long, they count as failed.
    Fail(SignedDuration),
}

impl Unreachable {
    /// How long they are waited for; `None`: for ever.
    #[must_use]
    pub const fn patience(self) -> Option<SignedDuration> {
        match self {
            Self::Block => None,
            Self::Ignore(after) | Self::Fail(after) => Some(after),
        }
    }
}

/// What happens when failures exceed the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum OnBreach {
    /// The wave is paused.
    #[default]
    Pause,
    /// The rollout is halted.
    Halt,
    /// The rollout is withdrawn.
    Withdraw,
}

words!(
    OnBreach,
    "action on breach",
    "pause, halt or withdraw",
    Pause = "pause",
    Halt = "halt",
    Withdraw = "withdraw"
);

/// What has to hold in a wave before the next one opens. Without conditions it
/// is met as soon as the wave is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gate {
    /// Of the wave's machines, those reached.
    pub min_reached: Option<AtLeast>,
    /// Of the machines reached, those that have it.
    pub min_success: Option<AtLeast>,
    /// Of the machines reached, those that failed.
    pub max_failed: Option<AtMost>,
    /// How long the wave is open at least.
    pub soak: SignedDuration,
    /// Whether an operator has to let the next wave open.
    pub operator: bool,
    /// What becomes of machines that cannot be reached.
    pub unreachable: Unreachable,
    /// What happens when `max_failed` is exceeded.
    pub on_breach: OnBreach,
}

/// What keeps a gate closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// It has not been open for long enough.
    Soak {
        /// When it will have been.
        until: Timestamp,
    },
    /// Too few machines to judge a share.
    Sample {
        /// Which condition.
        condition: &'static str,
        /// Machines there are.
        have: u64,
        /// Machines needed.
        need: u64,
    },
    /// A share is not reached.
    Share {
        /// Which condition.
        condition: &'static str,
        /// Machines that fulfil it.
        part: u64,
        /// Of so many.
        whole: u64,
        /// The share asked for.
        need: Share,
    },
    /// Sites wait for their turn.
    Turns {
        /// So many.
        waiting: usize,
    },
    /// Nobody let the next wave open.
    Operator,
    /// The wave has no machines.
    Empty,
}

/// The failures of a wave exceed its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// Failures that count.
    pub failed: u64,
    /// Machines reached.
    pub reached: u64,
    /// The share exceeded; `None`: the number.
    pub share: Option<Share>,
    /// The number exceeded.
    pub count: Option<u64>,
}

impl Gate {
    /// Whether time alone decides.
    #[must_use]
    pub const fn is_time_alone(&self) -> bool {
        self.min_reached.is_none() && self.min_success.is_none() && !self.operator
    }

    /// The counts with the rule for the unreachable applied; `over`: patience
    /// with them is.
    #[must_use]
    pub fn applied(&self, counts: Counts, over: bool) -> Counts {
        let silent = counts.machines.saturating_sub(counts.reached);
        match self.unreachable {
            Unreachable::Ignore(_) if over => Counts { machines: counts.reached, ..counts },
            Unreachable::Fail(_) if over => {
                let failed = counts.failed + silent;
                Counts { reached: counts.machines, failed, ..counts }
            }
            _ => counts,
        }
    }

    /// Whether failures exceed the limit; `counts` are [`Gate::applied`], and
    /// `acknowledged` failures do not count.
    #[must_use]
    pub fn breach(&self, counts: Counts, acknowledged: u64) -> Option<Breach> {
        let limit = self.max_failed?;
        let (failed, reached) = (counts.failed.saturating_sub(acknowledged), counts.reached);
        let breach = Breach { failed, reached, share: None, count: None };
        if let Some(count) = limit.count.filter(|count| failed > *count) {
            return Some(Breach { count: Some(count), ..breach });
        }
        let share = limit.share.filter(|share| {
            reached >= limit.min_sample.max(1) && share.is_exceeded_by(failed, reached)
        })?;
        Some(Breach { share: Some(share), ..breach })
    }

    /// Everything that keeps it closed, in the order in which it is looked at;
    /// nothing: it is met. `counts` are [`Gate::applied`].
    #[must_use]
    pub fn obstacles(
        &self,
        counts: Counts,
        since: Timestamp,
        released: Option<Timestamp>,
        now: Timestamp,
    ) -> Vec<Obstacle> {
        let mut obstacles = Vec::new();
        let until = later(since, self.soak);
        if now < until {
            obstacles.push(Obstacle::Soak { until });
        }
        let reached = ("reached", counts.reached, counts.machines);
        let installed = ("installed", counts.installed, counts.reached);
        for (least, (condition, part, whole)) in
            [(self.min_reached, reached), (self.min_success, installed)]
        {
            let Some(AtLeast { share, min_sample }) = least else { continue };
            let need = min_sample.max(1);
            if whole < need {
                obstacles.push(Obstacle::Sample { condition, have: whole, need });
            } else if !share.is_reached_by(part, whole) {
                obstacles.push(Obstacle::Share { condition, part, whole, need: share });
            }
        }
        if self.operator && released.is_none() {
            obstacles.push(Obstacle::Operator);
        }
        obstacles
    }
}

/// A share with its sample: `1.5 % (3 of 200)`.
fn share_of(part: u64, whole: u64) -> String {
    let percent = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{percent:.1} % ({part} of {whole})")
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = share_of(self.failed, self.reached);
        match (self.share, self.count) {
            (Some(share), _) => write!(f, "{found} failed, and at most {share} may"),
            (None, Some(count)) => write!(f, "{found} failed, and at most {count} may"),
            (None, None) => write!(f, "{found} failed"),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soak { until } => write!(f, "it soaks until {until:.0}"),
            Self::Sample { condition, have, need } => {
                write!(
                    f,
                    "the share {condition} is judged on {need} machines, and there are {have}"
                )
            }
            Self::Share { condition, part, whole, need } => {
                write!(f, "{condition} are {}, and {need} must be", share_of(*part, *whole))
            }
            Self::Turns { waiting: 1 } => {
                f.write_str("a site has to be let in that waits for its turn")
            }
            Self::Turns { waiting } => {
                write!(f, "{waiting} sites have to be let in that wait for their turn")
            }
            Self::Operator => f.write_str("an operator has to release it"),
            Self::Empty => f.write_str("it has no machines"),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block => f.write_str("block"),
            Self::Ignore(after) => write!(f, "ignore after {}h", after.as_hours()),
            Self::Fail(after) => write!(f, "count as failed after {}h", after.as_hours()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(machines: u64, reached: u64, installed: u64, failed: u64) -> Counts {
        Counts { machines, reached, installed, failed }
    }

    fn share(text: &str) -> Share {
        text.parse().expect("a share")
    }

    #[test]
    fn no_share_is_judged_below_its_sample_but_a_number_is() {
        let limit = AtMost { share: Some(share("2 %")), count: None, min_sample: 50 };
        let gate = Gate { max_failed: Some(limit), ..Gate::default() };
        assert_eq!(gate.breach(counts(500, 49, 46, 3), 0), None);
        let breach = gate.breach(counts(500, 100, 97, 3), 0).expect("a breach");
        assert_eq!(breach.to_string(), "3.0 % (3 of 100) failed, and at most 2 % may");
        assert_eq!(gate.breach(counts(500, 100, 98, 2), 0), None);
        assert_eq!(gate.breach(counts(500, 100, 97, 3), 1), None, "one is known");
        let limit = AtMost { share: None, count: Some(2), min_sample: 50 };
        let gate = Gate { max_failed: Some(limit), ..gate };
        assert!(gate.breach(counts(500, 3, 0, 3), 0).is_some());
    }

    #[test]
    fn the_unreachable_follow_their_rule() {
        let (since, hours) = (Timestamp::UNIX_EPOCH, SignedDuration::from_hours);
        let seen = counts(100, 80, 80, 0);
        let min = AtLeast { share: share("90 %"), min_sample: 10 };
        let gate = |unreachable| Gate { min_reached: Some(min), unreachable, ..Gate::default() };
        let is_met = |gate: Gate, over: bool| {
            gate.obstacles(gate.applied(seen, over), since, None, since).is_empty()
        };
        assert!(!is_met(gate(Unreachable::Block), true));
        let ignore = gate(Unreachable::Ignore(hours(72)));
        assert!(!is_met(ignore, false) && is_met(ignore, true));
        let fail = gate(Unreachable::Fail(hours(72)));
        assert_eq!(fail.applied(seen, false), seen);
        assert_eq!(fail.applied(seen, true), counts(100, 100, 80, 20));
    }

    #[test]
    fn says_everything_that_is_in_the_way() {
        let since = Timestamp::UNIX_EPOCH;
        let min = AtLeast { share: share("95 %"), min_sample: 20 };
        let gate = Gate {
            min_reached: Some(min),
            min_success: Some(min),
            soak: SignedDuration::from_hours(24),
            operator: true,
            ..Gate::default()
        };
        let said: Vec<String> = gate
            .obstacles(counts(200, 10, 9, 1), since, None, since)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "it soaks until 1970-01-02T00:00:00Z",
                "reached are 5.0 % (10 of 200), and 95 % must be",
                "the share installed is judged on 20 machines, and there are 10",
                "an operator has to release it",
            ]
        );
    }
}
