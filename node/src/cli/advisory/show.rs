//! `patchmesh advisory show`.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::AdvisoryName;
use serde::Serialize;

use super::list::Withdrawn;
use crate::cli::assess::answer::severity;
use crate::cli::output::{Answer, clean_lines, fields};
use crate::cli::{Context, answer, grpc};

/// Show an advisory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh advisory show 2026-014-openssl
  patchmesh advisory show 2026-014-openssl --version 1

JSON:
  {\"id\", \"version\", \"latest\", \"title\", \"severity\", \"updates\": [TEXT], \"cves\": [TEXT], \"flaw\",
   \"exploits\", \"scanners\": [TEXT], \"workarounds\": [TEXT], \"side_effects\": [TEXT], \"author\",
   \"published_at\", \"withdrawn\": {\"by\", \"at\", \"comment\"} or null}")]
pub(crate) struct Show {
    /// The advisory
    id: AdvisoryName,
    /// One of its versions [default: the latest]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    version: u32,
}

#[derive(Debug, Serialize)]
struct Shown {
    id: String,
    version: u32,
    latest: u32,
    title: String,
    severity: Option<&'static str>,
    updates: Vec<String>,
    cves: Vec<String>,
    flaw: String,
    exploits: String,
    scanners: Vec<String>,
    workarounds: Vec<String>,
    side_effects: Vec<String>,
    author: String,
    published_at: Option<String>,
    withdrawn: Option<Withdrawn>,
}

impl From<admin::GetAdvisoryResponse> for Shown {
    fn from(response: admin::GetAdvisoryResponse) -> Self {
        let advisory = response.advisory.unwrap_or_default();
        Self {
            severity: severity(advisory.severity()),
            id: advisory.name,
            version: advisory.version,
            latest: response.latest,
            title: advisory.title,
            updates: advisory.updates,
            cves: advisory.cves,
            flaw: advisory.flaw,
            exploits: advisory.exploits,
            scanners: advisory.scanners,
            workarounds: advisory.workarounds,
            side_effects: advisory.side_effects,
            author: advisory.author,
            published_at: answer::time(advisory.published_at.as_ref()),
            withdrawn: response.withdrawn.map(Withdrawn::from),
        }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
        let version = format!("{} of {}", self.version, self.latest);
        let withdrawn = self.withdrawn.as_ref().map(|one| {
            format!("{} by {}: {}", answer::or_dash(one.at.as_deref()), one.by, one.comment)
        });
        let mut text = fields([
            ("id", Some(self.id.clone())),
            ("title", Some(self.title.clone())),
            ("WITHDRAWN", withdrawn),
            ("severity", self.severity.map(str::to_owned)),
            ("version", Some(version)),
            ("published", self.published_at.clone()),
            ("author", Some(self.author.clone())),
            ("updates", list(&self.updates)),
            ("cves", list(&self.cves)),
        ]);
        let mut part = |title: &str, body: &str| {
            // Whoever wrote it, a terminal must not obey it.
            text.push_str(&format!("\n{title}\n"));
            for line in clean_lines(body.trim_end()).lines() {
                text.push_str(&format!("  {line}\n"));
            }
        };
        part("Flaw", &self.flaw);
        part("Exploits", &self.exploits);
        let lists = [
            ("Scanners", &self.scanners),
            ("Workarounds", &self.workarounds),
            ("Known side effects", &self.side_effects),
        ];
        for (title, list) in lists {
            let body = match list.is_empty() {
                true => "none known".to_owned(),
                false => list.iter().map(|one| format!("- {one}\n")).collect(),
            };
            part(title, &body);
        }
        text
    }
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request =
            admin::GetAdvisoryRequest { name: self.id.to_string(), version: self.version };
        let response = context.assessments()?.get_advisory(request).await;
        context.output.print(&Shown::from(response.map_err(grpc::failure)?.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_proto::wire;

    use super::*;

    #[test]
    fn a_terminal_does_not_obey_an_advisory() {
        let shown = Shown::from(admin::GetAdvisoryResponse {
            advisory: Some(wire::Advisory {
                name: "x".into(),
                title: "\u{1b}]0;owned\u{7}".into(),
                flaw: "one\n\u{1b}[2Jtwo\r\n\u{9b}31m".into(),
                workarounds: vec!["\u{1b}c".into()],
                ..Default::default()
            }),
            ..Default::default()
        });
        let text = shown.text();
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("  one\n") && text.contains("two"), "{text}");
    }
}
