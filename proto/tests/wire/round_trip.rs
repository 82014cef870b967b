//! What is written is what is read: `model → wire → bytes → wire → model`.

use patchmesh_proto::document::{Document, decode, encode};
use patchmesh_proto::references::references;
use patchmesh_proto::{admin, convert, wire};
use patchmesh_topology::approval::UpdateState;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::Revision;
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::view::{View, ViewSet};
use proptest::prelude::{any, prop_assert_eq, proptest};

use crate::{models, plans};

/// Through the stored bytes and back.
fn stored<W: Document>(message: &W) -> W {
    decode(&encode(message)).expect("a document")
}

proptest! {
    #[test]
    fn times(time in models::time()) {
        let wire = convert::timestamp_to_wire(time);
        assert!((0..1_000_000_000).contains(&wire.nanos));
        prop_assert_eq!(convert::time(Some(wire)).expect("a time"), time);
    }

    #[test]
    fn meshes(mesh in models::subscribed_mesh()) {
        let wire = stored(&wire::Topology::from(&mesh));
        prop_assert_eq!(Mesh::try_from(wire).expect("a mesh"), mesh);
    }

    #[test]
    fn revisions(revision in models::revision()) {
        let wire = stored(&wire::Revision::from(&revision));
        prop_assert_eq!(Revision::try_from(wire).expect("a revision"), revision);
    }

    #[test]
    fn rollouts(set in plans::rollouts()) {
        let wire = stored(&wire::RolloutSet::from(&set));
        prop_assert_eq!(RolloutSet::try_from(wire).expect("rollouts"), set);
    }

    #[test]
    fn wave_states(set in plans::wave_states()) {
        let wire = stored(&wire::WaveStates::from(&set));
        prop_assert_eq!(WaveStateSet::try_from(wire).expect("states"), set);
    }

    #[test]
    fn view_sets(set in models::views()) {
        let wire = wire::ViewSet::from(&set);
        let mut named = references(&encode(&wire)).expect("references").documents;
        named.sort_unstable();
        let mut documents: Vec<_> = set.views.values().copied().collect();
        documents.sort_unstable();
        documents.dedup();
        prop_assert_eq!(named, documents);
        prop_assert_eq!(ViewSet::try_from(stored(&wire)).expect("views"), set);
    }

    #[test]
    fn views(view in models::view()) {
        let wire = wire::View::from(&view);
        let named = references(&encode(&wire)).expect("references");
        prop_assert_eq!(named.blobs, view.files.values().copied().collect::<Vec<_>>());
        let mut pools = vec![view.pools.settled, view.pools.opening];
        pools.sort_unstable();
        pools.dedup();
        prop_assert_eq!(named.documents, pools);
        prop_assert_eq!(View::try_from(stored(&wire)).expect("a view"), view);
    }

    #[test]
    fn damaged_documents_are_read_or_refused(
        mesh in models::mesh(), at in any::<usize>(), with in any::<u8>(),
    ) {
        let mut bytes = encode(&wire::Topology::from(&mesh)).to_vec();
        let at = at % bytes.len();
        bytes[at] ^= with;
        let bytes = bytes.into();
        let _ = references(&bytes);
        let _ = decode::<wire::Topology>(&bytes).map(Mesh::try_from);
    }
}

#[test]
fn update_states() {
    for state in UpdateState::ALL {
        let wire = admin::UpdateState::from(state);
        assert_eq!(convert::update_state(wire.into()).expect("a state"), Some(state));
    }
    assert_eq!(convert::update_state(0).expect("unspecified"), None);
    assert!(convert::update_state(99).is_err());
}
