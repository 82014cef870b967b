//! The documents of the next generation: what changed, encoded, under the
//! role that signs it.

use std::collections::BTreeMap;

use bytes::Bytes;
use patchmesh_proto::document::{self, Document};
use patchmesh_proto::set::{self, Cut};
use patchmesh_proto::wire;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::DocumentRef;

use super::draft::{Draft, Written};
use crate::generation::Generation;
use crate::signed::names;
use crate::tuf::layout::MeshRole;
use crate::tuf::paper::Paper;

/// The documents that changed, and the signed names that lead to them.
#[derive(Debug, Default)]
pub struct Writing {
    /// New content of signed names, by role and name.
    pub named: BTreeMap<(MeshRole, &'static str), Bytes>,
    /// Documents that those lead to.
    pub documents: Vec<(DocumentRef, Bytes)>,
    /// Metadata that was signed elsewhere.
    pub papers: Vec<Paper>,
}

impl Writing {
    /// Encodes what `written` says has changed; views come apart.
    #[must_use]
    pub fn of(previous: Option<&Generation>, draft: &Draft, written: Written) -> Self {
        let mut writing = Self { papers: draft.papers().to_vec(), ..Self::default() };
        if written.mesh {
            writing.name(
                MeshRole::Mesh,
                names::TOPOLOGY,
                &wire::Topology::from(draft.mesh.as_ref()),
            );
        }
        if written.catalogue {
            let version = previous.map_or(0, |one| one.catalogue_version) + 1;
            let cut = set::cut_catalogue(&draft.catalogue, version);
            writing.cut(MeshRole::Content, names::CATALOGUE, cut);
        }
        if written.bindings {
            let version = previous.map_or(0, |one| one.bindings_version) + 1;
            let cut = set::cut_bindings(&draft.bindings, version);
            writing.cut(MeshRole::Content, names::BINDINGS, cut);
        }
        if written.assessments {
            let version = previous.map_or(0, |one| one.assessments_version) + 1;
            let cut = set::cut_assessments(&draft.assessments, version);
            writing.cut(MeshRole::Content, names::ASSESSMENTS, cut);
        }
        if written.advisories {
            let index = wire::AdvisoryIndex::from(draft.advisories.as_ref());
            writing.name(MeshRole::Mesh, names::ADVISORIES, &index);
        }
        for stage in Stage::ALL.into_iter().filter(|stage| written.approvals(*stage)) {
            let role = match stage {
                Stage::Validation => MeshRole::Validation,
                Stage::Production => MeshRole::Production,
            };
            let cut = set::cut_approvals(&draft.approvals(stage));
            writing.cut(role, names::approvals(stage), cut);
        }
        if written.rollouts {
            let rollouts = wire::RolloutSet::from(draft.rollouts.as_ref());
            writing.name(MeshRole::Rollout, names::ROLLOUTS, &rollouts);
        }
        if written.wave_states {
            let states = wire::WaveStates::from(draft.wave_states.as_ref());
            writing.name(MeshRole::WaveState, names::WAVE_STATES, &states);
        }
        if written.affects_weights() {
            let weights = draft.weights();
            let is_news = match previous {
                Some(previous) => *previous.weights != weights,
                // Not signed before there is something to say, either.
                None => !weights.is_empty(),
            };
            if is_news {
                writing.cut(MeshRole::WaveState, names::DEADLINES, set::cut_weights(&weights));
            }
        }
        // These are not signed before there is something to say.
        let were_any = previous.is_some_and(|one| one.targets.contains_key(names::REVOCATIONS));
        if written.revocations && (were_any || !draft.revocations.is_empty()) {
            let cut = set::cut_revocations(&draft.revocations);
            writing.cut(MeshRole::WaveState, names::REVOCATIONS, cut);
        }
        if written.policy && draft.policy.version > 0 {
            let policy = wire::Policy::from(draft.policy.as_ref());
            writing.name(MeshRole::Mesh, names::POLICY, &policy);
        }
        if written.lab && draft.lab.version > 0 {
            writing.name(MeshRole::Mesh, names::LAB, &wire::Lab::from(draft.lab.as_ref()));
        }
        if written.baselines && draft.baselines.version > 0 {
            let baselines = wire::BaselineSet::from(draft.baselines.as_ref());
            writing.name(MeshRole::Content, names::BASELINES, &baselines);
        }
        writing
    }

    /// Gives a signed name a new document.
    pub fn name(&mut self, role: MeshRole, name: &'static str, content: &impl Document) {
        self.named.insert((role, name), document::encode(content));
    }

    fn cut(&mut self, role: MeshRole, name: &'static str, cut: Cut) {
        self.named.insert((role, name), cut.index);
        self.documents.extend(cut.partitions);
    }
}
