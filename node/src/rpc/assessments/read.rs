//! Reading: assessments and the watch list, at every node.

use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::wire as document;
use patchmesh_topology::approval::ApprovalSet;
use patchmesh_topology::assessment::watch::{self, Watched};
use patchmesh_topology::assessment::{Assessment, CveId, Rank, Stated, Vulnerability};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;
use tonic::Status;

use crate::generation::{Generation, load, read_revision};
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::field;

/// Rows unless asked otherwise.
const ROWS: usize = 1_000;
/// Most rows.
const MAX_ROWS: usize = 10_000;

pub(super) async fn get(
    node: &Context,
    request: &wire::GetAssessmentRequest,
) -> Result<wire::GetAssessmentResponse, Status> {
    let generation = node.generation();
    if let Ok(cve) = request.subject.parse::<CveId>() {
        return of_cve(node, &generation, cve).await;
    }
    let revision: RevisionId = request.subject.parse().map_err(|_| {
        field("subject", "is neither a revision (SOURCE:SUITE/NAME@VERSION) nor a CVE")
    })?;
    if !generation.catalogue.contains_key(&revision) {
        return Err(Status::not_found(format!(
            "revision {revision} is not in the catalogue; `patchmesh update list` shows what is"
        )));
    }
    let nothing = Assessment::default();
    let assessment = generation.assessments.get(&revision).unwrap_or(&nothing);
    let assessments = vec![row(&revision, assessment)];
    Ok(wire::GetAssessmentResponse { assessments, vulnerability: None })
}

async fn of_cve(
    node: &Context,
    generation: &Generation,
    cve: CveId,
) -> Result<wire::GetAssessmentResponse, Status> {
    let known = match &node.primary {
        None => None,
        Some(primary) => {
            let book = primary.feeds.book().clone();
            blocking(move || book.vulnerability(cve)).await?
        }
    };
    let mending = generation
        .assessments
        .iter()
        .filter(|(_, assessment)| assessment.vulnerabilities.contains_key(&cve));
    let assessments: Vec<_> =
        mending.map(|(revision, assessment)| row(revision, assessment)).collect();
    if assessments.is_empty() && known.is_none() {
        return Err(Status::not_found(format!(
            "nothing here says anything of {cve}; feeds are kept at the primary alone"
        )));
    }
    let vulnerability = known.map(|known: Vulnerability| (&cve, &known).into());
    Ok(wire::GetAssessmentResponse { assessments, vulnerability })
}

/// A revision's assessment with what follows from it.
pub(super) fn row(revision: &RevisionId, assessment: &Assessment) -> wire::AssessmentRow {
    let (severity, basis) = match assessment.severity() {
        Some((severity, basis)) => (severity, basis.as_str()),
        None => (None, ""),
    };
    wire::AssessmentRow {
        assessment: Some((revision, assessment).into()),
        severity: severity.map_or(document::Severity::Unspecified, Into::into).into(),
        basis: basis.to_owned(),
    }
}

pub(super) async fn watched(
    node: &Context,
    request: wire::ListWatchedRequest,
) -> Result<wire::ListWatchedResponse, Status> {
    let (generation, store) = (node.generation(), node.store.clone());
    let rows = match request.limit as usize {
        0 => ROWS,
        limit => limit.min(MAX_ROWS),
    };
    blocking(move || {
        let empty = ApprovalSet::empty(Stage::Validation);
        let validation = generation.approvals(Stage::Validation);
        let validation = validation.map_or(&empty, |approvals| approvals.set.as_ref());
        let list =
            watch::list(&generation.catalogue, &generation.assessments, validation, request.all);
        let total = list.len() as u64;
        let revisions = list
            .iter()
            .take(rows)
            .map(|one| {
                let revision = read_revision(&generation, &store, one.revision)?;
                let title = revision.map(|revision| revision.title.clone()).unwrap_or_default();
                Ok(watched_row(one, title))
            })
            .collect::<Result<_, load::Error>>()?;
        Ok::<_, load::Error>(wire::ListWatchedResponse { revisions, total })
    })
    .await
}

fn watched_row(one: &Watched<'_>, title: String) -> wire::WatchedRow {
    let severity = match one.danger.rank {
        Rank::Rated(severity) => severity.into(),
        Rank::Unknown | Rank::Dismissed => document::Severity::Unspecified,
    };
    wire::WatchedRow {
        revision: one.revision.to_string(),
        entered_at: Some(timestamp_to_wire(one.entered_at)),
        severity: severity.into(),
        exploited: one.danger.exploited,
        ransomware: one.ransomware(),
        due: one.due().map(|due| due.to_string()).unwrap_or_default(),
        epss: one.danger.epss.millionths(),
        cves: by_weight(one),
        omitted: one.assessment.map_or(0, |assessment| assessment.omitted),
        why: one.why(),
        judged: one.assessment.is_some_and(|assessment| assessment.judgement.is_some()),
        decided: one.is_decided,
        title,
    }
}

/// The open vulnerabilities: exploited first, then the likeliest.
fn by_weight(one: &Watched<'_>) -> Vec<String> {
    let known = one.assessment.map(|assessment| &assessment.vulnerabilities);
    let weight = |cve: &CveId| {
        let vulnerability = known.and_then(|known| known.get(cve));
        let exploited = vulnerability.is_some_and(|one| one.exploited.is_some());
        let epss = vulnerability.and_then(|one| one.epss.as_ref());
        (exploited, epss.map(|Stated { what, .. }| what.score), *cve)
    };
    let mut cves = one.open.clone();
    cves.sort_by_key(|cve| std::cmp::Reverse(weight(cve)));
    cves.iter().map(ToString::to_string).collect()
}
