//! The signed names: TUF target paths and the role that signs each.

use patchmesh_topology::node::Stage;

/// The tree and the groups.
pub const TOPOLOGY: &str = "mesh/topology";
/// Every revision.
pub const CATALOGUE: &str = "catalogue/index";
/// Payload → blob.
pub const BINDINGS: &str = "bindings/index";
/// What revisions mean.
pub const ASSESSMENTS: &str = "assessments/index";
/// What headquarters tells every branch.
pub const ADVISORIES: &str = "mesh/advisories";
/// Plans.
pub const ROLLOUTS: &str = "rollouts/index";
/// Where the plans stand.
pub const WAVE_STATES: &str = "wave-state/index";
/// What deadlines hang on beside what vendors state, for machines that install at them; not
/// signed before there is something to say.
pub const DEADLINES: &str = "wave-state/deadlines";
/// Machines that were shut out, for nodes; not signed before there is one.
pub const REVOCATIONS: &str = "wave-state/revocations";
/// Repositories for stock clients.
pub const VIEWS: &str = "views/index";

/// Rules that approve by themselves; not signed before there is one.
pub const POLICY: &str = "mesh/policy";
/// What the lab found, and what promotion asks for; not signed before there is
/// something to say.
pub const LAB: &str = "mesh/lab";
/// What machines have; not signed before there is one.
pub const BASELINES: &str = "baselines/index";

/// A stage's decisions.
#[must_use]
pub const fn approvals(stage: Stage) -> &'static str {
    match stage {
        Stage::Validation => "approvals/validation",
        Stage::Production => "approvals/production",
    }
}

/// Whether a name leads to what is nobody's business outside of the mesh:
/// routes, people, rules, advisories, what machines have, which were shut out, and
/// how the company judges its risks.
#[must_use]
pub fn is_internal(path: &str) -> bool {
    path.starts_with("mesh/") || matches!(path, ASSESSMENTS | BASELINES | DEADLINES | REVOCATIONS)
}
