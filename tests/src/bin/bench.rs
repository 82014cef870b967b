//! Measures Patchmesh beside its peers: `make bench [ROWS=path]`.
//!
//! Prints the table, writes `docs/benchmarks.md` and, after each row,
//! `target/bench/results.json`; both keep the rows that this run left out as an
//! earlier run measured them. Exits 1 when a bar was not reached.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use patchmesh_tests::bench::{
    Machine, Measurement, Scale, commands, complete, markdown, select, table,
};

/// Measures Patchmesh beside its peers in the same run.
#[derive(Parser)]
#[command(after_help = "Examples:\n  patchmesh-bench\n  patchmesh-bench --rows path.1")]
struct Options {
    /// Ids or topics, separated by commas [default: all]
    #[arg(long)]
    rows: Option<String>,
    /// Small sizes and few turns, to check the rows themselves; the figures mean
    /// nothing and go to no page
    #[arg(long)]
    quick: bool,
    /// Only list the rows
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<bool> {
    let rows = select(options.rows.as_deref())?;
    if options.list {
        for row in rows {
            println!("{:8} {}", row.id, row.about);
        }
        return Ok(true);
    }
    let scale = if options.quick { Scale::Quick } else { Scale::Full };
    let machine = Machine::this().await?;
    let results = Results::open(scale)?;
    let mut measurements = Vec::new();
    for row in rows {
        eprintln!("bench: {} {}", row.id, row.about);
        measurements.extend(row.measure(scale).await);
        // After each row: what comes may be interrupted.
        results.write(&measurements)?;
    }
    print!("{}", table(&measurements));
    if scale == Scale::Quick {
        println!("\nA quick run checks the rows; its figures mean nothing.");
    } else {
        let page = root().join("docs/benchmarks.md");
        let text = markdown(&machine, &results.all(&measurements), &results.commands());
        fs::write(&page, text).with_context(|| format!("could not write {}", page.display()))?;
    }
    Ok(measurements.iter().all(|measurement| measurement.pass != Some(false)))
}

/// What was measured, in `target/bench`: a run of some rows keeps the others.
struct Results {
    folder: PathBuf,
    scale: Scale,
    earlier: Vec<Measurement>,
    /// What peers ran, then.
    commands: BTreeSet<String>,
}

impl Results {
    fn open(scale: Scale) -> Result<Self> {
        let folder = root().join("target/bench");
        fs::create_dir_all(&folder)?;
        // A table of another form is measured anew.
        let earlier = fs::read(folder.join("results.json")).unwrap_or_default();
        let earlier = serde_json::from_slice(&earlier).unwrap_or_default();
        let commands = fs::read_to_string(folder.join("commands.sh")).unwrap_or_default();
        let commands = commands.lines().map(str::to_owned).collect();
        Ok(Self { folder, scale, earlier, commands })
    }

    fn all(&self, measurements: &[Measurement]) -> Vec<Measurement> {
        complete(&self.earlier, measurements)
    }

    fn commands(&self) -> BTreeSet<String> {
        self.commands.iter().cloned().chain(commands()).collect()
    }

    fn write(&self, measurements: &[Measurement]) -> Result<()> {
        if self.scale == Scale::Quick {
            return write_json(&self.folder.join("quick.json"), measurements);
        }
        let commands: String = self.commands().iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.folder.join("commands.sh"), commands)?;
        write_json(&self.folder.join("results.json"), &self.all(measurements))
    }
}

fn write_json(path: &Path, measurements: &[Measurement]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(measurements)?;
    text.push('\n');
    Ok(fs::write(path, text)?)
}

/// The repository, wherever cargo was told to build.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
