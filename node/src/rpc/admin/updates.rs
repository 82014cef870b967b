//! Updates: what the catalogue has and how it stands.

use std::collections::BTreeSet;

use globset::{Glob, GlobMatcher};
use jiff::Timestamp;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_proto::{admin as wire, wire as document};
use patchmesh_topology::approval::{UpdateState, state_of};
use patchmesh_topology::name::SourceName;
use patchmesh_topology::node::{Group, Stage};
use patchmesh_topology::revision::{CatalogueEntry, Revision, RevisionId};
use patchmesh_topology::supersedence::{Entry, superseded};
use patchmesh_topology::view::{Withheld, set};
use tonic::Status;

use crate::generation::{Generation, read_revision};
use crate::log::in_one_line;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::field;
use crate::store::Store;

/// Rows of a page unless asked otherwise.
const PAGE: usize = 1_000;
/// Most rows of a page.
const MAX_PAGE: usize = 10_000;

/// Most sites named where a revision is open.
const MAX_SITES: usize = 20;

/// What `ListUpdates` asks for.
struct Query {
    source: Option<SourceName>,
    name: Option<GlobMatcher>,
    state: Option<UpdateState>,
    after: Option<RevisionId>,
    page: usize,
}

impl Query {
    fn parse(request: &wire::ListUpdatesRequest) -> Result<Self, Status> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let source = given(&request.source)
            .map(|text| text.parse().map_err(|error| field("source", &error)))
            .transpose()?;
        let name = given(&request.name)
            .map(|text| Glob::new(&text).map(|glob| glob.compile_matcher()))
            .transpose()
            .map_err(|error| field("name", &error))?;
        let after = given(&request.page_token)
            .map(|text| text.parse().map_err(|error| field("page_token", &error)))
            .transpose()?;
        let state = convert::update_state(request.state).map_err(|error| field("state", &error))?;
        let page = match request.page_size as usize {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        Ok(Self { source, name, state, after, page })
    }

    fn matches(&self, id: &RevisionId) -> bool {
        self.source.as_ref().is_none_or(|source| id.update.source == *source)
            && self.name.as_ref().is_none_or(|name| name.is_match(&id.update.name))
    }
}

pub(super) async fn list(
    node: &Context,
    request: wire::ListUpdatesRequest,
) -> Result<wire::ListUpdatesResponse, Status> {
    let query = Query::parse(&request)?;
    let (generation, store) = (node.generation(), node.store.clone());
    blocking(move || page(&generation, &store, &query)).await
}

fn page(
    generation: &Generation,
    store: &Store,
    query: &Query,
) -> Result<wire::ListUpdatesResponse, crate::generation::load::Error> {
    let mut answer = wire::ListUpdatesResponse::default();
    let mut last = None;
    let candidates = generation.catalogue.iter().filter(|(id, _)| query.matches(id));
    for (id, entry) in candidates {
        let is_decided_alike =
            |state| states(generation, id, entry).iter().any(|(_, _, found)| *found == state);
        if !query.state.is_none_or(is_decided_alike) {
            continue;
        }
        answer.total += 1;
        if query.after.as_ref().is_some_and(|after| id <= after) {
            continue;
        }
        if answer.updates.len() == query.page {
            answer.next_page_token = last.as_ref().map_or_else(String::new, RevisionId::to_string);
            continue;
        }
        let revision = read_revision(generation, store, id)?;
        answer.updates.push(row(generation, id, entry, revision.as_deref()));
        last = Some(id.clone());
    }
    Ok(answer)
}

pub(super) async fn get(
    node: &Context,
    request: &wire::GetUpdateRequest,
) -> Result<wire::GetUpdateResponse, Status> {
    let id: RevisionId = request.revision.parse().map_err(|error| field("revision", &error))?;
    let generation = node.generation();
    let entry = generation.catalogue.get(&id).cloned().ok_or_else(|| {
        Status::not_found(format!(
            "revision {id} is not in the catalogue; `patchmesh update list` shows what is"
        ))
    })?;
    let (store, known) = (node.store.clone(), generation.clone());
    blocking(move || {
        let revision = read_revision(&known, &store, &id)?;
        let payloads = revision.iter().flat_map(|revision| &revision.payloads);
        let payloads = payloads
            .map(|payload| {
                let binding = known.bindings.get(&payload.sha256);
                let held = match binding {
                    Some(binding) => store.has(&binding.blob)?,
                    None => false,
                };
                Ok::<_, crate::generation::load::Error>(wire::PayloadRow {
                    payload: Some(payload.into()),
                    blob: binding
                        .map(|binding| binding.blob.as_bytes().to_vec().into())
                        .unwrap_or_default(),
                    held,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok::<_, crate::generation::load::Error>(wire::GetUpdateResponse {
            description: revision.as_ref().map(|one| one.description.clone()).unwrap_or_default(),
            update: Some(row(&known, &id, &entry, revision.as_deref())),
            payloads,
            validation: approvals(&known, Stage::Validation, &id),
            production: approvals(&known, Stage::Production, &id),
            withheld: withheld(&known, &id),
            replaced: replaced(&known, &id),
            openings: openings(&known, &id),
        })
    })
    .await
}

/// What of a revision views leave out, as far as this node carries them.
fn withheld(generation: &Generation, id: &RevisionId) -> Vec<wire::WithheldRow> {
    let views = generation.views.iter();
    let entries = views.flat_map(|((_, group, _), view)| {
        let first = Withheld::whole(id.clone());
        let entries = view.view().withheld.range(first..);
        entries.take_while(|(one, _)| one.revision == *id).map(move |entry| (group, entry))
    });
    // Views of several sets leave out the same for the same reason.
    let entries: BTreeSet<_> = entries.collect();
    entries
        .into_iter()
        .map(|(group, (one, reason))| wire::WithheldRow {
            group: group.to_string(),
            package: one.package.clone(),
            architecture: one.architecture.clone(),
            reason: crate::generation::withheld_for(reason, group),
        })
        .collect()
}

/// The groups for which it is approved, and for which something else that can
/// be installed replaces it.
fn replaced(generation: &Generation, id: &RevisionId) -> Vec<wire::ReplacedRow> {
    let by = |group: &Group| {
        let set = &generation.approvals(group.stage)?.set;
        if !set.get(id, &group.name)?.is_approved() {
            return None;
        }
        let open =
            set.entries.iter().filter(|((_, name), one)| *name == group.name && one.is_approved());
        let able: Vec<Entry<'_>> = open
            .map(|((open, _), _)| open)
            .filter(|open| generation.is_available(open))
            .filter(|open| generation.withheld(group, open).is_none())
            .filter_map(|open| {
                let revision = generation.revisions.get(open)?;
                Some(Entry { revision, ordinal: generation.catalogue.get(open)?.ordinal })
            })
            .collect();
        superseded(&able).get(id).map(|by| (*by).clone())
    };
    let groups = generation.mesh.groups.values();
    groups
        .filter_map(|group| {
            Some(wire::ReplacedRow { group: group.name.to_string(), by: by(group)?.to_string() })
        })
        .collect()
}

/// Where it is open, for the groups that it is approved for.
fn openings(generation: &Generation, id: &RevisionId) -> Vec<wire::OpeningRow> {
    let now = Timestamp::now();
    let of = |group: &Group| {
        let offer = generation.offer(group.stage, now)?;
        if !offer.approvals.get(id, &group.name)?.is_approved() {
            return None;
        }
        let mut row = wire::OpeningRow {
            stage: document::Stage::from(group.stage).into(),
            group: group.name.to_string(),
            ..wire::OpeningRow::default()
        };
        let sites = set::sites(&generation.mesh, group.stage);
        row.sites = sites.len() as u64;
        // Without sites it still is open or not.
        let places = sites.into_iter().map(Some);
        let nowhere = (row.sites == 0).then_some(None);
        for site in places.chain(nowhere) {
            match (offer.of(id, &group.name, site), site) {
                (Ok(_), Some(site)) => {
                    row.open_sites += 1;
                    if row.open_at.len() < MAX_SITES {
                        row.open_at.push(site.to_string());
                    }
                }
                (Err(why), _) if row.closed.is_empty() => row.closed = in_one_line(&why),
                _ => {}
            }
        }
        Some(row)
    };
    generation.mesh.groups.values().filter_map(of).collect()
}

fn approvals(generation: &Generation, stage: Stage, id: &RevisionId) -> Vec<document::Approval> {
    generation
        .approvals(stage)
        .into_iter()
        .flat_map(|approvals| {
            approvals.set.entries.iter().filter(|((revision, _), _)| revision == id)
        })
        .map(|((revision, group), approval)| (revision, group, approval).into())
        .collect()
}

fn row(
    generation: &Generation,
    id: &RevisionId,
    entry: &CatalogueEntry,
    revision: Option<&Revision>,
) -> wire::UpdateRow {
    let states = states(generation, id, entry);
    wire::UpdateRow {
        revision: id.to_string(),
        // At a branch, only what is approved there has its document.
        title: revision.map(|one| one.title.clone()).unwrap_or_default(),
        architectures: revision.map(|one| one.architectures.clone()).unwrap_or_default(),
        entered_at: Some(timestamp_to_wire(entry.entered_at)),
        states: states
            .into_iter()
            .map(|(stage, group, state)| wire::GroupState {
                stage: document::Stage::from(stage).into(),
                group: group.name.to_string(),
                state: wire::UpdateState::from(state).into(),
            })
            .collect(),
        bytes: revision.map_or(0, |one| one.payloads.iter().map(|payload| payload.length).sum()),
        facts: revision.filter(|one| !one.facts.is_empty()).map(|one| (&one.facts).into()),
    }
}

/// How a revision stands for every group of every stage.
fn states<'a>(
    generation: &'a Generation,
    id: &RevisionId,
    entry: &CatalogueEntry,
) -> Vec<(Stage, &'a Group, UpdateState)> {
    let is_available = generation.is_available(id);
    generation
        .mesh
        .groups
        .values()
        .map(|group| {
            let approvals = generation.approvals(group.stage);
            let decision = approvals.and_then(|approvals| approvals.set.get(id, &group.name));
            let is_withheld = || generation.withheld(group, id).is_some();
            let is_offered = is_available && !is_withheld();
            (group.stage, group, state_of(decision, entry.ordinal, is_offered))
        })
        .collect()
}
