//! When what is open may change though nobody decides anything.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::name::RolloutName;
use crate::offer::Offer;
use crate::rollout::Rollout;
use crate::rollout::control::Order;

/// How far ahead views are signed: as long as a node goes on alone.
pub const HORIZON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// For how many moments at most.
pub const MAX_MOMENTS: usize = 16;

/// Every moment after `offer.now` at which plans, freezes or exceptions may
/// open or close something by themselves, the soonest first. At some of them
/// nothing changes.
#[must_use]
pub fn moments(offer: Offer<'_>) -> BTreeSet<Timestamp> {
    let stage = offer.approvals.stage;
    let plans = offer.plans.rollouts.values().filter(|rollout| rollout.stage == stage);
    let mut moments: BTreeSet<Timestamp> = BTreeSet::new();
    for rollout in plans {
        moments.extend(rollout.begins());
        moments.extend(alone(offer, rollout));
    }
    // Whatever waits for a freeze opens at its end.
    moments.extend(offer.plans.freezes.values().map(|freeze| freeze.until));
    let exceptions = offer.plans.exceptions.values();
    moments.extend(exceptions.flat_map(|exception| [exception.since, exception.until]));
    moments.extend(offer.brakes.values().flat_map(|brake| [brake.since, brake.until]));
    moments.retain(|at| *at > offer.now);
    moments
}

/// When waves open that depend on time alone.
fn alone<'a>(offer: Offer<'a>, rollout: &'a Rollout) -> impl Iterator<Item = Timestamp> + 'a {
    let may = rollout.offline && rollout.control.order == Order::Run;
    let state = offer.states.get(&rollout.name).filter(|_| may);
    state.into_iter().flat_map(move |state| {
        (0..rollout.waves.len())
            .filter_map(move |index| rollout.due(&offer.plans.freezes, state, index))
    })
}

/// Whether time alone may change what a rollout opens.
pub(super) fn is_timed(offer: Offer<'_>, rollout: &RolloutName) -> bool {
    let plans = offer.plans;
    !plans.freezes.is_empty()
        || !plans.exceptions.is_empty()
        || plans.rollouts.get(rollout).is_some_and(|rollout| {
            rollout.offline || rollout.begins().is_none_or(|begins| begins > offer.now)
        })
}
