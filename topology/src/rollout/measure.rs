//! What machines of an open wave said, as its gate looks at it: until when the
//! unreachable are waited for, and what keeps the wave from passing.

use jiff::Timestamp;

use super::gate::{Counts, Obstacle};
use super::limit::Turns;
use super::plan::Tally;
use super::{Freezes, Priority, Rollout, Wave, WaveState, freeze, later};
use crate::name::Site;

/// Until when a wave that is open since `since` waits for the unreachable;
/// `None`: for ever. Machines that a freeze holds back are not unreachable: the
/// wait begins where the wave opens last, and no freeze lets it run out. A wave
/// with a limit waits site by site instead ([`Turns::patience`]).
#[must_use]
pub fn patience(
    wave: &Wave,
    priority: Priority,
    freezes: &Freezes,
    since: Timestamp,
) -> Option<Timestamp> {
    let after = wave.gate.unreachable.patience().filter(|_| wave.limit.is_none())?;
    let last = |place: Option<&Site>| {
        let opens = freeze::last(freezes, place, priority, since).0;
        freeze::last(freezes, place, priority, later(opens, after)).0
    };
    freeze::places(wave.geographies.places()).map(last).max()
}

/// An open wave, looked at.
#[derive(Debug)]
pub struct Measured<'a> {
    wave: &'a Wave,
    state: &'a WaveState,
    since: Timestamp,
    now: Timestamp,
    known: Counts,
    /// Whose turn it is, where the wave has a limit and its machines were counted.
    pub turns: Option<Turns<'a>>,
    /// Until when the unreachable are waited for; see [`patience`].
    pub until: Option<Timestamp>,
    /// What its machines said, with the rule for the unreachable applied.
    pub counts: Counts,
}

impl<'a> Measured<'a> {
    /// A wave of a plan; `None` where it is not open. Without a tally nobody has
    /// counted yet.
    #[must_use]
    pub fn of(
        rollout: &'a Rollout,
        index: usize,
        state: &'a WaveState,
        tally: Option<&'a Tally>,
        freezes: &'a Freezes,
        now: Timestamp,
    ) -> Option<Self> {
        let since = state.progress.open_since()?;
        let wave = &rollout.waves[index];
        let turns = tally.and_then(|tally| Turns::of(rollout, index, tally, freezes, now));
        let until = patience(wave, rollout.priority, freezes, since);
        let known = tally.map(Tally::total).unwrap_or_default();
        let counts = match &turns {
            Some(turns) => turns.applied(&state.admitted),
            None => wave.gate.applied(known, until.is_some_and(|until| until <= now)),
        };
        Some(Self { wave, state, since, now, known, turns, until, counts })
    }

    /// What keeps it from passing.
    #[must_use]
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let gate = &self.wave.gate;
        let waiting =
            self.turns.as_ref().map_or(0, |one| one.outside(&self.state.admitted).count());
        let turns = (waiting > 0).then_some(Obstacle::Turns { waiting });
        let asks = gate.min_reached.is_some() || gate.min_success.is_some();
        let rest = match self.known.machines {
            0 if asks => vec![Obstacle::Empty],
            _ => gate.obstacles(self.counts, self.since, self.wave.released, self.now),
        };
        turns.into_iter().chain(rest).collect()
    }
}
