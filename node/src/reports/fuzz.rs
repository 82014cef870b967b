//! What machines send: batches in whatever state, also such as a machine has
//! signed, and what a node has stored of them.

use std::ops::Range;

use patchmesh_proto::report::{Batch as WireBatch, SignedBatch};
use patchmesh_topology::report::roll_up::MAX_ROLLED_UP;
use patchmesh_topology::report::{Batch, MAX_EPOCHS, MAX_EVENTS, RollUp};
use prost::Message;

use super::held::{Held, HeldRecord};
use super::testing::Reporter;
use crate::fuzz::{Form, LISTS, Target, said, same, script, word};
use crate::identity::sealed::Verifier;
use crate::identity::testing::TestMesh;

const WORDS: &[&str] = &["pc-1", "emea/fr", "vendor:stable/app@1", "m1", "#2"];

/// As they come over the wire, before anybody has checked anything.
#[test]
fn sealed_batches() {
    let mesh = TestMesh::new();
    let verifier = Verifier::new(mesh.ca.mesh_id().to_owned(), mesh.ca.certificate().clone());
    let good = Reporter::new(&mesh, "pc-1").batch(0, 3);
    let read = |input: &[u8]| match SignedBatch::decode(input) {
        Err(error) => word::<(), _>(&Err(error)),
        Ok(batch) => {
            let outcome = verifier.check(batch.clone());
            // Nothing but what was signed passes, whatever is around it.
            if let Ok(sealed) = &outcome {
                assert_eq!((&sealed.wire.batch, &batch.batch), (&good.batch, &good.batch));
            }
            word(&outcome)
        }
    };
    Target::new("report-sealed", Form::Fields).with_words(WORDS).run([good.encode_to_vec()], read);
}

/// What a hostile machine signs.
#[test]
fn batches() {
    let mesh = TestMesh::new();
    let pc = Reporter::new(&mesh, "pc-1");
    let seeds =
        [pc.message(0, 3), pc.message(u64::MAX - 9, 2), pc.message(7, 0), pc.rolled_up(5, 2, 9)];
    let read = |input: &[u8]| match WireBatch::decode(input) {
        Err(error) => word::<(), _>(&Err(error)),
        Ok(message) => {
            let outcome = Batch::try_from(message);
            if let Ok(batch) = &outcome {
                assert!(batch.events.len() <= MAX_EVENTS);
                let rolled_up = batch.rolled_up.as_ref().map_or(0, RollUp::count);
                assert!(rolled_up <= MAX_ROLLED_UP);
                let numbers = batch.run().end - batch.run().start;
                assert_eq!(numbers, batch.events.len() as u64 + rolled_up);
                assert_eq!(batch.numbered().count(), batch.events.len());
                assert!(batch.numbered().all(|(number, _)| batch.run().contains(&number)));
                if let Some(one) = &batch.rolled_up {
                    assert_eq!(one.counts().values().sum::<u64>(), one.count());
                    assert!(!batch.numbered().any(|(number, _)| one.runs().contains(number)));
                }
                same(batch, Batch::try_from(WireBatch::from(batch)));
            }
            word(&outcome)
        }
    };
    let seeds = seeds.map(|seed| seed.encode_to_vec());
    let target = Target::new("report-batches", Form::Fields).with_factor(LISTS);
    target.with_words(WORDS).run(seeds, read);
}

/// Batches one after the other: each number is new once, whatever they claim.
#[test]
fn held() {
    let mesh = TestMesh::new();
    let pc = Reporter::new(&mesh, "pc-1");
    let mut other = pc.message(3, 4);
    other.epoch = 99;
    let rolled = [pc.rolled_up(8, 1, 4), pc.rolled_up(12, 1, 7)];
    let [whole, torn] = rolled;
    let seed = script(&[pc.message(0, 4), pc.message(2, 6), whole, other, torn, pc.message(20, 1)]);
    let read = |input: &[u8]| {
        let (mut held, mut words) = (Held::default(), String::new());
        for message in said::<WireBatch>(input) {
            let Ok(batch) = Batch::try_from(message) else { continue };
            let before: u64 = held.epochs().iter().map(|one| one.held.count()).sum();
            let known = held.epochs().len();
            let outcome = held.insert(&batch);
            if let Ok(new) = &outcome {
                if let Some(one) = &batch.rolled_up {
                    let covers = |run: Range<u64>| {
                        new.iter().any(|new| new.start <= run.start && run.end <= new.end)
                    };
                    let news = one.runs().runs().filter(|run| covers(run.clone())).count();
                    assert!(news == 0 || news == one.runs().runs().len(), "torn");
                }
                let new: u64 = new.iter().map(|run| run.end - run.start).sum();
                assert!(held.covers(&batch) || batch.run().is_empty());
                let after: u64 = held.epochs().iter().map(|one| one.held.count()).sum();
                assert!(after == before + new || known == MAX_EPOCHS);
                assert_eq!(held.insert(&batch), Ok(Vec::new()));
            }
            assert!(held.epochs().len() <= MAX_EPOCHS);
            words = word(&outcome);
        }
        let record = HeldRecord { epochs: held.to_records() };
        let again = HeldRecord::decode(&record.encode_to_vec()[..]);
        same(&record, again);
        assert_eq!(Held::from_records(record.epochs), held);
        words
    };
    let target = Target::new("report-held", Form::Fields).with_factor(LISTS);
    target.with_words(WORDS).run([seed], read);
}
