//! `patchmesh assess show`.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::answer::{Assessed, Vulnerability};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, grpc};

/// Show what is known and judged of a revision or a vulnerability
///
/// Of a vulnerability every revision is shown that mends it; what feeds say of
/// it besides, the primary alone knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh assess show debian:bookworm-security/openssl@3.0.15-1~deb12u1
  patchmesh assess show CVE-2024-21338 --output json

JSON:
  {\"assessments\": [{\"revision\", \"severity\", \"basis\", \"vendor_severity\", \"omitted\",
   \"vulnerabilities\": [VULNERABILITY],
   \"judgement\": {\"risk\", \"exposure\", \"by\", \"at\", \"note\"} or null}],
   \"vulnerability\": VULNERABILITY or null}
  VULNERABILITY: {\"cve\", \"severity\", \"severity_source\", \"cvss\": {\"score\", \"vector\", \"source\"} or
   null, \"exploited\": {\"added\", \"due\", \"ransomware\", \"source\"} or null,
   \"epss\": {\"score\", \"percentile\", \"date\", \"source\"} or null, \"links\": [TEXT]}")]
pub(crate) struct Show {
    /// A revision, as `update list` shows it, or a CVE
    #[arg(value_name = "REVISION|CVE")]
    subject: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    assessments: Vec<Assessed>,
    vulnerability: Option<Vulnerability>,
    #[serde(skip)]
    is_cve: bool,
}

impl Answer for Shown {
    fn text(&self) -> String {
        if !self.is_cve {
            return self.assessments.iter().map(Assessed::text).collect();
        }
        let mut text = match &self.vulnerability {
            Some(one) => table(Vulnerability::HEADER, [one.cells()]),
            None => String::new(),
        };
        if self.assessments.is_empty() {
            text.push_str("\nno revision of the catalogue is known to mend it\n");
            return text;
        }
        let rows = self.assessments.iter().map(|one| {
            let judged = one.judgement.as_ref().map_or("-", |judgement| judgement.risk);
            [one.revision.clone(), one.rating(), judged.to_owned()]
        });
        text.push_str(&format!("\n{}", table(["mended by", "severity", "judged"], rows)));
        text
    }
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut assessments = context.assessments()?;
        let request = admin::GetAssessmentRequest { subject: self.subject.clone() };
        let response = assessments.get_assessment(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        context.output.print(&Shown {
            assessments: response.assessments.into_iter().map(Assessed::from).collect(),
            vulnerability: response.vulnerability.map(Vulnerability::from),
            is_cve: !self.subject.contains(':'),
        })
    }
}
