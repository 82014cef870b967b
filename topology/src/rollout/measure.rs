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
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Its plan.
    pub rollout: &'a Rollout,
    /// The wave.
    pub wave: &'a Wave,
    /// Where it stands.
    pub state: &'a WaveState,
    /// What its machines said.
    pub tally: &'a Tally,
    /// When nothing opens.
    pub freezes: &'a Freezes,
    /// When.
    pub now: Timestamp,
}

impl<'a> Measured<'a> {
    /// Whose turn it is, where the wave has a limit.
    #[must_use]
    pub fn turns(&self) -> Option<Turns<'a>> {
        let Self { rollout, wave, tally, freezes, now, .. } = *self;
        let turns = || Turns::new(wave, rollout.priority, freezes, tally, now);
        (!wave.limit.is_none()).then(turns)
    }

    /// What its machines said, with the rule for the unreachable applied; nothing
    /// before it is open.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Some(since) = self.state.progress.open_since() else { return Counts::default() };
        if let Some(turns) = self.turns() {
            return turns.applied(&self.state.admitted);
        }
        let until = patience(self.wave, self.rollout.priority, self.freezes, since);
        let over = until.is_some_and(|until| until <= self.now);
        self.wave.gate.applied(self.tally.total(), over)
    }

    /// What keeps it from passing; `counts` are its [`Measured::counts`].
    #[must_use]
    pub fn obstacles(&self, counts: Counts) -> Vec<Obstacle> {
        let Some(since) = self.state.progress.open_since() else { return Vec::new() };
        let (wave, gate) = (self.wave, &self.wave.gate);
        let waiting = self.turns().map_or(0, |turns| turns.waiting(&self.state.admitted).len());
        let turns = (waiting > 0).then_some(Obstacle::Turns { waiting });
        let asks = gate.min_reached.is_some() || gate.min_success.is_some();
        let rest = match self.tally.total().machines {
            0 if asks => vec![Obstacle::Empty],
            _ => gate.obstacles(counts, since, wave.released, self.now),
        };
        turns.into_iter().chain(rest).collect()
    }
}
