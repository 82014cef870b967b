//! `patchmesh report import-iis`: status in old web logs.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use patchmesh_proto::admin;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::legacy::book::Line;
use patchmesh_topology::legacy::log::{Fault, MAX_LINE, Reader};
use serde::Serialize;

use crate::cli::connect::Machines;
use crate::cli::output::{Answer, fields, table};
use crate::cli::{Context, grpc};

/// Lines of one call.
const AT_ONCE: usize = 500;

/// Lines that could not be read of which the answer says why.
const MAX_SHOWN: usize = 100;

/// Read status of clients of the predecessor from a web log
///
/// The log is in the W3C extended format, as IIS writes it, and has the fields date, time, c-ip,
/// cs-uri-stem and cs-uri-query. Lines that ask for /wutrack.bin are sent to the node, which
/// keeps the last ones and shows them, unverified, in `patchmesh report legacy`; others are left
/// out. What the node keeps already is not taken again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report import-iis /srv/iis/ex030801.log

JSON:
  {\"file\", \"lines\", \"read\", \"others\", \"skipped\",
   \"faults\": [{\"line\", \"problem\"}], \"taken\", \"known\", \"dropped\"}
  \"read\" is how many had a status, \"skipped\" how many could not be read: \"faults\" has the
  first 100; of what was read, \"taken\" are new here, and \"dropped\" made room for them")]
pub(crate) struct ImportIis {
    /// The log
    file: PathBuf,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    file: String,
    lines: u64,
    read: u64,
    others: u64,
    skipped: u64,
    faults: Vec<Skipped>,
    taken: u64,
    known: u64,
    dropped: u64,
}

#[derive(Debug, Serialize)]
struct Skipped {
    line: u64,
    problem: String,
}

impl Answer for Summary {
    fn text(&self) -> String {
        let mut text = fields([
            ("file", Some(self.file.clone())),
            ("lines", Some(self.lines.to_string())),
            ("read", Some(format!("{} with a status, unverified", self.read))),
            ("others", Some(self.others.to_string())),
            ("skipped", Some(self.skipped.to_string())),
            ("taken", Some(self.taken.to_string())),
            ("known", Some(self.known.to_string())),
            ("dropped", Some(format!("{} to make room", self.dropped))),
        ]);
        if !self.faults.is_empty() {
            let rows = self.faults.iter().map(|one| [one.line.to_string(), one.problem.clone()]);
            text.push('\n');
            text.push_str(&table(["line", "skipped because"], rows));
        }
        text
    }
}

impl ImportIis {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let name = self.file.display().to_string();
        let file = File::open(&self.file).with_context(|| format!("cannot open {name}"))?;
        let mut client = context.machines()?;
        let mut log = Lines { file: BufReader::new(file), reader: Reader::default() };
        let mut summary = Summary { file: name.clone(), ..Summary::default() };
        let mut batch = Vec::new();
        while let Some(line) = log.next().with_context(|| format!("cannot read {name}"))? {
            summary.lines += 1;
            match line {
                Ok(None) => summary.others += 1,
                Ok(Some(line)) => {
                    summary.read += 1;
                    batch.push(to_wire(&line));
                }
                Err(Problem::Line(Fault::NoFields)) => {
                    let number = summary.lines;
                    bail!("{}: {}", place(&self.file, number), Fault::NoFields);
                }
                Err(problem) => summary.skip(problem),
            }
            if batch.len() == AT_ONCE {
                summary.send(&mut client, std::mem::take(&mut batch)).await?;
            }
        }
        summary.send(&mut client, batch).await?;
        context.output.print(&summary)
    }
}

fn place(file: &Path, line: u64) -> String {
    format!("{}, line {line}", file.display())
}

fn to_wire(line: &Line) -> admin::LegacyLine {
    admin::LegacyLine {
        address: line.address.to_string(),
        at: Some(timestamp_to_wire(line.at)),
        query: line.query.clone(),
    }
}

impl Summary {
    fn skip(&mut self, problem: Problem) {
        self.skipped += 1;
        if self.faults.len() < MAX_SHOWN {
            self.faults.push(Skipped { line: self.lines, problem: problem.to_string() });
        }
    }

    async fn send(
        &mut self,
        client: &mut Machines,
        lines: Vec<admin::LegacyLine>,
    ) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let request = admin::ImportLegacyStatusRequest { lines };
        let response = client.import_legacy_status(request).await.map_err(grpc::failure)?;
        let admin::ImportLegacyStatusResponse { taken, known, dropped } = response.into_inner();
        self.taken += taken;
        self.known += known;
        self.dropped += dropped;
        Ok(())
    }
}

/// Why a line is skipped.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Line(#[from] Fault),
    #[error("it has more than {MAX_LINE} bytes")]
    Long,
}

/// The lines of a log, one at a time, however long the log is.
struct Lines<R> {
    file: R,
    reader: Reader,
}

impl<R: BufRead> Lines<R> {
    /// The next line as it reads; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Result<Option<Line>, Problem>>> {
        let mut line = Vec::new();
        (&mut self.file).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() > MAX_LINE && !line.ends_with(b"\n") {
            self.file.skip_until(b'\n')?;
            return Ok(Some(Err(Problem::Long)));
        }
        let line = self.reader.read(&String::from_utf8_lossy(&line));
        Ok(Some(line.map_err(Problem::Line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_left_out_and_the_next_is_read() {
        let status = "2003-08-01 15:06:35 10.0.0.7 /wutrack.bin V=1&U=a&A=i&S=s";
        let text = format!(
            "#Fields: date time c-ip cs-uri-stem cs-uri-query\n{}\n{status}\nx\n{status}",
            "x".repeat(3 * MAX_LINE)
        );
        let mut lines = Lines { file: text.as_bytes(), reader: Reader::default() };
        let mut next = || lines.next().expect("read");
        assert!(matches!(next(), Some(Ok(None))));
        assert!(matches!(next(), Some(Err(Problem::Long))));
        assert!(matches!(next(), Some(Ok(Some(_)))));
        assert!(matches!(next(), Some(Ok(None))));
        assert!(matches!(next(), Some(Ok(Some(_)))), "also without an end of line");
        assert!(next().is_none());
    }
}
