//! Synchronising with a vendor on loopback that does everything right, and then
//! each thing wrong.

mod content;
mod indices;
mod payload;
mod trust;
mod vendor;

use patchmesh_topology::revision::Revision;

use super::*;
use crate::source::http;
use vendor::{Repository, Vendor, now, package};

fn revisions(outcome: Result<Outcome, Error>) -> Vec<Revision> {
    changed(outcome).0
}

fn changed(outcome: Result<Outcome, Error>) -> (Vec<Revision>, SyncState) {
    match outcome {
        Ok(Outcome::Changed { revisions, state, .. }) => (revisions.collect(), state),
        other => panic!("expected revisions, got {other:?}"),
    }
}

fn unchanged(outcome: Result<Outcome, Error>) -> SyncState {
    match outcome {
        Ok(Outcome::Unchanged { state }) => state,
        other => panic!("expected no change, got {other:?}"),
    }
}

async fn fault(repository: Repository) -> Error {
    Vendor::new(repository).await.sync(&SyncState::default()).await.expect_err("refused")
}

fn ids(revisions: &[Revision]) -> Vec<String> {
    revisions.iter().map(|revision| revision.id.to_string()).collect()
}

const INDEX: &str = "dists/stable/main/binary-amd64/Packages.xz";
const IN_RELEASE: &str = "dists/stable/InRelease";
