//! The roles of a mesh: who may name which target paths, and for how long a signature is good.
//!
//! | role | paths | good for |
//! |---|---|---|
//! | `root`, `targets` (only delegates; same keys) | | 1 year |
//! | `content` | `catalogue/*`, `bindings/*`, `assessments/*` | 1 year |
//! | `validation`, `production` | `approvals/STAGE` | 1 year |
//! | `rollout` | `rollouts/*` | 1 year |
//! | `wave-state` | `wave-state/*`, `views/*` | 1 year |
//! | `mesh` | `mesh/*` | 1 year |
//! | `snapshot` | | 7 days |
//! | `timestamp` | | 1 day |
//!
//! Paths of different roles never overlap, so that the order of delegations does not matter.

use std::fmt;

use jiff::SignedDuration;

use super::name::RoleName;

/// How long a timestamp is good for: the longest that a node can be kept from news without noticing.
pub const TIMESTAMP_LIFETIME: SignedDuration = SignedDuration::from_hours(24);
/// How long a snapshot is good for.
pub const SNAPSHOT_LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long all other metadata is good for.
pub const ROLE_LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The name under which a target's BLAKE3 digest stands in its `custom`.
pub const BLAKE3: &str = "blake3";

/// A delegated role of a mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MeshRole {
    /// What is known of updates.
    Content,
    /// Decisions for the validation stage.
    Validation,
    /// Decisions for the production stage.
    Production,
    /// Plans by which decisions open.
    Rollout,
    /// Which waves are open, and the views that follow.
    WaveState,
    /// Nodes, groups, policies, users.
    Mesh,
}

impl MeshRole {
    /// All of them, in the order of delegation.
    pub const ALL: [Self; 6] = [
        Self::Content,
        Self::Validation,
        Self::Production,
        Self::Rollout,
        Self::WaveState,
        Self::Mesh,
    ];

    /// The role's name in metadata.
    pub const fn name(self) -> RoleName {
        RoleName::from_static(match self {
            Self::Content => "content",
            Self::Validation => "validation",
            Self::Production => "production",
            Self::Rollout => "rollout",
            Self::WaveState => "wave-state",
            Self::Mesh => "mesh",
        })
    }

    /// Patterns of the target paths that the role may name.
    pub const fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Content => &["catalogue/*", "bindings/*", "assessments/*", "baselines/*"],
            Self::Validation => &["approvals/validation"],
            Self::Production => &["approvals/production"],
            Self::Rollout => &["rollouts/*"],
            Self::WaveState => &["wave-state/*", "views/*"],
            Self::Mesh => &["mesh/*"],
        }
    }
}

impl fmt::Display for MeshRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}
