//! Machines and what they reported, as the primary knows them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::machines_server::Machines;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::name::{GroupName, MachineName, NodeName, Site};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::tally::{Area, Count, Outcome, Tallies};
use tonic::{Code, Request, Response, Status};

use super::blocking;
use super::context::Context;
use super::inventories;
use super::known;
use super::legacy;
use super::status::{Refusal as _, check_comment, field, internal, some};
use crate::identity::machine_token::MachineToken;
use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::primary::revocations;
use crate::reports::held::Held;
use crate::reports::ledger::records::{MACHINES, MachineRecord, REVOKED, RevokedRecord, words_of};
use crate::reports::ledger::{Ledger, NewToken, Refusal};
use crate::store;

/// In nanoseconds.
const SECOND: u32 = 1_000_000_000;
/// The life of a token unless asked otherwise.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24 * 7);
/// The longest life of a token.
const TOKEN_LIFE_LIMIT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Machines that a token lets in at most.
const MAX_USES: u32 = 100_000;
/// Machines of a page unless asked otherwise, and at most.
const PAGE: (u32, u32) = (100, 1000);
/// Rows of a summary at most.
const MAX_ROWS: usize = 10_000;

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Serves `node`.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }

    fn ledger(&self) -> Result<&Ledger, Status> {
        Ok(&self.node.primary()?.ledger)
    }

    /// Tells nodes that a machine was shut out. Returns in a later second than that in which
    /// it was: certificates know no less, and one that is issued after this answer counts.
    async fn tell_nodes(&self, machine: &MachineName) -> Result<(), Status> {
        let primary = self.node.primary()?;
        let told = revocations::tell(&primary.publisher, &primary.ledger).await;
        let rest = SECOND.saturating_sub(Timestamp::now().subsec_nanosecond().unsigned_abs());
        tokio::time::sleep(Duration::from_nanos(rest.into())).await;
        told.map_err(|error| {
            let why = in_one_line(&error);
            tracing::error!(%machine, why, "nodes are not told that a machine was revoked");
            Status::internal(format!(
                "machine {machine} is revoked here, and other nodes could not be told yet: {why}; it is tried again every minute"
            ))
        })
    }
}

impl super::status::Refusal for Refusal {
    fn code(&self) -> Code {
        match self {
            Self::Group(_) | Self::NoMachine(_) => Code::NotFound,
            Self::TooMany => Code::ResourceExhausted,
            Self::NotAMachine => Code::InvalidArgument,
            Self::Store(_) => Code::Internal,
            Self::Stopped => Code::Unavailable,
            _ => Code::PermissionDenied,
        }
    }
}

/// The status of a refusal.
#[must_use]
pub fn refused(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Store(_) => internal(refusal),
        _ => Status::new(refusal.code(), in_one_line(refusal)),
    }
}

#[tonic::async_trait]
impl Machines for Service {
    async fn create_machine_token(
        &self,
        request: Request<wire::CreateMachineTokenRequest>,
    ) -> Result<Response<wire::CreateMachineTokenResponse>, Status> {
        let by = Peer::of(&request);
        let request = request.into_inner();
        let primary = self.node.primary()?;
        let group: GroupName = request.group.parse().map_err(|error| field("group", &error))?;
        let uses = request.uses.max(1);
        if uses > MAX_USES {
            return Err(field("uses", &format!("a token lets in at most {MAX_USES} machines")));
        }
        let life = life(request.valid_seconds)?;
        let mesh = self.node.generation().mesh.clone();
        let via = match request.via.as_str() {
            "" => self.node.name.clone(),
            via => via.parse::<NodeName>().map_err(|error| field("via", &error))?,
        };
        let asked = mesh.node(&via).filter(|node| node.is_joined()).ok_or_else(|| {
            Status::not_found(format!("there is no node {via} that has joined, to ask"))
        })?;
        let expires_at = Timestamp::now() + life;
        let token = MachineToken::new(
            mesh.id.clone(),
            group.clone(),
            primary.ca_sha256,
            &asked.url,
            expires_at,
        )
        .map_err(|error| internal(&error))?;
        let order = NewToken {
            id: token.id.clone(),
            group: group.clone(),
            via,
            secret_sha256: token.secret.sha256(),
            life,
            uses,
            by: by.to_string(),
        };
        primary.ledger.make_token(order).await.map_err(|refusal| refused(&refusal))?;
        tracing::info!(%group, uses, %by, "token for machines made");
        Ok(Response::new(wire::CreateMachineTokenResponse {
            token: token.encode(),
            expires_at: Some(timestamp_to_wire(expires_at)),
            uses,
        }))
    }

    async fn list_machines(
        &self,
        request: Request<wire::ListMachinesRequest>,
    ) -> Result<Response<wire::ListMachinesResponse>, Status> {
        let request = request.into_inner();
        let ledger = self.ledger()?.clone();
        let size = match request.page_size {
            0 => PAGE.0,
            size => size.min(PAGE.1),
        };
        let (site, group) = area(&request.site, &request.group)?;
        let mesh = self.node.generation().mesh.clone();
        let total = ledger.read(|tallies| {
            let area = Area { site: site.as_ref(), group: group.as_ref() };
            known::check_area(&mesh, tallies, area).map(|()| tallies.known(area))
        })?;
        let after = request.after;
        let (machines, next) =
            blocking(move || page(ledger.store(), &after, size as usize, site, group)).await?;
        Ok(Response::new(wire::ListMachinesResponse { machines, after: next, total }))
    }

    async fn get_machine(
        &self,
        request: Request<wire::GetMachineRequest>,
    ) -> Result<Response<wire::GetMachineResponse>, Status> {
        let name = request.into_inner().name;
        let name: MachineName = name.parse().map_err(|error| field("name", &error))?;
        let (store, asked) = (self.ledger()?.store().clone(), name.clone());
        let found = blocking(move || story(&store, &asked)).await?;
        found.map(Response::new).ok_or_else(|| refused(&Refusal::NoMachine(name)))
    }

    async fn revoke_machine(
        &self,
        request: Request<wire::RevokeMachineRequest>,
    ) -> Result<Response<wire::RevokeMachineResponse>, Status> {
        let by = Peer::of(&request);
        let wire::RevokeMachineRequest { name, comment } = request.into_inner();
        let ledger = self.ledger()?;
        let name: MachineName = name.parse().map_err(|error| field("name", &error))?;
        check_comment(&comment)?;
        tracing::warn!(machine = %name, %by, comment, "machine revoked");
        let revoked = ledger.revoke(name.clone(), by.to_string(), comment).await;
        revoked.map_err(|refusal| refused(&refusal))?;
        self.tell_nodes(&name).await?;
        Ok(Response::new(wire::RevokeMachineResponse {}))
    }

    async fn get_inventory(
        &self,
        request: Request<wire::GetInventoryRequest>,
    ) -> Result<Response<wire::GetInventoryResponse>, Status> {
        inventories::of(&self.node, &request.get_ref().name).await.map(Response::new)
    }

    async fn find_package(
        &self,
        request: Request<wire::FindPackageRequest>,
    ) -> Result<Response<wire::FindPackageResponse>, Status> {
        inventories::find(&self.node, request.into_inner().name).await.map(Response::new)
    }

    async fn list_legacy_status(
        &self,
        request: Request<wire::ListLegacyStatusRequest>,
    ) -> Result<Response<wire::ListLegacyStatusResponse>, Status> {
        Ok(Response::new(legacy::list(&self.node, request.get_ref())))
    }

    async fn import_legacy_status(
        &self,
        request: Request<wire::ImportLegacyStatusRequest>,
    ) -> Result<Response<wire::ImportLegacyStatusResponse>, Status> {
        legacy::import(&self.node, request.into_inner()).await.map(Response::new)
    }

    async fn summarize_reports(
        &self,
        request: Request<wire::SummarizeReportsRequest>,
    ) -> Result<Response<wire::SummarizeReportsResponse>, Status> {
        let request = request.into_inner();
        let (site, group) = area(&request.site, &request.group)?;
        let parsed = request.revisions.iter().map(|revision| revision.parse::<RevisionId>());
        let revisions: Vec<RevisionId> =
            parsed.collect::<Result<_, _>>().map_err(|error| field("revisions", &error))?;
        let area = Area { site: site.as_ref(), group: group.as_ref() };
        let generation = self.node.generation();
        let in_catalogue = |one: &RevisionId| generation.catalogue.contains_key(one);
        let summary = self.ledger()?.read(|tallies| {
            known::check_area(&generation.mesh, tallies, area)?;
            known::check_revisions(in_catalogue, tallies, &revisions)?;
            Ok::<_, known::Unknown>(summary(tallies, revisions, area, Timestamp::now()))
        })?;
        Ok(Response::new(summary))
    }
}

fn life(seconds: u64) -> Result<SignedDuration, Status> {
    if seconds == 0 {
        return Ok(TOKEN_LIFE);
    }
    i64::try_from(seconds)
        .ok()
        .map(SignedDuration::from_secs)
        .filter(|life| *life <= TOKEN_LIFE_LIMIT)
        .ok_or_else(|| field("valid_seconds", "a token for machines lives for at most 90 days"))
}

fn area(site: &str, group: &str) -> Result<(Option<Site>, Option<GroupName>), Status> {
    Ok((some("site", site)?, some("group", group)?))
}

/// Machines after a name, and where the next page begins.
fn page(
    store: &store::Store,
    after: &str,
    size: usize,
    site: Option<Site>,
    group: Option<GroupName>,
) -> Result<(Vec<wire::MachineRow>, String), store::Error> {
    let (mut machines, mut next) = (Vec::new(), String::new());
    store.for_each_after(&MACHINES, after, |name, record| {
        let area = Area { site: site.as_ref(), group: group.as_ref() };
        if !record.place().is_some_and(|place| area.contains(&place)) {
            return Ok(true);
        }
        if machines.len() == size {
            next =
                machines.last().map(|row: &wire::MachineRow| row.name.clone()).unwrap_or_default();
            return Ok(false);
        }
        let revoked = store.get(&REVOKED, &name)?;
        machines.push(row(name, &record, revoked.as_ref()));
        Ok(true)
    })?;
    Ok((machines, next))
}

fn row(name: String, record: &MachineRecord, revoked: Option<&RevokedRecord>) -> wire::MachineRow {
    wire::MachineRow {
        name,
        group: record.group.clone(),
        site: record.site.clone(),
        enrolled_at: record.enrolled_at,
        seen_at: record.seen_at,
        revoked_at: revoked.and_then(|revoked| revoked.at),
        events: record.events(),
    }
}

/// Everything that is known of one machine.
///
/// # Errors
/// A failing disk.
pub(super) fn story(
    store: &store::Store,
    name: &MachineName,
) -> Result<Option<wire::GetMachineResponse>, store::Error> {
    let Some(record) = store.get(&MACHINES, name.as_str())? else { return Ok(None) };
    let revoked = store.get(&REVOKED, name.as_str())?;
    let words = words_of(store, name)?.into_iter().map(|(revision, word)| {
        let step = word.step();
        wire::MachineWord {
            revision: revision.to_string(),
            phase: step.map(|(phase, _)| phase.as_str().to_owned()).unwrap_or_default(),
            outcome: step.map(|(_, outcome)| outcome.as_str().to_owned()).unwrap_or_default(),
            code: word.code,
            message: word.message,
            at: word.at,
        }
    });
    let outcomes = Outcome::ALL.iter().zip(record.outcomes.iter().chain(std::iter::repeat(&0)));
    let outcome = |(outcome, events): (&Outcome, &u64)| wire::OutcomeCount {
        outcome: outcome.as_str().to_owned(),
        events: *events,
    };
    let mut held = Held::from_records(record.late_epochs.clone());
    held.absorb(Held::from_records(record.epochs.clone()));
    let epochs = held.epochs().iter().map(|one| wire::MachineEpoch {
        epoch: one.epoch,
        began_at: Some(timestamp_to_wire(one.began)),
        events: one.held.count(),
        has_gaps: one.held.runs().len() > 1,
    });
    Ok(Some(wire::GetMachineResponse {
        machine: Some(row(name.to_string(), &record, revoked.as_ref())),
        facts: record
            .facts
            .iter()
            .map(|fact| wire::MachineFact { name: fact.name.clone(), value: fact.value.clone() })
            .collect(),
        words: words.collect(),
        outcomes: outcomes.map(outcome).collect(),
        epochs: epochs.collect(),
        revoked_because: revoked.map(|revoked| revoked.comment).unwrap_or_default(),
        rolled_up: record.rolled_up,
    }))
}

/// Counts by site and group, with the sample that they come from.
fn summary(
    tallies: &Tallies,
    revisions: Vec<RevisionId>,
    area: Area<'_>,
    now: Timestamp,
) -> wire::SummarizeReportsResponse {
    let revisions =
        if revisions.is_empty() { tallies.revisions().cloned().collect() } else { revisions };
    let (day, week) = (now - SignedDuration::from_hours(24), now - SignedDuration::from_hours(168));
    let places = tallies.by_place(&revisions, area);
    let rows = places.iter().take(MAX_ROWS).map(|(place, count)| {
        let seen = [day, week].map(|since| tallies.seen_at_since(place, since));
        counted(place.site.as_str(), place.group.as_str(), count, seen)
    });
    let rows: Vec<_> = rows.collect();
    let seen = [day, week].map(|since| tallies.seen_since(area, since));
    let (site, group) =
        (area.site.map_or("", Site::as_str), area.group.map_or("", GroupName::as_str));
    let total = counted(site, group, &places.values().copied().sum(), seen);
    wire::SummarizeReportsResponse {
        is_cut: places.len() > rows.len(),
        rows,
        total: Some(total),
        revisions: revisions.len() as u64,
        now: Some(timestamp_to_wire(now)),
    }
}

fn counted(site: &str, group: &str, count: &Count, [day, week]: [u64; 2]) -> wire::SummaryRow {
    wire::SummaryRow {
        site: site.to_owned(),
        group: group.to_owned(),
        known: count.known,
        seen_day: day,
        seen_week: week,
        reached: count.reached,
        pending: count.pending,
        installed: count.installed,
        removed: count.removed,
        failed: count.failed,
        declined: count.declined,
        last_at: count.last.map(timestamp_to_wire),
    }
}
