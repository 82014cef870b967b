//! What a draft may promote, and by which plan.

use std::sync::Arc;

use patchmesh_topology::approval::{Change, Fault, Rejection};
use patchmesh_topology::name::RolloutName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::promotion::{Lacking, lacking, refused};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Rollout;

use super::Draft;
use crate::generation::Generation;

impl Draft {
    /// What each of these revisions lacks to be promoted, as this draft has it;
    /// those that lack nothing are left out.
    #[must_use]
    pub fn lacking<'a>(&self, revisions: impl IntoIterator<Item = &'a RevisionId>) -> Lacking {
        let validation = self.approvals(Stage::Validation);
        let machines = self.machines.of_validation(&self.mesh);
        lacking(&self.lab, &validation, |one| machines.counts(one), revisions, self.now)
    }

    /// Every reason why what this draft approves for production anew may not be:
    /// see [`refused`].
    #[must_use]
    pub(in crate::primary) fn unpromotable(&self, present: &Generation) -> Vec<Fault> {
        let after = self.approvals(Stage::Production);
        let Some(before) = present.approvals(Stage::Production) else { return Vec::new() };
        if Arc::ptr_eq(&after, &before.set) {
            return Vec::new();
        }
        let validation = self.approvals(Stage::Validation);
        let machines = self.machines.of_validation(&self.mesh);
        let sets = (&*before.set, &*after);
        refused(&self.lab, &validation, sets, |one| machines.counts(one), self.now)
    }

    /// The plan that opens a decision: the one named, or that which opens all at
    /// once.
    ///
    /// # Errors
    /// No such plan, or one for another stage.
    pub fn opened_by(&mut self, stage: Stage, name: &str) -> Result<RolloutName, Rejection> {
        if name.is_empty() {
            let rollout = Rollout::default_for(stage);
            let name = rollout.name.clone();
            self.plan(rollout);
            return Ok(name);
        }
        let known = self.rollouts.rollouts.values().find(|one| one.name.as_str() == name);
        let fault = match known {
            Some(known) if known.stage == stage => return Ok(known.name.clone()),
            Some(known) => Fault::RolloutStage {
                rollout: known.name.clone(),
                actual: known.stage,
                asked: stage,
            },
            None => Fault::UnknownRollout(name.to_owned()),
        };
        Err(Rejection { faults: vec![fault] })
    }

    /// Whether a decision may be opened by a plan that is under way: what is decided
    /// later is open in open waves at once, so that is to be said (`into_open`).
    ///
    /// # Errors
    /// Which waves after the first are open.
    pub fn check_open_waves(
        &self,
        rollout: &RolloutName,
        change: &Change,
        into_open: bool,
    ) -> Result<(), Rejection> {
        let plan = self.rollouts.rollouts.get(rollout);
        let state = self.wave_states.states.get(rollout);
        let (Some(plan), Some(state)) = (plan, state) else { return Ok(()) };
        let waves = plan.waves.iter().zip(&state.waves).skip(1);
        let open = waves.filter(|(_, state)| state.progress.open_since().is_some());
        let open: Vec<&str> = open.map(|(wave, _)| wave.name.as_str()).collect();
        if into_open || open.is_empty() || change.revisions.is_empty() {
            return Ok(());
        }
        let fault = Fault::OpenWaves { rollout: rollout.clone(), waves: open.join(", ") };
        Err(Rejection { faults: vec![fault] })
    }
}
