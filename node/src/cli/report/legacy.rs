//! `patchmesh report legacy`: status of clients of the predecessor, unverified.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

/// Show status that clients of the predecessor sent to this node, unverified
///
/// It came as `GET /wutrack.bin`, or was read from a web log with `patchmesh report import-iis`.
/// Anybody can send such a line under any name and nobody signed it, so it is in no other count,
/// opens no wave and proves nothing. Each node keeps its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report legacy
  patchmesh report legacy --client 8b4e1c2f5d2b424a9a7a5f1d5a4f0f3e --limit 1000 --node paris

JSON:
  {\"verified\": false, \"statuses\": [STATUS], \"counts\": [{\"activity\", \"outcome\", \"statuses\"}],
   \"total\", \"kept\", \"taken\", \"dropped\", \"refused\"}
  STATUS: {\"verified\": false, \"client\", \"address\", \"at\", \"imported\", \"activity\",
   \"outcome\", \"error\" such as \"0x80070643\" or null, \"item\", \"device\", \"platform\",
   \"language\", \"program\", \"message\", \"proxy\"}
  \"total\" is how many fit, and \"counts\" counts these; \"kept\" is all that the node keeps of
  what it has \"taken\"; what was \"dropped\" made room for others, what was \"refused\" came too fast")]
pub(crate) struct Legacy {
    /// Only of this client: its ping id, or its address
    #[arg(long, value_name = "ID|ADDRESS", default_value = "", hide_default_value = true)]
    client: String,
    /// The last ones of those that fit
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Shown {
    verified: bool,
    statuses: Vec<Status>,
    counts: Vec<Count>,
    total: u64,
    kept: u64,
    taken: u64,
    dropped: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Status {
    verified: bool,
    client: String,
    address: String,
    at: Option<String>,
    imported: bool,
    activity: String,
    outcome: String,
    error: Option<String>,
    item: String,
    device: String,
    platform: String,
    language: String,
    program: String,
    message: String,
    proxy: String,
}

#[derive(Debug, Serialize)]
struct Count {
    activity: String,
    outcome: String,
    statuses: u64,
}

impl From<admin::LegacyStatus> for Status {
    fn from(one: admin::LegacyStatus) -> Self {
        Self {
            verified: false,
            at: answer::time(one.at.as_ref()),
            error: (one.error != 0).then(|| format!("{:#010x}", one.error)),
            client: one.client,
            address: one.address,
            imported: one.imported,
            activity: one.activity,
            outcome: one.outcome,
            item: one.item,
            device: one.device,
            platform: one.platform,
            language: one.language,
            program: one.program,
            message: one.message,
            proxy: one.proxy,
        }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let header = [
            "unverified client",
            "address",
            "at",
            "activity",
            "outcome",
            "error",
            "item",
            "message",
        ];
        let rows = self.statuses.iter().map(|one| {
            [
                one.client.clone(),
                one.address.clone(),
                one.at.clone().unwrap_or_default(),
                one.activity.clone(),
                one.outcome.clone(),
                one.error.clone().unwrap_or_default(),
                one.item.clone(),
                one.message.clone(),
            ]
        });
        let counts = self
            .counts
            .iter()
            .map(|one| [one.activity.clone(), one.outcome.clone(), one.statuses.to_string()]);
        let (statuses, counts) =
            (table(header, rows), table(["activity", "outcome", "statuses"], counts));
        format!(
            "{statuses}\n{counts}\nUnverified: nobody signed these, and they are in no other count.\n\
             {} of {} that fit are shown; this node keeps {} of {}: {} were dropped to make room; {} were refused since too many came\n",
            self.statuses.len(),
            self.total,
            self.kept,
            self.taken,
            self.dropped,
            self.refused,
        )
    }
}

impl Legacy {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::ListLegacyStatusRequest { client: self.client, limit: self.limit };
        let response = context.machines()?.list_legacy_status(request).await;
        let response = response.map_err(grpc::failure)?.into_inner();
        let count = |one: admin::LegacyCount| Count {
            activity: one.activity,
            outcome: one.outcome,
            statuses: one.statuses,
        };
        context.output.print(&Shown {
            verified: false,
            statuses: response.statuses.into_iter().map(Status::from).collect(),
            counts: response.counts.into_iter().map(count).collect(),
            total: response.total,
            kept: response.kept,
            taken: response.taken,
            dropped: response.dropped,
            refused: response.refused,
        })
    }
}
