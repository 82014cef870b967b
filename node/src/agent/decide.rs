//! What this machine does now: what is open to it ([`Offer`]) and what concerns
//! it ([`choose`]), put together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_topology::applicability::attempts::Attempts;
use patchmesh_topology::applicability::{
    Candidate, Inventory, Lack, Standing, State, choose, payloads_for,
};
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{GroupName, MachineName, Site};
use patchmesh_topology::offer::{Machine, Offer, Offered};
use patchmesh_topology::revision::{Payload, Revision, RevisionId};
use patchmesh_topology::rollout::{Action, Brakes};
use patchmesh_topology::supersedence::Entry;

use super::chain::Chain;
use super::state;
use crate::log::in_one_line;

/// Who asks, and where it is.
#[derive(Debug)]
pub struct Asking<'a> {
    /// The machine.
    pub machine: &'a MachineName,
    /// Its group.
    pub group: &'a GroupName,
    /// Where the node that it talks to is.
    pub site: &'a Site,
    /// The site's time zone.
    pub zone: &'a Zone,
    /// What the site holds back.
    pub brakes: &'a Brakes,
    /// When.
    pub now: Timestamp,
}

/// A revision and what comes of it.
#[derive(Debug)]
pub struct Item<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// What it is to the machine.
    pub verdict: State,
    /// Why.
    pub reason: String,
    /// The files to install, where it is to be installed now.
    pub install: Option<Vec<&'a Payload>>,
    /// The files to fetch, where it is needed and waits for its time alone.
    pub ahead: Vec<&'a Payload>,
    /// Why it waits, where it is needed.
    pub waits_for: String,
}

/// Why a revision may not be installed now.
struct Hindrance {
    why: String,
    /// It is open, and its time comes as it stands.
    is_time: bool,
}

/// Looks at everything that is approved for the group: an item for each, those
/// that are to be installed first and in their order.
#[must_use]
pub fn decide<'a>(
    chain: &'a Chain,
    inventory: &'a Inventory,
    attempts: &BTreeMap<RevisionId, Attempts>,
    asking: &Asking<'_>,
) -> Vec<Item<'a>> {
    let offer = Offer::new(&chain.approvals, &chain.plans, &chain.states.states, asking.now);
    let offer = Offer { brakes: asking.brakes, ..offer };
    let mut hindrances = Vec::with_capacity(chain.revisions.len());
    let mut candidates = Vec::with_capacity(chain.revisions.len());
    for (id, revision) in &chain.revisions {
        let hindrance = hindrance(&offer, id, attempts, asking);
        let ordinal = chain.entries.get(id).map_or(0, |entry| entry.ordinal);
        candidates.push(Candidate {
            entry: Entry { revision, ordinal },
            is_offered: hindrance.is_none(),
            is_bound: payloads_for(revision, inventory)
                .iter()
                .all(|payload| chain.bindings.contains_key(&payload.sha256)),
        });
        hindrances.push(hindrance);
    }
    let (choices, order) = choose(&candidates, inventory);
    let place: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let mut items: Vec<(usize, Item<'a>)> = choices
        .into_iter()
        .zip(hindrances)
        .enumerate()
        .map(|(index, (choice, hindrance))| {
            let is_chosen = choice.standing == Standing::Chosen;
            let is_ahead = choice.standing == Standing::NotOffered
                && hindrance.as_ref().is_some_and(|one| one.is_time);
            let files = || payloads_for(choice.revision, inventory);
            let item = Item {
                revision: choice.revision,
                install: is_chosen.then(files),
                ahead: if is_ahead { files() } else { Vec::new() },
                verdict: choice.verdict.state,
                reason: choice.verdict.reason,
                waits_for: waits_for(&choice.standing, hindrance),
            };
            (place.get(&index).copied().unwrap_or(usize::MAX), item)
        })
        .collect();
    items.sort_by_key(|(place, _)| *place);
    items.into_iter().map(|(_, item)| item).collect()
}

/// Why a revision may not be installed here now, whether it is needed or not.
fn hindrance(
    offer: &Offer<'_>,
    id: &RevisionId,
    attempts: &BTreeMap<RevisionId, Attempts>,
    asking: &Asking<'_>,
) -> Option<Hindrance> {
    let never = |why: String| Some(Hindrance { why, is_time: false });
    let later = |why: String| Some(Hindrance { why, is_time: true });
    let Asking { machine: name, group, site, zone, now, .. } = *asking;
    match offer.machine(id, Machine { name, group, site, zone }) {
        Err(why) => return never(in_one_line(&why)),
        Ok(Offered { action: Action::Remove, rollout, .. }) => {
            return never(format!("rollout {rollout} removes it, which this agent cannot do"));
        }
        Ok(Offered { frozen: Some(freeze), when, .. }) if when.is_none_or(|when| when > now) => {
            return later(format!("freeze {freeze} holds it"));
        }
        Ok(Offered { when: None, wave, .. }) => {
            return never(format!("wave {wave} has no window that can be seen"));
        }
        Ok(Offered { when: Some(when), wave, .. }) if when > now => {
            return later(format!("wave {wave} installs from {when:.0} on"));
        }
        Ok(_) => {}
    }
    never(attempts.get(id)?.rest(now)?.to_string())
}

fn waits_for(standing: &Standing<'_>, hindrance: Option<Hindrance>) -> String {
    match standing {
        Standing::Chosen | Standing::Settled => String::new(),
        Standing::NotOffered => hindrance.map(|one| one.why).unwrap_or_default(),
        Standing::Superseded(by) => format!("{by} contains it"),
        Standing::TemporarilyUnavailable(Lack::Content) => {
            "temporarily unavailable: headquarters does not have its content yet".to_owned()
        }
        Standing::TemporarilyUnavailable(Lack::Prerequisite(one)) => {
            format!("temporarily unavailable: it needs {one} first")
        }
        Standing::Held(packages) => {
            format!("this machine's administrator holds {}", packages.join(", "))
        }
    }
}

impl Item<'_> {
    /// As it is remembered and shown.
    #[must_use]
    pub fn standing(&self) -> state::Standing {
        let action = match (&self.install, self.waits_for.is_empty()) {
            (Some(_), _) => "install",
            (None, false) => "waiting",
            (None, true) => "",
        };
        state::Standing {
            revision: self.revision.id.to_string(),
            title: self.revision.title.clone(),
            verdict: self.verdict.to_string(),
            reason: self.reason.clone(),
            action: action.to_owned(),
            waits_for: self.waits_for.clone(),
        }
    }
}
