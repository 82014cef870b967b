//! Machines that sign batches, for the tests of this crate.

use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::report::{Batch, Event, Outcome, Phase, RollUp, Run, SignedBatch, StepCount};
use prost::Message;

use crate::identity::files::Identity;
use crate::identity::sealed::{Sealed, Verifier, signed};
use crate::identity::testing::TestMesh;

/// The revision that test machines report about.
pub(crate) const REVISION: &str = "vendor:stable/app@1";

/// A machine with a key and one epoch.
pub(crate) struct Reporter {
    pub(crate) identity: Identity,
    pub(crate) name: String,
    pub(crate) epoch: u64,
    pub(crate) began: Timestamp,
    pub(crate) site: String,
}

impl Reporter {
    pub(crate) fn new(mesh: &TestMesh, name: &str) -> Self {
        Self::of(mesh.machine(name, "workstations"), name)
    }

    /// With somebody's identity under some name.
    pub(crate) fn of(identity: Identity, name: &str) -> Self {
        Self {
            identity,
            name: name.to_owned(),
            epoch: 7,
            began: Timestamp::from_second(1_700_000_000).expect("a time"),
            site: "emea".to_owned(),
        }
    }

    /// Events about [`REVISION`]: all succeed.
    pub(crate) fn message(&self, first: u64, count: u64) -> Batch {
        let at = |number: u64| {
            Timestamp::from_second(1_700_000_000 + number.cast_signed()).map(timestamp_to_wire)
        };
        let event = |number: u64| Event {
            revision: REVISION.to_owned(),
            phase: Phase::Installation.into(),
            outcome: Outcome::Success.into(),
            code: 0,
            message: format!("event {number}"),
            at: at(number).ok(),
        };
        Batch {
            mesh_id: self.identity.certificate().mesh_id.clone(),
            machine: self.name.clone(),
            epoch: self.epoch,
            epoch_began: Some(timestamp_to_wire(self.began)),
            first,
            events: (first..first + count).map(event).collect(),
            site: self.site.clone(),
            facts: Vec::new(),
            made_at: at(first + count).ok(),
            rolled_up: None,
        }
    }

    /// The last of these numbers as events, so many before them rolled up: all of them
    /// failed downloads.
    pub(crate) fn rolled_up(&self, first: u64, events: u64, rolled_up: u64) -> Batch {
        let message = self.message(first + rolled_up, events);
        let count = StepCount {
            phase: Phase::Download.into(),
            outcome: Outcome::Failure.into(),
            events: rolled_up,
        };
        let roll_up = RollUp {
            runs: vec![Run { start: first, end: first + rolled_up }],
            counts: vec![count],
            since: message.epoch_began,
            until: message.epoch_began,
        };
        Batch { first, rolled_up: Some(roll_up), ..message }
    }

    pub(crate) fn seal(&self, batch: &Batch) -> SignedBatch {
        self.seal_as(batch, batch.rolled_up.is_some())
    }

    pub(crate) fn seal_as(&self, batch: &Batch, has_roll_up: bool) -> SignedBatch {
        self.seal_bytes(batch.encode_to_vec(), has_roll_up)
    }

    pub(crate) fn seal_bytes(&self, batch: Vec<u8>, has_roll_up: bool) -> SignedBatch {
        let signed = signed(&batch, has_roll_up);
        let signature = self.identity.key().sign(&signed).expect("signed");
        SignedBatch {
            batch: batch.into(),
            certificate: self.identity.certificate().der.to_vec().into(),
            signature: signature.into(),
            seen_from: String::new(),
        }
    }

    pub(crate) fn batch(&self, first: u64, count: u64) -> SignedBatch {
        self.seal(&self.message(first, count))
    }

    /// The same, checked.
    pub(crate) fn sealed(&self, mesh: &TestMesh, first: u64, count: u64) -> Sealed {
        check(mesh, self.batch(first, count))
    }
}

/// A batch as a node of the mesh takes it.
pub(crate) fn check(mesh: &TestMesh, batch: SignedBatch) -> Sealed {
    let verifier = Verifier::new(mesh.ca.mesh_id().to_owned(), mesh.ca.certificate().clone());
    verifier.check(batch).expect("a good batch")
}
