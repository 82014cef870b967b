//! A machine with the real agent: a root with a dpkg of its own, and the agent's
//! folder beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::authority::{self, Authority};
use crate::binaries;
use crate::cluster::{Cluster, PRIMARY};
use crate::netns;
use crate::run::{Outcome, run};
use crate::vendor::Sample;
use crate::wait::{PATIENCE, until};

/// A machine: a root with its own dpkg, and the agent's folder beside it.
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What it has, gone with it.
    pub folder: TempDir,
    /// Its system.
    pub root: PathBuf,
    /// The network namespace that its agent runs in, where that is not this process's.
    pub namespace: Option<String>,
    /// The home of whoever runs it, where that is not this process's.
    pub home: Option<PathBuf>,
}

/// What an agent has to tell.
#[derive(Debug)]
pub struct Queue {
    /// Its name.
    pub epoch: u64,
    /// How many events were ever put in.
    pub made: u64,
    /// Those that wait, rolled up or not, by the number of their outcome.
    pub outcomes: [u64; 7],
    /// Of these, those that are rolled up.
    pub rolled_up: u64,
}

impl Machine {
    /// With these packages installed by real dpkg.
    ///
    /// # Errors
    /// When dpkg fails.
    pub async fn with(name: &str, packages: &[Sample]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchmesh-agent-").tempdir()?;
        let root = folder.path().join("root");
        for path in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "etc"] {
            fs::create_dir_all(root.join(path))?;
        }
        fs::write(root.join("var/lib/dpkg/status"), "")?;
        fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\n")?;
        let machine = Self { name: name.to_owned(), root, folder, namespace: None, home: None };
        for package in packages {
            let built = package.build(machine.folder.path()).await?;
            machine.dpkg("dpkg", &["-i", &built.file.display().to_string()]).await?.success()?;
        }
        Ok(machine)
    }

    /// With a shell for maintainer scripts, which dpkg runs inside the root: this
    /// host's, and the libraries that it needs.
    ///
    /// # Errors
    /// When this host has none, or files cannot be copied.
    pub async fn with_shell(self) -> Result<Self> {
        let listed = run(Command::new("ldd").arg("/bin/sh")).await?.success()?.stdout;
        let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain(["/bin/sh"]) {
            let there = self.root.join(file.trim_start_matches('/'));
            fs::create_dir_all(there.parent().context("a file is in a folder")?)?;
            fs::copy(file, there).with_context(|| format!("could not copy {file}"))?;
        }
        Ok(self)
    }

    /// Runs a tool of dpkg on the machine's root.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn dpkg(&self, tool: &str, arguments: &[&str]) -> Result<Outcome> {
        run(Command::new(tool).arg("--root").arg(&self.root).args(arguments)).await
    }

    /// The versions of the packages that are installed, as dpkg-query has them.
    ///
    /// # Errors
    /// When it fails.
    pub async fn packages(&self) -> Result<BTreeMap<String, String>> {
        let format = "${db:Status-Abbrev} ${Package} ${Version}\n";
        let listed = self.dpkg("dpkg-query", &["-W", "-f", format]).await?.success()?;
        let lines = listed.stdout.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [state, name, version] = words[..] else { return None };
            (state == "ii").then(|| (name.to_owned(), version.to_owned()))
        });
        Ok(lines.collect())
    }

    /// The agent's folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Runs a command of the agent, with JSON.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn agent(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = netns::command(self.namespace.as_deref(), binaries::agent()?);
        command.args(["--output", "json"]).args(arguments);
        command.arg("--state").arg(self.state()).envs(self.home.iter().map(|home| ("HOME", home)));
        run(&mut command).await
    }

    /// Joins, or joins again, at a node with a new token.
    ///
    /// # Errors
    /// When the mesh refuses.
    pub async fn join(&self, cluster: &Cluster, via: &str) -> Result<Value> {
        let arguments = ["machine", "token", "workstations", "--via", via];
        let made = cluster.patchmesh(PRIMARY, &arguments).await?.success()?.json()?;
        let token = made["token"].as_str().context("no token")?;
        self.agent(&["join", token, "--name", &self.name]).await?.success()?.json()
    }

    /// One round, however it ends, in this machine's root or another one.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn round_in(&self, root: &Path) -> Result<Outcome> {
        self.agent(&["run", "--once", "--root", &root.display().to_string()]).await
    }

    /// One round with these arguments besides, however it ends.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn round_with(&self, arguments: &[&str]) -> Result<Outcome> {
        let root = self.root.display().to_string();
        self.agent(&[&["run", "--once", "--root", &root], arguments].concat()).await
    }

    /// What dpkg says of the version of every package, changed by hand from one to the
    /// other.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub fn pretend(&self, from: &str, to: &str) -> Result<()> {
        let list = self.root.join("var/lib/dpkg/status");
        let line = |version: &str| format!("\nVersion: {version}\n");
        Ok(fs::write(&list, fs::read_to_string(&list)?.replace(&line(from), &line(to)))?)
    }

    /// One round, however it ends.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn round(&self) -> Result<Outcome> {
        self.round_in(&self.root).await
    }

    /// The agent, running for good with these arguments besides; it ends with the value.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        self.start_as(&binaries::agent()?, arguments)
    }

    /// The same with another build of the agent.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_as(&self, program: &Path, arguments: &[&str]) -> Result<Child> {
        let mut command = netns::command(self.namespace.as_deref(), program);
        command.args(["run", "--root"]).arg(&self.root).arg("--state").arg(self.state());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command.kill_on_drop(true).spawn()?)
    }

    /// Waits until the agent that runs takes what a person asks; before that, a command
    /// does the work itself.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn until_asked(&self) -> Result<()> {
        let socket = self.state().join("ask.sock");
        until("the agent that runs to listen", PATIENCE, async || Ok(socket.exists().then_some(())))
            .await
    }

    /// What the agent says of each revision.
    ///
    /// # Errors
    /// When it fails.
    pub async fn status(&self) -> Result<BTreeMap<String, Value>> {
        let status = self.agent(&["status"]).await?.success()?.json()?;
        let rows = status["revisions"].as_array().context("no revisions")?.clone();
        let named = |row: Value| Some((row["revision"].as_str()?.to_owned(), row));
        Ok(rows.into_iter().filter_map(named).collect())
    }

    /// Of the agent's queue: its name, how many events were ever put in, and how many of
    /// them wait.
    ///
    /// # Errors
    /// When the file is not as it should be.
    pub fn events(&self) -> Result<(u64, u64, u64)> {
        let queue = self.queue()?;
        Ok((queue.epoch, queue.made, queue.outcomes.iter().sum()))
    }

    /// The agent's queue.
    ///
    /// # Errors
    /// When the file is not as it should be.
    pub fn queue(&self) -> Result<Queue> {
        let text = fs::read_to_string(self.state().join("queue/events.jsonl"))?;
        // A line that is not whole is no event.
        let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let number = |of: &Value| of.as_u64().with_context(|| format!("no number: {of}"));
        let head: Value = serde_json::from_str(lines.next().context("no head")?)?;
        let (mut outcomes, mut rolled_up) = ([0; 7], 0);
        for line in lines {
            let line: Value = serde_json::from_str(line)?;
            let Some(counts) = line["counts"].as_array() else {
                outcomes[usize::try_from(number(&line["outcome"])?)?] += 1;
                continue;
            };
            for count in counts {
                let events = number(&count[2])?;
                outcomes[usize::try_from(number(&count[1])?)?] += events;
                rolled_up += events;
            }
        }
        let made = number(&head["first"])? + outcomes.iter().sum::<u64>();
        Ok(Queue { epoch: number(&head["epoch"])?, made, outcomes, rolled_up })
    }

    /// The disk as it is: the root and the agent's folder.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub async fn snapshot(&self) -> Result<TempDir> {
        let snapshot = tempfile::tempdir()?;
        copy(self.folder.path(), snapshot.path()).await?;
        Ok(snapshot)
    }

    /// Puts the disk back to what it was. No agent runs meanwhile.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub async fn put_back(&self, snapshot: &TempDir) -> Result<()> {
        fs::remove_dir_all(&self.root)?;
        fs::remove_dir_all(self.state())?;
        copy(snapshot.path(), self.folder.path()).await
    }

    /// Makes the machine's certificate anew, for its own key, as the CA would have
    /// made it in another time.
    ///
    /// # Errors
    /// When a file is not as it should be.
    pub fn certify(&self, cluster: &Cluster, begin: Date, end: Date) -> Result<()> {
        let joined: Value = serde_json::from_slice(&fs::read(self.state().join("joined.json"))?)?;
        let word = |name: &str| joined[name].as_str().context("joined.json lacks a word");
        let own = self.state().join("identity");
        let (key, authority) =
            (authority::key(&own.join("key.pem"))?, Authority::of(cluster, word("mesh_id")?)?);
        let made = authority.certify(&self.name, word("group")?, &key, (begin, end))?;
        let text = STANDARD.encode(made);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        Ok(fs::write(own.join("cert.pem"), pem)?)
    }
}

impl Machine {
    /// Rounds until so many revisions are found installed; the last one's answer.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn until_installed(&self, count: usize) -> Result<Value> {
        until("the branch to have the content", PATIENCE, async || {
            let ran = self.round().await?.json()?;
            let installed = self.status().await?;
            let done = installed.values().filter(|row| row["verdict"] == "installed").count();
            Ok((done >= count).then_some(ran))
        })
        .await
    }
}

/// All that is in a folder, as it is, into another one.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to)).await?.success()?;
    Ok(())
}
