//! Tokens, by way of the authority that takes them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use patchmesh_proto::identity::{JoinRequest, JoinResponse};
use patchmesh_topology::name::{GroupName, MachineName};
use patchmesh_topology::node::Role;
use tonic::{Code, Status};

use super::*;
use crate::identity::authority::{self, Authority, Redeemed, Tokens};
use crate::identity::key::Key;
use crate::identity::testing::TestMesh;
use crate::identity::token::Statement;
use crate::primary::testing::TestPrimary;
use crate::rpc::status::published;

const URL: &str = "https://lyon.example:8443";

struct Taker(Publisher);

#[async_trait]
impl Tokens for Taker {
    async fn redeem(&self, attempt: Attempt) -> Result<Redeemed, Status> {
        let (secret_sha256, _) = redeem(&self.0, attempt).await.map_err(published)?;
        let parent = "hq".parse().unwrap();
        let (parent_url, tuf_root) = ("https://127.0.0.1:1".to_owned(), Bytes::from_static(b"{}"));
        Ok(Redeemed { secret_sha256, parent, parent_url, tuf_root })
    }

    async fn machine(&self, _: &MachineName) -> Result<Option<(GroupName, Sha256)>, Status> {
        Ok(None)
    }
}

struct Desk {
    primary: TestPrimary,
    test: TestMesh,
    authority: Authority,
}

impl Desk {
    async fn open() -> Self {
        let (primary, test) = (TestPrimary::start().await, TestMesh::new());
        let taker = Arc::new(Taker(primary.publisher.clone()));
        let (ca, mesh) = (test.ca.clone(), primary.current.watch_mesh());
        let authority = Authority::new(ca, taker, mesh, Duration::from_secs(3600));
        Self { primary, test, authority }
    }

    async fn invite(&self, life: SignedDuration) -> Token {
        let invitation = Invitation {
            name: "lyon".parse().unwrap(),
            role: Role::Branch,
            parent: "hq".parse().unwrap(),
            site: "emea/fr".parse().unwrap(),
            stages: None,
        };
        let ca = self.test.ca.sha256();
        let issued = invite(&self.primary.publisher, ca, invitation, life).await.unwrap();
        Token::decode(&issued.text).unwrap()
    }

    async fn join(&self, token: &Token, key: &Key) -> Result<JoinResponse, (Code, String)> {
        let node = token.subject.name();
        let request = key.certificate_request(node).unwrap();
        let parts = [node.as_bytes(), URL.as_bytes(), &request];
        let proof = Statement::Join.prove(&token.secret_sha256(), &parts);
        let request = JoinRequest {
            node: node.to_owned(),
            proof: proof.into(),
            certificate_request: request.into(),
            url: URL.to_owned(),
            ..JoinRequest::default()
        };
        let joined = self.authority.join(request, Timestamp::now()).await;
        joined.map_err(|error| match error {
            authority::Error::Denied(status) => (status.code(), status.message().to_owned()),
            other => panic!("{other:?}"),
        })
    }

    fn membership(&self) -> Membership {
        self.primary.current.get().mesh.node(&"lyon".parse().unwrap()).unwrap().membership
    }
}

fn hour() -> SignedDuration {
    SignedDuration::from_hours(1)
}

fn denied<T>(outcome: Result<T, (Code, String)>) -> String {
    match outcome {
        Err((Code::PermissionDenied, text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("let in"),
    }
}

#[tokio::test]
async fn a_token_lets_one_key_in() {
    let desk = Desk::open().await;
    let token = desk.invite(hour()).await;
    let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
    desk.join(&token, &key).await.unwrap();
    assert_eq!(desk.membership(), Membership::Joined(key.spki_sha256()));
    let generation = desk.primary.current.get().number;
    // The answer got lost: the same key may ask again, and nothing changes.
    desk.join(&token, &key).await.unwrap();
    assert_eq!(desk.primary.current.get().number, generation);
    assert!(denied(desk.join(&token, &other).await).contains("was used already"));
    assert_eq!(desk.membership(), Membership::Joined(key.spki_sha256()));
}

#[tokio::test]
async fn tokens_that_are_no_good_change_nothing() {
    let desk = Desk::open().await;
    let key = Key::generate().unwrap();
    let ca = desk.test.ca.sha256();
    let stranger = |name: &str| {
        let end = Timestamp::now() + hour();
        let name: NodeName = name.parse().unwrap();
        Token::new("m1".to_owned(), name, ca, "https://127.0.0.1:1", end).unwrap()
    };
    assert!(denied(desk.join(&stranger("lyon"), &key).await).contains("no token was made"));
    let late = desk.invite(-hour()).await;
    assert!(denied(desk.join(&late, &key).await).contains("expired at"));
    assert!(denied(desk.join(&stranger("lyon"), &key).await).contains("not the one made last"));
    assert_eq!(desk.membership(), Membership::Invited);
}

#[tokio::test]
async fn a_new_invitation_ends_the_old_one() {
    let desk = Desk::open().await;
    let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
    let first = desk.invite(hour()).await;
    desk.join(&first, &old).await.unwrap();
    let revoke = |draft: &mut crate::primary::draft::Draft| {
        draft.mesh = Arc::new(draft.mesh.revoke(&"lyon".parse().unwrap())?);
        Ok::<_, Rejection>(())
    };
    desk.primary.publisher.publish(revoke).await.unwrap();
    assert!(denied(desk.join(&first, &old).await).contains("was used already"));
    let second = desk.invite(hour()).await;
    assert!(denied(desk.join(&first, &old).await).contains("not the one made last"));
    desk.join(&second, &new).await.unwrap();
    assert_eq!(desk.membership(), Membership::Joined(new.spki_sha256()));
}
