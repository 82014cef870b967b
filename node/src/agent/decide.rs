//! What this machine does now: what is open to it ([`Offer`]) and what concerns
//! it ([`choose`]), put together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_topology::applicability::attempts::Attempts;
use patchmesh_topology::applicability::inventory::Format;
use patchmesh_topology::applicability::{
    Candidate, Choice, Inventory, Lack, Part, Removal, Standing, State, Taken, Unwanted, choose,
    payloads_for, removal,
};
use patchmesh_topology::link::zone::Zone;
use patchmesh_topology::name::{GroupName, MachineName, RolloutName, Site};
use patchmesh_topology::node::InstallMode;
use patchmesh_topology::node::install_time::InstallTime;
use patchmesh_topology::node::mode::Asked;
use patchmesh_topology::offer::{Machine, Offer, Offered};
use patchmesh_topology::revision::{Payload, Revision, RevisionId};
use patchmesh_topology::rollout::go_ahead::Meant;
use patchmesh_topology::rollout::{Action, Brakes};
use patchmesh_topology::supersedence::Entry;
use patchmesh_topology::tally::{Outcome, Phase};

use super::chain::Chain;
use super::state;
use crate::log::in_one_line;

mod due;

/// What is remembered of a revision that was told as removed.
pub const REMOVED: &str = "removed";

/// What is remembered of a revision that was told to wait for a person.
pub const FOR_PERSON: &str = "for-person";

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
    /// What the group's machines do by themselves.
    pub mode: InstallMode,
    /// The time that all that waits for, where it has one and that has not come.
    pub planned: Option<Planned>,
    /// What a person at the machine said.
    pub asked: &'a Asked,
    /// When.
    pub now: Timestamp,
}

/// When the machine goes on by itself.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// The time, as it is stated.
    pub at: InstallTime,
    /// When that comes next for this machine.
    pub from: Timestamp,
}

impl Asking<'_> {
    /// Whether what is open is done now: the mode lets it and its time has come, or a person
    /// asked for it here or at headquarters.
    fn lets(&self, revision: &RevisionId, open: &Open) -> bool {
        let by_itself = self.mode.installs() && self.planned.is_none();
        by_itself || self.asked.names(revision) || open.goes_ahead
    }

    /// Whether what goes at a moment by its deadline goes before it would anyway.
    fn is_sooner(&self, at: Timestamp) -> bool {
        self.planned.filter(|_| self.mode.installs()).is_none_or(|planned| at < planned.from)
    }

    /// Why it is not, where it is open and nothing else hinders it.
    fn waits(&self) -> String {
        let Self { group, mode, .. } = self;
        match self.planned {
            Some(Planned { at, from }) if mode.installs() => {
                format!("this machine installs and removes by itself at {at}: from {from:.0} on")
            }
            _ => format!(
                "group {group} is {mode}: it waits for a person to say `patchmesh agent install`"
            ),
        }
    }
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
    pub install: Option<Vec<Part<'a>>>,
    /// What has to be installed with it, or stays as it is.
    pub needs: Vec<&'a RevisionId>,
    /// The files to fetch, where it is needed and waits for its time alone.
    pub ahead: Vec<&'a Payload>,
    /// What is to be removed of it, where a rollout says so.
    pub removal: Option<Removal<'a>>,
    /// Why it waits, where it is needed or to be removed.
    pub waits_for: String,
    /// Whether it is open, and waits for a person at the machine alone.
    pub is_for_person: bool,
    /// By when this machine has to have it, or to have it no more, where that is not so and its
    /// group installs at deadlines.
    pub due: Option<Timestamp>,
    /// When it goes by that, where it waits and its time can be seen.
    pub goes_at: Option<Timestamp>,
    /// Whether it goes by that alone.
    pub is_by_deadline: bool,
}

/// Why a revision may not be installed or removed now.
struct Hindrance {
    why: String,
    /// It is open, and its time comes as it stands.
    is_time: bool,
    /// When that comes, where it can be seen.
    when: Option<Timestamp>,
}

impl Hindrance {
    /// Something that passes by no time.
    const fn lasting(why: String) -> Self {
        Self { why, is_time: false, when: None }
    }
}

/// What was tried, by revision.
#[derive(Debug, Default)]
pub struct Tries {
    /// To install it.
    pub installs: BTreeMap<RevisionId, Attempts>,
    /// To remove it.
    pub removals: BTreeMap<RevisionId, Attempts>,
}

/// What is open of a revision.
struct Open {
    /// The rollout that removes it.
    removed_by: Option<RolloutName>,
    hindrance: Option<Hindrance>,
    /// Whether headquarters lets it go without a person at the machine.
    goes_ahead: bool,
}

/// Looks at everything that is approved for the group: an item for each, those
/// that are to be installed first and in their order.
#[must_use]
pub fn decide<'a>(
    chain: &'a Chain,
    inventory: &'a Inventory,
    tries: &Tries,
    asking: &Asking<'_>,
) -> Vec<Item<'a>> {
    let offer = Offer::new(&chain.approvals, &chain.plans, &chain.states.states, asking.now);
    let offer = Offer { brakes: asking.brakes, ..offer };
    let whose = (asking.machine, asking.group, asking.site);
    let go_ahead = Meant::of(&chain.plans.go_aheads, whose, asking.now);
    let open = |id: &RevisionId| open(&offer, &go_ahead, id, tries, asking);
    let mut opened: Vec<Open> = chain.revisions.keys().map(open).collect();
    let removed = chain.revisions.values().zip(&opened);
    let removed = removed.filter(|(_, open)| open.removed_by.is_some());
    let unwanted = Unwanted::of(removed.map(|(revision, _)| revision));
    let mut candidates = Vec::with_capacity(chain.revisions.len());
    for ((id, revision), open) in chain.revisions.iter().zip(&mut opened) {
        if let Some(brought) = unwanted.brought_by(revision, inventory)
            && open.hindrance.is_none()
        {
            let Payload { package, version, .. } = brought;
            let why = format!("it would bring {package} {version}, which a rollout removes");
            open.hindrance = Some(Hindrance::lasting(why));
        }
        let ordinal = chain.entries.get(id).map_or(0, |entry| entry.ordinal);
        candidates.push(Candidate {
            entry: Entry { revision, ordinal },
            is_offered: open.removed_by.is_none() && open.hindrance.is_none(),
            is_bound: payloads_for(revision, inventory)
                .iter()
                .all(|payload| chain.bindings.contains_key(&payload.sha256)),
        });
    }
    let may_bring = |payload: &Payload| {
        chain.bindings.contains_key(&payload.sha256) && !unwanted.has(Format::Deb, payload)
    };
    let (choices, order) = choose(&candidates, inventory, &may_bring);
    let dues = due::of(chain, inventory, asking, &choices, &opened);
    let is_due = |index: usize| dues[index].is_some_and(|at: Timestamp| at < asking.now);
    let lets: Vec<bool> = choices
        .iter()
        .zip(&opened)
        .map(|(choice, open)| asking.lets(&choice.revision.id, open))
        .collect();
    let goes: Vec<bool> = (0..).zip(&lets).map(|(index, lets)| *lets || is_due(index)).collect();
    let let_go = let_go(&choices, &order, &goes);
    let ids: Vec<&'a RevisionId> = chain.revisions.values().map(|one| &one.id).collect();
    let place: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let mut items: Vec<(usize, Item<'a>)> = choices
        .into_iter()
        .zip(opened)
        .enumerate()
        .map(|(index, (choice, Open { removed_by, hindrance, .. }))| {
            let removal = removed_by.as_ref().map(|_| removal(choice.revision, inventory));
            let is_work = removal.as_ref().is_some_and(is_work);
            let is_going = is_work && hindrance.is_none();
            let is_let = let_go.contains(&index) || lets[index] || is_going && is_due(index);
            let is_chosen = choice.standing == Standing::Chosen;
            let is_time = hindrance.as_ref().is_some_and(|one| one.is_time);
            let is_early =
                is_time && choice.standing == Standing::NotOffered && removed_by.is_none();
            let is_ahead = asking.mode.downloads() && (is_early || is_chosen && !is_let);
            let ahead = || match is_chosen {
                true => choice.parts.iter().map(|part| part.payload).collect(),
                false => payloads_for(choice.revision, inventory),
            };
            let is_kept = !is_let && (is_chosen || is_going);
            let is_gone = matches!(removal, Some(Removal::Gone(_)));
            let due = dues[index].filter(|_| !is_gone);
            let when = hindrance.as_ref().and_then(|one| one.when);
            let goes_at = match is_time && (is_early || is_work) {
                _ if is_kept => due,
                true => due.and_then(|due| Some(due.max(when?))),
                false => None,
            };
            let goes_at = goes_at.filter(|at| asking.is_sooner(*at));
            let mut waits_for = match (&removal, &removed_by) {
                _ if is_kept => asking.waits(),
                (Some(removal), Some(by)) => {
                    stays_for(removal, choice.verdict.state, by, hindrance)
                }
                _ => waits_for(&choice.standing, hindrance),
            };
            if let Some(at) =
                goes_at.filter(|_| !asking.mode.installs() || asking.planned.is_some())
            {
                waits_for.push_str(&format!("; by itself from {at:.0}"));
            }
            let item = Item {
                revision: choice.revision,
                ahead: if is_ahead { ahead() } else { Vec::new() },
                install: (is_chosen && is_let).then_some(choice.parts),
                needs: choice.needs.iter().map(|one| ids[*one]).collect(),
                verdict: choice.verdict.state,
                reason: choice.verdict.reason,
                removal,
                waits_for,
                is_for_person: is_kept && !asking.mode.installs(),
                due,
                goes_at,
                is_by_deadline: is_let && !lets[index] && is_due(index),
            };
            (place.get(&index).copied().unwrap_or(usize::MAX), item)
        })
        .collect();
    items.sort_by_key(|(place, _)| *place);
    items.into_iter().map(|(_, item)| item).collect()
}

/// What is chosen and goes now, where `lets` says so, and what has to go with that.
fn let_go(choices: &[Choice<'_>], order: &[usize], lets: &[bool]) -> BTreeSet<usize> {
    let mut waiting: Vec<usize> = order.iter().copied().filter(|index| lets[*index]).collect();
    let mut let_go = BTreeSet::new();
    while let Some(index) = waiting.pop() {
        if let_go.insert(index) {
            waiting.extend(&choices[index].needs);
        }
    }
    let_go
}

/// What is open of a revision, and why it may not be done here now, whether it is
/// needed or not.
fn open(
    offer: &Offer<'_>,
    go_ahead: &Meant<'_>,
    id: &RevisionId,
    tries: &Tries,
    asking: &Asking<'_>,
) -> Open {
    let never = |why: String| Some(Hindrance::lasting(why));
    let Asking { machine: name, group, site, zone, now, .. } = *asking;
    let offered = match offer.machine(id, Machine { name, group, site, zone }) {
        Ok(offered) => offered,
        Err(why) => {
            let hindrance = never(in_one_line(&why));
            return Open { removed_by: None, hindrance, goes_ahead: false };
        }
    };
    let goes_ahead = go_ahead.goes(id, offered.since);
    let (attempts, removed_by) = match offered.action {
        Action::Install => (&tries.installs, None),
        Action::Remove => (&tries.removals, Some(offered.rollout.clone())),
    };
    let rest = || {
        let rest = attempts.get(id)?.rest(now)?;
        never(if removed_by.is_some() { rest.of_removal() } else { rest.to_string() })
    };
    let hindrance = time(&offered, now).or_else(rest);
    Open { removed_by, hindrance, goes_ahead }
}

/// Why the time of what is open has not come.
fn time(offered: &Offered, now: Timestamp) -> Option<Hindrance> {
    let Offered { action, when, wave, frozen, .. } = offered;
    let later = |why: String| Some(Hindrance { why, is_time: true, when: *when });
    if when.is_some_and(|when| when <= now) {
        return None;
    }
    match (frozen, when, action) {
        (Some(freeze), ..) => later(format!("freeze {freeze} holds it")),
        (None, None, _) => {
            let why = format!("wave {wave} has no window that can be seen");
            Some(Hindrance::lasting(why))
        }
        (None, Some(when), Action::Install) => {
            later(format!("wave {wave} installs from {when:.0} on"))
        }
        (None, Some(when), Action::Remove) => {
            later(format!("wave {wave} removes from {when:.0} on"))
        }
    }
}

/// Why what a rollout removes is there still, or not installed.
fn stays_for(
    removal: &Removal<'_>,
    verdict: State,
    by: &RolloutName,
    hindrance: Option<Hindrance>,
) -> String {
    match removal {
        Removal::Gone(_) if verdict == State::Applicable => format!("rollout {by} removes it"),
        Removal::Gone(_) => String::new(),
        Removal::Impossible(why) => why.clone(),
        Removal::Held(packages) => keeps(packages),
        Removal::Packages(_) | Removal::Vendor(_) | Removal::Files => {
            hindrance.map(|one| one.why).unwrap_or_default()
        }
    }
}

/// Whether something is to be done to remove it.
fn is_work(removal: &Removal<'_>) -> bool {
    matches!(removal, Removal::Packages(_) | Removal::Vendor(_) | Removal::Files)
}

fn keeps(packages: &[&str]) -> String {
    format!("this machine's administrator holds {}", packages.join(", "))
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
        Standing::TemporarilyUnavailable(Lack::Needs(why)) => {
            format!("temporarily unavailable: {why}")
        }
        Standing::Held(packages) => keeps(packages),
        Standing::Taken(Taken { path, by }) => {
            format!(
                "{path} belongs to {by}, which it does not replace: their vendor has to say that it supersedes it"
            )
        }
    }
}

impl Item<'_> {
    /// Whether it is to be removed now.
    #[must_use]
    pub fn is_removed_now(&self) -> bool {
        self.removal.as_ref().is_some_and(is_work) && self.waits_for.is_empty()
    }

    /// The deadline that has passed, where it goes by that alone.
    #[must_use]
    pub fn overdue(&self) -> Option<Timestamp> {
        self.due.filter(|_| self.is_by_deadline)
    }

    /// The phase, outcome and reason that are reported when it is found so, with
    /// the word that is remembered of it; what does not concern the machine has none.
    #[must_use]
    pub fn word(&self, was_told: bool) -> Option<(Phase, Outcome, &'static str, &str)> {
        let is_there = matches!(self.verdict, State::Applicable | State::Installed);
        let (phase, outcome, word) = match (&self.removal, self.verdict) {
            (Some(Removal::Gone(why)), _) => {
                let word = (Phase::Removal, Outcome::Success, REMOVED, why.as_str());
                return (was_told || is_there).then_some(word);
            }
            (Some(Removal::Impossible(why)), State::Installed) => {
                return Some((Phase::Removal, Outcome::Failure, "irremovable", why));
            }
            _ if self.is_for_person => {
                let phase =
                    if self.removal.is_some() { Phase::Removal } else { Phase::Installation };
                return Some((phase, Outcome::Pending, FOR_PERSON, &self.waits_for));
            }
            (_, State::Installed) => (Phase::Detection, Outcome::Success, self.verdict.as_str()),
            (_, State::Applicable) => (Phase::Detection, Outcome::Pending, self.verdict.as_str()),
            // It was needed or there, and what it is for is gone.
            (_, State::NotApplicable) if was_told => (Phase::Removal, Outcome::Success, REMOVED),
            (_, State::NotApplicable | State::Unknown) => return None,
        };
        Some((phase, outcome, word, &self.reason))
    }

    /// As it is remembered and shown.
    #[must_use]
    pub fn standing(&self) -> state::Standing {
        let action = match (&self.install, self.waits_for.is_empty()) {
            _ if self.is_removed_now() => "remove",
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
            for_person: self.is_for_person,
            due_at: self.due,
            goes_at: self.goes_at,
        }
    }
}

#[cfg(test)]
mod tests;
