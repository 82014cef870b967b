//! `patchmesh assess set`: the company's own judgement.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use patchmesh_proto::{admin, wire};
use patchmesh_topology::assessment::Risk;
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Judge what a revision means to the company
///
/// The judgement counts more than the vendor's rating and any score. It changes
/// no revision and approves nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh assess set debian:bookworm-security/openssl@3.0.15-1~deb12u1 --risk important \\
    --exposure 340 --note 'every web server; not reachable from outside'
  patchmesh assess set vendor:stable/toolbar@1.0-1 --risk not-applicable --note 'not installed here'
  patchmesh assess set vendor:stable/toolbar@1.0-1 --clear

JSON:
  {\"revision\", \"risk\" or null, \"generation\"}")]
pub(crate) struct Set {
    /// The revision, as `update list` shows it
    revision: RevisionId,
    /// critical, important, moderate, low, none or not-applicable
    #[arg(long, required_unless_present = "clear")]
    risk: Option<Risk>,
    /// Who is exposed: a number of machines, or words
    #[arg(long, value_name = "COUNT|TEXT")]
    exposure: Option<String>,
    /// Why; whoever asks later wants to know
    #[arg(long, required_unless_present = "clear", value_parser = NonEmptyStringValueParser::new())]
    note: Option<String>,
    /// Take the judgement back
    #[arg(long, conflicts_with_all = ["risk", "exposure", "note"])]
    clear: bool,
}

#[derive(Debug, Serialize)]
struct Judged {
    revision: String,
    risk: Option<&'static str>,
    generation: u64,
}

impl Answer for Judged {
    fn text(&self) -> String {
        let risk = self.risk.unwrap_or("not judged");
        format!("{}: {risk}; generation {}\n", self.revision, self.generation)
    }
}

impl Set {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let risk = self.risk.map_or(wire::Risk::Unspecified, Into::into);
        let request = admin::JudgeRequest {
            revision: self.revision.to_string(),
            risk: risk.into(),
            exposure: self.exposure.unwrap_or_default(),
            note: self.note.unwrap_or_default(),
            clear: self.clear,
        };
        let mut assessments = context.assessments()?;
        let response = assessments.judge(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Judged {
            revision: self.revision.to_string(),
            risk: self.risk.map(Risk::as_str),
            generation: response.generation,
        })
    }
}
