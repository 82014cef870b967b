//! Which node a command talks to, and the connection to it.
//!
//! Without `--node` it is this host's own, over `DATA/admin.sock`, whose file
//! mode says who may. Another one is reached over mutual TLS with the user's
//! certificate, from a folder of credentials.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use patchmesh_proto::admin::admin_client::AdminClient;
use patchmesh_proto::admin::alerts_client::AlertsClient;
use patchmesh_proto::admin::assessments_client::AssessmentsClient;
use patchmesh_proto::admin::backup_client::BackupClient;
use patchmesh_proto::admin::brakes_client::BrakesClient;
use patchmesh_proto::admin::compliance_client::ComplianceClient;
use patchmesh_proto::admin::lab_client::LabClient;
use patchmesh_proto::admin::links_client::LinksClient;
use patchmesh_proto::admin::machines_client::MachinesClient;
use patchmesh_proto::admin::networks_client::NetworksClient;
use patchmesh_proto::admin::parents_client::ParentsClient;
use patchmesh_proto::admin::people_client::PeopleClient;
use patchmesh_proto::admin::plans_client::PlansClient;
use patchmesh_proto::admin::policies_client::PoliciesClient;
use patchmesh_proto::admin::reboot_locks_client::RebootLocksClient;
use patchmesh_proto::admin::roles_client::RolesClient;
use patchmesh_proto::admin::rollouts_client::RolloutsClient;
use patchmesh_proto::admin::signatures_client::SignaturesClient;
use patchmesh_proto::admin::standbys_client::StandbysClient;
use patchmesh_proto::admin::subscriptions_client::SubscriptionsClient;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::Global;
use super::exit::Exit;
use super::remote::book::Book;
use crate::identity::files::Identity;
use crate::identity::tls::{self, Credentials, Expected};
use crate::transport::address::{self, NodeUrl};
use crate::transport::channel as transport;

/// A client of some node's admin service.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, Deadline>>;

/// A client of its groups, baselines and rules.
pub(crate) type Policies = PoliciesClient<InterceptedService<Channel, Deadline>>;

/// A client of what it knows of machines.
pub(crate) type Compliance = ComplianceClient<InterceptedService<Channel, Deadline>>;
pub(crate) type Machines = MachinesClient<InterceptedService<Channel, Deadline>>;

/// A client of its lab.
pub(crate) type Lab = LabClient<InterceptedService<Channel, Deadline>>;

/// A client of its subscriptions.
pub(crate) type Rollouts = RolloutsClient<InterceptedService<Channel, Deadline>>;
pub(crate) type Subscriptions = SubscriptionsClient<InterceptedService<Channel, Deadline>>;

/// A client of some node's service for what revisions mean.
pub(crate) type Assessments = AssessmentsClient<InterceptedService<Channel, Deadline>>;

/// A client of some node's service for people.
pub(crate) type People = PeopleClient<InterceptedService<Channel, Deadline>>;

/// A client of what waits for signatures.
pub(crate) type Signatures = SignaturesClient<InterceptedService<Channel, Deadline>>;

/// A client of who holds the signed roles.
pub(crate) type Roles = RolesClient<InterceptedService<Channel, Deadline>>;

/// How long a node may take to begin its answer. Deciding on thousands of
/// revisions builds and signs views first, hence minutes.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// The largest answer taken: an approval set of 100,000 decisions.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The name of the local socket in a data folder.
const SOCKET: &str = "admin.sock";

/// Gives every call its deadline, which the node is told too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline;

impl Interceptor for Deadline {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.set_timeout(ANSWER_LIMIT);
        Ok(request)
    }
}

/// A node and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The node of this data folder.
    Local {
        /// The data folder.
        data: PathBuf,
    },
    /// A node anywhere.
    Remote {
        /// Its base URL.
        url: NodeUrl,
        /// The folder with the user's certificate and key and the mesh's CA.
        credentials: PathBuf,
    },
}

impl Target {
    /// The node that the options name.
    pub(crate) fn choose(global: &Global) -> anyhow::Result<Self> {
        match &global.node {
            None => Ok(Self::local(global.data.as_deref())),
            Some(node) => Self::named(node, global.credentials.as_deref()),
        }
    }

    fn local(data: Option<&Path>) -> Self {
        Self::Local { data: data.unwrap_or(Path::new(crate::config::DEFAULT_DATA)).to_owned() }
    }

    /// A remote by its name in the user's book, or by its URL.
    pub(crate) fn named(node: &str, credentials: Option<&Path>) -> anyhow::Result<Self> {
        let book = Book::load()?;
        if !node.contains("://") {
            let Some(remote) = book.remotes.get(node) else {
                return Err(Exit::NotFound.error(format!(
                    "no remote is called {node:?}; add it with `patchmesh remote add {node} --url URL --credentials FOLDER`"
                )));
            };
            let credentials = credentials.unwrap_or(&remote.credentials).to_owned();
            return Ok(Self::Remote { url: remote.url.clone(), credentials });
        }
        let url: NodeUrl =
            node.parse().map_err(|why: address::Error| Exit::Usage.error(why.to_string()))?;
        let known = book.remotes.into_values().find(|remote| remote.url == url);
        match credentials.map(Path::to_owned).or(known.map(|remote| remote.credentials)) {
            Some(credentials) => Ok(Self::Remote { url, credentials }),
            None => Err(Exit::Usage.error(format!(
                "nothing is known of {url}; name your credentials with --credentials FOLDER, or add it with `patchmesh remote add`"
            ))),
        }
    }
}

/// A client of a node's admin service; it connects with the first call.
pub(crate) fn admin(target: &Target) -> anyhow::Result<Admin> {
    let client = AdminClient::with_interceptor(channel(target)?, Deadline);
    Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of a node's service for what revisions mean, likewise.
pub(crate) fn assessments(target: &Target) -> anyhow::Result<Assessments> {
    let client = AssessmentsClient::with_interceptor(channel(target)?, Deadline);
    Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of a node's service for people.
pub(crate) fn people(target: &Target) -> anyhow::Result<People> {
    Ok(PeopleClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of what waits for signatures at a node.
pub(crate) fn signatures(target: &Target) -> anyhow::Result<Signatures> {
    Ok(SignaturesClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of who holds the signed roles, as a node knows it.
pub(crate) fn roles(target: &Target) -> anyhow::Result<Roles> {
    Ok(RolesClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of a node's backups. It sets no deadline: a first backup may copy
/// for hours, and says how it goes all the while.
pub(crate) fn backup(target: &Target) -> anyhow::Result<BackupClient<Channel>> {
    Ok(BackupClient::new(channel(target)?))
}

/// A client of a node's groups, baselines and rules; it connects with the first
/// call.
pub(crate) fn policies(target: &Target) -> anyhow::Result<Policies> {
    let client = PoliciesClient::with_interceptor(channel(target)?, Deadline);
    Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of a node's rollouts; it connects with the first call.
pub(crate) fn rollouts(target: &Target) -> anyhow::Result<Rollouts> {
    let client = RolloutsClient::with_interceptor(channel(target)?, Deadline);
    Ok(client.max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of a node's subscriptions; it connects with the first call.
pub(crate) fn subscriptions(target: &Target) -> anyhow::Result<Subscriptions> {
    Ok(SubscriptionsClient::with_interceptor(channel(target)?, Deadline))
}

/// A client of what a node knows of machines; it connects with the first call.
pub(crate) fn machines(target: &Target) -> anyhow::Result<Machines> {
    Ok(MachinesClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client of how machines stand; it connects with the first call.
pub(crate) fn compliance(target: &Target) -> anyhow::Result<Compliance> {
    Ok(ComplianceClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client for standbys.
pub(crate) fn standbys(
    target: &Target,
) -> anyhow::Result<StandbysClient<InterceptedService<Channel, Deadline>>> {
    Ok(StandbysClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for fallback parents.
pub(crate) fn parents(
    target: &Target,
) -> anyhow::Result<ParentsClient<InterceptedService<Channel, Deadline>>> {
    Ok(ParentsClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for link profiles.
pub(crate) fn links(
    target: &Target,
) -> anyhow::Result<LinksClient<InterceptedService<Channel, Deadline>>> {
    Ok(LinksClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for slots of machines that restart.
pub(crate) fn reboot_locks(
    target: &Target,
) -> anyhow::Result<RebootLocksClient<InterceptedService<Channel, Deadline>>> {
    Ok(RebootLocksClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client for networks.
pub(crate) fn networks(
    target: &Target,
) -> anyhow::Result<NetworksClient<InterceptedService<Channel, Deadline>>> {
    Ok(NetworksClient::with_interceptor(channel(target)?, Deadline)
        .max_decoding_message_size(MAX_ANSWER_BYTES))
}

/// A client for the lab.
pub(crate) fn lab(target: &Target) -> anyhow::Result<Lab> {
    Ok(LabClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for brakes.
pub(crate) fn brakes(
    target: &Target,
) -> anyhow::Result<BrakesClient<InterceptedService<Channel, Deadline>>> {
    Ok(BrakesClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for alerts.
pub(crate) fn alerts(
    target: &Target,
) -> anyhow::Result<AlertsClient<InterceptedService<Channel, Deadline>>> {
    Ok(AlertsClient::with_interceptor(channel(target)?, Deadline))
}

/// A client for plans of sources.
pub(crate) fn plans(
    target: &Target,
) -> anyhow::Result<PlansClient<InterceptedService<Channel, Deadline>>> {
    Ok(PlansClient::with_interceptor(channel(target)?, Deadline))
}

/// The way to a node; it connects with the first call.
pub(crate) fn channel(target: &Target) -> anyhow::Result<Channel> {
    match target {
        Target::Local { data } => local(data),
        Target::Remote { url, credentials } => remote(url, credentials),
    }
}

fn local(data: &Path) -> anyhow::Result<Channel> {
    if !data.is_dir() {
        return Err(Exit::NotFound.error(format!(
            "there is no data folder {}; name it with --data, or another node with --node",
            data.display()
        )));
    }
    Ok(transport::to_socket(&data.join(SOCKET)))
}

fn remote(url: &NodeUrl, credentials: &Path) -> anyhow::Result<Channel> {
    let identity = Identity::load(credentials)
        .with_context(|| format!("cannot use the credentials in {}", credentials.display()))?;
    let presented = Credentials::new(&identity)?;
    let tls = tls::client(identity.ca(), Some(presented), Expected::Host)?;
    Ok(transport::to_node(url, tls)?)
}
