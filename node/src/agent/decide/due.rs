//! When things are due on this machine, where its group installs at deadlines: by the very
//! function by which headquarters judges machines, over what is signed.

use jiff::Timestamp;
use patchmesh_topology::applicability::{Choice, Inventory, due};
use patchmesh_topology::compliance::{Demands, Told};
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::offer::Offer;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Action;
use patchmesh_topology::rollout::deadline::{Deadline, Facts};
use patchmesh_topology::tally::Place;

use super::{Asking, Open};
use crate::agent::chain::Chain;
use crate::agent::report;

/// By when each choice is due, or its removal, by its place; nothing where the group lets
/// deadlines pass, or where it cannot be told. What an exception takes this machine out of is
/// not due.
pub(super) fn of(
    chain: &Chain,
    inventory: &Inventory,
    asking: &Asking<'_>,
    choices: &[Choice<'_>],
    opened: &[Open],
) -> Vec<Option<Timestamp>> {
    let weights = match (chain.at_deadline, &chain.weights) {
        (AtDeadline::Install, Some(weights)) => weights,
        _ => return vec![None; choices.len()],
    };
    let facts = |id: &RevisionId| {
        let (entry, revision) = (chain.entries.get(id)?, chain.revisions.get(id)?);
        let weight = weights.get(id).copied().unwrap_or_default();
        Some(Facts::weighed(weight, revision.facts.severity, entry.entered_at))
    };
    let Asking { machine, group, site, now, .. } = *asking;
    let offer = Offer::new(&chain.approvals, &chain.plans, &chain.states.states, now);
    let groups = &chain.mesh.groups;
    let demands = Demands::new(groups, &chain.plans, [offer], Box::new(facts), now);
    let place = Place { site: site.clone(), group: group.clone() };
    // As headquarters is told of it.
    let facts = report::facts(inventory, "", false, None);
    let told = Told::of(facts.iter().map(|fact| (fact.name.as_str(), fact.value.as_str())));
    let by = |id: &RevisionId, action| match demands.due(id, &place, machine, told.exposed)? {
        (asked, Deadline::By(at)) if asked == action => Some(at),
        _ => None,
    };
    let mut dues = due(choices, |id| by(id, Action::Install));
    for ((due, choice), _) in
        dues.iter_mut().zip(choices).zip(opened).filter(|(_, open)| open.removed_by.is_some())
    {
        *due = by(&choice.revision.id, Action::Remove);
    }
    dues
}
