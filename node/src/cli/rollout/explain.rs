//! `patchmesh rollout explain`: what would have to happen next.

use clap::{ArgGroup, Args};
use patchmesh_proto::admin;
use patchmesh_topology::name::{GroupName, MachineName, RolloutName, Site};
use serde::Serialize;

use super::show::{self, Standing};
use crate::cli::output::Answer;
use crate::cli::{Context, grpc};

/// Revisions that one line names.
const NAMED: usize = 3;

/// Say what would have to happen next, and why it does not
///
/// With --site: what of it is open there, and why the rest is not, as stock
/// clients see it. With --machine: what that machine may do, and when, by the
/// rules that it follows itself; the primary knows where a machine is that has
/// joined, elsewhere and for others say it with --site and --group.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("whose").multiple(true).args(["site", "machine"]))]
#[command(after_help = "\
Examples:
  patchmesh rollout explain december
  patchmesh rollout explain december --site emea/fr/paris
  patchmesh rollout explain december --machine till-17
  patchmesh rollout explain december --site emea/fr/paris --machine till-17 --group tills

JSON:
  {\"rollout\", \"headline\", \"waves\": [{\"name\", \"status\", \"next\": [TEXT]}],
   \"at\": SITE or null,
   \"site\": [{\"group\", \"open\", \"text\", \"revisions\": [REVISION]}] or null}
  \"at\" is the site that was asked about, \"site\" what is so there.")]
pub(crate) struct Explain {
    /// Its name
    name: RolloutName,
    /// What is open at this site
    #[arg(long, value_name = "SITE")]
    site: Option<Site>,
    /// For this group [default: every group of the stage]
    #[arg(long, value_name = "GROUP", requires = "whose")]
    group: Option<GroupName>,
    /// For this machine
    #[arg(long, value_name = "NAME")]
    machine: Option<MachineName>,
}

#[derive(Debug, Serialize)]
struct Explained {
    rollout: String,
    headline: String,
    waves: Vec<Note>,
    at: Option<String>,
    site: Option<Vec<SiteNote>>,
}

#[derive(Debug, Serialize)]
struct Note {
    name: String,
    status: String,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SiteNote {
    group: String,
    open: bool,
    text: String,
    revisions: Vec<String>,
}

impl From<admin::SiteAnswer> for SiteNote {
    fn from(one: admin::SiteAnswer) -> Self {
        Self { group: one.group, open: one.open, text: one.text, revisions: one.revisions }
    }
}

impl Explained {
    fn of(standing: Standing, asked: Option<(String, Vec<SiteNote>)>) -> Self {
        let (at, site) = asked.unzip();
        let note =
            |wave: show::WaveRow| Note { name: wave.name, status: wave.status, next: wave.next };
        Self {
            rollout: standing.name,
            headline: standing.headline,
            waves: standing.waves.into_iter().map(note).collect(),
            at,
            site,
        }
    }
}

impl Answer for Explained {
    fn text(&self) -> String {
        let mut text = format!("{}.\n", self.headline);
        for note in &self.waves {
            text.push_str(&format!("wave {}: {}\n", note.name, note.status));
            for next in &note.next {
                text.push_str(&format!("  {next}.\n"));
            }
        }
        let (Some(site), Some(at)) = (&self.site, &self.at) else { return text };
        text.push_str(&format!("at {at}:\n"));
        if site.is_empty() {
            text.push_str("nothing is approved by it\n");
        }
        for one in site {
            let named: Vec<&str> = one.revisions.iter().take(NAMED).map(String::as_str).collect();
            let more = match one.revisions.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            text.push_str(&format!("{}: {}{more}: {}\n", one.group, named.join(", "), one.text));
        }
        text
    }
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut standings = show::ask(context, Some(&self.name)).await?;
        let asked = match (&self.site, &self.machine) {
            (None, None) => None,
            _ => Some(self.ask(context).await?),
        };
        let standing = standings.rollouts.pop().ok_or_else(|| {
            crate::cli::exit::Exit::NotFound.error(format!("there is no rollout {}", self.name))
        })?;
        context.output.print(&Explained::of(standing, asked))
    }

    async fn ask(&self, context: &Context) -> anyhow::Result<(String, Vec<SiteNote>)> {
        let text = |name: Option<String>| name.unwrap_or_default();
        let request = admin::ExplainSiteRequest {
            name: self.name.to_string(),
            site: text(self.site.as_ref().map(ToString::to_string)),
            machine: text(self.machine.as_ref().map(ToString::to_string)),
            group: text(self.group.as_ref().map(ToString::to_string)),
        };
        let response = context.rollouts()?.explain_site(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        Ok((response.site, response.answers.into_iter().map(SiteNote::from).collect()))
    }
}
