//! Why a rollout stands where it stands, and what would have to happen next.
//!
//! Written from what the planner itself looks at, one sentence each.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::control::Order;
use super::gate::{Counts, Obstacle, Unreachable};
use super::limit::Turns;
use super::measure::Measured;
use super::plan::Tally;
use super::{
    Admissions, Freezes, OnEmpty, Progress, Rollout, RolloutState, StopKind, Wave, WaveState,
    first_of, freeze,
};
use crate::name::Site;

/// Why a rollout stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// All of it in a sentence.
    pub headline: String,
    /// Wave by wave.
    pub waves: Vec<WaveNote>,
}

/// Why a wave stands where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaveNote {
    /// The wave.
    pub name: String,
    /// Where it stands, such as `open since 2026-11-27T09:00:00Z`.
    pub status: String,
    /// What its machines said.
    pub counts: Counts,
    /// What would have to happen next, in sentences.
    pub next: Vec<String>,
    /// The sites of it that lack content, in the sentence that is among `next`.
    pub unready: Option<String>,
}

/// What the explanation is made from beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// How far it has come; `None`: nobody looked yet.
    pub state: Option<&'a RolloutState>,
    /// What machines said, by wave.
    pub tallies: &'a [Tally],
    /// When nothing opens.
    pub freezes: &'a Freezes,
    /// Sites of the mesh that lack content, and in words how long they will.
    pub unready: &'a BTreeMap<Site, String>,
    /// When.
    pub now: Timestamp,
}

/// Explains a rollout.
#[must_use]
pub fn explain(rollout: &Rollout, input: Input<'_>) -> Explanation {
    let pending = RolloutState::pending(rollout.waves.len());
    let fits = input.state.filter(|state| state.waves.len() == rollout.waves.len());
    let state = fits.unwrap_or(&pending);
    let stopped = standstill(rollout, state, input.now);
    let notes = rollout.waves.iter().enumerate().map(|(index, wave)| {
        let counts = input.tallies.get(index).map(Tally::total).unwrap_or_default();
        let (mut next, mut lacking) = (Vec::new(), None);
        if stopped.is_none() {
            next.extend(wave_next(rollout, state, index, counts, input));
            if !matches!(state.waves[index].progress, Progress::Skipped { .. }) {
                next.extend(frozen(rollout, state, index, input));
                lacking = unready(wave, input.unready);
                next.extend(lacking.clone());
            }
        }
        let (name, status) = (wave.name.clone(), status(&state.waves[index]));
        WaveNote { name, status, counts, next, unready: lacking }
    });
    let waves = notes.collect();
    let headline = stopped.unwrap_or_else(|| headline(rollout, state));
    Explanation { headline, waves }
}

/// What stops all of it, if something does.
fn standstill(rollout: &Rollout, state: &RolloutState, now: Timestamp) -> Option<String> {
    let control = &rollout.control;
    let name = &rollout.name;
    match control.order {
        Order::Wait => {
            return Some(format!("{name} waits for `patchmesh rollout start`"));
        }
        Order::Halt => {
            return Some(format!(
                "{name} was halted at {:.0} by {}: {}; `patchmesh rollout resume {name}` lets it go on",
                control.at, control.by, control.reason
            ));
        }
        Order::Withdraw => {
            return Some(format!(
                "{name} was withdrawn at {:.0} by {}: {}",
                control.at, control.by, control.reason
            ));
        }
        Order::Run | Order::Pause => {}
    }
    if let Some(stop) = &state.stop {
        let way_on = match stop.kind {
            StopKind::Withdrawn => "; it does not come back".to_owned(),
            _ => format!("; `patchmesh rollout resume {name}` lets it go on"),
        };
        return Some(format!(
            "{name} {} itself at {}: {}{way_on}",
            stop.kind, stop.at, stop.reason
        ));
    }
    let begins = rollout.begins()?;
    (begins > now).then(|| match &rollout.cycle {
        Some(cycle) => format!("{name} begins at {begins:.0} ({cycle})"),
        None => format!("{name} begins at {begins:.0}"),
    })
}

fn headline(rollout: &Rollout, state: &RolloutState) -> String {
    let name = &rollout.name;
    if rollout.control.order == Order::Pause {
        let control = &rollout.control;
        return format!(
            "{name} was paused at {:.0} by {}: {}; what is open stays open, no further wave opens before `patchmesh rollout resume {name}`",
            control.at, control.by, control.reason
        );
    }
    let paused = state.waves.iter().position(|wave| wave.paused.is_some());
    if let Some(index) = paused {
        let wave = &rollout.waves[index].name;
        return format!("{name} stands still: wave {wave} is paused");
    }
    if state.is_complete() {
        return format!("{name} is complete");
    }
    let open = state.waves.iter().filter(|wave| wave.progress.open_since().is_some()).count();
    format!("{name} runs: {open} of {} waves are open", state.waves.len())
}

/// Where a wave stands, in a few words.
#[must_use]
pub fn status(state: &WaveState) -> String {
    let progress = match state.progress {
        Progress::Pending => "pending".to_owned(),
        Progress::Open { since } => format!("open since {since:.0}"),
        Progress::Passed { since, at } => format!("open since {since:.0}, passed at {at:.0}"),
        Progress::Skipped { at } => format!("passed over at {at:.0}: it had no machines"),
    };
    match &state.paused {
        None => progress,
        Some(stop) => format!("paused at {:.0}, {progress}", stop.at),
    }
}

/// What would have to happen next in one wave.
fn wave_next(
    rollout: &Rollout,
    state: &RolloutState,
    index: usize,
    counts: Counts,
    input: Input<'_>,
) -> Vec<String> {
    let (wave, of_wave) = (&rollout.waves[index], &state.waves[index]);
    let tally = input.tallies.get(index);
    let measured = Measured::of(rollout, index, of_wave, tally, input.freezes, input.now);
    let until = measured.as_ref().and_then(|measured| measured.until);
    if let Some(stop) = &of_wave.paused {
        let name = &rollout.name;
        return vec![format!(
            "it paused itself: {}; `patchmesh rollout resume {name}` lets it go on",
            stop.reason
        )]
        .into_iter()
        .chain(silent(wave, until, counts, input.now))
        .collect();
    }
    let turn = measured.as_ref().and_then(|measured| measured.turns.as_ref());
    let turn = turn.map(|one| turns(one, wave, &of_wave.admitted, rollout.control.order));
    match (of_wave.progress, measured) {
        (Progress::Pending, _) => pending_next(rollout, state, index, input.freezes),
        (Progress::Open { .. }, Some(measured)) => measured
            .obstacles()
            .iter()
            .map(|obstacle| format!("to pass, {}", sentence(rollout, wave, obstacle)))
            .chain(silent(wave, until, counts, input.now))
            .chain(turn.into_iter().flatten())
            .collect(),
        _ => turn.unwrap_or_default(),
    }
}

/// Whose turn it is in a wave with a limit, who waits, and for whom.
fn turns(turns: &Turns<'_>, wave: &Wave, admitted: &Admissions, order: Order) -> Vec<String> {
    let waiting: Vec<String> = turns.waiting(admitted).iter().map(ToString::to_string).collect();
    let under_way: Vec<String> = admitted
        .iter()
        .filter(|(_, one)| one.finished.is_none())
        .map(|(site, one)| format!("{site} ({})", lacks(turns, site, one.at)))
        .collect();
    let limit = wave.limit;
    let counted = |count: u64, thing: &str| match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    };
    let sites = limit.sites.map(|sites| counted(sites.into(), "site"));
    let machines = limit.machines.map(|machines| counted(machines, "machine"));
    let most: Vec<String> = sites.into_iter().chain(machines).collect();
    let mut said = Vec::new();
    if !under_way.is_empty() {
        let most = most.join(" and ");
        said.push(format!("of at most {most} at once it is under way at {}", first_of(&under_way)));
    }
    if !waiting.is_empty() {
        let rule = match order {
            Order::Pause => "none is let in while the rollout is paused",
            _ if full(admitted) => "no more can be named in the signed state",
            _ => "each is let in when one under way has finished",
        };
        said.push(format!("next in turn: {}; {rule}", first_of(&waiting)));
    }
    said
}

fn full(admitted: &Admissions) -> bool {
    admitted.len() >= super::limit::MAX_SITES
}

/// What a site lacks to have finished.
fn lacks(turns: &Turns<'_>, site: &Site, at: Timestamp) -> String {
    let counts = turns.counts(site);
    let until = match turns.patience(site, at) {
        Some(until) => format!("until {until:.0} at the latest"),
        None => "for as long as that takes".to_owned(),
    };
    match counts.machines {
        0 => format!("no machine there reports; {until}"),
        machines => format!("{} of {machines} not at an end; {until}", turns.left(site)),
    }
}

fn sentence(rollout: &Rollout, wave: &Wave, obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Operator => format!(
            "an operator has to release it: `patchmesh rollout release {} {}`",
            rollout.name, wave.name
        ),
        Obstacle::Empty => {
            let rule = match wave.on_empty {
                OnEmpty::Wait => "it waits for machines",
                OnEmpty::Skip => "they left after it opened",
            };
            format!("it needs machines, and none are known: {rule}")
        }
        other => other.to_string(),
    }
}

/// What becomes of machines that were not reached, where the gate has a rule
/// for them.
fn silent(wave: &Wave, until: Option<Timestamp>, counts: Counts, now: Timestamp) -> Option<String> {
    let at = until?;
    let count = match wave.gate.unreachable {
        Unreachable::Block => return None,
        Unreachable::Ignore(_) => "count no more",
        Unreachable::Fail(_) => "count as failed",
    };
    let silent = counts.machines.saturating_sub(counts.reached);
    let from = if at > now { "from" } else { "since" };
    (silent > 0).then(|| format!("{from} {at:.0}, those not reached ({silent}) {count}"))
}

fn pending_next(
    rollout: &Rollout,
    state: &RolloutState,
    index: usize,
    freezes: &Freezes,
) -> Vec<String> {
    let wave = &rollout.waves[index];
    let mut next = Vec::new();
    let before = (0..index).rev().find(|before| {
        let of_before = &state.waves[*before];
        of_before.progress.done_at().is_none() || of_before.paused.is_some()
    });
    if let Some(before) = before {
        next.push(format!("wave {} has to pass before", rollout.waves[before].name));
    }
    if rollout.control.order == Order::Pause {
        next.push("it does not open while the rollout is paused".to_owned());
    }
    match (rollout.due(freezes, state, index), wave.not_before) {
        (Some(due), _) => next.push(format!("by time alone it opens at {due:.0}")),
        (None, Some(not_before)) => next.push(format!("it does not open before {not_before:.0}")),
        (None, None) => {}
    }
    next
}

/// The freezes that keep a wave from opening at some of its sites.
fn frozen(rollout: &Rollout, state: &RolloutState, index: usize, input: Input<'_>) -> Vec<String> {
    let wave = &rollout.waves[index];
    let since = state.waves[index].progress.open_since();
    // When it opens, and when it would without freezes.
    let due = |freezes| since.or_else(|| rollout.due(freezes, state, index));
    let (Some(opens), Some(would)) = (due(input.freezes), due(&Freezes::new())) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    for place in freeze::places(wave.geographies.places()) {
        let (at, partly) = freeze::last(input.freezes, place, rollout.priority, opens);
        let wholly = freeze::last(input.freezes, place, rollout.priority, would).1;
        let name = partly.or(wholly);
        if let Some(name) = name.filter(|_| at > input.now) {
            let all = freeze::delayed(input.freezes, place, rollout.priority, would).0 == at;
            let place = match place {
                Some(place) if all => place.to_string(),
                Some(place) => format!("part of {place}"),
                None => "some sites".to_owned(),
            };
            said.push(format!("at {place} it opens at {at:.0}, after freeze {name}"));
        }
    }
    said
}

/// The sites of a wave that lack content.
fn unready(wave: &Wave, unready: &BTreeMap<Site, String>) -> Option<String> {
    let lacking = unready.iter().filter(|(site, _)| wave.geographies.hold(Some(site)));
    let lacking: Vec<String> = lacking.map(|(site, when)| format!("{site} ({when})")).collect();
    let said = || format!("the content is not there yet at {}", first_of(&lacking));
    (!lacking.is_empty()).then(said)
}

#[cfg(test)]
mod tests;
