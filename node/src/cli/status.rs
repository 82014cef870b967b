//! `patchmesh status`: what a node is and how it is, by its own word.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::link::rate::Rate;
use serde::Serialize;

use super::answer::{self, Node, OwnWord};
use super::output::{Answer, clean, fields, table};
use super::{Context, grpc};

mod views;

use views::{ServedView, ViewBuilding};

/// What a node is and how it is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh status
  patchmesh status --node hq --output json

JSON:
  {\"mesh_id\", \"mesh_name\", \"node\": NODE, \"status\": STATUS, \"single_operator\",
   \"roles\": [{\"role\", \"version\", \"expires_at\"}],
   \"transfers\": [{\"digest\", \"bytes\", \"received\", \"from\", \"started_at\", \"ended_at\", \"problem\",
   \"class\", \"bits_per_second\", \"held\", \"held_by\", \"limit\", \"opens_at\", \"done_at\"}],
   \"synchronisations\": [{\"at\", \"from_generation\", \"to_generation\", \"bytes\", \"documents\",
   \"seconds\", \"problem\"}], \"warnings\": [TEXT], \"blobs\": {\"count\", \"bytes\"},
   \"content_done_at\", \"disk_shortage\": {\"payloads\", \"wanted_bytes\", \"free_bytes\", \"since\"},
   \"scrub\": {\"round_began_at\", \"round_is_over\", \"blobs\", \"bytes\", \"last_round_ended_at\",
   \"damaged\", \"mended\"},
   \"served_views\": [{\"stage\", \"group\", \"set\" or null, \"signed_at\", \"fit\"}],
   \"view_building\": {\"sets\", \"views\", \"most_sets\", \"built\", \"seconds\", \"at\"} or null,
   \"promotion\": TEXT}
  \"disk_shortage\" is null unless the disk holds payloads back; \"scrub\": stored content read again
  \"held\" is what keeps a transfer from going faster at this moment: \"closed\" (hours for bulk content),
  \"critical\", \"normal\" (more urgent traffic), \"line\" or \"node\" (a limit); null: the line itself
  \"set\" names the revisions that are open: equal sets, equal names; \"fit\" says how the view goes with
  what is open at the site: \"own\"; \"unstated\": made by an older primary; \"less\": there is none of all
  of it yet; \"refused\": that one has something not open; \"none\": nothing is served
  \"view_building\", at the primary only: distinct sets of all groups, the views of these, the most sets
  of one group, and what building took when a view was due last
  \"promotion\": what production asks of a revision, in a sentence
  NODE and STATUS as in `patchmesh nodes --help`")]
pub(crate) struct Status {}

#[derive(Debug, Serialize)]
struct Answered {
    mesh_id: String,
    mesh_name: String,
    node: Node,
    status: OwnWord,
    single_operator: bool,
    roles: Vec<RoleExpiry>,
    transfers: Vec<Transfer>,
    synchronisations: Vec<Synchronisation>,
    warnings: Vec<String>,
    blobs: Blobs,
    content_done_at: Option<String>,
    disk_shortage: Option<Shortage>,
    scrub: Scrub,
    served_views: Vec<ServedView>,
    view_building: Option<ViewBuilding>,
    promotion: String,
}

#[derive(Debug, Serialize)]
struct Shortage {
    payloads: u64,
    wanted_bytes: u64,
    free_bytes: u64,
    since: Option<String>,
}

#[derive(Debug, Serialize)]
struct Scrub {
    round_began_at: Option<String>,
    round_is_over: bool,
    blobs: u64,
    bytes: u64,
    last_round_ended_at: Option<String>,
    damaged: u64,
    mended: u64,
}

impl From<admin::DiskShortage> for Shortage {
    fn from(shortage: admin::DiskShortage) -> Self {
        Self {
            payloads: shortage.payloads,
            wanted_bytes: shortage.wanted_bytes,
            free_bytes: shortage.free_bytes,
            since: answer::time(shortage.since.as_ref()),
        }
    }
}

impl Shortage {
    /// For a person.
    fn text(&self) -> String {
        format!(
            "too full since {}: {} held back, {} wanted, {} free for them",
            answer::or_dash(self.since.as_deref()),
            answer::counted(self.payloads, "payload"),
            answer::size(self.wanted_bytes),
            answer::size(self.free_bytes)
        )
    }
}

impl From<admin::Scrub> for Scrub {
    fn from(scrub: admin::Scrub) -> Self {
        Self {
            round_began_at: answer::time(scrub.round_began_at.as_ref()),
            round_is_over: scrub.round_is_over,
            blobs: scrub.blobs,
            bytes: scrub.bytes,
            last_round_ended_at: answer::time(scrub.last_round_ended_at.as_ref()),
            damaged: scrub.damaged,
            mended: scrub.mended,
        }
    }
}

impl Scrub {
    /// For a person; nothing before there was any.
    fn text(&self) -> Option<String> {
        let began = self.round_began_at.as_ref()?;
        let read = format!("{}, {}", answer::counted(self.blobs, "blob"), answer::size(self.bytes));
        let mut text = match (&self.last_round_ended_at, self.round_is_over) {
            (Some(ended), true) => format!("all read by {ended}: {read}"),
            _ => format!("reading since {began}: {read} so far"),
        };
        if self.damaged > 0 {
            let (damaged, mended) = (self.damaged, self.mended);
            text = format!("{text}; {damaged} found damaged ever, {mended} of them mended");
        }
        Some(text)
    }
}

#[derive(Debug, Serialize)]
struct RoleExpiry {
    role: String,
    version: u64,
    expires_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Transfer {
    digest: String,
    bytes: u64,
    received: u64,
    from: String,
    started_at: Option<String>,
    ended_at: Option<String>,
    problem: Option<String>,
    class: Option<String>,
    bits_per_second: Option<u64>,
    held: Option<String>,
    held_by: Option<String>,
    limit: Option<String>,
    opens_at: Option<String>,
    done_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Synchronisation {
    at: Option<String>,
    from_generation: u64,
    to_generation: u64,
    bytes: u64,
    documents: u64,
    seconds: f64,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Blobs {
    count: u64,
    bytes: u64,
}

impl From<admin::RoleExpiry> for RoleExpiry {
    fn from(role: admin::RoleExpiry) -> Self {
        Self {
            expires_at: answer::time(role.expires_at.as_ref()),
            role: role.role,
            version: role.version,
        }
    }
}

/// A limit as people write it; nothing where there is none.
fn limit(bits: u64) -> Option<String> {
    Rate::from_bits(bits).ok().filter(|rate| !rate.is_unlimited()).map(|rate| rate.to_string())
}

impl Transfer {
    /// What keeps it from going faster, for a person.
    fn held(&self) -> Option<String> {
        let by = self.held_by.as_deref().unwrap_or("this node");
        let limit = self.limit.as_deref().unwrap_or("some");
        Some(match self.held.as_deref()? {
            "closed" => match &self.opens_at {
                Some(at) => format!("waits for the hours of the line at {by}, from {at}"),
                None => format!("waits for the hours of the line at {by}"),
            },
            "line" => format!("limit of the line at {by} ({limit})"),
            "node" => format!("limit of node {by} ({limit})"),
            class => format!("waits for {class} traffic at {by}"),
        })
    }

    /// How far an active one is.
    fn progress(&self) -> String {
        let part = match self.bytes {
            0 => 0,
            bytes => self.received.saturating_mul(100) / bytes,
        };
        let mut parts = vec![format!("{} ({part} %)", answer::size(self.received))];
        let rate = self.bits_per_second.and_then(limit);
        parts.push(rate.unwrap_or_else(|| "nothing comes".to_owned()));
        parts.extend(self.held());
        parts.extend(self.done_at.as_ref().map(|at| format!("whole by {at}")));
        parts.join(", ")
    }
}

impl From<admin::Transfer> for Transfer {
    fn from(transfer: admin::Transfer) -> Self {
        Self {
            digest: hex::encode(&transfer.digest),
            bytes: transfer.length,
            received: transfer.received,
            started_at: answer::time(transfer.started_at.as_ref()),
            ended_at: answer::time(transfer.ended_at.as_ref()),
            from: transfer.from,
            problem: answer::some(transfer.problem),
            class: answer::some(transfer.class),
            bits_per_second: Some(transfer.bits_per_second).filter(|bits| *bits > 0),
            held: answer::some(transfer.held),
            held_by: answer::some(transfer.held_by),
            limit: limit(transfer.limit_bits_per_second),
            opens_at: answer::time(transfer.opens_at.as_ref()),
            done_at: answer::time(transfer.done_at.as_ref()),
        }
    }
}

impl From<admin::Synchronisation> for Synchronisation {
    fn from(synchronisation: admin::Synchronisation) -> Self {
        Self {
            at: answer::time(synchronisation.at.as_ref()),
            from_generation: synchronisation.from_generation,
            to_generation: synchronisation.to_generation,
            bytes: synchronisation.bytes,
            documents: synchronisation.documents,
            seconds: synchronisation.seconds,
            problem: answer::some(synchronisation.problem),
        }
    }
}

impl From<admin::GetStatusResponse> for Answered {
    fn from(response: admin::GetStatusResponse) -> Self {
        Self {
            mesh_id: response.mesh_id,
            mesh_name: response.mesh_name,
            node: response.node.unwrap_or_default().into(),
            status: response.status.unwrap_or_default().into(),
            single_operator: response.single_operator,
            roles: response.roles.into_iter().map(RoleExpiry::from).collect(),
            transfers: response.transfers.into_iter().map(Transfer::from).collect(),
            synchronisations: response
                .synchronisations
                .into_iter()
                .map(Synchronisation::from)
                .collect(),
            warnings: response.warnings,
            blobs: Blobs { count: response.blobs, bytes: response.blob_bytes },
            content_done_at: answer::time(response.content_done_at.as_ref()),
            disk_shortage: response.disk_shortage.map(Shortage::from),
            scrub: response.scrub.unwrap_or_default().into(),
            served_views: response.served_views.into_iter().map(ServedView::from).collect(),
            view_building: response.view_building.map(ViewBuilding::from),
            promotion: response.promotion,
        }
    }
}

impl Answered {
    fn facts(&self) -> String {
        let (node, status) = (&self.node, &self.status);
        let sets =
            status.approval_sets.iter().map(|(stage, set)| format!("{stage} {}", set.short()));
        let held = format!(
            "{} of {} payloads, {} of {}",
            status.payloads.held,
            status.payloads.wanted,
            answer::size(status.bytes.held),
            answer::size(status.bytes.wanted)
        );
        let keys =
            self.single_operator.then(|| "single operator: every role's key is here".to_owned());
        fields([
            ("mesh", Some(format!("{} ({})", self.mesh_name, self.mesh_id))),
            ("node", Some(format!("{}, {} at {}", node.name, node.role, node.site))),
            ("url", node.url.clone()),
            ("parent", node.parent.clone()),
            ("serves", Some(answer::or_dash(Some(&node.stages.join(", "))))),
            ("generation", Some(status.generation.to_string())),
            ("approvals", Some(answer::or_dash(Some(&sets.collect::<Vec<_>>().join(", "))))),
            ("content", Some(held)),
            ("content whole by", self.content_done_at.clone()),
            ("blobs", Some(format!("{}, {}", self.blobs.count, answer::size(self.blobs.bytes)))),
            ("disk", self.disk_shortage.as_ref().map(Shortage::text)),
            ("scrub", self.scrub.text()),
            ("views", self.view_building.as_ref().and_then(ViewBuilding::text)),
            ("certificate", status.certificate_expires_at.as_ref().map(|at| format!("until {at}"))),
            ("keys", keys),
            ("promotion", answer::some(self.promotion.clone())),
            ("stale since", status.stale_since.clone()),
            ("problem", status.problem.clone()),
            ("software", answer::some(status.software.clone())),
        ])
    }

    fn alerts(&self) -> String {
        let rows = self.status.alerts.iter().map(|alert| {
            [
                alert.key.clone(),
                alert.severity.to_owned(),
                answer::or_dash(alert.since.as_deref()),
                alert.text.clone(),
            ]
        });
        table(["alert", "severity", "since", "text"], rows)
    }

    fn synchronisations(&self) -> String {
        let rows = self.synchronisations.iter().map(|row| {
            [
                answer::or_dash(row.at.as_deref()),
                format!("{} > {}", row.from_generation, row.to_generation),
                row.documents.to_string(),
                answer::size(row.bytes),
                format!("{:.2} s", row.seconds),
                answer::or_dash(row.problem.as_deref()),
            ]
        });
        table(["synchronised", "generation", "documents", "size", "time", "problem"], rows)
    }

    fn transfers(&self) -> String {
        let rows = self.transfers.iter().map(|row| {
            let state = match (&row.ended_at, &row.problem) {
                (_, Some(problem)) => problem.clone(),
                (Some(at), None) => format!("done {at}"),
                (None, None) => row.progress(),
            };
            [
                row.digest.get(..16).unwrap_or_default().to_owned(),
                answer::size(row.bytes),
                row.from.clone(),
                answer::or_dash(row.class.as_deref()),
                state,
            ]
        });
        table(["transfer", "size", "from", "class", "state"], rows)
    }

    /// What is served, where that is not simply what is open.
    fn views(&self) -> Vec<&ServedView> {
        self.served_views.iter().filter(|row| row.fit != "own").collect()
    }

    fn roles(&self) -> String {
        let rows = self.roles.iter().map(|row| {
            [row.role.clone(), row.version.to_string(), answer::or_dash(row.expires_at.as_deref())]
        });
        table(["signed role", "version", "expires"], rows)
    }
}

impl Answer for Answered {
    fn text(&self) -> String {
        let mut parts = vec![self.facts()];
        if !self.status.alerts.is_empty() {
            parts.push(self.alerts());
        }
        for (rows, text) in [
            (self.roles.len(), self.roles()),
            (self.synchronisations.len(), self.synchronisations()),
            (self.transfers.len(), self.transfers()),
        ] {
            if rows > 0 {
                parts.push(text);
            }
        }
        let views = self.views();
        if !views.is_empty() {
            let rows = views.into_iter().map(ServedView::cells);
            parts.push(table(["view", "group", "signed", "is"], rows));
        }
        if !self.warnings.is_empty() {
            let lines = self.warnings.iter().map(|text| format!("warning: {}\n", clean(text)));
            parts.push(lines.collect());
        }
        parts.join("\n")
    }
}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut admin = context.admin()?;
        let response =
            admin.get_status(admin::GetStatusRequest {}).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Answered::from(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_says_what_holds_it_back() {
        let transfer = admin::Transfer {
            length: 1000,
            received: 250,
            class: "normal".into(),
            bits_per_second: 9_900_000,
            held: "line".into(),
            held_by: "lyon".into(),
            limit_bits_per_second: 10_000_000,
            ..admin::Transfer::default()
        };
        let text = Transfer::from(transfer.clone()).progress();
        assert!(text.contains("(25 %), 9.9Mbit/s, limit of the line at lyon (10Mbit/s)"), "{text}");
        let waits = admin::Transfer { held: "critical".into(), bits_per_second: 0, ..transfer };
        let text = Transfer::from(waits).progress();
        assert!(text.contains("nothing comes, waits for critical traffic at lyon"), "{text}");
    }

    #[test]
    fn the_disk_and_the_scrub_are_told() {
        let at = |second| {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
            Some(time.into())
        };
        let shortage = admin::DiskShortage {
            payloads: 2,
            wanted_bytes: 3 << 20,
            free_bytes: 1 << 20,
            since: at(1_700_000_000),
        };
        let text = Shortage::from(shortage).text();
        assert!(text.contains("2 payloads held back, 3.00 MiB wanted, 1.00 MiB free"), "{text}");
        let scrub = admin::Scrub {
            round_began_at: at(1_700_000_000),
            blobs: 1,
            bytes: 5,
            damaged: 2,
            mended: 1,
            ..admin::Scrub::default()
        };
        let text = Scrub::from(scrub).text().expect("begun");
        assert!(text.contains("1 blob, 5 B so far; 2 found damaged ever, 1 of them"), "{text}");
        let over = admin::Scrub { round_is_over: true, last_round_ended_at: at(1), ..scrub };
        assert!(Scrub::from(over).text().expect("over").starts_with("all read by "));
    }

    #[test]
    fn an_empty_answer_still_reads_well() {
        let answered = Answered::from(admin::GetStatusResponse {
            mesh_name: "Example Corp".into(),
            warnings: vec!["the timestamp expires in an hour".into()],
            ..admin::GetStatusResponse::default()
        });
        let text = answered.text();
        assert!(text.contains("Example Corp") && !text.contains("TRANSFER"), "{text}");
        assert!(text.ends_with("warning: the timestamp expires in an hour\n"), "{text}");
        assert!(!text.contains("scrub") && !text.contains("disk"), "{text}");
        let json = serde_json::to_value(&answered).expect("JSON");
        for key in ["mesh_id", "node", "status", "roles", "transfers", "synchronisations", "blobs"]
        {
            assert!(json.get(key).is_some(), "{key}");
        }
    }
}
