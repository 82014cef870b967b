//! Where rollouts stand, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, wire as document};
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{GroupName, MachineName, RolloutName, Site};
use patchmesh_topology::offer::{Machine, Offer, Offered};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::rollout::explain::{Explanation, Input, WaveNote, explain};
use patchmesh_topology::rollout::plan::Tallies;
use patchmesh_topology::tally::Place;
use tonic::Status;

use super::ready::Unready;
use crate::generation::Generation;
use crate::log::in_one_line;
use crate::reports::ledger::records::MACHINES;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::{field, some};

pub(super) fn list(
    node: &Context,
    request: &wire::ListRolloutsRequest,
) -> Result<wire::ListRolloutsResponse, Status> {
    let generation = node.generation();
    let rollouts: Vec<&Rollout> = match request.name.as_str() {
        "" => generation.rollouts.rollouts.values().collect(),
        name => vec![find(&generation, name)?],
    };
    let counted = node.primary.as_ref().map(|primary| primary.rollouts.tallies());
    let tallies = counted.clone().unwrap_or_default();
    let now = Timestamp::now();
    let unready = Unready::of(node, &generation, now);
    let opened = generation.by_rollout();
    let standing = |rollout: &Rollout| {
        let revisions = opened.get(&(rollout.stage, &rollout.name)).map_or(0, BTreeSet::len);
        let unready = unready.for_rollout(rollout);
        standing(&generation, rollout, revisions as u64, &tallies, &unready, now)
    };
    Ok(wire::ListRolloutsResponse {
        rollouts: rollouts.into_iter().map(standing).collect(),
        counted: counted.is_some(),
    })
}

pub(super) fn find<'a>(generation: &'a Generation, name: &str) -> Result<&'a Rollout, Status> {
    let name: RolloutName = name.parse().map_err(|error| field("name", &error))?;
    generation.rollouts.rollouts.get(&name).ok_or_else(|| {
        Status::not_found(format!(
            "there is no rollout {name}; `patchmesh rollout show` shows those there are"
        ))
    })
}

fn standing(
    generation: &Generation,
    rollout: &Rollout,
    revisions: u64,
    tallies: &Tallies,
    unready: &BTreeMap<Site, String>,
    now: Timestamp,
) -> wire::RolloutStanding {
    let state = generation.wave_states.states.get(&rollout.name);
    let tallies = tallies.get(&rollout.name).map(Vec::as_slice).unwrap_or_default();
    let freezes = &generation.rollouts.freezes;
    let Explanation { headline, waves } =
        explain(rollout, Input { state, tallies, freezes, unready, now });
    wire::RolloutStanding {
        rollout: Some(document::Rollout::from(rollout)),
        state: state.map(|state| document::RolloutState::from((&rollout.name, state))),
        revisions,
        headline,
        waves: waves.into_iter().map(wave).collect(),
    }
}

fn wave(note: WaveNote) -> wire::WaveStanding {
    wire::WaveStanding {
        name: note.name,
        status: note.status,
        machines: note.counts.machines,
        reached: note.counts.reached,
        installed: note.counts.installed,
        failed: note.counts.failed,
        next: note.next,
        unready: note.unready.unwrap_or_default(),
    }
}

pub(super) async fn site(
    node: &Context,
    request: wire::ExplainSiteRequest,
) -> Result<wire::ExplainSiteResponse, Status> {
    let generation = node.generation();
    let rollout = find(&generation, &request.name)?;
    let Whose { site, group, machine } = whose(node, &request).await?;
    let groups: Vec<GroupName> = match group {
        None => generation.mesh.groups_of(rollout.stage).map(|group| group.name.clone()).collect(),
        Some(group) => vec![group],
    };
    let now = Timestamp::now();
    let Some(offer) = generation.offer(rollout.stage, now) else {
        return Err(Status::failed_precondition(format!(
            "this node does not carry {}; ask another",
            rollout.stage
        )));
    };
    // Brakes of other sites are known to those alone.
    let is_here = generation.mesh.node(&node.name).is_some_and(|own| own.site == site);
    let held = node.brakes.held();
    let offer = if is_here { Offer { brakes: &held, ..offer } } else { offer };
    let question = Question {
        generation: &generation,
        rollout,
        offer,
        site: &site,
        machine: machine.as_ref(),
        zone: zone_of(&generation, &site),
        unready: Unready::of(node, &generation, now),
    };
    let revisions = offer.approvals.by_rollout().remove(&rollout.name).unwrap_or_default();
    let mut answers = Vec::new();
    for group in groups {
        // Of most revisions the same is so: each answer is given once.
        let mut by_text: BTreeMap<(bool, String), Vec<String>> = BTreeMap::new();
        for id in &revisions {
            by_text.entry(question.answer(id, &group)).or_default().push(id.to_string());
        }
        answers.extend(by_text.into_iter().map(|((open, text), revisions)| wire::SiteAnswer {
            group: group.to_string(),
            revisions,
            open,
            text,
        }));
    }
    Ok(wire::ExplainSiteResponse { answers, site: site.to_string() })
}

/// What is asked of each revision of a rollout.
struct Question<'a> {
    generation: &'a Generation,
    rollout: &'a Rollout,
    offer: Offer<'a>,
    site: &'a Site,
    machine: Option<&'a MachineName>,
    zone: Zone,
    unready: Unready,
}

impl Question<'_> {
    /// Whether a revision is offered there, and why or why not.
    fn answer(&self, id: &RevisionId, group: &GroupName) -> (bool, String) {
        let opened = match self.machine {
            None => {
                let opened = self.offer.of(id, group, Some(self.site));
                opened.map(|since| format!("open since {since:.0}"))
            }
            Some(name) => {
                let of = Machine { name, group, site: self.site, zone: &self.zone };
                self.offer.machine(id, of).map(|offered| describe(&offered))
            }
        };
        let mut text = match opened {
            Ok(text) => text,
            Err(why) => return (false, in_one_line(&why)),
        };
        if let Some(due) = self.due(id, group) {
            text = format!("{text}; {due}");
        }
        let approved = self.offer.approvals.get(id, group).map(|one| one.at);
        match approved.and_then(|at| self.unready.why(self.site, &self.rollout.name, at)) {
            Some(why) => (false, format!("{text}; {why}")),
            None => (true, text),
        }
    }

    /// By when machines have to have it, or to have it no more.
    fn due(&self, id: &RevisionId, group: &GroupName) -> Option<String> {
        let revision = self.generation.revisions.get(id);
        let severity = revision.and_then(|revision| self.generation.severity(revision));
        let facts = self.generation.deadline_facts(id, severity)?;
        let approved_at = self.offer.approvals.get(id, group)?.at;
        self.rollout.deadline.describe(&self.rollout.facts(facts, approved_at))
    }
}

/// About whom a question is.
struct Whose {
    site: Site,
    /// `None`: every group of the stage.
    group: Option<GroupName>,
    machine: Option<MachineName>,
}

/// What the question says; where it leaves out the site or group of a machine,
/// what the primary knows of that.
async fn whose(node: &Context, request: &wire::ExplainSiteRequest) -> Result<Whose, Status> {
    let site = some::<Site>("site", &request.site)?;
    let group = some::<GroupName>("group", &request.group)?;
    let machine = some::<MachineName>("machine", &request.machine)?;
    match (site, group, machine) {
        (Some(site), group, None) => Ok(Whose { site, group, machine: None }),
        (Some(site), Some(group), machine) => Ok(Whose { site, group: Some(group), machine }),
        (None, _, None) => Err(field("site", "is missing; name a site, or a machine")),
        (site, group, Some(machine)) => {
            let known = known(node, &machine).await?;
            let (site, group) = (site.unwrap_or(known.site), group.unwrap_or(known.group));
            Ok(Whose { site, group: Some(group), machine: Some(machine) })
        }
    }
}

/// Where the ledger of machines has one.
async fn known(node: &Context, machine: &MachineName) -> Result<Place, Status> {
    let Some(primary) = &node.primary else {
        return Err(Status::failed_precondition(format!(
            "where machine {machine} is, the primary alone knows; ask it, or name the site and the group"
        )));
    };
    let (store, name) = (primary.ledger.store().clone(), machine.clone());
    let record = blocking(move || store.get(&MACHINES, name.as_str())).await?;
    record.and_then(|record| record.place()).ok_or_else(|| {
        Status::not_found(format!(
            "no machine {machine} has joined; `patchmesh machine list` shows those that have, or name its site and group"
        ))
    })
}

fn describe(offered: &Offered) -> String {
    let Offered { action, wave, since, when, frozen, .. } = offered;
    let when = match (when, frozen) {
        (Some(at), Some(freeze)) => format!("it may {action} it at {at:.0}, after freeze {freeze}"),
        (Some(at), None) => format!("it may {action} it at {at:.0}"),
        (None, _) => format!("none of its windows opens in two weeks, so it may not {action} it"),
    };
    format!("open by wave {wave} since {since:.0}; {when}")
}

/// The clock of a site: of its node, or of one near above it.
fn zone_of(generation: &Arc<Generation>, site: &Site) -> Zone {
    let mesh = &generation.mesh;
    let above = mesh.nodes.values().filter(|node| site.is_within(&node.site));
    let nearest = above.max_by_key(|node| node.site.as_str().len());
    nearest.map(|node| mesh.link(&node.name).zone).unwrap_or_default()
}
