//! A machine: an unmodified apt in a root folder of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::company::Node;
use super::folder::{Folder, make_folder, write};
use super::report::MachineReport;
use super::vendor::{Package, sha256};
use super::{Error, process};

/// How long one run of apt may take.
const LIMIT: Duration = Duration::from_secs(90);

/// One machine of a group, using one node.
pub(super) struct Machine {
    name: String,
    group: &'static str,
    node: &'static str,
    root: PathBuf,
    /// Whether the node's view has anything for it at all.
    has_sources: bool,
}

/// The part of `client-config`'s answer that is read here.
#[derive(serde::Deserialize)]
struct ClientConfig {
    suites: Vec<String>,
}

impl Machine {
    /// Sets the machine up as an administrator would: with the files that
    /// `client-config` writes.
    pub(super) async fn set_up(
        folder: &Folder,
        node: &Node,
        group: &'static str,
        architecture: &str,
    ) -> Result<Self, Error> {
        let name = format!("{}-{}", node.name, if group == "lab" { "bench" } else { "desk" });
        let root = folder.machine(&name);
        for part in ["etc/empty", "state/lists/partial", "cache/archives/partial", "log"] {
            make_folder(&root.join(part))?;
        }
        let etc = root.join("etc");
        let place = etc.display().to_string();
        let config: ClientConfig =
            node.run(&["client-config", "--group", group, "--directory", &place]).await?;
        write(&root.join("state/status"), "")?;
        write(&root.join("apt.conf"), settings(&root, architecture))?;
        Ok(Self { name, group, node: node.name, root, has_sources: !config.suites.is_empty() })
    }

    /// Downloads the packages as an upgrade would, and compares each file with
    /// what the vendor made.
    pub(super) async fn fetch(&self, wanted: &[Package]) -> MachineReport {
        let outcome = self.try_fetch(wanted).await;
        let (updates, problem) = match outcome {
            Ok(updates) => (updates, None),
            Err(error) => (Vec::new(), Some(super::report::with_causes(&error))),
        };
        MachineReport {
            name: self.name.clone(),
            group: self.group.to_owned(),
            node: self.node.to_owned(),
            ok: problem.is_none(),
            updates,
            problem,
        }
    }

    async fn try_fetch(&self, wanted: &[Package]) -> Result<Vec<String>, Error> {
        if !self.has_sources {
            return Err(self.fault("the node has nothing for it"));
        }
        self.apt("apt-get", &["update"]).await?;
        let mut arguments = vec!["install", "--download-only", "--yes", "--no-install-recommends"];
        arguments.extend(wanted.iter().map(|package| package.name));
        self.apt("apt-get", &arguments).await?;
        let archives = self.root.join("cache/archives");
        for package in wanted {
            let hash = hash_of(&archives, package.name).map_err(|why| self.fault(why))?;
            if hash != package.sha256 {
                return Err(self.fault(format!("{} is not what the vendor made", package.name)));
            }
        }
        Ok(wanted.iter().map(|package| format!("{}={}", package.name, package.version)).collect())
    }

    /// Fails if apt can find any of the packages.
    pub(super) async fn must_not_find(&self, names: &[&str]) -> Result<(), Error> {
        if !self.has_sources {
            return Ok(());
        }
        self.apt("apt-get", &["update"]).await?;
        let known = self.apt("apt-cache", &["pkgnames"]).await?;
        match names.iter().find(|name| known.lines().any(|line| line == **name)) {
            None => Ok(()),
            Some(name) => Err(self.fault(format!("finds {name}, which is not approved for it"))),
        }
    }

    async fn apt(&self, program: &str, arguments: &[&str]) -> Result<String, Error> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("APT_CONFIG", self.root.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        // The company is on this machine: no proxy leads there.
        for name in
            ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
        {
            command.env_remove(name);
        }
        let finished =
            process::run(command, LIMIT).await.map_err(|error| self.fault(error.to_string()))?;
        // `apt-get update` calls a repository that failed a warning.
        let warned = finished
            .stderr
            .lines()
            .any(|line| line.starts_with("W: Failed") || line.starts_with("E:"));
        if finished.success && !warned {
            return Ok(finished.stdout);
        }
        Err(self.fault(format!("{program} {}: {}", arguments[0], finished.stderr.trim())))
    }

    fn fault(&self, problem: impl Into<String>) -> Error {
        Error::Machine {
            machine: self.name.clone(),
            node: self.node.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Apt's settings for a root folder that has nothing of the host's.
fn settings(root: &Path, architecture: &str) -> String {
    let root = root.display();
    format!(
        "#include \"{root}/etc/apt.conf\";\n\
         Dir::State \"{root}/state\";\n\
         Dir::State::status \"{root}/state/status\";\n\
         Dir::Cache \"{root}/cache\";\n\
         Dir::Log \"{root}/log\";\n\
         Dir::Etc \"{root}/etc\";\n\
         Dir::Etc::main \"empty\";\n\
         Dir::Etc::parts \"empty\";\n\
         Dir::Etc::sourcelist \"patchmesh.list\";\n\
         Dir::Etc::sourceparts \"empty\";\n\
         Dir::Etc::preferences \"none\";\n\
         Dir::Etc::preferencesparts \"empty\";\n\
         Dir::Etc::trusted \"none\";\n\
         Dir::Etc::trustedparts \"empty\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Check-Date \"true\";\n\
         Acquire::Check-Valid-Until \"true\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"2\";\n\
         Acquire::https::Timeout \"15\";\n\
         Debug::NoLocking \"true\";\n"
    )
}

/// The SHA-256 of the downloaded file of a package.
fn hash_of(archives: &Path, package: &str) -> Result<String, String> {
    let begin = format!("{package}_");
    let listing = std::fs::read_dir(archives).map_err(|error| error.to_string())?;
    let file = listing
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .ok_or_else(|| format!("{package} was not downloaded"))?;
    let bytes = std::fs::read(file.path()).map_err(|error| error.to_string())?;
    Ok(sha256(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_package_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("ledger-common_1_all.deb"), "other").expect("a file");
        assert!(hash_of(folder.path(), "ledger").is_err());
        std::fs::write(folder.path().join("ledger_2%3a1_amd64.deb"), "abc").expect("a file");
        assert_eq!(
            hash_of(folder.path(), "ledger").as_deref(),
            Ok("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }
}
