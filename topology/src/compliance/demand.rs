//! What approvals, plans and deadlines ask of a machine.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::name::{GroupName, MachineName, Site};
use crate::node::{Group, Stage};
use crate::offer::Offer;
use crate::revision::{RevisionId, Severity};
use crate::rollout::deadline::{Deadline, Facts};
use crate::rollout::exception::{Exception, Scope};
use crate::rollout::{self, Action, Closed, Order, Rollout, RolloutSet, Share};
use crate::tally::Place;

/// To which machines of a place a revision is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Openness {
    /// To all.
    Everyone,
    /// To some, by their names.
    Some,
    /// To none yet.
    Nobody,
}

/// What is asked of the machines of a group at a site about a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Demand {
    /// Whether they are to have it, or to have it no more.
    pub action: Action,
    /// How bad it is not to have it.
    pub severity: Option<Severity>,
    /// By when it has to be done by machines that can be reached from outside.
    pub due_exposed: Deadline,
    /// By when others have to.
    pub due_inside: Deadline,
    /// To whom it is open.
    pub openness: Openness,
}

/// The part of a demand that is the same for all places of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupDemand<'a> {
    offer: Offer<'a>,
    /// By which plan it is asked.
    pub plan: &'a Rollout,
    severity: Option<Severity>,
    due_exposed: Deadline,
    due_inside: Deadline,
}

impl GroupDemand<'_> {
    /// The demand on a place where it is open to these.
    #[must_use]
    pub const fn with(&self, openness: Openness) -> Demand {
        Demand {
            action: self.plan.action,
            severity: self.severity,
            due_exposed: self.due_exposed,
            due_inside: self.due_inside,
            openness,
        }
    }
}

impl Demand {
    /// By when a machine has to have done it.
    #[must_use]
    pub const fn due(&self, exposed: bool) -> Deadline {
        if exposed { self.due_exposed } else { self.due_inside }
    }
}

/// What deadlines hang on, by revision; `None` where the catalogue has no such one.
pub type SubjectOf<'a> = Box<dyn Fn(&RevisionId) -> Option<Facts> + 'a>;

/// What a mesh asks at a moment.
pub struct Demands<'a> {
    groups: &'a BTreeMap<GroupName, Group>,
    offers: BTreeMap<Stage, Offer<'a>>,
    facts: SubjectOf<'a>,
    /// Exceptions that hold now: of single machines, and of others.
    of_machines: BTreeMap<&'a MachineName, Vec<&'a Exception>>,
    of_others: Vec<&'a Exception>,
    now: Timestamp,
}

impl<'a> Demands<'a> {
    /// What groups are asked by the offers of their stages; of a stage that is not
    /// there nothing is asked.
    #[must_use]
    pub fn new(
        groups: &'a BTreeMap<GroupName, Group>,
        plans: &'a RolloutSet,
        offers: impl IntoIterator<Item = Offer<'a>>,
        facts: SubjectOf<'a>,
        now: Timestamp,
    ) -> Self {
        let (mut of_machines, mut of_others) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        let holds = |one: &&Exception| one.since <= now && now < one.until;
        for exception in plans.exceptions.values().filter(holds) {
            match &exception.scope {
                Scope::Machine(name) => of_machines.entry(name).or_default().push(exception),
                Scope::Group(_) | Scope::Site(_) => of_others.push(exception),
            }
        }
        let offers = offers.into_iter().map(|offer| (offer.approvals.stage, offer)).collect();
        Self { groups, offers, facts, of_machines, of_others, now }
    }

    /// The moment.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// What is asked about a revision, by group.
    pub fn actions(&self, revision: &RevisionId) -> impl Iterator<Item = (&'a GroupName, Action)> {
        let groups = self.groups.keys();
        groups.filter_map(|group| Some((group, self.plan(revision, group)?.1.action)))
    }

    /// What is asked of a group about a revision, wherever its machines are; `None`:
    /// nothing.
    #[must_use]
    pub fn of_group(&self, revision: &RevisionId, group: &GroupName) -> Option<GroupDemand<'a>> {
        let (offer, plan) = self.plan(revision, group)?;
        let approved = offer.approvals.get(revision, group)?.at;
        let facts = plan.facts((self.facts)(revision)?, approved);
        Some(GroupDemand {
            offer,
            plan,
            severity: facts.severity,
            due_exposed: plan.deadline.deadline(&facts, true),
            due_inside: plan.deadline.deadline(&facts, false),
        })
    }

    /// To whom at a place everything is open that a plan opens; `None`: the plan goes
    /// elsewhere.
    #[must_use]
    pub fn openness(&self, of: &GroupDemand<'a>, place: &Place) -> Option<Openness> {
        let is_shared = || of.plan.waves.iter().any(|wave| wave.share != Share::ALL);
        match self.opening(&of.offer, of.plan, &place.group, &place.site, None) {
            Ok(()) => Some(Openness::Everyone),
            Err(_) if is_shared() => Some(Openness::Some),
            Err(Closed::NotCovered { .. }) => None,
            Err(_) => Some(Openness::Nobody),
        }
    }

    /// Whether all machines of a place do without a revision.
    #[must_use]
    pub fn is_without(&self, revision: &RevisionId, place: &Place) -> bool {
        let whose = (None, &place.group, Some(&place.site));
        self.of_others.iter().any(|one| one.holds(revision, whose, self.now))
    }

    /// Whether a demand on a place is one on a machine there, and whether what is
    /// asked for is open to it. `None`: it is not asked of this machine.
    #[must_use]
    pub fn on(
        &self,
        demand: &Demand,
        revision: &RevisionId,
        place: &Place,
        machine: &MachineName,
    ) -> Option<bool> {
        if !self.of_machines.is_empty() && self.is_excepted(revision, place, machine) {
            return None;
        }
        match demand.openness {
            Openness::Everyone => Some(true),
            Openness::Nobody => Some(false),
            Openness::Some => {
                let (offer, plan) = self.plan(revision, &place.group)?;
                match self.opening(&offer, plan, &place.group, &place.site, Some(machine)) {
                    Ok(()) => Some(true),
                    Err(Closed::NotCovered { .. }) => None,
                    Err(_) => Some(false),
                }
            }
        }
    }

    /// By when a machine has to have a revision, or to have it no more; `exposed`: it can be
    /// reached from outside. `None`: neither is asked of this machine. The same that
    /// [`Survey`](super::Survey) judges it by, so the machine itself may ask.
    #[must_use]
    pub fn due(
        &self,
        revision: &RevisionId,
        place: &Place,
        machine: &MachineName,
        exposed: bool,
    ) -> Option<(Action, Deadline)> {
        let of_group = self.of_group(revision, &place.group)?;
        let openness = self.openness(&of_group, place)?;
        if self.is_without(revision, place) {
            return None;
        }
        let demand = of_group.with(openness);
        self.on(&demand, revision, place, machine)?;
        Some((demand.action, demand.due(exposed)))
    }

    fn is_excepted(&self, revision: &RevisionId, place: &Place, machine: &MachineName) -> bool {
        let exceptions = self.of_machines.get(machine).into_iter().flatten();
        let whose = (Some(machine), &place.group, Some(&place.site));
        exceptions.into_iter().any(|one| one.holds(revision, whose, self.now))
    }

    /// The plan by which machines of a group are to have a revision, or to have it no more.
    fn plan(&self, revision: &RevisionId, group: &GroupName) -> Option<(Offer<'a>, &'a Rollout)> {
        let offer = self.offers.get(&self.groups.get(group)?.stage)?;
        let plan = offer.plan(revision, group).ok()?;
        (plan.control.order != Order::Withdraw).then_some((*offer, plan))
    }

    fn opening(
        &self,
        offer: &Offer<'_>,
        plan: &Rollout,
        group: &GroupName,
        site: &Site,
        machine: Option<&MachineName>,
    ) -> Result<(), Closed> {
        let place = rollout::Place { site: Some(site), group: Some(group), machine };
        plan.opening(offer.states, &offer.plans.freezes, place, self.now).map(drop)
    }
}
