//! Real apt in a root folder of its own.
//!
//! Nothing of this machine's apt configuration applies and nothing on this
//! machine changes. What is installed here is known to it as installed (so that
//! dependencies resolve), but for the packages that a scenario offers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::Command;

use crate::run::{Outcome, run};

/// The settings by which apt stays inside its folder and does not wait.
const SETTINGS: &str = r#"
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Acquire::Check-Date "true";
Acquire::Check-Valid-Until "true";
Acquire::Languages "none";
Acquire::Retries "0";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::Log "var/log/apt";
"#;

/// Where one machine gets its updates: what `client-config` prints.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The text for `sources.list.d`.
    pub sources: String,
    /// Settings for `apt.conf.d`.
    pub settings: String,
    /// More files: path as the machine would have it, content.
    pub files: Vec<(String, String)>,
}

/// One apt installation; the folder goes with it.
pub struct Apt {
    folder: TempDir,
    config: PathBuf,
}

impl Apt {
    /// An apt that knows no source. `not_installed` are taken out of what it
    /// believes to be installed.
    ///
    /// # Errors
    /// When the disk is full or dpkg has no status.
    pub async fn new(not_installed: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchmesh-apt-").tempdir()?;
        let root = folder.path();
        for path in [
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/sources.list.d",
            "etc/apt/trusted.gpg.d",
            "etc/apt/keyrings",
            "etc/apt/auth.conf.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/lib/dpkg",
            "var/log/apt",
        ] {
            fs::create_dir_all(root.join(path))?;
        }
        let status = fs::read_to_string("/var/lib/dpkg/status").unwrap_or_default();
        fs::write(root.join("var/lib/dpkg/status"), without(&status, not_installed))?;
        let config = root.join("apt.conf");
        let own = format!(
            "Dir \"{0}\";\nDir::State::status \"{0}/var/lib/dpkg/status\";\n{SETTINGS}",
            root.display()
        );
        fs::write(&config, own)?;
        Ok(Self { folder, config })
    }

    /// The root folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Where a file that a machine would have at `path` lies here.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Takes on what `client-config` printed. Paths of the files that it names
    /// are led into the root folder, nothing else is changed.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn configure(&self, lines: &Lines) -> Result<()> {
        let mut sources = lines.sources.clone();
        let mut settings = lines.settings.clone();
        for (path, content) in &lines.files {
            let here = self.inside(path);
            fs::create_dir_all(here.parent().context("a file lies in a folder")?)?;
            fs::write(&here, content)?;
            let here = here.display().to_string();
            sources = sources.replace(path, &here);
            settings = settings.replace(path, &here);
        }
        fs::write(self.inside("etc/apt/sources.list.d/patchmesh.list"), sources)?;
        fs::write(self.inside("etc/apt/apt.conf.d/50patchmesh"), settings)?;
        Ok(())
    }

    /// `apt-get update`; a warning counts as a failure.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn update(&self) -> Result<Outcome> {
        run(self.tool("apt-get").args(["update", "--error-on=any"])).await
    }

    /// The version that would be installed, if the package is known.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn candidate(&self, package: &str) -> Result<Option<String>> {
        let outcome = run(self.tool("apt-cache").args(["policy", package])).await?.success()?;
        Ok(outcome
            .stdout
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))
            .filter(|version| *version != "(none)")
            .map(str::to_owned))
    }

    /// Downloads what installing these would need, and says into which folder.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn install_download_only(&self, packages: &[&str]) -> Result<Outcome> {
        run(self.tool("apt-get").args(["install", "--download-only"]).args(packages)).await
    }

    /// Installs for real, into the root folder, where nothing is run.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn install(&self, packages: &[&str]) -> Result<Outcome> {
        for folder in ["info", "updates", "triggers"] {
            fs::create_dir_all(self.inside("var/lib/dpkg").join(folder))?;
        }
        let root = format!("DPkg::Options::=--root={}", self.root().display());
        run(self.tool("apt-get").args(["install", "-o", &root]).args(packages)).await
    }

    /// What the status file has of a package: its version, if it is installed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn installed(&self, package: &str) -> Result<Option<String>> {
        let status = fs::read_to_string(self.inside("var/lib/dpkg/status"))?;
        let first = format!("Package: {package}");
        let of = status.split("\n\n").find(|stanza| stanza.lines().any(|line| line == first));
        let lines = of.filter(|stanza| stanza.contains("\nStatus: install ok installed"));
        let version = lines.and_then(|stanza| {
            stanza.lines().find_map(|line| line.strip_prefix("Version: ")).map(str::to_owned)
        });
        Ok(version)
    }

    /// Every package and version that the sources offer.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn offered(&self) -> Result<BTreeSet<(String, String)>> {
        let outcome = run(self.tool("apt-cache").arg("dumpavail")).await?.success()?;
        let field = |stanza: &str, name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
        };
        let stanzas = outcome.stdout.split("\n\n");
        Ok(stanzas
            .filter_map(|one| Some((field(one, "Package: ")?, field(one, "Version: ")?)))
            .collect())
    }

    /// `apt-get upgrade --download-only`.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn upgrade_download_only(&self) -> Result<Outcome> {
        run(self.tool("apt-get").args(["upgrade", "--download-only"])).await
    }

    /// `apt-get download` into the root folder.
    ///
    /// # Errors
    /// When apt cannot be started.
    pub async fn download(&self, package: &str) -> Result<Outcome> {
        run(self.tool("apt-get").args(["download", package]).current_dir(self.root())).await
    }

    /// The packages that were downloaded.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn downloaded(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in [self.inside("var/cache/apt/archives"), self.root().to_owned()] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "deb") {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes what was downloaded.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clean(&self) -> Result<()> {
        for file in self.downloaded()? {
            fs::remove_file(file)?;
        }
        Ok(())
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").arg("-q");
        command
    }
}

/// dpkg's status without some packages.
fn without(status: &str, packages: &[String]) -> String {
    let packages: BTreeSet<&str> = packages.iter().map(String::as_str).collect();
    let name = |stanza: &str| {
        let line = stanza.lines().next().unwrap_or_default();
        line.strip_prefix("Package: ").map(str::to_owned).unwrap_or_default()
    };
    status
        .split("\n\n")
        .filter(|stanza| !packages.contains(name(stanza).as_str()))
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_on_offer_are_not_installed() {
        let status = "Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\nPackage: c\n";
        let left = without(status, &["b".to_owned()]);
        assert_eq!(left, "Package: a\nVersion: 1\n\nPackage: c\n");
    }
}
