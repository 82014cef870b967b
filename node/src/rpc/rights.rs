//! Who may call which gRPC method: one table, enforced in one place, before
//! any service sees a request. A method that is not in the table is refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use tokio::sync::watch;
use tonic::Status;

use crate::identity::peer::Peer;

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Anyone.
    Open,
    /// Nodes of the mesh.
    Node,
    /// Nodes whose parent is this node.
    Child,
    /// Users of the mesh, and the administrator of this host.
    User,
    /// Nodes, users, and the administrator of this host.
    Member,
    /// The administrator of this host alone.
    Host,
}

/// Every method of every service.
const RIGHTS: &[(&str, Right)] = &[
    ("/grpc.health.v1.Health/Check", Right::Open),
    ("/grpc.health.v1.Health/Watch", Right::Open),
    // What a node can do is about the mesh, so it is not for strangers.
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Right::Member),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Right::Member),
    // The token speaks for the caller.
    ("/patchmesh.identity.v1.Identity/Join", Right::Open),
    // The service checks besides that the caller may do so for that node.
    ("/patchmesh.identity.v1.Identity/Renew", Right::Node),
    ("/patchmesh.replication.v1.Replication/Watch", Right::Node),
    // Open over HTTPS too. A primary that was shut out learns of it so.
    ("/patchmesh.replication.v1.Replication/GetMetadata", Right::Open),
    ("/patchmesh.replication.v1.Replication/GetBlobs", Right::Node),
    ("/patchmesh.replication.v1.Replication/GetManifest", Right::Node),
    ("/patchmesh.replication.v1.Replication/GetPieces", Right::Node),
    // A node answers for its own subtree, so only children report to it.
    ("/patchmesh.replication.v1.Replication/ReportStatus", Right::Child),
    // It only says where to look; what is found there counts by its signatures.
    ("/patchmesh.replication.v1.Succession/Announce", Right::Node),
    // The service checks besides that the caller stands by for this node.
    ("/patchmesh.replication.v1.Records/GetRecords", Right::Child),
    ("/patchmesh.admin.v1.Standbys/SetStandby", Right::User),
    // It writes every private key to a folder of the caller's choice.
    ("/patchmesh.admin.v1.Backup/CreateBackup", Right::Host),
    ("/patchmesh.admin.v1.Admin/GetStatus", Right::User),
    ("/patchmesh.admin.v1.Admin/ListNodes", Right::User),
    ("/patchmesh.admin.v1.Admin/InviteNode", Right::User),
    ("/patchmesh.admin.v1.Admin/RevokeNode", Right::User),
    ("/patchmesh.admin.v1.Admin/AddSource", Right::User),
    ("/patchmesh.admin.v1.Admin/ListSources", Right::User),
    ("/patchmesh.admin.v1.Admin/SyncSource", Right::User),
    ("/patchmesh.admin.v1.Admin/ListUpdates", Right::User),
    ("/patchmesh.admin.v1.Admin/GetUpdate", Right::User),
    ("/patchmesh.admin.v1.Admin/Approve", Right::User),
    ("/patchmesh.admin.v1.Admin/Decline", Right::User),
    ("/patchmesh.admin.v1.Admin/Promote", Right::User),
    ("/patchmesh.admin.v1.Admin/WatchAvailability", Right::User),
    ("/patchmesh.admin.v1.Admin/GetApprovalSet", Right::User),
    ("/patchmesh.admin.v1.Admin/VerifyBlobs", Right::User),
    ("/patchmesh.admin.v1.Admin/GetClientConfig", Right::User),
    ("/patchmesh.admin.v1.Assessments/ImportFeed", Right::User),
    ("/patchmesh.admin.v1.Assessments/FetchFeed", Right::User),
    ("/patchmesh.admin.v1.Assessments/AddFeed", Right::User),
    ("/patchmesh.admin.v1.Assessments/ListFeeds", Right::User),
    ("/patchmesh.admin.v1.Assessments/RemoveFeed", Right::User),
    ("/patchmesh.admin.v1.Assessments/RefreshFeeds", Right::User),
    ("/patchmesh.admin.v1.Assessments/Judge", Right::User),
    ("/patchmesh.admin.v1.Assessments/GetAssessment", Right::User),
    ("/patchmesh.admin.v1.Assessments/ListWatched", Right::User),
    ("/patchmesh.admin.v1.Assessments/PublishAdvisory", Right::User),
    ("/patchmesh.admin.v1.Assessments/WithdrawAdvisory", Right::User),
    ("/patchmesh.admin.v1.Assessments/ListAdvisories", Right::User),
    ("/patchmesh.admin.v1.Assessments/GetAdvisory", Right::User),
    ("/patchmesh.admin.v1.Subscriptions/SubscribeNode", Right::User),
    ("/patchmesh.admin.v1.Subscriptions/SubscribeSource", Right::User),
    ("/patchmesh.admin.v1.Policies/ListGroups", Right::User),
    ("/patchmesh.admin.v1.Policies/AddGroup", Right::User),
    ("/patchmesh.admin.v1.Policies/SetGroup", Right::User),
    ("/patchmesh.admin.v1.Policies/RemoveGroup", Right::User),
    ("/patchmesh.admin.v1.Policies/ListBaselines", Right::User),
    ("/patchmesh.admin.v1.Policies/ImportBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/SnapshotBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/GetBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/DiffBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/RemoveBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/ApproveBaseline", Right::User),
    ("/patchmesh.admin.v1.Policies/ListRules", Right::User),
    ("/patchmesh.admin.v1.Policies/AddRule", Right::User),
    ("/patchmesh.admin.v1.Policies/RemoveRule", Right::User),
    ("/patchmesh.admin.v1.Policies/EnableRule", Right::User),
    ("/patchmesh.admin.v1.Policies/RunRules", Right::User),
    ("/patchmesh.admin.v1.Policies/PlanApproval", Right::User),
    ("/patchmesh.admin.v1.Policies/RetireSuperseded", Right::User),
];

/// The right that a method needs; `None` for what is no method of ours.
#[must_use]
pub fn right(path: &str) -> Option<Right> {
    RIGHTS.iter().find(|(method, _)| *method == path).map(|(_, right)| *right)
}

/// The table together with what it needs to know of the mesh.
#[derive(Debug, Clone)]
pub struct Guard {
    own: NodeName,
    mesh: watch::Receiver<Arc<Mesh>>,
}

impl Guard {
    /// A guard for this node.
    #[must_use]
    pub fn new(own: NodeName, mesh: watch::Receiver<Arc<Mesh>>) -> Self {
        Self { own, mesh }
    }

    /// Puts the guard before every route of a router of gRPC services.
    /// Whatever the router answered to unknown paths is dropped, so that HTTP
    /// routes can be merged with it.
    pub fn protect(self, services: Router) -> Router {
        services.reset_fallback().route_layer(from_fn_with_state(self, enforce))
    }

    fn check(&self, path: &str, peer: &Peer) -> Result<(), Status> {
        let Some(right) = right(path) else {
            return Err(Status::unimplemented("no such method, or this node is too old for it"));
        };
        let allowed = match (right, peer) {
            (Right::Open, _)
            | (Right::Node | Right::Member, Peer::Node(_))
            | (Right::User | Right::Member, Peer::User(_) | Peer::LocalUser)
            | (Right::Host, Peer::LocalUser) => true,
            (Right::Child, Peer::Node(name)) => self.is_child(name),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        tracing::debug!(%peer, path, "call refused");
        let wanted = match right {
            Right::Open => "anyone",
            Right::Node => "a node of the mesh",
            Right::Child => "a node whose parent is this node",
            Right::User => "a user of the mesh",
            Right::Member => "a node or user of the mesh",
            Right::Host => "the administrator of this host, over its local socket",
        };
        let text = format!("this call is for {wanted}; it came from {peer}");
        Err(match peer {
            Peer::Anonymous => Status::unauthenticated(text),
            _ => Status::permission_denied(text),
        })
    }

    fn is_child(&self, name: &NodeName) -> bool {
        let mesh = self.mesh.borrow();
        mesh.nodes.get(name).is_some_and(|node| node.parent.as_ref() == Some(&self.own))
    }
}

async fn enforce(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get().cloned().unwrap_or(Peer::Anonymous);
    match guard.check(request.uri().path(), &peer) {
        Ok(()) => next.run(request).await,
        Err(status) => status.into_http(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use patchmesh_topology::node::Membership;
    use prost::Message;

    use super::*;
    use crate::identity::testing::TestMesh;

    /// Every method of the compiled `.proto` files.
    fn methods(descriptors: &[u8]) -> BTreeSet<String> {
        let files = prost_types::FileDescriptorSet::decode(descriptors).expect("descriptors");
        let methods = files.file.iter().flat_map(|file| {
            file.service.iter().flat_map(move |service| {
                service.method.iter().map(move |method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                })
            })
        });
        methods.collect()
    }

    #[test]
    fn every_method_has_a_right_and_every_right_a_method() {
        let mut all = methods(patchmesh_proto::DESCRIPTORS);
        assert!(!all.is_empty());
        all.extend(methods(tonic_health::pb::FILE_DESCRIPTOR_SET));
        all.extend(methods(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET));
        all.extend(methods(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET));
        let rights: BTreeSet<_> = RIGHTS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(rights.len(), RIGHTS.len(), "a method stands twice");
        let missing: Vec<_> = all.difference(&rights).collect();
        assert!(missing.is_empty(), "no right for {missing:?}");
        let stale: Vec<_> = rights.difference(&all).collect();
        assert!(stale.is_empty(), "no method {stale:?}");
    }

    #[test]
    fn only_those_who_may_get_through() {
        let joined = Membership::Invited;
        let mesh = TestMesh::new().mesh(&[
            ("hq", None, joined),
            ("hub", Some("hq"), joined),
            ("lyon", Some("hub"), joined),
        ]);
        let (_sender, mesh) = watch::channel(Arc::new(mesh));
        let guard = Guard::new("hq".parse().expect("a name"), mesh);
        let node = |name: &str| Peer::Node(name.parse().expect("a name"));
        let user = Peer::User("admin".parse().expect("a name"));
        let code =
            |path: &str, peer: &Peer| guard.check(path, peer).map_err(|status| status.code()).err();
        let join = "/patchmesh.identity.v1.Identity/Join";
        let watch = "/patchmesh.replication.v1.Replication/Watch";
        let report = "/patchmesh.replication.v1.Replication/ReportStatus";
        let approve = "/patchmesh.admin.v1.Admin/Approve";
        let reflect = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        use tonic::Code::{PermissionDenied, Unauthenticated, Unimplemented};
        assert_eq!(code(join, &Peer::Anonymous), None);
        assert_eq!(code(watch, &Peer::Anonymous), Some(Unauthenticated));
        assert_eq!(code(watch, &node("lyon")), None);
        assert_eq!(code(watch, &user), Some(PermissionDenied));
        assert_eq!(code(report, &node("hub")), None);
        assert_eq!(code(report, &node("lyon")), Some(PermissionDenied));
        assert_eq!(code(approve, &user), None);
        assert_eq!(code(approve, &Peer::LocalUser), None);
        assert_eq!(code(approve, &node("hub")), Some(PermissionDenied));
        assert_eq!(code(reflect, &Peer::Anonymous), Some(Unauthenticated));
        assert_eq!(code(reflect, &node("lyon")), None);
        let backup = "/patchmesh.admin.v1.Backup/CreateBackup";
        assert_eq!(code(backup, &Peer::LocalUser), None);
        assert_eq!(code(backup, &user), Some(PermissionDenied));
        assert_eq!(code(backup, &node("hub")), Some(PermissionDenied));
        assert_eq!(code("/patchmesh.admin.v1.Admin/Nothing", &user), Some(Unimplemented));
    }
}
