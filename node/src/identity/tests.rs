//! Joining and renewing over real connections: a primary, a hub below it, and
//! hosts that join at the hub.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::identity::{JoinRequest, RenewRequest};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName, NodeName};
use patchmesh_topology::node::Membership;
use tonic::{Code, Status};

use super::authority::{Applicant, Attempt, Authority, Redeemed, Tokens};
use super::files::{self, Identity};
use super::join::{self, join};
use super::key::Key;
use super::renewal::Renewal;
use super::service::{Issuer, Service};
use super::testing::{Running, TestMesh};
use super::tls::{self, Credentials, Expected};
use super::token::{Statement, Token};
use crate::transport::address::NodeUrl;
use crate::transport::channel;

/// What a primary keeps of a token.
struct Open {
    secret: Sha256,
    end: Timestamp,
    used_by: Option<Sha256>,
}

/// Open tokens in memory.
#[derive(Default)]
struct MemoryTokens {
    open: Mutex<HashMap<NodeName, Open>>,
}

#[async_trait]
impl Tokens for MemoryTokens {
    async fn redeem(&self, attempt: Attempt) -> Result<Redeemed, Status> {
        let Applicant::Node { name: node, .. } = &attempt.applicant else {
            return Err(Status::permission_denied("unknown token"));
        };
        let mut open = self.open.lock().expect("no panic");
        let token = open
            .get_mut(node)
            .filter(|token| attempt.proves(&token.secret))
            .ok_or_else(|| Status::permission_denied("unknown token"))?;
        if attempt.now > token.end {
            return Err(Status::permission_denied("expired token"));
        }
        if token.used_by.is_some_and(|key| key != attempt.spki_sha256) {
            return Err(Status::permission_denied("used token"));
        }
        token.used_by = Some(attempt.spki_sha256);
        Ok(Redeemed {
            secret_sha256: token.secret,
            parent: "hub".parse().expect("a name"),
            parent_url: "https://127.0.0.1:1".to_owned(),
            tuf_root: Bytes::from_static(b"{}"),
        })
    }

    async fn machine(&self, _: &MachineName) -> Result<Option<(GroupName, Sha256)>, Status> {
        Ok(None)
    }
}

/// A primary and a hub below it; both serve the Identity service.
struct Tree {
    test: TestMesh,
    tokens: Arc<MemoryTokens>,
    hq: Running,
    hub: Running,
}

impl Tree {
    async fn start(lifetime: Duration) -> Self {
        let test = TestMesh::new();
        let (hq, hub) = (test.node("hq"), test.node("hub"));
        let mesh = test.mesh(&[
            ("hq", None, Membership::Joined(hq.key().spki_sha256())),
            ("hub", Some("hq"), Membership::Joined(hub.key().spki_sha256())),
            ("lyon", Some("hub"), Membership::Invited),
        ]);
        let tokens = Arc::new(MemoryTokens::default());
        let hq = Running::start(&test, hq, mesh.clone(), |_, mesh| {
            let (ca, tokens) = (Arc::clone(&test.ca), Arc::clone(&tokens));
            let authority = Authority::new(ca, tokens, mesh.clone(), lifetime);
            Service::server(Issuer::Here(Arc::new(authority)), mesh)
        });
        let hq = hq.await;
        let above = hq.url.clone();
        let hub = Running::start(&test, hub, mesh, |credentials, mesh| {
            let expected = Expected::Node("hq".parse().expect("a name"));
            let tls = tls::client(test.ca.certificate(), Some(credentials), expected);
            let parent = channel::to_node(&above, tls.expect("TLS")).expect("a channel");
            Service::server(Issuer::Above(parent), mesh)
        });
        Self { hub: hub.await, test, tokens, hq }
    }

    /// A token for `lyon` that asks the hub.
    fn invite(&self, life: SignedDuration) -> Token {
        let node: NodeName = "lyon".parse().expect("a name");
        let end = Timestamp::now() + life;
        let mesh_id = self.test.ca.mesh_id().to_owned();
        let ca = self.test.ca.sha256();
        let token = Token::new(mesh_id, node.clone(), ca, &self.hub.url, end).expect("a token");
        let record = Open { secret: token.secret_sha256(), end, used_by: None };
        self.tokens.open.lock().expect("no panic").insert(node, record);
        token
    }

    async fn stop(self) {
        self.hub.stop().await;
        self.hq.stop().await;
    }
}

fn own_url() -> NodeUrl {
    "https://lyon.example:8443".parse().expect("a URL")
}

fn hour() -> SignedDuration {
    SignedDuration::from_hours(1)
}

#[tokio::test]
async fn a_host_joins_two_hops_from_the_primary() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = tree.invite(hour());
    let joined = join(&token, folder.path(), &own_url()).await.expect("joined");
    assert_eq!(joined.parent.as_str(), "hub");
    assert_eq!(joined.tuf_root, "{}");
    assert!(!files::exists(folder.path()), "the caller saves, last of all");
    joined.identity.save(folder.path()).expect("saved");
    let kept = Identity::load(folder.path()).expect("an identity");
    assert_eq!(kept.certificate(), joined.identity.certificate());

    let again = join(&token, folder.path(), &own_url()).await;
    assert!(matches!(again, Err(join::Error::Joined(_))), "{again:?}");
    tree.stop().await;
}

#[tokio::test]
async fn a_token_works_once_but_survives_a_lost_answer() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = tree.invite(hour());
    join(&token, folder.path(), &own_url()).await.expect("joined");
    // As if the answer had been lost: the key is there, the certificate not.
    join(&token, folder.path(), &own_url()).await.expect("joined again with the same key");

    let other = tempfile::tempdir().expect("a folder");
    match join(&token, other.path(), &own_url()).await {
        Err(join::Error::Refused { why, .. }) => assert_eq!(why, "used token"),
        other => panic!("{other:?}"),
    }
    assert!(!files::exists(other.path()));
    tree.stop().await;
}

#[tokio::test]
async fn a_token_of_no_use_is_refused_with_the_reason() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = tree.invite(hour());
    let refused = |error: Result<_, join::Error>| match error {
        Err(join::Error::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };

    // Altered so that it still reads: another secret.
    let mut altered = tree.invite(hour());
    altered.secret = token.secret.clone();
    let answer = join(&altered, folder.path(), &own_url()).await.map(|_| ());
    assert_eq!(refused(answer), "unknown token");

    // Expired by this host's clock.
    let mut old = tree.invite(hour());
    old.expires_at = Timestamp::now() - hour();
    let answer = join(&old, folder.path(), &own_url()).await;
    assert!(matches!(answer, Err(join::Error::Token(_))), "{answer:?}");

    // Expired by the primary's clock alone.
    let mut late = tree.invite(-hour());
    late.expires_at = Timestamp::now() + hour();
    let answer = join(&late, folder.path(), &own_url()).await.map(|_| ());
    assert_eq!(refused(answer), "expired token");

    // Of another mesh: the hub's CA is not the one that the token names.
    let mut foreign = tree.invite(hour());
    foreign.ca_sha256 = Sha256::from_bytes([1; 32]);
    match join(&foreign, folder.path(), &own_url()).await {
        Err(join::Error::Unreachable { why, .. }) => assert!(why.contains("another mesh"), "{why}"),
        other => panic!("{other:?}"),
    }
    tree.stop().await;
}

#[tokio::test]
async fn renewal_takes_effect_without_a_restart() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = tree.invite(hour());
    let joined = join(&token, folder.path(), &own_url()).await.expect("joined");
    let key = joined.identity.key().spki_sha256();
    tree.join_everywhere("lyon", key);

    // What it has is over soon; what it gets lasts an hour.
    let copy = Key::from_pem(&joined.identity.key().to_pem()).expect("a key");
    let now = Timestamp::now();
    let short = tree.test.reissue(&copy, "lyon", Duration::from_secs(3), now);
    short.save(folder.path()).expect("saved");
    let credentials = Credentials::new(&short).expect("credentials");
    let old = credentials.certificate();
    let channel = tree.hub.channel(&tree.test, Some(Arc::clone(&credentials)), "hub");
    let path = folder.path().to_owned();
    let node = "lyon".parse().expect("a name");
    let issuer = Issuer::Above(channel);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let renewal = Renewal::new(node, path, short, Arc::clone(&credentials), issuer);
    let task = tokio::spawn(renewal.run(shutdown.clone()));
    let renewed = async {
        while credentials.certificate() == old {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("renewed in time");
    let fresh = credentials.certificate();
    assert!(fresh.not_after > old.not_after + SignedDuration::from_mins(50));
    assert_eq!(fresh.spki_sha256, key);
    let kept = Identity::load(folder.path()).expect("an identity");
    assert_eq!(kept.certificate(), &fresh);
    shutdown.cancel();
    task.await.expect("ended");
    tree.stop().await;
}

#[tokio::test]
async fn what_makes_no_sense_goes_no_further() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    // With the primary gone, only the hub can answer.
    let Tree { hub, test, hq, .. } = tree;
    hq.stop().await;
    let mut client = IdentityClient::new(hub.channel(&test, None, "hub"));
    let good = Key::generate().expect("a key").certificate_request("lyon").expect("a request");
    let request = |node: &str, url: &str, certificate_request: &[u8]| JoinRequest {
        node: node.to_owned(),
        url: url.to_owned(),
        certificate_request: certificate_request.to_vec().into(),
        proof: Bytes::new(),
        ..JoinRequest::default()
    };
    let url = own_url();
    for bad in [
        request("Lyon!", url.as_str(), &good),
        request("lyon", "http://lyon", &good),
        request("lyon", url.as_str(), b"hello"),
    ] {
        let status = client.join(bad).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let status = client.join(request("lyon", url.as_str(), &good)).await.expect_err("no primary");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("refuses connections"), "{status:?}");
    hub.stop().await;
}

#[tokio::test]
async fn an_altered_answer_is_noticed() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let token = tree.invite(hour());
    let key = Key::generate().expect("a key");
    let request = key.certificate_request("lyon").expect("a request");
    let url = own_url();
    let parts: [&[u8]; 3] = [b"lyon", url.as_str().as_bytes(), &request];
    let proof = Statement::Join.prove(&token.secret_sha256(), &parts);
    let request = JoinRequest {
        node: "lyon".to_owned(),
        url: url.to_string(),
        proof: proof.into(),
        certificate_request: request.into(),
        ..JoinRequest::default()
    };
    let mut client = IdentityClient::new(tree.hub.channel(&tree.test, None, "hub"));
    // A node on the way that asks for a key of its own gets nothing.
    let mut stolen = request.clone();
    let thief = Key::generate().expect("a key");
    stolen.certificate_request = thief.certificate_request("lyon").expect("a request").into();
    let status = client.join(stolen).await.expect_err("not proven");
    assert_eq!(status.code(), Code::PermissionDenied);
    // One that puts a root of its own into the answer is found out.
    let mut answer = client.join(request).await.expect("joined").into_inner();
    answer.tuf_root = Bytes::from_static(b"{\"evil\":1}");
    assert!(matches!(join::check(&token, key, answer), Err(join::Error::Altered)));
    tree.stop().await;
}

#[tokio::test]
async fn only_the_node_and_those_above_it_renew() {
    let tree = Tree::start(Duration::from_secs(3600)).await;
    let lyon = tree.test.node("lyon");
    tree.join_everywhere("lyon", lyon.key().spki_sha256());
    let credentials = Credentials::new(&lyon).expect("credentials");
    let mut client = IdentityClient::new(tree.hub.channel(&tree.test, Some(credentials), "hub"));
    let own = lyon.key().certificate_request("lyon").expect("a request");
    let request = |node: &str, certificate_request: &[u8]| RenewRequest {
        node: node.to_owned(),
        certificate_request: certificate_request.to_vec().into(),
        user: String::new(),
        machine: String::new(),
    };
    client.renew(request("lyon", &own)).await.expect("renewed by way of the hub");
    let status = client.renew(request("hub", &own)).await.expect_err("not its business");
    assert_eq!(status.code(), Code::PermissionDenied);
    let stranger = Key::generate().expect("a key").certificate_request("lyon").expect("a request");
    let status = client.renew(request("lyon", &stranger)).await.expect_err("another key");
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = client.renew(request("lyon", b"hello")).await.expect_err("no request");
    assert_eq!(status.code(), Code::InvalidArgument);

    let mut anonymous = IdentityClient::new(tree.hub.channel(&tree.test, None, "hub"));
    let status = anonymous.renew(request("lyon", &own)).await.expect_err("no certificate");
    assert_eq!(status.code(), Code::Unauthenticated);
    tree.stop().await;
}

impl Tree {
    fn join_everywhere(&self, name: &str, key: Sha256) {
        for node in [&self.hq, &self.hub] {
            node.set_membership(name, Membership::Joined(key));
        }
    }
}
