//! `patchmesh assess import`: files of feeds, read here and sent to the
//! primary, or fetched by it.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use patchmesh_proto::admin;
use patchmesh_proto::admin::import_feed_request::Part;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::cli::exit::Exit;
use crate::cli::output::Answer;
use crate::cli::{Context, answer, grpc};

/// Bytes of a file in one message.
const PART: usize = 256 << 10;
/// Messages on their way.
const QUEUE: usize = 8;

/// Take in what a feed says of vulnerabilities
///
/// Files are read here and sent to the primary; a URL is fetched by the primary.
/// Either all of it counts or nothing. KEV and EPSS replace what was known,
/// CSAF and OSV their own earlier versions. Assessments of revisions follow.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh assess import --kev known_exploited_vulnerabilities.json
  patchmesh assess import --epss https://feeds.example/epss_scores-current.csv.gz
  patchmesh assess import --osv all/ more.json

JSON:
  {\"kind\", \"entries\", \"older\", \"revisions_changed\", \"generation\"}")]
pub(crate) struct Import {
    #[command(flatten)]
    files: Files,
    /// Take a KEV or EPSS file with much fewer entries than the one before
    #[arg(long)]
    accept_smaller: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Files {
    /// Known exploited vulnerabilities, JSON of CISA
    #[arg(long, value_name = "FILE|URL")]
    kev: Option<String>,
    /// Likelihoods of exploitation, CSV of FIRST, packed or not
    #[arg(long, value_name = "FILE|URL")]
    epss: Option<String>,
    /// Advisories of vendors, one a file; a folder stands for its .json files
    #[arg(long, value_name = "FILE|FOLDER|URL", num_args = 1..)]
    csaf: Vec<String>,
    /// Entries of OSV, JSON; a folder stands for its .json files
    #[arg(long, value_name = "FILE|FOLDER|URL", num_args = 1..)]
    osv: Vec<String>,
}

/// What an import changed.
#[derive(Debug, Serialize)]
pub(super) struct Imported {
    kind: &'static str,
    entries: u64,
    older: u64,
    revisions_changed: u64,
    generation: u64,
}

/// The word for a kind of feed.
pub(super) fn kind(kind: admin::FeedKind) -> &'static str {
    match kind {
        admin::FeedKind::Kev => "kev",
        admin::FeedKind::Epss => "epss",
        admin::FeedKind::Csaf => "csaf",
        admin::FeedKind::Osv => "osv",
        admin::FeedKind::Unspecified => "unknown",
    }
}

impl From<admin::ImportOutcome> for Imported {
    fn from(outcome: admin::ImportOutcome) -> Self {
        Self {
            kind: kind(outcome.kind()),
            entries: outcome.entries,
            older: outcome.older,
            revisions_changed: outcome.revisions_changed,
            generation: outcome.generation,
        }
    }
}

impl Answer for Imported {
    fn text(&self) -> String {
        let older = match self.older {
            0 => String::new(),
            older => format!(", {older} of them older than what is known"),
        };
        format!(
            "{}: {} read{older}; {} assessed anew; generation {}\n",
            self.kind,
            if self.entries == 1 {
                "1 entry".to_owned()
            } else {
                format!("{} entries", self.entries)
            },
            answer::counted(self.revisions_changed, "revision"),
            self.generation
        )
    }
}

impl Files {
    fn chosen(self) -> (admin::FeedKind, Vec<String>) {
        let one = |name: Option<String>| name.into_iter().collect::<Vec<_>>();
        let all = [
            (admin::FeedKind::Kev, one(self.kev)),
            (admin::FeedKind::Epss, one(self.epss)),
            (admin::FeedKind::Csaf, self.csaf),
            (admin::FeedKind::Osv, self.osv),
        ];
        let chosen = all.into_iter().find(|(_, names)| !names.is_empty());
        chosen.unwrap_or((admin::FeedKind::Unspecified, Vec::new()))
    }
}

impl Import {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (kind, names) = self.files.chosen();
        let options =
            admin::ImportOptions { kind: kind.into(), accept_smaller: self.accept_smaller };
        let mut assessments = context.assessments()?;
        let outcome = match names.as_slice() {
            [url] if is_url(url) => {
                let url = url.clone();
                let request = admin::FetchFeedRequest { options: Some(options), url };
                assessments.fetch_feed(request).await.map_err(grpc::failure)?.into_inner().outcome
            }
            names if names.iter().any(|name| is_url(name)) => {
                return Err(Exit::Usage.error("a URL is imported alone"));
            }
            names => {
                let files = files(names)?;
                let (sender, messages) = mpsc::channel(QUEUE);
                let reading = tokio::task::spawn_blocking(move || send(options, &files, &sender));
                let answer = assessments.import_feed(ReceiverStream::new(messages)).await;
                // What can't be read here is the better explanation.
                reading.await??;
                answer.map_err(grpc::failure)?.into_inner().outcome
            }
        };
        context.output.print(&Imported::from(outcome.unwrap_or_default()))
    }
}

fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

/// The files themselves, folders opened.
fn files(names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in names {
        let path = Path::new(name);
        if !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let problem = || format!("cannot read folder {name}");
        let entries = std::fs::read_dir(path).with_context(problem)?;
        let mut inside = Vec::new();
        for entry in entries {
            let file = entry.with_context(problem)?.path();
            if file.extension().is_some_and(|extension| extension == "json") {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Exit::NotFound.error(format!("folder {name} has no .json file")));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Sends the files; ends early, without the end of the import, when one can't
/// be read or nobody listens any more.
fn send(
    options: admin::ImportOptions,
    files: &[PathBuf],
    sender: &mpsc::Sender<admin::ImportFeedRequest>,
) -> anyhow::Result<()> {
    let tell = |part| sender.blocking_send(admin::ImportFeedRequest { part: Some(part) }).is_ok();
    if !tell(Part::Options(options)) {
        return Ok(());
    }
    for path in files {
        let problem = || format!("cannot read {}", path.display());
        let mut file = std::fs::File::open(path).with_context(problem)?;
        if !tell(Part::File(path.display().to_string())) {
            return Ok(());
        }
        loop {
            let mut part = Vec::with_capacity(PART);
            (&mut file).take(PART as u64).read_to_end(&mut part).with_context(problem)?;
            if part.is_empty() {
                break;
            }
            if !tell(Part::Bytes(part.into())) {
                return Ok(());
            }
        }
    }
    // More files than fit are refused long before.
    tell(Part::Files(u32::try_from(files.len()).unwrap_or(u32::MAX)));
    Ok(())
}
