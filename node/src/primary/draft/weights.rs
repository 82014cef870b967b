//! What a draft tells machines of assessments, which they do not get.

use std::collections::BTreeSet;

use patchmesh_topology::approval::Decision;
use patchmesh_topology::node::mode::AtDeadline;
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::deadline::{Weight, Weights};

use super::{Draft, Written};

impl Written {
    /// Whether weights may come out differently.
    #[must_use]
    pub const fn affects_weights(self) -> bool {
        self.mesh || self.validation || self.production || self.assessments
    }
}

impl Draft {
    /// The weights of what is approved for groups whose machines install at deadlines, as far as
    /// those hang on more than what vendors state. Without such a group there are none.
    #[must_use]
    pub fn weights(&self) -> Weights {
        let heeds = |(_, group): &&_| {
            self.mesh.groups.get(group).is_some_and(|one| one.at_deadline == AtDeadline::Install)
        };
        let mut approved: BTreeSet<&RevisionId> = BTreeSet::new();
        for set in self.approvals.values() {
            let decided = set.entries.iter().filter(|(key, _)| heeds(key));
            let named = decided.filter(|(_, one)| matches!(one.decision, Decision::Approved(_)));
            approved.extend(named.map(|((revision, _), _)| revision));
        }
        let weight = |id: &RevisionId| {
            let weight = Weight::of(self.assessments.get(id)?);
            (!weight.is_plain()).then(|| (id.clone(), weight))
        };
        approved.into_iter().filter_map(weight).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use patchmesh_topology::assessment::{Assessment, Judgement, Risk};
    use patchmesh_topology::node::groups::Change;
    use patchmesh_topology::revision::Severity;

    use super::*;
    use crate::generation::testing::{joined, learn};
    use crate::primary::views::testing::{Company, GROUP, revision};
    use crate::signed::names;

    fn judge(draft: &mut Draft, name: &str, risk: Risk) {
        let judgement = Judgement {
            risk,
            exposure: None,
            by: "ada".to_owned(),
            at: draft.now,
            note: "because".to_owned(),
        };
        let assessment = Assessment { judgement: Some(judgement), ..Assessment::default() };
        Arc::make_mut(&mut draft.assessments).insert(revision(name).id, assessment);
    }

    fn at_deadline(draft: &mut Draft, at_deadline: AtDeadline) {
        let change = Change { at_deadline: Some(at_deadline), ..Change::default() };
        let group = GROUP.parse().expect("a name");
        let mesh = draft.mesh.set_group(&group, change, 0, |_| true).expect("changed");
        draft.mesh = Arc::new(mesh);
    }

    #[tokio::test]
    async fn what_machines_have_to_know_is_signed_where_a_group_installs_at_deadlines() {
        let company = Company::start(&[]).await;
        company.change(|draft| judge(draft, "a", Risk::Critical)).await;
        company.change(|draft| judge(draft, "other", Risk::Critical)).await;
        let before = company.approve(&["a", "b"], "default-production").await;
        assert!(before.weights.is_empty() && !before.targets.contains_key(names::DEADLINES));

        let after = company.change(|draft| at_deadline(draft, AtDeadline::Install)).await;
        let weight = |risk| Weight { severity: Some(risk), ..Weight::default() };
        let critical = Weights::from([(revision("a").id, weight(Some(Severity::Critical)))]);
        assert_eq!(*after.weights, critical, "what is approved, and hangs on more than its vendor");
        let (_folder, child) = joined(&company.primary.store);
        let learned = learn(&company.primary.store, &child, Timestamp::now()).await;
        assert_eq!(*learned.weights, critical);
        assert!(names::is_internal(names::DEADLINES), "how a company judges is its own business");

        // What changes none of it moves nothing.
        let same = company.approve(&["c"], "default-production").await;
        assert_eq!(same.targets[names::DEADLINES], after.targets[names::DEADLINES]);
        let other = company.change(|draft| judge(draft, "b", Risk::None)).await;
        assert_eq!(other.weights[&revision("b").id], weight(None));
        let none = company.change(|draft| at_deadline(draft, AtDeadline::Wait)).await;
        assert!(none.weights.is_empty() && none.targets.contains_key(names::DEADLINES));
    }
}
