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

/// Until when a site that machines of a wave can be reached at from `at` on waits
/// for the unreachable; `None`: for ever.
pub(super) fn patience_at(
    wave: &Wave,
    priority: Priority,
    freezes: &Freezes,
    site: &Site,
    at: Timestamp,
) -> Option<Timestamp> {
    let after = wave.gate.unreachable.patience()?;
    let free = |at| freeze::delayed(freezes, Some(site), priority, at).0;
    Some(free(later(free(at), after)))
}

/// What machines said, with the rule for the unreachable applied: where content
/// came late, from then on.
fn applied(
    (wave, priority): (&Wave, Priority),
    tally: &Tally,
    freezes: &Freezes,
    (since, until): (Timestamp, Option<Timestamp>),
    now: Timestamp,
) -> Counts {
    let is_over = |until: Option<Timestamp>| until.is_some_and(|until| until <= now);
    if tally.is_all_there() {
        return wave.gate.applied(tally.total(), is_over(until));
    }
    let mut sum = Counts::default();
    for (site, _, counts) in tally.cells() {
        let until = match tally.reachable(site, since) {
            None => None,
            Some(at) if at == since => until,
            Some(at) => patience_at(wave, priority, freezes, site, at).max(until),
        };
        sum += wave.gate.applied(counts, is_over(until));
    }
    sum
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
            None => tally.map_or(known, |tally| {
                let whose = (wave, rollout.priority);
                applied(whose, tally, freezes, (since, until), now)
            }),
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

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::gate::Unreachable;
    use super::super::limit::{Admission, Limit};
    use super::super::plan::Arrival;
    use super::super::{Progress, RolloutState};
    use super::*;
    use crate::node::Stage;

    fn hour(hour: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000 + hour)
    }

    /// What is counted of a wave that waits three hours: Paris, where eight of ten
    /// said something, and Lyon, where nobody did and content came so.
    fn counted(limit: Limit, lyon: Option<Arrival>, now: i64) -> Counts {
        let site = |text: &str| -> Site { text.parse().expect("a site") };
        let mut wave = Wave::plain("all", Vec::new());
        wave.limit = limit;
        wave.gate.unreachable = Unreachable::Fail(SignedDuration::from_hours(3));
        let name = "spring".parse().expect("a name");
        let rollout = Rollout::running(name, Stage::Production, vec![wave]);
        let mut tally = Tally::default();
        for (place, reached) in [("paris", 8), ("lyon", 0)] {
            let counts = Counts { machines: 10, reached, installed: reached, failed: 0 };
            tally.set(site(place), "pcs".parse().expect("a group"), counts);
        }
        lyon.into_iter().for_each(|arrival| tally.arrived(site("lyon"), arrival));
        let mut state = RolloutState::pending(1).waves.remove(0);
        state.progress = Progress::Open { since: hour(0) };
        let let_in = Admission { at: hour(0), finished: None };
        state.admitted = [site("paris"), site("lyon")].map(|one| (one, let_in)).into();
        let freezes = Freezes::new();
        let measured = Measured::of(&rollout, 0, &state, Some(&tally), &freezes, hour(now));
        measured.expect("open").counts
    }

    #[test]
    fn machines_that_wait_for_content_are_not_unreachable() {
        let turns = Limit { sites: Some(2), machines: None };
        for limit in [Limit::default(), turns] {
            let failed = |lyon, now| counted(limit, lyon, now).failed;
            assert_eq!(failed(None, 2), 0);
            assert_eq!(failed(None, 3), 12);
            assert_eq!(failed(Some(Arrival::Awaited), 30), 2);
            let late = Some(Arrival::At(hour(5)));
            assert_eq!((failed(late, 7), failed(late, 8)), (2, 12));
            // What was there before the wave opened makes no difference.
            let early = Some(Arrival::At(hour(-9)));
            assert_eq!((failed(early, 2), failed(early, 3)), (0, 12));
        }
    }

    #[test]
    fn a_site_without_content_keeps_nobody_from_their_turn() {
        let site = |text: &str| -> Site { text.parse().expect("a site") };
        let mut wave = Wave::plain("all", Vec::new());
        wave.limit = Limit { sites: Some(1), machines: None };
        let name = "spring".parse().expect("a name");
        let rollout = Rollout::running(name, Stage::Production, vec![wave]);
        let mut tally = Tally::default();
        for place in ["lyon", "paris"] {
            let counts = Counts { machines: 1, ..Counts::default() };
            tally.set(site(place), "pcs".parse().expect("a group"), counts);
        }
        tally.arrived(site("lyon"), Arrival::Awaited);
        let freezes = Freezes::new();
        let let_in = |tally: &Tally| {
            let turns = Turns::of(&rollout, 0, tally, &freezes, hour(0)).expect("a limit");
            turns.next(&[].into(), true).let_in
        };
        assert_eq!(let_in(&tally), [site("paris")]);
        tally.arrived(site("lyon"), Arrival::At(hour(0)));
        assert_eq!(let_in(&tally), [site("lyon")]);
    }
}
