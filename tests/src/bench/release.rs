//! A release for the benchmark: a folder of files that is written once, however
//! large, and the mesh that carries it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::Transfer;
use tempfile::TempDir;

use crate::cluster::{Cluster, PRIMARY};
use crate::vendor::packages::write_noise;
use crate::vendor::repository::Key;
use crate::wait::until;

/// The longest that the primary may take to fetch and bind.
const IMPORT: Duration = Duration::from_secs(600);

/// Revisions named on one command line.
const NAMES: usize = 2_000;

/// Bytes hashed at a time.
const PART: usize = 1 << 20;

/// Revisions and their files, made of noise.
pub(super) struct Release {
    key: Key,
    source: String,
    /// Where the files lie.
    pub(super) folder: PathBuf,
    // Removed last.
    _parent: TempDir,
}

impl Release {
    /// Writes below `place` as many revisions as asked for, each with so many
    /// files of so many bytes, and signs the manifest. Files are called
    /// `REVISION-NUMBER.bin`.
    pub(super) async fn write(
        place: &Path,
        source: &str,
        revisions: usize,
        files: usize,
        bytes: u64,
    ) -> Result<Self> {
        let parent = tempfile::Builder::new().prefix("patchmesh-release-").tempdir_in(place)?;
        let key = Key::generate(parent.path(), "Bench").await?;
        let folder = parent.path().join("folder");
        fs::create_dir_all(&folder)?;
        let into = folder.clone();
        let seed = source.to_owned();
        let tables =
            tokio::task::spawn_blocking(move || write_files(&into, &seed, revisions, files, bytes))
                .await??;
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second())?;
        let manifest = folder.join("manifest.toml");
        fs::write(&manifest, format!("format = 1\n[source]\nreleased = {now}\n{tables}"))?;
        key.sign_detached(&manifest, &folder.join("manifest.toml.asc")).await?;
        Ok(Self { key, source: source.to_owned(), folder, _parent: parent })
    }

    /// Makes the primary know the release.
    pub(super) async fn add_to(&self, cluster: &Cluster) -> Result<()> {
        let folder = self.folder.display().to_string();
        let keyring = self.key.public.display().to_string();
        let arguments = ["source", "add", "files", &self.source, "--folder", &folder];
        let more = ["--keyring", &keyring, "--policy", "on-demand"];
        cluster.patchmesh(PRIMARY, &[&arguments[..], &more].concat()).await?.success()?;
        cluster.sync(&self.source).await?.success()?;
        Ok(())
    }

    /// The name of a revision in the mesh.
    pub(super) fn revision(&self, number: usize) -> String {
        format!("{}:stable/R{number}@1", self.source)
    }

    /// Opens revisions for production and waits until the primary holds them.
    pub(super) async fn open(&self, cluster: &Cluster, revisions: &[String]) -> Result<()> {
        for some in revisions.chunks(NAMES) {
            cluster.approve("validation", some).await?;
            cluster.approve("production", some).await?;
        }
        until("the primary to hold what was approved", IMPORT, async || {
            let status = cluster.primary()?.status().await?.status.unwrap_or_default();
            ensure!(status.payloads_wanted > 0, "nothing is wanted");
            Ok((status.payloads_held >= status.payloads_wanted).then_some(()))
        })
        .await
    }
}

fn write_files(
    folder: &Path,
    seed: &str,
    revisions: usize,
    files: usize,
    bytes: u64,
) -> Result<String> {
    let mut tables = String::new();
    for revision in 0..revisions {
        write!(
            tables,
            "\n[[revision]]\nid = \"R{revision}\"\nversion = \"1\"\ntitle = \"R{revision}\"\n"
        )?;
        for file in 0..files {
            let name = file_name(revision, file);
            write_noise(&folder.join(&name), &format!("{seed} {name}"), bytes)?;
            write!(
                tables,
                "[[revision.payload]]\nfile = \"{name}\"\nlength = {bytes}\nsha256 = \"{}\"\n",
                sha256_of(&folder.join(&name))?
            )?;
        }
    }
    Ok(tables)
}

/// How a file of a release is called.
pub(super) fn file_name(revision: usize, file: usize) -> String {
    format!("{revision}-{file}.bin")
}

fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path)?;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut part = vec![0; PART];
    loop {
        match file.read(&mut part)? {
            0 => break,
            count => context.update(&part[..count]),
        }
    }
    Ok(context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The transfer of a blob of that length, once it is held, by a node's own
/// record.
pub(super) fn finished(transfers: Vec<Transfer>, bytes: u64) -> Option<Transfer> {
    transfers.into_iter().find(|transfer| {
        transfer.length == bytes && transfer.ended_at.is_some() && transfer.problem.is_empty()
    })
}

/// When a transfer began and ended, in seconds since 1970.
pub(super) fn interval(transfer: &Transfer) -> Result<(f64, f64)> {
    let seconds = |at: Option<(i64, i32)>| at.map(|(s, n)| s as f64 + f64::from(n) / 1e9);
    let start = seconds(transfer.started_at.as_ref().map(|at| (at.seconds, at.nanos)));
    let end = seconds(transfer.ended_at.as_ref().map(|at| (at.seconds, at.nanos)));
    Ok((start.context("a transfer without beginning")?, end.context("without end")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let tables = write_files(folder.path(), "x", 2, 3, 100).unwrap();
        assert_eq!(tables.matches("[[revision]]").count(), 2);
        assert_eq!(tables.matches("length = 100").count(), 6);
        assert_eq!(fs::metadata(folder.path().join(file_name(1, 2))).unwrap().len(), 100);
        fs::write(folder.path().join("empty"), "").unwrap();
        assert!(sha256_of(&folder.path().join("empty")).unwrap().starts_with("e3b0c442"));
    }
}
