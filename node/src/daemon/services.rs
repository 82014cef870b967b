//! The running node: its tasks, and the routes by which it is reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::admin::admin_server::AdminServer;
use patchmesh_proto::admin::alerts_server::AlertsServer;
use patchmesh_proto::admin::assessments_server::AssessmentsServer;
use patchmesh_proto::admin::backup_server::BackupServer;
use patchmesh_proto::admin::brakes_server::BrakesServer;
use patchmesh_proto::admin::compliance_server::ComplianceServer;
use patchmesh_proto::admin::lab_server::LabServer;
use patchmesh_proto::admin::links_server::LinksServer;
use patchmesh_proto::admin::machines_server::MachinesServer;
use patchmesh_proto::admin::networks_server::NetworksServer;
use patchmesh_proto::admin::parents_server::ParentsServer;
use patchmesh_proto::admin::people_server::PeopleServer;
use patchmesh_proto::admin::plans_server::PlansServer;
use patchmesh_proto::admin::policies_server::PoliciesServer;
use patchmesh_proto::admin::reboot_locks_server::RebootLocksServer;
use patchmesh_proto::admin::roles_server::RolesServer;
use patchmesh_proto::admin::rollouts_server::RolloutsServer;
use patchmesh_proto::admin::signatures_server::SignaturesServer;
use patchmesh_proto::admin::standbys_server::StandbysServer;
use patchmesh_proto::admin::subscriptions_server::SubscriptionsServer;
use patchmesh_proto::replication::records_server::RecordsServer;
use patchmesh_proto::replication::replication_server::ReplicationServer;
use patchmesh_proto::replication::succession_server::SuccessionServer;
use patchmesh_proto::report::reports_server::ReportsServer;
use patchmesh_topology::link::Class;
use patchmesh_topology::name::NodeName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::elsewhere::Elsewhere;
use super::near::Beside;
use super::served::{self, Blobs, Shop};
use super::upward::{self, Payloads};
use super::{End, Ending, Error, Layout, open, placement, primary};
use crate::alerts::Alerts;
use crate::brakes::Brakes;
use crate::brakes::below::Below;
use crate::budget::{self, Budget};
use crate::config::Settings;
use crate::content::{self, Content, Wanted};
use crate::generation::{Current, Generation, retention};
use crate::http;
use crate::identity::machines::Machines;
use crate::identity::policy::PeerPolicy;
use crate::identity::renewal::Renewal;
use crate::identity::sealed::Verifier;
use crate::identity::service::{self, Issuer};
use crate::identity::tls::Credentials;
use crate::inventories::Inventories;
use crate::legacy::Legacy;
use crate::pace::Pace;
use crate::primary::vendors::Vendors;
use crate::reboots::Reboots;
use crate::replicate::follow::Follower;
use crate::replicate::history::History;
use crate::replicate::own::OwnStatus;
use crate::replicate::status::Statuses;
use crate::replicate::{report, serve};
use crate::reports::intake::Intake;
use crate::reports::outbox::{Lane, Outbox};
use crate::reports::settle::settle;
use crate::reports::wake::Wake;
use crate::reports::{MAX_REQUEST as MAX_REPORTS, forward};
use crate::rpc::context::Context;
use crate::rpc::rights::Guard;
use crate::rpc::turns::take_turns;
use crate::rpc::{
    admin, alerts, assessments, backup, brakes, compliance, lab, links, machines, networks,
    parents, people, plans, policies, reboot_locks, reports, roles, rollouts, signatures, standbys,
    subscriptions,
};
use crate::scrub;
use crate::succession::{Ways, announce, records};
use crate::transport::server::Meters;
use crate::view::standing::Board;

/// Largest admin request: tens of thousands of revisions decided at once.
const MAX_ADMIN_REQUEST: usize = 16 << 20;

/// Bytes of a question of health, which anybody may ask: the name of a service.
const MAX_HEALTH_REQUEST: usize = 1 << 10;

/// The parts of a running node.
pub(super) struct Parts {
    context: Context,
    credentials: Arc<Credentials>,
    ca: rustls_pki_types::CertificateDer<'static>,
    issuer: Issuer,
    standing: compliance::Service,
    shop: Shop,
    blobs: Arc<Blobs>,
    ways: Ways,
    intake: Intake,
    verifier: Arc<Verifier>,
    wake: Wake,
    machines: Machines,
    stop: CancellationToken,
}

impl Parts {
    /// Starts everything but the listeners.
    pub(super) fn start(
        settings: &Settings,
        node: open::Node,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
        ending: &Ending,
    ) -> Result<Self, Error> {
        let open::Node { name, identity, store, generation, past_views, recovered_from } = node;
        let ca_pem: Arc<str> = identity.ca_pem().into();
        let ca = identity.ca().clone();
        let credentials = Credentials::new(&identity)?;
        let current = Current::new(generation.clone());
        let budget = Budget::new(settings.limit_down, settings.limit_up);
        let ways =
            Ways { ca: ca.clone(), credentials: credentials.clone(), budget: budget.clone() };
        let parents = upward::parents(&generation, &name, &ca, &credentials, &budget)?;
        let (source, sources) = watch::channel(None);
        let intake = content::Intake::new(budget.clone());
        spawn_until(
            tasks,
            stop,
            budget::follow(budget.clone(), name.clone(), current.watch_mesh()),
        );
        let content =
            Content::new(store.clone(), sources, settings.content_fetches, budget.clone());
        let alerts = Alerts::open(&store)?;
        let scrub = scrub::Progress::open(&content)?;
        let options = scrub::Options { rate: settings.scrub_rate, period: settings.scrub_period };
        tasks.spawn(scrub::run(content.clone(), options, scrub.clone(), stop.clone()));
        let (watching, telling) = (content.clone(), alerts.clone());
        spawn_until(tasks, stop, async move { watching.watch_room(telling).await });
        let (mending, telling) = (content.clone(), alerts.clone());
        spawn_until(tasks, stop, async move { mending.mend(telling).await });
        tasks.spawn(alerts.clone().keep(store.clone(), stop.clone()));
        let (brakes, below) = (Brakes::open(&store)?, Below::open(&store)?);
        let awaited = watch::Sender::default();
        let (legacy, inventories) = (Legacy::open(&store)?, Inventories::new(&store));
        let reboots = Reboots::open(&store)?;
        let machines = Machines::open(&store, Timestamp::now())?;
        // Before anybody is let in.
        machines.shut_out_all(generation.revocations.clone());
        spawn_until(tasks, stop, machines.clone().follow(current.clone()));
        let own = OwnStatus::new(
            name.clone(),
            current.clone(),
            content.clone(),
            alerts.clone(),
            brakes.clone(),
            awaited.subscribe(),
            credentials.clone(),
        );
        let (history, statuses) = (History::default(), Statuses::default());
        let verifier = Arc::new(Verifier::new(generation.mesh.id.clone(), ca.clone()));
        let mut primary = None;
        let taken: Intake;
        let issuer = match parents {
            None => {
                let parts = primary::start(
                    settings, &name, &store, &current, &content, &alerts, &statuses, tasks,
                    &machines, stop,
                )?;
                let vendors =
                    Vendors::new(current.clone(), parts.context.sources.clone(), store.clone());
                let ledger = parts.context.ledger.clone();
                let settling =
                    settle(store.clone(), verifier.clone(), ledger.clone(), stop.clone());
                tasks.spawn(settling);
                taken = Intake::Ledger(ledger);
                primary = Some(parts.context);
                let (others, watching) = (ways.clone(), current.clone());
                let (own_name, backing) = (name.clone(), store.clone());
                let (end, turn) = (ending.clone(), stop.clone());
                spawn_until(tasks, stop, async move {
                    let why = placement::superseded(&others, &own_name, &watching, &backing).await;
                    tracing::error!(
                        error = &why as &dyn std::error::Error,
                        "this node must not sign any more"
                    );
                    let _ = end.set(End::Superseded(why));
                    turn.cancel();
                });
                if generation.mesh.epoch > 0 {
                    tasks.spawn(announce::run(
                        ways.clone(),
                        name.clone(),
                        current.clone(),
                        statuses.clone(),
                        stop.clone(),
                    ));
                }
                let elsewhere = Elsewhere {
                    name: name.clone(),
                    ways: ways.clone(),
                    intake: intake.clone(),
                    current: current.clone(),
                    alerts: alerts.clone(),
                    earlier: placement::earlier(&ways, &intake, &generation, &recovered_from),
                    vendors,
                    conduct: std::sync::Mutex::default(),
                };
                source.send_replace(Some(Arc::new(elsewhere)));
                // A source is there for as long as the node runs.
                let kept = stop.clone();
                tasks.spawn(async move {
                    kept.cancelled().await;
                    drop(source);
                });
                Issuer::Here(parts.authority)
            }
            Some(parents) => {
                let source = Arc::new(source);
                let payloads = Payloads {
                    parents: parents.clone(),
                    intake: intake.clone(),
                    source: source.clone(),
                    alerts: alerts.clone(),
                };
                spawn_until(tasks, stop, payloads.offer());
                let (near, told) = watch::channel(BTreeSet::new());
                let beside = Beside {
                    name: name.clone(),
                    ways: ways.clone(),
                    intake: intake.clone(),
                    content: content.clone(),
                    current: current.clone(),
                    alerts: alerts.clone(),
                };
                spawn_until(tasks, stop, beside.keep(told));
                let channel = parents.channel()?;
                let follower = Follower {
                    name: name.clone(),
                    parents: parents.clone(),
                    channel: channel.clone(),
                    store: store.clone(),
                    current: current.clone(),
                    own: own.clone(),
                    history: history.clone(),
                    alerts: alerts.clone(),
                    retries: settings.retries,
                    poll_interval: settings.poll_interval,
                    near,
                };
                tasks.spawn(follower.run(stop.clone()));
                tasks.spawn(records::run(
                    channel.clone(),
                    name.clone(),
                    store.clone(),
                    current.clone(),
                    stop.clone(),
                ));
                let outbox = Outbox::open(&store, tasks, stop)?;
                for lane in Lane::ALL {
                    let passing = forward::run(outbox.clone(), lane, channel.clone(), stop.clone());
                    tasks.spawn(passing);
                }
                taken = Intake::Outbox(outbox);
                let reporting = channel.clone();
                let (kept, stop) = (store.clone(), stop.clone());
                tasks.spawn(retention::run(kept, name.clone(), current.clone(), stop.clone()));
                let heard = statuses.clone();
                let budget = budget.clone();
                let delays = move || budget.delays(&parents.current().name);
                tasks.spawn(report::run(own.clone(), heard, reporting, delays, stop.clone()));
                // A source is there for as long as the node runs.
                tasks.spawn(async move {
                    stop.cancelled().await;
                    drop(source);
                });
                Issuer::Above(channel)
            }
        };
        let (own_name, watching) = (name.clone(), current.clone());
        let (end, turn) = (ending.clone(), stop.clone());
        spawn_until(tasks, stop, async move {
            placement::moved(&own_name, &watching).await;
            let _ = end.set(End::Moved);
            turn.cancel();
        });
        let folder = Layout::new(&settings.data).identity();
        let renewal =
            Renewal::new(name.clone(), folder, identity, credentials.clone(), issuer.clone());
        tasks.spawn(renewal.run(stop.clone()));
        let ca_bytes = Bytes::copy_from_slice(ca_pem.as_bytes());
        let (board, wake) = (Board::default(), Wake::default());
        let facts = served::Facts {
            ca: ca_bytes,
            offline_grace: settings.offline_grace,
            board: board.clone(),
            alerts: alerts.clone(),
            brakes: brakes.clone(),
            readiness: content.readiness(),
            awaited,
            wake: wake.clone(),
        };
        let shop = Shop::new(&name, store.clone(), facts, generation, past_views);
        spawn_until(tasks, stop, shop.clone().follow(name.clone(), current.clone()));
        spawn_until(tasks, stop, want(content.clone(), name.clone(), current.clone()));
        let fetching = content.clone();
        spawn_until(tasks, stop, async move { fetching.run().await });
        tasks.spawn(legacy.clone().run(stop.clone()));
        let offline_grace = settings.offline_grace;
        let context = Context {
            name,
            current,
            store,
            content,
            statuses,
            history,
            own,
            brakes,
            below,
            inventories,
            reboots,
            legacy,
            alerts,
            scrub,
            offline_grace,
            board,
            ca_pem,
            primary,
        };
        if context.primary.is_some() {
            tasks.spawn(policies::automatic::run(context.clone(), stop.clone()));
        }
        let (intake, stop) = (taken, stop.clone());
        let above = match &issuer {
            Issuer::Here(_) => None,
            Issuer::Above(channel) => Some(channel.clone()),
        };
        let standing = compliance::Service::new(context.clone(), above);
        let pace = Arc::new(Pace::new(settings.limit_machines));
        let blobs = Arc::new(Blobs { content: context.content.clone(), pace });
        Ok(Self {
            context,
            credentials,
            ca,
            issuer,
            standing,
            shop,
            blobs,
            ways,
            intake,
            verifier,
            wake,
            machines,
            stop,
        })
    }

    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    pub(super) const fn identity_ca(&self) -> &rustls_pki_types::CertificateDer<'static> {
        &self.ca
    }

    pub(super) fn credentials(&self) -> Arc<Credentials> {
        self.credentials.clone()
    }

    /// What counts the connections of nodes.
    pub(super) fn meters(&self) -> Meters {
        let budget = self.ways.budget.clone();
        Arc::new(move |name| budget.meter(name))
    }

    /// Who is let in, by the mesh document of the moment.
    pub(super) fn policy(&self) -> PeerPolicy {
        PeerPolicy::new(self.context.current.watch_mesh()).knowing(self.machines.clone())
    }

    /// The open routes alone.
    pub(super) fn open_routes(&self) -> Router {
        http::router(Arc::new(self.shop.clone()), self.blobs.clone())
            .merge(http::legacy(self.context.legacy.clone()))
    }

    /// Everything: gRPC and the open routes.
    pub(super) async fn router(&self) -> Result<Router, Error> {
        let quarantine = compliance::quarantine::route(self.standing.clone(), self.guard());
        let context = &self.context;
        let locks = http::fleet_lock(context.reboots.clone(), context.current.clone());
        let routes = self.services().await?.merge(self.open_routes());
        Ok(routes.merge(quarantine).merge(locks))
    }

    fn guard(&self) -> Guard {
        Guard::new(self.context.name.clone(), self.context.current.watch_mesh())
    }

    /// The gRPC services behind the table of rights.
    pub(super) async fn services(&self) -> Result<Router, Error> {
        let context = &self.context;
        let offered = context.current.clone();
        let content = content::Server::new(context.content.clone(), move |digest| {
            offered.get().payload_length(digest)
        });
        let replication = serve::Service::new(
            context.current.clone(),
            context.store.clone(),
            content,
            context.statuses.clone(),
            context.below.clone(),
            self.stop.clone(),
        );
        let identity = service::Service::server(self.issuer.clone(), context.current.watch_mesh());
        let admin = AdminServer::new(admin::Service::new(context.clone()))
            .max_decoding_message_size(MAX_ADMIN_REQUEST)
            .max_encoding_message_size(usize::MAX);
        let succession = announce::Service::new(
            self.ways.clone(),
            context.name.clone(),
            context.store.clone(),
            context.current.clone(),
        );
        let records = records::Service::new(
            context.name.clone(),
            context.store.clone(),
            context.current.clone(),
        );
        let reported = reports::Service::new(
            context,
            self.intake.clone(),
            self.verifier.clone(),
            self.wake.clone(),
            self.stop.clone(),
        );
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<ReplicationServer<serve::Service>>().await;
        reporter.set_serving::<AdminServer<admin::Service>>().await;
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(patchmesh_proto::DESCRIPTORS)
        };
        let routes = Routes::new(health.max_decoding_message_size(MAX_HEALTH_REQUEST))
            .add_service(described().build_v1()?)
            .add_service(described().build_v1alpha()?)
            .add_service(
                ReplicationServer::new(replication).max_decoding_message_size(serve::MAX_REQUEST),
            )
            .add_service(SuccessionServer::new(succession))
            .add_service(
                RecordsServer::new(records).max_encoding_message_size(records::MAX_MESSAGE),
            )
            .add_service(LabServer::new(lab::Service::new(context.clone())))
            .add_service(BrakesServer::new(brakes::Service::new(context.clone())))
            .add_service(AlertsServer::new(alerts::Service::new(context.clone())))
            .add_service(LinksServer::new(links::Service::new(context.clone())))
            .add_service(RebootLocksServer::new(reboot_locks::Service::new(context.clone())))
            .add_service(NetworksServer::new(networks::Service::new(context.clone())))
            .add_service(MachinesServer::new(machines::Service::new(context.clone())))
            .add_service(
                ComplianceServer::new(self.standing.clone()).max_encoding_message_size(usize::MAX),
            )
            .add_service(
                // Room for what says how long the batches are.
                ReportsServer::new(reported).max_decoding_message_size(2 * MAX_REPORTS),
            )
            .add_service(PlansServer::new(plans::Service::new(context.clone())))
            .add_service(ParentsServer::new(parents::Service::new(context.clone())))
            .add_service(StandbysServer::new(standbys::Service::new(context.clone())))
            .add_service(identity)
            .add_service(admin)
            .add_service(PeopleServer::new(people::Service::new(context.clone())))
            .add_service(
                RolesServer::new(roles::Service::new(context.clone()))
                    .max_decoding_message_size(MAX_ADMIN_REQUEST),
            )
            .add_service(
                SignaturesServer::new(signatures::Service::new(context.clone()))
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(
                AssessmentsServer::new(assessments::Service::new(context.clone()))
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(SubscriptionsServer::new(subscriptions::Service::new(context.clone())))
            .add_service(
                PoliciesServer::new(policies::Service::new(context.clone()))
                    .max_decoding_message_size(MAX_ADMIN_REQUEST)
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(
                RolloutsServer::new(rollouts::Service::new(context.clone()))
                    .max_encoding_message_size(usize::MAX),
            )
            .add_service(BackupServer::new(backup::Service::new(context.clone())));
        Ok(self.guard().protect(take_turns(routes.into_axum_router())))
    }
}

/// Tells the content which payloads each generation calls for, and makes room
/// when the node's subscription, or one below it, has become narrower.
async fn want(content: Content, name: NodeName, current: Current) {
    let mut switches = current.watch();
    let mut carried = None;
    loop {
        let generation = switches.borrow_and_update().clone();
        let (of, asking) = (generation.clone(), name.clone());
        // A look at every approved revision takes a while where there are many.
        let found = tokio::task::spawn_blocking(move || wanted_of(&of, &asking)).await;
        let Ok(wanted) = found else {
            tracing::error!("payloads are fetched no more: restart this node");
            return;
        };
        content.set_wanted(generation.number, wanted);
        let now_carried = Some(generation.mesh.carried(&name));
        let has_changed = carried.is_some() && carried != now_carried;
        carried = now_carried;
        // The primary's store is the mesh's archive.
        if has_changed && generation.mesh.node(&name).is_some_and(|node| node.parent.is_some()) {
            release(&content, &name, &current).await;
        }
        if switches.changed().await.is_err() {
            return;
        }
    }
}

/// The payloads that `name` is to hold, with their classes.
fn wanted_of(generation: &Generation, name: &NodeName) -> Vec<Wanted> {
    let pressing = generation.pressing_payloads();
    let ahead = generation.mesh.link(name).ahead;
    let wanted = generation.wanted_payloads(name);
    let wanted = wanted.iter().map(|(digest, length)| {
        let class = if pressing.contains(digest) { Class::Critical } else { ahead };
        Wanted::new(*digest, *length).with_class(class)
    });
    wanted.collect()
}

async fn release(content: &Content, name: &NodeName, current: &Current) {
    let _turn = current.turn().await;
    let (generation, of) = (current.get(), name.clone());
    let store = content.store();
    match store.run(move |store| retention::release(store, &generation, &of)).await {
        Ok(removed) if removed.blobs > 0 => tracing::info!(
            blobs = removed.blobs,
            bytes = removed.bytes,
            "released what is no longer subscribed to"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(
            error = &error as &dyn std::error::Error,
            "what is no longer subscribed to could not be released; it goes within two hours"
        ),
    }
}

fn spawn_until(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    });
}
