//! `patchmesh demo`: a whole company on one machine.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::exit::Exit;
use super::output::{Answer, Form, table};
use super::signals;
use crate::demo::report::Report;
use crate::demo::{self, Options, Told};

/// Run a whole company on this machine and watch it work
///
/// Makes a vendor's signed repository and a second vendor's folder of plain
/// files in two languages, runs a primary, a validation node, a
/// region hub and three branches as processes of their own, approves and
/// promotes updates and lets real apt clients, and curl, fetch them. Goes on running
/// until Ctrl-C, so that you can look around.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh demo
  patchmesh demo --once --output json
  patchmesh demo --directory /tmp/company

JSON:
  {\"ok\", \"problem\" or null, \"seconds\", \"folder\",
   \"nodes\": [{\"name\", \"role\", \"site\", \"url\", \"pid\", \"generation\",
   \"approval_set\": {STAGE: {\"version\", \"digest\"}}, \"converged\", \"problem\"}],
   \"machines\": [{\"name\", \"group\", \"node\", \"updates\": [PACKAGE=VERSION], \"ok\", \"problem\"}],
   \"files\": {\"updated\": [REVISION], \"supersedes\": [TEXT], \"not_carried\": [NODE: FILE]}}")]
pub(crate) struct Demo {
    /// End when the story is told: exits 0 if all of it held
    #[arg(long)]
    once: bool,
    /// Put everything here, in a new folder that stays [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    keep: bool,
}

impl Answer for Report {
    fn text(&self) -> String {
        let nodes = table(
            ["node", "role", "site", "generation", "validation", "production", "state"],
            self.nodes.iter().map(|node| {
                let set = |stage: &str| {
                    node.approval_set.get(stage).map_or_else(|| "-".to_owned(), |set| set.short())
                };
                let state = match &node.problem {
                    Some(problem) => problem.clone(),
                    None => "converged".to_owned(),
                };
                [
                    node.name.clone(),
                    node.role.to_owned(),
                    node.site.clone(),
                    node.generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                    set("validation"),
                    set("production"),
                    state,
                ]
            }),
        );
        let machines = table(
            ["machine", "group", "node", "got"],
            self.machines.iter().map(|machine| {
                let got = machine.problem.clone().unwrap_or_else(|| machine.updates.join(" "));
                [machine.name.clone(), machine.group.clone(), machine.node.clone(), got]
            }),
        );
        format!("\n{nodes}\n{machines}\n{:.1} s in all\n", self.seconds)
    }
}

impl Demo {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let options = Options { directory: self.directory, keep: self.keep };
        let stop = signals::first_to_stop()?;
        tokio::pin!(stop);
        let mut told = tokio::select! {
            told = demo::tell(&options, &context.progress) => told?,
            // What was begun goes with its handles: every node's standard
            // input ends here.
            _ = &mut stop => return Err(Exit::Interrupted.error("interrupted")),
        };
        context.progress.clear();
        context.output.print(&told.report)?;
        if !self.once && told.problem.is_none() {
            look_around(context, &mut told, stop.as_mut()).await;
        }
        let problem = told.problem.take();
        told.stop().await;
        match problem {
            None => Ok(()),
            Some(problem) => Err(anyhow::Error::new(problem).context("the demo did not hold")),
        }
    }
}

/// Waits for the user, and tells of nodes that end meanwhile.
async fn look_around(
    context: &Context,
    told: &mut Told,
    mut stop: std::pin::Pin<&mut impl Future<Output = &'static str>>,
) {
    if context.output.form() == Form::Table {
        context.output.remark(&told.hints());
        context.output.remark("Ctrl-C stops everything.");
    }
    loop {
        tokio::select! {
            _ = &mut stop => break,
            ended = told.node_ended() => context.output.remark(&ended.to_string()),
        }
    }
    context.output.remark("stopping");
}
