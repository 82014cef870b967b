//! The company: its nodes, where each stands, and their processes.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use patchmesh_topology::node::{Role, Stage};

use super::folder::Folder;
use super::process::{Process, tail};
use super::{Error, commands};
use crate::cli::answer::OwnWord;
use crate::cli::connect::{self, Target};

/// How long a node may take from its start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a node may take to answer once.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// How often a starting node is asked.
const START_POLL: Duration = Duration::from_millis(50);

/// Ports are looked for from here on: below those that systems hand out to
/// outgoing connections, which could take one before its node does.
const FIRST_PORT: u16 = 20_000;
/// … and up to here.
const LAST_PORT: u16 = 31_999;

/// One node of the company.
struct Plan {
    name: &'static str,
    role: Role,
    parent: Option<&'static str>,
    site: &'static str,
}

/// Four levels: hq, emea-hub, paris, lyon. A parent stands before its children.
const PLAN: [Plan; 6] = [
    Plan { name: PRIMARY, role: Role::Primary, parent: None, site: "hq" },
    Plan { name: LAB, role: Role::Validation, parent: Some(PRIMARY), site: "hq/lab" },
    Plan { name: "emea-hub", role: Role::Branch, parent: Some(PRIMARY), site: "emea" },
    Plan { name: PARIS, role: Role::Branch, parent: Some("emea-hub"), site: "emea/fr/paris" },
    Plan { name: "lyon", role: Role::Branch, parent: Some(PARIS), site: "emea/fr/lyon" },
    Plan { name: "osaka", role: Role::Branch, parent: Some(PRIMARY), site: "apac/jp/osaka" },
];

/// The primary's name.
pub(super) const PRIMARY: &str = "hq";
/// The validation node's name.
pub(super) const LAB: &str = "lab";
/// The branch that is looked at before the promotion.
pub(super) const PARIS: &str = "paris";

/// A node and its process.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) parent: Option<&'static str>,
    pub(super) site: &'static str,
    pub(super) data: PathBuf,
    pub(super) listen: String,
    pub(super) url: String,
    log: PathBuf,
    pid_file: PathBuf,
    process: Option<Process>,
}

impl Node {
    /// The group of this node's machine, where it serves any.
    pub(super) fn group(&self) -> Option<&'static str> {
        match self.role {
            Role::Primary => None,
            Role::Validation => Some("lab"),
            Role::Branch => Some("workstations"),
        }
    }

    /// The stages that it serves.
    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> {
        self.role.default_stages().into_iter()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// Fails if its process has ended.
    pub(super) fn check(&mut self) -> Result<(), Error> {
        self.process.as_mut().map_or(Ok(()), Process::check)
    }

    /// An error that names it and shows the end of its log.
    pub(super) fn fault(&self, what: impl Into<String>) -> Error {
        Error::Node { node: self.name.to_owned(), what: what.into(), log: tail(&self.log) }
    }

    /// Runs a command against it.
    pub(super) async fn run<T: serde::de::DeserializeOwned>(
        &self,
        arguments: &[&str],
    ) -> Result<T, Error> {
        commands::run(self.name, &self.data, arguments).await
    }

    /// Starts its process and waits until it answers.
    pub(super) async fn start(&mut self) -> Result<(), Error> {
        let mut command = commands::this_program()?;
        command.arg("--data").arg(&self.data).args(["serve", "--exit-with-parent"]);
        let (log, pid_file) = (self.log.clone(), self.pid_file.clone());
        self.process = Some(Process::start(self.name, command, log, pid_file)?);
        let deadline = tokio::time::Instant::now() + START_LIMIT;
        loop {
            self.check()?;
            if self.own_word().await.is_ok() {
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(
                    self.fault(format!("gave no answer within {} s", START_LIMIT.as_secs()))
                );
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// What it says of itself, or why it says nothing.
    pub(super) async fn own_word(&self) -> Result<OwnWord, String> {
        let target = Target::Local { data: self.data.clone() };
        let ask = async {
            let mut admin = connect::admin(&target)?;
            let request = patchmesh_proto::admin::GetStatusRequest {};
            let response = admin.get_status(request).await.map_err(crate::cli::grpc::failure)?;
            anyhow::Ok(OwnWord::from(response.into_inner().status.unwrap_or_default()))
        };
        match tokio::time::timeout(ANSWER_LIMIT, ask).await {
            Ok(Ok(word)) => Ok(word),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
        }
    }
}

/// All nodes, parents first.
pub(super) struct Company {
    pub(super) nodes: Vec<Node>,
}

impl Company {
    /// Gives every node its place and a free port.
    pub(super) fn plan(folder: &Folder) -> Result<Self, Error> {
        let ports = free_ports(PLAN.len()).map_err(|source| Error::Io {
            action: "find free ports on",
            path: "127.0.0.1".into(),
            source,
        })?;
        let nodes = PLAN.into_iter().zip(ports).map(|(plan, port)| Node {
            name: plan.name,
            role: plan.role,
            parent: plan.parent,
            site: plan.site,
            data: folder.data(plan.name),
            listen: format!("127.0.0.1:{port}"),
            url: format!("https://localhost:{port}"),
            log: folder.log(plan.name),
            pid_file: folder.pid(plan.name),
            process: None,
        });
        Ok(Self { nodes: nodes.collect() })
    }

    /// The primary: the first of the plan.
    pub(super) fn primary(&self) -> &Node {
        &self.nodes[0]
    }

    /// The first node that has ended though nobody told it to.
    pub(super) fn first_ended(&mut self) -> Option<Error> {
        self.nodes.iter_mut().find_map(|node| node.check().err())
    }

    /// Waits until some node ends by itself; for ever if none does.
    pub(super) async fn node_ended(&mut self) -> Error {
        let mut running: Vec<_> =
            self.nodes.iter_mut().filter_map(|node| node.process.as_mut()).collect();
        if running.is_empty() {
            return std::future::pending().await;
        }
        let waits = running.iter_mut().map(|process| Box::pin(process.wait()));
        let (error, index, _) = futures_util::future::select_all(waits).await;
        drop(running);
        // It is told once; the others are still watched.
        if let Some(node) = self.nodes.iter_mut().filter(|node| node.process.is_some()).nth(index) {
            node.process = None;
        }
        error
    }

    /// Stops every node, all at once.
    pub(super) async fn stop(&mut self) {
        let processes = self.nodes.iter_mut().filter_map(|node| node.process.take());
        futures_util::future::join_all(processes.map(Process::stop)).await;
    }
}

fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    // Begun at another place in every process, so that two demos seldom meet.
    let span = LAST_PORT - FIRST_PORT + 1;
    let start = u16::try_from(std::process::id() % u32::from(span)).unwrap_or(0);
    let candidates = (0..span).map(|step| FIRST_PORT + (start + step) % span);
    let mut held = Vec::new();
    for port in candidates {
        if held.len() == count {
            break;
        }
        // Held until all are found.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push(listener);
        }
    }
    if held.len() < count {
        return Err(std::io::ErrorKind::AddrInUse.into());
    }
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_stand_before_their_children_and_the_tree_has_four_levels() {
        let mut depth = std::collections::BTreeMap::new();
        for plan in &PLAN {
            let level = plan
                .parent
                .map_or(1, |parent| depth.get(parent).expect("a parent before its child") + 1);
            depth.insert(plan.name, level);
        }
        assert_eq!(depth.values().max(), Some(&4));
        assert_eq!(PLAN[0].name, PRIMARY);
    }

    #[test]
    fn ports_are_free_and_distinct() {
        let mut ports = free_ports(6).expect("ports");
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 6);
    }
}
