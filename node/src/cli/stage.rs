//! Stages on the command line.

use patchmesh_proto::wire;
use patchmesh_topology::node::Stage;

/// The wire's number for a stage.
pub(crate) fn to_wire(stage: Stage) -> wire::Stage {
    match stage {
        Stage::Validation => wire::Stage::Validation,
        Stage::Production => wire::Stage::Production,
    }
}
