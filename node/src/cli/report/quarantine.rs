//! `patchmesh report quarantine`: machines to be kept apart, for firewalls.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::compliance::Verdict;

use super::Area;
use crate::cli::{Context, grpc, output};
use crate::quarantine::{Format, LISTED, List};

/// List machines to be kept apart, as a firewall or a program takes it
///
/// Addresses are those that nodes saw machines come from. A node that was broken into can say what
/// it likes about its own machines, so a firewall best asks about its own site. The same lists are
/// at `https://NODE/quarantine/FORMAT?verdict=overdue&site=SITE&group=GROUP`, with a user's certificate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report quarantine --format nft --site emea/fr
  patchmesh report quarantine --verdict overdue --verdict unknown --format plain

JSON:
  {\"machines\": [{\"name\", \"group\", \"site\", \"verdict\", \"seen_at\" or null, \"address\" or null,
   \"reasons\": [..]}]}
  with --format json")]
pub(crate) struct Quarantine {
    /// How the list is written
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Which verdicts are listed [default: overdue]
    #[arg(long, value_name = "VERDICT")]
    verdict: Vec<Verdict>,
    #[command(flatten)]
    area: Area,
}

impl Quarantine {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let verdicts = if self.verdict.is_empty() { LISTED.to_vec() } else { self.verdict };
        let request = admin::ListVerdictsRequest {
            scope: Some(self.area.into_scope()),
            verdicts: verdicts.iter().map(|verdict| verdict.as_str().to_owned()).collect(),
            ..admin::ListVerdictsRequest::default()
        };
        let response = context.compliance()?.list_verdicts(request).await;
        let mut stream = response.map_err(grpc::failure)?.into_inner();
        let mut list = List::default();
        while let Some(machine) = stream.message().await.map_err(grpc::failure)? {
            list.push(machine);
        }
        output::write(&list.render(self.format)?)
    }
}
