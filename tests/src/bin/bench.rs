//! Measures Patchmesh beside its peers: `make bench [ROWS=path]`.
//!
//! Prints the table, writes `docs/benchmarks.md` and, after each row,
//! `target/bench/results.json`; exits 1 when a bar was not reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use patchmesh_tests::bench::{Machine, Measurement, Scale, markdown, select, table};

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
    let mut measurements = Vec::new();
    for row in rows {
        eprintln!("bench: {} {}", row.id, row.about);
        measurements.extend(row.measure(scale).await);
        // After each row: what comes may be interrupted.
        write_results(scale, &measurements)?;
    }
    print!("{}", table(&measurements));
    if scale == Scale::Quick {
        println!("\nA quick run checks the rows; its figures mean nothing.");
    } else if options.rows.is_none() {
        // A page with some rows would look like all of them.
        let page = root().join("docs/benchmarks.md");
        fs::write(&page, markdown(&machine, &measurements))
            .with_context(|| format!("could not write {}", page.display()))?;
    }
    Ok(measurements.iter().all(|measurement| measurement.pass != Some(false)))
}

fn write_results(scale: Scale, measurements: &[Measurement]) -> Result<()> {
    let folder = root().join("target/bench");
    fs::create_dir_all(&folder)?;
    let mut text = serde_json::to_string_pretty(measurements)?;
    text.push('\n');
    let name = if scale == Scale::Quick { "quick.json" } else { "results.json" };
    fs::write(folder.join(name), text)?;
    Ok(())
}

/// The repository, wherever cargo was told to build.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
