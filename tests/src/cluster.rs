//! A mesh of real processes on loopback.
//!
//! Changes go through the command line, as a person makes them; waiting reads
//! each node's own word over its local socket. Everything lies in one folder,
//! which is removed at the end unless [`KEEP_VARIABLE`] is set; when a test
//! ends without [`Cluster::passed`], the ends of all logs are printed.

mod command;
mod node;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use patchmesh_proto::admin::GetStatusResponse;
use tempfile::TempDir;

use crate::netns::{End, Pair};
use crate::run::{Outcome, run};
use crate::wait::{PATIENCE, until};

pub use command::Decision;
pub use node::{Node, free_address};

/// Keeps the folders of clusters when set.
pub const KEEP_VARIABLE: &str = "PATCHMESH_TEST_KEEP";

/// The primary's name.
pub const PRIMARY: &str = "hq";

/// What a node is to be.
#[derive(Debug, Clone)]
pub struct Spec {
    name: String,
    role: &'static str,
    parent: String,
    site: String,
    /// Clients and children reach it there instead of directly.
    via: Option<SocketAddr>,
    serve: Vec<String>,
    /// Its data folder, where it is not in the cluster's.
    data: Option<PathBuf>,
}

impl Spec {
    /// A branch.
    #[must_use]
    pub fn branch(name: &str, parent: &str, site: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: "branch",
            parent: parent.to_owned(),
            site: site.to_owned(),
            via: None,
            serve: Vec::new(),
            data: None,
        }
    }

    /// A validation node.
    #[must_use]
    pub fn validation(name: &str, parent: &str, site: &str) -> Self {
        Self { role: "validation", ..Self::branch(name, parent, site) }
    }

    /// With more arguments for `serve`.
    #[must_use]
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.serve = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    /// With its data in this folder, such as one on another disk.
    #[must_use]
    pub fn with_data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// The node, not set up yet.
    fn node_in(&self, folder: &Path) -> Result<Node> {
        let mut node = Node::new(folder, &self.name)?;
        node.arguments.clone_from(&self.serve);
        if let Some(data) = &self.data {
            node.data.clone_from(data);
        }
        Ok(node)
    }

    /// Told to the mesh under another address, such as a proxy's.
    #[must_use]
    pub fn reached_at(mut self, address: SocketAddr) -> Self {
        self.via = Some(address);
        self
    }
}

/// A running mesh.
pub struct Cluster {
    folder: PathBuf,
    nodes: BTreeMap<String, Node>,
    /// Which of them is the primary now.
    primary: String,
    passed: bool,
    // Removed last.
    _removed: Option<TempDir>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.passed {
            return;
        }
        for node in self.nodes.values() {
            eprintln!("==== the end of {}'s log ({})", node.name, node.log.display());
            eprintln!("{}", node.log_tail());
        }
    }
}

impl Cluster {
    /// A mesh with a running primary.
    ///
    /// # Errors
    /// When the primary does not start.
    pub async fn start() -> Result<Self> {
        let mut cluster = Self::empty()?;
        cluster.init(None, None).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        Ok(cluster)
    }

    /// A mesh whose primary is reached through a proxy that was started for
    /// `listen`, and which is not started yet.
    ///
    /// # Errors
    /// When the primary cannot be set up.
    pub async fn init_behind(listen: SocketAddr, via: SocketAddr) -> Result<Self> {
        let mut cluster = Self::empty()?;
        cluster.init(Some((listen, via)), None).await?;
        Ok(cluster)
    }

    /// The same with the primary's data in this folder, such as one on another
    /// disk.
    ///
    /// # Errors
    /// When the primary cannot be set up.
    pub async fn init_on(data: &Path, listen: SocketAddr, via: SocketAddr) -> Result<Self> {
        let mut cluster = Self::empty()?;
        cluster.init(Some((listen, via)), Some(data)).await?;
        Ok(cluster)
    }

    /// The same with its data below `folder`, such as a small file system.
    ///
    /// # Errors
    /// When the primary does not start.
    pub async fn start_in(folder: &Path) -> Result<Self> {
        let mut cluster = Self::empty_in(folder)?;
        cluster.init(None, None).await?;
        cluster.node_mut(PRIMARY)?.start().await?;
        Ok(cluster)
    }

    fn empty() -> Result<Self> {
        Self::empty_in(&std::env::temp_dir())
    }

    fn empty_in(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("patchmesh-cluster-").tempdir_in(parent)?;
        let keep = std::env::var_os(KEEP_VARIABLE).is_some();
        let (path, removed) = if keep {
            let path = folder.keep();
            eprintln!("the cluster's folder is {}", path.display());
            (path, None)
        } else {
            (folder.path().to_owned(), Some(folder))
        };
        Ok(Self {
            folder: path,
            nodes: BTreeMap::new(),
            primary: PRIMARY.to_owned(),
            passed: false,
            _removed: removed,
        })
    }

    async fn init(
        &mut self,
        addresses: Option<(SocketAddr, SocketAddr)>,
        data: Option<&Path>,
    ) -> Result<()> {
        let mut node = Node::new(&self.folder, PRIMARY)?;
        if let Some(data) = data {
            node.data = data.to_owned();
        }
        if let Some((listen, via)) = addresses {
            node.listen = listen;
            node.url = format!("https://{via}");
        }
        command::init(&node).await?;
        self.nodes.insert(PRIMARY.to_owned(), node);
        Ok(())
    }

    /// Invites, joins and starts a node.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn add(&mut self, spec: &Spec) -> Result<()> {
        self.join(spec).await?;
        self.node_mut(&spec.name)?.start().await
    }

    /// Invites and joins a node and leaves it stopped.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn join(&mut self, spec: &Spec) -> Result<()> {
        let token = self.invite(spec).await?;
        let mut node = spec.node_in(&self.folder)?;
        if let Some(address) = spec.via {
            node.url = format!("https://{address}");
        }
        command::join(&node, &token).await?.success()?;
        self.nodes.insert(spec.name.clone(), node);
        Ok(())
    }

    /// Sets up a node for a listening address known beforehand, so that a proxy
    /// can stand in front of it.
    ///
    /// # Errors
    /// When inviting, joining or starting fails.
    pub async fn add_behind(
        &mut self,
        spec: &Spec,
        listen: SocketAddr,
        via: SocketAddr,
    ) -> Result<()> {
        let token = self.invite(spec).await?;
        let mut node = spec.node_in(&self.folder)?;
        node.listen = listen;
        node.url = format!("https://{via}");
        command::join(&node, &token).await?.success()?;
        self.nodes.insert(spec.name.clone(), node);
        self.node_mut(&spec.name)?.start().await
    }

    /// A mesh with a running primary at the near end of a line.
    ///
    /// # Errors
    /// When the primary does not start.
    pub async fn start_at(pair: &Pair, listen: SocketAddr) -> Result<Self> {
        let mut cluster = Self::empty()?;
        let mut node = Node::new(&cluster.folder, PRIMARY)?;
        node.listen = listen;
        node.url = format!("https://{listen}");
        node.namespace = Some(pair.namespace(End::Near));
        command::init(&node).await?;
        cluster.nodes.insert(PRIMARY.to_owned(), node);
        cluster.node_mut(PRIMARY)?.start().await?;
        Ok(cluster)
    }

    /// Invites, joins and starts a node at the end that has this address.
    ///
    /// # Errors
    /// When one of these fails.
    pub async fn add_at(&mut self, spec: &Spec, pair: &Pair, listen: SocketAddr) -> Result<()> {
        let token = self.invite(spec).await?;
        let mut node = spec.node_in(&self.folder)?;
        node.listen = listen;
        node.url = format!("https://{listen}");
        let ends = [End::Near, End::Far];
        let end = ends.into_iter().find(|end| pair.address(*end, listen.port()) == listen);
        node.namespace = Some(pair.namespace(end.context("no end has this address")?));
        command::join(&node, &token).await?.success()?;
        self.nodes.insert(spec.name.clone(), node);
        self.node_mut(&spec.name)?.start().await
    }

    /// Takes `hq → hub → lyon → annecy` and a validation node `lab`: four levels.
    ///
    /// # Errors
    /// When a node does not start.
    pub async fn add_company(&mut self) -> Result<()> {
        self.add(&Spec::validation("lab", PRIMARY, "emea/fr/lab")).await?;
        self.add(&Spec::branch("hub", PRIMARY, "emea")).await?;
        self.add(&Spec::branch("lyon", "hub", "emea/fr/lyon")).await?;
        self.add(&Spec::branch("annecy", "lyon", "emea/fr/annecy")).await
    }

    /// The cluster's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.get(name).with_context(|| format!("no node {name}"))
    }

    /// A node, to stop or start it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        self.nodes.get_mut(name).with_context(|| format!("no node {name}"))
    }

    /// The primary.
    ///
    /// # Errors
    /// When it was not set up.
    pub fn primary(&self) -> Result<&Node> {
        self.node(&self.primary)
    }

    /// From now on this node is the primary: it took the other's place.
    pub fn succeeded_by(&mut self, name: &str) {
        name.clone_into(&mut self.primary);
    }

    /// Runs `patchmesh ARGUMENTS --output json` at a node.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub async fn patchmesh(&self, node: &str, arguments: &[&str]) -> Result<Outcome> {
        run(self.node(node)?.command()?.args(["--output", "json"]).args(arguments)).await
    }

    /// The generation that the primary is in.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn generation(&self) -> Result<u64> {
        Ok(generation_of(&self.primary()?.status().await?))
    }

    /// Waits until these nodes say that they are in the primary's generation and
    /// hold all content that it calls for.
    ///
    /// # Errors
    /// When that takes too long; says what the node said last.
    pub async fn converged(&self, names: &[&str]) -> Result<()> {
        let generation = self.generation().await?;
        for name in names {
            self.reached(name, generation, PATIENCE).await?;
        }
        Ok(())
    }

    /// Waits until a node is in this generation or a later one, with content.
    ///
    /// # Errors
    /// When that takes too long; says what the node said last.
    pub async fn reached(&self, name: &str, generation: u64, within: Duration) -> Result<()> {
        let node = self.node(name)?;
        until(&format!("{name} to reach generation {generation}"), within, async || {
            let said = node.status().await?;
            let status = said.status.clone().unwrap_or_default();
            ensure!(
                status.generation >= generation && status.payloads_held >= status.payloads_wanted,
                "it says {status:?}"
            );
            Ok(Some(()))
        })
        .await
    }

    /// Marks that all went well, so that no logs are printed.
    pub fn passed(mut self) {
        self.passed = true;
    }

    /// Waits until a file under the cluster's folder has some text.
    ///
    /// # Errors
    /// When it never does.
    pub async fn logged(&self, name: &str, text: &str) -> Result<()> {
        let log = self.node(name)?.log.clone();
        until(&format!("{name} to log {text:?}"), PATIENCE, async || {
            Ok(fs::read_to_string(&log)?.contains(text).then_some(()))
        })
        .await
    }
}

/// The generation in a node's own word.
#[must_use]
pub fn generation_of(status: &GetStatusResponse) -> u64 {
    status.status.as_ref().map(|status| status.generation).unwrap_or_default()
}

/// The digests of the approval sets in a node's own word, by stage.
#[must_use]
pub fn approval_sets_of(status: &GetStatusResponse) -> BTreeMap<String, (u64, Vec<u8>)> {
    let sets = status.status.iter().flat_map(|status| &status.approval_sets);
    sets.map(|set| (set.stage.clone(), (set.version, set.digest.to_vec()))).collect()
}
