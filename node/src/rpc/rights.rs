//! Who may call which gRPC method: one table, enforced in one place, before
//! any service sees a request. A method that is not in the table is refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use patchmesh_topology::name::{NodeName, Site, UserName};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::person::UserRole;
use tokio::sync::watch;
use tonic::Status;

use crate::identity::peer::Peer;

/// Who may call a method. The administrator of the host, on its local
/// socket, may call everything that people may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// Anyone.
    Open,
    /// Nodes of the mesh.
    Node,
    /// Nodes whose parent is this node, or for whose parent it stands in.
    Child,
    /// Nodes and people of the mesh, whatever they may do.
    Member,
    /// Machines, which may nothing else.
    Machine,
    /// Whoever has a certificate: nodes, people and machines.
    Certified,
    /// People of any role.
    Read,
    /// People of any role, and nodes whose parent is this node, or for whose parent
    /// it stands in.
    ReadBelow,
    /// Approvers. The service checks besides that the stage is theirs.
    Decide,
    /// Those who judge flaws.
    Judge,
    /// Those who run the mesh from day to day.
    Operate,
    /// Site administrators. The service checks besides that the node is
    /// theirs.
    Sites,
    /// Administrators.
    Administer,
    /// The administrator of the host alone.
    Host,
}

impl Right {
    /// Whether a person with that role may. Administrators may whatever
    /// people may; auditors read.
    #[must_use]
    pub const fn is_given_to(self, role: &UserRole) -> bool {
        match self {
            Self::Open | Self::Member | Self::Certified | Self::Read | Self::ReadBelow => true,
            Self::Node | Self::Child | Self::Machine | Self::Host => false,
            Self::Decide => matches!(role, UserRole::Administrator | UserRole::Approver(_)),
            Self::Judge => matches!(role, UserRole::Administrator | UserRole::Security),
            Self::Operate => matches!(role, UserRole::Administrator | UserRole::Operator),
            Self::Sites => {
                matches!(role, UserRole::Administrator | UserRole::SiteAdministrator(_))
            }
            Self::Administer => matches!(role, UserRole::Administrator),
        }
    }

    const fn wanted(self) -> &'static str {
        match self {
            Self::Open => "anyone",
            Self::Node => "a node of the mesh",
            Self::Child => "a node whose parent is this node",
            Self::Member => "a node or user of the mesh",
            Self::Machine => "a machine of the mesh",
            Self::Certified => "a node, user or machine of the mesh",
            Self::Read => "a user of the mesh",
            Self::ReadBelow => "a user of the mesh, or a node whose parent is this node",
            Self::Decide => "an approver",
            Self::Judge => "a user with the role security",
            Self::Operate => "an operator",
            Self::Sites => "a site administrator",
            Self::Administer => "an administrator",
            Self::Host => "the administrator of this node's own host, over its local socket",
        }
    }
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
    // The service checks besides that the caller may do so for that node, person
    // or machine.
    ("/patchmesh.identity.v1.Identity/Renew", Right::Certified),
    ("/patchmesh.report.v1.Reports/Greet", Right::Machine),
    // The service answers with documents that machines need and no others.
    ("/patchmesh.report.v1.Reports/GetDocuments", Right::Machine),
    ("/patchmesh.report.v1.Reports/GetBrakes", Right::Machine),
    ("/patchmesh.report.v1.Reports/Watch", Right::Machine),
    ("/patchmesh.report.v1.Reports/OfferInventory", Right::Machine),
    ("/patchmesh.report.v1.Reports/PutInventory", Right::Machine),
    // The service checks besides that each batch is the caller's own.
    ("/patchmesh.report.v1.Reports/Report", Right::Machine),
    ("/patchmesh.report.v1.Reports/ReportRolledUp", Right::Machine),
    // What it brings counts by the machines' signatures.
    ("/patchmesh.report.v1.Reports/Relay", Right::Child),
    ("/patchmesh.report.v1.Reports/RelayRolledUp", Right::Child),
    ("/patchmesh.admin.v1.Machines/CreateMachineToken", Right::Operate),
    ("/patchmesh.admin.v1.Machines/ListMachines", Right::Read),
    ("/patchmesh.admin.v1.Machines/GetMachine", Right::Read),
    ("/patchmesh.admin.v1.Machines/GetInventory", Right::Read),
    ("/patchmesh.admin.v1.Machines/FindPackage", Right::Read),
    ("/patchmesh.admin.v1.Machines/RevokeMachine", Right::Operate),
    ("/patchmesh.admin.v1.Machines/SummarizeReports", Right::Read),
    ("/patchmesh.admin.v1.Machines/ListLegacyStatus", Right::Read),
    ("/patchmesh.admin.v1.Machines/ImportLegacyStatus", Right::Operate),
    // The service checks besides that a child asks about the sites below it alone.
    ("/patchmesh.admin.v1.Compliance/SummarizeCompliance", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/ListVerdicts", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/JudgeMachine", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/ListFailures", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/SummarizePatchTimes", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/FindVulnerable", Right::ReadBelow),
    ("/patchmesh.admin.v1.Compliance/AgeExceptions", Right::ReadBelow),
    ("/patchmesh.replication.v1.Replication/Watch", Right::Node),
    // Open over HTTPS too. A primary that was shut out learns of it so.
    ("/patchmesh.replication.v1.Replication/GetMetadata", Right::Open),
    ("/patchmesh.replication.v1.Replication/GetBlobs", Right::Node),
    ("/patchmesh.replication.v1.Replication/GetManifest", Right::Node),
    ("/patchmesh.replication.v1.Replication/Transfer", Right::Node),
    // A node answers for its own subtree, so only children report to it.
    ("/patchmesh.replication.v1.Replication/ReportStatus", Right::Child),
    // It only says where to look; what is found there counts by its signatures.
    ("/patchmesh.replication.v1.Succession/Announce", Right::Node),
    // The service checks besides that the caller stands by for this node.
    ("/patchmesh.replication.v1.Records/GetRecords", Right::Child),
    ("/patchmesh.admin.v1.Standbys/SetStandby", Right::Administer),
    ("/patchmesh.admin.v1.Parents/SetFallbackParents", Right::Sites),
    // It writes every private key to a folder of the caller's choice.
    ("/patchmesh.admin.v1.Backup/CreateBackup", Right::Host),
    ("/patchmesh.admin.v1.Alerts/ListAlerts", Right::Read),
    ("/patchmesh.admin.v1.Admin/GetStatus", Right::Read),
    ("/patchmesh.admin.v1.Admin/ListNodes", Right::Read),
    ("/patchmesh.admin.v1.Admin/InviteNode", Right::Sites),
    ("/patchmesh.admin.v1.Admin/RevokeNode", Right::Sites),
    ("/patchmesh.admin.v1.Admin/AddSource", Right::Operate),
    ("/patchmesh.admin.v1.Admin/ListSources", Right::Read),
    ("/patchmesh.admin.v1.Plans/PlanSource", Right::Operate),
    ("/patchmesh.admin.v1.Admin/SyncSource", Right::Operate),
    ("/patchmesh.admin.v1.Admin/ListUpdates", Right::Read),
    ("/patchmesh.admin.v1.Admin/GetUpdate", Right::Read),
    ("/patchmesh.admin.v1.Admin/Approve", Right::Decide),
    ("/patchmesh.admin.v1.Admin/Decline", Right::Decide),
    ("/patchmesh.admin.v1.Admin/Promote", Right::Decide),
    ("/patchmesh.admin.v1.Admin/WatchAvailability", Right::Read),
    ("/patchmesh.admin.v1.Admin/GetApprovalSet", Right::Read),
    ("/patchmesh.admin.v1.Admin/VerifyBlobs", Right::Operate),
    ("/patchmesh.admin.v1.Admin/GetClientConfig", Right::Read),
    ("/patchmesh.admin.v1.People/InviteUser", Right::Administer),
    ("/patchmesh.admin.v1.People/ListUsers", Right::Read),
    ("/patchmesh.admin.v1.People/RevokeUser", Right::Administer),
    ("/patchmesh.admin.v1.Signatures/ListPending", Right::Read),
    ("/patchmesh.admin.v1.Signatures/GetPending", Right::Read),
    // Whose signature counts is for the metadata to say.
    ("/patchmesh.admin.v1.Signatures/SignPending", Right::Decide),
    ("/patchmesh.admin.v1.Signatures/WithdrawPending", Right::Decide),
    ("/patchmesh.admin.v1.Roles/GetRoles", Right::Read),
    ("/patchmesh.admin.v1.Roles/PrepareRoles", Right::Administer),
    // The signatures of the root key speak for it.
    ("/patchmesh.admin.v1.Roles/PublishRoles", Right::Administer),
    ("/patchmesh.admin.v1.Roles/ReloadKeys", Right::Host),
    ("/patchmesh.admin.v1.Subscriptions/SubscribeNode", Right::Operate),
    ("/patchmesh.admin.v1.Subscriptions/SubscribeSource", Right::Operate),
    ("/patchmesh.admin.v1.Links/SetLink", Right::Operate),
    ("/patchmesh.admin.v1.Links/UnsetLink", Right::Operate),
    ("/patchmesh.admin.v1.Links/ListLinks", Right::Read),
    ("/patchmesh.admin.v1.Networks/SetNetwork", Right::Administer),
    ("/patchmesh.admin.v1.Networks/RemoveNetwork", Right::Administer),
    ("/patchmesh.admin.v1.Networks/ListNetworks", Right::Read),
    // The service checks besides that this node's site is theirs.
    ("/patchmesh.admin.v1.RebootLocks/ListRebootSlots", Right::Read),
    ("/patchmesh.admin.v1.RebootLocks/ReleaseRebootSlot", Right::Sites),
    ("/patchmesh.admin.v1.Brakes/PullBrake", Right::Sites),
    ("/patchmesh.admin.v1.Brakes/ReleaseBrake", Right::Sites),
    ("/patchmesh.admin.v1.Brakes/ListBrakes", Right::Read),
    ("/patchmesh.admin.v1.Brakes/AskBrake", Right::Operate),
    ("/patchmesh.admin.v1.Brakes/WithdrawBrakeAsk", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/CheckRollout", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/EnterRollout", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/OrderRollout", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ReleaseWave", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ListRollouts", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/ExplainSite", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/AddFreeze", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/RemoveFreeze", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ListFreezes", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/GiveGoAhead", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/WithdrawGoAhead", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ListGoAheads", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/SetSiteGroup", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/RemoveSiteGroup", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ListSiteGroups", Right::Read),
    ("/patchmesh.admin.v1.Rollouts/AddException", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/RemoveException", Right::Operate),
    ("/patchmesh.admin.v1.Rollouts/ListExceptions", Right::Read),
    // The service checks besides that validation is theirs.
    ("/patchmesh.admin.v1.Lab/AddLabResults", Right::Decide),
    ("/patchmesh.admin.v1.Lab/ResolveLabFailures", Right::Decide),
    ("/patchmesh.admin.v1.Lab/ListLabResults", Right::Read),
    ("/patchmesh.admin.v1.Lab/GetEvidence", Right::Read),
    ("/patchmesh.admin.v1.Lab/GetPromotionPolicy", Right::Read),
    ("/patchmesh.admin.v1.Lab/SetPromotionPolicy", Right::Administer),
    // The service checks besides that production is theirs, that both are people
    // with names, and that who consents did not ask.
    ("/patchmesh.admin.v1.Lab/AskOverride", Right::Decide),
    ("/patchmesh.admin.v1.Lab/ConsentOverride", Right::Decide),
    ("/patchmesh.admin.v1.Lab/ListOverrides", Right::Read),
    ("/patchmesh.admin.v1.Policies/ListGroups", Right::Read),
    ("/patchmesh.admin.v1.Policies/AddGroup", Right::Administer),
    ("/patchmesh.admin.v1.Policies/SetGroup", Right::Administer),
    ("/patchmesh.admin.v1.Policies/RemoveGroup", Right::Administer),
    ("/patchmesh.admin.v1.Policies/ListBaselines", Right::Read),
    ("/patchmesh.admin.v1.Policies/ImportBaseline", Right::Operate),
    ("/patchmesh.admin.v1.Policies/SnapshotBaseline", Right::Operate),
    ("/patchmesh.admin.v1.Policies/GetBaseline", Right::Read),
    ("/patchmesh.admin.v1.Policies/DiffBaseline", Right::Read),
    ("/patchmesh.admin.v1.Policies/RemoveBaseline", Right::Operate),
    ("/patchmesh.admin.v1.Policies/ApproveBaseline", Right::Decide),
    ("/patchmesh.admin.v1.Policies/ListRules", Right::Read),
    ("/patchmesh.admin.v1.Policies/AddRule", Right::Decide),
    ("/patchmesh.admin.v1.Policies/RemoveRule", Right::Decide),
    ("/patchmesh.admin.v1.Policies/EnableRule", Right::Decide),
    ("/patchmesh.admin.v1.Policies/RunRules", Right::Decide),
    ("/patchmesh.admin.v1.Policies/PlanApproval", Right::Read),
    ("/patchmesh.admin.v1.Policies/RetireSuperseded", Right::Decide),
    ("/patchmesh.admin.v1.Assessments/ImportFeed", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/FetchFeed", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/AddFeed", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/ListFeeds", Right::Read),
    ("/patchmesh.admin.v1.Assessments/RemoveFeed", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/RefreshFeeds", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/Judge", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/GetAssessment", Right::Read),
    ("/patchmesh.admin.v1.Assessments/ListWatched", Right::Read),
    ("/patchmesh.admin.v1.Assessments/PublishAdvisory", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/WithdrawAdvisory", Right::Judge),
    ("/patchmesh.admin.v1.Assessments/ListAdvisories", Right::Read),
    ("/patchmesh.admin.v1.Assessments/GetAdvisory", Right::Read),
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
        self.allow(right, path, peer)
    }

    /// Whether a caller has a right; `path` is what it asks for.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a certificate, else `PERMISSION_DENIED`.
    pub fn allow(&self, right: Right, path: &str, peer: &Peer) -> Result<(), Status> {
        let allowed = match (right, peer) {
            (Right::Open, _)
            | (Right::Node | Right::Member | Right::Certified, Peer::Node(_))
            | (Right::Machine | Right::Certified, Peer::Machine(_)) => true,
            (Right::Child | Right::ReadBelow, Peer::Node(name)) => self.is_child(name),
            (Right::Node | Right::Child | Right::Machine, _) | (_, Peer::Machine(_)) => false,
            (_, Peer::LocalUser) => true,
            (_, Peer::User(name)) => self.is_given(right, name),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        tracing::debug!(%peer, path, "call refused");
        let wanted = right.wanted();
        let text = format!("this call is for {wanted}; it came from {peer}");
        Err(match peer {
            Peer::Anonymous => Status::unauthenticated(text),
            _ => Status::permission_denied(text),
        })
    }

    fn is_given(&self, right: Right, name: &UserName) -> bool {
        let mesh = self.mesh.borrow();
        mesh.users.get(name).is_some_and(|user| user.has(|role| right.is_given_to(role)))
    }

    fn is_child(&self, name: &NodeName) -> bool {
        let mesh = self.mesh.borrow();
        mesh.nodes.get(name).is_some_and(|node| node.parents().any(|one| *one == self.own))
    }
}

/// Refuses a decision on a stage by somebody who is no approver of it.
///
/// # Errors
/// `PERMISSION_DENIED`.
pub fn check_stage(mesh: &Mesh, peer: &Peer, stage: Stage) -> Result<(), Status> {
    let allowed = match peer {
        Peer::LocalUser => true,
        Peer::User(name) => mesh.users.get(name).is_some_and(|user| user.decides(stage)),
        Peer::Node(_) | Peer::Machine(_) | Peer::Anonymous => false,
    };
    let text = || format!("decisions on {stage} are for its approvers; this came from {peer}");
    if allowed { Ok(()) } else { Err(Status::permission_denied(text())) }
}

/// Refuses letting a node in or out at `site` by somebody who does not
/// administer it.
///
/// # Errors
/// `PERMISSION_DENIED`.
pub fn check_site(mesh: &Mesh, peer: &Peer, site: &Site) -> Result<(), Status> {
    let allowed = match peer {
        Peer::LocalUser => true,
        Peer::User(name) => mesh.users.get(name).is_some_and(|user| user.administers(site)),
        Peer::Node(_) | Peer::Machine(_) | Peer::Anonymous => false,
    };
    let text = || format!("nodes at {site} are for its site administrators; this came from {peer}");
    if allowed { Ok(()) } else { Err(Status::permission_denied(text())) }
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
    use patchmesh_topology::person::User;
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

    /// A mesh with a person of each role, named after it.
    fn peopled() -> Mesh {
        let joined = Membership::Invited;
        let mut mesh = TestMesh::new().mesh(&[
            ("hq", None, joined),
            ("hub", Some("hq"), joined),
            ("lyon", Some("hub"), joined),
        ]);
        let key = patchmesh_topology::digest::Sha256::from_bytes([1; 32]);
        for (name, role) in PEOPLE {
            let name: UserName = name.parse().expect("a name");
            let roles = BTreeSet::from([role.parse().expect("a role")]);
            let user = User { roles, ..User::administrator(name.clone(), key) };
            mesh.users.insert(name, user);
        }
        let name: UserName = "gone".parse().expect("a name");
        let user = User::administrator(name.clone(), key);
        mesh.users.insert(name, User { membership: Membership::Revoked, ..user });
        mesh
    }

    const PEOPLE: [(&str, &str); 6] = [
        ("admin", "administrator"),
        ("security", "security"),
        ("approver", "approver:production"),
        ("operator", "operator"),
        ("site", "site-administrator:emea/fr"),
        ("auditor", "auditor"),
    ];

    /// Every role against every method: what the documentation promises.
    #[test]
    fn every_role_may_what_it_is_for_and_nothing_else() {
        let (_sender, mesh) = watch::channel(Arc::new(peopled()));
        let guard = Guard::new("hq".parse().expect("a name"), mesh);
        let people: Vec<_> = PEOPLE.iter().map(|(name, _)| *name).collect();
        let mut seen = BTreeSet::new();
        for (path, right) in RIGHTS {
            let expected: &[&str] = match right {
                Right::Open | Right::Member | Right::Certified | Right::Read | Right::ReadBelow => {
                    &people
                }
                Right::Node | Right::Child | Right::Machine | Right::Host => &[],
                Right::Decide => &["admin", "approver"],
                Right::Judge => &["admin", "security"],
                Right::Operate => &["admin", "operator"],
                Right::Sites => &["admin", "site"],
                Right::Administer => &["admin"],
            };
            let may: Vec<_> = people
                .iter()
                .filter(|name| {
                    guard.check(path, &Peer::User(name.parse().expect("a name"))).is_ok()
                })
                .copied()
                .collect();
            assert_eq!(may, expected, "{path}");
            let is_for_people = !matches!(right, Right::Node | Right::Child | Right::Machine);
            assert_eq!(guard.check(path, &Peer::LocalUser).is_ok(), is_for_people, "{path}");
            for name in ["gone", "nobody"] {
                let peer = Peer::User(name.parse().expect("a name"));
                assert_eq!(guard.check(path, &peer).is_ok(), *right == Right::Open, "{path}");
            }
            let anonymous = guard.check(path, &Peer::Anonymous).is_ok();
            assert_eq!(anonymous, *right == Right::Open, "{path}");
            seen.insert(format!("{right:?}"));
        }
        assert!(seen.contains("Decide") && seen.contains("Administer") && seen.contains("Host"));
        // What an auditor may is exactly what only reads.
        let writes = ["Invite", "Revoke", "Add", "Sync", "Approve", "Decline", "Promote", "Sign"];
        for (path, right) in RIGHTS.iter().filter(|(path, _)| path.contains("patchmesh.admin")) {
            let method = path.rsplit('/').next().unwrap_or_default();
            let changes = writes.iter().any(|verb| method.starts_with(verb));
            let reads = matches!(right, Right::Read | Right::ReadBelow);
            assert!(!(changes && reads), "{path} changes something");
        }
    }

    /// A machine reports and renews. Whatever else there is it may not.
    #[test]
    fn a_machine_may_report_and_nothing_else() {
        let (_sender, mesh) = watch::channel(Arc::new(peopled()));
        let guard = Guard::new("hq".parse().expect("a name"), mesh);
        // One that is called like a node and a user that may everything.
        for name in ["pc-1", "hub", "hq", "admin"] {
            let machine = Peer::Machine(name.parse().expect("a name"));
            let may = |right: Right| {
                RIGHTS
                    .iter()
                    .filter(move |(_, one)| *one != right)
                    .filter(|(path, _)| guard.check(path, &machine).is_ok())
                    .map(|(path, _)| *path)
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                may(Right::Open),
                [
                    "/patchmesh.identity.v1.Identity/Renew",
                    "/patchmesh.report.v1.Reports/Greet",
                    "/patchmesh.report.v1.Reports/GetDocuments",
                    "/patchmesh.report.v1.Reports/GetBrakes",
                    "/patchmesh.report.v1.Reports/Watch",
                    "/patchmesh.report.v1.Reports/OfferInventory",
                    "/patchmesh.report.v1.Reports/PutInventory",
                    "/patchmesh.report.v1.Reports/Report",
                    "/patchmesh.report.v1.Reports/ReportRolledUp",
                ]
            );
        }
        let report = "/patchmesh.report.v1.Reports/Report";
        for peer in [
            Peer::LocalUser,
            Peer::Anonymous,
            Peer::Node("hub".parse().expect("a name")),
            Peer::User("admin".parse().expect("a name")),
        ] {
            assert!(guard.check(report, &peer).is_err(), "{peer}");
        }
        let mesh = peopled();
        let machine = Peer::Machine("admin".parse().expect("a name"));
        assert!(check_stage(&mesh, &machine, Stage::Production).is_err());
        assert!(check_site(&mesh, &machine, &"emea".parse().expect("a site")).is_err());
    }

    #[test]
    fn a_stage_and_a_site_are_for_their_own() {
        let mesh = peopled();
        let user = |name: &str| Peer::User(name.parse().expect("a name"));
        let stage = |name: &str, stage| check_stage(&mesh, &user(name), stage).is_ok();
        assert!(stage("approver", Stage::Production) && !stage("approver", Stage::Validation));
        assert!(stage("admin", Stage::Validation) && !stage("gone", Stage::Validation));
        assert!(!stage("auditor", Stage::Production));
        let site = |name: &str, site: &str| {
            check_site(&mesh, &user(name), &site.parse().expect("a site")).is_ok()
        };
        assert!(site("site", "emea/fr/lyon") && !site("site", "emea") && !site("site", "apac"));
        assert!(site("admin", "apac") && !site("operator", "emea/fr"));
        let hub = Peer::Node("hub".parse().expect("a name"));
        assert!(check_stage(&mesh, &hub, Stage::Production).is_err());
        assert!(check_site(&mesh, &Peer::LocalUser, &"apac".parse().expect("a site")).is_ok());
    }

    #[test]
    fn only_those_who_may_get_through() {
        let mesh = peopled();
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
        let stand = "/patchmesh.admin.v1.Compliance/SummarizeCompliance";
        use tonic::Code::{PermissionDenied, Unauthenticated, Unimplemented};
        assert_eq!(code(join, &Peer::Anonymous), None);
        assert_eq!(code(watch, &Peer::Anonymous), Some(Unauthenticated));
        assert_eq!(code(watch, &node("lyon")), None);
        assert_eq!(code(watch, &user), Some(PermissionDenied));
        assert_eq!(code(report, &node("hub")), None);
        assert_eq!(code(report, &node("lyon")), Some(PermissionDenied));
        assert_eq!(code(stand, &node("hub")), None);
        assert_eq!(code(stand, &node("lyon")), Some(PermissionDenied));
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
