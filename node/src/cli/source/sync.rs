//! `patchmesh source sync`.

use patchmesh_proto::admin::{self, sync_source_response::Event};
use patchmesh_topology::name::SourceName;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::progress::Progress;
use crate::cli::{Context, grpc};

#[derive(Debug, Serialize)]
struct Synchronised {
    outcomes: Vec<Outcome>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    source: String,
    unchanged: bool,
    revisions_new: u64,
    revisions_updated: u64,
    revisions_known: u64,
    generation: u64,
    seconds: f64,
}

impl From<admin::SyncOutcome> for Outcome {
    fn from(outcome: admin::SyncOutcome) -> Self {
        Self {
            source: outcome.source,
            unchanged: outcome.unchanged,
            revisions_new: outcome.revisions_new,
            revisions_updated: outcome.revisions_updated,
            revisions_known: outcome.revisions_known,
            generation: outcome.generation,
            seconds: outcome.seconds,
        }
    }
}

impl Answer for Synchronised {
    fn text(&self) -> String {
        self.outcomes.iter().map(Outcome::line).collect()
    }
}

impl Outcome {
    fn line(&self) -> String {
        if self.unchanged {
            return format!("{}: unchanged ({:.1} s)\n", self.source, self.seconds);
        }
        format!(
            "{}: {} new, {} updated, {} known; generation {} ({:.1} s)\n",
            self.source,
            self.revisions_new,
            self.revisions_updated,
            self.revisions_known,
            self.generation,
            self.seconds
        )
    }
}

pub(super) async fn run(name: Option<SourceName>, context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let bar = context.progress.bytes("asking");
    let request =
        admin::SyncSourceRequest { name: name.map(|name| name.to_string()).unwrap_or_default() };
    let mut stream = admin.sync_source(request).await.map_err(grpc::failure)?.into_inner();
    let mut outcomes = Vec::new();
    let failed = loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => break None,
            Err(status) => break Some(grpc::failure(status)),
        };
        match message.event {
            Some(Event::Progress(progress)) => {
                bar.set_message(format!("{} {}", progress.source, progress.step));
                Progress::set(&bar, progress.bytes, progress.total_bytes);
            }
            Some(Event::Outcome(outcome)) => outcomes.push(Outcome::from(outcome)),
            None => {}
        }
    };
    bar.finish_and_clear();
    if let Some(failure) = failed {
        // The other sources are told of all the same.
        if !outcomes.is_empty() {
            context.output.print(&Synchronised { outcomes })?;
        }
        return Err(failure.into());
    }
    if outcomes.is_empty() {
        return Err(
            Exit::NotFound.error("there is no source yet; see `patchmesh source add apt --help`")
        );
    }
    context.output.print(&Synchronised { outcomes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_says_what_changed() {
        let outcome = Outcome::from(admin::SyncOutcome {
            source: "vendor".into(),
            revisions_new: 3,
            revisions_updated: 1,
            revisions_known: 9,
            generation: 4,
            seconds: 0.25,
            ..admin::SyncOutcome::default()
        });
        assert_eq!(outcome.line(), "vendor: 3 new, 1 updated, 9 known; generation 4 (0.2 s)\n");
        let json = serde_json::to_value(Synchronised { outcomes: vec![outcome] }).expect("JSON");
        assert_eq!(json["outcomes"][0]["revisions_new"], 3);
    }
}
