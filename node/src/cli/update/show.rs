//! `patchmesh update show`.

use patchmesh_proto::{admin, wire};
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::Row;
use crate::cli::approvals::Entry;
use crate::cli::assess::answer::Assessed;
use crate::cli::output::{Answer, clean_lines, fields, table};
use crate::cli::{Context, answer, grpc};

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    row: Row,
    description: String,
    payloads: Vec<Payload>,
    approvals: Approvals,
    /// What is known and judged of it; `None` where that is nothing.
    assessment: Option<Assessed>,
    /// What is open but not offered.
    withheld: Vec<Withheld>,
    /// Where something newer is offered instead.
    replaced: Vec<Replaced>,
    /// Where it is open, for every group that it is approved for.
    openings: Vec<Opening>,
}

#[derive(Debug, Serialize)]
struct Opening {
    stage: &'static str,
    group: String,
    /// Sites that serve the stage.
    sites: u64,
    open_sites: u64,
    /// The first of those where it is open.
    open_at: Vec<String>,
    /// Why it is not open at the others.
    closed: Option<String>,
}

impl From<admin::OpeningRow> for Opening {
    fn from(row: admin::OpeningRow) -> Self {
        Self {
            stage: answer::stage(row.stage()),
            group: row.group,
            sites: row.sites,
            open_sites: row.open_sites,
            open_at: row.open_at,
            closed: answer::some(row.closed),
        }
    }
}

impl Opening {
    fn cells(&self, closed: &str) -> [String; 3] {
        let mut open = format!("{} of {}", self.open_sites, answer::counted(self.sites, "site"));
        if !self.open_at.is_empty() {
            let more = self.open_sites > self.open_at.len() as u64;
            let more = if more { ", …" } else { "" };
            open = format!("{open}: {}{more}", self.open_at.join(", "));
        }
        [self.group.clone(), open, closed.to_owned()]
    }
}

#[derive(Debug, Serialize)]
struct Replaced {
    group: String,
    by: String,
}

#[derive(Debug, Serialize)]
struct Withheld {
    group: String,
    /// Absent: the whole revision.
    package: Option<String>,
    architecture: Option<String>,
    reason: String,
}

impl From<admin::WithheldRow> for Withheld {
    fn from(row: admin::WithheldRow) -> Self {
        Self {
            group: row.group,
            package: answer::some(row.package),
            architecture: answer::some(row.architecture),
            reason: row.reason,
        }
    }
}

#[derive(Debug, Serialize)]
struct Payload {
    package: String,
    version: String,
    architecture: String,
    component: String,
    filename: String,
    bytes: u64,
    /// The language that it is for; null for every one.
    language: Option<String>,
    /// Where it goes on machines; null where it is not put in the place of others.
    place: Option<Place>,
    sha256: String,
    /// BLAKE3 of the blob that it is bound to.
    blob: Option<String>,
    /// Whether the node that was asked holds it.
    held: bool,
}

/// Where a file goes, and as whose; what is null is as the file has it that it replaces.
#[derive(Debug, Serialize)]
struct Place {
    path: String,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

impl From<wire::Place> for Place {
    fn from(place: wire::Place) -> Self {
        Self {
            path: place.path,
            mode: place.mode.map(|mode| format!("{mode:04o}")),
            owner: answer::some(place.owner),
            group: answer::some(place.group),
        }
    }
}

#[derive(Debug, Serialize)]
struct Approvals {
    validation: Vec<Entry>,
    production: Vec<Entry>,
}

impl From<admin::PayloadRow> for Payload {
    fn from(row: admin::PayloadRow) -> Self {
        let payload = row.payload.unwrap_or_default();
        Self {
            package: payload.package,
            version: payload.version,
            architecture: payload.architecture,
            component: payload.component,
            filename: payload.filename,
            bytes: payload.length,
            language: answer::some(payload.language),
            place: payload.place.map(Place::from),
            sha256: hex::encode(&payload.sha256),
            blob: answer::some(hex::encode(&row.blob)),
            held: row.held,
        }
    }
}

impl From<admin::GetUpdateResponse> for Shown {
    fn from(response: admin::GetUpdateResponse) -> Self {
        let entries = |list: Vec<wire::Approval>| list.into_iter().map(Entry::from).collect();
        Self {
            row: response.update.unwrap_or_default().into(),
            description: response.description,
            payloads: response.payloads.into_iter().map(Payload::from).collect(),
            assessment: None,
            approvals: Approvals {
                validation: entries(response.validation),
                production: entries(response.production),
            },
            withheld: response.withheld.into_iter().map(Withheld::from).collect(),
            replaced: response
                .replaced
                .into_iter()
                .map(|row| Replaced { group: row.group, by: row.by })
                .collect(),
            openings: response.openings.into_iter().map(Opening::from).collect(),
        }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let stated = self.row.facts.iter().flat_map(|facts| facts.rows());
        let facts = fields(
            [
                ("revision", Some(self.row.revision.clone())),
                ("title", Some(self.row.title.clone())),
                ("entered", self.row.entered_at.clone()),
                ("architectures", Some(self.row.architectures.join(", "))),
                ("size", Some(answer::size(self.row.bytes))),
                ("validation", Some(self.row.state_in(wire::Stage::Validation))),
                ("production", Some(self.row.state_in(wire::Stage::Production))),
            ]
            .into_iter()
            .chain(stated),
        );
        let payloads = table(
            ["package", "version", "architecture", "language", "size", "content"],
            self.payloads.iter().map(|payload| {
                let content = match (&payload.blob, payload.held) {
                    (Some(_), true) => "here",
                    (Some(_), false) => "elsewhere in the mesh",
                    (None, _) => "at the vendor",
                };
                [
                    payload.package.clone(),
                    payload.version.clone(),
                    payload.architecture.clone(),
                    answer::or_dash(payload.language.as_deref()),
                    answer::size(payload.bytes),
                    content.to_owned(),
                ]
            }),
        );
        let mut text = format!("{facts}\n{payloads}");
        let places: Vec<(&str, &Place)> = self
            .payloads
            .iter()
            .filter_map(|one| Some((one.filename.as_str(), one.place.as_ref()?)))
            .collect();
        if !places.is_empty() {
            let cell = |text: &Option<String>| answer::or_dash(text.as_deref());
            let rows = places.iter().map(|(file, place)| {
                let Place { path, mode, owner, group } = place;
                [(*file).to_owned(), path.clone(), cell(mode), cell(owner), cell(group)]
            });
            let header = ["file", "goes to", "mode", "owner", "group"];
            text.push_str(&format!("\n{}", table(header, rows)));
        }
        let decisions = [&self.approvals.validation, &self.approvals.production];
        if decisions.iter().any(|list| !list.is_empty()) {
            let rows = decisions.into_iter().flatten().map(Entry::cells);
            text.push_str(&format!("\n{}", table(Entry::HEADER, rows)));
        }
        if let Some(assessment) = &self.assessment {
            text.push_str(&format!("\n{}", assessment.text()));
        }
        if !self.withheld.is_empty() {
            let rows = self.withheld.iter().map(|one| {
                let package = one.package.clone().unwrap_or_else(|| "all of it".to_owned());
                [one.group.clone(), package, one.reason.clone()]
            });
            text.push_str(&format!("\n{}", table(["not offered to", "package", "reason"], rows)));
        }
        if !self.replaced.is_empty() {
            let rows = self.replaced.iter().map(|one| [one.group.clone(), one.by.clone()]);
            text.push_str(&format!("\n{}", table(["not offered to", "since it has"], rows)));
        }
        let mut closed = self
            .openings
            .iter()
            .filter_map(|one| Some(one.cells(one.closed.as_deref()?)))
            .peekable();
        if closed.peek().is_some() {
            text.push_str(&format!("\n{}", table(["group", "open at", "elsewhere"], closed)));
        }
        if !self.description.is_empty() {
            text.push_str(&format!("\n{}\n", clean_lines(self.description.trim_end())));
        }
        text
    }
}

pub(super) async fn run(revision: &RevisionId, context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let request = admin::GetUpdateRequest { revision: revision.to_string() };
    let response = admin.get_update(request).await.map_err(grpc::failure)?.into_inner();
    let mut shown = Shown::from(response);
    let request = admin::GetAssessmentRequest { subject: revision.to_string() };
    let assessed = match context.assessments()?.get_assessment(request).await {
        Ok(assessed) => assessed.into_inner().assessments,
        // An older node knows of no assessments.
        Err(status) if status.code() == tonic::Code::Unimplemented => Vec::new(),
        Err(status) => return Err(grpc::failure(status).into()),
    };
    let mut assessed = assessed.into_iter().map(Assessed::from);
    shown.assessment = assessed.find(|one| !one.is_empty());
    context.output.print(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unbound_payload_is_at_the_vendor() {
        let shown = Shown::from(admin::GetUpdateResponse {
            update: Some(admin::UpdateRow {
                revision: "v:s/n@1".into(),
                ..admin::UpdateRow::default()
            }),
            payloads: vec![admin::PayloadRow {
                payload: Some(wire::Payload { package: "n".into(), ..wire::Payload::default() }),
                ..admin::PayloadRow::default()
            }],
            ..admin::GetUpdateResponse::default()
        });
        assert!(shown.text().contains("at the vendor"), "{}", shown.text());
        let json = serde_json::to_value(&shown).expect("JSON");
        assert_eq!(json["revision"], "v:s/n@1");
        assert_eq!(json["payloads"][0]["blob"], serde_json::Value::Null);
        assert_eq!(json["approvals"]["production"], serde_json::json!([]));
    }
    #[test]
    fn where_it_is_open_is_told_unless_it_is_so_everywhere() {
        let row = |open: u64, closed: &str| admin::OpeningRow {
            stage: wire::Stage::Production.into(),
            group: "servers".into(),
            sites: 3,
            open_sites: open,
            open_at: vec!["emea/fr".into()],
            closed: closed.into(),
        };
        let shown = |row| {
            Shown::from(admin::GetUpdateResponse {
                openings: vec![row],
                ..admin::GetUpdateResponse::default()
            })
        };
        let partly = shown(row(2, "wave rest of rollout spring is not open yet"));
        let text = partly.text();
        assert!(text.contains("2 of 3 sites: emea/fr, …"), "{text}");
        assert!(text.contains("wave rest of rollout spring"), "{text}");
        assert!(!shown(row(3, "")).text().contains("OPEN AT"));
        let json = serde_json::to_value(&partly).expect("JSON");
        assert_eq!(json["openings"][0]["open_sites"], 2);
    }
}
