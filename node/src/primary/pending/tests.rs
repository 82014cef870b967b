//! Decisions that wait for people, on a primary that runs.

use std::collections::BTreeSet;
use std::convert::Infallible;

use patchmesh_topology::approval::Decision;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{RolloutName, UserName};
use patchmesh_topology::person;
use patchmesh_topology::promotion::Policy;

use super::*;
use crate::generation::testing::restart;
use crate::primary::ceremony::{self, Holders, Outcome, Wanted};
use crate::primary::testing::TestPrimary;
use crate::tuf::signing::SigningKey;

/// A primary with people, each with a key.
struct Company {
    primary: TestPrimary,
    keys: Vec<SigningKey>,
}

const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];

impl Company {
    async fn start() -> Self {
        let primary = TestPrimary::start().await;
        let keys: Vec<_> = PEOPLE.iter().map(|_| SigningKey::generate().unwrap()).collect();
        let publics: Vec<_> =
            keys.iter().map(|key| key.public().ed25519_bytes().unwrap()).collect();
        let join = move |draft: &mut Draft| {
            for (number, (name, public)) in (1..).zip(PEOPLE.iter().zip(publics)) {
                let name: UserName = name.parse().unwrap();
                let roles = BTreeSet::from(["approver:production".parse().unwrap()]);
                let mesh = draft.mesh.invite_user(name.clone(), roles)?;
                let key = Sha256::from_bytes([number; 32]);
                draft.mesh = Arc::new(mesh.join_user(&name, key, public)?);
            }
            Ok::<_, person::Rejection>(())
        };
        primary.publisher.publish(join).await.unwrap();
        Self { primary, keys }
    }

    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> T + Send + 'static,
    ) -> T {
        self.primary.publisher.alone(work).await.unwrap()
    }

    /// Asks for new holders of production, signed by the root key here.
    async fn hold(&self, users: &[&str], threshold: u32) -> Result<Outcome, ceremony::Error> {
        let users = users.iter().map(|user| user.parse().unwrap()).collect();
        let holders =
            Holders { role: "production".to_owned(), users, threshold, ..Holders::default() };
        self.change(Wanted { holders: vec![holders], ..Wanted::default() }).await
    }

    async fn change(&self, wanted: Wanted) -> Result<Outcome, ceremony::Error> {
        self.alone(move |worker| {
            let now = Timestamp::now();
            let mut papers = ceremony::prepare(worker, &wanted, now)?;
            ceremony::sign_here(worker, &mut papers)?;
            ceremony::publish(worker, papers, "test".to_owned(), String::new(), now)
        })
        .await
    }

    /// Two of three people hold production.
    async fn people_decide(&self) {
        let Outcome::Waits(pending) = self.hold(&PEOPLE, 2).await.unwrap() else {
            panic!("the new holders have to sign")
        };
        self.sign(pending.id, 0).await.unwrap();
        let done = self.sign(pending.id, 1).await.unwrap();
        assert!(!done.is_waiting());
    }

    async fn sign(&self, id: u64, person: usize) -> Result<Pending, Error> {
        let pending = get(&self.primary.store, id).unwrap();
        let given = given(&pending, &self.keys[person]);
        self.alone(move |worker| sign(worker, id, given)).await
    }

    /// Declines a revision for production; returns what waits.
    async fn decline(&self, revision: &str) -> Vec<u64> {
        let revision: RevisionId = revision.parse().unwrap();
        let change = move |draft: &mut Draft| {
            let mut set = draft.approvals(Stage::Production).as_ref().clone();
            set.version += 1;
            let approval = Approval {
                decision: Decision::Declined,
                by: "user alice".to_owned(),
                at: draft.now,
                comment: "no".to_owned(),
                rule: String::new(),
            };
            set.entries.insert((revision, "servers".parse().unwrap()), approval);
            draft.set_approvals(set);
            Ok::<_, Infallible>(())
        };
        let (_, _, pended) = self.primary.publisher.publish_noting(change).await.unwrap();
        pended
    }

    fn decided(&self) -> usize {
        let generation = self.primary.current.get();
        generation.approvals(Stage::Production).unwrap().set.entries.len()
    }
}

fn given(pending: &Pending, key: &SigningKey) -> Vec<Given> {
    let one = |paper: &Paper| {
        let message = paper.message().unwrap();
        Given {
            role: paper.role().to_string(),
            text_sha256: crate::identity::sha256(&message).as_bytes().to_vec(),
            signature: Signature::of(key, &message),
        }
    };
    let is_mine = |paper: &&Paper| !paper.role().is_top_level();
    pending.papers.iter().filter(is_mine).map(one).collect()
}

const ONE: &str = "vendor:stable/one@1";
const TWO: &str = "vendor:stable/two@1";

#[tokio::test]
async fn a_decision_is_published_with_the_last_signature() {
    let company = Company::start().await;
    company.people_decide().await;
    let before = company.primary.current.get().number;
    let pended = company.decline(ONE).await;
    assert_eq!(pended.len(), 1);
    assert_eq!((company.primary.current.get().number, company.decided()), (before, 0));
    // What waits is on disk.
    let waiting = list(&company.primary.store, false).unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].record.changes.len(), 1);

    assert!(company.sign(pended[0], 0).await.unwrap().is_waiting());
    let twice = company.sign(pended[0], 0).await.unwrap_err();
    assert!(matches!(twice, Error::Signature(Refused::Twice { .. })), "{twice}");
    let done = company.sign(pended[0], 2).await.unwrap();
    assert_eq!(done.record.generation, before + 1);
    assert_eq!((company.primary.current.get().number, company.decided()), (before + 1, 1));
    assert_eq!(restart(&company.primary.store).number, before + 1);
    let users: Vec<_> = done.record.signers.iter().map(|signer| signer.user.as_str()).collect();
    assert_eq!(users, ["alice", "carol"]);
    assert!(list(&company.primary.store, false).unwrap().is_empty());
    assert_eq!(list(&company.primary.store, true).unwrap().len(), 2);
    let over = company.sign(pended[0], 1).await.unwrap_err();
    assert!(matches!(over, Error::Over { .. }));
    assert!(matches!(get(&company.primary.store, 99), Err(Error::Unknown(99))));
}

#[tokio::test]
async fn a_signature_counts_for_its_own_text_and_signer_only() {
    let company = Company::start().await;
    company.people_decide().await;
    let id = company.decline(ONE).await[0];
    let pending = get(&company.primary.store, id).unwrap();
    let try_it = async |given| company.alone(move |worker| sign(worker, id, given)).await;

    let stranger = given(&pending, &SigningKey::generate().unwrap());
    let refused = try_it(stranger).await.unwrap_err();
    assert!(matches!(refused, Error::Signature(Refused::NotAHolder { .. })));
    let mut forged = given(&pending, &company.keys[0]);
    forged[0].signature.sig = hex::encode([0; 64]);
    let refused = try_it(forged).await.unwrap_err();
    assert!(matches!(refused, Error::Signature(Refused::Invalid { .. })));
    let mut other = given(&pending, &company.keys[0]);
    other[0].text_sha256 = vec![0; 32];
    assert!(matches!(try_it(other).await.unwrap_err(), Error::Changed(_)));
    let mut foreign = given(&pending, &company.keys[0]);
    foreign[0].role = "validation".to_owned();
    assert!(matches!(try_it(foreign).await.unwrap_err(), Error::NoPart { .. }));
    assert!(get(&company.primary.store, id).unwrap().record.signers.is_empty());
}

#[tokio::test]
async fn who_was_revoked_signs_no_more() {
    let company = Company::start().await;
    company.people_decide().await;
    let id = company.decline(ONE).await[0];
    company.sign(id, 0).await.unwrap();
    let revoke = |draft: &mut Draft| {
        draft.mesh = Arc::new(draft.mesh.revoke_user(&"alice".parse().unwrap())?);
        Ok::<_, person::Rejection>(())
    };
    company.primary.publisher.publish(revoke).await.unwrap();
    // Neither by what they signed before nor by what they sign now.
    assert!(get(&company.primary.store, id).unwrap().record.signers.is_empty());
    let refused = company.sign(id, 0).await.unwrap_err();
    assert!(matches!(refused, Error::Revoked(name) if name == "alice"));
    assert!(company.sign(id, 1).await.unwrap().is_waiting());
    assert!(!company.sign(id, 2).await.unwrap().is_waiting());
    let again = company.hold(&["alice", "bob"], 2).await.unwrap_err();
    assert!(matches!(again, ceremony::Error::Revoked(_)));
}

#[tokio::test]
async fn a_decision_whose_ground_moved_is_prepared_anew() {
    let company = Company::start().await;
    company.people_decide().await;
    let (first, second) = (company.decline(ONE).await[0], company.decline(TWO).await[0]);
    company.sign(second, 0).await.unwrap();
    let stale = given(&get(&company.primary.store, second).unwrap(), &company.keys[1]);
    company.sign(first, 0).await.unwrap();
    company.sign(first, 1).await.unwrap();
    let moved = get(&company.primary.store, second).unwrap();
    assert!(moved.is_waiting() && moved.record.signers.is_empty());
    assert!(moved.record.note.contains("again"), "{}", moved.record.note);
    let refused = company.alone(move |worker| sign(worker, second, stale)).await.unwrap_err();
    assert!(matches!(refused, Error::Changed(_)));
    company.sign(second, 1).await.unwrap();
    company.sign(second, 2).await.unwrap();
    assert_eq!(company.decided(), 2);
}

#[tokio::test]
async fn a_change_of_holders_moves_the_ground_too() {
    let company = Company::start().await;
    company.people_decide().await;
    let id = company.decline(ONE).await[0];
    company.sign(id, 2).await.unwrap();
    // Alice and Bob signed what stands, so that Carol's going needs no new signature.
    let Outcome::Published(_) = company.hold(&PEOPLE[..2], 2).await.unwrap() else {
        panic!("what stands is signed by both who stay")
    };
    assert!(get(&company.primary.store, id).unwrap().record.signers.is_empty());
    company.sign(id, 2).await.unwrap_err();
    company.sign(id, 0).await.unwrap();
    assert!(!company.sign(id, 1).await.unwrap().is_waiting());
}

#[tokio::test]
async fn what_cannot_be_published_holds_up_nothing_else() {
    let company = Company::start().await;
    company.people_decide().await;
    // The first is refused for want of evidence, whoever signs it.
    let approve = |draft: &mut Draft| {
        let mut set = draft.approvals(Stage::Production).as_ref().clone();
        set.version += 1;
        let approval = Approval {
            decision: Decision::Approved(RolloutName::default_for(Stage::Production)),
            by: "user alice".to_owned(),
            at: draft.now,
            comment: String::new(),
            rule: String::new(),
        };
        set.entries.insert((ONE.parse().unwrap(), "servers".parse().unwrap()), approval);
        draft.set_approvals(set);
        Ok::<_, Infallible>(())
    };
    let (_, _, pended) = company.primary.publisher.publish_noting(approve).await.unwrap();
    let (first, second) = (pended[0], company.decline(TWO).await[0]);
    let ask = |draft: &mut Draft| {
        Arc::make_mut(&mut draft.lab).set_policy(Some(Policy::default()), "user alice", draft.now);
        Ok::<_, Infallible>(())
    };
    company.primary.publisher.publish(ask).await.unwrap();
    company.sign(first, 0).await.unwrap();
    let refused = company.sign(first, 1).await.unwrap_err();
    assert!(matches!(refused, Error::Publish(_)), "{refused}");

    // The second has its signatures, too, and was not published when they came.
    let mut signed = get(&company.primary.store, second).unwrap();
    let signatures: Vec<_> = company.keys[..2].iter().flat_map(|key| given(&signed, key)).collect();
    let met = move |worker: &mut Worker| {
        let outlook = Outlook::new(worker.press.signing.repository().unwrap(), &signed.papers);
        let outlook = outlook.unwrap();
        for one in signatures {
            outlook.add(&mut signed.papers[0], one.signature).unwrap();
            signed.record.signers.push(SignerRecord::default());
        }
        save(&worker.press.store, &signed).unwrap();
        publish_met(worker)
    };
    company.alone(met).await.unwrap();
    assert!(get(&company.primary.store, first).unwrap().is_waiting());
    assert!(!get(&company.primary.store, second).unwrap().is_waiting());
    assert_eq!(company.decided(), 1);
}

#[tokio::test]
async fn nobody_is_locked_out() {
    let company = Company::start().await;
    let refused = company.hold(&PEOPLE[..2], 3).await.unwrap_err();
    assert!(matches!(
        refused,
        ceremony::Error::Change(crate::tuf::ceremony::Error::ThresholdTooHigh { .. })
    ));
    let refused = company.hold(&["alice", "alice"], 2).await.unwrap_err();
    assert!(matches!(
        refused,
        ceremony::Error::Change(crate::tuf::ceremony::Error::KeyTwice { .. })
    ));
    assert!(matches!(company.hold(&["zoe"], 1).await, Err(ceremony::Error::UnknownUser(_))));
    let take = |role: &str| Wanted {
        holders: vec![Holders {
            role: role.to_owned(),
            users: vec!["alice".parse().unwrap()],
            ..Holders::default()
        }],
        ..Wanted::default()
    };
    for role in ["snapshot", "timestamp", "content", "wave-state", "mesh", "rollout"] {
        let refused = company.change(take(role)).await.unwrap_err();
        assert!(matches!(refused, ceremony::Error::Online(_)), "{role}: {refused}");
    }
    // The last holder's key can't be taken away.
    let ids = company.primary.publisher.custody();
    let root = ids.iter().find(|one| one.role == RoleName::ROOT).unwrap();
    let id = root.holders.keyids()[0].as_str().to_owned();
    let wanted = Wanted { remove: vec![id], ..Wanted::default() };
    let refused = company.change(wanted).await.unwrap_err();
    assert!(matches!(refused, ceremony::Error::Change(crate::tuf::ceremony::Error::NoKey(_))));
}

#[tokio::test]
async fn what_waits_is_bounded_and_can_be_given_up() {
    let company = Company::start().await;
    company.people_decide().await;
    let mut last = 0;
    for number in 0..MAX_WAITING {
        last = company.decline(&format!("vendor:stable/one@{number}")).await[0];
    }
    let more = |draft: &mut Draft| {
        let mut set = draft.approvals(Stage::Production).as_ref().clone();
        set.version += 1;
        let approval = Approval {
            decision: Decision::Declined,
            by: "user alice".to_owned(),
            at: draft.now,
            comment: "no".to_owned(),
            rule: String::new(),
        };
        set.entries.insert((TWO.parse().unwrap(), "servers".parse().unwrap()), approval);
        draft.set_approvals(set);
        Ok::<_, Infallible>(())
    };
    assert!(company.primary.publisher.publish(more).await.is_err());
    let note = "not wanted".to_owned();
    let gone = company.alone(move |worker| withdraw(worker, last, note)).await.unwrap();
    assert_eq!(gone.record.note, "not wanted");
    assert!(matches!(company.sign(last, 0).await, Err(Error::Over { .. })));
    company.primary.publisher.publish(more).await.unwrap();
}
